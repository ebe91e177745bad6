//! Errors sent to clients: an S3 error code, its HTTP status, and the XML body.
//!
//! The constructors use S3's own wording, since people and programs search for it. An origin's error is parsed by
//! [`S3Error::from_response`], and leaves in our own envelope: request ids are ours and new for each response. Retries
//! and negative entries are decided elsewhere.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::status::StatusCode;

use super::xml;

/// An error with S3's code and wording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Error {
    /// The HTTP status.
    pub status: StatusCode,
    /// S3's code, e.g. `NoSuchKey`.
    pub code: Cow<'static, str>,
    /// The message, one sentence.
    pub message: Cow<'static, str>,
    /// Further children of the XML, in order: name and text, e.g. `ActualObjectSize`.
    pub details: Vec<(String, String)>,
    /// Headers of the response, e.g. `Content-Range`, `x-amz-delete-marker`, `Retry-After`.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Name of the identity whose request was refused, for logs.
    pub identity: Option<Box<str>>,
}

impl S3Error {
    /// Creates an error without details or headers.
    pub fn new(
        status: StatusCode,
        code: impl Into<Cow<'static, str>>,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        let (code, message) = (code.into(), message.into());
        S3Error { status, code, message, details: Vec::new(), headers: Vec::new(), identity: None }
    }

    /// Adds a child to the XML. `name` is an XML name.
    #[must_use]
    pub fn with_detail(mut self, name: &str, text: impl Into<String>) -> Self {
        self.details.push((name.to_owned(), text.into()));
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// 404 `NoSuchKey`.
    #[must_use]
    pub fn no_such_key(key: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NoSuchKey", "The specified key does not exist.")
            .with_detail("Key", key)
    }

    /// 416 for a range outside an object of `size` bytes. `asked` is the `Range` header's value.
    ///
    /// The AWS CRT reads `ActualObjectSize` to learn that an object is empty.
    #[must_use]
    #[allow(clippy::missing_panics_doc, reason = "digits always make a header value")]
    pub fn invalid_range(asked: &str, size: u64) -> Self {
        let message = "The requested range is not satisfiable";
        let content_range = HeaderValue::try_from(format!("bytes */{size}"))
            .expect("digits make a valid header value");
        Self::new(StatusCode::RANGE_NOT_SATISFIABLE, "InvalidRange", message)
            .with_detail("RangeRequested", asked)
            .with_detail("ActualObjectSize", size.to_string())
            .with_header(header::CONTENT_RANGE, content_range)
    }

    /// 416 for a part that the object does not have.
    #[must_use]
    pub fn invalid_part_number() -> Self {
        let message = "The requested partnumber is not satisfiable";
        Self::new(StatusCode::RANGE_NOT_SATISFIABLE, "InvalidPartNumber", message)
    }

    /// 412; `condition` names the header that did not hold, e.g. `If-Match`.
    #[must_use]
    pub fn precondition_failed(condition: &str) -> Self {
        let message = "At least one of the pre-conditions you specified did not hold";
        Self::new(StatusCode::PRECONDITION_FAILED, "PreconditionFailed", message)
            .with_detail("Condition", condition)
    }

    /// 403 `AccessDenied`.
    #[must_use]
    pub fn access_denied() -> Self {
        Self::new(StatusCode::FORBIDDEN, "AccessDenied", "Access Denied")
    }

    /// 400 for a request target that cannot be parsed.
    #[must_use]
    pub fn invalid_uri() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "InvalidURI", "Couldn't parse the specified URI.")
    }

    /// 400 `InvalidRequest` with its own message.
    pub fn invalid_request(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "InvalidRequest", message)
    }

    /// 400 for the argument `name`.
    pub fn invalid_argument(name: &str, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "InvalidArgument", message)
            .with_detail("ArgumentName", name)
    }

    /// 400 for an invalid bucket name.
    #[must_use]
    pub fn invalid_bucket_name(name: &str) -> Self {
        let message = "The specified bucket is not valid.";
        Self::new(StatusCode::BAD_REQUEST, "InvalidBucketName", message)
            .with_detail("BucketName", name)
    }

    /// 400 for a key of `length` bytes where `max` are allowed.
    #[must_use]
    pub fn key_too_long(length: usize, max: usize) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "KeyTooLongError", "Your key is too long")
            .with_detail("Size", length.to_string())
            .with_detail("MaxSizeAllowed", max.to_string())
    }

    /// 400 for a body that is not the expected XML.
    #[must_use]
    pub fn malformed_xml() -> Self {
        let message = "The XML you provided was not well-formed or did not validate against our \
                       published schema";
        Self::new(StatusCode::BAD_REQUEST, "MalformedXML", message)
    }

    /// 400 for a body of more than `max` bytes where all of it must be buffered.
    #[must_use]
    pub fn message_too_long(max: usize) -> Self {
        let message = "Your request was too big.";
        Self::new(StatusCode::BAD_REQUEST, "MaxMessageLengthExceeded", message)
            .with_detail("MaxMessageLengthBytes", max.to_string())
    }

    /// 411 for a body without the required length.
    #[must_use]
    pub fn missing_content_length() -> Self {
        let message = "You must provide the Content-Length HTTP header.";
        Self::new(StatusCode::LENGTH_REQUIRED, "MissingContentLength", message)
    }

    /// 405 `MethodNotAllowed`.
    #[must_use]
    pub fn method_not_allowed() -> Self {
        let message = "The specified method is not allowed against this resource.";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message)
    }

    /// 501 `NotImplemented`.
    #[must_use]
    pub fn not_implemented() -> Self {
        let message =
            "A header or query you provided requested a function that is not implemented.";
        Self::new(StatusCode::NOT_IMPLEMENTED, "NotImplemented", message)
    }

    /// 400 `RequestTimeout`: the body did not arrive in time.
    #[must_use]
    pub fn request_timeout() -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "RequestTimeout",
            "Your socket connection to the server was not read from or written to within the timeout period.",
        )
    }

    /// 503 `SlowDown`: SDKs retry it with a longer pause.
    #[must_use]
    pub fn slow_down() -> Self {
        let message = "Please reduce your request rate.";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "SlowDown", message)
    }

    /// 503 `ServiceUnavailable`: SDKs retry it.
    #[must_use]
    pub fn service_unavailable() -> Self {
        let message = "Service is unable to handle request.";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", message)
    }

    /// 500 `InternalError`: SDKs retry it.
    #[must_use]
    pub fn internal() -> Self {
        let message = "We encountered an internal error. Please try again.";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", message)
    }

    /// Whether the origin named the key as missing, the only 404 to a GET that becomes a negative entry (R12).
    #[must_use]
    pub fn is_no_such_key(&self) -> bool {
        self.status == StatusCode::NOT_FOUND && self.code == "NoSuchKey"
    }

    /// Returns the body (`application/xml`). `resource` is the requested path; the ids belong to this response. The
    /// error of a HEAD has no body.
    #[must_use]
    pub fn to_xml(&self, resource: &str, request_id: &str, host_id: &str) -> Bytes {
        let mut out = String::with_capacity(320 + resource.len());
        out.push_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error>");
        xml::push_element(&mut out, "Code", &self.code);
        xml::push_element(&mut out, "Message", &self.message);
        for (name, text) in &self.details {
            xml::push_element(&mut out, name, text);
        }
        xml::push_element(&mut out, "Resource", resource);
        xml::push_element(&mut out, "RequestId", request_id);
        xml::push_element(&mut out, "HostId", host_id);
        out.push_str("</Error>");
        out.into()
    }
}

impl fmt::Display for S3Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.status.as_u16(), self.code, self.message)
    }
}

impl std::error::Error for S3Error {}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderMap;

    fn text(bytes: &Bytes) -> &str {
        std::str::from_utf8(bytes).unwrap()
    }

    #[test]
    fn the_xml_has_the_children_that_clients_read_in_s3s_order() {
        let xml = S3Error::no_such_key("a&b").to_xml("/bkt/a&b", "REQ", "HOST");
        assert_eq!(
            text(&xml),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>NoSuchKey</Code>\
             <Message>The specified key does not exist.</Message><Key>a&amp;b</Key>\
             <Resource>/bkt/a&amp;b</Resource><RequestId>REQ</RequestId><HostId>HOST</HostId>\
             </Error>"
        );
    }

    #[test]
    fn a_416_tells_the_size_in_its_body_and_its_header() {
        let error = S3Error::invalid_range("bytes=0-9", 0);
        assert_eq!(error.status, 416);
        assert_eq!(error.headers, [(header::CONTENT_RANGE, HeaderValue::from_static("bytes */0"))]);
        let xml = error.to_xml("/b/k", "r", "h");
        assert!(text(&xml).contains(
            "<RangeRequested>bytes=0-9</RangeRequested><ActualObjectSize>0</ActualObjectSize>"
        ));
    }

    #[test]
    fn keys_with_control_characters_still_make_readable_xml() {
        let xml = S3Error::no_such_key("a\u{1}b").to_xml("/b/a\u{1}b", "r", "h");
        assert_eq!(
            S3Error::from_response(StatusCode::NOT_FOUND, &HeaderMap::new(), &xml).code,
            "NoSuchKey"
        );
    }

    #[test]
    fn it_displays_as_one_line() {
        assert_eq!(S3Error::access_denied().to_string(), "403 AccessDenied: Access Denied");
    }
}
