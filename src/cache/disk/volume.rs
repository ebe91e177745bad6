//! One path of the disk tier: its blocks, who reads them, and the thread that writes them.

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::async_reads::AsyncReads;
use super::digest::Digest;
use super::erase::{self, Done, ErasedFiles, NotErased};
use super::format::{Kind, Record};
use super::health::Health;
use super::index::Entry;
use super::log::Log;
use super::open::Tables;
use super::segment::{ReadError, Segment, Wait};
use super::writer::Writer;
use crate::cache::memory::Block;
use crate::metrics::disk::{self as metrics, Failure};

/// Reads of one path that may wait for its device at the same time.
const READERS: usize = 64;
/// A read that takes longer than this counts as failed: the origin is faster.
const PATIENCE: Duration = Duration::from_millis(500);
/// A writer that hangs on a dead device is not waited for longer than this.
const FAREWELL: Duration = Duration::from_secs(5);
/// What the page cache is asked for without waiting, at most: copying it keeps a worker busy for 0.1 ms.
pub(super) const AT_ONCE: usize = 256 * 1024;

/// A block on its way to the disk.
#[derive(Debug, Clone)]
pub(super) struct Job {
    pub record: Record,
    pub key: Vec<u8>,
    pub bytes: Bytes,
    pub class: u8,
    pub pinned: bool,
}

pub(super) enum Order {
    Write(Digest),
    /// Keep to the capacity.
    Begin,
    /// Remove what purges ended from the files.
    Erase(Done),
    /// Write what is queued, seal, and make it last.
    Finish(oneshot::Sender<()>),
}

/// Blocks that wait to be written; they can be read meanwhile.
#[derive(Debug)]
pub(super) struct Queue {
    jobs: Mutex<HashMap<Digest, Job>>,
    bytes: AtomicU64,
    limit: u64,
    shorter: Notify,
}

impl Queue {
    fn new(limit: u64) -> Self {
        Self { jobs: Mutex::default(), bytes: AtomicU64::new(0), limit, shorter: Notify::new() }
    }

    /// `false`: it is full, or the block is there already.
    fn push(&self, job: Job) -> bool {
        let length = job.bytes.len() as u64;
        let mut jobs = self.jobs.lock();
        if self.bytes.load(Ordering::Relaxed) + length > self.limit {
            metrics::failed(Failure::QueueFull);
            return false;
        }
        if jobs.contains_key(&job.record.digest) {
            return false;
        }
        self.bytes.fetch_add(length, Ordering::Relaxed);
        jobs.insert(job.record.digest, job);
        true
    }

    pub(super) fn peek(&self, digest: &Digest) -> Option<Job> {
        self.jobs.lock().get(digest).cloned()
    }

    pub(super) fn done(&self, digest: &Digest) {
        if let Some(job) = self.jobs.lock().remove(digest) {
            self.bytes.fetch_sub(job.bytes.len() as u64, Ordering::Relaxed);
            self.shorter.notify_waiters();
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Waits until it is at most half full.
    pub(super) async fn room(&self) {
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

#[derive(Debug)]
pub(super) struct Volume {
    pub log: Arc<Log>,
    pub queue: Arc<Queue>,
    /// For people: its path.
    name: String,
    reading: Health,
    readers: Arc<Semaphore>,
    /// For short reads: ways that keep no thread waiting, in the order in which they are tried.
    async_reads: Vec<Arc<AsyncReads>>,
    orders: Sender<Order>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// Closed when the thread is at its end.
    ended: Mutex<Receiver<()>>,
}

/// What is set for one path.
#[derive(Debug, Clone)]
pub(super) struct VolumeLimits {
    /// Bytes of all segments.
    pub capacity: u64,
    /// Reads go past the page cache.
    pub direct: bool,
    /// Bytes a second; `None`: as fast as it goes.
    pub write_rate: Option<u64>,
    /// Bytes that may wait to be written.
    pub queue: u64,
    /// Classes that may take only so many bytes.
    pub shares: Vec<(u8, u64)>,
}

impl Volume {
    /// Starts the writer of volume `number`.
    ///
    /// # Errors
    /// No thread can be started.
    pub(super) fn start(
        number: u8,
        name: &str,
        log: Log,
        tables: &Tables,
        limits: &VolumeLimits,
    ) -> io::Result<Self> {
        let log = Arc::new(log);
        let queue = Arc::new(Queue::new(limits.queue));
        let (orders, received): (_, Receiver<Order>) = mpsc::channel();
        let health = Health::new(format!("writing to {name}"));
        let writer = Writer::new(number, &log, tables, &queue, health, limits);
        let (at_end, ended) = mpsc::channel();
        let thread = thread::Builder::new().name(format!("disk-{number}")).spawn(move || {
            writer.run(&received);
            drop(at_end);
        })?;
        Ok(Self {
            log,
            queue,
            name: name.to_owned(),
            reading: Health::new(format!("reading from {name}")),
            readers: Arc::new(Semaphore::new(READERS)),
            async_reads: AsyncReads::start(limits.direct),
            orders,
            thread: Mutex::new(Some(thread)),
            ended: Mutex::new(ended),
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The process has started: removes what is damaged, and what is above the capacity.
    pub(super) fn begin(&self) {
        let damaged = self.log.remove_damaged();
        if damaged > 0 {
            log::warn!("{}/blocks: {damaged} damaged segments were removed", self.name);
        }
        // When the writer is gone nothing is written any more.
        let _ = self.orders.send(Order::Begin);
    }

    /// Queues a block to be written; `false` when it is not taken.
    pub(super) fn write(&self, job: Job) -> bool {
        let digest = job.record.digest;
        self.queue.push(job) && self.orders.send(Order::Write(digest)).is_ok()
    }

    /// Writes what is queued and makes it last.
    pub(super) async fn finish(&self) {
        let (done, finished) = oneshot::channel();
        if self.orders.send(Order::Finish(done)).is_ok() {
            // The writer is gone: nothing is left to wait for.
            let _ = finished.await;
        }
    }

    /// Removes what purges ended so far from the files.
    pub(super) async fn erase(&self) -> Result<ErasedFiles, NotErased> {
        let (done, erased) = oneshot::channel();
        // When the writer is gone the channel closes.
        let _ = self.orders.send(Order::Erase(done));
        erase::outcome(&self.name, erased).await
    }

    /// The bytes `wanted` of a record's data; `None` is a miss, whatever the reason. `ahead`: what is behind
    /// them will be read next.
    pub(super) async fn read(
        &self,
        digest: &Digest,
        entry: &Entry,
        wanted: Range<usize>,
        ahead: bool,
    ) -> Result<Bytes, Failure> {
        let segment = self.log.segment(entry.segment).ok_or(Failure::Gone)?;
        let record = entry.record(Kind::Block, *digest);
        let offset = entry.offset;
        if wanted.len() <= AT_ONCE
            && let Some(read) = segment.data(offset, &record, &wanted, Wait::No).transpose()
        {
            // What the page cache has says nothing of the device.
            return self.outcome(read, &wanted);
        }
        if !self.reading.may_try() {
            return Err(Failure::PassedBy);
        }
        if !ahead
            && wanted.len() <= AT_ONCE
            && let Some(read) = self.read_unwaited(&segment, offset, &record, &wanted).await
        {
            return read;
        }
        let readers = self.readers.clone();
        let range = wanted.clone();
        let read = timeout(PATIENCE, async move {
            let permit = readers.acquire_owned().await.ok()?;
            let read = move || {
                let read = segment.data(offset, &record, &range, Wait::Yes);
                if ahead && read.is_ok() {
                    segment.prefetch(offset, &record, range.end);
                }
                drop(permit);
                read
            };
            spawn_blocking(read).await.ok()
        });
        match read.await {
            Ok(Some(read)) => {
                let read = read.map(|data| data.expect("a read that may wait brings bytes"));
                self.waited(read, &wanted)
            }
            Ok(None) => Err(Failure::Gone),
            Err(_) => Err(self.slow()),
        }
    }

    /// Asks the device for a record that will be read soon, unless it has more than enough to do. Nobody waits.
    pub(super) fn prefetch(&self, digest: &Digest, entry: &Entry) {
        let Some(segment) = self.log.segment(entry.segment) else { return };
        if !segment.may_prefetch() || !self.reading.is_well() {
            return;
        }
        let Ok(permit) = self.readers.clone().try_acquire_owned() else { return };
        let (offset, record) = (entry.offset, entry.record(Kind::Block, *digest));
        // It waits for the device's queue at times.
        spawn_blocking(move || {
            segment.prefetch(offset, &record, 0);
            drop(permit);
        });
    }

    /// `None`: a thread that waits must do it.
    async fn read_unwaited(
        &self,
        segment: &Segment,
        offset: u32,
        record: &Record,
        wanted: &Range<usize>,
    ) -> Option<Result<Bytes, Failure>> {
        let source = segment.source()?;
        for reads in &self.async_reads {
            let stretch = Segment::stretch(offset, record, wanted);
            match timeout(PATIENCE, segment.data_unwaited(reads, source, stretch)).await {
                Ok(Err(ReadError::Io(error))) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(read) => return Some(self.waited(read, wanted)),
                Err(_) => return Some(Err(self.slow())),
            }
        }
        None
    }

    /// What the device itself said.
    fn waited(
        &self,
        read: Result<(Bytes, usize), ReadError>,
        wanted: &Range<usize>,
    ) -> Result<Bytes, Failure> {
        if read.is_ok() {
            self.reading.succeeded();
        }
        self.outcome(read, wanted)
    }

    fn slow(&self) -> Failure {
        self.reading.failed(&"a read takes too long", false);
        Failure::Slow
    }

    fn outcome(
        &self,
        read: Result<(Bytes, usize), ReadError>,
        wanted: &Range<usize>,
    ) -> Result<Bytes, Failure> {
        match read {
            Ok((data, from)) => Ok(data.slice(wanted.start - from..wanted.end - from)),
            Err(ReadError::Damaged(why)) => {
                log::debug!("a damaged record: {why}");
                Err(Failure::Damaged)
            }
            Err(ReadError::Io(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                log::debug!("a record that ends early");
                Err(Failure::Damaged)
            }
            Err(ReadError::Io(error)) => {
                self.reading.failed(&error, false);
                Err(Failure::Read)
            }
        }
    }
}

impl Job {
    pub(super) fn block(&self, block_start: u64) -> Block {
        Block::new(block_start + u64::from(self.record.start), self.bytes.clone())
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        // The writer ends when the last sender is gone; what is queued is lost, as if it had not been taken.
        let (orders, _) = mpsc::channel();
        drop(std::mem::replace(&mut self.orders, orders));
        if let Some(thread) = self.thread.lock().take()
            && self.ended.lock().recv_timeout(FAREWELL) == Err(RecvTimeoutError::Disconnected)
        {
            let _ = thread.join();
        }
    }
}
