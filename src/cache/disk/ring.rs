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

/// The most reads at a time.
const ENTRIES: u32 = 256;

/// What is to be read of a file, into memory that is aligned like it.
#[derive(Debug)]
pub(super) struct Wanted {
    pub file: Arc<File>,
    pub offset: u64,
    pub length: usize,
    /// Offset and memory are multiples of this, and so is what is read; 1 where it does not matter.
    pub alignment: usize,
}

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
    /// Initialized up to its length; the kernel writes behind that.
    buffer: Vec<u8>,
    _file: Arc<File>,
    done: oneshot::Sender<io::Result<Vec<u8>>>,
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

    /// The bytes that are wanted.
    ///
    /// # Errors
    /// The device's; `UnexpectedEof` when the file ends before; `WouldBlock` when too many reads are under way.
    pub(super) async fn read(&self, wanted: Wanted) -> io::Result<Bytes> {
        let Wanted { file, offset, length, alignment } = wanted;
        let align = alignment as u64;
        let from = offset / align * align;
        let skip = usize::try_from(offset - from).expect("below the alignment");
        let span = (skip + length).next_multiple_of(alignment);
        let mut buffer: Vec<u8> = Vec::with_capacity(span + alignment);
        // Memory before the aligned part, so that all up to the end of what was read is initialized.
        let pad = buffer.as_ptr().align_offset(alignment);
        buffer.resize(pad, 0);
        let end = pad + skip + length;
        while buffer.len() < end {
            let got = buffer.len();
            let (done, read) = oneshot::channel();
            let at = from + (got - pad) as u64;
            self.submit(Read { buffer, _file: file.clone(), done }, &file, at, pad + span - got)?;
            buffer = read.await.map_err(|_| io::ErrorKind::BrokenPipe)??;
            if buffer.len() == got {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(Bytes::from(buffer).slice(pad + skip..end))
    }

    fn submit(&self, mut read: Read, file: &File, offset: u64, length: usize) -> io::Result<()> {
        let mut inner = self.inner.lock();
        let Inner { ring, reads } = &mut *inner;
        if reads.len() >= ENTRIES as usize {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let spare = read.buffer.spare_capacity_mut();
        assert!(length <= spare.len(), "the kernel writes inside the buffer");
        let (into, length) = (spare.as_mut_ptr().cast(), u32::try_from(length).unwrap_or(u32::MAX));
        let entry = reads.vacant_entry();
        let submission = opcode::Read::new(types::Fd(file.as_raw_fd()), into, length)
            .offset(offset)
            .build()
            .user_data(entry.key() as u64);
        // SAFETY: the buffer's memory and the file stay with `reads` until the kernel has completed the read:
        // only `Inner::reap` takes them out, and `Drop` leaks them. Nobody else touches the memory meanwhile, and
        // moving the `Vec` does not move it. `length` was compared with the capacity.
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
                    // SAFETY: the kernel wrote so many bytes behind the buffer's length, and not more than there
                    // was room for.
                    unsafe { buffer.set_len(buffer.len() + read) };
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
    use std::io::Write as _;

    use super::*;

    const LENGTH: usize = 300_000;

    fn file() -> (Arc<File>, Vec<u8>) {
        let bytes: Vec<u8> = (0..LENGTH).map(|n| (n * 7 / 3).to_le_bytes()[0]).collect();
        let path = std::env::temp_dir().join(format!(
            "hotset-ring-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        ));
        let mut file =
            File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        file.write_all(&bytes).unwrap();
        (Arc::new(file), bytes)
    }

    fn ring() -> Option<Arc<Ring>> {
        Ring::start().inspect_err(|error| eprintln!("skipped: no io_uring here: {error}")).ok()
    }

    #[tokio::test]
    async fn any_stretch_is_read_exactly() {
        let Some(ring) = ring() else { return };
        let (file, bytes) = file();
        for (offset, length) in [(0, 1), (0, LENGTH), (4095, 2), (8192, 4096), (LENGTH - 5, 5)] {
            for alignment in [1, 512, 4096] {
                let wanted =
                    Wanted { file: file.clone(), offset: offset as u64, length, alignment };
                let read = ring.read(wanted).await.unwrap();
                assert!(read == bytes[offset..offset + length], "{offset} {length} {alignment}");
            }
        }
    }

    #[tokio::test]
    async fn what_is_behind_the_end_is_an_error() {
        let Some(ring) = ring() else { return };
        let (file, _) = file();
        let wanted = Wanted { file, offset: LENGTH as u64 - 5, length: 6, alignment: 1 };
        assert_eq!(ring.read(wanted).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn more_reads_than_it_has_room_for_are_refused_and_the_others_are_right() {
        let Some(ring) = ring() else { return };
        let (file, bytes) = file();
        let reads = (0..2 * ENTRIES as usize).map(|n| {
            let wanted = Wanted { file: file.clone(), offset: n as u64, length: 1, alignment: 1 };
            let ring = &ring;
            async move { (n, ring.read(wanted).await) }
        });
        let mut right = 0;
        for (n, read) in futures_util::future::join_all(reads).await {
            match read {
                Ok(read) => {
                    assert_eq!(read[0], bytes[n]);
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
        let (file, bytes) = file();
        for _ in 0..ENTRIES {
            let wanted = Wanted { file: file.clone(), offset: 0, length: LENGTH, alignment: 1 };
            let mut read = Box::pin(ring.read(wanted));
            // Submitted, and dropped before anyone could take its answer.
            let polled = poll_fn(|context| read.as_mut().poll(context).is_pending().into()).await;
            assert!(polled);
        }
        let wanted = Wanted { file, offset: 9, length: 90, alignment: 1 };
        while !ring.inner.lock().reads.is_empty() {
            tokio::task::yield_now().await;
        }
        assert_eq!(ring.read(wanted).await.unwrap(), bytes[9..99]);
    }
}
