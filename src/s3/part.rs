//! Parts of a multipart object, as far as responses to `partNumber` requests have shown them.
//!
//! The range of a part is never computed: part numbers may be sparse, and parts differ in length (R18). Information
//! about a part is valid for one version, for as long as that exists.

use std::ops::Range;
use std::sync::Arc;

use http::header::{HeaderName, HeaderValue};

/// A part's number: 1 to 10,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartNumber(u16);

impl PartNumber {
    /// Returns the number, if S3 allows it.
    #[must_use]
    pub fn new(number: u16) -> Option<Self> {
        (1..=10_000).contains(&number).then_some(PartNumber(number))
    }

    /// Parses decimal digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        Self::new(digits.then(|| text.parse().ok())??)
    }

    /// Returns the number as an integer.
    #[must_use]
    pub fn get(self) -> u16 {
        self.0
    }
}

/// One part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its number.
    pub number: PartNumber,
    /// Its bytes in the object; never empty.
    pub range: Range<u64>,
    /// Its own `x-amz-checksum-*` headers, for answers in checksum mode.
    pub checksums: Vec<(HeaderName, HeaderValue)>,
}

/// The known parts of one version: at most as many as there are numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parts {
    /// Number of parts of the object; `None`: unknown, or not a multipart object.
    pub count: Option<u16>,
    /// Known parts, ascending by number, each once.
    known: Vec<Arc<Part>>,
}

impl Parts {
    /// Creates the parts that one response shows: one part of `count`.
    #[must_use]
    pub fn one(part: Part, count: Option<u16>) -> Self {
        Parts { count, known: vec![Arc::new(part)] }
    }

    /// Returns the part with this number, if it is known.
    #[must_use]
    pub fn get(&self, number: PartNumber) -> Option<&Part> {
        let at = self.known.binary_search_by_key(&number, |part| part.number).ok()?;
        Some(&*self.known[at])
    }

    /// Returns the part with exactly this range.
    #[must_use]
    pub fn spanning(&self, range: &Range<u64>) -> Option<&Part> {
        // Parts lie in the order of their numbers.
        let at = self.known.partition_point(|part| part.range.start < range.start);
        self.known.get(at).map(Arc::as_ref).filter(|part| part.range == *range)
    }

    /// Returns the number of known parts.
    #[must_use]
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether no part is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Adds a part; of two with the same number the first stays.
    pub fn push(&mut self, part: Part) {
        if let Err(at) = self.known.binary_search_by_key(&part.number, |known| known.number) {
            self.known.insert(at, Arc::new(part));
        }
    }

    /// Iterates over the known parts, by number.
    pub fn iter(&self) -> impl Iterator<Item = &Part> {
        self.known.iter().map(Arc::as_ref)
    }

    /// Adds the older information about the same version; newer information takes precedence.
    pub fn add(&mut self, older: &Parts) {
        self.count = self.count.or(older.count);
        let mut known = Vec::with_capacity(self.known.len() + older.known.len());
        let (mut new, mut old) = (self.known.iter().peekable(), older.known.iter().peekable());
        loop {
            let next = match (new.peek(), old.peek()) {
                (Some(n), Some(o)) if n.number < o.number => new.next(),
                (Some(n), Some(o)) if n.number == o.number => {
                    old.next();
                    new.next()
                }
                (_, Some(_)) => old.next(),
                (_, None) => new.next(),
            };
            let Some(part) = next else { break };
            known.push(part.clone());
        }
        self.known = known;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(number: u16) -> PartNumber {
        PartNumber::new(number).unwrap()
    }

    fn parts(ranges: &[(u16, Range<u64>)]) -> Parts {
        let mut all = Parts::default();
        for (n, range) in ranges {
            all.push(Part { number: number(*n), range: range.clone(), checksums: vec![] });
        }
        all
    }

    #[test]
    fn a_number_is_1_to_10000_in_digits() {
        for (text, expected) in [("1", 1), ("10000", 10_000), ("007", 7)] {
            assert_eq!(PartNumber::parse(text).unwrap().get(), expected);
        }
        for text in ["", "0", "10001", "65537", "-1", "+1", " 1", "1.0", "one"] {
            assert_eq!(PartNumber::parse(text), None, "{text}");
        }
    }

    #[test]
    fn r18_sparse_parts_are_found_by_number_and_by_range() {
        let known = parts(&[(7, 10..30), (2, 0..10), (9000, 30..31)]);
        assert_eq!(known.iter().map(|part| part.number.get()).collect::<Vec<_>>(), [2, 7, 9000]);
        assert_eq!(known.get(number(7)).unwrap().range, 10..30);
        assert_eq!(known.get(number(3)), None);
        assert_eq!(known.spanning(&(30..31)).unwrap().number, number(9000));
        for range in [0..9, 1..10, 0..30, 10..31, 31..32] {
            assert_eq!(known.spanning(&range), None, "{range:?}");
        }
    }

    #[test]
    fn what_is_newer_replaces_what_is_older() {
        let mut new = Parts { count: None, ..parts(&[(1, 0..5), (3, 9..12)]) };
        new.add(&Parts { count: Some(4), ..parts(&[(1, 0..6), (2, 5..9), (4, 12..13)]) });
        assert_eq!(new.count, Some(4));
        assert_eq!(
            new,
            Parts { count: Some(4), ..parts(&[(1, 0..5), (2, 5..9), (3, 9..12), (4, 12..13)]) }
        );
    }
}
