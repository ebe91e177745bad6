//! Health of the origin: the outcomes of requests, and what they allow of further ones.

use std::sync::Arc;
use std::time::Duration;

use super::breaker::{Breaker, Change, Sign};
use super::config::OriginConfig;
use super::error::OriginError;
use super::outages::{Outages, State};
use super::retry::{RetryBudget, RetryLimit};
use crate::metrics::origin as failures;
use crate::metrics::{self, OriginKind, Outcome};

/// Takes the outcome of every request; says whether the origin may be asked, and asked again.
#[derive(Debug)]
pub(super) struct Health {
    /// In metrics; `None`: the default origin.
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

    /// The same of the origin of this name in metrics.
    pub(super) fn with_name(mut self, name: &str) -> Self {
        self.name = Some(name.into());
        self.breaker.name.clone_from(&self.name);
        self.outages.name.clone_from(&self.name);
        self
    }

    /// The name in metrics; `None`: the default origin.
    pub(super) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Counts an attempt, and remembers whether the origin answers. `about`: a hash of what was asked for.
    pub(super) fn record(&self, kind: OriginKind, about: u64, failure: Option<&OriginError>) {
        let outcome = failure.map_or(Outcome::Ok, OriginError::outcome);
        metrics::origin_request(self.name(), kind, outcome);
        let is_head = matches!(kind, OriginKind::Head);
        self.note_sign(failure, Sign::of(failure, about, is_head));
    }

    /// Remembers whether the origin answers.
    pub(super) fn note(&self, failure: Option<&OriginError>) {
        self.note_sign(failure, Sign::of(failure, 0, false));
    }

    /// Whether the origin is known not to answer.
    pub(super) fn is_failing(&self) -> bool {
        self.breaker.is_failing()
    }

    /// The circuit breaker is open: the origin is only probed.
    pub(super) fn is_only_probed(&self) -> bool {
        self.breaker.is_open()
    }

    /// Somebody who could do without an answer did not wait for it any longer.
    pub(super) fn unanswered(&self) {
        self.breaker.unanswered();
    }

    /// Whether the origin may be asked, by the breaker.
    pub(super) fn permit(&self) -> Result<(), OriginError> {
        self.breaker.permit().map_err(|wait| {
            failures::not_asked();
            OriginError::Down(wait)
        })
    }

    /// A request was answered that had been sent again.
    pub(super) fn answered_after_all(&self, budget: &mut RetryBudget) {
        self.retries.give_back(budget.answered());
    }

    /// Takes a retry from what all requests together may have.
    pub(super) fn may_retry(&self) -> bool {
        let may = self.retries.take();
        if !may {
            failures::retry_refused();
        }
        may
    }

    /// Whether the origin answers; if not, for how many seconds, and why.
    pub(super) fn state(&self) -> (State, Option<(u64, String)>) {
        self.outages.state()
    }

    /// How long no request was answered; zero: the last one was.
    pub(super) fn failing_for(&self) -> Duration {
        self.outages.failing_for().unwrap_or_default()
    }

    /// One line for people: whether it answers, and if not, why.
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
