//! Admission to the cache or streaming through (R2, R13, R16), and the origin requests made on a client's behalf (R4,
//! R17).

use hotset::cache::RuleConfig;
use http::Method;

use crate::support::*;

pub async fn setup() -> (FakeS3, TestProxy, Client) {
    let s3 = FakeS3::start().await;
    let proxy = TestProxy::start(&s3).await;
    let client = proxy.client();
    (s3, proxy, client)
}

/// Reads in every way, and expects the current object, whole and with its own headers.
async fn reads_the_present(s3: &FakeS3, client: &Client, what: &str) {
    let now = s3.object("data", "k").expect("an object to read");
    let etag = now.etag_value().unwrap_or_default();
    let whole = client.get("/data/k").send().await;
    assert_eq!((whole.status.as_u16(), &whole.body), (200, &now.all()), "{what}");
    assert_eq!(whole.header("etag"), etag, "{what}");
    assert_eq!(whole.header("cache-status"), "hotset; fwd=bypass", "{what}");
    let part = client.get("/data/k").range("bytes=3-5").send().await;
    assert_eq!((part.status.as_u16(), &part.body), (206, &now.slice(3..6)), "{what}");
    let head = client.head("/data/k").send().await;
    assert_eq!((head.status.as_u16(), head.header("etag")), (200, etag), "{what}");
    assert_eq!(head.header("content-length"), now.len().to_string(), "{what}");
}

#[tokio::test]
async fn r2_an_answer_that_names_no_version_is_streamed_and_not_admitted() {
    type Change = fn(Object) -> Object;
    let cases: [(&str, Change); 5] = [
        ("no ETag", Object::no_etag),
        ("a weak ETag", |o| o.etag("W/\"abc\"")),
        ("an unquoted ETag", |o| o.etag("abc")),
        ("an empty ETag", |o| o.etag("\"\"")),
        ("no Last-Modified", Object::no_last_modified),
    ];
    for (what, change) in cases {
        let (s3, _proxy, client) = setup().await;
        for content in ["first content", "other content", "third content"] {
            s3.put("data", "k", change(Object::bytes(content)));
            reads_the_present(&s3, &client, what).await;
        }
        // At most the first read of each kind costs a request to find out.
        let reads = 3 * 3;
        assert!(s3.requests().len() <= reads + 1, "{what}: {}", s3.describe());
    }
}

#[tokio::test]
async fn r2_an_answer_without_a_size_is_streamed_and_not_admitted() {
    let (s3, _proxy, client) = setup().await;
    let no_size = Fault::All(vec![Fault::IgnoreRange, Fault::Chunked]);
    s3.fault(Matcher::any().method(Method::GET), Always, no_size);
    for content in ["first content", "other content"] {
        s3.put("data", "k", Object::bytes(content));
        let whole = client.get("/data/k").send().await;
        assert!(whole.complete, "{whole:?}");
        assert_eq!((whole.status.as_u16(), &*whole.text()), (200, content));
    }
}

#[tokio::test]
async fn r2_an_object_that_lost_its_etag_is_no_longer_served_from_memory() {
    let (s3, _proxy, client) = setup().await;
    s3.put("data", "k", Object::bytes("first content"));
    assert_eq!(client.get("/data/k").send().await.text(), "first content");
    s3.put("data", "k", Object::bytes("other content").no_etag());
    let fresh = client.get("/data/k").header("Cache-Control", "no-cache").send().await;
    assert_eq!(fresh.text(), "other content");
    reads_the_present(&s3, &client, "after it was seen").await;
}

#[tokio::test]
async fn r13_no_store_and_private_bypass() {
    for value in ["no-store", "private", "max-age=60, Private", "private=\"x\"", "No-Store"] {
        let (s3, _proxy, client) = setup().await;
        for content in ["first content", "other content", "third content"] {
            s3.put("data", "k", Object::bytes(content).header("Cache-Control", value));
            reads_the_present(&s3, &client, value).await;
            assert_eq!(client.get("/data/k").send().await.header("cache-control"), value);
        }
        let reads = 3 * 4;
        assert!(s3.requests().len() <= reads + 1, "{value}: {}", s3.describe());
    }
}

#[tokio::test]
async fn r13_a_head_that_learns_no_store_is_not_remembered_either() {
    let (s3, _proxy, client) = setup().await;
    for content in ["first content", "other content 2"] {
        s3.put("data", "k", Object::bytes(content).header("Cache-Control", "no-store"));
        let head = client.head("/data/k").send().await;
        assert_eq!(head.header("content-length"), content.len().to_string());
        assert_eq!(head.header("cache-status"), "hotset; fwd=bypass");
    }
}

#[tokio::test]
async fn r13_no_store_is_obeyed_only_where_the_rule_says_so() {
    let s3 = FakeS3::start().await;
    let proxy = TestProxy::start_with(&s3, |config| {
        config.rules = vec![RuleConfig { obey_no_store: false, ..RuleConfig::default() }];
    })
    .await;
    let client = proxy.client();
    s3.put("data", "k", Object::bytes("one").header("Cache-Control", "no-store, private"));
    for _ in 0..3 {
        let answer = client.get("/data/k").send().await;
        assert_eq!((&*answer.text(), answer.header("cache-control")), ("one", "no-store, private"));
    }
    assert_eq!(s3.requests().len(), 1, "{}", s3.describe());
}

#[tokio::test]
async fn r13_any_other_cache_control_of_an_object_is_replayed_and_not_obeyed() {
    for value in [
        "must-revalidate",
        "public",
        "no-storage, xprivate",
        "max-age=00001",
        "max-age=0, s-maxage=60",
        "max-age",
    ] {
        let (s3, _proxy, client) = setup().await;
        s3.put("data", "k", Object::bytes("one").header("Cache-Control", value));
        for _ in 0..3 {
            assert_eq!(client.get("/data/k").send().await.header("cache-control"), value);
        }
        assert_eq!(s3.requests().len(), 1, "{value}: {}", s3.describe());
    }
}

const PRESIGNED: &str = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AK%2F20250101%2Fus-east-1%2Fs3%2Faws4_request\
    &X-Amz-Date=20250101T000000Z&X-Amz-Expires=600&X-Amz-SignedHeaders=host&X-Amz-Signature=abc&X-Amz-Security-Token=t";

#[tokio::test]
async fn r16_what_is_on_the_allow_list_is_served_from_the_cache() {
    let (s3, _proxy, client) = setup().await;
    s3.put("data", "k", Object::bytes("one"));
    assert_eq!(client.get("/data/k").send().await.text(), "one");
    let headers = [
        ("Authorization", "AWS4-HMAC-SHA256 x"),
        ("x-amz-date", "20250101T000000Z"),
        ("x-amz-content-sha256", "UNSIGNED-PAYLOAD"),
        ("x-amz-security-token", "t"),
        ("x-amz-user-agent", "aws-sdk-js"),
        ("x-amz-api-version", "2006-03-01"),
        ("x-amz-cf-id", "abc"),
        ("amz-sdk-invocation-id", "1"),
        ("Cookie", "a=b"),
        ("Accept-Encoding", "gzip"),
        ("Content-Length", "0"),
    ];
    for path in [
        "/data/k".to_owned(),
        "/data/k?x-id=GetObject".to_owned(),
        format!("/data/k?{PRESIGNED}"),
        // Presigned as by the AWS SDK for JavaScript.
        format!("/data/k?X-Amz-Content-Sha256=UNSIGNED-PAYLOAD&{PRESIGNED}&x-id=GetObject"),
    ] {
        for method in [Method::GET, Method::HEAD] {
            let request = client.request(method.clone(), &path);
            // A request signed in both ways is not signed.
            let is_presigned = path.contains("X-Amz-Signature");
            let headers =
                headers.iter().filter(|(name, _)| !is_presigned || *name != "Authorization");
            let answer =
                headers.fold(request, |r, (name, value)| r.header(name, value)).send().await;
            assert_eq!(answer.header("cache-status"), "hotset; hit", "{method} {path}");
        }
    }
    assert_eq!(s3.requests().len(), 1, "{}", s3.describe());
}

#[tokio::test]
async fn r16_what_is_not_on_the_allow_list_is_passed_through_and_not_stored() {
    let s3 = FakeS3::start().await;
    let proxy = TestProxy::start(&s3).await;
    let client = proxy.client();
    let targets = [
        ("?versionId=", None),
        ("?acl", None),
        ("?tagging", None),
        ("?attributes", None),
        ("?torrent", None),
        ("?annotation", None),
        ("?anything=new", None),
        ("?x-id=GetObject&x-id=GetObject", None),
        ("?X-Amz-Server-Side-Encryption-Customer-Algorithm=AES256", None),
        ("?X-Amz-Expected-Bucket-Owner=1", None),
        ("?AWSAccessKeyId=a&Expires=1&Signature=s", None),
        ("", Some(("x-amz-server-side-encryption-customer-algorithm", "AES256"))),
        ("", Some(("x-amz-request-payer", "somebody"))),
        ("", Some(("x-amz-something-new", "1"))),
        ("", Some(("x-amz-checksum-mode", "DISABLED"))),
        ("", Some(("x-minio-extract", "true"))),
        ("", Some(("Access-Control-Request-Method", "PUT"))),
    ];
    for (number, (query, header)) in targets.into_iter().enumerate() {
        let key = format!("k{number}");
        let path = format!("/data/{key}");
        s3.put("data", &key, Object::bytes("one"));
        let what = format!("{query} {header:?}");
        for state in ["cold", "warm"] {
            for method in [Method::GET, Method::HEAD] {
                s3.forget_requests();
                let request = client.request(method.clone(), &format!("{path}{query}"));
                let request = match header {
                    Some((name, value)) => request.header(name, value),
                    None => request,
                };
                let answer = request.send().await;
                let refused = query == "?versionId=";
                assert_eq!(answer.status.is_success(), !refused, "{state} {what}: {answer:?}");
                assert_eq!(answer.header("cache-status"), "hotset; fwd=bypass", "{state} {what}");
                // A HEAD answered 400 may be for another region, so the bucket's region is asked for.
                let is_of_key = |seen: &Seen| seen.path.ends_with(&key);
                let seen: Vec<_> = s3.requests().into_iter().filter(is_of_key).collect();
                assert_eq!((seen.len(), &seen[0].method), (1, &method), "{state} {what}");
                if let Some((name, value)) = header {
                    assert_eq!(seen[0].header(name), value, "{state} {what}");
                }
            }
            s3.forget_requests();
            assert_eq!(client.get(&path).send().await.text(), "one", "{state} {what}");
            let asked = usize::from(state == "cold");
            assert_eq!(s3.requests().len(), asked, "nothing was stored, {what}: {}", s3.describe());
        }
    }
}

#[tokio::test]
async fn r16_a_get_with_a_body_is_passed_through() {
    let (s3, _proxy, client) = setup().await;
    s3.put("data", "k", Object::bytes("one"));
    for asked in 1..=2 {
        let answer = client.get("/data/k").body("a body").send().await;
        assert_eq!(answer.header("cache-status"), "hotset; fwd=bypass");
        assert_eq!(answer.text(), "one");
        assert_eq!(s3.requests().len(), asked, "{}", s3.describe());
    }
    assert_eq!(s3.requests()[0].raw_body, "a body");
}

#[tokio::test]
async fn r16_a_part_is_never_taken_for_the_whole() {
    let (s3, _proxy, client) = setup().await;
    s3.put("data", "k", Object::random(30, 1).parts(&[10, 15, 5]));
    let all = s3.object_bytes("data", "k");
    for _ in 0..2 {
        let head = client.head("/data/k?partNumber=2").send().await;
        assert_eq!((head.status.as_u16(), head.header("content-length")), (206, "15"));
        assert_eq!(head.header("x-amz-mp-parts-count"), "3");
        let part = client.get("/data/k?partNumber=2").send().await;
        assert_eq!((part.status.as_u16(), &part.body[..]), (206, &all[10..25]));
        let whole = client.head("/data/k").send().await;
        assert_eq!((whole.status.as_u16(), whole.header("content-length")), (200, "30"));
        assert_eq!(whole.header("x-amz-mp-parts-count"), "");
        assert_eq!(client.get("/data/k").send().await.body, all);
        let beyond = client.get("/data/k?partNumber=4").send().await;
        assert_eq!(beyond.status, 416, "R18");
        assert!(beyond.text().contains("<Code>InvalidPartNumber</Code>"), "{}", beyond.text());
    }
}

#[tokio::test]
async fn r16_another_version_is_never_taken_for_the_current_one() {
    let (s3, _proxy, client) = setup().await;
    s3.put("data", "k", Object::bytes("one").version_id("v1"));
    s3.put("data", "k", Object::bytes("two").version_id("v2"));
    for _ in 0..2 {
        assert_eq!(client.get("/data/k?versionId=v1").send().await.text(), "one");
        assert_eq!(client.get("/data/k").send().await.text(), "two");
        let none = client.get("/data/k?versionId=v9").send().await;
        assert!(none.text().contains("<Code>NoSuchVersion</Code>"), "{}", none.text());
    }
}

#[tokio::test]
async fn r4_fills_carry_nothing_of_the_clients_request() {
    let (s3, _proxy, client) = setup().await;
    let object = Object::random(40 << 20, 3);
    s3.put("data", "k", object.clone());
    let request = client.get("/data/k?x-id=GetObject&response-expires=0");
    let headers = [
        ("Authorization", "AWS4-HMAC-SHA256 Credential=CLIENT/20250101/us-east-1/s3/aws4_request"),
        ("User-Agent", "client/1"),
        ("Accept-Encoding", "gzip, br"),
        ("Accept", "text/html"),
        ("Cookie", "a=b"),
        ("Referer", "https://one.example"),
        ("X-Forwarded-For", "10.0.0.1"),
        ("Cache-Control", "no-cache"),
        ("Pragma", "no-cache"),
        ("If-Match", "*"),
        ("If-None-Match", "\"x\""),
        ("If-Modified-Since", "Tue, 31 Dec 2024 23:59:59 GMT"),
        ("If-Unmodified-Since", "Wed, 31 Dec 2098 23:59:59 GMT"),
        ("If-Range", "\"x\""),
        ("Range", "bytes=0-1"),
        ("x-amz-date", "20250101T000000Z"),
        ("x-amz-security-token", "token"),
        ("x-amz-user-agent", "ua"),
        ("x-amz-checksum-mode", "ENABLED"),
        ("amz-sdk-request", "attempt=1"),
    ];
    let request = headers.iter().fold(request, |r, (name, value)| r.header(name, value));
    let answer = request.send().await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.complete && answer.body == object.all());
    let seen = s3.requests();
    assert!(seen.len() > 2, "a fill of several ranges: {}", s3.describe());
    let ours = [
        "host",
        "accept-encoding",
        "user-agent",
        "authorization",
        "x-amz-date",
        "x-amz-content-sha256",
        "cdn-loop",
    ];
    for (number, seen) in seen.iter().enumerate() {
        let more = match seen.method {
            Method::HEAD => &["x-amz-checksum-mode"][..],
            _ => &["range", "if-match"],
        };
        for name in seen.headers.keys() {
            assert!(
                ours.contains(&name.as_str()) || more.contains(&name.as_str()),
                "{name} in {seen:?}"
            );
        }
        assert_eq!(seen.target, "/data/k");
        assert_eq!(seen.header("accept-encoding"), "identity");
        assert_eq!(seen.header("user-agent"), "hotset");
        assert!(seen.header("authorization").contains("Credential=AKTEST/"), "{seen:?}");
        assert_eq!(seen.header("host"), s3.addr().to_string());
        let pin = seen.header("if-match");
        let first = number < 2 && pin.is_empty();
        assert!(first || pin == object.etag_value().unwrap(), "{seen:?}");
    }
}

#[tokio::test]
async fn r17_a_cold_small_range_or_suffix_is_one_request_for_about_a_block() {
    const GIB: u64 = 1 << 30;
    let (s3, _proxy, client) = setup().await;
    let object = Object::random(GIB, 8);
    let middle = GIB / 2 + 300_000;
    let cases = [
        ("bytes=0-4095".to_owned(), 0..4096),
        (format!("bytes={middle}-{}", middle + 4095), middle..middle + 4096),
        (format!("bytes={}-", GIB - 4096), GIB - 4096..GIB),
        ("bytes=-4096".to_owned(), GIB - 4096..GIB),
        ("bytes=-8".to_owned(), GIB - 8..GIB),
    ];
    for (number, (asked, range)) in cases.into_iter().enumerate() {
        let key = format!("k{number}");
        s3.put("data", &key, object.clone());
        s3.forget_requests();
        let part = client.get(&format!("/data/{key}")).range(&asked).send().await;
        assert_eq!((part.status.as_u16(), &part.body), (206, &object.slice(range)), "{asked}");
        let seen = s3.requests();
        assert_eq!(seen.len(), 1, "{asked}: {}", s3.describe());
        let fetched = seen[0].range.clone().expect("a range");
        assert!(fetched.end - fetched.start <= 1_100 << 10, "{asked}: {fetched:?}");
    }
}

#[tokio::test]
async fn r36_connection_takes_no_header_away_that_was_looked_at() {
    let (s3, _proxy, client) = setup().await;
    s3.put("data", "k", Object::bytes("one"));
    let wrong = || client.get("/data/k").header("x-amz-expected-bucket-owner", "999999999999");
    for named in ["x-amz-expected-bucket-owner", "close, X-Amz-Expected-Bucket-Owner"] {
        let taken = wrong().header("connection", named).send().await;
        assert_eq!(taken.status, 400, "{named}");
        assert!(taken.text().contains("<Code>BadRequest</Code>"), "{}", taken.text());
        assert_eq!(s3.requests().len(), 0, "{}", s3.describe());
        let checked = wrong().send().await;
        assert_eq!(
            (checked.status.as_u16(), checked.header("cache-status")),
            (403, "hotset; fwd=bypass")
        );
        s3.forget_requests();
    }
    let put = client.put("/data/k").body("two").header("if-match", "\"other\"");
    assert_eq!(put.header("connection", "if-match").send().await.status, 400);
    for named in ["range", "host", "content-length", "\"range\"", "a,b,c,d,e,f,g,h,i,j"] {
        let taken =
            client.get("/data/k").header("range", "bytes=0-1").header("content-length", "0");
        assert_eq!(taken.header("connection", named).send().await.status, 400, "{named}");
    }
    for named in ["keep-alive", "Upgrade, HTTP2-Settings", "TE, close", "x-not-there"] {
        let hop = client.get("/data/k").header("connection", named).header("te", "trailers");
        assert_eq!(hop.header("upgrade", "h2c").send().await.text(), "one", "{named}");
    }
}
