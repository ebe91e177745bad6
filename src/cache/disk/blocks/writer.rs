//! Writer thread of one path: appends blocks, makes room for them, and keeps to the configured rate.

mod erase;

use std::io;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::queue::{Job, Order, Queue, VolumeLimits};
use super::shares::Shares;
use super::tables::Tables;
use crate::cache::disk::device::health::Health;
use crate::cache::disk::format::digest::{Digest, block_in};
use crate::cache::disk::format::record::{Contents, Kind};
use crate::cache::disk::log::erasure::next_order;
use crate::cache::disk::log::index::{self, Entry, Index};
use crate::cache::disk::log::segment::{Segment, Wait};
use crate::cache::disk::log::segment_log::{Appender, Log};
use crate::cache::disk::tier::policy::{Admission, Candidate, Reinsertion};
use crate::cache::invalidate::purge_epochs::PurgeEpochs;
use crate::metrics::cache::{Eviction, evicted_blocks};
use crate::metrics::disk::Failure;

use erase::Erasing;

/// Bytes written between two syncs, so that no reader meets a burst of hundreds of MiB.
const SYNC_EVERY: u64 = 16 * 1024 * 1024;

pub(in crate::cache::disk) struct Writer {
    number: u8,
    log: Arc<Log>,
    index: Arc<Index>,
    queue: Arc<Queue>,
    health: Arc<Health>,
    capacity: u64,
    blocks: Appender,
    pinned: Appender,
    shares: Shares,
    admission: Arc<Mutex<Admission>>,
    reinsertion: Reinsertion,
    purge_epochs: Arc<PurgeEpochs>,
    unsynced: u64,
    pace: Option<Pace>,
    erasing: Option<Erasing>,
}

impl Writer {
    pub(in crate::cache::disk) fn new(
        number: u8,
        log: &Arc<Log>,
        tables: &Tables,
        queue: &Arc<Queue>,
        health: Arc<Health>,
        limits: &VolumeLimits,
    ) -> Self {
        let Tables { index, admission, purge_epochs, .. } = tables;
        Self {
            number,
            log: log.clone(),
            index: index.clone(),
            queue: queue.clone(),
            health,
            capacity: limits.capacity,
            blocks: Appender::new(log, Contents::Blocks, None),
            pinned: Appender::new(log, Contents::Pinned, None),
            shares: Shares::new(number, &limits.shares, index),
            admission: admission.clone(),
            reinsertion: Reinsertion::default(),
            purge_epochs: purge_epochs.clone(),
            unsynced: 0,
            pace: limits.write_rate.map(Pace::new),
            erasing: None,
        }
    }

    /// Executes orders until the last sender is gone.
    pub(in crate::cache::disk) fn run(mut self, orders: &Receiver<Order>) {
        while let Some(order) = next_order(orders, || self.erase_next()) {
            match order {
                Order::Write(digest) => {
                    self.obey(&digest);
                    self.queue.done(&digest);
                }
                // The capacity may be smaller than before.
                Order::Begin => {
                    if let Err(error) = self.make_room(0, false) {
                        self.health.failed(&error, false);
                    }
                }
                Order::Share(classes) => {
                    let limits = classes.limits(self.capacity);
                    if limits != self.shares.limits() {
                        self.shares = Shares::new(self.number, &limits, &self.index);
                    }
                }
                Order::Erase(done) => self.begin_erasing(done),
                Order::Finish(done) => {
                    self.finish();
                    let _ = done.send(());
                }
            }
            self.erase_next();
        }
    }

    /// Whether a purge invalidated the block with this full key. A key that cannot be parsed counts as invalidated.
    fn is_ended(&self, full_key: &[u8]) -> bool {
        block_in(full_key)
            .is_none_or(|(bucket, key, epoch)| epoch < self.purge_epochs.of_key(&bucket, &key))
    }

    fn obey(&mut self, digest: &Digest) {
        let Some(job) = self.queue.peek(digest) else { return };
        // No read looks it up any more, and it may have been erased.
        if self.is_ended(&job.key) {
            return;
        }
        if !self.health.may_try() {
            self.queue.metrics.failed(Failure::PassedBy);
            return;
        }
        match self.write(&job) {
            Ok(()) => self.health.succeeded(),
            Err(error) => {
                self.queue.metrics.failed(Failure::Write);
                let hopeless = matches!(
                    error.kind(),
                    io::ErrorKind::StorageFull | io::ErrorKind::ReadOnlyFilesystem
                );
                self.health.failed(&error, hopeless);
                if error.kind() == io::ErrorKind::StorageFull {
                    self.shrink();
                }
            }
        }
    }

    /// Evicts a segment because the device has less space than the configured capacity.
    fn shrink(&mut self) {
        if let Some(victim) = self.victim() {
            let live = self.index.entries_in(&victim, self.number);
            self.forget(&victim, &live);
            if let Err(error) = self.log.remove(&victim) {
                log::debug!("removing a segment: {error}");
            }
        }
    }

    fn write(&mut self, job: &Job) -> io::Result<()> {
        let Job { record, key, bytes, class, pinned } = job;
        let there = self.index.get(&record.digest);
        if there.is_some_and(|entry| index::suffices(&index::span(&entry), &job.span())) {
            return Ok(());
        }
        if let Some(pace) = &mut self.pace {
            pace.wait(record.len());
        }
        self.make_room(record.len(), *pinned)?;
        let contents = if *pinned { Contents::Pinned } else { Contents::Blocks };
        let (segment, offset) = self.appender(contents).append(record, key, bytes)?;
        let entry = Entry::new(self.number, segment, offset, record).in_class(*class);
        self.index.insert(record.digest, entry);
        self.shares.add(record.digest, &entry, &self.index);
        self.reinsertion.admitted(record.data_len.into(), record.len());
        self.queue.metrics.written(record.len());
        self.sync_now_and_then(record.len())
    }

    fn sync_now_and_then(&mut self, written: u64) -> io::Result<()> {
        self.unsynced += written;
        if self.unsynced >= SYNC_EVERY {
            self.unsynced = 0;
            self.blocks.sync()?;
            self.pinned.sync()?;
        }
        Ok(())
    }

    /// Evicts the oldest segments until a record of `length` bytes fits, with a segment to spare for copies.
    fn make_room(&mut self, length: u64, pinned: bool) -> io::Result<()> {
        let appender = if pinned { &self.pinned } else { &self.blocks };
        if !appender.is_full(length) && !self.index.is_full() {
            return Ok(());
        }
        let spare = 2 * self.log.segment_size();
        while self.log.size() + spare > self.capacity || self.index.is_full() {
            let Some(victim) = self.victim() else { return self.has_room() };
            self.reclaim(&victim)?;
        }
        Ok(())
    }

    /// Checks for room when no segment can be evicted: segments that cannot be read stay, and take their space (R35).
    fn has_room(&self) -> io::Result<()> {
        let unreadable = self.log.unreadable();
        if unreadable > 0 && self.log.size() + self.log.segment_size() > self.capacity {
            let why =
                format!("segments that cannot be read take {unreadable} bytes of its capacity");
            return Err(io::Error::new(io::ErrorKind::StorageFull, why));
        }
        Ok(())
    }

    /// Returns the oldest complete segment; one with pinned blocks only if there is no other.
    fn victim(&self) -> Option<Arc<Segment>> {
        let segments = self.log.segments();
        let oldest = |contents| {
            segments.iter().find(|s| {
                s.contents == contents && !self.blocks.is_open(s) && !self.pinned.is_open(s)
            })
        };
        oldest(Contents::Blocks).or_else(|| oldest(Contents::Pinned)).cloned()
    }

    fn reclaim(&mut self, victim: &Arc<Segment>) -> io::Result<()> {
        let live = self.index.entries_in(victim, self.number);
        let mut candidates: Vec<_> = live
            .iter()
            .map(|(digest, entry)| Candidate {
                touches: entry.hotness.touches(),
                bytes: entry.record(Kind::Block, *digest).len(),
                block: (*digest, *entry),
            })
            .collect();
        match victim.contents {
            Contents::Pinned => candidates.clear(),
            _ => self.reinsertion.survivors(&mut candidates, victim.size()),
        }
        for Candidate { block: (digest, entry), .. } in &candidates {
            self.copy(victim, digest, entry)?;
        }
        self.forget(victim, &live);
        self.queue.metrics.reclaimed();
        self.log.remove(victim)
    }

    /// Removes the blocks of a segment from the index. `live`: its entries before some were copied; entries of copies
    /// stay.
    fn forget(&mut self, victim: &Segment, live: &[(Digest, Entry)]) {
        self.shares.forget(victim.number);
        let gone =
            live.iter().filter(|(digest, entry)| self.index.remove_at(digest, entry.place()));
        let gone: Vec<_> = gone.map(|(digest, _)| digest.hash64()).collect();
        evicted_blocks(Eviction::Disk, gone.len(), victim.age());
        let mut admission = self.admission.lock();
        admission.fit(self.index.usage().1);
        for fingerprint in gone {
            admission.evicted(fingerprint);
        }
    }

    /// As [`Writer::copy`], unless that would exceed the capacity of the path.
    fn copy_within_capacity(
        &mut self,
        from: &Segment,
        digest: &Digest,
        entry: &Entry,
    ) -> io::Result<u64> {
        let length = entry.record(Kind::Block, *digest).len();
        let is_full = self.appender(from.contents).is_full(length);
        if is_full && self.log.size() + self.log.segment_size() > self.capacity {
            return Ok(0);
        }
        self.copy(from, digest, entry)
    }

    /// Copies a record out of a segment that is about to be removed; drops a damaged record, and one that a purge
    /// invalidated. Returns the bytes written.
    fn copy(&mut self, from: &Segment, digest: &Digest, entry: &Entry) -> io::Result<u64> {
        let Ok((record, key)) = from.record_at(entry.offset.into()) else { return Ok(0) };
        if (record.kind, record.digest) != (Kind::Block, *digest) || self.is_ended(&key) {
            return Ok(0);
        }
        let all = 0..record.data_len as usize;
        let Ok(Some((data, _))) = from.data(entry.offset, &record, &all, Wait::Yes) else {
            return Ok(0);
        };
        let (segment, offset) = self.appender(from.contents).append(&record, &key, &data)?;
        let copied = Entry::new(self.number, segment, offset, &record).in_class(entry.class);
        if self.index.replace(digest, entry.place(), copied) {
            self.shares.add(*digest, &copied, &self.index);
        }
        self.queue.metrics.written(record.len());
        self.sync_now_and_then(record.len())?;
        Ok(record.len())
    }

    fn appender(&mut self, contents: Contents) -> &mut Appender {
        match contents {
            Contents::Pinned => &mut self.pinned,
            _ => &mut self.blocks,
        }
    }

    fn finish(&mut self) {
        if let Err(error) = self.blocks.seal().and(self.pinned.seal()) {
            self.health.failed(&error, false);
        }
    }
}

/// Rate limiter of writes, in bytes per second.
struct Pace {
    rate: u64,
    /// Time at which the bytes written so far are used up at this rate.
    paid_until: Instant,
}

impl Pace {
    fn new(rate: u64) -> Self {
        Self { rate: rate.max(1), paid_until: Instant::now() }
    }

    fn wait(&mut self, bytes: u64) {
        let now = Instant::now();
        if let Some(early) = self.paid_until.checked_duration_since(now) {
            thread::sleep(early);
        }
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.rate);
        let takes = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        self.paid_until = self.paid_until.max(now) + takes;
    }
}
