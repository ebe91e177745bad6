//! Shadow verification: a sample of hits is compared with the origin; mismatches are invalidated and reported.

use hotset::cache::{Freshness, RuleConfig};
use hotset::config::units::SampleRate;

use crate::support::{
    Always, Client, FakeS3, Fault, Gate, Matcher, Object, Process, Scratch, TestProxy, Times,
    within,
};

const MIB: u64 = 1 << 20;
const HIT: &str = "hotset; hit";

/// Starts hotset so that every hit is compared, and there are no other requests to the origin.
async fn setup() -> (FakeS3, TestProxy, Client) {
    let s3 = FakeS3::start().await;
    let proxy = TestProxy::start_with(&s3, |config| {
        config.rules = vec![RuleConfig {
            freshness: Freshness::Immutable,
            verify_hits: Some(SampleRate::ALL),
            ..RuleConfig::default()
        }];
    })
    .await;
    let client = proxy.client();
    (s3, proxy, client)
}

async fn verified(proxy: &TestProxy, outcome: &str) -> f64 {
    proxy.metric(&format!("hotset_hit_verifications_total{{outcome=\"{outcome}\"}}")).await
}

/// Waits until more comparisons than `before` had this outcome.
async fn wait_for_more(proxy: &TestProxy, outcome: &str, before: f64) {
    within("another comparison to be counted", async {
        while verified(proxy, outcome).await <= before {}
    })
    .await;
}

/// Reads until the cache has invalidated the object; the last response is a miss.
async fn read_until_dropped(client: &Client, target: &str) -> Vec<u8> {
    within("a hit to be found wrong", async {
        loop {
            let read = client.get(target).send().await;
            assert_eq!(read.status, 200);
            if read.header("cache-status") != HIT {
                return read.body.to_vec();
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_healthy_origin_is_asked_for_one_block_of_each_hit_and_nothing_changes() {
    let (s3, proxy, client) = setup().await;
    let object = Object::random(5 * MIB, 1);
    s3.put("data", "k", object.clone());
    s3.put("data", "empty", Object::bytes(""));
    for key in ["k", "empty"] {
        assert_eq!(client.get(&format!("/data/{key}")).send().await.status, 200);
    }
    s3.wait_idle().await;
    s3.forget_requests();
    let before = verified(&proxy, "match").await;
    let asked = || s3.count(|seen| seen.done);
    let whole = client.get("/data/k").send().await;
    assert!(whole.complete && whole.body == object.all() && whole.header("cache-status") == HIT);
    s3.wait_for(|requests| requests.len() == 1 && requests[0].complete).await;
    assert_eq!(s3.requests()[0].body_bytes_sent, MIB, "{}", s3.describe());
    let small = client.get("/data/k").range("bytes=4000000-4000999").send().await;
    assert!(
        small.header("cache-status") == HIT && small.body == object.slice(4_000_000..4_001_000)
    );
    s3.wait_for(|requests| requests.len() == 2 && requests[1].complete).await;
    assert!(s3.requests()[1].range.clone().is_some_and(|range| range.start == 4_000_000));
    for (n, (method, target)) in
        [("HEAD", "/data/k"), ("GET", "/data/empty")].into_iter().enumerate()
    {
        let method = method.parse().unwrap();
        assert_eq!(client.request(method, target).send().await.header("cache-status"), HIT);
        s3.wait_for(|requests| requests.len() == 3 + n && requests[2 + n].complete).await;
        assert_eq!(s3.requests()[2 + n].method, http::Method::HEAD);
    }
    within("four comparisons to be counted", async {
        while verified(&proxy, "match").await < before + 4.0 {}
    })
    .await;
    assert_eq!(asked(), 4);
    assert!(s3.requests().iter().all(|seen| seen.header("if-match").is_empty()));
}

#[tokio::test]
async fn other_bytes_under_the_same_etag_are_dropped_and_fetched_again() {
    let (s3, proxy, client) = setup().await;
    for (key, size) in [("small", 5000), ("large", 3 * MIB)] {
        let target = format!("/data/{key}");
        let before = verified(&proxy, "corrupt").await;
        let (old, new) = (Object::random(size, 1).etag("\"e\""), Object::random(size, 2));
        s3.put("data", key, old.clone());
        assert_eq!(client.get(&target).send().await.body, old.all());
        s3.put("data", key, new.clone().etag("\"e\""));
        assert!(read_until_dropped(&client, &target).await == new.all(), "{key}");
        assert_eq!(client.get(&target).send().await.header("cache-status"), HIT);
        assert!(verified(&proxy, "corrupt").await > before, "{key}");
    }
}

#[tokio::test]
async fn another_version_and_none_at_all_are_dropped() {
    let (s3, proxy, client) = setup().await;
    let (old, new) = (Object::random(5000, 1), Object::random(5000, 2));
    s3.put("data", "k", old.clone());
    assert_eq!(client.get("/data/k").send().await.body, old.all());
    s3.put("data", "k", new.clone());
    assert!(read_until_dropped(&client, "/data/k").await == new.all());
    // A range that the new version does not have.
    s3.put("data", "k", Object::bytes("short"));
    let far = || client.get("/data/k").range("bytes=4000-4099").send();
    within("the short version to be found", async { while far().await.status == 206 {} }).await;
    s3.delete("data", "k");
    within("the absence to be found", async {
        while client.get("/data/k").send().await.status == 200 {}
    })
    .await;
    assert!(verified(&proxy, "changed").await >= 3.0);
}

#[tokio::test]
async fn few_comparisons_run_at_a_time_and_none_while_the_origin_fails() {
    let (s3, proxy, client) = setup().await;
    s3.put("data", "k", Object::random(5000, 1));
    assert_eq!(client.get("/data/k").send().await.status, 200);
    let gate = Gate::new();
    s3.fault(Matcher::get("k"), Times(4), Fault::HoldHeader(gate.clone()));
    s3.forget_requests();
    let skipped = verified(&proxy, "skipped").await;
    for _ in 0..40 {
        assert_eq!(client.get("/data/k").send().await.header("cache-status"), HIT);
    }
    gate.wait_reached_by(4).await;
    assert!(verified(&proxy, "skipped").await >= skipped + 36.0);
    assert_eq!(s3.requests().len(), 4, "{}", s3.describe());
    gate.open();
    s3.wait_idle().await;
    s3.fault(Matcher::any(), Always, Fault::Status(500, "InternalError"));
    within("the breaker to open", async {
        for key in 0.. {
            let answer = client.get(&format!("/data/none{key}")).send().await;
            if answer.text().contains("The origin fails") {
                return;
            }
        }
    })
    .await;
    s3.wait_idle().await;
    s3.forget_requests();
    for _ in 0..50 {
        assert_eq!(client.get("/data/k").send().await.header("cache-status"), HIT);
    }
    s3.wait_idle().await;
    assert_eq!(s3.requests().len(), 0, "{}", s3.describe());
}

#[tokio::test]
async fn a_bit_that_flips_in_the_answer_drops_nothing() {
    let (s3, proxy, client) = setup().await;
    s3.put("data", "k", Object::random(5000, 1));
    assert_eq!(client.get("/data/k").send().await.status, 200);
    s3.forget_requests();
    s3.fault(Matcher::get("k"), Times(1), Fault::FlipBit(77));
    let matching = verified(&proxy, "match").await;
    assert_eq!(client.get("/data/k").send().await.header("cache-status"), HIT);
    s3.wait_for(|seen| seen.iter().filter(|seen| seen.complete).count() == 2).await;
    wait_for_more(&proxy, "match", matching).await;
    assert_eq!(client.get("/data/k").send().await.header("cache-status"), HIT);
}

#[tokio::test]
async fn r6_a_comparison_of_what_was_overwritten_meanwhile_drops_nothing() {
    let (s3, proxy, client) = setup().await;
    s3.put("data", "k", Object::random(5000, 1));
    assert_eq!(client.get("/data/k").send().await.status, 200);
    let gate = Gate::new();
    s3.fault(Matcher::get("k"), Times(1), Fault::HoldRequest(gate.clone()));
    let skipped = verified(&proxy, "skipped").await;
    assert_eq!(client.get("/data/k").send().await.header("cache-status"), HIT);
    within("the comparison", gate.wait_reached()).await;
    assert_eq!(client.put("/data/k").body("new").send().await.status, 200);
    assert_eq!(client.get("/data/k").send().await.body, "new");
    gate.open();
    wait_for_more(&proxy, "skipped", skipped).await;
    let read = client.get("/data/k").send().await;
    assert_eq!((read.header("cache-status"), read.text().as_str()), (HIT, "new"));
}

#[tokio::test]
async fn nothing_is_compared_by_default() {
    let (s3, _proxy, client) = crate::support::setup().await;
    s3.put("data", "k", Object::random(5000, 1));
    for _ in 0..100 {
        assert_eq!(client.get("/data/k").send().await.status, 200);
    }
    s3.wait_idle().await;
    assert_eq!(s3.requests().len(), 1, "{}", s3.describe());
}

/// In the real process, with a disk: the log names key and versions, and nothing of the object is read from disk any
/// more.
#[tokio::test]
async fn a_mismatch_is_logged_and_the_disk_forgets_the_object_too() {
    let (s3, scratch) = (FakeS3::start().await, Scratch::new());
    let config = format!(
        "listen: [{{ address: 127.0.0.1:0 }}]\nadmin: {{ address: 127.0.0.1:0 }}\n\
         origin: {{ endpoint: '{}' }}\ncache: {{ memory: 24MiB, disk: [{{ path: '{}', capacity: 256MiB }}] }}\n\
         rules: [{{ match: 'data/old/**', freshness: immutable, verify_hits: 100% }}, \
         {{ match: '**', freshness: {{ ttl: 1h }}, verify_hits: 100% }}]\n",
        s3.endpoint(),
        scratch.path("cache"),
    );
    let config = scratch.file("hotset.yaml", &config);
    let mut process = Process::serve(&config).await;
    let client = process.client();
    let (old, new) = (Object::random(5000, 1), Object::random(5000, 2));
    for key in ["old/k", "young"] {
        s3.put("data", key, old.clone().etag("\"first\""));
        assert_eq!(client.get(&format!("/data/{key}")).send().await.body, old.all());
    }
    s3.put("data", "young", new.clone().etag("\"second\""));
    assert!(read_until_dropped(&client, "/data/young").await == new.all());
    let line = process.logged("hit verification").await;
    for part in ["WARN", "data/young", "\"first\"", "\"second\"", "ttl"] {
        assert!(line.contains(part), "{part}: {line}");
    }
    s3.put("data", "old/k", new.clone().etag("\"first\""));
    assert!(read_until_dropped(&client, "/data/old/k").await == new.all());
    let line = process.logged("are not the origin's").await;
    for part in ["ERROR", "data/old/k", "\"first\"", "from byte 0 on"] {
        assert!(line.contains(part), "{part}: {line}");
    }
    process.terminate();
    process.ended().await;
    let process = Process::serve(&config).await;
    for key in ["old/k", "young"] {
        let read = process.client().get(&format!("/data/{key}")).send().await;
        assert!(read.status == 200 && read.body == new.all(), "{key}");
    }
}
