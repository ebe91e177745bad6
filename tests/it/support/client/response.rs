//! A response, read whole or piece by piece, by the framing that its head declares.
//!
//! Invariant: a response is complete only if it reached its announced end: all of `Content-Length`, the last chunk
//! and its trailers, or, with neither, an orderly close.

use super::Client;
use super::wire::{Broken, CLOSED, Wire};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};

/// A response, read to its end.
#[derive(Clone, Debug)]
pub struct Response {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// The bytes of the body that arrived.
    pub body: Bytes,
    /// Whether the body reached the end that its head (or last chunk) announced; false when the peer closed or reset
    /// the connection before.
    pub complete: bool,
}

impl Response {
    /// Returns a header's value as text; empty when it is absent.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Returns the body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Framing of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Length(u64),
    /// Bytes left of the current chunk.
    Chunked(u64),
    UntilClose,
}

/// A response whose body is read at the test's own pace. Dropping it closes the connection.
#[derive(Debug)]
pub struct ResponseStream {
    pub status: StatusCode,
    pub headers: HeaderMap,
    wire: Wire,
    framing: Framing,
    /// `Some` once the body has ended: whether at its announced end.
    ended: Option<bool>,
    client: Client,
}

impl ResponseStream {
    pub(super) async fn begin(
        mut wire: Wire,
        to_head: bool,
        client: Client,
    ) -> Result<Self, Broken> {
        let (status, headers) = loop {
            let (status, headers) = wire.read_head().await?;
            if !status.is_informational() {
                break (status, headers);
            }
        };
        let bodiless = to_head || matches!(status.as_u16(), 204 | 304);
        let length =
            headers.get("content-length").and_then(|length| length.to_str().ok()?.parse().ok());
        let framing = match length {
            _ if bodiless => Framing::Length(0),
            _ if headers.contains_key("transfer-encoding") => Framing::Chunked(0),
            Some(length) => Framing::Length(length),
            None => Framing::UntilClose,
        };
        let ended = (framing == Framing::Length(0)).then_some(true);
        Ok(ResponseStream { status, headers, wire, framing, ended, client })
    }

    /// Reads exactly `n` bytes of the body, or fewer if it ends before.
    pub async fn read(&mut self, n: usize) -> Bytes {
        let mut bytes = BytesMut::new();
        while bytes.len() < n {
            let Some(piece) = self.piece(n - bytes.len()).await else {
                break;
            };
            bytes.extend_from_slice(&piece);
        }
        bytes.freeze()
    }

    /// Reads until `event` has happened, even if the body ends before; returns the bytes read by then.
    pub async fn read_until(&mut self, event: impl Future<Output = ()>) -> Bytes {
        let mut bytes = BytesMut::new();
        tokio::pin!(event);
        loop {
            let piece = tokio::select! {
                () = &mut event => break,
                piece = self.piece(usize::MAX) => piece,
            };
            let Some(piece) = piece else {
                event.await;
                break;
            };
            bytes.extend_from_slice(&piece);
        }
        bytes.freeze()
    }

    /// Reads the rest of the body.
    pub async fn rest(&mut self) -> Bytes {
        self.read(usize::MAX).await
    }

    /// Returns whether the body reached its announced end; `None`: it has not ended.
    #[must_use]
    pub fn complete(&self) -> Option<bool> {
        self.ended
    }

    /// Reads the rest of the body, and keeps the connection for reuse if possible.
    pub async fn finish(mut self) -> Response {
        let body = self.rest().await;
        let complete = self.ended == Some(true);
        let (status, headers) = (self.status, self.headers);
        let closes = headers.get("connection").is_some_and(|value| value == "close");
        let clean = self.wire.buffer.is_empty() && self.framing != Framing::UntilClose;
        if complete && clean && !closes {
            self.client.keep(self.wire.stream);
        }
        Response { status, headers, body, complete }
    }

    /// Closes the connection with the body unread.
    pub fn abandon(self) {
        drop(self);
    }

    /// Returns the next bytes of the body, at most `limit`; `None` when it has ended.
    async fn piece(&mut self, limit: usize) -> Option<Bytes> {
        if self.ended.is_some() {
            return None;
        }
        let Ok(left) = self.next_bytes().await else {
            self.ended = Some(false);
            return None;
        };
        if left == 0 {
            self.ended = Some(true);
            return None;
        }
        let available = limit.min(self.wire.buffer.len());
        let taken = usize::try_from(left).map_or(available, |left| left.min(available));
        match &mut self.framing {
            Framing::Length(left) | Framing::Chunked(left) => *left -= taken as u64,
            Framing::UntilClose => {}
        }
        if self.framing == Framing::Length(0) {
            self.ended = Some(true);
        }
        self.wire.received += taken as u64;
        Some(self.wire.buffer.split_to(taken).freeze())
    }

    /// Makes sure that body bytes are in the buffer; returns how many may belong to this piece, 0 at the announced
    /// end.
    async fn next_bytes(&mut self) -> Result<u64, Broken> {
        match self.framing {
            Framing::Length(0) => return Ok(0),
            Framing::Chunked(0) => {
                self.framing = Framing::Chunked(self.wire.read_chunk_line().await?);
                if self.framing == Framing::Chunked(0) {
                    return Ok(0);
                }
            }
            _ => {}
        }
        if self.wire.buffer.is_empty() {
            match self.wire.fill().await {
                Ok(()) => {}
                Err(broken) if broken.reason == CLOSED && self.framing == Framing::UntilClose => {
                    return Ok(0);
                }
                Err(broken) => return Err(broken),
            }
        }
        match self.framing {
            Framing::Length(left) | Framing::Chunked(left) => Ok(left),
            Framing::UntilClose => Ok(u64::MAX),
        }
    }
}
