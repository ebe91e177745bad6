//! Progress counters of a warm job.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use serde::Serialize;

/// Maximum number of failures that are reported individually.
const TOLD: usize = 20;
/// Number of consecutive failures after which a job is aborted.
const GIVEN_UP: u64 = 100;

/// An object that could not be warmed, and the reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    pub object: String,
    pub error: String,
}

/// Numbers of objects, by result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Objects {
    /// Objects to warm, as far as they are listed.
    pub found: u64,
    /// Objects that are warm.
    pub warmed: u64,
    /// Not cacheable, or deleted since they were listed.
    pub skipped: u64,
    /// Objects that could not be read.
    pub failed: u64,
}

impl fmt::Display for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { found, warmed, skipped, failed } = self;
        write!(f, "{found} objects, {warmed} warm, {skipped} skipped, {failed} failed")
    }
}

/// Numbers of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Bytes {
    /// To warm, as far as it is known.
    pub found: u64,
    /// In the cache now, including bytes that were cached before.
    pub warm: u64,
    /// Fetched from the origin by the job.
    pub fetched: u64,
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { found, warm, fetched } = self;
        write!(f, "{found} bytes, {warm} warm, {fetched} fetched")
    }
}

/// Progress counters of a job.
#[derive(Debug, Default)]
pub(super) struct JobCounters {
    found: AtomicU64,
    warmed: AtomicU64,
    skipped: AtomicU64,
    failed: AtomicU64,
    failed_in_row: AtomicU64,
    bytes_found: AtomicU64,
    bytes_warm: AtomicU64,
    bytes_fetched: AtomicU64,
    /// Whether everything to warm was found.
    complete: AtomicBool,
    limited_by: Mutex<Option<&'static str>>,
    failures: Mutex<Vec<Failure>>,
}

impl JobCounters {
    /// Counts one more object to warm; `false`: there would be more than `most`.
    pub(super) fn find_object(&self, most: Option<u64>) -> bool {
        add_up_to(&self.found, 1, most) || self.limited("max_objects")
    }

    /// Counts more bytes to warm; `false`: there would be more than `most`.
    pub(super) fn find_bytes(&self, bytes: u64, most: u64) -> bool {
        add_up_to(&self.bytes_found, bytes, Some(most)) || self.limited("max_bytes")
    }

    /// Uncounts an object that was found, but not its bytes.
    pub(super) fn lose_object(&self) {
        self.found.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn warm(&self, bytes: u64, fetched: u64) {
        self.bytes_warm.fetch_add(bytes, Ordering::Relaxed);
        self.bytes_fetched.fetch_add(fetched, Ordering::Relaxed);
    }

    pub(super) fn warmed(&self) {
        self.warmed.fetch_add(1, Ordering::Relaxed);
        self.failed_in_row.store(0, Ordering::Relaxed);
    }

    pub(super) fn skipped(&self) {
        self.skipped.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a failure; returns whether the job goes on.
    pub(super) fn failed(&self, object: String, error: String) -> bool {
        self.failed.fetch_add(1, Ordering::Relaxed);
        let mut failures = self.failures.lock();
        if failures.len() < TOLD {
            failures.push(Failure { object, error });
        }
        self.failed_in_row.fetch_add(1, Ordering::Relaxed) + 1 < GIVEN_UP
    }

    pub(super) fn complete(&self) {
        self.complete.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_complete(&self) -> bool {
        self.complete.load(Ordering::Relaxed)
    }

    /// Returns the limit that ended the job before everything was found.
    pub(super) fn limited_by(&self) -> Option<&'static str> {
        *self.limited_by.lock()
    }

    pub(super) fn failures(&self) -> Vec<Failure> {
        self.failures.lock().clone()
    }

    pub(super) fn objects(&self) -> Objects {
        let count = |of: &AtomicU64| of.load(Ordering::Relaxed);
        Objects {
            found: count(&self.found),
            warmed: count(&self.warmed),
            skipped: count(&self.skipped),
            failed: count(&self.failed),
        }
    }

    pub(super) fn bytes(&self) -> Bytes {
        let count = |of: &AtomicU64| of.load(Ordering::Relaxed);
        Bytes {
            found: count(&self.bytes_found),
            warm: count(&self.bytes_warm),
            fetched: count(&self.bytes_fetched),
        }
    }

    fn limited(&self, by: &'static str) -> bool {
        *self.limited_by.lock() = Some(by);
        false
    }
}

fn add_up_to(to: &AtomicU64, more: u64, most: Option<u64>) -> bool {
    let fits = |now: u64| now.checked_add(more).filter(|sum| most.is_none_or(|most| *sum <= most));
    to.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok()
}
