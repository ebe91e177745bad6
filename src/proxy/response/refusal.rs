//! Refusals of requests before their operation is known, with their error for the client, log text and metric label.

use http::{HeaderValue, StatusCode, header::RETRY_AFTER};

use crate::metrics::wire::Refused;
use crate::s3::S3Error;

/// Reason for refusing a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::proxy) enum Refusal {
    RequestLine,
    /// CONNECT opens tunnels, which hotset does not do.
    Connect,
    /// A line ends in LF alone.
    LineEnd,
    FieldName,
    /// A line that begins with space continues the one before (RFC 9112, section 5.2).
    FoldedField,
    ControlByte,
    NoHost,
    TwoHosts,
    Length,
    TwoLengths,
    LengthAndEncoding,
    Encoding,
    Chunk,
    /// `Connection` names a header that is for the origin, too (RFC 9110, section 7.6.1).
    ConnectionOption,
    HeaderTooLarge,
    TooManyHeaders,
    UriTooLong,
    SlowHead,
    SlowBody,
}

impl Refusal {
    /// Returns the reason for people, to follow "the request has".
    pub(in crate::proxy) const fn why(self) -> &'static str {
        match self {
            Self::RequestLine => "a malformed request line",
            Self::Connect => "a method that is not allowed",
            Self::LineEnd => "a line that does not end in CRLF",
            Self::FieldName => "a malformed header name",
            Self::FoldedField => "a folded header",
            Self::ControlByte => "a control byte in its head",
            Self::NoHost => "no Host header",
            Self::TwoHosts => "more than one Host header",
            Self::Length => "a malformed Content-Length",
            Self::TwoLengths => "more than one Content-Length",
            Self::LengthAndEncoding => "both Content-Length and Transfer-Encoding",
            Self::Encoding => "a Transfer-Encoding other than chunked",
            Self::Chunk => "a malformed chunk",
            Self::ConnectionOption => "a Connection header that names more than hop-by-hop headers",
            Self::HeaderTooLarge => "headers that are too large",
            Self::TooManyHeaders => "too many headers",
            Self::UriTooLong => "a URI that is too long",
            Self::SlowHead => "a head that came too slowly",
            Self::SlowBody => "a body that came too slowly",
        }
    }

    /// Returns the error for the client.
    pub(in crate::proxy) fn error(self) -> S3Error {
        match self {
            Self::Connect => S3Error::method_not_allowed(),
            Self::HeaderTooLarge | Self::TooManyHeaders => S3Error::new(
                StatusCode::BAD_REQUEST,
                "RequestHeaderSectionTooLarge",
                "Your request header section exceeds the maximum allowed size.",
            ),
            Self::UriTooLong => S3Error::new(
                StatusCode::URI_TOO_LONG,
                "InvalidURI",
                "The request URI exceeds the maximum allowed size.",
            ),
            Self::SlowHead | Self::SlowBody => S3Error::request_timeout(),
            _ => S3Error::new(
                StatusCode::BAD_REQUEST,
                "BadRequest",
                format!("An error occurred when parsing the HTTP request: it has {}.", self.why()),
            ),
        }
    }

    /// Returns the metric label.
    pub(in crate::proxy) const fn label(self) -> Refused {
        match self {
            Self::HeaderTooLarge | Self::TooManyHeaders => Refused::HeaderTooLarge,
            Self::UriTooLong => Refused::UriTooLong,
            Self::SlowHead => Refused::SlowHead,
            Self::SlowBody => Refused::SlowBody,
            _ => Refused::Malformed,
        }
    }
}

/// Returns 503 `SlowDown` with `Retry-After`.
pub(in crate::proxy) fn slow_down() -> S3Error {
    S3Error::slow_down().with_header(RETRY_AFTER, HeaderValue::from_static("1"))
}
