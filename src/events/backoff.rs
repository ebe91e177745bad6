//! Backoff of receivers between attempts, and the log messages about failures.

use std::time::Duration;

use crate::pacing::Backoff;

const BASE: Duration = Duration::from_millis(200);
/// While a receiver is not connected nothing is trusted, so a long pause costs hits, not freshness.
pub(super) const CAP: Duration = Duration::from_secs(10);

/// The pauses of one receiver, of which many replicas must not come back at once.
pub(super) fn backoff() -> Backoff {
    Backoff::with_half_jitter(BASE, CAP)
}
