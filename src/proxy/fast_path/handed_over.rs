//! What the fast path understood of a request that it did not answer, on its way to the session that will.
//!
//! A verdict on one request must never serve another, so three invariants hold:
//! - it is left with the connection that the head came by, whose address and certificate it was asked for;
//! - it is taken once, and whatever is left of it is replaced before the next session begins;
//! - it holds only for a head that is equal in everything that it was made of (see [`HandedOver::is_of`]): any other
//!   head is understood anew.

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

/// What a request asks for, and whether its sender may.
#[derive(Debug)]
pub(in crate::proxy) struct Understood {
    pub operation: OperationLabel,
    /// The bucket and the key that it names.
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
    /// From a head that was checked by [`crate::proxy::conn::head`]; `None` for all that is not simple.
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
        // Nor does pingora take these in a target.
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

/// A request that the fast path understood and did not answer.
#[derive(Debug)]
pub(in crate::proxy) struct HandedOver {
    pub head: Head,
    /// When it came.
    pub started: Instant,
    pub understood: Understood,
    /// The object that it reads and the rule for it, where the cache may answer.
    pub cacheable: Option<(ObjectId, Policy)>,
    /// What was charged to its client.
    pub charge: Charge,
}

impl HandedOver {
    /// Whether a session's head is the one that was understood: equal in all that its verdict was made of.
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
