//! Reads that the device does while no thread waits.
//!
//! A thread that sleeps in `pread` costs two changes of thread to get to it and two to get back; at 20,000 reads a
//! second these cost more than the reads. Here a read is one system call, and its end wakes the runtime as a
//! socket does. Where the kernel or a container's seccomp profile has none of it, threads wait as before.
//!
//! The kernel writes into a buffer until it has said that it is done, whether or not anyone still wants it. So
//! buffer and file belong to this until then, and are leaked when it goes first.

#![allow(unsafe_code, reason = "the kernel writes into buffers while the compiler looks away")]

mod aio;
mod uring;

use std::fs::File;
use std::io;
use std::mem::{self, ManuallyDrop, MaybeUninit};
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

/// The most reads at a time.
const ENTRIES: u32 = 256;

/// A way to have the kernel read.
trait Engine: Send {
    /// What becomes readable whenever reads have ended.
    fn readable(&self) -> io::Result<OwnedFd>;

    /// Has `into` read from `offset` on, under a number of the caller's, and does not wait.
    ///
    /// # Errors
    /// It was not taken; `WouldBlock` when only a thread that waits can read this.
    ///
    /// # Safety
    /// File and memory stay, and nobody touches the memory, until [`Engine::ended`] has told the number.
    unsafe fn submit(
        &mut self,
        number: usize,
        file: &File,
        into: &mut [MaybeUninit<u8>],
        offset: u64,
    ) -> io::Result<()>;

    /// Tells the numbers of the reads that ended since it was last asked, and how many bytes each read.
    fn ended(&mut self, tell: &mut dyn FnMut(usize, io::Result<usize>));
}

#[derive(Debug)]
pub(super) struct AsyncReads {
    inner: Mutex<Inner>,
    reaper: AbortHandle,
}

struct Inner {
    /// Dropped by hand, when the kernel has no read left.
    engine: ManuallyDrop<Box<dyn Engine>>,
    reads: Slab<Read>,
}

/// A read under way: what the kernel uses, and who waits for it.
struct Read {
    /// The kernel writes into its rest.
    buffer: Buffer,
    file: Arc<File>,
    done: oneshot::Sender<io::Result<Buffer>>,
}

impl AsyncReads {
    /// For files that are read past the page cache, or through it.
    ///
    /// # Errors
    /// The kernel has no way to read so, or there is no runtime.
    pub(super) fn start(direct: bool) -> io::Result<Arc<Self>> {
        let aio = if direct { Aio::new().ok() } else { None };
        Self::with(match aio {
            Some(aio) => Box::new(aio),
            None => Box::new(Uring::new()?),
        })
    }

    fn with(engine: Box<dyn Engine>) -> io::Result<Arc<Self>> {
        let runtime = tokio::runtime::Handle::try_current().map_err(io::Error::other)?;
        let readable = engine.readable()?;
        // SAFETY: it owns the descriptor, which stays open and the same for as long.
        let readable = unsafe { AsyncFd::register_with_interest(readable, Interest::READABLE) }?;
        Ok(Arc::new_cyclic(|this| {
            let reaper = runtime.spawn(reap(readable, this.clone())).abort_handle();
            let engine = ManuallyDrop::new(engine);
            Self { inner: Mutex::new(Inner { engine, reads: Slab::new() }), reaper }
        }))
    }

    /// `length` bytes from `offset` on.
    ///
    /// # Errors
    /// The device's; `UnexpectedEof` when the file ends before; `WouldBlock` when too many reads are under way, or only
    /// a thread that waits can read this.
    pub(super) async fn read(
        &self,
        source: &Source,
        offset: u64,
        length: usize,
    ) -> io::Result<Bytes> {
        let span = source.span(offset, length);
        let mut buffer = source.buffer(span);
        while buffer.filled() < span.enough {
            let got = buffer.filled();
            let (done, read) = oneshot::channel();
            let file = source.file.clone();
            self.submit(Read { buffer, file, done }, span.from + got as u64)?;
            buffer = read.await.map_err(|_| io::ErrorKind::BrokenPipe)??;
            if buffer.filled() == got {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(Bytes::from(buffer).slice(span.skip..span.enough))
    }

    fn submit(&self, read: Read, offset: u64) -> io::Result<()> {
        let mut inner = self.inner.lock();
        let Inner { engine, reads } = &mut *inner;
        if reads.len() >= ENTRIES as usize {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let number = reads.insert(read);
        let Read { buffer, file, .. } = &mut reads[number];
        // SAFETY: the buffer's memory and the file stay with `reads` until the kernel has ended the read: only
        // `Inner::reap` takes them out, and `Drop` leaks them. Nobody else touches the memory meanwhile, and moving the
        // buffer does not move it.
        let submitted = unsafe { engine.submit(number, file, buffer.rest(), offset) };
        if submitted.is_err() {
            reads.remove(number);
        }
        submitted
    }
}

impl Inner {
    /// Hands out what the kernel has read.
    fn reap(&mut self) {
        let Self { engine, reads } = self;
        engine.ended(&mut |number, read| {
            let Some(Read { mut buffer, done, .. }) = reads.try_remove(number) else { return };
            let result = read.map(|bytes| {
                // SAFETY: the kernel wrote so many bytes at the beginning of the buffer's rest.
                unsafe { buffer.advance(bytes) };
                buffer
            });
            // Who waited may have gone.
            let _ = done.send(result);
        });
    }
}

/// Hands out what was read until the reads are gone.
async fn reap(readable: AsyncFd<OwnedFd>, reads: Weak<AsyncReads>) {
    while let Ok(mut ready) = readable.readable().await {
        let Some(reads) = reads.upgrade() else { return };
        reads.inner.lock().reap();
        // What ends from now on makes it ready again.
        ready.clear_ready();
    }
}

impl Drop for AsyncReads {
    fn drop(&mut self) {
        self.reaper.abort();
        let Inner { engine, reads } = self.inner.get_mut();
        match reads.is_empty() {
            // SAFETY: nobody comes after this.
            true => unsafe { ManuallyDrop::drop(engine) },
            // The kernel may still write into these; and one engine would wait for it here.
            false => mem::forget(mem::take(reads)),
        }
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").field("reads", &self.reads.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::os::fd::AsRawFd as _;
    use std::os::unix::fs::FileExt as _;

    use super::super::source::tests::{LENGTH, Written};
    use super::*;

    /// Each way to read the file that there is here.
    fn ways(written: &Written) -> Vec<(Arc<AsyncReads>, Source)> {
        let uring = || Uring::new().map(|uring| Box::new(uring) as Box<dyn Engine>);
        let aio = || Aio::new().map(|aio| Box::new(aio) as Box<dyn Engine>);
        let ways: [(_, &dyn Fn() -> _, _); 3] = [
            ("io_uring", &uring, Some(written.cached())),
            ("io_uring", &uring, written.direct()),
            ("aio", &aio, written.direct()),
        ];
        let there = ways.into_iter().filter_map(|(name, engine, source)| {
            let reads = engine().and_then(AsyncReads::with);
            let reads = reads.inspect_err(|e| eprintln!("skipped: no {name} here: {e}")).ok();
            reads.zip(source)
        });
        there.collect()
    }

    #[tokio::test]
    async fn any_stretch_is_read_exactly() {
        let written = Written::new("async");
        for (reads, source) in ways(&written) {
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
        for (reads, source) in ways(&Written::new("async-end")) {
            let error = reads.read(&source, LENGTH as u64 - 5, 6).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        }
    }

    #[tokio::test]
    async fn more_reads_than_it_has_room_for_are_refused_and_the_others_are_right() {
        let written = Written::new("async-full");
        for (reads, source) in ways(&written) {
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
        for (reads, source) in ways(&written) {
            for _ in 0..ENTRIES {
                let mut read = Box::pin(reads.read(&source, 0, LENGTH));
                // Submitted, and dropped before anyone could take its answer.
                let polled =
                    poll_fn(|context| read.as_mut().poll(context).is_pending().into()).await;
                assert!(polled);
            }
            while !reads.inner.lock().reads.is_empty() {
                tokio::task::yield_now().await;
            }
            assert_eq!(reads.read(&source, 9, 90).await.unwrap(), written.1[9..99]);
        }
    }

    #[tokio::test]
    async fn what_was_written_and_is_not_on_the_device_yet_is_read_or_left_to_threads() {
        for (reads, source) in ways(&Written::new("async-dirty")) {
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
