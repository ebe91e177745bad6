//! A client's connection as pingora takes it: a socket behind the gate for reads and a buffer for writes.
//!
//! pingora's own listener sends a head and a body in two writes; with the buffer they leave in one.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Buf, Bytes};
use futures_util::poll;
use pingora::http::ResponseHeader;
use pingora::protocols::l4::socket::SocketAddr as PingoraAddr;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    TimingDigest, UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use super::admission::ConnectionPermit;
use super::client::Client;
use super::gate::{Gate, GateLimits, InitialProtocol};
use super::transport::{Channel, Transport};
use crate::metrics::GaugeGuard;

/// Maximum time that a closed connection still reads what its client has on its way.
const LINGER: Duration = Duration::from_secs(1);

/// A connection as pingora takes it.
#[derive(Debug)]
pub(in crate::proxy) struct Connection {
    io: Transport,
    gate: Gate,
    client: Arc<Client>,
    address: Option<SocketAddr>,
    idle: Idle,
    fd: UniqueIDType,
    socket: Arc<SocketDigest>,
    /// Carries the [`Client`] to the gateway.
    digest: Arc<ProxyDigest>,
    /// Time until which the client's bytes are still read after our end of stream.
    lingering: Option<Pin<Box<Sleep>>>,
    /// Counts the connection for as long as it lives.
    _held: (GaugeGuard, ConnectionPermit),
}

/// Parts that a connection is built from.
pub(in crate::proxy) struct Parts {
    pub channel: Channel,
    pub fd: UniqueIDType,
    pub address: Option<SocketAddr>,
    pub opening: InitialProtocol,
    pub client: Client,
    pub held: (GaugeGuard, ConnectionPermit),
}

impl Connection {
    pub(in crate::proxy) fn new(parts: Parts, limits: GateLimits) -> Self {
        let Parts { channel, fd, address, opening, client, held } = parts;
        let peer = address.map(PingoraAddr::Inet);
        let socket_digest = SocketDigest::from_raw_fd(fd);
        // Set now, so that no log line costs a system call.
        let _ = socket_digest.peer_addr.set(peer);
        let client = Arc::new(client);
        // pingora's place for an application's data about a connection is beside a response head, which nobody reads.
        let head = Box::new(ResponseHeader::from(http::Response::new(()).into_parts().0));
        let digest = ProxyDigest::new(head, Some(Box::new(client.clone())));
        Self {
            io: Transport::new(channel),
            gate: Gate::new(limits, opening),
            client,
            address,
            idle: Idle::default(),
            fd,
            socket: Arc::new(socket_digest),
            digest: Arc::new(digest),
            lingering: None,
            _held: held,
        }
    }

    /// Waits for the first request, or HTTP/2's preface, without consuming it. Returns false when the client
    /// disconnects or sends nothing that could be answered. Cancel safe.
    ///
    /// # Errors
    /// I/O errors of the socket.
    pub(in crate::proxy) async fn arrive(&mut self) -> io::Result<bool> {
        poll_fn(|cx| self.gate.poll_request(&mut self.io, &self.client, cx)).await
    }

    /// Waits for the next request without consuming it; returns false if none has begun to arrive by `until`.
    ///
    /// # Errors
    /// I/O errors of the socket.
    pub(in crate::proxy) async fn next(&mut self, until: Instant) -> io::Result<bool> {
        poll_fn(|cx| {
            if let Poll::Ready(came) = self.gate.poll_request(&mut self.io, &self.client, cx) {
                return Poll::Ready(came);
            }
            ready!(self.idle.poll_over(until, cx));
            // The gate keeps the time of a head that has begun.
            if self.gate.is_idle() { Poll::Ready(Ok(false)) } else { Poll::Pending }
        })
        .await
    }

    /// Returns the head of the request that arrived, if it has no body and nothing of it was read.
    pub(in crate::proxy) fn head(&self) -> Option<&[u8]> {
        self.gate.head()
    }

    /// Returns the number of heads that were read from this connection.
    pub(in crate::proxy) fn heads_read(&self) -> u64 {
        self.gate.heads_read()
    }

    /// Whether the connection speaks HTTP/2.
    pub(in crate::proxy) fn is_http_2(&self) -> bool {
        self.gate.is_http_2()
    }

    /// Returns the client of this connection.
    pub(in crate::proxy) fn client(&self) -> &Client {
        &self.client
    }

    /// Returns the client's address; `None` for a unix socket.
    pub(in crate::proxy) fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Sends `pieces` in answer to the current request; pieces that are left were not sent. Each wait for the client
    /// takes at most `write_timeout`. Before the first wait, `compact` may replace the pieces by others with the same
    /// bytes.
    ///
    /// # Errors
    /// I/O errors of the socket; [`io::ErrorKind::TimedOut`].
    pub(in crate::proxy) async fn answer<P: AsMut<VecDeque<Bytes>>>(
        &mut self,
        pieces: &mut P,
        compact: impl Fn(&mut P),
        write_timeout: Duration,
    ) -> io::Result<()> {
        self.gate.skip_head();
        let mut compacted = false;
        while let Some(piece) = pieces.as_mut().front() {
            let taken = match poll!(pin!(self.io.write(piece))) {
                Poll::Ready(taken) => taken?,
                Poll::Pending => {
                    if !std::mem::replace(&mut compacted, true) {
                        compact(pieces);
                    }
                    timeout(write_timeout, self.io.write(&pieces.as_mut()[0])).await??
                }
            };
            if taken == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            let pieces = pieces.as_mut();
            pieces[0].advance(taken);
            if pieces[0].is_empty() {
                pieces.pop_front();
            }
        }
        match poll!(pin!(self.io.flush())) {
            Poll::Ready(flushed) => flushed,
            Poll::Pending => timeout(write_timeout, self.io.flush()).await?,
        }
    }
}

/// Timer of the idle time between two requests. It is not reset for each request: when it fires, it checks the
/// deadline anew.
#[derive(Debug, Default)]
struct Idle(Option<Pin<Box<Sleep>>>);

impl Idle {
    fn poll_over(&mut self, until: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let clock = self.0.get_or_insert_with(|| Box::pin(sleep_until(until)));
        if clock.deadline() > until {
            clock.as_mut().reset(until);
        }
        loop {
            ready!(clock.as_mut().poll(cx));
            if clock.deadline() >= until {
                return Poll::Ready(());
            }
            clock.as_mut().reset(until);
        }
    }
}

/// Never called: the gate has found out the protocol before pingora sees the connection.
impl Peek for Connection {}

#[async_trait]
impl Shutdown for Connection {
    async fn shutdown(&mut self) {
        if let Err(error) = AsyncWriteExt::shutdown(self).await {
            log::debug!("closing a connection: {error}");
        }
    }
}

impl UniqueID for Connection {
    fn id(&self) -> UniqueIDType {
        self.fd
    }
}

impl Ssl for Connection {
    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.gate.is_http_2().then_some(ALPN::H2)
    }
}

impl GetTimingDigest for Connection {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        // Called at every request, but the result is not used.
        Vec::new()
    }
}

impl GetProxyDigest for Connection {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        Some(self.digest.clone())
    }
}

impl GetSocketDigest for Connection {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        Some(self.socket.clone())
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // A read that waits for the client means that nothing more is written for now, so the buffer must be flushed.
        // pingora does not flush a body before its end, and the origin may be slow with the next bytes.
        let this = &mut *self;
        if let Poll::Ready(Err(error)) = Pin::new(&mut this.io).poll_flush(cx) {
            return Poll::Ready(Err(error));
        }
        this.gate.poll_read(&mut this.io, &this.client, cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    /// Sends the end of stream, then reads what the client still had on its way. A socket that is closed with unread
    /// bytes is reset, and the client may lose the end of its response.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let deadline = match &mut this.lingering {
            Some(deadline) => deadline,
            none => {
                ready!(Pin::new(&mut this.io).poll_shutdown(cx))?;
                none.insert(Box::pin(tokio::time::sleep(LINGER)))
            }
        };
        let mut discarded = [0; 1024];
        while deadline.as_mut().poll(cx).is_pending() {
            let mut buffer = ReadBuf::new(&mut discarded);
            match ready!(Pin::new(&mut this.io).poll_read(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {}
                _ => break,
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}
