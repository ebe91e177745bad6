//! The body of a ranged GET: counted, verified, and resumed on a new connection where it breaks off.

use std::ops::Range;
use std::sync::Arc;

use tokio::time::timeout_at;

use super::asked::{Asked, Pin};
use super::checked::Checked;
use super::client::Origin;
use super::error::OriginError;
use super::exchange::Exchange;
use super::health;
use super::hedging::Permit;
use super::late_body::{Asking, First, Waiting};
use super::retry::RetryBudget;
use super::slots::Urgency;
use super::width::Transfer;
use crate::metrics::{self, hedging::Phase};
use crate::s3::{ObjectId, ObjectMeta};

/// Bytes of progress that renew the retry budget. A body that brings fewer in half of its time is resumed.
const PROGRESS: u64 = 64 * 1024;

/// Response of a ranged GET.
pub struct Answer {
    pub meta: Arc<ObjectMeta>,
    /// The bytes of the object that the body carries, half-open.
    pub range: Range<u64>,
    pub body: Body,
}

/// A body that delivers exactly its range, or an error.
pub struct Body {
    origin: Arc<Origin>,
    id: ObjectId,
    pin: Pin,
    exchange: Option<Exchange>,
    waiting: Waiting,
    /// Bytes on the wire before the first requested one.
    skip: u64,
    at: u64,
    end: u64,
    renewed_at: u64,
    budget: RetryBudget,
    /// Measures the transfer; `None`: the body is too short to count.
    transfer: Option<Transfer>,
}

impl Body {
    pub(super) fn answer(
        (origin, id): (Arc<Origin>, ObjectId),
        exchange: Exchange,
        checked: Checked,
        mut budget: RetryBudget,
        transfer: Option<Transfer>,
    ) -> Answer {
        budget.renew();
        let Checked { meta, range, wire_start } = checked;
        let meta = Arc::new(meta);
        let waiting = Waiting::new(origin.hedging(), range.end - range.start);
        let body = Self {
            waiting,
            origin,
            id,
            pin: Pin::Version(meta.clone()),
            exchange: Some(exchange),
            skip: range.start - wire_start,
            at: range.start,
            end: range.end,
            renewed_at: range.start,
            budget,
            transfer,
        };
        Answer { meta, range, body }
    }

    /// Drops everything from `end` on. Unless that is little, the connection is closed once `end` is reached.
    pub fn truncate(&mut self, end: u64) {
        if end < self.end {
            self.end = end;
            self.waiting.truncated();
        }
    }

    /// Returns the number of bytes not yet delivered.
    pub fn remaining(&self) -> u64 {
        self.end - self.at
    }

    /// Passes the next bytes to `sink`, which gets each byte of the range once and in order. Returns `false` when all
    /// were delivered.
    ///
    /// # Errors
    /// The last error after all retries; [`OriginError::Changed`] without any.
    pub async fn next(&mut self, mut sink: impl FnMut(&[u8])) -> Result<bool, OriginError> {
        if self.at == self.end {
            self.release().await;
            return Ok(false);
        }
        loop {
            let failure = match self.read(&mut sink).await {
                Ok(()) => {
                    if self.at == self.end {
                        // Before the reader of the last bytes sends its next request.
                        self.release().await;
                    }
                    return Ok(true);
                }
                Err(e) => e,
            };
            self.resume(failure).await?;
        }
    }

    async fn release(&mut self) {
        self.transfer = None;
        if let Some(mut exchange) = self.exchange.take() {
            self.waiting.ended(self.origin.hedging());
            if self.end == 0 {
                // The body of an empty object must be read before the connection counts as idle.
                let _ = exchange.read().await;
            }
            exchange.release().await;
        }
    }

    /// Performs one successful read from the wire, which delivers at least a byte.
    async fn read(&mut self, sink: &mut impl FnMut(&[u8])) -> Result<(), OriginError> {
        loop {
            let rest = self.at..self.end;
            let urgency = self.budget.urgency();
            let ask = || ask_again(&self.origin, &self.id, &self.pin, rest.clone(), urgency);
            let Some(exchange) = &mut self.exchange else {
                return Err(OriginError::Broken("no connection".to_owned()));
            };
            let hedging = self.origin.hedging();
            let first = self.waiting.first(exchange, &rest, hedging, ask);
            let Ok(first) = timeout_at(self.budget.slow_at(), first).await else {
                return Err(OriginError::Timeout("64 KiB of a body"));
            };
            let mut bytes = match first {
                First::Read(Ok(Some(bytes))) => bytes,
                First::Read(Ok(None)) => {
                    return Err(OriginError::Broken("the body ended early".to_owned()));
                }
                First::Read(Err(error)) => return Err(error),
                First::Other(other) => {
                    let (exchange, checked) = *other;
                    self.skip = self.at - checked.wire_start;
                    self.exchange = Some(exchange);
                    continue;
                }
            };
            metrics::origin_bytes(bytes.len() as u64);
            if let Some(transfer) = &mut self.transfer {
                transfer.received(bytes.len() as u64);
            }
            let skipped = self.skip.min(bytes.len() as u64);
            self.skip -= skipped;
            bytes = &bytes[usize::try_from(skipped).expect("at most the slice's length")..];
            if bytes.is_empty() {
                continue;
            }
            let wanted = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
            bytes = &bytes[..bytes.len().min(wanted)];
            sink(bytes);
            self.at += bytes.len() as u64;
            if self.at - self.renewed_at >= PROGRESS {
                self.renewed_at = self.at;
                self.budget.renew();
            }
            return Ok(());
        }
    }

    /// Requests the same version again from the byte where the body broke off.
    async fn resume(&mut self, mut failure: OriginError) -> Result<(), OriginError> {
        self.exchange = None;
        self.waiting.resumed();
        health::count(&failure);
        loop {
            self.origin.pause(failure, &mut self.budget).await?;
            let asked = Asked::Range(self.at..self.end);
            failure = match self.origin.get_once(&self.id, &asked, &self.pin, &self.budget).await {
                Ok((exchange, checked)) => {
                    self.origin.health().answered_after_all(&mut self.budget);
                    self.skip = self.at - checked.wire_start;
                    self.exchange = Some(exchange);
                    return Ok(());
                }
                Err(e) => e,
            };
        }
    }
}

/// Prepares a second request for the rest of a body, if hedging permits one.
fn ask_again(
    origin: &Arc<Origin>,
    id: &ObjectId,
    pin: &Pin,
    rest: Range<u64>,
    urgency: &Arc<Urgency>,
) -> Option<(Permit, Asking)> {
    if !origin.may_repeat(urgency) {
        return None;
    }
    let permit = origin.hedging().permit(Phase::Body, id.bucket_hash64())?;
    let (origin, id, pin, asked) = (origin.clone(), id.clone(), pin.clone(), Asked::Range(rest));
    let budget = RetryBudget::new(origin.config()).of(urgency.clone());
    Some((permit, Box::pin(async move { origin.get_once(&id, &asked, &pin, &budget).await })))
}
