//! The options of a `Connection` header (RFC 9110, section 7.6.1).
//!
//! A header that an option names is removed before the request goes to the origin. Invariant: nothing is removed that
//! was looked at (R36). So an option may name what belongs to the connection, and a header that is not there; the
//! sender of any other breaks the rule that a header for all recipients must not be named.

use http::HeaderMap;
use http::header::{CONNECTION, HOST, HeaderName};

/// What an option may name, whether it is there or not. `Transfer-Encoding` is never removed: the body's framing is
/// ours.
const HOP_BY_HOP: [&str; 10] = [
    "close",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
];
/// pingora gives up at one more.
const MOST: usize = 9;

/// Whether a `Connection` header names what only its recipient on this connection may act upon.
pub(super) fn are_allowed(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(CONNECTION).iter();
    let options = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    let options = options.map(<[u8]>::trim_ascii).filter(|option| !option.is_empty());
    for (index, option) in options.enumerate() {
        let Some(name) = named(option).filter(|_| index < MOST) else { return false };
        let is_end_to_end = name == HOST
            || name.as_str().starts_with("x-amz-")
            || name.as_str().starts_with("x-forwarded-")
            || headers.contains_key(&name);
        if is_end_to_end && !HOP_BY_HOP.contains(&name.as_str()) {
            return false;
        }
    }
    true
}

fn named(option: &[u8]) -> Option<HeaderName> {
    let is_tchar = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    HeaderName::from_bytes(option).ok().filter(|_| option.iter().all(is_tchar))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

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
            &["x-custom"],
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
