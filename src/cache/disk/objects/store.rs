//! Metadata on disk: the metadata of objects whose blocks are there, and tombstones of what was invalidated.
//!
//! A log of its own, of small records. An invalidation removes the object from the index at once and appends a
//! tombstone, which is acknowledged when it is durable (R11). A damaged record that is found when the log is opened may
//! have been a tombstone: then nothing that was written before it is trusted. What cannot be read, and what was written
//! by a process that did not shut down cleanly, is trusted once the origin has confirmed it.
//!
//! Records are written in the order in which they were queued, each under the lock of the object's stripe (see
//! [`crate::cache::invalidate::generation`]): so the log agrees with memory on the order of events.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::writer::{Erase, Job, Order, Progress, QUEUED, Shared, Writer, low_bits};
use crate::cache::disk::device::files::Folder;
use crate::cache::disk::device::health::Health;
use crate::cache::disk::format::digest::{Digest, bucket_key, bucket_tag, object_key};
use crate::cache::disk::format::object_record::ObjectRecord;
use crate::cache::disk::format::record::{CHUNK, Contents, Damaged, Kind, Record};
use crate::cache::disk::log::erasure::{self, ErasedFiles, NotErased};
use crate::cache::disk::log::index::{Entry, Index};
use crate::cache::disk::log::runtime_note::RuntimeNote;
use crate::cache::disk::log::segment::{ReadError, Segment, Wait};
use crate::cache::disk::log::segment_log::{Appender, Found, Log, LogKind};
use crate::cache::disk::log::startup_epoch::Trust;
use crate::cache::disk::log::unreadable::Unreadable;
use crate::cache::invalidate::scope::Covered;
use crate::metrics::disk::{DiskPath, Failure};
use crate::s3::{BucketName, ObjectId, Realm};

/// Maximum number of records that wait to be written. Tombstones are never refused.
const QUEUE: u64 = 4096;
/// Maximum wait for a record, which is needed before a request can be answered.
const READ_TIMEOUT: Duration = Duration::from_millis(500);
/// Maximum number of reads that wait for the device at the same time.
const READERS: usize = 64;

/// Number of an invalidation, by which to wait until it is durable; see [`crate::cache::Cache::durable`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[must_use = "an invalidation is acknowledged when it is durable"]
pub struct Ticket(u64);

/// Metadata from disk, and whether it may be used as it is.
#[derive(Debug, Clone)]
pub(in crate::cache) struct Recalled {
    pub object: ObjectRecord,
    /// Whether no tombstone of it can be missing.
    pub is_confirmed: bool,
}

pub(in crate::cache::disk) struct Objects {
    /// Path, for messages.
    name: String,
    metrics: Arc<DiskPath>,
    log: Arc<Log>,
    index: Arc<Index>,
    orders: Mutex<Orders>,
    tickets: AtomicU64,
    shared: Arc<Shared>,
    progress: watch::Receiver<Progress>,
    /// Segments below this number are void, and removed by [`Objects::begin`].
    void_below: u32,
    reading: Health,
    readers: Arc<Semaphore>,
}

/// Queue of records and invalidations, in the order in which they are applied.
struct Orders {
    sender: Sender<Order>,
    /// Ticket of the last invalidation.
    voided: u64,
}

impl Objects {
    /// Opens the log of `name`, trusted as far as `trust` says, and starts its writer. Removes nothing: see
    /// [`Objects::begin`].
    ///
    /// # Errors
    /// The folder cannot be read, file descriptors have run out, or no thread started.
    pub(in crate::cache::disk) fn open(
        folder: Box<dyn Folder>,
        name: &str,
        (capacity, segment_size): (u64, u64),
        memory: u64,
        trust: Trust,
    ) -> io::Result<Self> {
        let index = Arc::new(Index::grouped(memory));
        let (mut void, mut unreadable) = (0, Unreadable::default());
        let take = |found: Found<'_>| {
            if let Found::Unreadable { file, why } = found {
                unreadable.add(file, why);
            }
            if trust != Trust::Nothing {
                void = recover(&index, name, &found).max(void);
            }
        };
        let from = if let Trust::From(segment) = trust { segment } else { u32::MAX };
        let kind = LogKind::Objects { unconfirmed_below: from };
        let (log, open) = Log::open(folder, segment_size, kind, take)?;
        unreadable.warn(&format!("{name}/objects"));
        let unconfirmed_below = match trust {
            Trust::From(from) if unreadable.is_empty() => from.max(void),
            _ => log.next(),
        };
        let known = index.usage().1;
        if trust == Trust::Unconfirmed && known > 0 {
            log::info!(
                "{name}: hotset did not end well the last time: each of {known} cached objects is confirmed with \
                 the origin once, when it is read"
            );
        }
        if trust == Trust::Nothing {
            void = log.next();
        }
        let (log, open) =
            (Arc::new(log), open.filter(|open| open.segment.number >= unconfirmed_below));
        let (orders, received) = mpsc::channel();
        let (sender, progress) = watch::channel(Progress::default());
        let shared = Arc::new(Shared::default());
        shared.unconfirmed_below.store(unconfirmed_below, Ordering::Release);
        let health = Health::new(format!("writing metadata to {name}"));
        let appender = Appender::new(&log, Contents::Objects, open);
        let metrics = Arc::new(DiskPath::new(name));
        let told = (shared.clone(), sender, metrics.clone());
        let writer = Writer::new(&log, &index, appender, capacity, told, health);
        thread::Builder::new().name("disk-objects".into()).spawn(move || writer.run(&received))?;
        Ok(Self {
            name: name.to_owned(),
            metrics,
            log,
            index,
            orders: Mutex::new(Orders { sender: orders, voided: 0 }),
            tickets: AtomicU64::new(1),
            shared,
            progress,
            void_below: void,
            reading: Health::new(format!("reading metadata from {name}")),
            readers: Arc::new(Semaphore::new(READERS)),
        })
    }

    pub(in crate::cache::disk) fn name(&self) -> &str {
        &self.name
    }

    /// Sets the note in shared memory that all tombstones are durable.
    pub(in crate::cache::disk) fn noting(self, note: RuntimeNote) -> Self {
        self.shared.state.lock().note = note;
        self
    }

    /// Begins start number `start`: removes void segments. A clean shutdown will be marked under that number.
    pub(in crate::cache::disk) fn begin(&self, start: u64) {
        self.shared.start.store(start, Ordering::Release);
        self.shared.note(&self.shared.state.lock());
        // What stays is confirmed before it is used.
        if self.void_below > 0
            && let Err(error) = self.log.remove_below(self.void_below.into())
        {
            log::warn!("{}: metadata that is void cannot be removed: {error}", self.name);
        }
    }

    /// Whether metadata of the object is kept.
    pub(in crate::cache::disk) fn knows(&self, id: &ObjectId) -> bool {
        self.index.get(&Digest::of(&object_key(id))).is_some()
    }

    /// Whether metadata of any object of a bucket is kept, or of another bucket that has the same tag.
    pub(in crate::cache::disk) fn knows_any_of(&self, realm: &Realm, bucket: &BucketName) -> bool {
        self.index.has_group(bucket_tag(realm, bucket))
    }

    /// Queues metadata to be written; drops it if the queue is full, or if it is not `is_current` any more. An
    /// invalidation of many objects raises their epoch first, and then waits on the same lock for those who checked it
    /// before.
    pub(in crate::cache::disk) fn remember(
        &self,
        id: &ObjectId,
        object: &ObjectRecord,
        is_current: impl Fn() -> bool,
    ) {
        let data = object.encode();
        if data.len() > CHUNK
            || self.shared.queued.load(Ordering::Relaxed) > QUEUE
            || self.is_stalled(&self.progress.borrow())
        {
            return;
        }
        let tag = bucket_tag(id.realm(), id.bucket());
        let mut orders = self.orders.lock();
        if is_current() {
            // Nobody waits until it is durable.
            let _ = self.append(&mut orders, Kind::Object, object_key(id), data, tag);
        }
    }

    /// Invalidates the metadata of the object; `None` if none is kept, so that none can come back.
    pub(in crate::cache::disk) fn forget(&self, id: &ObjectId) -> Option<Ticket> {
        let key = object_key(id);
        let mut orders = self.orders.lock();
        if self.index.remove(&Digest::of(&key)).is_none() {
            return self.earlier(&orders);
        }
        let tag = bucket_tag(id.realm(), id.bucket());
        Some(self.append(&mut orders, Kind::Tombstone, key, Vec::new(), tag))
    }

    /// Invalidates the metadata of a bucket's objects.
    pub(in crate::cache::disk) fn forget_bucket(
        &self,
        realm: &Realm,
        bucket: &BucketName,
    ) -> Option<Ticket> {
        let tag = bucket_tag(realm, bucket);
        let mut orders = self.orders.lock();
        if self.index.remove_group(tag) == 0 {
            return self.earlier(&orders);
        }
        let key = bucket_key(realm, bucket);
        Some(self.append(&mut orders, Kind::BucketEpoch, key, Vec::new(), tag))
    }

    /// Invalidates the metadata of all objects, bucket by bucket.
    pub(in crate::cache::disk) fn forget_all(&self) -> Option<Ticket> {
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

    /// Requires all metadata that is kept or queued now to be confirmed before it is used, as invalidations may have
    /// been missed. `raise` makes [`Objects::remember`] refuse metadata that was learned so far.
    pub(in crate::cache::disk) fn confirm_all(&self, raise: impl FnOnce()) {
        // First: metadata that is recalled after `raise` must not count as confirmed.
        self.shared.distrusting.fetch_add(1, Ordering::AcqRel);
        raise();
        // When the writer is gone nothing is confirmed any more.
        let _ = self.orders.lock().sender.send(Order::Distrust);
    }

    /// Runs `work` while no metadata can be queued or invalidated.
    #[cfg(test)]
    #[expect(clippy::await_holding_lock, reason = "what waits for it runs on other threads")]
    pub(in crate::cache::disk) async fn while_nothing_is_voided(
        &self,
        work: impl Future<Output = ()>,
    ) {
        let _orders = self.orders.lock();
        work.await;
    }

    /// Returns the last invalidation that is not durable yet.
    pub(in crate::cache::disk) fn unsettled(&self) -> Option<Ticket> {
        self.earlier(&self.orders.lock())
    }

    /// Returns the last invalidation if it is not durable yet: it may be why nothing is known any more.
    fn earlier(&self, orders: &Orders) -> Option<Ticket> {
        (orders.voided > self.progress.borrow().durable).then_some(Ticket(orders.voided))
    }

    /// Queues a record. The lock on `orders` keeps tickets, queue and index in the same order.
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
        self.shared.queued.fetch_add(1, Ordering::Relaxed);
        // When the writer is gone nothing is kept any more, and nothing is waited for.
        let _ = orders.sender.send(Order::Append(Job { record, key, data, ticket }));
        Ticket(ticket)
    }

    /// Waits up to `max_wait` until an invalidation is durable (survives a power cut); returns `false` if it may not
    /// be.
    pub(in crate::cache::disk) async fn durable(
        &self,
        Ticket(ticket): Ticket,
        max_wait: Duration,
    ) -> bool {
        let mut progress = self.progress.clone();
        let before = *progress.borrow();
        if before.durable >= ticket {
            return true;
        }
        if self.is_stalled(&before) {
            // Others waited in vain, and nothing was written since.
            return false;
        }
        if before.is_failing {
            // When the writer is gone nothing will be durable.
            let _ = self.orders.lock().sender.send(Order::Retry);
        }
        let settled = progress.wait_for(|now| {
            now.durable >= ticket || now.is_failing && now.batches > before.batches
        });
        let settled = match timeout(max_wait, settled).await {
            Ok(settled) => settled.is_ok_and(|now| now.durable >= ticket),
            Err(_) => {
                self.stall();
                false
            }
        };
        if settled {
            self.resume();
        }
        settled
    }

    /// Whether an invalidation waited in vain, and nothing was written since.
    fn is_stalled(&self, progress: &Progress) -> bool {
        self.shared.state.lock().stalled_at == progress.batches
    }

    /// Ends a stall, as an invalidation and all before it became durable.
    fn resume(&self) {
        let mut state = self.shared.state.lock();
        if state.stalled_at != u64::MAX && state.stalled_at != self.progress.borrow().batches {
            state.stalled_at = u64::MAX;
            self.shared.note(&state);
            log::info!("{}: invalidations are written to disk in time again", self.name);
        }
    }

    fn stall(&self) {
        self.metrics.failed(Failure::Slow);
        let mut state = self.shared.state.lock();
        // First: the waiting request will go on without the disk.
        state.note.remove();
        let batches = self.progress.borrow().batches;
        if std::mem::replace(&mut state.stalled_at, batches) == u64::MAX {
            log::error!(
                "{}: the disk does not take invalidations in time: until it does, no metadata is written to it, \
                 purges are answered with 503, events are not acknowledged, and after a restart each cached \
                 object is confirmed with the origin once; see whether the device works",
                self.name
            );
        }
    }

    /// Reads the metadata of the object, as it was when it was written.
    pub(in crate::cache::disk) async fn recall(&self, id: &ObjectId) -> Option<Recalled> {
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
            Ok(object) => {
                let below = self.shared.unconfirmed_below.load(Ordering::Acquire);
                let is_believed = self.shared.distrusting.load(Ordering::Acquire) == 0;
                Some(Recalled { object, is_confirmed: is_believed && entry.segment >= below })
            }
            Err(ReadError::Io(error)) if error.kind() != io::ErrorKind::UnexpectedEof => {
                // It stays in the index: a record that may be readable again must get its tombstone.
                self.metrics.failed(Failure::Read);
                None
            }
            Err(_) => {
                self.metrics.failed(Failure::Damaged);
                self.void(&digest, &entry, id);
                None
            }
        }
    }

    /// Reads a record from the device; `None` if that takes too long, or the device is bypassed.
    async fn wait_for(
        &self,
        segment: Arc<Segment>,
        offset: u32,
        record: Record,
    ) -> Option<Result<(Bytes, usize), ReadError>> {
        if !self.reading.may_try() {
            self.metrics.failed(Failure::PassedBy);
            return None;
        }
        let readers = self.readers.clone();
        let read = timeout(READ_TIMEOUT, async move {
            let permit = readers.acquire_owned().await.ok()?;
            let read = move || {
                let read = segment.data(offset, &record, &(0..record.data_len as usize), Wait::Yes);
                drop(permit);
                read
            };
            spawn_blocking(read).await.ok()
        });
        let Ok(read) = read.await else {
            self.metrics.failed(Failure::Slow);
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

    /// Invalidates a damaged record on disk too, as another read of it may succeed.
    fn void(&self, digest: &Digest, entry: &Entry, id: &ObjectId) {
        let mut orders = self.orders.lock();
        if self.index.remove_at(digest, entry.place()) {
            let tag = bucket_tag(id.realm(), id.bucket());
            let _ = self.append(&mut orders, Kind::Tombstone, object_key(id), Vec::new(), tag);
        }
    }

    /// Erases metadata that was invalidated, or is `covered`, from the files.
    pub(in crate::cache::disk) async fn erase(
        &self,
        covered: Arc<Covered>,
    ) -> Result<ErasedFiles, NotErased> {
        let (done, erased) = oneshot::channel();
        // When the writer is gone the channel closes.
        let _ = self.orders.lock().sender.send(Order::Erase(Erase { covered, done }));
        erasure::outcome(&self.name, erased).await
    }

    /// Writes queued records, makes them durable, and marks a clean shutdown.
    pub(in crate::cache::disk) async fn finish(&self) {
        // From here on only the mark on disk counts: without it, the shutdown was not clean.
        self.shared.state.lock().note.remove();
        let (done, finished) = oneshot::channel();
        let sent = self.orders.lock().sender.send(Order::Finish(done)).is_ok();
        if sent {
            let _ = finished.await;
        }
    }

    pub(in crate::cache::disk) fn usage(&self) -> (u64, u64) {
        (self.log.size(), self.index.usage().1)
    }
}

/// Applies an item of the log to the index. Returns the number of the first segment that may be trusted.
fn recover(index: &Index, name: &str, found: &Found<'_>) -> u32 {
    match found {
        Found::Unreadable { .. } => {}
        Found::Total(records) => index.reserve(*records),
        Found::Record { segment, offset, record } => match record.kind {
            Kind::Object => {
                index.insert(record.digest, Entry::new(0, segment.number, *offset, record));
            }
            Kind::Tombstone => drop(index.remove(&record.digest)),
            Kind::BucketEpoch => drop(index.remove_group(record.start)),
            Kind::Block => {}
        },
        Found::Damage { file, why, upto } => {
            let voided = index.remove_where(|_, _| true);
            DiskPath::new(name).failed(Failure::Damaged);
            log::warn!("{name}/objects/{file}: {why}; {voided} objects will be asked for again");
            return *upto;
        }
        Found::OtherFormat { file, upto } => {
            index.remove_where(|_, _| true);
            log::debug!("{name}/objects/{file}: {}", Damaged::Version);
            return *upto;
        }
    }
    0
}
