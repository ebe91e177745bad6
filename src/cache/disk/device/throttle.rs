//! Throttled device below the real files of one path, for tests of a whole server.
//!
//! Reads are counted, and queue as in front of a real device: each takes the time of its own bytes, after all that came
//! before it. The page cache holds nothing. Writes are not slowed down.

use std::io::{self, IoSlice, IoSliceMut};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};

use super::files::{File, Folder};

/// Throttled devices of this process, by their path.
static DEVICES: Mutex<Vec<(PathBuf, Weak<Throttle>)>> = Mutex::new(Vec::new());

/// Throttled device below one path.
#[derive(Debug)]
pub struct Throttle {
    queue: Mutex<Queue>,
    changed: Condvar,
    read: AtomicU64,
}

#[derive(Debug)]
struct Queue {
    /// Bytes per second; `None`: not slowed down.
    rate: Option<u64>,
    /// Time at which all queued reads will be done.
    free: Instant,
    /// Number of changes of the rate.
    changes: u64,
    /// Number of reads in the queue.
    waiting: usize,
}

impl Throttle {
    /// Registers a device below `path`, for servers in this process that open it from now on. It is not slowed down
    /// yet.
    pub fn below(path: &Path) -> Arc<Self> {
        let queue = Queue { rate: None, free: Instant::now(), changes: 0, waiting: 0 };
        let this =
            Arc::new(Self { queue: Mutex::new(queue), changed: Condvar::new(), read: 0.into() });
        let mut devices = DEVICES.lock();
        devices.retain(|(other, device)| other != path && device.strong_count() > 0);
        devices.push((path.to_owned(), Arc::downgrade(&this)));
        this
    }

    /// Sets the read rate in bytes per second; `None`: not slowed down. Reads under way end at once.
    pub fn set_rate(&self, rate: Option<u64>) {
        let mut queue = self.queue.lock();
        (queue.rate, queue.free, queue.changes) = (rate, Instant::now(), queue.changes + 1);
        self.changed.notify_all();
    }

    /// Returns the bytes read from the device.
    pub fn read_bytes(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// Returns the number of reads that wait for the device now.
    pub fn waiting(&self) -> usize {
        self.queue.lock().waiting
    }

    /// Waits for as long as the device takes to read `bytes` bytes.
    fn wait(&self, bytes: usize) {
        self.read.fetch_add(bytes as u64, Ordering::Relaxed);
        let mut queue = self.queue.lock();
        let Some(rate) = queue.rate else { return };
        let nanos = bytes as u64 * 1_000_000_000 / rate.max(1);
        queue.free = queue.free.max(Instant::now()) + Duration::from_nanos(nanos);
        let (due, changes) = (queue.free, queue.changes);
        queue.waiting += 1;
        while queue.changes == changes && Instant::now() < due {
            self.changed.wait_until(&mut queue, due);
        }
        queue.waiting -= 1;
    }
}

/// Wraps `folder` in the throttled device below `path`, if there is one.
pub(in crate::cache::disk) fn throttled(path: &Path, folder: Box<dyn Folder>) -> Box<dyn Folder> {
    let devices = DEVICES.lock();
    let device = devices.iter().find(|(other, _)| other == path);
    match device.and_then(|(_, device)| device.upgrade()) {
        Some(device) => Box::new(ThrottledFolder { folder, device }),
        None => folder,
    }
}

#[derive(Debug)]
struct ThrottledFolder {
    folder: Box<dyn Folder>,
    device: Arc<Throttle>,
}

impl ThrottledFolder {
    fn file(&self, file: Arc<dyn File>) -> Arc<dyn File> {
        Arc::new(ThrottledFile { file, device: self.device.clone() })
    }
}

impl Folder for ThrottledFolder {
    fn list(&self) -> io::Result<Vec<String>> {
        self.folder.list()
    }

    fn create(&self, name: &str, reserve: u64) -> io::Result<Arc<dyn File>> {
        Ok(self.file(self.folder.create(name, reserve)?))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        Ok(self.file(self.folder.open(name)?))
    }

    fn length(&self, name: &str) -> io::Result<u64> {
        self.folder.length(name)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.folder.remove(name)
    }

    fn sync(&self) -> io::Result<()> {
        self.folder.sync()
    }
}

#[derive(Debug)]
struct ThrottledFile {
    file: Arc<dyn File>,
    device: Arc<Throttle>,
}

impl File for ThrottledFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn modified(&self) -> io::Result<SystemTime> {
        self.file.modified()
    }

    fn read(&self, parts: &mut [IoSliceMut<'_>], offset: u64) -> io::Result<()> {
        self.device.wait(parts.iter().map(|part| part.len()).sum());
        self.file.read(parts, offset)
    }

    fn fetch(&self, offset: u64, length: usize) -> io::Result<Bytes> {
        self.device.wait(length);
        self.file.fetch(offset, length)
    }

    fn fetch_cached(&self, _offset: u64, _length: usize) -> io::Result<Option<Bytes>> {
        Ok(None)
    }

    fn write(&self, parts: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        self.file.write(parts, offset)
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.file.truncate(length)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
}
