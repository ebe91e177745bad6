//! Hedged requests: a late read is sent to the origin a second time, and the first validated response is used.
//!
//! The threshold for lateness follows from recent latencies ([`model`]), and the number of hedges from recent answers
//! ([`budget`]). An object store is bimodal: some objects are cold and take longer, all of them alike. Hence lateness
//! is not the 99th percentile alone, but the point where waiting on is unlikely to be worth it.

mod budget;
mod model;
mod race;
#[cfg(test)]
mod simulation;

use std::time::Duration;

use rand::Rng;
use tokio::time::Instant;

use budget::Budget;
pub(super) use budget::Permit;
use model::{Model, Quantiles};
pub(super) use race::About;

use super::Asked;
use crate::metrics::hedging::{self as counters, Phase};

/// Minimum delay before a request is hedged: a near origin is waited for.
const LEAST: Duration = Duration::from_millis(10);
/// Minimum delay before a body is hedged: its copy costs all its bytes.
const LEAST_OF_BODY: Duration = Duration::from_millis(100);
/// A body has stalled after this many times the 99th percentile of whole bodies without a byte.
const STALLED: u32 = 4;
/// Minimum time without a byte after which a body has stalled.
const LEAST_OF_STALL: Duration = Duration::from_millis(500);
/// Random share by which delays are lengthened, so that requests sent together are not hedged together. Delays are
/// never shortened: where latencies are alike, a little less than the 99th percentile is usual.
const JITTER: f64 = 0.2;
/// Assumed bytes of a part.
const PART: u64 = 8 << 20;

/// Hedging state of one origin: latency models and the budget.
#[derive(Debug)]
pub(super) struct Hedging {
    enabled: bool,
    heads: Model,
    first_bytes: Model,
    bodies: Model,
    budget: Budget,
}

impl Hedging {
    pub(super) fn new(enabled: bool) -> Self {
        let (heads, first_bytes, bodies) = (Model::default(), Model::default(), Model::default());
        Self { enabled, heads, first_bytes, bodies, budget: Budget::default() }
    }

    /// Returns the delay after which a request for `bytes` is hedged; `None`: it is not.
    pub(super) fn delay(&self, phase: Phase, bytes: u64) -> Option<Duration> {
        if !self.enabled {
            return None;
        }
        let quantiles = self.model(phase).quantiles(bytes)?;
        let spread = rand::thread_rng().gen_range(1.0..1.0 + JITTER);
        let least = if phase == Phase::Body { LEAST_OF_BODY } else { LEAST };
        Some(late(quantiles).mul_f64(spread).max(least))
    }

    /// Returns the time without a byte after which a body of `bytes` has stalled; `None`: the configured timeout
    /// applies.
    pub(super) fn stall(&self, bytes: u64) -> Option<Duration> {
        let quantiles = self.model(Phase::Body).quantiles(bytes).filter(|_| self.enabled)?;
        Some((quantiles.p99 * STALLED).max(LEAST_OF_STALL))
    }

    /// Returns the median duration of responses of `bytes`.
    pub(super) fn usual(&self, phase: Phase, bytes: u64) -> Option<Duration> {
        self.model(phase).quantiles(bytes).map(|quantiles| quantiles.median)
    }

    /// Records a response to a request for `bytes` after `elapsed`; not for a request whose hedge was faster.
    pub(super) fn answered(&self, phase: Phase, bytes: u64, elapsed: Duration) {
        if !self.enabled {
            return;
        }
        let model = self.model(phase);
        if let Some(quantiles) = model.quantiles(bytes) {
            counters::predicted(phase, elapsed > quantiles.median, elapsed > quantiles.p99);
        }
        model.record(bytes, elapsed);
        if phase != Phase::Body {
            self.budget.answered();
        }
    }

    /// Records that the origin throttles.
    pub(super) fn throttled(&self) {
        self.budget.pause_from(Instant::now());
    }

    /// Takes a permit for a hedge in the bucket with this hash, if one is left.
    pub(super) fn permit(&self, phase: Phase, bucket: u64) -> Option<Permit> {
        self.budget.take(phase, bucket, Instant::now())
    }

    fn model(&self, phase: Phase) -> &Model {
        match phase {
            Phase::Head => &self.heads,
            Phase::FirstByte => &self.first_bytes,
            Phase::Body => &self.bodies,
        }
    }
}

/// Returns the time after which a response counts as late.
fn late(quantiles: Quantiles) -> Duration {
    let Quantiles { median, p95, p99 } = quantiles;
    p99.min(p95.mul_f64(1.25)).min(median * 5)
}

/// Estimates the number of requested bytes.
pub(super) fn bytes_of(asked: &Asked) -> u64 {
    match asked {
        Asked::Whole(bytes) | Asked::Suffix(bytes) => *bytes,
        Asked::Range(range) => range.end - range.start,
        Asked::Part(_) => PART,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[tokio::test(start_paused = true)]
    async fn an_origin_with_two_usual_latencies_is_late_beyond_the_slower_one() {
        let hedging = Hedging::new(true);
        // Seven warm objects and three cold ones, each in turn.
        for turn in 0..1000 {
            let elapsed = Duration::from_millis(if turn % 10 < 7 { 30 } else { 110 });
            tokio::time::advance(Duration::from_millis(10)).await;
            hedging.answered(Phase::FirstByte, MIB, elapsed);
        }
        for _ in 0..100 {
            let delay = hedging.delay(Phase::FirstByte, MIB).unwrap();
            assert!(delay > Duration::from_millis(85) && delay < Duration::from_millis(170));
        }
        // Unseen sizes and phases are not predicted.
        assert_eq!(hedging.delay(Phase::FirstByte, 64 * MIB), None);
        assert_eq!(hedging.delay(Phase::Head, MIB), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_has_stalled_when_others_have_long_come_to_their_end() {
        let hedging = Hedging::new(true);
        assert_eq!(hedging.stall(MIB), None);
        (0..200).for_each(|_| hedging.answered(Phase::Body, MIB, Duration::from_millis(100)));
        assert_eq!(hedging.stall(MIB), Some(LEAST_OF_STALL));
        (0..2000).for_each(|_| hedging.answered(Phase::Body, MIB, Duration::from_secs(2)));
        let stall = hedging.stall(MIB).unwrap();
        assert!(stall >= Duration::from_secs(8) && stall < Duration::from_secs(9), "{stall:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_origin_that_answers_at_once_is_waited_for() {
        let hedging = Hedging::new(true);
        (0..200).for_each(|_| hedging.answered(Phase::Head, 0, Duration::from_micros(300)));
        assert_eq!(hedging.delay(Phase::Head, 0), Some(LEAST));
        assert_eq!(Hedging::new(false).delay(Phase::Head, 0), None);
    }
}
