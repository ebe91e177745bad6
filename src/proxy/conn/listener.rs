//! Listening sockets: TCP, and unix sockets in a file of their own.

use std::fs::Permissions;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

use rustix::fs::Mode;
use tokio::net::{TcpListener, UnixListener, UnixSocket};

use super::transport::Socket;
use crate::proxy::config::FileMode;

/// Maximum number of connections that wait to be accepted.
const BACKLOG: u32 = 1024;

/// A bound listening socket.
#[derive(Debug)]
pub enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    /// Binds `ip:port` or `unix:/path`; `mode` is the mode of the unix socket's file (R24).
    ///
    /// # Errors
    /// I/O errors of the system.
    pub async fn bind(address: &str, mode: FileMode) -> io::Result<Self> {
        let Some(path) = address.strip_prefix("unix:") else {
            return Ok(Self::Tcp(TcpListener::bind(address).await?));
        };
        let path = Path::new(path);
        remove_dead_socket(path).await?;
        let socket = bind_unix(path, mode)?;
        // Restores what a umask took away. Until the socket listens nobody can connect, whatever its mode.
        std::fs::set_permissions(path, Permissions::from_mode(mode.bits()))?;
        Ok(Self::Unix(socket.listen(BACKLOG)?))
    }

    /// Returns the address of a TCP listener.
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Unix(_) => None,
        }
    }

    pub(in crate::proxy) async fn accept(&self) -> io::Result<Accepted> {
        Ok(match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                Accepted { socket: Socket::from(stream), address: Some(address) }
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Accepted { socket: Socket::from(stream), address: None }
            }
        })
    }
}

/// Binds a unix socket whose file has its mode from the first moment (R35). Linux takes the mode of the unbound
/// socket, less the umask, which belongs to the whole process and is left alone. Elsewhere the mode has to be set
/// afterwards.
fn bind_unix(path: &Path, mode: FileMode) -> io::Result<UnixSocket> {
    let socket = UnixSocket::new_stream()?;
    let set = rustix::fs::fchmod(&socket, Mode::from_raw_mode(mode.bits()));
    if cfg!(target_os = "linux") {
        set?;
    }
    socket.bind(path)?;
    Ok(socket)
}

/// An accepted connection and its remote address.
#[derive(Debug)]
pub(in crate::proxy) struct Accepted {
    pub socket: Socket,
    pub address: Option<SocketAddr>,
}

/// Removes a socket that nobody listens on, left by a process that was killed. Any other file stays.
async fn remove_dead_socket(path: &Path) -> io::Result<()> {
    if !std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket()) {
        return Ok(());
    }
    match tokio::net::UnixStream::connect(path).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path)
        }
        _ => Ok(()),
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[tokio::test]
    async fn r35_a_unix_socket_has_its_mode_before_anybody_can_see_it() {
        let name = format!("hotset-socket-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let socket = bind_unix(&path, FileMode::OWNER).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        drop(socket);
        std::fs::remove_file(path).unwrap();
        assert_eq!(mode, 0o600);
    }
}
