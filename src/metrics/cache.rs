//! Contents of memory, bytes in flight, misses by reason, evictions by tier and reason, and invalidations by cause.

use std::sync::OnceLock;
use std::time::Duration;

use metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram,
    gauge, histogram, with_local_recorder,
};

use super::recorder::{GaugeGuard, Registered, recorder};

pub(super) const CACHE_BYTES: &str = "hotset_cache_bytes";
pub(super) const CACHE_BLOCKS: &str = "hotset_cache_blocks";
pub(super) const METADATA_ENTRIES: &str = "hotset_metadata_entries";
pub(super) const ADMISSIONS_REFUSED: &str = "hotset_admissions_refused_total";
pub(super) const IN_FLIGHT_BYTES: &str = "hotset_in_flight_bytes";
pub(super) const IN_FLIGHT_LIMIT: &str = "hotset_in_flight_limit_bytes";
pub(super) const COALESCED: &str = "hotset_coalesced_total";
pub(super) const COALESCED_WAITERS: &str = "hotset_coalesced_waiters";
const MISSES: &str = "hotset_misses_total";
pub(super) const EVICTION_AGE: &str = "hotset_cache_eviction_age_seconds";
const EVICTIONS: &str = "hotset_cache_evictions_total";
pub(super) const INVALIDATIONS: &str = "hotset_invalidations_total";

/// Upper bounds of the buckets of ages at eviction, in seconds: up to a week.
pub(super) const AGES: [f64; 10] =
    [1.0, 10.0, 60.0, 300.0, 900.0, 3600.0, 21_600.0, 86_400.0, 259_200.0, 604_800.0];

label! {
    /// The reason for which a read was not answered from the cache alone.
    MissReason {
        /// Not cached before, as far as is remembered.
        New = "new",
        /// Cached, but older than its rule allows.
        Expired = "expired",
        /// Cached before, and evicted.
        Evicted = "evicted",
        /// Cached before, and invalidated by a write, an event, a purge or the origin.
        Invalidated = "invalidated",
        /// Cached on disk since before a restart: it must be validated before it is served.
        Restarted = "restarted",
        /// Cached; the rule, the key or the client requires validation on each read.
        MustRevalidate = "must_revalidate",
        /// Not eligible for the cache, because of its rule, its headers or its object.
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
        /// A response of the origin that shows another state of the object.
        Origin = "origin",
    }
}

/// Kind of an evicted entry: the labels `tier` and `reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Eviction {
    /// A block in memory, evicted because memory is full.
    Memory,
    /// A block in memory, evicted because the cache shrank under memory pressure.
    MemoryPressure,
    /// Metadata of an object, in memory.
    Metadata,
    /// A block on disk, in the oldest segment.
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

struct Handles {
    /// Histograms of memory and of the disk; the latter is registered with the disk tier.
    eviction_ages: [OnceLock<Histogram>; 2],
    misses: [Counter; MissReason::ALL.len()],
    invalidations: [Counter; InvalidationCause::ALL.len()],
    /// Counters; that of the disk is registered with the disk tier.
    evictions: [OnceLock<Counter>; Eviction::ALL.len()],
    cache_bytes: Gauge,
    cache_blocks: Gauge,
    metadata_entries: Gauge,
    admissions_refused: Counter,
    in_flight_bytes: Gauge,
    in_flight_limit: Gauge,
    coalesced: Counter,
    coalesced_waiters: Gauge,
}

static HANDLES: Registered<Handles> = Registered::none();

impl Handles {
    fn new() -> Self {
        let miss = |index: usize| counter!(MISSES, "reason" => MissReason::ALL[index].label());
        let cause = |index: usize| counter!(INVALIDATIONS, "cause" => InvalidationCause::ALL[index].label());
        let evictions = [const { OnceLock::new() }; Eviction::ALL.len()];
        for of_memory in [Eviction::Memory, Eviction::MemoryPressure, Eviction::Metadata] {
            evictions[of_memory as usize].get_or_init(|| eviction_counter(of_memory));
        }
        let eviction_ages = [const { OnceLock::new() }; 2];
        eviction_ages[0].get_or_init(|| eviction_age("memory"));
        Self {
            eviction_ages,
            misses: std::array::from_fn(miss),
            invalidations: std::array::from_fn(cause),
            evictions,
            cache_bytes: gauge!(CACHE_BYTES),
            cache_blocks: gauge!(CACHE_BLOCKS),
            metadata_entries: gauge!(METADATA_ENTRIES),
            admissions_refused: counter!(ADMISSIONS_REFUSED),
            in_flight_bytes: gauge!(IN_FLIGHT_BYTES),
            in_flight_limit: gauge!(IN_FLIGHT_LIMIT),
            coalesced: counter!(COALESCED),
            coalesced_waiters: gauge!(COALESCED_WAITERS),
        }
    }
}

fn eviction_counter(eviction: Eviction) -> Counter {
    let (tier, reason) = eviction.labels();
    counter!(EVICTIONS, "tier" => tier, "reason" => reason)
}

/// Describes and registers these metrics with the recorder in scope.
pub(super) fn register() {
    describe();
    HANDLES.keep(Handles::new());
}

#[rustfmt::skip] // A table: one line a metric.
fn describe() {
    describe_gauge!(CACHE_BYTES, Unit::Bytes, "Bytes of blocks in memory");
    describe_gauge!(CACHE_BLOCKS, Unit::Count, "Blocks in memory");
    describe_gauge!(METADATA_ENTRIES, Unit::Count, "Objects with cached metadata, negative entries included");
    describe_counter!(ADMISSIONS_REFUSED, Unit::Count, "Fetched blocks that were not admitted because their object was invalidated during the fetch");
    describe_gauge!(IN_FLIGHT_BYTES, Unit::Bytes, "Bytes in transit between the origin and clients");
    describe_gauge!(IN_FLIGHT_LIMIT, Unit::Bytes, "Limit on bytes in transit between the origin and clients (cache.in_flight)");
    describe_counter!(COALESCED, Unit::Count, "Reads that waited for a fetch that another read had started");
    describe_gauge!(COALESCED_WAITERS, Unit::Count, "Reads waiting for a fetch that another read started");
    describe_counter!(MISSES, Unit::Count, "Reads that were not answered from the cache alone, by reason: new (not cached before, as far as is remembered), expired, evicted, invalidated, restarted (on disk since before a restart, to be confirmed), must_revalidate (the rule, the key or the client demands it), bypassed (not for the cache)");
    describe_counter!(EVICTIONS, Unit::Count, "Entries evicted for want of room, by tier (memory and disk: blocks; metadata: objects) and reason");
    describe_histogram!(EVICTION_AGE, Unit::Seconds, "Time that evicted blocks were in memory, or on disk since the last of their segment was written, by tier");
    describe_counter!(INVALIDATIONS, Unit::Count, "Invalidations of objects and buckets, by cause: write, write_outcome_unknown, event, peer (a write through another replica), purge, origin (an answer that names another state)");
}

/// Counts a read that was not answered from the cache alone.
pub fn miss(reason: MissReason) {
    if let Some(handles) = HANDLES.get() {
        handles.misses[reason as usize].increment(1);
    }
}

/// Counts an invalidated object or bucket.
pub fn invalidation(cause: InvalidationCause) {
    if let Some(handles) = HANDLES.get() {
        handles.invalidations[cause as usize].increment(1);
    }
}

/// Counts blocks that were evicted at an `age` since their admission, or since the last write to their segment; zero
/// blocks register the series.
pub fn evicted_blocks(eviction: Eviction, blocks: usize, age: Duration) {
    evicted(eviction, blocks as u64);
    let (Some(handles), Some(recorder)) = (HANDLES.get(), recorder()) else { return };
    let (index, tier) = match eviction {
        Eviction::Disk => (1, "disk"),
        Eviction::Memory | Eviction::MemoryPressure | Eviction::Metadata => (0, "memory"),
    };
    let ages = handles.eviction_ages[index]
        .get_or_init(|| with_local_recorder(recorder, || eviction_age(tier)));
    ages.record_many(age.as_secs_f64(), blocks);
}

fn eviction_age(tier: &'static str) -> Histogram {
    histogram!(EVICTION_AGE, "tier" => tier)
}

/// Counts evicted entries; zero registers the series.
pub fn evicted(eviction: Eviction, entries: u64) {
    let (Some(handles), Some(recorder)) = (HANDLES.get(), recorder()) else { return };
    let counter = handles.evictions[eviction as usize]
        .get_or_init(|| with_local_recorder(recorder, || eviction_counter(eviction)));
    counter.increment(entries);
}

/// Sets the bytes of blocks in memory.
pub fn set_cache_bytes(bytes: u64) {
    HANDLES.set(|handles| &handles.cache_bytes, bytes);
}

/// Sets the number of blocks in memory.
pub fn set_cache_blocks(blocks: u64) {
    HANDLES.set(|handles| &handles.cache_blocks, blocks);
}

/// Sets the number of objects with cached metadata or absence.
pub fn set_metadata_entries(entries: u64) {
    HANDLES.set(|handles| &handles.metadata_entries, entries);
}

/// Sets the bytes held between the origin and clients.
pub fn set_in_flight_bytes(bytes: u64) {
    HANDLES.set(|handles| &handles.in_flight_bytes, bytes);
}

/// Sets the limit of the bytes held between the origin and clients.
pub fn set_in_flight_limit(bytes: u64) {
    HANDLES.set(|handles| &handles.in_flight_limit, bytes);
}

/// Counts a fetched block that was not admitted, because its object was invalidated meanwhile (R6).
pub fn admission_refused() {
    if let Some(handles) = HANDLES.get() {
        handles.admissions_refused.increment(1);
    }
}

/// Counts a read that waits for another read's fetch, in total and until the guard is dropped.
pub fn coalesced() -> GaugeGuard {
    if let Some(handles) = HANDLES.get() {
        handles.coalesced.increment(1);
    }
    HANDLES.hold(|handles| &handles.coalesced_waiters)
}
