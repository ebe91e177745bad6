//! An HTTP/2 client with prior knowledge (h2c), on one connection.
//!
//! Invariant: a stream that ends by `RST_STREAM`, or with its connection, is [`Broken`]; so is a response with fewer
//! bytes than its `Content-Length` (RFC 9113, 8.1.1), which hyper checks.

use super::Broken;
use crate::support::{CLIENT_LIMIT, bounded};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Request, StatusCode};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// One HTTP/2 connection; clones share it, and their requests run concurrently.
#[derive(Clone, Debug)]
pub struct H2Client {
    sender: http2::SendRequest<Once>,
    addr: SocketAddr,
    connection: Arc<Connection>,
}

/// Task that drives the connection; it ends with the last clone.
#[derive(Debug)]
struct Connection(JoinHandle<()>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl H2Client {
    /// Connects and begins HTTP/2 at once.
    ///
    /// # Panics
    /// When the server does not accept the connection.
    pub async fn connect(addr: SocketAddr) -> H2Client {
        let what = format!("an HTTP/2 connection to {addr}");
        let shake_hands = async {
            let stream = TcpStream::connect(addr).await.expect("a server that accepts");
            stream.set_nodelay(true).expect("a socket takes TCP_NODELAY");
            let builder = http2::Builder::new(TokioExecutor::new());
            builder.handshake(TokioIo::new(stream)).await.expect("an HTTP/2 preface")
        };
        let (sender, connection) = bounded(CLIENT_LIMIT, what, shake_hands).await;
        // Its error reaches every stream on it.
        let task = tokio::spawn(async move { drop(connection.await) });
        H2Client { sender, addr, connection: Arc::new(Connection(task)) }
    }

    /// GETs a path and reads the whole response.
    ///
    /// # Panics
    /// When no response head arrives.
    #[track_caller]
    pub fn get(
        &self,
        path: &str,
    ) -> impl Future<Output = (StatusCode, HeaderMap, Result<Bytes, Broken>)> + use<> {
        self.send(&Method::GET, path, &[], Bytes::new())
    }

    /// Sends a request and reads the whole response.
    ///
    /// # Panics
    /// When no response head arrives.
    #[track_caller]
    pub fn send(
        &self,
        method: &Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> impl Future<Output = (StatusCode, HeaderMap, Result<Bytes, Broken>)> + use<> {
        let stream = self.open(method, path, headers, body);
        async move {
            let mut stream = stream.await.expect("a header");
            let body = stream.rest().await;
            (stream.status, stream.headers, body)
        }
    }

    /// Sends a request and waits for the response head.
    ///
    /// # Panics
    /// When path or headers cannot be sent at all, or after 20 s.
    #[track_caller]
    pub fn open(
        &self,
        method: &Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> impl Future<Output = Result<H2Stream, Broken>> + use<> {
        let what = format!("{}: the answer to {method} {path}", Location::caller());
        let uri = format!("http://{}{path}", self.addr);
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Once(Some(body))).expect("a request that can be sent");
        let client = self.clone();
        async move {
            let mut sender = client.sender.clone();
            let answer = bounded(CLIENT_LIMIT, what.clone(), async {
                sender.ready().await?;
                sender.send_request(request).await
            });
            let (head, body) = match answer.await {
                Ok(answer) => answer.into_parts(),
                Err(error) => return Err(broken(0, &error)),
            };
            let (status, headers) = (head.status, head.headers);
            Ok(H2Stream { status, headers, body, received: 0, what, client })
        }
    }
}

/// A response whose body is read at the test's own pace. Dropping it resets the stream.
#[derive(Debug)]
pub struct H2Stream {
    pub status: StatusCode,
    pub headers: HeaderMap,
    body: Incoming,
    received: u64,
    what: String,
    client: H2Client,
}

impl H2Stream {
    /// Returns the next bytes of the body as they arrived; `None` at its clean end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Broken> {
        loop {
            let body = &mut self.body;
            let frame = std::future::poll_fn(|context| Pin::new(&mut *body).poll_frame(context));
            match bounded(CLIENT_LIMIT, self.what.clone(), frame).await {
                None => return Ok(None),
                Some(Err(error)) => return Err(broken(self.received, &error)),
                Some(Ok(frame)) => {
                    // Trailers carry no body bytes.
                    let Ok(bytes) = frame.into_data() else {
                        continue;
                    };
                    self.received += bytes.len() as u64;
                    return Ok(Some(bytes));
                }
            }
        }
    }

    /// Reads the rest of the body.
    pub async fn rest(&mut self) -> Result<Bytes, Broken> {
        let mut bytes = BytesMut::new();
        while let Some(piece) = self.next().await? {
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes.freeze())
    }

    /// Resets the stream with the body unread.
    pub fn abandon(self) {
        drop(self);
    }
}

fn broken(received: u64, error: &hyper::Error) -> Broken {
    Broken { received, reason: format!("{error:?}") }
}

/// A request body of one piece, or none.
#[derive(Debug)]
struct Once(Option<Bytes>);

impl Body for Once {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.take().filter(|bytes| !bytes.is_empty()).map(|b| Ok(Frame::data(b))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(Bytes::is_empty)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}
