//! Request headers of an `aws-chunked` body: those of the client, and their replacements.
//!
//! Invariant: after [`Form::write_headers`] the headers describe the outgoing body and nothing of the incoming one. The
//! request is signed afterwards, elsewhere.

use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, HeaderName, HeaderValue};

use super::encode::Form;
use super::error::ChunkedError;
use crate::auth::sign::{Payload, X_AMZ_CONTENT_SHA256};

const DECODED_LENGTH: HeaderName = HeaderName::from_static("x-amz-decoded-content-length");
const TRAILER: HeaderName = HeaderName::from_static("x-amz-trailer");
const AWS_CHUNKED: &[u8] = b"aws-chunked";

/// A body that must be decoded and re-framed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incoming {
    /// The object's length in bytes.
    pub decoded_length: u64,
    /// The trailers that `x-amz-trailer` declares.
    pub trailer_names: Vec<HeaderName>,
}

impl Incoming {
    /// Parses a request's headers: `Some` for the streaming payloads with signed chunks. A
    /// `STREAMING-UNSIGNED-PAYLOAD-TRAILER` body is passed on unchanged (R23), and so is one without framing: `None`.
    ///
    /// # Errors
    /// The announced length or the list of trailers is missing or malformed.
    pub fn from_headers(headers: &HeaderMap) -> Result<Option<Self>, ChunkedError> {
        let payload = headers.get(X_AMZ_CONTENT_SHA256).map(HeaderValue::as_bytes);
        let unsigned = Payload::StreamingUnsignedTrailer.as_str().as_bytes();
        if !payload.is_some_and(|value| value.starts_with(b"STREAMING-") && value != unsigned) {
            return Ok(None);
        }
        Ok(Some(Self {
            decoded_length: decoded_length(headers)?,
            trailer_names: trailer_names(headers)?,
        }))
    }

    /// Returns the decoded length in bytes of a framed body, whether it is re-framed or passed on; `None` for one
    /// without framing.
    ///
    /// # Errors
    /// The announced length is missing or malformed.
    pub fn framed_length(headers: &HeaderMap) -> Result<Option<u64>, ChunkedError> {
        let payload = headers.get(X_AMZ_CONTENT_SHA256).map(HeaderValue::as_bytes);
        match payload.is_some_and(|value| value.starts_with(b"STREAMING-")) {
            true => decoded_length(headers).map(Some),
            false => Ok(None),
        }
    }
}

/// Parses the one value, digits only: `u64::from_str` alone would accept a plus sign too.
fn decoded_length(headers: &HeaderMap) -> Result<u64, ChunkedError> {
    let mut values = headers.get_all(DECODED_LENGTH).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(ChunkedError::DecodedLength);
    };
    let text = value.to_str().ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
    text.and_then(|text| text.parse().ok()).ok_or(ChunkedError::DecodedLength)
}

fn trailer_names(headers: &HeaderMap) -> Result<Vec<HeaderName>, ChunkedError> {
    let mut names = Vec::new();
    for value in headers.get_all(TRAILER) {
        let text = value.to_str().map_err(|_| ChunkedError::TrailerNames)?;
        for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            let name = HeaderName::try_from(name).map_err(|_| ChunkedError::TrailerNames)?;
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    Ok(names)
}

impl Form {
    /// Makes `headers` describe a body of `incoming` in this form: Content-Length (removed if the length is not known,
    /// so that HTTP chunks it), Content-Encoding's `aws-chunked`, `x-amz-decoded-content-length` and `x-amz-trailer`.
    /// To be called before signing.
    pub fn write_headers(self, headers: &mut HeaderMap, incoming: &Incoming) {
        let Incoming { decoded_length, trailer_names } = incoming;
        match self.encoded_length(*decoded_length, trailer_names) {
            Some(length) => headers.insert(CONTENT_LENGTH, length.into()),
            None => headers.remove(CONTENT_LENGTH),
        };
        let framed = self != Self::Raw;
        write_content_encoding(headers, framed);
        headers.remove(DECODED_LENGTH);
        headers.remove(TRAILER);
        if framed {
            headers.insert(DECODED_LENGTH, (*decoded_length).into());
        }
        if self.has_trailers() {
            for name in trailer_names {
                headers.append(TRAILER, HeaderValue::from(name.clone()));
            }
        }
    }
}

/// Keeps the object's own encodings, and puts `aws-chunked` before them if the body is framed.
fn write_content_encoding(headers: &mut HeaderMap, framed: bool) {
    let own: Vec<Vec<u8>> = headers
        .get_all(CONTENT_ENCODING)
        .iter()
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .map(|token| token.trim_ascii().to_vec())
        .filter(|token| !token.is_empty() && !token.eq_ignore_ascii_case(AWS_CHUNKED))
        .collect();
    let framing = framed.then(|| AWS_CHUNKED.to_vec());
    let value = framing.into_iter().chain(own).collect::<Vec<_>>().join(&b',');
    headers.remove(CONTENT_ENCODING);
    if !value.is_empty() {
        let value = HeaderValue::try_from(value).expect("made of parts of header values");
        headers.insert(CONTENT_ENCODING, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CRC32C: HeaderName = HeaderName::from_static("x-amz-checksum-crc32c");

    fn incoming(decoded_length: u64, trailers: &[HeaderName]) -> Incoming {
        Incoming { decoded_length, trailer_names: trailers.to_vec() }
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn r23_signed_streaming_payloads_are_decoded_and_others_are_not() {
        for payload in [
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
            "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD",
            "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER",
        ] {
            let request = headers(&[
                ("x-amz-content-sha256", payload),
                ("x-amz-decoded-content-length", "12"),
                ("x-amz-trailer", "X-Amz-Checksum-CRC32C, x-amz-meta-a"),
                ("x-amz-trailer", "x-amz-checksum-crc32c"),
            ]);
            let trailers = [CRC32C, HeaderName::from_static("x-amz-meta-a")];
            assert_eq!(Incoming::from_headers(&request), Ok(Some(incoming(12, &trailers))));
        }
        for payload in
            ["STREAMING-UNSIGNED-PAYLOAD-TRAILER", "UNSIGNED-PAYLOAD", "44ce7dd67c959e0d"]
        {
            let request = headers(&[("x-amz-content-sha256", payload)]);
            assert_eq!(Incoming::from_headers(&request), Ok(None));
        }
        assert_eq!(Incoming::from_headers(&HeaderMap::new()), Ok(None));
    }

    #[test]
    fn an_announcement_that_cannot_be_read_is_an_error() {
        let payload = ("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD");
        let missing = Incoming::from_headers(&headers(&[payload]));
        assert_eq!(missing, Err(ChunkedError::DecodedLength));
        for bad in ["", "-1", "+1", "1 2", "0x1", "18446744073709551616"] {
            let request = headers(&[payload, ("x-amz-decoded-content-length", bad)]);
            let result = Incoming::from_headers(&request);
            assert_eq!(result, Err(ChunkedError::DecodedLength), "{bad:?}");
        }
        let length = ("x-amz-decoded-content-length", "1");
        let twice = Incoming::from_headers(&headers(&[payload, length, length]));
        assert_eq!(twice, Err(ChunkedError::DecodedLength));
        let request = headers(&[payload, length, ("x-amz-trailer", "not a name")]);
        assert_eq!(Incoming::from_headers(&request), Err(ChunkedError::TrailerNames));
    }

    #[test]
    fn r23_the_headers_describe_the_body_that_goes_out() {
        let from_client = headers(&[
            ("content-length", "66946"),
            ("content-encoding", "aws-chunked,gzip"),
            ("x-amz-decoded-content-length", "66560"),
            ("x-amz-trailer", "x-amz-checksum-crc32c"),
        ]);
        let plain = incoming(66560, &[]);
        let mut raw = from_client.clone();
        Form::Raw.write_headers(&mut raw, &plain);
        assert_eq!(raw, headers(&[("content-length", "66560"), ("content-encoding", "gzip")]));

        let mut signed = from_client.clone();
        Form::SignedTrailer.write_headers(&mut signed, &incoming(66560, &[CRC32C]));
        assert_eq!(signed, from_client);

        let mut only = headers(&[("content-encoding", "AWS-Chunked")]);
        Form::Raw.write_headers(&mut only, &plain);
        assert_eq!(only, headers(&[("content-length", "66560")]));

        let unknown = HeaderName::from_static("x-amz-checksum-tomorrow");
        let mut unknown_length = from_client;
        Form::UnsignedTrailer.write_headers(&mut unknown_length, &incoming(1, &[unknown]));
        assert!(!unknown_length.contains_key("content-length"));
        assert_eq!(unknown_length["x-amz-trailer"], "x-amz-checksum-tomorrow");
    }
}
