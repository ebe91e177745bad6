//! `aws-chunked`: the framing in which SDKs stream an upload, with signed chunks, trailers, or both.
//!
//! A client's chunk signatures depend on its own key, so a body that we re-sign is decoded and re-framed (R23):
//! [`Incoming`] detects such a body, [`Form`] is the outgoing encoding, and [`Reframer`] converts one into the other as
//! the bytes pass. Invariant: a body that ends early, is longer than announced, breaks the framing or (where the
//! client's key is known) differs from what was signed is an error and never comes out as a complete body. Memory per
//! upload: one chunk of 64 KiB, one piece of the body and 32 KiB of lines.

mod check;
mod decode;
mod encode;
mod error;
mod headers;

use bytes::Bytes;
use http::header::HeaderName;

pub use decode::{ChunkedDecoder, MAX_LINE, MAX_TAIL};
pub use encode::{CHUNK, ChunkedEncoder, Form};
pub use error::{ChunkedError, Trailer};
pub use headers::Incoming;

use self::check::ChunkCheck;
use super::sign::Signature;
use super::verify::HoldBack;

/// Decodes an incoming `aws-chunked` body and re-frames it, push by push.
#[derive(Debug)]
pub struct Reframer {
    decoder: ChunkedDecoder,
    encoder: ChunkedEncoder,
    decoded_length: u64,
    declared: Vec<HeaderName>,
    progress: Progress,
    held: HoldBack,
}

#[derive(Debug, PartialEq, Eq)]
enum Progress {
    Open,
    Complete,
    Broken,
}

impl Reframer {
    /// Creates a reframer of `incoming` with this encoder.
    ///
    /// # Errors
    /// [`ChunkedError::TrailerForm`] if the encoder would lose the trailers, or requires some and there are none:
    /// [`Form::choose`] picks a form that fits.
    pub fn new(encoder: ChunkedEncoder, incoming: Incoming) -> Result<Self, ChunkedError> {
        let Incoming { decoded_length, trailer_names } = incoming;
        if encoder.form().has_trailers() == trailer_names.is_empty() {
            return Err(ChunkedError::TrailerForm);
        }
        Ok(Self {
            decoder: ChunkedDecoder::new(decoded_length),
            encoder,
            decoded_length,
            declared: trailer_names,
            progress: Progress::Open,
            held: HoldBack::default(),
        })
    }

    /// Enables verification of the client's signatures: `seed` is its request's own, `trailer` means that the trailers
    /// are signed, too. The last bytes are sent only when all of the body is verified.
    ///
    /// # Errors
    /// [`ChunkedError::TrailerNames`] if the signed form has no trailers and some are declared, or vice versa.
    pub fn verifying(mut self, seed: Signature, trailer: bool) -> Result<Self, ChunkedError> {
        if trailer == self.declared.is_empty() {
            return Err(ChunkedError::TrailerNames);
        }
        self.decoder = self.decoder.verifying(ChunkCheck::new(seed, trailer));
        Ok(self)
    }

    /// Returns the encoded length, for `Content-Length`; `None` if a trailer's length is not known beforehand.
    #[must_use]
    pub fn encoded_length(&self) -> Option<u64> {
        self.encoder.form().encoded_length(self.decoded_length, &self.declared)
    }

    /// Processes the next bytes of the client's body, with `end` at the last of them (which may be none), and returns
    /// the bytes to send. The transfer is complete only when a push with `end` succeeded.
    ///
    /// # Errors
    /// Any [`ChunkedError`]; the transfer must then be aborted, and every later push fails.
    pub fn push(&mut self, input: Bytes, end: bool) -> Result<Bytes, ChunkedError> {
        match self.progress {
            Progress::Broken => return Err(ChunkedError::Broken),
            Progress::Complete if input.is_empty() => return Ok(Bytes::new()),
            Progress::Complete => {
                self.progress = Progress::Broken;
                return Err(ChunkedError::TooLong);
            }
            Progress::Open => {}
        }
        // Broken until proved sound, so that no early return can leave it open.
        self.progress = Progress::Broken;
        let output = self.reframe(input, end)?;
        self.progress = if end { Progress::Complete } else { Progress::Open };
        Ok(output)
    }

    fn reframe(&mut self, mut input: Bytes, end: bool) -> Result<Bytes, ChunkedError> {
        let mut out = Vec::new();
        while let Some(data) = self.decoder.next_data(&mut input)? {
            self.encoder.write(data, &mut out);
        }
        if end {
            let trailers = self.decoder.finish()?;
            check_trailers(&self.declared, &trailers)?;
            self.encoder.finish(&trailers, &mut out);
        }
        match self.decoder.verifies() {
            true => Ok(self.held.pass(join(out), end)),
            false => Ok(join(out)),
        }
    }
}

/// Checks that exactly the declared trailers occur, each once, with values of the expected length; `trailers` are
/// sorted by name.
fn check_trailers(declared: &[HeaderName], trailers: &[Trailer]) -> Result<(), ChunkedError> {
    if let Some(twice) = trailers.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(ChunkedError::TrailerUnexpected(twice[0].0.clone()));
    }
    for (name, value) in trailers {
        if !declared.contains(name) {
            return Err(ChunkedError::TrailerUnexpected(name.clone()));
        }
        if encode::value_length(name).is_some_and(|length| length != value.len()) {
            return Err(ChunkedError::TrailerLength(name.clone()));
        }
    }
    match declared.iter().find(|name| !trailers.iter().any(|(came, _)| came == *name)) {
        Some(missing) => Err(ChunkedError::TrailerMissing(missing.clone())),
        None => Ok(()),
    }
}

/// Concatenates slices; a single one is returned without a copy.
fn join(mut parts: Vec<Bytes>) -> Bytes {
    if parts.len() < 2 {
        return parts.pop().unwrap_or_default();
    }
    parts.concat().into()
}

#[cfg(test)]
mod tests;
