//! A client's connection as pingora takes it: a socket behind the gate on the way in and a buffer on the way out.
//!
//! pingora's own listener sends the head and a body in two writes; with a buffer they leave in one.

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

/// How long a connection lingers for what its client still has on its way.
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
    /// Until when what the client sends is still read after our end.
    lingering: Option<Pin<Box<Sleep>>>,
    /// Counted for as long as it lives.
    _held: (GaugeGuard, ConnectionPermit),
}

/// What a connection is made of.
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
        // Known now, so that no log line costs a system call.
        let _ = socket_digest.peer_addr.set(peer);
        let client = Arc::new(client);
        // pingora's place for what an application knows of a connection is beside a head that nobody reads.
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

    /// Waits for the first request, or HTTP/2's preface, which stay to be read; false when the client goes away, or
    /// says nothing that could be answered. Dropping the future loses nothing.
    ///
    /// # Errors
    /// As the socket says.
    pub(in crate::proxy) async fn arrive(&mut self) -> io::Result<bool> {
        poll_fn(|cx| self.gate.poll_request(&mut self.io, &self.client, cx)).await
    }

    /// Waits for the next request, which stays to be read; false when none has begun to come by then.
    ///
    /// # Errors
    /// As the socket says.
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

    /// The head of the request that came, when it has no body and nothing of it was read.
    pub(in crate::proxy) fn head(&self) -> Option<&[u8]> {
        self.gate.head()
    }

    /// How many heads were read from here.
    pub(in crate::proxy) fn heads_read(&self) -> u64 {
        self.gate.heads_read()
    }

    /// Whether HTTP/2 is spoken.
    pub(in crate::proxy) fn is_http_2(&self) -> bool {
        self.gate.is_http_2()
    }

    /// Who is at the other end.
    pub(in crate::proxy) fn client(&self) -> &Client {
        &self.client
    }

    /// `None` for a unix socket.
    pub(in crate::proxy) fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Answers the request whose head came with `pieces`; those that are left were not sent. Each wait for the client
    /// takes at most `patience`; before the first one `compact` may replace the pieces by others with the same bytes.
    ///
    /// # Errors
    /// As the socket says; [`io::ErrorKind::TimedOut`].
    pub(in crate::proxy) async fn answer<P: AsMut<VecDeque<Bytes>>>(
        &mut self,
        pieces: &mut P,
        compact: impl Fn(&mut P),
        patience: Duration,
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
                    timeout(patience, self.io.write(&pieces.as_mut()[0])).await??
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
            Poll::Pending => timeout(patience, self.io.flush()).await?,
        }
    }
}

/// The time between two requests. Set anew without a timer of its own for each: it looks again when it is over.
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

/// Never asked for: the gate has found out the protocol before pingora sees the connection.
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
        // Asked for at every request, and nobody reads it.
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
        // Who waits for the client has nothing more to say for now: what is still in the buffer must not wait, too.
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

    /// Says that no more will come, then reads what the client still had on its way: a socket that is closed with
    /// bytes unread is reset, and the client may lose the end of its answer.
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
