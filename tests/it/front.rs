//! The wire towards clients: HTTP/1.0, keep-alive, pipelining, HTTP/2; `Cache-Status` on every answer.

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{
    Always, Client, FakeS3, Fault, H2Client, Matcher, Object, TestProxy, Times, within,
};

async fn setup() -> (FakeS3, TestProxy, Client) {
    let s3 = FakeS3::start().await;
    s3.put("data", "k", Object::random(3 << 20, 1).header("x-amz-meta-a", "b"));
    s3.put("data", "empty", Object::bytes(""));
    let proxy = TestProxy::start(&s3).await;
    let client = proxy.client();
    (s3, proxy, client)
}

/// Removes the headers that differ between any two responses, and those of one protocol only.
fn comparable(mut headers: HeaderMap) -> HeaderMap {
    for name in ["x-amz-request-id", "x-amz-id-2", "date", "connection"] {
        headers.remove(name);
    }
    headers
}

/// Returns the body without the request id, which the document of an error contains.
fn without_ids(body: &Bytes) -> String {
    let text = String::from_utf8_lossy(body).into_owned();
    match text.split_once("<RequestId>") {
        Some((before, _)) if text.starts_with("<?xml") => before.to_owned(),
        _ => text,
    }
}

#[tokio::test]
async fn http_2_answers_as_http_1_does() {
    let (s3, proxy, client) = setup().await;
    let h2 = H2Client::connect(proxy.addr).await;
    let etag = s3.object("data", "k").unwrap().etag_value().unwrap().to_owned();
    let cases = [
        ("GET", "/data/k", vec![]),
        ("GET", "/data/k", vec![("range", "bytes=1048570-1048590")]),
        ("GET", "/data/k", vec![("range", "bytes=-7")]),
        ("GET", "/data/k", vec![("range", "bytes=9999999-")]),
        ("GET", "/data/k", vec![("if-none-match", etag.as_str())]),
        ("GET", "/data/k", vec![("if-match", "\"other\"")]),
        ("HEAD", "/data/k", vec![]),
        ("HEAD", "/data/k", vec![("range", "bytes=0-0")]),
        ("GET", "/data/empty", vec![]),
        ("GET", "/data/none", vec![]),
        ("HEAD", "/data/none", vec![]),
        ("GET", "/x/k", vec![]),
        ("GET", "/data/%zz", vec![]),
        ("GET", "/data?list-type=2", vec![]),
        ("GET", "/data/k?partNumber=1", vec![]),
        ("GET", "/", vec![]),
    ];
    for (method, path, headers) in cases {
        let method: Method = method.parse().unwrap();
        let send = || {
            let request = client.request(method.clone(), path);
            headers.iter().fold(request, |request, (n, v)| request.header(n, v)).send()
        };
        // Two reads by each protocol: the first may be a miss in either.
        send().await;
        let one = send().await;
        let _ = h2.send(&method, path, &headers, Bytes::new()).await;
        let (status, two_headers, body) = h2.send(&method, path, &headers, Bytes::new()).await;
        let what = format!("{method} {path} {headers:?}");
        assert_eq!(status, one.status, "{what}");
        assert_eq!(comparable(two_headers), comparable(one.headers), "{what}");
        assert!(without_ids(&body.unwrap()) == without_ids(&one.body), "{what}");
    }
}

#[tokio::test]
async fn http_2_misses_write_and_run_side_by_side() {
    let (s3, proxy, _client) = setup().await;
    let h2 = H2Client::connect(proxy.addr).await;
    let (_, headers, body) = h2.get("/data/k").await;
    assert_eq!(headers["cache-status"], "hotset; fwd=uri-miss; detail=new");
    assert!(body.unwrap() == s3.object_bytes("data", "k"));
    s3.assert_each_byte_sent_once("data", "k");
    let reads = (0..50_u64).map(|n| {
        let range = format!("bytes={}-{}", n * 50_000, n * 50_000 + 60_000);
        let h2 = h2.clone();
        async move {
            let range: [(&str, &str); 1] = [("range", &range)];
            h2.send(&Method::GET, "/data/k", &range, Bytes::new()).await.2.unwrap()
        }
    });
    let object = s3.object("data", "k").unwrap();
    for (n, bytes) in (0_u64..).zip(futures_util::future::join_all(reads).await) {
        assert!(bytes == object.slice(n * 50_000..n * 50_000 + 60_001), "{n}");
    }
    let new = Object::random(500_000, 9).all();
    let (status, headers, _) = h2.send(&Method::PUT, "/data/k", &[], new.clone()).await;
    assert_eq!(
        (status, &headers["cache-status"]),
        (StatusCode::OK, &"hotset; fwd=method".parse().unwrap())
    );
    assert!(h2.get("/data/k").await.2.unwrap() == new);
    assert!(s3.complaints().is_empty(), "{:?}", s3.complaints());
}

#[tokio::test]
async fn many_requests_share_one_connection_whatever_their_answer() {
    let (s3, _proxy, client) = setup().await;
    s3.fault(Matcher::get("late"), Times(6), Fault::Status(503, "SlowDown"));
    for round in 0..10 {
        assert_eq!(client.get("/data/k").send().await.status, 200);
        assert_eq!(client.get("/data/k").range("bytes=0-9").send().await.status, 206);
        assert_eq!(client.get("/data/k").range("bytes=99999999-").send().await.status, 416);
        assert_eq!(client.get("/data/none").send().await.status, 404);
        assert_eq!(client.head("/data/none").send().await.status, 404);
        assert_eq!(client.head("/data/k").send().await.status, 200);
        assert_eq!(client.get("/data/k").header("If-None-Match", "*").send().await.status, 304);
        assert_eq!(client.put("/data/other").body("x").send().await.status, 200);
        assert_eq!(client.delete("/data/other").send().await.status, 204);
        assert_eq!(client.get("/data?list-type=2").send().await.status, 200);
        assert_eq!(client.get("/data/%zz").send().await.status, 400);
        if round == 0 {
            assert_eq!(client.get("/data/late").send().await.status, 503);
        }
    }
    assert_eq!(client.connections(), 1);
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let (s3, _proxy, client) = setup().await;
    for key in ["a", "b", "c"] {
        s3.put("data", key, Object::bytes(format!("<{key}>")));
    }
    let get = |target: &str, more: &str| {
        format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n")
    };
    // Cold, then hot, then with passed-through requests in between.
    for between in ["", "", "/data/c?tagging"] {
        let mut requests = get("/data/a", "") + &get("/data/b", "");
        if !between.is_empty() {
            requests += &get(between, "");
        }
        requests += &get("/data/c", "Connection: close\r\n");
        let all = String::from_utf8_lossy(&client.send_raw(requests.as_bytes()).await).into_owned();
        let bodies: Vec<_> = all.split("\r\n\r\n").skip(1).map(|part| &part[..3]).collect();
        let expected: &[&str] =
            if between.is_empty() { &["<a>", "<b>", "<c>"] } else { &["<a>", "<b>", "<?x", "<c>"] };
        assert_eq!(bodies, expected, "{all}");
    }
}

#[tokio::test]
async fn http_1_0_gets_its_answer_and_the_end_of_the_connection() {
    let (_s3, _proxy, client) = setup().await;
    for request in ["GET /data/k HTTP/1.0\r\n\r\n", "GET /data/k?tagging HTTP/1.0\r\n\r\n"] {
        let answer = client.raw(request.as_bytes()).await;
        assert_eq!(answer.status, 200);
        assert!(answer.complete && !answer.headers.contains_key("transfer-encoding"));
        let all = client.send_raw(request.as_bytes()).await;
        assert!(all.starts_with(b"HTTP/1.") && !all.is_empty());
    }
}

#[tokio::test]
async fn http_1_0_gets_what_the_origin_sends_in_chunks_as_it_is() {
    let (s3, _proxy, client) = setup().await;
    s3.fault(Matcher::any(), Always, Fault::Chunked);
    for target in ["/data?list-type=2", "/data/k?tagging"] {
        let expected = client.get(target).send().await;
        assert!(expected.complete && expected.header("transfer-encoding") == "chunked");
        for more in ["", "Connection: keep-alive\r\n"] {
            let request = format!("GET {target} HTTP/1.0\r\n{more}\r\n");
            let all = client.send_raw(request.as_bytes()).await;
            let all = String::from_utf8(all.to_vec()).unwrap();
            let (head, body) = all.split_once("\r\n\r\n").unwrap();
            let head = head.to_ascii_lowercase();
            assert!(!head.contains("transfer-encoding"), "{target}: {head}");
            assert!(head.contains("connection: close"), "{target}: {head}");
            assert_eq!(body.as_bytes(), expected.body, "{target}");
        }
    }
}

/// HTTP/2's preface has 24 bytes; a shorter request must be answered without waiting for more.
#[tokio::test]
async fn a_request_shorter_than_the_preface_of_http_2_is_answered_at_once() {
    let (_s3, proxy, _client) = setup().await;
    for pieces in [
        &["GET / HTTP/1.0\r\n\r\n"][..],
        &["P", "UT /data/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n", "x"],
    ] {
        let mut stream = TcpStream::connect(proxy.addr).await.unwrap();
        stream.set_nodelay(true).unwrap();
        for piece in pieces {
            stream.write_all(piece.as_bytes()).await.unwrap();
            tokio::task::yield_now().await;
        }
        let mut start = [0; 12];
        within("an answer", stream.read_exact(&mut start)).await.unwrap();
        assert!(start.ends_with(b" 200"), "{}", String::from_utf8_lossy(&start));
    }
}

#[tokio::test]
async fn a_client_that_says_nothing_is_cut_off_after_the_time_for_a_head() {
    let s3 = FakeS3::start().await;
    let proxy = TestProxy::start_with(&s3, |config| {
        config.limits.header_timeout = "50ms".parse().unwrap();
    })
    .await;
    for start in ["", "P", "PRI * HTTP/2.0\r\n"] {
        let mut stream = TcpStream::connect(proxy.addr).await.unwrap();
        stream.write_all(start.as_bytes()).await.unwrap();
        let mut rest = Vec::new();
        let read = within("the end of the connection", stream.read_to_end(&mut rest)).await;
        assert!(read.is_err() || rest.is_empty(), "{start:?}");
    }
}

#[tokio::test]
async fn every_answer_says_what_part_the_cache_had_and_has_an_id() {
    let (s3, _proxy, client) = setup().await;
    s3.fault(Matcher::get("down"), Times(99), Fault::Status(500, "InternalError"));
    s3.fault(Matcher::any().key("locked"), Times(99), Fault::Status(403, "AccessDenied"));
    let etag = s3.object("data", "k").unwrap().etag_value().unwrap().to_owned();
    let none = ("x-none", "");
    for (method, path, header, status, cache) in [
        ("GET", "/data/k", none, 200, "hotset; fwd=uri-miss; detail=new"),
        ("GET", "/data/k", none, 200, "hotset; hit"),
        ("HEAD", "/data/k", none, 200, "hotset; hit"),
        ("GET", "/data/k", ("Range", "bytes=5-9"), 206, "hotset; hit"),
        (
            "GET",
            "/data/k",
            ("Range", "bytes=99999999-"),
            416,
            "hotset; fwd=stale; detail=revalidated",
        ),
        ("GET", "/data/k", ("If-None-Match", &etag), 304, "hotset; hit"),
        ("GET", "/data/k", ("If-Match", "\"x\""), 412, "hotset; fwd=stale; detail=revalidated"),
        (
            "GET",
            "/data/k",
            ("Cache-Control", "no-cache"),
            200,
            "hotset; fwd=stale; detail=revalidated",
        ),
        ("GET", "/data/none", none, 404, "hotset; fwd=uri-miss; detail=new"),
        ("GET", "/data/none", none, 404, "hotset; hit; detail=negative"),
        ("GET", "/data/down", none, 503, "hotset; fwd=uri-miss; detail=new"),
        ("GET", "/data/locked", none, 403, "hotset; fwd=uri-miss; detail=new"),
        ("GET", "/data/k?tagging", none, 200, "hotset; fwd=bypass"),
        ("GET", "/data?list-type=2", none, 200, "hotset; fwd=bypass"),
        ("PUT", "/data/new", none, 200, "hotset; fwd=method"),
        ("DELETE", "/data/new", none, 204, "hotset; fwd=method"),
        ("GET", "/data/%zz", none, 400, "hotset; fwd=bypass"),
        ("GET", "/x/k", none, 400, "hotset; fwd=bypass"),
    ] {
        let request = client.request(method.parse().unwrap(), path).header(header.0, header.1);
        let request = if method == "PUT" { request.body("x") } else { request };
        let answer = request.send().await;
        let what = format!("{method} {path} {header:?}");
        assert_eq!(
            (answer.status.as_u16(), answer.header("cache-status")),
            (status, cache),
            "{what}"
        );
        assert_eq!(answer.headers.get_all("cache-status").iter().count(), 1, "{what}");
        assert!(!answer.header("x-amz-request-id").is_empty(), "{what}");
    }
    s3.go_down().await;
    let down = client.get("/data?list-type=2").send().await;
    assert_eq!((down.status.as_u16(), down.header("cache-status")), (503, "hotset; fwd=bypass"));
    let down = client.put("/data/new").body("x").send().await;
    assert_eq!((down.status.as_u16(), down.header("cache-status")), (503, "hotset; fwd=method"));
}

/// `ETag`, `Last-Modified`, `x-amz-id-2`: some HTTP/1.1 clients compare header names by case.
#[tokio::test]
async fn names_of_headers_are_spelled_as_s3_spells_them() {
    let (s3, _proxy, client) = setup().await;
    let etag = s3.object("data", "k").unwrap().etag_value().unwrap().to_owned();
    let condition = format!("If-None-Match: {etag}\r\n");
    let requests = [
        ("GET /data/k", "Range: bytes=0-3\r\n"),
        ("GET /data/k", "Range: bytes=0-3\r\n"),
        ("GET /data/k", &*condition),
        ("HEAD /data/k", ""),
        ("GET /data/k", "Range: bytes=9999999-\r\n"),
        ("GET /data?list-type=2", ""),
        ("GET /data/none", "Connection: close\r\n"),
    ];
    let requests = requests
        .map(|(line, headers)| format!("{line} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n"))
        .concat();
    let all = client.send_raw(requests.as_bytes()).await;
    let all = String::from_utf8_lossy(&all).into_owned();
    let (mut heads, mut seen) = (0, std::collections::BTreeSet::new());
    for line in all.split("\r\n") {
        heads += usize::from(line.contains("HTTP/1.1 "));
        let Some((name, _)) = line.split_once(": ") else { continue };
        if name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            seen.insert(name);
        }
    }
    assert_eq!(heads, 7, "{all}");
    for name in &seen {
        let lower = name.to_ascii_lowercase();
        let parts = lower.split('-').map(|part| part[..1].to_ascii_uppercase() + &part[1..]);
        let titled = parts.collect::<Vec<_>>().join("-");
        let expected = match &*lower {
            "etag" => "ETag",
            lower if lower.starts_with("x-amz-") => lower,
            _ => &titled,
        };
        assert_eq!(*name, expected, "{all}");
    }
    let standard = ["ETag", "Last-Modified", "Content-Range", "Cache-Status", "x-amz-meta-a"];
    assert!(standard.iter().all(|name| seen.contains(name)), "{seen:?}");
}
