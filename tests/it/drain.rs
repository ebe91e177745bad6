//! Graceful shutdown (R30): requests in flight are finished, idle connections are closed at once, and nothing lasts
//! beyond the grace period.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::support::{
    Client, FakeS3, Fault, Gate, H2Client, Matcher, Object, TestProxy, Times, within,
};

const SIZE: u64 = 3 << 20;

/// Starts a server whose origin holds the response for `key` after this many bytes.
async fn held_after(bytes: u64) -> (FakeS3, TestProxy, Gate) {
    let s3 = FakeS3::start().await;
    let proxy = TestProxy::start(&s3).await;
    s3.put("data", "key", Object::random(SIZE, 1));
    let gate = Gate::new();
    s3.fault(Matcher::get("key"), Times(1), Fault::HoldBodyAfter(bytes, gate.clone()));
    (s3, proxy, gate)
}

async fn refuses_connections(proxy: &TestProxy) {
    let refused = async {
        while TcpStream::connect(proxy.addr).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    within("the port to be closed", refused).await;
}

#[tokio::test]
async fn r30_a_server_with_nothing_to_do_ends_at_once() {
    let s3 = FakeS3::start().await;
    let mut proxy = TestProxy::start(&s3).await;
    let started = Instant::now();
    proxy.begin_shutdown();
    proxy.ended().await;
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn r30_an_idle_connection_is_closed_and_does_not_keep_the_server() {
    let s3 = FakeS3::start().await;
    let mut proxy = TestProxy::start(&s3).await;
    s3.put("data", "key", Object::random(5000, 2));
    let client = proxy.client();
    assert_eq!(client.get("/data/key").send().await.status, 200);
    proxy.begin_shutdown();
    proxy.ended().await;
    assert_eq!(client.connections(), 1);
}

#[tokio::test]
async fn r30_an_idle_connection_that_passed_a_write_does_not_keep_the_server() {
    let s3 = FakeS3::start().await;
    let mut proxy = TestProxy::start(&s3).await;
    let client = proxy.client();
    assert_eq!(client.put("/data/key").body("x").send().await.status, 200);
    proxy.begin_shutdown();
    proxy.ended().await;
    assert_eq!(client.connections(), 1);
}

#[tokio::test]
async fn r30_an_idle_http2_connection_does_not_keep_the_server() {
    let s3 = FakeS3::start().await;
    let mut proxy = TestProxy::start(&s3).await;
    s3.put("data", "key", Object::random(5000, 2));
    let client = H2Client::connect(proxy.addr).await;
    assert_eq!(client.get("/data/key").await.0, 200);
    proxy.begin_shutdown();
    proxy.ended().await;
}

#[tokio::test]
async fn r30_a_connection_that_never_said_anything_does_not_keep_the_server() {
    let s3 = FakeS3::start().await;
    let mut proxy = TestProxy::start(&s3).await;
    let silent = TcpStream::connect(proxy.addr).await.unwrap();
    // The silent connection was accepted before this one.
    assert_eq!(proxy.client().get("/data/%zz").send().await.status, 400);
    proxy.begin_shutdown();
    proxy.ended().await;
    drop(silent);
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_closed_after_the_header_timeout() {
    let s3 = FakeS3::start().await;
    let proxy = TestProxy::start_with(&s3, |config| {
        config.limits.header_timeout.0 = Duration::from_millis(200);
    })
    .await;
    for beginning in ["", "P", "PRI * HTTP/2.0"] {
        assert!(proxy.client().send_raw(beginning.as_bytes()).await.is_empty(), "{beginning:?}");
    }
}

#[tokio::test]
async fn r30_a_read_that_has_begun_is_finished() {
    let (s3, mut proxy, gate) = held_after(100_000).await;
    let mut reader = proxy.client().open("/data/key").await;
    assert_eq!(reader.read(100_000).await.len(), 100_000);
    proxy.begin_shutdown();
    refuses_connections(&proxy).await;
    gate.open();
    let answer = reader.finish().await;
    assert!(answer.complete);
    assert!(answer.body == s3.object("data", "key").unwrap().slice(100_000..SIZE));
    proxy.ended().await;
}

#[tokio::test]
async fn r30_a_read_that_waits_for_its_first_byte_is_finished() {
    let s3 = FakeS3::start().await;
    let mut proxy = TestProxy::start(&s3).await;
    s3.put("data", "key", Object::random(SIZE, 3));
    let gate = Gate::new();
    s3.fault(Matcher::get("key"), Times(1), Fault::HoldHeader(gate.clone()));
    let reader = proxy.client().get("/data/key").start(0).await;
    gate.wait_reached().await;
    proxy.begin_shutdown();
    refuses_connections(&proxy).await;
    gate.open();
    let answer = reader.finish().await;
    assert!(answer.complete && answer.body == s3.object_bytes("data", "key"));
    proxy.ended().await;
}

#[tokio::test]
async fn r30_a_read_over_http2_is_finished() {
    let (s3, mut proxy, gate) = held_after(100_000).await;
    let client = H2Client::connect(proxy.addr).await;
    let reader = client.open(&Method::GET, "/data/key", &[], Bytes::new()).await;
    let mut reader = reader.unwrap();
    gate.wait_reached().await;
    proxy.begin_shutdown();
    refuses_connections(&proxy).await;
    gate.open();
    assert!(reader.rest().await.expect("no reset") == s3.object_bytes("data", "key"));
    proxy.ended().await;
}

#[tokio::test]
async fn r30_a_write_that_has_begun_is_finished() {
    let s3 = FakeS3::start().await;
    let mut proxy = TestProxy::start(&s3).await;
    let mut upload = proxy.client().put("/data/key").start(10).await;
    upload.write(b"hello").await.unwrap();
    s3.wait_for(|seen| seen.iter().any(|r| r.body_bytes_received == 5)).await;
    proxy.begin_shutdown();
    refuses_connections(&proxy).await;
    upload.write(b"world").await.unwrap();
    assert_eq!(upload.finish().await.status, 200);
    assert_eq!(s3.object_bytes("data", "key"), "helloworld");
    proxy.ended().await;
}

#[tokio::test]
async fn r30_readyz_turns_503_and_healthz_does_not() {
    let (_s3, mut proxy, gate) = held_after(100_000).await;
    let reader = proxy.client().open("/data/key").await;
    let admin = Client::new(proxy.admin);
    assert_eq!(admin.get("/readyz").send().await.status, 200);
    proxy.begin_shutdown();
    refuses_connections(&proxy).await;
    assert_eq!(admin.get("/readyz").send().await.status, 503);
    assert_eq!(admin.get("/healthz").send().await.status, 200);
    gate.open();
    assert!(reader.finish().await.complete);
    proxy.ended().await;
}

#[tokio::test]
async fn r30_until_the_delay_is_over_new_connections_are_served_by_a_server_that_is_not_ready() {
    let s3 = FakeS3::start().await;
    let proxy = TestProxy::start_with(&s3, |config| {
        config.shutdown.delay.0 = Duration::from_hours(24);
    })
    .await;
    s3.put("data", "key", Object::random(5000, 5));
    let admin = Client::new(proxy.admin);
    assert_eq!(admin.get("/readyz").send().await.status, 200);
    proxy.begin_shutdown();
    let unready = async { while admin.get("/readyz").send().await.status != 503 {} };
    within("readiness to end", unready).await;
    for _ in 0..3 {
        assert_eq!(proxy.client().get("/data/key").send().await.status, 200);
    }
    assert_eq!(admin.get("/healthz").send().await.status, 200);
}

#[tokio::test]
async fn r30_in_the_delay_each_answer_announces_the_end_of_its_connection() {
    let s3 = FakeS3::start().await;
    let proxy = TestProxy::start_with(&s3, |config| {
        config.shutdown.delay.0 = Duration::from_hours(24);
    })
    .await;
    s3.put("data", "key", Object::random(5000, 5));
    let (hits, writes) = (proxy.client(), proxy.client());
    for _ in 0..2 {
        assert_ne!(hits.get("/data/key").send().await.header("connection"), "close");
        let written = writes.put("/data/other").body("x").send().await;
        assert_ne!(written.header("connection"), "close");
    }
    assert_eq!((hits.connections(), writes.connections()), (1, 1));
    proxy.begin_shutdown();
    // On the connections that were kept alive, and on new ones.
    for connections in 1..3 {
        let hit = hits.get("/data/key").send().await;
        assert_eq!((hit.status.as_u16(), hit.header("connection")), (200, "close"));
        let written = writes.put("/data/other").body("x").send().await;
        assert_eq!((written.status.as_u16(), written.header("connection")), (200, "close"));
        assert_eq!((hits.connections(), writes.connections()), (connections, connections));
    }
}

#[tokio::test]
async fn r30_a_request_right_after_an_answer_that_announced_no_end_is_answered() {
    let (s3, mut proxy, gate) = held_after(100_000).await;
    let client = proxy.client();
    let mut reader = client.open("/data/key").await;
    assert_eq!(reader.read(100_000).await.len(), 100_000);
    proxy.begin_shutdown();
    refuses_connections(&proxy).await;
    gate.open();
    assert!(reader.finish().await.complete);
    let last = client.get("/data/key").send().await;
    assert!(last.complete && last.body == s3.object_bytes("data", "key"));
    assert_eq!((last.header("connection"), client.connections()), ("close", 1));
    proxy.ended().await;
}

#[tokio::test]
async fn r30_a_connection_that_was_made_just_before_the_port_closed_is_served() {
    let s3 = FakeS3::start().await;
    let mut proxy = TestProxy::start(&s3).await;
    s3.put("data", "key", Object::random(5000, 6));
    let silent = TcpStream::connect(proxy.addr).await.unwrap();
    // The other connection was accepted before this one.
    assert_eq!(proxy.client().get("/data/key").send().await.status, 200);
    proxy.begin_shutdown();
    refuses_connections(&proxy).await;
    let answer = Client::with_connection(proxy.addr, silent).get("/data/key").send().await;
    assert_eq!((answer.status.as_u16(), answer.header("connection")), (200, "close"));
    proxy.ended().await;
}

#[tokio::test]
async fn r30_after_the_delay_the_port_is_closed_and_the_server_ends() {
    let s3 = FakeS3::start().await;
    let mut proxy = TestProxy::start_with(&s3, |config| {
        config.shutdown.delay.0 = Duration::from_millis(100);
    })
    .await;
    proxy.begin_shutdown();
    refuses_connections(&proxy).await;
    proxy.ended().await;
}

#[tokio::test]
async fn r30_the_grace_period_ends_what_does_not_end() {
    let s3 = FakeS3::start().await;
    let mut proxy = TestProxy::start_with(&s3, |config| {
        config.shutdown.grace.0 = Duration::from_millis(300);
    })
    .await;
    s3.put("data", "key", Object::random(SIZE, 4));
    let gate = Gate::new();
    s3.fault(Matcher::get("key"), Times(1), Fault::HoldBodyAfter(100_000, gate.clone()));
    let mut reader = proxy.client().open("/data/key").await;
    assert_eq!(reader.read(100_000).await.len(), 100_000);
    let started = Instant::now();
    proxy.begin_shutdown();
    proxy.ended().await;
    assert!((300..5000).contains(&started.elapsed().as_millis()), "{:?}", started.elapsed());
}
