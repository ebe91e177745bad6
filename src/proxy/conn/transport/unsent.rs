//! Bounds what the kernel takes for a client before it can be sent.
//!
//! Left to itself the kernel takes up to 4 MiB (`tcp_wmem`) from whoever writes: of a thousand clients that are slow to
//! read that is more than a gigabyte, which counts in the memory limit of a container (cgroup v2). A client that reads
//! as fast as it is sent to gains nothing from more than [`FAST`]; for one that keeps us waiting it is [`SLOW`]. Bytes
//! that were sent and not yet acknowledged come on top, so that long fast paths are filled all the same.

use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::time::Instant;

/// Bytes (`TCP_NOTSENT_LOWAT`). Half of it costs a tenth of the rate of 8 MiB ranges over loopback.
const FAST: u32 = 128 << 10;
const SLOW: u32 = 16 << 10;
/// A client that lets us wait for longer is slow,
const LONG: Duration = Duration::from_millis(20);
/// and one that does for less is fast.
const SHORT: Duration = Duration::from_millis(5);

/// The bound of one connection.
#[derive(Debug)]
pub(super) struct Unsent {
    bytes: u32,
    /// Since when the kernel takes no more.
    full_since: Option<Instant>,
}

impl Unsent {
    pub(super) fn new(stream: &TcpStream) -> Self {
        let this = Self { bytes: FAST, full_since: None };
        this.apply(stream);
        this
    }

    /// The kernel took nothing of what was written.
    pub(super) fn full(&mut self) {
        self.full_since.get_or_insert_with(Instant::now);
    }

    /// The kernel took something.
    pub(super) fn taken(&mut self, stream: &TcpStream) {
        let Some(since) = self.full_since.take() else { return };
        let bytes = bound(self.bytes, since.elapsed());
        if bytes != self.bytes {
            self.bytes = bytes;
            self.apply(stream);
        }
    }

    /// Where the kernel refuses, its own bound stays.
    fn apply(&self, stream: &TcpStream) {
        if let Err(error) = SockRef::from(stream).set_tcp_notsent_lowat(self.bytes) {
            log::debug!("TCP_NOTSENT_LOWAT: {error}");
        }
    }
}

/// The bound after the client let us wait for so long.
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

    /// A connection of which the client's kernel takes little, the server's end first.
    async fn connection() -> (Socket, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpSocket::new_v4().unwrap();
        client.set_recv_buffer_size(64 << 10).unwrap();
        let client = client.connect(listener.local_addr().unwrap());
        let (client, accepted) = tokio::join!(client, listener.accept());
        (Socket::from(accepted.unwrap().0), client.unwrap())
    }

    /// Writes until the kernel takes no more; how much it took.
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
        // What the kernel takes first, after a long wait, still goes by the bound before it.
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
