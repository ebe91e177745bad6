//! Reasons for which a read has no answer from the cache.

use std::sync::Arc;

use crate::origin::OriginError;
use crate::s3::S3Error;

/// Why a read has no answer from the cache.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// An absence that is remembered.
    #[error("known to be absent")]
    Absent(Arc<S3Error>),
    /// Stream it through.
    #[error("not to be cached")]
    Uncacheable,
    /// Another version came between two answers, or its bytes were wrong; nothing was sent yet, start again.
    #[error("the object changed")]
    Changed,
    /// It would be refused by metadata that the origin did not confirm in time (R33).
    #[error("not confirmed by the origin")]
    Unconfirmed,
    /// No memory came free in time.
    #[error("no memory for more bytes in flight")]
    NoMemory,
    #[error("{0}")]
    Origin(Arc<OriginError>),
    /// The origin refused a HEAD, whose answer has no body to say why: to a GET it says it in its own code.
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
