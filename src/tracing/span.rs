//! Spans: named operations with their start and end.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use super::queue::Spans;
use crate::metrics::attribution::SpanContext;

/// Maximum bytes of an attribute; longer ones are truncated.
const TEXT_MAX: usize = 1024;

/// The role of a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A received request.
    Server,
    /// A sent request.
    Client,
}

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Text(Cow<'static, str>),
    Number(u64),
    Seconds(f64),
}

/// A completed operation, with start and end.
#[derive(Debug)]
pub(super) struct Span {
    pub context: SpanContext,
    pub parent: Option<u64>,
    pub name: Cow<'static, str>,
    pub kind: Kind,
    pub began: SystemTime,
    pub took: Duration,
    pub attributes: Vec<(&'static str, Value)>,
    pub failed: bool,
}

impl Span {
    /// Creates a span that begins now.
    pub(super) fn new(
        context: SpanContext,
        parent: Option<u64>,
        name: Cow<'static, str>,
        kind: Kind,
    ) -> Self {
        Self {
            context,
            parent,
            name,
            kind,
            began: SystemTime::now(),
            took: Duration::ZERO,
            attributes: Vec::with_capacity(12),
            failed: false,
        }
    }

    pub(super) fn text(&mut self, name: &'static str, text: &str) {
        let mut end = text.len().min(TEXT_MAX);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        self.attributes.push((name, Value::Text(text[..end].to_owned().into())));
    }

    pub(super) fn word(&mut self, name: &'static str, word: &'static str) {
        self.attributes.push((name, Value::Text(word.into())));
    }

    pub(super) fn number(&mut self, name: &'static str, number: u64) {
        self.attributes.push((name, Value::Number(number)));
    }

    pub(super) fn seconds(&mut self, name: &'static str, time: Duration) {
        self.attributes.push((name, Value::Seconds(time.as_secs_f64())));
    }
}

/// A span that has not ended. It ends on drop.
#[derive(Debug)]
pub struct OpenSpan {
    span: Option<Box<Span>>,
    received: u64,
    since: std::time::Instant,
    spans: Spans,
}

impl OpenSpan {
    pub(super) fn begin(span: Span, spans: Spans) -> Self {
        let since = std::time::Instant::now();
        Self { span: Some(Box::new(span)), received: 0, since, spans }
    }

    /// Returns the context for child spans.
    pub fn context(&self) -> SpanContext {
        self.span.as_ref().map_or(SpanContext::default(), |span| span.context)
    }

    fn with(&mut self, change: impl FnOnce(&mut Span)) {
        if let Some(span) = &mut self.span {
            change(span);
        }
    }

    /// Records the response head, and the address of the server.
    pub fn answered(&mut self, status: u16, from: Option<std::net::SocketAddr>) {
        let elapsed = self.since.elapsed();
        self.with(|span| {
            span.number("http.response.status_code", u64::from(status));
            span.seconds("hotset.first_byte_seconds", elapsed);
            if let Some(from) = from {
                span.text("network.peer.address", &from.ip().to_string());
                span.number("network.peer.port", u64::from(from.port()));
            }
            span.failed = status >= 400;
        });
    }

    /// Marks the span as failed.
    pub fn failed(&mut self, why: &'static str) {
        self.with(|span| {
            span.word("error.type", why);
            span.failed = true;
        });
    }

    /// Records further bytes of the response body.
    pub fn received(&mut self, bytes: u64) {
        self.received += bytes;
    }

    /// Records the number of retries so far.
    pub fn resent(&mut self, retries: u32) {
        self.with(|span| span.number("http.request.resend_count", u64::from(retries)));
    }

    /// Records the response status, when the time of its head is unknown.
    pub fn ended(&mut self, status: u16) {
        self.with(|span| {
            span.number("http.response.status_code", u64::from(status));
            span.failed = status >= 400;
        });
    }
}

impl Drop for OpenSpan {
    fn drop(&mut self) {
        if let Some(mut span) = self.span.take() {
            span.took = self.since.elapsed();
            if self.received > 0 {
                span.number("http.response.body.size", self.received);
            }
            self.spans.offer(span);
        }
    }
}
