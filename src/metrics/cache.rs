//! Misses by reason, evictions by tier and reason, and invalidations by cause.

use std::sync::OnceLock;

use metrics::{Counter, Unit, counter, describe_counter, with_local_recorder};

use super::{METRICS, handles};

const MISSES: &str = "hotset_misses_total";
const EVICTIONS: &str = "hotset_cache_evictions_total";
pub(super) const INVALIDATIONS: &str = "hotset_invalidations_total";

label! {
    /// The reason for which a read was not answered from the cache alone.
    MissReason {
        /// Not cached before, as far as is remembered.
        New = "new",
        /// Cached, and older than its rule allows.
        Expired = "expired",
        /// Cached before, and evicted for want of room.
        Evicted = "evicted",
        /// Cached before, and invalidated by a write, an event, a purge or the origin.
        Invalidated = "invalidated",
        /// On disk since before a restart: the origin confirms it before it is served.
        Restarted = "restarted",
        /// Cached; the rule, the key or the client demands that the origin confirms each read.
        MustRevalidate = "must_revalidate",
        /// A read that the cache does not answer: its rule, its headers or its object exclude it.
        Bypassed = "bypassed",
    }
}

label! {
    /// The cause of an invalidation.
    InvalidationCause {
        /// A write through this server.
        Write = "write",
        /// A write through this server whose outcome is unknown.
        UnknownOutcome = "write_outcome_unknown",
        /// An object event.
        Event = "event",
        /// A write through another replica.
        Peer = "peer",
        /// A purge by an operator.
        Purge = "purge",
        /// An answer of the origin that names another state of the object.
        Origin = "origin",
    }
}

/// An entry that left a tier for want of room: the labels `tier` and `reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Eviction {
    /// A block left memory, which is as large as configured.
    Memory,
    /// A block left memory, which was shrunk under memory pressure.
    MemoryPressure,
    /// Metadata of an object left memory.
    Metadata,
    /// A block left the disk: its segment was the oldest.
    Disk,
}

impl Eviction {
    const ALL: [Self; 4] = [Self::Memory, Self::MemoryPressure, Self::Metadata, Self::Disk];

    const fn labels(self) -> (&'static str, &'static str) {
        match self {
            Self::Memory => ("memory", "capacity"),
            Self::MemoryPressure => ("memory", "memory_pressure"),
            Self::Metadata => ("metadata", "capacity"),
            Self::Disk => ("disk", "capacity"),
        }
    }
}

pub(super) struct Handles {
    misses: [Counter; MissReason::ALL.len()],
    invalidations: [Counter; InvalidationCause::ALL.len()],
    /// That of the disk is registered with the disk tier.
    evictions: [OnceLock<Counter>; Eviction::ALL.len()],
}

impl Handles {
    pub(super) fn register() -> Self {
        let miss = |index: usize| counter!(MISSES, "reason" => MissReason::ALL[index].label());
        let cause = |index: usize| counter!(INVALIDATIONS, "cause" => InvalidationCause::ALL[index].label());
        let evictions = [const { OnceLock::new() }; Eviction::ALL.len()];
        for of_memory in [Eviction::Memory, Eviction::MemoryPressure, Eviction::Metadata] {
            evictions[of_memory as usize].get_or_init(|| register(of_memory));
        }
        Self {
            misses: std::array::from_fn(miss),
            invalidations: std::array::from_fn(cause),
            evictions,
        }
    }
}

fn register(eviction: Eviction) -> Counter {
    let (tier, reason) = eviction.labels();
    counter!(EVICTIONS, "tier" => tier, "reason" => reason)
}

#[rustfmt::skip] // A table: one line a metric.
pub(super) fn describe() {
    describe_counter!(MISSES, Unit::Count, "Reads that were not answered from the cache alone, by reason: new (not cached before, as far as is remembered), expired, evicted, invalidated, restarted (on disk since before a restart, to be confirmed), must_revalidate (the rule, the key or the client demands it), bypassed (not for the cache)");
    describe_counter!(EVICTIONS, Unit::Count, "Entries evicted for want of room, by tier (memory and disk: blocks; metadata: objects) and reason");
    describe_counter!(INVALIDATIONS, Unit::Count, "Invalidations of objects and buckets, by cause: write, write_outcome_unknown, event, peer (a write through another replica), purge, origin (an answer that names another state)");
}

/// Counts a read that was not answered from the cache alone.
pub fn miss(reason: MissReason) {
    if let Some(handles) = handles() {
        handles.cache.misses[reason as usize].increment(1);
    }
}

/// Counts an object or a bucket that was invalidated.
pub fn invalidation(cause: InvalidationCause) {
    if let Some(handles) = handles() {
        handles.cache.invalidations[cause as usize].increment(1);
    }
}

/// Counts entries that were evicted; none registers the series.
pub fn evicted(eviction: Eviction, entries: u64) {
    let Some(metrics) = METRICS.get() else { return };
    let counter = metrics.handles.cache.evictions[eviction as usize]
        .get_or_init(|| with_local_recorder(&metrics.recorder, || register(eviction)));
    counter.increment(entries);
}
