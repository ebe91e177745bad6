//! Fixed terms of Signature Version 4, and splitting of its strings.

use http::HeaderName;

pub(in crate::auth) const ALGORITHM: &str = "AWS4-HMAC-SHA256";

pub(in crate::auth) const SERVICE: &str = "s3";

pub(in crate::auth) const X_AMZ_SECURITY_TOKEN: HeaderName =
    HeaderName::from_static("x-amz-security-token");
/// Header of the session token for directory buckets.
pub(in crate::auth) const X_AMZ_S3SESSION_TOKEN: HeaderName =
    HeaderName::from_static("x-amz-s3session-token");

pub(in crate::auth) const TERMINATOR: &str = "aws4_request";

/// SHA-256 of empty input: the payload hash of a request without a body.
pub const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// Splits at an ASCII byte: these texts are short and many, and the searchers of `str` are slow to start.
pub(in crate::auth) fn split_at_byte(text: &str, byte: u8) -> impl Iterator<Item = &str> {
    debug_assert!(byte.is_ascii());
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let Some((before, after)) = cut_at_byte(text, byte) else { return rest.take() };
        rest = Some(after);
        Some(before)
    })
}

/// Splits at the first occurrence of an ASCII byte.
pub(in crate::auth) fn cut_at_byte(text: &str, byte: u8) -> Option<(&str, &str)> {
    let at = text.as_bytes().iter().position(|b| *b == byte)?;
    Some((&text[..at], &text[at + 1..]))
}
