//! The circuit breaker of the origin.
//!
//! It opens when several requests in a row fail over half a second, or half of those of the last ten seconds. While it
//! is open, one request now and then is let through as a probe; the first answer to any request closes it. Only
//! failures of the origin itself count: no connection, a timeout, a broken response, 5xx. Refusals and throttling are
//! answers. Failures about a single object do not count against the others.
//!
//! Only the cache's own reads are held back. Requests that pass through are always sent: a write cannot be answered in
//! another way, and its answer is as good as a probe's.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::OriginError;
use super::recent::Recent;
use crate::metrics::origin::set_breaker_open;

/// Consecutive failures, without an answer between them, that open the breaker.
const FAILURES: u32 = 5;
/// Minimum span of those failures: when connections break all at once, retries bridge it.
const SPAN: Duration = Duration::from_millis(500);
/// Percentage of failed attempts in the last ten seconds that opens the breaker; they span ten seconds too.
const SHARE: u64 = 50;
/// Minimum attempts for that percentage to count.
const ATTEMPTS: u32 = 20;
/// The first pause between two probes; it doubles up to `LAST_PAUSE`.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(1);
/// Time after closing within which reopening continues with the longest pause and is not logged.
const SETTLED: Duration = Duration::from_secs(10);
/// Requests that timed out for their readers, with no answer between them, after which the origin counts as silent.
const SILENT: u32 = 3;

/// Outcome of an attempt, for the circuit breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sign {
    /// The origin answers.
    Answers,
    /// The origin fails; with a hash of the requested object when that object may be the cause.
    Fails(Option<u64>),
    /// Neither.
    Nothing,
}

impl Sign {
    /// Classifies the outcome of an attempt; `about`: a hash of the requested object.
    pub(super) fn of(failure: Option<&OriginError>, about: u64, is_head: bool) -> Self {
        let Some(failure) = failure else { return Self::Answers };
        match failure {
            OriginError::Connect(..) | OriginError::Timeout("a connection" | "name resolution") => {
                Self::Fails(None)
            }
            own if own.is_own() => Self::Nothing,
            OriginError::Down(_) | OriginError::GivenUp => Self::Nothing,
            OriginError::Timeout(_) | OriginError::Broken(_) | OriginError::ServerError(_) => {
                Self::Fails(Some(about))
            }
            OriginError::Throttled(said) if said.code != "ServiceUnavailable" => Self::Answers,
            // The response to a HEAD does not tell which of the two it is.
            OriginError::Throttled(_) if is_head => Self::Nothing,
            OriginError::Throttled(_) => Self::Fails(Some(about)),
            OriginError::NotFound(_)
            | OriginError::Denied(_)
            | OriginError::OwnCredentials(_)
            | OriginError::RangeNotSatisfiable
            | OriginError::Changed
            | OriginError::Corrupt
            | OriginError::PreconditionFailed
            | OriginError::Refused(_)
            | OriginError::Uncacheable(_)
            | OriginError::Misdirected(..)
            | OriginError::NotAPart => Self::Answers,
        }
    }
}

/// Change of state, for the log.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    Opened,
    /// Closed after being open for this long.
    Closed(Duration),
}

#[derive(Debug)]
pub(super) struct Breaker {
    /// Name of the origin in metrics; `None`: the default origin.
    pub(super) name: Option<Arc<str>>,
    enabled: bool,
    is_open: AtomicBool,
    /// Requests since the last answer whose readers gave up waiting.
    unanswered: AtomicU32,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    recent: Recent,
    row: Row,
    open: Option<Open>,
    closed: Option<Instant>,
}

/// Consecutive failures.
#[derive(Debug, Default)]
struct Row {
    failures: u32,
    since: Option<Instant>,
    /// The first failure that no other precedes within ten seconds, and the last failure.
    first: Option<(Instant, Instant)>,
    /// Object hash of the last failure, if its object may be the cause.
    about: Option<u64>,
    /// Last time at which a failure was about another object than the failure before it.
    several: Option<Instant>,
}

#[derive(Debug)]
struct Open {
    since: Instant,
    next_probe: Instant,
    pause: Duration,
    is_said: bool,
}

impl Breaker {
    pub(super) fn new(enabled: bool) -> Self {
        Self {
            name: None,
            enabled,
            is_open: AtomicBool::new(false),
            unanswered: AtomicU32::new(0),
            state: Mutex::default(),
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Relaxed)
    }

    /// Whether the origin is known not to answer: the breaker is open, or several readers gave up waiting.
    pub(super) fn is_failing(&self) -> bool {
        self.is_open() || self.unanswered.load(Ordering::Relaxed) >= SILENT
    }

    /// Counts a request that was not answered while a reader waited for it.
    pub(super) fn unanswered(&self) {
        self.unanswered.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether a request may be sent; if not, returns the time after which to try.
    pub(super) fn permit(&self) -> Result<(), Duration> {
        if !self.is_open() {
            return Ok(());
        }
        let (now, mut state) = (Instant::now(), self.state.lock());
        let Some(open) = &mut state.open else { return Ok(()) };
        if now < open.next_probe {
            return Err(open.next_probe - now);
        }
        open.pause = (open.pause * 2).min(LAST_PAUSE);
        open.next_probe = now + open.pause;
        Ok(())
    }

    /// Records the outcome of an attempt.
    pub(super) fn record(&self, sign: Sign) -> Option<Change> {
        match sign {
            Sign::Answers => self.answered(),
            Sign::Fails(about) if self.enabled => self.failed(about),
            Sign::Fails(_) | Sign::Nothing => None,
        }
    }

    fn answered(&self) -> Option<Change> {
        self.unanswered.store(0, Ordering::Relaxed);
        let (now, mut state) = (Instant::now(), self.state.lock());
        state.recent.now().answered += 1;
        state.row.failures = 0;
        let open = state.open.take()?;
        state.recent = Recent::default();
        state.closed = Some(now);
        self.is_open.store(false, Ordering::Relaxed);
        set_breaker_open(self.name.as_deref(), false);
        open.is_said.then(|| Change::Closed(now - open.since))
    }

    fn failed(&self, about: Option<u64>) -> Option<Change> {
        let (now, mut state) = (Instant::now(), self.state.lock());
        state.recent.now().failed += 1;
        let State { recent, row, open, closed } = &mut *state;
        row.add(about, now);
        if open.is_some() || !(row.is_long(now) || row.is_share(recent, now)) {
            return None;
        }
        let again = closed.is_some_and(|closed| now < closed + SETTLED);
        let pause = if again { LAST_PAUSE } else { FIRST_PAUSE };
        *open = Some(Open { since: now, next_probe: now + pause, pause, is_said: !again });
        self.is_open.store(true, Ordering::Relaxed);
        set_breaker_open(self.name.as_deref(), true);
        (!again).then_some(Change::Opened)
    }
}

impl Row {
    fn add(&mut self, about: Option<u64>, now: Instant) {
        if self.failures == 0 {
            self.since = Some(now);
        }
        self.failures += 1;
        self.first = match self.first {
            Some((first, last)) if now < last + SETTLED => Some((first, now)),
            _ => Some((now, now)),
        };
        if about.is_none() || self.about.is_some_and(|before| Some(before) != about) {
            self.several = Some(now);
        }
        self.about = about;
    }

    fn is_long(&self, now: Instant) -> bool {
        let Some(since) = self.since else { return false };
        let several = self.several.is_some_and(|several| several >= since);
        self.failures >= FAILURES && several && now - since >= SPAN
    }

    fn is_share(&self, recent: &Recent, now: Instant) -> bool {
        let sum = recent.sum();
        let attempts = u64::from(sum.answered) + u64::from(sum.failed);
        attempts >= u64::from(ATTEMPTS)
            && u64::from(sum.failed) * 100 >= attempts * SHARE
            && self.several.is_some_and(|several| now < several + SETTLED)
            && self.first.is_some_and(|(first, _)| now - first >= SPAN)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;
    use crate::metrics::origin::OriginFailure;
    use crate::s3::S3Error;

    fn fail(breaker: &Breaker, times: u64) -> Option<Change> {
        (0..times).filter_map(|about| breaker.record(Sign::Fails(Some(about)))).last()
    }

    async fn opened() -> Breaker {
        let breaker = Breaker::new(true);
        assert_eq!(fail(&breaker, 10), None, "a moment may pass");
        advance(SPAN).await;
        assert_eq!(fail(&breaker, 1), Some(Change::Opened));
        breaker
    }

    #[tokio::test(start_paused = true)]
    async fn it_opens_after_failures_in_a_row_and_closes_with_the_first_answer() {
        let breaker = opened().await;
        assert!(breaker.is_open() && breaker.permit().is_err());
        assert_eq!(fail(&breaker, 10), None);
        advance(FIRST_PAUSE).await;
        assert_eq!(breaker.permit(), Ok(()), "the first probe");
        assert!(breaker.permit().is_err(), "and only one");
        let Some(Change::Closed(_)) = breaker.record(Sign::Answers) else { panic!("still open") };
        assert!(!breaker.is_open() && breaker.permit().is_ok());
        assert_eq!(breaker.record(Sign::Answers), None);
    }

    #[tokio::test(start_paused = true)]
    async fn probes_come_at_longer_pauses_of_at_most_a_second() {
        let breaker = opened().await;
        let mut probes = 0;
        for _ in 0..1000 {
            advance(Duration::from_millis(10)).await;
            probes += u32::from(breaker.permit().is_ok());
        }
        assert!((11..=14).contains(&probes), "{probes} probes in ten seconds");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_between_failures_keeps_it_closed() {
        let breaker = Breaker::new(true);
        for _ in 0..100 {
            fail(&breaker, 3);
            for _ in 0..4 {
                breaker.record(Sign::Answers);
            }
            advance(SPAN).await;
        }
        assert!(!breaker.is_open());
    }

    #[tokio::test(start_paused = true)]
    async fn it_opens_when_half_of_the_requests_fail_and_says_so_only_once_in_a_while() {
        let breaker = Breaker::new(true);
        let mut said = 0;
        for _ in 0..100 {
            for sign in [Sign::Fails(Some(1)), Sign::Fails(None), Sign::Answers] {
                said += u32::from(breaker.record(sign).is_some());
            }
            advance(Duration::from_millis(100)).await;
        }
        assert_eq!(said, 2, "of its first opening and closing");
    }

    #[tokio::test(start_paused = true)]
    async fn failures_about_one_object_do_not_open_it() {
        let breaker = Breaker::new(true);
        for _ in 0..100 {
            assert_eq!(breaker.record(Sign::Fails(Some(7))), None);
            advance(SPAN).await;
        }
        assert_eq!(fail(&breaker, 1), Some(Change::Opened), "about another one");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_switched_off_stays_closed() {
        let breaker = Breaker::new(false);
        for _ in 0..100 {
            assert_eq!(fail(&breaker, 10), None);
            advance(SPAN).await;
        }
        assert!(breaker.permit().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn an_origin_that_was_waited_for_in_vain_is_failing_until_it_answers() {
        let breaker = Breaker::new(true);
        (0..SILENT - 1).for_each(|_| breaker.unanswered());
        assert!(!breaker.is_failing());
        breaker.unanswered();
        assert!(breaker.is_failing() && breaker.permit().is_ok());
        breaker.record(Sign::Answers);
        assert!(!breaker.is_failing());
    }

    #[test]
    fn refusals_and_throttling_are_answers() {
        let sign = |error: &OriginError, head| Sign::of(Some(error), 1, head);
        let fails = Sign::Fails(Some(1));
        let unavailable = OriginError::Throttled(S3Error::service_unavailable());
        for (error, expected) in [
            (OriginError::NotFound(S3Error::no_such_key("k")), Sign::Answers),
            (OriginError::Denied(S3Error::access_denied()), Sign::Answers),
            (OriginError::Changed, Sign::Answers),
            (OriginError::RangeNotSatisfiable, Sign::Answers),
            (OriginError::Throttled(S3Error::slow_down()), Sign::Answers),
            (OriginError::ServerError(S3Error::internal()), fails),
            (OriginError::Timeout("the first byte"), fails),
            (OriginError::Timeout("a connection"), Sign::Fails(None)),
            (OriginError::Timeout("a free connection"), Sign::Nothing),
            (OriginError::Connect(OriginFailure::Connect, String::new()), Sign::Fails(None)),
        ] {
            assert_eq!(sign(&error, false), expected, "{error}");
        }
        assert_eq!(sign(&unavailable, false), fails);
        assert_eq!(sign(&unavailable, true), Sign::Nothing);
        assert_eq!(Sign::of(None, 1, false), Sign::Answers);
    }
}
