//! `aws-chunked`: the framing in which SDKs stream an upload, with a signature a chunk, trailers,
//! or both.
//!
//! A client's chunk signatures hang on its own key, so a body that we re-sign is decoded and framed
//! anew (R23): [`Incoming`] says whether a request has such a body, [`Form`] what goes out in its
//! place, [`Reframer`] turns one into the other as the bytes pass. Invariant: a body that ends
//! early, is longer than it said, breaks the framing or (where the client's key is known) is not
//! what was signed is an error and never comes out as a complete body. Memory: one chunk of 64 KiB,
//! one piece of the body and 32 KiB of lines an upload.

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

/// Decodes an incoming `aws-chunked` body and frames it anew, push by push.
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
    /// Re-frames a body of `incoming` as `encoder` says.
    ///
    /// # Errors
    /// [`ChunkedError::TrailerForm`] when the encoder would lose the trailers, or has none to send:
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

    /// The same, with the client's signatures checked: `seed` is its request's own, `trailer` says
    /// that the trailers are signed, too. The last bytes go out when all of the body was found right.
    ///
    /// # Errors
    /// [`ChunkedError::TrailerNames`] when the signed form has no trailers and some are declared, or
    /// the other way round.
    pub fn verifying(mut self, seed: Signature, trailer: bool) -> Result<Self, ChunkedError> {
        if trailer == self.declared.is_empty() {
            return Err(ChunkedError::TrailerNames);
        }
        self.decoder = self.decoder.verifying(ChunkCheck::new(seed, trailer));
        Ok(self)
    }

    /// Returns the encoded length, for `Content-Length`; `None` where a trailer's length is not
    /// known beforehand.
    #[must_use]
    pub fn encoded_length(&self) -> Option<u64> {
        self.encoder.form().encoded_length(self.decoded_length, &self.declared)
    }

    /// Takes the next bytes of the client's body, `end` with the last of them (which may be none),
    /// and gives what can go out. The transfer is complete only when a push with `end` succeeded.
    ///
    /// # Errors
    /// Any [`ChunkedError`]; the transfer must then be broken off, and every later push fails.
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

/// The declared trailers came, each once and nothing else, with values of the length that was
/// counted on; `trailers` are sorted by name.
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

/// One slice is passed on as it is; several are copied together.
fn join(mut parts: Vec<Bytes>) -> Bytes {
    if parts.len() < 2 {
        return parts.pop().unwrap_or_default();
    }
    parts.concat().into()
}

#[cfg(test)]
mod tests;
