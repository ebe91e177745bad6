//! An answer, read whole or piece by piece, by the framing that its header declares.
//!
//! Invariant: an answer is complete only when it came to the end that was promised: all of
//! `Content-Length`, the last chunk and its trailers, or, with neither, an orderly close.

use super::Client;
use super::wire::{Broken, CLOSED, Wire};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};

/// An answer, read to its end.
#[derive(Clone, Debug)]
pub struct Response {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// What came of the body.
    pub body: Bytes,
    /// The body came to the end that its header (or last chunk) promised; false when the peer
    /// closed or reset the connection before.
    pub complete: bool,
}

impl Response {
    /// A header's value as text; empty when it is absent.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Where the body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Length(u64),
    /// Bytes left of the current chunk.
    Chunked(u64),
    UntilClose,
}

/// An answer whose body is read as the test wants it. Dropping it closes the connection.
#[derive(Debug)]
pub struct ResponseStream {
    pub status: StatusCode,
    pub headers: HeaderMap,
    wire: Wire,
    framing: Framing,
    /// `Some` once the body has ended: whether as promised.
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

    /// Reads exactly `n` bytes of the body, or fewer when it ends before.
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

    /// Reads on until `event` has happened, also where the body ends before; what was read by then.
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

    /// Reads what is left of the body.
    pub async fn rest(&mut self) -> Bytes {
        self.read(usize::MAX).await
    }

    /// Once the body has ended: whether it came to its promised end.
    #[must_use]
    pub fn complete(&self) -> Option<bool> {
        self.ended
    }

    /// Reads what is left, and keeps the connection for reuse where it can be.
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

    /// The next bytes of the body, at most `limit`; `None` when it has ended.
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

    /// Sees to it that body bytes are in the buffer, and says how many may belong to this piece;
    /// 0 at the promised end.
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
