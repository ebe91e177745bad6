//! A request and its hedge: the first validated response wins, and the other is cancelled.

use std::pin::Pin;
use std::time::Duration;

use tokio::time::sleep;

use super::{Hedging, Permit};
use crate::metrics::hedging::Phase;
use crate::origin::error::OriginError;

/// A response, and its latency since its own request was sent.
type Timed<T> = (T, Duration);

/// Phase, size and bucket of a request, for hedging.
#[derive(Debug, Clone, Copy)]
pub(in crate::origin) struct About {
    pub(in crate::origin) phase: Phase,
    /// Number of requested bytes.
    pub(in crate::origin) bytes: u64,
    /// A hash of the bucket.
    pub(in crate::origin) bucket: u64,
}

impl Hedging {
    /// Sends a request, and hedges it when it is late and `may_repeat` allows it.
    ///
    /// # Errors
    /// The error of the first request; that of the hedge only if it is final while the first one may be transient.
    pub(in crate::origin) async fn race<T, F>(
        &self,
        about: About,
        may_repeat: impl Fn() -> bool,
        send: impl Fn() -> F,
    ) -> Result<T, OriginError>
    where
        F: Future<Output = Result<Timed<T>, OriginError>>,
    {
        let first = Box::pin(send());
        let outcome = match self.delay(about.phase, about.bytes) {
            None => first.await,
            Some(delay) => self.race_after(delay, about, first, may_repeat, send).await,
        };
        let (answer, elapsed) = outcome?;
        self.answered(about.phase, about.bytes, elapsed);
        Ok(answer)
    }

    async fn race_after<T, F>(
        &self,
        delay: Duration,
        about: About,
        mut first: Pin<Box<F>>,
        may_repeat: impl Fn() -> bool,
        send: impl Fn() -> F,
    ) -> Result<Timed<T>, OriginError>
    where
        F: Future<Output = Result<Timed<T>, OriginError>>,
    {
        let mut delay = delay;
        let permit = loop {
            tokio::select! {
                biased;
                outcome = &mut first => return outcome,
                () = sleep(delay) => {}
            }
            // What nobody waited for may be waited for by now.
            if may_repeat()
                && let Some(permit) = self.permit(about.phase, about.bucket)
            {
                break permit;
            }
            delay *= 2;
        };
        let mut second = Box::pin(send());
        tokio::select! {
            biased;
            outcome = &mut first => match outcome {
                Err(error) if error.is_retryable() => {
                    let second = settle(permit, second.await);
                    second.map_err(|other| if other.is_retryable() { error } else { other })
                }
                outcome => outcome,
            },
            outcome = &mut second => match settle(permit, outcome) {
                Ok(answer) => Ok(answer),
                Err(_) => first.await,
            },
        }
    }
}

/// Records the outcome of the hedge in its permit.
fn settle<T>(permit: Permit, outcome: Result<T, OriginError>) -> Result<T, OriginError> {
    match &outcome {
        Ok(_) => permit.won(),
        Err(_) => permit.failed(),
    }
    outcome
}
