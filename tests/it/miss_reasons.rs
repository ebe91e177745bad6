//! Miss reasons: why the cache alone did not answer a read, in `Cache-Status`, in the access log and in the metrics.

use http::Method;

use crate::support::*;

const NEW: &str = "hotset; fwd=uri-miss; detail=new";
const HIT: &str = "hotset; hit";
const INVALIDATED: &str = "hotset; fwd=uri-miss; detail=invalidated";
const REVALIDATED: &str = "hotset; fwd=stale; detail=revalidated";
const MIB: u64 = 1 << 20;

async fn start(s3: &FakeS3, scratch: &Scratch, more: &str) -> Process {
    let text = format!(
        "listen: [{{ address: 127.0.0.1:0 }}]\nadmin: {{ address: 127.0.0.1:0 }}\n\
         origin: {{ endpoint: '{}' }}\n{more}\n",
        s3.endpoint()
    );
    Process::serve(&scratch.file("hotset.yaml", &text)).await
}

async fn read(client: &Client, path: &str) -> String {
    let answer = client.get(path).send().await;
    assert!(answer.complete, "{path}: {answer:?}");
    answer.header("cache-status").to_owned()
}

/// Waits until at least `count` misses are counted for this reason: they are counted after the client has its answer.
async fn misses(process: &Process, reason: &str, count: f64) -> f64 {
    let series = format!("hotset_misses_total{{reason=\"{reason}\"}}");
    process.wait_for_metric(&series, |misses| misses >= count).await;
    process.metric(&series).await
}

#[tokio::test]
async fn each_reason_is_told_to_the_client_the_log_and_the_metrics() {
    let (scratch, s3) = (Scratch::new(), FakeS3::start().await);
    let rules = "rules: [{ match: 'data/by/**', freshness: bypass }, { match: 'data/old/**', freshness: { ttl: 1ms } }, \
         { match: 'data/ask/**', freshness: revalidate }, { match: '**', freshness: immutable }]";
    let mut process = start(&s3, &scratch, rules).await;
    let client = process.client();
    for key in ["k", "by/k", "old/k", "ask/k"] {
        s3.put("data", key, Object::random(1000, 1));
    }
    let reasons =
        ["new", "expired", "evicted", "invalidated", "restarted", "must_revalidate", "bypassed"];
    let page = process.admin().get("/metrics").send().await.text();
    for reason in reasons {
        let series = format!("hotset_misses_total{{reason=\"{reason}\"}} 0\n");
        assert!(page.contains(&series), "{reason} is there from the start");
    }

    assert_eq!(read(&client, "/data/k").await, NEW);
    assert_eq!(read(&client, "/data/k").await, HIT);
    let put = client.request(Method::PUT, "/data/k").body("other".to_owned()).send().await;
    assert_eq!(put.status, 200);
    assert_eq!(read(&client, "/data/k").await, INVALIDATED);
    let purged = Api::new(process.admin).post("/api/v1/purge", r#"{"keys":["s3://data/k"]}"#).await;
    assert_eq!(purged.0, 200, "{}", purged.1);
    assert_eq!(read(&client, "/data/k").await, INVALIDATED);
    let purged = Api::new(process.admin).post("/api/v1/purge", r#"{"prefix":"s3://data/k"}"#).await;
    assert_eq!(purged.0, 200, "{}", purged.1);
    assert_eq!(read(&client, "/data/k").await, INVALIDATED);
    // After a write of an object that was never cached its reason is still `new`.
    let put = client.request(Method::PUT, "/data/n").body("first".to_owned()).send().await;
    assert_eq!(put.status, 200);
    assert_eq!(read(&client, "/data/n").await, NEW);

    assert_eq!(read(&client, "/data/by/k").await, "hotset; fwd=bypass");
    assert_eq!(read(&client, "/data/old/k").await, NEW);
    let mut again = HIT.to_owned();
    within("a millisecond to pass", async {
        while again == HIT {
            again = read(&client, "/data/old/k").await;
        }
    })
    .await;
    assert_eq!(again, REVALIDATED);
    assert_eq!(read(&client, "/data/ask/k").await, NEW);
    assert_eq!(read(&client, "/data/ask/k").await, REVALIDATED);

    let line = process.printed("\"GET /data/by/k\"").await;
    assert!(line.contains(" bypass ") && line.contains(" miss=bypassed"), "{line}");
    let line = process.printed("revalidated").await;
    assert!(line.contains(" miss=expired"), "{line}");
    let line = process.printed("revalidated").await;
    assert!(line.contains(" miss=must_revalidate"), "{line}");
    for (reason, count) in [
        ("new", 4.0),
        ("invalidated", 3.0),
        ("bypassed", 1.0),
        ("expired", 1.0),
        ("must_revalidate", 1.0),
        ("evicted", 0.0),
        ("restarted", 0.0),
    ] {
        assert_eq!(
            misses(&process, reason, count).await.to_string(),
            count.to_string(),
            "{reason}"
        );
    }
    let causes = [("write", 4.0), ("purge", 2.0), ("event", 0.0)];
    for (cause, least) in causes {
        let series = format!("hotset_invalidations_total{{cause=\"{cause}\"}}");
        assert!(process.metric(&series).await >= least, "{cause}");
    }
}

#[tokio::test]
async fn what_was_evicted_is_told_from_what_is_new() {
    let (scratch, s3) = (Scratch::new(), FakeS3::start().await);
    let memory =
        "cache: { memory: 64MiB, block: 1MiB }\nrules: [{ match: '**', freshness: immutable }]";
    let process = start(&s3, &scratch, memory).await;
    let client = process.client();
    for n in 0..90 {
        s3.put("data", &format!("k{n}"), Object::random(MIB, n));
        assert_eq!(read(&client, &format!("/data/k{n}")).await, NEW);
    }
    let evicted = r#"hotset_cache_evictions_total{tier="memory",reason="capacity"}"#;
    process.wait_for_metric(evicted, |blocks| blocks >= 20.0).await;
    let mut again = Vec::new();
    for n in 0..90 {
        again.push(read(&client, &format!("/data/k{n}")).await);
    }
    let evicted = again.iter().filter(|status| status.contains("detail=evicted")).count();
    assert!(evicted >= 20, "{again:?}");
    assert!(again.iter().all(|status| !status.contains("detail=new")), "{again:?}");
    #[allow(clippy::cast_precision_loss, reason = "small")]
    let counted = evicted as f64;
    assert!(misses(&process, "evicted", counted).await >= counted);
}

#[tokio::test]
async fn what_lies_on_disk_since_before_a_restart_is_neither_new_nor_expired() {
    let (scratch, s3) = (Scratch::new(), FakeS3::start().await);
    s3.put("data", "k", Object::random(100_000, 1));
    let disk = scratch.path("disk");
    let disk = format!(
        "cache: {{ memory: 64MiB, disk: [{{ path: '{disk}', capacity: 256MiB }}] }}\n\
         rules: [{{ match: '**', freshness: {{ ttl: 1h }} }}]"
    );
    let mut process = start(&s3, &scratch, &disk).await;
    for _ in 0..3 {
        read(&process.client(), "/data/k").await;
    }
    process.terminate();
    assert!(process.ended().await.success());
    let process = start(&s3, &scratch, &disk).await;
    assert_eq!(read(&process.client(), "/data/k").await, REVALIDATED);
    assert_eq!(misses(&process, "restarted", 1.0).await.to_string(), "1");
}
