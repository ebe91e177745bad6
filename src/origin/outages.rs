//! Log messages about outages of the origin and recovery from them.
//!
//! At most one warning every [`EVERY`], and one line at the end of an outage. An outage affects thousands of requests a
//! second, and an origin that fails one request in a hundred begins and ends an outage many times a second.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use tokio::time::Instant;

use super::error::OriginError;
use crate::metrics::origin::{self as failures, OriginFailure};
use crate::pacing::RateLimit;

/// Minimum time between two warnings.
const EVERY: Duration = Duration::from_secs(10);

/// Outcomes of the last requests.
#[derive(Debug, Default)]
pub(super) struct Outages {
    /// Name of the origin in metrics; `None`: the default origin.
    pub(super) name: Option<Arc<str>>,
    last: AtomicU8,
    failing: Mutex<Failing>,
}

/// Whether the origin answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    NotAsked,
    Answers,
    Fails,
}

/// Values of [`Outages::last`].
const NOT_ASKED: u8 = 0;
const ANSWERS: u8 = 1;
const FAILS: u8 = 2;

#[derive(Debug)]
struct Failing {
    outage: Option<Outage>,
    warnings: RateLimit,
    /// Failures since the last warning.
    unsaid: u64,
}

impl Default for Failing {
    fn default() -> Self {
        Self { outage: None, warnings: RateLimit::new(EVERY), unsaid: 0 }
    }
}

/// Failures without an answer between them.
#[derive(Debug)]
struct Outage {
    since: Instant,
    failures: u64,
    /// The first failure, with advice on its cause.
    why: String,
    /// Whether the outage was warned of, so that its end is logged.
    warned: bool,
}

impl Outages {
    /// Describes in one line whether the origin answers, and if not, why.
    pub(super) fn describe(&self, endpoint: &str, is_open: bool) -> String {
        let probed = if is_open { ", and is only probed" } else { "" };
        match (self.last.load(Ordering::Relaxed), &self.failing.lock().outage) {
            (FAILS, Some(outage)) => {
                let seconds = outage.since.elapsed().as_secs();
                format!("origin {endpoint}: fails for {seconds} s{probed}: {}\n", outage.why)
            }
            (NOT_ASKED, _) => format!("origin {endpoint}: not asked yet\n"),
            _ if is_open => format!("origin {endpoint}: fails often{probed}\n"),
            _ => format!("origin {endpoint}: answers\n"),
        }
    }

    pub(super) fn state(&self) -> (State, Option<(u64, String)>) {
        let failing = self.failing.lock();
        match (self.last.load(Ordering::Relaxed), &failing.outage) {
            (FAILS, Some(outage)) => {
                (State::Fails, Some((outage.since.elapsed().as_secs(), outage.why.clone())))
            }
            (NOT_ASKED, _) => (State::NotAsked, None),
            _ => (State::Answers, None),
        }
    }

    /// Returns the time without an answer; `None`: the last request was answered, or none was sent.
    pub(super) fn failing_for(&self) -> Option<Duration> {
        let failing = self.failing.lock();
        let fails = self.last.load(Ordering::Relaxed) == FAILS;
        failing.outage.as_ref().filter(|_| fails).map(|outage| outage.since.elapsed())
    }

    /// Records an answer. Returns the message to log, if any.
    pub(super) fn answered(&self) -> Option<String> {
        let last = self.last.load(Ordering::Relaxed);
        if last == ANSWERS {
            return None;
        }
        failures::set_up(self.name.as_deref(), true);
        if self.last.swap(ANSWERS, Ordering::Relaxed) != FAILS {
            return None;
        }
        let outage = self.failing.lock().outage.take().filter(|outage| outage.warned)?;
        let (failures, seconds) = (outage.failures, outage.since.elapsed().as_secs_f32());
        Some(format!("answers again, after {failures} failures in {seconds:.1} s"))
    }

    /// Records a failure. Returns the message to log, if any.
    pub(super) fn failed(&self, reason: OriginFailure, failure: &OriginError) -> Option<String> {
        if self.last.swap(FAILS, Ordering::Relaxed) != FAILS {
            failures::set_up(self.name.as_deref(), false);
        }
        let (now, mut failing) = (Instant::now(), self.failing.lock());
        let Failing { outage, warnings, unsaid } = &mut *failing;
        let outage = outage.get_or_insert_with(|| Outage {
            since: now,
            failures: 0,
            why: format!("{failure}{}", advice(reason)),
            warned: false,
        });
        outage.failures += 1;
        *unsaid += 1;
        let since = warnings.last();
        if !warnings.allow() {
            return None;
        }
        let failures = std::mem::take(unsaid);
        outage.warned = true;
        let why = format!("{failure}{}", advice(reason));
        Some(match since {
            Some(since) if failures > 1 => {
                format!("{why} ({failures} failures in {} s)", (now - since).as_secs())
            }
            _ => why,
        })
    }
}

/// Returns advice on the cause of a failure.
fn advice(reason: OriginFailure) -> &'static str {
    match reason {
        OriginFailure::Name => "; look at the host in origin.endpoint, and at the resolver",
        OriginFailure::Connect => "; look at the host and the port in origin.endpoint",
        OriginFailure::Tls => {
            "; look at https or http in origin.endpoint, and at origin.ca_file for authorities of your own"
        }
        OriginFailure::Credentials => {
            "; look at origin.credentials or the AWS_* variables, at the origin's keys of identities that have their own, \
             and at the clock of this machine"
        }
        OriginFailure::Timeout
        | OriginFailure::Broken
        | OriginFailure::Throttled
        | OriginFailure::ServerError => "",
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn fail(outages: &Outages) -> Option<String> {
        outages.failed(OriginFailure::Timeout, &OriginError::Timeout("the first byte"))
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_is_said_at_once_then_now_and_then_and_its_end_once() {
        let outages = Outages::default();
        assert_eq!(outages.answered(), None);
        assert_eq!(fail(&outages).unwrap(), "origin: timed out waiting for the first byte");
        for _ in 0..5000 {
            assert_eq!(fail(&outages), None);
        }
        advance(EVERY).await;
        let again = fail(&outages).unwrap();
        assert!(again.ends_with(" (5001 failures in 10 s)"), "{again}");
        assert_eq!(outages.answered().unwrap(), "answers again, after 5002 failures in 10.0 s");
        assert_eq!(outages.answered(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn an_origin_that_fails_now_and_then_does_not_fill_the_log() {
        let outages = Outages::default();
        let mut lines = 0;
        // For a minute: ten requests a second, of which every second fails.
        for _ in 0..300 {
            lines += usize::from(fail(&outages).is_some());
            lines += usize::from(outages.answered().is_some());
            advance(Duration::from_millis(200)).await;
        }
        assert_eq!(lines, 12, "a warning and its end every ten seconds");
        assert_eq!(outages.describe("e", false), "origin e: answers\n");
    }
}
