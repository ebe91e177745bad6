//! A raw HTTP/1.1 client that shows a test exactly the bytes on the wire.
//!
//! It sends targets and headers as given, follows no redirects, retries nothing, and never takes a broken response
//! for a complete one ([`Response::complete`]). Connections are kept and reused once their response was read to its
//! end. Every wait is bounded by 20 s and then panics with the line that made the request.

mod h2;
mod response;
mod wire;

pub use h2::{H2Client, H2Stream};
pub use response::{Response, ResponseStream};
pub use wire::Broken;

use super::{CLIENT_LIMIT, bounded, lock};
use bytes::Bytes;
use http::Method;
use std::net::SocketAddr;
use std::panic::Location;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tokio::net::{TcpSocket, TcpStream};
use wire::Wire;

/// A client of one server; clones share its connections.
#[derive(Clone, Debug)]
pub struct Client(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    addr: SocketAddr,
    receive_buffer: Option<u32>,
    idle: Mutex<Vec<TcpStream>>,
    opened: AtomicU64,
}

impl Client {
    #[must_use]
    pub fn new(addr: SocketAddr) -> Client {
        Client::build(addr, None)
    }

    /// Makes a client whose kernel buffers little more than `bytes` that the test does not read.
    #[must_use]
    pub fn with_receive_buffer(addr: SocketAddr, bytes: u32) -> Client {
        Client::build(addr, Some(bytes))
    }

    /// Makes a client whose first request uses an existing connection.
    #[must_use]
    pub fn with_connection(addr: SocketAddr, stream: TcpStream) -> Client {
        let client = Client::new(addr);
        client.keep(stream);
        client
    }

    fn build(addr: SocketAddr, receive_buffer: Option<u32>) -> Client {
        let (idle, opened) = (Mutex::default(), AtomicU64::new(0));
        Client(Arc::new(Inner { addr, receive_buffer, idle, opened }))
    }

    #[track_caller]
    pub fn get(&self, path: &str) -> Request {
        self.request(Method::GET, path)
    }

    #[track_caller]
    pub fn head(&self, path: &str) -> Request {
        self.request(Method::HEAD, path)
    }

    #[track_caller]
    pub fn put(&self, path: &str) -> Request {
        self.request(Method::PUT, path).body("")
    }

    #[track_caller]
    pub fn post(&self, path: &str) -> Request {
        self.request(Method::POST, path).body("")
    }

    #[track_caller]
    pub fn delete(&self, path: &str) -> Request {
        self.request(Method::DELETE, path)
    }

    /// Makes a request whose target is sent as given: percent-encoding is the caller's.
    #[track_caller]
    pub fn request(&self, method: Method, path: &str) -> Request {
        Request {
            client: self.clone(),
            caller: Location::caller(),
            method,
            path: path.to_owned(),
            host: self.0.addr.to_string(),
            headers: Vec::new(),
            body: None,
        }
    }

    /// Starts a GET and returns when the response head has arrived.
    #[track_caller]
    pub fn open(&self, path: &str) -> impl Future<Output = ResponseStream> + use<> {
        self.get(path).open()
    }

    /// Sends these bytes on a new connection and reads one response.
    ///
    /// # Panics
    /// When none arrives, or no valid response head.
    #[track_caller]
    pub fn raw(&self, request: &[u8]) -> impl Future<Output = Response> + use<> {
        let (client, request) = (self.clone(), request.to_vec());
        let what = format!("{}: the answer to raw bytes", Location::caller());
        async move {
            let mut wire = Wire::new(client.connect(&what).await, what);
            wire.write(&request).await.expect("a server that takes the request");
            let to_head = request.starts_with(b"HEAD ");
            let stream = ResponseStream::begin(wire, to_head, client).await;
            stream.expect("an answer").finish().await
        }
    }

    /// Sends these bytes on a new connection; returns everything received until its end.
    #[track_caller]
    pub fn send_raw(&self, bytes: &[u8]) -> impl Future<Output = Bytes> + use<> {
        let (client, bytes) = (self.clone(), bytes.to_vec());
        let what = format!("{}: the end of a raw connection", Location::caller());
        async move {
            let mut wire = Wire::new(client.connect(&what).await, what);
            // A server may answer and close before it has read everything.
            let _ = wire.write(&bytes).await;
            while wire.fill().await.is_ok() {}
            wire.into_rest()
        }
    }

    /// Returns the number of connections that this client has opened.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.0.opened.load(Ordering::Relaxed)
    }

    /// Closes the idle connections.
    pub fn close_idle(&self) {
        lock(&self.0.idle).clear();
    }

    async fn connect(&self, what: &str) -> TcpStream {
        let stream = self.connect_or_refused(what).await;
        stream.unwrap_or_else(|broken| panic!("{what}: {broken}"))
    }

    async fn connect_or_refused(&self, what: &str) -> Result<TcpStream, Broken> {
        let stream = bounded(CLIENT_LIMIT, what.to_owned(), self.try_connect()).await;
        stream.map_err(|error| Broken { received: 0, reason: format!("no connection: {error}") })
    }

    async fn try_connect(&self) -> std::io::Result<TcpStream> {
        let socket = match self.0.addr {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        if let Some(bytes) = self.0.receive_buffer {
            socket.set_recv_buffer_size(bytes)?;
        }
        let stream = socket.connect(self.0.addr).await?;
        stream.set_nodelay(true)?;
        self.0.opened.fetch_add(1, Ordering::Relaxed);
        Ok(stream)
    }

    /// Keeps a connection whose response was read to its end.
    fn keep(&self, stream: TcpStream) {
        lock(&self.0.idle).push(stream);
    }

    /// Returns an idle connection that the server has not closed meanwhile, if there is one.
    fn idle(&self) -> Option<TcpStream> {
        let mut idle = lock(&self.0.idle);
        while let Some(stream) = idle.pop() {
            let nothing_came = stream.try_read(&mut [0; 1]);
            if nothing_came.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock) {
                return Some(stream);
            }
        }
        None
    }
}

/// A request under construction; chained, then sent in one of four ways.
#[derive(Debug)]
#[must_use = "a request does nothing until it is sent"]
pub struct Request {
    client: Client,
    caller: &'static Location<'static>,
    method: Method,
    path: String,
    host: String,
    headers: Vec<(String, String)>,
    body: Option<Bytes>,
}

impl Request {
    /// Adds a header, as given.
    pub fn header(mut self, name: &str, value: &str) -> Request {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds `Range`, such as `bytes=0-9`.
    pub fn range(self, value: &str) -> Request {
        self.header("Range", value)
    }

    /// Sends this `Host` instead of the server's address.
    pub fn host(mut self, host: &str) -> Request {
        host.clone_into(&mut self.host);
        self
    }

    /// Sends this body, with its `Content-Length`.
    pub fn body(mut self, body: impl Into<Bytes>) -> Request {
        self.body = Some(body.into());
        self
    }

    /// Sends the request and reads the whole response.
    ///
    /// # Panics
    /// When no response head arrives; a truncated body is [`Response::complete`] `== false`.
    pub async fn send(self) -> Response {
        self.open().await.finish().await
    }

    /// As [`Request::send`], but a connection that is refused or ends before the response head is an error.
    pub async fn try_send(self) -> Result<Response, Broken> {
        Ok(self.try_open().await?.finish().await)
    }

    /// Sends the request and returns when the response head has arrived.
    ///
    /// # Panics
    /// When none arrives.
    pub async fn open(self) -> ResponseStream {
        let what = self.what();
        self.try_open().await.unwrap_or_else(|broken| panic!("{what}: {broken}"))
    }

    /// As [`Request::open`], but a connection that is refused or ends before the response head is an error.
    pub async fn try_open(mut self) -> Result<ResponseStream, Broken> {
        let body = self.body.take();
        let mut upload = self.begin(body.as_ref().map(|body| body.len() as u64)).await?;
        // A server may answer before it has read the whole body, and that response counts.
        let _ = upload.write(&body.unwrap_or_default()).await;
        upload.answer().await
    }

    /// Sends the head with this `Content-Length`; the body follows piece by piece.
    pub async fn start(self, content_length: u64) -> Upload {
        let what = self.what();
        let upload = self.begin(Some(content_length)).await;
        upload.unwrap_or_else(|broken| panic!("{what}: {broken}"))
    }

    async fn begin(self, content_length: Option<u64>) -> Result<Upload, Broken> {
        let what = self.what();
        let stream = match self.client.idle() {
            Some(stream) => stream,
            None => self.client.connect_or_refused(&what).await?,
        };
        let mut head = format!("{} {} HTTP/1.1\r\nHost: {}\r\n", self.method, self.path, self.host);
        let length = content_length.map(|length| ("Content-Length".into(), length.to_string()));
        for (name, value) in self.headers.iter().chain(&length) {
            head.extend([name, ": ", value, "\r\n"]);
        }
        let mut wire = Wire::new(stream, what);
        // If this fails, so does reading the response, and that is reported.
        let _ = wire.write((head + "\r\n").as_bytes()).await;
        Ok(Upload { wire, to_head: self.method == Method::HEAD, client: self.client })
    }

    fn what(&self) -> String {
        format!("{}: the answer to {} {}", self.caller, self.method, self.path)
    }
}

/// A request whose body is being sent piece by piece. Dropping it closes the connection.
#[derive(Debug)]
pub struct Upload {
    wire: Wire,
    to_head: bool,
    client: Client,
}

impl Upload {
    /// Sends a piece of the body, as soon as the server accepts it.
    pub async fn write(&mut self, piece: &[u8]) -> Result<(), Broken> {
        self.wire.write(piece).await
    }

    /// Waits until the server sends `100 Continue`; false when it sends another response, or none.
    pub async fn continued(&mut self) -> bool {
        self.wire.comes_with(b"HTTP/1.1 100").await
    }

    /// Reads the whole response; may be called before the body is complete.
    ///
    /// # Panics
    /// When no response head arrives.
    pub async fn finish(self) -> Response {
        let what = self.wire.what.clone();
        let answer = self.answer().await.unwrap_or_else(|broken| panic!("{what}: {broken}"));
        answer.finish().await
    }

    /// Waits for the response head.
    pub async fn answer(self) -> Result<ResponseStream, Broken> {
        ResponseStream::begin(self.wire, self.to_head, self.client).await
    }

    /// Closes the connection with the body unfinished.
    pub fn abandon(self) {
        drop(self);
    }
}
