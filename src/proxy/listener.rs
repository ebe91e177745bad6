//! Addresses that are listened on: TCP, and unix sockets in a file of their own.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

use tokio::net::{TcpListener, UnixListener};

use super::config::FileMode;
use super::transport::Socket;

/// A bound address.
#[derive(Debug)]
pub enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    /// Binds `ip:port` or `unix:/path`, whose socket is for those that `mode` lets (R24).
    ///
    /// # Errors
    /// As the system says.
    pub async fn bind(address: &str, mode: FileMode) -> io::Result<Self> {
        let Some(path) = address.strip_prefix("unix:") else {
            return Ok(Self::Tcp(TcpListener::bind(address).await?));
        };
        remove_dead_socket(Path::new(path)).await?;
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode.bits()))?;
        Ok(Self::Unix(listener))
    }

    /// The address of a TCP listener.
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Unix(_) => None,
        }
    }

    pub(super) async fn accept(&self) -> io::Result<Accepted> {
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

/// A connection that was accepted, and where it comes from.
#[derive(Debug)]
pub(super) struct Accepted {
    pub socket: Socket,
    pub address: Option<SocketAddr>,
}

/// A socket that nobody listens on is left from a process that was killed. Any other file stays.
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
