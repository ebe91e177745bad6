//! One line a request, plain or JSON, written by a thread of its own. A line costs its request no allocation and, most
//! often, no system call; lines that find the buffer full are dropped and counted in the next one that is written.

mod line;
mod sink;
mod text;

use std::cell::RefCell;
use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use http::header::USER_AGENT;
use http::{HeaderMap, HeaderValue, Method};
use pingora::Error;
use pingora::proxy::Session;

use self::line::Line;
use self::sink::Sink;
use super::config::AccessLog;
use super::conn::client::Client;
use super::context::RequestContext;
use super::ending::CLIENT_CLOSED_REQUEST;
use crate::metrics::cache::MissReason;
use crate::metrics::requests::{self, Ended};
use crate::metrics::{self, Source};
use crate::tls::ClientCertificate;

/// Writes the access log to the standard output.
#[derive(Clone)]
pub struct AccessLogger {
    output: Arc<ArcSwap<Output>>,
    dropped: Arc<AtomicU64>,
}

/// How lines are written, and where to.
#[derive(Clone)]
struct Output {
    format: AccessLog,
    /// `None`: it was never needed.
    sink: Option<Arc<Sink>>,
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

impl AccessLogger {
    /// Starts the writing thread, unless the format is `off`.
    pub fn start(format: AccessLog) -> Self {
        let output = Output { format: AccessLog::Off, sink: None }.with_format(format);
        Self { output: Arc::new(ArcSwap::from_pointee(output)), dropped: Arc::default() }
    }

    /// Writes the lines of requests that end from now on in another format.
    pub fn set_format(&self, format: AccessLog) {
        let output = Output::clone(&self.output.load());
        self.output.store(Arc::new(output.with_format(format)));
    }

    pub(super) fn write(&self, exchange: &Exchange<'_>, ctx: &RequestContext) {
        thread_local! {
            static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
        }
        let output = self.output.load();
        let Some(sink) = output.sink.as_ref().filter(|_| output.format != AccessLog::Off) else {
            return;
        };
        let dropped = match self.dropped.load(Ordering::Relaxed) {
            0 => 0,
            _ => self.dropped.swap(0, Ordering::Relaxed),
        };
        LINE.with_borrow_mut(|out| {
            out.clear();
            let (line, now) = (line(exchange, ctx, dropped), SystemTime::now());
            match output.format {
                AccessLog::Json => line.json(now, out),
                AccessLog::Plain | AccessLog::Off => line.plain(now, out),
            }
            if !sink.append(out) {
                self.dropped.fetch_add(dropped + 1, Ordering::Relaxed);
            }
            out.shrink_to(16 << 10);
        });
    }

    /// Waits until all lines are written, for a second at most. Blocks its thread.
    pub fn flush(&self) {
        if let Some(sink) = &self.output.load().sink {
            sink.flush();
        }
    }
}

impl Output {
    /// The same in another format. The writing thread is started when it is first needed, and stays.
    fn with_format(self, format: AccessLog) -> Self {
        let start = || {
            let started = Sink::start(std::io::stdout());
            let started = started.inspect_err(|error| {
                log::error!("the access log is disabled: cannot start its thread: {error}");
            });
            started.ok()
        };
        let is_needed = self.sink.is_none() && format != AccessLog::Off;
        Self { format, sink: if is_needed { start() } else { self.sink } }
    }
}

fn line<'a>(exchange: &Exchange<'a>, ctx: &'a RequestContext, dropped: u64) -> Line<'a> {
    let Exchange { method, target, headers, status, bytes, error, .. } = *exchange;
    // What stands in the place of a request that the gate refused was not asked by anybody.
    let refused_head = ctx.refused.filter(|_| ctx.forward.is_none());
    let answered = ctx.answered.as_ref();
    let agent = headers.get(USER_AGENT).map(HeaderValue::as_bytes);
    Line {
        client: exchange.address,
        method: refused_head.map_or(method.as_str(), |_| "-"),
        target: refused_head.map_or(target, |_| b"-"),
        status,
        bytes,
        duration: ctx.started.elapsed(),
        first_byte: ctx.first_byte.unwrap_or_default(),
        cache: ctx.cache.label(),
        miss: ctx.miss.map(MissReason::label),
        operation: ctx.operation.label(),
        request_id: ctx.request_id.digits(),
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
        dropped,
    }
}

/// Counts a finished request.
pub(super) fn record(exchange: &Exchange<'_>, ctx: &RequestContext) {
    requests::ended(&Ended {
        operation: ctx.operation,
        cache: ctx.cache,
        status: exchange.status,
        duration: ctx.started.elapsed(),
        first_byte: ctx.first_byte,
        from_cache: ctx.from_memory + ctx.from_disk,
    });
    if let Some(answered) = &ctx.answered {
        requests::error(&answered.code);
    }
    if let Some(reason) = ctx.miss {
        metrics::cache::miss(reason);
    }
    if ctx.forward.is_some() {
        metrics::response_bytes(Source::PassThrough, exchange.bytes as u64);
    }
    metrics::response_bytes(Source::Memory, ctx.from_memory);
    metrics::response_bytes(Source::Disk, ctx.from_disk);
    metrics::response_bytes(Source::Origin, ctx.from_origin);
}
