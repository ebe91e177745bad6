//! `auth.mode: transparent`: requests go to S3 as their senders signed them, and S3 decides who may read (R22).
//!
//! ```text
//!  find the version, with our own keys ── may this caller read it? ── a kept decision ──┬─ answer from the cache
//!                                      └─ the caller's request + If-None-Match ── 304 ──┘
//!                                                                      └─ anything else: pass it through
//! ```
//! In every other case, and whenever our own keys fail, the caller is answered by S3 to its own request: an error of
//! ours is never a caller's. A 304 proves the version, not its headers (R10): it makes nothing fresher.

use http::header::{
    CONNECTION, ETAG, HOST, IF_NONE_MATCH, LAST_MODIFIED, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderName, HeaderValue, StatusCode};
use pingora::Result;
use pingora::http::RequestHeader;
use pingora::proxy::Session;

use super::disconnect::or_gone;
use crate::auth::Transparent;
use crate::auth::transparent::{Asked, signs};
use crate::metrics::cache::InvalidationCause;
use crate::origin::AuthorizationResponse;
use crate::proxy::errors::bad_request;
use crate::proxy::gateway::Gateway;
use crate::proxy::request::request_head;
use crate::proxy::response::head::Head;
use crate::s3::field::is_connection_option;
use crate::s3::{ObjectId, ObjectMeta, Query, origin_form};

/// Headers that S3 shows only to callers with a permission for them (R13).
const DEPENDS_ON_CALLER: [HeaderName; 4] = [
    HeaderName::from_static("x-amz-object-lock-mode"),
    HeaderName::from_static("x-amz-object-lock-retain-until-date"),
    HeaderName::from_static("x-amz-object-lock-legal-hold"),
    HeaderName::from_static("x-amz-tagging-count"),
];
const ENCRYPTION: HeaderName = HeaderName::from_static("x-amz-server-side-encryption");
/// Headers of a connection and not of the request on it (RFC 9110, section 7.6.1).
const OF_CONNECTION: [HeaderName; 5] = [
    CONNECTION,
    TE,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

impl Gateway {
    /// Whether S3 allows this request to read this version, now or by a decision from a moment ago.
    pub(in crate::proxy) async fn permits(
        &self,
        transparent: &Transparent,
        session: &mut Session,
        query: &Query,
        id: &ObjectId,
        meta: &ObjectMeta,
    ) -> Result<bool> {
        if needs_another_key(meta) {
            return Ok(false);
        }
        let request = request_head(session.req_header());
        let decision = Transparent::decision(&request, query, &meta.etag);
        if transparent.has_decided(&decision) {
            return Ok(true);
        }
        let mut head = as_signed(session.req_header(), query)?;
        head.insert_header(IF_NONE_MATCH, meta.etag.as_header().clone())?;
        let asked = Asked::now();
        let origin = self.origins.default_origin();
        let ask = Box::pin(origin.ask(id.bucket(), Box::new(head)));
        let said = or_gone(session, ask).await?;
        match said.map(|said| Verdict::of(&said, meta)) {
            Ok(Verdict::Yes) => {
                transparent.remember(decision, asked);
                return Ok(true);
            }
            Ok(Verdict::Changed) => {
                self.cache.invalidate(id, InvalidationCause::Origin);
            }
            Ok(Verdict::Other) => {}
            Err(error) => log::debug!("S3 was not asked: {error}"),
        }
        Ok(false)
    }
}

/// Meaning of a response to the caller's request with our `If-None-Match`.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// The caller may read, and this version is the current one.
    Yes,
    /// Another version is the current one.
    Changed,
    /// The caller may not read, or the response does not tell.
    Other,
}

impl Verdict {
    fn of(said: &AuthorizationResponse, known: &ObjectMeta) -> Self {
        let etag = said.headers.get(ETAG);
        let same_etag = etag.is_none_or(|etag| etag == known.etag.as_header());
        // If it was written anew with the same bytes, its headers may differ.
        let written = said.headers.get(LAST_MODIFIED);
        let known_written = known.headers.iter().find(|(name, _)| *name == LAST_MODIFIED);
        let same_time = written.is_none_or(|at| known_written.is_none_or(|(_, known)| known == at));
        match said.status {
            StatusCode::NOT_MODIFIED if same_etag && same_time => Self::Yes,
            StatusCode::NOT_MODIFIED => Self::Changed,
            StatusCode::OK | StatusCode::PARTIAL_CONTENT if !same_etag => Self::Changed,
            _ => Self::Other,
        }
    }
}

/// Whether a reader also needs permission for a KMS key, about which a 304 says nothing.
fn needs_another_key(meta: &ObjectMeta) -> bool {
    let mut encryption = meta.headers.iter().filter(|(name, _)| *name == ENCRYPTION);
    encryption.any(|(_, value)| value.as_bytes().starts_with(b"aws:"))
}

/// Removes headers from a hit that its caller might not be allowed to see.
pub(in crate::proxy) fn strip(head: &mut Head) {
    for name in &DEPENDS_ON_CALLER {
        head.remove(name);
    }
}

/// Returns a request's head as its sender signed it: method, target in its original encoding, host, and headers but
/// those of the client's connection.
pub(in crate::proxy) fn as_signed(request: &RequestHeader, query: &Query) -> Result<RequestHeader> {
    let target = origin_form(request.raw_path()).map_err(|e| bad_request(&e))?;
    let mut head = RequestHeader::build(request.method.clone(), target.as_bytes(), Some(24))?;
    head.set_version(http::Version::HTTP_11);
    for (name, value) in &request.headers {
        let is_hop = OF_CONNECTION.contains(name)
            || *name != TRANSFER_ENCODING && is_connection_option(&request.headers, name);
        if !is_hop || signs(&request.headers, query, name.as_str()) {
            head.append_header(name.clone(), value.clone())?;
        }
    }
    if let (false, Some(host)) = (head.headers.contains_key(HOST), request.uri.authority()) {
        let host = HeaderValue::from_str(host.as_str()).map_err(|e| bad_request(&e))?;
        head.insert_header(HOST, host)?;
    }
    Ok(head)
}
