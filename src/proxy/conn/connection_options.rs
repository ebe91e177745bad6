//! The options of a `Connection` header (RFC 9110, section 7.6.1).
//!
//! A header that an option names is removed before the request goes to the origin. Invariant: no header that was
//! acted upon is removed (R36). An option that names a header of S3's, or one of HTTP that is meant for all
//! recipients, is refused, whether or not that header is present.

use http::HeaderMap;
use http::header::HeaderName;

use crate::s3::VENDOR_PREFIXES;
use crate::s3::field::{connection_options, is_token};

/// pingora gives up at one option more.
const MOST: usize = 9;
const FOR_ALL: [&str; 15] = [
    "accept",
    "accept-encoding",
    "authorization",
    "cache-control",
    "cookie",
    "date",
    "expect",
    "forwarded",
    "host",
    "origin",
    "pragma",
    "range",
    "referer",
    "user-agent",
    "via",
];
const PREFIXES_FOR_ALL: [&str; 6] =
    ["x-amz-", "x-forwarded-", "content-", "if-", "access-control-", "sec-"];

/// Whether a `Connection` header names only what its recipient on this connection may act upon.
pub(in crate::proxy) fn are_allowed(headers: &HeaderMap) -> bool {
    connection_options(headers).enumerate().all(|(index, option)| {
        let named = named(option).filter(|_| index < MOST);
        named.is_some_and(|name| !is_for_all(name.as_str()))
    })
}

fn is_for_all(name: &str) -> bool {
    let vendors = VENDOR_PREFIXES.iter();
    FOR_ALL.contains(&name)
        || PREFIXES_FOR_ALL.iter().chain(vendors).any(|prefix| name.starts_with(prefix))
}

fn named(option: &[u8]) -> Option<HeaderName> {
    HeaderName::from_bytes(option).ok().filter(|_| is_token(option))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use http::header::CONNECTION;

    fn allowed(options: &[&'static str]) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert("range", HeaderValue::from_static("bytes=0-1"));
        headers.insert("keep-alive", HeaderValue::from_static("timeout=5"));
        headers.insert("x-custom", HeaderValue::from_static("1"));
        for option in options {
            headers.append(CONNECTION, HeaderValue::from_static(option));
        }
        are_allowed(&headers)
    }

    #[test]
    fn r36_what_belongs_to_the_connection_may_be_named() {
        for options in [
            &[][..],
            &[""],
            &["close"],
            &["Keep-Alive"],
            &["Upgrade, HTTP2-Settings"],
            &["TE", "close, Trailer, Transfer-Encoding"],
            &["x-not-there"],
            &["x-custom"],
        ] {
            assert!(allowed(options), "{options:?}");
        }
    }

    #[test]
    fn r36_what_is_for_all_recipients_may_not_be_named() {
        for options in [
            &["x-amz-expected-bucket-owner"][..],
            &["X-Amz-Not-There"],
            &["close, Range"],
            &["close", "range"],
            &["If-Match"],
            &["content-length"],
            &["authorization"],
            &["host"],
            &["x-forwarded-for"],
            &["\"range\""],
            &["a b"],
            &["a,b,c,d,e,f,g,h,i,j"],
        ] {
            assert!(!allowed(options), "{options:?}");
        }
    }
}
