//! An origin with several addresses, some of which are dead.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hotset::origin::RetryBudgetConfig;
use tokio::net::TcpListener;

use crate::support::{Always, FakeS3, Fault, Matcher, Object, TestProxy};

const LEN: u64 = 10_000;

fn loopback(last: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, 0, last).into()
}

/// Starts a listener that accepts connections and never answers; returns the number of connections accepted so far.
async fn black_hole(address: SocketAddr) -> Arc<AtomicUsize> {
    let listener = TcpListener::bind(address).await.unwrap();
    let taken = Arc::new(AtomicUsize::new(0));
    let count = taken.clone();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
            count.fetch_add(1, Ordering::Relaxed);
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
