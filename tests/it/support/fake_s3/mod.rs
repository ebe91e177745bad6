//! An S3 origin inside the test, on a free port of the loopback interface, that misbehaves on demand.
//!
//! It speaks real HTTP/1.1 over real sockets, keeps connections alive, and answers path-style requests as S3 does
//! (see [`answer`]); it verifies only the signatures of forms. Three features make it useful for tests:
//! - *objects of any size* ([`Object::random`]): bytes are made while they are sent;
//! - *a full record* ([`FakeS3::requests`]): each request, its connection, and the bytes sent;
//! - *faults* ([`FakeS3::fault`]): exact in place and number.
//!
//! ```ignore
//! let s3 = FakeS3::start().await;
//! s3.put("data", "model.bin", Object::random(1 << 30, 7).header("x-amz-meta-a", "b"));
//! s3.fault(Matcher::get("model.bin").covering(0), Times(1), Fault::CutAfter(1000));
//! // .. point the proxy at s3.endpoint(), read through it ..
//! s3.wait_for(|requests| requests.iter().filter(|r| r.done).count() == 2).await;
//! s3.assert_each_byte_sent_once("data", "model.bin");
//! ```

mod answer;
mod aws_chunked;
mod connection;
mod faults;
mod form;
mod http;
mod object;
mod pace;
mod plan;
mod regions;
mod reply;
mod state;
mod store;

pub use answer::OWNER;
pub use faults::{Fault, Gate, Matcher, Repeat};
pub use http::Seen;
pub use object::{DEFAULT_LAST_MODIFIED, Object};
pub use pace::Pace;
pub use regions::Tells;

use crate::support::{EVENT_LIMIT, lock, within};
use bytes::Bytes;
use connection::Connection;
use state::{Open, State};
use std::net::{IpAddr, SocketAddr};
use std::panic::Location;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};

/// Send buffer of a connection, in bytes. The kernel buffers at most about twice as much of a response on the
/// origin's side, so that [`Seen::body_bytes_sent`] is only a little ahead of a slow reader.
const SEND_BUFFER: u32 = 128 * 1024;

/// The origin. Dropping it closes its port and all its connections.
#[derive(Debug)]
pub struct FakeS3 {
    addr: SocketAddr,
    state: Arc<State>,
    listening: Mutex<Option<Listening>>,
    /// Listeners at other addresses.
    also: Mutex<Vec<Listening>>,
}

/// The task that accepts connections, and the signal that ends it.
#[derive(Debug)]
struct Listening {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Drop for FakeS3 {
    fn drop(&mut self) {
        for listening in lock(&self.listening).take().into_iter().chain(lock(&self.also).drain(..))
        {
            listening.task.abort();
        }
    }
}

impl FakeS3 {
    /// Starts an empty origin on a free port, in the runtime that calls this.
    ///
    /// # Panics
    /// When no socket is available.
    #[allow(clippy::unused_async, reason = "it needs a runtime, as starting any server does")]
    pub async fn start() -> FakeS3 {
        Self::start_at(0).await
    }

    /// As [`FakeS3::start`], on a port that the caller chooses.
    ///
    /// # Panics
    /// When the port is not free.
    #[allow(clippy::unused_async, reason = "it needs a runtime, as starting any server does")]
    pub async fn start_at(port: u16) -> FakeS3 {
        let listener = listen(SocketAddr::from(([127, 0, 0, 1], port)));
        let addr = listener.local_addr().expect("a listener has an address");
        let state = Arc::new(State::default());
        let listening = Mutex::new(Some(Listening::begin(listener, &state)));
        FakeS3 { addr, state, listening, also: Mutex::default() }
    }

    /// Listens on the same port of another address, too.
    ///
    /// # Panics
    /// When the port is not free.
    pub fn listen_at(&self, address: IpAddr) -> SocketAddr {
        let address = SocketAddr::new(address, self.addr.port());
        lock(&self.also).push(Listening::begin(listen(address), &self.state));
        address
    }

    /// Returns `http://127.0.0.1:port`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.addr)
    }

    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Closes the port and every connection, and returns when that is done: further connections are refused.
    pub async fn go_down(&self) {
        let listening = lock(&self.listening).take();
        if let Some(Listening { stop, task }) = listening {
            let _ = stop.send(());
            within("the origin to go down", task).await.expect("accepting does not panic");
        }
    }

    /// Listens on the same port again after [`FakeS3::go_down`].
    pub async fn come_back(&self) {
        self.go_down().await;
        *lock(&self.listening) = Some(Listening::begin(listen(self.addr), &self.state));
    }

    /// Replaces the key's current object, without any request.
    pub fn put(&self, bucket: &str, key: &str, object: Object) {
        self.state.store().put(bucket, key, object);
    }

    /// Deletes the key's current object; a versioned key is left with a delete marker.
    pub fn delete(&self, bucket: &str, key: &str) {
        self.state.store().delete(bucket, key, None);
    }

    /// Makes requesters pay: requests for this bucket must state that from now on.
    pub fn make_requester_pays(&self, bucket: &str) {
        self.state.store().requester_pays.insert(bucket.to_owned());
    }

    /// Moves this bucket to a region: from now on only requests that are signed for it and sent there reach it.
    pub fn place(&self, bucket: &str, region: &str, tells: Tells) {
        self.state.store().regions.insert(bucket.to_owned(), (region.to_owned(), tells));
    }

    /// Allows web pages of this origin to read and write in this bucket.
    pub fn allow_cors(&self, bucket: &str, origin: &str) {
        self.state.store().cors.insert((bucket.to_owned(), origin.to_owned()));
    }

    /// Ends that permission.
    pub fn deny_cors(&self, bucket: &str, origin: &str) {
        self.state.store().cors.remove(&(bucket.to_owned(), origin.to_owned()));
    }

    /// Adds a delete marker with this version id.
    pub fn put_marker(&self, bucket: &str, key: &str, version: &str) {
        self.state.store().put_marker(bucket, key, version);
    }

    /// Deletes one version of the key for good.
    pub fn delete_version(&self, bucket: &str, key: &str, version: &str) {
        self.state.store().delete(bucket, key, Some(version));
    }

    /// Returns the key's current object.
    #[must_use]
    pub fn object(&self, bucket: &str, key: &str) -> Option<Object> {
        self.state.store().current(bucket, key).cloned()
    }

    /// Returns all bytes of the key's current object.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn object_bytes(&self, bucket: &str, key: &str) -> Bytes {
        self.object(bucket, key).expect("an object under this key").all()
    }

    /// Sets a fault, which affects the matching requests from now on.
    pub fn fault(&self, matcher: Matcher, repeat: Repeat, fault: Fault) {
        self.state.add_fault(matcher, repeat, fault);
    }

    /// Removes all faults; held requests stay held.
    pub fn clear_faults(&self) {
        self.state.clear_faults();
    }

    /// Returns every request so far, in order of arrival, including those in progress.
    #[must_use]
    pub fn requests(&self) -> Vec<Seen> {
        self.state.with_requests(<[Seen]>::to_vec)
    }

    /// Returns the number of requests so far that meet the condition.
    pub fn count(&self, mut condition: impl FnMut(&Seen) -> bool) -> usize {
        self.state.with_requests(|requests| requests.iter().filter(|r| condition(r)).count())
    }

    /// Returns the body bytes of all responses so far.
    #[must_use]
    pub fn bytes_sent(&self) -> u64 {
        self.state.with_requests(|requests| requests.iter().map(|r| r.body_bytes_sent).sum())
    }

    /// Returns the number of connections accepted so far.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.state.connections.load(Ordering::Relaxed)
    }

    /// Empties the record; faults and objects stay. Requests in progress are no longer recorded.
    pub fn forget_requests(&self) {
        self.state.forget_requests();
    }

    /// Returns errors in requests: malformed heads and framing that S3 would refuse.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        self.state.complaints()
    }

    /// Waits until the requests so far meet the condition, which is evaluated whenever one arrives, or its response
    /// makes progress.
    ///
    /// # Panics
    /// After 10 s, naming the caller's line and the requests.
    #[track_caller]
    pub fn wait_for(&self, mut condition: impl FnMut(&[Seen]) -> bool) -> impl Future<Output = ()> {
        let caller = Location::caller();
        let met = async move {
            loop {
                let mut changed = std::pin::pin!(self.state.changed.notified());
                changed.as_mut().enable();
                if self.state.with_requests(&mut condition) {
                    return;
                }
                changed.await;
            }
        };
        async move {
            let met = tokio::time::timeout(EVENT_LIMIT, met).await.is_ok();
            assert!(
                met,
                "{caller}: not so after {EVENT_LIMIT:?}:
{}",
                self.describe()
            );
        }
    }

    /// Waits until no request is in progress, or panics after 10 s.
    #[track_caller]
    pub fn wait_idle(&self) -> impl Future<Output = ()> {
        self.wait_for(|requests| requests.iter().all(|request| request.done))
    }

    /// Waits until all connections were read to their end, also those that wait to be accepted; panics after 10 s. Their
    /// clients must be gone.
    pub async fn wait_disconnected(&self) {
        let mut last = TcpStream::connect(self.addr).await.expect("it listens");
        last.write_all(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n").await.expect("it reads");
        last.read_to_end(&mut Vec::new()).await.expect("connections are accepted in their order");
        drop(last);
        self.wait_for(|_| self.state.open.load(Ordering::SeqCst) == 0).await;
    }

    /// Asserts that no byte of the object was sent twice, over all GETs so far; bytes of a broken response that were
    /// handed to the kernel count as sent, whether or not they arrived.
    ///
    /// # Panics
    /// When a byte was, with the requests.
    #[track_caller]
    pub fn assert_each_byte_sent_once(&self, bucket: &str, key: &str) {
        let mut sent: Vec<(u64, u64)> = self.state.with_requests(|requests| {
            let gets = requests.iter().filter(|r| r.method == ::http::Method::GET);
            let gets = gets.filter(|r| r.bucket == bucket && r.key == key);
            let gets = gets.filter(|r| matches!(r.status, 200 | 206) && r.body_bytes_sent > 0);
            let range = |r: &Seen| r.range.clone().filter(|_| r.status == 206);
            let start = |r: &Seen| range(r).map_or(0, |range| range.start);
            gets.map(|r| (start(r), start(r) + r.body_bytes_sent)).collect()
        });
        sent.sort_unstable();
        let twice = sent.windows(2).find(|pair| pair[1].0 < pair[0].1);
        assert!(twice.is_none(), "{twice:?} of {key} overlap:\n{}", self.describe());
    }

    /// Returns one line per request, for messages.
    #[must_use]
    pub fn describe(&self) -> String {
        let line = |r: &Seen| {
            let end = match (r.complete, r.done) {
                (true, _) => "complete",
                (false, true) => "broken",
                (false, false) => "under way",
            };
            let (status, sent, range) = (r.status, r.body_bytes_sent, r.header("range"));
            let (method, target, connection) = (&r.method, &r.target, r.connection);
            format!("  {method} {target} {range} -> {status}, {sent} bytes, {end}, #{connection}\n")
        };
        self.state.with_requests(|requests| requests.iter().map(line).collect())
    }
}

fn listen(addr: SocketAddr) -> TcpListener {
    let open = || {
        let socket = match addr {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        socket.set_reuseaddr(true)?;
        // Accepted sockets inherit it.
        socket.set_send_buffer_size(SEND_BUFFER)?;
        socket.bind(addr)?;
        socket.listen(1024)
    };
    open().expect("a listening socket on the loopback")
}

impl Listening {
    fn begin(listener: TcpListener, state: &Arc<State>) -> Listening {
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(accept(listener, Arc::clone(state), stopped));
        Listening { stop, task }
    }
}

/// Accepts connections until stopped, then ends every connection; so does aborting this task.
async fn accept(listener: TcpListener, state: Arc<State>, mut stop: oneshot::Receiver<()>) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = &mut stop => break,
        };
        let Ok((stream, _)) = accepted else { continue };
        let _ = stream.set_nodelay(true);
        let id = state.connections.fetch_add(1, Ordering::Relaxed);
        let open = Open::new(&state);
        let connection = Connection::new(id, stream, Arc::clone(&state));
        connections.spawn(async move {
            connection.run().await;
            drop(open);
        });
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    connections.shutdown().await;
}
