//! File layer: the file system operations that the disk tier uses.
//!
//! Two implementations: [`RealFolder`] here, and one for tests that keeps a live and a durable image, cuts the power
//! and fails on command. Nothing here is asynchronous: code that must not block calls only [`File::fetch_cached`].

use std::fmt::Debug;
use std::fs;
use std::io::{self, IoSlice, IoSliceMut};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use bytes::Bytes;
use rustix::fs::{Advice, FallocateFlags, FlockOperation};
use rustix::io::{Errno, ReadWriteFlags, retry_on_intr};

use super::private;
use crate::sys::buffers::Buffers;
use crate::sys::source::Source;

/// Granularity in bytes at which the page cache drops data; larger pages are dropped as a whole.
const PAGE: u64 = 4096;

/// A folder of segment files.
pub(in crate::cache::disk) trait Folder: Debug + Send + Sync {
    /// Returns the names of all files.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Creates an empty file and preallocates `reserve` bytes for it where the file system can.
    fn create(&self, name: &str, reserve: u64) -> io::Result<Arc<dyn File>>;
    fn open(&self, name: &str) -> io::Result<Arc<dyn File>>;
    /// Returns the length of a file in bytes; the file need not be readable.
    fn length(&self, name: &str) -> io::Result<u64>;
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes past creations and removals durable (they survive a power cut).
    fn sync(&self) -> io::Result<()>;
}

/// A file that is appended to by one thread and read by many.
pub(in crate::cache::disk) trait File: Debug + Send + Sync {
    fn len(&self) -> io::Result<u64>;
    /// Returns the time of the last write.
    fn modified(&self) -> io::Result<SystemTime> {
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Fills `parts` in order from `offset` on; fails with `UnexpectedEof` if the file ends early.
    fn read(&self, parts: &mut [IoSliceMut<'_>], offset: u64) -> io::Result<()>;
    /// Reads `length` bytes from `offset`; fails with `UnexpectedEof` if the file ends early.
    fn fetch(&self, offset: u64, length: usize) -> io::Result<Bytes> {
        let mut bytes = vec![0; length];
        self.read(&mut [IoSliceMut::new(&mut bytes)], offset)?;
        Ok(bytes.into())
    }
    /// As [`File::fetch`], but from the page cache and without blocking; `None` if not all of it is cached.
    fn fetch_cached(&self, offset: u64, length: usize) -> io::Result<Option<Bytes>>;
    /// Returns the source for asynchronous reads, which replace [`File::fetch`]; `None` if there is none.
    fn source(&self) -> Option<&Source> {
        None
    }
    /// Writes all of `parts` at `offset`.
    fn write(&self, parts: &mut [IoSlice<'_>], offset: u64) -> io::Result<()>;
    /// Truncates the file to `length` bytes, or extends it with zeros.
    fn truncate(&self, length: u64) -> io::Result<()>;
    /// Makes past writes durable (they survive a power cut).
    fn sync(&self) -> io::Result<()>;
    /// Whether [`File::prefetch`] has an effect.
    fn may_prefetch(&self) -> bool {
        false
    }
    /// Hints that these bytes will be read soon.
    fn prefetch(&self, _offset: u64, _length: u64) {}
    /// Drops these bytes from the page cache, as far as they are durable.
    fn drop_cached(&self, _offset: u64, _length: u64) {}
}

/// Use of the page cache for the files of a folder.
#[derive(Debug, Clone)]
pub(in crate::cache::disk) enum PageCache {
    /// Caches written and read data.
    Everything,
    /// Caches read data only. Caching written data as well would evict read data for data that is wanted less. It would
    /// also take memory that was not used lately, where a write has a fifth of the speed if a hypervisor must find that
    /// memory first.
    Reads,
    /// Caches nothing: files are read with direct I/O, into these buffers.
    Nothing(Arc<Buffers>),
}

/// A folder of the real file system.
#[derive(Debug)]
pub(in crate::cache::disk) struct RealFolder {
    path: PathBuf,
    pages: PageCache,
    writable: bool,
}

impl RealFolder {
    /// Opens a folder, and creates it if it is missing.
    pub(in crate::cache::disk) fn new(path: PathBuf, pages: PageCache) -> io::Result<Self> {
        private::make_folder(&path)?;
        Ok(Self { path, pages, writable: true })
    }

    /// Opens a folder whose files are read and not written; `None` if it does not exist.
    pub(in crate::cache::disk) fn existing(path: PathBuf) -> io::Result<Option<Self>> {
        let there = path.try_exists()?;
        Ok(there.then_some(Self { path, pages: PageCache::Everything, writable: false }))
    }

    fn file(&self, path: &Path, file: fs::File) -> io::Result<Arc<dyn File>> {
        let file = Arc::new(file);
        let source = match &self.pages {
            PageCache::Nothing(buffers) => Source::direct(path, buffers)?,
            PageCache::Everything | PageCache::Reads => Source::cached(file.clone()),
        };
        Ok(Arc::new(RealFile { file, source, pages: self.pages.clone(), forgotten: 0.into() }))
    }
}

impl Folder for RealFolder {
    fn list(&self) -> io::Result<Vec<String>> {
        let names = fs::read_dir(&self.path)?.map(|e| Ok(e?.file_name().into_string().ok()));
        Ok(names.collect::<io::Result<Vec<_>>>()?.into_iter().flatten().collect())
    }

    fn create(&self, name: &str, reserve: u64) -> io::Result<Arc<dyn File>> {
        let path = self.path.join(name);
        let file = private::make_file(&path)?;
        match rustix::fs::fallocate(&file, FallocateFlags::KEEP_SIZE, 0, reserve) {
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => self.file(&path, file),
            Err(error) => {
                fs::remove_file(&path)?;
                Err(error.into())
            }
        }
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let path = self.path.join(name);
        let file = fs::OpenOptions::new().read(true).write(self.writable).open(&path)?;
        self.file(&path, file)
    }

    fn length(&self, name: &str) -> io::Result<u64> {
        Ok(fs::metadata(self.path.join(name))?.len())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn sync(&self) -> io::Result<()> {
        fs::File::open(&self.path)?.sync_all()
    }
}

#[derive(Debug)]
struct RealFile {
    file: Arc<fs::File>,
    /// The same file as a source of reads.
    source: Source,
    pages: PageCache,
    /// Offset up to which data is durable and the page cache was told to drop it.
    forgotten: AtomicU64,
}

impl RealFile {
    fn is_direct(&self) -> bool {
        matches!(self.pages, PageCache::Nothing(_))
    }

    /// Tells the page cache to drop durable data, except for the last page, which is still appended to.
    fn forget(&self) {
        let end = self.len().unwrap_or(0) / PAGE * PAGE;
        let from = self.forgotten.fetch_max(end, Ordering::Relaxed);
        if let Some(length) = end.checked_sub(from).and_then(NonZeroU64::new) {
            // A hint: data that stays does no harm.
            let _ = rustix::fs::fadvise(&*self.file, from, Some(length), Advice::DontNeed);
        }
    }
}

impl File for RealFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn modified(&self) -> io::Result<SystemTime> {
        self.file.metadata()?.modified()
    }

    fn read(&self, parts: &mut [IoSliceMut<'_>], offset: u64) -> io::Result<()> {
        if self.is_direct() {
            return self.source.read(parts, offset);
        }
        let (mut parts, mut offset) = (parts, offset);
        while parts.iter().any(|p| !p.is_empty()) {
            let flags = ReadWriteFlags::empty();
            match retry_on_intr(|| rustix::io::preadv2(&*self.file, parts, offset, flags))? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => {
                    IoSliceMut::advance_slices(&mut parts, read);
                    offset += read as u64;
                }
            }
        }
        Ok(())
    }

    fn fetch(&self, offset: u64, length: usize) -> io::Result<Bytes> {
        self.source.fetch(offset, length)
    }

    fn fetch_cached(&self, offset: u64, length: usize) -> io::Result<Option<Bytes>> {
        self.source.fetch_cached(offset, length)
    }

    fn source(&self) -> Option<&Source> {
        Some(&self.source)
    }

    fn write(&self, parts: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        let (mut parts, mut offset) = (parts, offset);
        while parts.iter().any(|p| !p.is_empty()) {
            match retry_on_intr(|| rustix::io::pwritev(&*self.file, parts, offset))? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                written => {
                    IoSlice::advance_slices(&mut parts, written);
                    offset += written as u64;
                }
            }
        }
        Ok(())
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()?;
        if !matches!(self.pages, PageCache::Everything) {
            self.forget();
        }
        Ok(())
    }

    fn drop_cached(&self, offset: u64, length: u64) {
        if !self.is_direct() {
            // A hint: data that stays cached is still read correctly.
            let length = NonZeroU64::new(length);
            let _ = rustix::fs::fadvise(&*self.file, offset, length, Advice::DontNeed);
        }
    }

    fn may_prefetch(&self) -> bool {
        !self.is_direct()
    }

    fn prefetch(&self, offset: u64, length: u64) {
        if self.may_prefetch() {
            // A hint: if it is ignored, the read itself fetches the data.
            let length = NonZeroU64::new(length);
            let _ = rustix::fs::fadvise(&*self.file, offset, length, Advice::WillNeed);
        }
    }
}

/// Names of the folders below a path.
pub(in crate::cache::disk) const BLOCKS: &str = "blocks";
pub(in crate::cache::disk) const OBJECTS: &str = "objects";
/// Name of the lock file of a path.
pub(in crate::cache::disk) const LOCK: &str = "lock";

/// Lock of a folder against other processes, released when it is dropped.
#[derive(Debug)]
pub(in crate::cache::disk) struct FolderLock {
    _file: fs::File,
}

impl FolderLock {
    /// # Errors
    /// `WouldBlock` if another process holds the lock; or the folder cannot be written.
    pub(in crate::cache::disk) fn take(folder: &Path) -> io::Result<Self> {
        private::make_folder(folder)?;
        let file = private::open_or_make(&folder.join(LOCK))?;
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Self { _file: file })
    }

    /// Takes a shared lock on a folder with a lock file: it excludes [`FolderLock::take`], but not other readers.
    ///
    /// # Errors
    /// `WouldBlock` if a process holds the exclusive lock; `NotFound` if there is no lock file.
    pub(in crate::cache::disk) fn share(folder: &Path) -> io::Result<Self> {
        let file = fs::File::open(folder.join(LOCK))?;
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared)?;
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, pages: PageCache) -> RealFile {
        let name = format!("hotset-files-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let file = fs::OpenOptions::new().read(true).write(true).create_new(true).open(&path);
        let file = Arc::new(file.unwrap());
        fs::remove_file(path).unwrap();
        RealFile { source: Source::cached(file.clone()), file, pages, forgotten: 0.into() }
    }

    /// Appends three pieces and makes each durable. Returns the offset after each up to which the page cache was told
    /// to drop data; whether it does is up to the kernel.
    fn forgotten(file: &RealFile) -> [u64; 3] {
        [(0, 5000), (5000, 100), (5100, 10_000)].map(|(at, length)| {
            file.write(&mut [IoSlice::new(&vec![7; length])], at).unwrap();
            file.sync().unwrap();
            file.forgotten.load(Ordering::Relaxed)
        })
    }

    #[test]
    fn the_page_cache_may_forget_what_is_durable_but_for_the_last_page() {
        assert_eq!(forgotten(&file("reads", PageCache::Reads)), [4096, 4096, 12_288]);
    }

    #[test]
    fn where_the_page_cache_is_for_everything_nothing_is_forgotten() {
        assert_eq!(forgotten(&file("everything", PageCache::Everything)), [0, 0, 0]);
    }
}
