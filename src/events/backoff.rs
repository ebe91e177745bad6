//! Backoff of receivers between attempts, and the log messages about failures.

use std::time::Duration;

use crate::pacing::Backoff;

const BASE: Duration = Duration::from_millis(200);
/// Maximum pause. Events are not trusted while a receiver is disconnected, so a long pause costs hits, not freshness.
pub(super) const CAP: Duration = Duration::from_secs(10);

/// Returns the backoff of one receiver, with jitter so that many replicas do not reconnect at once.
pub(super) fn backoff() -> Backoff {
    Backoff::with_half_jitter(BASE, CAP)
}
