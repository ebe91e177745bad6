//! Metrics of the disk tier, by path.

use std::fmt;

use metrics::{
    Counter, NoopRecorder, Unit, counter, describe_counter, describe_gauge, gauge,
    with_local_recorder,
};

use super::recorder::recorder;

const READS: &str = "hotset_disk_reads_total";
const READ_BYTES: &str = "hotset_disk_read_bytes_total";
const WRITTEN_BYTES: &str = "hotset_disk_written_bytes_total";
const FAILURES: &str = "hotset_disk_failures_total";
const SKIPS: &str = "hotset_disk_skips_total";
const RECLAIMED: &str = "hotset_disk_segments_reclaimed_total";
const DEVICE_BYTES: &str = "hotset_disk_bytes";
const CAPACITY: &str = "hotset_disk_capacity_bytes";
const BLOCKS: &str = "hotset_disk_blocks";
const OBJECTS: &str = "hotset_disk_objects";
const QUEUED_BYTES: &str = "hotset_disk_queued_bytes";

label! {
    /// Outcome of reading a block from disk.
    Outcome {
        /// The block was read.
        Hit = "hit",
        /// The block was not read, for any reason; the origin was asked.
        Miss = "miss",
    }
}

label! {
    /// Reason of a failed operation of the disk tier.
    Failure {
        /// A checksum, a length or a name was wrong, and the record was dropped.
        Damaged = "damaged",
        /// The device failed a read.
        Read = "read",
        /// The device failed a write.
        Write = "write",
        /// A read took too long, and was abandoned.
        Slow = "slow",
        /// The device failed before, and is not used for a while. Counted once for each read of an object.
        PassedBy = "passed_by",
        /// The device has as many reads in flight as it answers in time. Counted for each lookup of a block.
        Busy = "busy",
        /// The segment was reclaimed during the read.
        Gone = "gone",
    }
}

label! {
    /// Reason for which a block was not written to disk, without a failure.
    Skip {
        /// The write queue is full.
        QueueFull = "queue_full",
        /// The block was not read often enough to be written.
        NotAdmitted = "not_admitted",
    }
}

/// State of one path of the disk tier.
#[derive(Debug, Clone, Copy)]
pub struct Holds {
    /// Bytes of all files.
    pub device_bytes: u64,
    pub blocks: u64,
    /// Objects with metadata; `None`: metadata is stored on another path.
    pub objects: Option<u64>,
    /// Bytes of blocks waiting to be written.
    pub queued_bytes: u64,
}

/// The metrics of one path of the disk tier.
pub struct DiskPath {
    path: String,
    reads: [Counter; Outcome::ALL.len()],
    failures: [Counter; Failure::ALL.len()],
    skips: [Counter; Skip::ALL.len()],
    read_bytes: Counter,
    written_bytes: Counter,
    reclaimed: Counter,
}

impl fmt::Debug for DiskPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiskPath").field("path", &self.path).finish_non_exhaustive()
    }
}

impl DiskPath {
    /// Registers the metrics of a path; of the same path they are shared. Without a recorder, they record nothing.
    pub fn new(path: &str) -> Self {
        match recorder() {
            Some(recorder) => with_local_recorder(recorder, || Self::register(path)),
            None => with_local_recorder(&NoopRecorder, || Self::register(path)),
        }
    }

    fn register(path: &str) -> Self {
        let path = path.to_owned();
        let outcome = |index: usize| counter!(READS, "path" => path.clone(), "outcome" => Outcome::ALL[index].label());
        let failure = |index: usize| counter!(FAILURES, "path" => path.clone(), "reason" => Failure::ALL[index].label());
        let skip = |index: usize| counter!(SKIPS, "path" => path.clone(), "reason" => Skip::ALL[index].label());
        Self {
            reads: std::array::from_fn(outcome),
            failures: std::array::from_fn(failure),
            skips: std::array::from_fn(skip),
            read_bytes: counter!(READ_BYTES, "path" => path.clone()),
            written_bytes: counter!(WRITTEN_BYTES, "path" => path.clone()),
            reclaimed: counter!(RECLAIMED, "path" => path.clone()),
            path,
        }
    }

    /// Counts a read of an indexed block, and its bytes.
    pub fn read(&self, outcome: Outcome, bytes: u64) {
        self.reads[outcome as usize].increment(1);
        self.read_bytes.increment(bytes);
    }

    /// Counts bytes of a record that was written.
    pub fn written(&self, bytes: u64) {
        self.written_bytes.increment(bytes);
    }

    /// Counts an operation that failed.
    pub fn failed(&self, failure: Failure) {
        self.failures[failure as usize].increment(1);
    }

    /// Counts a block that was not written to disk, without a failure.
    pub fn skipped(&self, skip: Skip) {
        self.skips[skip as usize].increment(1);
    }

    /// Counts a segment that was removed to make room.
    pub fn reclaimed(&self) {
        self.reclaimed.increment(1);
    }

    /// Sets the state of the path.
    #[allow(clippy::cast_precision_loss, reason = "exact up to 2^53, eight pebibytes")]
    pub fn set_holds(&self, holds: Holds) {
        let Some(recorder) = recorder() else { return };
        let set = |name: &'static str, value: u64| {
            gauge!(name, "path" => self.path.clone()).set(value as f64);
        };
        with_local_recorder(recorder, || {
            set(DEVICE_BYTES, holds.device_bytes);
            set(BLOCKS, holds.blocks);
            set(QUEUED_BYTES, holds.queued_bytes);
            if let Some(objects) = holds.objects {
                set(OBJECTS, objects);
            }
        });
    }
}

#[rustfmt::skip] // A table: one line a metric.
pub(super) fn describe() {
    describe_counter!(READS, Unit::Count, "Reads of blocks from disk, by outcome");
    describe_counter!(READ_BYTES, Unit::Bytes, "Bytes of blocks read from disk");
    describe_counter!(WRITTEN_BYTES, Unit::Bytes, "Bytes of block records written to disk, rewrites included");
    describe_counter!(FAILURES, Unit::Count, "Disk tier operations that failed, by reason: damaged (checksum mismatch), read and write (device errors), slow (a read timed out), busy (the read limit was reached), passed_by (the device is bypassed), gone (the segment was removed)");
    describe_counter!(SKIPS, Unit::Count, "Evicted blocks that were not written to disk, by reason: not_admitted (by cache.admission), queue_full (the write queue was full)");
    describe_counter!(RECLAIMED, Unit::Count, "Segments removed to free space");
    describe_gauge!(DEVICE_BYTES, Unit::Bytes, "Size of the disk tier's files");
    describe_gauge!(CAPACITY, Unit::Bytes, "Limit on the size of the files below a path of the disk tier (cache.disk[].capacity)");
    describe_gauge!(BLOCKS, Unit::Count, "Blocks on disk");
    describe_gauge!(QUEUED_BYTES, Unit::Bytes, "Bytes of blocks in the disk write queue");
    describe_gauge!(OBJECTS, Unit::Count, "Objects with metadata on disk");
}

/// Sets the limit on the size of the files below a path.
#[allow(clippy::cast_precision_loss, reason = "exact up to 2^53, eight pebibytes")]
pub fn set_capacity(path: &str, bytes: u64) {
    let Some(recorder) = recorder() else { return };
    let path = path.to_owned();
    let register = || gauge!(CAPACITY, "path" => path);
    with_local_recorder(recorder, register).set(bytes as f64);
}
