//! The thread that writes one path: appends blocks, makes room for them, and keeps to the configured rate.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::digest::Digest;
use super::format::{Contents, Kind};
use super::health::Health;
use super::index::{Entry, Index};
use super::log::{Appender, Log};
use super::policy::{Admission, Candidate, Reinsertion};
use super::segment::{Segment, Wait};
use super::shares::Shares;
use super::volume::{Job, Order, Queue, VolumeLimits};
use crate::metrics::disk::{self as metrics, Failure};

/// After so many bytes the device is made to take them, so that no reader meets a burst of hundreds of MiB.
const SYNC_EVERY: u64 = 16 * 1024 * 1024;

pub(super) struct Writer {
    number: u8,
    log: Arc<Log>,
    index: Arc<Index>,
    queue: Arc<Queue>,
    health: Health,
    capacity: u64,
    blocks: Appender,
    pinned: Appender,
    shares: Shares,
    admission: Arc<Mutex<Admission>>,
    reinsertion: Reinsertion,
    unsynced: u64,
    pace: Option<Pace>,
}

impl Writer {
    pub(super) fn new(
        number: u8,
        log: &Arc<Log>,
        index: &Arc<Index>,
        queue: &Arc<Queue>,
        health: Health,
        admission: &Arc<Mutex<Admission>>,
        limits: &VolumeLimits,
    ) -> Self {
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
            unsynced: 0,
            pace: limits.write_rate.map(Pace::new),
        }
    }

    /// Until the last sender of orders is gone.
    pub(super) fn run(mut self, orders: &Receiver<Order>) {
        // The capacity may be smaller than it was.
        if let Err(error) = self.make_room(0, false) {
            self.health.failed(&error, false);
        }
        while let Ok(order) = orders.recv() {
            match order {
                Order::Write(digest) => {
                    self.obey(&digest);
                    self.queue.done(&digest);
                }
                Order::Finish(done) => {
                    self.finish();
                    let _ = done.send(());
                }
            }
        }
    }

    fn obey(&mut self, digest: &Digest) {
        let Some(job) = self.queue.peek(digest) else { return };
        if !self.health.may_try() {
            metrics::failed(Failure::PassedBy);
            return;
        }
        match self.write(&job) {
            Ok(()) => self.health.succeeded(),
            Err(error) => {
                metrics::failed(Failure::Write);
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

    /// The device has less space than it was said to have: makes do with what there is.
    fn shrink(&mut self) {
        if let Some(victim) = self.victim() {
            self.forget(&victim);
            if let Err(error) = self.log.remove(&victim) {
                log::debug!("removing a segment: {error}");
            }
        }
    }

    fn write(&mut self, job: &Job) -> io::Result<()> {
        let Job { record, key, bytes, class, pinned } = job;
        let there = self.index.get(&record.digest);
        if there.is_some_and(|entry| entry.start() <= record.start) {
            return Ok(());
        }
        if let Some(pace) = &mut self.pace {
            pace.wait(record.len());
        }
        self.make_room(record.len(), *pinned)?;
        let appender = if *pinned { &mut self.pinned } else { &mut self.blocks };
        let (segment, offset) = appender.append(record, key, bytes)?;
        let entry = Entry::new(self.number, segment, offset, record).in_class(*class);
        self.index.insert(record.digest, entry);
        self.shares.add(record.digest, &entry, &self.index);
        self.reinsertion.admitted(record.data_len.into(), record.len());
        metrics::written(record.len());
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

    /// Lets the oldest segments go until a record of `length` fits, with a segment to spare for what is copied.
    fn make_room(&mut self, length: u64, pinned: bool) -> io::Result<()> {
        let appender = if pinned { &self.pinned } else { &self.blocks };
        if !appender.is_full(length) && !self.index.is_full() {
            return Ok(());
        }
        let spare = 2 * self.log.segment_size();
        while self.log.size() + spare > self.capacity || self.index.is_full() {
            let Some(victim) = self.victim() else { return Ok(()) };
            self.reclaim(&victim)?;
        }
        Ok(())
    }

    /// The oldest segment that is complete; of those with pinned blocks only when there is no other.
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
        let at = |entry: &Entry| (entry.volume, entry.segment) == (self.number, victim.number);
        let mut candidates: Vec<_> = self
            .index
            .find(at)
            .into_iter()
            .map(|(digest, entry)| Candidate {
                touches: entry.hotness.touches(),
                bytes: entry.record(Kind::Block, digest).len(),
                block: (digest, entry),
            })
            .collect();
        match victim.contents {
            Contents::Pinned => candidates.clear(),
            _ => self.reinsertion.survivors(&mut candidates, victim.size()),
        }
        for Candidate { block: (digest, entry), .. } in &candidates {
            self.copy(victim, digest, entry)?;
        }
        self.forget(victim);
        metrics::reclaimed();
        self.log.remove(victim)
    }

    fn forget(&mut self, victim: &Segment) {
        self.shares.forget(victim.number);
        let place = (self.number, victim.number);
        let mut gone = Vec::new();
        self.index.remove_where(|digest, entry| {
            let goes = (entry.volume, entry.segment) == place;
            gone.extend(goes.then(|| digest.hash64()));
            goes
        });
        let mut admission = self.admission.lock();
        admission.fit(self.index.usage().1);
        for fingerprint in gone {
            admission.evicted(fingerprint);
        }
    }

    /// Writes a record of a segment that goes once more; a damaged one goes with it.
    fn copy(&mut self, from: &Segment, digest: &Digest, entry: &Entry) -> io::Result<()> {
        let Ok((record, key)) = from.record_at(entry.offset.into()) else { return Ok(()) };
        if (record.kind, record.digest) != (Kind::Block, *digest) {
            return Ok(());
        }
        let all = 0..record.data_len as usize;
        let Ok(Some((data, _))) = from.data(entry.offset, &record, &all, Wait::Yes) else {
            return Ok(());
        };
        let (segment, offset) = self.blocks.append(&record, &key, &data)?;
        let copied = Entry::new(self.number, segment, offset, &record).in_class(entry.class);
        if self.index.replace(digest, entry.place(), copied) {
            self.shares.add(*digest, &copied, &self.index);
        }
        metrics::written(record.len());
        self.sync_now_and_then(record.len())
    }

    fn finish(&mut self) {
        if let Err(error) = self.blocks.seal().and(self.pinned.seal()) {
            self.health.failed(&error, false);
        }
    }
}

/// Keeps to a number of bytes a second.
struct Pace {
    rate: u64,
    /// Until when what was written so far takes.
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
