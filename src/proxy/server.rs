//! Accepts connections until it is told to stop, then waits for those that are in the middle of something.
//!
//! The listener and the stop signal come from outside, so that a test and `main` run the same code (R30).
//! What a connection has to do before it is one for pingora happens in a task of its own: accepting never waits
//! for a client.

use std::sync::Arc;
use std::time::Duration;

use pingora::apps::{HttpServerApp, HttpServerOptions, ServerApp};
use pingora::protocols::http::v2::server::{H2Options, default_h2_options};
use pingora::proxy::HttpProxy;
use pingora::server::configuration::ServerConf;
use tokio::sync::watch;

use super::Gateway;
use super::admission::Admission;
use super::config::LimitsConfig;
use super::connection::Connection;
use super::gate::GateLimits;
use super::listener::{Accepted, Listener};
use super::turn_away::turn_away;
use crate::metrics::{self, wire};

/// After accept fails (no file descriptors left), the next try waits so long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The HTTP server of one listener.
pub struct Server {
    proxy: Arc<HttpProxy<Gateway>>,
    admission: Arc<Admission>,
    gate: GateLimits,
}

impl Server {
    pub fn new(gateway: Gateway, conf: &Arc<ServerConf>) -> Self {
        let admission = gateway.admission.clone();
        let gate = gateway.limits.gate();
        let mut options = HttpServerOptions::default();
        options.h2_idle_timeout = Some(gateway.limits.keep_alive.0);
        // pingora counts those after the first.
        options.keepalive_request_limit =
            gateway.limits.keep_alive_requests.map(|most| most.saturating_sub(1));
        let h2_options = h2_options(&gateway.limits);
        let mut proxy = HttpProxy::new(gateway, conf.clone());
        proxy.server_options = Some(options);
        proxy.h2_options = Some(h2_options);
        proxy.handle_init_modules();
        Self { proxy: Arc::new(proxy), admission, gate }
    }

    /// Serves until `shutdown` turns true, then until no request is under way.
    pub async fn run(self, listener: Listener, mut shutdown: watch::Receiver<bool>) {
        let server = Arc::new(self);
        loop {
            let next = async { (server.admission.connection().await, listener.accept().await) };
            let (permit, accepted) = tokio::select! {
                biased;
                stop = shutdown.wait_for(|stop| *stop) => {
                    drop(stop);
                    break;
                }
                next = next => next,
            };
            match accepted {
                Ok(accepted) => {
                    let (server, shutdown) = (server.clone(), shutdown.clone());
                    tokio::spawn(async move {
                        server.serve(accepted, shutdown).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    log::warn!("cannot accept a connection: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(listener);
        // Idle connections end now; the others when their answer is out.
        server.proxy.http_cleanup().await;
        server.admission.no_connections().await;
    }

    /// One connection, from its first byte to its last.
    async fn serve(&self, accepted: Accepted, mut shutdown: watch::Receiver<bool>) {
        let open = metrics::connection_open();
        let Some(_held) = self.admission.address(accepted.address.map(|a| a.ip())) else {
            wire::refused(wire::Refused::ConnectionsPerAddress);
            turn_away(accepted.socket).await;
            return;
        };
        let mut connection = match Connection::new(accepted, self.gate, open) {
            Ok(connection) => connection,
            Err(error) => return log::debug!("a connection that is dead already: {error}"),
        };
        // A connection that has asked for nothing yet ends at once when the server does.
        let arrived = tokio::select! {
            biased;
            arrived = connection.arrive() => arrived,
            stop = shutdown.wait_for(|stop| *stop) => {
                drop(stop);
                return;
            }
        };
        if !matches!(arrived, Ok(true)) {
            return;
        }
        let mut connection = Some(Box::new(connection) as pingora::protocols::Stream);
        while let Some(stream) = connection {
            connection = self.proxy.process_new(stream, &shutdown).await;
        }
    }
}

/// What HTTP/2's library refuses by itself, with 431.
fn h2_options(limits: &LimitsConfig) -> H2Options {
    let head = limits.gate().head;
    // RFC 9113, section 6.5.2: a field counts 32 bytes more than its name and value.
    let list = head.uri + head.fields + 32 * (head.count + 4);
    let mut options = default_h2_options();
    options.max_header_list_size(u32::try_from(list).unwrap_or(u32::MAX));
    options
}
