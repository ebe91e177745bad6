//! Conversion of pingora's requests to the types of `s3` and `auth`.

use std::net::IpAddr;

use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Method};
use pingora::http::RequestHeader;

use super::conn::client::Client;
use crate::auth::Sender;
use crate::s3::RequestHead;

/// Returns the sender of a request: its address and certificate.
pub(super) fn sender(address: Option<IpAddr>, client: Option<&Client>) -> Sender<'_> {
    Sender { address, certificate: client.map(Client::certificate_ids).unwrap_or_default() }
}

pub(super) fn request_head(request: &RequestHeader) -> RequestHead<'_> {
    let host = request.headers.get(HOST).and_then(|v| v.to_str().ok());
    let host = host.or_else(|| request.uri.authority().map(http::uri::Authority::as_str));
    RequestHead {
        method: &request.method,
        raw_target: request.raw_path(),
        host,
        headers: &request.headers,
        has_body: has_body(&request.headers),
    }
}

pub(super) fn has_body(headers: &HeaderMap) -> bool {
    let length = headers.get(CONTENT_LENGTH);
    let is_zero = |length: &HeaderValue| length.as_bytes().iter().all(|digit| *digit == b'0');
    headers.contains_key(TRANSFER_ENCODING) || length.is_some_and(|length| !is_zero(length))
}

/// Whether a request may change an object or a bucket, by its method.
pub(super) fn is_write(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}
