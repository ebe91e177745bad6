//! How long all invalidations of other replicas are known here.

use std::time::Duration;

use super::sync::{AtomicU32, AtomicU64, Ordering};
use crate::cache::metadata::clock::boot_time;

/// No other replica is known: nothing can be missing.
const ALONE: u64 = u64::MAX;

/// Until when all invalidations are known here, and since when.
pub(in crate::cache) struct Certainty {
    /// In nanoseconds of the clock that goes on while the machine is suspended; [`ALONE`].
    until: AtomicU64,
    /// What was learned in an earlier one is confirmed before it is used.
    epoch: AtomicU32,
}

impl Certainty {
    pub(in crate::cache) fn new() -> Self {
        Self { until: AtomicU64::new(ALONE), epoch: AtomicU32::new(0) }
    }

    /// Whether nothing can be missing now. Every read asks.
    pub(in crate::cache) fn holds(&self) -> bool {
        let until = self.until.load(Ordering::Acquire);
        until == ALONE || nanoseconds(boot_time()) < until
    }

    /// [`Certainty::holds`] until this moment of [`boot_time`]; `None`: for ever.
    pub(in crate::cache) fn set_until(&self, until: Option<Duration>) {
        self.until.store(until.map_or(ALONE, nanoseconds), Ordering::Release);
    }

    /// Puts everything that was learned so far in doubt.
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
