//! Errors of origin requests, classified by how the caller proceeds.

use std::time::{Duration, SystemTime};

use http::HeaderName;
use http::header::RETRY_AFTER;

use super::misdirected::Misdirected;
use crate::metrics::Outcome;
use crate::metrics::origin::OriginFailure;
use crate::s3::S3Error;

/// Delay before the next request, in milliseconds; the AWS SDKs obey it.
const AMZ_RETRY_AFTER: HeaderName = HeaderName::from_static("x-amz-retry-after");

/// Outcome of an origin request without a usable response. Shared by all waiters of the request.
#[derive(Debug, thiserror::Error)]
pub enum OriginError {
    /// 404, with the origin's own code (`NoSuchKey`, `NoSuchBucket`, none for a HEAD). Passed on; may be a negative entry (R12).
    #[error("origin: not found ({})", .0.code)]
    NotFound(S3Error),
    /// 401 or 403. Passed on, never cached.
    #[error("origin: denied ({})", .0.code)]
    Denied(S3Error),
    /// 416 to a range that was requested before the size was known: the object is empty, or the range starts past its
    /// end. Also a response to a request for the whole object that does not tell its size. A HEAD decides on the
    /// client's response (R17).
    #[error("origin: range not satisfiable")]
    RangeNotSatisfiable,
    /// Another version than the pinned one (R3): 412, 404 to a pinned range, or headers that differ.
    #[error("origin: the object changed")]
    Changed,
    /// 412: the current version does not have the `ETag` that a client named.
    #[error("origin: the object does not have the requested ETag")]
    PreconditionFailed,
    /// Any other response below 500. Passed on, not retried.
    #[error("origin: refused ({} {})", .0.status.as_u16(), .0.code)]
    Refused(S3Error),
    /// 429 or 503 after all attempts.
    #[error("origin: throttled ({})", .0.code)]
    Throttled(S3Error),
    /// 5xx after all attempts.
    #[error("origin: server error ({} {})", .0.status.as_u16(), .0.code)]
    ServerError(S3Error),
    /// The origin rejects hotset's own credentials or clock, not the client's. Never passed on.
    #[error("origin: rejects hotset's own credentials ({})", .0.code)]
    OwnCredentials(S3Error),
    /// The bucket is in another region. Never leaves this module.
    #[error("origin: the bucket is in another region ({})", .0.0.code)]
    Misdirected(Box<(S3Error, Misdirected)>),
    /// Name resolution, connect or TLS failed; the first field says which.
    #[error("origin: cannot connect: {1}")]
    Connect(OriginFailure, String),
    /// Timeout of the named phase.
    #[error("origin: timed out waiting for {0}")]
    Timeout(&'static str),
    /// The connection broke, or the response violates HTTP.
    #[error("origin: connection failed: {0}")]
    Broken(String),
    /// Not sent, because the circuit breaker is open; worth a try after this time.
    #[error("origin: circuit breaker open, request not sent")]
    Down(Duration),
    /// The bytes do not match the checksum of the object.
    #[error("origin: the bytes do not match the checksum")]
    Corrupt,
    /// A response that cannot be admitted: no strong `ETag`, no size or no Last-Modified (R2).
    #[error("origin: the response cannot be cached: {0}")]
    Uncacheable(String),
    /// The response to a request for a part is the whole object, or has no range: some servers do not support parts.
    #[error("origin: the response is not a part")]
    NotAPart,
    /// The fetch was abandoned because nobody waited for it any more, or because of a defect in hotset.
    #[error("the fetch was abandoned")]
    GivenUp,
}

impl OriginError {
    /// Whether the same request may succeed when sent again.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Throttled(_)
            | Self::ServerError(_)
            | Self::Connect(..)
            | Self::Timeout(_)
            | Self::Broken(_) => true,
            Self::OwnCredentials(_)
            | Self::NotFound(_)
            | Self::Denied(_)
            | Self::RangeNotSatisfiable
            | Self::Changed
            | Self::Corrupt
            | Self::PreconditionFailed
            | Self::Refused(_)
            | Self::Misdirected(..)
            | Self::Down(_)
            | Self::Uncacheable(_)
            | Self::NotAPart
            | Self::GivenUp => false,
        }
    }

    /// Whether a stale object may be served instead (R14): the origin is unreachable or fails.
    pub fn allows_stale(&self) -> bool {
        self.is_retryable() || matches!(self, Self::Down(_))
    }

    /// Returns the origin's error, for errors that are passed on.
    pub(super) fn said_mut(&mut self) -> Option<&mut S3Error> {
        match self {
            Self::NotFound(said) | Self::Denied(said) | Self::Refused(said) => Some(said),
            _ => None,
        }
    }

    /// Whether the origin answered and refused the request.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::NotFound(_) | Self::Denied(_) | Self::Refused(_))
    }

    /// Returns the error to send to the client.
    pub fn to_s3(&self) -> S3Error {
        match self {
            Self::NotFound(e) | Self::Denied(e) | Self::Refused(e) => e.clone(),
            Self::Misdirected(said) => said.0.clone(),
            Self::PreconditionFailed => S3Error::precondition_failed("If-Match"),
            Self::Throttled(said) => with_retry_after(S3Error::slow_down(), said),
            Self::OwnCredentials(said) => {
                let mut error = S3Error::service_unavailable();
                error.message = format!(
                    "The origin does not take the credentials that hotset signs with ({}). Yours were not asked about.",
                    said.code
                )
                .into();
                error
            }
            Self::Down(wait) => {
                let seconds = wait.as_secs().max(1);
                let mut error = S3Error::service_unavailable();
                error.message = "The origin fails. Please try again.".into();
                error.with_header(RETRY_AFTER, seconds.into())
            }
            Self::ServerError(said) => with_retry_after(S3Error::service_unavailable(), said),
            Self::Connect(..)
            | Self::Timeout(_)
            | Self::Broken(_)
            | Self::RangeNotSatisfiable
            | Self::Changed
            | Self::Corrupt
            | Self::Uncacheable(_)
            | Self::NotAPart
            | Self::GivenUp => S3Error::service_unavailable(),
        }
    }

    /// Returns the delay that the origin requests: `x-amz-retry-after`, or `Retry-After` in seconds or as a date. `now`
    /// is the origin's time.
    pub(super) fn retry_after(&self, now: SystemTime) -> Option<Duration> {
        let (Self::Throttled(said) | Self::ServerError(said)) = self else { return None };
        let text = |wanted: &HeaderName| {
            let (_, value) = said.headers.iter().find(|(name, _)| name == wanted)?;
            value.to_str().ok().map(str::trim)
        };
        if let Some(milliseconds) = text(&AMZ_RETRY_AFTER).and_then(|text| text.parse().ok()) {
            return Some(Duration::from_millis(milliseconds));
        }
        let text = text(&RETRY_AFTER)?;
        if let Ok(seconds) = text.parse() {
            return Some(Duration::from_secs(seconds));
        }
        let date = httpdate::parse_http_date(text).ok()?;
        Some(date.duration_since(now).unwrap_or_default())
    }

    /// Whether hotset itself is the cause: no request was sent.
    pub(super) fn is_own(&self) -> bool {
        matches!(self, Self::Timeout("a free connection") | Self::Down(_) | Self::GivenUp)
    }

    /// Returns the reason of an origin failure; `None`: the error is an answer to the request.
    pub(super) fn reason(&self) -> Option<OriginFailure> {
        match self {
            Self::Connect(reason, _) => Some(*reason),
            Self::Timeout("name resolution") => Some(OriginFailure::Name),
            Self::Timeout(_) => Some(OriginFailure::Timeout),
            Self::Broken(_) => Some(OriginFailure::Broken),
            Self::Throttled(_) => Some(OriginFailure::Throttled),
            Self::ServerError(_) => Some(OriginFailure::ServerError),
            Self::OwnCredentials(_) => Some(OriginFailure::Credentials),
            Self::NotFound(_)
            | Self::Denied(_)
            | Self::Refused(_)
            | Self::RangeNotSatisfiable
            | Self::Changed
            | Self::Corrupt
            | Self::PreconditionFailed
            | Self::Misdirected(..)
            | Self::Down(_)
            | Self::Uncacheable(_)
            | Self::NotAPart
            | Self::GivenUp => None,
        }
    }

    /// The label of this outcome in metrics.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::NotFound(_) => Outcome::NotFound,
            Self::Denied(_) | Self::OwnCredentials(_) => Outcome::Denied,
            Self::RangeNotSatisfiable
            | Self::PreconditionFailed
            | Self::Refused(_)
            | Self::Misdirected(..)
            | Self::Uncacheable(_)
            | Self::NotAPart => Outcome::Refused,
            Self::Changed => Outcome::Changed,
            Self::Throttled(_) => Outcome::Throttled,
            Self::ServerError(_) => Outcome::ServerError,
            Self::Connect(..) => Outcome::Connect,
            Self::Timeout(_) => Outcome::Timeout,
            Self::Broken(_) | Self::Corrupt | Self::Down(_) | Self::GivenUp => Outcome::Broken,
        }
    }
}

/// Adds the retry headers of the origin's error.
fn with_retry_after(mut error: S3Error, said: &S3Error) -> S3Error {
    let when =
        said.headers.iter().filter(|(name, _)| [RETRY_AFTER, AMZ_RETRY_AFTER].contains(name));
    error.headers.extend(when.cloned());
    error
}

/// No connection was free in time, which does not count against the origin.
pub(super) const NONE_FREE: pingora::ErrorType = pingora::ErrorType::Custom("no free connection");

/// Converts an error of connecting.
pub(super) fn connect_error(e: &pingora::Error) -> OriginError {
    use pingora::ErrorType::{
        ConnectTimedout, InvalidCert, TLSHandshakeFailure, TLSHandshakeTimedout, TLSWantX509Lookup,
    };
    let reason = match e.etype() {
        etype if *etype == NONE_FREE => return OriginError::Timeout("a free connection"),
        ConnectTimedout | TLSHandshakeTimedout => return OriginError::Timeout("a connection"),
        TLSHandshakeFailure | InvalidCert | TLSWantX509Lookup => OriginFailure::Tls,
        _ => OriginFailure::Connect,
    };
    OriginError::Connect(reason, cause_of(e))
}

/// Converts an error of a connection in use.
pub(super) fn wire_error(e: &pingora::Error) -> OriginError {
    use pingora::ErrorType::{ReadTimedout, WriteTimedout};
    match e.etype() {
        ReadTimedout => OriginError::Timeout("bytes"),
        WriteTimedout => OriginError::Timeout("the request to be taken"),
        _ => OriginError::Broken(cause_of(e)),
    }
}

/// Describes the innermost error of a chain in one line, with its context and cause. The chain itself repeats both.
fn cause_of(mut e: &pingora::Error) -> String {
    let mut context = e.context.as_ref();
    while let Some(inner) =
        e.cause.as_ref().and_then(|cause| cause.downcast_ref::<pingora::BError>())
    {
        e = inner;
        context = e.context.as_ref().or(context);
    }
    let cause = e.cause.as_ref().map_or_else(|| e.etype().as_str().to_owned(), ToString::to_string);
    context.map_or_else(|| cause.clone(), |context| format!("{}: {cause}", context.as_str()))
}

/// Whether an S3 error code is about the signer's keys or clock.
pub(super) fn is_of_credentials(code: &str) -> bool {
    matches!(
        code,
        "SignatureDoesNotMatch"
            | "InvalidAccessKeyId"
            | "ExpiredToken"
            | "InvalidToken"
            | "TokenRefreshRequired"
            | "RequestTimeTooSkewed"
    )
}

/// Formats an error with its causes in one line, as many errors name only the step that failed.
pub fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        // Some repeat their cause in their own text.
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, StatusCode};

    use super::*;

    #[test]
    fn retry_after_is_read_in_all_its_forms() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let date = |seconds| httpdate::fmt_http_date(now + Duration::from_secs(seconds));
        let read = |headers: &[(&'static str, &str)]| {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.insert(*name, HeaderValue::from_str(value).unwrap());
            }
            let said = S3Error::from_response(StatusCode::SERVICE_UNAVAILABLE, &map, b"");
            let error = OriginError::Throttled(said);
            assert_eq!(error.to_s3().headers.len(), headers.len(), "it is passed on");
            error.retry_after(now).map(|wait| wait.as_millis())
        };
        assert_eq!(read(&[]), None);
        assert_eq!(read(&[("retry-after", "2")]), Some(2000));
        assert_eq!(read(&[("retry-after", &date(7))]), Some(7000));
        assert_eq!(
            read(&[("retry-after", &httpdate::fmt_http_date(SystemTime::UNIX_EPOCH))]),
            Some(0)
        );
        assert_eq!(read(&[("retry-after", "soon")]), None);
        assert_eq!(read(&[("x-amz-retry-after", "250")]), Some(250));
        assert_eq!(read(&[("x-amz-retry-after", "250"), ("retry-after", "9")]), Some(250));
        assert_eq!(read(&[("x-amz-retry-after", "-1"), ("retry-after", "9")]), Some(9000));
    }

    #[test]
    fn a_chain_of_errors_is_told_by_its_innermost_place_and_cause() {
        use pingora::{Error, ErrorType};

        let refused = std::io::Error::from_raw_os_error(111);
        let inner = Error::because(ErrorType::ConnectRefused, "to 10.0.0.1:9", refused);
        let outer = Error::because(ErrorType::ConnectRefused, "addr: 10.0.0.1:9", inner);
        let told = connect_error(&outer).to_string();
        assert_eq!(
            told,
            "origin: cannot connect: to 10.0.0.1:9: Connection refused (os error 111)"
        );
        let bare = connect_error(&Error::new(ErrorType::ConnectNoRoute)).to_string();
        assert_eq!(bare, "origin: cannot connect: ConnectNoRoute");
    }
}
