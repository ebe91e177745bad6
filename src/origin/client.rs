//! One request to the origin: connect, sign, send, read the head; and the two questions the cache asks, HEAD and ranged GET.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use http::header::{ACCEPT_ENCODING, DATE, HOST, IF_MATCH, RANGE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use pingora::http::RequestHeader;
use tokio::time::Instant;

use super::asked::{Asked, Pin};
use super::body::{Answer, Body, Checked};
use super::breaker::Breaker;
use super::connections::Connections;
use super::credentials::renew::Renewal;
use super::credentials::{Found, Source};
use super::domains::{Domain, Domains};
use super::error::is_of_credentials;
use super::exchange::Exchange;
use super::health::Health;
use super::hedging::{About, Hedging, bytes_of};
use super::misdirected::Misdirected;
use super::regions::{Regions, Site};
use super::retry::{RetryBudget, RetryLimit, Reused};
use super::slots::{Slots, Urgency};
use super::{Endpoint, OriginConfig, OriginError};
use crate::auth::{Credentials, Payload};
use crate::metrics::hedging::Phase;
use crate::metrics::{self, OriginKind};
use crate::s3::target::Query;
use crate::s3::{NotCacheable, ObjectId, ObjectMeta, PartNumber, S3Error};

const REQUEST_PAYER: HeaderName = HeaderName::from_static("x-amz-request-payer");
const CHECKSUM_MODE: HeaderName = HeaderName::from_static("x-amz-checksum-mode");
/// More of an error's body than this is not read.
const MAX_ERROR_BODY: usize = 64 * 1024;

/// The origin as hotset asks it: one endpoint, one pool of connections, and the keys of each domain.
pub struct Origin {
    pub(super) config: OriginConfig,
    pub(super) regions: Regions,
    domains: Domains,
    pub(super) loops: Arc<super::loops::LoopGuard>,
    pub(super) health: Health,
    pub(super) retries: RetryLimit,
    pub(super) breaker: Breaker,
    pub(super) hedging: Hedging,
    pub(super) slots: Arc<Slots>,
    /// `None`: our own keys do not change.
    pub(super) renewal: Option<Renewal>,
    /// Seconds the origin's clock is ahead of ours (R15).
    skew: AtomicI64,
}

struct Request<'a> {
    domain: &'a Domain,
    method: Method,
    id: &'a ObjectId,
    range: Option<&'a Asked>,
    part: Option<PartNumber>,
    pin: &'a Pin,
    /// The pin is the version's id, where it has one, and not its `ETag`.
    by_version: bool,
}

impl Origin {
    /// # Errors
    /// A sentence that says what is wrong with `origin.endpoint`.
    pub fn new(config: OriginConfig, credentials: Option<Credentials>) -> Result<Self, String> {
        let endpoint = Endpoint::at(&config.endpoint, config.addressing, &config.addresses)?;
        let connections = Connections::new(&config, endpoint.addresses());
        Ok(Self {
            regions: Regions::new(Site::home(endpoint, connections)),
            slots: Slots::new(config.connections),
            domains: Domains::new(&config, credentials),
            renewal: None,
            loops: Arc::default(),
            health: Health::default(),
            retries: RetryLimit::new(config.retry_budget),
            breaker: Breaker::new(config.circuit_breaker),
            hedging: Hedging::new(config.hedging),
            config,
            skew: AtomicI64::new(0),
        })
    }

    /// As [`Origin::new`], with credentials that are renewed from where they were found.
    ///
    /// # Errors
    /// As [`Origin::new`].
    pub fn with_source(config: OriginConfig, source: Source, found: Found) -> Result<Self, String> {
        let renewal = Some(Renewal::new(source, &found));
        Ok(Self { renewal, ..Self::new(config, Some(found.credentials))? })
    }

    /// The same beside another origin of this process: a request that comes back by way of either is ours. `name`: in
    /// metrics.
    #[must_use]
    pub fn beside(mut self, other: &Self, name: &str) -> Self {
        self.loops = other.loops.clone();
        self.health.name = Some(name.into());
        self.breaker.name.clone_from(&self.health.name);
        self
    }

    pub fn endpoint(&self) -> &Endpoint {
        self.regions.home().endpoint()
    }

    pub fn config(&self) -> &OriginConfig {
        &self.config
    }

    /// Returns the credential domains.
    pub fn domains(&self) -> &Domains {
        &self.domains
    }

    /// The time as the origin has it.
    pub fn now(&self) -> SystemTime {
        let skew = self.skew.load(Ordering::Relaxed);
        let shift = Duration::from_secs(skew.unsigned_abs());
        if skew < 0 { SystemTime::now() - shift } else { SystemTime::now() + shift }
    }

    /// `HeadObject` without conditions (R10), of the whole or of a part; its checksums included.
    ///
    /// # Errors
    /// Any [`OriginError`]; those that may pass were retried.
    pub async fn head(
        &self,
        id: &ObjectId,
        part: Option<PartNumber>,
    ) -> Result<ObjectMeta, OriginError> {
        let domain = self.domains.of_realm(id.realm())?;
        let (method, pin) = (Method::HEAD, &Pin::Current);
        let request =
            Request { domain: &domain, method, id, range: None, part, pin, by_version: false };
        let mut budget = RetryBudget::new(&self.config);
        loop {
            let about = About { phase: Phase::Head, bytes: 0, bucket: id.bucket_hash64() };
            let send = async || {
                let exchange = self.exchange(&request, &budget).await?;
                let (meta, elapsed) = (exchange.meta(&request), exchange.first_byte);
                exchange.release().await;
                Ok((meta, elapsed))
            };
            match self.hedging.race(about, || self.may_repeat(), send).await {
                Ok(meta) => return meta,
                Err(failure) => self.pause(failure, &mut budget).await?,
            }
        }
    }

    /// `GetObject` of a range. The answer's version, range and size were compared with what was asked;
    /// its body resumes by itself where it breaks.
    ///
    /// # Errors
    /// Any [`OriginError`]; those that may pass were retried.
    pub async fn get(
        self: &Arc<Self>,
        id: &ObjectId,
        asked: Asked,
        pin: Pin,
        urgency: &Arc<Urgency>,
    ) -> Result<Answer, OriginError> {
        let mut budget = RetryBudget::new(&self.config).of(urgency.clone());
        loop {
            let (phase, bucket) = (Phase::FirstByte, id.bucket_hash64());
            let about = About { phase, bytes: bytes_of(&asked), bucket };
            let send = async || {
                let (exchange, checked) = self.get_once(id, &asked, &pin, &budget).await?;
                let elapsed = exchange.first_byte;
                Ok(((exchange, checked), elapsed))
            };
            match self.hedging.race(about, || self.may_repeat(), send).await {
                Ok((exchange, checked)) => {
                    return Ok(Body::answer(self.clone(), id.clone(), exchange, checked, budget));
                }
                Err(failure) => self.pause(failure, &mut budget).await?,
            }
        }
    }

    /// Whether a late request may be sent again: the origin does not fail, and nothing waits for a connection.
    pub(super) fn may_repeat(&self) -> bool {
        !self.is_failing() && self.slots.has_free()
    }

    /// One attempt at a ranged GET, falling back from version id to `If-Match` once. The answer was compared with what was
    /// asked.
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
        let mut request =
            Request { domain: &domain, method: Method::GET, id, range, part, pin, by_version };
        let exchange = match self.exchange(&request, budget).await {
            // Who was asked for that very version is told that it may not be read.
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
        let meta = exchange.meta(&request)?;
        let checked = Answer::check(asked, pin, exchange.head(), meta)?;
        Ok((exchange, checked))
    }

    /// Sleeps before the next attempt, or hands the failure back when there is none.
    pub(super) async fn pause(
        &self,
        failure: OriginError,
        budget: &mut RetryBudget,
    ) -> Result<(), OriginError> {
        // A body that broke off waits for the breaker; what has not begun is answered.
        let is_down = matches!(failure, OriginError::Down(_));
        let may_wait = match budget.has_begun() {
            true => is_down || failure.is_retryable(),
            false => failure.is_retryable() && !self.breaker.is_open(),
        };
        if !may_wait {
            return Err(failure);
        }
        let asked_for = failure.retry_after(self.now());
        let Some(pause) = budget.next_pause(asked_for) else { return Err(failure) };
        if is_down {
            tokio::time::sleep(pause).await;
            return Ok(());
        }
        if !budget.take_progress() && !self.may_retry() {
            return Err(failure);
        }
        log::debug!("origin: retry {} in {pause:?}: {failure}", budget.attempt());
        metrics::origin_retry();
        tokio::time::sleep(pause).await;
        Ok(())
    }

    /// Takes a retry from what all requests together may have.
    pub fn may_retry(&self) -> bool {
        let may = self.retries.take();
        if !may {
            metrics::origin::retry_refused();
        }
        may
    }

    /// Sends once (twice when a kept-alive connection turns out to be dead, or the clocks differ).
    async fn exchange(
        &self,
        request: &Request<'_>,
        budget: &RetryBudget,
    ) -> Result<Exchange, OriginError> {
        self.permit()?;
        let started = Instant::now();
        let fresh = budget.attempt() > 0;
        let (used, bucket) = (request.domain.signer(), request.id.bucket());
        let mut site = self.regions.site(Some(bucket));
        let deadline = budget.deadline();
        let mut outcome = self.attempt(request, &site, fresh, budget).await;
        if let Err((OriginError::Broken(_), Reused(true))) = &outcome {
            outcome = self.attempt(request, &site, true, budget).await;
        }
        let mut moved = None;
        if let Err((OriginError::Misdirected(said), _)) = &outcome
            && self.relocates((bucket, request.domain), &site, &said.1, deadline).await
        {
            (site, moved) = (self.regions.site(Some(bucket)), Some(bucket));
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
        let outcome = outcome.map_err(|(e, _)| self.settled(e, moved));
        let is_head = request.method == Method::HEAD;
        let kind = if is_head { OriginKind::Head } else { OriginKind::Get };
        self.record(kind, request.id.hash64(), outcome.as_ref().err());
        metrics::origin_first_byte(kind, started.elapsed());
        outcome
    }

    async fn attempt(
        &self,
        request: &Request<'_>,
        site: &Site,
        fresh: bool,
        budget: &RetryBudget,
    ) -> Result<Exchange, (OriginError, Reused)> {
        let head = self.request_head(request, site);
        let host = head.headers[HOST].to_str().unwrap_or_default().to_owned();
        let exchange = self.deliver(site, head, &host, fresh, budget.deadline(), budget.urgency());
        let exchange = exchange.await?;
        if matches!(exchange.status, StatusCode::OK | StatusCode::PARTIAL_CONTENT) {
            return Ok(exchange);
        }
        Err((self.refusal(exchange, request.part).await, Reused(false)))
    }

    fn request_head(&self, request: &Request<'_>, site: &Site) -> Box<RequestHeader> {
        let target = site.endpoint().target(Some(request.id.bucket()), Some(request.id.key()));
        let mut headers = HeaderMap::with_capacity(12);
        headers.insert(HOST, HeaderValue::from_str(&target.host).expect("checked at start"));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers.insert(USER_AGENT, HeaderValue::from_static("hotset"));
        let mut query = Query::default();
        match request.range.and_then(Asked::to_header) {
            Some(range) => headers.insert(RANGE, range),
            None => headers.insert(CHECKSUM_MODE, HeaderValue::from_static("ENABLED")),
        };
        if let Some(part) = request.part {
            query = query.with("partNumber", &part.get().to_string());
        }
        if request.id.pays() {
            headers.insert(REQUEST_PAYER, HeaderValue::from_static("requester"));
        }
        if let Some(version) = request.id.version() {
            query = query.with("versionId", version.as_str());
        }
        match request.pin {
            Pin::Current => {}
            Pin::Matching(etag) => drop(headers.insert(IF_MATCH, etag.clone())),
            Pin::Version(meta) => match (&meta.version_id, request.id.version()) {
                (Some(_), Some(_)) => {}
                (Some(version), None) if request.by_version => {
                    query = query.with("versionId", version.to_str().unwrap_or_default());
                }
                _ => drop(headers.insert(IF_MATCH, meta.etag.as_header().clone())),
            },
        }
        if let Some(signer) = request.domain.signer() {
            site.signer(&signer).sign(
                &request.method,
                &target.path,
                &query,
                &mut headers,
                Payload::Unsigned,
                self.now(),
            );
        }
        let mut path = target.path;
        if !query.is_empty() {
            path = format!("{path}?{}", query.to_canonical_string());
        }
        build_head(request.method.clone(), path.as_bytes(), &headers)
    }

    /// Reads an error's body to learn what the origin says.
    pub(super) async fn refusal(
        &self,
        mut exchange: Exchange,
        part: Option<PartNumber>,
    ) -> OriginError {
        let mut body = Vec::new();
        while body.len() < MAX_ERROR_BODY {
            match exchange.read().await {
                Ok(Some(bytes)) => body.extend_from_slice(bytes),
                Ok(None) | Err(_) => break,
            }
        }
        let status = exchange.status;
        let error = S3Error::from_response(status, exchange.head(), &body);
        if error.code == "RequestTimeTooSkewed" {
            self.learn_skew(exchange.head());
        }
        let said = Misdirected::of(&error, !body.is_empty(), exchange.head());
        exchange.release().await;
        if let Some(said) = said {
            return OriginError::Misdirected(Box::new((error, said)));
        }
        match status.as_u16() {
            // It waited for bytes of the request that were lost, or late: the same again may be taken.
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

    pub(super) fn learn_skew(&self, headers: &HeaderMap) {
        let date = headers.get(DATE).and_then(|v| v.to_str().ok());
        let Some(theirs) = date.and_then(|d| httpdate::parse_http_date(d).ok()) else { return };
        let seconds = |d: Duration| i64::try_from(d.as_secs()).unwrap_or(0);
        let skew = match theirs.duration_since(SystemTime::now()) {
            Ok(ahead) => seconds(ahead),
            Err(behind) => -seconds(behind.duration()),
        };
        log::warn!(
            "origin: its clock differs by {skew} s from ours; requests are signed with its time"
        );
        self.skew.store(skew, Ordering::Relaxed);
    }
}

impl Exchange {
    /// Returns the metadata in the response, which must be about the requested object or version.
    fn meta(&self, request: &Request<'_>) -> Result<ObjectMeta, OriginError> {
        let (status, head, id) = (self.status, self.head(), request.id);
        let meta = match request.part {
            None => ObjectMeta::from_response(status, head),
            Some(number) => ObjectMeta::from_part(status, head, number),
        };
        let meta = meta.map_err(|e| match e {
            NotCacheable::LengthMismatch => OriginError::Broken(e.to_string()),
            NotCacheable::NotAPart => OriginError::NotAPart,
            // Some servers send a whole object in chunks, and tell its size in answers to HEAD and to ranges.
            NotCacheable::NoSize if matches!(request.range, Some(Asked::Whole(_))) => {
                OriginError::RangeNotSatisfiable
            }
            _ => OriginError::Uncacheable(e.to_string()),
        })?;
        let named = id.version().filter(|version| !version.is_null());
        let answered = meta.version_id.as_ref().map(HeaderValue::as_bytes);
        let other = match id.version() {
            None => false,
            Some(_) => answered != named.map(|version| version.as_str().as_bytes()),
        };
        match other {
            true => Err(OriginError::Uncacheable("it is of another version".to_owned())),
            false => Ok(meta),
        }
    }
}

/// A pingora request head from plain headers.
///
/// # Panics
/// Never: path and headers were built by us.
pub(super) fn build_head(method: Method, path: &[u8], headers: &HeaderMap) -> Box<RequestHeader> {
    let mut head = RequestHeader::build(method, path, Some(headers.len()))
        .expect("an encoded path is a legal target");
    for (name, value) in headers {
        head.append_header(name.clone(), value.clone())
            .expect("a header from a HeaderMap is legal");
    }
    Box::new(head)
}
