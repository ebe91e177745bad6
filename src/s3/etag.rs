//! An entity tag, byte for byte as the origin sent it.
//!
//! The tag is part of an object version's identity, so equality is equality of bytes, quotes included: clients pin
//! their later ranges to exactly these. Comparison with a client's condition is looser (S3 accepts unquoted tags) and
//! has its own method. Only one strong, quoted tag makes a response cacheable (R2).

use http::HeaderMap;
use http::header::{self, HeaderValue};

/// The value of an `ETag` header, unchanged.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ETag(HeaderValue);

impl ETag {
    /// Wraps a header value, strong or not.
    #[must_use]
    pub fn new(value: HeaderValue) -> Self {
        ETag(value)
    }

    /// Returns the one `ETag` of a response; `None` if it has none or several.
    #[must_use]
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(header::ETAG).iter();
        match (values.next(), values.next()) {
            (Some(value), None) => Some(ETag(value.clone())),
            _ => None,
        }
    }

    /// Returns the value to send in `ETag` or `If-Match`.
    #[must_use]
    pub fn as_header(&self) -> &HeaderValue {
        &self.0
    }

    /// Returns the exact bytes, quotes included.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// Whether the tag is `"opaque"`: not weak, quoted, not empty, printable ASCII inside.
    #[must_use]
    pub fn is_strong_quoted(&self) -> bool {
        self.opaque().is_some()
    }

    /// Strong comparison (RFC 9110 section 8.8.3.2) with one member of a list in `If-Match`,
    /// quoted or, as S3 allows, not. A weak tag on either side never matches (R2).
    #[must_use]
    pub fn strong_eq(&self, member: &str) -> bool {
        let member = member.trim_matches([' ', '\t']);
        match self.opaque() {
            Some(opaque) => unquote(member.as_bytes()).unwrap_or(member.as_bytes()) == opaque,
            None => false,
        }
    }

    /// Weak comparison, as `If-None-Match` requires: a leading `W/` makes no difference.
    #[must_use]
    pub fn weak_eq(&self, member: &str) -> bool {
        let member = member.trim_matches([' ', '\t']);
        let member = member.strip_prefix("W/").unwrap_or(member).as_bytes();
        let own = self.0.as_bytes();
        let own = own.strip_prefix(b"W/").unwrap_or(own);
        unquote(member).unwrap_or(member) == unquote(own).unwrap_or(own)
    }

    /// Returns the number of parts, the N in the `"…-N"` of a multipart upload.
    #[must_use]
    pub fn part_count(&self) -> Option<u64> {
        let opaque = std::str::from_utf8(self.opaque()?).ok()?;
        super::range::exact(opaque.rsplit_once('-')?.1)
    }

    /// Returns the bytes of each part but the last in a multipart upload of `size` bytes, if N and `size` allow only
    /// one whole number of MiB, or else of 8 MiB.
    #[must_use]
    pub fn part_size(&self, size: u64) -> Option<u64> {
        const MIB: u64 = 1 << 20;
        let count = self.part_count().filter(|count| (2..=size).contains(count))?;
        // All parts but the last are full, and the last one is not empty.
        let (least, most) = (size.div_ceil(count), (size - 1) / (count - 1));
        let only = |unit: u64| {
            let first = least.next_multiple_of(unit);
            (first == most - most % unit).then_some(first)
        };
        only(MIB).or_else(|| only(8 * MIB))
    }

    /// Returns the characters between the quotes of a strong tag: RFC 9110's etagc without obs-text, which clients do
    /// not repeat reliably.
    fn opaque(&self) -> Option<&[u8]> {
        let inner = unquote(self.0.as_bytes())?;
        let etagc = |b: &u8| matches!(b, 0x21 | 0x23..=0x7E);
        (!inner.is_empty() && inner.iter().all(etagc)).then_some(inner)
    }
}

/// Returns a text without its quotes.
fn unquote(value: &[u8]) -> Option<&[u8]> {
    value.strip_prefix(b"\"")?.strip_suffix(b"\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn etag(value: &'static str) -> ETag {
        ETag::new(HeaderValue::from_static(value))
    }

    #[test]
    fn r2_only_a_quoted_tag_without_a_weak_mark_is_strong() {
        assert!(etag("\"abc\"").is_strong_quoted());
        assert!(etag("\"d41d8cd98f00b204e9800998ecf8427e-12\"").is_strong_quoted());
        assert!(etag("\"a,b\"").is_strong_quoted());
        for value in ["W/\"abc\"", "abc", "\"abc", "abc\"", "\"\"", "\"", "", "\"a\"b\"", "\"a b\""]
        {
            assert!(!etag(value).is_strong_quoted(), "{value}");
        }
    }

    #[test]
    fn r2_two_tags_are_none() {
        let mut headers = HeaderMap::new();
        assert_eq!(ETag::from_headers(&headers), None);
        headers.append(header::ETAG, HeaderValue::from_static("\"a\""));
        assert_eq!(ETag::from_headers(&headers), Some(etag("\"a\"")));
        headers.append(header::ETAG, HeaderValue::from_static("\"a\""));
        assert_eq!(ETag::from_headers(&headers), None);
    }

    #[test]
    fn strong_comparison_takes_quoted_and_unquoted_members() {
        let tag = etag("\"abc-2\"");
        for member in ["\"abc-2\"", "abc-2", " \"abc-2\"\t"] {
            assert!(tag.strong_eq(member), "{member}");
        }
        for member in ["\"abc\"", "abc", "\"ABC-2\"", "\"abc-2", "abc-2\"", "", "*", "\"\""] {
            assert!(!tag.strong_eq(member), "{member}");
        }
    }

    #[test]
    fn r2_weak_tags_never_match_strongly() {
        assert!(!etag("\"abc\"").strong_eq("W/\"abc\""));
        assert!(!etag("W/\"abc\"").strong_eq("\"abc\""));
        assert!(!etag("W/\"abc\"").strong_eq("W/\"abc\""));
    }

    #[test]
    fn weak_comparison_ignores_the_mark() {
        assert!(etag("\"abc\"").weak_eq("W/\"abc\""));
        assert!(etag("W/\"abc\"").weak_eq("\"abc\""));
        assert!(etag("\"abc\"").weak_eq("abc"));
        assert!(!etag("\"abc\"").weak_eq("W/\"abd\""));
    }

    #[test]
    fn equality_is_of_exact_bytes() {
        assert_eq!(etag("\"abc\""), etag("\"abc\""));
        assert_ne!(etag("\"abc\""), etag("abc"));
        assert_eq!(etag("\"abc\"").as_header(), "\"abc\"");
        assert_eq!(etag("\"abc\"").as_bytes(), b"\"abc\"");
    }

    #[test]
    fn the_part_count_of_a_multipart_tag_is_read() {
        assert_eq!(etag("\"9b2cf535f27731c974343645a3985328-12\"").part_count(), Some(12));
        for value in ["\"9b2cf535f27731c974343645a3985328\"", "\"a-\"", "\"a-b\"", "W/\"a-1\""] {
            assert_eq!(etag(value).part_count(), None, "{value}");
        }
    }

    #[test]
    fn the_size_of_parts_follows_from_their_number_where_it_is_unambiguous() {
        const MIB: u64 = 1 << 20;
        let of = |tag, size| etag(tag).part_size(size);
        assert_eq!(of("\"a-13\"", 100 * MIB), Some(8 * MIB));
        assert_eq!(of("\"a-20\"", 100 * MIB), Some(5 * MIB));
        assert_eq!(of("\"a-1000\"", 5000 * MIB - 7), Some(5 * MIB));
        // 10 to 19 MiB: of these one only is a multiple of 8.
        assert_eq!(of("\"a-2\"", 20 * MIB), Some(16 * MIB));
        assert_eq!(of("\"a-2\"", 100 * MIB), None);
        // No parts of whole MiB.
        assert_eq!(of("\"a-100\"", 10_000_000), None);
        for (tag, size) in [("\"a-1\"", MIB), ("\"a-0\"", MIB), ("\"a\"", MIB), ("\"a-9\"", 5)] {
            assert_eq!(of(tag, size), None, "{tag}");
        }
    }
}
