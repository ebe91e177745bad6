//! Bounds the unsent bytes that the kernel buffers for a client.
//!
//! By default the kernel buffers up to 4 MiB (`tcp_wmem`) for a client. For a thousand slow readers that is more than
//! a gigabyte, which counts in the memory limit of a container (cgroup v2). A client that reads as fast as it is sent
//! to gains nothing from more than [`FAST`]; for one that keeps us waiting the bound is [`SLOW`]. Bytes in flight
//! (sent and not yet acknowledged) come on top, so that long fast paths are filled all the same.

use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::time::Instant;

/// Bound in bytes for a fast client (`TCP_NOTSENT_LOWAT`). Half of it costs a tenth of the rate of 8 MiB ranges over
/// loopback.
const FAST: u32 = 128 << 10;
const SLOW: u32 = 16 << 10;
/// A client that keeps writes waiting for longer than this is slow,
const LONG: Duration = Duration::from_millis(20);
/// and one that does so for less than this is fast.
const SHORT: Duration = Duration::from_millis(5);

/// Bound on the unsent bytes of one connection.
#[derive(Debug)]
pub(super) struct Unsent {
    bytes: u32,
    /// Time since which the kernel accepts no more bytes.
    full_since: Option<Instant>,
}

impl Unsent {
    pub(super) fn new(stream: &TcpStream) -> Self {
        let this = Self { bytes: FAST, full_since: None };
        this.apply(stream);
        this
    }

    /// Records that the kernel accepted nothing of a write.
    pub(super) fn full(&mut self) {
        self.full_since.get_or_insert_with(Instant::now);
    }

    /// Records that the kernel accepted bytes, and adapts the bound to the time that this took.
    pub(super) fn taken(&mut self, stream: &TcpStream) {
        let Some(since) = self.full_since.take() else { return };
        let bytes = bound(self.bytes, since.elapsed());
        if bytes != self.bytes {
            self.bytes = bytes;
            self.apply(stream);
        }
    }

    /// Sets the bound on the socket. If the kernel refuses it, its default stays.
    fn apply(&self, stream: &TcpStream) {
        if let Err(error) = SockRef::from(stream).set_tcp_notsent_lowat(self.bytes) {
            log::debug!("TCP_NOTSENT_LOWAT: {error}");
        }
    }
}

/// Returns the bound after a write waited for `waited`.
fn bound(now: u32, waited: Duration) -> u32 {
    if waited >= LONG {
        SLOW
    } else if waited >= SHORT {
        now
    } else {
        FAST
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::Pin;
    use std::task::Poll;

    use tokio::io::{AsyncReadExt as _, AsyncWrite as _};
    use tokio::net::{TcpListener, TcpSocket};

    use super::*;
    use crate::proxy::conn::transport::Socket;

    #[test]
    fn a_client_is_slow_after_a_long_wait_and_fast_after_a_short_one() {
        assert_eq!(bound(FAST, Duration::from_millis(20)), SLOW);
        assert_eq!(bound(FAST, Duration::from_millis(19)), FAST);
        assert_eq!(bound(SLOW, Duration::from_millis(5)), SLOW);
        assert_eq!(bound(SLOW, Duration::from_millis(4)), FAST);
    }

    /// Opens a connection whose client's kernel buffers little; the server's end comes first.
    async fn connection() -> (Socket, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpSocket::new_v4().unwrap();
        client.set_recv_buffer_size(64 << 10).unwrap();
        let client = client.connect(listener.local_addr().unwrap());
        let (client, accepted) = tokio::join!(client, listener.accept());
        (Socket::from(accepted.unwrap().0), client.unwrap())
    }

    /// Writes until the kernel accepts no more, and returns the bytes that it accepted.
    async fn fill(socket: &mut Socket) -> usize {
        let bytes = vec![7; 256 << 10];
        let mut taken = 0;
        poll_fn(|cx| {
            while let Poll::Ready(count) = Pin::new(&mut *socket).poll_write(cx, &bytes) {
                taken += count.unwrap();
            }
            Poll::Ready(taken)
        })
        .await
    }

    #[tokio::test]
    async fn little_is_taken_for_a_client_that_does_not_read_and_less_once_it_was_slow() {
        let (mut socket, mut client) = connection().await;
        let first = fill(&mut socket).await;
        assert!(first < 1 << 20, "{first}");

        tokio::time::pause();
        let mut read = vec![0; 64 << 10];
        let mut rest = first;
        // After a long wait, the kernel's first bytes still go by the old bound.
        for _ in 0..2 {
            tokio::time::advance(LONG).await;
            while rest > 0 {
                rest -= client.read(&mut read).await.unwrap();
            }
            rest = fill(&mut socket).await;
        }
        let second = rest;
        assert!(second + (64 << 10) <= first, "{second} after {first}");
    }
}
