//! The web page: files that are built from `page/` and embedded in the binary.
//!
//! They contain no data, so everyone who can connect may read them; the data comes from the API with its own
//! authorisation. The invariant: the page loads nothing from elsewhere, runs no script but its own, and is not
//! embeddable in frames.

use hyper::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Method, Response, StatusCode};

use super::text::only_get;

/// Content security policy. `require-trusted-types-for`: text such as a key is never parsed as HTML.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'";

const HTML: &str = "text/html; charset=utf-8";

/// Path, content type and content of each file.
const FILES: [(&str, &str, &str); 5] = [
    ("/", HTML, include_str!("page/built/index.html")),
    ("/page.js", "text/javascript; charset=utf-8", include_str!("page/built/page.js")),
    ("/style.css", "text/css; charset=utf-8", include_str!("page/built/style.css")),
    ("/icon.svg", "image/svg+xml", include_str!("page/built/icon.svg")),
    ("/LICENSES.txt", "text/plain; charset=utf-8", include_str!("page/built/LICENSES.txt")),
];

/// Returns the file at `path`; `None`: there is none.
pub(super) fn find(method: &Method, path: &str) -> Option<Response<String>> {
    let (_, kind, content) = FILES.iter().find(|(known, ..)| *known == path)?;
    if !matches!(*method, Method::GET | Method::HEAD) {
        return Some(only_get());
    }
    let mut response = Response::new((*content).to_owned());
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    for (name, value) in [
        (CONTENT_TYPE, *kind),
        (CONTENT_SECURITY_POLICY, POLICY),
        // The page must match the version of the server.
        (CACHE_CONTROL, "no-store"),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    Some(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_names_no_other_place_and_has_no_script_of_its_own() {
        let page = FILES[0].2;
        assert!(!page.contains("://") && !page.contains("<style") && !page.contains(" style="));
        assert_eq!(page.matches("<script").count(), 1, "the file that it loads");
        assert!(page.contains("<script src=\"page.js\" defer></script>"));
        for (path, _, content) in FILES {
            assert!(!content.contains("innerHTML"), "{path} parses text as HTML");
            assert!(!content.contains("document.write"), "{path}");
        }
    }

    #[test]
    fn a_browser_is_told_to_run_nothing_else() {
        let page = find(&Method::GET, "/").unwrap();
        let policy = page.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(page.headers()[X_CONTENT_TYPE_OPTIONS], "nosniff");
        assert_eq!(find(&Method::POST, "/").unwrap().status(), StatusCode::METHOD_NOT_ALLOWED);
        assert!(find(&Method::GET, "/index.html").is_none());
    }
}
