//! An ordered map of prefixes, which finds all prefixes of a key without a scan of the others.

use std::collections::BTreeMap;
use std::ops::Bound;

/// A map from byte strings that are prefixes of keys.
#[derive(Debug, Clone)]
pub(in crate::cache) struct PrefixMap<V>(BTreeMap<Box<[u8]>, V>);

impl<V> Default for PrefixMap<V> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<V> PrefixMap<V> {
    /// Returns the entries whose prefix `key` begins with, the longest first.
    ///
    /// Each step is one search, which shortens the searched name to what it has in common with the nearest entry. It
    /// takes one step for each returned entry, and one for each position at which other prefixes branch off from `key`.
    pub(in crate::cache) fn covering<'a>(
        &'a self,
        key: &'a [u8],
    ) -> impl Iterator<Item = (&'a [u8], &'a V)> {
        let mut upto = Some(key);
        std::iter::from_fn(move || {
            loop {
                let bound = Bound::Included(upto?);
                let below = self.0.range::<[u8], _>((Bound::Unbounded, bound));
                let Some((prefix, value)) = { below }.next_back() else {
                    upto = None;
                    return None;
                };
                let common = common_length(prefix, key);
                if common == prefix.len() {
                    upto = common.checked_sub(1).map(|shorter| &key[..shorter]);
                    return Some((&**prefix, value));
                }
                // A longer prefix of `key` would lie between the two.
                upto = Some(&key[..common]);
            }
        })
    }

    pub(in crate::cache) fn get_or_default(&mut self, prefix: &[u8]) -> &mut V
    where
        V: Default,
    {
        if !self.0.contains_key(prefix) {
            self.0.insert(prefix.into(), V::default());
        }
        self.0.get_mut(prefix).expect("it was just inserted")
    }

    pub(in crate::cache) fn get_mut(&mut self, prefix: &[u8]) -> Option<&mut V> {
        self.0.get_mut(prefix)
    }

    pub(in crate::cache) fn remove(&mut self, prefix: &[u8]) -> Option<V> {
        self.0.remove(prefix)
    }

    pub(in crate::cache) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(in crate::cache) fn into_values(self) -> impl Iterator<Item = V> {
        self.0.into_values()
    }
}

fn common_length(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covering<'a>(map: &'a PrefixMap<usize>, key: &'a str) -> Vec<&'a [u8]> {
        map.covering(key.as_bytes()).map(|(prefix, _)| prefix).collect()
    }

    #[test]
    fn the_prefixes_of_a_key_are_found_and_no_others() {
        let mut map = PrefixMap::default();
        let prefixes = ["", "a", "a/", "a/b", "a/bc", "a/c", "ab", "b", "\u{e9}", "a/b/c/d"];
        for prefix in prefixes {
            *map.get_or_default(prefix.as_bytes()) = prefix.len();
        }
        for key in ["", "a", "a/", "a/b", "a/bb", "a/bcd", "a/b/c/d/e", "aa", "b", "c", "\u{e9}x"] {
            let mut expected: Vec<_> = prefixes.iter().filter(|p| key.starts_with(**p)).collect();
            expected.sort_by_key(|prefix| std::cmp::Reverse(prefix.len()));
            let expected: Vec<_> = expected.iter().map(|prefix| prefix.as_bytes()).collect();
            assert_eq!(covering(&map, key), expected, "{key:?}");
        }
        assert_eq!(map.remove(b""), Some(0));
        assert!(covering(&map, "c").is_empty());
    }
}
