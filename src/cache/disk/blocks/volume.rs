//! One path of the disk tier: its log of blocks, its write queue and its writer thread.

mod reading;

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Semaphore, oneshot};

use super::queue::{Job, Order, Queue, VolumeLimits};
use super::tables::Tables;
use super::writer::Writer;
use crate::cache::disk::device::health::Health;
use crate::cache::disk::device::read_limit::ReadLimit;
use crate::cache::disk::log::erasure::{self, ErasedFiles, NotErased};
use crate::cache::disk::log::segment_log::Log;
use crate::cache::disk::tier::classes::Classes;
use crate::metrics::disk::DiskPath;
use crate::sys::async_reads::AsyncReads;

/// Maximum number of threads that wait for the device of one path.
const READERS: usize = 64;
/// Maximum wait at shutdown for a writer thread, which may hang on a dead device.
const FAREWELL: Duration = Duration::from_secs(5);
/// Maximum bytes read from the page cache on a worker thread: copying them keeps it busy for 0.1 ms.
pub(in crate::cache::disk) const AT_ONCE: usize = 256 * 1024;

#[derive(Debug)]
pub(in crate::cache::disk) struct Volume {
    pub log: Arc<Log>,
    pub queue: Arc<Queue>,
    /// Path, for messages.
    name: String,
    reading: Arc<Health>,
    writing: Arc<Health>,
    limit: Arc<ReadLimit>,
    /// Permits for reads that block a thread.
    readers: Arc<Semaphore>,
    /// Asynchronous interfaces for short reads, in the order in which they are tried.
    async_reads: Vec<Arc<AsyncReads>>,
    /// Description of `async_reads` for the log.
    read_by: String,
    orders: Sender<Order>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// Disconnected when the writer thread ends.
    ended: Mutex<Receiver<()>>,
}

impl Volume {
    /// Starts the writer thread of volume `number`.
    ///
    /// # Errors
    /// No thread can be started.
    pub(in crate::cache::disk) fn start(
        number: u8,
        name: &str,
        log: Log,
        tables: &Tables,
        limits: &VolumeLimits,
    ) -> io::Result<Self> {
        let log = Arc::new(log);
        let queue = Arc::new(Queue::new(limits.queue, Arc::new(DiskPath::new(name))));
        let (orders, received): (_, Receiver<Order>) = mpsc::channel();
        let writing = Arc::new(Health::new(format!("writing to {name}")));
        let writer = Writer::new(number, &log, tables, &queue, writing.clone(), limits);
        let (at_end, ended) = mpsc::channel();
        let thread = thread::Builder::new().name(format!("disk-{number}")).spawn(move || {
            writer.run(&received);
            drop(at_end);
        })?;
        let (async_reads, read_by) = AsyncReads::start(limits.direct);
        Ok(Self {
            log,
            queue,
            name: name.to_owned(),
            reading: Arc::new(Health::new(format!("reading from {name}"))),
            writing,
            limit: ReadLimit::new(),
            readers: Arc::new(Semaphore::new(READERS)),
            async_reads,
            read_by,
            orders,
            thread: Mutex::new(Some(thread)),
            ended: Mutex::new(ended),
        })
    }

    pub(in crate::cache::disk) fn name(&self) -> &str {
        &self.name
    }

    /// Whether the path is bypassed neither for reads nor for writes.
    pub(in crate::cache::disk) fn is_well(&self) -> bool {
        self.reading.is_well() && self.writing.is_well()
    }

    /// Removes damaged segments, and evicts what exceeds the capacity, once the process has started.
    pub(in crate::cache::disk) fn begin(&self) {
        log::info!("short reads of {} use {}", self.name, self.read_by);
        let damaged = self.log.remove_unusable();
        if damaged > 0 {
            log::warn!("{}/blocks: {damaged} damaged segments were removed", self.name);
        }
        // When the writer is gone nothing is written any more.
        let _ = self.orders.send(Order::Begin);
    }

    /// Applies the shares of new rules.
    pub(in crate::cache::disk) fn set_shares(&self, classes: &Arc<Classes>) {
        // When the writer is gone nothing is written any more.
        let _ = self.orders.send(Order::Share(classes.clone()));
    }

    /// Queues a block to be written; returns `false` if it is not accepted.
    pub(in crate::cache::disk) fn write(&self, job: Job) -> bool {
        let digest = job.record.digest;
        self.queue.push(job) && self.orders.send(Order::Write(digest)).is_ok()
    }

    /// Writes queued blocks and makes them durable.
    pub(in crate::cache::disk) async fn finish(&self) {
        let (done, finished) = oneshot::channel();
        if self.orders.send(Order::Finish(done)).is_ok() {
            // The writer is gone: nothing is left to wait for.
            let _ = finished.await;
        }
    }

    /// Erases the blocks that purges have invalidated so far from the files.
    pub(in crate::cache::disk) async fn erase(&self) -> Result<ErasedFiles, NotErased> {
        let (done, erased) = oneshot::channel();
        // When the writer is gone the channel closes.
        let _ = self.orders.send(Order::Erase(done));
        erasure::outcome(&self.name, erased).await
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
