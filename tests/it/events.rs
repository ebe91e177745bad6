//! Effects of object events on the cache (R5, R6, R10, R14, R25-R27), by the way that all receivers use.

use std::time::{Duration, SystemTime};

use hotset::cache::{DiskConfig, EventsFreshness, Freshness, RuleConfig};
use hotset::config::units::{ByteSize, HumanDuration};
use hotset::events::{CanaryConfig, Source};

use crate::support::*;

const HIT: &str = "hotset; hit";
const FROM_DISK: &str = "hotset; hit; detail=disk";
const REVALIDATED: &str = "hotset; fwd=stale; detail=revalidated";

/// Returns a record as AWS writes it, of an event that happened just now.
fn record(name: &str, key: &str, etag: Option<&str>) -> String {
    record_of("data", name, key, etag, SystemTime::now())
}

pub fn record_of(
    bucket: &str,
    name: &str,
    key: &str,
    etag: Option<&str>,
    at: SystemTime,
) -> String {
    let time = chrono::DateTime::<chrono::Utc>::from(at).format("%Y-%m-%dT%H:%M:%S%.6fZ");
    let etag = etag.map_or(String::new(), |etag| format!(r#","eTag":{etag}"#));
    format!(
        r#"{{"Records":[{{"eventVersion":"2.1","eventSource":"aws:s3","eventTime":"{time}","eventName":"{name}",
        "s3":{{"bucket":{{"name":"{bucket}"}},"object":{{"key":"{key}"{etag}}}}}}}]}}"#
    )
}

impl TestProxy {
    async fn event(&self, body: &str) {
        let applied = self.intake.apply(Source::Webhook, body.as_bytes()).expect("a right message");
        within("what an event did to be durable", self.intake.durable(applied)).await;
    }
}

async fn with(freshness: Freshness) -> (FakeS3, TestProxy, Client, Object) {
    let s3 = FakeS3::start().await;
    let proxy = TestProxy::start_with(&s3, |config| config.rules[0].freshness = freshness).await;
    let (client, object) = (proxy.client(), Object::random(300_000, 1));
    s3.put("data", "k", object.clone());
    assert!(client.get("/data/k").send().await.body == object.all());
    (s3, proxy, client, object)
}

async fn immutable() -> (FakeS3, TestProxy, Client, Object) {
    with(Freshness::Immutable).await
}

#[tokio::test]
async fn r26_an_event_ends_what_is_known_under_every_rule_immutable_included() {
    let (s3, proxy, client, old) = immutable().await;
    let new = Object::random(300_000, 2);
    s3.put("data", "k", new.clone());
    assert!(client.get("/data/k").send().await.body == old.all());
    proxy.event(&record("ObjectCreated:Put", "k", new.etag_value())).await;
    let read = client.get("/data/k").send().await;
    assert!(read.body == new.all(), "{read:?}");
    assert_eq!(read.header("cache-status"), "hotset; fwd=uri-miss; detail=invalidated");
    s3.delete("data", "k");
    proxy.event(&record("ObjectRemoved:Delete", "k", None)).await;
    assert_eq!(client.get("/data/k").send().await.status, 404);
    let applied = r#"hotset_events_total{source="webhook",result="applied"}"#;
    assert!(proxy.metric(applied).await >= 2.0);
}

#[tokio::test]
async fn r10_an_event_of_what_we_hold_costs_one_head_and_keeps_the_blocks() {
    for name in ["ObjectCreated:Put", "ObjectTagging:Put", "ObjectRestore:Completed"] {
        let (s3, proxy, client, object) = immutable().await;
        s3.forget_requests();
        proxy.event(&record(name, "k", object.etag_value())).await;
        // Its metadata may have changed: a copy onto itself keeps the ETag.
        s3.put("data", "k", object.clone().header("content-type", "x/new"));
        let read = client.get("/data/k").send().await;
        assert!(read.complete && read.body == object.all());
        assert_eq!(read.header("content-type"), "x/new", "{name}");
        assert_eq!(read.header("cache-status"), REVALIDATED, "{name}");
        assert_eq!(client.get("/data/k").send().await.header("cache-status"), HIT);
        assert_eq!(s3.requests().len(), 1, "{}", s3.describe());
    }
}

#[tokio::test]
async fn r14_after_an_event_nothing_is_served_without_the_origin() {
    let s3 = FakeS3::start().await;
    let proxy = TestProxy::start_with(&s3, |config| {
        config.rules[0].max_stale = Some(HumanDuration::secs(3600));
        config.rules[0].freshness = Freshness::Ttl(HumanDuration::millis(0));
    })
    .await;
    let (client, object) = (proxy.client(), Object::random(1000, 1));
    s3.put("data", "k", object.clone());
    assert_eq!(client.get("/data/k").send().await.status, 200);
    s3.go_down().await;
    assert_eq!(client.get("/data/k").send().await.status, 200, "stale");
    proxy.event(&record("ObjectCreated:Put", "k", object.etag_value())).await;
    assert_eq!(client.get("/data/k").send().await.status, 503);
}

#[tokio::test]
async fn r12_an_absence_ends_with_the_event_that_the_object_was_created() {
    let s3 = FakeS3::start().await;
    let negative = HumanDuration::secs(3600);
    let proxy = TestProxy::start_with(&s3, |config| {
        config.rules[0].negative = negative;
        config.rules[0].freshness = Freshness::Ttl(negative);
    })
    .await;
    let client = proxy.client();
    let object = Object::random(1000, 1);
    assert_eq!(client.get("/data/new").send().await.status, 404);
    s3.put("data", "new", object.clone());
    assert_eq!(client.get("/data/new").send().await.status, 404, "remembered");
    proxy.event(&record("ObjectCreated:Put", "new", object.etag_value())).await;
    assert!(client.get("/data/new").send().await.body == object.all());
}

#[tokio::test]
async fn r5_what_was_under_way_when_an_event_came_answers_only_who_came_before() {
    let s3 = FakeS3::start().await;
    let proxy = TestProxy::start_with(&s3, |config| {
        config.rules[0].freshness = Freshness::Immutable;
    })
    .await;
    let client = proxy.client();
    let (old, new) = (Object::random(300_000, 1), Object::random(300_000, 2));
    s3.put("data", "k", old.clone());
    let gate = Gate::new();
    s3.fault(Matcher::get("k"), Times(1), Fault::HoldBodyAfter(100_000, gate.clone()));
    let before = tokio::spawn(client.get("/data/k").send());
    gate.wait_reached().await;
    s3.put("data", "k", new.clone());
    proxy.event(&record("ObjectCreated:Put", "k", new.etag_value())).await;
    let after = client.get("/data/k").send().await;
    assert!(after.complete && after.body == new.all(), "{after:?}");
    gate.open();
    let before = before.await.unwrap();
    assert!(before.complete && before.body == old.all(), "{before:?}");
    for _ in 0..2 {
        assert!(client.get("/data/k").send().await.body == new.all(), "the old one was admitted");
    }
}

#[tokio::test]
async fn r5_a_revalidation_under_way_when_an_event_came_confirms_nothing() {
    let (s3, proxy, client, old) = with(Freshness::Ttl(HumanDuration::secs(3600))).await;
    let gate = Gate::new();
    s3.fault(Matcher::head("k"), Times(1), Fault::HoldHeader(gate.clone()));
    let asks = client.get("/data/k").header("Cache-Control", "no-cache").send();
    let before = tokio::spawn(asks);
    gate.wait_reached().await;
    let new = Object::random(300_000, 2);
    s3.put("data", "k", new.clone());
    proxy.event(&record("ObjectCreated:Put", "k", new.etag_value())).await;
    gate.open();
    let before = before.await.unwrap();
    assert!(before.body == old.all() || before.body == new.all());
    assert!(client.get("/data/k").send().await.body == new.all());
}

#[tokio::test]
async fn r25_the_same_event_twice_is_applied_once_and_late_ones_lose_nothing() {
    let (s3, proxy, client, object) = immutable().await;
    let older = record("ObjectCreated:Put", "k", Some("\"0123456789abcdef0123456789abcdef\""));
    let event = record("ObjectCreated:Put", "k", object.etag_value());
    proxy.event(&event).await;
    assert_eq!(client.get("/data/k").send().await.header("cache-status"), REVALIDATED);
    s3.forget_requests();
    for _ in 0..3 {
        proxy.event(&event).await;
        assert_eq!(client.get("/data/k").send().await.header("cache-status"), HIT);
    }
    assert_eq!(s3.requests().len(), 0, "{}", s3.describe());
    let duplicates = r#"hotset_events_total{source="webhook",result="duplicate"}"#;
    assert!(proxy.metric(duplicates).await >= 3.0);
    // An event of another version, which is late or whose order is unknown, invalidates.
    proxy.event(&older).await;
    assert!(client.get("/data/k").send().await.body == object.all());
    assert!(!s3.requests().is_empty());
}

#[tokio::test]
async fn r27_an_event_ends_the_lists_that_it_changes() {
    let s3 = FakeS3::start().await;
    let proxy = TestProxy::start_with(&s3, |config| {
        config.rules[0].lists = Some(HumanDuration::secs(60));
    })
    .await;
    let client = proxy.client();
    s3.put("data", "a/1", Object::random(10, 1));
    let list = async |prefix: &str| {
        let path = format!("/data?list-type=2&prefix={prefix}");
        client.get(&path).send().await.header("cache-status").to_owned()
    };
    for prefix in ["a/", "b/"] {
        list(prefix).await;
        assert_eq!(list(prefix).await, HIT);
    }
    proxy.event(&record("ObjectCreated:Put", "a/2", None)).await;
    assert_ne!(list("a/").await, HIT);
    assert_eq!(list("b/").await, HIT);
}

fn events(ttl: HumanDuration) -> Freshness {
    let (backstop, proof) = (HumanDuration::secs(3600), HumanDuration::secs(600));
    Freshness::Events(EventsFreshness { ttl, backstop, proof })
}

/// Starts hotset with two rules that trust events, the first one for `a/`; the ttl of both is zero.
async fn trusting(s3: &FakeS3) -> TestProxy {
    let mut config = test_config(s3);
    config.rules[0].freshness = events(HumanDuration::millis(0));
    let first = RuleConfig { pattern: "data/a/**".to_owned(), ..config.rules[0].clone() };
    config.rules.insert(0, first);
    TestProxy::start_unchecked(config).await
}

#[tokio::test]
async fn r26_a_rule_is_trusted_in_a_bucket_once_an_event_of_it_came_and_not_before() {
    let s3 = FakeS3::start().await;
    let proxy = trusting(&s3).await;
    let client = proxy.client();
    for key in ["a/1", "a/2", "b/1"] {
        s3.put("data", key, Object::random(100, 1));
        client.get(&format!("/data/{key}")).send().await;
    }
    let status = async |key: &str| {
        client.get(&format!("/data/{key}")).send().await.header("cache-status").to_owned()
    };
    assert_eq!(status("a/1").await, REVALIDATED, "a receiver that is connected proves nothing");
    // An event of another bucket, or of another rule, is no proof either.
    proxy.event(&record_of("other", "ObjectCreated:Put", "a/1", None, SystemTime::now())).await;
    proxy.event(&record("ObjectCreated:Put", "b/2", None)).await;
    assert_eq!(status("a/1").await, REVALIDATED);
    // Objects confirmed before their rule was trusted are confirmed once more.
    assert_eq!(status("b/1").await, REVALIDATED);
    assert_eq!(status("b/1").await, HIT);
    proxy.event(&record("ObjectCreated:Put", "a/new", None)).await;
    assert_eq!(status("a/1").await, REVALIDATED);
    assert_eq!(status("a/1").await, HIT);
    let ready = Client::new(proxy.admin).get("/readyz").send().await.text();
    assert!(ready.contains("rule \"data/a/**\" is trusted in data\n"), "{ready}");
    assert!(ready.contains("rule \"**\" is trusted in data, other\n"), "{ready}");
    // Trusted or not, the object that an event names is confirmed.
    proxy.event(&record("ObjectCreated:Put", "a/1", None)).await;
    assert_eq!(status("a/1").await, REVALIDATED);
}

#[tokio::test]
async fn r26_an_event_that_comes_late_or_cannot_be_read_ends_the_trust() {
    let s3 = FakeS3::start().await;
    let proxy = trusting(&s3).await;
    let client = proxy.client();
    s3.put("data", "k", Object::random(100, 1));
    let status = async || client.get("/data/k").send().await.header("cache-status").to_owned();
    let trusted = async || {
        proxy.event(&record("ObjectCreated:Put", "other", None)).await;
        status().await;
        assert_eq!(status().await, HIT);
    };
    trusted().await;
    let late = SystemTime::now() - Duration::from_mins(3);
    proxy.event(&record_of("data", "ObjectCreated:Put", "other", None, late)).await;
    assert_eq!(status().await, REVALIDATED);
    assert_eq!(status().await, REVALIDATED);
    trusted().await;
    let one_is_bad = record("ObjectCreated:Put", "other", None).replace(
        r#"{"Records":["#,
        r#"{"Records":[{"eventVersion":"2.1","eventSource":"aws:s3","eventName":"ObjectCreated:Put","s3":{}},"#,
    );
    proxy.event(&one_is_bad).await;
    // The record beside it was applied; the object of the other one is unknown.
    for _ in 0..2 {
        assert_eq!(status().await, REVALIDATED);
    }
}

/// Runs `work` with a hotset of its own, and stops all of it.
fn restarted(s3: &FakeS3, scratch: &Scratch, work: impl AsyncFnOnce(&TestProxy)) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut proxy = TestProxy::start_with(s3, |config| {
            config.rules[0].freshness = Freshness::Immutable;
            config.cache.disk = vec![DiskConfig {
                path: scratch.path("disk").into(),
                capacity: ByteSize::mib(256),
                ..DiskConfig::default()
            }];
        })
        .await;
        work(&proxy).await;
        proxy.begin_shutdown();
        proxy.ended().await;
    });
}

#[test]
fn r11_what_an_event_ended_does_not_come_back_with_a_restart() {
    let world = tokio::runtime::Runtime::new().unwrap();
    let s3 = world.block_on(FakeS3::start());
    let scratch = Scratch::new();
    let (old, new) = (Object::random(300_000, 1), Object::random(300_000, 2));
    for key in ["k", "echo"] {
        s3.put("data", key, old.clone());
    }
    restarted(&s3, &scratch, async |proxy| {
        for key in ["k", "k", "echo", "echo"] {
            let read = proxy.client().get(&format!("/data/{key}")).send().await;
            assert!(read.body == old.all());
        }
    });
    restarted(&s3, &scratch, async |proxy| {
        for key in ["k", "echo"] {
            let read = proxy.client().get(&format!("/data/{key}")).send().await;
            assert_eq!(read.header("cache-status"), FROM_DISK);
        }
        s3.put("data", "k", new.clone());
        proxy.event(&record("ObjectCreated:Put", "k", new.etag_value())).await;
        proxy.event(&record("ObjectCreated:Put", "echo", old.etag_value())).await;
        // Once confirmed by a HEAD, its bytes on disk are used again.
        let read = proxy.client().get("/data/echo").send().await;
        assert_eq!(read.header("cache-status"), REVALIDATED);
    });
    restarted(&s3, &scratch, async |proxy| {
        s3.forget_requests();
        let read = proxy.client().get("/data/echo").send().await;
        assert_eq!(read.header("cache-status"), FROM_DISK);
        assert_eq!(s3.requests().len(), 0, "{}", s3.describe());
        assert!(proxy.client().get("/data/k").send().await.body == new.all());
    });
}

/// Starts hotset with a canary in front of `s3`, written every few milliseconds.
async fn with_canary(s3: &FakeS3, timeout: HumanDuration) -> TestProxy {
    let mut config = test_config(s3);
    config.rules[0].freshness = events(HumanDuration::millis(0));
    config.events.canaries = vec![CanaryConfig {
        bucket: "data".to_owned(),
        key: "canary".to_owned(),
        every: HumanDuration::millis(5),
        timeout,
    }];
    TestProxy::start_unchecked(config).await
}

async fn metric_at_least(proxy: &TestProxy, series: &str, value: f64) {
    let reached = async {
        while proxy.metric(series).await < value {
            tokio::task::yield_now().await;
        }
    };
    within(series, reached).await;
}

#[tokio::test]
async fn r26_a_canary_whose_event_comes_back_proves_its_rule() {
    let s3 = FakeS3::start().await;
    s3.put("data", "k", Object::random(100, 1));
    let proxy = with_canary(&s3, HumanDuration::secs(60)).await;
    let client = proxy.client();
    let is_write = |seen: &Seen| seen.method == http::Method::PUT && seen.path == "/data/canary";
    let seen = r#"hotset_event_canaries_total{result="seen"}"#;
    for times in 1..=2 {
        let written = s3.wait_for(|all| all.iter().filter(|seen| is_write(seen)).count() >= times);
        within("the canary to be written", written).await;
        let before = proxy.metric(seen).await;
        proxy.event(&record("ObjectCreated:Put", "canary", None)).await;
        metric_at_least(&proxy, seen, before + 1.0).await;
    }
    client.get("/data/k").send().await;
    assert_eq!(client.get("/data/k").send().await.header("cache-status"), HIT);
}

#[tokio::test]
async fn r26_a_canary_that_is_missed_ends_the_trust_in_its_rule() {
    let s3 = FakeS3::start().await;
    s3.put("data", "k", Object::random(100, 1));
    let proxy = with_canary(&s3, HumanDuration::millis(1)).await;
    let client = proxy.client();
    let missed = r#"hotset_event_canaries_total{result="missed"}"#;
    // Events of other objects continue to arrive, or are late ones.
    proxy.event(&record("ObjectCreated:Put", "other", None)).await;
    let before = proxy.metric(missed).await;
    metric_at_least(&proxy, missed, before + 2.0).await;
    for _ in 0..2 {
        let read = client.get("/data/k").send().await;
        assert_ne!(read.header("cache-status"), HIT);
    }
}
