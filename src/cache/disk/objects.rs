//! Metadata on disk: what is known of the objects whose blocks lie there, and what is no longer true of it.
//!
//! A log of its own, of small records. An invalidation takes the object out of the index at once and appends a
//! tombstone, which is acknowledged when it would survive a power cut (R11). Whatever is found damaged when
//! the log is opened may have been a tombstone: then nothing that was written before it is believed.
//!
//! The order of records is the order in which they were queued, and whoever queues holds the lock of the object's
//! stripe (see [`crate::cache::generation`]): so the log agrees with memory on who came first.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::digest::{Digest, bucket_key, bucket_tag, object_key};
use super::erase::{self, ErasedFiles, NotErased};
use super::files::Folder;
use super::format::{CHUNK, Contents, Kind, Record};
use super::health::Health;
use super::index::{Entry, Index};
use super::log::{Appender, Found, Log};
use super::object_record::ObjectRecord;
use super::object_writer::{Erase, Job, Order, QUEUED, Writer, low_bits};
use super::segment::{ReadError, Segment, Wait};
use crate::cache::purge::Covered;
use crate::metrics::disk::{self as metrics, Failure};
use crate::s3::{BucketName, ObjectId, Realm};

/// Records that may wait to be written. Tombstones are never refused.
const QUEUE: u64 = 4096;
/// A record is needed before a request can be answered: one that takes longer is not waited for.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long an invalidation waits for the device.
const DURABLE: Duration = Duration::from_secs(5);
/// Reads that may wait for the device at the same time.
const READERS: usize = 64;

/// Says when an invalidation would survive a power cut; see [`crate::cache::Cache::durable`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[must_use = "an invalidation is acknowledged when it is durable"]
pub struct Ticket(u64);

pub(super) struct Objects {
    /// For people: its path.
    name: String,
    log: Arc<Log>,
    index: Arc<Index>,
    orders: Mutex<Orders>,
    tickets: AtomicU64,
    queued: Arc<AtomicU64>,
    durable: watch::Receiver<u64>,
    /// How far the writer was when an invalidation last waited in vain.
    stuck_at: AtomicU64,
    /// What the log says is void, and could not be removed.
    dead: Arc<AtomicBool>,
    reading: Health,
    readers: Arc<Semaphore>,
}

/// Where invalidations are queued, in the order in which they are applied.
struct Orders {
    sender: Sender<Order>,
    /// The last ticket of an invalidation.
    voided: u64,
}

impl Objects {
    /// Reads the log of `name` and starts its writer.
    ///
    /// # Errors
    /// The folder cannot be read, or no thread started.
    pub(super) fn start(
        folder: Box<dyn Folder>,
        name: &str,
        capacity: u64,
        segment_size: u64,
        memory: u64,
    ) -> io::Result<Self> {
        let index = Arc::new(Index::new(memory));
        let mut void = 0;
        let take = |found: Found<'_>| void = recover(&index, name, &found).max(void);
        let (log, open) = Log::open(folder, segment_size, true, take)?;
        let (log, open) = (Arc::new(log), open.filter(|open| open.segment.number >= void));
        let (orders, received) = mpsc::channel();
        let (progress, durable) = watch::channel(0);
        let (queued, dead) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let health = Health::new(format!("writing metadata to {name}"));
        let appender = Appender::new(&log, Contents::Objects, open);
        let shared = (queued.clone(), progress, dead.clone());
        let mut writer = Writer::new(&log, &index, appender, capacity, shared, health);
        // Before anything is believed: damage that is not seen again must not bring back what it voided.
        if let Err(error) = log.remove_below(void.into()) {
            writer.give_up(&error);
        }
        thread::Builder::new().name("disk-objects".into()).spawn(move || writer.run(&received))?;
        Ok(Self {
            name: name.to_owned(),
            log,
            index,
            orders: Mutex::new(Orders { sender: orders, voided: 0 }),
            tickets: AtomicU64::new(1),
            queued,
            durable,
            stuck_at: AtomicU64::new(u64::MAX),
            dead,
            reading: Health::new(format!("reading metadata from {name}")),
            readers: Arc::new(Semaphore::new(READERS)),
        })
    }

    /// Whether something is known of the object.
    pub(super) fn knows(&self, id: &ObjectId) -> bool {
        self.index.get(&Digest::of(&object_key(id))).is_some()
    }

    /// Keeps metadata; dropped when too much waits already, or when it is not `is_current` any more: what voids many
    /// raises their epoch first, and then waits here for who looked at it before.
    pub(super) fn remember(
        &self,
        id: &ObjectId,
        object: &ObjectRecord,
        is_current: impl Fn() -> bool,
    ) {
        let data = object.encode();
        if data.len() > CHUNK || self.queued.load(Ordering::Relaxed) > QUEUE {
            return;
        }
        let tag = bucket_tag(id.realm(), id.bucket());
        let mut orders = self.orders.lock();
        if is_current() {
            // Nobody waits for it.
            let _ = self.append(&mut orders, Kind::Object, object_key(id), data, tag);
        }
    }

    /// Voids what is kept of the object; `None`: nothing is, so that nothing can come back.
    pub(super) fn forget(&self, id: &ObjectId) -> Option<Ticket> {
        let key = object_key(id);
        let mut orders = self.orders.lock();
        if self.index.remove(&Digest::of(&key)).is_none() {
            return self.earlier(&orders);
        }
        let tag = bucket_tag(id.realm(), id.bucket());
        Some(self.append(&mut orders, Kind::Tombstone, key, Vec::new(), tag))
    }

    /// Voids what is kept of a bucket's objects.
    pub(super) fn forget_bucket(&self, realm: &Realm, bucket: &BucketName) -> Option<Ticket> {
        let tag = bucket_tag(realm, bucket);
        let mut orders = self.orders.lock();
        if self.index.remove_where(|_, entry| entry.start() == tag) == 0 {
            return self.earlier(&orders);
        }
        let key = bucket_key(realm, bucket);
        Some(self.append(&mut orders, Kind::BucketEpoch, key, Vec::new(), tag))
    }

    /// Voids what is kept of all objects, bucket by bucket.
    pub(super) fn forget_all(&self) -> Option<Ticket> {
        let mut orders = self.orders.lock();
        let mut tags = BTreeSet::new();
        self.index.remove_where(|_, entry| {
            tags.insert(entry.start());
            true
        });
        let key = b"everything".to_vec();
        let void = |tag| self.append(&mut orders, Kind::BucketEpoch, key.clone(), Vec::new(), tag);
        let last = tags.into_iter().map(void).last();
        last.or_else(|| self.earlier(&orders))
    }

    /// Nothing is known any more, maybe because of an invalidation that is not durable yet.
    fn earlier(&self, orders: &Orders) -> Option<Ticket> {
        let pending = self.is_dead() || orders.voided > *self.durable.borrow();
        pending.then_some(Ticket(orders.voided))
    }

    fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Acquire)
    }

    /// Queues a record. The lock on `orders` makes the order of tickets that of the queue, and of the index.
    fn append(
        &self,
        orders: &mut Orders,
        kind: Kind,
        key: Vec<u8>,
        data: Vec<u8>,
        tag: u32,
    ) -> Ticket {
        let digest = Digest::of(&key);
        let key_len = u32::try_from(key.len()).expect("a key is short");
        let data_len = u32::try_from(data.len()).expect("at most a chunk");
        let record = Record { kind, digest, key_len, data_len, start: tag, tag: 0 };
        let ticket = self.tickets.fetch_add(1, Ordering::Relaxed);
        match kind {
            Kind::Object => {
                self.index.insert(digest, Entry::new(0, QUEUED, low_bits(ticket), &record));
            }
            _ => orders.voided = ticket,
        }
        self.queued.fetch_add(1, Ordering::Relaxed);
        // When the writer is gone nothing is kept any more, and nothing is waited for.
        let _ = orders.sender.send(Order::Append(Job { record, key, data, ticket }));
        Ticket(ticket)
    }

    /// Waits until an invalidation would survive a power cut. `false`: it may not.
    pub(super) async fn durable(&self, Ticket(ticket): Ticket) -> bool {
        let mut durable = self.durable.clone();
        let before = *durable.borrow();
        if before < ticket && self.stuck_at.load(Ordering::Relaxed) == before {
            // Others waited already, and nothing went on since.
            return false;
        }
        let reached = durable.wait_for(|done| *done >= ticket);
        let reached = timeout(DURABLE, reached).await.is_ok_and(|done| done.is_ok());
        if !reached {
            let done = *self.durable.borrow();
            if self.stuck_at.swap(done, Ordering::Relaxed) != done {
                log::warn!(
                    "invalidations are not written to disk in time; they hold as long as this process runs"
                );
            }
        }
        reached && !self.is_dead()
    }

    /// What was known of the object when it was written.
    pub(super) async fn recall(&self, id: &ObjectId) -> Option<ObjectRecord> {
        let digest = Digest::of(&object_key(id));
        let entry = self.index.get(&digest).filter(|e| e.segment != QUEUED)?;
        let _ = self.index.touch(&digest, 0, 0);
        let segment = self.log.segment(entry.segment)?;
        let record = entry.record(Kind::Object, digest);
        let all = 0..record.data_len as usize;
        let read = match segment.data(entry.offset, &record, &all, Wait::No).transpose() {
            Some(read) => read,
            None => self.wait_for(segment, entry.offset, record).await?,
        };
        match read.and_then(|(data, _)| Ok(ObjectRecord::decode(&data)?)) {
            Ok(object) => Some(object),
            Err(ReadError::Io(error)) if error.kind() != io::ErrorKind::UnexpectedEof => {
                // It stays known: what may be readable again must get its tombstone.
                metrics::failed(Failure::Read);
                None
            }
            Err(_) => {
                metrics::failed(Failure::Damaged);
                self.void(&digest, &entry, id);
                None
            }
        }
    }

    /// Reads a record from the device, unless that takes too long or is known to.
    async fn wait_for(
        &self,
        segment: Arc<Segment>,
        offset: u32,
        record: Record,
    ) -> Option<Result<(Bytes, usize), ReadError>> {
        if !self.reading.may_try() {
            metrics::failed(Failure::PassedBy);
            return None;
        }
        let readers = self.readers.clone();
        let read = timeout(PATIENCE, async move {
            let permit = readers.acquire_owned().await.ok()?;
            let read = move || {
                let read = segment.data(offset, &record, &(0..record.data_len as usize), Wait::Yes);
                drop(permit);
                read
            };
            spawn_blocking(read).await.ok()
        });
        let Ok(read) = read.await else {
            metrics::failed(Failure::Slow);
            self.reading.failed(&"a read takes too long", false);
            return None;
        };
        match &read {
            Some(Ok(_)) => self.reading.succeeded(),
            Some(Err(ReadError::Io(error))) => self.reading.failed(error, false),
            _ => {}
        }
        Some(read?.map(|data| data.expect("a read that may wait brings bytes")))
    }

    /// A damaged record is void on disk too: it may read as well as ever another time.
    fn void(&self, digest: &Digest, entry: &Entry, id: &ObjectId) {
        let mut orders = self.orders.lock();
        if self.index.remove_at(digest, entry.place()) {
            let tag = bucket_tag(id.realm(), id.bucket());
            let _ = self.append(&mut orders, Kind::Tombstone, object_key(id), Vec::new(), tag);
        }
    }

    /// Removes what is not true any more, and what is `covered`, from the files.
    pub(super) async fn erase(&self, covered: Arc<Covered>) -> Result<ErasedFiles, NotErased> {
        let (done, erased) = oneshot::channel();
        // When the writer is gone the channel closes.
        let _ = self.orders.lock().sender.send(Order::Erase(Erase { covered, done }));
        erase::outcome(&self.name, erased).await
    }

    /// Writes what is queued and makes it last.
    pub(super) async fn finish(&self) {
        let (done, finished) = oneshot::channel();
        let sent = self.orders.lock().sender.send(Order::Finish(done)).is_ok();
        if sent {
            let _ = finished.await;
        }
    }

    pub(super) fn usage(&self) -> (u64, u64) {
        (self.log.size(), self.index.usage().1)
    }
}

/// Takes in what the log says, in its order. Returns the number of the first segment that may be believed.
fn recover(index: &Index, name: &str, found: &Found<'_>) -> u32 {
    match found {
        Found::Total(records) => index.reserve(*records),
        Found::Record { segment, offset, record } => match record.kind {
            Kind::Object => {
                index.insert(record.digest, Entry::new(0, segment.number, *offset, record));
            }
            Kind::Tombstone => drop(index.remove(&record.digest)),
            Kind::BucketEpoch => drop(index.remove_where(|_, entry| entry.start() == record.start)),
            Kind::Block => {}
        },
        Found::Damage { file, why, upto } => {
            let voided = index.remove_where(|_, _| true);
            metrics::failed(Failure::Damaged);
            log::warn!("{name}/objects/{file}: {why}; {voided} objects will be asked for again");
            return *upto;
        }
    }
    0
}
