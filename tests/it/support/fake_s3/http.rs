//! The part of HTTP that an origin needs: heads, targets and ranges, as text.
//!
//! Invariant: bytes from the wire are kept unchanged ([`Seen::target`]); everything decoded is a copy beside them.
//! Knows nothing of objects or faults.

use bytes::{Buf, Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, RANGE, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use std::ops::Range;

/// A request as the origin received it. Recorded when its head has arrived, and kept up to date.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: Method,
    /// The request target as received.
    pub target: String,
    /// The target's path as received, still percent-encoded.
    pub path: String,
    /// The target's query as received; see [`Seen::param`] for decoded values.
    pub query: String,
    /// The bucket, decoded; empty for `/`.
    pub bucket: String,
    /// The key, decoded; empty for a bucket.
    pub key: String,
    pub headers: HeaderMap,
    /// The bytes that a satisfiable `Range` requested, of the object as it was on arrival.
    pub range: Option<Range<u64>>,
    /// The status of the response; 0 until its head is being sent.
    pub status: u16,
    /// Body bytes of the response handed to the kernel so far.
    pub body_bytes_sent: u64,
    /// Bytes of the request body read so far, as on the wire.
    pub body_bytes_received: u64,
    /// The request body without aws-chunked framing; empty until it has arrived completely.
    pub body: Bytes,
    /// The request body as received.
    pub raw_body: Bytes,
    /// The trailers of an aws-chunked body, names in lower case.
    pub trailers: Vec<(String, String)>,
    /// Number of the connection that it came on, counted from 0.
    pub connection: u64,
    /// Whether the whole response was handed to the kernel, as intended.
    pub complete: bool,
    /// Whether nothing more will be sent: the response is complete, a fault ended it, or the peer has disconnected.
    pub done: bool,
}

impl Seen {
    /// Returns the decoded value of a query parameter; empty for one without `=`.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<String> {
        self.params().find(|(n, _)| n == name).map(|(_, value)| value)
    }

    #[must_use]
    pub fn has_param(&self, name: &str) -> bool {
        self.param(name).is_some()
    }

    /// Returns all query parameters, decoded, in order.
    pub fn params(&self) -> impl Iterator<Item = (String, String)> + '_ {
        self.query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decode = |text: &str| percent_decode(&text.replace('+', " "));
            (decode(name), decode(value))
        })
    }

    /// Returns a header's value as text; empty when it is absent.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    pub(super) fn content_length(&self) -> Option<usize> {
        self.headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
    }

    pub(super) fn is_chunked(&self) -> bool {
        self.headers.contains_key(TRANSFER_ENCODING)
    }

    pub(super) fn expects_continue(&self) -> bool {
        self.headers.get(EXPECT).is_some_and(|value| value == "100-continue")
    }

    pub(super) fn wants_close(&self) -> bool {
        let value = self.headers.get(CONNECTION).and_then(|value| value.to_str().ok());
        value.is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

/// Takes one request head from the front of `buffer`; `None` until it has arrived completely.
pub(super) fn take_head(buffer: &mut BytesMut, connection: u64) -> Result<Option<Seen>, String> {
    let mut fields = [httparse::EMPTY_HEADER; 128];
    let mut request = httparse::Request::new(&mut fields);
    let length = match request.parse(buffer) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if buffer.len() < 64 * 1024 => return Ok(None),
        Ok(httparse::Status::Partial) => return Err("a head of more than 64 KiB".into()),
        Err(error) => return Err(format!("a malformed head: {error}")),
    };
    let method = request.method.unwrap_or_default().parse().map_err(|_| "a bad method")?;
    let target = request.path.unwrap_or_default().to_owned();
    let mut headers = HeaderMap::new();
    for field in request.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| "a bad header")?;
        let value = HeaderValue::from_bytes(field.value).map_err(|_| "a bad header value")?;
        headers.append(name, value);
    }
    buffer.advance(length);
    Ok(Some(seen(method, target, headers, connection)))
}

fn seen(method: Method, target: String, headers: HeaderMap, connection: u64) -> Seen {
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let inner = path.strip_prefix('/').unwrap_or(path);
    let (bucket, key) = inner.split_once('/').unwrap_or((inner, ""));
    Seen {
        method,
        path: path.to_owned(),
        query: query.to_owned(),
        bucket: percent_decode(bucket),
        key: percent_decode(key),
        target,
        headers,
        range: None,
        status: 0,
        body_bytes_sent: 0,
        body_bytes_received: 0,
        body: Bytes::new(),
        raw_body: Bytes::new(),
        trailers: Vec::new(),
        connection,
        complete: false,
        done: false,
    }
}

/// Decodes `%XX`; leaves anything that is not an escape unchanged.
pub(super) fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escape = bytes.get(at + 1..at + 3).and_then(|hex| std::str::from_utf8(hex).ok());
        match escape.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) if bytes[at] == b'%' => {
                out.push(byte);
                at += 3;
            }
            _ => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Result of a request's `Range` for an object of some size.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// No range, or one that S3 ignores: malformed, several, or last before first.
    Whole,
    Part(Range<u64>),
    Unsatisfiable,
}

pub(super) fn asked_range(headers: &HeaderMap, size: u64) -> Asked {
    let value = headers.get(RANGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let Some((first, last)) = value.strip_prefix("bytes=").and_then(|range| range.split_once('-'))
    else {
        return Asked::Whole;
    };
    let range = match (digits(first), digits(last)) {
        (Some(first), None) if last.is_empty() => first..size,
        (Some(first), Some(last)) if last >= first => first..size.min(last.saturating_add(1)),
        (None, Some(suffix)) if first.is_empty() => size.saturating_sub(suffix)..size,
        _ => return Asked::Whole,
    };
    if range.start >= range.end { Asked::Unsatisfiable } else { Asked::Part(range) }
}

fn digits(text: &str) -> Option<u64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// Escapes text for an XML element.
pub(super) fn xml_escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Returns the texts of all elements of this name, in order: enough for the XML that S3 clients send.
pub(super) fn xml_values(xml: &[u8], name: &str) -> Vec<String> {
    let text = String::from_utf8_lossy(xml);
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let values = text.split(open.as_str()).skip(1).filter_map(|rest| rest.split_once(&close));
    values.map(|(value, _)| xml_unescape(value)).collect()
}

fn xml_unescape(text: &str) -> String {
    let named = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'"), ("&amp;", "&")];
    named.iter().fold(text.to_owned(), |text, (entity, plain)| text.replace(entity, plain))
}
