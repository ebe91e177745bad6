//! A client's own request, sent to S3 only for its authorisation decision (R22).

use http::{HeaderMap, StatusCode};
use pingora::http::RequestHeader;
use tokio::time::Instant;

use super::client::Origin;
use super::error::OriginError;
use super::exchange::Try;
use super::retry::Reused;
use super::slots::{Class, Urgency};
use crate::metrics::{self, OriginKind, Outcome};
use crate::s3::BucketName;

/// Head of the response to an authorisation request.
#[derive(Debug)]
pub struct AuthorizationResponse {
    pub status: StatusCode,
    pub headers: HeaderMap,
}

impl Origin {
    /// Sends a request without a body, unchanged, and returns the response head. A response body is discarded.
    ///
    /// # Errors
    /// [`OriginError::Connect`], [`OriginError::Timeout`] or [`OriginError::Broken`]; nothing is tried again but a
    /// kept connection that turns out to be dead.
    pub async fn ask(
        &self,
        bucket: &BucketName,
        head: Box<RequestHeader>,
    ) -> Result<AuthorizationResponse, OriginError> {
        // As its sender signed it: for the endpoint that is configured.
        let site = self.locator().home();
        let host = site.endpoint().target(Some(bucket), None).host;
        let deadline = Instant::now() + self.config().deadline.0;
        let urgency = Urgency::new(Class::Metadata);
        let mut outcome = self
            .transport()
            .deliver(site, head.clone(), &host, Try::first(false), deadline, &urgency)
            .await;
        if let Err((OriginError::Broken(_), Reused(true))) = &outcome {
            outcome = self
                .transport()
                .deliver(site, head, &host, Try::first(true), deadline, &urgency)
                .await;
        }
        let label = outcome.as_ref().map_or_else(|(e, _)| e.outcome(), |e| outcome_of(e.status));
        metrics::origin_request(self.health().name(), OriginKind::Ask, label);
        self.note(outcome.as_ref().err().map(|(error, _)| error));
        let exchange = outcome.map_err(|(error, _)| error)?;
        let said =
            AuthorizationResponse { status: exchange.status, headers: exchange.head().clone() };
        exchange.release().await;
        Ok(said)
    }
}

/// Classifies a status for the metrics; 304 is the expected one.
fn outcome_of(status: StatusCode) -> Outcome {
    match status.as_u16() {
        304 => Outcome::Ok,
        200 | 206 => Outcome::Changed,
        401 | 403 => Outcome::Denied,
        404 => Outcome::NotFound,
        429 | 503 => Outcome::Throttled,
        500.. => Outcome::ServerError,
        _ => Outcome::Refused,
    }
}
