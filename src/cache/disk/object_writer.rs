//! The thread that writes metadata: appends records in their order, and makes them last before it says so.

mod erase;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Receiver;

use tokio::sync::{oneshot, watch};

use super::digest::Digest;
use super::erase::next_order;
use super::format::{Kind, Record};
use super::health::Health;
use super::index::{Entry, Index, Place};
use super::log::{ALL, Appender, Log};
use super::segment::{Segment, Wait};
use crate::metrics::disk::{self as metrics, Failure};

pub(super) use erase::Erase;
use erase::Erasing;

/// The segment number of what is not written yet; real ones begin at 1.
pub(super) const QUEUED: u32 = 0;

pub(super) struct Job {
    pub record: Record,
    pub key: Vec<u8>,
    pub data: Vec<u8>,
    pub ticket: u64,
}

pub(super) enum Order {
    Append(Job),
    Erase(Erase),
    Finish(oneshot::Sender<()>),
}

pub(super) fn low_bits(ticket: u64) -> u32 {
    u32::try_from(ticket & u64::from(u32::MAX)).expect("32 bits")
}

pub(super) struct Writer {
    log: Arc<Log>,
    index: Arc<Index>,
    appender: Appender,
    capacity: u64,
    queued: Arc<AtomicU64>,
    progress: watch::Sender<u64>,
    dead: Arc<AtomicBool>,
    health: Health,
    erasing: Option<Erasing>,
}

impl Writer {
    /// `shared`: how many records wait, up to which ticket they are durable, and whether the log is void.
    pub(super) fn new(
        log: &Arc<Log>,
        index: &Arc<Index>,
        appender: Appender,
        capacity: u64,
        shared: (Arc<AtomicU64>, watch::Sender<u64>, Arc<AtomicBool>),
        health: Health,
    ) -> Self {
        let (queued, progress, dead) = shared;
        let (log, index) = (log.clone(), index.clone());
        let erasing = None;
        Self { log, index, appender, capacity, queued, progress, dead, health, erasing }
    }

    /// Until the last sender of orders is gone.
    pub(super) fn run(mut self, orders: &Receiver<Order>) {
        while let Some(first) = next_order(orders, || self.erase_next()) {
            let mut batch = vec![first];
            batch.extend(orders.try_iter().take(1023));
            let (mut last, mut finished, mut erase) = (0, Vec::new(), None);
            let mut done = Ok(());
            let writes = self.may_write();
            for order in batch {
                match order {
                    Order::Append(job) => {
                        self.queued.fetch_sub(1, Ordering::Relaxed);
                        last = job.ticket;
                        match writes {
                            true => done = done.and_then(|()| self.append(&job)),
                            // The log is empty, or all of it is void.
                            false => drop(self.index.remove_at(&job.record.digest, queued(&job))),
                        }
                    }
                    Order::Erase(order) => erase = Some(order),
                    Order::Finish(sender) => finished.push(sender),
                }
            }
            // One wait for the device for all that came meanwhile.
            match done.and_then(|()| self.appender.sync()) {
                Ok(()) if writes => self.health.succeeded(),
                Ok(()) => {}
                Err(error) => self.give_up(&error),
            }
            if last > 0 {
                self.progress.send_replace(last);
            }
            for sender in finished {
                // Who asked may have stopped waiting.
                let _ = sender.send(());
            }
            if let Some(order) = erase {
                self.begin_erasing(order);
            }
            self.erase_next();
        }
    }

    /// Whether the device is worth trying; first what is void goes.
    fn may_write(&mut self) -> bool {
        if !self.health.may_try() {
            return false;
        }
        if self.dead.load(Ordering::Acquire) {
            if let Err(error) = self.log.remove_below(ALL) {
                self.health.failed(&error, true);
                return false;
            }
            self.dead.store(false, Ordering::Release);
        }
        true
    }

    fn append(&mut self, job: &Job) -> io::Result<()> {
        let record = &job.record;
        let queued = queued(job);
        if record.kind == Kind::Object
            && !self.index.get(&record.digest).is_some_and(|entry| entry.is_at(queued))
        {
            // Replaced or forgotten since.
            return Ok(());
        }
        self.make_room(record.len())?;
        let (segment, offset) = self.appender.append(record, &job.key, &job.data)?;
        if record.kind == Kind::Object {
            let entry = Entry::new(0, segment, offset, record);
            self.index.replace(&record.digest, queued, entry);
        }
        Ok(())
    }

    /// Lets the oldest segment go. What is still true in it is written once more, as long as that is at most half
    /// of the log; of more than that only what was read since.
    fn make_room(&mut self, length: u64) -> io::Result<()> {
        if !self.appender.is_full(length) {
            return Ok(());
        }
        let spare = 2 * self.log.segment_size();
        while self.log.size() + spare > self.capacity || self.index.is_full() {
            let segments = self.log.segments();
            let Some(victim) = segments.first().filter(|s| !self.appender.is_open(s)) else {
                break;
            };
            let live = self.index.find(|entry| entry.segment == victim.number);
            let live_bytes: u64 = live.iter().map(|(d, e)| e.record(Kind::Object, *d).len()).sum();
            let all = live_bytes * 2 <= victim.size();
            for (digest, entry) in live {
                if all || entry.hotness.touches() > 0 && !self.index.is_full() {
                    self.copy(victim, digest, &entry)?;
                }
            }
            self.let_go(victim)?;
        }
        Ok(())
    }

    fn let_go(&mut self, segment: &Segment) -> io::Result<()> {
        // What is forgotten before the file is gone for certain gets no tombstone.
        self.log.erase(segment)?;
        self.index.remove_where(|_, entry| entry.segment == segment.number);
        Ok(())
    }

    /// Writes a record of a segment that goes once more. Returns how many bytes were written.
    fn copy(&mut self, from: &Segment, digest: Digest, entry: &Entry) -> io::Result<u64> {
        let record = entry.record(Kind::Object, digest);
        let all = 0..record.data_len as usize;
        let Ok((head, key)) = from.record_at(entry.offset.into()) else { return Ok(0) };
        if self.erasing.as_ref().is_some_and(|erasing| erasing.covers(&key)) {
            return Ok(0);
        }
        let Ok(Some((data, _))) = from.data(entry.offset, &record, &all, Wait::Yes) else {
            return Ok(0);
        };
        // An invalidation meanwhile queued its tombstone: it will lie behind this copy.
        if head != record || !self.index.get(&digest).is_some_and(|e| e.is_at(entry.place())) {
            return Ok(0);
        }
        let (segment, offset) = self.appender.append(&record, &key, &data)?;
        self.index.replace(&digest, entry.place(), Entry::new(0, segment, offset, &record));
        Ok(record.len())
    }

    /// A tombstone that cannot be written must not be missing later: without the log nothing can come back.
    pub(super) fn give_up(&mut self, error: &io::Error) {
        metrics::failed(Failure::Write);
        self.dead.store(true, Ordering::Release);
        self.index.remove_where(|_, _| true);
        self.appender.leave();
        match self.log.remove_below(ALL) {
            Ok(()) => self.dead.store(false, Ordering::Release),
            Err(still) => log::error!(
                "metadata on disk cannot be written nor removed ({still}): unless that is done later, empty the \
                 disk's folder `objects` before the next start, or immutable objects that changed meanwhile may \
                 come back"
            ),
        }
        self.health.failed(error, true);
    }
}

/// Where the index says that a job's record is, until it is written.
fn queued(job: &Job) -> Place {
    Place { volume: 0, segment: QUEUED, offset: low_bits(job.ticket) }
}
