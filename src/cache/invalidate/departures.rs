//! Recent departures: whether an entry that is not cached was evicted or invalidated, when, and why.
//!
//! A set-associative table of fingerprints in a fixed number of bytes, without locks. Each set holds the latest
//! departures of the keys that share it; the oldest is overwritten. Errors: a key whose departure was overwritten
//! counts as never cached (`new`); a key that never departed is taken for one that did with a probability of at most
//! [`WAYS`] / 2^32. The table is for diagnosis only: reads, freshness and purges do not depend on it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::cache::key::BlockKey;
use crate::metrics::cache::InvalidationCause;
use crate::s3::ObjectId;

/// Slots per set.
const WAYS: usize = 4;
/// Bytes per slot.
const SLOT: u64 = 8;
/// Minimum and maximum size of the table, in bytes.
const BYTES: (u64, u64) = (32 << 10, 4 << 20);
/// Divisor of `cache.memory` for the size of the table.
const SHARE: u64 = 1024;

const AGE_BITS: u32 = 28;
const WHY_BITS: u32 = 4;

/// The reason of a departure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cache) enum Why {
    Evicted,
    Invalidated(InvalidationCause),
}

impl Why {
    fn code(self) -> u64 {
        match self {
            Self::Evicted => 0,
            Self::Invalidated(cause) => cause as u64 + 1,
        }
    }

    fn of_code(code: u64) -> Option<Self> {
        let Some(index) = code.checked_sub(1) else { return Some(Self::Evicted) };
        let cause = InvalidationCause::ALL.get(usize::try_from(index).ok()?)?;
        Some(Self::Invalidated(*cause))
    }
}

/// A remembered departure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cache) struct Departure {
    pub why: Why,
    /// Time since the departure, in whole seconds.
    pub age: Duration,
}

/// The departures of one cache. A slot holds a fingerprint (32 bits), a reason (4) and seconds since the start plus one
/// (28); an empty slot is 0.
pub(in crate::cache) struct Departures {
    slots: Box<[AtomicU64]>,
    started: Instant,
}

impl Departures {
    /// Returns the size of the table for a cache of `memory` bytes.
    pub(in crate::cache) fn share_of(memory: u64) -> u64 {
        (memory / SHARE).clamp(BYTES.0, BYTES.1)
    }

    /// Creates a table of at most `bytes`.
    pub(in crate::cache) fn new(bytes: u64) -> Self {
        let slots = usize::try_from(bytes / SLOT).unwrap_or(WAYS);
        let sets = (slots / WAYS).max(1);
        Self {
            slots: (0..sets * WAYS).map(|_| AtomicU64::new(0)).collect(),
            started: Instant::now(),
        }
    }

    /// Records that the entry with this hash departed just now.
    pub(in crate::cache) fn record(&self, hash: u64, why: Why) {
        let hash = mix(hash);
        let set = self.set(hash);
        let fingerprint = hash >> 32;
        let word = (fingerprint << 32) | (why.code() << AGE_BITS) | self.now();
        let same = set.iter().find(|slot| slot.load(Ordering::Relaxed) >> 32 == fingerprint);
        let oldest = || set.iter().min_by_key(|slot| seconds(slot.load(Ordering::Relaxed)));
        if let Some(slot) = same.or_else(oldest) {
            slot.store(word, Ordering::Relaxed);
        }
    }

    /// Returns the last departure of the entry with this hash, if it is remembered.
    pub(in crate::cache) fn last(&self, hash: u64) -> Option<Departure> {
        let hash = mix(hash);
        let words = self.set(hash).iter().map(|slot| slot.load(Ordering::Relaxed));
        let word = words.filter(|word| *word != 0).find(|word| word >> 32 == hash >> 32)?;
        let why = Why::of_code((word >> AGE_BITS) & ((1 << WHY_BITS) - 1))?;
        let age = Duration::from_secs(self.now().saturating_sub(seconds(word)));
        Some(Departure { why, age })
    }

    fn set(&self, hash: u64) -> &[AtomicU64] {
        let sets = self.slots.len() / WAYS;
        let set = usize::try_from(hash & u64::from(u32::MAX)).expect("32 bits") % sets;
        &self.slots[set * WAYS..(set + 1) * WAYS]
    }

    /// Returns seconds since the start plus one, at most eight years.
    fn now(&self) -> u64 {
        (self.started.elapsed().as_secs() + 1).min((1 << AGE_BITS) - 1)
    }
}

fn seconds(word: u64) -> u64 {
    word & ((1 << AGE_BITS) - 1)
}

/// Mixes a hash, since other tables derive their stripes and sets from the same one.
fn mix(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash ^ (hash >> 29)
}

/// Hash of an object, of a request variant of it, or of a block.
pub(in crate::cache) trait Departing {
    fn departing(&self) -> u64;
}

impl Departing for ObjectId {
    fn departing(&self) -> u64 {
        self.hash64()
    }
}

impl Departing for BlockKey {
    fn departing(&self) -> u64 {
        // Independent of the version: a read of a new version is a miss of the object.
        self.id().hash64().wrapping_add((self.index() + 1).wrapping_mul(0xd6e8_feb8_6659_fd93))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: Why = Why::Invalidated(InvalidationCause::Event);

    #[tokio::test(start_paused = true)]
    async fn the_last_departure_of_a_key_is_remembered_with_its_age() {
        let departures = Departures::new(BYTES.0);
        assert_eq!(departures.last(0), None, "an empty slot is nobody's");
        departures.record(7, Why::Evicted);
        tokio::time::advance(Duration::from_secs(90)).await;
        let evicted = Departure { why: Why::Evicted, age: Duration::from_secs(90) };
        assert_eq!(departures.last(7), Some(evicted));
        departures.record(7, EVENT);
        assert_eq!(departures.last(7), Some(Departure { why: EVENT, age: Duration::ZERO }));
        assert_eq!(departures.last(8), None);
        for cause in InvalidationCause::ALL {
            let why = Why::Invalidated(*cause);
            assert_eq!(Why::of_code(why.code()), Some(why));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_latest_departures_are_kept_in_a_fixed_number_of_bytes() {
        let departures = Departures::new(BYTES.0);
        let slots = (BYTES.0 / SLOT) as usize;
        assert_eq!(departures.slots.len(), slots);
        for hash in 0..4 * slots as u64 {
            if hash % 1000 == 0 {
                tokio::time::advance(Duration::from_secs(1)).await;
            }
            departures.record(hash.wrapping_mul(0x1234_5678_9abc_def1), Why::Evicted);
        }
        let known = |from: u64, to: u64| {
            let hashes = (from..to).map(|hash| hash.wrapping_mul(0x1234_5678_9abc_def1));
            hashes.filter(|hash| departures.last(*hash).is_some()).count()
        };
        let (all, half) = (4 * slots as u64, slots as u64 / 2);
        assert!(known(all - half, all) as u64 > half * 9 / 10, "{}", known(all - half, all));
        // What was never recorded is not known.
        assert_eq!(known(all, all + 100_000), 0);
    }
}
