//! Pool of idle connections to the origin, reused by hotset's own requests and by those that pass through.
//!
//! pingora's own pool hands an idle connection from one task to another through a lock, and loses it when the new owner
//! is quicker than the old one releases it (pingora#998): of consecutive requests, a third found none. Here a
//! connection has one owner at a time. Invariants: a connection is kept only when nothing more can arrive on it, it is
//! checked again before reuse, and at most `capacity` are kept.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::FutureExt as _;
use parking_lot::Mutex;
use pingora::protocols::Stream;
use tokio::io::AsyncReadExt as _;
use tokio::time::{Instant, sleep};

use super::keep_alive::KeepAlive;
use crate::sys::descriptor::is_closed_by_peer;

/// Interval between removals of connections that expired or that the origin closed.
const SWEEP: Duration = Duration::from_secs(1);

/// The idle connections of one origin.
#[derive(Debug)]
pub(super) struct Pool {
    idle: Mutex<Idle>,
    capacity: usize,
    keep_alive: KeepAlive,
}

#[derive(Debug, Default)]
struct Idle {
    /// Connections by the host name that they were made for; the last one used is the last in its list.
    by_host: HashMap<String, Vec<Kept>>,
    count: usize,
    /// Whether a task removes expired connections.
    is_swept: bool,
}

#[derive(Debug)]
struct Kept {
    stream: Stream,
    address: SocketAddr,
    since: Instant,
}

impl Pool {
    /// Keeps at most `capacity` connections, each for at most `keep_alive` after its last use.
    pub(super) fn new(capacity: usize, keep_alive: Duration) -> Arc<Self> {
        let keep_alive = KeepAlive::new(keep_alive);
        Arc::new(Self { idle: Mutex::default(), capacity, keep_alive })
    }

    /// Takes the most recently used connection to one of these addresses, if it was idle for less than `youngest`.
    /// Returns it with its idle time.
    pub(super) fn take(
        &self,
        host: &str,
        addresses: &[SocketAddr],
        youngest: Duration,
    ) -> Option<(Stream, SocketAddr, Duration)> {
        let youngest = youngest.min(self.keep_alive.limit());
        loop {
            let mut kept = self.idle.lock().pop(host, youngest)?;
            if addresses.contains(&kept.address) && is_quiet(&mut kept.stream) {
                return Some((kept.stream, kept.address, kept.since.elapsed()));
            }
        }
    }

    /// As [`Pool::take`], for one address.
    pub(super) fn take_one(
        &self,
        host: &str,
        address: SocketAddr,
        youngest: Duration,
    ) -> Option<(Stream, Duration)> {
        let youngest = youngest.min(self.keep_alive.limit());
        loop {
            let mut kept = self.idle.lock().pop_of(host, address, youngest)?;
            if is_quiet(&mut kept.stream) {
                return Some((kept.stream, kept.since.elapsed()));
            }
        }
    }

    /// Records that a connection with this idle time turned out to be dead.
    pub(super) fn was_dead(&self, idle: Duration) {
        self.keep_alive.was_dead(idle);
    }

    /// Closes the oldest connections to `address`, so that at most `most` are left.
    pub(super) fn shrink(&self, address: SocketAddr, most: usize) {
        let closed = self.idle.lock().shrink(address, most);
        drop(closed);
    }

    /// Returns the address of each idle connection.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        let idle = self.idle.lock();
        idle.by_host.values().flatten().map(|kept| kept.address).collect()
    }

    /// Keeps a connection whose last response was read to its end.
    pub(super) fn put(self: &Arc<Self>, host: &str, address: SocketAddr, mut stream: Stream) {
        if self.capacity == 0 || !is_quiet(&mut stream) {
            return;
        }
        let mut idle = self.idle.lock();
        let oldest = (idle.count >= self.capacity).then(|| idle.remove_oldest());
        idle.push(host, Kept { stream, address, since: Instant::now() });
        let starts = !std::mem::replace(&mut idle.is_swept, true);
        drop(idle);
        drop(oldest);
        if starts {
            tokio::spawn(sweep(Arc::downgrade(self)));
        }
    }
}

impl Idle {
    fn pop(&mut self, host: &str, youngest: Duration) -> Option<Kept> {
        let kept = self.by_host.get_mut(host)?;
        if kept.last()?.since.elapsed() >= youngest {
            return None;
        }
        self.count -= 1;
        kept.pop()
    }

    fn pop_of(&mut self, host: &str, address: SocketAddr, youngest: Duration) -> Option<Kept> {
        let group = self.by_host.get_mut(host)?;
        let is_good = |kept: &Kept| kept.address == address && kept.since.elapsed() < youngest;
        let kept = group.remove(group.iter().rposition(is_good)?);
        self.count -= 1;
        Some(kept)
    }

    fn push(&mut self, host: &str, kept: Kept) {
        self.count += 1;
        match self.by_host.get_mut(host) {
            Some(others) => others.push(kept),
            None => drop(self.by_host.insert(host.to_owned(), vec![kept])),
        }
    }

    fn remove_oldest(&mut self) -> Option<Kept> {
        let first = |kept: &Vec<Kept>| kept.first().map(|kept| kept.since);
        let groups = self.by_host.values_mut().filter(|kept| !kept.is_empty());
        let oldest = groups.min_by_key(|kept| first(kept))?;
        self.count -= 1;
        Some(oldest.remove(0))
    }

    /// Removes the oldest connections to `address`, so that at most `most` are left.
    fn shrink(&mut self, address: SocketAddr, most: usize) -> Vec<Kept> {
        let all = self.by_host.values().flatten();
        let mut since: Vec<_> =
            all.filter(|kept| kept.address == address).map(|kept| kept.since).collect();
        let Some(surplus) = since.len().checked_sub(most).filter(|surplus| *surplus > 0) else {
            return Vec::new();
        };
        since.sort_unstable();
        let until = since[surplus - 1];
        let mut closed = Vec::with_capacity(surplus);
        for group in self.by_host.values_mut() {
            let is_old = |kept: &mut Kept| kept.address == address && kept.since <= until;
            closed.extend(group.extract_if(.., is_old));
        }
        self.count -= closed.len();
        closed
    }

    /// Removes expired and closed connections.
    fn expired(&mut self, keep_alive: Duration) -> Vec<Kept> {
        let mut expired = Vec::new();
        for group in self.by_host.values_mut() {
            for mut kept in std::mem::take(group) {
                match kept.since.elapsed() < keep_alive && is_quiet(&mut kept.stream) {
                    true => group.push(kept),
                    false => expired.push(kept),
                }
            }
        }
        self.by_host.retain(|_, group| !group.is_empty());
        self.count -= expired.len();
        expired
    }
}

/// Removes expired and closed connections until the pool is empty.
async fn sweep(pool: Weak<Pool>) {
    loop {
        sleep(SWEEP).await;
        let Some(pool) = pool.upgrade() else { return };
        let mut idle = pool.idle.lock();
        let expired = idle.expired(pool.keep_alive.limit());
        idle.is_swept = idle.count > 0;
        let ends = !idle.is_swept;
        drop(idle);
        drop(expired);
        if ends {
            return;
        }
    }
}

/// Whether a connection is open and no unexpected bytes have arrived on it.
fn is_quiet(stream: &mut Stream) -> bool {
    if is_closed_by_peer(&**stream) {
        return false;
    }
    let mut byte = [0; 1];
    // Unconstrained: otherwise a task without budget would find every connection quiet.
    tokio::task::unconstrained(stream.read(&mut byte)).now_or_never().is_none()
}

#[cfg(test)]
mod tests {
    use pingora::protocols::l4::stream::Stream as L4Stream;
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::advance;

    use super::*;

    const LONG: Duration = Duration::from_secs(50);

    /// Makes a connection. Returns our end, the other end and its address.
    async fn connection() -> (Stream, TcpStream, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (ours, theirs) = tokio::join!(TcpStream::connect(address), listener.accept());
        (Box::new(L4Stream::from(ours.unwrap())), theirs.unwrap().0, address)
    }

    #[tokio::test]
    async fn the_connection_used_last_is_given_out_first_and_only_where_it_leads() {
        let pool = Pool::new(8, LONG);
        let (first, _a, one) = connection().await;
        let (second, _b, other) = connection().await;
        pool.put("host", one, first);
        pool.put("host", other, second);
        let take =
            |host, to: &[SocketAddr]| pool.take(host, to, LONG).map(|(_, address, _)| address);
        assert_eq!(take("elsewhere", &[one, other]), None);
        assert_eq!(take("host", &[one, other]), Some(other));
        assert_eq!(take("host", &[one, other]), Some(one));
        assert_eq!(take("host", &[one, other]), None);
        let (third, _c, third_address) = connection().await;
        pool.put("host", third_address, third);
        assert_eq!(take("host", &[one]), None, "the name does not lead there any more");
        assert_eq!(pool.idle.lock().count, 0);
    }

    #[tokio::test]
    async fn a_connection_that_ended_or_has_bytes_nobody_asked_for_is_not_given_out() {
        for sends in [&b""[..], b"HTTP/1.1 408 Request Timeout\r\n\r\n"] {
            let pool = Pool::new(8, LONG);
            let (stream, mut theirs, address) = connection().await;
            pool.put("host", address, stream);
            theirs.write_all(sends).await.unwrap();
            theirs.shutdown().await.unwrap();
            // The sweep makes the same check as [`Pool::take`].
            while pool.idle.lock().count > 0 {
                sleep(SWEEP).await;
            }
            assert!(pool.take("host", &[address], LONG).is_none(), "{sends:?}");
        }
    }

    #[tokio::test]
    async fn r9_a_connection_that_ended_a_moment_ago_is_not_given_out() {
        let pool = Pool::new(8, LONG);
        let (stream, theirs, address) = connection().await;
        pool.put("host", address, stream);
        // Without an await the runtime does not hear of it.
        drop(theirs);
        assert!(pool.take("host", &[address], LONG).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_to_an_address_are_closed_to_make_room() {
        let pool = Pool::new(8, LONG);
        let (stream, _theirs, other) = connection().await;
        pool.put("host", other, stream);
        let (_, _theirs, address) = connection().await;
        let mut others = Vec::new();
        for host in ["a", "b", "a"] {
            let (stream, theirs, _) = connection().await;
            pool.put(host, address, stream);
            others.push(theirs);
            advance(Duration::from_secs(1)).await;
        }
        pool.shrink(address, 3);
        assert_eq!(pool.addresses().len(), 4);
        pool.shrink(address, 1);
        assert_eq!((pool.addresses().len(), pool.idle.lock().count), (2, 2));
        let take = |host, to| pool.take(host, &[to], LONG).map(|(.., idle)| idle);
        assert_eq!(take("b", address), None);
        assert_eq!(take("a", address), Some(Duration::from_secs(1)), "the one used last");
        assert!(take("a", address).is_none() && take("host", other).is_some());
        for address in [other, address] {
            let (stream, theirs, _) = connection().await;
            pool.put("host", address, stream);
            others.push(theirs);
        }
        for address in [other, address] {
            assert!(pool.take_one("host", address, LONG).is_some(), "behind another one");
            assert!(pool.take_one("host", address, LONG).is_none());
        }
        assert_eq!(pool.idle.lock().count, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn idle_connections_are_bounded_in_number_and_time() {
        let pool = Pool::new(2, LONG);
        let mut others = Vec::new();
        for host in ["a", "a", "b"] {
            let (stream, theirs, address) = connection().await;
            pool.put(host, address, stream);
            others.push((theirs, address));
            advance(Duration::from_secs(1)).await;
        }
        assert_eq!(pool.idle.lock().count, 2);
        let take = |host, to, youngest| pool.take(host, &[to], youngest).is_some();
        let [a0, a1, b]: [SocketAddr; 3] = std::array::from_fn(|n| others[n].1);
        assert!(!take("b", b, Duration::from_secs(1)), "not for who wants a young one");
        assert!(take("b", b, LONG) && take("a", a1, LONG) && !take("a", a0, LONG));
        let (stream, _theirs, address) = connection().await;
        pool.put("a", address, stream);
        advance(LONG).await;
        assert!(!take("a", address, Duration::MAX));
        sleep(SWEEP * 2).await;
        assert_eq!(pool.idle.lock().count, 0);
        assert!(!pool.idle.lock().is_swept, "the task has ended");
    }
}
