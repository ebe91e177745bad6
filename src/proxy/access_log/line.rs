//! Fields of one access log line, and their plain and JSON formats.

use std::fmt::Display;
use std::io::Write as _;
use std::time::{Duration, SystemTime};

use http::header::USER_AGENT;
use http::{HeaderMap, HeaderValue};

use crate::logging::text::{escaped, http_date, json_string, number, public_target, seconds};

/// Fields of one line of the access log.
pub(super) struct Line<'a> {
    /// Address of the client; `None` for a unix socket.
    pub client: Option<&'a dyn Display>,
    pub method: &'a str,
    /// Request target as it came over the wire; secrets are left out when it is written.
    pub target: &'a [u8],
    pub status: u16,
    pub bytes: usize,
    pub duration: Duration,
    pub first_byte: Duration,
    pub cache: &'static str,
    /// Reason that the cache alone did not answer a read; `None`: it did.
    pub miss: Option<&'static str>,
    /// Name of the S3 operation.
    pub operation: &'static str,
    /// Request id: sixteen hexadecimal digits.
    pub request_id: [u8; 16],
    /// Header fields of the request.
    pub headers: &'a HeaderMap,
    /// HTTP version, such as `HTTP/1.1`.
    pub version: &'static str,
    pub bucket: Option<&'a str>,
    pub key: Option<&'a str>,
    /// Size of the whole object.
    pub object_size: Option<u64>,
    /// Pattern of the rule that matches the object.
    pub rule: Option<&'a str>,
    /// Request id of the origin's response.
    pub origin_request_id: Option<&'a str>,
    /// Name of the sender's identity, also of a request that was refused.
    pub identity: Option<&'a str>,
    /// S3 error code of a response that hotset made itself.
    pub code: Option<&'a str>,
    pub error: Option<String>,
    /// SHA-256 fingerprint of the client certificate, in hexadecimal digits.
    pub certificate: Option<String>,
    /// Number of lines before this one that were dropped.
    pub dropped: u64,
}

impl Line<'_> {
    /// Appends the line in plain format: words separated by spaces, optional ones as `name=value`.
    pub(super) fn plain(&self, now: SystemTime, out: &mut Vec<u8>) {
        self.address(out);
        out.extend_from_slice(b" [");
        http_date(out, now);
        out.extend_from_slice(b"] \"");
        out.extend_from_slice(self.method.as_bytes());
        out.push(b' ');
        public_target(self.target, |piece| escaped(out, piece));
        out.extend_from_slice(b"\" ");
        number(out, self.status.into());
        out.push(b' ');
        number(out, self.bytes as u64);
        out.push(b' ');
        seconds(out, self.duration);
        out.push(b' ');
        seconds(out, self.first_byte);
        for word in [self.cache.as_bytes(), &self.request_id] {
            out.push(b' ');
            out.extend_from_slice(word);
        }
        out.extend_from_slice(b" \"");
        escaped(out, self.agent().unwrap_or(b"-"));
        out.extend_from_slice(b"\" operation=");
        out.extend_from_slice(self.operation.as_bytes());
        let words = [
            (" miss=", self.miss),
            (" identity=", self.identity),
            (" code=", self.code),
            (" rule=", self.rule),
            (" origin_request=", self.origin_request_id),
        ];
        for (name, value) in words {
            if let Some(value) = value {
                out.extend_from_slice(name.as_bytes());
                escaped(out, value.as_bytes());
            }
        }
        if let Some(error) = &self.error {
            out.extend_from_slice(b" error=\"");
            escaped(out, error.as_bytes());
            out.push(b'"');
        }
        if self.dropped > 0 {
            out.extend_from_slice(b" dropped=");
            number(out, self.dropped);
        }
        out.push(b'\n');
    }

    /// Appends the line as a JSON object; unknown fields are `null`.
    pub(super) fn json(&self, now: SystemTime, out: &mut Vec<u8>) {
        let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        out.extend_from_slice(b"{\"time\":");
        seconds(out, since);
        out.extend_from_slice(b",\"client\":\"");
        self.address(out);
        out.extend_from_slice(b"\",\"method\":");
        json_string(out, self.method.as_bytes());
        out.extend_from_slice(b",\"path\":");
        match memchr::memchr(b'?', self.target) {
            None => json_string(out, self.target),
            Some(_) => {
                let mut public = Vec::with_capacity(self.target.len());
                public_target(self.target, |piece| public.extend_from_slice(piece));
                json_string(out, &public);
            }
        }
        out.extend_from_slice(b",\"status\":");
        number(out, self.status.into());
        out.extend_from_slice(b",\"bytes\":");
        number(out, self.bytes as u64);
        out.extend_from_slice(b",\"seconds\":");
        seconds(out, self.duration);
        out.extend_from_slice(b",\"first_byte_seconds\":");
        seconds(out, self.first_byte);
        let words: [(&str, Option<&[u8]>); 11] = [
            (",\"cache\":", Some(self.cache.as_bytes())),
            (",\"miss\":", self.miss.map(str::as_bytes)),
            (",\"operation\":", Some(self.operation.as_bytes())),
            (",\"request_id\":", Some(&self.request_id)),
            (",\"user_agent\":", Some(self.agent().unwrap_or(b"-"))),
            (",\"identity\":", self.identity.map(str::as_bytes)),
            (",\"code\":", self.code.map(str::as_bytes)),
            (",\"rule\":", self.rule.map(str::as_bytes)),
            (",\"origin_request_id\":", self.origin_request_id.map(str::as_bytes)),
            (",\"error\":", self.error.as_deref().map(str::as_bytes)),
            (",\"client_certificate\":", self.certificate.as_deref().map(str::as_bytes)),
        ];
        for (name, value) in words {
            out.extend_from_slice(name.as_bytes());
            match value {
                Some(value) => json_string(out, value),
                None => out.extend_from_slice(b"null"),
            }
        }
        out.extend_from_slice(b",\"dropped\":");
        number(out, self.dropped);
        out.extend_from_slice(b"}\n");
    }

    fn agent(&self) -> Option<&[u8]> {
        self.headers.get(USER_AGENT).map(HeaderValue::as_bytes)
    }

    pub(super) fn address(&self, out: &mut Vec<u8>) {
        if let Some(client) = self.client {
            let _ = write!(out, "{client}");
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;
    pub(in crate::proxy::access_log) const HOSTILE: &[u8] = b"/k\" 200 \\\r\n\t\x1b[2J\x7f\xc2\x9b";

    pub(in crate::proxy::access_log) fn line<'a>(
        target: &'a [u8],
        headers: &'a HeaderMap,
        error: Option<&str>,
    ) -> Line<'a> {
        Line {
            client: Some(&"192.0.2.1:1"),
            method: "GET",
            target,
            status: 200,
            bytes: 4096,
            duration: Duration::from_micros(1_000_021),
            first_byte: Duration::from_micros(12),
            cache: "hit",
            miss: None,
            operation: "GetObject",
            request_id: *b"00000000000000AF",
            headers,
            version: "HTTP/1.1",
            bucket: None,
            key: None,
            object_size: None,
            rule: None,
            origin_request_id: None,
            identity: Some("a\"b"),
            code: None,
            error: error.map(str::to_owned),
            certificate: None,
            dropped: 0,
        }
    }

    /// A user agent with every hostile byte that a header can hold.
    const HOSTILE_AGENT: &[u8] = b"a\" \\\t\xc2\x9b";

    fn agent(agent: &[u8]) -> HeaderMap {
        HeaderMap::from_iter([(USER_AGENT, HeaderValue::from_bytes(agent).unwrap())])
    }

    fn plain(line: &Line<'_>) -> String {
        let mut out = Vec::new();
        line.plain(NOW, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_plain_line_has_its_words_in_order() {
        let agent = agent(b"curl");
        let mut line = line(b"/b/k?X-Amz-Signature=a&x-id=b", &agent, None);
        (line.code, line.dropped, line.miss) = (Some("NoSuchKey"), 7, Some("new"));
        (line.rule, line.origin_request_id) = (Some("b/**"), Some("9"));
        assert_eq!(
            plain(&line),
            "192.0.2.1:1 [Thu, 01 Jan 1970 00:00:00 GMT] \"GET /b/k?X-Amz-Signature=REDACTED&x-id=b\" 200 4096 \
             1.000021 0.000012 hit 00000000000000AF \"curl\" operation=GetObject miss=new identity=a\\x22b code=NoSuchKey \
             rule=b/** origin_request=9 dropped=7\n"
        );
    }

    #[test]
    fn a_plain_line_is_escaped_as_nginx_does() {
        let (agent, printed) = (agent(HOSTILE_AGENT), r"a\x22 \x5C\x09\xC2\x9B");
        let text = plain(&line(HOSTILE, &agent, Some("it \"broke\"\n")));
        let escaped = r"/k\x22 200 \x5C\x0D\x0A\x09\x1B[2J\x7F\xC2\x9B";
        assert!(text.contains(&format!("\"GET {escaped}\" 200 4096 ")), "{text}");
        assert!(text.contains(&format!(" \"{printed}\" operation=GetObject ")), "{text}");
        assert!(text.ends_with(" error=\"it \\x22broke\\x22\\x0A\"\n"), "{text}");
    }

    #[test]
    fn a_json_line_reads_back_and_holds_no_control_character() {
        let mut out = Vec::new();
        line(HOSTILE, &agent(HOSTILE_AGENT), Some("it \"broke\"\n")).json(NOW, &mut out);
        let text = String::from_utf8(out).unwrap();
        let object = text.strip_suffix('\n').unwrap();
        assert!(!object.contains(char::is_control), "{text}");
        let read: serde_json::Value = serde_json::from_str(object).unwrap();
        assert_eq!(read["path"], *String::from_utf8_lossy(HOSTILE));
        assert_eq!(read["user_agent"], *String::from_utf8_lossy(HOSTILE_AGENT));
        assert_eq!(read["error"], "it \"broke\"\n");
        assert_eq!(read["identity"], "a\"b");
        assert_eq!(read["seconds"], 1.000_021);
        assert_eq!((&read["bytes"], &read["code"]), (&4096.into(), &serde_json::Value::Null));
    }
}
