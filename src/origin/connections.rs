//! Connections to the origin, made and pooled for hotset's own requests and for those that pass through.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use bytes::BytesMut;
use futures_util::task::noop_waker_ref;
use pingora::ErrorType;
use pingora::connectors::{L4Connect, TransportConnector};
use pingora::protocols::Stream;
use pingora::protocols::l4::socket::SocketAddr as PeerAddress;
use pingora::protocols::l4::stream::Stream as L4Stream;
use pingora::protocols::l4::virt::{VirtualSockOpt, VirtualSocket, VirtualSocketStream};
use pingora::upstreams::peer::HttpPeer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep, timeout_at};

use super::address_slots::AddressSlots;
use super::addresses::{Addresses, Watch};
use super::config::OriginConfig;
use super::connector;
use super::endpoint::{Endpoint, Route};
use super::error::NONE_FREE;
use super::pool::Pool;
use super::refused::{self, Refusal, Verdict};
use super::slots::{Class, Slot, Slots, Urgency};

/// Maximum idle time of a connection that a write may reuse; otherwise it gets a new one (R9).
const WRITE_IDLE: Duration = Duration::from_secs(4);
/// Maximum addresses tried for a new connection.
const MOST_TRIED: usize = 8;

/// Makes connections and keeps idle ones.
pub(super) struct Connections {
    transport: Arc<TransportConnector>,
    pool: Arc<Pool>,
    addresses: Arc<Addresses>,
    /// Connections in use, by address.
    in_use: AddressSlots,
    /// Slots of requests that pass through, shared by all endpoints of the origin.
    passing: Arc<Slots>,
    /// Time after which a response that has not begun counts against the address.
    first_byte_timeout: Duration,
}

/// A connection for one exchange, and its address.
pub(super) struct Connected {
    pub(super) stream: Stream,
    pub(super) address: SocketAddr,
    /// Idle time of a reused connection; `None`: it is new. A reused one may be dead, and a request lost with it.
    pub(super) reused: Option<Duration>,
    /// The connection slot of the address.
    pub(super) slot: Slot,
}

impl Connections {
    /// Makes connections to an endpoint; blocks.
    ///
    /// # Errors
    /// One line: `origin.ca_file` is gone.
    pub(super) fn new(
        config: &OriginConfig,
        endpoint: &Endpoint,
        passing: &Arc<Slots>,
    ) -> Result<Arc<Self>, String> {
        let transport = connector::shared(endpoint.is_tls(), config.ca_file.as_deref())?;
        Ok(Self::over(transport, config, endpoint, passing))
    }

    /// Makes connections to another endpoint of the same scheme, with the same authorities.
    pub(super) fn beside(&self, config: &OriginConfig, endpoint: &Endpoint) -> Arc<Self> {
        Self::over(self.transport.clone(), config, endpoint, &self.passing)
    }

    fn over(
        transport: Arc<TransportConnector>,
        config: &OriginConfig,
        endpoint: &Endpoint,
        passing: &Arc<Slots>,
    ) -> Arc<Self> {
        Arc::new(Self {
            transport,
            pool: Pool::new(config.connections, config.keep_alive.0),
            addresses: endpoint.addresses().clone(),
            in_use: AddressSlots::new(config.connections_per_address),
            passing: passing.clone(),
            first_byte_timeout: config.first_byte_timeout.0,
        })
    }

    /// Returns a connection that was idle for less than `youngest`, else a new one, to the next address that takes one.
    /// Waits until `deadline` if each address has reached its limit.
    pub(super) async fn open(
        self: &Arc<Self>,
        route: &Route,
        youngest: Duration,
        (urgency, deadline): (&Urgency, Instant),
    ) -> pingora::Result<Connected> {
        if let Some(address) = route.probe {
            self.probe(route.peer(address), address);
        }
        let kept = self.pool.take(&route.host, &route.addresses, youngest);
        if let Some((stream, address, idle)) = kept {
            match self.in_use.try_take(address, urgency) {
                Some(slot) => return Ok(Connected { stream, address, reused: Some(idle), slot }),
                // Waiting requests for this address take precedence.
                None => self.pool.put(&route.host, address, stream),
            }
        }
        let mut addresses = route.addresses.clone();
        for _ in 0..MOST_TRIED {
            let taken = timeout_at(deadline, self.in_use.take(&addresses, urgency)).await;
            let (address, slot) = taken.map_err(|_| pingora::Error::new(NONE_FREE))?;
            if let Some((stream, idle)) = self.pool.take_one(&route.host, address, youngest) {
                return Ok(Connected { stream, address, reused: Some(idle), slot });
            }
            if let Some(most) = self.in_use.most() {
                self.pool.shrink(address, most.saturating_sub(slot.in_use()));
            }
            match self.transport.new_stream(&route.peer(address)).await {
                Ok(stream) => {
                    self.addresses.connected(address);
                    return Ok(Connected { stream, address, reused: None, slot });
                }
                Err(error) => {
                    self.addresses.connect_failed(address);
                    addresses.retain(|other| *other != address);
                    // Others are tried only where that costs no time.
                    let is_slow = matches!(error.etype, ErrorType::ConnectTimedout);
                    if is_slow || addresses.is_empty() {
                        return Err(error);
                    }
                }
            }
        }
        pingora::Error::e_explain(ErrorType::ConnectError, "no address takes connections")
    }

    /// Returns the connections in use by address, and the addresses of idle ones.
    pub(super) fn count(&self) -> (Vec<(SocketAddr, usize)>, Vec<SocketAddr>) {
        (self.in_use.in_use(), self.pool.addresses())
    }

    /// Makes a connection to an address that did not answer, and closes it.
    fn probe(self: &Arc<Self>, peer: HttpPeer, address: SocketAddr) {
        let this = self.clone();
        tokio::spawn(async move {
            match this.transport.new_stream(&peer).await {
                Ok(_) => this.addresses.admit(address),
                Err(error) => log::debug!("origin: {address} does not answer yet: {error}"),
            }
        });
    }

    /// Records that a connection with this idle time turned out to be dead.
    pub(super) fn was_dead(&self, idle: Duration) {
        self.pool.was_dead(idle);
    }

    /// Returns a connection to the pool after its last response was read to the end.
    pub(super) fn keep(&self, host: &str, address: SocketAddr, stream: Stream) {
        self.pool.put(host, address, stream);
    }
}

/// An attempt among those of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Attempt {
    #[default]
    First,
    /// Addresses that failed are avoided.
    Retry,
    /// As a retry, over a new connection, because an idle one was dead.
    RetryFresh,
}

/// Connection for a request that passes through.
#[derive(Debug, Clone, Default)]
pub struct PassThrough {
    pub is_write: bool,
    /// Whether the request is a HEAD, whose response has no body whatever it announces.
    pub is_head: bool,
    pub attempt: Attempt,
    /// Whether the connection has carried a request before.
    pub reused: Arc<AtomicBool>,
    /// The error code of a refusal; known with the response head.
    pub refused: Arc<OnceLock<Refusal>>,
}

impl Connections {
    /// Returns a peer for pingora's proxy: a connection from the pool, which returns to the pool.
    pub(super) fn lend(self: &Arc<Self>, route: Route, how: PassThrough) -> HttpPeer {
        // TLS, if any, is below what pingora sees.
        let below = route.peer(route.addresses[0]);
        let mut peer = HttpPeer::new(route.addresses[0], false, below.sni);
        peer.options = below.options;
        peer.options.custom_l4 = Some(Arc::new(Lender { connections: self.clone(), route, how }));
        peer
    }
}

/// Gives pingora's proxy pooled connections as if they were new. Its own pool, which loses some, thus stays empty.
struct Lender {
    connections: Arc<Connections>,
    route: Route,
    how: PassThrough,
}

impl std::fmt::Debug for Lender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lender").field("route", &self.route).finish_non_exhaustive()
    }
}

#[async_trait]
impl L4Connect for Lender {
    async fn connect(&self, _: &PeerAddress) -> pingora::Result<L4Stream> {
        let youngest = match (self.how.attempt, self.how.is_write) {
            (Attempt::RetryFresh, _) => Duration::ZERO,
            (_, true) => WRITE_IDLE,
            (_, false) => Duration::MAX,
        };
        let class = if self.how.is_head { Class::Metadata } else { Class::Read };
        let (urgency, deadline) = (Urgency::new(class), self.route.wait_until());
        let passing = timeout_at(deadline, self.connections.passing.take(&urgency)).await;
        let passing = passing.map_err(|_| pingora::Error::new(NONE_FREE))?;
        let connected = self.connections.open(&self.route, youngest, (&urgency, deadline)).await?;
        self.how.reused.store(connected.reused.is_some(), Ordering::Relaxed);
        let Connections { addresses, first_byte_timeout, .. } = &*self.connections;
        // A write may take as long as it takes.
        let watch = || addresses.watch_for(connected.address, *first_byte_timeout);
        let watch = (!self.how.is_write).then(|| (watch(), connected.reused));
        let lent = Lent {
            slots: Some((passing, connected.slot)),
            stream: Some(connected.stream),
            address: connected.address,
            host: self.route.host.clone(),
            pool: self.connections.pool.clone(),
            how: self.how.clone(),
            held: Held { watch, ..Held::default() },
        };
        Ok(VirtualSocketStream::new(Box::new(lent)).into())
    }
}

/// A connection on loan to pingora's proxy.
#[derive(Debug)]
struct Lent {
    /// `None` once returned.
    stream: Option<Stream>,
    /// Slots of the origin and of the address; `None` once returned.
    slots: Option<(Slot, Slot)>,
    address: SocketAddr,
    host: String,
    pool: Arc<Pool>,
    how: PassThrough,
    held: Held,
}

/// The beginning of a response, held back until it is known whether it is a refusal, and why.
#[derive(Debug, Default)]
struct Held {
    bytes: BytesMut,
    /// Whether the held bytes may be passed on.
    is_known: bool,
    until: Option<Pin<Box<Sleep>>>,
    /// Tracks the address until the response begins; with the idle time of a reused connection.
    watch: Option<(Watch, Option<Duration>)>,
}

impl Held {
    /// Records for the address whether the response began. `is_over`: nothing is read any more, unless it did.
    fn judge(&mut self, pool: &Pool, is_over: bool) {
        let has_begun = !self.bytes.is_empty();
        if !has_begun && !is_over {
            return;
        }
        match self.watch.take() {
            None => {}
            Some((watch, _)) if has_begun => watch.began(),
            Some((watch, None)) => watch.failed(),
            Some((watch, Some(idle))) => {
                pool.was_dead(idle);
                watch.was_stale();
            }
        }
    }

    /// Reads until the response may be passed on.
    fn poll(
        &mut self,
        stream: &mut Stream,
        how: &PassThrough,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.is_known {
            let mut chunk = [0; 4096];
            let mut buf = ReadBuf::new(&mut chunk);
            if Pin::new(&mut *stream).poll_read(cx, &mut buf)?.is_pending() {
                if !self.bytes.is_empty() {
                    let until = self.until.get_or_insert_with(|| Box::pin(sleep(refused::LIMIT)));
                    self.is_known = until.as_mut().poll(cx).is_ready();
                }
                if self.is_known {
                    break;
                }
                return Poll::Pending;
            }
            let ended = buf.filled().is_empty();
            self.bytes.extend_from_slice(buf.filled());
            match refused::look(&self.bytes, how.is_head) {
                Verdict::Refused(refusal) => {
                    let _ = how.refused.set(refusal);
                    self.is_known = true;
                }
                Verdict::Pass => self.is_known = true,
                Verdict::Wait => self.is_known = ended,
            }
        }
        self.until = None;
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Lent {
    /// Reads from the connection. Once a response is complete, and only then, pingora reads without waiting to see
    /// whether the connection can be reused: at that point it returns to our pool. pingora sees it closed, and drops
    /// its end.
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if cx.waker().will_wake(noop_waker_ref())
            && this.held.is_known
            && this.held.bytes.is_empty()
            && let Some(stream) = this.stream.take()
        {
            this.pool.put(&this.host, this.address, stream);
            this.slots = None;
        }
        let Some(stream) = &mut this.stream else { return Poll::Ready(Ok(())) };
        if !this.held.is_known {
            let polled = this.held.poll(stream, &this.how, cx);
            this.held.judge(&this.pool, polled.is_ready());
            ready!(polled)?;
        }
        if this.held.bytes.is_empty() {
            return Pin::new(stream).poll_read(cx, buf);
        }
        let length = this.held.bytes.len().min(buf.remaining());
        buf.put_slice(&this.held.bytes.split_to(length));
        Poll::Ready(Ok(()))
    }
}

impl Lent {
    fn stream(&mut self) -> io::Result<Pin<&mut Stream>> {
        self.stream.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl AsyncWrite for Lent {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().stream()?.poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Some(stream) => Pin::new(stream).poll_flush(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Some(stream) => Pin::new(stream).poll_shutdown(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().stream()?.poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }
}

impl VirtualSocket for Lent {
    /// Does nothing: the options were set when the connection was made.
    fn set_socket_option(&self, _: VirtualSockOpt) -> io::Result<()> {
        Ok(())
    }
}
