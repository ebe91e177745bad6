//! Trailers and errors of chunked bodies.

use http::header::{HeaderName, HeaderValue};

use crate::auth::verify::signature_error;
use crate::s3::S3Error;

/// Name and value of a trailer.
pub type Trailer = (HeaderName, HeaderValue);

/// Reason for which an upload cannot be re-framed. Each error ends the transfer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChunkedError {
    /// The request announces `aws-chunked` without a usable `x-amz-decoded-content-length`.
    #[error("x-amz-decoded-content-length is missing or not a number")]
    DecodedLength,
    /// `x-amz-trailer` is not a list of header names.
    #[error("x-amz-trailer is not a list of header names")]
    TrailerNames,
    /// The outgoing form cannot carry the declared trailers, or requires some and there are none.
    #[error("the outgoing framing and the declared trailers do not fit together")]
    TrailerForm,
    /// A chunk's first line is malformed or its size does not fit into 64 bits.
    #[error("a chunk does not begin with its size in hexadecimal and CRLF")]
    ChunkHeader,
    /// A chunk's first line, or all trailers together, are too long.
    #[error("the chunk framing is longer than {0} bytes")]
    FramingTooLong(usize),
    /// A chunk's data is not followed by CRLF.
    #[error("a chunk's data is not followed by CRLF")]
    ChunkEnd,
    /// The body, or its last chunk, ended before the announced length.
    #[error("the body ends before its announced length")]
    EndsEarly,
    /// There is more data than announced, or data after the end.
    #[error("the body is longer than its announced length")]
    TooLong,
    /// The trailers after the last chunk are not `name:value` lines.
    #[error("the trailers are malformed")]
    TrailerSyntax,
    /// A trailer occurred twice or was not declared in `x-amz-trailer`.
    #[error("the trailer {0} was not declared, or came twice")]
    TrailerUnexpected(HeaderName),
    /// A declared trailer is missing.
    #[error("the declared trailer {0} is missing")]
    TrailerMissing(HeaderName),
    /// A checksum trailer whose value has not the length of its algorithm.
    #[error("the value of the trailer {0} does not have the length of its algorithm")]
    TrailerLength(HeaderName),
    /// A chunk's signature is missing or wrong.
    #[error("a chunk's signature is not that of its data")]
    ChunkSignature,
    /// The trailers' signature is missing or wrong, or unsigned trailers are present.
    #[error("the signature of the trailers is not theirs")]
    TrailerSignature,
    /// The transfer failed before.
    #[error("the transfer is already broken")]
    Broken,
}

impl ChunkedError {
    /// Returns S3's error for a wrong signature in the body, or `None` for a malformed body.
    #[must_use]
    pub fn s3_error(&self) -> Option<S3Error> {
        match self {
            Self::ChunkSignature | Self::TrailerSignature => Some(signature_error()),
            _ => None,
        }
    }
}
