//! Shrinks the cache under memory pressure in the process's control groups.
//!
//! The configuration bounds the cache, but not the memory of connections, uploads and the allocator. So the memory that
//! the kernel could not reclaim without killing is measured at an interval, and blocks are evicted before the limit is
//! reached. The cache grows again, slowly, once twice as much is free.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};

use super::cgroup::{Cgroup, MemoryGroup};
use crate::cache::Cache;
use crate::metrics::memory as metrics;

/// Interval between measurements.
const INTERVAL: Duration = Duration::from_millis(200);
/// Divisor of the limit: with less than this fraction free, the cache shrinks.
const SHORT: u64 = 12;
/// Divisor of the limit: the cache shrinks until this fraction is free.
const ENOUGH: u64 = 8;
/// Divisor of the full size: the step by which the cache grows at each measurement.
const GROWTH: u64 = 32;

/// Memory of the group that is closest to its limit, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Measured {
    limit: u64,
    used: u64,
}

impl Measured {
    fn of(groups: &[MemoryGroup]) -> Option<Self> {
        let measured = groups
            .iter()
            .filter_map(|group| Some(Self { limit: group.limit, used: group.used()? }));
        measured.min_by_key(|measured| measured.free() * 1024 / measured.limit.max(1))
    }

    fn free(self) -> u64 {
        self.limit.saturating_sub(self.used)
    }

    /// Returns the new capacity of a cache with `held` bytes, a current capacity `now` and a full one `full`.
    fn capacity(self, full: u64, now: u64, held: u64) -> u64 {
        let (free, enough) = (self.free(), self.limit / ENOUGH);
        if free < self.limit / SHORT {
            return now.min(held.saturating_sub(enough - free));
        }
        let step = full / GROWTH;
        match free > enough + step {
            true => full.min(now + step),
            false => now,
        }
    }
}

/// Measures until the process ends. Files are read and blocks evicted on a blocking thread.
pub(super) async fn run(cgroup: Cgroup, cache: Arc<Cache>) {
    if cgroup.memory.is_empty() {
        return;
    }
    let groups = Arc::new(cgroup.memory);
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let (groups, cache) = (groups.clone(), cache.clone());
        let _ = spawn_blocking(move || adapt(&groups, &cache)).await;
    }
}

fn adapt(groups: &[MemoryGroup], cache: &Cache) {
    let Some(measured) = Measured::of(groups) else { return };
    metrics::set_limit(measured.limit);
    metrics::set_used(measured.used);
    let (full, now) = cache.block_capacity();
    let held = cache.usage().block_bytes;
    let next = measured.capacity(full, now, held);
    // Repeated while the cache shrinks: some of it stays free for new blocks.
    if next < full || next != now {
        cache.set_block_capacity(next);
    }
    let mebibytes = |bytes: u64| bytes >> 20;
    if next < now && now == full {
        log::warn!(
            "memory is short: {} MiB of {} MiB are used; the cache shrinks from {} MiB to {} MiB and grows again when \
             {} MiB are free",
            mebibytes(measured.used),
            mebibytes(measured.limit),
            mebibytes(held),
            mebibytes(next),
            mebibytes(measured.limit / ENOUGH)
        );
    } else if next == full && now < full {
        log::info!(
            "memory is no longer short: the cache may fill its {} MiB again",
            mebibytes(full)
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: u64 = 1200;

    /// Returns the new capacity, of 600 in full.
    fn capacity(used: u64, now: u64, held: u64) -> u64 {
        Measured { limit: LIMIT, used }.capacity(600, now, held)
    }

    #[test]
    fn the_cache_shrinks_by_what_is_missing_until_an_eighth_is_free() {
        assert_eq!(capacity(1101, 600, 500), 500 - 51);
        assert_eq!(capacity(1200, 600, 500), 500 - 150);
        assert_eq!(capacity(1300, 600, 500), 500 - 150, "over the limit");
        assert_eq!(capacity(1150, 600, 10), 0, "never less than nothing");
        assert_eq!(capacity(1150, 100, 500), 100, "never more than it may hold");
    }

    #[test]
    fn between_short_and_enough_it_stays_and_beyond_it_grows_slowly() {
        assert_eq!(capacity(1100, 400, 400), 400);
        assert_eq!(capacity(1050, 400, 400), 400);
        assert_eq!(capacity(1000, 400, 400), 418);
        assert_eq!(capacity(0, 595, 400), 600, "never beyond its size");
    }
}
