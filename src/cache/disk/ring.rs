//! Reads that the device does while no thread waits: `io_uring`.
//!
//! A thread that sleeps in `pread` costs two changes of thread to get to it and two to get back; at 20,000 reads a
//! second these cost more than the reads. Here a read is one system call, and its end wakes the runtime as a
//! socket does. Where the kernel or a container's seccomp profile has no `io_uring`, threads wait as before.
//!
//! The kernel writes into a buffer until it has said that it is done, whether or not anyone still wants it. So
//! buffer and file belong to the ring until then, and are leaked when the ring goes first.

#![allow(unsafe_code, reason = "the kernel writes into buffers while the compiler looks away")]

use std::fs::File;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use io_uring::{IoUring, opcode, types};
use parking_lot::Mutex;
use slab::Slab;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use super::buffers::Buffer;
use super::source::Source;

/// The most reads at a time.
const ENTRIES: u32 = 256;

#[derive(Debug)]
pub(super) struct Ring {
    inner: Mutex<Inner>,
    reaper: AbortHandle,
}

struct Inner {
    ring: IoUring,
    reads: Slab<Read>,
}

/// A read under way: what the kernel uses, and who waits for it.
struct Read {
    /// The kernel writes into its rest.
    buffer: Buffer,
    file: Arc<File>,
    done: oneshot::Sender<io::Result<Buffer>>,
}

impl Ring {
    /// # Errors
    /// There is no `io_uring` here, or no runtime.
    pub(super) fn start() -> io::Result<Arc<Self>> {
        let runtime = tokio::runtime::Handle::try_current().map_err(io::Error::other)?;
        let ring = open()?;
        // SAFETY: the ring is open, and outlives the borrow.
        let readable = unsafe { BorrowedFd::borrow_raw(ring.as_raw_fd()) }.try_clone_to_owned()?;
        // SAFETY: it owns the descriptor, which stays open and the same for as long.
        let readable = unsafe { AsyncFd::register_with_interest(readable, Interest::READABLE) }?;
        Ok(Arc::new_cyclic(|this| {
            let reaper = runtime.spawn(reap(readable, this.clone())).abort_handle();
            Self { inner: Mutex::new(Inner { ring, reads: Slab::new() }), reaper }
        }))
    }

    /// `length` bytes from `offset` on.
    ///
    /// # Errors
    /// The device's; `UnexpectedEof` when the file ends before; `WouldBlock` when too many reads are under way.
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

    fn submit(&self, mut read: Read, offset: u64) -> io::Result<()> {
        let mut inner = self.inner.lock();
        let Inner { ring, reads } = &mut *inner;
        if reads.len() >= ENTRIES as usize {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let rest = read.buffer.rest();
        let (into, length) =
            (rest.as_mut_ptr().cast(), u32::try_from(rest.len()).unwrap_or(u32::MAX));
        let entry = reads.vacant_entry();
        let submission = opcode::Read::new(types::Fd(read.file.as_raw_fd()), into, length)
            .offset(offset)
            .build()
            .user_data(entry.key() as u64);
        // SAFETY: the buffer's memory and the file stay with `reads` until the kernel has completed the read:
        // only `Inner::reap` takes them out, and `Drop` leaks them. Nobody else touches the memory meanwhile, and
        // moving the buffer does not move it.
        let pushed = unsafe { ring.submission().push(&submission) };
        pushed.map_err(|_| io::ErrorKind::WouldBlock)?;
        entry.insert(read);
        loop {
            match ring.submit() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The kernel takes it with the next one; whoever waits has a timeout.
                Ok(_) | Err(_) => return Ok(()),
            }
        }
    }
}

/// A thread that runs is not interrupted for each completion, which costs more than it brings: it learns of them when
/// it next calls the kernel. Linux before 5.19 does not know that, and gets a plain ring.
fn open() -> io::Result<IoUring> {
    IoUring::builder().setup_coop_taskrun().build(ENTRIES).or_else(|_| IoUring::new(ENTRIES))
}

impl Inner {
    /// Hands out what the kernel has completed.
    fn reap(&mut self) {
        let Self { ring, reads } = self;
        for completion in ring.completion() {
            let key = usize::try_from(completion.user_data()).expect("a slab's key");
            let Some(Read { mut buffer, done, .. }) = reads.try_remove(key) else { continue };
            let result = match usize::try_from(completion.result()) {
                Ok(read) => {
                    // SAFETY: the kernel wrote so many bytes at the beginning of the buffer's rest.
                    unsafe { buffer.advance(read) };
                    Ok(buffer)
                }
                Err(_) => Err(io::Error::from_raw_os_error(-completion.result())),
            };
            // Who waited may have gone.
            let _ = done.send(result);
        }
    }
}

/// Hands out completions until the ring is gone.
async fn reap(readable: AsyncFd<OwnedFd>, ring: Weak<Ring>) {
    while let Ok(mut ready) = readable.readable().await {
        let Some(ring) = ring.upgrade() else { return };
        ring.inner.lock().reap();
        // What completes from now on makes it ready again.
        ready.clear_ready();
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        self.reaper.abort();
        let inner = self.inner.get_mut();
        inner.reap();
        // The kernel may still write into these.
        mem::forget(mem::take(&mut inner.reads));
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

    use super::super::source::tests::{LENGTH, Written};
    use super::*;

    fn ring() -> Option<Arc<Ring>> {
        Ring::start().inspect_err(|error| eprintln!("skipped: no io_uring here: {error}")).ok()
    }

    #[tokio::test]
    async fn any_stretch_is_read_exactly() {
        let Some(ring) = ring() else { return };
        let written = Written::new("ring");
        let sources = written.sources();
        for (offset, length) in [(0, 1), (0, LENGTH), (4095, 2), (8192, 4096), (LENGTH - 5, 5)] {
            for source in &sources {
                let read = ring.read(source, offset as u64, length).await.unwrap();
                let expected = &written.1[offset..offset + length];
                assert!(read == expected, "{offset} {length} {source:?}");
            }
        }
    }

    #[tokio::test]
    async fn what_is_behind_the_end_is_an_error() {
        let Some(ring) = ring() else { return };
        for source in Written::new("ring-end").sources() {
            let error = ring.read(&source, LENGTH as u64 - 5, 6).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        }
    }

    #[tokio::test]
    async fn more_reads_than_it_has_room_for_are_refused_and_the_others_are_right() {
        let Some(ring) = ring() else { return };
        let written = Written::new("ring-full");
        let source = written.cached();
        let reads = (0..2 * ENTRIES as usize).map(|n| {
            let (ring, source) = (&ring, &source);
            async move { (n, ring.read(source, n as u64, 1).await) }
        });
        let mut right = 0;
        for (n, read) in futures_util::future::join_all(reads).await {
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

    #[tokio::test]
    async fn a_reader_that_goes_away_leaves_no_trace() {
        let Some(ring) = ring() else { return };
        let written = Written::new("ring-gone");
        for source in written.sources() {
            gone(&ring, &source, &written.1).await;
        }
    }

    async fn gone(ring: &Ring, source: &Source, bytes: &[u8]) {
        for _ in 0..ENTRIES {
            let mut read = Box::pin(ring.read(source, 0, LENGTH));
            // Submitted, and dropped before anyone could take its answer.
            let polled = poll_fn(|context| read.as_mut().poll(context).is_pending().into()).await;
            assert!(polled);
        }
        while !ring.inner.lock().reads.is_empty() {
            tokio::task::yield_now().await;
        }
        assert_eq!(ring.read(source, 9, 90).await.unwrap(), bytes[9..99]);
    }
}
