//! Pool of read buffers in huge pages, for direct I/O.
//!
//! A direct read reaches the device in as many pieces as its buffer has in physical memory: 17 for 64 KiB in ordinary
//! pages, one in a huge page. On a virtual machine's device, where each piece is processed once more, huge pages gave
//! 1.5 to 2 times as many reads a second.
//!
//! Stretches of the pool are allocated first fit from the beginning, so that unneeded pages are not touched and take no
//! memory.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd as _;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use rustix::io::retry_on_intr;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

/// Bytes of the pool; once all are in use, readers get ordinary memory.
const SIZE: usize = 32 * 1024 * 1024;
const HUGE_PAGE: usize = 2 * 1024 * 1024;
/// Unit of allocation in bytes: stretches begin and end at multiples of it, which suits every device.
const UNIT: usize = 4096;
/// Maximum bytes of a stretch. Longer buffers are ordinary memory: they are seldom needed, as when a log is opened, and
/// would stay resident.
const LONGEST: usize = SIZE / 8;
/// Maximum number of free stretches examined: among very many short ones, ordinary memory is found sooner.
const LOOKED_AT: usize = 64;

/// Pool of buffers in one mapping.
#[derive(Debug)]
pub(crate) struct Buffers {
    mapping: NonNull<u8>,
    /// Offset of the first huge page in the mapping, in bytes.
    start: usize,
    /// Free stretches: offsets from `start`, and lengths in bytes; no two are adjacent.
    free: Mutex<BTreeMap<usize, usize>>,
}

// SAFETY: each byte of the mapping belongs to one `Stretch`, or to nobody; `free` is behind a lock.
unsafe impl Send for Buffers {}
// SAFETY: as above.
unsafe impl Sync for Buffers {}

impl Buffers {
    const MAPPED: usize = SIZE + HUGE_PAGE;

    /// Maps the pool. If that fails, all buffers are ordinary memory.
    pub(crate) fn new() -> Arc<Self> {
        let (kind, access) = (MapFlags::PRIVATE, ProtFlags::READ | ProtFlags::WRITE);
        // SAFETY: new memory, at a place that the kernel chooses.
        let mapping = unsafe { mmap_anonymous(ptr::null_mut(), Self::MAPPED, access, kind) };
        let Some(mapping) = mapping.ok().and_then(|mapping| NonNull::new(mapping.cast::<u8>()))
        else {
            return Arc::new(Self {
                mapping: NonNull::dangling(),
                start: 0,
                free: Mutex::default(),
            });
        };
        let start = mapping.align_offset(HUGE_PAGE);
        // SAFETY: inside the mapping, whose first huge page begins less than one behind its start. Where the kernel
        // has none, ordinary pages do.
        let _ = unsafe { madvise(mapping.add(start).as_ptr().cast(), SIZE, Advice::LinuxHugepage) };
        Arc::new(Self { mapping, start, free: Mutex::new([(0, SIZE)].into()) })
    }

    /// Allocates a buffer of `length` bytes, aligned to 4 KiB.
    pub(crate) fn take(self: &Arc<Self>, length: usize) -> Buffer {
        let whole = length.max(1).next_multiple_of(UNIT);
        if whole > LONGEST {
            return Buffer::ordinary(length, UNIT);
        }
        let at = take(&mut self.free.lock(), whole);
        let Some(at) = at else { return Buffer::ordinary(length, UNIT) };
        let memory = Memory::Stretch(Stretch { of: self.clone(), at, length: whole });
        Buffer { memory, length, filled: 0 }
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        if self.free.get_mut().is_empty() {
            return;
        }
        // SAFETY: it was mapped, since something is free; and no stretch is left: each holds an `Arc` of this.
        let _ = unsafe { munmap(self.mapping.as_ptr().cast(), Self::MAPPED) };
    }
}

/// Takes the first free stretch of `length` bytes and returns its offset; `None` also if it is far behind short ones.
fn take(free: &mut BTreeMap<usize, usize>, length: usize) -> Option<usize> {
    let (&at, &there) = free.iter().take(LOOKED_AT).find(|(_, there)| **there >= length)?;
    free.remove(&at);
    if there > length {
        free.insert(at + length, there - length);
    }
    Some(at)
}

fn give_back(free: &mut BTreeMap<usize, usize>, mut at: usize, mut length: usize) {
    if let Some(behind) = free.remove(&(at + length)) {
        length += behind;
    }
    if let Some((&before, &there)) = free.range(..at).next_back()
        && before + there == at
    {
        (at, length) = (before, there + length);
    }
    free.insert(at, length);
}

/// A part of the pool with one owner, given back when it is dropped.
#[derive(Debug)]
struct Stretch {
    of: Arc<Buffers>,
    at: usize,
    length: usize,
}

impl Stretch {
    fn start(&self) -> *mut u8 {
        // SAFETY: inside the mapping.
        unsafe { self.of.mapping.add(self.of.start + self.at).as_ptr() }
    }
}

impl Drop for Stretch {
    fn drop(&mut self) {
        give_back(&mut self.of.free.lock(), self.at, self.length);
    }
}

#[derive(Debug)]
enum Memory {
    Stretch(Stretch),
    /// Spare capacity of an empty vector, used from `pad` on for alignment; only what was read is initialized.
    Ordinary {
        memory: Vec<u8>,
        pad: usize,
    },
}

/// A buffer that reads fill from its beginning on.
#[derive(Debug)]
pub(crate) struct Buffer {
    memory: Memory,
    length: usize,
    filled: usize,
}

impl Buffer {
    /// Allocates ordinary memory for `length` bytes that begins at a multiple of `alignment`.
    pub(crate) fn ordinary(length: usize, alignment: usize) -> Self {
        let memory: Vec<u8> = Vec::with_capacity(length + alignment);
        let pad = memory.as_ptr().align_offset(alignment);
        Self { memory: Memory::Ordinary { memory, pad }, length, filled: 0 }
    }

    /// Number of bytes read so far.
    pub(crate) fn filled(&self) -> usize {
        self.filled
    }

    /// Returns the part that is not filled yet. Its address does not change when the buffer is moved.
    pub(crate) fn rest(&mut self) -> &mut [MaybeUninit<u8>] {
        let (start, filled) = (self.start(), self.filled);
        // SAFETY: the buffer's own memory, of `length` bytes; `MaybeUninit` asks nothing of what is in it.
        unsafe { std::slice::from_raw_parts_mut(start.add(filled).cast(), self.length - filled) }
    }

    /// Reads from `offset` of the file into the rest, as much as the device gives at once. Returns the bytes read; 0 at
    /// the end of the file.
    ///
    /// # Errors
    /// Errors of the device.
    pub(crate) fn read(&mut self, file: &File, offset: u64) -> io::Result<usize> {
        let read = retry_on_intr(|| Ok(rustix::io::pread(file, self.rest(), offset)?.0.len()))?;
        // SAFETY: the kernel has written so many bytes.
        unsafe { self.advance(read) };
        Ok(read)
    }

    /// As [`Buffer::read`], but only from the page cache and without blocking; 0 also if the data is not cached, or the
    /// file system cannot tell.
    ///
    /// # Errors
    /// Errors of the file system.
    pub(crate) fn read_cached(&mut self, file: &File, offset: u64) -> io::Result<usize> {
        let rest = self.rest();
        let part = libc::iovec { iov_base: rest.as_mut_ptr().cast(), iov_len: rest.len() };
        let (file, offset) = (file.as_raw_fd(), i64::try_from(offset).unwrap_or(i64::MAX));
        // SAFETY: the one part is memory of this buffer, which nobody else knows.
        let read = unsafe { libc::preadv2(file, &raw const part, 1, offset, libc::RWF_NOWAIT) };
        match usize::try_from(read) {
            Ok(read) => {
                // SAFETY: the kernel has written so many bytes.
                unsafe { self.advance(read) };
                Ok(read)
            }
            Err(_) => match io::Error::last_os_error() {
                error if is_no_answer(&error) => Ok(0),
                error => Err(error),
            },
        }
    }

    /// Records that `bytes` more bytes were read.
    ///
    /// # Safety
    /// The first `bytes` bytes of the rest are initialized.
    pub(crate) unsafe fn advance(&mut self, bytes: usize) {
        assert!(bytes <= self.length - self.filled, "more was read than there is room for");
        self.filled += bytes;
    }

    fn start(&mut self) -> *mut u8 {
        match &mut self.memory {
            Memory::Stretch(stretch) => stretch.start(),
            // SAFETY: less than the alignment that was added to its capacity.
            Memory::Ordinary { memory, pad } => unsafe { memory.as_mut_ptr().add(*pad) },
        }
    }
}

/// Whether the data is not cached, or the file system cannot tell.
fn is_no_answer(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EOPNOTSUPP | libc::EINTR))
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        let start = match &self.memory {
            Memory::Stretch(stretch) => stretch.start().cast_const(),
            // SAFETY: as in `start`.
            Memory::Ordinary { memory, pad } => unsafe { memory.as_ptr().add(*pad) },
        };
        // SAFETY: so much of it was written, and nobody writes it any more without `&mut self`.
        unsafe { std::slice::from_raw_parts(start, self.filled) }
    }
}

impl From<Buffer> for Bytes {
    fn from(buffer: Buffer) -> Self {
        Self::from_owner(buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(mut buffer: Buffer, with: u8) -> Buffer {
        let rest = buffer.rest();
        let length = rest.len();
        rest.fill(MaybeUninit::new(with));
        // SAFETY: just written.
        unsafe { buffer.advance(length) };
        buffer
    }

    fn free(buffers: &Buffers) -> Vec<(usize, usize)> {
        buffers.free.lock().iter().map(|(at, length)| (*at, *length)).collect()
    }

    fn is_stretch(buffer: &Buffer) -> bool {
        matches!(buffer.memory, Memory::Stretch(_))
    }

    #[test]
    fn buffers_are_aligned_and_apart() {
        let buffers = Buffers::new();
        let lengths = [1, 4096, 4097, 66_048, 1 << 20];
        let taken: Vec<_> =
            (0..5_u8).map(|n| filled(buffers.take(lengths[usize::from(n)]), n)).collect();
        for (n, (buffer, length)) in (0..).zip(taken.iter().zip(lengths)) {
            assert_eq!(buffer.as_ref(), vec![n; length]);
            assert_eq!(buffer.as_ref().as_ptr().align_offset(UNIT), 0);
            assert!(is_stretch(buffer));
        }
    }

    #[test]
    fn what_is_dropped_in_any_order_is_one_stretch_again() {
        for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2], [0, 2, 1], [1, 2, 0], [2, 0, 1]] {
            let buffers = Buffers::new();
            let mut taken: Vec<_> = (0..3).map(|_| Some(buffers.take(10_000))).collect();
            assert_eq!(free(&buffers), [(3 * 12_288, SIZE - 3 * 12_288)]);
            for n in order {
                // As bytes that a slow client still holds.
                let part = Bytes::from(filled(taken[n].take().unwrap(), 7)).slice(5..6);
                assert!(free(&buffers).iter().all(|(at, _)| *at != n * 12_288));
                drop(part);
            }
            assert_eq!(free(&buffers), [(0, SIZE)]);
        }
    }

    #[test]
    fn the_first_that_is_long_enough_is_taken() {
        let buffers = Buffers::new();
        let [short, _a, long, _b] = [4096, 1, 8192, 1].map(|length| buffers.take(length));
        drop((short, long));
        let taken = buffers.take(5000);
        assert_eq!(free(&buffers)[..1], [(0, 4096)]);
        drop(taken);
        assert_eq!(free(&buffers)[..2], [(0, 4096), (8192, 8192)]);
    }

    #[test]
    fn who_comes_when_all_is_taken_gets_ordinary_memory() {
        let buffers = Buffers::new();
        let all = [LONGEST; SIZE / LONGEST].map(|length| buffers.take(length));
        assert!(all.iter().all(is_stretch));
        let other = filled(buffers.take(10_000), 3);
        assert!(!is_stretch(&other));
        assert_eq!(other.as_ref(), [3; 10_000]);
        assert_eq!(other.as_ref().as_ptr().align_offset(UNIT), 0);
        drop(all);
        assert!(is_stretch(&buffers.take(10_000)));
    }

    #[test]
    fn what_is_very_long_is_ordinary_memory() {
        let buffers = Buffers::new();
        assert!(is_stretch(&buffers.take(LONGEST)) && !is_stretch(&buffers.take(LONGEST + 1)));
    }

    #[test]
    fn what_is_far_behind_short_stretches_is_not_looked_for() {
        let buffers = Buffers::new();
        let taken: Vec<_> = (0..2 * LOOKED_AT).map(|_| buffers.take(UNIT)).collect();
        let kept: Vec<_> = taken.into_iter().skip(1).step_by(2).collect();
        assert!(is_stretch(&buffers.take(UNIT)) && !is_stretch(&buffers.take(UNIT + 1)));
        drop(kept);
        assert!(is_stretch(&buffers.take(UNIT + 1)));
    }

    #[test]
    fn what_was_not_read_is_not_told() {
        let buffers = Buffers::new();
        for mut buffer in [buffers.take(100), Buffer::ordinary(100, 512)] {
            assert_eq!((buffer.as_ref().len(), buffer.rest().len()), (0, 100));
            buffer.rest()[..30].fill(MaybeUninit::new(9));
            // SAFETY: just written.
            unsafe { buffer.advance(30) };
            assert_eq!((buffer.filled(), buffer.rest().len()), (30, 70));
            assert_eq!(Bytes::from(buffer), [9; 30][..]);
        }
    }
}
