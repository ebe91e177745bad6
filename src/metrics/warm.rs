//! Metrics of warming, prefetching and purges.

use metrics::{Counter, Gauge, Unit, counter, describe_counter, describe_gauge, gauge};

use super::recorder::{GaugeGuard, Registered};

const PURGES: &str = "hotset_purges_total";
const OBJECTS: &str = "hotset_warm_objects_total";
const BYTES: &str = "hotset_warm_fetched_bytes_total";
const JOBS: &str = "hotset_warm_jobs";
const QUEUE: &str = "hotset_prefetch_queue_objects";
const DROPPED: &str = "hotset_prefetch_dropped_total";

label! {
    /// Result of warming an object.
    WarmResult {
        /// Its requested ranges are cached.
        Warmed = "warmed",
        /// It may not be cached, is gone, or exceeds the remaining bytes of the job.
        Skipped = "skipped",
        /// It could not be read.
        Failed = "failed",
    }
}

label! {
    /// Scope of a purge by an operator.
    PurgeScope {
        /// One object.
        Object = "object",
        /// All keys with a prefix.
        Prefix = "prefix",
        /// All keys of a bucket that match a glob.
        Glob = "glob",
        /// A whole bucket.
        Bucket = "bucket",
        /// The whole cache.
        Everything = "everything",
    }
}

struct Handles {
    purges: [Counter; PurgeScope::ALL.len()],
    objects: [Counter; WarmResult::ALL.len()],
    bytes: Counter,
    jobs: Gauge,
    queue: Gauge,
    dropped: Counter,
}

static HANDLES: Registered<Handles> = Registered::none();

impl Handles {
    fn new() -> Self {
        let result = |index: usize| counter!(OBJECTS, "result" => WarmResult::ALL[index].label());
        let scope = |index: usize| counter!(PURGES, "scope" => PurgeScope::ALL[index].label());
        Self {
            purges: std::array::from_fn(scope),
            objects: std::array::from_fn(result),
            bytes: counter!(BYTES),
            jobs: gauge!(JOBS),
            queue: gauge!(QUEUE),
            dropped: counter!(DROPPED),
        }
    }
}

/// Describes and registers these metrics with the recorder in scope.
pub(super) fn register() {
    describe();
    HANDLES.keep(Handles::new());
}

#[rustfmt::skip] // A table: one line a metric.
fn describe() {
    describe_counter!(PURGES, Unit::Count, "Purges by operators, by scope");
    describe_counter!(OBJECTS, Unit::Count, "Objects processed by warm jobs and prefetching, by result");
    describe_counter!(BYTES, Unit::Bytes, "Bytes fetched from the origin for warming and prefetching");
    describe_gauge!(JOBS, Unit::Count, "Running warm jobs");
    describe_gauge!(QUEUE, Unit::Count, "Objects in the prefetch queue");
    describe_counter!(DROPPED, Unit::Count, "Objects that were not prefetched because the prefetch queue was full");
}

/// Counts purges of one kind.
pub fn purged(scope: PurgeScope, purges: u64) {
    if let Some(handles) = HANDLES.get() {
        handles.purges[scope as usize].increment(purges);
    }
}

/// Counts an object that was to be warmed.
pub fn object(result: WarmResult) {
    if let Some(handles) = HANDLES.get() {
        handles.objects[result as usize].increment(1);
    }
}

/// Counts bytes that were fetched to warm an object.
pub fn fetched(bytes: u64) {
    if let Some(handles) = HANDLES.get() {
        handles.bytes.increment(bytes);
    }
}

/// Counts a job as running until the guard is dropped.
pub fn job() -> GaugeGuard {
    HANDLES.hold(|handles| &handles.jobs)
}

/// Sets the number of created objects waiting to be warmed.
pub fn set_prefetch_queue(objects: u64) {
    HANDLES.set(|handles| &handles.queue, objects);
}

/// Counts a created object that is not warmed, because too many wait.
pub fn prefetch_dropped() {
    if let Some(handles) = HANDLES.get() {
        handles.dropped.increment(1);
    }
}
