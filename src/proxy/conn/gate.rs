//! The gate between a client's bytes and pingora. Nothing of an HTTP/1 request passes before its whole head has
//! arrived and was found to have one meaning only, and no more of a body passes than its head announced.
//!
//! pingora repairs some requests that it should refuse (it drops a Content-Length beside an encoding, accepts bare
//! LF) and answers the rest with an empty page (R29). Here a refused request is replaced by a harmless one, and the
//! reason is left with the client's [`Client`]. The gateway answers it in its turn, after the earlier requests on the
//! same connection. After that nothing more of the connection is read.
//!
//! The gate also enforces the timeouts for a whole head and for each further piece of a body.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use super::chunks::Chunks;
use super::client::Client;
use super::head::{Checked, Framing, HeadLimits, HeadReader};
use super::transport::Transport;
use crate::proxy::response::refusal::Refusal;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Maximum bytes of one read, and the buffer of an idle connection.
const BUFFER: usize = 8 * 1024;
/// Bytes of a body that must arrive within each `limits.body_timeout`.
const BODY_STEP: usize = 64 * 1024;
/// Request that the gateway sees in place of a refused one.
const PLACEHOLDER_REQUEST: &[u8] =
    b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
const INSTEAD_OF_HEAD: &[u8] = b"HEAD / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// Limits on a client's requests: sizes and timeouts.
#[derive(Debug, Clone, Copy)]
pub(in crate::proxy) struct GateLimits {
    pub head: HeadLimits,
    /// Timeout from the first byte of a head to its last; from the start of a connection to the end of its first
    /// head.
    pub head_time: Duration,
    /// Timeout for each [`BODY_STEP`] of a body, counting only the time spent waiting for it.
    pub body_time: Duration,
}

/// Protocol of a connection, as known before its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::proxy) enum InitialProtocol {
    /// HTTP/1, or HTTP/2 by clients with prior knowledge.
    Unknown,
    /// As negotiated by ALPN.
    Http1,
    Http2,
}

/// Kind of the next bytes.
#[derive(Debug)]
enum Next {
    /// A connection's first head, or HTTP/2's preface.
    First(InitialProtocol),
    Head,
    Body(u64),
    Chunked(Chunks),
    /// HTTP/2 frames, which are not inspected: they have their own rules.
    Frames,
    /// Nothing more is read: a request was refused.
    Nothing,
}

#[derive(Debug)]
pub(in crate::proxy) struct Gate {
    next: Next,
    limits: GateLimits,
    read_buffer: ReadBuffer,
    /// Parser of the head that is arriving.
    head: HeadReader,
    /// Bytes at the start of the read buffer that were checked and may pass.
    passed: usize,
    /// Whether those bytes are a head of which nothing was read yet.
    head_waits: bool,
    /// Heads that were read, or are being read.
    heads_read: u64,
    clock: Option<Pin<Box<Sleep>>>,
    pace: Pace,
}

impl Gate {
    pub(in crate::proxy) fn new(limits: GateLimits, opening: InitialProtocol) -> Self {
        let (next, pace) = (Next::First(opening), Pace::default());
        let (head_waits, heads_read) = (false, 0);
        Self {
            next,
            limits,
            read_buffer: ReadBuffer::new(),
            head: HeadReader::default(),
            passed: 0,
            head_waits,
            heads_read,
            clock: None,
            pace,
        }
    }

    /// Returns the number of heads that pingora was given.
    pub(in crate::proxy) fn heads_read(&self) -> u64 {
        self.heads_read
    }

    /// Whether no byte has arrived since the last request.
    pub(in crate::proxy) fn is_idle(&self) -> bool {
        self.read_buffer.is_empty()
    }

    /// Returns the head of a request without a body, if nothing of it was read yet.
    pub(in crate::proxy) fn head(&self) -> Option<&[u8]> {
        let bare = self.head_waits && matches!(self.next, Next::Body(0));
        bare.then(|| &self.read_buffer.unread()[..self.passed])
    }

    /// Discards [`Gate::head`] after it was answered.
    pub(in crate::proxy) fn skip_head(&mut self) {
        self.read_buffer.skip(self.passed);
        (self.passed, self.head_waits) = (0, false);
        self.next = Next::Head;
    }

    /// Whether the connection was found to be HTTP/2.
    pub(in crate::proxy) fn is_http_2(&self) -> bool {
        matches!(self.next, Next::Frames)
    }

    /// Waits for the next request, or HTTP/2's preface; false when there is none. It does not wait for the rest of a
    /// body. Cancel safe.
    pub(in crate::proxy) fn poll_request(
        &mut self,
        io: &mut Transport,
        client: &Client,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<bool>> {
        match self.next {
            _ if self.passed > 0 => return Poll::Ready(Ok(true)),
            Next::First(_) | Next::Head => {}
            Next::Body(0) => self.next = Next::Head,
            Next::Body(_) | Next::Chunked(_) | Next::Frames | Next::Nothing => {
                return Poll::Ready(Ok(true));
            }
        }
        self.poll_head(io, client, cx)
    }

    pub(in crate::proxy) fn poll_read(
        &mut self,
        io: &mut Transport,
        client: &Client,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            if self.passed > 0 {
                self.heads_read += u64::from(std::mem::take(&mut self.head_waits));
                self.passed -= self.read_buffer.deliver(self.passed, out);
                return Poll::Ready(Ok(()));
            }
            match &mut self.next {
                Next::First(_) | Next::Head => {
                    if !ready!(self.poll_head(io, client, cx))? {
                        return Poll::Ready(Ok(()));
                    }
                }
                Next::Body(0) => self.next = Next::Head,
                Next::Body(_) | Next::Chunked(_) => {
                    let read = ready!(self.poll_body(io, client, cx, out))?;
                    if self.passed == 0 || read == 0 {
                        return Poll::Ready(Ok(()));
                    }
                }
                Next::Frames if self.read_buffer.is_empty() => {
                    return Pin::new(io).poll_read(cx, out);
                }
                Next::Frames => self.passed = self.read_buffer.len(),
                Next::Nothing => return Poll::Ready(Ok(())),
            }
        }
    }

    /// Waits for a head. Returns false at an orderly end, or where no response is due: a timeout before a request began,
    /// or bytes other than the preface of a negotiated HTTP/2.
    fn poll_head(
        &mut self,
        io: &mut Transport,
        client: &Client,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<bool>> {
        loop {
            let unread = self.read_buffer.unread();
            let first = matches!(self.next, Next::First(_));
            let preface =
                matches!(self.next, Next::First(InitialProtocol::Unknown | InitialProtocol::Http2));
            if preface && unread.starts_with(PREFACE) {
                self.next = Next::Frames;
                self.clock = None;
                return Poll::Ready(Ok(true));
            }
            let undecided = unread.is_empty() || preface && PREFACE.starts_with(unread);
            if matches!(self.next, Next::First(InitialProtocol::Http2)) && !undecided {
                return Poll::Ready(Ok(false));
            }
            let checked = match undecided {
                true => Checked::Partial,
                false => self.head.read(unread, &self.limits.head),
            };
            match checked {
                Checked::Partial => {}
                Checked::Complete(length, framing) => {
                    self.head = HeadReader::default();
                    (self.passed, self.head_waits) = (length, true);
                    self.clock = None;
                    self.pace = Pace::default();
                    self.next = match framing {
                        Framing::Length(length) => Next::Body(length),
                        Framing::Chunked => Next::Chunked(Chunks::new(self.limits.head.fields)),
                    };
                    return Poll::Ready(Ok(true));
                }
                Checked::Refused(why) => {
                    self.replace(client, why);
                    return Poll::Ready(Ok(true));
                }
            }
            match self.read_buffer.poll_fill(io, cx) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Ok(false)),
                Poll::Ready(read) => drop(read?),
                // Between two requests the caller keeps the idle timeout.
                Poll::Pending if !first && self.read_buffer.is_empty() => return Poll::Pending,
                Poll::Pending => {
                    let time = self.limits.head_time;
                    ready!(
                        self.clock.get_or_insert_with(|| Box::pin(sleep(time))).as_mut().poll(cx)
                    );
                    if undecided {
                        return Poll::Ready(Ok(false));
                    }
                    self.replace(client, Refusal::SlowHead);
                    return Poll::Ready(Ok(true));
                }
            }
        }
    }

    /// Replaces a refused request by a harmless one.
    fn replace(&mut self, client: &Client, why: Refusal) {
        client.refuse(why);
        let to_head = self.read_buffer.unread().starts_with(b"HEAD ");
        self.read_buffer.replace(if to_head { INSTEAD_OF_HEAD } else { PLACEHOLDER_REQUEST });
        (self.passed, self.head_waits) = (self.read_buffer.len(), true);
        self.clock = None;
        self.next = Next::Nothing;
    }

    /// Reads a part of a body, directly or through the read buffer; 0 at the end of the connection.
    fn poll_body(
        &mut self,
        io: &mut Transport,
        client: &Client,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<usize>> {
        let direct = match &self.next {
            _ if !self.read_buffer.is_empty() => 0,
            Next::Body(left) => *left,
            Next::Chunked(chunks) => chunks.data_left(),
            _ => 0,
        };
        let read = if direct > 0 {
            let room = usize::try_from(direct).map_or(out.remaining(), |n| n.min(out.remaining()));
            let mut part = ReadBuf::new(out.initialize_unfilled_to(room));
            let read = Pin::new(io).poll_read(cx, &mut part).map_ok(|()| part.filled().len());
            if let Poll::Ready(Ok(read)) = read {
                out.advance(read);
            }
            read
        } else if self.read_buffer.is_empty() {
            self.read_buffer.poll_fill(io, cx)
        } else {
            Poll::Ready(Ok(self.read_buffer.len()))
        };
        let Poll::Ready(read) = read else {
            ready!(self.pace.poll_over(self.limits.body_time, cx));
            client.refuse(Refusal::SlowBody);
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        };
        let read = read?;
        self.pace.came(read);
        let seen = if direct > 0 {
            &out.filled()[out.filled().len() - read..]
        } else {
            self.read_buffer.unread()
        };
        let body = match &mut self.next {
            Next::Body(left) => {
                let part = usize::try_from(*left).map_or(seen.len(), |left| left.min(seen.len()));
                *left -= part as u64;
                part
            }
            Next::Chunked(chunks) => {
                let part = chunks.pass(seen).map_err(|why| {
                    client.refuse(why);
                    io::Error::new(io::ErrorKind::InvalidData, why.why())
                })?;
                if chunks.done() {
                    self.next = Next::Head;
                }
                part
            }
            _ => 0,
        };
        if direct == 0 {
            self.passed = body;
        }
        Poll::Ready(Ok(read))
    }
}

/// Arrival rate of a body, against its timeout.
#[derive(Debug, Default)]
struct Pace {
    /// Start of the current wait for bytes.
    since: Option<Instant>,
    /// Time waited and bytes received since the last whole step.
    waited: Duration,
    brought: usize,
    clock: Option<Pin<Box<Sleep>>>,
}

impl Pace {
    fn came(&mut self, bytes: usize) {
        self.brought += bytes;
        if let Some(since) = self.since.take() {
            self.waited += since.elapsed();
            self.clock = None;
        }
        if self.brought >= BODY_STEP {
            (self.brought, self.waited) = (0, Duration::ZERO);
        }
    }

    /// Is ready when the time for this step is over.
    fn poll_over(&mut self, time: Duration, cx: &mut Context<'_>) -> Poll<()> {
        self.since.get_or_insert_with(Instant::now);
        let left = time.saturating_sub(self.waited);
        self.clock.get_or_insert_with(|| Box::pin(sleep(left))).as_mut().poll(cx)
    }
}

/// Buffer of bytes that have arrived and were not read.
#[derive(Debug)]
struct ReadBuffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl ReadBuffer {
    fn new() -> Self {
        Self { bytes: vec![0; BUFFER], start: 0, end: 0 }
    }

    fn len(&self) -> usize {
        self.end - self.start
    }

    fn is_empty(&self) -> bool {
        self.start == self.end
    }

    fn unread(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// Hands out at most `most` bytes, and returns their number.
    fn deliver(&mut self, most: usize, out: &mut ReadBuf<'_>) -> usize {
        let taken = most.min(out.remaining());
        out.put_slice(&self.bytes[self.start..self.start + taken]);
        self.skip(taken);
        taken
    }

    fn skip(&mut self, bytes: usize) {
        self.start += bytes;
        if self.is_empty() {
            (self.start, self.end) = (0, 0);
        }
    }

    fn replace(&mut self, bytes: &[u8]) {
        (self.start, self.end) = (0, bytes.len());
        self.bytes[..bytes.len()].copy_from_slice(bytes);
    }

    /// Reads more bytes after those in the buffer. It grows only to the maximum size of a head, since a longer one is
    /// refused.
    fn poll_fill(&mut self, io: &mut Transport, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.end == self.bytes.len() {
            match self.start {
                0 => self.bytes.resize(2 * self.bytes.len(), 0),
                start => {
                    self.bytes.copy_within(start.., 0);
                    (self.start, self.end) = (0, self.end - start);
                }
            }
        }
        let mut free = ReadBuf::new(&mut self.bytes[self.end..]);
        ready!(Pin::new(io).poll_read(cx, &mut free))?;
        let read = free.filled().len();
        self.end += read;
        Poll::Ready(Ok(read))
    }
}
