//! Circuit breaker of one direction of a disk: one that fails or has become very slow is bypassed, and probed later.
//!
//! A cache that waits for a dying disk is slower than no cache. So a few failures in a row, or one that rules out a
//! retry such as lack of space, stop the traffic for a pause; then a single request probes, and its success ends the
//! bypass. The pause doubles each time, also if the disk worked for a short while between: a disk that recovers only as
//! long as nobody reads from it costs little. The log has one line when a bypass begins and one when it ends, however
//! often requests failed between.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// Number of failures in a row after which a direction is bypassed.
const FAILURES: u32 = 3;
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_mins(1);
/// Multiple of the last pause that a direction must work for, so that its next pause is the shortest one again.
const STEADY: u64 = 10;

/// Circuit breaker of one direction, reading or writing, of one disk.
#[derive(Debug)]
pub(in crate::cache::disk) struct Health {
    /// Direction and path, for the log.
    name: String,
    born: Instant,
    failures: AtomicU32,
    /// End of the bypass in milliseconds since `born`; 0: it is not bypassed. Odd: a probe is under way.
    closed_until: AtomicU64,
    /// Length of the last pause in milliseconds; 0: there was none.
    pause: AtomicU64,
    /// Time of the last recovery, in milliseconds since `born`.
    reopened: AtomicU64,
}

impl Health {
    pub(in crate::cache::disk) fn new(name: String) -> Self {
        Self {
            name,
            born: Instant::now(),
            failures: AtomicU32::new(0),
            closed_until: AtomicU64::new(0),
            pause: AtomicU64::new(0),
            reopened: AtomicU64::new(0),
        }
    }

    /// Whether the caller may use the direction. After a pause only one caller may: the others would wait with it.
    pub(in crate::cache::disk) fn may_try(&self) -> bool {
        self.is_well() || self.may_probe()
    }

    /// Whether the caller is the one that probes after a pause. It reports the outcome by [`Health::succeeded`] or
    /// [`Health::failed`].
    pub(in crate::cache::disk) fn may_probe(&self) -> bool {
        let until = self.closed_until.load(Ordering::Relaxed);
        let now = self.millis();
        until != 0 && now >= until && {
            let next = (now + millis(PAUSE_MIN)) | 1;
            let (set, seen) = (Ordering::Relaxed, Ordering::Relaxed);
            self.closed_until.compare_exchange(until, next, set, seen).is_ok()
        }
    }

    /// Whether the direction is not bypassed. Unlike with [`Health::may_try`], nobody has to report an outcome.
    pub(in crate::cache::disk) fn is_well(&self) -> bool {
        self.closed_until.load(Ordering::Relaxed) == 0
    }

    /// Records a success, which ends a bypass.
    pub(in crate::cache::disk) fn succeeded(&self) {
        if self.failures.load(Ordering::Relaxed) == 0 {
            return;
        }
        self.failures.store(0, Ordering::Relaxed);
        if self.closed_until.swap(0, Ordering::Relaxed) != 0 {
            self.reopened.store(self.millis(), Ordering::Relaxed);
            log::info!("{}: works again", self.name);
        }
    }

    /// As [`Health::succeeded`], for a request that may have begun before a bypass, which it does not end.
    pub(in crate::cache::disk) fn succeeded_before(&self) {
        if self.is_well() {
            self.failures.store(0, Ordering::Relaxed);
        }
    }

    /// Records a failure. `at_once`: bypasses the direction at the first failure, as a retry is pointless.
    pub(in crate::cache::disk) fn failed(&self, why: &dyn std::fmt::Display, at_once: bool) {
        let (until, now) = (self.closed_until.load(Ordering::Relaxed), self.millis());
        if now < until && until % 2 == 0 {
            // The request began before the bypass: nothing new.
            return;
        }
        let failures = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
        if until == 0 && failures < FAILURES && !at_once {
            return;
        }
        let until = (now + self.next_pause(until == 0, now)) & !1;
        if self.closed_until.swap(until, Ordering::Relaxed) == 0 {
            log::warn!("{}: {why}; it is bypassed until it works again", self.name);
        }
    }

    /// Returns the length in milliseconds of a pause that begins now.
    fn next_pause(&self, was_well: bool, now: u64) -> u64 {
        let last = self.pause.load(Ordering::Relaxed);
        let steady = now.saturating_sub(self.reopened.load(Ordering::Relaxed)) >= last * STEADY;
        let pause = match last == 0 || was_well && steady {
            true => millis(PAUSE_MIN),
            false => (last * 2).min(millis(PAUSE_MAX)),
        };
        self.pause.store(pause, Ordering::Relaxed);
        pause
    }

    fn millis(&self) -> u64 {
        millis(self.born.elapsed()).max(1)
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    /// Records failures until the direction is bypassed; returns the length of the bypass in seconds.
    async fn bypassed_for(health: &Health) -> u64 {
        while health.is_well() {
            health.failed(&"a test", false);
        }
        let mut seconds = 0;
        while !health.may_probe() {
            advance(PAUSE_MIN).await;
            seconds += 1;
        }
        seconds
    }

    #[tokio::test(start_paused = true)]
    async fn a_disk_that_recovers_for_moments_only_is_bypassed_longer_each_time() {
        let health = Health::new("a test".to_owned());
        let mut pauses = Vec::new();
        for _ in 0..8 {
            pauses.push(bypassed_for(&health).await);
            health.succeeded();
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        advance(PAUSE_MAX * 10).await;
        assert_eq!(bypassed_for(&health).await, 1, "it worked for long");
    }

    #[tokio::test(start_paused = true)]
    async fn what_began_before_a_pause_does_not_end_it() {
        let health = Health::new("a test".to_owned());
        while health.is_well() {
            health.failed(&"a test", false);
        }
        health.succeeded_before();
        assert!(!health.is_well());
    }
}
