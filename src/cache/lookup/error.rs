//! Reasons for which a read has no answer from the cache.

use std::sync::Arc;

use crate::origin::OriginError;
use crate::s3::S3Error;

/// The reason for which a read has no answer from the cache.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// A cached absence.
    #[error("known to be absent")]
    Absent(Arc<S3Error>),
    /// The object may not be cached: stream it through.
    #[error("not to be cached")]
    Uncacheable,
    /// Two responses are of different versions, or bytes did not match their checksum. Nothing was sent yet, so start
    /// again.
    #[error("the object changed")]
    Changed,
    /// The metadata that would refuse the request was not confirmed by the origin in time (R33).
    #[error("not confirmed by the origin")]
    Unconfirmed,
    /// No memory came free in time.
    #[error("no memory for more bytes in flight")]
    NoMemory,
    #[error("{0}")]
    Origin(Arc<OriginError>),
    /// The origin refused a HEAD, whose response has no body with the error code; a GET gets that code.
    #[error("{0}")]
    HeadRefused(Arc<OriginError>),
}

impl CacheError {
    /// Whether the object is gone.
    #[must_use]
    pub fn is_absence(&self) -> bool {
        match self {
            Self::Absent(_) => true,
            Self::Origin(error) | Self::HeadRefused(error) => {
                matches!(**error, OriginError::NotFound(_))
            }
            _ => false,
        }
    }
}

impl From<Arc<OriginError>> for CacheError {
    fn from(error: Arc<OriginError>) -> Self {
        match &*error {
            OriginError::Uncacheable(_) | OriginError::NotAPart => Self::Uncacheable,
            OriginError::Changed | OriginError::Corrupt => Self::Changed,
            _ => Self::Origin(error),
        }
    }
}
