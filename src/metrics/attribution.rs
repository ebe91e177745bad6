//! Attribution of origin requests to the client request that caused them.
//!
//! A task-local value, since a fetch runs in tasks of its own that have no client. Nothing is stored, and nothing is
//! looked up for a hit, unless requests are observed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use super::origin::Outcome;

tokio::task_local! {
    static CURRENT: Arc<OriginUse>;
}

const OUTCOMES: usize = Outcome::ALL.len();

/// Context of a span in a trace (OpenTelemetry).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SpanContext {
    pub trace: u128,
    pub span: u64,
}

/// Origin requests made for one client request.
#[derive(Debug)]
pub struct OriginUse {
    /// Span of the client's request; `None`: it is not traced.
    span: Option<SpanContext>,
    outcomes: [AtomicU32; OUTCOMES],
    retries: AtomicU32,
    bytes: AtomicU64,
    /// Time to the head of the slowest response.
    first_byte_micros: AtomicU64,
}

impl Default for OriginUse {
    fn default() -> Self {
        Self {
            span: None,
            outcomes: [const { AtomicU32::new(0) }; OUTCOMES],
            retries: AtomicU32::new(0),
            bytes: AtomicU64::new(0),
            first_byte_micros: AtomicU64::new(0),
        }
    }
}

impl OriginUse {
    /// Creates the record of a request with this span.
    pub fn traced(span: Option<SpanContext>) -> Self {
        Self { span, ..Self::default() }
    }

    /// Iterates over the outcomes of completed attempts, with their numbers.
    pub fn outcomes(&self) -> impl Iterator<Item = (Outcome, u32)> {
        let count = |of: &Outcome| (*of, self.outcomes[*of as usize].load(Ordering::Relaxed));
        Outcome::ALL.iter().map(count).filter(|(_, count)| *count > 0)
    }

    /// Returns the number of completed attempts.
    pub fn requests(&self) -> u32 {
        self.outcomes().map(|(_, count)| count).sum()
    }

    /// Returns the number of attempts without an answer to the request: all outcomes but `ok`, `not_found` and
    /// `changed`.
    pub fn errors(&self) -> u32 {
        let is_error = |of| !matches!(of, Outcome::Ok | Outcome::NotFound | Outcome::Changed);
        self.outcomes().filter(|(of, _)| is_error(*of)).map(|(_, count)| count).sum()
    }

    /// Returns the number of retries.
    pub fn retries(&self) -> u32 {
        self.retries.load(Ordering::Relaxed)
    }

    /// Returns the bytes of bodies received so far.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Returns the time to the head of the slowest response.
    pub fn first_byte(&self) -> Duration {
        Duration::from_micros(self.first_byte_micros.load(Ordering::Relaxed))
    }

    /// Adds bytes that passed through.
    pub fn add_bytes(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Adds the time to the head of a response.
    pub fn add_first_byte(&self, elapsed: Duration) {
        let micros = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
        self.first_byte_micros.fetch_max(micros, Ordering::Relaxed);
    }
}

/// Runs `work`, whose origin requests are attributed to `of`.
pub async fn attribute<F: Future>(of: Arc<OriginUse>, work: F) -> F::Output {
    CURRENT.scope(of, work).await
}

/// As [`attribute`], for synchronous work.
pub fn attribute_sync<T>(of: Option<&Arc<OriginUse>>, work: impl FnOnce() -> T) -> T {
    match of {
        Some(of) => CURRENT.sync_scope(of.clone(), work),
        None => work(),
    }
}

/// Spawns a task with the attribution of the current one.
pub fn spawn<F: Future<Output = ()> + Send + 'static>(work: F) {
    match CURRENT.try_with(Arc::clone) {
        Ok(of) => drop(tokio::spawn(CURRENT.scope(of, work))),
        Err(_) => drop(tokio::spawn(work)),
    }
}

/// Returns the span of the current client request; `None`: it is not traced.
pub fn span() -> Option<SpanContext> {
    CURRENT.try_with(|of| of.span).ok().flatten()
}

pub(super) fn request(outcome: Outcome) {
    let _ = CURRENT.try_with(|of| of.outcomes[outcome as usize].fetch_add(1, Ordering::Relaxed));
}

pub(super) fn bytes(bytes: u64) {
    let _ = CURRENT.try_with(|of| of.add_bytes(bytes));
}

pub(super) fn first_byte(elapsed: Duration) {
    let _ = CURRENT.try_with(|of| of.add_first_byte(elapsed));
}

pub(super) fn retry() {
    let _ = CURRENT.try_with(|of| of.retries.fetch_add(1, Ordering::Relaxed));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{OriginKind, origin_bytes, origin_first_byte, origin_request};

    #[tokio::test]
    async fn tasks_of_a_request_count_for_it_and_no_others() {
        let (one, other) = (Arc::<OriginUse>::default(), Arc::<OriginUse>::default());
        attribute(one.clone(), async {
            let (done, ended) = tokio::sync::oneshot::channel();
            spawn(async {
                origin_request(None, OriginKind::Get, Outcome::Timeout);
                origin_request(None, OriginKind::Get, Outcome::Ok);
                origin_first_byte(OriginKind::Get, Duration::from_millis(3));
                origin_first_byte(OriginKind::Get, Duration::from_millis(2));
                origin_bytes(100);
                done.send(()).unwrap();
            });
            ended.await.unwrap();
        })
        .await;
        attribute_sync(Some(&other), || origin_bytes(7));
        origin_bytes(1000);
        assert_eq!((one.requests(), one.errors(), one.bytes()), (2, 1, 100));
        assert_eq!(one.first_byte(), Duration::from_millis(3));
        assert_eq!((other.requests(), other.bytes()), (0, 7));
    }
}
