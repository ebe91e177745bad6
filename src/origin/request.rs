//! Request heads for objects, and the metadata in their responses.

use std::time::SystemTime;

use http::header::{ACCEPT_ENCODING, HOST, IF_MATCH, RANGE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use pingora::http::RequestHeader;

use super::asked::{Asked, Pin};
use super::domains::Domain;
use super::error::OriginError;
use super::exchange::Exchange;
use super::regions::Site;
use crate::auth::Payload;
use crate::s3::target::Query;
use crate::s3::{NotCacheable, ObjectId, ObjectMeta, PartNumber};

const REQUEST_PAYER: HeaderName = HeaderName::from_static("x-amz-request-payer");
const CHECKSUM_MODE: HeaderName = HeaderName::from_static("x-amz-checksum-mode");

/// A HEAD or a ranged GET of an object.
pub(super) struct ObjectRequest<'a> {
    pub(super) domain: &'a Domain,
    pub(super) method: Method,
    pub(super) id: &'a ObjectId,
    pub(super) range: Option<&'a Asked>,
    pub(super) part: Option<PartNumber>,
    pub(super) pin: &'a Pin,
    /// Whether to pin by version id, if the version has one, instead of by `ETag`.
    pub(super) by_version: bool,
}

impl ObjectRequest<'_> {
    /// Returns the signed head; `now` is the time by the origin's clock.
    pub(super) fn to_head(&self, site: &Site, now: SystemTime) -> Box<RequestHeader> {
        let target = site.endpoint().target(Some(self.id.bucket()), Some(self.id.key()));
        let mut headers = HeaderMap::with_capacity(12);
        headers.insert(HOST, HeaderValue::from_str(&target.host).expect("checked at start"));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers.insert(USER_AGENT, HeaderValue::from_static("hotset"));
        let mut query = Query::default();
        match self.range.and_then(Asked::to_header) {
            Some(range) => headers.insert(RANGE, range),
            None => headers.insert(CHECKSUM_MODE, HeaderValue::from_static("ENABLED")),
        };
        if let Some(part) = self.part {
            query = query.with("partNumber", &part.get().to_string());
        }
        if self.id.pays() {
            headers.insert(REQUEST_PAYER, HeaderValue::from_static("requester"));
        }
        if let Some(version) = self.id.version() {
            query = query.with("versionId", version.as_str());
        }
        match self.pin {
            Pin::Current => {}
            Pin::Matching(etag) => drop(headers.insert(IF_MATCH, etag.clone())),
            Pin::Version(meta) => match (&meta.version_id, self.id.version()) {
                (Some(_), Some(_)) => {}
                (Some(version), None) if self.by_version => {
                    query = query.with("versionId", version.to_str().unwrap_or_default());
                }
                _ => drop(headers.insert(IF_MATCH, meta.etag.as_header().clone())),
            },
        }
        if let Some(signer) = self.domain.signer() {
            site.signer(&signer).sign(
                &self.method,
                &target.path,
                &query,
                &mut headers,
                Payload::Unsigned,
                now,
            );
        }
        let mut path = target.path;
        if !query.is_empty() {
            path = format!("{path}?{}", query.to_canonical_string());
        }
        build_head(self.method.clone(), path.as_bytes(), &headers)
    }

    /// Returns the metadata in the response, which must be about the requested object or version.
    pub(super) fn meta_in(&self, answer: &Exchange) -> Result<ObjectMeta, OriginError> {
        let (status, head, id) = (answer.status, answer.head(), self.id);
        let meta = match self.part {
            None => ObjectMeta::from_response(status, head),
            Some(number) => ObjectMeta::from_part(status, head, number),
        };
        let meta = meta.map_err(|e| match e {
            NotCacheable::LengthMismatch => OriginError::Broken(e.to_string()),
            NotCacheable::NotAPart => OriginError::NotAPart,
            // Some servers send a whole object in chunks, and tell its size in answers to HEAD and to ranges.
            NotCacheable::NoSize if matches!(self.range, Some(Asked::Whole(_))) => {
                OriginError::RangeNotSatisfiable
            }
            _ => OriginError::Uncacheable(e.to_string()),
        })?;
        let named = id.version().filter(|version| !version.is_null());
        let answered = meta.version_id.as_ref().map(HeaderValue::as_bytes);
        let other = match id.version() {
            None => false,
            Some(_) => answered != named.map(|version| version.as_str().as_bytes()),
        };
        match other {
            true => Err(OriginError::Uncacheable("it is of another version".to_owned())),
            false => Ok(meta),
        }
    }
}

/// Builds a pingora request head from plain headers.
///
/// # Panics
/// Never: path and headers were built by this crate.
pub(super) fn build_head(method: Method, path: &[u8], headers: &HeaderMap) -> Box<RequestHeader> {
    let mut head = RequestHeader::build(method, path, Some(headers.len()))
        .expect("an encoded path is a legal target");
    for (name, value) in headers {
        head.append_header(name.clone(), value.clone())
            .expect("a header from a HeaderMap is legal");
    }
    Box::new(head)
}
