//! A request as Signature Version 4 sees it: one spelling for every way of writing the same thing.
//!
//! Source: Amazon S3 API Reference, "Signature Calculations for the Authorization Header", task 1.
//! Invariant: what is signed here is what is sent; the path is not touched at all.

use http::header::{CONTENT_TYPE, HOST, HeaderName, RANGE};
use http::{HeaderMap, Method};

use super::Payload;
use crate::s3::target::{Query, encode_query_component};

/// The parts of a request that are signed.
pub(super) struct CanonicalRequest<'a> {
    pub(super) method: &'a Method,
    pub(super) encoded_path: &'a str,
    pub(super) query: &'a Query,
    pub(super) headers: &'a HeaderMap,
    pub(super) names: &'a [HeaderName],
}

impl CanonicalRequest<'_> {
    /// Bytes, not text: S3 lets user metadata hold any octet, and signs it as it is.
    pub(super) fn to_bytes(&self, signed_headers: &str, payload: Payload<'_>) -> Vec<u8> {
        let query = canonical_query(self.query);
        let mut out = Vec::with_capacity(512 + self.encoded_path.len() + query.len());
        for line in [self.method.as_str(), self.encoded_path, &query] {
            out.extend_from_slice(line.as_bytes());
            out.push(b'\n');
        }
        for name in self.names {
            out.extend_from_slice(name.as_str().as_bytes());
            out.push(b':');
            for (index, value) in self.headers.get_all(name).iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                push_trimmed(&mut out, value.as_bytes());
            }
            out.push(b'\n');
        }
        for line in ["\n", signed_headers, "\n", payload.as_str()] {
            out.extend_from_slice(line.as_bytes());
        }
        out
    }
}

/// Encoded, then sorted by name and value; a name without a value signs as `name=`.
fn canonical_query(query: &Query) -> String {
    let mut pairs: Vec<(String, String)> = query
        .iter()
        .map(|(name, value)| {
            (encode_query_component(name), encode_query_component(value.unwrap_or_default()))
        })
        .collect();
    pairs.sort();
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

/// Appends a header's value without outer blanks, inner runs of them as one space: as every SDK
/// signs it.
fn push_trimmed(out: &mut Vec<u8>, value: &[u8]) {
    let words = value.split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty());
    for (index, word) in words.enumerate() {
        if index > 0 {
            out.push(b' ');
        }
        out.extend_from_slice(word);
    }
}

/// The names of the headers to sign, each once, sorted.
pub(super) fn signed_names(
    headers: &HeaderMap,
    select: fn(&HeaderName) -> bool,
) -> Vec<HeaderName> {
    let mut names: Vec<_> = headers.keys().filter(|name| select(name)).cloned().collect();
    names.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
    names
}

/// What S3 must see as it was sent. Hop-by-hop headers and those that load balancers rewrite
/// (`x-amzn-trace-id`) are not among them.
pub(super) fn is_signed(name: &HeaderName) -> bool {
    let text = name.as_str();
    [HOST, RANGE, CONTENT_TYPE].contains(name)
        || text == "content-md5"
        || text.starts_with("x-amz-")
        || text.starts_with("if-")
}
