//! The queue between requests, which never wait for it, and the task that sends spans.

use tokio::sync::{mpsc, oneshot};

use super::span::Span;
use crate::metrics::tracing::{self as metrics, Outcome};

/// A message to the exporter.
#[derive(Debug)]
pub(super) enum Message {
    Ended(Box<Span>),
    /// A request to send everything before it, and to confirm that.
    Flush(oneshot::Sender<()>),
}

/// Queue of completed spans. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Spans(mpsc::Sender<Message>);

impl Spans {
    /// Creates the queue for at most `limit` spans. Returns both ends.
    pub(super) fn new(limit: usize) -> (Self, mpsc::Receiver<Message>) {
        let (sender, receiver) = mpsc::channel(limit);
        (Self(sender), receiver)
    }

    /// Adds a span, or drops and counts it if the queue is full or closed.
    pub(super) fn offer(&self, span: Box<Span>) {
        if self.0.try_send(Message::Ended(span)).is_err() {
            metrics::spans(Outcome::Dropped, 1);
        }
    }

    /// Waits until all added spans are sent or dropped.
    pub(super) async fn flush(&self) {
        let (done, sent) = oneshot::channel();
        if self.0.send(Message::Flush(done)).await.is_ok() {
            let _ = sent.await;
        }
    }
}
