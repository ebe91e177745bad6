//! The head of a request, as input of all parsers.

use http::{HeaderMap, Method, header};

/// A request's head as received.
#[derive(Debug, Clone, Copy)]
pub struct RequestHead<'a> {
    /// The method.
    pub method: &'a Method,
    /// The target, raw: origin-form, absolute-form, or `*`.
    pub raw_target: &'a [u8],
    /// The Host header, or HTTP/2's authority; `None` only for HTTP/1.0.
    pub host: Option<&'a str>,
    /// All headers.
    pub headers: &'a HeaderMap,
    /// Whether a body follows.
    pub has_body: bool,
}

impl RequestHead<'_> {
    /// Whether the request is a CORS preflight: a browser's unsigned check whether a page may send another request.
    #[must_use]
    pub fn is_preflight(&self) -> bool {
        *self.method == Method::OPTIONS
            && !self.has_body
            && self.headers.contains_key(header::ORIGIN)
            && self.headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
    }

    /// Whether the origin answers the request to everybody, unsigned: a preflight, or an OPTIONS without `Origin`.
    #[must_use]
    pub fn is_unsigned_options(&self) -> bool {
        let names_no_page = !self.headers.contains_key(header::ORIGIN);
        self.is_preflight() || *self.method == Method::OPTIONS && !self.has_body && names_no_page
    }
}
