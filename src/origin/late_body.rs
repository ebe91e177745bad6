//! Hedging of bodies that fall behind: their rest is requested a second time, and the faster response is read on.

use std::ops::Range;
use std::pin::{Pin, pin};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::checked::Checked;
use super::error::OriginError;
use super::exchange::Exchange;
use super::hedging::{Hedging, Permit};
use crate::metrics::hedging::Phase;

/// A second request under way for the rest of a body.
pub(super) type Asking =
    Pin<Box<dyn Future<Output = Result<(Exchange, Checked), OriginError>> + Send>>;

/// Factor by which the rest of a slow body must exceed its usual time before its hedge replaces it.
const MUCH_SLOWER: f64 = 1.5;

/// Time spent waiting for one body, and the hedge for its rest.
#[derive(Default)]
pub(super) struct Waiting {
    bytes: u64,
    waited: Duration,
    /// Waiting time after which the body is late; `None`: it is never hedged.
    limit: Option<Duration>,
    /// Time without a byte after which the body has stalled; `None`: the read timeout applies.
    stall: Option<Duration>,
    copy: Option<Repeated>,
    /// Whether several requests served the body, so that its time is not recorded.
    is_mixed: bool,
}

/// The hedge, until its response head arrives.
struct Repeated {
    asking: Asking,
    permit: Permit,
    from: u64,
    since: Instant,
}

/// The first event of a body and its hedge.
pub(super) enum First<'a> {
    /// More bytes of the body, or its end.
    Read(Result<Option<&'a [u8]>, OriginError>),
    /// A faster response.
    Other(Box<(Exchange, Checked)>),
}

impl Waiting {
    /// Starts for a body of `bytes`.
    pub(super) fn new(hedging: &Hedging, bytes: u64) -> Self {
        let (limit, stall) = (hedging.delay(Phase::Body, bytes), hedging.stall(bytes));
        Self { bytes, limit, stall, ..Self::default() }
    }

    /// Returns the next bytes of `exchange`, which still has to deliver `rest`; or a second response for the rest,
    /// requested by `ask` when the body is late.
    pub(super) async fn first<'a>(
        &mut self,
        exchange: &'a mut Exchange,
        rest: &Range<u64>,
        hedging: &Hedging,
        ask: impl Fn() -> Option<(Permit, Asking)>,
    ) -> First<'a> {
        let began = Instant::now();
        let mut read = pin!(exchange.read());
        let read = loop {
            let late_at = self.limit.map(|limit| began + limit.saturating_sub(self.waited));
            let stalled_at = self.stall.filter(|_| self.copy.is_none()).map(|stall| began + stall);
            tokio::select! {
                biased;
                read = &mut read => break read,
                answer = answer(&mut self.copy) => {
                    if let Some(other) = self.chosen(answer, rest, hedging) {
                        self.waited += began.elapsed();
                        return First::Other(Box::new(other));
                    }
                }
                () = until(late_at) => self.repeat(rest.start, &ask),
                () = until(stalled_at) => break Err(OriginError::Timeout("bytes")),
            }
        };
        self.waited += began.elapsed();
        if read.is_err() && self.copy.is_some() {
            let answer = answer(&mut self.copy).await;
            if let Some(other) = self.settled(answer) {
                return First::Other(Box::new(other));
            }
        }
        First::Read(read)
    }

    /// Sends the hedge, or postpones it if it is not permitted now.
    fn repeat(&mut self, from: u64, ask: impl Fn() -> Option<(Permit, Asking)>) {
        let Some((permit, asking)) = ask() else {
            self.limit = self.limit.map(|limit| limit * 2);
            return;
        };
        (self.limit, self.is_mixed) = (None, true);
        self.copy = Some(Repeated { asking, permit, from, since: Instant::now() });
    }

    /// Returns the second response, unless the first one has overtaken it.
    fn chosen(
        &mut self,
        answer: Result<(Exchange, Checked), OriginError>,
        rest: &Range<u64>,
        hedging: &Hedging,
    ) -> Option<(Exchange, Checked)> {
        let bytes = self.bytes;
        let is_slower = self.copy.as_ref().is_some_and(|copy| copy.is_slower(rest, bytes, hedging));
        if answer.is_ok() && !is_slower {
            self.copy = None;
            return None;
        }
        self.settled(answer)
    }

    fn settled(
        &mut self,
        answer: Result<(Exchange, Checked), OriginError>,
    ) -> Option<(Exchange, Checked)> {
        let permit = self.copy.take()?.permit;
        match answer {
            Ok(answer) => {
                permit.won();
                Some(answer)
            }
            Err(_) => {
                permit.failed();
                None
            }
        }
    }

    /// Notes that only a part of the body is read, so that its time is not recorded.
    pub(super) fn truncated(&mut self) {
        self.is_mixed = true;
    }

    /// Continues with a new request, and drops any hedge.
    pub(super) fn resumed(&mut self) {
        (self.copy, self.limit, self.is_mixed) = (None, None, true);
    }

    /// Records the time of a completed body.
    pub(super) fn ended(&self, hedging: &Hedging) {
        if !self.is_mixed {
            hedging.answered(Phase::Body, self.bytes, self.waited);
        }
    }
}

impl Repeated {
    /// Whether the first request, which has delivered everything before `rest`, is the slower one. `bytes`: of its body.
    fn is_slower(&self, rest: &Range<u64>, bytes: u64, hedging: &Hedging) -> bool {
        let (left, brought) = (rest.end - rest.start, rest.start - self.from);
        if brought == 0 {
            return true;
        }
        #[allow(clippy::cast_precision_loss, reason = "an estimate")]
        let ratio = left as f64 / brought as f64;
        // Short rests are rare, so that only the time of a whole body may be known: at least that of its rest.
        let usual = hedging.usual(Phase::Body, left).or(hedging.usual(Phase::Body, bytes));
        usual.is_none_or(|usual| self.since.elapsed().mul_f64(ratio) > usual.mul_f64(MUCH_SLOWER))
    }
}

async fn answer(copy: &mut Option<Repeated>) -> Result<(Exchange, Checked), OriginError> {
    match copy {
        Some(copy) => copy.asking.as_mut().await,
        None => std::future::pending().await,
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
