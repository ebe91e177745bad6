//! Pauses between attempts: exponential backoff with jitter, and a rate limit.

use std::ops::RangeInclusive;
use std::time::Duration;

use rand::Rng;
use tokio::time::Instant;

/// Pauses between consecutive failed attempts: each ceiling is twice the one before, up to a cap.
#[derive(Debug)]
pub(crate) struct Backoff {
    base: Duration,
    cap: Duration,
    /// Share of its ceiling that a pause takes.
    jitter: RangeInclusive<f64>,
    failures: u32,
}

impl Backoff {
    /// Creates pauses anywhere between zero and their ceiling, which spread the attempts of many clients the most.
    pub(crate) fn with_full_jitter(base: Duration, cap: Duration) -> Self {
        Self { base, cap, jitter: 0.0..=1.0, failures: 0 }
    }

    /// Creates pauses of at least half of their ceiling, for attempts that must not follow each other quickly.
    pub(crate) fn with_half_jitter(base: Duration, cap: Duration) -> Self {
        Self { base, cap, jitter: 0.5..=1.0, failures: 0 }
    }

    /// Returns the longest pause.
    pub(crate) fn cap(&self) -> Duration {
        self.cap
    }

    /// Returns the number of consecutive failed attempts.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// Counts one more failure, and returns the pause after it.
    pub(crate) fn pause(&mut self) -> Duration {
        let ceiling = self.base.saturating_mul(1 << self.failures.min(16)).min(self.cap);
        self.failures = self.failures.saturating_add(1);
        ceiling.mul_f64(rand::thread_rng().gen_range(self.jitter.clone()))
    }

    /// Resets the backoff after a success.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

/// Limits an event, such as a warning or an attempt, to once per interval.
#[derive(Debug)]
pub(crate) struct RateLimit {
    interval: Duration,
    last: Option<Instant>,
}

impl RateLimit {
    pub(crate) const fn new(interval: Duration) -> Self {
        Self { interval, last: None }
    }

    /// Whether the event may happen now. If so, records that it happened.
    pub(crate) fn allow(&mut self) -> bool {
        let allowed = self.last.is_none_or(|last| last.elapsed() >= self.interval);
        if allowed {
            self.last = Some(Instant::now());
        }
        allowed
    }

    /// Returns the time of the last event.
    pub(crate) fn last(&self) -> Option<Instant> {
        self.last
    }

    /// Forgets the last event.
    pub(crate) fn reset(&mut self) {
        self.last = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_to_the_cap_and_begin_anew_after_a_success() {
        let (base, cap) = (Duration::from_millis(200), Duration::from_secs(10));
        let full = Backoff::with_full_jitter(base, cap);
        for (mut backoff, least) in [(full, 0), (Backoff::with_half_jitter(base, cap), 2)] {
            let mut ceiling = base;
            for failures in 0..40 {
                assert_eq!(backoff.failures(), failures);
                let pause = backoff.pause();
                let least = ceiling.checked_div(least).unwrap_or_default();
                assert!(least <= pause && pause <= ceiling, "{pause:?} of {ceiling:?}");
                ceiling = (ceiling * 2).min(cap);
            }
            backoff.reset();
            assert!(backoff.pause() <= base);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn something_is_let_through_once_in_an_interval() {
        let mut limit = RateLimit::new(Duration::from_secs(10));
        assert!(limit.allow() && !limit.allow());
        tokio::time::advance(Duration::from_secs(9)).await;
        assert!(!limit.allow());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(limit.allow() && !limit.allow());
        limit.reset();
        assert!(limit.last().is_none() && limit.allow());
    }
}
