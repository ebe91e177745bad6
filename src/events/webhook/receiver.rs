//! Handling of one notification request: authentication, decoding, application, response.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Method, Request, Response, StatusCode};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::authentication::{Authentication, Sender};
use super::config::WebhookConfig;
use crate::events::{Intake, Source};
use crate::metrics::webhook::{self, Outcome};
use crate::s3::event::EventError;

/// Maximum wait for durability before the sender is answered 503; SNS times out after 15 s, `EventBridge` after 5 s.
const DURABLE: Duration = Duration::from_secs(4);

/// State shared by all connections.
pub(super) struct Receiver {
    authentication: Authentication,
    intake: Arc<Intake>,
    /// Name of the origin of its events; `None`: any.
    origin: Option<String>,
    /// Slots for bodies in memory.
    slots: Semaphore,
    body: usize,
    body_timeout: Duration,
}

impl Receiver {
    pub(super) fn new(
        config: &WebhookConfig,
        authentication: Authentication,
        intake: Arc<Intake>,
    ) -> Self {
        Self {
            authentication,
            intake,
            origin: config.origin.clone(),
            slots: Semaphore::new(config.requests),
            body: usize::try_from(config.body.bytes()).unwrap_or(usize::MAX),
            body_timeout: config.body_timeout.0,
        }
    }

    /// Handles a request, and counts its outcome.
    pub(super) async fn answer(&self, request: Request<Incoming>) -> Response<String> {
        let outcome = match *request.method() {
            Method::POST => self.post(request).await.unwrap_or_else(|outcome| outcome),
            // MinIO checks the endpoint this way.
            Method::HEAD => Outcome::Probe,
            _ => Outcome::Method,
        };
        webhook::request(outcome);
        response(outcome)
    }

    async fn post(&self, request: Request<Incoming>) -> Result<Outcome, Outcome> {
        let (head, body) = request.into_parts();
        let by_head = self.authentication.by_head(&head.headers)?;
        if body.size_hint().lower() > self.body as u64 {
            return Err(Outcome::TooLarge);
        }
        let _slot = self.slots.try_acquire().map_err(|_| Outcome::Busy)?;
        let body = self.read(body).await?;
        let sender = self.authentication.by_body(by_head, &head.headers, &body).await?;
        if matches!(sender, Sender::Confirmation) {
            return Ok(Outcome::Confirmed);
        }
        let taken = self.take(&body).await;
        if taken.is_err() {
            self.authentication.give_back(&sender);
        }
        taken.map(|()| Outcome::Accepted)
    }

    /// Reads the whole body, within its limits.
    async fn read(&self, body: Incoming) -> Result<Bytes, Outcome> {
        match timeout(self.body_timeout, Limited::new(body, self.body).collect()).await {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Outcome::TooLarge),
            Ok(Err(_)) => Err(Outcome::Broken),
            Err(_) => Err(Outcome::SlowBody),
        }
    }

    /// Applies the events of a body, and waits until they are durable (R11).
    async fn take(&self, body: &[u8]) -> Result<(), Outcome> {
        let applied = self.intake.apply_of(Source::Webhook, self.origin.as_deref(), body);
        let applied = applied.map_err(|error| match error {
            EventError::TooDeep => Outcome::TooDeep,
            _ => Outcome::Undecodable,
        })?;
        match timeout(DURABLE, self.intake.durable(applied)).await {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(Outcome::Unavailable),
        }
    }
}

/// Returns the response for an outcome: a status that makes the sender retry where that helps, and the outcome's label.
fn response(outcome: Outcome) -> Response<String> {
    let status = match outcome {
        Outcome::Accepted | Outcome::Probe | Outcome::Confirmed => StatusCode::OK,
        Outcome::Unauthenticated => StatusCode::UNAUTHORIZED,
        Outcome::WebPage
        | Outcome::Forged
        | Outcome::Expired
        | Outcome::Sha1
        | Outcome::WrongTopic
        | Outcome::WrongUrl => StatusCode::FORBIDDEN,
        Outcome::Replayed => StatusCode::CONFLICT,
        Outcome::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Outcome::TooDeep | Outcome::Undecodable | Outcome::Broken => StatusCode::BAD_REQUEST,
        Outcome::SlowBody => StatusCode::REQUEST_TIMEOUT,
        Outcome::Method => StatusCode::METHOD_NOT_ALLOWED,
        Outcome::Busy | Outcome::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
    };
    let mut response = Response::new(format!("{}\n", outcome.label()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    match outcome {
        Outcome::Method => {
            headers.insert(ALLOW, HeaderValue::from_static("POST, HEAD"));
        }
        Outcome::Busy | Outcome::Unavailable => {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        _ => {}
    }
    response
}
