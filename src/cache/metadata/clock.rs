//! Moments whose age includes time in which the machine was suspended.

use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, clock_gettime};
use tokio::time::Instant;

/// Assumed age of a moment that lies in the future by the clock.
const LONG_AGO: Duration = Duration::from_hours(10 * 365 * 24);

/// A moment, by the monotonic clock and by the clock that includes suspended time (R15).
#[derive(Debug, Clone, Copy)]
pub(in crate::cache) struct Moment {
    monotonic: Instant,
    boot: Duration,
    /// Time between the moment and the reading of both clocks.
    before: Duration,
}

impl Moment {
    pub(in crate::cache) fn now() -> Self {
        Self::ago(Duration::ZERO)
    }

    pub(in crate::cache) fn ago(before: Duration) -> Self {
        Self { monotonic: Instant::now(), boot: boot_time(), before }
    }

    /// Converts a time of the system clock. A time in the future, after the clock was set back, counts as long ago.
    pub(in crate::cache) fn of(time: SystemTime) -> Self {
        Self::ago(time.elapsed().unwrap_or(LONG_AGO))
    }

    /// Returns the moment by the monotonic clock, if it can be represented.
    pub(in crate::cache) fn instant(&self) -> Option<Instant> {
        self.monotonic.checked_sub(self.before)
    }

    /// Returns the time since then, suspended time included.
    pub(in crate::cache) fn age(&self) -> Duration {
        let since = self.monotonic.elapsed().max(boot_time().saturating_sub(self.boot));
        self.before.saturating_add(since)
    }
}

/// A moment before a request was sent.
#[derive(Debug, Clone, Copy)]
pub struct Sent(pub(in crate::cache) Moment);

impl Sent {
    /// Returns the current moment; call it before the request is sent.
    #[must_use]
    pub fn now() -> Self {
        Self(Moment::now())
    }
}

/// Returns the time since boot, suspended time included.
pub fn boot_time() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or(0))
}
