//! Connections to the origin are counted, and bounded by address and in total.

use std::net::{Ipv4Addr, SocketAddr};

use hotset::config::Config;
use hotset::origin::{BucketConfig, OriginConfig};

use crate::support::*;

/// Starts hotset with an origin of its own name, so that its metrics are of this test alone.
async fn named(s3: &FakeS3, name: &str, change: impl FnOnce(&mut OriginConfig)) -> TestProxy {
    TestProxy::start_with(s3, |config: &mut Config| {
        let mut origin = config.origin.clone();
        change(&mut origin);
        config.origins.insert(name.to_owned(), origin);
        let of = BucketConfig { origin: Some(name.to_owned()), ..BucketConfig::default() };
        config.buckets.insert("data".to_owned(), of);
    })
    .await
}

fn series(address: SocketAddr, state: &str, name: &str) -> String {
    format!(r#"hotset_origin_connections{{address="{address}",state="{state}",origin="{name}"}}"#)
}

async fn becomes(proxy: &TestProxy, series: &str, expected: f64) {
    let reached = async {
        while (proxy.metric(series).await - expected).abs() > 0.1 {
            tokio::task::yield_now().await;
        }
    };
    within(&format!("{series} to be {expected}"), reached).await;
}

#[tokio::test]
async fn connections_are_counted_by_address_and_state() {
    let s3 = FakeS3::start().await;
    let proxy = named(&s3, "counted", |_| {}).await;
    let (client, gate, at) = (proxy.client(), Gate::new(), s3.addr());
    s3.put("data", "k", Object::random(5000, 1));
    s3.fault(Matcher::get("k"), Times(1), Fault::HoldHeader(gate.clone()));
    let read = tokio::spawn(client.get("/data/k").send());
    gate.wait_reached().await;
    becomes(&proxy, &series(at, "in_use", "counted"), 1.0).await;
    becomes(&proxy, &series(at, "idle", "counted"), 0.0).await;
    gate.open();
    assert_eq!(read.await.unwrap().status, 200);
    becomes(&proxy, &series(at, "idle", "counted"), 1.0).await;
    becomes(&proxy, &series(at, "in_use", "counted"), 0.0).await;
    // Passed-through requests count as well, over the same connection.
    let gate = Gate::new();
    s3.fault(Matcher::put("new"), Times(1), Fault::HoldRequest(gate.clone()));
    let write = tokio::spawn(client.put("/data/new").body("x").send());
    gate.wait_reached().await;
    becomes(&proxy, &series(at, "in_use", "counted"), 1.0).await;
    becomes(&proxy, &series(at, "idle", "counted"), 0.0).await;
    gate.open();
    assert_eq!(write.await.unwrap().status, 200);
    becomes(&proxy, &series(at, "idle", "counted"), 1.0).await;
    becomes(&proxy, &series(at, "in_use", "counted"), 0.0).await;
}

#[tokio::test]
async fn an_address_is_sent_no_more_requests_at_once_than_it_may_have() {
    let s3 = FakeS3::start().await;
    let proxy = TestProxy::start_with(&s3, |config| {
        config.origin.connections_per_address = Some(4);
    })
    .await;
    let (client, gate) = (proxy.client(), Gate::new());
    let keys: Vec<_> = (0..12).map(|n| format!("key-{n}")).collect();
    for key in &keys {
        s3.put("data", key, Object::random(300_000, 1));
        s3.fault(Matcher::get(key), Times(1), Fault::HoldHeader(gate.clone()));
    }
    let reads: Vec<_> =
        keys.iter().map(|key| tokio::spawn(client.get(&format!("/data/{key}")).send())).collect();
    // One connection is left for metadata, which overtakes the requests that wait.
    gate.wait_reached_by(3).await;
    s3.put("data", "other", Object::random(5000, 1));
    assert_eq!(client.head("/data/other").send().await.status, 200);
    assert_eq!((gate.reached(), s3.connections()), (3, 4));
    gate.open();
    for read in reads {
        assert_eq!(read.await.unwrap().body.len(), 300_000);
    }
    assert_eq!(s3.connections(), 4);
}

#[tokio::test]
async fn requests_go_to_an_address_that_may_have_more() {
    let s3 = FakeS3::start().await;
    let second = s3.listen_at(Ipv4Addr::new(127, 0, 0, 2).into());
    let proxy = named(&s3, "two", |origin| {
        origin.connections_per_address = Some(2);
        origin.addresses = [1, 2].map(|n| Ipv4Addr::new(127, 0, 0, n).into()).to_vec();
    })
    .await;
    let (client, gate) = (proxy.client(), Gate::new());
    s3.fault(Matcher::any().method(http::Method::HEAD), Always, Fault::HoldHeader(gate.clone()));
    let head = |n| tokio::spawn(client.head(&format!("/data/key-{n}")).send());
    let heads: Vec<_> = (0..6).map(head).collect();
    gate.wait_reached_by(4).await;
    for address in [s3.addr(), second] {
        becomes(&proxy, &series(address, "in_use", "two"), 2.0).await;
    }
    assert_eq!(gate.reached(), 4);
    gate.open();
    for head in heads {
        assert_eq!(head.await.unwrap().status, 404);
    }
}

#[tokio::test]
async fn requests_that_pass_through_wait_and_are_refused_when_there_are_too_many() {
    let s3 = FakeS3::start().await;
    let proxy = TestProxy::start_with(&s3, |config| {
        config.origin.pass_through_connections = 2;
        config.origin.connect_timeout = "300ms".parse().unwrap();
    })
    .await;
    let (client, gate) = (proxy.client(), Gate::new());
    s3.put("data", "k", Object::random(300_000, 1));
    s3.fault(Matcher::put("held"), Times(1), Fault::HoldRequest(gate.clone()));
    let held = tokio::spawn(client.put("/data/held").body("x").send());
    gate.wait_reached().await;
    // One connection is left for requests without bodies.
    for _ in 0..4 {
        let refused = client.put("/data/new").body("x").send().await;
        assert_eq!((refused.status.as_u16(), s3.count(|seen| seen.key == "new")), (503, 0));
    }
    assert_eq!(client.head("/data/k?tagging").send().await.status, 200);
    // A bound says nothing about the origin's health, and costs reads nothing.
    let ready = Client::new(proxy.admin).get("/readyz").send().await;
    assert!(ready.text().trim_end().ends_with(": answers"), "{}", ready.text());
    assert_eq!(client.get("/data/k").send().await.status, 200);
    let waits = tokio::spawn(client.put("/data/new").body("x").send());
    gate.open();
    assert_eq!(held.await.unwrap().status, 200);
    assert_eq!(waits.await.unwrap().status, 200);
}
