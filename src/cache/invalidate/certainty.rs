//! Certainty about other replicas: whether all of their invalidations are known here.

use std::time::Duration;

use super::sync::{AtomicU32, AtomicU64, Ordering};
use crate::cache::metadata::clock::boot_time;

/// Value of `until` without other replicas: no invalidation can be missing.
const ALONE: u64 = u64::MAX;

/// The time until which all invalidations of other replicas are known here, and the epoch of certainty.
pub(in crate::cache) struct Certainty {
    /// Nanoseconds of the clock that includes suspended time, or [`ALONE`].
    until: AtomicU64,
    /// Metadata that was learned in an earlier epoch is revalidated before use.
    epoch: AtomicU32,
}

impl Certainty {
    pub(in crate::cache) fn new() -> Self {
        Self { until: AtomicU64::new(ALONE), epoch: AtomicU32::new(0) }
    }

    /// Whether no invalidation can be missing now. Called by every read.
    pub(in crate::cache) fn holds(&self) -> bool {
        let until = self.until.load(Ordering::Acquire);
        until == ALONE || nanoseconds(boot_time()) < until
    }

    /// Makes [`Certainty::holds`] return `true` until this moment of [`boot_time`]; `None`: for ever.
    pub(in crate::cache) fn set_until(&self, until: Option<Duration>) {
        self.until.store(until.map_or(ALONE, nanoseconds), Ordering::Release);
    }

    /// Raises the epoch: all metadata learned so far becomes stale.
    pub(in crate::cache) fn raise_epoch(&self) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
    }

    pub(in crate::cache) fn epoch(&self) -> u32 {
        self.epoch.load(Ordering::Acquire)
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(ALONE - 1)
}
