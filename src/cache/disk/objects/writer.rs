//! Writer thread of metadata: appends records in order, and makes them durable before it reports them.

mod erase;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::Receiver;

use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};

use crate::cache::disk::device::health::Health;
use crate::cache::disk::format::digest::Digest;
use crate::cache::disk::format::record::{Kind, Record};
use crate::cache::disk::log::erasure::next_order;
use crate::cache::disk::log::index::{Entry, Index, Place};
use crate::cache::disk::log::runtime_note::RuntimeNote;
use crate::cache::disk::log::segment::{Segment, Wait};
use crate::cache::disk::log::segment_log::{Appender, Log};
use crate::cache::disk::log::startup_epoch::clean_name;
use crate::metrics::disk::{DiskPath, Failure};

pub(in crate::cache::disk) use erase::Erase;
use erase::Erasing;

/// Segment number of records that are not written yet; real ones begin at 1.
pub(in crate::cache::disk) const QUEUED: u32 = 0;

pub(in crate::cache::disk) struct Job {
    pub record: Record,
    pub key: Vec<u8>,
    pub data: Vec<u8>,
    pub ticket: u64,
}

pub(in crate::cache::disk) enum Order {
    Append(Job),
    /// Try the device again if it has failed.
    Retry,
    /// Require confirmation of all records queued before this, as invalidations may have been missed.
    Distrust,
    Erase(Erase),
    Finish(oneshot::Sender<()>),
}

pub(in crate::cache::disk) fn low_bits(ticket: u64) -> u32 {
    u32::try_from(ticket & u64::from(u32::MAX)).expect("32 bits")
}

/// Progress of the writer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::cache::disk) struct Progress {
    /// Last ticket up to which all records are durable.
    pub durable: u64,
    /// Number of batches that were tried, with or without success.
    pub batches: u64,
    /// Whether the last one failed.
    pub is_failing: bool,
}

/// State that the writer shares with those who queue records.
#[derive(Debug, Default)]
pub(in crate::cache::disk) struct Shared {
    /// Number of records that wait to be written.
    pub queued: AtomicU64,
    /// Records in segments below this number are confirmed before they are used: their tombstones may be missing.
    pub unconfirmed_below: AtomicU32,
    /// Number of pending [`Order::Distrust`]: until they are executed, nothing counts as confirmed.
    pub distrusting: AtomicU32,
    /// The number of this start; 0: it has not begun.
    pub start: AtomicU64,
    pub state: Mutex<State>,
}

/// State of the device: whether it accepts writes, and in time.
#[derive(Debug)]
pub(in crate::cache::disk) struct State {
    /// Number of batches when an invalidation last waited in vain; `u64::MAX`: none has since all was durable.
    pub stalled_at: u64,
    /// Whether the last batch failed.
    pub is_failing: bool,
    pub note: RuntimeNote,
}

impl Default for State {
    fn default() -> Self {
        Self { stalled_at: u64::MAX, is_failing: false, note: RuntimeNote::default() }
    }
}

impl Shared {
    /// Writes the note that all tombstones are durable, unless some may be missing.
    pub(in crate::cache::disk) fn note(&self, state: &State) {
        let start = self.start.load(Ordering::Acquire);
        if start > 0 && !state.is_failing && state.stalled_at == u64::MAX {
            state.note.write(start, self.unconfirmed_below.load(Ordering::Acquire));
        }
    }
}

pub(in crate::cache::disk) struct Writer {
    log: Arc<Log>,
    index: Arc<Index>,
    appender: Appender,
    capacity: u64,
    shared: Arc<Shared>,
    progress: watch::Sender<Progress>,
    metrics: Arc<DiskPath>,
    health: Health,
    erasing: Option<Erasing>,
    /// The last ticket that was taken from the queue.
    last: u64,
    /// Name of the clean-shutdown mark, while it exists and nothing was written after it.
    clean: Option<String>,
    /// Segments below this number are void, and could not be removed; 0: none.
    void_below: u64,
}

impl Writer {
    pub(in crate::cache::disk) fn new(
        log: &Arc<Log>,
        index: &Arc<Index>,
        appender: Appender,
        capacity: u64,
        (shared, progress, metrics): (Arc<Shared>, watch::Sender<Progress>, Arc<DiskPath>),
        health: Health,
    ) -> Self {
        Self {
            log: log.clone(),
            index: index.clone(),
            appender,
            capacity,
            shared,
            progress,
            metrics,
            health,
            erasing: None,
            last: 0,
            clean: None,
            void_below: 0,
        }
    }

    /// Executes orders until the last sender is gone.
    pub(in crate::cache::disk) fn run(mut self, orders: &Receiver<Order>) {
        while let Some(first) = next_order(orders, || self.erase_next()) {
            let mut batch = vec![first];
            batch.extend(orders.try_iter().take(1023));
            let (mut jobs, mut finished, mut erase) = (Vec::new(), Vec::new(), None);
            for order in batch {
                match order {
                    Order::Append(job) => jobs.push(job),
                    Order::Retry => {}
                    Order::Distrust => {
                        // Records queued before the order are written first.
                        self.write(&std::mem::take(&mut jobs));
                        self.distrust();
                        self.shared.distrusting.fetch_sub(1, Ordering::AcqRel);
                    }
                    Order::Erase(order) => erase = Some(order),
                    Order::Finish(sender) => finished.push(sender),
                }
            }
            self.write(&jobs);
            if !finished.is_empty() {
                self.mark_clean();
            }
            for sender in finished {
                // The requester may have stopped waiting.
                let _ = sender.send(());
            }
            if let Some(order) = erase {
                self.begin_erasing(order);
            }
            self.erase_next();
        }
    }

    /// Writes a batch, makes it durable with one sync, and reports the progress.
    fn write(&mut self, jobs: &[Job]) {
        let may_try = self.health.may_try();
        let written = may_try.then(|| self.append_all(jobs));
        if let Some(job) = jobs.last() {
            self.last = job.ticket;
        }
        self.shared.queued.fetch_sub(jobs.len() as u64, Ordering::Relaxed);
        let is_failing = !matches!(written, Some(Ok(())));
        if is_failing {
            for job in jobs {
                self.index.remove_at(&job.record.digest, queued(job));
            }
        }
        match written {
            Some(Ok(())) => self.succeed(),
            Some(Err(error)) => self.fail(&error),
            None => {}
        }
        let last = self.last;
        self.progress.send_modify(|progress| {
            progress.batches += 1;
            progress.is_failing = is_failing;
            if !is_failing {
                progress.durable = last;
            }
        });
    }

    fn append_all(&mut self, jobs: &[Job]) -> io::Result<()> {
        if !jobs.is_empty() {
            self.unmark()?;
        }
        if self.progress.borrow().is_failing {
            // This shows whether the device works even if nothing is to be written.
            self.appender.open_if_none()?;
        }
        jobs.iter().try_for_each(|job| self.append(job))?;
        self.appender.sync()
    }

    fn succeed(&mut self) {
        self.health.succeeded();
        let mut state = self.shared.state.lock();
        if std::mem::take(&mut state.is_failing) {
            self.shared.note(&state);
        }
    }

    /// Handles a failed write. Tombstones may be missing from now on, so that the records in the log are to be
    /// confirmed, and its open segment is not continued. They are not discarded, as they are not damaged.
    fn fail(&mut self, error: &io::Error) {
        self.metrics.failed(Failure::Write);
        {
            let mut state = self.shared.state.lock();
            state.is_failing = true;
            state.note.remove();
        }
        self.distrust();
        if error.kind() == io::ErrorKind::StorageFull {
            self.shrink();
        }
        self.health.failed(error, true);
    }

    fn distrust(&mut self) {
        self.appender.leave();
        self.shared.unconfirmed_below.store(self.log.next(), Ordering::Release);
        self.shared.note(&self.shared.state.lock());
    }

    /// Removes the oldest segment because the device has less space than the configured capacity.
    fn shrink(&mut self) {
        if let Some(oldest) = self.log.segments().first()
            && let Err(error) = self.let_go(oldest, &self.index.entries_in(oldest, 0))
        {
            log::debug!("removing a segment of metadata: {error}");
        }
    }

    /// Leaves the clean-shutdown mark, which tells the next start that all tombstones are durable.
    fn mark_clean(&mut self) {
        let start = self.shared.start.load(Ordering::Acquire);
        if start == 0 || self.progress.borrow().is_failing {
            return;
        }
        let name = clean_name(start, self.shared.unconfirmed_below.load(Ordering::Acquire));
        if self.clean.as_ref() == Some(&name) {
            return;
        }
        match self.unmark().and_then(|()| self.log.put_mark(&name)) {
            Ok(()) => {
                self.clean = Some(name);
                self.shared.state.lock().note.remove();
            }
            Err(error) => log::warn!(
                "cannot note on disk that hotset ended well: {error}; the next start confirms each cached object \
                 with the origin once"
            ),
        }
    }

    /// Removes the clean-shutdown mark before more is written.
    fn unmark(&mut self) -> io::Result<()> {
        if let Some(name) = &self.clean {
            self.log.take_mark(name)?;
            self.clean = None;
            self.shared.note(&self.shared.state.lock());
        }
        Ok(())
    }

    fn append(&mut self, job: &Job) -> io::Result<()> {
        let record = &job.record;
        let queued = queued(job);
        if record.kind == Kind::Object
            && !self.index.get(&record.digest).is_some_and(|entry| entry.is_at(queued))
        {
            // Replaced or invalidated since.
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

    /// Removes the oldest segments until a record of `length` bytes fits. Live records are copied if they are at most
    /// half of a segment; otherwise only those that were read since.
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
            let live = self.index.entries_in(victim, 0);
            let live_bytes: u64 = live.iter().map(|(d, e)| e.record(Kind::Object, *d).len()).sum();
            let all = live_bytes * 2 <= victim.size();
            for (digest, entry) in &live {
                if all || entry.hotness.touches() > 0 && !self.index.is_full() {
                    self.copy(victim, *digest, entry)?;
                }
            }
            self.let_go(victim, &live)?;
        }
        Ok(())
    }

    /// Removes a segment and its entries. `live`: its entries before some were copied; entries of copies stay.
    fn let_go(&mut self, segment: &Segment, live: &[(Digest, Entry)]) -> io::Result<()> {
        // First: an object that is not in the index gets no tombstone, so that its record must be gone for certain.
        self.log.erase(segment)?;
        for (digest, entry) in live {
            self.index.remove_at(digest, entry.place());
        }
        Ok(())
    }

    /// Copies a record out of a segment that is about to be removed. Returns the bytes written.
    fn copy(&mut self, from: &Segment, digest: Digest, entry: &Entry) -> io::Result<u64> {
        let record = entry.record(Kind::Object, digest);
        let all = 0..record.data_len as usize;
        let Ok((head, key)) = from.record_at(entry.offset.into()) else { return Ok(0) };
        if self.erasing.as_ref().is_some_and(|erasing| erasing.covers(&key)) {
            return Ok(0);
        }
        // In a newer segment it would count as confirmed.
        if from.number < self.shared.unconfirmed_below.load(Ordering::Acquire) {
            return Ok(0);
        }
        let Ok(Some((data, _))) = from.data(entry.offset, &record, &all, Wait::Yes) else {
            return Ok(0);
        };
        // If it was invalidated meanwhile, its tombstone is queued and will be written behind this copy.
        if head != record || !self.index.get(&digest).is_some_and(|e| e.is_at(entry.place())) {
            return Ok(0);
        }
        let (segment, offset) = self.appender.append(&record, &key, &data)?;
        self.index.replace(&digest, entry.place(), Entry::new(0, segment, offset, &record));
        Ok(record.len())
    }

    /// Discards all metadata, for an erasure that cannot remove a part of it.
    fn abandon(&mut self, error: &io::Error) {
        self.metrics.failed(Failure::Write);
        self.index.remove_where(|_, _| true);
        self.distrust();
        self.void_below = self.log.next().into();
        if let Err(error) = self.remove_void() {
            log::debug!("removing metadata that is to be erased: {error}");
        }
        self.health.failed(error, true);
    }

    fn remove_void(&mut self) -> io::Result<()> {
        if self.void_below > 0 {
            self.log.remove_below(self.void_below)?;
            self.void_below = 0;
        }
        Ok(())
    }
}

/// Returns the place that the index has for a job's record until it is written.
fn queued(job: &Job) -> Place {
    Place { volume: 0, segment: QUEUED, offset: low_bits(job.ticket) }
}
