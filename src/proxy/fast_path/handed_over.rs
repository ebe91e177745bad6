//! Parse and authorization results that the fast path hands over to pingora's session, for a request that it did not
//! answer.
//!
//! A verdict on one request must never serve another, so three invariants hold:
//! - it is left with the connection that the head came by, whose address and certificate the verdict depends on;
//! - it is taken once, and replaced before the next session begins;
//! - it holds only for a head that is equal in every part that the verdict depends on (see [`HandedOver::is_of`]):
//!   any other head is parsed and authorized anew.

use bytes::Bytes;
use http::header::{CONNECTION, EXPECT, HOST, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use memchr::memchr;
use tokio::time::Instant;

use crate::auth::Admitted;
use crate::cache::Policy;
use crate::metrics::Operation as OperationLabel;
use crate::proxy::client_limits::Charge;
use crate::s3::{BucketName, ObjectId, ObjectKey, Parsed, RequestHead, S3Error};

/// A parsed request, and the decision on it.
#[derive(Debug)]
pub(in crate::proxy) struct Understood {
    pub operation: OperationLabel,
    /// Bucket and key of the request.
    pub named: Option<(BucketName, Option<ObjectKey>)>,
    pub verdict: Result<(Parsed, Admitted), S3Error>,
}

/// The head of a request without a body.
#[derive(Debug)]
pub(in crate::proxy) struct Head {
    pub method: Method,
    /// Without the listener's path prefix.
    pub target: Bytes,
    pub headers: HeaderMap,
}

impl Head {
    /// Parses a head that was checked by [`crate::proxy::conn::head`]; `None` for any that is not simple.
    pub(in crate::proxy) fn parse(head: &[u8]) -> Option<Self> {
        let method = match head {
            [b'G', b'E', b'T', b' ', b'/', ..] => Method::GET,
            [b'H', b'E', b'A', b'D', b' ', b'/', ..] => Method::HEAD,
            _ => return None,
        };
        let head = Bytes::copy_from_slice(head);
        let mut line_end = memchr(b'\n', &head)?;
        let line = head[..line_end].strip_suffix(b" HTTP/1.1\r")?;
        let target = head.slice(method.as_str().len() + 1..line.len());
        // pingora does not accept these bytes in a target either.
        if target.iter().any(|byte| matches!(byte, b'<' | b'>' | b'"' | b'`')) {
            return None;
        }
        let mut headers = HeaderMap::with_capacity(16);
        loop {
            let start = line_end + 1;
            line_end = start + memchr(b'\n', &head[start..])?;
            let line = head[start..line_end].strip_suffix(b"\r")?;
            if line.is_empty() {
                return Some(Self { method, target, headers });
            }
            let colon = memchr(b':', line)?;
            let name = HeaderName::from_bytes(&line[..colon]).ok()?;
            let value =
                HeaderValue::from_maybe_shared(head.slice_ref(line[colon + 1..].trim_ascii()));
            let value = value.ok()?;
            let stays = !(name == CONNECTION || name == EXPECT || name == UPGRADE)
                || name == CONNECTION && value.as_bytes().eq_ignore_ascii_case(b"keep-alive");
            if !stays {
                return None;
            }
            headers.append(name, value);
        }
    }

    pub(in crate::proxy) fn as_request(&self) -> RequestHead<'_> {
        RequestHead {
            method: &self.method,
            raw_target: &self.target,
            host: self.headers.get(HOST).and_then(|host| host.to_str().ok()),
            headers: &self.headers,
            has_body: false,
        }
    }
}

/// A request that the fast path parsed and did not answer.
#[derive(Debug)]
pub(in crate::proxy) struct HandedOver {
    pub head: Head,
    /// Time at which the request arrived.
    pub started: Instant,
    pub understood: Understood,
    /// The object that the request reads and the rule for it, where the cache may answer.
    pub cacheable: Option<(ObjectId, Policy)>,
    /// Its charge against the limits of its client.
    pub charge: Charge,
}

impl HandedOver {
    /// Whether a session's head equals the one that the verdict is about, in every part that the verdict depends on.
    pub(in crate::proxy) fn is_of(&self, seen: &RequestHead<'_>) -> bool {
        let head = self.head.as_request();
        *head.method == *seen.method
            && head.raw_target == seen.raw_target
            && head.host == seen.host
            && head.has_body == seen.has_body
            && head.headers == seen.headers
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::conn::client::Client;

    const HEAD: &[u8] =
        b"GET /b/k?x=y HTTP/1.1\r\nHost: h\r\nAuthorization: by one\r\nRange: bytes=0-1\r\n\r\n";

    fn handed_over(head: &[u8]) -> Box<HandedOver> {
        let head = Head::parse(head).unwrap();
        let verdict = Err(S3Error::access_denied());
        let understood = Understood { operation: OperationLabel::GetObject, named: None, verdict };
        let (started, charge) = (Instant::now(), Charge::default());
        Box::new(HandedOver { head, started, understood, cacheable: None, charge })
    }

    #[test]
    fn a_verdict_holds_for_an_equal_head_only() {
        let handed_over = handed_over(HEAD);
        assert!(handed_over.is_of(&Head::parse(HEAD).unwrap().as_request()));
        let text = std::str::from_utf8(HEAD).unwrap();
        for (from, to) in [
            ("GET", "HEAD"),
            ("/b/k", "/b/l"),
            ("/b/k", "/b/%6b"),
            ("?x=y", ""),
            ("Host: h", "Host: i"),
            ("by one", "by two"),
            ("by one", "by one\r\nAuthorization: by one"),
            ("Authorization: by one\r\n", ""),
            ("Range: bytes=0-1\r\n", ""),
            ("bytes=0-1", "bytes=0-2"),
            ("Range:", "x-amz-acl: private\r\nRange:"),
        ] {
            let other = Head::parse(text.replace(from, to).as_bytes()).unwrap();
            assert!(!handed_over.is_of(&other.as_request()), "{to}");
        }
        let head = Head::parse(HEAD).unwrap();
        assert!(!handed_over.is_of(&RequestHead { has_body: true, ..head.as_request() }));
        assert!(!handed_over.is_of(&RequestHead { host: None, ..head.as_request() }));
    }

    #[test]
    fn a_verdict_is_taken_once_and_never_left_for_a_later_session() {
        let client = Client::new(None);
        assert!(client.take_over().is_none());
        client.hand_over(Some(handed_over(HEAD)));
        assert!(client.take_over().is_some());
        assert!(client.take_over().is_none());
        client.hand_over(Some(handed_over(HEAD)));
        client.hand_over(None);
        assert!(client.take_over().is_none());
    }
}
