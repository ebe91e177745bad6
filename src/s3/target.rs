//! The request target's two encodings: percent-escapes in, `SigV4`'s own escapes out.
//!
//! Input is decoded exactly once and never normalised. Output has the one form that `SigV4` signs for S3 (unreserved
//! characters bare, everything else `%XX`, a path once encoded with its slashes). Invalid input is refused: two parsers
//! that disagree about a target would let one object be cached under another's name.

use std::borrow::Cow;
use std::collections::HashSet;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode, utf8_percent_encode};

use super::error::S3Error;

/// Bytes escaped in a query: all but the unreserved characters of RFC 3986 (`SigV4`, "URI-encode").
pub const COMPONENT: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// Bytes escaped in a path.
pub const PATH: &AsciiSet = &COMPONENT.remove(b'/');

/// Encodes a decoded path as `SigV4` for S3 does: once, slashes kept, nothing normalised.
#[must_use]
pub fn encode_path(decoded: &str) -> String {
    utf8_percent_encode(decoded, PATH).to_string()
}

/// Encodes a decoded query name or value as `SigV4` does.
#[must_use]
pub fn encode_query_component(decoded: &str) -> String {
    utf8_percent_encode(decoded, COMPONENT).to_string()
}

/// Decodes `%XX` and nothing else.
///
/// # Errors
/// 400 `InvalidURI` when an escape is not two hex digits or the result is not UTF-8.
pub fn decode(encoded: &[u8]) -> Result<Cow<'_, str>, S3Error> {
    let mut rest = encoded;
    while let Some(at) = rest.iter().position(|&b| b == b'%') {
        match rest.get(at + 1..at + 3) {
            Some(hex) if hex.iter().all(u8::is_ascii_hexdigit) => rest = &rest[at + 3..],
            _ => return Err(S3Error::invalid_uri()),
        }
    }
    percent_decode(encoded).decode_utf8().map_err(|_| S3Error::invalid_uri())
}

/// Query parameters of a presigned signature (R23). `X-Amz-Content-Sha256`, the signed hash of the body, is added by
/// the AWS SDK for JavaScript.
const PRESIGNED: [&str; 8] = [
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-SignedHeaders",
    "X-Amz-Signature",
    "X-Amz-Security-Token",
    CONTENT_SHA256,
];
const CONTENT_SHA256: &str = "X-Amz-Content-Sha256";

/// Whether a query parameter belongs to a presigned signature, and does not affect the operation.
#[must_use]
pub fn is_presigned(name: &str) -> bool {
    PRESIGNED.contains(&name) || name.eq_ignore_ascii_case(CONTENT_SHA256)
}

/// Maximum parameters of a query: a presigned URL with all that S3 knows and a hundred `x-amz-meta-*` has fewer.
pub const MAX_PARAMETERS: usize = 256;
/// Number of names below which each is compared with each.
const FEW: usize = 12;

/// A decoded query, in the order in which it was sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, Option<String>)>);

impl Query {
    /// Parses the text after the `?`. A `+` is a space; `k` and `k=` are kept apart.
    ///
    /// # Errors
    /// 400 `InvalidURI` as [`decode`]; 400 `InvalidRequest` for more than [`MAX_PARAMETERS`].
    pub fn parse(raw: &str) -> Result<Self, S3Error> {
        if raw.split('&').filter(|piece| !piece.is_empty()).nth(MAX_PARAMETERS).is_some() {
            let message = format!("The query has more than {MAX_PARAMETERS} parameters.");
            return Err(S3Error::invalid_request(message));
        }
        let component = |text: &str| decode(text.replace('+', " ").as_bytes()).map(Cow::into_owned);
        let pairs = raw.split('&').filter(|piece| !piece.is_empty()).map(|piece| {
            Ok(match piece.split_once('=') {
                Some((name, value)) => (component(name)?, Some(component(value)?)),
                None => (component(piece)?, None),
            })
        });
        Ok(Query(pairs.collect::<Result<_, S3Error>>()?))
    }

    /// Returns the first value of `name`: empty if it has none; `None` if the name is absent.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(n, _)| *n == name).map(|(_, value)| value.unwrap_or_default())
    }

    /// Whether `name` occurs, with or without a value. Names are case-sensitive.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.iter().any(|(n, _)| n == name)
    }

    /// Iterates over names and values in order; a name without `=` has no value.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_deref()))
    }

    /// Whether a name is repeated, in whatever case: servers differ on which of two values counts.
    #[must_use]
    pub fn has_repeated_name(&self) -> bool {
        if self.0.len() <= FEW {
            let mut left = self.0.as_slice();
            while let [(name, _), rest @ ..] = left {
                if rest.iter().any(|(other, _)| other.eq_ignore_ascii_case(name)) {
                    return true;
                }
                left = rest;
            }
            return false;
        }
        let mut seen = HashSet::with_capacity(self.0.len());
        !self.0.iter().all(|(name, _)| seen.insert(name.to_ascii_lowercase()))
    }

    /// Whether the query has no parameters.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the query without the parameters of a presigned signature; all else keeps its place (R23).
    #[must_use]
    pub fn without_signature(&self) -> Self {
        Query(self.0.iter().filter(|(name, _)| !is_presigned(name)).cloned().collect())
    }

    /// Returns the query without the parameters of these names.
    #[must_use]
    pub fn without(&self, names: &[&str]) -> Self {
        let kept = self.0.iter().filter(|(name, _)| !names.contains(&name.as_str()));
        Query(kept.cloned().collect())
    }

    /// Returns the value of `X-Amz-Content-Sha256`, whatever its case.
    #[must_use]
    pub fn content_sha256(&self) -> Option<&str> {
        let mut named = self.iter().filter(|(name, _)| name.eq_ignore_ascii_case(CONTENT_SHA256));
        named.next().map(|(_, value)| value.unwrap_or_default())
    }

    /// Returns the query with one more parameter at the end.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.0.push((name.to_owned(), Some(value.to_owned())));
        self
    }

    /// Returns the text to send: order kept, encoded as `SigV4` does, `k` without `=` stays `k`.
    ///
    /// (The text that is *signed* is sorted and has `k=`, by the signer.)
    #[must_use]
    pub fn to_canonical_string(&self) -> String {
        let mut out = String::new();
        for (name, value) in self.iter() {
            if !out.is_empty() {
                out.push('&');
            }
            out.extend(utf8_percent_encode(name, COMPONENT));
            if let Some(value) = value {
                out.push('=');
                out.extend(utf8_percent_encode(value, COMPONENT));
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(raw: &str) -> Query {
        Query::parse(raw).unwrap()
    }

    #[test]
    fn paths_are_encoded_as_sigv4_does() {
        assert_eq!(encode_path("/b/a b+c=d&e"), "/b/a%20b%2Bc%3Dd%26e");
        assert_eq!(encode_path("/b/AZaz09-._~"), "/b/AZaz09-._~");
        assert_eq!(encode_path("/b/ü%2F*'()!"), "/b/%C3%BC%252F%2A%27%28%29%21");
        assert_eq!(encode_path("/b//a/./../c/"), "/b//a/./../c/");
        assert_eq!(encode_path("/b/\0\n\u{7F}"), "/b/%00%0A%7F");
    }

    #[test]
    fn query_components_encode_slashes_too() {
        assert_eq!(encode_query_component("a/b c~"), "a%2Fb%20c~");
    }

    #[test]
    fn escapes_are_decoded_once() {
        assert_eq!(decode(b"a%2Fb%2fc%252F+%C3%BC").unwrap(), "a/b/c%2F+ü");
        assert_eq!(decode("ü".as_bytes()).unwrap(), "ü");
        assert_eq!(decode(b"").unwrap(), "");
    }

    #[test]
    fn what_cannot_be_decoded_is_a_400() {
        for raw in
            [&b"%"[..], b"%2", b"a%", b"%zz", b"%2%41", b"%+1", b"%C3", b"%FF", b"\xFF", b"%%41"]
        {
            let error = decode(raw).unwrap_err();
            assert_eq!((error.status.as_u16(), &*error.code), (400, "InvalidURI"), "{raw:?}");
        }
        assert!(Query::parse("a=%zz").is_err() && Query::parse("%zz").is_err());
    }

    #[test]
    fn a_query_keeps_order_repeats_and_the_difference_of_k_and_k_equals() {
        let read = query("b=2&a&c=&&b=1=x&d=a+b%2Bc");
        let expected = [
            ("b", Some("2")),
            ("a", None),
            ("c", Some("")),
            ("b", Some("1=x")),
            ("d", Some("a b+c")),
        ];
        assert!(read.iter().eq(expected));
        assert_eq!(read.to_canonical_string(), "b=2&a&c=&b=1%3Dx&d=a%20b%2Bc");
    }

    #[test]
    fn a_query_is_asked_by_name() {
        let read = query("a&b=1&b=2");
        assert_eq!(read.get("a"), Some(""));
        assert_eq!(read.get("b"), Some("1"));
        assert_eq!(read.get("B"), None);
        assert!(read.contains("a") && !read.contains("c"));
        assert!(query("").is_empty() && query("&").is_empty() && !read.is_empty());
    }

    #[test]
    fn r23_only_the_parameters_of_a_presigned_signature_are_stripped() {
        let presigned = query(
            "versionId=v&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=c&X-Amz-Date=d\
             &X-Amz-Expires=60&X-Amz-SignedHeaders=host&X-Amz-Signature=s&X-Amz-Security-Token=t\
             &x-amz-checksum-mode=ENABLED&X-Amz-Content-Sha256=UNSIGNED-PAYLOAD&x-id=GetObject&acl\
             &x-amz-expected-bucket-owner=1&x-amz-content-SHA256=0",
        );
        let kept = presigned.without_signature().to_canonical_string();
        let expected = "versionId=v&x-amz-checksum-mode=ENABLED&x-id=GetObject&acl&x-amz-expected-bucket-owner=1";
        assert_eq!(kept, expected);
        assert_eq!(presigned.content_sha256(), Some("UNSIGNED-PAYLOAD"));
        assert_eq!(query("a").content_sha256(), None);
    }

    #[test]
    fn a_query_of_too_many_parameters_is_refused() {
        let of = |count: usize| {
            let names: Vec<_> = (0..count).map(|n| format!("x-amz-{n}")).collect();
            names.join("&&")
        };
        assert_eq!(query(&of(MAX_PARAMETERS)).iter().count(), MAX_PARAMETERS);
        let error = Query::parse(&of(MAX_PARAMETERS + 1)).unwrap_err();
        assert_eq!((error.status.as_u16(), &*error.code), (400, "InvalidRequest"));
    }

    #[test]
    fn a_repeated_name_is_found_among_few_and_many_in_any_case() {
        for count in [0, 1, 2, FEW - 1, FEW, FEW + 1, 200] {
            let names: Vec<String> = (0..count).map(|n| format!("n{n}")).collect();
            assert!(!query(&names.join("&")).has_repeated_name(), "{count}");
            if let (Some(first), Some(last)) = (names.first(), names.last()) {
                for name in [first, last] {
                    let again = format!("{}&{}=1", names.join("&"), name.to_ascii_uppercase());
                    assert!(query(&again).has_repeated_name(), "{again}");
                }
            }
        }
    }

    #[test]
    fn r23_only_the_named_pairs_are_taken_out() {
        let read = query("X-Amz-Date=1&x-id=G&X-Amz-Signature=2&X-Amz-Date=3&X-Amz-Extra=4");
        let left = read.without(&["X-Amz-Date", "X-Amz-Signature"]);
        assert_eq!(left.to_canonical_string(), "x-id=G&X-Amz-Extra=4");
        assert_eq!(left.with("a", "b c").to_canonical_string(), "x-id=G&X-Amz-Extra=4&a=b%20c");
    }

    #[test]
    fn every_text_survives_encoding_and_decoding() {
        for text in ["a b+c", "%2F", "//", "..", "ü\0\n", "&=?#"] {
            assert_eq!(decode(encode_path(text).as_bytes()).unwrap(), text);
            let sent = Query::default().with(text, text);
            assert_eq!(query(&sent.to_canonical_string()), sent);
        }
    }
}
