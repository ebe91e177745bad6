//! Budget of hedges: one per 20 answered requests, with a limit on concurrent ones.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::metrics::hedging::{self as counters, Outcome, Phase};

/// Answered requests that pay for one hedge.
const ANSWERS: u32 = 20;
/// Maximum answers saved up.
const MOST: u32 = 16 * ANSWERS;
/// Maximum concurrent hedges.
const ACTIVE: u32 = 16;
/// Maximum concurrent hedges in one bucket.
const ACTIVE_OF_BUCKET: u32 = 2;
/// Time without hedges after the origin throttled.
const PAUSE: Duration = Duration::from_secs(1);

/// Budget of hedges for one origin.
#[derive(Debug)]
pub(super) struct Budget {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    /// Saved-up credit, in answers.
    credit: u32,
    /// Hedges under way, by hash of the bucket.
    active: HashMap<u64, u32>,
    paused: Option<Instant>,
}

impl Default for Budget {
    fn default() -> Self {
        let state = State { credit: ANSWERS, active: HashMap::new(), paused: None };
        Self { state: Arc::new(Mutex::new(state)) }
    }
}

/// A hedge under way. Its outcome is counted on drop.
#[derive(Debug)]
pub(in crate::origin) struct Permit {
    state: Arc<Mutex<State>>,
    bucket: u64,
    phase: Phase,
    outcome: Outcome,
}

impl Budget {
    /// Counts an answered request.
    pub(super) fn answered(&self) {
        let mut state = self.state.lock();
        state.credit = (state.credit + 1).min(MOST);
    }

    /// Suspends hedging because the origin throttled.
    pub(super) fn pause_from(&self, now: Instant) {
        self.state.lock().paused = Some(now);
    }

    pub(super) fn take(&self, phase: Phase, bucket: u64, now: Instant) -> Option<Permit> {
        let mut state = self.state.lock();
        let is_paused = state.paused.is_some_and(|since| now < since + PAUSE);
        let active: u32 = state.active.values().sum();
        let of_bucket = state.active.get(&bucket).copied().unwrap_or_default();
        if is_paused || state.credit < ANSWERS || active >= ACTIVE || of_bucket >= ACTIVE_OF_BUCKET
        {
            return None;
        }
        state.credit -= ANSWERS;
        state.active.insert(bucket, of_bucket + 1);
        let state = self.state.clone();
        Some(Permit { state, bucket, phase, outcome: Outcome::Lost })
    }
}

impl Permit {
    /// Records that the response to the hedge was used.
    pub(in crate::origin) fn won(mut self) {
        self.outcome = Outcome::Won;
    }

    /// Records that the hedge failed.
    pub(in crate::origin) fn failed(mut self) {
        self.outcome = Outcome::Failed;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        counters::hedged(self.phase, self.outcome);
        let mut state = self.state.lock();
        if let Some(of_bucket) = state.active.get_mut(&self.bucket) {
            *of_bucket -= 1;
            if *of_bucket == 0 {
                state.active.remove(&self.bucket);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(budget: &Budget, bucket: u64) -> Option<Permit> {
        budget.take(Phase::FirstByte, bucket, Instant::now())
    }

    #[tokio::test(start_paused = true)]
    async fn a_hedge_costs_twenty_answers() {
        let budget = Budget::default();
        drop(take(&budget, 1).unwrap());
        (0..19).for_each(|_| budget.answered());
        assert!(take(&budget, 1).is_none());
        budget.answered();
        assert!(take(&budget, 1).is_some());
        (0..100_000).for_each(|_| budget.answered());
        assert_eq!((0..100).filter(|_| take(&budget, 1).is_some()).count(), 16);
    }

    #[tokio::test(start_paused = true)]
    async fn few_run_at_the_same_time_and_two_in_a_bucket() {
        let budget = Budget::default();
        (0..MOST).for_each(|_| budget.answered());
        let held: Vec<_> = (0..40).filter_map(|turn| take(&budget, turn / 4)).collect();
        assert_eq!(held.len(), 16);
        drop(held);
        (0..MOST).for_each(|_| budget.answered());
        assert_eq!((0..5).filter_map(|_| take(&budget, 7)).collect::<Vec<_>>().len(), 2);
        assert!(budget.state.lock().active.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_repeated_while_the_origin_throttles() {
        let budget = Budget::default();
        budget.pause_from(Instant::now());
        assert!(take(&budget, 1).is_none());
        tokio::time::advance(PAUSE).await;
        assert!(take(&budget, 1).is_some());
    }
}
