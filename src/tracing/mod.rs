//! Traces of requests for OpenTelemetry: sampling, and the spans of each request.
//!
//! ```text
//!  request ─ Tracer::begin: by its traceparent, or by chance ─ Trace ── its span, at its end ─┐
//!                             └ attribution ─ origin: a span for each request there ──────────┤ queue ─ Exporter
//! ```
//! When off, it costs one check for a tracer. A request never waits for a span: the queue is bounded, and spans beyond
//! are dropped and counted. There is one tracer per process, like the recorder of metrics: a fetch runs in tasks that
//! have no server.

mod collector;
pub mod config;
mod context;
mod export;
mod otlp;
mod queue;
mod span;

use std::borrow::Cow;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderValue};

use self::collector::Collector;
use self::config::TracingConfig;
use self::context::Parent;
use self::export::Exporter;
use self::queue::Spans;
use self::span::{Kind, Span};
use crate::config::units::SampleRate;
use crate::metrics::attribution::{self, SpanContext};
use crate::metrics::tracing::{self as metrics, Outcome};

pub use self::span::OpenSpan;

static TRACER: OnceLock<Tracer> = OnceLock::new();

#[derive(Debug)]
struct Tracer {
    sample: SampleRate,
    spans: Spans,
}

/// A traced request.
#[derive(Debug, Clone, Copy)]
pub struct Trace {
    context: SpanContext,
    parent: Option<u64>,
}

/// Data of a completed request.
#[derive(Debug)]
pub struct Ended<'a> {
    pub operation: &'static str,
    pub method: &'a str,
    /// Path without its query, which may contain secrets.
    pub path: Cow<'a, str>,
    pub bucket: Option<&'a str>,
    pub key: Option<&'a str>,
    pub client: Option<String>,
    pub identity: Option<&'a str>,
    pub rule: Option<&'a str>,
    pub request_id: &'a str,
    /// Status; 0: there was no response.
    pub status: u16,
    /// The S3 error code.
    pub code: Option<&'a str>,
    pub cache: &'static str,
    pub miss: Option<&'static str>,
    pub bytes: u64,
    pub took: Duration,
    pub first_byte: Option<Duration>,
}

/// Validates the configuration.
///
/// # Errors
/// The key below `tracing`, and the problem.
pub fn check(config: &TracingConfig) -> Result<(), (String, String)> {
    collector::check(config)
}

/// Starts tracing, once per process; requires a runtime.
///
/// # Errors
/// The key below `tracing`, and the problem.
pub fn install(config: &TracingConfig) -> Result<(), (String, String)> {
    let Some(endpoint) = &config.endpoint else { return Ok(()) };
    let exporter = Exporter::new(Collector::new(endpoint, config)?, config);
    let (spans, queue) = Spans::new(config.queue);
    if TRACER.set(Tracer { sample: config.sample, spans }).is_ok() {
        for outcome in [Outcome::Sent, Outcome::Dropped, Outcome::Failed] {
            metrics::spans(outcome, 0);
        }
        tokio::spawn(exporter.run(queue));
    }
    Ok(())
}

/// Waits until all completed spans are sent or dropped.
pub async fn flush() {
    if let Some(tracer) = TRACER.get() {
        tracer.spans.flush().await;
    }
}

/// Decides whether a request is traced: like its sender's trace, or by sampling.
pub fn begin(headers: &HeaderMap) -> Option<Trace> {
    TRACER.get()?.begin(headers)
}

/// Begins the span of an origin request that is made for a traced request.
pub fn begin_request(method: &http::Method, host: &str, path: &str) -> Option<OpenSpan> {
    let tracer = TRACER.get()?;
    Some(tracer.request(attribution::span()?, method, host, path))
}

impl Tracer {
    fn begin(&self, headers: &HeaderMap) -> Option<Trace> {
        let parent = Parent::of(headers);
        let is_traced = parent.map_or_else(|| self.sample.draws(), |parent| parent.is_sampled);
        is_traced.then(|| Trace {
            context: SpanContext {
                trace: parent.map_or_else(new_trace, |parent| parent.span.trace),
                span: new_span(),
            },
            parent: parent.map(|parent| parent.span.span),
        })
    }

    fn request(
        &self,
        parent: SpanContext,
        method: &http::Method,
        host: &str,
        path: &str,
    ) -> OpenSpan {
        let name = method.as_str().to_owned();
        let context = SpanContext { trace: parent.trace, span: new_span() };
        let mut span = Span::new(context, Some(parent.span), name.into(), Kind::Client);
        span.text("http.request.method", method.as_str());
        span.text("server.address", host);
        span.text("url.path", path.split('?').next().unwrap_or_default());
        OpenSpan::begin(span, self.spans.clone())
    }
}

impl Trace {
    /// Returns the context for child spans.
    pub fn context(&self) -> SpanContext {
        self.context
    }

    /// Begins the span of an origin request that is made for this one.
    pub fn begin_request(&self, method: &http::Method, host: &str, path: &str) -> Option<OpenSpan> {
        Some(TRACER.get()?.request(self.context, method, host, path))
    }

    /// Ends the request, and adds its span.
    pub fn end(self, of: &Ended<'_>) {
        if let Some(tracer) = TRACER.get() {
            tracer.spans.offer(Box::new(self.span(of)));
        }
    }

    fn span(self, of: &Ended<'_>) -> Span {
        let mut span = Span::new(self.context, self.parent, of.operation.into(), Kind::Server);
        span.began = SystemTime::now().checked_sub(of.took).unwrap_or(SystemTime::UNIX_EPOCH);
        span.took = of.took;
        span.failed = of.status == 0 || of.status >= 500;
        span.text("http.request.method", of.method);
        span.text("url.path", &of.path);
        span.word("hotset.cache", of.cache);
        span.text("hotset.request_id", of.request_id);
        span.number("http.response.status_code", u64::from(of.status));
        span.number("http.response.body.size", of.bytes);
        let texts = [
            ("aws.s3.bucket", of.bucket),
            ("aws.s3.key", of.key),
            ("client.address", of.client.as_deref()),
            ("enduser.id", of.identity),
            ("hotset.rule", of.rule),
            ("hotset.miss_reason", of.miss),
            ("error.type", of.code),
        ];
        for (name, text) in texts {
            if let Some(text) = text {
                span.text(name, text);
            }
        }
        if let Some(first_byte) = of.first_byte {
            span.seconds("hotset.first_byte_seconds", first_byte);
        }
        span
    }
}

/// Returns name and value of the header for requests made within a span.
pub fn header(of: SpanContext) -> (http::HeaderName, HeaderValue) {
    (context::TRACEPARENT, context::header(of))
}

fn new_trace() -> u128 {
    rand::random::<u128>().max(1)
}

fn new_span() -> u64 {
    rand::random::<u64>().max(1)
}

#[cfg(test)]
mod tests;
