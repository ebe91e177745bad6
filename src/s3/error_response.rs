//! Parsing of an origin's error response.
//!
//! It is passed on in our own envelope, without the origin's request ids and anything about *our* credentials. A code
//! counts only when the origin wrote it, in a complete document: a 404 without a body is `NotFound`, never `NoSuchKey`
//! (R12).

use http::header::{self, HeaderMap, HeaderName};
use http::status::StatusCode;

use super::error::S3Error;
use super::xml;

/// Maximum children of an origin's error that are kept.
const MAX_DETAILS: usize = 32;
/// Maximum bytes of an origin's error body that are read; a real one has below 2 KiB.
const MAX_BODY: usize = 64 * 1024;

/// Children that name our request to the origin, or the credentials that signed it.
const DROPPED_DETAILS: [&str; 10] = [
    "RequestId",
    "HostId",
    "Resource",
    "AWSAccessKeyId",
    "StringToSign",
    "StringToSignBytes",
    "SignatureProvided",
    "CanonicalRequest",
    "CanonicalRequestBytes",
    "Token-0",
];

/// Headers of an origin's error that matter to the client.
const KEPT_HEADERS: [HeaderName; 10] = [
    HeaderName::from_static("x-amz-delete-marker"),
    HeaderName::from_static("x-amz-version-id"),
    HeaderName::from_static("x-amz-bucket-region"),
    header::RETRY_AFTER,
    HeaderName::from_static("x-amz-retry-after"),
    header::CONTENT_RANGE,
    header::ALLOW,
    header::LAST_MODIFIED,
    header::LOCATION,
    header::VARY,
];

impl S3Error {
    /// Parses an origin's error response. If `body` is empty (HEAD), truncated, or not XML at all, the code follows
    /// from the status.
    #[must_use]
    pub fn from_response(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        let mut error = read_xml(status, body).unwrap_or_else(|| from_status(status));
        for name in KEPT_HEADERS {
            error.headers.extend(headers.get_all(&name).iter().map(|v| (name.clone(), v.clone())));
        }
        error
    }
}

/// Returns the error in a complete `<Error>` document; `None` if it has no plausible code.
fn read_xml(status: StatusCode, body: &[u8]) -> Option<S3Error> {
    if body.len() > MAX_BODY {
        return None;
    }
    let (mut code, mut message, mut details) = (None, None, Vec::new());
    xml::walk(body, |path, text| {
        match path.strip_prefix("/Error/") {
            Some("Code") => code = Some(text.trim().to_owned()),
            Some("Message") => message = Some(text.trim().to_owned()),
            Some(name) if is_plain_name(name) && details.len() < MAX_DETAILS => {
                details.push((name.to_owned(), text.to_owned()));
            }
            _ => {}
        }
        Ok(())
    })
    .ok()?;
    let code = code.filter(|code| is_plain_name(code))?;
    details.retain(|(name, _)| !DROPPED_DETAILS.contains(&name.as_str()));
    let mut error = S3Error::new(status, code, message.unwrap_or_default());
    error.details = details;
    Some(error)
}

/// Whether a code or a child's name has S3's form, so that it can be written back into XML.
fn is_plain_name(name: &str) -> bool {
    name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.len() <= 128
}

/// Returns the error for a status alone.
fn from_status(status: StatusCode) -> S3Error {
    let (code, message) = match status.as_u16() {
        301 | 308 => ("PermanentRedirect", "The bucket must be addressed at another endpoint."),
        302 | 303 | 307 => ("TemporaryRedirect", "The bucket is at another endpoint for now."),
        401 | 403 => {
            return S3Error { status, ..S3Error::access_denied() };
        }
        404 => ("NotFound", "Not Found"),
        405 => return S3Error::method_not_allowed(),
        409 => ("OperationAborted", "A conflicting operation is in progress. Try again."),
        411 => ("MissingContentLength", "You must provide the Content-Length HTTP header."),
        412 => {
            return S3Error { details: Vec::new(), ..S3Error::precondition_failed("") };
        }
        416 => ("InvalidRange", "The requested range is not satisfiable"),
        429 => {
            return S3Error { status, ..S3Error::slow_down() };
        }
        400..=499 => ("InvalidRequest", "The origin refused the request."),
        501 => return S3Error::not_implemented(),
        502..=504 => {
            return S3Error { status, ..S3Error::service_unavailable() };
        }
        _ => {
            return S3Error { status, ..S3Error::internal() };
        }
    };
    S3Error::new(status, code, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn read(status: u16, body: &str) -> S3Error {
        let status = StatusCode::from_u16(status).unwrap();
        S3Error::from_response(status, &HeaderMap::new(), body.as_bytes())
    }

    #[test]
    fn an_origins_error_keeps_code_message_and_details_but_no_ids() {
        let error = read(
            404,
            "<?xml version=\"1.0\"?><Error><Code>NoSuchVersion</Code>\
             <Message>gone &amp; lost</Message><Key>k</Key><VersionId>v</VersionId>\
             <Resource>/x</Resource><RequestId>r</RequestId>\
             <HostId>h</HostId></Error>",
        );
        assert_eq!((&*error.code, &*error.message), ("NoSuchVersion", "gone & lost"));
        let details = [("Key", "k"), ("VersionId", "v")];
        assert_eq!(error.details, details.map(|(n, t)| (n.to_owned(), t.to_owned())));
        assert_eq!(error.status, 404);
    }

    #[test]
    fn what_an_origin_says_about_our_credentials_is_not_passed_on() {
        let error = read(
            403,
            "<Error><Code>SignatureDoesNotMatch</Code><AWSAccessKeyId>AK</AWSAccessKeyId>\
             <StringToSign>s</StringToSign><CanonicalRequest>c</CanonicalRequest>\
             <SignatureProvided>p</SignatureProvided></Error>",
        );
        assert_eq!(error.code, "SignatureDoesNotMatch");
        assert_eq!(error.details, []);
    }

    #[test]
    fn a_namespaced_and_prettily_printed_error_is_read() {
        let body = "<Error xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\n\
                    \x20 <Code>SlowDown</Code>\n</Error>\n";
        assert_eq!(read(503, body).code, "SlowDown");
    }

    #[test]
    fn r12_a_404_without_a_code_is_never_no_such_key() {
        for body in [
            "",
            "<html><body>NoSuchKey</body></html>",
            "{\"Code\":\"NoSuchKey\"}",
            "<Error><Code>NoSuchKey</Code>",
            "<Error><Message>NoSuchKey</Message></Error>",
            "<X><Error><Code>NoSuchKey</Code></Error></X>",
        ] {
            let error = read(404, body);
            assert_eq!(error.code, "NotFound", "{body:?}");
            assert!(!error.is_no_such_key());
        }
        assert!(read(404, "<Error><Code>NoSuchKey</Code></Error>").is_no_such_key());
        assert!(!read(404, "<Error><Code>NoSuchBucket</Code></Error>").is_no_such_key());
    }

    #[test]
    fn a_code_or_name_that_is_not_plain_is_not_written_back() {
        assert_eq!(read(400, "<Error><Code>a b</Code></Error>").code, "InvalidRequest");
        assert_eq!(read(400, "<Error><Code></Code></Error>").code, "InvalidRequest");
        let nested = read(400, "<Error><Code>X</Code><A><B>1</B></A></Error>");
        assert_eq!(nested.details, [("A".to_owned(), String::new())]);
    }

    #[test]
    fn an_oversized_error_body_is_not_read() {
        let body = format!("<Error><Code>X</Code><Y>{}</Y></Error>", "y".repeat(MAX_BODY));
        assert_eq!(read(500, &body).code, "InternalError");
    }

    #[test]
    fn a_status_alone_gives_a_code_and_is_kept() {
        for (status, code) in [
            (301, "PermanentRedirect"),
            (307, "TemporaryRedirect"),
            (400, "InvalidRequest"),
            (401, "AccessDenied"),
            (403, "AccessDenied"),
            (405, "MethodNotAllowed"),
            (409, "OperationAborted"),
            (412, "PreconditionFailed"),
            (416, "InvalidRange"),
            (418, "InvalidRequest"),
            (429, "SlowDown"),
            (500, "InternalError"),
            (501, "NotImplemented"),
            (502, "ServiceUnavailable"),
            (503, "ServiceUnavailable"),
            (504, "ServiceUnavailable"),
            (599, "InternalError"),
        ] {
            let error = read(status, "");
            assert_eq!((&*error.code, error.status.as_u16()), (code, status));
            assert_eq!(error.details, [], "{status}");
        }
    }

    #[test]
    fn r12_delete_marker_version_and_retry_headers_are_kept_and_others_dropped() {
        let mut headers = HeaderMap::new();
        headers.insert("x-amz-delete-marker", HeaderValue::from_static("true"));
        headers.insert("x-amz-version-id", HeaderValue::from_static("v1"));
        headers.insert("retry-after", HeaderValue::from_static("3"));
        headers.insert("x-amz-request-id", HeaderValue::from_static("r"));
        headers.insert("server", HeaderValue::from_static("s"));
        let error = S3Error::from_response(StatusCode::NOT_FOUND, &headers, b"");
        let kept: Vec<_> = error.headers.iter().map(|(n, v)| (n.as_str(), v.as_bytes())).collect();
        assert_eq!(
            kept,
            [
                ("x-amz-delete-marker", &b"true"[..]),
                ("x-amz-version-id", b"v1"),
                ("retry-after", b"3")
            ]
        );
    }
}
