//! `io_uring`: for direct I/O, and also for files that are read through the page cache.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};

use io_uring::{IoUring, opcode, types};
use parking_lot::Mutex;

use super::{ENTRIES, Engine};

pub(super) struct Uring(Mutex<IoUring>);

impl Uring {
    /// Creates a ring with cooperative task running: a running thread is not interrupted for each completion, which
    /// costs more than it gains, but learns of completions at its next system call. Linux before 5.19 lacks this mode,
    /// and gets a plain ring.
    ///
    /// # Errors
    /// The kernel has no `io_uring`, or a container's seccomp profile refuses it.
    pub(super) fn new() -> io::Result<Self> {
        let ring = IoUring::builder().setup_coop_taskrun().build(ENTRIES);
        Ok(Self(Mutex::new(ring.or_else(|_| IoUring::new(ENTRIES))?)))
    }
}

impl Engine for Uring {
    fn readable(&self) -> io::Result<OwnedFd> {
        let ring = self.0.lock();
        // SAFETY: the ring is open, and outlives the borrow.
        unsafe { BorrowedFd::borrow_raw(ring.as_raw_fd()) }.try_clone_to_owned()
    }

    unsafe fn submit(
        &self,
        number: usize,
        file: &File,
        into: *mut u8,
        length: usize,
        offset: u64,
    ) -> io::Result<()> {
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        let submission = opcode::Read::new(types::Fd(file.as_raw_fd()), into, length)
            .offset(offset)
            .build()
            .user_data(number as u64);
        let mut ring = self.0.lock();
        // SAFETY: as the caller promises.
        let pushed = unsafe { ring.submission().push(&submission) };
        pushed.map_err(|_| io::ErrorKind::WouldBlock)?;
        loop {
            match ring.submit() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The kernel accepts it with the next submission; the reader has a timeout.
                Ok(_) | Err(_) => return Ok(()),
            }
        }
    }

    fn ended(&self, tell: &mut dyn FnMut(usize, io::Result<usize>)) {
        for completion in self.0.lock().completion() {
            let number = usize::try_from(completion.user_data()).expect("a slab's key");
            let read = usize::try_from(completion.result())
                .map_err(|_| io::Error::from_raw_os_error(-completion.result()));
            tell(number, read);
        }
    }
}
