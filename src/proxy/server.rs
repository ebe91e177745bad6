//! Accepts connections until it is told to stop, then waits for those that are in the middle of something.
//!
//! The listener and the stop signal come from outside, so that a test and `main` run the same code (R30).

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pingora::apps::{HttpServerApp, HttpServerOptions, ServerApp};
use pingora::proxy::HttpProxy;
use pingora::server::configuration::ServerConf;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use super::Gateway;
use super::connection::{Connection, Socket};
use crate::metrics;

/// After accept fails (no file descriptors left), the next try waits so long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A bound address.
#[derive(Debug)]
pub enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    /// Binds `ip:port` or `unix:/path`. A unix socket is for its owner only (R24).
    ///
    /// # Errors
    /// As the system says.
    pub async fn bind(address: &str) -> io::Result<Self> {
        let Some(path) = address.strip_prefix("unix:") else {
            return Ok(Self::Tcp(TcpListener::bind(address).await?));
        };
        remove_dead_socket(Path::new(path)).await?;
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        Ok(Self::Unix(listener))
    }

    /// The address of a TCP listener.
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Unix(_) => None,
        }
    }

    async fn accept(&self) -> io::Result<Socket> {
        match self {
            Self::Tcp(listener) => listener.accept().await.map(|(stream, _)| Socket::Tcp(stream)),
            Self::Unix(listener) => listener.accept().await.map(|(stream, _)| Socket::Unix(stream)),
        }
    }
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

/// The HTTP server of one listener.
pub struct Server {
    proxy: Arc<HttpProxy<Gateway>>,
    connections: Arc<Semaphore>,
    limit: u32,
    header_timeout: Duration,
}

impl Server {
    pub fn new(gateway: Gateway, conf: &Arc<ServerConf>) -> Self {
        let limit = u32::try_from(gateway.limits.connections).unwrap_or(u32::MAX >> 4);
        let header_timeout = gateway.limits.header_timeout.0;
        let mut proxy = HttpProxy::new(gateway, conf.clone());
        let mut options = HttpServerOptions::default();
        options.h2c = true;
        proxy.server_options = Some(options);
        proxy.handle_init_modules();
        let connections = Arc::new(Semaphore::new(limit as usize));
        Self { proxy: Arc::new(proxy), connections, limit, header_timeout }
    }

    /// Serves until `shutdown` turns true, then until no request is under way.
    ///
    /// # Panics
    /// Never: its semaphore is not closed.
    pub async fn run(self, listener: Listener, mut shutdown: watch::Receiver<bool>) {
        loop {
            let connections = self.connections.clone();
            let next = async {
                let permit = connections.acquire_owned().await.expect("never closed");
                (listener.accept().await, permit)
            };
            let (accepted, permit) = tokio::select! {
                biased;
                stop = shutdown.wait_for(|stop| *stop) => {
                    drop(stop);
                    break;
                }
                next = next => next,
            };
            let connection = accepted.and_then(|s| Connection::new(s, metrics::connection_open()));
            let mut connection = match connection {
                Ok(connection) => connection,
                Err(error) => {
                    log::warn!("cannot accept a connection: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let (proxy, mut shutdown) = (self.proxy.clone(), shutdown.clone());
            let header_timeout = self.header_timeout;
            tokio::spawn(async move {
                // pingora waits for the first bytes without a limit, and does not hear of a shutdown meanwhile.
                let arrived = tokio::select! {
                    biased;
                    arrived = timeout(header_timeout, connection.arrive()) => arrived,
                    stop = shutdown.wait_for(|stop| *stop) => {
                        drop(stop);
                        return;
                    }
                };
                if !matches!(arrived, Ok(Ok(()))) {
                    return;
                }
                let mut connection = Some(Box::new(connection) as pingora::protocols::Stream);
                while let Some(stream) = connection {
                    connection = proxy.process_new(stream, &shutdown).await;
                }
                drop(permit);
            });
        }
        drop(listener);
        // Idle connections end now; the others when their answer is out.
        self.proxy.http_cleanup().await;
        let all = self.connections.acquire_many(self.limit).await;
        drop(all);
    }
}
