//! An origin with several addresses, some of which are dead.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hotset::origin::RetryBudgetConfig;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;

use crate::support::{Always, FakeS3, Fault, Matcher, Object, TestProxy};

const LEN: u64 = 10_000;

fn loopback(last: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, 0, last).into()
}

/// Starts a listener that accepts connections and never answers; returns the number of connections accepted so far.
async fn black_hole(address: SocketAddr) -> Arc<AtomicUsize> {
    accepting(address, false).await
}

/// As [`black_hole`]; resets its connections once a request has come, if `resets`.
async fn accepting(address: SocketAddr, resets: bool) -> Arc<AtomicUsize> {
    let listener = TcpListener::bind(address).await.unwrap();
    let taken = Arc::new(AtomicUsize::new(0));
    let count = taken.clone();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::Relaxed);
            if resets {
                // What is left unread makes the kernel send a reset.
                let _ = stream.read_u8().await;
            } else {
                held.push(stream);
            }
        }
    });
    taken
}

#[tokio::test]
async fn an_address_that_refuses_connections_costs_no_retry() {
    let s3 = FakeS3::start().await;
    let proxy = TestProxy::start_with(&s3, |config| {
        config.origin.addresses = (1..=8).map(loopback).collect();
        config.origin.retry_budget = RetryBudgetConfig { percent: 0, floor: 0 };
    })
    .await;
    // Each request goes over a new connection.
    s3.fault(Matcher::any(), Always, Fault::CloseAfterAnswer);
    let client = proxy.client();
    for number in 0..40 {
        let key = format!("key-{number}");
        s3.put("data", &key, Object::random(LEN, number));
        let answer = client.get(&format!("/data/{key}")).send().await;
        assert!(answer.status == 200 && answer.body == s3.object_bytes("data", &key), "{number}");
        let list = client.get(&format!("/data?prefix={key}")).send().await;
        assert_eq!(list.status, 200, "{number}");
    }
    assert_eq!(s3.count(|request| request.key.starts_with("key-")), 40);
}

#[tokio::test]
async fn an_address_that_never_answers_is_set_aside() {
    let s3 = FakeS3::start().await;
    let port = s3.addr().port();
    let hole = black_hole(SocketAddr::new(loopback(2), port)).await;
    let proxy = TestProxy::start_with(&s3, |config| {
        config.origin.addresses = (1..=2).map(loopback).collect();
        config.origin.first_byte_timeout = "200ms".parse().unwrap();
        config.origin.retry_budget.percent = 100;
    })
    .await;
    s3.fault(Matcher::any(), Always, Fault::CloseAfterAnswer);
    let client = proxy.client();
    for number in 0..60 {
        let key = format!("key-{number}");
        s3.put("data", &key, Object::random(LEN, number));
        let answer = client.get(&format!("/data/{key}")).send().await;
        assert!(answer.status == 200 && answer.body == s3.object_bytes("data", &key), "{number}");
    }
    // Three failures, and a connection that probes it now and then.
    let taken = hole.load(Ordering::Relaxed);
    assert!((3..=5).contains(&taken), "{taken}");
}

#[tokio::test]
async fn an_address_that_resets_its_connections_at_once_is_set_aside() {
    let s3 = FakeS3::start().await;
    let port = s3.addr().port();
    let breaks = accepting(SocketAddr::new(loopback(2), port), true).await;
    let proxy = TestProxy::start_with(&s3, |config| {
        config.origin.addresses = (1..=2).map(loopback).collect();
        config.origin.retry_budget.percent = 100;
    })
    .await;
    s3.fault(Matcher::any(), Always, Fault::CloseAfterAnswer);
    for number in 0..60 {
        let key = format!("key-{number}");
        s3.put("data", &key, Object::random(LEN, number));
        let answer = proxy.client().get(&format!("/data/{key}")).send().await;
        assert!(answer.status == 200 && answer.body == s3.object_bytes("data", &key), "{number}");
    }
    let taken = breaks.load(Ordering::Relaxed);
    assert!((3..=5).contains(&taken), "{taken}");
}

#[tokio::test]
async fn an_address_that_answers_no_list_is_set_aside() {
    for resets in [true, false] {
        let s3 = FakeS3::start().await;
        s3.put("data", "k", Object::bytes("content"));
        let port = s3.addr().port();
        let hole = accepting(SocketAddr::new(loopback(2), port), resets).await;
        let proxy = TestProxy::start_with(&s3, |config| {
            config.origin.addresses = (1..=2).map(loopback).collect();
            config.origin.first_byte_timeout = "100ms".parse().unwrap();
            config.origin.deadline = "300ms".parse().unwrap();
        })
        .await;
        s3.fault(Matcher::any(), Always, Fault::CloseAfterAnswer);
        let client = proxy.client();
        let mut failed = 0;
        for _ in 0..60 {
            let answer = client.get("/data?list-type=2").send().await;
            failed += usize::from(answer.status != 200);
        }
        let taken = hole.load(Ordering::Relaxed);
        assert!((3..=5).contains(&taken), "{resets}: {taken}");
        assert!(failed <= taken, "{resets}: {failed} of {taken}");
    }
}
