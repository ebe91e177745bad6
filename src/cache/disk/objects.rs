//! Metadata on disk: what is known of the objects whose blocks lie there, and what is no longer true of it.
//!
//! A log of its own, of small records. An invalidation takes the object out of the index at once and appends a
//! tombstone, which is acknowledged when it would survive a power cut (R11). Whatever is found damaged when
//! the log is opened may have been a tombstone: then nothing that was written before it is believed.
//!
//! The order of records is the order in which they were queued, and whoever queues holds the lock of the object's
//! stripe (see [`crate::cache::generation`]): so the log agrees with memory on who came first.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::digest::{Digest, bucket_key, bucket_tag, object_key};
use super::format::{CHUNK, Contents, Kind, Record};
use super::index::{Entry, Index, Place};
use super::log::{Appender, Found, Log, OnDamage};
use super::object_record::ObjectRecord;
use super::segment::{ReadError, Wait};
use crate::metrics::disk::{self as metrics, Failure};
use crate::s3::{BucketName, ObjectId, Realm};

/// Records that may wait to be written. Tombstones are never refused.
const QUEUE: u64 = 4096;
/// A record is needed before a request can be answered: one that takes longer is not waited for.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long an invalidation waits for the device.
const DURABLE: Duration = Duration::from_secs(5);
/// The segment number of what is not written yet; real ones begin at 1.
const QUEUED: u32 = 0;

/// Says when an invalidation would survive a power cut; see [`Objects::durable`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[must_use = "an invalidation is acknowledged when it is durable"]
pub struct Ticket(u64);

struct Job {
    record: Record,
    key: Vec<u8>,
    data: Vec<u8>,
    ticket: u64,
}

enum Order {
    Append(Job),
    Finish(oneshot::Sender<()>),
}

pub(super) struct Objects {
    log: Arc<Log>,
    index: Arc<Index>,
    orders: Mutex<Sender<Order>>,
    tickets: AtomicU64,
    /// The last ticket of an invalidation.
    voided: AtomicU64,
    queued: Arc<AtomicU64>,
    durable: watch::Receiver<u64>,
    /// The log cannot be written: what it says is void.
    dead: Arc<AtomicBool>,
}

impl Objects {
    /// Reads the log and starts its writer.
    ///
    /// # Errors
    /// The folder cannot be read, or no thread started.
    pub(super) fn start(
        folder: Box<dyn super::files::Folder>,
        capacity: u64,
        segment_size: u64,
        memory: u64,
    ) -> io::Result<Self> {
        let index = Arc::new(Index::new(memory));
        let log =
            Log::open(folder, segment_size, OnDamage::VoidBefore, |found| recover(&index, &found))?;
        let log = Arc::new(log);
        let (orders, received) = mpsc::channel();
        let (progress, durable) = watch::channel(0);
        let (queued, dead) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let writer = Writer {
            appender: Appender::new(&log, Contents::Objects),
            log: log.clone(),
            index: index.clone(),
            capacity,
            queued: queued.clone(),
            progress,
            dead: dead.clone(),
        };
        thread::Builder::new().name("disk-objects".into()).spawn(move || writer.run(&received))?;
        let (orders, tickets) = (Mutex::new(orders), AtomicU64::new(1));
        let voided = AtomicU64::new(0);
        Ok(Self { log, index, orders, tickets, voided, queued, durable, dead })
    }

    /// Whether something is known of the object.
    pub(super) fn knows(&self, id: &ObjectId) -> bool {
        self.index.get(&Digest::of(&object_key(id))).is_some()
    }

    /// Keeps metadata; dropped when too much waits already.
    pub(super) fn remember(&self, id: &ObjectId, object: &ObjectRecord) {
        let data = object.encode();
        let dead = self.dead.load(Ordering::Acquire);
        if dead || data.len() > CHUNK || self.queued.load(Ordering::Relaxed) > QUEUE {
            return;
        }
        let tag = bucket_tag(id.realm(), id.bucket());
        // Nobody waits for it.
        let _ = self.append(Kind::Object, object_key(id), data, tag);
    }

    /// Voids what is kept of the object; `None`: nothing is, so that nothing can come back.
    pub(super) fn forget(&self, id: &ObjectId) -> Option<Ticket> {
        let key = object_key(id);
        match self.index.remove(&Digest::of(&key)) {
            Some(_) => Some(self.bury(id, key)),
            None => self.last_voided(),
        }
    }

    fn bury(&self, id: &ObjectId, key: Vec<u8>) -> Ticket {
        self.append(Kind::Tombstone, key, Vec::new(), bucket_tag(id.realm(), id.bucket()))
    }

    /// Who finds nothing to void may owe that to another, whose tombstone is not durable yet.
    fn last_voided(&self) -> Option<Ticket> {
        let last = self.voided.load(Ordering::Acquire);
        (last > *self.durable.borrow()).then_some(Ticket(last))
    }

    /// Voids what is kept of a bucket's objects.
    pub(super) fn forget_bucket(&self, realm: &Realm, bucket: &BucketName) -> Option<Ticket> {
        let tag = bucket_tag(realm, bucket);
        if self.index.remove_where(|_, entry| entry.start == tag) == 0 {
            return self.last_voided();
        }
        Some(self.append(Kind::BucketEpoch, bucket_key(realm, bucket), Vec::new(), tag))
    }

    fn append(&self, kind: Kind, key: Vec<u8>, data: Vec<u8>, tag: u32) -> Ticket {
        let digest = Digest::of(&key);
        let key_len = u32::try_from(key.len()).expect("a key is short");
        let data_len = u32::try_from(data.len()).expect("at most a chunk");
        let record = Record { kind, digest, key_len, data_len, start: tag, tag: 0 };
        // The lock makes the order of tickets that of the queue.
        let orders = self.orders.lock();
        let ticket = self.tickets.fetch_add(1, Ordering::Relaxed);
        if kind == Kind::Object {
            self.index.insert(digest, Entry::new(0, QUEUED, low_bits(ticket), &record));
        }
        if matches!(kind, Kind::Tombstone | Kind::BucketEpoch) {
            self.voided.store(ticket, Ordering::Release);
        }
        self.queued.fetch_add(1, Ordering::Relaxed);
        // When the writer is gone nothing is kept any more, and nothing is waited for.
        let _ = orders.send(Order::Append(Job { record, key, data, ticket }));
        Ticket(ticket)
    }

    /// Waits until an invalidation would survive a power cut. `false`: it may not.
    pub(super) async fn durable(&self, Ticket(ticket): Ticket) -> bool {
        let mut durable = self.durable.clone();
        let reached = timeout(DURABLE, durable.wait_for(|done| *done >= ticket)).await;
        matches!(reached, Ok(Ok(_)))
    }

    /// What was known of the object when it was written.
    pub(super) async fn recall(&self, id: &ObjectId) -> Option<ObjectRecord> {
        let key = object_key(id);
        let digest = Digest::of(&key);
        let entry = self.index.get(&digest).filter(|e| e.segment != QUEUED)?;
        let _ = self.index.touch(&digest, 0, 0);
        let segment = self.log.segment(entry.segment)?;
        let record = entry.record(Kind::Object, digest);
        let all = 0..record.data_len as usize;
        let read = match segment.data(entry.offset, &record, &all, Wait::No).transpose() {
            Some(read) => read,
            None => {
                let read =
                    spawn_blocking(move || segment.data(entry.offset, &record, &all, Wait::Yes));
                let read = timeout(PATIENCE, read).await.ok()?.ok()?;
                read.map(|data| data.expect("a read that may wait brings bytes"))
            }
        };
        let decoded = read.and_then(|(data, _)| Ok(ObjectRecord::decode(&data)?));
        match decoded {
            Ok(object) => Some(object),
            Err(error) => {
                metrics::failed(failure(&error));
                if self.index.remove_at(&digest, entry.place()) {
                    // The device may read it well after a restart, and no invalidation looks for it till then.
                    let _ = self.bury(id, key);
                }
                None
            }
        }
    }

    /// Writes what is queued and makes it last.
    pub(super) async fn finish(&self) {
        let (done, finished) = oneshot::channel();
        let sent = self.orders.lock().send(Order::Finish(done)).is_ok();
        if sent {
            let _ = finished.await;
        }
    }

    pub(super) fn usage(&self) -> (u64, u64) {
        (self.log.size(), self.index.usage().1)
    }
}

fn failure(error: &ReadError) -> Failure {
    match error {
        ReadError::Io(_) => Failure::Read,
        ReadError::Damaged(_) => Failure::Damaged,
    }
}

fn low_bits(ticket: u64) -> u32 {
    u32::try_from(ticket & u64::from(u32::MAX)).expect("32 bits")
}

/// Takes in what the log says, in its order.
fn recover(index: &Index, found: &Found<'_>) {
    match found {
        Found::Record { segment, offset, record } => match record.kind {
            Kind::Object => {
                index.insert(record.digest, Entry::new(0, segment.number, *offset, record));
            }
            Kind::Tombstone => drop(index.remove(&record.digest)),
            Kind::BucketEpoch => drop(index.remove_where(|_, entry| entry.start == record.start)),
            Kind::Block => {}
        },
        Found::Damage(name, why) => {
            let voided = index.remove_where(|_, _| true);
            metrics::failed(Failure::Damaged);
            log::warn!("objects/{name}: {why}; {voided} objects will be asked for again");
        }
    }
}

struct Writer {
    log: Arc<Log>,
    index: Arc<Index>,
    appender: Appender,
    capacity: u64,
    queued: Arc<AtomicU64>,
    progress: watch::Sender<u64>,
    dead: Arc<AtomicBool>,
}

impl Writer {
    fn run(mut self, orders: &Receiver<Order>) {
        while let Ok(first) = orders.recv() {
            let mut batch = vec![first];
            batch.extend(orders.try_iter().take(1023));
            let (mut last, mut finished) = (0, Vec::new());
            let mut done = Ok(());
            for order in batch {
                match order {
                    Order::Append(job) => {
                        self.queued.fetch_sub(1, Ordering::Relaxed);
                        last = job.ticket;
                        done = done.and_then(|()| self.append(&job));
                    }
                    Order::Finish(sender) => {
                        done = done.and_then(|()| self.appender.seal());
                        finished.push(sender);
                    }
                }
            }
            // One wait for the device for all that came meanwhile.
            if let Err(error) = done.and_then(|()| self.appender.sync()) {
                self.give_up(&error);
            }
            if last > 0 {
                self.progress.send_replace(last);
            }
            for sender in finished {
                // Who asked may have stopped waiting.
                let _ = sender.send(());
            }
        }
    }

    fn append(&mut self, job: &Job) -> io::Result<()> {
        if self.dead.load(Ordering::Acquire) {
            return Ok(());
        }
        let record = &job.record;
        let queued = Place { volume: 0, segment: QUEUED, offset: low_bits(job.ticket) };
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
                if all || entry.touches > 0 && !self.index.is_full() {
                    self.copy(victim, digest, &entry)?;
                }
            }
            self.index.remove_where(|_, entry| entry.segment == victim.number);
            self.log.remove(victim)?;
        }
        Ok(())
    }

    fn copy(
        &mut self,
        from: &super::segment::Segment,
        digest: Digest,
        entry: &Entry,
    ) -> io::Result<()> {
        let record = entry.record(Kind::Object, digest);
        let all = 0..record.data_len as usize;
        let Ok(Some((head, key))) = from.record_at(entry.offset.into()) else { return Ok(()) };
        let Ok(Some((data, _))) = from.data(entry.offset, &record, &all, Wait::Yes) else {
            return Ok(());
        };
        // An invalidation meanwhile queued its tombstone: it will lie behind this copy.
        if head != record || !self.index.get(&digest).is_some_and(|e| e.is_at(entry.place())) {
            return Ok(());
        }
        let (segment, offset) = self.appender.append(&record, &key, &data)?;
        self.index.replace(&digest, entry.place(), Entry::new(0, segment, offset, &record));
        Ok(())
    }

    /// A tombstone that cannot be written must not be missing later: without the log nothing can come back.
    fn give_up(&mut self, error: &io::Error) {
        if self.dead.swap(true, Ordering::AcqRel) {
            return;
        }
        metrics::failed(Failure::Write);
        self.index.remove_where(|_, _| true);
        match self.log.clear() {
            Ok(()) => log::error!(
                "metadata on disk cannot be written ({error}): it was removed, and none is kept until a restart"
            ),
            Err(still) => log::error!(
                "metadata on disk cannot be written ({error}) nor removed ({still}): empty the disk's folder \
                 `objects` before the next start, or immutable objects that changed meanwhile may come back"
            ),
        }
    }
}

#[cfg(test)]
mod tests;
