//! A browser's form in transit to the origin.

use std::sync::Arc;

use bytes::Bytes;

use crate::auth::Identity;
use crate::auth::form::{AdmittedForm, Boundary, FormBody, FormHead};
use crate::s3::{BucketName, S3Error};

/// An authorized form.
pub(in crate::proxy) struct Upload {
    pub(super) bucket: BucketName,
    pub(super) boundary: Boundary,
    pub(super) form: FormHead,
    pub(super) admitted: AdmittedForm,
    /// Length of the client's body, in bytes.
    pub(super) length: u64,
    /// Whether the first bytes from pingora are a replay of bytes that were read already.
    pub(super) replays: bool,
    pub(super) body: Option<FormBody>,
}

impl Upload {
    /// Returns the sender's identity, in `verify` mode.
    pub(in crate::proxy) fn identity(&self) -> Option<&Arc<Identity>> {
        self.admitted.identity.as_ref()
    }

    /// Takes each part of the client's body; returns the bytes for the origin.
    pub(in crate::proxy) fn push(&mut self, piece: Bytes, end: bool) -> Result<Bytes, S3Error> {
        let replayed = std::mem::take(&mut self.replays);
        let piece = if replayed { Bytes::new() } else { piece };
        self.body.as_mut().ok_or_else(S3Error::internal)?.push(&piece, end)
    }
}
