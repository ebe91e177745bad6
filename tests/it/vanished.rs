//! Clients that disconnect while the proxy waits for the origin, and clients that only seem to have disconnected
//! (R31).

use bytes::Bytes;
use http::Method;

use crate::support::{FakeS3, Fault, Gate, H2Client, Matcher, Object, TestProxy, Times};

const MIB: u64 = 1 << 20;

#[tokio::test]
async fn r31_a_client_that_goes_away_before_the_first_byte_ends_the_origins_request() {
    let s3 = FakeS3::start().await;
    let proxy = TestProxy::start(&s3).await;
    s3.put("data", "key", Object::random(4 * MIB, 1));
    let gate = Gate::new();
    s3.fault(Matcher::get("key"), Times(1), Fault::HoldHeader(gate.clone()));
    let reader = proxy.client().get("/data/key").start(0).await;
    gate.wait_reached().await;
    reader.abandon();
    s3.wait_for(|seen| seen[0].done && !seen[0].complete).await;
    assert_eq!(s3.bytes_sent(), 0);
}

#[tokio::test]
async fn r31_a_client_that_goes_away_in_the_middle_ends_the_origins_request() {
    let s3 = FakeS3::start().await;
    let proxy = TestProxy::start(&s3).await;
    s3.put("data", "key", Object::random(8 * MIB, 2));
    let gate = Gate::new();
    s3.fault(Matcher::get("key"), Times(1), Fault::HoldBodyAfter(200_000, gate.clone()));
    let mut reader = proxy.client().open("/data/key").await;
    assert_eq!(reader.read(200_000).await.len(), 200_000);
    reader.abandon();
    s3.wait_for(|seen| seen[0].done && !seen[0].complete).await;
}

#[tokio::test]
async fn r31_a_stream_that_is_reset_ends_the_origins_request_and_not_the_connection() {
    let s3 = FakeS3::start().await;
    let proxy = TestProxy::start(&s3).await;
    s3.put("data", "key", Object::random(4 * MIB, 3));
    s3.put("data", "other", Object::random(5000, 4));
    let gate = Gate::new();
    s3.fault(Matcher::get("key"), Times(1), Fault::HoldHeader(gate.clone()));
    let client = H2Client::connect(proxy.addr).await;
    let reader = client.open(&Method::GET, "/data/key", &[], Bytes::new());
    let reader = tokio::spawn(reader);
    gate.wait_reached().await;
    reader.abort();
    s3.wait_for(|seen| seen[0].done && !seen[0].complete).await;
    let (status, _, body) = client.get("/data/other").await;
    assert_eq!(status, 200);
    assert!(body.is_ok_and(|body| body == s3.object_bytes("data", "other")));
}

#[tokio::test]
async fn r31_a_pipelined_request_is_no_sign_that_the_client_has_gone() {
    let s3 = FakeS3::start().await;
    let proxy = TestProxy::start(&s3).await;
    s3.put("data", "first", Object::bytes("the first"));
    s3.put("data", "second", Object::bytes("the second"));
    let gate = Gate::new();
    s3.fault(Matcher::get("first"), Times(1), Fault::HoldHeader(gate.clone()));
    let both = "GET /data/first HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n\
                GET /data/second HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";
    let answers = tokio::spawn(proxy.client().send_raw(both.as_bytes()));
    gate.wait_reached().await;
    // The proxy receives the second request while it waits for the first.
    assert_eq!(proxy.client().get("/data/%zz").send().await.status, 400);
    gate.open();
    let answers = answers.await.unwrap();
    let text = String::from_utf8_lossy(&answers);
    assert_eq!(text.matches("HTTP/1.1 200").count(), 2, "{text}");
    assert!(text.contains("the first") && text.ends_with("the second"), "{text}");
}

#[tokio::test]
async fn r31_a_single_pipelined_byte_is_no_sign_that_the_client_has_gone() {
    let s3 = FakeS3::start().await;
    let proxy = TestProxy::start(&s3).await;
    s3.put("data", "key", Object::random(MIB, 5));
    let gate = Gate::new();
    s3.fault(Matcher::get("key"), Times(1), Fault::HoldHeader(gate.clone()));
    let mut reader = proxy.client().get("/data/key").start(0).await;
    gate.wait_reached().await;
    reader.write(b"G").await.unwrap();
    for _ in 0..4 {
        assert_eq!(proxy.client().get("/data/%zz").send().await.status, 400);
    }
    gate.open();
    let answer = reader.finish().await;
    assert!(answer.complete && answer.body == s3.object_bytes("data", "key"));
}
