//! The queue between requests, which never wait for it, and the task that sends spans.

use tokio::sync::{mpsc, oneshot};

use super::span::Span;
use crate::metrics::tracing::{self as metrics, Outcome};

/// What the sender is told.
#[derive(Debug)]
pub(super) enum Message {
    Ended(Box<Span>),
    /// To send all that came before, and to say when that is done.
    Flush(oneshot::Sender<()>),
}

/// Takes spans that have ended. Clones are the same.
#[derive(Debug, Clone)]
pub(super) struct Spans(mpsc::Sender<Message>);

impl Spans {
    /// The queue, for at most `limit` spans, and its other end.
    pub(super) fn new(limit: usize) -> (Self, mpsc::Receiver<Message>) {
        let (sender, receiver) = mpsc::channel(limit);
        (Self(sender), receiver)
    }

    /// Adds a span, or drops and counts it: there is no room, or nobody sends any more.
    pub(super) fn offer(&self, span: Box<Span>) {
        if self.0.try_send(Message::Ended(span)).is_err() {
            metrics::spans(Outcome::Dropped, 1);
        }
    }

    /// Waits until all that was added has been sent, or given up.
    pub(super) async fn flush(&self) {
        let (done, sent) = oneshot::channel();
        if self.0.send(Message::Flush(done)).await.is_ok() {
            let _ = sent.await;
        }
    }
}
