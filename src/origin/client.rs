//! One request to the origin: signed, sent, its response head read; and the handling of refusals.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::header::HOST;
use http::{Method, StatusCode};
use rand::Rng as _;
use tokio::time::{Instant, sleep, timeout_at};

use super::asked::{Asked, Pin};
use super::checked::Checked;
use super::clock::OriginClock;
use super::config::OriginConfig;
use super::credentials::renew::{Provider, Renewal};
use super::credentials::{Found, Source};
use super::directory_bucket::{SessionKeysFrom, Sessions};
use super::domains::{Domain, Domains};
use super::endpoint::Endpoint;
use super::error::{OriginError, is_of_credentials};
use super::exchange::{Exchange, Transport, Try};
use super::health::Health;
use super::hedging::Hedging;
use super::loops::LoopGuard;
use super::misdirected::Misdirected;
use super::regions::Site;
use super::relocate::Locator;
use super::request::ObjectRequest;
use super::retry::{RetryBudget, Reused};
use super::slots::{Class, Urgency};
use super::width::Width;
use crate::auth::{Credentials, Signer};
use crate::metrics::{self, OriginKind};
use crate::s3::{BucketName, ObjectId, PartNumber, S3Error};

/// Maximum bytes of an error body that are read.
const MAX_ERROR_BODY: usize = 64 * 1024;
/// Time limit of reading an error body.
const ERROR_BODY_TIME: Duration = Duration::from_secs(10);
/// Pause of a body under way between two looks at an origin that is down, or at the retries left.
const DOWN_PAUSE: Range<Duration> = Duration::from_millis(50)..Duration::from_millis(150);

/// Client of one origin: an endpoint, a pool of connections, and the keys of each credential domain.
pub struct Origin {
    config: Arc<OriginConfig>,
    transport: Arc<Transport>,
    locator: Locator,
    domains: Arc<Domains>,
    health: Health,
    hedging: Hedging,
    width: Arc<Width>,
    /// Renewal of hotset's own keys; `None`: they do not change.
    renewal: Option<Arc<Renewal>>,
    clock: Arc<OriginClock>,
}

impl Origin {
    /// # Errors
    /// A sentence that says what is wrong with `origin.endpoint`.
    pub fn new(config: OriginConfig, credentials: Option<Credentials>) -> Result<Self, String> {
        let config = Arc::new(config);
        let (transport, clock) = (Arc::new(Transport::new(&config)), Arc::default());
        Ok(Self {
            locator: Locator::new(&config, &transport, &clock)?,
            domains: Arc::new(Domains::new(&config, credentials)),
            health: Health::new(&config),
            hedging: Hedging::new(config.hedging),
            width: Width::new(None, config.connections),
            renewal: None,
            transport,
            clock,
            config,
        })
    }

    /// As [`Origin::new`], with credentials that are renewed from their source. `None`: none were found yet, and
    /// requests are not signed until some are.
    ///
    /// # Errors
    /// As [`Origin::new`].
    pub fn with_source(
        config: OriginConfig,
        source: Source,
        found: Option<Found>,
    ) -> Result<Self, String> {
        let first = found.as_ref().map(|found| (found.describe(), found.expires));
        let origin = Self::new(config, found.map(|found| found.credentials))?;
        let renewal = Renewal::new(Provider::Chain(source), first, origin.domains.clone());
        Ok(Self { renewal: Some(Arc::new(renewal)), ..origin })
    }

    /// As [`Origin::new`], for a directory bucket, whose requests are signed with session keys. Requests the first
    /// session before returning; if that fails, requests are refused until there is one.
    ///
    /// # Errors
    /// As [`Origin::new`].
    pub async fn with_sessions(
        config: OriginConfig,
        keys: SessionKeysFrom,
    ) -> Result<Self, String> {
        let none = || "none".to_owned();
        let placeholder = Credentials::new(none(), none().into(), Some(none().into()));
        let placeholder = placeholder.map_err(|error| error.to_string())?.for_session();
        let origin = Self::new(config, Some(placeholder))?;
        let sessions = Sessions {
            keys,
            region: origin.config.region.clone(),
            transport: origin.transport.clone(),
            site: origin.locator.home().clone(),
            clock: origin.clock.clone(),
        };
        let source = Provider::Sessions(Box::new(sessions));
        let renewal = Renewal::without_session(source, origin.domains.clone());
        renewal.begin().await;
        Ok(Self { renewal: Some(Arc::new(renewal)), ..origin })
    }

    /// Returns this origin set up beside another one of this process, so that a forwarding loop over either is
    /// detected. `name`: in metrics.
    #[must_use]
    pub fn beside(self, other: &Self, name: &str) -> Self {
        let origin = self.succeeding(other);
        let width = Width::new(Some(name), origin.config.connections);
        if let Some(renewal) = &origin.renewal {
            renewal.set_name(name);
        }
        Self { width, health: origin.health.with_name(name), ..origin }
    }

    /// Returns this origin in place of another one of this process, whose requests may still come back.
    #[must_use]
    pub fn succeeding(self, other: &Self) -> Self {
        let transport = Arc::new(self.transport.beside(&other.transport));
        let locator = self.locator.with_transport(&transport);
        Self { transport, locator, ..self }
    }

    pub fn endpoint(&self) -> &Endpoint {
        self.locator.home().endpoint()
    }

    pub fn config(&self) -> &OriginConfig {
        &self.config
    }

    /// Returns the credential domains.
    pub fn domains(&self) -> &Domains {
        &self.domains
    }

    /// Returns the detector of forwarding loops.
    pub fn loops(&self) -> &LoopGuard {
        self.transport.loops()
    }

    pub(super) fn transport(&self) -> &Transport {
        &self.transport
    }

    pub(super) fn locator(&self) -> &Locator {
        &self.locator
    }

    pub(super) fn clock(&self) -> &OriginClock {
        &self.clock
    }

    /// Returns the site of a bucket; `None`: that of the service.
    pub fn site(&self, bucket: Option<&BucketName>) -> Arc<Site> {
        self.locator.site(bucket)
    }

    pub(super) fn health(&self) -> &Health {
        &self.health
    }

    pub(super) fn hedging(&self) -> &Hedging {
        &self.hedging
    }

    /// Returns the width of long reads.
    pub(super) fn width(&self) -> &Arc<Width> {
        &self.width
    }

    /// Records whether the origin answers.
    pub fn note(&self, failure: Option<&OriginError>) {
        self.health.note(failure);
    }

    /// Whether the origin is known not to answer.
    pub fn is_failing(&self) -> bool {
        self.health.is_failing()
    }

    /// Whether the origin is down and not only slow, given the error of a failed read: no connection is made, or the
    /// circuit breaker is open.
    pub fn is_down(&self, failure: &OriginError) -> bool {
        match failure {
            OriginError::Connect(..)
            | OriginError::Timeout("a connection" | "name resolution")
            | OriginError::Down(_) => true,
            failure => failure.is_retryable() && self.health.is_only_probed(),
        }
    }

    /// Returns the time for which no request has been answered; zero: the last one was answered.
    pub fn failing_for(&self) -> Duration {
        self.health.failing_for()
    }

    /// Counts a request that a reader with a fallback stopped waiting for.
    pub fn unanswered(&self) {
        self.health.unanswered();
    }

    /// Takes a retry from the budget that all requests share.
    pub fn may_retry(&self) -> bool {
        self.health.may_retry()
    }

    /// Keeps the credentials valid for as long as the origin is in use.
    pub fn renew_credentials(&self) {
        if let Some(renewal) = &self.renewal {
            renewal.start();
        }
    }

    /// Returns a description of hotset's own credentials as they were found first; `None`: none were, or they are fixed.
    pub fn first_credentials(&self) -> Option<&str> {
        self.renewal.as_ref()?.first()
    }

    /// Stops showing the state of the credentials, since a reload replaced this origin.
    pub fn retire_credentials(&self) {
        if let Some(renewal) = &self.renewal {
            renewal.retire();
        }
    }

    /// Looks up credentials again after another service refused those of `used`.
    pub async fn renew_refused(&self, used: &Arc<Signer>) {
        if let Some(renewal) = &self.renewal {
            renewal.renew_refused(used).await;
        }
    }

    /// Whether the credentials with which a domain was refused have been replaced, so that the request is worth sending
    /// again.
    pub(super) async fn replaces_refused(
        &self,
        refused: &S3Error,
        domain: &Domain,
        used: Option<&Arc<Signer>>,
    ) -> bool {
        match &self.renewal {
            Some(renewal) => renewal.replaces_refused(refused, domain, used).await,
            None => false,
        }
    }

    /// Returns the current time by the origin's clock.
    pub fn now(&self) -> SystemTime {
        self.clock.now()
    }

    /// Whether a late request may be hedged: a client waits for it, the origin does not fail, and a connection is free.
    pub(super) fn may_repeat(&self, urgency: &Urgency) -> bool {
        urgency.class() <= Class::Read
            && !self.health.is_failing()
            && self.transport.has_free_connection()
    }

    /// Records that the origin throttles: reads become narrower, and nothing is hedged for a while.
    pub(super) fn throttled(&self) {
        self.width.throttled();
        self.hedging.throttled();
    }

    /// Makes one attempt at a ranged GET, falling back from version id to `If-Match` once. Validates the response head.
    pub(super) async fn get_once(
        &self,
        id: &ObjectId,
        asked: &Asked,
        pin: &Pin,
        budget: &RetryBudget,
    ) -> Result<(Exchange, Checked), OriginError> {
        let domain = self.domains.of_realm(id.realm())?;
        let (range, part) = (Some(asked), asked.part());
        let has_version = matches!(pin, Pin::Version(meta) if meta.version_id.is_some());
        let by_version = has_version && domain.version_access.may_read(id.bucket());
        let mut request = ObjectRequest {
            domain: &domain,
            method: Method::GET,
            id,
            range,
            part,
            pin,
            by_version,
        };
        let exchange = match self.exchange(&request, budget).await {
            // A client that requested a version by id gets the refusal instead.
            Err(OriginError::Denied(_)) if by_version && id.version().is_none() => {
                request.by_version = false;
                let by_name = self.exchange(&request, budget).await;
                by_name.inspect(|_| domain.version_access.deny(id.bucket()))
            }
            other => other,
        };
        let exchange = match (exchange, pin) {
            (Err(OriginError::NotFound(_)), Pin::Version(_)) => Err(OriginError::Changed),
            (Err(OriginError::Changed), Pin::Matching(_)) => Err(OriginError::PreconditionFailed),
            (other, _) => other,
        }?;
        let meta = request.meta_in(&exchange)?;
        let checked = Checked::new(asked, pin, exchange.head(), meta)?;
        Ok((exchange, checked))
    }

    /// Sleeps before the next attempt, or returns the failure when there is none.
    pub(super) async fn pause(
        &self,
        failure: OriginError,
        budget: &mut RetryBudget,
    ) -> Result<(), OriginError> {
        // A broken body waits for the breaker; a request that has not begun gets an error response.
        let is_down = matches!(failure, OriginError::Down(_));
        let may_wait = match budget.has_begun() {
            true => is_down || failure.is_retryable(),
            false => failure.is_retryable() && !self.health.is_only_probed(),
        };
        if !may_wait {
            return Err(failure);
        }
        if is_down || budget.has_begun() && self.health.is_only_probed() {
            // An origin that is down is waited for, and not asked as often as it may fail.
            return if waited(budget).await { Ok(()) } else { Err(failure) };
        }
        let asked_for = failure.retry_after(self.now());
        let Some(pause) = budget.next_pause(asked_for) else { return Err(failure) };
        // That a body stalls is only a guess: where all of them do, not all are requested anew.
        let is_guess = matches!(failure, OriginError::Timeout(_));
        if !budget.take_progress() || is_guess {
            let mut may_retry = self.health.may_retry();
            while !may_retry {
                if !budget.has_begun() || !waited(budget).await {
                    return Err(failure);
                }
                if self.health.is_only_probed() {
                    return Ok(());
                }
                may_retry = self.health.may_retry_by_now();
            }
            budget.took();
        }
        log::debug!("origin: retry {} in {pause:?}: {failure}", budget.attempt());
        metrics::origin_retry();
        sleep(pause).await;
        Ok(())
    }

    /// Sends once (twice when an idle connection turns out to be dead, or the clocks differ).
    pub(super) async fn exchange(
        &self,
        request: &ObjectRequest<'_>,
        budget: &RetryBudget,
    ) -> Result<Exchange, OriginError> {
        self.health.permit()?;
        let started = Instant::now();
        let fresh = budget.attempt() > 0;
        let (used, bucket) = (request.domain.signer(), request.id.bucket());
        let mut site = self.locator.site(Some(bucket));
        let deadline = budget.deadline();
        let mut outcome = self.attempt(request, &site, fresh, budget).await;
        if let Err((OriginError::Broken(_), Reused(true))) = &outcome {
            outcome = self.attempt(request, &site, true, budget).await;
        }
        let mut moved = None;
        if let Err((OriginError::Misdirected(said), _)) = &outcome
            && self.locator.relocates((bucket, request.domain), &site, &said.1, deadline).await
        {
            (site, moved) = (self.locator.site(Some(bucket)), Some(bucket));
            outcome = self.attempt(request, &site, fresh, budget).await;
        }
        if let Err((OriginError::OwnCredentials(e), _)) = &outcome
            && e.code == "RequestTimeTooSkewed"
        {
            outcome = self.attempt(request, &site, fresh, budget).await;
        }
        if let Err((OriginError::OwnCredentials(e), _)) = &outcome
            && self.replaces_refused(e, request.domain, used.as_ref()).await
        {
            outcome = self.attempt(request, &site, fresh, budget).await;
        }
        let outcome = outcome.map_err(|(e, _)| self.locator.settled(e, moved));
        let is_head = request.method == Method::HEAD;
        let kind = if is_head { OriginKind::Head } else { OriginKind::Get };
        self.health.record(kind, request.id.hash64(), outcome.as_ref().err());
        if let Err(OriginError::Throttled(_)) = &outcome {
            self.throttled();
        }
        metrics::origin_first_byte(kind, started.elapsed());
        outcome
    }

    async fn attempt(
        &self,
        request: &ObjectRequest<'_>,
        site: &Site,
        fresh: bool,
        budget: &RetryBudget,
    ) -> Result<Exchange, (OriginError, Reused)> {
        let head = request.to_head(site, self.now());
        let host = head.headers[HOST].to_str().unwrap_or_default().to_owned();
        let (deadline, urgency) = (budget.deadline(), budget.urgency());
        let which = Try { fresh, retries: budget.attempt() };
        let exchange = self.transport.deliver(site, head, &host, which, deadline, urgency).await?;
        if matches!(exchange.status, StatusCode::OK | StatusCode::PARTIAL_CONTENT) {
            return Ok(exchange);
        }
        Err((self.refusal(exchange, request.part).await, Reused(false)))
    }

    /// Reads the body of an error response and classifies the error.
    pub(super) async fn refusal(
        &self,
        mut exchange: Exchange,
        part: Option<PartNumber>,
    ) -> OriginError {
        let (mut body, until) = (Vec::new(), Instant::now() + ERROR_BODY_TIME);
        while body.len() < MAX_ERROR_BODY {
            match timeout_at(until, exchange.read()).await {
                Ok(Ok(Some(bytes))) => body.extend_from_slice(bytes),
                Ok(Ok(None) | Err(_)) | Err(_) => break,
            }
        }
        let status = exchange.status;
        let error = S3Error::from_response(status, exchange.head(), &body);
        if error.code == "RequestTimeTooSkewed" {
            self.clock.learn(exchange.head());
        }
        let said = Misdirected::of(&error, !body.is_empty(), exchange.head());
        exchange.release().await;
        if let Some(said) = said {
            return OriginError::Misdirected(Box::new((error, said)));
        }
        match status.as_u16() {
            // The origin did not receive the request's bytes, or received them late: a retry may succeed.
            400 if error.code == "RequestTimeout" => OriginError::ServerError(error),
            400 | 401 | 403 if is_of_credentials(&error.code) => OriginError::OwnCredentials(error),
            401 | 403 => OriginError::Denied(error),
            404 => OriginError::NotFound(error),
            412 => OriginError::Changed,
            416 => match part {
                None => OriginError::RangeNotSatisfiable,
                // No range was asked for: what says so is a status without a code (R18).
                Some(_) if error.code == "InvalidRange" => {
                    OriginError::Refused(S3Error::invalid_part_number())
                }
                Some(_) => OriginError::Refused(error),
            },
            429 | 503 => OriginError::Throttled(error),
            500 | 502 | 504 => OriginError::ServerError(error),
            _ => OriginError::Refused(error),
        }
    }
}

/// Waits for a moment in which the origin may come back, or a retry become free. Returns `false` when there is no time.
async fn waited(budget: &mut RetryBudget) -> bool {
    let pause = rand::thread_rng().gen_range(DOWN_PAUSE);
    let may_wait = budget.may_wait(pause);
    if may_wait {
        sleep(pause).await;
    }
    may_wait
}
