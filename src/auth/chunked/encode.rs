//! Encoder of `aws-chunked` bodies for the origin.
//!
//! Every form but the raw one has chunks of exactly 64 KiB and a shorter last one, so that the total length is known
//! beforehand ([`Form::encoded_length`]), whatever the client's chunks were. Source: S3 API Reference, "Transferring
//! Payload in Multiple Chunks" and "Including Trailing Headers".

use bytes::{Bytes, BytesMut};
use http::header::HeaderName;

use super::error::Trailer;
use crate::auth::sign::{Payload, Signature};

/// Data bytes in a chunk; S3 requires at least 8 KiB in all but the last one.
pub const CHUNK: usize = 64 * 1024;

const CRLF: &[u8] = b"\r\n";
/// Number of hex digits in a signature.
const SIGNATURE: u64 = 64;

/// Encoding of an outgoing body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// The object's bytes without framing.
    Raw,
    /// Chunks and trailers, unsigned.
    UnsignedTrailer,
    /// Signed chunks.
    Signed,
    /// Signed chunks and trailers.
    SignedTrailer,
}

impl Form {
    /// Chooses an encoding: with TLS, which protects the bytes, unsigned; over plain HTTP, signed chunks. Trailers are
    /// always kept (R23). Without credentials nothing can be signed: call it as for TLS.
    #[must_use]
    pub fn choose(tls: bool, trailers: bool) -> Self {
        match (tls, trailers) {
            (true, false) => Self::Raw,
            (true, true) => Self::UnsignedTrailer,
            (false, false) => Self::Signed,
            (false, true) => Self::SignedTrailer,
        }
    }

    /// Returns the payload hash to sign for a body in this encoding.
    #[must_use]
    pub fn payload(self) -> Payload<'static> {
        match self {
            Self::Raw => Payload::Unsigned,
            Self::UnsignedTrailer => Payload::StreamingUnsignedTrailer,
            Self::Signed => Payload::StreamingSigned,
            Self::SignedTrailer => Payload::StreamingSignedTrailer,
        }
    }

    /// Whether this form includes trailers.
    #[must_use]
    pub fn has_trailers(self) -> bool {
        matches!(self, Self::UnsignedTrailer | Self::SignedTrailer)
    }

    fn is_signed(self) -> bool {
        matches!(self, Self::Signed | Self::SignedTrailer)
    }

    /// Returns the encoded length in bytes of `decoded_length` bytes; `None` if a trailer is not a checksum of known
    /// length, or the sum does not fit into 64 bits.
    #[must_use]
    pub fn encoded_length(self, decoded_length: u64, trailers: &[HeaderName]) -> Option<u64> {
        if self == Self::Raw {
            return Some(decoded_length);
        }
        let extension = if self.is_signed() { length(";chunk-signature=") + SIGNATURE } else { 0 };
        // A chunk's length beside its data: size, extension, and the CRLF of both its lines.
        let overhead = |size: u64| hex_digits(size) + extension + 4;
        let (full, rest) = (decoded_length / CHUNK as u64, decoded_length % CHUNK as u64);
        let mut total = full.checked_mul(overhead(CHUNK as u64))?.checked_add(decoded_length)?;
        if rest > 0 {
            total = total.checked_add(overhead(rest))?;
        }
        total = total.checked_add(overhead(0))?;
        if self.has_trailers() {
            for name in trailers {
                let line = length(name.as_str()) + value_length(name)? as u64 + 3;
                total = total.checked_add(line)?;
            }
        }
        if self == Self::SignedTrailer {
            total = total.checked_add(length("x-amz-trailer-signature:\r\n") + SIGNATURE)?;
        }
        Some(total)
    }
}

/// Returns the length of a checksum trailer's value: that of the algorithm's bits in base64.
pub(super) fn value_length(name: &HeaderName) -> Option<usize> {
    match name.as_str().strip_prefix("x-amz-checksum-")? {
        "crc32" | "crc32c" => Some(8),
        "crc64nvme" => Some(12),
        "sha1" => Some(28),
        "sha256" => Some(44),
        _ => None,
    }
}

fn length(text: &str) -> u64 {
    text.len() as u64
}

fn hex_digits(size: u64) -> u64 {
    u64::from((size.max(1).ilog2() / 4) + 1)
}

/// An incremental encoder of one body.
#[derive(Debug)]
pub struct ChunkedEncoder {
    form: Form,
    /// The signature to which the next chunk's is chained; `Some` in the signed forms only.
    chain: Option<Signature>,
    /// Data that does not fill a chunk yet.
    pending: BytesMut,
}

impl ChunkedEncoder {
    /// Creates an encoder for a request signed with `seed` and the payload [`Form::payload`].
    #[must_use]
    pub fn new(form: Form, seed: Signature) -> Self {
        Self { form, chain: form.is_signed().then_some(seed), pending: BytesMut::new() }
    }

    /// Creates an encoder that passes the object's bytes unchanged; needs no signature.
    #[must_use]
    pub fn raw() -> Self {
        Self { form: Form::Raw, chain: None, pending: BytesMut::new() }
    }

    /// Creates an encoder of unsigned chunks and trailers; needs no signature.
    #[must_use]
    pub fn unsigned_trailer() -> Self {
        Self { form: Form::UnsignedTrailer, chain: None, pending: BytesMut::new() }
    }

    /// Returns the form of the output.
    #[must_use]
    pub fn form(&self) -> Form {
        self.form
    }

    /// Encodes data and appends the complete chunks to `out`.
    pub fn write(&mut self, mut data: Bytes, out: &mut Vec<Bytes>) {
        if self.form == Form::Raw {
            out.push(data);
            return;
        }
        while self.pending.len() + data.len() >= CHUNK {
            let head = data.split_to(CHUNK - self.pending.len());
            if self.pending.is_empty() {
                self.write_chunk(head, out);
            } else {
                self.pending.extend_from_slice(&head);
                let chunk = self.pending.split().freeze();
                self.write_chunk(chunk, out);
            }
        }
        self.pending.extend_from_slice(&data);
    }

    /// Ends the body. `trailers` are sent and signed in their given order; S3 sorts by name.
    pub fn finish(&mut self, trailers: &[Trailer], out: &mut Vec<Bytes>) {
        if self.form == Form::Raw {
            return;
        }
        let rest = self.pending.split().freeze();
        if !rest.is_empty() {
            self.write_chunk(rest, out);
        }
        out.push(self.chunk_header(&[]));
        if self.form.has_trailers() {
            out.push(self.tail(trailers));
        }
        out.push(Bytes::from_static(CRLF));
    }

    fn write_chunk(&mut self, data: Bytes, out: &mut Vec<Bytes>) {
        out.push(self.chunk_header(&data));
        out.push(data);
        out.push(Bytes::from_static(CRLF));
    }

    fn chunk_header(&mut self, data: &[u8]) -> Bytes {
        let size = data.len();
        match &mut self.chain {
            Some(chain) => {
                format!("{size:x};chunk-signature={}\r\n", chain.advance_chunk(data)).into()
            }
            None => format!("{size:x}\r\n").into(),
        }
    }

    fn tail(&mut self, trailers: &[Trailer]) -> Bytes {
        let mut sent = trailer_lines(trailers, CRLF);
        if let Some(chain) = &mut self.chain {
            let signature = chain.advance_trailer(&trailer_lines(trailers, b"\n"));
            sent.extend_from_slice(format!("x-amz-trailer-signature:{signature}\r\n").as_bytes());
        }
        sent.into()
    }
}

/// Formats trailers as sent (with CRLF) or as signed (with LF).
pub(super) fn trailer_lines(trailers: &[Trailer], end: &[u8]) -> Vec<u8> {
    let mut lines = Vec::new();
    for (name, value) in trailers {
        lines.extend_from_slice(name.as_str().as_bytes());
        lines.push(b':');
        lines.extend_from_slice(value.as_bytes());
        lines.extend_from_slice(end);
    }
    lines
}
