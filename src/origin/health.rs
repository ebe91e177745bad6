//! Health of the origin: request outcomes, and the permission for further requests.

use std::sync::Arc;
use std::time::Duration;

use super::breaker::{Breaker, Change, Sign};
use super::config::OriginConfig;
use super::error::OriginError;
use super::outages::{Outages, State};
use super::retry::{RetryBudget, RetryLimit};
use crate::metrics::origin as failures;
use crate::metrics::{self, OriginKind, Outcome};

/// Records the outcome of every request; decides whether requests and retries may be sent.
#[derive(Debug)]
pub(super) struct Health {
    /// Name of the origin in metrics; `None`: the default origin.
    name: Option<Arc<str>>,
    /// `origin.endpoint`, for log lines.
    endpoint: String,
    outages: Outages,
    breaker: Breaker,
    retries: RetryLimit,
}

impl Health {
    pub(super) fn new(config: &OriginConfig) -> Self {
        Self {
            name: None,
            endpoint: config.endpoint.clone(),
            outages: Outages::default(),
            breaker: Breaker::new(config.circuit_breaker),
            retries: RetryLimit::new(config.retry_budget),
        }
    }

    /// Sets the name of the origin in metrics.
    pub(super) fn with_name(mut self, name: &str) -> Self {
        self.name = Some(name.into());
        self.breaker.name.clone_from(&self.name);
        self.outages.name.clone_from(&self.name);
        self
    }

    /// Returns the name in metrics; `None`: the default origin.
    pub(super) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Counts an attempt, and records whether the origin answers. `about`: a hash of the requested object.
    pub(super) fn record(&self, kind: OriginKind, about: u64, failure: Option<&OriginError>) {
        let outcome = failure.map_or(Outcome::Ok, OriginError::outcome);
        metrics::origin_request(self.name(), kind, outcome);
        let is_head = matches!(kind, OriginKind::Head);
        self.note_sign(failure, Sign::of(failure, about, is_head));
    }

    /// Records whether the origin answers.
    pub(super) fn note(&self, failure: Option<&OriginError>) {
        self.note_sign(failure, Sign::of(failure, 0, false));
    }

    /// Whether the origin is known not to answer.
    pub(super) fn is_failing(&self) -> bool {
        self.breaker.is_failing()
    }

    /// Whether the circuit breaker is open, so that the origin is only probed.
    pub(super) fn is_only_probed(&self) -> bool {
        self.breaker.is_open()
    }

    /// Counts a request that a reader with a fallback stopped waiting for.
    pub(super) fn unanswered(&self) {
        self.breaker.unanswered();
    }

    /// Whether the circuit breaker permits a request.
    pub(super) fn permit(&self) -> Result<(), OriginError> {
        self.breaker.permit().map_err(|wait| {
            failures::not_asked();
            OriginError::Down(wait)
        })
    }

    /// Gives the retries of a request back that was answered in the end.
    pub(super) fn answered_after_all(&self, budget: &mut RetryBudget) {
        self.retries.give_back(budget.answered());
    }

    /// Takes a retry from the budget that all requests share.
    pub(super) fn may_retry(&self) -> bool {
        let may = self.may_retry_by_now();
        if !may {
            failures::retry_refused();
        }
        may
    }

    /// As [`Health::may_retry`], for a retry whose refusal was counted before.
    pub(super) fn may_retry_by_now(&self) -> bool {
        self.retries.take()
    }

    /// Returns whether the origin answers; if not, for how many seconds it has failed, and why.
    pub(super) fn state(&self) -> (State, Option<(u64, String)>) {
        self.outages.state()
    }

    /// Returns the time for which no request has been answered; zero: the last one was answered.
    pub(super) fn failing_for(&self) -> Duration {
        self.outages.failing_for().unwrap_or_default()
    }

    /// Describes in one line whether the origin answers, and if not, why.
    pub(super) fn describe(&self) -> String {
        self.outages.describe(&self.endpoint, self.breaker.is_open())
    }

    fn note_sign(&self, failure: Option<&OriginError>, sign: Sign) {
        self.note_failure(failure);
        let Some(change) = self.breaker.record(sign) else { return };
        let endpoint = &self.endpoint;
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
        let endpoint = &self.endpoint;
        if let Some(failure) = failure.filter(|failure| failure.is_own()) {
            // The origin was not asked.
            return count(failure);
        }
        match failure.and_then(|failure| Some((failure.reason()?, failure))) {
            Some((reason, failure)) => {
                failures::failed(reason);
                if let Some(line) = self.outages.failed(reason, failure) {
                    log::warn!("origin {endpoint}: {line}");
                }
            }
            None => {
                self.retries.answered();
                if let Some(line) = self.outages.answered() {
                    log::info!("origin {endpoint}: {line}");
                }
            }
        }
    }
}

/// Counts a failure that does not say whether the origin answers, such as a body that breaks off after its head.
pub(super) fn count(failure: &OriginError) {
    if let Some(reason) = failure.reason() {
        failures::failed(reason);
    }
}
