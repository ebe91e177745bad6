//! Limits on the resources that clients hold, and the responses above them (`limits`).

use std::time::Duration;

use hotset::config::Config;
use hotset::config::units::{ByteSize, HumanDuration};
use hotset::proxy::ListenConfig;
use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use crate::support::{
    Client, FakeS3, Fault, Gate, H2Client, Matcher, Object, Scratch, TestProxy, Times, within,
};

async fn with(limits: impl FnOnce(&mut Config)) -> (FakeS3, TestProxy, Client) {
    let s3 = FakeS3::start().await;
    s3.put("data", "k", Object::bytes("content"));
    let proxy = TestProxy::start_with(&s3, limits).await;
    let client = proxy.client();
    (s3, proxy, client)
}

async fn assert_counted(proxy: &TestProxy, reason: &str) {
    let series = format!("hotset_refused_total{{reason=\"{reason}\"}}");
    assert!(proxy.metric(&series).await >= 1.0, "{series}");
}

#[tokio::test]
async fn a_query_of_more_than_256_parameters_is_refused() {
    let (s3, _proxy, client) = with(|_| {}).await;
    let of = |count: usize| {
        let names = (0..count).map(|n| format!("x-amz-{n}=1"));
        format!("/data/k?{}", names.collect::<Vec<_>>().join("&"))
    };
    assert_eq!(client.get(&of(256)).send().await.status, 200);
    assert_eq!(s3.requests().len(), 1, "{}", s3.describe());
    let answer = client.get(&of(257)).send().await;
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("<Code>InvalidRequest</Code>"), "{}", answer.text());
    assert_eq!(s3.requests().len(), 1, "{}", s3.describe());
}

#[tokio::test]
async fn headers_that_are_too_large_or_too_many_are_refused_as_s3_does() {
    let (s3, proxy, client) = with(|config| {
        config.limits.header_bytes = ByteSize::kib(2);
        config.limits.headers = 20;
    })
    .await;
    let large = client.get("/data/k").header("x-a", &"x".repeat(1900));
    assert_eq!(large.send().await.status, 200);
    let too_large = client.get("/data/k").header("x-a", &"x".repeat(2048)).send().await;
    let too_many = (0..20).fold(client.get("/data/k"), |request, _| request.header("x-a", "b"));
    for answer in [too_large, too_many.send().await] {
        assert_eq!(answer.status, 400);
        assert_eq!(answer.header("connection"), "close");
        let text = answer.text();
        assert!(text.contains("<Code>RequestHeaderSectionTooLarge</Code>"), "{text}");
    }
    // Refused before the end of the head, however long that is.
    let endless = format!("GET /data/k HTTP/1.1\r\nHost: localhost\r\nx: {}", "x".repeat(4096));
    assert_eq!(client.raw(endless.as_bytes()).await.status, 400);
    assert_counted(&proxy, "header_too_large").await;
    assert_eq!(s3.requests().len(), 1);
}

#[tokio::test]
async fn a_uri_that_is_too_long_is_414() {
    let (_s3, proxy, client) = with(|config| config.limits.uri_bytes = ByteSize(100)).await;
    let path = |length: usize| format!("/data/k?x-id={}", "x".repeat(length - 13));
    assert_ne!(client.get(&path(100)).send().await.status, 414);
    let answer = client.get(&path(101)).send().await;
    assert_eq!(answer.status, 414);
    assert!(answer.text().contains("<Code>InvalidURI</Code>"), "{}", answer.text());
    let endless = format!("GET /{}", "x".repeat(4096));
    assert_eq!(client.raw(endless.as_bytes()).await.status, 414);
    assert_counted(&proxy, "uri_too_long").await;
    let h2 = H2Client::connect(proxy.addr).await;
    assert_ne!(h2.get(&path(100)).await.0, 414);
    assert_eq!(h2.get(&path(101)).await.0, 414);
}

/// Sends `piece` again and again, each a little later, for as long as the server accepts it; returns the response.
async fn trickle(proxy: &TestProxy, start: &str, piece: &str) -> String {
    let mut stream = TcpStream::connect(proxy.addr).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream.write_all(start.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let trickle = async {
        loop {
            match timeout(Duration::from_millis(5), stream.read_buf(&mut answer)).await {
                Ok(read) if read.as_ref().is_ok_and(|n| *n > 0) => {}
                Ok(_) => return,
                Err(_) if answer.is_empty() => {
                    let _ = stream.write_all(piece.as_bytes()).await;
                }
                Err(_) => {}
            }
        }
    };
    within("the end of a trickle", trickle).await;
    String::from_utf8_lossy(&answer).into_owned()
}

fn assert_timed_out(answer: &str, answers: usize) {
    assert_eq!(answer.matches("HTTP/1.1 ").count(), answers, "{answer}");
    let last = answer.rsplit_once("HTTP/1.1 ").map_or("", |(_, last)| last);
    assert!(last.starts_with("400 ") && last.contains("<Code>RequestTimeout</Code>"), "{answer}");
}

#[tokio::test]
async fn a_head_has_one_deadline_however_it_trickles() {
    let (_s3, proxy, _client) = with(|config| {
        config.limits.header_timeout = HumanDuration(Duration::from_millis(100));
    })
    .await;
    let head = "GET /data/k HTTP/1.1\r\nHost: localhost\r\n";
    assert_timed_out(&trickle(&proxy, head, "").await, 1);
    assert_timed_out(&trickle(&proxy, head, "x: y\r\n").await, 1);
    // The second request of a connection as well.
    assert_timed_out(&trickle(&proxy, &format!("{head}\r\n{head}"), "x: y\r\n").await, 2);
    assert_counted(&proxy, "slow_head").await;
}

#[tokio::test]
async fn a_body_that_comes_too_slowly_is_given_up() {
    let (s3, proxy, client) = with(|config| {
        config.limits.body_timeout = HumanDuration(Duration::from_millis(100));
    })
    .await;
    let put = "PUT /data/slow HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n";
    assert_timed_out(&trickle(&proxy, put, "").await, 1);
    assert_timed_out(&trickle(&proxy, put, "x").await, 1);
    assert!(s3.object("data", "slow").is_none());
    assert_counted(&proxy, "slow_body").await;
    let body = Object::random(1 << 20, 1).all();
    assert_eq!(client.put("/data/quick").body(body).send().await.status, 200);
}

#[tokio::test]
async fn one_address_has_no_more_connections_than_it_may() {
    let scratch = Scratch::new();
    let path = scratch.path("s3.sock");
    let (_s3, proxy, client) = with(|config| {
        config.limits.connections_per_address = Some(2);
        let address = format!("unix:{path}");
        config.listen.push(ListenConfig { address, ..ListenConfig::default() });
    })
    .await;
    let one = client.open("/data/k").await;
    let two = client.open("/data/k").await;
    let refused = proxy.client().get("/data/k").send().await;
    assert_eq!((refused.status.as_u16(), refused.header("retry-after")), (503, "1"));
    assert!(refused.text().contains("<Code>SlowDown</Code>"), "{}", refused.text());
    assert_counted(&proxy, "connections_per_address").await;
    // A client of a unix socket has no address.
    let held: Vec<_> =
        futures_util::future::join_all((0..4).map(|_| UnixStream::connect(&path))).await;
    assert!(held.iter().all(Result::is_ok));
    assert_eq!(one.finish().await.body, "content");
    drop(two);
    client.close_idle();
    let again = async { while proxy.client().get("/data/k").send().await.status != 200 {} };
    within("a place for a new connection", again).await;
}

#[tokio::test]
async fn requests_beyond_the_limit_are_told_to_slow_down_and_keep_their_connection() {
    let (s3, proxy, client) = with(|config| config.limits.requests = 1).await;
    let gate = Gate::new();
    s3.fault(Matcher::get("k"), Times(1), Fault::HoldHeader(gate.clone()));
    let first = tokio::spawn(client.get("/data/k").send());
    gate.wait_reached().await;
    let other = proxy.client();
    for _ in 0..2 {
        let refused = other.get("/data/k").send().await;
        assert_eq!((refused.status.as_u16(), refused.header("retry-after")), (503, "1"));
        assert!(refused.text().contains("<Code>SlowDown</Code>"), "{}", refused.text());
    }
    let h2 = H2Client::connect(proxy.addr).await;
    assert_eq!(h2.get("/data/k").await.0, 503);
    assert_counted(&proxy, "requests_in_flight").await;
    gate.open();
    assert_eq!(first.await.unwrap().body, "content");
    assert_eq!(other.get("/data/k").send().await.status, 200);
    assert_eq!(other.connections(), 1);
    assert_eq!(s3.count(|r| r.method == Method::GET), 1);
}

#[tokio::test]
async fn a_connection_is_closed_after_as_many_requests_as_it_may_bring() {
    let (_s3, _proxy, client) = with(|config| config.limits.keep_alive_requests = Some(2)).await;
    for n in 1..=6 {
        let answer = client.get("/data/k").send().await;
        let expected = if n % 2 == 0 { "close" } else { "keep-alive" };
        assert_eq!((answer.status.as_u16(), answer.header("connection")), (200, expected), "{n}");
    }
    assert_eq!(client.connections(), 3);
}
