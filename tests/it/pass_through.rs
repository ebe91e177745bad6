//! Pass-through: the request as the origin receives it, and its response as the client receives it.

use http::{HeaderMap, Method};

use crate::support::sigv4::sha256;
use crate::support::{
    Client, FakeS3, Fault, Matcher, Object, Response, Seen, Times, our_signature, setup,
};

fn last(s3: &FakeS3) -> Seen {
    s3.requests().pop().expect("a request")
}

fn method(name: &str) -> Method {
    name.parse().expect("a method")
}

#[tokio::test]
async fn r23_whatever_is_passed_on_bears_our_signature_and_never_the_clients() {
    let (s3, _proxy, client) = setup().await;
    for (name, path, body) in [
        ("GET", "/", ""),
        ("GET", "/data?list-type=2&prefix=a%2Fb", ""),
        ("GET", "/data?b=2&a=1&c&d=&a=0", ""),
        ("GET", "/data/k?attributes&versionId=x", ""),
        ("GET", "/data/%C3%BC%20+~*'()!?tagging", ""),
        ("HEAD", "/data", ""),
        ("PUT", "/data/a%2Fb//c/../d", "body"),
        ("PUT", "/data/k?acl", "<xml/>"),
        ("POST", "/data/k?uploads", ""),
        ("DELETE", "/data/k?uploadId=%2B%2F%3D", ""),
        ("PATCH", "/data/k", "x"),
    ] {
        let mut request = client
            .request(method(name), path)
            .header("Authorization", "AWS4-HMAC-SHA256 Credential=CLIENT/x, Signature=theirs")
            .header("x-amz-date", "20200101T000000Z")
            .header("x-amz-security-token", "their-token")
            .header("x-amz-content-sha256", "UNSIGNED-PAYLOAD")
            .header("x-amz-acl", "private")
            .header("Content-MD5", "abc=");
        if !body.is_empty() {
            request = request.body(body);
        }
        let answer = request.send().await;
        assert!(answer.complete, "{name} {path}");
        let seen = last(&s3);
        let (authorization, _) = our_signature(&seen);
        assert_eq!(seen.header("authorization"), authorization, "{name} {path}");
        assert!(authorization.contains("Credential=AKTEST/"), "{authorization}");
        assert!(authorization.contains("content-md5;host;x-amz-acl;"), "{authorization}");
        let all = format!("{:?} {}", seen.headers, seen.target);
        for theirs in ["CLIENT", "theirs", "their-token", "20200101T000000Z"] {
            assert!(!all.contains(theirs), "{all}");
        }
        assert_eq!(seen.header("host"), s3.addr().to_string());
        assert_eq!(seen.headers.get_all("host").iter().count(), 1);
        assert_eq!(seen.body, body);
    }
    assert!(s3.complaints().is_empty(), "{:?}", s3.complaints());
}

#[tokio::test]
async fn r23_only_the_parameters_of_the_signature_leave_a_presigned_query() {
    let (s3, _proxy, client) = setup().await;
    let signature = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=A%2F1&X-Amz-Date=1\
                     &X-Amz-Expires=60&X-Amz-SignedHeaders=host&X-Amz-Security-Token=T\
                     &X-Amz-Signature=abc";
    let kept = "x-id=PutObject&x-amz-acl=private&X-Amz-Expected-Bucket-Owner=1";
    let hash = sha256(b"hello");
    for claimed in ["UNSIGNED-PAYLOAD", &hash] {
        let query = format!("{kept}&{signature}&X-Amz-Content-Sha256={claimed}");
        let put = client.put(&format!("/data/k?{query}")).body("hello").send().await;
        assert_eq!(put.status, 200);
        let seen = last(&s3);
        assert_eq!(seen.query, kept);
        assert_eq!(seen.header("x-amz-content-sha256"), claimed);
        assert_eq!(seen.header("authorization"), our_signature(&seen).0);
        assert_eq!(s3.object_bytes("data", "k"), "hello");
    }
    let get = client.get(&format!("/data/k?{signature}")).send().await;
    assert_eq!((get.text().as_str(), &*last(&s3).query), ("hello", ""));
    let tags = client.get(&format!("/data/k?tagging&{signature}")).send().await;
    assert_eq!((tags.status.as_u16(), &*last(&s3).query), (200, "tagging"));
}

#[tokio::test]
async fn order_and_meaning_of_a_query_are_kept_whatever_its_encoding() {
    let (s3, _proxy, client) = setup().await;
    for (sent, seen) in [
        ("z=1&a=2&list-type=2", "z=1&a=2&list-type=2"),
        ("prefix=a/b+c%2Bd", "prefix=a%2Fb%20c%2Bd"),
        ("prefix=%e2%82%ac&x", "prefix=%E2%82%AC&x"),
        ("a&a=&a=1&&b=x=y", "a&a=&a=1&b=x%3Dy"),
        ("%6Cist-type=2", "list-type=2"),
        ("k=~.-_*'", "k=~.-_%2A%27"),
    ] {
        assert_eq!(client.get(&format!("/data?{sent}")).send().await.status, 200);
        assert_eq!(last(&s3).query, seen, "{sent}");
    }
    let refused = client.get("/data?prefix=%zz").send().await;
    assert!(refused.status == 400 && refused.text().contains("<Code>InvalidURI</Code>"));
}

#[tokio::test]
async fn headers_of_the_clients_connection_stay_on_it() {
    let (s3, _proxy, client) = setup().await;
    let answer = client
        .put("/data/k")
        .header("Connection", "keep-alive, x-mine")
        .header("Keep-Alive", "timeout=5")
        .header("x-mine", "1")
        .header("TE", "trailers")
        .header("Proxy-Connection", "keep-alive")
        .header("Proxy-Authorization", "Basic c2VjcmV0")
        .header("x-amz-meta-theirs", "1")
        .body("hello")
        .send()
        .await;
    assert_eq!(answer.status, 200);
    let seen = last(&s3);
    for name in ["connection", "keep-alive", "x-mine", "te", "proxy-connection"] {
        assert!(!seen.headers.contains_key(name), "{name}: {:?}", seen.headers);
    }
    assert!(!seen.headers.contains_key("proxy-authorization"), "{:?}", seen.headers);
    assert_eq!(seen.header("x-amz-meta-theirs"), "1");
}

#[tokio::test]
async fn only_headers_on_the_allow_list_are_passed_on_under_our_signature() {
    let (s3, _proxy, client) = setup().await;
    let allowed = [
        ("accept", "*/*"),
        ("accept-encoding", "gzip"),
        ("cache-control", "max-age=60"),
        ("content-disposition", "inline"),
        ("content-encoding", "gzip"),
        ("content-language", "en"),
        ("content-md5", "XUFAKrxLKna5cZ2REBfFkg=="),
        ("content-type", "text/plain"),
        ("expires", "Wed, 21 Oct 2026 07:28:00 GMT"),
        ("if-match", "\"x\""),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("tracestate", "a=1"),
        ("user-agent", "a client"),
        ("x-amz-meta-a", "b"),
        ("x-amz-storage-class", "STANDARD"),
    ];
    let dropped = [
        ("forwarded", "host=evil.example"),
        ("via", "1.1 proxy"),
        ("cookie", "a=b"),
        ("referer", "https://a.example/"),
        ("x-forwarded-for", "10.0.0.1"),
        ("x-forwarded-host", "evil.example"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-port", "1"),
        ("x-forwarded-prefix", "/s3"),
        ("x-original-url", "/other/k"),
        ("x-rewrite-url", "/other/k"),
        ("x-real-ip", "10.0.0.1"),
        ("x-host", "evil.example"),
        ("true-client-ip", "10.0.0.1"),
        ("x-amz-cf-id", "abc"),
        ("x-amzn-trace-id", "Root=1"),
        ("x-custom", "1"),
        ("date", "Wed, 21 Oct 2015 07:28:00 GMT"),
        ("pragma", "no-cache"),
        ("dnt", "1"),
        ("amz-sdk-invocation-id", "1"),
    ];
    let ours = ["authorization", "cdn-loop", "host", "x-amz-content-sha256", "x-amz-date"];
    for (name, path, body) in
        [("PUT", "/data/k", "hello"), ("GET", "/data?list-type=2", ""), ("GET", "/data/k?acl", "")]
    {
        let mut request = client.request(method(name), path);
        for (name, value) in allowed.into_iter().chain(dropped) {
            request = request.header(name, value);
        }
        if !body.is_empty() {
            request = request.body(body);
        }
        request.send().await;
        let seen = last(&s3);
        for (name, value) in allowed {
            assert_eq!(seen.header(name), value, "{path} {name}");
        }
        let others = seen.headers.keys().map(http::HeaderName::as_str).filter(|name| {
            *name != "content-length" && !allowed.iter().any(|(known, _)| known == name)
        });
        let mut others: Vec<&str> = others.collect();
        others.sort_unstable();
        assert_eq!(others, ours, "{path}");
    }
}

/// Returns all headers but the request id, `Cache-Status` and the headers of each hop: `Connection`, and `Date`,
/// which is the time of the sender.
fn comparable(answer: &Response) -> HeaderMap {
    let mut headers = answer.headers.clone();
    for name in ["x-amz-request-id", "cache-status", "connection", "date"] {
        headers.remove(name);
    }
    headers
}

#[tokio::test]
async fn the_origins_answer_comes_back_untouched() {
    let (s3, _proxy, client) = setup().await;
    let direct = Client::new(s3.addr());
    s3.put("data", "a/b", Object::random(70_000, 1).parts(&[70_000]).header("x-amz-meta-q", "1"));
    s3.put("data", "c", Object::bytes("c").version_id("v1"));
    let odd = Fault::SetHeader("X-Odd-Header", "a,  b;c=\"d\"".to_owned());
    s3.fault(Matcher::any().query("acl"), crate::support::Always, odd);
    for (name, path) in [
        ("GET", "/"),
        ("GET", "/data?list-type=2&prefix=a"),
        ("GET", "/data?location"),
        ("HEAD", "/data"),
        ("GET", "/data/a/b?tagging"),
        ("GET", "/data/a/b?acl"),
        ("GET", "/data/a/b?partNumber=0"),
        ("HEAD", "/data/a/b?partNumber=10001"),
        ("GET", "/data/c?torrent&versionId=v1"),
        ("GET", "/data/c?versionId="),
        ("PUT", "/data/a/b?tagging"),
        ("DELETE", "/data/none"),
    ] {
        let expected = direct.request(method(name), path).send().await;
        let answer = client.request(method(name), path).send().await;
        assert_eq!(answer.status, expected.status, "{name} {path}");
        assert_eq!(answer.body, expected.body, "{name} {path}");
        assert_eq!(comparable(&answer), comparable(&expected), "{name} {path}");
        assert!(answer.header("x-amz-request-id").starts_with("ORIGIN"), "{name} {path}");
        assert!(answer.complete);
    }
}

#[tokio::test]
async fn an_answer_without_a_length_comes_back_whole_and_a_cut_one_broken() {
    let (s3, _proxy, client) = setup().await;
    s3.put("data", "k", Object::random(200_000, 1));
    let read = || client.get("/data/k").header("x-amz-something-new", "1");
    s3.fault(Matcher::get("k"), Times(1), Fault::Chunked);
    let answer = read().send().await;
    assert!(answer.complete && answer.body == s3.object_bytes("data", "k"));
    for fault in [
        Fault::CutAfter(100_000),
        Fault::ResetAfter(100_000),
        Fault::All(vec![Fault::Chunked, Fault::CutAfter(100_000)]),
    ] {
        s3.fault(Matcher::get("k"), Times(1), fault.clone());
        let broken = read().send().await;
        let length = broken.body.len();
        // Also on a reused connection: a retry must not be appended to the first response.
        assert!(!broken.complete && length <= 100_000, "{fault:?} {length} {}", s3.describe());
    }
    assert!(read().send().await.complete);
}

#[tokio::test]
async fn r9_a_write_is_sent_once_however_its_answer_fails() {
    let (s3, _proxy, client) = setup().await;
    for fault in [Fault::ResetBeforeAnswer, Fault::CloseBeforeAnswer] {
        for name in ["PUT", "DELETE", "POST"] {
            // On a connection that has carried a request before, where a retry is most likely.
            assert_eq!(client.put("/data/warm").body("x").send().await.status, 200);
            s3.forget_requests();
            s3.fault(Matcher::any().key("k"), Times(1), fault.clone());
            let answer = client.request(method(name), "/data/k").body("v").send().await;
            assert_eq!(answer.status, 503, "{name}: {}", answer.text());
            assert!(answer.text().contains("<Code>ServiceUnavailable</Code>"), "{}", answer.text());
            assert_eq!(s3.count(|r| r.method == method(name)), 1, "{}", s3.describe());
        }
    }
}

#[tokio::test]
async fn r8_after_a_write_without_an_answer_every_read_asks_the_origin() {
    let (s3, _proxy, client) = setup().await;
    s3.put("data", "k", Object::bytes("one"));
    assert_eq!(client.get("/data/k").send().await.text(), "one");
    s3.fault(Matcher::put("k"), Times(1), Fault::CloseBeforeAnswer);
    assert_eq!(client.put("/data/k").body("two").send().await.status, 503);
    assert_eq!(client.get("/data/k").send().await.text(), "two");
    // As if the write took effect later.
    s3.put("data", "k", Object::bytes("three"));
    assert_eq!(client.get("/data/k").send().await.text(), "three");
}

#[tokio::test]
async fn an_origin_that_is_down_is_a_503_for_what_is_passed_on() {
    let (s3, _proxy, client) = setup().await;
    s3.go_down().await;
    for (name, path) in [("GET", "/data?list-type=2"), ("PUT", "/data/k"), ("DELETE", "/data/k")] {
        let answer = client.request(method(name), path).send().await;
        assert_eq!(answer.status, 503, "{name}");
        assert!(answer.text().contains("<Code>ServiceUnavailable</Code>"));
        assert!(answer.complete && !answer.header("x-amz-request-id").is_empty());
    }
    s3.come_back().await;
    assert_eq!(client.get("/data?list-type=2").send().await.status, 200);
}

#[tokio::test]
async fn an_interim_answer_carries_nothing_of_ours() {
    let (_s3, _proxy, client) = setup().await;
    let request = b"PUT /data/k HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n\
                    Content-Length: 5\r\nConnection: close\r\n\r\nhello";
    let all = client.send_raw(request).await;
    let text = String::from_utf8_lossy(&all);
    assert!(text.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n"), "{text}");
    assert!(text.contains("\r\nCache-Status: hotset; fwd=method\r\n"), "{text}");
}
