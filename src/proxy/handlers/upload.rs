//! A browser's form, as far as it is on its way to the origin.

use std::sync::Arc;

use bytes::Bytes;

use crate::auth::Identity;
use crate::auth::form::{AdmittedForm, Boundary, FormBody, FormHead};
use crate::s3::{BucketName, S3Error};

/// A form that may be done.
pub(in crate::proxy) struct Upload {
    pub(super) bucket: BucketName,
    pub(super) boundary: Boundary,
    pub(super) form: FormHead,
    pub(super) admitted: AdmittedForm,
    /// Bytes of the client's body.
    pub(super) length: u64,
    /// What pingora brings first was read already.
    pub(super) replays: bool,
    pub(super) body: Option<FormBody>,
}

impl Upload {
    /// Who sends it, in `verify` mode.
    pub(in crate::proxy) fn identity(&self) -> Option<&Arc<Identity>> {
        self.admitted.identity.as_ref()
    }

    /// Each part of the client's body; gives what goes out.
    pub(in crate::proxy) fn push(&mut self, piece: Bytes, end: bool) -> Result<Bytes, S3Error> {
        let replayed = std::mem::take(&mut self.replays);
        let piece = if replayed { Bytes::new() } else { piece };
        self.body.as_mut().ok_or_else(S3Error::internal)?.push(&piece, end)
    }
}
