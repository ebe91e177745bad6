//! A signature, and the chain of chunk signatures that starts from it.
//!
//! Source: Amazon S3 API Reference, "Signature Calculations for the Authorization Header: Transferring Payload in
//! Multiple Chunks" and "Including Trailing Headers".

use std::fmt;
use std::sync::Arc;

use ring::{digest, hmac};

use super::key::SigningKey;
use super::terms::{ALGORITHM, EMPTY_SHA256};

/// A request's signature, to which its chunks' signatures are chained.
#[derive(Clone)]
pub struct Signature {
    hex: String,
    amz_date: String,
    scope: String,
    pub(super) key: Arc<SigningKey>,
}

impl Signature {
    /// Creates a signature that was computed or verified. `hex` are its 64 digits, `scope` is
    /// `20130524/us-east-1/s3/aws4_request`.
    pub(in crate::auth) fn new(
        hex: String,
        amz_date: String,
        scope: String,
        key: Arc<SigningKey>,
    ) -> Self {
        Self { hex, amz_date, scope, key }
    }

    /// Returns the signature in lower-case hex, 64 characters.
    #[must_use]
    pub fn hex(&self) -> &str {
        &self.hex
    }

    /// Returns the signed time, `20130524T000000Z`.
    #[must_use]
    pub fn amz_date(&self) -> &str {
        &self.amz_date
    }

    /// Returns the credential scope, `20130524/us-east-1/s3/aws4_request`.
    #[must_use]
    pub fn scope(&self) -> &str {
        &self.scope
    }

    /// Advances to the signature of the next chunk, which is chained to this one.
    pub(in crate::auth) fn advance_chunk(&mut self, data: &[u8]) -> &str {
        let to_sign = self.chunk_to_sign(&sha256(data));
        self.advance(&to_sign)
    }

    /// Advances to the signature of the trailers, given as `name:value
    /// ` lines.
    pub(in crate::auth) fn advance_trailer(&mut self, canonical: &[u8]) -> &str {
        let to_sign = self.trailer_to_sign(canonical);
        self.advance(&to_sign)
    }

    /// Verifies that `claimed` (hex) is the signature of the next chunk, whose data has this SHA-256; then advances to
    /// it.
    pub(in crate::auth) fn verify_chunk(&mut self, data: &digest::Digest, claimed: &[u8]) -> bool {
        self.verify(&self.chunk_to_sign(data), claimed)
    }

    /// Verifies that `claimed` (hex) is the signature of the trailers, given as `name:value
    /// ` lines; then advances to it.
    pub(in crate::auth) fn verify_trailer(&mut self, canonical: &[u8], claimed: &[u8]) -> bool {
        self.verify(&self.trailer_to_sign(canonical), claimed)
    }

    fn verify(&mut self, to_sign: &str, claimed: &[u8]) -> bool {
        let Some(tag) = unhex(claimed) else { return false };
        let right = hmac::verify(&self.key.key, to_sign.as_bytes(), &tag).is_ok();
        if right {
            self.hex = hex(&tag);
        }
        right
    }

    fn chunk_to_sign(&self, data: &digest::Digest) -> String {
        self.to_sign("PAYLOAD", &format!("{EMPTY_SHA256}\n{}", hex(data.as_ref())))
    }

    fn trailer_to_sign(&self, canonical: &[u8]) -> String {
        self.to_sign("TRAILER", &hex(sha256(canonical).as_ref()))
    }

    fn to_sign(&self, kind: &str, hashes: &str) -> String {
        let Self { hex: previous, amz_date, scope, .. } = self;
        format!("{ALGORITHM}-{kind}\n{amz_date}\n{scope}\n{previous}\n{hashes}")
    }

    fn advance(&mut self, to_sign: &str) -> &str {
        self.hex = hex(hmac::sign(&self.key.key, to_sign.as_bytes()).as_ref());
        &self.hex
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signature").field("scope", &self.scope).finish_non_exhaustive()
    }
}

pub(in crate::auth) fn sha256(data: &[u8]) -> digest::Digest {
    digest::digest(&digest::SHA256, data)
}

/// Formats bytes in lower-case hex.
pub(in crate::auth) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = vec![0; bytes.len() * 2];
    for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    String::from_utf8(text).expect("digits are ASCII")
}

/// Parses 64 lower-case hex digits into 32 bytes: S3 compares the text, so upper case differs.
pub(in crate::auth) fn unhex(text: &[u8]) -> Option<[u8; 32]> {
    let text: &[u8; 64] = text.try_into().ok()?;
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}
