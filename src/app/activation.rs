//! Sockets passed in by a service manager: systemd's socket activation, `sd_listen_fds(3)`.
//!
//! They stay open while one process ends and the next one starts, so no connection is refused meanwhile: it waits in
//! the backlog, which belongs to the socket and not to a process. Each socket must be bound to an address of the
//! configuration. With a socket that is never accepted from, clients would wait for ever, so a start with one is
//! refused.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use crate::proxy::Listener;
use crate::sys::descriptor::take_passed;

/// The first passed descriptor, `SD_LISTEN_FDS_START`.
const FIRST: RawFd = 3;
/// Maximum number of passed descriptors, more than any configuration has addresses.
const MOST: RawFd = 1024;

/// Error of passed sockets.
#[derive(Debug, thiserror::Error)]
pub enum ActivationError {
    #[error("LISTEN_FDS: `{0}` is not a number of sockets from 1 to {MOST}")]
    Count(String),
    #[error("descriptor {0} of LISTEN_FDS is not a TCP or unix socket that listens: {1}")]
    NoSocket(RawFd, io::Error),
    #[error(
        "a socket on {0} was passed (LISTEN_FDS) that no address of the configuration names: change ListenStream=, \
         listen[].address, admin.address or events.webhook.address"
    )]
    NotNamed(Bound),
}

/// The address of a bound socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bound {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Sockets passed to this process and not taken yet.
#[derive(Debug, Default)]
pub(super) struct PassedSockets(Vec<(Bound, OwnedFd)>);

impl PassedSockets {
    /// Takes the sockets that the environment announces; must be called once, before opening any file that stays open.
    ///
    /// # Errors
    /// [`ActivationError`]: a passed descriptor is not a listening socket.
    pub(super) fn from_environment() -> Result<Self, ActivationError> {
        let variable = |name| std::env::var(name).unwrap_or_default();
        let (process, count) = (variable("LISTEN_PID"), variable("LISTEN_FDS"));
        // The variables may be inherited from a parent process that they were meant for.
        if count.is_empty() || process != std::process::id().to_string() {
            return Ok(Self::default());
        }
        let number = count.parse().ok().filter(|number| (1..=MOST).contains(number));
        let number = number.ok_or(ActivationError::Count(count))?;
        (FIRST..FIRST + number)
            .map(|descriptor| {
                own(descriptor).map_err(|error| ActivationError::NoSocket(descriptor, error))
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Takes the passed listener for an address in the form of [`Listener::bind`], if there is one.
    ///
    /// # Errors
    /// The system's error.
    pub(super) fn take(&mut self, address: &str) -> io::Result<Option<Listener>> {
        let wanted = match (address.strip_prefix("unix:"), address.parse()) {
            (Some(path), _) => Bound::Unix(Path::new(path).to_owned()),
            (None, Ok(address)) => Bound::Tcp(address),
            (None, Err(_)) => return Ok(None),
        };
        let Some(at) = self.0.iter().position(|(bound, _)| *bound == wanted) else {
            return Ok(None);
        };
        let (bound, socket) = self.0.swap_remove(at);
        log::info!("listening on the socket that was passed for {bound}");
        Ok(Some(match bound {
            Bound::Tcp(_) => Listener::Tcp(tokio_tcp(socket)?),
            Bound::Unix(_) => {
                let listener = UnixListener::from(socket);
                listener.set_nonblocking(true)?;
                Listener::Unix(tokio::net::UnixListener::from_std(listener)?)
            }
        }))
    }

    /// As [`PassedSockets::take`], for TCP only.
    ///
    /// # Errors
    /// The system's error.
    pub(super) fn take_tcp(
        &mut self,
        address: &str,
    ) -> io::Result<Option<tokio::net::TcpListener>> {
        Ok(match self.take(address)? {
            Some(Listener::Tcp(listener)) => Some(listener),
            _ => None,
        })
    }

    /// Checks that no passed socket is left.
    ///
    /// # Errors
    /// [`ActivationError::NotNamed`].
    pub(super) fn all_taken(self) -> Result<(), ActivationError> {
        self.0.into_iter().next().map_or(Ok(()), |(bound, _)| Err(ActivationError::NotNamed(bound)))
    }
}

fn tokio_tcp(socket: OwnedFd) -> io::Result<tokio::net::TcpListener> {
    let listener = TcpListener::from(socket);
    listener.set_nonblocking(true)?;
    tokio::net::TcpListener::from_std(listener)
}

/// Returns a passed socket and its address; child processes do not inherit it.
fn own(descriptor: RawFd) -> io::Result<(Bound, OwnedFd)> {
    let socket = take_passed(descriptor)?;
    Ok((bound(&socket)?, socket))
}

fn bound(socket: &OwnedFd) -> io::Result<Bound> {
    let tcp = TcpListener::from(socket.try_clone()?);
    if let Ok(address) = tcp.local_addr() {
        listens(&tcp)?;
        return Ok(Bound::Tcp(address));
    }
    let unix = UnixListener::from(socket.try_clone()?);
    let address = unix.local_addr()?;
    listens(&unix)?;
    let path = address.as_pathname().ok_or(io::ErrorKind::AddrNotAvailable)?;
    Ok(Bound::Unix(path.to_owned()))
}

fn listens(socket: impl AsFd) -> io::Result<()> {
    match rustix::net::sockopt::socket_acceptconn(socket)? {
        true => Ok(()),
        false => Err(io::Error::other("it does not listen")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(socket: impl Into<OwnedFd>) -> PassedSockets {
        let socket = socket.into();
        PassedSockets(vec![(bound(&socket).unwrap(), socket)])
    }

    #[tokio::test]
    async fn a_socket_is_taken_by_its_address_once() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut sockets = passed(listener);
        assert!(sockets.take("127.0.0.1:1").unwrap().is_none());
        let taken = sockets.take(&address.to_string()).unwrap();
        assert_eq!(taken.and_then(|listener| listener.address()), Some(address));
        assert!(sockets.take(&address.to_string()).unwrap().is_none());
        sockets.all_taken().unwrap();
    }

    #[test]
    fn a_socket_that_nobody_takes_is_an_error_that_names_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let error = passed(listener).all_taken().unwrap_err().to_string();
        assert!(error.contains(&address), "{error}");
    }

    #[test]
    fn a_socket_that_does_not_listen_is_refused() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(bound(&socket.into()).is_err());
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(bound(&file.into()).is_err());
    }
}
