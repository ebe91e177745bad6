//! `io_uring`: also for files that are read through the page cache.

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};

use io_uring::{IoUring, opcode, types};

use super::{ENTRIES, Engine};

pub(super) struct Uring(IoUring);

impl Uring {
    /// A thread that runs is not interrupted for each completion, which costs more than it brings: it learns of them
    /// when it next calls the kernel. Linux before 5.19 does not know that, and gets a plain ring.
    ///
    /// # Errors
    /// The kernel has none, or a container's seccomp profile does not let us have it.
    pub(super) fn new() -> io::Result<Self> {
        let ring = IoUring::builder().setup_coop_taskrun().build(ENTRIES);
        Ok(Self(ring.or_else(|_| IoUring::new(ENTRIES))?))
    }
}

impl Engine for Uring {
    fn readable(&self) -> io::Result<OwnedFd> {
        // SAFETY: the ring is open, and outlives the borrow.
        unsafe { BorrowedFd::borrow_raw(self.0.as_raw_fd()) }.as_fd().try_clone_to_owned()
    }

    unsafe fn submit(
        &mut self,
        number: usize,
        file: &File,
        into: &mut [MaybeUninit<u8>],
        offset: u64,
    ) -> io::Result<()> {
        let length = u32::try_from(into.len()).unwrap_or(u32::MAX);
        let submission =
            opcode::Read::new(types::Fd(file.as_raw_fd()), into.as_mut_ptr().cast(), length)
                .offset(offset)
                .build()
                .user_data(number as u64);
        // SAFETY: as the caller promises.
        let pushed = unsafe { self.0.submission().push(&submission) };
        pushed.map_err(|_| io::ErrorKind::WouldBlock)?;
        loop {
            match self.0.submit() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The kernel takes it with the next one; whoever waits has a timeout.
                Ok(_) | Err(_) => return Ok(()),
            }
        }
    }

    fn ended(&mut self, tell: &mut dyn FnMut(usize, io::Result<usize>)) {
        for completion in self.0.completion() {
            let number = usize::try_from(completion.user_data()).expect("a slab's key");
            let read = usize::try_from(completion.result())
                .map_err(|_| io::Error::from_raw_os_error(-completion.result()));
            tell(number, read);
        }
    }
}
