//! The reads that the cache may answer, by allow-list (R16).
//!
//! Only a request whose every query parameter and `x-amz-*` header is known not to affect the bytes is a [`Read`];
//! requests with an unknown, repeated or odd one are left to the origin. A header that S3 ignores (a malformed range,
//! an invalid date) is ignored here too.

use http::header::{self, HeaderMap, HeaderName};
use http::method::Method;

use super::account::AccountId;
use super::error::S3Error;
use super::name::{BucketName, ObjectId, ObjectKey, Realm};
use super::overrides::{self, ResponseOverrides};
use super::part::PartNumber;
use super::precondition::{IfRange, Preconditions};
use super::range::ByteRange;
use super::request_head::RequestHead;
use super::target::{Query, is_presigned};
use super::version::VersionId;

/// Query parameters of a read besides `response-*` and a presigned signature (R16). Presigners hoist any `x-amz-*`
/// header into the query, so an unknown name may be an SSE-C key or an expected owner.
const READ_QUERY: [&str; 4] = [VERSION_ID, PART_NUMBER, "x-id", CHECKSUM_MODE];

/// `x-amz-*` headers of a read (R16).
const READ_HEADERS: [&str; 9] = [
    EXPECTED_OWNER,
    REQUEST_PAYER,
    "x-amz-date",
    "x-amz-content-sha256",
    "x-amz-security-token",
    CHECKSUM_MODE,
    "x-amz-user-agent",
    "x-amz-api-version",
    // Added by CloudFront; it is not passed on.
    "x-amz-cf-id",
];

/// Prefixes of other vendors' headers: some change what is read (`x-minio-extract` reads inside an archive), name
/// another object (`x-goog-copy-source`), or override the method.
pub(crate) const VENDOR_PREFIXES: [&str; 11] = [
    "x-minio-",
    "x-rgw-",
    "x-goog-",
    "x-oss-",
    "x-ibm-",
    "x-cos-",
    "x-obs-",
    "x-bz-",
    "x-rustfs-",
    "x-http-method",
    "x-method-override",
];

const REQUEST_PAYER: &str = "x-amz-request-payer";
const EXPECTED_OWNER: &str = "x-amz-expected-bucket-owner";
const CHECKSUM_MODE: &str = "x-amz-checksum-mode";
const VERSION_ID: &str = "versionId";
const PART_NUMBER: &str = "partNumber";

/// A GET or HEAD of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    /// GET or HEAD.
    pub method: ReadMethod,
    /// The requested version; `None`: the current one.
    pub version: Option<VersionId>,
    /// The requested part; never with a range.
    pub part: Option<PartNumber>,
    /// The requested range; `None` also when S3 would ignore the header.
    pub range: Option<ByteRange>,
    /// `If-Match` and its kin.
    pub preconditions: Preconditions,
    /// `If-Range`; it has no meaning without a range.
    pub if_range: Option<IfRange>,
    /// `response-*`: for this 200 or 206 only, never stored.
    pub overrides: ResponseOverrides,
    /// `x-amz-checksum-mode: ENABLED`.
    pub checksum_mode: bool,
    /// The expected account of the bucket, which only the origin can check.
    pub expected_owner: Option<AccountId>,
    /// Whether the requester pays instead of the bucket's owner.
    pub pays: bool,
    /// Whether the client demands freshness: `Cache-Control: no-cache`, `no-store` or `max-age=0`, or `Pragma:
    /// no-cache` (R7).
    pub no_cache: bool,
}

/// The method of a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadMethod {
    /// GET
    Get,
    /// HEAD
    Head,
}

impl Read {
    /// Returns the identity of the object that is read, within `realm`.
    #[must_use]
    pub fn id(&self, realm: &Realm, bucket: &BucketName, key: &ObjectKey) -> ObjectId {
        let id = ObjectId::new(realm, bucket.clone(), key.clone());
        let id = match &self.version {
            None => id,
            Some(version) => id.at(version.clone()),
        };
        if self.pays { id.paid() } else { id }
    }

    /// Parses a GET or HEAD of a key as a read; `None`: it must pass through (R16).
    pub(super) fn understand(
        method: ReadMethod,
        head: &RequestHead<'_>,
        query: &Query,
    ) -> Result<Option<Self>, S3Error> {
        overrides::check(head, query)?;
        let headers = head.headers;
        if head.has_body || !headers.keys().all(header_is_known) || !query_is_known(query) {
            return Ok(None);
        }
        let overrides = ResponseOverrides::of(query);
        let (Some(overrides), Some(checksum_mode)) = (overrides, checksum_mode(headers, query))
        else {
            return Ok(None);
        };
        let version = query.get(VERSION_ID).map(VersionId::new);
        let part = query.get(PART_NUMBER).map(PartNumber::parse);
        // Invalid version ids and part numbers, and a range of a part, are refused by the origin, in its own words.
        if version == Some(None) || part == Some(None) {
            return Ok(None);
        }
        let (version, part) = (version.flatten(), part.flatten());
        if part.is_some() && headers.contains_key(header::RANGE) {
            return Ok(None);
        }
        let whole = Read {
            method,
            version,
            part,
            range: None,
            preconditions: Preconditions::default(),
            if_range: None,
            overrides,
            checksum_mode,
            expected_owner: None,
            pays: false,
            no_cache: false,
        };
        if !headers.keys().any(may_ask_for_less) {
            return Ok(Some(whole));
        }
        let expected_owner = expected_owner(headers);
        if expected_owner.is_none() && headers.contains_key(EXPECTED_OWNER) {
            return Ok(None);
        }
        let mut payers = headers.get_all(REQUEST_PAYER).iter();
        let pays = payers.next();
        if pays.is_some_and(|who| who != "requester") || payers.next().is_some() {
            return Ok(None);
        }
        Ok(Some(Read {
            range: range(headers),
            preconditions: Preconditions::from_headers(headers),
            if_range: IfRange::from_headers(headers),
            no_cache: demands_freshness(headers),
            expected_owner,
            pays: pays.is_some(),
            ..whole
        }))
    }
}

/// Returns in words why a request is not a read that the cache may answer; `None`: it is one, or it is malformed.
#[must_use]
pub fn obstacle(head: &RequestHead<'_>, query: &Query, has_key: bool) -> Option<String> {
    if !matches!(*head.method, Method::GET | Method::HEAD) {
        return Some(format!("{} is not cached: only GET and HEAD of an object are", head.method));
    }
    if !has_key {
        return Some("it names no object: lists are kept only where a rule says so".to_owned());
    }
    if head.has_body {
        return Some("it has a body".to_owned());
    }
    if let Some(name) = head.headers.keys().find(|name| !header_is_known(name)) {
        return Some(format!("the header `{name}` may change what is answered"));
    }
    let unknown = query.iter().map(|(name, _)| name).find(|name| {
        !READ_QUERY.contains(name)
            && !is_presigned(name)
            && !name.eq_ignore_ascii_case(CHECKSUM_MODE)
            && !overrides::is_override(name)
    });
    if let Some(name) = unknown {
        return Some(format!("the query parameter `{name}` may change what is answered"));
    }
    if query.has_repeated_name() {
        return Some("a query parameter is given twice".to_owned());
    }
    None
}

/// Returns the version (`None`: the current one) that the response to a GET or HEAD of a key describes, even if the
/// cache may not answer the request. Returns `None` if the response may describe something else: a part, a subresource,
/// or the result of a server's own extension.
#[must_use]
pub fn shows_object(head: &RequestHead<'_>, query: &Query) -> Option<Option<VersionId>> {
    let reads = matches!(*head.method, Method::GET | Method::HEAD) && !head.has_body;
    let known = |name: &str| {
        READ_QUERY.contains(&name)
            || overrides::is_override(name)
            || name.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("x-amz-"))
    };
    let plain = query.iter().all(|(name, _)| known(name)) && !query.has_repeated_name();
    let vendors =
        |name: &HeaderName| VENDOR_PREFIXES.iter().any(|prefix| name.as_str().starts_with(prefix));
    if !reads || !plain || query.get(PART_NUMBER).is_some() || head.headers.keys().any(vendors) {
        return None;
    }
    match query.get(VERSION_ID) {
        None => Some(None),
        Some(version) => VersionId::new(version).map(Some),
    }
}

/// Whether every parameter is known, and none repeated: servers differ on which of two values counts.
fn query_is_known(query: &Query) -> bool {
    let known = |name: &str| {
        READ_QUERY.contains(&name)
            || is_presigned(name)
            || name.eq_ignore_ascii_case(CHECKSUM_MODE)
            || overrides::is_override(name)
    };
    query.iter().all(|(name, _)| known(name)) && !query.has_repeated_name()
}

/// Whether a header with this name may request a part or another version than the cached one, or set a condition. Most
/// requests have none: one look at each present name costs less than eight lookups of absent ones.
fn may_ask_for_less(name: &HeaderName) -> bool {
    matches!(
        *name,
        header::RANGE
            | header::IF_RANGE
            | header::IF_MATCH
            | header::IF_NONE_MATCH
            | header::IF_MODIFIED_SINCE
            | header::IF_UNMODIFIED_SINCE
            | header::CACHE_CONTROL
            | header::PRAGMA
    ) || [EXPECTED_OWNER, REQUEST_PAYER].contains(&name.as_str())
}

/// Whether a header leaves the request one for the bytes alone, whoever reads.
pub(super) fn plain_header(name: &HeaderName) -> bool {
    header_is_known(name)
        && *name != header::ORIGIN
        && ![CHECKSUM_MODE, EXPECTED_OWNER, REQUEST_PAYER].contains(&name.as_str())
}

fn header_is_known(name: &HeaderName) -> bool {
    if [header::ACCESS_CONTROL_REQUEST_METHOD, header::ACCESS_CONTROL_REQUEST_HEADERS]
        .contains(name)
    {
        // Some servers choose the CORS rule by them.
        return false;
    }
    let name = name.as_str();
    if name.starts_with("x-amz-") {
        return READ_HEADERS.contains(&name);
    }
    !VENDOR_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Returns the one expected owner of the bucket (`x-amz-expected-bucket-owner`).
#[must_use]
pub fn expected_owner(headers: &HeaderMap) -> Option<AccountId> {
    let mut values = headers.get_all(EXPECTED_OWNER).iter();
    let first = values.next()?;
    AccountId::parse(first.as_bytes()).filter(|_| values.next().is_none())
}

/// Whether checksums are requested, by header or query; `None`: in an unknown way.
fn checksum_mode(headers: &HeaderMap, query: &Query) -> Option<bool> {
    let in_headers = headers
        .iter()
        .filter(|(name, _)| name.as_str() == CHECKSUM_MODE)
        .map(|(_, value)| value.as_bytes());
    let in_query = query
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case(CHECKSUM_MODE))
        .map(|(_, value)| value.unwrap_or_default().as_bytes());
    let mut asked = in_headers.chain(in_query).peekable();
    let enabled = asked.peek().is_some();
    asked.all(|value| value.eq_ignore_ascii_case(b"ENABLED")).then_some(enabled)
}

/// Returns the one range; several lines are as malformed as several ranges, and ignored.
fn range(headers: &HeaderMap) -> Option<ByteRange> {
    let mut lines = headers.get_all(header::RANGE).iter();
    match (lines.next(), lines.next()) {
        (Some(line), None) => ByteRange::parse(line.to_str().ok()?),
        _ => None,
    }
}

/// Whether the client demands a response that was just validated (R7).
pub(super) fn demands_freshness(headers: &HeaderMap) -> bool {
    let directives = |name: &HeaderName| {
        let lines = headers.get_all(name).iter().filter_map(|line| line.to_str().ok());
        let all: Vec<&str> = lines.flat_map(|line| line.split(',')).map(str::trim).collect();
        all
    };
    let fresh = |directive: &&str| {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        let (name, value) = (name.trim(), value.trim().trim_matches('"'));
        name.eq_ignore_ascii_case("no-cache")
            || name.eq_ignore_ascii_case("no-store")
            || (name.eq_ignore_ascii_case("max-age")
                && !value.is_empty()
                && value.bytes().all(|b| b == b'0'))
    };
    directives(&header::CACHE_CONTROL).iter().any(fresh)
        || directives(&header::PRAGMA).iter().any(|d| d.eq_ignore_ascii_case("no-cache"))
}

#[cfg(test)]
mod tests;
