//! The body hash that a signature covers, and the check of a body against it.
//!
//! Invariant: a body that differs is never sent completely. The last bytes are held back until all of it was checked
//! ([`HoldBack`]), so that a transfer aborted on an error leaves the origin with a part.

use std::sync::LazyLock;

use bytes::Bytes;
use ring::digest;

use super::refusal;
use crate::auth::sign::signature::{hex, unhex};
use crate::auth::sign::{EMPTY_SHA256, Payload, Signature};
use crate::s3::S3Error;

/// Check of a body while it streams.
#[derive(Debug, Clone)]
pub enum BodyCheck {
    /// No check: the signature does not cover the body.
    Unsigned,
    /// SHA-256 of the body.
    Sha256([u8; 32]),
    /// Signatures of the chunks, chained to this one; with `trailer` also that of the trailers.
    Chunks {
        /// The request's own signature.
        seed: Signature,
        /// Whether signed trailers follow.
        trailer: bool,
    },
}

/// SHA-256 of empty input.
static EMPTY: LazyLock<[u8; 32]> =
    LazyLock::new(|| unhex(EMPTY_SHA256.as_bytes()).expect("64 digits"));

impl BodyCheck {
    /// Returns the check for a value of `x-amz-content-sha256`; `seed` returns the request's signature.
    pub(super) fn of(
        payload: &str,
        has_body: bool,
        seed: impl FnOnce() -> Signature,
    ) -> Result<Self, S3Error> {
        if payload == Payload::Unsigned.as_str()
            || payload == Payload::StreamingUnsignedTrailer.as_str()
        {
            return Ok(Self::Unsigned);
        }
        for (form, trailer) in
            [(Payload::StreamingSigned, false), (Payload::StreamingSignedTrailer, true)]
        {
            if payload == form.as_str() {
                return Ok(Self::Chunks { seed: seed(), trailer });
            }
        }
        if !has_body && payload.eq_ignore_ascii_case(EMPTY_SHA256) {
            return Ok(Self::Sha256(*EMPTY));
        }
        let claimed = unhex(payload.to_ascii_lowercase().as_bytes());
        let claimed = claimed.ok_or_else(|| refusal::bad_payload(payload))?;
        match has_body {
            true => Ok(Self::Sha256(claimed)),
            false => Err(refusal::body_differs(payload, EMPTY_SHA256)),
        }
    }
}

/// Verifies a body's SHA-256 while it passes.
pub struct Digester {
    claimed: [u8; 32],
    seen: digest::Context,
    held: HoldBack,
}

impl Digester {
    pub fn new(claimed: [u8; 32]) -> Self {
        let seen = digest::Context::new(&digest::SHA256);
        Self { claimed, seen, held: HoldBack::default() }
    }

    /// Hashes the next bytes, with `end` at the last of them, and returns the bytes to send.
    ///
    /// # Errors
    /// `XAmzContentSHA256Mismatch` at the end; the transfer must then be aborted.
    pub fn push(&mut self, piece: Bytes, end: bool) -> Result<Bytes, S3Error> {
        self.seen.update(&piece);
        if end {
            let computed = self.seen.clone().finish();
            if computed.as_ref() != self.claimed {
                let (claimed, computed) = (hex(&self.claimed), hex(computed.as_ref()));
                return Err(refusal::body_differs(&claimed, &computed));
            }
        }
        Ok(self.held.pass(piece, end))
    }
}

/// Delays a body by one piece.
#[derive(Debug, Default)]
pub struct HoldBack(Bytes);

impl HoldBack {
    /// Stores the next bytes and returns those before them; with `end` everything.
    pub fn pass(&mut self, piece: Bytes, end: bool) -> Bytes {
        if piece.is_empty() {
            return if end { std::mem::take(&mut self.0) } else { piece };
        }
        let before = std::mem::replace(&mut self.0, piece);
        match end {
            false => before,
            true if before.is_empty() => std::mem::take(&mut self.0),
            true => [before, std::mem::take(&mut self.0)].concat().into(),
        }
    }
}
