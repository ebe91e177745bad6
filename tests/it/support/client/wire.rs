//! A client's connection: raw bytes, heads and lines; it knows nothing of bodies.

use crate::support::{CLIENT_LIMIT, bounded};
use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use std::fmt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub(super) const CLOSED: &str = "the peer closed the connection";

/// The peer ended an exchange early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Body bytes received before that.
    pub received: u64,
    /// Error of the socket, or of HTTP/2.
    pub reason: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "broken after {} bytes of body: {}", self.received, self.reason)
    }
}

impl std::error::Error for Broken {}

/// A connection, and the received bytes that are not read yet.
#[derive(Debug)]
pub(super) struct Wire {
    pub stream: TcpStream,
    pub buffer: BytesMut,
    /// Body bytes read so far.
    pub received: u64,
    /// Description of the current wait, for messages.
    pub what: String,
}

impl Wire {
    pub(super) fn new(stream: TcpStream, what: String) -> Wire {
        Wire { stream, buffer: BytesMut::new(), received: 0, what }
    }

    fn broken(&self, reason: impl fmt::Display) -> Broken {
        Broken { received: self.received, reason: reason.to_string() }
    }

    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        let write = self.stream.write_all(bytes);
        let written = bounded(CLIENT_LIMIT, format!("sending before {}", self.what), write).await;
        written.map_err(|error| self.broken(error))
    }

    /// Waits for more bytes; the end of the connection is an error.
    pub(super) async fn fill(&mut self) -> Result<(), Broken> {
        self.buffer.reserve(64 * 1024);
        let read = self.stream.read_buf(&mut self.buffer);
        match bounded(CLIENT_LIMIT, self.what.clone(), read).await {
            Ok(0) => Err(self.broken(CLOSED)),
            Ok(_) => Ok(()),
            Err(error) => Err(self.broken(error)),
        }
    }

    pub(super) async fn read_head(&mut self) -> Result<(StatusCode, HeaderMap), Broken> {
        loop {
            match take_head(&mut self.buffer) {
                Ok(Some(head)) => return Ok(head),
                Ok(None) => self.fill().await?,
                Err(error) => return Err(self.broken(format!("a malformed head: {error}"))),
            }
        }
    }

    /// Reads the size line of a chunk, and the line end of the chunk before it; after the last chunk also the
    /// trailers.
    pub(super) async fn read_chunk_line(&mut self) -> Result<u64, Broken> {
        let mut line = self.read_line().await?;
        if line.is_empty() {
            line = self.read_line().await?;
        }
        let size = line.split(';').next().unwrap_or_default();
        let size = u64::from_str_radix(size, 16).map_err(|_| self.broken("a bad chunk size"))?;
        while size == 0 && !self.read_line().await?.is_empty() {}
        Ok(size)
    }

    /// Waits for as many bytes as in `start`, and returns whether they are equal; they stay unread.
    pub(super) async fn comes_with(&mut self, start: &[u8]) -> bool {
        while self.buffer.len() < start.len() && self.fill().await.is_ok() {}
        self.buffer.starts_with(start)
    }

    /// Returns the received bytes that were not read.
    pub(super) fn into_rest(self) -> Bytes {
        self.buffer.freeze()
    }

    async fn read_line(&mut self) -> Result<String, Broken> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                let line = self.buffer.split_to(end);
                self.buffer.advance(2);
                return Ok(String::from_utf8_lossy(&line).into_owned());
            }
            self.fill().await?;
        }
    }
}

fn take_head(buffer: &mut BytesMut) -> Result<Option<(StatusCode, HeaderMap)>, String> {
    let mut fields = [httparse::EMPTY_HEADER; 128];
    let mut response = httparse::Response::new(&mut fields);
    let parsed = response.parse(buffer).map_err(|error| error.to_string())?;
    let httparse::Status::Complete(length) = parsed else {
        return Ok(None);
    };
    let status = response.code.and_then(|code| StatusCode::from_u16(code).ok());
    let status = status.ok_or("no status")?;
    let mut headers = HeaderMap::new();
    for field in response.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes());
        let value = HeaderValue::from_bytes(field.value);
        headers.append(name.map_err(|e| e.to_string())?, value.map_err(|e| e.to_string())?);
    }
    buffer.advance(length);
    Ok(Some((status, headers)))
}
