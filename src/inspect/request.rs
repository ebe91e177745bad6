//! Finished requests, as watchers see them.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::logging::text::public_target;
use crate::metrics::attribution::OriginUse;

/// Maximum bytes of a target or an error; a longer one is truncated.
const TEXT_MAX: usize = 2048;

/// A finished request.
#[derive(Clone, Copy)]
pub struct Seen<'a> {
    pub request_id: [u8; 16],
    pub client: Option<&'a dyn Display>,
    pub method: &'a str,
    /// The request target as received; secrets are removed when it is shown.
    pub target: &'a [u8],
    pub operation: &'static str,
    pub bucket: Option<&'a str>,
    pub key: Option<&'a str>,
    pub identity: Option<&'a str>,
    pub rule: Option<&'a str>,
    /// Status of the response; 0: there was none.
    pub status: u16,
    pub code: Option<&'a str>,
    pub error: Option<&'a str>,
    pub cache: &'static str,
    pub miss: Option<&'static str>,
    pub bytes: u64,
    pub from_memory: u64,
    pub from_disk: u64,
    pub from_origin: u64,
    pub duration: Duration,
    pub first_byte: Option<Duration>,
    pub origin_request_id: Option<&'a str>,
    /// Requests to the origin; `None`: the request began before anybody watched.
    pub origin: Option<&'a OriginUse>,
}

#[derive(Serialize)]
struct Line<'a> {
    time: f64,
    request_id: &'a str,
    client: Option<String>,
    method: &'a str,
    path: String,
    operation: &'a str,
    bucket: Option<&'a str>,
    key: Option<&'a str>,
    identity: Option<&'a str>,
    rule: Option<&'a str>,
    status: u16,
    code: Option<&'a str>,
    error: Option<&'a str>,
    cache: &'a str,
    miss: Option<&'a str>,
    bytes: u64,
    bytes_from: BytesFrom,
    seconds: f64,
    first_byte_seconds: Option<f64>,
    origin_request_id: Option<&'a str>,
    origin: Option<Origin>,
}

#[derive(Serialize)]
struct BytesFrom {
    memory: u64,
    disk: u64,
    origin: u64,
}

#[derive(Serialize)]
struct Origin {
    requests: u32,
    outcomes: BTreeMap<&'static str, u32>,
    retries: u32,
    bytes: u64,
    first_byte_seconds: f64,
}

impl Seen<'_> {
    /// Returns the request as one line of JSON.
    pub(super) fn json(&self, now: SystemTime) -> Vec<u8> {
        let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let line = Line {
            time: since.as_secs_f64(),
            request_id: std::str::from_utf8(&self.request_id).unwrap_or_default(),
            client: self.client.map(ToString::to_string),
            method: self.method,
            path: self.path(),
            operation: self.operation,
            bucket: self.bucket,
            key: self.key,
            identity: self.identity,
            rule: self.rule,
            status: self.status,
            code: self.code,
            error: self.error.map(cut),
            cache: self.cache,
            miss: self.miss,
            bytes: self.bytes,
            bytes_from: BytesFrom {
                memory: self.from_memory,
                disk: self.from_disk,
                origin: self.from_origin,
            },
            seconds: self.duration.as_secs_f64(),
            first_byte_seconds: self.first_byte.map(|time| time.as_secs_f64()),
            origin_request_id: self.origin_request_id,
            origin: self.origin.map(|origin| Origin {
                requests: origin.requests(),
                outcomes: origin.outcomes().map(|(of, count)| (of.label(), count)).collect(),
                retries: origin.retries(),
                bytes: origin.bytes(),
                first_byte_seconds: origin.first_byte().as_secs_f64(),
            }),
        };
        let mut text = serde_json::to_vec(&line).unwrap_or_default();
        text.push(b'\n');
        text
    }

    /// Returns the target without the secrets of a presigned URL.
    pub(super) fn path(&self) -> String {
        let mut public = Vec::with_capacity(self.target.len());
        public_target(self.target, |piece| public.extend_from_slice(piece));
        cut(&String::from_utf8_lossy(&public)).to_owned()
    }
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT_MAX)]
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::inspect) fn seen<'a>(key: &'a str, origin: &'a OriginUse) -> Seen<'a> {
        Seen {
            request_id: *b"00000000000000AF",
            client: Some(&"192.0.2.1:80"),
            method: "GET",
            target: b"/photos/k?X-Amz-Signature=secret",
            operation: "GetObject",
            bucket: Some("photos"),
            key: Some(key),
            identity: Some("app"),
            rule: Some("**"),
            status: 503,
            code: Some("SlowDown"),
            error: None,
            cache: "miss",
            miss: Some("new"),
            bytes: 300,
            from_memory: 0,
            from_disk: 0,
            from_origin: 300,
            duration: Duration::from_millis(1500),
            first_byte: None,
            origin_request_id: None,
            origin: Some(origin),
        }
    }

    #[test]
    fn a_line_is_json_without_secrets_and_bounded() {
        let origin = OriginUse::default();
        origin.add_bytes(65536);
        let target = ["/photos/", &"k".repeat(9000)].concat();
        let seen = seen("k", &origin);
        let line = seen.json(SystemTime::UNIX_EPOCH + Duration::from_secs(7));
        let text = String::from_utf8(line).unwrap();
        assert!(
            text.ends_with("}\n") && text.lines().count() == 1 && !text.contains("secret"),
            "{text}"
        );
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&read["time"], &read["status"]), (&7.0.into(), &503.into()));
        assert_eq!(read["path"], "/photos/k?X-Amz-Signature=REDACTED");
        assert_eq!(
            (&read["origin"]["bytes"], &read["origin"]["requests"]),
            (&65536.into(), &0.into())
        );
        let long = Seen { target: target.as_bytes(), ..seen };
        assert!(long.json(SystemTime::UNIX_EPOCH).len() < 3000);
    }
}
