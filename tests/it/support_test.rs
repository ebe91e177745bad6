//! Tests of the fake as an S3 server: its responses without any fault.

use crate::support::*;
use http::{Method, StatusCode};

pub async fn setup(object: Object) -> (FakeS3, Client) {
    let s3 = FakeS3::start().await;
    s3.put("b", "k", object);
    let client = Client::new(s3.addr());
    (s3, client)
}

#[test]
fn random_bytes_depend_on_position_and_seed_only() {
    let object = Object::random(1000, 7);
    let all = object.all();
    for (a, b) in [(0, 0), (0, 1), (1, 2), (3, 9), (7, 8), (7, 9), (8, 16), (13, 999), (999, 1000)]
    {
        assert_eq!(
            object.slice(a..b),
            all.slice(usize::try_from(a).unwrap()..usize::try_from(b).unwrap()),
            "{a}..{b}"
        );
    }
    assert_ne!(Object::random(1000, 8).all(), all);
    assert_eq!(Object::random(50 << 40, 7).slice(0..1000), all);
    assert_ne!(Object::random(1000, 8).etag_value(), object.etag_value());
    assert_ne!(Object::random(50 << 40, 7).slice(1 << 40..(1 << 40) + 1000), all);
    let mut counts = [0u32; 256];
    Object::random(1 << 16, 1).all().iter().for_each(|b| counts[*b as usize] += 1);
    assert!(counts.iter().all(|n| (150..400).contains(n)), "{counts:?}");
}

#[tokio::test]
async fn get_head_and_ranges_answer_as_s3() {
    let object = Object::random(100, 1)
        .header("x-amz-meta-a", "b")
        .checksum("x-amz-checksum-crc32", "AAAAAA==");
    let (s3, client) = setup(object.clone()).await;
    let all = object.all();
    let whole = client.get("/b/k").header("x-amz-checksum-mode", "enabled").send().await;
    assert_eq!((whole.status, &whole.body, whole.complete), (StatusCode::OK, &all, true));
    assert_eq!(whole.header("x-amz-meta-a"), "b");
    assert_eq!(whole.header("x-amz-checksum-crc32"), "AAAAAA==");
    assert_eq!(whole.header("etag"), object.etag_value().unwrap());
    assert_eq!(client.get("/b/k").send().await.header("x-amz-checksum-crc32"), "");
    for (range, content_range, bytes) in [
        ("bytes=0-9", "bytes 0-9/100", 0..10),
        ("bytes=90-", "bytes 90-99/100", 90..100),
        ("bytes=-10", "bytes 90-99/100", 90..100),
        ("bytes=-1000", "bytes 0-99/100", 0..100),
        ("bytes=50-1000", "bytes 50-99/100", 50..100),
    ] {
        let part = client.get("/b/k").range(range).send().await;
        assert_eq!(part.status, 206, "{range}");
        assert_eq!(part.header("content-range"), content_range);
        assert_eq!(part.body, all[bytes.clone()]);
        let seen = s3.requests().pop().unwrap();
        assert_eq!(seen.range, Some(bytes.start as u64..bytes.end as u64));
        let head = client.head("/b/k").range(range).send().await;
        assert_eq!((head.status.as_u16(), head.header("content-range")), (206, content_range));
        assert!(head.complete && head.body.is_empty());
    }
    for range in
        ["bytes=5-2", "bytes=a-b", "bytes=0-1,5-6", "bytes=", "bytes=-", "items=0-1", "bytes=+1-2"]
    {
        assert_eq!(client.get("/b/k").range(range).send().await.status, 200, "{range}");
    }
    for range in ["bytes=100-", "bytes=-0", "bytes=100-200"] {
        let part = client.get("/b/k").range(range).send().await;
        assert_eq!((part.status.as_u16(), part.header("content-range")), (416, "bytes */100"));
        assert!(part.text().contains("<Code>InvalidRange</Code>"));
        assert!(part.text().contains("<ActualObjectSize>100</ActualObjectSize>"));
    }
    let missing = client.get("/b/none").send().await;
    assert_eq!(missing.status, 404);
    assert!(missing.text().contains("<Code>NoSuchKey</Code>"));
    let missing = client.head("/b/none").send().await;
    assert_eq!((missing.status.as_u16(), missing.body.len(), missing.complete), (404, 0, true));
    assert_eq!(s3.connections(), 1, "kept alive");
    assert_eq!(client.connections(), 1);
}

#[tokio::test]
async fn conditions_overrides_parts_and_empty_objects() {
    let (s3, client) = setup(Object::random(30, 1).parts(&[10, 15, 5])).await;
    let etag = s3.object("b", "k").unwrap().etag_value().unwrap().to_owned();
    assert!(etag.ends_with("-3\""));
    assert_eq!(client.get("/b/k").header("If-Match", "\"x\"").send().await.status, 412);
    assert_eq!(client.get("/b/k").header("If-Match", &etag).send().await.status, 200);
    let same = client.get("/b/k").header("If-None-Match", &etag).send().await;
    assert_eq!((same.status.as_u16(), same.header("etag")), (304, &*etag));
    let part = client.get("/b/k?partNumber=2").send().await;
    assert_eq!((part.status.as_u16(), part.header("content-range")), (206, "bytes 10-24/30"));
    assert_eq!(part.header("x-amz-mp-parts-count"), "3");
    assert_eq!(client.get("/b/k?partNumber=4").send().await.status, 416);
    let typed = client.get("/b/k?response-content-type=text%2Fplain").send().await;
    assert_eq!(typed.header("content-type"), "text/plain");
    s3.put("b", "empty", Object::bytes(""));
    assert_eq!(client.get("/b/empty").range("bytes=0-").send().await.status, 416);
    let empty = client.get("/b/empty").send().await;
    assert_eq!((empty.status.as_u16(), empty.header("content-length")), (200, "0"));
    assert!(empty.complete);
}

#[tokio::test]
async fn versions_outlive_overwrites_and_deletes() {
    let (s3, client) = setup(Object::bytes("one").version_id("v1")).await;
    s3.put("b", "k", Object::bytes("two").version_id("v2"));
    let put = client.put("/b/k").body("three").send().await;
    let third = put.header("x-amz-version-id").to_owned();
    assert!(third.starts_with("version-"));
    assert_eq!(client.get("/b/k?versionId=v1").send().await.text(), "one");
    assert_eq!(client.get(&format!("/b/k?versionId={third}")).send().await.text(), "three");
    let deleted = client.delete("/b/k").send().await;
    let marker = deleted.header("x-amz-version-id").to_owned();
    let gone = client.get("/b/k").send().await;
    assert_eq!((gone.status.as_u16(), gone.header("x-amz-delete-marker")), (404, "true"));
    assert_eq!(client.get(&format!("/b/k?versionId={marker}")).send().await.status, 405);
    assert_eq!(client.get("/b/k?versionId=v2").send().await.text(), "two");
    assert!(client.get("/b/k?versionId=v9").send().await.text().contains("NoSuchVersion"));
    assert_eq!(client.get("/b/k?versionId=").send().await.status, 400);
    client.delete("/b/k?versionId=v1").send().await;
    assert_eq!(client.get("/b/k?versionId=v1").send().await.status, 404);
    let ended = client.delete(&format!("/b/k?versionId={marker}")).send().await;
    assert_eq!(ended.header("x-amz-delete-marker"), "true");
    assert_eq!(client.get("/b/k").send().await.text(), "three", "without its marker it is back");
}

#[tokio::test]
async fn a_key_has_one_version_null() {
    let (s3, client) = setup(Object::bytes("one")).await;
    assert_eq!(client.get("/b/k").send().await.header("x-amz-version-id"), "");
    s3.put("b", "k", Object::bytes("two").version_id("v1"));
    for path in ["/b/k?versionId=null", "/b/k"] {
        let expected = if path == "/b/k" { ("two", "v1") } else { ("one", "null") };
        let answer = client.get(path).send().await;
        assert_eq!((&*answer.text(), answer.header("x-amz-version-id")), expected);
    }
    s3.put("b", "k", Object::bytes("three"));
    assert_eq!(client.get("/b/k?versionId=null").send().await.text(), "three");
    s3.delete_version("b", "k", "null");
    assert!(client.get("/b/k?versionId=null").send().await.text().contains("NoSuchVersion"));
    assert_eq!(client.get("/b/k").send().await.text(), "two");
}

#[tokio::test]
async fn writes_are_stored_and_recorded() {
    let s3 = FakeS3::start().await;
    let client = Client::new(s3.addr());
    let put = client
        .put("/b/a%20b")
        .header("Content-Type", "text/x")
        .header("x-amz-meta-q", "1")
        .body("hello");
    assert_eq!(put.send().await.status, 200);
    assert_eq!(s3.object_bytes("b", "a b"), "hello");
    let seen = s3.requests().pop().unwrap();
    assert_eq!((&*seen.path, &*seen.key, &*seen.body), ("/b/a%20b", "a b", &b"hello"[..]));
    assert!(seen.complete);
    let get = client.get("/b/a%20b").send().await;
    assert_eq!((get.header("content-type"), get.header("x-amz-meta-q")), ("text/x", "1"));
    assert_eq!(
        client.put("/b/a%20b").header("If-None-Match", "*").body("x").send().await.status,
        412
    );
    let copy = client
        .put("/b/copy")
        .header("x-amz-copy-source", "/b/a%20b")
        .header("x-amz-metadata-directive", "REPLACE")
        .header("Content-Type", "text/y");
    assert!(copy.send().await.text().contains("CopyObjectResult"));
    let copied = client.get("/b/copy").send().await;
    assert_eq!((copied.text().as_str(), copied.header("content-type")), ("hello", "text/y"));
    assert_eq!(copied.header("etag"), get.header("etag"));
    let list = client.get("/b?list-type=2&prefix=a").send().await.text();
    assert!(list.contains("<Key>a b</Key>") && !list.contains("<Key>copy</Key>"), "{list}");
    let tags = client.put("/b/copy?tagging").body("<T/>").send().await;
    assert_eq!((tags.status.as_u16(), s3.object_bytes("b", "copy").len()), (200, 5));
    let body =
        "<Delete><Object><Key>copy</Key></Object><Object><Key>x&amp;y</Key></Object></Delete>";
    let deleted = client.post("/b?delete").body(body).send().await.text();
    assert!(deleted.contains("<Key>x&amp;y</Key>"));
    assert!(s3.object("b", "copy").is_none());
    assert_eq!(client.delete("/b/a%20b").send().await.status, 204);
    assert!(s3.object("b", "a b").is_none());
    assert_eq!(s3.count(|r| r.method == Method::PUT), 4);
    assert!(s3.complaints().is_empty());
}

#[tokio::test]
async fn aws_chunked_bodies_are_decoded_and_judged() {
    let s3 = FakeS3::start().await;
    let client = Client::new(s3.addr());
    let put = |kind: &str, body: String, length: usize, trailer: &str| {
        let request = client
            .put("/b/k")
            .header("x-amz-content-sha256", kind)
            .header("Content-Encoding", "gzip,aws-chunked")
            .header("x-amz-decoded-content-length", &length.to_string())
            .body(body);
        if trailer.is_empty() { request } else { request.header("x-amz-trailer", trailer) }
    };
    let signature = "a".repeat(64);
    let unsigned = "5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n";
    let kind = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";
    assert_eq!(put(kind, unsigned.into(), 5, "x-amz-checksum-crc32").send().await.status, 200);
    let seen = s3.requests().pop().unwrap();
    assert_eq!((&*seen.body, &*seen.raw_body), (&b"hello"[..], unsigned.as_bytes()));
    assert_eq!(seen.trailers, [("x-amz-checksum-crc32".to_owned(), "NhCmhg==".to_owned())]);
    let get = client.get("/b/k").header("x-amz-checksum-mode", "ENABLED").send().await;
    assert_eq!((get.text().as_str(), get.header("content-encoding")), ("hello", "gzip"));
    assert_eq!(get.header("x-amz-checksum-crc32"), "NhCmhg==");
    let signed =
        format!("5;chunk-signature={signature}\r\nhello\r\n0;chunk-signature={signature}\r\n\r\n");
    let kind4 = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD";
    assert_eq!(put(kind4, signed.clone(), 5, "").send().await.status, 200);
    let trailed = format!(
        "5;chunk-signature={signature}\r\nhello\r\n0;chunk-signature={signature}\r\nx-amz-checksum-crc32:NhCmhg==\r\nx-amz-trailer-signature:{signature}\r\n\r\n"
    );
    assert_eq!(
        put(&format!("{kind4}-TRAILER"), trailed, 5, "x-amz-checksum-crc32").send().await.status,
        200
    );
    assert!(s3.complaints().is_empty(), "{:?}", s3.complaints());
    let small = format!(
        "4;chunk-signature={signature}\r\nhell\r\n1;chunk-signature={signature}\r\no\r\n0;chunk-signature={signature}\r\n\r\n"
    );
    for (kind, body, length, trailer) in [
        (kind4, signed.clone(), 6, ""),
        (kind4, unsigned.into(), 5, "x-amz-checksum-crc32"),
        (kind4, small, 5, ""),
        (kind, unsigned.into(), 5, ""),
        (kind, format!("{unsigned}x"), 5, "x-amz-checksum-crc32"),
        (kind, "5\r\nhello\r\n0\r\n\r\n".into(), 5, "x-amz-checksum-crc32"),
        (kind, "5\r\nhel".into(), 5, "x-amz-checksum-crc32"),
        (kind, "5\r\nhello00\r\n\r\n".into(), 5, "x-amz-checksum-crc32"),
    ] {
        let before = s3.complaints().len();
        assert_eq!(put(kind, body.clone(), length, trailer).send().await.status, 400, "{body}");
        assert_eq!(s3.complaints().len(), before + 1);
    }
    assert_eq!(client.connections(), 1);
}

#[tokio::test]
async fn multipart_uploads_join_and_may_commit_late() {
    let s3 = FakeS3::start().await;
    let client = Client::new(s3.addr());
    let begin = || async {
        let begun = client.post("/b/k?uploads").send().await.text();
        let id = begun.split("<UploadId>").nth(1).unwrap().split('<').next().unwrap().to_owned();
        for (number, body) in [(2, "world"), (1, "hello ")] {
            let path = format!("/b/k?partNumber={number}&uploadId={id}");
            assert_eq!(client.put(&path).body(body).send().await.status, 200);
        }
        format!("/b/k?uploadId={id}")
    };
    let path = begin().await;
    assert!(client.post(&path).send().await.text().contains("CompleteMultipartUploadResult"));
    assert_eq!(client.get("/b/k").send().await.text(), "hello world");
    assert_eq!(client.get("/b/k?partNumber=2").send().await.text(), "world");
    assert_eq!(client.post(&path).send().await.status, 404);
    s3.delete("b", "k");

    let gate = Gate::new();
    s3.fault(
        Matcher::any().query("uploadId").method(Method::POST),
        Times(1),
        Fault::LateCommit(gate.clone()),
    );
    let path = begin().await;
    let mut late = client.post(&path).open().await;
    assert_eq!(late.status, 200);
    assert!(late.read(10).await.starts_with(b"<?xml"));
    gate.wait_reached().await;
    assert!(s3.object("b", "k").is_none());
    gate.open();
    assert!(late.finish().await.text().contains("CompleteMultipartUploadResult"));
    assert_eq!(s3.object_bytes("b", "k"), "hello world");

    let gate = Gate::new();
    gate.open();
    s3.delete("b", "k");
    s3.fault(
        Matcher::any().query("uploadId").method(Method::POST),
        Times(1),
        Fault::LateFailure(gate, "InternalError"),
    );
    let path = begin().await;
    let late = client.post(&path).send().await;
    assert!(
        late.status == 200 && late.complete && late.text().contains("<Code>InternalError</Code>")
    );
    assert!(s3.object("b", "k").is_none());
    assert_eq!(client.delete(&path).send().await.status, 204);
}
