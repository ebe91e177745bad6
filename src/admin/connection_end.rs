//! The deadline of a connection.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// Longest life of a connection, its response included.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(15);

/// Until when a connection may live.
pub(super) struct ConnectionEnd(watch::Sender<Instant>);

impl ConnectionEnd {
    pub(super) fn of_new_connection() -> Self {
        Self(watch::Sender::new(Instant::now() + CONNECTION_TIMEOUT))
    }

    /// The other end is a replica, which sends more requests.
    pub(super) fn renew(&self) {
        self.0.send_modify(|end| *end = (*end).max(Instant::now() + CONNECTION_TIMEOUT));
    }

    /// A request that was understood takes `time` longer than others.
    pub(super) fn extend(&self, time: Duration) {
        self.0.send_modify(|end| *end += time);
    }

    /// Resolves when it has come.
    pub(super) async fn reached(&self) {
        loop {
            let end = *self.0.borrow();
            sleep_until(end).await;
            if *self.0.borrow() == end {
                return;
            }
        }
    }
}
