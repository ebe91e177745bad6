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
    let head =
        RequestHead { method: &Method::GET, raw_target, host: None, headers: &headers, has_body };
    parse(&head, &crate::s3::HostNames::default()).map(|parsed| parsed.operation)
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
        &X-Amz-Content-Sha256=UNSIGNED-PAYLOAD&x-amz-checksum-mode=ENABLED&response-content-type=a&response-content-language=b\
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
fn r16_any_other_amz_header_or_a_body_passes_through() {
    for name in [
        "x-amz-server-side-encryption-customer-key",
        "x-amz-request-payer", // not `requester`
        "x-amz-meta-a",
        "x-minio-extract",
        "x-goog-user-project",
        "access-control-request-method",
    ] {
        assert_eq!(try_read("/bkt/k", &[(name, "1")]), None, "{name}");
    }
    let with_body = ask("/bkt/k", &[], true).unwrap();
    assert_eq!(with_body, Operation::PassThrough(Effect::None));
}

#[test]
fn a_requester_who_pays_is_heard_and_no_other() {
    assert!(read("/bkt/k", &[("x-amz-request-payer", "requester")]).pays);
    assert!(!read("/bkt/k", &[]).pays);
    for value in ["", "Requester", "owner"] {
        assert_eq!(try_read("/bkt/k", &[("x-amz-request-payer", value)]), None, "{value}");
    }
    assert_eq!(try_read("/bkt/k", &[("x-amz-request-payer", "requester"); 2]), None);
    assert_eq!(try_read("/bkt/k?x-amz-request-payer=requester", &[]), None, "hoisted");
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
