//! Load generator: HTTP/1.1 clients on raw sockets that read one response after another and check every byte.
//!
//! It must cost less than the server that it measures. So all clients run on one thread, read into one shared buffer,
//! and check the bytes in place. A response with another status, length or content than the object's is an error: no
//! figure is ever based on wrong responses. Rounds that measure a server read objects that were checked before, and
//! then check only the length.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant, SystemTime};

use hotset::auth::sign::EMPTY_SHA256;
use hotset::auth::{Credentials, Payload, Signer};
use hotset::s3::Query;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use rustix::net::RecvFlags;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWriteExt, Interest, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use crate::Result;
use crate::content::Object;
use crate::tls::Identity;

/// Timeout of a scenario: one that takes longer has hung.
const LIMIT: Duration = Duration::from_mins(5);
/// Maximum bytes of one read from a socket.
const READ: usize = 256 << 10;
/// Bytes of a TCP segment on Ethernet. Those of the loopback interface are 64 KiB: ten of them, the initial window of
/// a connection, fill buffers as only fast networks do.
const SEGMENT: u32 = 1448;
/// Maximum bytes of a read while a head is expected, where the body is not checked: the rest of it is not copied.
const HEAD_READ: usize = 8 << 10;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ]);
}

/// Runs clients on the calling thread until `work` is complete.
///
/// # Errors
/// The error of `work`, or a timeout after five minutes.
pub fn run<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    run_within(LIMIT, work)
}

/// As [`run`], for work that takes longer.
///
/// # Errors
/// The error of `work`, or a timeout after `limit`.
pub fn run_within<T>(limit: Duration, work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime
        .block_on(async { timeout(limit, work).await })
        .unwrap_or_else(|_| Err(format!("the scenario hung: given up after {limit:?}").into()))
}

/// One GET, serialized once and sent any number of times.
#[derive(Clone)]
pub struct Get {
    object: Arc<Object>,
    range: Range<u64>,
    status: u16,
    words: Arc<[u8]>,
    checked: bool,
}

impl Get {
    /// Makes a GET of a whole object.
    pub fn whole(object: &Arc<Object>) -> Self {
        Self::new(object, 0..object.size(), 200, "")
    }

    /// Makes a GET of a range of an object, which is not empty and lies inside it.
    pub fn range(object: &Arc<Object>, range: Range<u64>) -> Self {
        let header = format!("Range: bytes={}-{}\r\n", range.start, range.end - 1);
        Self::new(object, range, 206, &header)
    }

    /// Makes a GET of a whole object with the headers of an SDK, signed now: valid for a quarter of an hour.
    pub fn signed(object: &Arc<Object>, keys: Credentials) -> Self {
        let pairs = [
            ("host", "localhost"),
            ("user-agent", "aws-sdk-rust/1.3 os/linux lang/rust/1.95"),
            ("accept-encoding", "identity"),
            ("amz-sdk-invocation-id", "3e8d0f6e-5a94-4fdc-8b7a-0d8e5f6a7b8c"),
            ("amz-sdk-request", "attempt=1; max=3"),
        ];
        let pairs = pairs
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let mut headers: HeaderMap = pairs.into_iter().collect();
        let signer = Signer::new(Arc::new(keys), "us-east-1");
        let payload = Payload::Sha256Hex(EMPTY_SHA256);
        let (path, now) = (object.path(), SystemTime::now());
        signer.sign(&Method::GET, path, &Query::default(), &mut headers, payload, now);
        headers.remove("host");
        let line = |(name, value): (&HeaderName, &HeaderValue)| {
            format!("{name}: {}\r\n", value.to_str().expect("ours are readable"))
        };
        let words: String = headers.iter().map(line).collect();
        Self::new(object, 0..object.size(), 200, &words)
    }

    /// Returns the same GET with only the length of its response checked, not the bytes: for rounds that measure the
    /// server, where the bytes were checked before.
    pub fn unchecked(self) -> Self {
        Self { checked: false, ..self }
    }

    fn new(object: &Arc<Object>, range: Range<u64>, status: u16, header: &str) -> Self {
        let words = format!("GET {} HTTP/1.1\r\nHost: localhost\r\n{header}\r\n", object.path());
        let words = words.into_bytes().into();
        Self { object: object.clone(), range, status, words, checked: true }
    }
}

/// A response with another status than expected.
#[derive(Debug)]
pub struct Refused {
    path: String,
    pub status: u16,
    text: String,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: status {}: {}", self.path, self.status, self.text)
    }
}

impl std::error::Error for Refused {}

/// Latency of a response, from before the request was sent.
#[derive(Clone, Copy, Debug)]
pub struct Took {
    /// Time to the first byte of the body.
    pub first_byte: Duration,
    /// Time to the last byte.
    pub last_byte: Duration,
}

/// One keep-alive connection.
pub struct Client {
    link: Link,
}

/// Byte stream of a connection, with or without TLS.
enum Link {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Link {
    async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.write_all(bytes).await,
            Self::Tls(stream) => {
                stream.write_all(bytes).await?;
                stream.flush().await
            }
        }
    }

    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl Client {
    /// # Errors
    /// When no server accepts at `address`.
    pub async fn connect(address: SocketAddr) -> Result<Self> {
        Self::over(TcpSocket::new_v4()?, address).await
    }

    /// Opens a connection whose kernel buffers little more than `bytes` before they are read, with segments as large
    /// as those of a network.
    ///
    /// # Errors
    /// When no server accepts at `address`.
    pub async fn connect_narrow(address: SocketAddr, bytes: u32) -> Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(bytes)?;
        SockRef::from(&socket).set_tcp_mss(SEGMENT)?;
        Self::over(socket, address).await
    }

    async fn over(socket: TcpSocket, address: SocketAddr) -> Result<Self> {
        let stream = socket.connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { link: Link::Plain(stream) })
    }

    /// Opens a connection to a server with this certificate; without TLS if there is none.
    ///
    /// # Errors
    /// When no server accepts at `address`, or one with another certificate.
    pub async fn connect_tls(address: SocketAddr, identity: Option<&Identity>) -> Result<Self> {
        let client = Self::connect(address).await?;
        match (client.link, identity) {
            (Link::Plain(stream), Some(identity)) => {
                let stream = identity.connect(stream).await?;
                Ok(Self { link: Link::Tls(Box::new(stream)) })
            }
            (link, _) => Ok(Self { link }),
        }
    }

    /// Sends `get` and reads its whole response.
    ///
    /// # Errors
    /// When the connection breaks, or the response is not the expected one.
    pub async fn get(&mut self, get: &Get) -> Result<Took> {
        let start = Instant::now();
        let mut answer = self.send(get).await?;
        let mut first_byte = None;
        while !answer.is_whole() {
            answer.read(READ).await?;
            if first_byte.is_none() && answer.at > get.range.start {
                first_byte = Some(start.elapsed());
            }
        }
        let last_byte = start.elapsed();
        Ok(Took { first_byte: first_byte.unwrap_or(last_byte), last_byte })
    }

    /// Sends `get`; the caller reads the response at its own pace.
    ///
    /// # Errors
    /// When the connection is broken.
    pub async fn send<'a>(&'a mut self, get: &'a Get) -> Result<Answer<'a>> {
        self.link.write_all(&get.words).await?;
        Ok(Answer { link: &mut self.link, get, head: Some(Vec::new()), at: get.range.start })
    }
}

/// A response being read.
pub struct Answer<'a> {
    link: &'a mut Link,
    get: &'a Get,
    /// Bytes of the head so far; `None` once it has been parsed.
    head: Option<Vec<u8>>,
    at: u64,
}

impl Answer<'_> {
    /// Whether the last byte has been read.
    pub fn is_whole(&self) -> bool {
        self.head.is_none() && self.at == self.get.range.end
    }

    /// Returns the bytes of the body read so far.
    pub fn received(&self) -> u64 {
        self.at - self.get.range.start
    }

    /// Waits for bytes and takes at most `limit` of them.
    ///
    /// # Errors
    /// When the connection breaks or ends, or the response is not the expected one.
    pub async fn read(&mut self, limit: usize) -> Result<()> {
        if let (Link::Plain(stream), None, false) = (&*self.link, &self.head, self.get.checked) {
            let count = discard(stream, limit).await?;
            return self.advance(count);
        }
        let limit = if self.get.checked { limit } else { limit.min(HEAD_READ) };
        poll_fn(|context| {
            BUFFER.with_borrow_mut(|buffer| {
                let limit = limit.min(buffer.len());
                let mut buffer = ReadBuf::new(&mut buffer[..limit]);
                ready!(self.link.poll_read(context, &mut buffer))?;
                if buffer.filled().is_empty() {
                    return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()).into();
                }
                self.take(buffer.filled()).into()
            })
        })
        .await
    }

    fn take(&mut self, bytes: &[u8]) -> Result<()> {
        let Some(mut head) = self.head.take() else {
            return self.take_body(bytes);
        };
        head.extend_from_slice(bytes);
        if let Some(length) = self.head_length(&head)? {
            return self.take_body(&head[length..]);
        }
        self.head = Some(head);
        Ok(())
    }

    /// Returns the length of the head at the start of `bytes`, once it is complete and as expected.
    fn head_length(&self, bytes: &[u8]) -> Result<Option<usize>> {
        let mut headers = [httparse::EMPTY_HEADER; 48];
        let mut response = httparse::Response::new(&mut headers);
        let httparse::Status::Complete(length) = response.parse(bytes)? else {
            return Ok(None);
        };
        let status = response.code.unwrap_or_default();
        if status != self.get.status {
            let text = String::from_utf8_lossy(&bytes[..bytes.len().min(2048)]).into_owned();
            return Err(Refused { path: self.get.object.path().to_owned(), status, text }.into());
        }
        let named = response.headers.iter().find(|h| h.name.eq_ignore_ascii_case("content-length"));
        let named = named.and_then(|header| std::str::from_utf8(header.value).ok());
        let wanted = self.get.range.end - self.get.range.start;
        if named.and_then(|value| value.parse().ok()) != Some(wanted) {
            return Err(format!("Content-Length {named:?} in place of {wanted}").into());
        }
        Ok(Some(length))
    }

    fn take_body(&mut self, bytes: &[u8]) -> Result<()> {
        let at = self.at;
        self.advance(bytes.len() as u64)?;
        if self.get.checked && !self.get.object.holds(at, bytes) {
            let path = self.get.object.path();
            return Err(format!("{path}: wrong bytes at or after offset {at}").into());
        }
        Ok(())
    }

    fn advance(&mut self, count: u64) -> Result<()> {
        if count > self.get.range.end - self.at {
            return Err(format!("{}: more bytes than announced", self.get.object.path()).into());
        }
        self.at += count;
        Ok(())
    }
}

/// Discards at most `limit` bytes from a socket without a copy: the kernel counts and drops them (`MSG_TRUNC`,
/// tcp(7)).
async fn discard(stream: &TcpStream, limit: usize) -> Result<u64> {
    let flags = RecvFlags::DONTWAIT | RecvFlags::TRUNC;
    let count = stream.async_io(Interest::READABLE, || {
        BUFFER.with_borrow_mut(|buffer| {
            let limit = limit.min(buffer.len());
            let (_, count) = rustix::net::recv(stream, &mut buffer[..limit], flags)?;
            Ok(count)
        })
    });
    match count.await? {
        0 => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
        count => Ok(count as u64),
    }
}

/// Several connections, each of which sends its next request as soon as it is answered.
pub struct Crowd {
    clients: Vec<Client>,
}

/// Result of a round.
#[derive(Default)]
pub struct Done {
    /// Time from the round's start to the end of the last response.
    pub elapsed: Duration,
    /// Times of all requests, from start to last byte, in ascending order.
    pub times: Vec<Duration>,
}

impl Crowd {
    /// # Errors
    /// When not all of the `size` connections can be opened.
    pub async fn connect(address: SocketAddr, size: usize) -> Result<Self> {
        Self::connect_tls(address, size, None).await
    }

    /// # Errors
    /// When not all of the `size` connections can be opened.
    pub async fn connect_tls(
        address: SocketAddr,
        size: usize,
        identity: Option<&Identity>,
    ) -> Result<Self> {
        let mut clients = Vec::with_capacity(size);
        for _ in 0..size {
            clients.push(Client::connect_tls(address, identity).await?);
        }
        Ok(Self { clients })
    }

    /// Sends each of `gets` once; the connections divide them among themselves.
    ///
    /// # Errors
    /// When a response is wrong or cut off.
    pub async fn once(&mut self, gets: &Arc<[Get]>) -> Result<()> {
        let mut tasks = JoinSet::new();
        let count = self.clients.len();
        for (index, mut client) in self.clients.drain(..).enumerate() {
            let gets = gets.clone();
            tasks.spawn(async move {
                for get in gets.iter().skip(index).step_by(count) {
                    client.get(get).await?;
                }
                Result::Ok(client)
            });
        }
        while let Some(result) = tasks.join_next().await {
            self.clients.push(result??);
        }
        Ok(())
    }

    /// Sends `gets` in turn on each connection, starting at different ones, until `time` is over.
    ///
    /// # Errors
    /// When a response is wrong or cut off.
    pub async fn round(&mut self, gets: &Arc<[Get]>, time: Duration) -> Result<Done> {
        let start = Instant::now();
        let mut tasks = JoinSet::new();
        let step = (gets.len() / self.clients.len()).max(1);
        for (index, mut client) in self.clients.drain(..).enumerate() {
            let gets = gets.clone();
            tasks.spawn(async move {
                let mut times = Vec::new();
                for get in gets.iter().cycle().skip(index * step) {
                    times.push(client.get(get).await?.last_byte);
                    if start.elapsed() >= time {
                        break;
                    }
                }
                Result::Ok((client, times))
            });
        }
        let mut done = Done::default();
        while let Some(result) = tasks.join_next().await {
            let (client, times) = result??;
            self.clients.push(client);
            done.times.extend(times);
        }
        done.elapsed = start.elapsed();
        done.times.sort_unstable();
        Ok(done)
    }
}
