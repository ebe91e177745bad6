//! Client sockets, TCP or unix, with or without TLS, as one type.

mod unsent;

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;

use super::write_buffer::WriteBuffer;
use unsent::Unsent;

/// A channel behind a write buffer.
pub(in crate::proxy) type Transport = WriteBuffer<Channel>;

/// Byte stream of a connection, with or without TLS.
#[derive(Debug)]
pub(in crate::proxy) enum Channel {
    Plain(Socket),
    Tls(Box<TlsStream<Socket>>),
}

/// A socket, and bytes that were read off it too early and are delivered first.
#[derive(Debug)]
pub(in crate::proxy) struct Socket {
    kind: Kind,
    unread: Vec<u8>,
}

#[derive(Debug)]
enum Kind {
    Tcp(TcpStream, Unsent),
    Unix(UnixStream),
}

impl From<TcpStream> for Socket {
    fn from(stream: TcpStream) -> Self {
        let unsent = Unsent::new(&stream);
        Self { kind: Kind::Tcp(stream, unsent), unread: Vec::new() }
    }
}

impl From<UnixStream> for Socket {
    fn from(stream: UnixStream) -> Self {
        Self { kind: Kind::Unix(stream), unread: Vec::new() }
    }
}

impl Socket {
    /// Sets `TCP_NODELAY`: small responses do not wait for the client's acknowledgement of the one before.
    pub(in crate::proxy) fn send_at_once(&self) -> io::Result<()> {
        match &self.kind {
            Kind::Tcp(stream, _) => stream.set_nodelay(true),
            Kind::Unix(_) => Ok(()),
        }
    }

    pub(in crate::proxy) fn fd(&self) -> RawFd {
        match &self.kind {
            Kind::Tcp(stream, _) => stream.as_raw_fd(),
            Kind::Unix(stream) => stream.as_raw_fd(),
        }
    }

    /// Records the result of a write, which adjusts the kernel's send bound.
    fn wrote<T>(&mut self, written: Poll<T>) -> Poll<T> {
        if let Kind::Tcp(stream, unsent) = &mut self.kind {
            match written {
                Poll::Pending => unsent.full(),
                Poll::Ready(_) => unsent.taken(stream),
            }
        }
        written
    }

    /// Puts back bytes that were read too early.
    pub(in crate::proxy) fn unread(&mut self, bytes: Vec<u8>) {
        self.unread = bytes;
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.unread.is_empty() {
            let taken = this.unread.len().min(buf.remaining());
            buf.put_slice(&this.unread[..taken]);
            this.unread.drain(..taken);
            return Poll::Ready(Ok(()));
        }
        match &mut this.kind {
            Kind::Tcp(stream, _) => Pin::new(stream).poll_read(cx, buf),
            Kind::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = match &mut this.kind {
            Kind::Tcp(stream, _) => Pin::new(stream).poll_write(cx, buf),
            Kind::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
        };
        this.wrote(written)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().kind {
            Kind::Tcp(stream, _) => Pin::new(stream).poll_flush(cx),
            Kind::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().kind {
            Kind::Tcp(stream, _) => Pin::new(stream).poll_shutdown(cx),
            Kind::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = match &mut this.kind {
            Kind::Tcp(stream, _) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Kind::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        };
        this.wrote(written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}

/// Forwards a call to whichever variant it is.
macro_rules! either {
    ($what:expr, $($kind:path)|+, $stream:ident => $call:expr) => {
        match $what { $($kind($stream) => $call,)+ }
    };
}

impl AsyncRead for Channel {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        either!(self.get_mut(), Self::Plain | Self::Tls, stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Channel {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        either!(self.get_mut(), Self::Plain | Self::Tls, stream => Pin::new(stream).poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self.get_mut(), Self::Plain | Self::Tls, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self.get_mut(), Self::Plain | Self::Tls, stream => Pin::new(stream).poll_shutdown(cx))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self.get_mut(), Self::Plain | Self::Tls, s => Pin::new(s).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}
