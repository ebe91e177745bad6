//! Metadata of one object version, from an origin response.
//!
//! The gate of R2: a response without one strong `ETag`, a certain size and Last-Modified is never admitted. An
//! allow-list of headers that describe the object itself is kept. Headers of a single response (dates, request ids,
//! parts, charges, R13) or of another range (checksums) are left out, since a kept header is replayed on every later
//! 200, 206 and HEAD.

use std::ops::Range;
use std::time::SystemTime;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::status::StatusCode;

use super::described::{
    checksums, checksums_of_the_whole, described, forbids_storing, own_value, requires_validation,
};
use super::etag::ETag;
use super::part::{Part, PartNumber, Parts};
use super::range::{ContentRange, exact};

const MP_PARTS_COUNT: HeaderName = HeaderName::from_static("x-amz-mp-parts-count");
const VERSION_ID: &str = "x-amz-version-id";
const CUSTOMER_ALGORITHM: &str = "x-amz-server-side-encryption-customer-algorithm";

/// Metadata of one version of an object: its identity, its size, and its response headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectMeta {
    /// Strong and quoted.
    pub etag: ETag,
    /// The version id of a versioned bucket; never `null`, which names mutable bytes.
    pub version_id: Option<HeaderValue>,
    /// Bytes of the whole object.
    pub size: u64,
    /// `Last-Modified`, in whole seconds.
    pub last_modified: SystemTime,
    /// Headers replayed on every 200, 206 and HEAD, `ETag` and Last-Modified among them.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The whole object's `x-amz-checksum-*` headers, for whole answers in checksum mode only.
    /// `None`: not known yet; empty: known to have none.
    pub checksums: Option<Vec<(HeaderName, HeaderValue)>>,
    /// Its parts, as far as they are known.
    pub parts: Parts,
    /// Whether the object's own Cache-Control contains `no-store` or `private` (R13).
    pub no_store: bool,
}

/// Reason for which a response is streamed once and not admitted (R2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotCacheable {
    /// Neither 200 nor 206.
    #[error("the answer's status is not 200 or 206")]
    Status,
    /// No `ETag`, several, a weak one or an unquoted one.
    #[error("the answer has not one strong, quoted ETag")]
    NoStrongETag,
    /// No size of the object.
    #[error("the answer does not tell the object's size")]
    NoSize,
    /// Content-Length and Content-Range contradict each other.
    #[error("the answer's Content-Length does not fit its Content-Range")]
    LengthMismatch,
    /// No Last-Modified, several, or not a date.
    #[error("the answer has not one Last-Modified date")]
    NoLastModified,
    /// The response to a request for a part is the whole object, or does not identify the part.
    #[error("the answer is not of a part")]
    NotAPart,
    /// Encrypted with a customer-provided key (SSE-C).
    #[error("the object is encrypted with the customer's key")]
    CustomerKey,
}

impl ObjectMeta {
    /// Parses the head of a response to a GET or HEAD in checksum mode, without `Origin`, `partNumber` or `response-*`.
    ///
    /// # Errors
    /// When the version or size is not certain: the response must not be admitted (R2).
    pub fn from_response(status: StatusCode, headers: &HeaderMap) -> Result<Self, NotCacheable> {
        let (size, whole) = match status {
            StatusCode::OK => (content_length(headers).ok_or(NotCacheable::NoSize)?, true),
            StatusCode::PARTIAL_CONTENT => {
                let (range, size) = content_range(headers)?;
                (size, range == (0..size))
            }
            _ => return Err(NotCacheable::Status),
        };
        if headers.contains_key(CUSTOMER_ALGORITHM) {
            return Err(NotCacheable::CustomerKey);
        }
        let etag = ETag::from_headers(headers)
            .filter(ETag::is_strong_quoted)
            .map(|etag| ETag::new(own_value(etag.as_header())))
            .ok_or(NotCacheable::NoStrongETag)?;
        let last_modified = one(headers, &header::LAST_MODIFIED)
            .and_then(|value| httpdate::parse_http_date(value.trim()).ok())
            .ok_or(NotCacheable::NoLastModified)?;
        let version_id = headers.get(VERSION_ID).filter(|id| *id != "null").map(own_value);
        let ranged = status == StatusCode::PARTIAL_CONTENT;
        let checksums = checksums_of_the_whole(headers, &etag, whole, ranged);
        Ok(ObjectMeta {
            version_id,
            size,
            last_modified,
            headers: described(headers),
            checksums,
            parts: Parts::default(),
            no_store: forbids_storing(headers),
            etag,
        })
    }

    /// Parses the head of a response to a GET or HEAD of part `number` in checksum mode.
    ///
    /// A 200 is never accepted: some servers answer with the whole object, or with the part's own size and `ETag`.
    ///
    /// # Errors
    /// As [`ObjectMeta::from_response`], and when the response is not of a part.
    pub fn from_part(
        status: StatusCode,
        headers: &HeaderMap,
        number: PartNumber,
    ) -> Result<Self, NotCacheable> {
        if status == StatusCode::OK {
            return Err(NotCacheable::NotAPart);
        }
        let meta = Self::from_response(status, headers)?;
        let (range, _) = content_range(headers).map_err(|_| NotCacheable::NotAPart)?;
        let part = Part { number, range, checksums: checksums(headers) };
        let count = one(headers, &MP_PARTS_COUNT).and_then(exact);
        let count = count.and_then(|count| u16::try_from(count).ok());
        Ok(ObjectMeta { parts: Parts::one(part, count), ..meta })
    }

    /// Adds what is known of the same version and missing here.
    pub fn complete_from(&mut self, known: &ObjectMeta) {
        debug_assert!(self.same_version(known));
        if self.checksums.is_none() {
            self.checksums.clone_from(&known.checksums);
        }
        self.parts.add(&known.parts);
    }

    /// Whether the object's own `Cache-Control` requires validation before each reuse: `no-cache` or `max-age=0` (R13).
    #[must_use]
    pub fn requires_validation(&self) -> bool {
        let lines = self.headers.iter().filter(|(name, _)| *name == header::CACHE_CONTROL);
        requires_validation(lines.map(|(_, value)| value))
    }

    /// Whether both describe the same version, so that their blocks are the same (R10).
    #[must_use]
    pub fn same_version(&self, other: &ObjectMeta) -> bool {
        self.etag == other.etag && self.size == other.size && self.version_id == other.version_id
    }
}

/// Returns the bytes of the whole object, if the response tells them.
pub(super) fn size_of_answer(status: StatusCode, headers: &HeaderMap) -> Option<u64> {
    match status {
        StatusCode::OK => content_length(headers),
        StatusCode::PARTIAL_CONTENT => content_range(headers).ok().map(|(_, size)| size),
        _ => None,
    }
}

/// Returns the value of a header that must occur exactly once, in visible ASCII.
fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}

/// Returns the bytes of the body, unless a transfer coding decides that (RFC 9112 section 6.3).
fn content_length(headers: &HeaderMap) -> Option<u64> {
    if headers.contains_key(header::TRANSFER_ENCODING) {
        return None;
    }
    exact(one(headers, &header::CONTENT_LENGTH)?.trim())
}

/// Returns a 206's range and the object's size.
fn content_range(headers: &HeaderMap) -> Result<(Range<u64>, u64), NotCacheable> {
    let value = one(headers, &header::CONTENT_RANGE).ok_or(NotCacheable::NoSize)?;
    let ContentRange { range, size } = ContentRange::parse(value).ok_or(NotCacheable::NoSize)?;
    let size = size.ok_or(NotCacheable::NoSize)?;
    match is_of_length(&range, headers) {
        true => Ok((range, size)),
        false => Err(NotCacheable::LengthMismatch),
    }
}

/// Whether `Content-Length`, if there is one, is the length of the range.
fn is_of_length(range: &Range<u64>, headers: &HeaderMap) -> bool {
    content_length(headers).is_none_or(|length| length == range.end - range.start)
}

/// Whether the Content-Length of a 206 differs from its `Content-Range`: its body is truncated, or is not of that range
/// (RFC 9110 section 14.4).
#[must_use]
pub fn announces_another_length(status: StatusCode, headers: &HeaderMap) -> bool {
    let range = one(headers, &header::CONTENT_RANGE).and_then(ContentRange::parse);
    status == StatusCode::PARTIAL_CONTENT
        && range.is_some_and(|ContentRange { range, .. }| !is_of_length(&range, headers))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATE: &str = "Wed, 21 Oct 2015 07:28:00 GMT";
    type Pairs = [(&'static str, &'static str)];

    fn headers(pairs: &Pairs) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, HeaderValue::from_static(value));
        }
        map
    }

    /// The meta of a 200 of 10 bytes with more headers.
    fn whole(more: &Pairs) -> Result<ObjectMeta, NotCacheable> {
        let base = [("etag", "\"abc\""), ("last-modified", DATE), ("content-length", "10")];
        ObjectMeta::from_response(StatusCode::OK, &headers(&[&base, more].concat()))
    }

    /// The meta of a 206 with more headers.
    fn partial(content_range: &'static str, more: &Pairs) -> Result<ObjectMeta, NotCacheable> {
        let base = [("etag", "\"abc\""), ("last-modified", DATE), ("content-range", content_range)];
        ObjectMeta::from_response(StatusCode::PARTIAL_CONTENT, &headers(&[&base, more].concat()))
    }

    fn names(pairs: &[(HeaderName, HeaderValue)]) -> Vec<&str> {
        let mut names: Vec<_> = pairs.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn a_200_gives_identity_size_and_date() {
        let meta = whole(&[]).unwrap();
        assert_eq!(meta.etag.as_bytes(), b"\"abc\"");
        assert_eq!((meta.size, meta.version_id.clone(), meta.no_store), (10, None, false));
        assert_eq!(meta.last_modified, httpdate::parse_http_date(DATE).unwrap());
        assert_eq!(names(&meta.headers), ["etag", "last-modified"]);
        assert_eq!(meta.checksums, Some(vec![]));
    }

    #[test]
    fn a_206_takes_the_size_from_content_range() {
        let meta = partial("bytes 0-3/10", &[("content-length", "4")]).unwrap();
        assert_eq!(meta.size, 10);
        assert_eq!(meta.checksums, None);
        assert!(meta.same_version(&whole(&[]).unwrap()));
    }

    #[test]
    fn r2_without_one_strong_etag_nothing_is_admitted() {
        for etags in [&[][..], &["W/\"abc\""], &["abc"], &["\"a\"", "\"a\""], &["\"\""]] {
            let mut map = headers(&[("last-modified", DATE), ("content-length", "10")]);
            for etag in etags {
                map.append("etag", HeaderValue::from_static(etag));
            }
            let read = ObjectMeta::from_response(StatusCode::OK, &map);
            assert_eq!(read, Err(NotCacheable::NoStrongETag), "{etags:?}");
        }
    }

    #[test]
    fn r2_without_a_certain_size_nothing_is_admitted() {
        let base = [("etag", "\"abc\""), ("last-modified", DATE)];
        for more in [
            &[][..],
            &[("content-length", "ten")],
            &[("content-length", "10"), ("content-length", "10")],
            &[("content-length", "10"), ("transfer-encoding", "chunked")],
        ] {
            let read =
                ObjectMeta::from_response(StatusCode::OK, &headers(&[&base[..], more].concat()));
            assert_eq!(read, Err(NotCacheable::NoSize), "{more:?}");
        }
        assert_eq!(partial("bytes 0-3/*", &[]), Err(NotCacheable::NoSize));
        assert_eq!(partial("bytes 5-3/10", &[]), Err(NotCacheable::NoSize));
        let unranged = ObjectMeta::from_response(
            StatusCode::PARTIAL_CONTENT,
            &headers(&[&base[..], &[("content-length", "10")]].concat()),
        );
        assert_eq!(unranged, Err(NotCacheable::NoSize));
    }

    #[test]
    fn r2_without_one_last_modified_date_nothing_is_admitted() {
        let base = [("etag", "\"abc\""), ("content-length", "10")];
        for more in [&[][..], &[("last-modified", "now")], &[("last-modified", DATE); 2]] {
            let read =
                ObjectMeta::from_response(StatusCode::OK, &headers(&[&base[..], more].concat()));
            assert_eq!(read, Err(NotCacheable::NoLastModified), "{more:?}");
        }
    }

    #[test]
    fn a_206_whose_length_contradicts_its_range_is_not_admitted() {
        let read = partial("bytes 0-3/10", &[("content-length", "10")]);
        assert_eq!(read, Err(NotCacheable::LengthMismatch));
    }

    #[test]
    fn other_statuses_and_customer_keys_are_not_admitted() {
        for status in [201, 204, 304, 404, 412, 416, 500] {
            let status = StatusCode::from_u16(status).unwrap();
            let read = ObjectMeta::from_response(status, &HeaderMap::new());
            assert_eq!(read, Err(NotCacheable::Status));
        }
        let encrypted = whole(&[("x-amz-server-side-encryption-customer-algorithm", "AES256")]);
        assert_eq!(encrypted, Err(NotCacheable::CustomerKey));
    }

    #[test]
    fn the_version_id_null_is_replayed_but_is_no_identity() {
        let null = whole(&[("x-amz-version-id", "null")]).unwrap();
        assert_eq!(null.version_id, None);
        assert_eq!(names(&null.headers), ["etag", "last-modified", "x-amz-version-id"]);
        let versioned = whole(&[("x-amz-version-id", "v1")]).unwrap();
        assert_eq!(versioned.version_id, Some(HeaderValue::from_static("v1")));
        assert!(!versioned.same_version(&null));
    }

    #[test]
    fn same_version_compares_version_id_etag_and_size() {
        let one = whole(&[("content-type", "a/b")]).unwrap();
        assert!(one.same_version(&whole(&[("content-type", "c/d")]).unwrap()));
        let larger = ObjectMeta { size: 11, ..one.clone() };
        let etag = ETag::new(HeaderValue::from_static("\"abd\""));
        let changed = ObjectMeta { etag, ..one.clone() };
        assert!(!one.same_version(&larger) && !one.same_version(&changed));
    }

    #[test]
    fn checksums_and_no_store_are_kept_beside_the_replayed_headers() {
        let more = [("x-amz-checksum-crc32", "AAAAAA=="), ("cache-control", "no-store")];
        let meta = whole(&more).unwrap();
        assert_eq!(names(&meta.headers), ["cache-control", "etag", "last-modified"]);
        assert_eq!(names(&meta.checksums.unwrap()), ["x-amz-checksum-crc32"]);
        assert!(meta.no_store);
        assert_eq!(partial("bytes 0-3/10", &more).unwrap().checksums, None);
        assert!(partial("bytes 0-9/10", &more).unwrap().checksums.is_some());
    }
}
