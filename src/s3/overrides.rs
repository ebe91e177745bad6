//! `response-*` parameters: response headers overridden by one signed request.
//!
//! They apply to that request's 200 or 206 only and are never stored. S3 accepts them in signed requests only; a value
//! that is not a valid header value, or could become two headers, is refused (R18).

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::error::S3Error;
use super::request_head::RequestHead;
use super::target::Query;

/// The response headers that `response-*` can override.
const OVERRIDES: [(&str, HeaderName); 6] = [
    ("response-content-type", header::CONTENT_TYPE),
    ("response-content-language", header::CONTENT_LANGUAGE),
    ("response-expires", header::EXPIRES),
    ("response-cache-control", header::CACHE_CONTROL),
    ("response-content-disposition", header::CONTENT_DISPOSITION),
    ("response-content-encoding", header::CONTENT_ENCODING),
];

/// Response headers that one request overrides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResponseOverrides(Vec<(HeaderName, HeaderValue)>);

impl ResponseOverrides {
    /// Parses those of a query; `None` if one has no value or is not ASCII: then the origin decides how it is sent.
    pub(super) fn of(query: &Query) -> Option<Self> {
        let mut found = Vec::new();
        if query.is_empty() {
            return Some(ResponseOverrides(found));
        }
        for (name, target) in OVERRIDES {
            match query.get(name) {
                None => {}
                Some(value) if !value.is_empty() && value.is_ascii() => {
                    found.push((target, HeaderValue::from_str(value).ok()?));
                }
                Some(_) => return None,
            }
        }
        Some(ResponseOverrides(found))
    }

    /// Whether no header is overridden.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Iterates over the headers and their values.
    pub fn iter(&self) -> impl Iterator<Item = &(HeaderName, HeaderValue)> {
        self.0.iter()
    }

    /// Overrides the headers in the head of a 200 or 206.
    pub fn apply(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.0 {
            headers.insert(name.clone(), value.clone());
        }
    }
}

/// Whether this query parameter overrides a response header.
pub(super) fn is_override(name: &str) -> bool {
    OVERRIDES.iter().any(|(known, _)| *known == name)
}

/// Refuses `response-*` that S3 refuses: without a signature, and control bytes (R18).
pub(super) fn check(head: &RequestHead<'_>, query: &Query) -> Result<(), S3Error> {
    let mut asked = query.iter().filter(|(name, _)| name.starts_with("response-")).peekable();
    if asked.peek().is_none() {
        return Ok(());
    }
    // `Signature` is SigV2's presigned form: not anonymous, whatever else it is.
    let signed = head.headers.contains_key(header::AUTHORIZATION)
        || query.contains("X-Amz-Signature")
        || query.contains("Signature");
    if !signed {
        let message =
            "Request specific response headers cannot be used for anonymous GET requests.";
        return Err(S3Error::invalid_request(message));
    }
    let control = |value: &str| value.bytes().any(|b| b < b' ' || b == 0x7F);
    match asked.find(|(_, value)| value.is_some_and(control)) {
        None => Ok(()),
        Some((name, _)) => {
            let message = "Header value has characters that a header cannot have.";
            Err(S3Error::invalid_argument(name, message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Method;

    /// Parses the overrides in a query.
    fn ask(query: &str, authorization: bool) -> Result<Option<ResponseOverrides>, String> {
        let mut headers = HeaderMap::new();
        if authorization {
            headers.insert("authorization", HeaderValue::from_static("AWS4-HMAC-SHA256 x"));
        }
        let head = RequestHead {
            method: &Method::GET,
            raw_target: b"/",
            host: None,
            headers: &headers,
            has_body: false,
        };
        let query = Query::parse(query).unwrap();
        check(&head, &query).map_err(|error| {
            assert_eq!(error.status, 400);
            error.code.into_owned()
        })?;
        Ok(ResponseOverrides::of(&query))
    }

    #[test]
    fn overrides_replace_what_the_object_says() {
        let query = "response-content-type=text%2Fplain%3B+a&response-expires=never&x-id=G";
        let overrides = ask(query, true).unwrap().unwrap();
        let mut headers = HeaderMap::new();
        headers.append("content-type", HeaderValue::from_static("a/b"));
        headers.append("etag", HeaderValue::from_static("\"x\""));
        overrides.apply(&mut headers);
        assert_eq!(
            (&headers["content-type"], headers.len()),
            (&"text/plain; a".parse().unwrap(), 3)
        );
        assert_eq!(headers["expires"], "never");
        assert!(ask("x-id=G", false).unwrap().unwrap().is_empty());
    }

    #[test]
    fn each_of_the_six_is_known() {
        for (name, target) in OVERRIDES {
            assert!(is_override(name));
            let overrides = ask(&format!("{name}=a"), true).unwrap().unwrap();
            assert!(overrides.iter().eq(&[(target, HeaderValue::from_static("a"))]), "{name}");
        }
        assert!(!is_override("response-etag") && !is_override("Response-Expires"));
    }

    #[test]
    fn r18_an_override_with_control_bytes_is_a_400() {
        for value in ["a%0D%0AX:%20y", "a%00", "%09", "%7F", "a%0a"] {
            for query in ["response-content-type", "versionId=1&response-foo"] {
                let refused = ask(&format!("{query}={value}"), true);
                assert_eq!(refused, Err("InvalidArgument".to_owned()), "{query}={value}");
            }
        }
    }

    #[test]
    fn an_override_without_a_signature_is_a_400() {
        let refused = Err("InvalidRequest".to_owned());
        assert_eq!(ask("response-content-type=a", false), refused);
        assert_eq!(ask("versionId=1&response-expires=a", false), refused);
        assert!(ask("response-content-type=a", true).is_ok());
        assert!(ask("response-content-type=a&X-Amz-Signature=s", false).is_ok());
        let version_2 = "response-content-type=a&AWSAccessKeyId=a&Expires=1&Signature=s";
        assert!(ask(version_2, false).is_ok());
    }

    #[test]
    fn an_override_that_is_empty_or_not_ascii_is_left_to_the_origin() {
        for query in ["response-content-type", "response-content-type=", "response-expires=%C3%BC"]
        {
            assert_eq!(ask(query, true), Ok(None), "{query}");
        }
    }
}
