//! Access log: one line per request, plain or JSON, written by a thread of its own. A line costs its request no
//! allocation and, most often, no system call. Lines that find the buffer full are dropped and counted in the next
//! line that is written.

pub(super) mod audited;
mod line;
mod s3;

use std::cell::RefCell;
use std::fmt::Display;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use http::{HeaderMap, Method, Version};
use pingora::Error;
use pingora::proxy::Session;

use self::line::Line;
use super::conn::client::Client;
use super::context::RequestContext;
use crate::logging::config::{AccessLog, LogConfig, LogOutput};
use crate::logging::output;
use crate::logging::sink::Sink;
use crate::logging::syslog::Facility;
use crate::metrics::cache::MissReason;
use crate::metrics::logs::Log;
use crate::metrics::requests::{self, Ended};
use crate::metrics::traffic::Traffic;
use crate::metrics::{self, Source, traffic};
use crate::tls::ClientCertificate;

/// The status of a request whose client disconnected before the answer was complete, as nginx counts it.
pub(super) const CLIENT_CLOSED_REQUEST: u16 = 499;

/// Writes the access log.
#[derive(Clone)]
pub struct AccessLogger {
    lines: Arc<ArcSwap<Lines>>,
    to: Arc<LogOutput>,
}

/// Format of the access log lines and the sink that they go to.
#[derive(Clone)]
struct Lines {
    format: AccessLog,
    /// `None` until a format other than `off` is set.
    sink: Option<Arc<Sink>>,
}

/// A request and its outcome, as the logs and metrics need them.
#[derive(Clone, Copy)]
pub(super) struct Exchange<'a> {
    /// `None` for a unix socket.
    pub address: Option<&'a dyn Display>,
    pub client: Option<&'a Client>,
    pub method: &'a Method,
    /// Request target as it came over the wire.
    pub target: &'a [u8],
    pub headers: &'a HeaderMap,
    pub version: Version,
    /// 0: there was no response; 499: the client disconnected before it was complete.
    pub status: u16,
    /// Bytes of the response body that were sent.
    pub bytes: usize,
    pub error: Option<&'a Error>,
}

impl<'a> Exchange<'a> {
    /// Builds the exchange of a session; `abandoned`: the client disconnected before the response was complete.
    pub(super) fn of(session: &'a Session, error: Option<&'a Error>, abandoned: bool) -> Self {
        let head = session.req_header();
        let written = session.response_written().map_or(0, |head| head.status.as_u16());
        Self {
            address: session.client_addr().map(|address| address as &dyn Display),
            client: Client::of(session),
            method: &head.method,
            target: head.raw_path(),
            headers: &head.headers,
            version: head.version,
            status: if abandoned { CLIENT_CLOSED_REQUEST } else { written },
            bytes: session.body_bytes_sent(),
            error,
        }
    }
}

impl AccessLogger {
    /// Starts the writing thread, unless the format is `off`.
    ///
    /// # Errors
    /// The file cannot be opened, or no thread started.
    pub fn start(config: &LogConfig) -> std::io::Result<Self> {
        let lines = Lines { format: AccessLog::Off, sink: None };
        let lines = Arc::new(ArcSwap::from_pointee(lines));
        let this = Self { lines, to: Arc::new(config.access_to.clone()) };
        this.set_format(config.access)?;
        Ok(this)
    }

    /// Changes the format for requests that end from now on. The writing thread is started when it is first needed,
    /// and stays.
    ///
    /// # Errors
    /// As [`AccessLogger::start`]; the format is then unchanged.
    pub fn set_format(&self, format: AccessLog) -> std::io::Result<()> {
        let mut sink = self.lines.load().sink.clone();
        if sink.is_none() && format != AccessLog::Off {
            let out = output::open(&self.to, "access", Facility::Local0)?;
            sink = Some(Sink::start(Log::Access, out)?);
        }
        self.lines.store(Arc::new(Lines { format, sink }));
        Ok(())
    }

    pub(super) fn write(&self, exchange: &Exchange<'_>, ctx: &RequestContext) {
        thread_local! {
            static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
        }
        let lines = self.lines.load();
        let Some(sink) = lines.sink.as_ref().filter(|_| lines.format != AccessLog::Off) else {
            return;
        };
        LINE.with_borrow_mut(|out| {
            out.clear();
            let (dropped, now) = (sink.take_dropped(), SystemTime::now());
            let line = line(exchange, ctx, dropped);
            match lines.format {
                AccessLog::Json => line.json(now, out),
                AccessLog::Plain | AccessLog::Off => line.plain(now, out),
                AccessLog::S3 => line.s3(now, out),
            }
            sink.append(out, dropped);
            out.shrink_to(16 << 10);
        });
    }

    /// Reopens the log file after it was renamed by log rotation.
    pub fn reopen(&self) {
        if let Some(sink) = &self.lines.load().sink {
            sink.reopen();
        }
    }

    /// Waits until all lines are written, at most one second. Blocks the calling thread.
    pub fn flush(&self) {
        if let Some(sink) = &self.lines.load().sink {
            sink.flush();
        }
    }
}

fn line<'a>(exchange: &Exchange<'a>, ctx: &'a RequestContext, dropped: u64) -> Line<'a> {
    let Exchange { method, target, headers, status, bytes, error, .. } = *exchange;
    // The placeholder request of a refused one was not sent by any client.
    let refused_head = ctx.refused.filter(|_| ctx.forward.is_none());
    let answered = ctx.answered.as_ref();
    let (bucket, key) = ctx.names();
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
        headers,
        version: match exchange.version {
            Version::HTTP_2 => "HTTP/2.0",
            Version::HTTP_10 => "HTTP/1.0",
            _ => "HTTP/1.1",
        },
        bucket,
        key,
        object_size: ctx.object_size,
        rule: ctx.rule.map(Traffic::name),
        origin_request_id: ctx.origin_request_id.as_deref(),
        identity: ctx.identity_name(),
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
    count_traffic(exchange, ctx);
}

/// Adds a finished request to the traffic counters of its bucket, its rule and its identity.
fn count_traffic(exchange: &Exchange<'_>, ctx: &RequestContext) {
    let from_cache = ctx.from_memory + ctx.from_disk;
    let passed_through = if ctx.forward.is_some() { exchange.bytes as u64 } else { 0 };
    let from_origin = ctx.from_origin + passed_through;
    if let (Some(bucket), _) = ctx.names() {
        let is_known = matches!(exchange.status, 200..400);
        traffic::bucket(bucket, is_known).count(ctx.cache, from_cache, from_origin);
    }
    if let Some(rule) = ctx.rule {
        rule.count(ctx.cache, from_cache, from_origin);
    }
    if let Some(name) = ctx.identity_name() {
        traffic::identity(name, exchange.status);
    }
}
