//! Response headers of a read: those replayed exactly as the origin sent them, and those never replayed.

use http::Method;

use crate::support::*;

const AUTHORIZATION: (&str, &str) = ("Authorization", "AWS4-HMAC-SHA256 unchecked");

async fn setup(object: Object) -> (FakeS3, TestProxy, Client) {
    let s3 = FakeS3::start().await;
    s3.put("data", "k", object);
    let proxy = TestProxy::start(&s3).await;
    let client = proxy.client();
    (s3, proxy, client)
}

/// Headers that describe an object, with values that a parser might tidy up.
const REPLAYED: [(&str, &str); 22] = [
    ("Content-Type", "text/x;  charset=\"utf-8\""),
    ("Content-Encoding", "gzip"),
    ("Content-Language", "de, en-GB"),
    ("Content-Disposition", "attachment; filename=\"a b.txt\"; filename*=UTF-8''%C3%BC"),
    ("Cache-Control", "max-age=60,must-revalidate"),
    ("Expires", "0"),
    ("x-amz-meta-plain", "value"),
    ("x-amz-meta-spaced", "a  b\tc"),
    ("x-amz-meta-encoded", "=?UTF-8?B?w7w=?="),
    ("x-amz-missing-meta", "2"),
    ("x-amz-storage-class", "STANDARD_IA"),
    ("x-amz-expiration", "expiry-date=\"Fri, 21 Dec 2029 00:00:00 GMT\", rule-id=\"r\""),
    ("x-amz-restore", "ongoing-request=\"false\""),
    ("x-amz-replication-status", "COMPLETED"),
    ("x-amz-tagging-count", "3"),
    ("x-amz-object-lock-mode", "GOVERNANCE"),
    ("x-amz-object-lock-retain-until-date", "2030-01-01T00:00:00Z"),
    ("x-amz-object-lock-legal-hold", "ON"),
    ("x-amz-server-side-encryption", "aws:kms"),
    ("x-amz-server-side-encryption-aws-kms-key-id", "arn:aws:kms:x:1:key/2"),
    ("x-amz-server-side-encryption-bucket-key-enabled", "true"),
    ("x-amz-website-redirect-location", "/elsewhere"),
];

#[tokio::test]
async fn what_describes_the_object_is_replayed_exactly() {
    let object = Object::bytes("some bytes")
        .etag("\"Ab+/!#~-3\"")
        .last_modified("Wed, 21 Oct 2015 07:28:00 GMT")
        .version_id("3/L4kqtJlcpXroDTDmJ+rmSpXd3dIbrHY+MTRCxf3vjVBH40Nr8X8gdRQBpUMLUo");
    let object = REPLAYED.iter().fold(object, |object, (name, value)| object.header(name, value));
    let (s3, _proxy, client) = setup(object).await;
    let asked = [
        (Method::GET, ""),
        (Method::GET, "bytes=2-5"),
        (Method::HEAD, ""),
        (Method::HEAD, "bytes=2-5"),
    ];
    for round in 0..3 {
        for (method, range) in &asked {
            let request = client.request(method.clone(), "/data/k");
            let request = if range.is_empty() { request } else { request.range(range) };
            let answer = request.send().await;
            let what = format!("{round} {method} {range}");
            assert_eq!(answer.status, if range.is_empty() { 200 } else { 206 }, "{what}");
            let identity = [
                ("ETag", "\"Ab+/!#~-3\""),
                ("Last-Modified", "Wed, 21 Oct 2015 07:28:00 GMT"),
                (
                    "x-amz-version-id",
                    "3/L4kqtJlcpXroDTDmJ+rmSpXd3dIbrHY+MTRCxf3vjVBH40Nr8X8gdRQBpUMLUo",
                ),
                ("Accept-Ranges", "bytes"),
            ];
            for (name, value) in REPLAYED.iter().chain(&identity) {
                let values: Vec<_> = answer.headers.get_all(*name).iter().collect();
                assert_eq!(values, [value], "{what}: {name}");
            }
        }
    }
    assert_eq!(s3.requests().len(), 1, "{}", s3.describe());
}

#[tokio::test]
async fn a_metadata_value_that_is_no_ascii_is_replayed_byte_for_byte() {
    let (_s3, _proxy, client) =
        setup(Object::bytes("x").header("x-amz-meta-u", "grün \u{20ac}")).await;
    for _ in 0..2 {
        let answer = client.get("/data/k").send().await;
        assert_eq!(answer.headers["x-amz-meta-u"].as_bytes(), "grün \u{20ac}".as_bytes());
    }
}

#[tokio::test]
async fn the_version_id_null_is_replayed_and_never_asked_for() {
    let (s3, _proxy, client) =
        setup(Object::random(20 << 20, 4).header("x-amz-version-id", "null")).await;
    for _ in 0..2 {
        let answer = client.get("/data/k").send().await;
        assert_eq!(answer.header("x-amz-version-id"), "null");
        assert!(answer.complete);
    }
    assert_eq!(s3.count(|r| r.has_param("versionId")), 0, "{}", s3.describe());
}

/// Headers that belong to one response, one connection or one caller (R13).
const NEVER_STORED: [(&str, &str); 13] = [
    ("Access-Control-Allow-Origin", "https://one.example"),
    ("Access-Control-Allow-Credentials", "true"),
    ("Access-Control-Expose-Headers", "ETag"),
    ("Vary", "Origin"),
    ("Set-Cookie", "session=secret"),
    ("Keep-Alive", "timeout=5"),
    ("Proxy-Authenticate", "Basic"),
    ("x-amz-request-charged", "requester"),
    ("x-amz-cf-id", "cloudfront"),
    ("x-amz-mp-parts-count", "7"),
    ("x-amz-delete-marker", "false"),
    ("Via", "1.1 somewhere"),
    ("Age", "1234"),
];

#[tokio::test]
async fn r13_what_belongs_to_one_answer_is_never_replayed() {
    let object = NEVER_STORED
        .iter()
        .fold(Object::bytes("some bytes"), |object, (name, value)| object.header(name, value));
    let (_s3, _proxy, client) = setup(object).await;
    let mut ids = std::collections::HashSet::new();
    for round in 0..3 {
        for request in [
            client.get("/data/k"),
            client.head("/data/k"),
            client.get("/data/k").range("bytes=1-2"),
        ] {
            let answer = request.send().await;
            assert!(answer.status.is_success());
            for (name, _) in NEVER_STORED {
                assert_eq!(answer.header(name), "", "{round}: {name}");
            }
            assert!(ids.insert(answer.header("x-amz-request-id").to_owned()), "a fresh request id");
            assert_ne!(answer.header("x-amz-id-2"), "originhost");
            assert_ne!(answer.header("server"), "AmazonS3");
        }
    }
}

#[tokio::test]
async fn r13_the_date_is_of_the_answer_and_not_of_the_origins() {
    let (_s3, _proxy, client) = setup(Object::bytes("some bytes")).await;
    let before = std::time::SystemTime::now() - std::time::Duration::from_secs(2);
    for request in [
        client.get("/data/k"),
        client.get("/data/k"),
        client.head("/data/k"),
        client.get("/data/none"),
    ] {
        let answer = request.send().await;
        // SDKs correct their clocks by this header.
        let date = httpdate::parse_http_date(answer.header("date"));
        assert!(date.is_ok_and(|date| date >= before), "{:?}", answer.headers);
    }
}

#[tokio::test]
async fn overrides_apply_to_their_answer_and_are_not_stored() {
    let object = Object::bytes("some bytes").header("Content-Type", "a/b").header("Expires", "0");
    let (s3, _proxy, client) = setup(object).await;
    let overrides = "response-content-type=text%2Fplain%3B%20a&response-content-language=de\
        &response-content-disposition=inline&response-content-encoding=identity\
        &response-cache-control=no-store&response-expires=never";
    for round in 0..3 {
        for (method, range, status) in
            [(Method::GET, "bytes=0-", 206), (Method::GET, "x", 200), (Method::HEAD, "x", 200)]
        {
            let request = client.request(method, &format!("/data/k?{overrides}"));
            let (name, value) = AUTHORIZATION;
            let answer = request.header(name, value).range(range).send().await;
            assert_eq!(answer.status, status);
            for (name, value) in [
                ("content-type", "text/plain; a"),
                ("content-language", "de"),
                ("content-disposition", "inline"),
                ("content-encoding", "identity"),
                ("cache-control", "no-store"),
                ("expires", "never"),
            ] {
                let values: Vec<_> = answer.headers.get_all(name).iter().collect();
                assert_eq!(values, [value], "{round}");
            }
        }
        let plain = client.get("/data/k").send().await;
        assert_eq!((plain.header("content-type"), plain.header("expires")), ("a/b", "0"));
        assert_eq!(plain.header("content-disposition"), "");
        assert_eq!(plain.header("cache-control"), "");
    }
    let (name, value) = AUTHORIZATION;
    let request = client.get("/data/k?response-expires=never").header(name, value);
    let same = request.header("If-None-Match", "*").send().await;
    assert_eq!((same.status.as_u16(), same.header("expires")), (304, "0"));
    assert_eq!(s3.requests().len(), 1, "{}", s3.describe());
    assert!(!s3.requests()[0].target.contains("response-"), "{}", s3.describe());
}

#[tokio::test]
async fn r18_overrides_that_are_not_signed_or_hold_control_bytes_are_400() {
    let (s3, _proxy, client) = setup(Object::bytes("some bytes")).await;
    let (name, value) = AUTHORIZATION;
    for round in 0..2 {
        let anonymous = client.get("/data/k?response-content-type=text%2Fhtml").send().await;
        assert_eq!(anonymous.status, 400);
        assert!(anonymous.text().contains("<Code>InvalidRequest</Code>"), "{}", anonymous.text());
        for value_sent in ["a%0D%0ASet-Cookie:%20x=y", "%00", "a%0Ab", "%7F"] {
            let path = format!("/data/k?response-content-type={value_sent}");
            let refused = client.get(&path).header(name, value).send().await;
            assert_eq!(refused.status, 400, "{path}");
            assert!(refused.text().contains("<Code>InvalidArgument</Code>"), "{}", refused.text());
            assert_eq!(refused.header("set-cookie"), "");
        }
        assert_eq!(s3.requests().len(), round);
        assert_eq!(client.get("/data/k").send().await.status, 200);
    }
    let presigned = "/data/k?response-expires=a&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=x";
    assert_eq!(client.get(presigned).send().await.header("expires"), "a");
}

const CHECKSUM: &str = "x-amz-checksum-crc32";

async fn setup_with_checksum() -> (FakeS3, TestProxy, Client) {
    setup(Object::random(300_000, 5).with_crc(CHECKSUM)).await
}

fn in_checksum_mode(request: Request) -> Request {
    request.header("x-amz-checksum-mode", "ENABLED")
}

#[tokio::test]
async fn r17_a_cold_whole_read_in_checksum_mode_is_one_request() {
    let (s3, _proxy, client) = setup_with_checksum().await;
    for _ in 0..2 {
        let answer = in_checksum_mode(client.get("/data/k")).send().await;
        assert_eq!(
            answer.header(CHECKSUM),
            s3.object("data", "k").unwrap().checksum_value(CHECKSUM)
        );
        assert_eq!(answer.header("x-amz-checksum-type"), "FULL_OBJECT");
        assert!(answer.complete && answer.body == s3.object_bytes("data", "k"));
        assert_eq!(s3.requests().len(), 1, "{}", s3.describe());
    }
    assert_eq!(s3.bytes_sent(), 300_000);
    for size in [0, 1, 12 << 20] {
        let key = format!("of-{size}");
        let object = Object::random(size, 6).with_crc(CHECKSUM);
        s3.put("data", &key, object.clone());
        let read = in_checksum_mode(client.get(&format!("/data/{key}"))).send().await;
        let sum = object.checksum_value(CHECKSUM);
        assert_eq!((read.status.as_u16(), read.header(CHECKSUM)), (200, sum), "{key}");
        assert!(read.complete && read.body == s3.object_bytes("data", &key), "{key}");
        assert_eq!(s3.count(|r| r.key == key), 1, "{}", s3.describe());
    }
    assert_eq!(s3.connections(), 1, "they were read to their ends: {}", s3.describe());
}

#[tokio::test]
async fn r17_a_large_cold_read_in_checksum_mode_has_no_head_and_parallel_fetches() {
    let object = Object::random(40 << 20, 5).with_crc(CHECKSUM);
    let (s3, _proxy, client) = setup(object.clone()).await;
    let answer = in_checksum_mode(client.get("/data/k")).send().await;
    assert_eq!(answer.header(CHECKSUM), object.checksum_value(CHECKSUM));
    assert!(answer.complete && answer.body == s3.object_bytes("data", "k"));
    assert_eq!(s3.count(|r| r.method == Method::HEAD), 0, "{}", s3.describe());
    let asked = s3.requests().iter().map(|r| r.header("range").to_owned()).collect::<Vec<_>>();
    // Further requests beside the first: one for each 8 MiB.
    assert!(asked.len() <= 5 && asked[0].is_empty(), "{}", s3.describe());
}

#[tokio::test]
async fn r17_of_concurrent_cold_reads_all_get_checksums_and_one_asks() {
    let (s3, _proxy, client) = setup_with_checksum().await;
    let gate = Gate::new();
    s3.fault(Matcher::get("k"), Times(1), Fault::HoldHeader(gate.clone()));
    let reads: Vec<_> = (0..8)
        .map(|n| match n % 2 {
            0 => tokio::spawn(in_checksum_mode(client.get("/data/k")).send()),
            _ => tokio::spawn(client.get("/data/k").range("bytes=0-9").send()),
        })
        .collect();
    gate.wait_reached().await;
    gate.open();
    for (n, read) in reads.into_iter().enumerate() {
        let answer = read.await.unwrap();
        let object = s3.object("data", "k").unwrap();
        let sum = if n % 2 == 0 { object.checksum_value(CHECKSUM) } else { "" };
        assert_eq!(answer.header(CHECKSUM), sum);
    }
    // A reader that joined a cold fetch by range learns them by HEAD.
    assert!(s3.count(|r| r.method == Method::HEAD) <= 1, "{}", s3.describe());
    s3.assert_each_byte_sent_once("data", "k");
}

#[tokio::test]
async fn r17_a_whole_answer_that_does_not_tell_its_size_is_asked_for_by_head_and_range() {
    let (s3, _proxy, client) = setup_with_checksum().await;
    s3.fault(Matcher::get("k").whole(), Times(1), Fault::Chunked);
    for _ in 0..2 {
        let answer = in_checksum_mode(client.get("/data/k")).send().await;
        assert_eq!(
            answer.header(CHECKSUM),
            s3.object("data", "k").unwrap().checksum_value(CHECKSUM)
        );
        assert!(answer.complete && answer.body == s3.object_bytes("data", "k"));
    }
    let asked = s3.requests();
    let asked = asked.iter().map(|r| (r.method.as_str(), !r.header("range").is_empty()));
    let asked = asked.collect::<Vec<_>>();
    assert_eq!(asked, [("GET", false), ("HEAD", false), ("GET", true)], "{}", s3.describe());
}

#[tokio::test]
async fn r17_the_answers_of_a_range_and_a_head_for_its_checksums_must_agree() {
    let (s3, _proxy, client) = setup_with_checksum().await;
    assert_eq!(client.get("/data/k").send().await.status, 200);
    let newer = Object::random(200_000, 6).with_crc(CHECKSUM);
    s3.put("data", "k", newer.clone());
    let answer = in_checksum_mode(client.get("/data/k")).send().await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("etag"), newer.etag_value().unwrap());
    assert_eq!(answer.header(CHECKSUM), newer.checksum_value(CHECKSUM));
    assert!(answer.complete && answer.body == newer.all());
}

#[tokio::test]
async fn checksums_are_of_whole_answers_in_checksum_mode_only() {
    let (s3, _proxy, client) = setup_with_checksum().await;
    let has = |answer: &Response| !answer.header(CHECKSUM).is_empty();
    for round in 0..3 {
        let part = in_checksum_mode(client.get("/data/k").range("bytes=0-9")).send().await;
        assert!(part.status == 206 && !has(&part), "{round}: a range has no checksum of the whole");
        let all = in_checksum_mode(client.get("/data/k").range("bytes=0-")).send().await;
        assert!(all.status == 206 && !has(&all), "{round}");
        let plain = client.get("/data/k").send().await;
        assert!(plain.status == 200 && !has(&plain), "{round}: not asked for");
        let plain = client.head("/data/k").send().await;
        assert!(plain.status == 200 && !has(&plain), "{round}: not asked for");
        let whole = in_checksum_mode(client.get("/data/k")).send().await;
        assert!(whole.status == 200 && has(&whole), "{round}");
        let head = in_checksum_mode(client.head("/data/k")).send().await;
        assert!(head.status == 200 && has(&head), "{round}");
        let hoisted = client.get("/data/k?X-Amz-Checksum-Mode=ENABLED").send().await;
        assert!(hoisted.status == 200 && has(&hoisted), "{round}: hoisted into the query");
    }
    // The first range did not have them; one HEAD fetched them for good.
    assert_eq!(s3.count(|r| r.method == Method::HEAD), 1, "{}", s3.describe());
    s3.assert_each_byte_sent_once("data", "k");
}

#[tokio::test]
async fn an_object_without_checksums_is_not_asked_for_them_again() {
    let (s3, _proxy, client) = setup(Object::random(300_000, 5)).await;
    for _ in 0..3 {
        let whole = in_checksum_mode(client.get("/data/k")).send().await;
        assert_eq!((whole.status.as_u16(), whole.header(CHECKSUM)), (200, ""));
    }
    assert_eq!(s3.requests().len(), 1, "{}", s3.describe());
}

#[tokio::test]
async fn an_archived_object_is_described_and_given_when_it_is_restored() {
    let archived = Object::bytes("cold").header("x-amz-storage-class", "GLACIER");
    let (s3, _proxy, client) = setup(archived.clone()).await;
    for _ in 0..2 {
        let head = client.head("/data/k").send().await;
        assert_eq!((head.status.as_u16(), head.header("x-amz-storage-class")), (200, "GLACIER"));
        for path in ["/data/k", "/data/k?partNumber=1"] {
            let refused = client.get(path).send().await;
            assert_eq!(refused.status, 403, "{path}");
            let text = refused.text();
            assert!(text.contains("<Code>InvalidObjectState</Code>"), "{text}");
            assert!(text.contains("<StorageClass>GLACIER</StorageClass>"), "{text}");
        }
    }
    s3.put("data", "k", archived.header("x-amz-restore", "ongoing-request=\"false\""));
    assert_eq!(client.get("/data/k").send().await.text(), "cold");
}

#[tokio::test]
async fn errors_are_s3s_xml_and_those_of_a_head_have_no_body() {
    let (s3, _proxy, client) = setup(Object::bytes("some bytes")).await;
    s3.fault(Matcher::any().key("denied"), Always, Fault::Status(403, "AccessDenied"));
    s3.fault(Matcher::any().key("archived"), Always, Fault::Status(403, "InvalidObjectState"));
    s3.fault(Matcher::any().key("gone"), Always, Fault::Status(404, "NoSuchBucket"));
    s3.fault(Matcher::any().key("down"), Always, Fault::Status(500, "InternalError"));
    s3.fault(Matcher::any().key("slow"), Always, Fault::Status(503, "SlowDown"));
    for (key, status, code) in [
        ("none", 404, "NoSuchKey"),
        ("a&b<c", 404, "NoSuchKey"),
        ("denied", 403, "AccessDenied"),
        ("archived", 403, "InvalidObjectState"),
        ("gone", 404, "NoSuchBucket"),
        ("down", 503, "ServiceUnavailable"),
        ("slow", 503, "SlowDown"),
    ] {
        for round in 0..2 {
            let path = format!("/data/{}", key.replace('<', "%3C"));
            let answer = client.get(&path).send().await;
            let text = answer.text();
            assert_eq!(answer.status, status, "{round} {key}");
            assert_eq!(answer.header("content-type"), "application/xml");
            assert!(text.contains(&format!("<Error><Code>{code}</Code><Message>")), "{text}");
            let id = answer.header("x-amz-request-id");
            assert!(text.contains(&format!("<RequestId>{id}</RequestId>")), "{text}");
            assert!(!text.contains("ORIGINREQUEST") && !text.contains("originhost"), "{text}");
            let head = client.head(&path).send().await;
            assert_eq!((head.status.as_u16(), head.body.len(), head.complete), (status, 0, true));
            assert_eq!(head.header("content-type"), "application/xml");
        }
    }
    let escaped = client.get("/data/a&b%3Cc").send().await.text();
    assert!(escaped.contains("<Key>a&amp;b&lt;c</Key>"), "{escaped}");
    assert_eq!(client.connections(), 1, "errors do not cost the connection");
}
