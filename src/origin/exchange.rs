//! Requests and responses on connections, limited to `origin.connections` at a time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::CONTENT_LENGTH;
use http::{HeaderMap, StatusCode};
use pingora::http::RequestHeader;
use pingora::protocols::http::v1::client::HttpSession;
use tokio::time::{Instant, timeout, timeout_at};

use super::config::OriginConfig;
use super::connections::{Connected, Connections};
use super::error::{OriginError, connect_error, wire_error};
use super::loops::LoopGuard;
use super::regions::Site;
use super::retry::Reused;
use super::slots::{Slot, Slots, Urgency};
use crate::tracing::{self, OpenSpan};

/// Maximum unread rest of a response that is drained so that the connection can be reused: a new connection costs about
/// as much.
const DRAIN: u64 = 64 * 1024;
/// Timeout for draining.
const DRAIN_TIME: Duration = Duration::from_secs(1);

/// Sends requests over connections of a site.
pub(super) struct Transport {
    config: Arc<OriginConfig>,
    loops: Arc<LoopGuard>,
    /// Slots of requests under way.
    slots: Arc<Slots>,
}

/// A request whose response head was read, and whose body was not.
pub(super) struct Exchange {
    session: HttpSession,
    connections: Arc<Connections>,
    host: String,
    address: SocketAddr,
    pub(super) status: StatusCode,
    /// Bytes of the body read so far.
    received: u64,
    /// Slots of the origin and of the address.
    slots: (Slot, Slot),
    /// Time from the permission to send to the response head.
    pub(super) first_byte: Duration,
    /// Trace span, which ends with the exchange; `None`: the exchange is not traced.
    span: Option<OpenSpan>,
}

/// Position of one attempt among those of a request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Try {
    /// Whether to use a new connection.
    pub fresh: bool,
    /// Number of attempts before this one.
    pub retries: u32,
}

impl Try {
    /// Returns the first attempt, over a new connection if `fresh`.
    pub(super) fn first(fresh: bool) -> Self {
        Self { fresh, retries: 0 }
    }
}

impl Transport {
    pub(super) fn new(config: &Arc<OriginConfig>) -> Self {
        Self {
            config: config.clone(),
            loops: Arc::default(),
            slots: Slots::new(config.connections),
        }
    }

    /// Returns a transport with the loop detection of `other`.
    pub(super) fn beside(&self, other: &Self) -> Self {
        let (config, slots) = (self.config.clone(), self.slots.clone());
        Self { config, loops: other.loops.clone(), slots }
    }

    pub(super) fn loops(&self) -> &LoopGuard {
        &self.loops
    }

    /// Whether a read would be sent without waiting for a slot.
    pub(super) fn has_free_connection(&self) -> bool {
        self.slots.has_free()
    }

    /// Sends a request head to `host`, once a slot of its class is free, and reads the response head.
    pub(super) async fn deliver(
        &self,
        site: &Site,
        mut head: Box<RequestHeader>,
        host: &str,
        which: Try,
        deadline: Instant,
        urgency: &Urgency,
    ) -> Result<Exchange, (OriginError, Reused)> {
        self.loops.mark_own(&mut head);
        let (method, path) = (&head.method, head.uri.path());
        let Some(mut span) = tracing::begin_request(method, site.endpoint().name(), path) else {
            return self.send(site, head, host, which.fresh, deadline, urgency).await;
        };
        if which.retries > 0 {
            span.resent(which.retries);
        }
        let (name, value) = tracing::header(span.context());
        let _ = head.insert_header(name, value);
        let mut sent = self.send(site, head, host, which.fresh, deadline, urgency).await;
        match &mut sent {
            Ok(exchange) => {
                span.answered(exchange.status.as_u16(), Some(exchange.address));
                exchange.span = Some(span);
            }
            Err((error, _)) => span.failed(error.outcome().label()),
        }
        sent
    }

    async fn send(
        &self,
        site: &Site,
        head: Box<RequestHeader>,
        host: &str,
        fresh: bool,
        deadline: Instant,
        urgency: &Urgency,
    ) -> Result<Exchange, (OriginError, Reused)> {
        let not_sent = |e| (e, Reused(false));
        let slot = timeout_at(deadline, self.slots.take(urgency))
            .await
            .map_err(|_| not_sent(OriginError::Timeout("a free connection")))?;
        let began = Instant::now();
        let route = site.endpoint().route(host, &self.config, fresh).await.map_err(not_sent)?;
        let youngest = if fresh { Duration::ZERO } else { Duration::MAX };
        let connected = site.connections.open(&route, youngest, (urgency, deadline)).await;
        let Connected { stream, address, reused, slot: at_address } =
            connected.map_err(|e| not_sent(connect_error(&e)))?;
        let watch = site.endpoint().addresses().watch(address);
        let mut session = HttpSession::new_with_options(stream, &route.peer(address));
        session.read_timeout = Some(self.config.first_byte_timeout.0);
        session.write_timeout = Some(self.config.idle_timeout.0);
        let sent = timeout(self.config.first_byte_timeout.0, send(&mut session, head)).await;
        match (sent, reused) {
            (Err(_), _) => {
                watch.failed();
                return Err((OriginError::Timeout("the first byte"), Reused(false)));
            }
            (Ok(Err(e @ OriginError::Broken(_))), Some(idle)) => {
                site.connections.was_dead(idle);
                watch.was_stale();
                return Err((e, Reused(true)));
            }
            (Ok(Err(e)), reused) => {
                watch.failed();
                return Err((e, Reused(reused.is_some())));
            }
            (Ok(Ok(())), _) => watch.answered(),
        }
        session.respect_keepalive();
        session.read_timeout = Some(self.config.idle_timeout.0);
        let status = session.get_status().unwrap_or(StatusCode::BAD_GATEWAY);
        let (connections, host) = (site.connections.clone(), route.host);
        let (received, first_byte) = (0, began.elapsed());
        let slots = (slot, at_address);
        Ok(Exchange {
            session,
            connections,
            host,
            address,
            status,
            received,
            slots,
            first_byte,
            span: None,
        })
    }
}

impl Exchange {
    pub(super) fn head(&self) -> &HeaderMap {
        &self.session.resp_header().expect("the head was read").headers
    }

    /// Returns the next bytes of the body; `None` at its end.
    pub(super) async fn read(&mut self) -> Result<Option<&[u8]>, OriginError> {
        let read = match self.session.read_body_ref().await {
            Ok(read) => read,
            Err(error) => {
                let error = wire_error(&error);
                if let Some(span) = &mut self.span {
                    span.failed(error.outcome().label());
                }
                return Err(error);
            }
        };
        let bytes = read.map_or(0, |bytes| bytes.len() as u64);
        self.received += bytes;
        if let Some(span) = &mut self.span {
            span.received(bytes);
        }
        Ok(read)
    }

    /// Returns the connection to the pool if the response was read to its end. Drains a short rest in the background.
    pub(super) async fn release(mut self) {
        if self.session.is_body_done() {
            self.keep().await;
        } else if self.rest().is_some_and(|rest| rest <= DRAIN) {
            tokio::spawn(async move {
                if let Ok(true) = timeout(DRAIN_TIME, self.drain()).await {
                    self.keep().await;
                }
            });
        }
    }

    /// Returns the number of announced body bytes that were not read; `None`: unknown.
    fn rest(&self) -> Option<u64> {
        let length = self.head().get(CONTENT_LENGTH)?.to_str().ok()?;
        length.parse::<u64>().ok()?.checked_sub(self.received)
    }

    /// Drains a short rest of the body. Returns `false` when its length differs from the announced one.
    async fn drain(&mut self) -> bool {
        let most = self.received + DRAIN;
        while let Ok(Some(_)) = self.read().await {
            if self.received > most {
                return false;
            }
        }
        self.session.is_body_done()
    }

    async fn keep(self) {
        let Self { session, connections, host, address, slots: (slot, at_address), .. } = self;
        if let Some(stream) = session.reuse().await {
            // Before a request that waits for a connection is woken.
            connections.keep(&host, address, stream);
        }
        drop((at_address, slot));
    }
}

async fn send(session: &mut HttpSession, head: Box<RequestHeader>) -> Result<(), OriginError> {
    session.write_request_header(head).await.map_err(|e| wire_error(&e))?;
    loop {
        session.read_response().await.map_err(|e| wire_error(&e))?;
        if !session.get_status().is_some_and(|s| s.is_informational()) {
            return Ok(());
        }
    }
}
