//! The canonical request of Signature Version 4: one spelling for equivalent requests.
//!
//! Source: Amazon S3 API Reference, "Signature Calculations for the Authorization Header", task 1.
//! Invariant: the signed request is the one that is sent; the path is not changed at all.

use std::borrow::Cow;

use http::header::{CONTENT_TYPE, HOST, HeaderName, RANGE};
use http::{HeaderMap, Method};
use percent_encoding::utf8_percent_encode;

use super::terms::split_at_byte;
use crate::s3::target::{COMPONENT, Query};

/// The signature, which is the one query parameter of a presigned URL that it does not cover.
const SIGNATURE: &str = "X-Amz-Signature";

/// The signed parts of a request.
#[derive(Clone, Copy)]
pub(in crate::auth) struct CanonicalRequest<'a> {
    pub(in crate::auth) method: &'a Method,
    pub(in crate::auth) encoded_path: &'a str,
    pub(in crate::auth) query: &'a Query,
    /// Replaces the header `host`: HTTP/2 has none, and a client may have signed another name of this server.
    pub(in crate::auth) host: Option<&'a str>,
    pub(in crate::auth) headers: &'a HeaderMap,
    /// Names of the signed headers, joined by `;`.
    pub(in crate::auth) signed_headers: &'a str,
}

impl CanonicalRequest<'_> {
    /// Returns the canonical request as bytes, not text: S3 allows any octet in user metadata and signs it unchanged.
    /// `None` if a signed header is missing.
    pub(in crate::auth) fn to_bytes(self, payload: &str) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(1024);
        out.extend_from_slice(self.method.as_str().as_bytes());
        out.push(b'\n');
        out.extend_from_slice(self.encoded_path.as_bytes());
        out.push(b'\n');
        push_query(&mut out, self.query);
        out.push(b'\n');
        for name in split_at_byte(self.signed_headers, b';') {
            self.push_header(&mut out, name)?;
        }
        for line in ["\n", self.signed_headers, "\n", payload] {
            out.extend_from_slice(line.as_bytes());
        }
        Some(out)
    }

    fn push_header(self, out: &mut Vec<u8>, name: &str) -> Option<()> {
        out.extend_from_slice(name.as_bytes());
        out.push(b':');
        match self.host {
            Some(host) if name == "host" => out.extend_from_slice(host.as_bytes()),
            _ => {
                let mut values = self.headers.get_all(name).iter();
                push_trimmed(out, values.next()?.as_bytes());
                for value in values {
                    out.push(b',');
                    push_trimmed(out, value.as_bytes());
                }
            }
        }
        out.push(b'\n');
        Some(())
    }
}

/// Appends the query, encoded, then sorted by name and value; a name without a value is signed as `name=`.
fn push_query(out: &mut Vec<u8>, query: &Query) {
    if query.is_empty() {
        return;
    }
    let encoded = |text| Cow::from(utf8_percent_encode(text, COMPONENT));
    let mut pairs: Vec<(Cow<'_, str>, Cow<'_, str>)> = query
        .iter()
        .filter(|(name, _)| *name != SIGNATURE)
        .map(|(name, value)| (encoded(name), encoded(value.unwrap_or_default())))
        .collect();
    pairs.sort_unstable();
    for (index, (name, value)) in pairs.iter().enumerate() {
        if index > 0 {
            out.push(b'&');
        }
        out.extend_from_slice(name.as_bytes());
        out.push(b'=');
        out.extend_from_slice(value.as_bytes());
    }
}

/// Appends a header's value without outer blanks, and with inner runs of them as one space, as every SDK signs it.
fn push_trimmed(out: &mut Vec<u8>, value: &[u8]) {
    if memchr::memchr2(b' ', b'\t', value).is_none() {
        return out.extend_from_slice(value);
    }
    let words = value.split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty());
    for (index, word) in words.enumerate() {
        if index > 0 {
            out.push(b' ');
        }
        out.extend_from_slice(word);
    }
}

/// Returns the names of the headers to sign, each once, sorted.
pub(super) fn signed_names(
    headers: &HeaderMap,
    select: fn(&HeaderName) -> bool,
) -> Vec<HeaderName> {
    let mut names: Vec<_> = headers.keys().filter(|name| select(name)).cloned().collect();
    names.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
    names
}

/// Whether a header is signed, because S3 must receive it unchanged. Hop-by-hop headers and those rewritten by load
/// balancers (`x-amzn-trace-id`) are not.
pub(super) fn is_signed(name: &HeaderName) -> bool {
    let text = name.as_str();
    [HOST, RANGE, CONTENT_TYPE].contains(name)
        || text == "content-md5"
        || text.starts_with("x-amz-")
        || text.starts_with("if-")
}
