//! The two steps of a graceful shutdown, and the end of connections in each (R30).
//!
//! A client that sends a request while the server closes its connection loses it: it cannot know whether the request
//! was processed. So a connection is closed only after a response that announced it (`Connection: close`, GOAWAY), or
//! after it was idle for [`LAST_REQUEST`]. A client that reuses a connection that has been idle for longer may still
//! find it closed; `shutdown.delay` makes that time longer.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// Maximum time that a connection may be idle, or bring no first request, before it is closed in the second step. A
/// response that had begun before the first step told its client that it may send another request.
pub(in crate::proxy) const LAST_REQUEST: Duration = Duration::from_secs(1);

/// Signals of the two steps of a shutdown. Each is true from its step on.
#[derive(Debug, Clone)]
pub struct Shutdown {
    /// SIGTERM has arrived: responses over HTTP/1 announce the end of their connections. New connections are still
    /// accepted.
    draining: watch::Receiver<bool>,
    /// `shutdown.delay` is over: listeners close, idle connections end, HTTP/2 sends GOAWAY. Never waited on itself,
    /// since pingora waits for the change.
    closing: watch::Receiver<bool>,
}

impl Shutdown {
    pub fn new(draining: watch::Receiver<bool>, closing: watch::Receiver<bool>) -> Self {
        Self { draining, closing }
    }

    /// Whether responses announce the end of their connections.
    pub(in crate::proxy) fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }

    /// Returns the signal at which pingora announces the end of HTTP/1 connections.
    pub(in crate::proxy) fn http1_close(&self) -> &watch::Receiver<bool> {
        &self.draining
    }

    /// Returns the signal at which pingora ends HTTP/2 connections.
    pub(in crate::proxy) fn http2_goaway(&self) -> &watch::Receiver<bool> {
        &self.closing
    }

    /// Waits for the second step.
    pub(in crate::proxy) async fn closing(&self) {
        let _ = self.closing.clone().wait_for(|closing| *closing).await;
    }

    /// Waits until a connection that has been idle since `since` is to be closed.
    pub(in crate::proxy) async fn closing_idle_since(&self, since: Instant) {
        self.closing().await;
        sleep_until(since + LAST_REQUEST).await;
    }
}
