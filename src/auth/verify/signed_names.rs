//! The names in `SignedHeaders`, each once, indexed for lookup.

use crate::auth::sign::split_at_byte;

/// The names of the headers that a signature covers.
#[derive(Debug)]
pub(super) struct SignedNames<'a> {
    /// Names as sent, joined by `;`.
    pub(super) text: &'a str,
    /// Names, sorted.
    names: Vec<&'a str>,
}

impl<'a> SignedNames<'a> {
    /// Parses the names; `None` if one is repeated, as each repeat would write its header into the canonical request
    /// once more.
    pub(super) fn new(text: &'a str) -> Option<Self> {
        let mut names: Vec<&str> = Vec::with_capacity(16);
        names.extend(split_at_byte(text, b';'));
        // SDKs send them sorted.
        if !names.is_sorted() {
            names.sort_unstable();
        }
        let repeats = names.windows(2).any(|pair| pair[0] == pair[1]);
        (!repeats).then_some(Self { text, names })
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        self.names.binary_search(&name).is_ok()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &'a str> {
        split_at_byte(self.text, b';')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_whatever_order_they_were_sent() {
        for text in ["a;host;x-amz-date", "x-amz-date;host;a"] {
            let names = SignedNames::new(text).unwrap();
            assert!(["a", "host", "x-amz-date"].iter().all(|name| names.contains(name)));
            assert!(!names.contains("x-amz") && !names.contains(""));
            assert_eq!(names.iter().collect::<Vec<_>>().join(";"), text);
        }
    }

    #[test]
    fn a_name_that_comes_twice_is_refused() {
        for text in ["host;host", "host;a;host", ";", "a;;b;"] {
            assert!(SignedNames::new(text).is_none(), "{text}");
        }
    }
}
