//! One connection of the origin: reads requests, writes responses, and breaks them as planned.
//!
//! It uses the bare socket, as no HTTP library would send what a broken origin sends. Invariants: bytes that [`Seen`]
//! counts as sent have been handed to the kernel; a held response notices that its peer has disconnected;
//! only a [`Gate`] or a [`Pace`](super::Pace) makes anything wait.

use super::answer::answer;
use super::http::{Asked, Seen, asked_range, take_head};
use super::pace::Response;
use super::plan::{Ending, Plan, Stop};
use super::reply::{Body, Reply, error, error_element};
use super::state::{Record, State};
use super::store::Found;
use super::{Gate, aws_chunked};
use bytes::{Bytes, BytesMut};
use http::{Method, StatusCode};
use std::fmt::Write as _;
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const PIECE: u64 = 64 * 1024;

pub(super) struct Connection {
    id: u64,
    stream: TcpStream,
    buffer: BytesMut,
    state: Arc<State>,
    /// Speed of the response under way; `None`: as fast as the socket takes it.
    paced: Option<Response>,
}

/// Continuation of a connection after an exchange.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Keep,
    End(Ending),
}

impl Connection {
    pub(super) fn new(id: u64, stream: TcpStream, state: Arc<State>) -> Connection {
        Connection { id, stream, buffer: BytesMut::new(), state, paced: None }
    }

    /// Serves requests until one side ends the connection.
    pub(super) async fn run(mut self) {
        loop {
            match self.exchange().await {
                Ok(Next::Keep) => {}
                Ok(Next::End(Ending::Reset)) => {
                    // Dropping the socket with a linger time of zero sends RST.
                    let _ = self.stream.set_zero_linger();
                    return;
                }
                Ok(Next::End(Ending::Close)) | Err(_) => return,
            }
        }
    }

    async fn exchange(&mut self) -> io::Result<Next> {
        let Some(mut seen) = self.read_head().await? else {
            return Ok(Next::End(Ending::Close));
        };
        let version = seen.param("versionId");
        if let Found::Object(object) =
            self.state.store().find(&seen.bucket, &seen.key, version.as_deref())
        {
            seen.range = match seen.param("partNumber").and_then(|number| number.parse().ok()) {
                Some(number) => object.part(number).map(|part| part.range),
                None => match asked_range(&seen.headers, object.len()) {
                    Asked::Part(range) => Some(range),
                    _ => None,
                },
            };
        }
        let mut plan = Plan::of(self.state.take_fault(&seen));
        let record = Record::new(&self.state, seen.clone());
        if let Some(reply) = self.refusal(&seen, &plan) {
            self.send(reply, &mut plan, &record).await?;
            drop(record);
            self.drain().await?;
            return Ok(Next::End(Ending::Close));
        }
        let reply = self.read_body(&mut seen, &plan, &record).await?;
        if let Some(gate) = &plan.hold_request {
            self.hold(gate).await?;
        }
        if plan.late.is_some() && seen.method == Method::POST && seen.has_param("uploadId") {
            return self.late(&seen, &plan, &record).await;
        }
        let reply = match (reply, plan.status) {
            (Some(reply), _) => reply,
            (None, Some((status, code))) => error(&seen, status, code, &[]),
            (None, None) => answer(&mut self.state.store(), &seen, plan.blind),
        };
        if let Some(gate) = &plan.hold_header {
            self.hold(gate).await?;
        }
        if let Some(pace) = &plan.pace {
            self.paced = Some(pace.begin().await);
        }
        if let Some(ending) = plan.unanswered {
            return Ok(Next::End(ending));
        }
        let next = self.send(reply, &mut plan, &record).await?;
        self.paced = None;
        let close = plan.close_after || seen.wants_close();
        Ok(if close && next == Next::Keep { Next::End(Ending::Close) } else { next })
    }

    async fn read_head(&mut self) -> io::Result<Option<Seen>> {
        loop {
            match take_head(&mut self.buffer, self.id) {
                Ok(Some(seen)) => return Ok(Some(seen)),
                Ok(None) => {}
                Err(complaint) => {
                    self.state.complain(complaint);
                    self.stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await?;
                    return Ok(None);
                }
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        }
    }

    /// Returns the response to a request whose body is not read at all.
    fn refusal(&self, seen: &Seen, plan: &Plan) -> Option<Reply> {
        if seen.is_chunked() {
            self.state.complain(format!("{} {}: Transfer-Encoding", seen.method, seen.target));
            return Some(error(seen, 501, "NotImplemented", &[]));
        }
        if seen.method == Method::PUT && seen.content_length().is_none() {
            self.state.complain(format!("{} {}: no Content-Length", seen.method, seen.target));
            return Some(error(seen, 411, "MissingContentLength", &[]));
        }
        let (status, code) = plan.status?;
        let refused = plan.refuse_body || seen.expects_continue();
        refused.then(|| error(seen, status, code, &[]))
    }

    /// Reads the body into `seen` and the record; returns an error response if its framing is wrong.
    async fn read_body(
        &mut self,
        seen: &mut Seen,
        plan: &Plan,
        record: &Record,
    ) -> io::Result<Option<Reply>> {
        let length = seen.content_length().unwrap_or(0);
        if length > 0 && seen.expects_continue() {
            self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        let mut hold = plan.hold_request_after.as_ref();
        loop {
            let here = self.buffer.len().min(length);
            record.update(|seen| seen.body_bytes_received = here as u64);
            if let Some((_, gate)) = hold.take_if(|(at, _)| here as u64 >= *at) {
                gate.pass().await;
            }
            if here == length {
                break;
            }
            // In pieces, so that a hold stops the reading near its offset.
            let mut piece = (&mut self.stream).take(PIECE);
            if piece.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let raw = self.buffer.split_to(length).freeze();
        seen.raw_body = raw.clone();
        seen.body = raw.clone();
        let mut refusal = None;
        if aws_chunked::is_declared(seen) {
            match aws_chunked::decode(seen, &raw) {
                Ok((body, trailers)) => (seen.body, seen.trailers) = (body, trailers),
                Err(complaint) => {
                    self.state.complain(format!("{} {}: {complaint}", seen.method, seen.target));
                    seen.body = Bytes::new();
                    refusal = Some(error(seen, 400, "IncompleteBody", &[]));
                }
            }
        }
        record.update(|kept| {
            kept.raw_body = seen.raw_body.clone();
            kept.body = seen.body.clone();
            kept.trailers.clone_from(&seen.trailers);
        });
        Ok(refusal)
    }

    /// Ends the connection so that the response is not lost in a reset, as it may be when a socket is closed with
    /// unread bytes (RFC 9112, 9.6): reads them until the peer closes too.
    async fn drain(&mut self) -> io::Result<()> {
        self.stream.shutdown().await?;
        tokio::io::copy(&mut self.stream, &mut tokio::io::sink()).await?;
        Ok(())
    }

    async fn send(&mut self, reply: Reply, plan: &mut Plan, record: &Record) -> io::Result<Next> {
        let reply = plan.falsify(reply);
        self.send_head(&reply, plan.chunked, record).await?;
        let length = reply.body.len();
        let mut sent = 0;
        for (offset, stop) in std::mem::take(&mut plan.stops) {
            if offset > length || matches!(reply.body, Body::None) {
                break;
            }
            self.send_piece(&reply.body, sent, offset, plan.chunked, record).await?;
            sent = offset;
            match stop {
                Stop::End(ending) => return Ok(Next::End(ending)),
                Stop::Hold(gate) => self.hold(&gate).await?,
                Stop::Replace(object) => record.replace_object(object),
            }
        }
        self.send_piece(&reply.body, sent, length, plan.chunked, record).await?;
        if plan.chunked && !matches!(reply.body, Body::None) {
            self.stream.write_all(b"0\r\n\r\n").await?;
        }
        if plan.extra_bytes > 0 && length > 0 {
            self.stream.write_all(&vec![b'X'; plan.extra_bytes]).await?;
            record.update(|seen| seen.body_bytes_sent += plan.extra_bytes as u64);
        }
        record.complete();
        Ok(Next::Keep)
    }

    async fn send_head(&mut self, reply: &Reply, chunked: bool, record: &Record) -> io::Result<()> {
        let status = StatusCode::from_u16(reply.status).expect("a status of three digits");
        let reason = status.canonical_reason().unwrap_or("Unknown");
        let mut head = format!("HTTP/1.1 {} {reason}\r\n", reply.status);
        let request_id = self.state.next_request_id();
        let standard = [
            ("Server", "AmazonS3"),
            ("Date", "Fri, 03 Jan 2025 00:00:00 GMT"),
            ("x-amz-request-id", &request_id),
            ("x-amz-id-2", "originhost"),
        ];
        for (name, value) in standard {
            if reply.header(name).is_none() {
                write!(head, "{name}: {value}\r\n").expect("a String takes everything");
            }
        }
        for (name, value) in &reply.headers {
            write!(head, "{name}: {value}\r\n").expect("a String takes everything");
        }
        head += if chunked { "Transfer-Encoding: chunked\r\n\r\n" } else { "\r\n" };
        record.update(|seen| seen.status = reply.status);
        self.stream.write_all(head.as_bytes()).await
    }

    /// Sends the bytes `from..to` of the body.
    async fn send_piece(
        &mut self,
        body: &Body,
        from: u64,
        to: u64,
        chunked: bool,
        record: &Record,
    ) -> io::Result<()> {
        let mut piece = Vec::new();
        let mut at = from;
        while at < to {
            let length = PIECE.min(to - at);
            piece.resize(usize::try_from(length).expect("at most a piece"), 0);
            body.fill(at, &mut piece);
            if let Some(paced) = &mut self.paced {
                paced.allows(length).await;
            }
            if chunked {
                self.stream.write_all(format!("{length:x}\r\n").as_bytes()).await?;
            }
            self.stream.write_all(&piece).await?;
            if chunked {
                self.stream.write_all(b"\r\n").await?;
            }
            at += length;
            record.update(|seen| seen.body_bytes_sent += length);
        }
        Ok(())
    }

    /// Answers `CompleteMultipartUpload` as S3 does for a large one: 200, whitespace, then the outcome.
    async fn late(&mut self, seen: &Seen, plan: &Plan, record: &Record) -> io::Result<Next> {
        let (gate, failure) = plan.late.clone().expect("called for a late answer");
        let head = Reply::empty(200).with("Content-Type", "application/xml");
        self.send_head(&head, true, record).await?;
        let declaration = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";
        let early = Body::Bytes(format!("{declaration}   \n   \n").into());
        self.send_piece(&early, 0, early.len(), true, record).await?;
        self.hold(&gate).await?;
        let document = match failure {
            Some(code) => error_element(code, &[], &seen.path),
            None => match answer(&mut self.state.store(), seen, plan.blind).body {
                Body::Bytes(bytes) => String::from_utf8_lossy(&bytes).replace(declaration, ""),
                _ => unreachable!("the answer to this operation is a document"),
            },
        };
        let outcome = Body::Bytes(document.into());
        self.send_piece(&outcome, 0, outcome.len(), true, record).await?;
        self.stream.write_all(b"0\r\n\r\n").await?;
        record.complete();
        Ok(Next::Keep)
    }

    /// Waits at the gate, or until the peer closes the connection, which is an error.
    async fn hold(&mut self, gate: &Gate) -> io::Result<()> {
        let peer_gone = async {
            // Pipelined requests are kept; the wait can only end with the error.
            while self.stream.read_buf(&mut self.buffer).await? > 0 {}
            io::Result::Err(io::ErrorKind::ConnectionAborted.into())
        };
        tokio::select! {
            biased;
            () = gate.pass() => Ok(()),
            gone = peer_gone => gone,
        }
    }
}
