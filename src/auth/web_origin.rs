//! Requests that a browser sends on behalf of a web page (R39).
//!
//! If every client that can connect is trusted, a page of any site that is open in a browser on this machine would
//! be trusted too: its forms and scripts reach every address that the browser reaches. Browsers name the page's origin
//! in `Origin` for every form and every request of a script that may change something. Newer ones tell in
//! `Sec-Fetch-Site` whether the page has another origin (Fetch Standard, "Origin header"; Fetch Metadata Request
//! Headers). Scripts cannot set either header.
//!
//! Known gap: browsers from before 2023 and requests to plain HTTP outside of loopback have no `Sec-Fetch-Site`, so an
//! `<img>` of another site may still cause a GET there. It changes nothing, and the page cannot read the response.

use std::fmt;

use http::header::ORIGIN;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use crate::s3::S3Error;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

/// Maximum characters of an `Origin` quoted in an error.
const QUOTED: usize = 128;

/// The origins of web pages whose requests are accepted, as in `auth.origins`.
#[derive(Debug, Clone, Default)]
pub struct AllowedOrigins(Vec<String>);

impl AllowedOrigins {
    /// Accepts the requests of pages of these origins: `https://app.example.org`, or `null`.
    #[must_use]
    pub fn new(origins: &[String]) -> Self {
        Self(origins.to_vec())
    }

    /// Accepts a request that no web page caused, one of a listed page, or a top-level navigation.
    ///
    /// # Errors
    /// [`WebPageRequest`] for any other request of a web page, even of one served by hotset.
    pub fn check(&self, method: &Method, headers: &HeaderMap) -> Result<(), WebPageRequest> {
        let mut origins = headers.get_all(ORIGIN).iter().peekable();
        if origins.peek().is_some() {
            return match origins.find(|origin| !self.lists(origin)) {
                None => Ok(()),
                Some(origin) => Err(WebPageRequest::of(origin)),
            };
        }
        let is_ours = |site: &HeaderValue| site == "same-origin" || site == "none";
        let other = headers.get_all(SEC_FETCH_SITE).iter().any(|site| !is_ours(site));
        match other && !is_navigation(method, headers) {
            true => Err(WebPageRequest { origin: None }),
            false => Ok(()),
        }
    }

    fn lists(&self, origin: &HeaderValue) -> bool {
        self.0.iter().any(|listed| listed.as_bytes().eq_ignore_ascii_case(origin.as_bytes()))
    }
}

/// Whether a request is a top-level navigation: the page that caused it does not see the response, and could choose
/// only a GET.
fn is_navigation(method: &Method, headers: &HeaderMap) -> bool {
    let says = |name: HeaderName, value: &str| {
        let mut values = headers.get_all(name).iter();
        values.next().is_some_and(|first| first == value) && values.next().is_none()
    };
    *method == Method::GET && says(SEC_FETCH_MODE, "navigate") && says(SEC_FETCH_DEST, "document")
}

/// Error for a request that was refused because a web page caused it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebPageRequest {
    /// The origin as named by the browser; `None`: it tells only that the page has another origin.
    origin: Option<String>,
}

impl WebPageRequest {
    fn of(origin: &HeaderValue) -> Self {
        let text = String::from_utf8_lossy(origin.as_bytes());
        Self { origin: Some(text.chars().take(QUOTED).collect()) }
    }
}

impl fmt::Display for WebPageRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Some(origin) => write!(f, "the request comes from a web page of origin '{origin}'"),
            None => f.write_str("the request comes from a web page of another origin"),
        }
    }
}

impl From<WebPageRequest> for S3Error {
    /// Returns 403 `AccessDenied`, naming `auth.origins`.
    fn from(refused: WebPageRequest) -> Self {
        let mut error = Self::access_denied();
        error.message =
            format!("Access Denied: {refused}, which is not listed in auth.origins").into();
        error
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTED: &str = "https://app.example.org";

    fn accepted(method: &Method, fields: &[(&'static str, &'static str)]) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        AllowedOrigins::new(&[LISTED.to_owned()]).check(method, &headers).is_ok()
    }

    #[test]
    fn r39_a_request_with_an_origin_that_is_not_listed_is_refused() {
        for method in [Method::GET, Method::HEAD, Method::PUT, Method::POST, Method::DELETE] {
            assert!(accepted(&method, &[]));
            assert!(accepted(&method, &[("origin", LISTED)]));
            let cross_site = [("origin", LISTED), ("sec-fetch-site", "cross-site")];
            assert!(accepted(&method, &cross_site));
            for origin in [
                "https://evil.example",
                "null",
                "",
                "http://127.0.0.1:9000",
                "http://app.example.org",
            ] {
                assert!(!accepted(&method, &[("origin", origin)]), "{method} {origin}");
                assert!(!accepted(&method, &[("origin", LISTED), ("origin", origin)]), "{origin}");
            }
            let own = [("origin", "http://127.0.0.1:9000"), ("sec-fetch-site", "same-origin")];
            assert!(!accepted(&method, &own), "{method}");
        }
        assert!(
            AllowedOrigins::new(&["null".to_owned()])
                .check(
                    &Method::POST,
                    &HeaderMap::from_iter([(ORIGIN, HeaderValue::from_static("null"))])
                )
                .is_ok()
        );
    }

    #[test]
    fn r39_of_what_another_page_causes_only_a_navigation_is_accepted() {
        for site in ["cross-site", "same-site", "something-new", ""] {
            let with = |mode, dest| {
                [("sec-fetch-site", site), ("sec-fetch-mode", mode), ("sec-fetch-dest", dest)]
            };
            assert!(accepted(&Method::GET, &with("navigate", "document")), "{site}");
            assert!(!accepted(&Method::POST, &with("navigate", "document")), "{site}");
            assert!(!accepted(&Method::HEAD, &with("navigate", "document")), "{site}");
            for dest in ["iframe", "embed", "object", ""] {
                assert!(!accepted(&Method::GET, &with("navigate", dest)), "{site} {dest}");
            }
            assert!(!accepted(&Method::GET, &with("no-cors", "image")), "{site}");
            assert!(!accepted(&Method::GET, &[("sec-fetch-site", site)]), "{site}");
        }
        for site in ["none", "same-origin"] {
            assert!(accepted(&Method::GET, &[("sec-fetch-site", site)]), "{site}");
        }
        let two = [("sec-fetch-site", "none"), ("sec-fetch-site", "cross-site")];
        assert!(!accepted(&Method::GET, &two));
    }

    #[test]
    fn r39_the_error_names_the_page_and_the_key() {
        let origin = HeaderValue::from_static("https://evil.example");
        let error = S3Error::from(WebPageRequest::of(&origin));
        assert_eq!((error.status.as_u16(), &*error.code), (403, "AccessDenied"));
        assert!(error.message.contains("'https://evil.example'"), "{}", error.message);
        assert!(error.message.contains("auth.origins"), "{}", error.message);
    }
}
