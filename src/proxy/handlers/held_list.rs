//! The body of a `DeleteObjects`, held in transit.

use bytes::BytesMut;

use crate::auth::ListedKeys;
use crate::s3::{BucketName, S3Error};

/// The longest body that is held, in bytes. A list of 1,000 keys of 1,024 bytes fits.
pub(super) const MAX_LISTED: usize = 2 << 20;

/// The body of a `DeleteObjects` in transit, as far as it has arrived.
pub(in crate::proxy) struct HeldList {
    pub(super) bucket: BucketName,
    pub(super) body: BytesMut,
    /// A sender that may delete every key of the bucket, but perhaps not the keys that other spellings resolve to
    /// (R21).
    pub(super) sender: Option<ListedKeys>,
}

impl HeldList {
    pub(in crate::proxy) fn new(bucket: BucketName) -> Self {
        Self { bucket, body: BytesMut::new(), sender: None }
    }

    /// Sets the sender, who must be allowed to delete each key once the keys are known.
    pub(in crate::proxy) fn sent_by(&mut self, sender: Option<ListedKeys>) {
        self.sender = sender;
    }

    /// Appends the next part.
    ///
    /// # Errors
    /// 400 `MaxMessageLengthExceeded`.
    pub(super) fn push(&mut self, part: &[u8]) -> Result<(), S3Error> {
        if self.body.len() + part.len() > MAX_LISTED {
            return Err(S3Error::message_too_long(MAX_LISTED));
        }
        self.body.extend_from_slice(part);
        Ok(())
    }
}
