//! The task that sends spans, in batches by size and time.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, sleep, timeout_at};

use super::collector::Collector;
use super::config::TracingConfig;
use super::otlp;
use super::queue::Message;
use super::span::Span;
use crate::metrics::tracing::{self as metrics, Outcome};
use crate::pacing::RateLimit;

/// Pause before the only retry of a batch.
const PAUSE: Duration = Duration::from_secs(1);
/// Minimum time between two warnings.
const EVERY: Duration = Duration::from_mins(1);

/// Sends spans to a collector.
pub(super) struct Exporter {
    collector: Collector,
    service: String,
    batch: usize,
    interval: Duration,
    warnings: RateLimit,
    /// Failures since the last warning.
    failed: u64,
}

impl Exporter {
    pub(super) fn new(collector: Collector, config: &TracingConfig) -> Self {
        Self {
            collector,
            service: config.service.clone(),
            batch: config.batch,
            interval: config.interval.0,
            warnings: RateLimit::new(EVERY),
            failed: 0,
        }
    }

    /// Sends spans until the queue is closed.
    pub(super) async fn run(mut self, mut queue: Receiver<Message>) {
        let mut spans = Vec::with_capacity(self.batch);
        while let Some(first) = queue.recv().await {
            let deadline = Instant::now() + self.interval;
            let mut next = Some(first);
            let mut waiting = None;
            loop {
                match next.take() {
                    Some(Message::Ended(span)) => spans.push(*span),
                    Some(Message::Flush(done)) => waiting = Some(done),
                    None => break,
                }
                if spans.len() >= self.batch || waiting.is_some() {
                    break;
                }
                next = timeout_at(deadline, queue.recv()).await.unwrap_or_default();
            }
            self.send(&mut spans).await;
            if let Some(done) = waiting {
                let _ = done.send(());
            }
        }
    }

    async fn send(&mut self, spans: &mut Vec<Span>) {
        if spans.is_empty() {
            return;
        }
        let (count, batch) = (spans.len() as u64, Bytes::from(otlp::request(&self.service, spans)));
        spans.clear();
        let mut outcome = self.collector.send(&batch).await;
        if outcome.as_ref().is_err_and(|refused| refused.is_passing) {
            sleep(PAUSE).await;
            outcome = self.collector.send(&batch).await;
        }
        match outcome {
            Ok(()) => metrics::spans(Outcome::Sent, count),
            Err(refused) => {
                metrics::spans(Outcome::Failed, count);
                self.failed += count;
                if self.warnings.allow() {
                    let (collector, failed) = (&self.collector, std::mem::take(&mut self.failed));
                    log::warn!(
                        "tracing.endpoint: {collector} does not take spans, and {failed} were dropped: {}",
                        refused.why
                    );
                }
            }
        }
    }
}
