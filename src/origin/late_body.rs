//! A body that falls behind: its rest is asked for a second time, and whichever is faster is read on.

use std::ops::Range;
use std::pin::{Pin, pin};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::checked::Checked;
use super::error::OriginError;
use super::exchange::Exchange;
use super::hedging::{Hedging, Permit};
use crate::metrics::hedging::Phase;

/// A second request for the rest of a body.
pub(super) type Asking =
    Pin<Box<dyn Future<Output = Result<(Exchange, Checked), OriginError>> + Send>>;

/// A slower body is read on unless its rest would take so many times as long as usual.
const MUCH_SLOWER: f64 = 1.5;

/// How long a body was waited for, and the second request for its rest.
#[derive(Default)]
pub(super) struct Waiting {
    bytes: u64,
    waited: Duration,
    /// After this time it is late; `None`: it is waited for as long as it takes.
    limit: Option<Duration>,
    /// After so long without a byte it has stalled; `None`: that is left to the timeout of reads.
    stall: Option<Duration>,
    copy: Option<Repeated>,
    /// Another request had a part in it: its time says nothing of the origin.
    is_mixed: bool,
}

/// The second request, until its head has come.
struct Repeated {
    asking: Asking,
    permit: Permit,
    from: u64,
    since: Instant,
}

/// What came first.
pub(super) enum First<'a> {
    /// More of the body, or its end.
    Read(Result<Option<&'a [u8]>, OriginError>),
    /// A faster answer.
    Other(Box<(Exchange, Checked)>),
}

impl Waiting {
    /// For a body of `bytes`.
    pub(super) fn new(hedging: &Hedging, bytes: u64) -> Self {
        let (limit, stall) = (hedging.delay(Phase::Body, bytes), hedging.stall(bytes));
        Self { bytes, limit, stall, ..Self::default() }
    }

    /// The next bytes of `exchange`, whose body still has to bring `rest`; or a second answer for the rest, which is asked
    /// for by `ask` when it is late.
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

    /// Asks again, or later if that may not be now.
    fn repeat(&mut self, from: u64, ask: impl Fn() -> Option<(Permit, Asking)>) {
        let Some((permit, asking)) = ask() else {
            self.limit = self.limit.map(|limit| limit * 2);
            return;
        };
        (self.limit, self.is_mixed) = (None, true);
        self.copy = Some(Repeated { asking, permit, from, since: Instant::now() });
    }

    /// The second answer, unless the first one has come to be faster.
    fn chosen(
        &mut self,
        answer: Result<(Exchange, Checked), OriginError>,
        rest: &Range<u64>,
        hedging: &Hedging,
    ) -> Option<(Exchange, Checked)> {
        let is_slower = self.copy.as_ref().is_some_and(|copy| copy.is_slower(rest, hedging));
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

    /// It goes on over a new request, whatever was under way.
    pub(super) fn resumed(&mut self) {
        (self.copy, self.limit, self.is_mixed) = (None, None, true);
    }

    /// The body has come to its end.
    pub(super) fn ended(&self, hedging: &Hedging) {
        if !self.is_mixed {
            hedging.answered(Phase::Body, self.bytes, self.waited);
        }
    }
}

impl Repeated {
    /// Whether the first request is the slower one, which has brought all before `rest`.
    fn is_slower(&self, rest: &Range<u64>, hedging: &Hedging) -> bool {
        let (left, brought) = (rest.end - rest.start, rest.start - self.from);
        if brought == 0 {
            return true;
        }
        #[allow(clippy::cast_precision_loss, reason = "an estimate")]
        let ratio = left as f64 / brought as f64;
        let usual = hedging.usual(Phase::Body, left);
        usual.is_some_and(|usual| self.since.elapsed().mul_f64(ratio) > usual.mul_f64(MUCH_SLOWER))
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
