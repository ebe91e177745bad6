//! Write buffer of a connection: small writes are coalesced, large ones go to the socket without a copy.
//!
//! A response head waits here for its body. If both are small they leave in one write; a large body leaves with its
//! head as two parts of one `writev`. A head that is sent by itself costs a packet, and wakes the client for nothing
//! that it can use.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Maximum bytes held in the buffer.
const CAPACITY: usize = 16 * 1024;

/// A socket behind a write buffer.
#[derive(Debug)]
pub(in crate::proxy) struct WriteBuffer<S> {
    socket: S,
    held: Vec<u8>,
}

impl<S: AsyncWrite + Unpin> WriteBuffer<S> {
    pub(in crate::proxy) fn new(socket: S) -> Self {
        Self { socket, held: Vec::with_capacity(CAPACITY) }
    }

    /// Appends the parts to the buffer if they all fit; `false`: nothing was taken.
    fn hold<'a>(&mut self, parts: impl Iterator<Item = &'a [u8]> + Clone) -> bool {
        let length: usize = parts.clone().map(<[u8]>::len).sum();
        let fits = self.held.len() + length <= CAPACITY;
        if fits {
            parts.for_each(|part| self.held.extend_from_slice(part));
        }
        fits
    }

    /// Writes out the buffer.
    fn poll_let_go(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.held.is_empty() {
            let sent = ready!(Pin::new(&mut self.socket).poll_write(cx, &self.held))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.held.drain(..sent);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WriteBuffer<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.hold(std::iter::once(buf)) {
            return Poll::Ready(Ok(buf.len()));
        }
        while !this.held.is_empty() {
            let parts = [IoSlice::new(&this.held), IoSlice::new(buf)];
            let sent = ready!(Pin::new(&mut this.socket).poll_write_vectored(cx, &parts))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let of_held = sent.min(this.held.len());
            this.held.drain(..of_held);
            if sent > of_held {
                return Poll::Ready(Ok(sent - of_held));
            }
        }
        Pin::new(&mut this.socket).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.hold(bufs.iter().map(|part| &**part)) {
            return Poll::Ready(Ok(bufs.iter().map(|part| part.len()).sum()));
        }
        ready!(this.poll_let_go(cx))?;
        Pin::new(&mut this.socket).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_let_go(cx))?;
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_let_go(cx))?;
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WriteBuffer<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buf)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    /// A sink that accepts at most `most` bytes at a time, and records each write.
    #[derive(Default)]
    struct Narrow {
        most: usize,
        writes: Vec<Vec<u8>>,
    }

    impl AsyncWrite for Narrow {
        fn poll_write(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.poll_write_vectored(cx, &[IoSlice::new(buf)])
        }

        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bufs: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let mut taken = Vec::new();
            for part in bufs {
                taken.extend_from_slice(&part[..part.len().min(self.most - taken.len())]);
            }
            let length = taken.len();
            self.writes.push(taken);
            Poll::Ready(Ok(length))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    async fn written(most: usize, sizes: &[usize]) -> (Vec<Vec<u8>>, Vec<u8>) {
        let mut buffer = WriteBuffer::new(Narrow { most, writes: Vec::new() });
        let mut all = Vec::new();
        for (number, size) in (0_u8..).zip(sizes) {
            let part: Vec<u8> = (0..*size).map(|at| at.to_le_bytes()[0] ^ number).collect();
            buffer.write_all(&part).await.unwrap();
            all.extend(part);
        }
        buffer.flush().await.unwrap();
        (buffer.socket.writes, all)
    }

    #[tokio::test]
    async fn a_head_leaves_with_its_body_in_one_write() {
        for body in [4 << 10, 64 << 10, 8 << 20] {
            let (writes, all) = written(usize::MAX, &[300, body]).await;
            assert_eq!(writes.len(), 1, "{body}");
            assert_eq!(writes.concat(), all);
        }
    }

    #[tokio::test]
    async fn nothing_is_lost_however_little_the_socket_takes() {
        for most in [97, 299, 300, 301, 16 << 10, 65_000] {
            let sizes = [300, 64 << 10, 10, 20_000, 16 << 10, 1, 0, 70_000];
            let (writes, all) = written(most, &sizes).await;
            assert!(writes.concat() == all, "{most}");
        }
    }

    #[tokio::test]
    async fn a_socket_that_takes_nothing_is_an_error() {
        let mut buffer = WriteBuffer::new(Narrow { most: 0, writes: Vec::new() });
        buffer.write_all(&[1; 300]).await.unwrap();
        let failed = buffer.write_all(&vec![2; 64 << 10]).await.unwrap_err();
        assert_eq!(failed.kind(), io::ErrorKind::WriteZero);
    }
}
