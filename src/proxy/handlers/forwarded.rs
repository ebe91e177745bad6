//! The headers of a client's request that are passed on to the origin under our signature.
//!
//! The list is an allow-list: an origin acts upon headers that S3 does not know (`X-Forwarded-Host` changes what some
//! take for the signed host, `Cookie` and `Referer` may identify the sender), and would do so in our name.

use http::HeaderMap;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, CACHE_CONTROL, EXPECT, EXPIRES, HeaderName, ORIGIN, RANGE,
    TRANSFER_ENCODING, USER_AGENT,
};

use crate::origin::CDN_LOOP;
use crate::s3::VENDOR_PREFIXES;
use crate::s3::field::is_connection_option;

/// Header fields that are forwarded. `Cache-Control` and `Expires` of a write are stored with the object.
const NAMES: [HeaderName; 15] = [
    ACCEPT,
    ACCEPT_ENCODING,
    ACCEPT_LANGUAGE,
    ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD,
    CACHE_CONTROL,
    CDN_LOOP,
    EXPECT,
    EXPIRES,
    ORIGIN,
    RANGE,
    TRANSFER_ENCODING,
    USER_AGENT,
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
];
const PREFIXES: [&str; 3] = ["content-", "if-", "x-amz-"];
/// `x-amz-` headers of the client's own signature, and of a CDN before us; they are dropped.
const DROPPED: [&str; 3] = ["x-amz-date", "x-amz-security-token", "x-amz-cf-id"];

/// Returns the headers that are sent to the origin.
pub(in crate::proxy) fn forwarded(headers: &HeaderMap) -> HeaderMap {
    let mut kept = HeaderMap::with_capacity(headers.len() + 4);
    for (name, value) in headers {
        let of_connection = || *name != TRANSFER_ENCODING && is_connection_option(headers, name);
        if is_forwarded(name) && !of_connection() {
            kept.append(name.clone(), value.clone());
        }
    }
    kept
}

fn is_forwarded(name: &HeaderName) -> bool {
    let text = name.as_str();
    let mut prefixes = PREFIXES.iter().chain(&VENDOR_PREFIXES);
    !DROPPED.contains(&text)
        && (NAMES.contains(name) || prefixes.any(|prefix| text.starts_with(prefix)))
}
