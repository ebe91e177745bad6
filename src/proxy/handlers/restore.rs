//! `RestoreObject` on its way to the origin: its body is held until it is parsed.

use bytes::{Bytes, BytesMut};
use http::Method;

use crate::s3::{Parsed, S3Error, restore};

/// The body of a restore, as far as it has arrived.
#[derive(Debug, Default)]
pub(in crate::proxy) struct RestoreBody(BytesMut);

impl RestoreBody {
    /// Returns an empty body if the request is a restore.
    pub(in crate::proxy) fn of(method: &Method, parsed: &Parsed) -> Option<Self> {
        let restores =
            *method == Method::POST && parsed.key.is_some() && parsed.query.contains("restore");
        restores.then(Self::default)
    }

    /// Appends the next piece; returns the whole body with the last one, and nothing before.
    ///
    /// # Errors
    /// As [`restore::check`]; 400 `MaxMessageLengthExceeded` for more than [`restore::MAX_BODY`].
    pub(in crate::proxy) fn push(&mut self, piece: &[u8], end: bool) -> Result<Bytes, S3Error> {
        if self.0.len() + piece.len() > restore::MAX_BODY {
            return Err(S3Error::message_too_long(restore::MAX_BODY));
        }
        self.0.extend_from_slice(piece);
        if !end {
            return Ok(Bytes::new());
        }
        restore::check(&self.0)?;
        Ok(self.0.split().freeze())
    }
}
