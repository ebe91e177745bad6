//! The body of a `DeleteObjects`, held on its way.

use bytes::BytesMut;

use crate::auth::ListedKeys;
use crate::s3::{BucketName, S3Error};

/// The longest body that is held, in bytes. A list of 1,000 keys of 1,024 bytes fits.
pub(super) const MAX_LISTED: usize = 2 << 20;

/// The body of a `DeleteObjects` on its way to the origin, as far as it has come.
pub(in crate::proxy) struct HeldList {
    pub(super) bucket: BucketName,
    pub(super) body: BytesMut,
    /// Who may delete all of the bucket, and not what keys of other spellings lead to (R21).
    pub(super) sender: Option<ListedKeys>,
}

impl HeldList {
    pub(in crate::proxy) fn new(bucket: BucketName) -> Self {
        Self { bucket, body: BytesMut::new(), sender: None }
    }

    /// Has each key allowed to its sender once they are known.
    pub(in crate::proxy) fn sent_by(&mut self, sender: Option<ListedKeys>) {
        self.sender = sender;
    }

    /// Takes the next part.
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
