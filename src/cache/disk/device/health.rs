//! Circuit breaker of one direction of a disk: one that fails or has become very slow is bypassed, and probed later.
//!
//! A cache that waits for a dying disk is slower than no cache. So a few failures in a row, or one that takes the
//! space away, stop the traffic for a pause; then a single request tries, and its success ends it. The pause doubles
//! each time, also when the disk worked for a short while between: a disk that recovers only as long as nobody reads
//! from it costs little. The log has one line when that begins and one when it ends, however often it failed between.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// Failures in a row that close a direction.
const FAILURES: u32 = 3;
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_mins(1);
/// A direction that worked for so many times its last pause begins with the shortest one again.
const STEADY: u64 = 10;

/// One direction, reading or writing, of one disk.
#[derive(Debug)]
pub(in crate::cache::disk) struct Health {
    /// For the log: which path and direction.
    name: String,
    born: Instant,
    failures: AtomicU32,
    /// Milliseconds since `born` until which it is bypassed; 0 when it is well. Odd: one request tries.
    closed_until: AtomicU64,
    /// Milliseconds of the last pause; 0: there was none.
    pause: AtomicU64,
    /// Milliseconds since `born` when the last pause ended.
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

    /// Whether to try. Of those who ask after a pause one may: the others would wait with it.
    pub(in crate::cache::disk) fn may_try(&self) -> bool {
        self.is_well() || self.may_probe()
    }

    /// Whether the caller is the one that tries after a pause. It says how that went by [`Health::succeeded`] or
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

    /// Whether nothing speaks against it. Unlike [`Health::may_try`], nobody has to say how it went.
    pub(in crate::cache::disk) fn is_well(&self) -> bool {
        self.closed_until.load(Ordering::Relaxed) == 0
    }

    /// It worked.
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

    /// As [`Health::succeeded`], of a request that may have begun before a pause, which it does not end.
    pub(in crate::cache::disk) fn succeeded_before(&self) {
        if self.is_well() {
            self.failures.store(0, Ordering::Relaxed);
        }
    }

    /// It did not; `at_once`: there is no use in trying again soon.
    pub(in crate::cache::disk) fn failed(&self, why: &dyn std::fmt::Display, at_once: bool) {
        let (until, now) = (self.closed_until.load(Ordering::Relaxed), self.millis());
        if now < until && until % 2 == 0 {
            // It began before: nothing new.
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

    /// Milliseconds of a pause that begins now.
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

    /// Fails until it is bypassed; returns for how many seconds it is.
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
