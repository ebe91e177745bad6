//! Failover: reads go to another origin while their own is down, by rule; the two are never mixed, and reads return
//! by themselves.

use hotset::cache::{FailoverConfig, Freshness};
use hotset::config::Config;
use hotset::config::units::{ByteSize, HumanDuration};
use hotset::origin::OriginConfig;
use http::Method;

use crate::support::{
    Always, Api, Client, FakeS3, Fault, Gate, Matcher, Object, TestProxy, Times, test_config,
    within,
};

const MIB: u64 = 1 << 20;
const HIT: &str = "hotset; hit; detail=failover";

/// Starts two origins: `data` is at the first one, and `copy` at the second one has its replicated objects.
async fn setup(change: impl FnOnce(&mut Config)) -> (FakeS3, FakeS3, TestProxy, Client) {
    let (first, second) = (FakeS3::start().await, FakeS3::start().await);
    let proxy = TestProxy::start_with(&first, |config| {
        let origin = OriginConfig { endpoint: second.endpoint(), ..test_config(&second).origin };
        config.origins.insert("replica".to_owned(), origin);
        let rule = &mut config.rules[0];
        rule.freshness = Freshness::Immutable;
        rule.negative = HumanDuration::secs(0);
        let mut data = rule.clone();
        "data/**".clone_into(&mut data.pattern);
        data.failover = Some(FailoverConfig {
            origin: "replica".to_owned(),
            bucket: Some("copy".to_owned()),
            lag: HumanDuration::secs(0),
        });
        config.rules.insert(0, data);
        change(config);
    })
    .await;
    let client = proxy.client();
    (first, second, proxy, client)
}

fn put(s3: &FakeS3, bucket: &str, key: &str, text: &str) {
    s3.put(bucket, key, Object::bytes(text.to_owned()));
}

async fn read(client: &Client, target: &str) -> (u16, String, String) {
    let answer = client.get(target).send().await;
    (answer.status.as_u16(), answer.text(), answer.header("cache-status").to_owned())
}

/// Reads until the first origin answers again.
async fn until_back(client: &Client, target: &str) -> String {
    within("the first origin to be asked again", async {
        loop {
            let (status, text, cache) = read(client, target).await;
            if status == 200 && !cache.contains("failover") {
                return text;
            }
        }
    })
    .await
}

#[tokio::test]
async fn r1_reads_go_to_the_other_origin_while_the_first_is_down_and_back_without_its_bytes() {
    let (first, second, proxy, client) = setup(|_| {}).await;
    for (s3, bucket) in [(&first, "data"), (&second, "copy"), (&second, "data")] {
        for key in ["cold", "hot", "second"] {
            put(s3, bucket, key, &format!("{key} of {bucket} at {}", s3.endpoint()));
        }
    }
    let there = |key: &str| format!("{key} of copy at {}", second.endpoint());
    let here = |key: &str| format!("{key} of data at {}", first.endpoint());
    assert_eq!(read(&client, "/data/hot").await.1, here("hot"));
    first.go_down().await;
    for expected in ["hotset; fwd=uri-miss; detail=failover", HIT] {
        let (status, text, cache) = read(&client, "/data/cold").await;
        assert_eq!((status, text, &*cache), (200, there("cold"), expected));
    }
    let head = client.head("/data/second").send().await;
    assert_eq!(head.status, 200);
    // Hits of the first origin's objects continue, and other buckets do not fail over.
    assert_eq!(read(&client, "/data/hot").await.1, here("hot"));
    assert_eq!(read(&client, "/other/cold").await.0, 503);
    assert_eq!(second.count(|seen| seen.bucket != "copy"), 0);
    assert!(proxy.metric("hotset_failover_reads_total{origin=\"replica\"}").await >= 3.0);
    first.come_back().await;
    assert_eq!(until_back(&client, "/data/cold").await, here("cold"), "and under `immutable`");
    assert_eq!(until_back(&client, "/data/second").await, here("second"));
}

#[tokio::test]
async fn what_was_learned_there_is_confirmed_in_the_next_outage() {
    let (first, second, _proxy, client) = setup(|_| {}).await;
    for key in ["same", "other"] {
        put(&second, "copy", key, "old");
    }
    first.go_down().await;
    for key in ["same", "other"] {
        assert_eq!(read(&client, &format!("/data/{key}")).await.1, "old");
    }
    first.come_back().await;
    put(&first, "data", "probe", "there");
    until_back(&client, "/data/probe").await;
    put(&second, "copy", "other", "new");
    second.forget_requests();
    first.go_down().await;
    let (_, text, cache) = read(&client, "/data/same").await;
    assert_eq!((&*text, &*cache), ("old", "hotset; fwd=stale; detail=failover"));
    assert_eq!(second.count(|seen| seen.key == "same" && seen.method == Method::HEAD), 1);
    assert_eq!(second.count(|seen| seen.key == "same"), 1, "its bytes are there");
    assert_eq!(read(&client, "/data/other").await.1, "new");
    assert_eq!(read(&client, "/data/same").await.2, HIT);
}

#[tokio::test]
async fn an_origin_that_is_slow_or_refuses_is_not_down() {
    let (first, second, _proxy, client) = setup(|_| {}).await;
    for key in ["slow", "denied", "none", "busy"] {
        put(&first, "data", key, "first");
        put(&second, "copy", key, "second");
    }
    first.delete("data", "none");
    let gate = Gate::new();
    first.fault(Matcher::get("slow"), Times(1), Fault::HoldHeader(gate.clone()));
    let slow = tokio::spawn({
        let request = client.get("/data/slow");
        async move { request.send().await.text() }
    });
    gate.wait_reached().await;
    first.fault(Matcher::get("denied"), Always, Fault::Status(403, "AccessDenied"));
    first.fault(Matcher::get("busy"), Always, Fault::Status(503, "SlowDown"));
    assert_eq!(read(&client, "/data/denied").await.0, 403);
    assert_eq!(read(&client, "/data/none").await.0, 404);
    assert_eq!(read(&client, "/data/busy").await.0, 503);
    first.fault(Matcher::get("error"), Always, Fault::Status(500, "InternalError"));
    assert_eq!(read(&client, "/data/error").await.0, 503, "one object that fails is not an outage");
    gate.open();
    assert_eq!(slow.await.unwrap(), "first");
    assert_eq!(second.requests().len(), 0, "{}", second.describe());
    // Until the circuit breaker is open.
    first.fault(Matcher::any(), Always, Fault::Status(500, "InternalError"));
    put(&second, "copy", "late", "second");
    within("the breaker to open", async {
        for n in 0.. {
            read(&client, &format!("/data/error-{n}")).await;
            if read(&client, "/data/late").await.1 == "second" {
                return;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn no_key_is_read_there_that_was_written_within_the_lag() {
    let (first, second, _proxy, client) = setup(|config| {
        config.rules[0].failover.as_mut().unwrap().lag = HumanDuration::secs(3);
    })
    .await;
    for key in ["written", "other"] {
        put(&first, "data", key, "first");
        put(&second, "copy", key, "replica");
    }
    first.go_down().await;
    assert_eq!(read(&client, "/data/other").await.0, 503, "who knows what was written before");
    let until_there = async |key: &str| {
        within("the lag to pass", async {
            while read(&client, &format!("/data/{key}")).await.1 != "replica" {}
        })
        .await;
    };
    until_there("other").await;
    until_there("written").await;
    first.come_back().await;
    put(&first, "data", "probe", "there");
    until_back(&client, "/data/probe").await;
    let write = client.put("/data/written").body("new").send().await;
    assert_eq!(write.status, 200);
    first.go_down().await;
    second.forget_requests();
    assert_eq!(read(&client, "/data/written").await.0, 503);
    assert_eq!(second.count(|seen| seen.key == "written"), 0);
    assert_eq!(read(&client, "/data/other").await.1, "replica");
    // Until the write can have been replicated; then the cached copy of it is confirmed.
    put(&second, "copy", "written", "new");
    within("the lag to pass", async { while read(&client, "/data/written").await.0 != 200 {} })
        .await;
    assert_eq!(read(&client, "/data/written").await.1, "new");
}

#[tokio::test]
async fn no_write_list_or_read_of_now_goes_there() {
    let (first, second, _proxy, client) = setup(|_| {}).await;
    put(&second, "copy", "k", "replica");
    first.go_down().await;
    assert_eq!(read(&client, "/data/k").await.1, "replica");
    second.forget_requests();
    let now = client.get("/data/k").header("cache-control", "no-cache").send().await;
    assert_eq!(now.status, 503, "{}", now.text());
    let answers = [
        client.put("/data/k").body("x").send().await,
        client.request(Method::DELETE, "/data/k").send().await,
        client.get("/data?list-type=2").send().await,
        client.get("/data/k?versionId=v1").send().await,
        client.get("/data/k?tagging").send().await,
    ];
    for answer in answers {
        assert!(answer.status.is_server_error(), "{answer:?}");
    }
    assert_eq!(second.requests().len(), 0, "{}", second.describe());
    assert_eq!(second.object_bytes("copy", "k"), "replica");
}

#[tokio::test]
async fn r33_nobody_is_refused_for_what_the_other_origin_has() {
    let (first, second, _proxy, client) = setup(|_| {}).await;
    let object = Object::random(5000, 1);
    second.put("copy", "k", object.clone());
    first.go_down().await;
    let get = |name: &'static str, value: &str| client.get("/data/k").header(name, value);
    for _ in 0..2 {
        assert_eq!(get("if-match", "\"other\"").send().await.status, 503);
        assert_eq!(get("range", "bytes=9000-").send().await.status, 503);
        let whole = client.get("/data/k").send().await;
        assert!(whole.complete && whole.body == object.all());
        assert_eq!(get("if-none-match", whole.header("etag")).send().await.status, 304);
        assert_eq!(get("if-match", whole.header("etag")).send().await.status, 200);
    }
    let absent = client.get("/data/none").send().await;
    assert_eq!(absent.status, 404);
    assert!(absent.text().contains("<Code>NoSuchKey</Code>"), "{}", absent.text());
    assert!(!absent.text().contains("copy"), "{}", absent.text());
    second.fault(Matcher::any(), Always, Fault::Status(403, "AccessDenied"));
    assert_eq!(client.get("/data/more").send().await.status, 503, "that is between it and hotset");
}

#[tokio::test]
async fn r3_no_answer_has_bytes_of_both_origins() {
    let (first, second, _proxy, client) = setup(|config| {
        config.cache.fetch = ByteSize::mib(2);
        config.origin.deadline = "6s".parse().unwrap();
    })
    .await;
    let (ours, theirs) = (Object::random(12 * MIB, 1), Object::random(12 * MIB, 2));
    for key in ["partial", "midway"] {
        first.put("data", key, ours.clone());
        second.put("copy", key, theirs.clone());
    }
    let start = client.get("/data/partial").range("bytes=0-2097151").send().await;
    assert_eq!(start.body, ours.slice(0..2 * MIB));
    // The origin goes down while a body is in flight.
    let gate = Gate::new();
    first.fault(Matcher::get("midway"), Always, Fault::HoldBodyAfter(70_000, gate.clone()));
    let midway = tokio::spawn({
        let request = client.get("/data/midway");
        async move { request.send().await }
    });
    gate.wait_reached().await;
    first.go_down().await;
    let midway = midway.await.unwrap();
    let is_prefix = |body: &[u8], of: &Object| body == &of.slice(0..body.len() as u64)[..];
    assert!(!midway.complete && is_prefix(&midway.body, &ours), "{}", midway.body.len());
    // The response begins with cached bytes, and is cut off where bytes are missing.
    let partial = client.get("/data/partial").send().await;
    assert!(!partial.complete && is_prefix(&partial.body, &ours), "{}", partial.body.len());
    // A response that begins with missing bytes comes from the other origin from the first byte on.
    let rest = client.get("/data/partial").range("bytes=8000000-8999999").send().await;
    assert!(rest.complete && rest.body == theirs.slice(8_000_000..9_000_000));
    assert_ne!(rest.header("etag"), start.header("etag"));
    let again = client.get("/data/midway").send().await;
    assert!(again.complete && again.body == theirs.all());
}

#[tokio::test]
async fn purges_and_events_of_the_bucket_count_there_too() {
    let (first, second, proxy, client) = setup(|_| {}).await;
    first.go_down().await;
    for (n, change) in ["purge", "prefix"].into_iter().enumerate() {
        put(&second, "copy", "k", &format!("old {n}"));
        read(&client, "/data/k").await;
        put(&second, "copy", "k", &format!("new {n}"));
        assert_eq!(read(&client, "/data/k").await.1, format!("old {n}"), "it is immutable");
        let body = match change {
            "purge" => r#"{"keys": ["s3://data/k"]}"#,
            _ => r#"{"prefix": "s3://data/"}"#,
        };
        assert_eq!(Api::new(proxy.admin).post("/api/v1/purge", body).await.0, 200);
        assert_eq!(read(&client, "/data/k").await.1, format!("new {n}"), "{change}");
        assert_eq!(Api::new(proxy.admin).post("/api/v1/purge", body).await.0, 200);
    }
}

#[tokio::test]
async fn when_both_are_down_the_first_is_named_and_both_come_back() {
    let (first, second, _proxy, client) = setup(|config| {
        config.rules[0].freshness = Freshness::Ttl(HumanDuration::secs(60));
    })
    .await;
    put(&first, "data", "k", "first");
    put(&second, "copy", "k", "second");
    first.go_down().await;
    second.go_down().await;
    assert_eq!(read(&client, "/data/k").await.0, 503);
    second.come_back().await;
    within("the second to be asked again", async {
        while read(&client, "/data/k").await.1 != "second" {}
    })
    .await;
    first.come_back().await;
    assert_eq!(until_back(&client, "/data/k").await, "first");
}
