//! What can come of asking the origin, named by what the caller does next.

use crate::metrics::Outcome;
use crate::s3::S3Error;

/// The outcome of an origin request that brought no usable answer. Shared by all who waited for it.
#[derive(Debug, thiserror::Error)]
pub enum OriginError {
    /// 404, with the origin's own code (`NoSuchKey`, `NoSuchBucket`, none for a HEAD). Passed on; may be a negative entry (R12).
    #[error("origin: not found ({})", .0.code)]
    NotFound(S3Error),
    /// 401 or 403. Passed on, never cached.
    #[error("origin: denied ({})", .0.code)]
    Denied(S3Error),
    /// 416 to a range that was asked before the size was known: empty object, or a start past its end.
    #[error("origin: range not satisfiable")]
    RangeNotSatisfiable,
    /// Another version than the one pinned (R3): 412, 404 of a pinned range, or headers that differ.
    #[error("origin: the object changed")]
    Changed,
    /// Any other answer below 500. Passed on, not retried.
    #[error("origin: refused ({} {})", .0.status.as_u16(), .0.code)]
    Refused(S3Error),
    /// 429 or 503 after all attempts.
    #[error("origin: asks to slow down ({})", .0.code)]
    Throttled(S3Error),
    /// 5xx after all attempts.
    #[error("origin: server error ({} {})", .0.status.as_u16(), .0.code)]
    ServerError(S3Error),
    /// Name resolution, connect or TLS failed.
    #[error("origin: cannot connect: {0}")]
    Connect(String),
    /// Nothing came within the time allowed for the named phase.
    #[error("origin: timed out waiting for {0}")]
    Timeout(&'static str),
    /// The connection broke, or the answer was not what HTTP allows.
    #[error("origin: connection broke: {0}")]
    Broken(String),
    /// An answer that cannot be admitted: no strong `ETag`, no size or no Last-Modified (R2).
    #[error("origin: answer cannot be cached: {0}")]
    Uncacheable(String),
    /// The answer to a request for a part is the whole object, or names no range: some servers know no parts.
    #[error("origin: it does not answer with a part")]
    NotAPart,
    /// The fetch was given up because nobody waited for it any more, or because of a defect here.
    #[error("fetch was given up")]
    GivenUp,
}

impl OriginError {
    /// Whether the same request may succeed when sent again.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Throttled(_)
            | Self::ServerError(_)
            | Self::Connect(_)
            | Self::Timeout(_)
            | Self::Broken(_) => true,
            Self::NotFound(_)
            | Self::Denied(_)
            | Self::RangeNotSatisfiable
            | Self::Changed
            | Self::Refused(_)
            | Self::Uncacheable(_)
            | Self::NotAPart
            | Self::GivenUp => false,
        }
    }

    /// Whether a stale object may be served instead (R14): the origin is not there or not well.
    pub fn allows_stale(&self) -> bool {
        self.is_retryable()
    }

    /// Whether the origin answered, and refuses what was asked.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::NotFound(_) | Self::Denied(_) | Self::Refused(_))
    }

    /// What the client is told.
    pub fn to_s3(&self) -> S3Error {
        match self {
            Self::NotFound(e) | Self::Denied(e) | Self::Refused(e) => e.clone(),
            Self::Throttled(_) => S3Error::slow_down(),
            Self::ServerError(_)
            | Self::Connect(_)
            | Self::Timeout(_)
            | Self::Broken(_)
            | Self::RangeNotSatisfiable
            | Self::Changed
            | Self::Uncacheable(_)
            | Self::NotAPart
            | Self::GivenUp => S3Error::service_unavailable(),
        }
    }

    /// The label of this outcome in metrics.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::NotFound(_) => Outcome::NotFound,
            Self::Denied(_) => Outcome::Denied,
            Self::RangeNotSatisfiable
            | Self::Refused(_)
            | Self::Uncacheable(_)
            | Self::NotAPart => Outcome::Refused,
            Self::Changed => Outcome::Changed,
            Self::Throttled(_) => Outcome::Throttled,
            Self::ServerError(_) => Outcome::ServerError,
            Self::Connect(_) => Outcome::Connect,
            Self::Timeout(_) => Outcome::Timeout,
            Self::Broken(_) | Self::GivenUp => Outcome::Broken,
        }
    }
}

/// No connection was made.
pub(super) fn connect_error(e: &pingora::Error) -> OriginError {
    use pingora::ErrorType::{ConnectTimedout, TLSHandshakeTimedout};
    match e.etype() {
        ConnectTimedout | TLSHandshakeTimedout => OriginError::Timeout("a connection"),
        _ => OriginError::Connect(e.to_string()),
    }
}
