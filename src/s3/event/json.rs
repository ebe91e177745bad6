//! Lenient JSON: a value of the wrong type counts as absent, and does not invalidate the values
//! beside it.

use std::borrow::Cow;
use std::fmt;
use std::time::SystemTime;

use chrono::DateTime;
use serde::Deserialize;
use serde::de::{self, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Maximum depth of nested brackets; S3's records have five.
const MAX_DEPTH: usize = 32;

/// A string, or a number as text; `None` for anything else.
#[derive(Debug, Default, Clone)]
pub(super) struct Scalar<'a>(pub Option<Cow<'a, str>>);

impl Scalar<'_> {
    /// Returns the text, unless it is empty.
    pub(super) fn text(&self) -> Option<&str> {
        self.0.as_deref().filter(|text| !text.is_empty())
    }

    /// Returns an integer, written as a number or in a string.
    pub(super) fn number(&self) -> Option<u64> {
        self.text()?.parse().ok()
    }

    /// Parses an RFC 3339 time.
    pub(super) fn time(&self) -> Option<SystemTime> {
        DateTime::parse_from_rfc3339(self.text()?).ok().map(SystemTime::from)
    }

    /// Returns at most 128 bytes of the text, for logs.
    pub(super) fn short(&self) -> Option<String> {
        let text = self.text()?;
        Some(text[..text.floor_char_boundary(128)].to_owned())
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Scalar<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor).map(Scalar)
    }
}

struct ScalarVisitor;

impl<'de> Visitor<'de> for ScalarVisitor {
    type Value = Option<Cow<'de, str>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Some(Cow::Borrowed(text)))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(Cow::Owned(text.to_owned())))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Some(Cow::Owned(number.to_string())))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Some(Cow::Owned(number.to_string())))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Self::Value, E> {
        Ok(Some(Cow::Owned(number.to_string())))
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}

/// Whether no more than [`MAX_DEPTH`] brackets are open anywhere. The text need not be JSON.
pub(super) fn is_shallow(text: &str) -> bool {
    let mut rest = text.as_bytes();
    let mut depth = 0_usize;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'"' => rest = after_string(rest),
            b'{' | b'[' if depth == MAX_DEPTH => return false,
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    true
}

/// Returns the text after the closing quote of the string.
fn after_string(mut text: &[u8]) -> &[u8] {
    while let Some(at) = memchr::memchr2(b'"', b'\\', text) {
        match text[at] {
            b'"' => return &text[at + 1..],
            _ => text = text.get(at + 2..).unwrap_or_default(),
        }
    }
    &[]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_another_kind_is_no_value() {
        let scalar = |json: &'static str| serde_json::from_str::<Scalar<'_>>(json).unwrap();
        let read = |json| scalar(json).0;
        for (json, text) in [("\"a\\u00fc\"", "aü"), ("12", "12"), ("-1", "-1"), ("\"\"", "")] {
            assert_eq!(read(json).as_deref(), Some(text));
        }
        for json in ["null", "true", "[1,[2]]", "{\"a\":{\"b\":[]}}"] {
            assert_eq!(read(json), None, "{json}");
        }
        let number = |json| scalar(json).number();
        assert_eq!(
            [number("\"7\""), number("7"), number("-7"), number("7.5"), number("\"\"")],
            [Some(7), Some(7), None, None, None]
        );
    }

    #[test]
    fn depth_is_counted_outside_of_strings() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(is_shallow(&nested(MAX_DEPTH)));
        assert!(!is_shallow(&nested(MAX_DEPTH + 1)));
        assert!(!is_shallow(&"{\"a\":".repeat(100_000)));
        assert!(is_shallow(&format!("[\"{}\\\"{}\"]", "[".repeat(50), "{".repeat(50))));
        assert!(is_shallow(&format!("{}]", "[],".repeat(1000))));
        assert!(!is_shallow(&format!("\"\\\\\"{}", nested(MAX_DEPTH + 1))));
        assert!(is_shallow("\"\\"));
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let long = Scalar(Some("ü".repeat(100).into()));
        assert_eq!(long.short().unwrap().len(), 128);
        let odd = Scalar(Some(format!("a{}", "ü".repeat(100)).into()));
        assert_eq!(odd.short().unwrap().len(), 127);
    }
}
