//! A synthetic S3 origin with configurable delays, which counts the requests that it gets and the bytes that it
//! sends.
//!
//! It answers GET and HEAD of the objects of [`crate::content`] over HTTP/1.1 with keep-alive, accepts and discards
//! any upload, and implements as much of S3 as a cache needs (ranges, versions and `If-Match`). Each connection waits
//! for the first byte and is then paced in steps of a millisecond: like those of a real origin, each is limited by
//! itself, while all of them together are not. The origin runs in a thread with a runtime of its own, so that neither
//! the loader nor the runner's main thread disturbs its clock.

use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::content::{LAST_MODIFIED, Object, Random, parse_range};
use crate::pace::Mishap;
pub use crate::pace::{Mishaps, Pace};
use crate::process;

/// One pacing step, and the delay that a connection may catch up at once.
const STEP: Duration = Duration::from_millis(1);
const CATCH_UP: Duration = Duration::from_millis(20);
/// Bytes of one write: a call into the kernel keeps its core until it is complete, even if others wait for it.
const WRITE: u64 = 64 << 10;
/// The largest request head that is read, in bytes.
const MAX_HEAD: usize = 32 << 10;

/// Counters of the origin since it started. All of them only grow, except `in_flight`.
#[derive(Default)]
pub struct Counters {
    requests: AtomicU64,
    arrived: AtomicU64,
    asked: AtomicU64,
    sent: AtomicU64,
    in_flight: AtomicU64,
    most_in_flight: AtomicU64,
}

/// Snapshot of the counters.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// GET requests answered with a body.
    pub requests: u64,
    /// Requests of any kind, and connections that were made while the origin was down.
    pub arrived: u64,
    /// Bytes of the ranges that those requests asked for.
    pub asked: u64,
    /// Bytes of bodies written to sockets.
    pub sent: u64,
    /// Highest number of requests in progress at the same time.
    pub most_in_flight: u64,
}

impl Seen {
    /// Returns the difference between `earlier` and this snapshot.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            requests: self.requests - earlier.requests,
            arrived: self.arrived - earlier.arrived,
            asked: self.asked - earlier.asked,
            sent: self.sent - earlier.sent,
            most_in_flight: self.most_in_flight,
        }
    }
}

/// State shared by all connections of an origin.
struct Shared {
    pace: Pace,
    counters: Counters,
    down: watch::Sender<bool>,
    /// Number of the address at which nothing is answered any more, from 1; 0: none.
    silent: AtomicUsize,
    /// Time at which the bytes last granted of [`Pace::total`] are due.
    granted: Mutex<Instant>,
}

/// A running origin; it stops when dropped.
pub struct Origin {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Origin {
    /// Starts an origin on a free port of the loopback interface.
    ///
    /// # Errors
    /// When no port is free.
    pub fn start(pace: Pace) -> io::Result<Self> {
        Self::start_with(pace, 1, || {})
    }

    /// As [`Origin::start`], at idle priority: it takes no core from the processes that are measured, as if it ran on
    /// another machine.
    ///
    /// # Errors
    /// When no port is free.
    pub fn start_aside(pace: Pace) -> io::Result<Self> {
        Self::start_with(pace, 1, process::step_aside)
    }

    /// As [`Origin::start`], on one port of several addresses, `127.0.0.1` and those after it.
    ///
    /// # Errors
    /// When no port is free at all of them.
    pub fn start_at(pace: Pace, addresses: u8) -> io::Result<Self> {
        Self::start_with(pace, addresses, || {})
    }

    fn start_with(pace: Pace, addresses: u8, begin: fn()) -> io::Result<Self> {
        let first = std::net::TcpListener::bind("127.0.0.1:0")?;
        let address = first.local_addr()?;
        let mut listeners = vec![first];
        for number in 2..=addresses {
            listeners.push(std::net::TcpListener::bind(SocketAddr::from((
                [127, 0, 0, number],
                address.port(),
            )))?);
        }
        for listener in &listeners {
            listener.set_nonblocking(true)?;
        }
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let shared = Arc::new(Shared {
            pace,
            counters: Counters::default(),
            down: watch::Sender::new(false),
            silent: AtomicUsize::new(0),
            granted: Mutex::new(Instant::now()),
        });
        let accepts = shared.clone();
        let thread = thread::Builder::new().name("origin".into()).spawn(move || {
            begin();
            runtime.block_on(async move {
                let mut all = JoinSet::new();
                for (index, listener) in listeners.into_iter().enumerate() {
                    all.spawn(accept(listener, index + 1, accepts.clone()));
                }
                tokio::select! {
                    Some(result) = all.join_next() => {
                        result.expect("accepting does not panic").expect("the origin accepts");
                    }
                    _ = stopped => {}
                }
            });
        })?;
        Ok(Self { address, shared, stop: Some(stop), thread: Some(thread) })
    }

    /// Sets whether the origin is down: then every connection is closed, also each new one as soon as it is made.
    pub fn set_down(&self, is_down: bool) {
        self.shared.down.send_replace(is_down);
    }

    /// Makes the address of this number, from 1, silent: connections are accepted, and nothing is answered.
    pub fn silence(&self, number: usize) {
        self.shared.silent.store(number, Relaxed);
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns a snapshot of the counters.
    pub fn seen(&self) -> Seen {
        Seen {
            requests: self.shared.counters.requests.load(Relaxed),
            arrived: self.shared.counters.arrived.load(Relaxed),
            asked: self.shared.counters.asked.load(Relaxed),
            sent: self.shared.counters.sent.load(Relaxed),
            most_in_flight: self.shared.counters.most_in_flight.load(Relaxed),
        }
    }

    /// Waits until no request is in progress (at most `limit`), and returns the counters.
    pub async fn settled(&self, limit: Duration) -> Seen {
        let deadline = Instant::now() + limit;
        while self.shared.counters.in_flight.load(Relaxed) > 0 && Instant::now() < deadline {
            sleep(STEP).await;
        }
        self.seen()
    }
}

impl Shared {
    /// Returns the time at which the next `bytes` of all connections together are due, in the order of the calls.
    fn grant(&self, bytes: u64, total: u64) -> Instant {
        let mut granted = self.granted.lock().expect("nobody panics with it");
        let due = (*granted).max(Instant::now() - CATCH_UP);
        *granted = due + Duration::from_nanos(bytes * 1_000_000_000 / total);
        due
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic in that thread has been printed; a second one here would abort the runner.
            let _ = thread.join();
        }
    }
}

async fn accept(
    listener: std::net::TcpListener,
    number: usize,
    shared: Arc<Shared>,
) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let mut down = shared.down.subscribe();
        if *down.borrow() {
            shared.counters.arrived.fetch_add(1, Relaxed);
            continue;
        }
        let shared = shared.clone();
        // A connection that breaks is the client's doing: the bytes that it was sent have been counted.
        tokio::spawn(async move {
            tokio::select! {
                _ = serve(stream, number, &shared) => {}
                _ = down.wait_for(|is_down| *is_down) => {}
            }
        });
    }
}

/// Counts one request in progress for as long as it lives.
struct InFlight<'a>(&'a Counters);

impl<'a> InFlight<'a> {
    fn new(counters: &'a Counters) -> Self {
        let now = counters.in_flight.fetch_add(1, Relaxed) + 1;
        counters.most_in_flight.fetch_max(now, Relaxed);
        Self(counters)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Relaxed);
    }
}

async fn serve(mut stream: TcpStream, number: usize, shared: &Shared) -> io::Result<()> {
    let (pace, counters) = (shared.pace, &shared.counters);
    let mut buffer = Vec::with_capacity(4096);
    while let Some(asked) = read_request(&mut stream, &mut buffer).await? {
        if shared.silent.load(Relaxed) == number {
            pending::<()>().await;
        }
        let arrived = counters.arrived.fetch_add(1, Relaxed);
        let _in_flight = InFlight::new(counters);
        if asked.is_put {
            drain(&mut stream, &mut buffer, asked.body).await?;
        }
        let (mut head, mut body) = answer(&asked);
        let mishap = if body.is_some() { pace.mishaps.of(arrived) } else { Mishap::None };
        if mishap == Mishap::Refused {
            (head, body) = (unavailable(arrived), None);
        }
        if let Some((_, range)) = &body {
            counters.requests.fetch_add(1, Relaxed);
            counters.asked.fetch_add(range.end - range.start, Relaxed);
        }
        let late = if mishap == Mishap::Late { Mishaps::LATE } else { Duration::ZERO };
        if !(pace.first_byte + late).is_zero() {
            sleep(pace.first_byte + late).await;
        }
        stream.write_all(head.as_bytes()).await?;
        if let Some((object, range)) = body {
            // At a different offset every time.
            let part = Random::new(arrived + 7).below(range.end - range.start + 1);
            let sent = match mishap {
                Mishap::Cut | Mishap::Stalled => range.start..range.start + part,
                Mishap::None | Mishap::Late | Mishap::Refused => range,
            };
            send(&mut stream, &object, sent, number, shared).await?;
        }
        match mishap {
            Mishap::Cut => return Ok(()),
            Mishap::Stalled => pending().await,
            Mishap::None | Mishap::Late | Mishap::Refused => {}
        }
    }
    Ok(())
}

/// Relevant parts of a request.
struct Asked {
    is_head: bool,
    is_put: bool,
    /// Length of the request body, in bytes.
    body: u64,
    object: Option<Object>,
    range: Option<String>,
    if_match: Option<String>,
}

/// Reads the next request head; `None` at a clean end of the connection.
async fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<Option<Asked>> {
    loop {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut request = httparse::Request::new(&mut headers);
        if let httparse::Status::Complete(length) =
            request.parse(buffer).map_err(io::Error::other)?
        {
            let header = |name: &str| {
                let found = request.headers.iter().find(|h| h.name.eq_ignore_ascii_case(name))?;
                String::from_utf8(found.value.to_vec()).ok()
            };
            let method = request.method.unwrap_or_default();
            let is_known = matches!(method, "GET" | "HEAD" | "PUT");
            let body = header("content-length").and_then(|length| length.parse().ok());
            let asked = Asked {
                is_head: method == "HEAD",
                is_put: method == "PUT",
                body: body.unwrap_or(0),
                object: request.path.filter(|_| is_known).and_then(Object::parse),
                range: header("range"),
                if_match: header("if-match"),
            };
            buffer.drain(..length);
            return Ok(Some(asked));
        }
        if buffer.len() > MAX_HEAD {
            return Err(io::Error::other("request head too large"));
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
}

/// Reads and discards `length` bytes of the connection, of which `buffer` holds the first.
async fn drain(stream: &mut TcpStream, buffer: &mut Vec<u8>, length: u64) -> io::Result<()> {
    let buffered = usize::try_from(length).map_or(buffer.len(), |length| length.min(buffer.len()));
    buffer.drain(..buffered);
    let rest = length - buffered as u64;
    let taken = tokio::io::copy(&mut stream.take(rest), &mut tokio::io::sink()).await?;
    if taken < rest { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
}

/// Returns the response head, and the bytes that follow it.
fn answer(asked: &Asked) -> (String, Option<(Object, Range<u64>)>) {
    let Some(object) = &asked.object else {
        return (error("404 Not Found", None), None);
    };
    let (size, etag) = (object.size(), object.etag());
    if asked.if_match.as_ref().is_some_and(|condition| !condition.contains(&etag)) {
        return (error("412 Precondition Failed", None), None);
    }
    if asked.is_put {
        return (format!("HTTP/1.1 200 OK\r\nETag: {etag}\r\nContent-Length: 0\r\n\r\n"), None);
    }
    let range = asked.range.as_ref().and_then(|header| parse_range(header, size));
    let (status, content_range, range) = match range {
        Some(range) if range.is_empty() => {
            return (error("416 Range Not Satisfiable", Some(size)), None);
        }
        Some(range) => {
            let line = format!("Content-Range: bytes {}-{}/{size}\r\n", range.start, range.end - 1);
            ("206 Partial Content", line, range)
        }
        None => ("200 OK", String::new(), 0..size),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nServer: origin\r\nx-amz-request-id: 0123456789ABCDEF\r\n\
         Last-Modified: {LAST_MODIFIED}\r\nETag: {etag}\r\nAccept-Ranges: bytes\r\n\
         Content-Type: binary/octet-stream\r\n{content_range}Content-Length: {}\r\n\r\n",
        range.end - range.start
    );
    (head, (!asked.is_head).then(|| (object.clone(), range)))
}

fn error(status: &str, size: Option<u64>) -> String {
    let range = size.map_or(String::new(), |size| format!("Content-Range: bytes */{size}\r\n"));
    format!("HTTP/1.1 {status}\r\n{range}Content-Length: 0\r\n\r\n")
}

/// Returns a 503 response. S3 has two kinds of 503: each is sent half of the time.
fn unavailable(number: u64) -> String {
    let code = if number.is_multiple_of(2) { "SlowDown" } else { "ServiceUnavailable" };
    let body = format!("<Error><Code>{code}</Code><Message>Reduce your rate.</Message></Error>");
    let length = body.len();
    format!(
        "HTTP/1.1 503 Slow Down\r\nContent-Type: application/xml\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

/// Writes the body on schedule: at `t` after its start the connection has sent `rate * t` bytes and one step more. A
/// receiver that stalls can catch up at most [`CATCH_UP`] afterwards.
async fn send(
    stream: &mut TcpStream,
    object: &Object,
    range: Range<u64>,
    number: usize,
    shared: &Shared,
) -> io::Result<()> {
    let (pace, counters) = (shared.pace, &shared.counters);
    let mut at = range.start;
    let mut schedule = Instant::now();
    let (mut scheduled, mut due) = (0, u64::MAX);
    while at < range.end {
        if shared.silent.load(Relaxed) == number {
            pending::<()>().await;
        }
        if let Some(rate) = pace.rate {
            let bytes = |time: Duration| {
                u64::try_from(u128::from(rate) * time.as_nanos() / 1_000_000_000)
                    .expect("a transfer is shorter than a century")
            };
            due = (scheduled + bytes(schedule.elapsed() + STEP)).saturating_sub(at - range.start);
            if due > bytes(CATCH_UP) {
                // As of now, with what may be caught up due at once: what is later is lost.
                let since = Instant::now() + STEP - CATCH_UP;
                (schedule, scheduled, due) = (since, at - range.start, bytes(CATCH_UP));
            }
            if due < bytes(STEP).min(range.end - at) {
                sleep(STEP).await;
                continue;
            }
        }
        let piece = object.piece(at);
        let length = due.min(range.end - at).min(WRITE).min(piece.len() as u64);
        if let Some(total) = pace.total {
            sleep_until(shared.grant(length, total)).await;
        }
        let written =
            stream.write(&piece[..usize::try_from(length).expect("a piece")]).await? as u64;
        counters.sent.fetch_add(written, Relaxed);
        at += written;
    }
    Ok(())
}
