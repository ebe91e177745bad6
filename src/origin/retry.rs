//! When to ask again: exponential backoff with full jitter, a bound on attempts, a deadline.

use std::time::Duration;

use rand::Rng;
use tokio::time::Instant;

use super::OriginConfig;

/// Whether the connection had carried a request before: then it may have been dead, and the request not seen.
#[derive(Debug)]
pub(super) struct Reused(pub(super) bool);

/// The retry budget of one logical request. Progress renews it, so that a body of any length may be
/// resumed as often as the network breaks, and an origin that makes none is given up in time.
#[derive(Debug)]
pub(super) struct RetryBudget {
    attempts: u32,
    max_attempts: u32,
    base: Duration,
    cap: Duration,
    allowed: Duration,
    deadline: Instant,
}

impl RetryBudget {
    pub(super) fn new(config: &OriginConfig) -> Self {
        let allowed = config.deadline.0;
        Self {
            attempts: 0,
            max_attempts: config.attempts.max(1),
            base: config.backoff.base.0,
            cap: config.backoff.cap.0,
            allowed,
            deadline: Instant::now() + allowed,
        }
    }

    /// Bytes arrived: whatever went wrong before is forgiven.
    pub(super) fn renew(&mut self) {
        self.attempts = 0;
        self.deadline = Instant::now() + self.allowed;
    }

    /// The pause before the next attempt, or `None` when attempts or time have run out.
    pub(super) fn next_pause(&mut self) -> Option<Duration> {
        self.attempts += 1;
        if self.attempts >= self.max_attempts {
            return None;
        }
        let ceiling = self.base.saturating_mul(1 << (self.attempts - 1).min(16)).min(self.cap);
        let pause = ceiling.mul_f64(rand::thread_rng().gen_range(0.0..1.0));
        (Instant::now() + pause < self.deadline).then_some(pause)
    }

    /// The number of the attempt under way, from 0.
    pub(super) fn attempt(&self) -> u32 {
        self.attempts
    }

    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_to_the_cap_and_end_with_the_attempts() {
        let mut budget = RetryBudget::new(&OriginConfig::default());
        let mut pauses = 0;
        while let Some(pause) = budget.next_pause() {
            assert!(pause <= OriginConfig::default().backoff.cap.0);
            pauses += 1;
        }
        assert_eq!(pauses + 1, OriginConfig::default().attempts);
    }

    #[tokio::test(start_paused = true)]
    async fn the_deadline_ends_retries_and_progress_renews_it() {
        let mut budget = RetryBudget::new(&OriginConfig::default());
        tokio::time::advance(OriginConfig::default().deadline.0).await;
        assert_eq!(budget.next_pause(), None);
        budget.renew();
        assert!(budget.next_pause().is_some());
    }
}
