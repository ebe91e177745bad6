//! Balance of the bytes fetched ahead: a kind of prediction is followed as long as it brings about as much as it wastes.
//!
//! [`pattern`](super::pattern) judges the reads of one object. Where each of many objects is left after a few reads, every
//! one of them wastes a little, which only the sum shows.

use parking_lot::Mutex;
use std::time::Duration;
use tokio::time::Instant;

/// Recently wasted bytes that a kind may be ahead of its used ones.
const ALLOWED: u64 = 64 << 20;
/// Half-life of the sums: after a while, a kind that did not pay is tried again.
const HALF_LIFE: Duration = Duration::from_mins(1);

/// A kind of prediction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cache) enum Kind {
    /// By the reads before.
    Reads,
    /// The end of a columnar file, and the metadata before it.
    Footer,
}

/// Bytes fetched ahead that were read or wasted since they were last counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::cache) struct Outcome {
    pub(in crate::cache) used: u64,
    pub(in crate::cache) wasted: u64,
}

/// An outcome of each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::cache) struct Outcomes([Outcome; 2]);

impl Outcomes {
    pub(in crate::cache) fn of(&self, kind: Kind) -> Outcome {
        self.0[kind as usize]
    }

    pub(in crate::cache) fn of_mut(&mut self, kind: Kind) -> &mut Outcome {
        &mut self.0[kind as usize]
    }

    /// Returns the sum of all kinds.
    pub(in crate::cache) fn sum(&self) -> Outcome {
        let [one, other] = self.0;
        Outcome { used: one.used + other.used, wasted: one.wasted + other.wasted }
    }
}

/// Recent outcomes over all objects.
#[derive(Debug)]
pub(in crate::cache) struct Balance(Mutex<Recent>);

#[derive(Debug)]
struct Recent {
    outcomes: Outcomes,
    halved: Instant,
}

impl Balance {
    pub(in crate::cache) fn new() -> Self {
        Self(Mutex::new(Recent { outcomes: Outcomes::default(), halved: Instant::now() }))
    }

    pub(in crate::cache) fn add(&self, new: Outcomes) {
        let mut recent = self.0.lock();
        recent.decay(Instant::now());
        for kind in [Kind::Reads, Kind::Footer] {
            let (sum, new) = (recent.outcomes.of_mut(kind), new.of(kind));
            sum.used += new.used;
            sum.wasted += new.wasted;
        }
    }

    /// Whether predictions of a kind are worth their bytes.
    pub(in crate::cache) fn pays(&self, kind: Kind) -> bool {
        let mut recent = self.0.lock();
        recent.decay(Instant::now());
        let Outcome { used, wasted } = recent.outcomes.of(kind);
        wasted <= used + ALLOWED
    }
}

impl Recent {
    fn decay(&mut self, now: Instant) {
        let halvings = now.saturating_duration_since(self.halved).as_secs() / HALF_LIFE.as_secs();
        let Ok(halvings @ 1..) = u32::try_from(halvings) else { return };
        self.halved += HALF_LIFE * halvings;
        for outcome in &mut self.outcomes.0 {
            outcome.used = outcome.used.checked_shr(halvings).unwrap_or(0);
            outcome.wasted = outcome.wasted.checked_shr(halvings).unwrap_or(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcomes(kind: Kind, used: u64, wasted: u64) -> Outcomes {
        let mut outcomes = Outcomes::default();
        *outcomes.of_mut(kind) = Outcome { used, wasted };
        outcomes
    }

    #[tokio::test(start_paused = true)]
    async fn a_kind_that_wastes_more_than_it_brings_is_left_for_a_while_and_the_other_is_not() {
        let balance = Balance::new();
        balance.add(outcomes(Kind::Footer, 0, ALLOWED));
        assert!(balance.pays(Kind::Footer));
        balance.add(outcomes(Kind::Footer, 0, 1));
        assert!(!balance.pays(Kind::Footer) && balance.pays(Kind::Reads));
        balance.add(outcomes(Kind::Footer, 1, 0));
        assert!(balance.pays(Kind::Footer), "what it brings counts");
        balance.add(outcomes(Kind::Footer, 0, ALLOWED));
        assert!(!balance.pays(Kind::Footer));
        tokio::time::advance(HALF_LIFE).await;
        assert!(balance.pays(Kind::Footer), "it is tried again");
        tokio::time::advance(HALF_LIFE * 100).await;
        balance.add(outcomes(Kind::Reads, 0, 1));
        assert_eq!(balance.0.lock().outcomes, outcomes(Kind::Reads, 0, 1));
    }
}
