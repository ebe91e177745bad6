//! One line a request, plain or JSON, written by a thread of its own: a slow reader of our output must not
//! stop the workers. Lines that find the queue full are dropped and counted in the next one that is written.

use std::borrow::Cow;
use std::fmt::{Display, Write as _};
use std::io::{BufWriter, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::SystemTime;

use http::header::USER_AGENT;
use http::{HeaderMap, HeaderValue, Method};
use pingora::Error;
use pingora::proxy::Session;

use super::client::Client;
use super::config::AccessLog;
use super::context::RequestContext;
use super::ending::CLIENT_CLOSED_REQUEST;
use crate::metrics::{self, Source};
use crate::tls::ClientCertificate;

const QUEUE: usize = 8192;

/// Where lines go.
#[derive(Clone)]
pub struct AccessLogger {
    format: AccessLog,
    lines: SyncSender<String>,
    dropped: Arc<AtomicU64>,
}

/// A request and what became of it.
#[derive(Clone, Copy)]
pub(super) struct Exchange<'a> {
    /// `None` for a unix socket.
    pub address: Option<&'a dyn Display>,
    pub client: Option<&'a Client>,
    pub method: &'a Method,
    /// As it came over the wire.
    pub target: &'a [u8],
    pub headers: &'a HeaderMap,
    /// 0: there was no answer; 499: the client disconnected before it was complete.
    pub status: u16,
    /// Of the answer's body, as many as were sent.
    pub bytes: usize,
    pub error: Option<&'a Error>,
}

impl<'a> Exchange<'a> {
    /// `abandoned`: by the client, before the answer was complete.
    pub(super) fn of(session: &'a Session, error: Option<&'a Error>, abandoned: bool) -> Self {
        let head = session.req_header();
        let written = session.response_written().map_or(0, |head| head.status.as_u16());
        Self {
            address: session.client_addr().map(|address| address as &dyn Display),
            client: Client::of(session),
            method: &head.method,
            target: head.raw_path(),
            headers: &head.headers,
            status: if abandoned { CLIENT_CLOSED_REQUEST } else { written },
            bytes: session.body_bytes_sent(),
            error,
        }
    }
}

struct Line<'a> {
    client: &'a str,
    method: &'a str,
    path: Cow<'a, [u8]>,
    status: u16,
    bytes: usize,
    seconds: f64,
    first_byte: f64,
    cache: &'static str,
    operation: &'static str,
    request_id: String,
    agent: &'a [u8],
    identity: Option<&'a str>,
    /// S3's code of an error that is hotset's own.
    code: Option<&'a str>,
    error: Option<String>,
    /// SHA-256 of the certificate that the client showed, in hexadecimal digits.
    certificate: Option<String>,
}

impl AccessLogger {
    /// Starts the writing thread, unless the format is `off`.
    pub fn start(format: AccessLog) -> Self {
        let (lines, queue) = sync_channel(QUEUE);
        if format != AccessLog::Off {
            let writer = std::thread::Builder::new().name("access-log".to_owned());
            if let Err(error) = writer.spawn(move || write_all(&queue)) {
                log::error!("no access log: its thread does not start: {error}");
            }
        }
        Self { format, lines, dropped: Arc::default() }
    }

    pub(super) fn write(&self, exchange: &Exchange<'_>, ctx: &RequestContext) {
        if self.format == AccessLog::Off {
            return;
        }
        let Exchange { method, target, headers, status, bytes, error, .. } = *exchange;
        let client = exchange.address.map(ToString::to_string).unwrap_or_default();
        // What stands in the place of a request that the gate refused was not asked by anybody.
        let refused_head = ctx.refused.filter(|_| ctx.forward.is_none());
        let answered = ctx.answered.as_ref();
        let agent = headers.get(USER_AGENT).map(HeaderValue::as_bytes);
        let line = Line {
            client: &client,
            method: refused_head.map_or(method.as_str(), |_| "-"),
            path: refused_head.map_or_else(|| public_target(target), |_| b"-".into()),
            status,
            bytes,
            seconds: ctx.started.elapsed().as_secs_f64(),
            first_byte: ctx.first_byte.unwrap_or_default().as_secs_f64(),
            cache: ctx.cache.label(),
            operation: ctx.operation.label(),
            request_id: ctx.request_id.to_string(),
            agent: agent.unwrap_or(b"-"),
            identity: match &ctx.identity {
                Some(identity) => Some(identity.name()),
                None => answered.and_then(|answered| answered.identity.as_deref()),
            },
            code: answered.map(|answered| &*answered.code),
            error: match (ctx.refused, error) {
                (Some(why), _) => Some(format!("the request has {}", why.why())),
                (None, Some(error)) => Some(error.to_string()),
                (None, None) => {
                    answered.and_then(|answered| answered.message.as_deref().map(str::to_owned))
                }
            },
            certificate: exchange
                .client
                .and_then(Client::certificate)
                .map(ClientCertificate::fingerprint),
        };
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        let text =
            if self.format == AccessLog::Json { line.json(dropped) } else { line.plain(dropped) };
        if self.lines.try_send(text).is_err() {
            self.dropped.fetch_add(dropped + 1, Ordering::Relaxed);
        }
    }
}

impl Line<'_> {
    fn plain(&self, dropped: u64) -> String {
        let now = httpdate::fmt_http_date(SystemTime::now());
        let Line { client, method, status, bytes, cache, operation, request_id, .. } = self;
        let (path, agent) = (Escaped(&self.path), Escaped(self.agent));
        let mut text = format!(
            "{client} [{now}] \"{method} {path}\" {status} {bytes} {:.6} {:.6} {cache} {request_id} \"{agent}\" operation={operation}",
            self.seconds, self.first_byte
        );
        if let Some(identity) = self.identity {
            let _ = write!(text, " identity={}", Escaped(identity.as_bytes()));
        }
        if let Some(code) = self.code {
            let _ = write!(text, " code={}", Escaped(code.as_bytes()));
        }
        if let Some(error) = &self.error {
            let _ = write!(text, " error=\"{}\"", Escaped(error.as_bytes()));
        }
        if dropped > 0 {
            let _ = write!(text, " dropped={dropped}");
        }
        text
    }

    fn json(&self, dropped: u64) -> String {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let line = serde_json::json!({
            "time": now.as_secs_f64(),
            "client": self.client,
            "method": self.method,
            "path": String::from_utf8_lossy(&self.path),
            "status": self.status,
            "bytes": self.bytes,
            "seconds": self.seconds,
            "first_byte_seconds": self.first_byte,
            "cache": self.cache,
            "operation": self.operation,
            "request_id": self.request_id,
            "user_agent": String::from_utf8_lossy(self.agent),
            "identity": self.identity,
            "code": self.code,
            "error": self.error,
            "client_certificate": self.certificate,
            "dropped": dropped,
        });
        without_controls(line.to_string())
    }
}

/// Bytes as nginx writes them: quotes, backslashes, control bytes and all beyond ASCII as `\xHH`, so that a request
/// ends neither its field nor its line, and means nothing to a terminal.
struct Escaped<'a>(&'a [u8]);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|&byte| match byte {
            b' '..=b'~' if byte != b'"' && byte != b'\\' => f.write_char(char::from(byte)),
            _ => write!(f, "\\x{byte:02X}"),
        })
    }
}

/// The control characters that JSON may hold as they are, DEL and those of C1, as `\u00HH`.
fn without_controls(json: String) -> String {
    if !json.contains(char::is_control) {
        return json;
    }
    let mut text = String::with_capacity(json.len() + 16);
    for character in json.chars() {
        match character.is_control() {
            true => drop(write!(text, "\\u{:04x}", u32::from(character))),
            false => text.push(character),
        }
    }
    text
}

/// A request target without the secrets of a presigned URL.
fn public_target(raw: &[u8]) -> Cow<'_, [u8]> {
    const SECRET: [&[u8]; 3] = [b"x-amz-signature", b"x-amz-security-token", b"x-amz-credential"];
    let Some(start) = memchr::memchr(b'?', raw) else { return raw.into() };
    let (path, query) = raw.split_at(start + 1);
    let mut public = path.to_vec();
    for (index, pair) in query.split(|byte| *byte == b'&').enumerate() {
        if index > 0 {
            public.push(b'&');
        }
        let name = pair.split(|byte| *byte == b'=').next().unwrap_or_default();
        if SECRET.iter().any(|secret| secret.eq_ignore_ascii_case(name)) {
            public.extend_from_slice(name);
            public.extend_from_slice(b"=REDACTED");
        } else {
            public.extend_from_slice(pair);
        }
    }
    public.into()
}

fn write_all(queue: &Receiver<String>) {
    let mut out = BufWriter::new(std::io::stdout());
    while let Ok(line) = queue.recv() {
        let mut result = writeln!(out, "{line}");
        while let Ok(line) = queue.try_recv() {
            result = result.and_then(|()| writeln!(out, "{line}"));
        }
        if result.and_then(|()| out.flush()).is_err() {
            return;
        }
    }
}

/// Counts a finished request.
pub(super) fn record(exchange: &Exchange<'_>, ctx: &RequestContext) {
    metrics::request(ctx.operation, ctx.cache, exchange.status);
    metrics::request_duration(ctx.started.elapsed());
    if let Some(first_byte) = ctx.first_byte {
        metrics::first_byte(first_byte);
    }
    if ctx.forward.is_some() {
        metrics::response_bytes(Source::PassThrough, exchange.bytes as u64);
    }
    metrics::response_bytes(Source::Memory, ctx.from_memory);
    metrics::response_bytes(Source::Disk, ctx.from_disk);
    metrics::response_bytes(Source::Origin, ctx.from_origin);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_of_presigned_urls_are_not_logged() {
        let raw = b"/b/k?X-Amz-Credential=AKIA%2F1&x-id=GetObject&X-Amz-Signature=abc";
        assert_eq!(
            *public_target(raw),
            *b"/b/k?X-Amz-Credential=REDACTED&x-id=GetObject&X-Amz-Signature=REDACTED"
        );
        assert_eq!(*public_target(b"/b/k"), *b"/b/k");
    }

    fn line<'a>(path: &'a [u8], agent: &'a [u8], error: &str) -> Line<'a> {
        Line {
            client: "192.0.2.1:1",
            method: "GET",
            path: path.into(),
            status: 200,
            bytes: 1,
            seconds: 0.0,
            first_byte: 0.0,
            cache: "hit",
            operation: "GetObject",
            request_id: "ID".to_owned(),
            agent,
            identity: Some("a\"b"),
            code: None,
            error: Some(error.to_owned()),
            certificate: None,
        }
    }

    const HOSTILE: &[u8] = b"/k\" 200 \\\r\n\t\x1b[2J\x7f\xc2\x9b";

    #[test]
    fn a_plain_line_is_escaped_as_nginx_does() {
        let text = line(HOSTILE, HOSTILE, "it \"broke\"\n").plain(0);
        let escaped = r"/k\x22 200 \x5C\x0D\x0A\x09\x1B[2J\x7F\xC2\x9B";
        assert!(text.contains(&format!("\"GET {escaped}\" 200 1 ")), "{text}");
        assert!(
            text.contains(&format!(" ID \"{escaped}\" operation=GetObject identity=a\\x22b ")),
            "{text}"
        );
        assert!(text.ends_with(r#" error="it \x22broke\x22\x0A""#), "{text}");
    }

    #[test]
    fn a_json_line_reads_back_and_holds_no_control_character() {
        let text = line(HOSTILE, HOSTILE, "it \"broke\"\n").json(0);
        assert!(!text.contains(char::is_control), "{text}");
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(read["path"], *String::from_utf8_lossy(HOSTILE));
        assert_eq!(read["user_agent"], read["path"]);
        assert_eq!(read["error"], "it \"broke\"\n");
    }
}
