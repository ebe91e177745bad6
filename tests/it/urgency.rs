//! Urgency of requests to the origin: those that a client waits for precede bulk fetches, which precede warming.

use hotset::cache::Freshness;
use http::Method;

use crate::support::*;

const MIB: u64 = 1 << 20;
/// Number of requests in flight, and how many of them may be bulk reads and warming.
const SLOTS: usize = 32;
const READS: usize = 28;
const WARMING: usize = 16;

async fn started(freshness: Freshness) -> (FakeS3, TestProxy, Client) {
    let s3 = FakeS3::start().await;
    let proxy = TestProxy::start_with(&s3, |config| {
        config.origin.connections = SLOTS;
        config.rules[0].freshness = freshness;
        config.warm.reads = 64;
    })
    .await;
    let client = proxy.client();
    (s3, proxy, client)
}

fn gets(s3: &FakeS3, prefix: &str) -> usize {
    s3.count(|request| request.method == Method::GET && request.key.starts_with(prefix))
}

#[tokio::test]
async fn a_cold_scan_delays_neither_a_revalidation_nor_a_small_read() {
    let (s3, _proxy, client) = started(Freshness::Revalidate).await;
    s3.put("data", "hot", Object::random(MIB, 1));
    s3.put("data", "large", Object::random(64 * MIB, 2));
    assert_eq!(client.get("/data/hot").send().await.status, 200);
    let gate = Gate::new();
    let scanned = Matcher::any().when(|request| request.key.starts_with("cold/"));
    s3.fault(scanned, Always, Fault::HoldHeader(gate.clone()));
    let mut scan = tokio::task::JoinSet::new();
    for number in 0..100 {
        let key = format!("cold/{number}");
        s3.put("data", &key, Object::random(MIB, number));
        scan.spawn(client.get(&format!("/data/{key}")).send());
    }
    gate.wait_reached_by(READS).await;
    for _ in 0..3 {
        let read = client.get("/data/hot").send().await;
        assert!(read.status == 200 && read.complete);
    }
    let small = client.get("/data/large").range("bytes=5000000-5000099").send().await;
    assert_eq!((small.status.as_u16(), small.body.len()), (206, 100));
    // All of that while the scan was held, and most of it waited.
    assert_eq!(gets(&s3, "cold/"), READS, "{}", s3.describe());
    gate.open();
    while let Some(read) = scan.join_next().await {
        assert!(read.unwrap().complete);
    }
    assert_eq!(gets(&s3, "cold/"), 100);
}

#[tokio::test]
async fn warming_leaves_connections_to_clients_and_what_they_wait_for_is_no_longer_warming() {
    let (s3, proxy, client) = started(Freshness::Immutable).await;
    let gate = Gate::new();
    let warmed = Matcher::any().when(|request| request.key.starts_with("w/"));
    s3.fault(warmed, Always, Fault::HoldHeader(gate.clone()));
    for number in 0..50 {
        s3.put("data", &format!("w/{number:02}"), Object::random(MIB, number));
    }
    s3.put("data", "cold", Object::random(20 * MIB, 1));
    let api = Api::new(proxy.admin);
    let job = tokio::spawn(async move { api.warm(r#"{"prefix":"s3://data/w/"}"#).await });
    gate.wait_reached_by(WARMING).await;
    let read = client.get("/data/cold").send().await;
    assert!(read.complete && read.body == s3.object_bytes("data", "cold"));
    assert_eq!(gets(&s3, "w/"), WARMING, "{}", s3.describe());
    // The objects are still to be warmed; now readers wait for them.
    let mut waited = tokio::task::JoinSet::new();
    for number in 40..44 {
        waited.spawn(client.get(&format!("/data/w/{number}")).send());
    }
    gate.wait_reached_by(WARMING + 4).await;
    let seen = s3.requests();
    for number in 40..44 {
        assert!(seen.iter().any(|request| request.key == format!("w/{number}")), "{number}");
    }
    gate.open();
    while let Some(read) = waited.join_next().await {
        assert!(read.unwrap().complete);
    }
    assert_eq!(job.await.unwrap()["objects"]["warmed"], 50);
    s3.assert_each_byte_sent_once("data", "w/41");
}
