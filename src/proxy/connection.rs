//! A client's connection: TCP or a unix socket behind one buffer each way.
//!
//! pingora's own listener sends the head and a small body in two writes; with a write buffer of 16 KiB they
//! leave in one. What is larger goes to the socket past the buffer, without a copy.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use pingora::protocols::l4::socket::SocketAddr as PingoraAddr;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    TimingDigest, UniqueID, UniqueIDType,
};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufStream, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::Sleep;

use crate::metrics::Held;

const READ_BUFFER: usize = 8 * 1024;
const WRITE_BUFFER: usize = 16 * 1024;
/// How long a connection lingers for what its client still has on its way.
const LINGER: std::time::Duration = std::time::Duration::from_secs(1);

/// What is underneath.
#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A connection as pingora takes it.
#[derive(Debug)]
pub(super) struct Connection {
    stream: BufStream<Socket>,
    /// Bytes that were looked at before they were read.
    peeked: Vec<u8>,
    fd: UniqueIDType,
    socket: Arc<SocketDigest>,
    /// Until when what the client sends is still read after our end.
    lingering: Option<Pin<Box<Sleep>>>,
    _open: Held,
}

impl Connection {
    /// Takes an accepted socket; `open` counts it for as long as it lives.
    ///
    /// # Errors
    /// The socket is dead already.
    pub(super) fn new(socket: Socket, open: Held) -> io::Result<Self> {
        use std::os::fd::AsRawFd;
        let (fd, peer) = match &socket {
            Socket::Tcp(tcp) => {
                tcp.set_nodelay(true)?;
                (tcp.as_raw_fd(), Some(PingoraAddr::Inet(tcp.peer_addr()?)))
            }
            Socket::Unix(unix) => (unix.as_raw_fd(), None),
        };
        let digest = SocketDigest::from_raw_fd(fd);
        // Known now, so that no log line costs a system call.
        let _ = digest.peer_addr.set(peer);
        Ok(Self {
            stream: BufStream::with_capacity(READ_BUFFER, WRITE_BUFFER, socket),
            peeked: Vec::new(),
            fd,
            socket: Arc::new(digest),
            lingering: None,
            _open: open,
        })
    }
}

impl Connection {
    /// Waits for the first bytes: HTTP/2's preface, or as many as differ from it, so that a short HTTP/1 request
    /// is not waited upon for more. They stay to be read. Dropping the future loses nothing.
    ///
    /// # Errors
    /// As the socket says; an early end is none.
    pub(super) async fn arrive(&mut self) -> io::Result<()> {
        const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        while self.peeked.len() < PREFACE.len() && PREFACE.starts_with(&self.peeked) {
            let arrived = self.stream.fill_buf().await?;
            if arrived.is_empty() {
                break;
            }
            let taken = arrived.len().min(PREFACE.len() - self.peeked.len());
            self.peeked.extend_from_slice(&arrived[..taken]);
            self.stream.consume(taken);
        }
        Ok(())
    }
}

#[async_trait]
impl Peek for Connection {
    async fn try_peek(&mut self, buf: &mut [u8]) -> io::Result<bool> {
        self.arrive().await?;
        let seen = self.peeked.len().min(buf.len());
        buf[..seen].copy_from_slice(&self.peeked[..seen]);
        Ok(true)
    }
}

#[async_trait]
impl Shutdown for Connection {
    async fn shutdown(&mut self) {
        if let Err(error) = AsyncWriteExt::shutdown(self).await {
            log::debug!("closing a connection: {error}");
        }
    }
}

impl UniqueID for Connection {
    fn id(&self) -> UniqueIDType {
        self.fd
    }
}

impl Ssl for Connection {}

impl GetTimingDigest for Connection {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        // Asked for at every request, and nobody reads it.
        Vec::new()
    }
}

impl GetProxyDigest for Connection {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl GetSocketDigest for Connection {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        Some(self.socket.clone())
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // Who waits for the client has nothing more to say for now: what is still in the buffer must not wait, too.
        // pingora does not flush a body before its end, and the origin may be slow with the next bytes.
        if let Poll::Ready(Err(error)) = Pin::new(&mut self.stream).poll_flush(cx) {
            return Poll::Ready(Err(error));
        }
        if self.peeked.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let taken = self.peeked.len().min(buf.remaining());
        buf.put_slice(&self.peeked[..taken]);
        self.peeked.drain(..taken);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Says that no more will come, then reads what the client still had on its way: a socket that is closed with
    /// bytes unread is reset, and the client may lose the end of its answer.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let deadline = match &mut this.lingering {
            Some(deadline) => deadline,
            none => {
                ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
                none.insert(Box::pin(tokio::time::sleep(LINGER)))
            }
        };
        let mut discarded = [0; 1024];
        while deadline.as_mut().poll(cx).is_pending() {
            let mut buffer = ReadBuf::new(&mut discarded);
            match ready!(Pin::new(&mut this.stream).poll_read(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {}
                _ => break,
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// Forwards to whichever socket it is.
macro_rules! either {
    ($socket:expr, $stream:ident => $call:expr) => {
        match $socket.get_mut() {
            Socket::Tcp($stream) => $call,
            Socket::Unix($stream) => $call,
        }
    };
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        either!(self, stream => Pin::new(stream).poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self, stream => Pin::new(stream).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}
