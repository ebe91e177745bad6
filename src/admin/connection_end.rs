//! The deadline of a connection.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// Maximum lifetime of a connection, its response included.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(15);

/// The deadline of a connection, which can be extended.
pub(super) struct ConnectionEnd(watch::Sender<Instant>);

impl ConnectionEnd {
    pub(super) fn of_new_connection() -> Self {
        Self(watch::Sender::new(Instant::now() + CONNECTION_TIMEOUT))
    }

    /// Extends the deadline for a replica, which sends further requests.
    pub(super) fn renew(&self) {
        self.0.send_modify(|end| *end = (*end).max(Instant::now() + CONNECTION_TIMEOUT));
    }

    /// Extends the deadline by `time`, for a parsed request that takes longer than others.
    pub(super) fn extend(&self, time: Duration) {
        self.0.send_modify(|end| *end += time);
    }

    /// Waits until the deadline.
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
