//! Whether a disk is worth asking: one that fails or has become very slow is passed by, and tried again later.
//!
//! A cache that waits for a dying disk is slower than no cache. So a few failures in a row, or one that takes the
//! space away, stop the traffic for a while that doubles each time; then one request tries, and its success ends
//! it. The log has one line when that begins and one when it ends, however often it failed between.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// Failures in a row that close a direction.
const FAILURES: u32 = 3;
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_mins(1);

/// One direction, reading or writing, of one disk.
#[derive(Debug)]
pub(super) struct Health {
    /// For the log: which path and direction.
    name: String,
    born: Instant,
    failures: AtomicU32,
    /// Milliseconds since `born` until which it is passed by; 0 when it is well. Odd: one request tries.
    closed_until: AtomicU64,
}

impl Health {
    pub(super) fn new(name: String) -> Self {
        Self {
            name,
            born: Instant::now(),
            failures: AtomicU32::new(0),
            closed_until: AtomicU64::new(0),
        }
    }

    /// Whether to try. Of those who ask after a pause one may: the others would wait with it.
    pub(super) fn may_try(&self) -> bool {
        let until = self.closed_until.load(Ordering::Relaxed);
        let now = self.millis();
        until == 0
            || now >= until && {
                let next = (now + millis(PAUSE_MIN)) | 1;
                let (set, seen) = (Ordering::Relaxed, Ordering::Relaxed);
                self.closed_until.compare_exchange(until, next, set, seen).is_ok()
            }
    }

    /// Whether nothing speaks against it. Unlike [`Health::may_try`], nobody has to say how it went.
    pub(super) fn is_well(&self) -> bool {
        self.closed_until.load(Ordering::Relaxed) == 0
    }

    /// It worked.
    pub(super) fn succeeded(&self) {
        if self.failures.load(Ordering::Relaxed) == 0 {
            return;
        }
        self.failures.store(0, Ordering::Relaxed);
        if self.closed_until.swap(0, Ordering::Relaxed) != 0 {
            log::info!("{}: works again", self.name);
        }
    }

    /// It did not; `at_once`: there is no use in trying again soon.
    pub(super) fn failed(&self, why: &dyn std::fmt::Display, at_once: bool) {
        let (until, now) = (self.closed_until.load(Ordering::Relaxed), self.millis());
        if now < until && until % 2 == 0 {
            // It began before: nothing new.
            return;
        }
        let failures = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
        if failures < FAILURES && !at_once {
            return;
        }
        let doublings = failures.saturating_sub(FAILURES).min(10);
        let pause = (PAUSE_MIN * (1 << doublings)).min(PAUSE_MAX);
        let until = (now + millis(pause)) & !1;
        if self.closed_until.swap(until, Ordering::Relaxed) == 0 {
            log::warn!("{}: {why}; it is passed by until it works again", self.name);
        }
    }

    fn millis(&self) -> u64 {
        millis(self.born.elapsed()).max(1)
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
