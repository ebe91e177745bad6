//! Whether the origin answers; what is said when it does not, and when it does again.
//!
//! One line at the first failure, then one every [`EVERY`] while failures go on: an outage meets thousands of requests a
//! second.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::OriginError;
use super::client::Origin;
use super::error::connect_error;
use crate::metrics::origin::{self as failures, OriginFailure};
use crate::metrics::{self, OriginKind, Outcome};

/// The least time between two lines about an outage.
const EVERY: Duration = Duration::from_secs(10);

/// What came of the last requests.
#[derive(Debug, Default)]
pub(super) struct Health {
    last: AtomicU8,
    outage: Mutex<Option<Outage>>,
}

/// Values of [`Health::last`].
const NOT_ASKED: u8 = 0;
const ANSWERS: u8 = 1;
const FAILS: u8 = 2;

#[derive(Debug)]
struct Outage {
    since: Instant,
    failures: u64,
    said: Instant,
    why: String,
}

impl Health {
    /// One line for people: whether it answers, and if not, why.
    fn describe(&self, endpoint: &str) -> String {
        match (self.last.load(Ordering::Relaxed), &*self.outage.lock()) {
            (FAILS, Some(outage)) => {
                let seconds = outage.since.elapsed().as_secs();
                format!("origin {endpoint}: fails for {seconds} s: {}\n", outage.why)
            }
            (NOT_ASKED, _) => format!("origin {endpoint}: not asked yet\n"),
            _ => format!("origin {endpoint}: answers\n"),
        }
    }

    fn answered(&self, endpoint: &str) {
        let last = self.last.load(Ordering::Relaxed);
        if last == ANSWERS || self.last.swap(ANSWERS, Ordering::Relaxed) != FAILS {
            return;
        }
        if let Some(Outage { since, failures, .. }) = self.outage.lock().take() {
            let seconds = since.elapsed().as_secs_f32();
            log::info!(
                "origin {endpoint}: answers again, after {failures} failures in {seconds:.1} s"
            );
        }
    }

    fn failed(&self, endpoint: &str, reason: OriginFailure, why: &OriginError) {
        failures::failed(reason);
        self.last.store(FAILS, Ordering::Relaxed);
        let (now, mut outage) = (Instant::now(), self.outage.lock());
        let outage = outage.get_or_insert_with(|| Outage {
            since: now,
            failures: 0,
            said: now,
            why: String::new(),
        });
        outage.failures += 1;
        let first = outage.failures == 1;
        if !first && now < outage.said + EVERY {
            return;
        }
        outage.said = now;
        outage.why = format!("{why}{}", advice(reason));
        let more = match first {
            true => String::new(),
            false => {
                format!(" ({} failures in {} s)", outage.failures, outage.since.elapsed().as_secs())
            }
        };
        log::warn!("origin {endpoint}: {}{more}", outage.why);
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
            "; look at origin.credentials, the AWS_* variables, and the clock of this machine"
        }
        OriginFailure::Timeout
        | OriginFailure::Broken
        | OriginFailure::Throttled
        | OriginFailure::ServerError => "",
    }
}

impl Origin {
    /// Counts an attempt, and remembers whether the origin answers.
    pub(super) fn record(&self, kind: OriginKind, failure: Option<&OriginError>) {
        metrics::origin_request(kind, failure.map_or(Outcome::Ok, OriginError::outcome));
        self.note(failure);
    }

    /// Remembers whether the origin answers.
    pub fn note(&self, failure: Option<&OriginError>) {
        let endpoint = &self.config.endpoint;
        match failure.and_then(|failure| Some((failure.reason()?, failure))) {
            Some((reason, failure)) => self.health.failed(endpoint, reason, failure),
            None => self.health.answered(endpoint),
        }
    }

    /// A request that passed through ended so.
    pub fn passed_through(&self, outcome: Outcome) {
        metrics::origin_request(OriginKind::PassThrough, outcome);
        if outcome == Outcome::Ok {
            self.note(None);
        }
    }

    /// A request that was to pass through found no connection.
    pub fn failed_to_connect(&self, error: &pingora::Error) {
        self.note(Some(&connect_error(error)));
    }

    /// For `/readyz`: one line.
    pub fn describe(&self) -> String {
        self.health.describe(&self.config.endpoint)
    }
}
