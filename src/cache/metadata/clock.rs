//! Moments that count time in which the machine was suspended.

use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, clock_gettime};
use tokio::time::Instant;

/// How long ago something was that lies in the future by the clock.
const LONG_AGO: Duration = Duration::from_hours(10 * 365 * 24);

/// A moment, by the monotonic clock and by the clock that goes on while the machine is suspended (R15).
#[derive(Debug, Clone, Copy)]
pub(in crate::cache) struct Moment {
    monotonic: Instant,
    boot: Duration,
    /// So long before the two clocks above were read.
    before: Duration,
}

impl Moment {
    pub(in crate::cache) fn now() -> Self {
        Self::ago(Duration::ZERO)
    }

    pub(in crate::cache) fn ago(before: Duration) -> Self {
        Self { monotonic: Instant::now(), boot: boot_time(), before }
    }

    /// A moment by the clock of the system. One that was set back proves nothing.
    pub(in crate::cache) fn of(time: SystemTime) -> Self {
        Self::ago(time.elapsed().unwrap_or(LONG_AGO))
    }

    /// When it was, by the monotonic clock.
    pub(in crate::cache) fn instant(&self) -> Option<Instant> {
        self.monotonic.checked_sub(self.before)
    }

    /// Time since then, suspended time included.
    pub(in crate::cache) fn age(&self) -> Duration {
        let since = self.monotonic.elapsed().max(boot_time().saturating_sub(self.boot));
        self.before.saturating_add(since)
    }
}

/// The moment before a request was sent.
#[derive(Debug, Clone, Copy)]
pub struct Sent(pub(in crate::cache) Moment);

impl Sent {
    /// To be called before the request is sent.
    #[must_use]
    pub fn now() -> Self {
        Self(Moment::now())
    }
}

/// The clock that goes on while the machine is suspended.
pub fn boot_time() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or(0))
}
