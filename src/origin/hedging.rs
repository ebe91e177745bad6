//! Hedged requests: a read that the origin is late with is asked a second time, and the first validated answer is taken.
//!
//! What is late follows from what the origin showed lately ([`model`]), how many requests are repeated from what it
//! answered ([`budget`]). An object store is bimodal: some objects are cold and answered later, all of them alike. Hence
//! the second request is not sent at the slowest hundredth alone, but where waiting on is unlikely to be worth it.

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

/// No request is repeated earlier than this: an origin so near is waited for,
const LEAST: Duration = Duration::from_millis(10);
/// and no body: another one costs all its bytes.
const LEAST_OF_BODY: Duration = Duration::from_millis(100);
/// A body of which nothing came for so many times as long as nearly all bodies take as a whole,
const STALLED: u32 = 4;
/// and at least this long, does not go on.
const LEAST_OF_STALL: Duration = Duration::from_secs(1);
/// The delays of requests that began together are spread by as much. Only upwards: where latencies are alike, a little
/// less than the slowest hundredth is usual.
const JITTER: f64 = 0.2;
/// The bytes that a part is thought to have.
const PART: u64 = 8 << 20;

/// What hedging knows of the origin.
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

    /// How long the answer to a request for `bytes` is waited for before it is sent again; `None`: for as long as it takes.
    pub(super) fn delay(&self, phase: Phase, bytes: u64) -> Option<Duration> {
        if !self.enabled {
            return None;
        }
        let quantiles = self.model(phase).quantiles(bytes)?;
        let spread = rand::thread_rng().gen_range(1.0..1.0 + JITTER);
        let least = if phase == Phase::Body { LEAST_OF_BODY } else { LEAST };
        Some(late(quantiles).mul_f64(spread).max(least))
    }

    /// How long the next bytes of a body of `bytes` are waited for; `None`: as long as the configuration says.
    pub(super) fn stall(&self, bytes: u64) -> Option<Duration> {
        let quantiles = self.model(Phase::Body).quantiles(bytes).filter(|_| self.enabled)?;
        Some((quantiles.p99 * STALLED).max(LEAST_OF_STALL))
    }

    /// The time that half of the bodies of `bytes` take.
    pub(super) fn usual(&self, phase: Phase, bytes: u64) -> Option<Duration> {
        self.model(phase).quantiles(bytes).map(|quantiles| quantiles.median)
    }

    /// A request for `bytes` was answered after `elapsed`; not one whose copy was faster.
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

    /// The origin asks for less.
    pub(super) fn throttled(&self) {
        self.budget.pause_from(Instant::now());
    }

    /// Takes a hedge of a request for something in the bucket with this hash.
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

/// From when on an answer is late.
fn late(quantiles: Quantiles) -> Duration {
    let Quantiles { median, p95, p99 } = quantiles;
    p99.min(p95.mul_f64(1.25)).min(median * 5)
}

/// About how many bytes are asked for.
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
        // What was not seen yet is not predicted.
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
