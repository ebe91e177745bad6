//! Health of the origin, and the log messages about outages and recovery.
//!
//! At most one warning every [`EVERY`], and one line on its end: an outage meets thousands of requests a second, and an
//! origin that fails one request in a hundred begins and ends an outage many times a second.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use parking_lot::Mutex;
use serde::Serialize;
use tokio::time::Instant;

use super::OriginError;
use super::breaker::{Change, Sign};
use super::client::Origin;
use super::domains::Domain;
use super::error::{connect_error, is_of_credentials};
use crate::auth::Signer;
use crate::metrics::origin::{self as failures, OriginFailure};
use crate::metrics::{self, OriginKind, Outcome};
use crate::pacing::RateLimit;
use crate::s3::S3Error;

/// The least time between two warnings.
const EVERY: Duration = Duration::from_secs(10);

/// Outcomes of the last requests.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// In metrics; `None`: the default origin.
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

/// The health of the origin.
#[derive(Debug, Clone, Serialize)]
pub struct OriginReport {
    pub endpoint: String,
    pub state: State,
    /// Duration of the outage.
    pub failing_seconds: Option<u64>,
    /// The first failure of the outage, and where to look.
    pub reason: Option<String>,
    /// The circuit breaker is open.
    pub only_probed: bool,
    /// Addresses in use.
    pub addresses: Vec<SocketAddr>,
    /// Why they are old, if the name is not resolved any more.
    pub addresses_old: Option<String>,
}

/// Values of [`Health::last`].
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

/// Failures with no answer between them.
#[derive(Debug)]
struct Outage {
    since: Instant,
    failures: u64,
    /// The first failure, and where to look.
    why: String,
    /// It was warned of, so that its end is of interest.
    warned: bool,
}

impl Health {
    /// One line for people: whether it answers, and if not, why.
    fn describe(&self, endpoint: &str, is_open: bool) -> String {
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

    fn state(&self) -> (State, Option<(u64, String)>) {
        let failing = self.failing.lock();
        match (self.last.load(Ordering::Relaxed), &failing.outage) {
            (FAILS, Some(outage)) => {
                (State::Fails, Some((outage.since.elapsed().as_secs(), outage.why.clone())))
            }
            (NOT_ASKED, _) => (State::NotAsked, None),
            _ => (State::Answers, None),
        }
    }

    /// An answer came. Returns what is to be logged of it.
    fn answered(&self) -> Option<String> {
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

    /// None came. Returns what is to be logged of it.
    fn failed(&self, reason: OriginFailure, failure: &OriginError) -> Option<String> {
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

/// Where to look.
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

impl Origin {
    fn name(&self) -> Option<&str> {
        self.health.name.as_deref()
    }

    /// Counts an attempt, and remembers whether the origin answers. `about`: a hash of what was asked for.
    pub(super) fn record(&self, kind: OriginKind, about: u64, failure: Option<&OriginError>) {
        metrics::origin_request(
            self.name(),
            kind,
            failure.map_or(Outcome::Ok, OriginError::outcome),
        );
        let is_head = matches!(kind, OriginKind::Head);
        self.note_sign(failure, Sign::of(failure, about, is_head));
    }

    /// Remembers whether the origin answers.
    pub fn note(&self, failure: Option<&OriginError>) {
        self.note_sign(failure, Sign::of(failure, 0, false));
    }

    /// Whether the origin is known not to answer.
    pub fn is_failing(&self) -> bool {
        self.breaker.is_failing()
    }

    /// Somebody who could do without an answer did not wait for it any longer.
    pub fn unanswered(&self) {
        self.breaker.unanswered();
    }

    /// Whether the origin may be asked, by the breaker.
    pub(super) fn permit(&self) -> Result<(), OriginError> {
        self.breaker.permit().map_err(|wait| {
            failures::not_asked();
            OriginError::Down(wait)
        })
    }

    fn note_sign(&self, failure: Option<&OriginError>, sign: Sign) {
        self.note_failure(failure);
        let Some(change) = self.breaker.record(sign) else { return };
        let endpoint = &self.config.endpoint;
        match change {
            Change::Opened => log::warn!(
                "origin {endpoint}: fails, and is only probed until it answers: what is not cached is answered 503, and \
                 stale where max_stale allows it"
            ),
            Change::Closed(after) => {
                log::info!("origin {endpoint}: is asked again, after {:.1} s", after.as_secs_f32());
            }
        }
    }

    fn note_failure(&self, failure: Option<&OriginError>) {
        let endpoint = &self.config.endpoint;
        match failure.and_then(|failure| Some((failure.reason()?, failure))) {
            Some((reason, failure)) => {
                failures::failed(reason);
                if let Some(line) = self.health.failed(reason, failure) {
                    log::warn!("origin {endpoint}: {line}");
                }
            }
            None => {
                self.retries.answered();
                if let Some(line) = self.health.answered() {
                    log::info!("origin {endpoint}: {line}");
                }
            }
        }
    }

    /// A request that passed through ended so.
    pub fn passed_through(&self, outcome: Outcome) {
        metrics::origin_request(self.name(), OriginKind::PassThrough, outcome);
        if outcome == Outcome::Ok {
            self.note(None);
        }
    }

    /// A request that passed through was refused with this code and status, signed with `used`. What the client is told
    /// when that is about our own keys, and whether the same request may be taken now; `None`: it is about the client's.
    pub async fn refuses_our_keys(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        code: &str,
        domain: &Domain,
        used: &Arc<Signer>,
    ) -> Option<(S3Error, bool)> {
        if !is_of_credentials(code) {
            return None;
        }
        let mut refused = S3Error::service_unavailable();
        (refused.status, refused.code) = (status, code.to_owned().into());
        let is_mended = if code == "RequestTimeTooSkewed" {
            self.learn_skew(headers);
            true
        } else {
            self.replaces_refused(&refused, domain, Some(used)).await
        };
        let error = OriginError::OwnCredentials(refused);
        self.note(Some(&error));
        Some((error.to_s3(), is_mended))
    }

    /// A request that was to pass through found no connection.
    pub fn failed_to_connect(&self, error: &pingora::Error) {
        self.note(Some(&connect_error(error)));
    }

    /// The same as [`Origin::describe`], for programs.
    pub fn report(&self) -> OriginReport {
        let (state, outage) = self.health.state();
        let (failing_seconds, reason) = outage.unzip();
        let endpoint = self.endpoint();
        OriginReport {
            endpoint: self.config.endpoint.clone(),
            state,
            failing_seconds,
            reason,
            only_probed: self.breaker.is_open(),
            addresses: endpoint.known_addresses(),
            addresses_old: endpoint.describe_addresses(),
        }
    }

    /// For `/readyz`: one line.
    pub fn describe(&self) -> String {
        let endpoint = &self.config.endpoint;
        let health = self.health.describe(endpoint, self.breaker.is_open());
        match self.endpoint().describe_addresses() {
            Some(old) => format!("{health}origin {endpoint}: {old}\n"),
            None => health,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn fail(health: &Health) -> Option<String> {
        health.failed(OriginFailure::Timeout, &OriginError::Timeout("the first byte"))
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_is_said_at_once_then_now_and_then_and_its_end_once() {
        let health = Health::default();
        assert_eq!(health.answered(), None);
        assert_eq!(fail(&health).unwrap(), "origin: timed out waiting for the first byte");
        for _ in 0..5000 {
            assert_eq!(fail(&health), None);
        }
        advance(EVERY).await;
        let again = fail(&health).unwrap();
        assert!(again.ends_with(" (5001 failures in 10 s)"), "{again}");
        assert_eq!(health.answered().unwrap(), "answers again, after 5002 failures in 10.0 s");
        assert_eq!(health.answered(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn an_origin_that_fails_now_and_then_does_not_fill_the_log() {
        let health = Health::default();
        let mut lines = 0;
        // For a minute: ten requests a second, of which every second fails.
        for _ in 0..300 {
            lines += usize::from(fail(&health).is_some());
            lines += usize::from(health.answered().is_some());
            advance(Duration::from_millis(200)).await;
        }
        assert_eq!(lines, 12, "a warning and its end every ten seconds");
        assert_eq!(health.describe("e", false), "origin e: answers\n");
    }
}
