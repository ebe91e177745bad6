//! Accepts connections until a graceful shutdown, then waits for those that have requests in flight.
//!
//! The listener and the stop signal come from outside, so that a test and `main` run the same code (R30). A graceful
//! shutdown loses no request (see [`Shutdown`]): its connections end after a response that announces it, or when they
//! have been idle for a moment. The work before a connection is handed to pingora happens in a task of its own:
//! accepting never waits for a client.

use std::io;
use std::pin::pin;
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use pingora::apps::{HttpServerOptions, ServerApp};
use pingora::protocols::http::v2::server::{H2Options, default_h2_options};
use pingora::proxy::HttpProxy;
use pingora::server::configuration::ServerConf;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::admission::Admission;
use super::client::Client;
use super::connection::{Connection, Parts};
use super::gate::InitialProtocol;
use super::listener::{Accepted, Listener};
use super::proxy_protocol::{ProxyProtocolConfig, read_header};
use super::reject_overload::reject_overload;
use super::shutdown::Shutdown;
use super::transport::Channel;
use crate::accept::accept;
use crate::metrics::{self, GaugeGuard, wire};
use crate::proxy::config::LimitsConfig;
use crate::proxy::gateway::Gateway;
use crate::tls::{ClientCertificate, Tls, chose_http_2};

/// The HTTP server of one listener.
pub struct Server {
    pub(in crate::proxy) proxy: Arc<HttpProxy<Gateway>>,
    pub(in crate::proxy) gateway: Gateway,
    /// The proxy for HTTP/2, whose library keeps limits of its own, and the limits that it was made with.
    http_2: ArcSwap<Http2>,
    conf: Arc<ServerConf>,
    admission: Arc<Admission>,
    tls: Option<Arc<Tls>>,
    balancers: Option<ProxyProtocolConfig>,
}

/// A proxy for HTTP/2 connections.
struct Http2 {
    proxy: Arc<HttpProxy<Gateway>>,
    limits: Arc<LimitsConfig>,
}

impl Http2 {
    fn new(gateway: &Gateway, conf: &Arc<ServerConf>) -> Self {
        let limits = gateway.limits.load_full();
        let mut options = HttpServerOptions::default();
        options.h2_idle_timeout = Some(limits.keep_alive.0);
        let mut proxy = HttpProxy::new(gateway.clone(), conf.clone());
        proxy.server_options = Some(options);
        proxy.h2_options = Some(h2_options(&limits));
        proxy.handle_init_modules();
        Self { proxy: Arc::new(proxy), limits }
    }
}

impl Server {
    pub fn new(
        gateway: Gateway,
        conf: &Arc<ServerConf>,
        tls: Option<Arc<Tls>>,
        balancers: Option<ProxyProtocolConfig>,
    ) -> Self {
        let admission = gateway.admission.clone();
        let mut proxy = HttpProxy::new(gateway.clone(), conf.clone());
        proxy.handle_init_modules();
        let http_2 = ArcSwap::from_pointee(Http2::new(&gateway, conf));
        let (proxy, conf) = (Arc::new(proxy), conf.clone());
        Self { proxy, gateway, http_2, conf, admission, tls, balancers }
    }

    /// Returns the current limits on clients.
    pub(in crate::proxy) fn limits(&self) -> Guard<Arc<LimitsConfig>> {
        self.gateway.limits.load()
    }

    /// Returns the proxy for an HTTP/2 connection that begins now.
    fn http_2(&self) -> Arc<HttpProxy<Gateway>> {
        let current = self.http_2.load();
        if Arc::ptr_eq(&current.limits, &self.limits()) {
            return current.proxy.clone();
        }
        let new = Http2::new(&self.gateway, &self.conf);
        let proxy = new.proxy.clone();
        self.http_2.store(Arc::new(new));
        proxy
    }

    /// Serves until `shutdown` closes the listener, then until no request is in flight.
    pub async fn run(self, listener: Listener, shutdown: Shutdown) {
        let server = Arc::new(self);
        let mut watching = JoinSet::new();
        if let Some(tls) = &server.tls {
            watching.spawn(tls.clone().watch());
        }
        let mut closing = pin!(shutdown.closing());
        loop {
            let slots = server.admission.slots();
            let (accepted, permit) = tokio::select! {
                biased;
                () = &mut closing => break,
                next = accept("listen", slots, || listener.accept()) => next,
            };
            let (server, shutdown) = (server.clone(), shutdown.clone());
            tokio::spawn(async move {
                server.serve(accepted, shutdown).await;
                drop(permit);
            });
        }
        drop(listener);
        server.admission.no_connections().await;
    }

    /// Serves one connection, from its first byte to its last.
    async fn serve(&self, accepted: Accepted, shutdown: Shutdown) {
        let began = Instant::now();
        let arrived = tokio::select! {
            biased;
            arrived = self.arrive(accepted) => arrived,
            () = shutdown.closing_idle_since(began) => return,
        };
        match arrived {
            Ok(Some(connection)) if connection.is_http_2() => {
                self.http_2().process_new(Box::new(connection), shutdown.http2_goaway()).await;
            }
            Ok(Some(connection)) => self.converse(connection, shutdown).await,
            Ok(None) => {}
            Err(error) => log::debug!("a connection that came to nothing: {error}"),
        }
    }

    /// Prepares a connection and waits for its first request; `None` when none comes.
    async fn arrive(&self, accepted: Accepted) -> io::Result<Option<Connection>> {
        let open = metrics::connection_open();
        let welcome = self.welcome(accepted, open);
        let welcomed = if self.tls.is_some() || self.balancers.is_some() {
            let Ok(welcomed) = timeout(self.limits().handshake_timeout.0, welcome).await else {
                wire::refused(wire::Refused::SlowHandshake);
                return Ok(None);
            };
            welcomed
        } else {
            welcome.await
        };
        let Some(parts) = welcomed? else { return Ok(None) };
        let mut connection = Connection::new(parts, self.limits().gate());
        Ok(connection.arrive().await?.then_some(connection))
    }

    /// Reads the PROXY header and does the TLS handshake, as configured; `None` when the connection is refused.
    async fn welcome(&self, accepted: Accepted, open: GaugeGuard) -> io::Result<Option<Parts>> {
        let Accepted { mut socket, mut address } = accepted;
        if let (Some(balancers), Some(balancer)) = (&self.balancers, address)
            && balancers.expects(balancer.ip())
        {
            let client = read_header(&mut socket, balancer).await;
            address = Some(client.inspect_err(counted(wire::Refused::ProxyProtocol))?);
        }
        let Some(held) = self.admission.address(address.map(|a| a.ip())) else {
            wire::refused(wire::Refused::ConnectionsPerAddress);
            if self.tls.is_none() {
                reject_overload(socket).await;
            }
            return Ok(None);
        };
        socket.send_at_once()?;
        let fd = socket.fd();
        let mut opening = InitialProtocol::Unknown;
        let mut certificate = None;
        let channel = match &self.tls {
            None => Channel::Plain(socket),
            Some(tls) => {
                let shaken = tls.accept(socket).await;
                let stream = shaken.inspect_err(counted(wire::Refused::TlsHandshake))?;
                let shown = ClientCertificate::of(&stream);
                certificate = shown.inspect_err(counted(wire::Refused::TlsHandshake))?;
                opening = if chose_http_2(&stream) {
                    InitialProtocol::Http2
                } else {
                    InitialProtocol::Http1
                };
                Channel::Tls(stream)
            }
        };
        let client = Client::new(certificate);
        Ok(Some(Parts { channel, fd, address, opening, client, held: (open, held) }))
    }
}

/// Counts errors that the client is to blame for; a client disconnect is not counted.
fn counted(reason: wire::Refused) -> impl Fn(&io::Error) {
    move |error| {
        if error.kind() == io::ErrorKind::InvalidData {
            wire::refused(reason);
        }
    }
}

/// Returns the options of the HTTP/2 library, which refuses too large heads by itself, with 431.
fn h2_options(limits: &LimitsConfig) -> H2Options {
    let head = limits.gate().head;
    // RFC 9113, section 6.5.2: a field counts 32 bytes more than its name and value.
    let list = head.uri + head.fields + 32 * (head.count + 4);
    let mut options = default_h2_options();
    options.max_header_list_size(u32::try_from(list).unwrap_or(u32::MAX));
    options
}
