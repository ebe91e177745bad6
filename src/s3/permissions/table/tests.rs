use super::*;
use crate::s3::operation::parse;
use http::{HeaderName, HeaderValue};

const EVERYTHING: &str = "read **, write **, list **, delete **, admin **";

type Headers<'a> = &'a [(&'static str, &'static str)];

fn needs_of(method: &str, target: &str, pairs: Headers<'_>) -> RequiredPermissions {
    let mut headers = HeaderMap::new();
    headers.insert("authorization", HeaderValue::from_static("AWS4-HMAC-SHA256 x"));
    for (name, value) in pairs {
        headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    let head = RequestHead {
        method: &Method::from_bytes(method.as_bytes()).unwrap(),
        raw_target: target.as_bytes(),
        host: None,
        headers: &headers,
        has_body: false,
    };
    RequiredPermissions::of(&head, &parse(&head, &crate::s3::HostNames::default()).unwrap())
}

/// Returns the permissions as text, such as `read bkt/k, write bkt/l`.
fn with(method: &str, target: &str, headers: Headers<'_>) -> String {
    let needs = needs_of(method, target, headers);
    let pairs = needs.iter().map(|need| format!("{} {}", need.action.as_str(), need.resource));
    pairs.collect::<Vec<_>>().join(", ")
}

fn needs(method: &str, target: &str) -> String {
    with(method, target, &[])
}

#[test]
fn r21_each_operation_needs_what_s3_asks_for_it() {
    for (method, target, expected) in [
        ("GET", "/bkt/a/b", "read bkt/a/b"),
        ("HEAD", "/bkt/k", "read bkt/k"),
        ("GET", "/bkt/k?versionId=1", "read bkt/k"),
        ("GET", "/bkt/k?partNumber=2&x-id=GetObject", "read bkt/k"),
        ("GET", "/bkt/k?versionId=1&response-content-type=a", "read bkt/k"),
        ("GET", "/bkt/k?attributes", "read bkt/k"),
        ("GET", "/bkt/k?tagging&versionId=1", "read bkt/k"),
        ("GET", "/bkt/k?acl", "read bkt/k"),
        ("GET", "/bkt/k?retention", "read bkt/k"),
        ("GET", "/bkt/k?uploadId=1&max-parts=2", "write bkt/k"),
        ("PUT", "/bkt/k", "write bkt/k"),
        ("PUT", "/bkt/k?x-id=PutObject", "write bkt/k"),
        ("PUT", "/bkt/k?partNumber=1&uploadId=u", "write bkt/k"),
        ("PUT", "/bkt/k?tagging", "write bkt/k"),
        ("PUT", "/bkt/k?legal-hold", "write bkt/k"),
        ("PUT", "/bkt/k?acl", "admin bkt/k"),
        ("POST", "/bkt/k?uploads", "write bkt/k"),
        ("POST", "/bkt/k?uploadId=u", "write bkt/k"),
        ("POST", "/bkt/k?restore", "write bkt/k"),
        ("POST", "/bkt/k?select&select-type=2", "read bkt/k"),
        ("DELETE", "/bkt/k", "delete bkt/k"),
        ("DELETE", "/bkt/k?versionId=1", "delete bkt/k"),
        ("DELETE", "/bkt/k?uploadId=u", "write bkt/k"),
        ("DELETE", "/bkt/k?tagging", "write bkt/k"),
        ("GET", "/", "list **"),
        ("GET", "/?x-id=ListBuckets&max-buckets=5", "list **"),
        ("HEAD", "/bkt", "list bkt"),
        ("GET", "/bkt?location", "list bkt"),
        ("POST", "/bkt?delete", "delete bkt/**"),
    ] {
        assert_eq!(needs(method, target), expected, "{method} {target}");
    }
}

#[test]
fn r21_a_list_needs_its_prefix() {
    for (target, expected) in [
        ("/bkt", "list bkt/**"),
        ("/bkt?prefix=", "list bkt/**"),
        ("/bkt/?prefix=a%2Fb&delimiter=/&max-keys=2&marker=x", "list bkt/a/b**"),
        ("/bkt?list-type=2&prefix=a+b&fetch-owner=true&start-after=z", "list bkt/a b**"),
        ("/bkt?versions&prefix=a/&key-marker=k&version-id-marker=v", "list bkt/a/**"),
        ("/bkt?uploads&prefix=a/&upload-id-marker=u&max-uploads=1", "list bkt/a/**"),
        ("/bkt?prefix=a/&prefix=b/", "admin bkt/**"),
        ("/bkt?prefix=a/&Prefix=b/", "admin bkt/**"),
        ("/bkt?versions&uploads&prefix=a/", "admin bkt/**"),
        ("/bkt?prefix=a/&metadata=true", "admin bkt/**"),
    ] {
        assert_eq!(needs("GET", target), expected, "{target}");
    }
}

#[test]
fn r21_what_is_not_known_needs_admin_of_the_bucket() {
    for (method, target) in [
        ("GET", "/bkt?policy"),
        ("GET", "/bkt?acl"),
        ("GET", "/bkt?versioning"),
        ("GET", "/bkt?location&policy"),
        ("GET", "/bkt?session"),
        ("GET", "/bkt?delete"),
        ("PUT", "/bkt"),
        ("PUT", "/bkt?lifecycle"),
        ("DELETE", "/bkt"),
        ("DELETE", "/bkt?policy"),
        ("POST", "/bkt"),
        ("POST", "/bkt?delete&prefix=a"),
        ("HEAD", "/bkt?acl"),
        ("GET", "/bkt/k?annotation"),
        ("GET", "/bkt/k?uploads"),
        ("GET", "/bkt/k?acl&tagging"),
        ("GET", "/bkt/k?versionId=1&versionId=2"),
        ("GET", "/bkt/k?foo"),
        ("HEAD", "/bkt/k?acl"),
        ("HEAD", "/bkt/k?uploadId=u"),
        ("PUT", "/bkt/k?versionId=1"),
        ("PUT", "/bkt/k?append&position=0"),
        ("POST", "/bkt/k"),
        ("POST", "/bkt/k?delete"),
        ("DELETE", "/bkt/k?acl"),
        ("PATCH", "/bkt/k"),
        ("COPY", "/bkt/k"),
        ("get", "/bkt/k"),
        ("TRACE", "/bkt"),
        ("GET", "/bkt/k?="),
    ] {
        assert_eq!(needs(method, target), "admin bkt/**", "{method} {target}");
    }
    for (method, target) in [("PUT", "/"), ("POST", "/"), ("GET", "/?foo"), ("HEAD", "/")] {
        assert_eq!(needs(method, target), "admin **", "{method} {target}");
    }
}

#[test]
fn r21_what_is_not_known_needs_its_sources_and_every_spelling_of_its_key_too() {
    for target in ["/bkt/k?foo", "/bkt/k?tagging&tagging", "/bkt/k?versionId=1"] {
        let copied = with("PUT", target, &[("x-amz-copy-source", "src/a")]);
        assert_eq!(copied, "admin bkt/**, read src/a", "{target}");
    }
    assert_eq!(needs("PUT", "/bkt/k?foo&X-Amz-Copy-Source=src%2Fa"), "admin bkt/**, read src/a");
    let renamed = with("PUT", "/bkt/k?renameObject&foo", &[("x-amz-rename-source", "../src/a")]);
    assert!(renamed.ends_with(EVERYTHING), "{renamed}");
    for (method, target) in [
        ("GET", "/bkt/../other/k?foo"),
        ("PATCH", "/bkt/a/../../other/k"),
        ("DELETE", "/bkt/%252e%252e/other/k?acl"),
        ("GET", "/bkt?prefix=a&prefix=../other/"),
        ("GET", "/bkt?list-type=2&Prefix=..%2Fother&foo"),
    ] {
        let needed = needs(method, target);
        assert!(needed.ends_with(EVERYTHING), "{method} {target}: {needed}");
    }
}

#[test]
fn a_cors_preflight_needs_nothing() {
    let preflight = [("origin", "https://a"), ("access-control-request-method", "PUT")];
    assert_eq!(with("OPTIONS", "/bkt/k?X-Amz-Signature=s", &preflight), "");
    assert_eq!(with("OPTIONS", "/bkt/k", &preflight[..1]), "admin bkt/**");
    assert_eq!(with("OPTIONS", "/bkt/k", &[]), "", "the origin answers it to everybody");
}

#[test]
fn r21_a_copy_needs_read_on_its_source_in_every_encoding() {
    let copied = |source| with("PUT", "/bkt/k", &[("x-amz-copy-source", source)]);
    for (source, expected) in [
        ("/src/a/b", "write bkt/k, read src/a/b"),
        ("src/a/b", "write bkt/k, read src/a/b"),
        ("src/a%2Fb", "write bkt/k, read src/a/b"),
        ("%2Fsrc%2Fa", "write bkt/k, read src/a"),
        ("src/a?versionId=v.1", "write bkt/k, read src/a"),
        ("src/a%3FversionId%3Dv", "write bkt/k, read src/a?versionId=v, read src/a"),
        ("src/a+b", "write bkt/k, read src/a+b, read src/a b"),
        ("src/a%2Bb", "write bkt/k, read src/a+b"),
        ("src/a%252Fb", "write bkt/k, read src/a%2Fb"),
        ("src//a", "write bkt/k, read src//a, read src/a"),
        (
            "src/../other/a",
            "write bkt/k, read src/../other/a, read other/a, read src/other/a, read **, write **, list **, delete **, admin **",
        ),
    ] {
        assert_eq!(copied(source), expected, "{source}");
    }
    for unreadable in [
        "",
        "/",
        "src",
        "src/",
        "//src/a",
        "%252Fsrc/a",
        "src/a%zz",
        "src/%FF",
        "src/a?b",
        "src/a?versionId=v&x",
        "src/a?versionId=v?versionId=w&x",
        "arn:aws:s3:us-east-1:1:accesspoint/x/object/k",
    ] {
        assert_eq!(copied(unreadable), "write bkt/k, admin **", "{unreadable}");
    }
    let two = [("x-amz-copy-source", "src/a"), ("x-amz-copy-source", "src/b")];
    assert_eq!(with("PUT", "/bkt/k", &two), "write bkt/k, read src/a, read src/b");
}

#[test]
fn r21_a_part_copied_needs_read_on_its_source() {
    let headers = [("x-amz-copy-source", "src/a"), ("x-amz-copy-source-range", "bytes=0-1")];
    let part = with("PUT", "/bkt/k?partNumber=1&uploadId=u", &headers);
    assert_eq!(part, "write bkt/k, read src/a");
}

#[test]
fn r21_a_source_in_a_presigned_query_is_a_source() {
    for name in ["x-amz-copy-source", "X-Amz-Copy-Source"] {
        let hoisted = |value: &str| needs("PUT", &format!("/bkt/k?{name}={value}"));
        assert_eq!(hoisted("%2Fsrc%2Fa"), "write bkt/k, read src/a");
        assert_eq!(hoisted("src%2Fa%252Fb"), "write bkt/k, read src/a/b, read src/a%2Fb");
        assert_eq!(hoisted("%252Fsrc%252Fa"), "write bkt/k, read src/a");
        assert_eq!(hoisted("src%2Fa%3FversionId%3Dv"), "write bkt/k, read src/a");
        assert_eq!(hoisted("nothing"), "write bkt/k, admin **");
    }
}

#[test]
fn r21_a_rename_needs_its_source_in_every_reading() {
    let renamed = |source| with("PUT", "/bkt/k?renameObject", &[("x-amz-rename-source", source)]);
    assert_eq!(renamed("/old"), "write bkt/k, read bkt/old, delete bkt/old");
    assert_eq!(
        renamed("bkt/old"),
        "write bkt/k, read bkt/bkt/old, delete bkt/bkt/old, read bkt/old, delete bkt/old"
    );
    assert_eq!(renamed("%zz"), "write bkt/k, admin **");
}

#[test]
fn r21_a_header_that_opens_an_object_needs_admin_too() {
    for (name, value) in [
        ("x-amz-acl", "public-read"),
        ("x-amz-acl", "PRIVATE"),
        ("x-amz-grant-read", "uri=http://acs.amazonaws.com/groups/global/AllUsers"),
        ("x-amz-bypass-governance-retention", "true"),
    ] {
        let needed = with("PUT", "/bkt/k", &[(name, value)]);
        assert_eq!(needed, "write bkt/k, admin bkt/k", "{name}: {value}");
    }
    assert_eq!(needs("PUT", "/bkt/k?X-Amz-Acl=public-read"), "write bkt/k, admin bkt/k");
    for (name, value) in [("x-amz-append-from", "other"), ("x-goog-copy-source", "src/a")] {
        let needed = with("PUT", "/bkt/k", &[(name, value)]);
        assert_eq!(needed, "write bkt/k, admin bkt/**", "{name}: {value}");
    }
    let vendors = with("GET", "/bkt/k", &[("x-minio-source-mtime", "1")]);
    assert_eq!(vendors, "read bkt/k, admin bkt/**");
    assert_eq!(needs("PUT", "/bkt/k?x-amz-new=1"), "write bkt/k, admin bkt/**");
}

#[test]
fn r21_an_upload_that_is_unpacked_needs_a_write_of_the_bucket() {
    for name in ["x-amz-meta-snowball-auto-extract", "x-amz-meta-minio-snowball-prefix"] {
        assert_eq!(with("PUT", "/bkt/k", &[(name, "true")]), "write bkt/k, write bkt/**", "{name}");
    }
    let needed = with("PUT", "/bkt/k", &[("x-minio-extract", "true")]);
    assert_eq!(needed, "write bkt/k, write bkt/**, admin bkt/**");
    let hoisted = needs("PUT", "/bkt/k?X-Amz-Meta-Snowball-Auto-Extract=true");
    assert_eq!(hoisted, "write bkt/k, write bkt/**");
}

#[test]
fn r21_a_key_needs_all_that_a_server_may_take_it_for() {
    assert_eq!(needs("GET", "/bkt/a/../b"), "read bkt/a/../b, read bkt/b");
    assert_eq!(needs("PUT", "/bkt//k"), "write bkt//k, write bkt/k");
    assert_eq!(needs("GET", "/bkt/a/.."), "read bkt/a/.., list bkt/**");
    assert_eq!(needs("DELETE", "/bkt/."), "delete bkt/., admin bkt/**");
    let climbing = format!("read bkt/../other/k, read other/k, read bkt/other/k, {EVERYTHING}");
    assert_eq!(needs("GET", "/bkt/../other/k"), climbing);
    for key in ["..", "%2e%2e", "%252e%252e", "a/..%2f..", "..%5c", "..;"] {
        let needed = needs("GET", &format!("/bkt/{key}"));
        assert!(needed.ends_with(EVERYTHING), "{key}: {needed}");
    }
    let listed = needs("GET", "/bkt?prefix=a%2F..%2F..%2Fother");
    assert_eq!(listed, format!("list bkt/a/../../other**, {EVERYTHING}"));
}

#[test]
fn the_headers_of_an_upload_need_nothing_more() {
    let headers = [
        ("x-amz-acl", "private"),
        ("x-amz-date", "d"),
        ("x-amz-content-sha256", "UNSIGNED-PAYLOAD"),
        ("x-amz-security-token", "t"),
        ("x-amz-meta-owner", "me"),
        ("x-amz-checksum-crc32", "AAAAAA=="),
        ("x-amz-sdk-checksum-algorithm", "CRC32"),
        ("x-amz-trailer", "x-amz-checksum-crc32"),
        ("x-amz-decoded-content-length", "1"),
        ("x-amz-server-side-encryption", "AES256"),
        ("x-amz-server-side-encryption-customer-key", "k"),
        ("x-amz-storage-class", "STANDARD_IA"),
        ("x-amz-tagging", "a=b"),
        ("x-amz-expected-bucket-owner", "1"),
        ("content-md5", "m"),
        ("if-none-match", "*"),
    ];
    assert_eq!(with("PUT", "/bkt/k", &headers), "write bkt/k");
    let presigned = "/bkt/k?X-Amz-Algorithm=a&X-Amz-Credential=c&X-Amz-Date=d&X-Amz-Expires=1\
                     &X-Amz-SignedHeaders=host&X-Amz-Signature=s&X-Amz-Security-Token=t";
    assert_eq!(needs("PUT", presigned), "write bkt/k");
}

#[test]
fn r21_only_a_plain_delete_of_many_waits_for_its_keys() {
    let listed = |method, target, headers| {
        needs_of(method, target, headers).listed_in_body().map(ToString::to_string)
    };
    assert_eq!(listed("POST", "/bkt?delete&x-id=DeleteObjects", &[]), Some("bkt".to_owned()));
    assert_eq!(listed("POST", "/bkt?delete", &[("x-amz-mfa", "1 2")]), Some("bkt".to_owned()));
    let bypass: Headers<'_> = &[("x-amz-bypass-governance-retention", "true")];
    assert_eq!(listed("POST", "/bkt?delete", bypass), None);
    assert_eq!(listed("DELETE", "/bkt/k", &[]), None);
    assert_eq!(listed("DELETE", "/bkt", &[]), None);
}
