//! The reads that the cache may answer, by allow-list (R16).
//!
//! Only a request whose every query name and `x-amz-*` header is known to leave the bytes alone
//! is a [`Read`]; whatever is unknown, repeated or oddly valued is the origin's to answer. A
//! header that S3 ignores (a malformed range, a date that is none) is ignored here too.

use http::header::{self, HeaderMap, HeaderName};

use super::account::AccountId;
use super::error::S3Error;
use super::operation::RequestHead;
use super::overrides::{self, ResponseOverrides};
use super::part::PartNumber;
use super::precondition::{IfRange, Preconditions};
use super::range::ByteRange;
use super::target::Query;
use super::version::VersionId;

/// Query names that a read may have besides `response-*` (R16). Presigners hoist any `x-amz-*`
/// header into the query, so an unknown name may be an SSE-C key or an expected owner.
const READ_QUERY: [&str; 11] = [
    VERSION_ID,
    PART_NUMBER,
    "x-id",
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-SignedHeaders",
    "X-Amz-Signature",
    "X-Amz-Security-Token",
    CHECKSUM_MODE,
];

/// `x-amz-*` headers that a read may have (R16).
const READ_HEADERS: [&str; 7] = [
    EXPECTED_OWNER,
    "x-amz-date",
    "x-amz-content-sha256",
    "x-amz-security-token",
    CHECKSUM_MODE,
    "x-amz-user-agent",
    "x-amz-api-version",
];

/// Other vendors' headers: some change what is read (`x-minio-extract` reads inside an archive), name another
/// object (`x-goog-copy-source`), or make another method of it.
pub(super) const VENDOR_PREFIXES: [&str; 9] = [
    "x-minio-",
    "x-rgw-",
    "x-goog-",
    "x-oss-",
    "x-ibm-",
    "x-cos-",
    "x-obs-",
    "x-bz-",
    "x-http-method",
];

const EXPECTED_OWNER: &str = "x-amz-expected-bucket-owner";
const CHECKSUM_MODE: &str = "x-amz-checksum-mode";
const VERSION_ID: &str = "versionId";
const PART_NUMBER: &str = "partNumber";

/// A GET or HEAD of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    /// Which of the two.
    pub method: ReadMethod,
    /// The version asked for; `None`: the current one.
    pub version: Option<VersionId>,
    /// The part asked for; never with a range.
    pub part: Option<PartNumber>,
    /// The range asked for; `None` also when S3 would ignore the header.
    pub range: Option<ByteRange>,
    /// `If-Match` and its kin.
    pub preconditions: Preconditions,
    /// `If-Range`; it means nothing without a range.
    pub if_range: Option<IfRange>,
    /// `response-*`: for this 200 or 206 only, never stored.
    pub overrides: ResponseOverrides,
    /// `x-amz-checksum-mode: ENABLED`.
    pub checksum_mode: bool,
    /// The account that the bucket must belong to: only the origin knows whether it does.
    pub expected_owner: Option<AccountId>,
    /// The client demands freshness: `Cache-Control: no-cache`, `no-store` or `max-age=0`, or
    /// `Pragma: no-cache` (R7).
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
    /// The read that a GET or HEAD of a key is; `None` when it must be passed through (R16).
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
        // What is no version's id or part's number, and a range of a part, is refused by the origin, in its own words.
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
            no_cache: false,
        };
        if !headers.keys().any(may_ask_for_less) {
            return Ok(Some(whole));
        }
        let expected_owner = expected_owner(headers);
        if expected_owner.is_none() && headers.contains_key(EXPECTED_OWNER) {
            return Ok(None);
        }
        Ok(Some(Read {
            range: range(headers),
            preconditions: Preconditions::from_headers(headers),
            if_range: IfRange::from_headers(headers),
            no_cache: demands_freshness(headers),
            expected_owner,
            ..whole
        }))
    }
}

/// Every name known, and none twice: servers differ on which of two values counts.
fn query_is_known(query: &Query) -> bool {
    let known = |name: &str| {
        READ_QUERY.contains(&name)
            || name.eq_ignore_ascii_case(CHECKSUM_MODE)
            || overrides::is_override(name)
    };
    let repeated =
        |name: &str| query.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).count() > 1;
    query.iter().all(|(name, _)| known(name) && !repeated(name))
}

/// Whether a header of this name may ask for a part, or for another version than the one that is known, or set a
/// condition. Most
/// requests have none: one look at each name that is there costs less than eight looks for those that are not.
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
    ) || name.as_str() == EXPECTED_OWNER
}

/// Whether a header leaves a request one for the bytes themselves and for nothing else, whoever reads.
pub(super) fn plain_header(name: &HeaderName) -> bool {
    header_is_known(name) && ![CHECKSUM_MODE, EXPECTED_OWNER].contains(&name.as_str())
}

fn header_is_known(name: &HeaderName) -> bool {
    if *name == header::ORIGIN {
        return false;
    }
    let name = name.as_str();
    if name.starts_with("x-amz-") {
        return READ_HEADERS.contains(&name);
    }
    !VENDOR_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// The one owner that is expected.
fn expected_owner(headers: &HeaderMap) -> Option<AccountId> {
    let mut values = headers.get_all(EXPECTED_OWNER).iter();
    let first = values.next()?;
    AccountId::parse(first.as_bytes()).filter(|_| values.next().is_none())
}

/// Whether checksums are asked for, by header or query; `None` when in a way we do not know.
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

/// The one range; several lines are as malformed as several ranges, and ignored.
fn range(headers: &HeaderMap) -> Option<ByteRange> {
    let mut lines = headers.get_all(header::RANGE).iter();
    match (lines.next(), lines.next()) {
        (Some(line), None) => ByteRange::parse(line.to_str().ok()?),
        _ => None,
    }
}

/// Whether the client wants an answer that was just checked (R7).
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
mod tests {
    use super::*;
    use crate::s3::etag::ETag;
    use crate::s3::operation::{Effect, Operation, parse};
    use crate::s3::precondition::Verdict;
    use http::{HeaderValue, Method};
    use std::time::UNIX_EPOCH;

    const SIGNED: (&str, &str) = ("authorization", "AWS4-HMAC-SHA256 x");
    type Pairs = [(&'static str, &'static str)];

    fn ask(target: &str, pairs: &Pairs, has_body: bool) -> Result<Operation, S3Error> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        let raw_target = target.as_bytes();
        let head = RequestHead {
            method: &Method::GET,
            raw_target,
            host: None,
            headers: &headers,
            has_body,
        };
        parse(&head, &[]).map(|parsed| parsed.operation)
    }

    fn try_read(target: &str, pairs: &Pairs) -> Option<Read> {
        match ask(target, pairs, false).unwrap() {
            Operation::Read(read) => Some(read),
            Operation::PassThrough(effect) => {
                assert_eq!(effect, Effect::None);
                None
            }
        }
    }

    fn read(target: &str, pairs: &Pairs) -> Read {
        try_read(target, pairs).unwrap()
    }

    #[test]
    fn a_plain_read_has_nothing_special() {
        let plain = read("/bkt/k", &[]);
        assert_eq!((plain.range, plain.if_range), (None, None));
        assert!(plain.preconditions.is_empty() && plain.overrides.is_empty());
        assert!(!plain.checksum_mode && !plain.no_cache);
    }

    #[test]
    fn each_header_that_asks_for_less_is_heard_when_it_comes_alone() {
        const DATE: &str = "Wed, 21 Oct 2015 07:28:00 GMT";
        let plain = read("/bkt/k", &[("host", "h")]);
        for header in [
            ("range", "bytes=0-1"),
            ("if-range", "\"a\""),
            ("if-match", "\"a\""),
            ("if-none-match", "\"a\""),
            ("if-modified-since", DATE),
            ("if-unmodified-since", DATE),
            ("cache-control", "no-cache"),
            ("pragma", "no-cache"),
        ] {
            assert_ne!(read("/bkt/k", &[header, ("host", "h")]), plain, "{header:?}");
        }
    }

    #[test]
    fn r16_every_allowed_query_name_is_a_read() {
        let target = "/bkt/k?versionId=3%2FL4&partNumber=3&x-id=GetObject&X-Amz-Algorithm=a&X-Amz-Credential=c&X-Amz-Date=d\
            &X-Amz-Expires=1&X-Amz-SignedHeaders=host&X-Amz-Signature=s&X-Amz-Security-Token=t\
            &x-amz-checksum-mode=ENABLED&response-content-type=a&response-content-language=b\
            &response-expires=c&response-cache-control=d&response-content-disposition=e\
            &response-content-encoding=f";
        let all = read(target, &[]);
        assert!(all.checksum_mode);
        assert_eq!(all.overrides.iter().count(), 6);
        assert_eq!((all.version, all.part), (VersionId::new("3/L4"), PartNumber::new(3)));
    }

    #[test]
    fn r16_any_other_query_name_passes_through() {
        for query in [
            "versionId",
            "versionId=",
            "versionId=a%20b",
            "versionid=v",
            "partNumber",
            "partNumber=0",
            "partNumber=10001",
            "partnumber=1",
            "acl",
            "torrent",
            "attributes",
            "uploadId=1",
            "foo",
            "x-amz-algorithm=a",
            "X-Amz-Server-Side-Encryption-Customer-Key=k",
            "X-ID=G",
            "x-amz-expected-bucket-owner=1",
            "X-Amz-Content-Sha256=UNSIGNED-PAYLOAD",
            "AWSAccessKeyId=a&Signature=s&Expires=1",
            "=",
            "x-id%20=G",
        ] {
            assert_eq!(try_read(&format!("/bkt/k?{query}"), &[]), None, "{query}");
        }
        assert_eq!(try_read("/bkt/k?response-foo=a", &[SIGNED]), None);
        // S3 refuses the two together, even where it would ignore the range.
        for range in ["bytes=0-1", "nonsense"] {
            assert_eq!(try_read("/bkt/k?partNumber=1", &[("range", range)]), None, "{range}");
        }
    }

    #[test]
    fn r16_a_name_given_twice_passes_through() {
        for query in ["x-id=a&x-id=a", "X-Amz-Date=1&X-Amz-Date=2", "versionId=1&versionId=1"] {
            assert_eq!(try_read(&format!("/bkt/k?{query}"), &[]), None, "{query}");
        }
        let twice = "/bkt/k?response-content-type=a&response-content-type=b";
        assert_eq!(try_read(twice, &[SIGNED]), None);
    }

    #[test]
    fn r16_every_allowed_header_is_a_read() {
        let all = read(
            "/bkt/k",
            &[
                SIGNED,
                ("x-amz-date", "d"),
                ("x-amz-content-sha256", "UNSIGNED-PAYLOAD"),
                ("x-amz-security-token", "t"),
                ("x-amz-checksum-mode", "ENABLED"),
                ("x-amz-user-agent", "u"),
                ("x-amz-api-version", "2006-03-01"),
                ("user-agent", "aws-cli"),
                ("amz-sdk-invocation-id", "i"),
                ("accept-encoding", "gzip"),
                ("x-forwarded-for", "10.0.0.1"),
            ],
        );
        assert!(all.checksum_mode);
    }

    #[test]
    fn r16_any_other_amz_header_a_body_or_an_origin_passes_through() {
        for name in [
            "x-amz-server-side-encryption-customer-key",
            "x-amz-request-payer",
            "x-amz-meta-a",
            "x-minio-extract",
            "x-goog-user-project",
            "origin",
        ] {
            assert_eq!(try_read("/bkt/k", &[(name, "1")]), None, "{name}");
        }
        let with_body = ask("/bkt/k", &[], true).unwrap();
        assert_eq!(with_body, Operation::PassThrough(Effect::None));
    }

    #[test]
    fn an_expected_owner_is_read_and_what_is_none_passes_through() {
        let expecting = |value| [("x-amz-expected-bucket-owner", value)];
        let owner = read("/bkt/k", &expecting("111122223333")).expected_owner;
        assert_eq!(owner, AccountId::parse(b"111122223333"));
        for value in ["", "1", "11112222333x"] {
            assert_eq!(try_read("/bkt/k", &expecting(value)), None, "{value}");
        }
        let [one] = expecting("111122223333");
        assert_eq!(try_read("/bkt/k", &[one, one]), None);
    }

    #[test]
    fn checksum_mode_is_known_by_header_and_by_query() {
        for mode in ["ENABLED", "enabled"] {
            assert!(read("/bkt/k", &[("x-amz-checksum-mode", mode)]).checksum_mode);
        }
        assert!(read("/bkt/k?X-Amz-Checksum-Mode=ENABLED", &[]).checksum_mode);
        for mode in ["DISABLED", "", "1"] {
            assert_eq!(try_read("/bkt/k", &[("x-amz-checksum-mode", mode)]), None, "{mode}");
        }
        assert_eq!(try_read("/bkt/k?x-amz-checksum-mode", &[]), None);
    }

    #[test]
    fn one_range_is_read_and_what_s3_ignores_is_ignored() {
        let range = |value| read("/bkt/k", &[("range", value)]).range;
        assert_eq!(range("bytes=1-2"), Some(ByteRange::Bounded { first: 1, last: 2 }));
        assert_eq!(range("bytes=-0"), Some(ByteRange::Suffix(0)));
        for value in ["bytes=2-1", "bytes=0-1,3-4", "lines=1-2"] {
            assert_eq!(range(value), None, "{value}");
        }
        assert_eq!(read("/bkt/k", &[("range", "bytes=0-1"), ("range", "bytes=0-1")]).range, None);
    }

    #[test]
    fn conditions_are_read() {
        let pairs = [("if-match", "\"x\""), ("if-range", "\"y\""), ("range", "bytes=0-")];
        let conditional = read("/bkt/k", &pairs);
        let etag = ETag::new(HeaderValue::from_static("\"abc\""));
        assert_eq!(conditional.preconditions.evaluate(&etag, UNIX_EPOCH), Verdict::Failed);
        assert_eq!(conditional.if_range, Some(IfRange::ETag("\"y\"".to_owned())));
    }

    #[test]
    fn r18_an_override_that_s3_refuses_is_refused_even_where_it_would_pass_through() {
        for query in ["response-expires=%0D%0A", "versionId=1&response-expires=%00"] {
            let refused = ask(&format!("/bkt/k?{query}"), &[SIGNED], false).unwrap_err();
            assert_eq!(refused.code, "InvalidArgument", "{query}");
        }
        let refused = ask("/bkt/k?response-expires=a", &[], false).unwrap_err();
        assert_eq!(refused.code, "InvalidRequest");
        // A list knows no overrides.
        assert_eq!(try_read("/bkt?response-expires=a", &[]), None);
        assert_eq!(try_read("/bkt/k?response-expires=%C3%BC", &[SIGNED]), None);
        assert!(!read("/bkt/k?response-expires=a", &[SIGNED]).overrides.is_empty());
    }

    #[test]
    fn r7_a_demand_for_freshness_is_seen_in_every_spelling() {
        for (name, value) in [
            ("cache-control", "no-cache"),
            ("cache-control", "No-Cache"),
            ("cache-control", "no-store"),
            ("cache-control", "a=b, max-age=0"),
            ("cache-control", "max-age=\"0\""),
            ("pragma", "no-cache"),
            ("pragma", "x, No-Cache"),
        ] {
            assert!(read("/bkt/k", &[(name, value)]).no_cache, "{name}: {value}");
        }
        for (name, value) in [
            ("cache-control", "max-age=60"),
            ("cache-control", "max-age="),
            ("cache-control", "max-stale=0"),
            ("cache-control", "only-if-cached"),
            ("pragma", "cache"),
        ] {
            assert!(!read("/bkt/k", &[(name, value)]).no_cache, "{name}: {value}");
        }
    }
}
