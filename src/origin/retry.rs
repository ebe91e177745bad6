//! Retry policy: exponential backoff with full jitter, the delay that the origin requests (`Retry-After`), maximum
//! attempts and a deadline. Over all requests, retries are limited to a share of the answered ones, so that an outage
//! does not multiply the request rate.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::config::{OriginConfig, RetryBudgetConfig};
use super::recent::Recent;
use super::slots::{Class, Urgency};
use crate::pacing::Backoff;

/// Part of the deadline for which a body waits for an origin that is down.
const WAITED: u32 = 6;

/// Whether the connection was reused: then it may have been dead, and the request not received.
#[derive(Debug)]
pub(super) struct Reused(pub(super) bool);

/// The retry budget of one logical request. Progress renews it, so that a body of any length may be resumed as often as
/// the network breaks, while an origin that delivers nothing is given up in time.
#[derive(Debug)]
pub(super) struct RetryBudget {
    /// Counts failed attempts since the last progress.
    backoff: Backoff,
    max_attempts: u32,
    allowed: Duration,
    deadline: Instant,
    /// Whether bytes arrived since the last attempt.
    progressed: bool,
    /// Whether bytes ever arrived.
    begun: bool,
    /// Time since which an origin that is down has been waited for.
    waits_since: Option<Instant>,
    /// Retries since the last answer that were taken from the shared budget.
    taken: u32,
    /// Urgency of each attempt.
    urgency: Arc<Urgency>,
}

impl RetryBudget {
    pub(super) fn new(config: &OriginConfig) -> Self {
        let allowed = config.deadline.0;
        Self {
            backoff: Backoff::with_full_jitter(config.backoff.base.0, config.backoff.cap.0),
            max_attempts: config.attempts.max(1),
            allowed,
            deadline: Instant::now() + allowed,
            progressed: false,
            begun: false,
            waits_since: None,
            taken: 0,
            urgency: Arc::new(Urgency::new(Class::Metadata)),
        }
    }

    /// Sets the urgency.
    pub(super) fn of(self, urgency: Arc<Urgency>) -> Self {
        Self { urgency, ..self }
    }

    pub(super) fn urgency(&self) -> &Arc<Urgency> {
        &self.urgency
    }

    /// Records that bytes arrived, which resets the backoff and the deadline.
    pub(super) fn renew(&mut self) {
        self.backoff.reset();
        self.deadline = Instant::now() + self.allowed;
        self.progressed = true;
        self.begun = true;
        self.waits_since = None;
    }

    /// Returns the pause before the next attempt, or `None` when attempts or time have run out. It is not shorter than
    /// the origin requests; a request for more than the longest pause ends the retries.
    pub(super) fn next_pause(&mut self, asked_for: Option<Duration>) -> Option<Duration> {
        let pause = self.backoff.pause().max(asked_for.unwrap_or_default());
        if self.backoff.failures() >= self.max_attempts || asked_for > Some(self.backoff.cap()) {
            return None;
        }
        (Instant::now() + pause < self.deadline).then_some(pause)
    }

    /// Whether an origin that is down may be waited for, for `pause` now, and in all for a part of the deadline.
    pub(super) fn may_wait(&mut self, pause: Duration) -> bool {
        let now = Instant::now();
        let since = *self.waits_since.get_or_insert(now);
        now + pause < self.deadline.min(since + self.allowed / WAITED)
    }

    /// Returns and clears whether bytes arrived: the next attempt then continues after them, and is not the same
    /// request again.
    pub(super) fn take_progress(&mut self) -> bool {
        std::mem::take(&mut self.progressed)
    }

    /// Counts a retry taken from the shared budget.
    pub(super) fn took(&mut self) {
        self.taken += 1;
    }

    /// Records an answer. Returns the number of retries since the last one.
    pub(super) fn answered(&mut self) -> u32 {
        std::mem::take(&mut self.taken)
    }

    /// Whether a part of the response has arrived.
    pub(super) fn has_begun(&self) -> bool {
        self.begun
    }

    /// Returns the time at which a body counts as too slow: half of the time since its last progress remains to read the
    /// rest over another connection.
    pub(super) fn slow_at(&self) -> Instant {
        let half = self.deadline - self.allowed / 2;
        if Instant::now() < half { half } else { self.deadline }
    }

    /// Returns the number of the current attempt, from 0.
    pub(super) fn attempt(&self) -> u32 {
        self.backoff.failures()
    }

    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }
}

/// The retry budget shared by all requests to the origin: a share of those answered in the last ten seconds, and a few
/// more.
#[derive(Debug)]
pub(super) struct RetryLimit {
    config: RetryBudgetConfig,
    recent: Mutex<Recent>,
}

impl RetryLimit {
    pub(super) fn new(config: RetryBudgetConfig) -> Self {
        Self { config, recent: Mutex::default() }
    }

    /// Counts an answered request.
    pub(super) fn answered(&self) {
        self.recent.lock().now().answered += 1;
    }

    /// Returns the retries of an answered request to the budget: most requests to an origin that fails now and then
    /// succeed on retry. None does when it is down.
    pub(super) fn give_back(&self, retries: u32) {
        if retries > 0 {
            self.recent.lock().take_back_retries(retries);
        }
    }

    /// Whether this second has used less than its part of the retries, so that not all are spent at the start of an
    /// outage.
    fn leaves_some(&self, recent: &Recent, floor: u64) -> bool {
        let (this, last) = recent.latest();
        let average = recent.sum().answered / 10;
        let answered = u64::from(average.max(this.answered).max(last.answered));
        u64::from(this.retries) < answered * u64::from(self.config.percent) / 100 + floor
    }

    /// Takes one retry, if there is one left.
    pub(super) fn take(&self) -> bool {
        let mut recent = self.recent.lock();
        let sum = recent.sum();
        let share = u64::from(sum.answered) * u64::from(self.config.percent) / 100;
        let floor = u64::from(self.config.floor);
        // However often retries succeed: an origin that refuses half of all requests has enough to do.
        let bounded = u64::from(sum.all_retries) < u64::from(sum.answered) + floor;
        let left =
            bounded && u64::from(sum.retries) < share + floor && self.leaves_some(&recent, floor);
        if left {
            recent.now().retries += 1;
            recent.now().all_retries += 1;
        }
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(limit: &RetryLimit) -> u32 {
        let taken = (0..1000).take_while(|_| limit.take()).count();
        taken.try_into().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn retries_are_a_tenth_of_what_was_answered_lately_and_a_few() {
        let limit = RetryLimit::new(RetryBudgetConfig { percent: 10, floor: 3 });
        assert_eq!(taken(&limit), 3);
        (0..200).for_each(|_| limit.answered());
        assert_eq!(taken(&limit), 20);
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(taken(&limit), 0);
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(taken(&limit), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn retries_of_requests_that_are_answered_in_the_end_cost_nothing() {
        let limit = RetryLimit::new(RetryBudgetConfig { percent: 10, floor: 3 });
        // More than a third of all requests fail, and are answered when they are sent again.
        for _ in 0..1000 {
            tokio::time::advance(Duration::from_millis(7)).await;
            assert!(limit.take() && limit.take());
            tokio::time::advance(Duration::from_millis(7)).await;
            limit.give_back(2);
            (0..3).for_each(|_| limit.answered());
        }
        // Unanswered requests are limited as before.
        assert!((1..=67).contains(&taken(&limit)));
    }

    #[tokio::test(start_paused = true)]
    async fn an_origin_that_refuses_most_requests_gets_at_most_twice_as_many_as_it_answers() {
        let limit = RetryLimit::new(RetryBudgetConfig { percent: 10, floor: 3 });
        let (mut answered, mut retries) = (0, 0);
        for _ in 0..1000 {
            tokio::time::advance(Duration::from_millis(20)).await;
            // Of five attempts one is answered.
            let taken = (0..4).take_while(|_| limit.take()).count();
            retries += taken;
            if taken == 4 {
                limit.give_back(4);
                answered += 1;
                limit.answered();
            }
        }
        assert!(retries <= 2 * answered + 60, "{retries} for {answered}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_origin_asks_for_is_waited_for_when_it_is_short() {
        let config = OriginConfig::default();
        let mut budget = RetryBudget::new(&config);
        assert_eq!(budget.next_pause(Some(Duration::from_secs(3))), Some(Duration::from_secs(3)));
        assert_eq!(budget.next_pause(Some(config.backoff.cap.0)), Some(config.backoff.cap.0));
        assert_eq!(budget.next_pause(Some(config.backoff.cap.0 + Duration::from_secs(1))), None);
        tokio::time::advance(config.deadline.0.saturating_sub(Duration::from_secs(2))).await;
        let mut budget = RetryBudget { deadline: budget.deadline, ..RetryBudget::new(&config) };
        assert_eq!(budget.next_pause(Some(Duration::from_secs(3))), None);
        assert!(budget.next_pause(None).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_to_the_cap_and_end_with_the_attempts() {
        let mut budget = RetryBudget::new(&OriginConfig::default());
        let mut pauses = 0;
        while let Some(pause) = budget.next_pause(None) {
            assert!(pause <= OriginConfig::default().backoff.cap.0);
            pauses += 1;
        }
        assert_eq!(pauses + 1, OriginConfig::default().attempts);
    }

    #[tokio::test(start_paused = true)]
    async fn the_deadline_ends_retries_and_progress_renews_it() {
        let mut budget = RetryBudget::new(&OriginConfig::default());
        tokio::time::advance(OriginConfig::default().deadline.0).await;
        assert_eq!(budget.next_pause(None), None);
        budget.renew();
        assert!(budget.next_pause(None).is_some());
    }
}
