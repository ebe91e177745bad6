//! Reconnection of receivers after their server disconnects, without limit and with backoff.

use std::convert::Infallible;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::ReceiverStatus;
use super::backoff::{CAP, backoff};
use crate::origin::with_causes;

/// The error that ended a session.
pub(super) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Error for events that the disk did not accept: it ends the session, so that unacknowledged messages are redelivered
/// after a pause.
#[cfg(any(feature = "amqp", feature = "kafka", feature = "redis"))]
pub(super) const NOT_DURABLE: &str = "events were applied, and the disk did not take them down: they are not \
                                      acknowledged and come again; see the log about cache.disk";

/// Runs one session after another until `shutdown` turns true. A session connects, marks the status as up, and ends
/// only by failing.
pub(super) async fn reconnect<F: Future<Output = Result<Infallible, Failure>>>(
    status: &ReceiverStatus,
    mut shutdown: watch::Receiver<bool>,
    session: impl Fn() -> F,
) {
    let mut backoff = backoff();
    let sessions = async {
        loop {
            let began = Instant::now();
            let Err(why) = session().await;
            status.down(&with_causes(&*why));
            if began.elapsed() > CAP {
                backoff.reset();
            }
            sleep(backoff.pause()).await;
        }
    };
    tokio::select! {
        _ = shutdown.wait_for(|stop| *stop) => {}
        () = sessions => {}
    }
}
