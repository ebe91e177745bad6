//! File descriptors that are identified by their number.

use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

use pingora::protocols::UniqueID;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{FdFlags, fcntl_setfd};

/// Whether the kernel has seen the peer close a connection. The runtime learns of it only when it next polls, which may
/// take a while on a busy one: a write sent meanwhile would be lost, and must not be sent again (R9).
pub(crate) fn is_closed_by_peer(stream: &(impl UniqueID + ?Sized)) -> bool {
    // SAFETY: pingora identifies a stream by the number of the descriptor that it owns; it outlives the borrow.
    let socket = unsafe { BorrowedFd::borrow_raw(stream.id()) };
    let mut polled = [PollFd::from_borrowed_fd(socket, PollFlags::RDHUP)];
    poll(&mut polled, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
}

/// Takes ownership of a descriptor that was passed to this process at startup; child processes do not inherit it.
///
/// # Errors
/// The descriptor is not open.
pub(crate) fn take_passed(descriptor: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: whoever started this process says that it is open and for this process, and nothing else here takes it.
    // One that is not open is found by the first call on it, and never closed.
    let socket = ManuallyDrop::new(unsafe { OwnedFd::from_raw_fd(descriptor) });
    fcntl_setfd(socket.as_fd(), FdFlags::CLOEXEC)?;
    Ok(ManuallyDrop::into_inner(socket))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::{AsRawFd as _, IntoRawFd as _};

    use super::*;

    struct Connection(TcpStream);

    impl UniqueID for Connection {
        fn id(&self) -> i32 {
            self.0.as_raw_fd()
        }
    }

    #[test]
    fn a_connection_is_open_until_its_peer_closes_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = Connection(TcpStream::connect(listener.local_addr().unwrap()).unwrap());
        let theirs = listener.accept().unwrap().0;
        assert!(!is_closed_by_peer(&ours));
        drop(theirs);
        let mut socket = [PollFd::new(&ours.0, PollFlags::RDHUP)];
        poll(&mut socket, None).unwrap();
        assert!(is_closed_by_peer(&ours));
    }

    #[test]
    fn a_passed_descriptor_is_taken_and_not_inherited() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let number = listener.into_raw_fd();
        let taken = TcpListener::from(take_passed(number).unwrap());
        assert_eq!(taken.local_addr().unwrap(), address);
        assert!(rustix::io::fcntl_getfd(&taken).unwrap().contains(FdFlags::CLOEXEC));
        assert!(take_passed(i32::MAX).is_err(), "not open");
    }
}
