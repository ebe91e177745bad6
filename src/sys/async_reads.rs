//! Asynchronous reads of files: no thread sleeps while the device works.
//!
//! A `pread` on a blocking thread costs two context switches to get there and two to get back; at 20,000 reads a second
//! these cost more than the reads. Here a read is one system call, and its completion wakes the runtime as a socket
//! does. Where the kernel or a container's seccomp profile offers no such interface, blocking threads read as before.
//!
//! The kernel writes into a buffer until it reports the completion, whether or not anyone still wants the data. So
//! [`AsyncReads`] owns buffer and file until then, and leaks them if it is dropped first.

mod aio;
mod uring;

use std::fs::File;
use std::io;
use std::mem::{self, ManuallyDrop};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use parking_lot::Mutex;
use slab::Slab;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use self::aio::Aio;
use self::uring::Uring;
use super::buffers::Buffer;
use super::source::Source;

/// Maximum number of reads in flight: submitting to a device whose queue is full would block.
const ENTRIES: u32 = 64;

/// A kernel interface for asynchronous reads.
trait Engine: Send + Sync {
    /// Returns a descriptor that becomes readable whenever reads have completed.
    fn readable(&self) -> io::Result<OwnedFd>;

    /// Submits a read of `length` bytes from `offset` into `into`, under a number that the caller chooses.
    ///
    /// # Errors
    /// `WouldBlock`: the read was not accepted, and another interface must be tried.
    ///
    /// # Safety
    /// The file stays open, and nobody else uses the memory, until [`Engine::ended`] has reported the number.
    unsafe fn submit(
        &self,
        number: usize,
        file: &File,
        into: *mut u8,
        length: usize,
        offset: u64,
    ) -> io::Result<()>;

    /// Reports the numbers of the reads that completed since the last call, and the bytes that each has read.
    fn ended(&self, tell: &mut dyn FnMut(usize, io::Result<usize>));
}

pub(crate) struct AsyncReads {
    engine: ManuallyDrop<Box<dyn Engine>>,
    reads: Mutex<Slab<Read>>,
    reaper: AbortHandle,
}

/// A read in flight: the buffer and file that the kernel uses, and the channel to the reader.
struct Read {
    /// Buffer; the kernel writes into its rest.
    buffer: Buffer,
    /// File, kept open until the kernel has completed the read.
    _file: Arc<File>,
    done: oneshot::Sender<io::Result<Buffer>>,
}

impl AsyncReads {
    /// Starts the available interfaces to read files with direct I/O (`direct`) or through the page cache, in the order
    /// in which they are to be tried: if one is full or does not support such a file, the next may work. None is
    /// available without a runtime. Also returns a description of them for the log, with the reason why one is missing.
    pub(crate) fn start(direct: bool) -> (Vec<Arc<Self>>, String) {
        let aio = direct.then(|| ("Linux AIO", Self::with(Aio::new())));
        let all = aio.into_iter().chain([("io_uring", Self::with(Uring::new()))]);
        let (mut names, mut missing, mut reads) = (Vec::new(), String::new(), Vec::new());
        for (way, started) in all {
            match started {
                Ok(started) => {
                    names.push(way);
                    reads.push(started);
                }
                Err(error) => missing = format!("{missing}; {way} is not available: {error}"),
            }
        }
        names.push("threads that wait");
        (reads, format!("{}{missing}", names.join(", then ")))
    }

    fn with(engine: io::Result<impl Engine + 'static>) -> io::Result<Arc<Self>> {
        let engine: Box<dyn Engine> = Box::new(engine?);
        let runtime = tokio::runtime::Handle::try_current().map_err(io::Error::other)?;
        let readable = engine.readable()?;
        // SAFETY: it owns the descriptor, which stays open and the same for as long.
        let readable = unsafe { AsyncFd::register_with_interest(readable, Interest::READABLE) }?;
        Ok(Arc::new_cyclic(|this| {
            let reaper = runtime.spawn(reap(readable, this.clone())).abort_handle();
            Self { engine: ManuallyDrop::new(engine), reads: Mutex::default(), reaper }
        }))
    }

    /// Reads `length` bytes from `offset`.
    ///
    /// # Errors
    /// Errors of the device; `UnexpectedEof` if the file ends early; `WouldBlock` if another interface must be tried.
    pub(crate) async fn read(
        &self,
        source: &Source,
        offset: u64,
        length: usize,
    ) -> io::Result<Bytes> {
        let span = source.span(offset, length);
        let mut buffer = source.buffer(span);
        while buffer.filled() < span.enough {
            let got = buffer.filled();
            let read = self.submit(buffer, &source.file, span.from + got as u64)?;
            buffer = read.await.map_err(|_| io::ErrorKind::BrokenPipe)??;
            if buffer.filled() == got {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(Bytes::from(buffer).slice(span.skip..span.enough))
    }

    fn submit(
        &self,
        mut buffer: Buffer,
        file: &Arc<File>,
        offset: u64,
    ) -> io::Result<oneshot::Receiver<io::Result<Buffer>>> {
        let rest = buffer.rest();
        let (into, length) = (rest.as_mut_ptr().cast(), rest.len());
        let (done, read) = oneshot::channel();
        let number = {
            let mut reads = self.reads.lock();
            if reads.len() >= ENTRIES as usize {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            reads.insert(Read { buffer, _file: file.clone(), done })
        };
        // SAFETY: the buffer and the file stay with `reads` until the kernel has ended the read: only `reap` takes them
        // out, and `Drop` leaks them. Nobody touches the memory meanwhile, and moving the buffer does not move it.
        let submitted = unsafe { self.engine.submit(number, file, into, length, offset) };
        if let Err(error) = submitted {
            self.reads.lock().remove(number);
            return Err(error);
        }
        Ok(read)
    }

    /// Delivers completed reads to their readers.
    fn reap(&self) {
        self.engine.ended(&mut |number, read| {
            let Some(ended) = self.reads.lock().try_remove(number) else { return };
            let Read { mut buffer, done, .. } = ended;
            let result = read.map(|bytes| {
                // SAFETY: the kernel wrote so many bytes at the beginning of the buffer's rest.
                unsafe { buffer.advance(bytes) };
                buffer
            });
            // The reader may have gone.
            let _ = done.send(result);
        });
    }
}

/// Delivers completed reads until the [`AsyncReads`] is dropped.
async fn reap(readable: AsyncFd<OwnedFd>, reads: Weak<AsyncReads>) {
    while let Ok(mut ready) = readable.readable().await {
        let Some(reads) = reads.upgrade() else { return };
        reads.reap();
        // Reads that complete from now on make it ready again.
        ready.clear_ready();
    }
}

impl Drop for AsyncReads {
    fn drop(&mut self) {
        self.reaper.abort();
        let reads = mem::take(self.reads.get_mut());
        match reads.is_empty() {
            // SAFETY: nobody comes after this.
            true => unsafe { ManuallyDrop::drop(&mut self.engine) },
            // The kernel may still write into these, and dropping an engine may wait for them.
            false => mem::forget(reads),
        }
    }
}

impl std::fmt::Debug for AsyncReads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AsyncReads")
            .field("reads", &self.reads.lock().len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::os::fd::AsRawFd as _;
    use std::os::unix::fs::FileExt as _;

    use super::*;
    use crate::sys::source::tests::{LENGTH, Written};

    /// Returns each interface to read the file that this system supports.
    async fn ways(written: &Written) -> Vec<(Arc<AsyncReads>, Source)> {
        let ways = [
            ("io_uring", AsyncReads::with(Uring::new()), Some(written.cached())),
            ("io_uring", AsyncReads::with(Uring::new()), written.direct()),
            ("aio", AsyncReads::with(Aio::new()), written.direct()),
        ];
        let mut there = Vec::new();
        for (name, reads, source) in ways {
            let (Ok(reads), Some(source)) = (reads, source) else {
                eprintln!("skipped: no {name} here");
                continue;
            };
            match reads.read(&source, 0, 1).await {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    eprintln!("skipped: no {name} on this file system");
                }
                _ => there.push((reads, source)),
            }
        }
        there
    }

    #[tokio::test]
    async fn any_stretch_is_read_exactly() {
        let written = Written::new("async");
        for (reads, source) in ways(&written).await {
            for (offset, length) in [(0, 1), (0, LENGTH), (4095, 2), (8192, 4096), (LENGTH - 5, 5)]
            {
                let read = reads.read(&source, offset as u64, length).await.unwrap();
                let expected = &written.1[offset..offset + length];
                assert!(read == expected, "{offset} {length} {source:?}");
            }
        }
    }

    #[tokio::test]
    async fn what_is_behind_the_end_is_an_error() {
        for (reads, source) in ways(&Written::new("async-end")).await {
            let error = reads.read(&source, LENGTH as u64 - 5, 6).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        }
    }

    #[tokio::test]
    async fn more_reads_than_it_has_room_for_are_refused_and_the_others_are_right() {
        let written = Written::new("async-full");
        for (reads, source) in ways(&written).await {
            let many = (0..2 * ENTRIES as usize).map(|n| {
                let (reads, source) = (&reads, &source);
                async move { (n, reads.read(source, n as u64, 1).await) }
            });
            let mut right = 0;
            for (n, read) in futures_util::future::join_all(many).await {
                match read {
                    Ok(read) => {
                        assert_eq!(read[0], written.1[n]);
                        right += 1;
                    }
                    Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
                }
            }
            assert!(right >= ENTRIES);
        }
    }

    #[tokio::test]
    async fn a_reader_that_goes_away_leaves_no_trace() {
        let written = Written::new("async-gone");
        for (reads, source) in ways(&written).await {
            for _ in 0..ENTRIES {
                let mut read = Box::pin(reads.read(&source, 0, LENGTH));
                // Submitted, and dropped before its result could be taken.
                let polled =
                    poll_fn(|context| read.as_mut().poll(context).is_pending().into()).await;
                assert!(polled);
            }
            while !reads.reads.lock().is_empty() {
                tokio::task::yield_now().await;
            }
            assert_eq!(reads.read(&source, 9, 90).await.unwrap(), written.1[9..99]);
        }
    }

    #[tokio::test]
    async fn what_was_written_and_is_not_on_the_device_yet_is_read_or_left_to_threads() {
        for (reads, source) in ways(&Written::new("async-dirty")).await {
            let path = format!("/proc/self/fd/{}", source.file.as_raw_fd());
            let file = File::options().write(true).open(path).unwrap();
            for n in 0..50 {
                file.write_all_at(&[n; 100], 4000).unwrap();
                match reads.read(&source, 3990, 120).await {
                    Ok(read) => assert_eq!(read[10..110], [n; 100]),
                    Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
                }
            }
        }
    }
}
