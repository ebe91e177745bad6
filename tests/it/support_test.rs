use crate::support::*;
use bytes::Bytes;
use http::{Method, StatusCode};

async fn setup(object: Object) -> (FakeS3, Client) {
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

#[tokio::test]
async fn broken_answers_are_seen_as_broken() {
    let (s3, client) = setup(Object::random(100_000, 1)).await;
    let all = s3.object_bytes("b", "k");
    for fault in [Fault::CutAfter(70_000), Fault::ResetAfter(70_000)] {
        s3.fault(Matcher::get("k"), Times(1), fault);
        let cut = client.get("/b/k").send().await;
        assert_eq!((cut.complete, cut.body.len()), (false, 70_000));
        assert_eq!(cut.body, all[..70_000]);
        s3.wait_idle().await;
        let seen = s3.requests().pop().unwrap();
        assert_eq!((seen.complete, seen.body_bytes_sent, seen.status), (false, 70_000, 200));
    }
    s3.fault(Matcher::get("k"), Times(1), Fault::CloseBeforeAnswer);
    s3.fault(Matcher::get("k"), Times(1), Fault::ResetBeforeAnswer);
    let closed = client.get("/b/k").try_send().await.unwrap_err();
    assert_eq!(closed.reason, "the peer closed the connection");
    let reset = client.get("/b/k").try_send().await.unwrap_err();
    assert!(reset.reason.contains("reset"), "{reset}");
    assert!(client.get("/b/k").send().await.complete);
    s3.fault(Matcher::get("k"), Times(1), Fault::LongContentLength);
    let long = client.get("/b/k").send().await;
    assert_eq!(
        (long.complete, long.body.len(), long.header("content-length")),
        (false, 100_000, "100001")
    );
    s3.fault(Matcher::get("k"), Times(1), Fault::ShortContentLength);
    let short = client.get("/b/k").range("bytes=0-9").send().await;
    assert_eq!(
        (short.complete, short.body.len(), short.header("content-range")),
        (true, 9, "bytes 0-9/100000")
    );
    s3.fault(Matcher::get("k"), Times(1), Fault::TooManyBytes);
    let raw = client
        .send_raw(b"GET /b/k HTTP/1.1\r\nHost: x\r\nRange: bytes=0-9\r\nConnection: close\r\n\r\n")
        .await;
    assert!(raw.ends_with(&[b'X'; 1000]));
    s3.fault(Matcher::get("k"), Times(1), Fault::Chunked);
    let chunked = client.get("/b/k").send().await;
    assert_eq!(
        (chunked.complete, &chunked.body, chunked.header("content-length")),
        (true, &all, "")
    );
    s3.fault(Matcher::get("k"), Times(1), Fault::All(vec![Fault::Chunked, Fault::CutAfter(5)]));
    let chunked = client.get("/b/k").send().await;
    assert_eq!((chunked.complete, chunked.body.len()), (false, 5));
    s3.fault(Matcher::get("k"), Times(1), Fault::CloseAfterAnswer);
    assert!(client.get("/b/k").send().await.complete);
    s3.wait_idle().await;
}

#[tokio::test]
async fn lying_headers_lie_as_asked() {
    let (s3, client) = setup(Object::random(100, 1)).await;
    let once = |fault| s3.fault(Matcher::any().key("k"), Times(1), fault);
    once(Fault::WrongContentRange);
    let part = client.get("/b/k").range("bytes=0-9").send().await;
    assert_eq!((part.header("content-range"), part.body.len()), ("bytes 1-10/100", 10));
    once(Fault::IgnoreRange);
    let part = client.get("/b/k").range("bytes=0-9").send().await;
    assert_eq!((part.status.as_u16(), part.body.len()), (200, 100));
    once(Fault::IgnoreIfMatch);
    assert_eq!(client.get("/b/k").header("If-Match", "\"x\"").send().await.status, 200);
    once(Fault::WrongETag);
    let wrong = client.head("/b/k").send().await;
    assert_ne!(wrong.header("etag"), s3.object("b", "k").unwrap().etag_value().unwrap());
    once(Fault::All(vec![
        Fault::DropHeader("Last-Modified"),
        Fault::SetHeader("Date", "x".into()),
    ]));
    let edited = client.get("/b/k").send().await;
    assert_eq!((edited.header("last-modified"), edited.header("date")), ("", "x"));
    once(Fault::Status(503, "SlowDown"));
    let slow = client.get("/b/k").send().await;
    assert!(slow.status == 503 && slow.text().contains("<Code>SlowDown</Code>"));
    once(Fault::Status(503, "SlowDown"));
    assert_eq!(client.put("/b/k").body("x").send().await.status, 503);
    assert_eq!(s3.object_bytes("b", "k").len(), 100, "a Status acts on nothing");
    once(Fault::ShortContentLength);
    assert_eq!(client.head("/b/k").send().await.header("content-length"), "99");
}

#[tokio::test]
async fn matchers_select_by_key_range_and_number() {
    let (s3, client) = setup(Object::random(100, 1)).await;
    s3.put("b", "other", Object::bytes("x"));
    s3.fault(Matcher::get("k").nth(2), Always, Fault::Status(500, "InternalError"));
    s3.fault(Matcher::get("k").covering(50), Times(2), Fault::Status(503, "SlowDown"));
    let status = async |range: &str| client.get("/b/k").range(range).send().await.status.as_u16();
    assert_eq!(status("bytes=0-9").await, 206);
    assert_eq!(status("bytes=40-60").await, 500);
    assert_eq!(status("bytes=40-60").await, 503);
    assert_eq!(status("bytes=0-9").await, 206);
    assert_eq!(status("bytes=-60").await, 503);
    assert_eq!(status("bytes=-60").await, 206);
    assert_eq!(client.get("/b/other").send().await.status, 200);
    s3.fault(
        Matcher::any().bucket("b").whole().when(|r| r.connection == 0),
        Always,
        Fault::Status(500, "E"),
    );
    assert_eq!(client.get("/b/k").send().await.status, 500);
    assert_eq!(status("bytes=0-9").await, 206);
    s3.clear_faults();
    assert_eq!(client.get("/b/k").send().await.status, 200);
    s3.forget_requests();
    assert_eq!((s3.requests().len(), s3.bytes_sent()), (0, 0));
    s3.fault(Matcher::get("k").starting_at(10).ranged(), Times(1), Fault::Status(500, "E"));
    assert_eq!(status("bytes=10-19").await, 500);
}

#[tokio::test]
async fn gates_hold_requests_step_by_step() {
    let (s3, client) = setup(Object::bytes("old bytes")).await;
    let (request, header, body) = (Gate::new(), Gate::new(), Gate::new());
    s3.fault(
        Matcher::get("k"),
        Times(1),
        Fault::All(vec![
            Fault::HoldRequest(request.clone()),
            Fault::HoldHeader(header.clone()),
            Fault::HoldBodyAfter(3, body.clone()),
        ]),
    );
    let get = tokio::spawn(client.get("/b/k").open());
    request.wait_reached().await;
    s3.put("b", "k", Object::bytes("new bytes"));
    request.open();
    header.wait_reached().await;
    s3.put("b", "k", Object::bytes("third"));
    assert_eq!(s3.requests()[0].status, 0);
    header.open();
    let mut get = get.await.unwrap();
    assert_eq!(get.read(3).await, "new");
    body.wait_reached().await;
    assert_eq!((s3.requests()[0].body_bytes_sent, s3.requests()[0].done), (3, false));
    body.open();
    assert_eq!(get.finish().await.body, " bytes");

    let gate = Gate::new();
    s3.fault(Matcher::put("k"), Times(1), Fault::HoldRequest(gate.clone()));
    let put = tokio::spawn(client.put("/b/k").body("fourth").send());
    gate.wait_reached().await;
    assert_eq!(s3.object_bytes("b", "k"), "third");
    gate.open();
    assert_eq!(put.await.unwrap().status, 200);
    s3.fault(Matcher::put("k"), Times(1), Fault::ResetBeforeAnswer);
    assert!(client.put("/b/k").body("fifth").try_send().await.is_err());
    assert_eq!(s3.object_bytes("b", "k"), "fifth", "done, though not answered");
    s3.fault(Matcher::get("k"), Times(1), Fault::ChangeObjectAfter(2, Object::bytes("sixth")));
    assert_eq!(client.get("/b/k").send().await.text(), "fifth");
    assert_eq!(client.get("/b/k").send().await.text(), "sixth");
}

#[tokio::test]
async fn a_held_or_stalled_answer_notices_that_its_client_left() {
    let (s3, client) = setup(Object::random(1000, 1)).await;
    s3.fault(Matcher::get("k"), Times(1), Fault::StallAfter(100));
    let mut stream = client.open("/b/k").await;
    assert_eq!(stream.read(100).await.len(), 100);
    assert_eq!(stream.complete(), None);
    stream.abandon();
    s3.wait_for(|r| r[0].done).await;
    let gate = Gate::new();
    s3.fault(Matcher::get("k"), Times(1), Fault::HoldHeader(gate.clone()));
    let get = tokio::spawn(client.get("/b/k").open());
    gate.wait_reached().await;
    get.abort();
    s3.wait_for(|r| r.len() == 2 && r[1].done && !r[1].complete).await;
}

#[tokio::test]
async fn uploads_stream_and_stop_where_told() {
    let s3 = FakeS3::start().await;
    let client = Client::new(s3.addr());
    let gate = Gate::new();
    s3.fault(Matcher::put("k"), Times(1), Fault::HoldRequestAfter(4, gate.clone()));
    let mut upload = client.put("/b/k").start(10).await;
    upload.write(b"01234").await.unwrap();
    gate.wait_reached().await;
    assert_eq!(s3.requests()[0].body_bytes_received, 5);
    gate.open();
    upload.write(b"56789").await.unwrap();
    assert_eq!(upload.finish().await.status, 200);
    assert_eq!(s3.object_bytes("b", "k"), "0123456789");

    let mut upload = client.put("/b/k").start(10).await;
    upload.write(b"abc").await.unwrap();
    s3.wait_for(|r| r.len() == 2 && r[1].body_bytes_received == 3).await;
    upload.abandon();
    s3.wait_idle().await;
    assert_eq!((s3.requests()[1].status, s3.object_bytes("b", "k").len()), (0, 10));

    let mut upload = client.put("/b/k").header("Expect", "100-continue").start(3).await;
    assert!(upload.continued().await);
    upload.write(b"xyz").await.unwrap();
    assert_eq!(upload.finish().await.status, 200);
    s3.fault(Matcher::put("k"), Times(1), Fault::Status(403, "AccessDenied"));
    let mut upload = client.put("/b/k").header("Expect", "100-continue").start(3).await;
    assert!(!upload.continued().await);
    assert_eq!(upload.finish().await.status, 403);

    s3.fault(Matcher::put("k"), Times(1), Fault::RefuseBody(400, "EntityTooLarge"));
    let refused = client.put("/b/k").body(vec![0; 8 << 20]).send().await;
    assert!(refused.status == 400 && refused.complete);
    assert_eq!(s3.object_bytes("b", "k"), "xyz");
    let big = vec![7; 8 << 20];
    assert_eq!(client.put("/b/k").body(big.clone()).send().await.status, 200);
    assert_eq!(s3.object_bytes("b", "k"), big);
    assert!(s3.complaints().is_empty());
}

#[tokio::test]
async fn framing_that_s3_refuses_is_a_complaint() {
    let s3 = FakeS3::start().await;
    let client = Client::new(s3.addr());
    let chunked = client.raw(b"PUT /b/k HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n").await;
    assert_eq!(chunked.status, 501);
    assert_eq!(client.raw(b"PUT /b/k HTTP/1.1\r\nHost: x\r\n\r\n").await.status, 411);
    assert!(client.send_raw(b"NONSENSE\r\n\r\n").await.starts_with(b"HTTP/1.1 400"));
    assert_eq!(s3.complaints().len(), 3);
    assert_eq!(client.raw(b"HEAD /b/k HTTP/1.1\r\nHost: x\r\n\r\n").await.status, 404);
    let two = b"GET /b/1 HTTP/1.1\r\nHost: x\r\n\r\nGET /b/2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let raw = client.send_raw(two).await;
    let text = String::from_utf8_lossy(&raw);
    assert!(text.contains("<Key>1</Key>") && text.contains("<Key>2</Key>"), "{text}");
}

#[tokio::test]
async fn the_record_tells_who_fetched_what() {
    let (s3, client) = setup(Object::random(1000, 1)).await;
    let other = client.clone();
    let gate = Gate::new();
    s3.fault(Matcher::any(), Always, Fault::HoldHeader(gate.clone()));
    let a =
        tokio::spawn(
            async move { other.get("/b/k?x-id=GetObject").range("bytes=0-499").send().await },
        );
    let b = tokio::spawn(client.get("/b/k").range("bytes=500-").send());
    s3.wait_for(|r| r.len() == 2).await;
    gate.wait_reached_by(2).await;
    gate.open();
    assert!(a.await.unwrap().complete && b.await.unwrap().complete);
    s3.assert_each_byte_sent_once("b", "k");
    assert_eq!((s3.bytes_sent(), s3.connections()), (1000, 2));
    let requests = s3.requests();
    let first = requests.iter().find(|r| r.has_param("x-id")).unwrap();
    assert_eq!(
        (first.param("x-id").as_deref(), first.query.as_str()),
        (Some("GetObject"), "x-id=GetObject")
    );
    assert_ne!(requests[0].connection, requests[1].connection);
    client.get("/b/k").range("bytes=499-").send().await;
    let twice = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        s3.assert_each_byte_sent_once("b", "k");
    }));
    assert!(twice.is_err());
}

#[tokio::test]
async fn an_origin_goes_down_and_comes_back() {
    let (s3, client) = setup(Object::random(1000, 1)).await;
    s3.fault(Matcher::get("k"), Times(1), Fault::StallAfter(10));
    let mut stream = client.open("/b/k").await;
    stream.read(10).await;
    s3.go_down().await;
    assert!(!stream.finish().await.complete);
    assert!(tokio::net::TcpStream::connect(s3.addr()).await.is_err());
    s3.come_back().await;
    assert!(client.get("/b/k").send().await.complete);
}

#[tokio::test]
async fn a_reader_that_does_not_read_holds_the_origin_back() {
    let (s3, _) = setup(Object::random(50 << 40, 1)).await;
    let client = Client::with_receive_buffer(s3.addr(), 64 * 1024);
    let mut stream = client.open("/b/k").await;
    assert_eq!(stream.read(1000).await, Object::random(50 << 40, 1).slice(0..1000));
    stream.abandon();
    s3.wait_idle().await;
    assert!(s3.bytes_sent() < 4 << 20, "{}", s3.bytes_sent());
}

#[tokio::test]
async fn a_large_object_is_served_quickly() {
    let (s3, client) = setup(Object::random(1 << 28, 3)).await;
    let begun = std::time::Instant::now();
    let body = client.get("/b/k").send().await.body;
    println!("256 MiB in {:?}", begun.elapsed());
    assert_eq!(body.len(), 1 << 28);
    assert_eq!(body.slice(12345..23456), s3.object("b", "k").unwrap().slice(12345..23456));
}

#[tokio::test]
async fn stored_objects_of_many_pieces_are_sent_whole() {
    let bytes: Bytes = (0..300_000u32).map(|n| (n % 251) as u8).collect::<Vec<_>>().into();
    let (_s3, client) = setup(Object::bytes(bytes.clone())).await;
    assert_eq!(client.get("/b/k").send().await.body, bytes);
    assert_eq!(client.get("/b/k").range("bytes=100-299998").send().await.body, bytes[100..299_999]);
}

mod http2 {
    use super::*;
    use hyper::body::{Body, Frame};
    use hyper::service::service_fn;
    use hyper::{Request, Response};
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use std::pin::Pin;
    use std::task::{Context, Poll};

    /// Sends these frames, then an error if asked.
    struct Frames(Vec<Bytes>, Option<Pin<Box<dyn Future<Output = ()> + Send>>>);

    impl Body for Frames {
        type Data = Bytes;
        type Error = std::io::Error;
        fn poll_frame(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
            if let Some(bytes) = self.0.pop() {
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            match self.1.as_mut().map(|gate| gate.as_mut().poll(context)) {
                None => Poll::Ready(None),
                Some(Poll::Pending) => Poll::Pending,
                Some(Poll::Ready(())) => Poll::Ready(Some(Err(std::io::Error::other("broken")))),
            }
        }
    }

    async fn serve(gate: Gate) -> std::net::SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let gate = gate.clone();
                let service = service_fn(move |request: Request<hyper::body::Incoming>| {
                    let gate = gate.clone();
                    async move {
                        let path = request.uri().path().to_owned();
                        let body = Frames(
                            vec!["hello".into(), "hello".into()],
                            (path == "/broken")
                                .then(|| Box::pin(async move { gate.pass().await }) as _),
                        );
                        let mut response = Response::new(body);
                        if path == "/short" {
                            response.headers_mut().insert("content-length", 11.into());
                        }
                        let method = request.method().as_str().parse().unwrap();
                        response.headers_mut().insert("x-method", method);
                        Ok::<_, std::io::Error>(response)
                    }
                });
                let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                tokio::spawn(builder.serve_connection(TokioIo::new(stream), service));
            }
        });
        addr
    }

    #[tokio::test]
    async fn an_h2_client_tells_whole_from_broken() {
        let gate = Gate::new();
        let client = H2Client::connect(serve(gate.clone()).await).await;
        let (status, headers, body) = client.get("/whole").await;
        assert_eq!((status.as_u16(), body.unwrap()), (200, Bytes::from("hellohello")));
        assert_eq!(headers["x-method"], "GET");
        let mut stream = client.open(&Method::GET, "/broken", &[], Bytes::new()).await.unwrap();
        assert_eq!(stream.next().await.unwrap().unwrap(), "hello");
        gate.wait_reached().await;
        gate.open();
        let broken = stream.rest().await.unwrap_err();
        println!("{broken}");
        let (_, _, body) = client.get("/short").await;
        println!("{body:?}");
        assert!(body.is_err());
        let (_, headers, _) =
            client.send(&Method::PUT, "/whole", &[("x-a", "b")], "body".into()).await;
        assert_eq!(headers["x-method"], "PUT");
        let mut stream = client.open(&Method::GET, "/whole", &[], Bytes::new()).await.unwrap();
        assert_eq!(stream.next().await.unwrap().unwrap(), "hello");
        stream.abandon();
        let many = (0..20).map(|_| tokio::spawn(client.get("/whole"))).collect::<Vec<_>>();
        for get in many {
            assert_eq!(get.await.unwrap().2.unwrap(), "hellohello");
        }
    }
}
