//! The first of many globs that matches `bucket/key`.

use std::collections::{BTreeMap, HashMap};

use foldhash::fast::RandomState;

use super::{Glob, Text};

/// Globs in order, indexed by their literal bucket and prefix, so that globs with another prefix are not tried.
#[derive(Debug, Default)]
pub struct FirstMatch {
    globs: Box<[Glob]>,
    /// Globs that name a bucket, by bucket and literal prefix of their keys.
    buckets: HashMap<Box<str>, Prefixes, RandomState>,
    /// All other globs, by literal prefix of their buckets.
    others: Prefixes,
}

impl FirstMatch {
    /// Creates the index of globs, given in order of precedence.
    pub fn new(globs: impl IntoIterator<Item = Glob>) -> Self {
        let globs: Box<[Glob]> = globs.into_iter().collect();
        let mut buckets: HashMap<_, BTreeMap<&str, Vec<usize>>, RandomState> = HashMap::default();
        let mut others: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (index, glob) in globs.iter().enumerate() {
            match glob.literal().split_once('/') {
                Some((bucket, prefix)) => {
                    buckets.entry(bucket).or_default().entry(prefix).or_default().push(index);
                }
                None => others.entry(glob.literal()).or_default().push(index),
            }
        }
        let buckets = buckets.into_iter().map(|(bucket, of)| (bucket.into(), Prefixes::new(of)));
        Self { buckets: buckets.collect(), others: Prefixes::new(others), globs }
    }

    /// Returns the index of the first glob that matches.
    pub fn find(&self, bucket: &str, key: &str) -> Option<usize> {
        // The case of a single rule.
        if self.globs.first().is_some_and(Glob::is_everything) {
            return Some(0);
        }
        self.find_and_count(bucket, key).0
    }

    /// As [`FirstMatch::find`], with the number of globs that were tried.
    pub(super) fn find_and_count(&self, bucket: &str, key: &str) -> (Option<usize>, usize) {
        let text = Text::path(bucket, key);
        let (mut first, mut tried) = (None, 0);
        let named = self.buckets.get(bucket).map(|prefixes| prefixes.of(key));
        for indices in named.into_iter().flatten().chain(self.others.of(bucket)) {
            for index in indices {
                if first.is_some_and(|first| first < *index) {
                    break;
                }
                tried += 1;
                if self.globs[*index].matches(text) {
                    first = Some(*index);
                    break;
                }
            }
        }
        (first, tried)
    }
}

/// Lists of indices by prefix, sorted; each prefix has a link to the longest other that it begins with.
#[derive(Debug, Default)]
struct Prefixes(Box<[Prefix]>);

#[derive(Debug)]
struct Prefix {
    text: Box<str>,
    parent: Option<usize>,
    /// Indices of globs, in ascending order.
    indices: Box<[usize]>,
}

impl Prefixes {
    fn new(lists: BTreeMap<&str, Vec<usize>>) -> Self {
        let mut prefixes: Vec<Prefix> = Vec::with_capacity(lists.len());
        for (text, indices) in lists {
            let mut parent = prefixes.len().checked_sub(1);
            while let Some(at) = parent.filter(|at| !text.starts_with(&*prefixes[*at].text)) {
                parent = prefixes[at].parent;
            }
            prefixes.push(Prefix { text: text.into(), parent, indices: indices.into() });
        }
        Self(prefixes.into())
    }

    /// Returns the lists of all prefixes of `text`, the longest first.
    fn of(&self, text: &str) -> impl Iterator<Item = &[usize]> {
        // The longest prefix of a text is the last entry that sorts before it, or a prefix of that entry.
        let mut longest = self.0.partition_point(|prefix| &*prefix.text <= text).checked_sub(1);
        while let Some(at) = longest.filter(|at| !text.starts_with(&*self.0[*at].text)) {
            longest = self.0[at].parent;
        }
        std::iter::successors(longest, |at| self.0[*at].parent).map(|at| &*self.0[at].indices)
    }
}
