//! Recent reads of recently read objects, and the bytes fetched ahead of them.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::balance::{Balance, Kind, Outcomes};
use super::pattern::Reads;
use crate::metrics::read_ahead as metrics;
use crate::s3::ObjectId;

/// Maximum number of objects whose reads are remembered.
const OBJECTS: usize = 512;
/// Maximum number of concurrent fetches ahead.
const FETCHES: usize = 64;
/// Number of fetches between two counts of unread bytes.
const COUNTED_AFTER: u64 = 64;

/// Recent reads of recently read objects.
pub(in crate::cache) struct ReadAhead {
    is_enabled: bool,
    /// Bounded: an object takes the place of another with the same hash.
    objects: Box<[Mutex<Slot>]>,
    fetches: Arc<Semaphore>,
    begun: AtomicU64,
    balance: Balance,
}

#[derive(Default)]
struct Slot {
    /// [`ObjectId::hash64`].
    object: u64,
    reads: Reads,
}

impl ReadAhead {
    pub(in crate::cache) fn new(is_enabled: bool) -> Self {
        let objects = (0..OBJECTS).map(|_| Mutex::default()).collect();
        let fetches = Arc::new(Semaphore::new(FETCHES));
        let (begun, balance) = (AtomicU64::new(0), Balance::new());
        Self { is_enabled, objects, fetches, begun, balance }
    }

    /// Whether anything is read ahead.
    pub(in crate::cache) fn is_enabled(&self) -> bool {
        self.is_enabled
    }

    fn slot(&self, hash: u64) -> &Mutex<Slot> {
        &self.objects[usize::try_from(hash % OBJECTS as u64).expect("below OBJECTS")]
    }

    /// Whether fetches of a kind bring about as much as they waste.
    pub(in crate::cache) fn pays(&self, kind: Kind) -> bool {
        self.balance.pays(kind)
    }

    fn with<R>(
        &self,
        mut slot: MutexGuard<'_, Slot>,
        hash: u64,
        then: impl FnOnce(&mut Reads) -> R,
    ) -> R {
        if slot.object != hash {
            let before = std::mem::take(&mut *slot);
            self.count(before.reads.end());
            slot.object = hash;
        }
        let result = then(&mut slot.reads);
        let outcome = slot.reads.outcome(Instant::now());
        drop(slot);
        self.count(outcome);
        result
    }

    /// Returns the ranges likely to be read after `range` of an object of `size` bytes, at most `most` bytes.
    pub(in crate::cache) fn next(
        &self,
        id: &ObjectId,
        range: &Range<u64>,
        (size, most): (u64, u64),
    ) -> Vec<Range<u64>> {
        let hash = id.object().hash64();
        // Under contention, some reads are not noted.
        let Some(slot) = self.slot(hash).try_lock() else { return Vec::new() };
        self.with(slot, hash, |reads| reads.read(range, (size, most), Instant::now()))
    }

    /// Notes spans that were fetched ahead.
    pub(in crate::cache) fn fetched(
        &self,
        id: &ObjectId,
        kind: Kind,
        spans: impl IntoIterator<Item = Range<u64>>,
    ) {
        let (now, hash) = (Instant::now(), id.object().hash64());
        let slot = self.slot(hash).lock();
        self.with(slot, hash, |reads| {
            spans.into_iter().for_each(|span| reads.fetched(span, kind, now));
        });
        if self.begun.fetch_add(1, Ordering::Relaxed) % COUNTED_AFTER == COUNTED_AFTER - 1 {
            for slot in &self.objects {
                let outcome = slot.lock().reads.outcome(now);
                self.count(outcome);
            }
        }
    }

    fn count(&self, outcomes: Outcomes) {
        if outcomes != Outcomes::default() {
            self.balance.add(outcomes);
            let sum = outcomes.sum();
            metrics::read_ahead(sum.used, sum.wasted);
        }
    }

    /// Returns a permit for a fetch ahead, or `None` if too many are running.
    pub(in crate::cache) fn permit(&self) -> Option<OwnedSemaphorePermit> {
        self.fetches.clone().try_acquire_owned().ok()
    }
}
