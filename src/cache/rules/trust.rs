//! Trust in events: the rules and buckets for which the stream of events is proven to be complete (R26).
//!
//! A rule is trusted for a bucket from the moment at which an event of that bucket, of a key under that rule, was
//! applied, and for as long as the next one comes within the rule's `proof`. A connected receiver proves nothing: only
//! events that came through it do. Invariant: metadata learned before the present trust began is not covered by it,
//! since an event about it may have been missed.
//!
//! Rules are identified by their index in a numbered set. A caller with the number of another set, because the rules
//! were replaced meanwhile, proves nothing, and finds no rule trusted.

use std::collections::HashMap;
use std::time::Duration;

use foldhash::fast::RandomState;
use parking_lot::RwLock;

use crate::cache::metadata::clock::Moment;
use crate::metrics::events as metrics;
use crate::s3::BucketName;

/// Maximum number of pairs of a rule and a bucket; further ones are not trusted.
const PAIRS: usize = 10_000;

#[derive(Clone, Copy)]
struct Proven {
    since: Moment,
    latest: Moment,
    /// The rule's `proof`.
    holds: Duration,
}

impl Proven {
    fn holds(&self) -> bool {
        self.latest.age() < self.holds
    }
}

/// A rule in a bucket.
type Pair = (usize, BucketName);

#[derive(Default)]
struct State {
    /// Number of receivers that are not connected.
    down: usize,
    /// Number of the set of rules that the pairs belong to.
    rules: u64,
    proven: HashMap<Pair, Proven, RandomState>,
}

impl State {
    fn end(&mut self, ends: impl Fn(&Pair, &Proven) -> bool) -> Vec<Pair> {
        let ended = self.proven.iter().filter(|(pair, proven)| ends(pair, proven));
        let ended: Vec<Pair> = ended.map(|(pair, _)| pair.clone()).collect();
        for pair in &ended {
            self.proven.remove(pair);
        }
        metrics::set_trusted(self.proven.len());
        ended
    }
}

/// The pairs that are trusted now.
#[derive(Default)]
pub(in crate::cache) struct Trust(RwLock<State>);

impl Trust {
    /// Returns the moment since which the pair is trusted; `None`: it is not.
    pub(in crate::cache) fn since(
        &self,
        rules: u64,
        rule: usize,
        bucket: &BucketName,
    ) -> Option<Moment> {
        let state = self.0.read();
        if state.rules != rules {
            return None;
        }
        let proven = state.proven.get(&(rule, bucket.clone()))?;
        proven.holds().then_some(proven.since)
    }

    /// Notes that an event of the pair was applied in time; returns whether trust begins with it.
    pub(in crate::cache) fn prove(
        &self,
        rules: u64,
        rule: usize,
        bucket: &BucketName,
        holds: Duration,
    ) -> bool {
        let mut state = self.0.write();
        if state.down > 0 || state.rules != rules {
            return false;
        }
        let now = Moment::now();
        let pair = (rule, bucket.clone());
        let room = state.proven.len() < PAIRS;
        match state.proven.get_mut(&pair) {
            Some(proven) if proven.holds() => {
                *proven = Proven { latest: now, holds, ..*proven };
                return false;
            }
            Some(proven) => *proven = Proven { since: now, latest: now, holds },
            None if room => {
                state.proven.insert(pair, Proven { since: now, latest: now, holds });
            }
            None => return false,
        }
        metrics::set_trusted(state.proven.len());
        true
    }

    /// Notes that a receiver lost its connection: no pair is trusted until it is back and there is new proof. Returns
    /// the number of pairs that were trusted.
    pub(in crate::cache) fn receiver_lost(&self) -> usize {
        let mut state = self.0.write();
        state.down += 1;
        let ended = state.proven.len();
        state.proven.clear();
        metrics::set_trusted(0);
        ended
    }

    pub(in crate::cache) fn receiver_back(&self) {
        self.0.write().down -= 1;
    }

    /// Ends the trust in the pairs that `ends` selects, and returns them.
    pub(in crate::cache) fn end(&self, ends: impl Fn(usize, &BucketName) -> bool) -> Vec<Pair> {
        self.retain(|(rule, bucket), _| !ends(*rule, bucket))
    }

    /// Ends the trust in one rule in one bucket; in all rules there if the set is another one by now.
    pub(in crate::cache) fn end_rule(
        &self,
        rules: u64,
        rule: usize,
        bucket: &BucketName,
    ) -> Vec<Pair> {
        let mut state = self.0.write();
        let is_current = state.rules == rules;
        state.end(|(of, name), _| name == bucket && (*of == rule || !is_current))
    }

    /// Advances to the next set of rules, which `replace` puts into force; it returns a predicate of the rules that
    /// keep their index and proof. Ends the trust in all others, and returns their pairs.
    pub(in crate::cache) fn renumber<F: Fn(usize) -> bool>(
        &self,
        replace: impl FnOnce() -> F,
    ) -> Vec<Pair> {
        // Under the lock, so that a reader of the new set finds the new number.
        let mut state = self.0.write();
        let stays = replace();
        state.rules += 1;
        state.end(|(rule, _), _| !stays(*rule))
    }

    /// Ends the trust in pairs without recent proof, and returns them.
    pub(in crate::cache) fn expire(&self) -> Vec<Pair> {
        self.retain(|_, proven| proven.holds())
    }

    fn retain(&self, stays: impl Fn(&Pair, &Proven) -> bool) -> Vec<Pair> {
        if self.0.read().proven.iter().all(|(pair, proven)| stays(pair, proven)) {
            return Vec::new();
        }
        self.0.write().end(|pair, proven| !stays(pair, proven))
    }

    pub(in crate::cache) fn pairs(&self, rules: u64) -> Vec<Pair> {
        let state = self.0.read();
        if state.rules != rules {
            return Vec::new();
        }
        state.proven.iter().filter(|(_, v)| v.holds()).map(|(pair, _)| pair.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROOF: Duration = Duration::from_mins(10);

    fn bucket(name: &str) -> BucketName {
        BucketName::new(name).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn r26_trust_is_of_one_rule_in_one_bucket_and_ends_without_further_proof() {
        let trust = Trust::default();
        assert!(trust.since(0, 0, &bucket("data")).is_none());
        assert!(trust.prove(0, 0, &bucket("data"), PROOF));
        assert!(trust.since(0, 0, &bucket("data")).is_some());
        assert!(trust.since(0, 1, &bucket("data")).is_none());
        assert!(trust.since(0, 0, &bucket("other")).is_none());
        tokio::time::advance(PROOF / 2).await;
        assert!(!trust.prove(0, 0, &bucket("data"), PROOF), "it goes on");
        tokio::time::advance(PROOF * 3 / 4).await;
        assert!(trust.since(0, 0, &bucket("data")).unwrap().age() > PROOF);
        tokio::time::advance(PROOF / 2).await;
        assert!(trust.since(0, 0, &bucket("data")).is_none());
        assert_eq!(trust.expire(), [(0, bucket("data"))]);
        assert!(trust.prove(0, 0, &bucket("data"), PROOF), "a new one begins");
        assert!(trust.since(0, 0, &bucket("data")).unwrap().age() < PROOF);
    }

    #[tokio::test(start_paused = true)]
    async fn r26_while_a_receiver_is_not_connected_nothing_is_trusted_nor_proven() {
        let trust = Trust::default();
        trust.prove(0, 0, &bucket("data"), PROOF);
        trust.receiver_lost();
        assert!(trust.since(0, 0, &bucket("data")).is_none());
        assert!(!trust.prove(0, 0, &bucket("data"), PROOF), "another receiver's event");
        assert!(trust.since(0, 0, &bucket("data")).is_none());
        trust.receiver_back();
        assert!(
            trust.since(0, 0, &bucket("data")).is_none(),
            "that it is connected proves nothing"
        );
        assert!(trust.prove(0, 0, &bucket("data"), PROOF));
        assert_eq!(trust.end(|_, name| *name == bucket("other")), []);
        assert_eq!(trust.end(|rule, _| rule == 0), [(0, bucket("data"))]);
    }

    #[test]
    fn r26_of_another_set_of_rules_nothing_is_trusted_proven_or_left_trusted() {
        let trust = Trust::default();
        for rule in 0..3 {
            assert!(trust.prove(0, rule, &bucket("data"), PROOF));
        }
        let ended = trust.renumber(|| |rule| rule == 0);
        assert_eq!(ended.len(), 2);
        assert!(trust.since(0, 0, &bucket("data")).is_none(), "of the set before");
        assert!(trust.since(1, 0, &bucket("data")).is_some());
        assert!(trust.since(1, 1, &bucket("data")).is_none());
        assert!(!trust.prove(0, 1, &bucket("data"), PROOF), "an event that met the set before");
        assert!(trust.since(1, 1, &bucket("data")).is_none());
        // The current rule of a missed canary from the previous set is unknown.
        assert_eq!(trust.end_rule(0, 7, &bucket("data")).len(), 1);
        assert!(trust.since(1, 0, &bucket("data")).is_none());
    }
}
