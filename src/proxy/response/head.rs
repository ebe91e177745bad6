//! Response heads and errors as S3 writes them, with our own request ids (never the origin's, which belong to another
//! response).

mod spelling;

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, DATE, ETAG, EXPIRES,
    LAST_MODIFIED, SERVER,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use pingora::http::ResponseHeader;
use pingora::protocols::http::date::get_cached_date;
use pingora::proxy::Session;
use pingora::{Error, ErrorType, Result};

use super::page_access::PageHeaders;
use super::region::BUCKET_REGION;
use crate::metrics::CacheResult;
use crate::metrics::cache::MissReason;
use crate::proxy::context::{LoggedError, RequestContext, RequestId};
use crate::s3::range::ContentRange;
use crate::s3::{ObjectMeta, ResponseOverrides, S3Error};
use spelling::spelled;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-amz-request-id");
const HOST_ID: HeaderName = HeaderName::from_static("x-amz-id-2");
const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
const MP_PARTS_COUNT: HeaderName = HeaderName::from_static("x-amz-mp-parts-count");
const VERSION_ID: HeaderName = HeaderName::from_static("x-amz-version-id");
/// Value in place of the name of S3's host.
const HOST: &str = "hotset";

/// Part that the cache had in a response (RFC 9211).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::proxy) enum CacheStatus {
    /// Fresh metadata, and all bytes in memory or on disk, the first ones in memory.
    Hit,
    /// Fresh metadata, and all bytes in memory or on disk, the first ones on disk.
    DiskHit,
    /// The object was not in the cache.
    Miss(MissReason),
    /// Fresh metadata, but not all bytes were in memory or on disk.
    Partial(MissReason),
    /// The origin confirmed or replaced stale metadata.
    Revalidated,
    /// Stale, and the origin is down.
    Stale,
    /// Stale, and the origin is being asked in the background.
    StaleWhileRevalidate,
    /// A cached 404.
    Negative,
    /// The request bypasses the cache.
    Bypass,
    /// The method is not cached.
    Method,
}

impl CacheStatus {
    pub(in crate::proxy) fn header(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Hit => "hotset; hit",
            Self::DiskHit => "hotset; hit; detail=disk",
            Self::Miss(reason) => miss_header(reason),
            Self::Partial(MissReason::Evicted) => "hotset; fwd=partial; detail=evicted",
            Self::Partial(_) => "hotset; fwd=partial; detail=new",
            Self::Revalidated => "hotset; fwd=stale; detail=revalidated",
            Self::Stale => "hotset; hit; detail=stale-on-error",
            Self::StaleWhileRevalidate => "hotset; hit; detail=stale-while-revalidate",
            Self::Negative => "hotset; hit; detail=negative",
            Self::Bypass => "hotset; fwd=bypass",
            Self::Method => "hotset; fwd=method",
        })
    }

    /// Returns the header for a response from another origin than the bucket's.
    fn elsewhere(self) -> HeaderValue {
        HeaderValue::from_static(match self.label() {
            CacheResult::Hit | CacheResult::Negative | CacheResult::Stale => {
                "hotset; hit; detail=failover"
            }
            CacheResult::Revalidated => "hotset; fwd=stale; detail=failover",
            CacheResult::Partial => "hotset; fwd=partial; detail=failover",
            _ => "hotset; fwd=uri-miss; detail=failover",
        })
    }

    pub(in crate::proxy) fn label(self) -> CacheResult {
        match self {
            Self::Hit | Self::DiskHit => CacheResult::Hit,
            Self::Partial(_) => CacheResult::Partial,
            Self::Miss(_) => CacheResult::Miss,
            Self::Revalidated => CacheResult::Revalidated,
            Self::Stale | Self::StaleWhileRevalidate => CacheResult::Stale,
            Self::Negative => CacheResult::Negative,
            Self::Bypass | Self::Method => CacheResult::Bypass,
        }
    }
}

const fn miss_header(reason: MissReason) -> &'static str {
    match reason {
        MissReason::New => "hotset; fwd=uri-miss; detail=new",
        MissReason::Expired => "hotset; fwd=uri-miss; detail=expired",
        MissReason::Evicted => "hotset; fwd=uri-miss; detail=evicted",
        MissReason::Invalidated => "hotset; fwd=uri-miss; detail=invalidated",
        MissReason::Restarted => "hotset; fwd=uri-miss; detail=restarted",
        MissReason::MustRevalidate => "hotset; fwd=uri-miss; detail=must_revalidate",
        MissReason::Bypassed => "hotset; fwd=bypass",
    }
}

/// Headers in most responses, with room for those that pingora adds.
const HEADERS: usize = 24;
/// Bytes of most response heads.
const WIRE: usize = 1024;

/// A response head under construction.
///
/// It uses the map of `http`: pingora's setters spell out each name and parse it again.
pub(in crate::proxy) struct Head {
    status: StatusCode,
    headers: HeaderMap,
}

impl Head {
    pub(crate) fn new(status: StatusCode, id: RequestId, cache: CacheStatus) -> Self {
        let mut head = Self { status, headers: HeaderMap::with_capacity(HEADERS) };
        let digits = HeaderValue::from_bytes(&id.digits()).expect("hexadecimal digits are legal");
        head.set(REQUEST_ID, digits.clone());
        head.set(HOST_ID, digits);
        head.set(SERVER, HeaderValue::from_static(HOST));
        head.set(CACHE_STATUS, cache.header());
        head
    }

    pub(in crate::proxy) fn status(&self) -> StatusCode {
        self.status
    }

    pub(crate) fn set(&mut self, name: HeaderName, value: HeaderValue) {
        self.headers.insert(name, value);
    }

    /// Sets the cache status for a response from another origin than the bucket's, if it is one.
    pub(in crate::proxy) fn origin(&mut self, ctx: &RequestContext, cache: CacheStatus) {
        if ctx.elsewhere {
            self.set(CACHE_STATUS, cache.elsewhere());
        }
    }

    pub(in crate::proxy) fn remove(&mut self, name: &HeaderName) {
        self.headers.remove(name);
    }

    /// Adds the CORS headers that the origin gives the requesting page.
    pub(in crate::proxy) fn allow_page(&mut self, page: &PageHeaders) {
        for (name, value) in page.iter() {
            self.add(name, value);
        }
    }

    fn add(&mut self, name: &HeaderName, value: &HeaderValue) {
        self.headers.append(name, value.clone());
    }

    /// Adds all headers of the object, and the checksums of the bytes that are sent.
    pub(in crate::proxy) fn describe(
        &mut self,
        meta: &ObjectMeta,
        checksums: &[(HeaderName, HeaderValue)],
        overrides: &ResponseOverrides,
    ) {
        for (name, value) in &meta.headers {
            self.add(name, value);
        }
        for (name, value) in checksums {
            self.add(name, value);
        }
        for (name, value) in overrides.iter() {
            self.set(name.clone(), value.clone());
        }
    }

    /// Adds the headers of a 304 (RFC 9110, section 15.4.5).
    pub(in crate::proxy) fn identify(&mut self, meta: &ObjectMeta) {
        let kept = [ETAG, LAST_MODIFIED, CACHE_CONTROL, EXPIRES, VERSION_ID];
        for (name, value) in meta.headers.iter().filter(|(name, _)| kept.contains(name)) {
            self.add(name, value);
        }
    }

    pub(in crate::proxy) fn length(&mut self, bytes: u64) {
        self.set(CONTENT_LENGTH, bytes.into());
    }

    pub(in crate::proxy) fn parts_count(&mut self, count: u16) {
        self.set(MP_PARTS_COUNT, count.into());
    }

    pub(in crate::proxy) fn content_range(&mut self, range: &std::ops::Range<u64>, size: u64) {
        let text = ContentRange { range: range.clone(), size: Some(size) }.to_string();
        let value = HeaderValue::from_str(&text).expect("digits are legal in a header");
        self.set(CONTENT_RANGE, value);
    }

    pub(in crate::proxy) async fn send(self, session: &mut Session) -> Result<()> {
        let head = Box::new(self.into_header()?);
        session.downstream_session.write_response_header(head).await
    }

    /// Serializes the head for a connection that is kept alive, as pingora would write it.
    pub(in crate::proxy) fn into_wire(mut self) -> Vec<u8> {
        self.set(DATE, get_cached_date());
        self.set(CONNECTION, HeaderValue::from_static("keep-alive"));
        let mut wire = Vec::with_capacity(WIRE);
        wire.extend_from_slice(b"HTTP/1.1 ");
        wire.extend_from_slice(self.status.as_str().as_bytes());
        wire.push(b' ');
        let reason = self.status.canonical_reason().unwrap_or_default();
        wire.extend_from_slice(reason.as_bytes());
        wire.extend_from_slice(b"\r\n");
        for (name, value) in &self.headers {
            wire.extend_from_slice(spelled(name).as_bytes());
            wire.extend_from_slice(b": ");
            wire.extend_from_slice(value.as_bytes());
            wire.extend_from_slice(b"\r\n");
        }
        wire.extend_from_slice(b"\r\n");
        wire
    }

    /// Converts the head, with names spelled as in HTTP/1; HTTP/2 has them in lower case.
    fn into_header(self) -> Result<ResponseHeader> {
        let mut head = ResponseHeader::build(self.status, Some(HEADERS))?;
        for (name, value) in &self.headers {
            head.append_header(spelled(name).to_owned(), value)?;
        }
        Ok(head)
    }
}

/// Answers with an S3 error; a HEAD gets its status only.
pub(in crate::proxy) async fn send_error(
    session: &mut Session,
    ctx: &mut RequestContext,
    error: &S3Error,
    cache: CacheStatus,
) -> Result<()> {
    ctx.cache = cache.label();
    ctx.answered = Some(LoggedError::of(error));
    let request = session.req_header();
    let is_head = request.method == Method::HEAD;
    let resource = request.uri.path().to_owned();
    let body = match is_head {
        true => Bytes::new(),
        false => error.to_xml(&resource, &ctx.request_id.to_string(), HOST),
    };
    let mut head = Head::new(error.status, ctx.request_id, cache);
    for (name, value) in &error.headers {
        head.add(name, value);
    }
    if let Some(region) = &ctx.region
        && error.headers.iter().any(|(name, _)| *name == BUCKET_REGION)
    {
        head.set(BUCKET_REGION, region.clone());
    }
    head.set(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    head.length(body.len() as u64);
    // The rest of the request's body must not be taken for the next request.
    if !session.is_body_done() {
        session.set_keepalive(None);
    }
    head.send(session).await?;
    session.downstream_session.write_response_body(body, true).await
}

/// Makes the error that ends a transfer which cannot be completed: the connection or stream is broken, never closed
/// as if the object were complete.
pub(in crate::proxy) fn broken(why: &dyn std::fmt::Display) -> Box<Error> {
    Error::explain(ErrorType::InternalError, format!("the answer cannot be completed: {why}"))
}
