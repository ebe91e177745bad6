//! Write queue of one path: blocks that wait to be written, and the orders for the writer thread.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use crate::cache::disk::format::digest::Digest;
use crate::cache::disk::format::record::Record;
use crate::cache::disk::log::erasure::Done;
use crate::cache::disk::tier::classes::Classes;
use crate::cache::memory::block::Block;
use crate::metrics::disk::{DiskPath, Skip};

/// A block queued to be written to disk.
#[derive(Debug, Clone)]
pub(in crate::cache::disk) struct Job {
    pub record: Record,
    pub key: Vec<u8>,
    pub bytes: Bytes,
    pub class: u8,
    pub pinned: bool,
}

pub(in crate::cache::disk) enum Order {
    Write(Digest),
    /// Evict what exceeds the capacity, as the process has started.
    Begin,
    /// Apply the shares of new rules.
    Share(Arc<Classes>),
    /// Erase purged blocks from the files.
    Erase(Done),
    /// Write queued blocks, seal the open segments and make them durable.
    Finish(oneshot::Sender<()>),
}

/// Blocks that wait to be written and can be read meanwhile.
#[derive(Debug)]
pub(in crate::cache::disk) struct Queue {
    jobs: Mutex<HashMap<Digest, Job>>,
    bytes: AtomicU64,
    limit: u64,
    shorter: Notify,
    /// Metrics of the path.
    pub metrics: Arc<DiskPath>,
}

impl Queue {
    pub(in crate::cache::disk) fn new(limit: u64, metrics: Arc<DiskPath>) -> Self {
        Self {
            jobs: Mutex::default(),
            bytes: AtomicU64::new(0),
            limit,
            shorter: Notify::new(),
            metrics,
        }
    }

    /// Adds a block; returns `false` if the queue is full or holds the block already.
    pub(in crate::cache::disk) fn push(&self, job: Job) -> bool {
        let length = job.bytes.len() as u64;
        let mut jobs = self.jobs.lock();
        if self.bytes.load(Ordering::Relaxed) + length > self.limit {
            self.metrics.skipped(Skip::QueueFull);
            return false;
        }
        if jobs.contains_key(&job.record.digest) {
            return false;
        }
        self.bytes.fetch_add(length, Ordering::Relaxed);
        jobs.insert(job.record.digest, job);
        true
    }

    pub(in crate::cache::disk) fn peek(&self, digest: &Digest) -> Option<Job> {
        self.jobs.lock().get(digest).cloned()
    }

    pub(in crate::cache::disk) fn done(&self, digest: &Digest) {
        if let Some(job) = self.jobs.lock().remove(digest) {
            self.bytes.fetch_sub(job.bytes.len() as u64, Ordering::Relaxed);
            self.shorter.notify_waiters();
        }
    }

    pub(in crate::cache::disk) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Waits until the queue is at most half full.
    pub(in crate::cache::disk) async fn room(&self) {
        loop {
            let shorter = self.shorter.notified();
            tokio::pin!(shorter);
            shorter.as_mut().enable();
            if self.bytes.load(Ordering::Relaxed) <= self.limit / 2 {
                return;
            }
            shorter.await;
        }
    }
}

/// Configured limits of one path.
#[derive(Debug, Clone)]
pub(in crate::cache::disk) struct VolumeLimits {
    /// Maximum bytes of all segments.
    pub capacity: u64,
    /// Whether reads bypass the page cache (`O_DIRECT`).
    pub direct: bool,
    /// Maximum write rate in bytes per second; `None`: no limit.
    pub write_rate: Option<u64>,
    /// Maximum bytes of blocks that wait to be written.
    pub queue: u64,
    /// Classes that have a share of the path, and the maximum bytes of each.
    pub shares: Vec<(u8, u64)>,
}

impl Job {
    /// Returns the range of the block that is to be written, as offsets in the block.
    pub(in crate::cache::disk) fn span(&self) -> Range<u64> {
        let start = u64::from(self.record.start);
        start..start + u64::from(self.record.data_len)
    }

    pub(in crate::cache::disk) fn block(&self, block_start: u64) -> Block {
        Block::new(block_start + u64::from(self.record.start), self.bytes.clone())
    }
}
