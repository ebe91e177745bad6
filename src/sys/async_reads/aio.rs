//! Linux AIO: for files opened for direct I/O only; with others a submission would block.
//!
//! The interrupt that completes a read wakes whoever polls the eventfd. `io_uring` first wakes the submitting thread to
//! post the completion: one more wake-up per read where threads share a ring. Seccomp profiles that refuse `io_uring`
//! may allow this.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

use rustix::event::{EventfdFlags, eventfd};

use super::{ENTRIES, Engine};

/// `aio_context_t`.
type Context = libc::c_ulong;

const PREAD: u16 = 0;
const TELL_EVENTFD: u32 = 1;
/// Maximum number of completions fetched with one system call.
const AT_ONCE: usize = 32;

/// `struct iocb` of `linux/aio_abi.h`.
#[repr(C)]
#[derive(Default)]
struct Command {
    data: u64,
    #[cfg(target_endian = "little")]
    key: u32,
    flags_of_read: i32,
    #[cfg(target_endian = "big")]
    key: u32,
    operation: u16,
    priority: i16,
    file: u32,
    buffer: u64,
    length: u64,
    offset: i64,
    reserved: u64,
    flags: u32,
    eventfd: u32,
}

/// `struct io_event` of `linux/aio_abi.h`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Event {
    data: u64,
    command: u64,
    result: i64,
    result2: i64,
}

pub(super) struct Aio {
    context: Context,
    eventfd: OwnedFd,
}

impl Aio {
    /// # Errors
    /// The kernel has no AIO, or no contexts left (`fs.aio-max-nr`).
    pub(super) fn new() -> io::Result<Self> {
        let eventfd = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        let mut context: Context = 0;
        // SAFETY: the kernel writes the context into its place.
        outcome(unsafe {
            libc::syscall(libc::SYS_io_setup, libc::c_ulong::from(ENTRIES), &raw mut context)
        })?;
        let aio = Self { context, eventfd };
        // A seccomp profile may refuse just this call.
        aio.take(&mut [])?;
        Ok(aio)
    }

    /// Fetches the completions there are into `events`, without blocking; returns their number.
    fn take(&self, events: &mut [Event]) -> io::Result<usize> {
        let mut at_once = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: there is room for so many events.
        outcome(unsafe {
            libc::syscall(
                libc::SYS_io_getevents,
                self.context,
                0_usize,
                events.len(),
                events.as_mut_ptr(),
                &raw mut at_once,
            )
        })
    }
}

impl Drop for Aio {
    fn drop(&mut self) {
        // SAFETY: the context is ours. The kernel waits for reads under way, so that it writes nowhere after this.
        let _ = unsafe { libc::syscall(libc::SYS_io_destroy, self.context) };
    }
}

impl Engine for Aio {
    fn readable(&self) -> io::Result<OwnedFd> {
        self.eventfd.try_clone()
    }

    unsafe fn submit(
        &self,
        number: usize,
        file: &File,
        into: *mut u8,
        length: usize,
        offset: u64,
    ) -> io::Result<()> {
        let mut command = Command {
            data: number as u64,
            flags_of_read: libc::RWF_NOWAIT,
            operation: PREAD,
            file: unsigned(file.as_raw_fd()),
            buffer: into as u64,
            length: length as u64,
            offset: i64::try_from(offset).unwrap_or(i64::MAX),
            flags: TELL_EVENTFD,
            eventfd: unsigned(self.eventfd.as_raw_fd()),
            ..Command::default()
        };
        let mut commands = [&raw mut command];
        // SAFETY: the kernel copies the command; of the memory the caller promises that it stays.
        let submitted = outcome(unsafe {
            libc::syscall(libc::SYS_io_submit, self.context, 1_usize, commands.as_mut_ptr())
        });
        // Nothing was accepted. If the device failed, another way of reading finds out.
        submitted.map(drop).map_err(|_| io::ErrorKind::WouldBlock.into())
    }

    fn ended(&self, tell: &mut dyn FnMut(usize, io::Result<usize>)) {
        let mut events = [Event::default(); AT_ONCE];
        loop {
            let taken = match self.take(&mut events) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                taken => taken.unwrap_or(0),
            };
            for event in &events[..taken] {
                let number = usize::try_from(event.data).expect("a slab's key");
                tell(number, usize::try_from(event.result).map_err(|_| error(-event.result)));
            }
            if taken < AT_ONCE {
                return;
            }
        }
    }
}

fn error(number: i64) -> io::Error {
    match i32::try_from(number).unwrap_or(libc::EIO) {
        // The read would block, or the file system does not support reads without blocking.
        libc::EAGAIN | libc::EINTR | libc::EOPNOTSUPP => io::ErrorKind::WouldBlock.into(),
        number => io::Error::from_raw_os_error(number),
    }
}

fn outcome(result: libc::c_long) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

fn unsigned(descriptor: i32) -> u32 {
    u32::try_from(descriptor).expect("an open file's descriptor is not negative")
}
