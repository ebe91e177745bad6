//! Detection of forwarding loops by `CDN-Loop` (RFC 8586).
//!
//! Each process has its own id, and adds it to all requests to the origin. A request that arrives with it was sent by
//! this process: `origin.endpoint` leads back here, directly or through other caches.
//!
//! A fetch of the cache serves many readers and carries none of their headers (R4). It carries the ids of other hotsets
//! that forwarded requests to this one lately. Otherwise one of them that is also the origin would take the fetch for a
//! new request, and wait for its own fetch, which waits for this one.

use std::time::Duration;

use http::StatusCode;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use parking_lot::Mutex;
use pingora::http::RequestHeader;
use tokio::time::Instant;

use crate::pacing::RateLimit;
use crate::s3::S3Error;

/// The header that names all proxies which forwarded a request, in order.
pub const CDN_LOOP: HeaderName = HeaderName::from_static("cdn-loop");

const PREFIX: &str = "hotset-";
/// Number of hexadecimal digits of an id.
const DIGITS: usize = 16;
/// Time for which another hotset is remembered as forwarding to this one.
const REMEMBERED: Duration = Duration::from_mins(10);
/// Maximum number of other hotsets remembered.
const MOST: usize = 16;
/// Minimum time between two log lines.
const LOG_INTERVAL: Duration = Duration::from_mins(1);

/// The loop detection of one process.
#[derive(Debug)]
pub struct LoopGuard {
    id: HeaderValue,
    /// Ids of other hotsets, and the time at which each forwarded last.
    senders: Mutex<Vec<(HeaderValue, Instant)>>,
    log: Mutex<RateLimit>,
}

impl Default for LoopGuard {
    fn default() -> Self {
        let id = format!("{PREFIX}{:0DIGITS$x}", rand::random::<u64>());
        Self {
            id: HeaderValue::try_from(id).expect("a token is a legal value"),
            senders: Mutex::default(),
            log: Mutex::new(RateLimit::new(LOG_INTERVAL)),
        }
    }
}

impl LoopGuard {
    /// Rejects a request that this process has sent itself.
    ///
    /// # Errors
    /// 508 `LoopDetected`.
    pub fn check(&self, headers: &HeaderMap) -> Result<(), S3Error> {
        if !ids(headers).any(|id| id == self.id.as_bytes()) {
            return Ok(());
        }
        if self.log.lock().allow() {
            log::error!(
                "a request to the origin came back to this hotset and was answered 508: origin.endpoint leads here"
            );
        }
        Err(S3Error::new(
            StatusCode::LOOP_DETECTED,
            "LoopDetected",
            "The request has passed through this hotset before (CDN-Loop): origin.endpoint leads back to it.",
        ))
    }

    /// Remembers the other hotsets that forwarded this request.
    pub fn remember_senders(&self, headers: &HeaderMap) {
        let mut sent_by = ids(headers).filter(|id| is_hotset(id)).peekable();
        if sent_by.peek().is_none() {
            return;
        }
        let now = Instant::now();
        let mut senders = self.senders.lock();
        senders.retain(|(_, at)| now - *at < REMEMBERED);
        for id in sent_by {
            if let Some((_, at)) = senders.iter_mut().find(|(known, _)| known.as_bytes() == id) {
                *at = now;
            } else if senders.len() < MOST {
                senders.extend(HeaderValue::from_bytes(id).map(|id| (id, now)).ok());
            }
        }
    }

    /// Adds this process's id to a request that passes through.
    pub fn mark(&self, head: &mut RequestHeader) {
        append(head, &self.id);
    }

    /// Adds this process's id, and those of hotsets that may wait for it, to a fetch of the cache.
    pub(super) fn mark_own(&self, head: &mut RequestHeader) {
        let now = Instant::now();
        for (id, at) in &*self.senders.lock() {
            if now - *at < REMEMBERED {
                append(head, id);
            }
        }
        append(head, &self.id);
    }
}

fn append(head: &mut RequestHeader, id: &HeaderValue) {
    head.append_header(CDN_LOOP, id.clone()).expect("a header from a HeaderMap is legal");
}

/// Returns the ids in all header lines, without their parameters.
fn ids(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let lines = headers.get_all(CDN_LOOP).iter();
    let infos = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    infos.filter_map(|info| info.split(|byte| *byte == b';').next()).map(<[u8]>::trim_ascii)
}

fn is_hotset(id: &[u8]) -> bool {
    id.strip_prefix(PREFIX.as_bytes())
        .is_some_and(|digits| digits.len() == DIGITS && digits.iter().all(u8::is_ascii_hexdigit))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(CDN_LOOP, HeaderValue::from_str(line).unwrap());
        }
        headers
    }

    fn marked(guard: &LoopGuard) -> Vec<String> {
        let mut head = RequestHeader::build("GET", b"/", None).unwrap();
        guard.mark_own(&mut head);
        let values = head.headers.get_all(CDN_LOOP).iter();
        values.map(|value| value.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn a_request_with_our_id_among_others_is_a_loop() {
        let guard = LoopGuard::default();
        let id = guard.id.to_str().unwrap();
        for lines in [
            &[id][..],
            &["a.example, b", id],
            &[&format!("a ,{id} ; x=\"1\" , b")],
            &[&format!("{id};trace=1")],
        ] {
            let error = guard.check(&headers(lines)).unwrap_err();
            assert_eq!((error.status.as_u16(), &*error.code), (508, "LoopDetected"), "{lines:?}");
        }
        for lines in [&[][..], &["hotset"], &[&format!("{id}0")], &[&format!("x;y={id}")]] {
            assert!(guard.check(&headers(lines)).is_ok(), "{lines:?}");
        }
        assert!(LoopGuard::default().check(&headers(&[id])).is_ok(), "another process");
    }

    #[tokio::test(start_paused = true)]
    async fn our_own_requests_carry_the_ids_of_hotsets_before_us_for_a_while() {
        let guard = LoopGuard::default();
        let id = guard.id.to_str().unwrap();
        assert_eq!(marked(&guard), [id]);
        let other = "hotset-00112233445566ff";
        for _ in 0..2 {
            guard.remember_senders(&headers(&["a.example", &format!("b;c, {other}; d")]));
        }
        assert_eq!(marked(&guard), [other, id]);
        tokio::time::advance(REMEMBERED).await;
        assert_eq!(marked(&guard), [id]);
    }

    #[test]
    fn only_so_many_senders_are_remembered() {
        let guard = LoopGuard::default();
        for n in 0..100 {
            guard.remember_senders(&headers(&[&format!("hotset-{n:016x}")]));
        }
        assert_eq!(marked(&guard).len(), MOST + 1);
    }
}
