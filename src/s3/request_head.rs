//! The head of a request, as all readers of it take it.

use http::{HeaderMap, Method, header};

/// A request's head as it came over the wire.
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
    /// Whether it is a CORS preflight: a browser's question, never signed, whether a page may send another request.
    #[must_use]
    pub fn is_preflight(&self) -> bool {
        *self.method == Method::OPTIONS
            && !self.has_body
            && self.headers.contains_key(header::ORIGIN)
            && self.headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
    }

    /// Whether the origin answers it to everybody, and unsigned: a preflight, or an OPTIONS that names no page.
    #[must_use]
    pub fn is_unsigned_options(&self) -> bool {
        let names_no_page = !self.headers.contains_key(header::ORIGIN);
        self.is_preflight() || *self.method == Method::OPTIONS && !self.has_body && names_no_page
    }
}
