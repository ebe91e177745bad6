//! Verification of the signatures in an `aws-chunked` body, each chained to the previous one, the first to the
//! request's.
//!
//! Source: S3 API Reference, "Transferring Payload in Multiple Chunks" and "Including Trailing Headers".

use http::header::HeaderValue;
use ring::digest::{self, Context};

use super::encode::trailer_lines;
use super::error::{ChunkedError, Trailer};
use crate::auth::sign::Signature;

/// Signature verification of one body.
pub(super) struct ChunkCheck {
    chain: Signature,
    /// Whether the trailers are signed; if not, there are none.
    trailer: bool,
    /// Signature in the chunk's first line.
    claimed: Vec<u8>,
    data: Context,
}

impl ChunkCheck {
    /// Starts with `seed`, the request's signature.
    pub(super) fn new(seed: Signature, trailer: bool) -> Self {
        Self { chain: seed, trailer, claimed: Vec::new(), data: fresh() }
    }

    /// Parses a chunk's first line, `size;chunk-signature=..` with its CRLF.
    pub(super) fn header(&mut self, line: &[u8]) -> Result<(), ChunkedError> {
        let extension = line.iter().position(|&byte| byte == b';').map(|at| &line[at..]);
        let claimed = extension
            .and_then(|text| text.strip_prefix(b";chunk-signature="))
            .and_then(|text| text.strip_suffix(b"\r\n"))
            .ok_or(ChunkedError::ChunkSignature)?;
        self.claimed.clear();
        self.claimed.extend_from_slice(claimed);
        Ok(())
    }

    /// Hashes data of the chunk, and verifies the chunk at its `end`.
    pub(super) fn data(&mut self, data: &[u8], end: bool) -> Result<(), ChunkedError> {
        self.data.update(data);
        if !end {
            return Ok(());
        }
        let digest = std::mem::replace(&mut self.data, fresh()).finish();
        match self.chain.verify_chunk(&digest, &self.claimed) {
            true => Ok(()),
            false => Err(ChunkedError::ChunkSignature),
        }
    }

    /// Verifies the trailers, sorted by name, against their signature.
    pub(super) fn trailers(
        &mut self,
        trailers: &[Trailer],
        signatures: &[HeaderValue],
    ) -> Result<(), ChunkedError> {
        let right = match (self.trailer, signatures) {
            (false, []) => trailers.is_empty(),
            (true, [claimed]) => {
                let lines = trailer_lines(trailers, b"\n");
                self.chain.verify_trailer(&lines, claimed.as_bytes())
            }
            _ => false,
        };
        if right { Ok(()) } else { Err(ChunkedError::TrailerSignature) }
    }
}

impl std::fmt::Debug for ChunkCheck {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChunkCheck").field("chain", &self.chain).finish_non_exhaustive()
    }
}

fn fresh() -> Context {
    Context::new(&digest::SHA256)
}

#[cfg(test)]
mod tests;
