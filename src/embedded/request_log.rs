//! Request log of the embedded origin, with the bytes that were really sent.
//!
//! One line per request, written when its response ends: `METHOD path range status bytes`, with `-` for no range. The
//! bytes are counted as they are sent, so a response that the client aborted shows the bytes sent and not its
//! `Content-Length`. With it, a user can check that the cache fetched each byte once.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::RANGE;
use hyper::{Request, Response};
use parking_lot::Mutex;

/// The log file, shared by all connections.
pub(super) struct RequestLog {
    file: Mutex<File>,
}

impl RequestLog {
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        Ok(Self { file: Mutex::new(File::create(path)?) })
    }

    fn write(&self, line: &str) {
        if let Err(error) = self.file.lock().write_all(line.as_bytes()) {
            log::warn!("embedded origin: request log: {error}");
        }
    }
}

/// A request in flight; its line is written on drop, however it ended.
pub(super) struct Entry {
    log: Arc<RequestLog>,
    asked: String,
    status: Option<u16>,
    bytes: u64,
}

impl Entry {
    pub(super) fn of<B>(request: &Request<B>, log: Arc<RequestLog>) -> Self {
        let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
        // Fields are separated by spaces, so those of a range such as `bytes=0-1, 5-6` are removed.
        let range = request.headers().get(RANGE).map_or_else(
            || "-".to_owned(),
            |value| String::from_utf8_lossy(value.as_bytes()).replace(' ', ""),
        );
        let asked = format!("{} {target} {range}", request.method());
        Self { log, asked, status: None, bytes: 0 }
    }

    /// Counts the bytes of `answer` as they are sent.
    pub(super) fn follow<B>(mut self, answer: Response<B>) -> Response<Counted<B>> {
        self.status = Some(answer.status().as_u16());
        answer.map(|body| Counted { body: Box::pin(body), entry: self })
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let status = self.status.map_or_else(|| "-".to_owned(), |status| status.to_string());
        self.log.write(&format!("{} {status} {}\n", self.asked, self.bytes));
    }
}

/// A body that counts its bytes in its request's [`Entry`], and keeps that alive.
pub(super) struct Counted<B> {
    body: Pin<Box<B>>,
    entry: Entry,
}

impl<B: Body<Data = Bytes>> Body for Counted<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let polled = self.body.as_mut().poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            self.entry.bytes += data.remaining() as u64;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
