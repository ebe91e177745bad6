//! Decoder of `aws-chunked` bodies: a state machine that accepts slices of any size.
//!
//! Grammar: chunks of `size[;chunk-signature=..] CRLF data CRLF`, a last one of size 0 without data, then trailers and
//! an empty line. Signatures are verified where the client's key is known ([`ChunkedDecoder::verifying`]), and
//! otherwise skipped. Invariants: the output never exceeds the announced length, a chunk's last bytes are held back
//! until its signature is verified, and only lines of bounded length are buffered.

use bytes::{Buf, Bytes};
use http::header::{HeaderName, HeaderValue};

use super::check::ChunkCheck;
use super::error::{ChunkedError, Trailer};

/// Maximum length of a chunk's first line in bytes.
pub const MAX_LINE: usize = 16 * 1024;
/// Maximum bytes after the last chunk's first line: trailers and the empty line.
pub const MAX_TAIL: usize = 16 * 1024;

const TRAILER_SIGNATURE: HeaderName = HeaderName::from_static("x-amz-trailer-signature");

/// An incremental decoder of one body.
#[derive(Debug)]
pub struct ChunkedDecoder {
    state: State,
    /// The line being read, or everything after the last chunk.
    line: Vec<u8>,
    /// Announced bytes that no chunk has claimed yet.
    unclaimed: u64,
    check: Option<ChunkCheck>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Header,
    /// Data of a chunk, with the number of bytes still to come; never 0.
    Data(u64),
    DataCr,
    DataLf,
    Tail,
}

impl ChunkedDecoder {
    /// Creates a decoder of a body that decodes to exactly `decoded_length` bytes (`x-amz-decoded-content-length`).
    #[must_use]
    pub fn new(decoded_length: u64) -> Self {
        Self { state: State::Header, line: Vec::new(), unclaimed: decoded_length, check: None }
    }

    /// Decodes a complete body without verifying signatures.
    ///
    /// # Errors
    /// Bad framing, or not exactly `decoded_length` bytes of data.
    pub fn decode_whole(body: Bytes, decoded_length: u64) -> Result<Vec<u8>, ChunkedError> {
        let (mut decoder, mut input) = (Self::new(decoded_length), body);
        let mut whole = Vec::new();
        while let Some(data) = decoder.next_data(&mut input)? {
            whole.extend_from_slice(&data);
        }
        decoder.finish()?;
        Ok(whole)
    }

    /// Enables signature verification.
    #[must_use]
    pub(super) fn verifying(self, check: ChunkCheck) -> Self {
        Self { check: Some(check), ..self }
    }

    /// Whether signatures are verified.
    pub(super) fn verifies(&self) -> bool {
        self.check.is_some()
    }

    /// Consumes bytes from the front of `input` up to the next slice of data, and returns that slice; `None` when the
    /// input is used up. A slice shares its memory with the input.
    ///
    /// # Errors
    /// Bad framing, a chunk's wrong signature, or chunks that add up to more than announced, or to less at the last
    /// one.
    pub fn next_data(&mut self, input: &mut Bytes) -> Result<Option<Bytes>, ChunkedError> {
        while !input.is_empty() {
            match self.state {
                State::Header => self.read_header(input)?,
                State::Data(left) => {
                    let available = input.len();
                    let taken = usize::try_from(left).map_or(available, |left| left.min(available));
                    self.state = match left - taken as u64 {
                        0 => State::DataCr,
                        left => State::Data(left),
                    };
                    let data = input.split_to(taken);
                    if let Some(check) = &mut self.check {
                        check.data(&data, self.state == State::DataCr)?;
                    }
                    return Ok(Some(data));
                }
                State::DataCr => {
                    expect_byte(input, b'\r')?;
                    self.state = State::DataLf;
                }
                State::DataLf => {
                    expect_byte(input, b'\n')?;
                    self.state = State::Header;
                }
                State::Tail => {
                    if self.line.len() + input.len() > MAX_TAIL {
                        return Err(ChunkedError::FramingTooLong(MAX_TAIL));
                    }
                    self.line.extend_from_slice(input);
                    input.clear();
                }
            }
        }
        Ok(None)
    }

    /// Ends the body. Returns its trailers without the client's `x-amz-trailer-signature`.
    ///
    /// The empty line at the very end may be missing: an SDK omits it (smithy-typescript#2250), and by then the last
    /// chunk and the announced length prove that the data is complete.
    ///
    /// # Errors
    /// The last chunk is missing, the rest is not a list of trailers, or their signature is wrong.
    pub fn finish(&mut self) -> Result<Vec<Trailer>, ChunkedError> {
        if self.state != State::Tail {
            return Err(ChunkedError::EndsEarly);
        }
        let mut trailers = parse_tail(&self.line)?;
        let signature = trailers.extract_if(.., |(name, _)| *name == TRAILER_SIGNATURE);
        let signatures: Vec<_> = signature.map(|(_, value)| value).collect();
        // The order in which they are signed.
        trailers.sort_by(|(a, _), (b, _)| a.as_str().cmp(b.as_str()));
        if let Some(check) = &mut self.check {
            check.trailers(&trailers, &signatures)?;
        }
        Ok(trailers)
    }

    fn read_header(&mut self, input: &mut Bytes) -> Result<(), ChunkedError> {
        let end = input.iter().position(|&byte| byte == b'\n');
        let taken = end.map_or(input.len(), |end| end + 1);
        if self.line.len() + taken > MAX_LINE {
            return Err(ChunkedError::FramingTooLong(MAX_LINE));
        }
        self.line.extend_from_slice(&input[..taken]);
        input.advance(taken);
        if end.is_none() {
            return Ok(());
        }
        let size = chunk_size(&self.line).ok_or(ChunkedError::ChunkHeader)?;
        if let Some(check) = &mut self.check {
            check.header(&self.line)?;
        }
        self.line.clear();
        self.unclaimed = self.unclaimed.checked_sub(size).ok_or(ChunkedError::TooLong)?;
        self.state = match (size, self.unclaimed) {
            (0, 0) => {
                if let Some(check) = &mut self.check {
                    check.data(&[], true)?;
                }
                State::Tail
            }
            (0, _) => return Err(ChunkedError::EndsEarly),
            (size, _) => State::Data(size),
        };
        Ok(())
    }
}

fn expect_byte(input: &mut Bytes, expected: u8) -> Result<(), ChunkedError> {
    if input.get_u8() == expected { Ok(()) } else { Err(ChunkedError::ChunkEnd) }
}

/// Parses the size in a line like `10000;chunk-signature=..` with its CRLF; `None` if malformed or beyond 64 bits.
fn chunk_size(line: &[u8]) -> Option<u64> {
    let line = line.strip_suffix(b"\r\n")?;
    if line.iter().any(u8::is_ascii_control) {
        return None;
    }
    let digits = line.split(|&byte| byte == b';').next().unwrap_or_default();
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |size, &digit| {
        let value = char::from(digit).to_digit(16)?;
        size.checked_mul(16)?.checked_add(u64::from(value))
    })
}

/// Parses the lines after the last chunk. As some clients require, empty lines may also stand before and between them,
/// and a bare LF may end a line; a truncated line is an error.
fn parse_tail(tail: &[u8]) -> Result<Vec<Trailer>, ChunkedError> {
    let mut trailers = Vec::new();
    for line in tail.split_inclusive(|&byte| byte == b'\n') {
        let line = line.strip_suffix(b"\n").ok_or(ChunkedError::EndsEarly)?;
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            continue;
        }
        let (name, value) = parse_trailer(line).ok_or(ChunkedError::TrailerSyntax)?;
        trailers.push((name, value));
    }
    Ok(trailers)
}

fn parse_trailer(line: &[u8]) -> Option<Trailer> {
    let colon = line.iter().position(|&byte| byte == b':')?;
    let name = HeaderName::from_bytes(&line[..colon]).ok()?;
    let value = line[colon + 1..].trim_ascii();
    let visible = !value.is_empty() && value.iter().all(|byte| matches!(byte, b' '..=b'~'));
    Some((name, HeaderValue::from_bytes(value).ok().filter(|_| visible)?))
}
