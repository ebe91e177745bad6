//! Recently applied events, so that a duplicate is not applied again (R25).
//!
//! A set of hashes in two halves: when the young one is full, the old one is dropped. An event may be dropped too
//! early, which costs one HEAD, or be mistaken for another one by a collision of 64 seeded bits.

use std::hash::{BuildHasher, Hash};

use std::collections::HashSet;

use foldhash::quality::RandomState;
use parking_lot::Mutex;

/// Events in one half.
const HALF: usize = 32 * 1024;

pub(super) struct Recent {
    hasher: RandomState,
    halves: Mutex<Halves>,
}

#[derive(Default)]
struct Halves {
    young: HashSet<u64, foldhash::fast::RandomState>,
    old: HashSet<u64, foldhash::fast::RandomState>,
}

impl Recent {
    pub(super) fn new() -> Self {
        Self { hasher: RandomState::default(), halves: Mutex::default() }
    }

    pub(super) fn hash(&self, event: &impl Hash) -> u64 {
        self.hasher.hash_one(event)
    }

    pub(super) fn contains(&self, hash: u64) -> bool {
        let halves = self.halves.lock();
        halves.young.contains(&hash) || halves.old.contains(&hash)
    }

    /// Records an event; to be called after it was applied, so that a concurrent duplicate is applied, too.
    pub(super) fn insert(&self, hash: u64) {
        let mut halves = self.halves.lock();
        if halves.young.len() >= HALF {
            halves.old = std::mem::take(&mut halves.young);
        }
        halves.young.insert(hash);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r25_the_last_events_are_remembered_and_no_more_than_that() {
        let recent = Recent::new();
        for event in 0..10 * HALF {
            let hash = recent.hash(&event);
            assert!(!recent.contains(hash));
            recent.insert(hash);
        }
        let last = 10 * HALF - 1;
        assert!((last - HALF..=last).all(|event| recent.contains(recent.hash(&event))));
        assert!(!recent.contains(recent.hash(&0)));
        let halves = recent.halves.lock();
        assert!(halves.young.len() + halves.old.len() <= 2 * HALF);
    }
}
