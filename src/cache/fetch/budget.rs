//! Budget of in-flight memory, in bytes.
//!
//! moka counts what it holds, not what readers and fills keep alive beside it: a slice of a block that a slow client
//! has not taken yet keeps the whole block, evicted or not. So every such byte is charged to this budget. Three
//! quarters of the budget are for fills, one quarter for slices in the hands of slow clients; when the second is used
//! up, slices are copied small instead. A fetch that waits for the first causes *memory pressure*: slow clients release
//! what was read ahead for them.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::cache::key::ObjectVersion;

/// Permits are counted in units of this many bytes.
const UNIT: u64 = 4096;
/// A fill that finds no memory for this long is refused; the client is told to slow down.
const MEMORY_TIMEOUT: Duration = Duration::from_secs(20);

/// Bytes charged to the budget; returned when dropped.
pub(in crate::cache) type Paid = OwnedSemaphorePermit;

/// The budget of in-flight bytes. Clones share it.
#[derive(Clone)]
pub(in crate::cache) struct Budget {
    fills: Arc<Semaphore>,
    fill_units: usize,
    slices: Arc<Semaphore>,
    total: u64,
    slice_units: usize,
    pressure: Arc<Pressure>,
}

/// Number of fetches that wait for memory.
#[derive(Default)]
struct Pressure {
    waiting: AtomicUsize,
    begun: Notify,
}

impl Budget {
    /// Creates a budget of `total` bytes.
    pub(in crate::cache) fn new(total: u64) -> Self {
        let units = usize::try_from(total / UNIT).unwrap_or(Semaphore::MAX_PERMITS);
        let slice_units = units / 4;
        let fill_units = units - slice_units;
        Self {
            fills: Arc::new(Semaphore::new(fill_units)),
            fill_units,
            slices: Arc::new(Semaphore::new(slice_units)),
            total,
            slice_units,
            pressure: Arc::default(),
        }
    }

    /// Acquires `bytes` for a fill that is needed now, waiting up to [`MEMORY_TIMEOUT`]. `None`: the wait timed out.
    pub(in crate::cache) async fn fill(&self, bytes: u64) -> Option<Paid> {
        let need = units(bytes);
        if let Ok(paid) = self.fills.clone().try_acquire_many_owned(need) {
            return Some(paid);
        }
        let _waiting = Waiting::new(self);
        timeout(MEMORY_TIMEOUT, self.fills.clone().acquire_many_owned(need)).await.ok()?.ok()
    }

    /// Acquires `bytes` if they are free now.
    pub(in crate::cache) fn try_fill(&self, bytes: u64) -> Option<Paid> {
        self.fills.clone().try_acquire_many_owned(units(bytes)).ok()
    }

    /// Acquires memory for the first bytes of a response, all of `range` or those of its first block, and shortens
    /// `range` to them. It does not wait: a response holds one of the origin's connections, and holders of memory may
    /// wait for a connection.
    pub(in crate::cache) fn try_fill_first(
        &self,
        range: &mut Range<u64>,
        version: &ObjectVersion,
    ) -> Option<Paid> {
        if let Some(paid) = self.try_fill(range.end - range.start) {
            return Some(paid);
        }
        range.end = range.end.min(version.block_at(range.start).end());
        self.try_fill(range.end - range.start)
    }

    /// Acquires memory for read-ahead, only while a quarter stays free for fills that are needed now.
    pub(in crate::cache) fn try_read_ahead(&self, bytes: u64) -> Option<Paid> {
        let spare = self.fills.available_permits().checked_sub(self.fill_units / 4)?;
        (spare >= units(bytes) as usize).then(|| self.try_fill(bytes))?
    }

    /// Whether [`Self::try_read_ahead`] of `bytes` would succeed, and nobody waits for memory.
    pub(in crate::cache) fn has_room(&self, bytes: u64) -> bool {
        let spare = self.fills.available_permits().checked_sub(self.fill_units / 4);
        !self.is_under_pressure() && spare.is_some_and(|spare| spare >= units(bytes) as usize)
    }

    /// Whether at least half is free, so that slow clients may have whole blocks fetched for them.
    pub(in crate::cache) fn has_plenty(&self) -> bool {
        self.fills.available_permits() >= self.fill_units / 2
    }

    /// Acquires memory for the block behind a slice that goes to a client. `None`: copy it instead.
    pub(in crate::cache) fn try_slice(&self, bytes: u64) -> Option<Paid> {
        self.slices.clone().try_acquire_many_owned(units(bytes)).ok()
    }

    /// Whether a fetch waits for memory.
    pub(in crate::cache) fn is_under_pressure(&self) -> bool {
        self.pressure.waiting.load(Ordering::Acquire) > 0
    }

    /// Resolves when a fetch waits for memory.
    pub(in crate::cache) async fn memory_pressure(&self) {
        let notified = self.pressure.begun.notified();
        if self.pressure.waiting.load(Ordering::Acquire) == 0 {
            notified.await;
        }
    }

    /// Returns the bytes in use, and the limit.
    pub(in crate::cache) fn usage(&self) -> (u64, u64) {
        let free = self.fills.available_permits() + self.slices.available_permits();
        let used = (self.fill_units + self.slice_units).saturating_sub(free);
        (used as u64 * UNIT, self.total)
    }
}

pub(in crate::cache) fn units(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX)
}

/// Counts a fetch as waiting for memory while it lives.
struct Waiting<'a>(&'a Budget);

impl<'a> Waiting<'a> {
    fn new(budget: &'a Budget) -> Self {
        budget.pressure.waiting.fetch_add(1, Ordering::AcqRel);
        budget.pressure.begun.notify_waiters();
        Self(budget)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.pressure.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[tokio::test]
    async fn reading_ahead_leaves_a_quarter_for_fills_that_are_needed_now() {
        let budget = Budget::new(16 * MIB);
        let ahead = budget.try_read_ahead(9 * MIB).expect("three quarters of twelve");
        assert!(budget.try_read_ahead(MIB).is_none());
        assert!(budget.try_fill(3 * MIB).is_some());
        drop(ahead);
        assert_eq!(budget.usage(), (0, 16 * MIB));
    }

    #[tokio::test]
    async fn a_waiting_fill_makes_pressure_until_it_is_served() {
        let budget = Arc::new(Budget::new(16 * MIB));
        let all = budget.try_fill(12 * MIB).unwrap();
        let waiter = tokio::spawn({
            let budget = budget.clone();
            async move { budget.fill(MIB).await.is_some() }
        });
        budget.memory_pressure().await;
        drop(all);
        assert!(waiter.await.unwrap());
    }
}
