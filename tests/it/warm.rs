//! Warming over the admin port, after the needs of readers, and the authorization of the admin API.

use hotset::cache::{Freshness, PrefetchConfig, RuleConfig};
use hotset::config::units::{ByteSize, HumanDuration};
use hotset::events::Source;

use crate::support::*;

const MIB: u64 = 1 << 20;
const HIT: &str = "hotset; hit";

async fn started() -> (FakeS3, TestProxy, Api) {
    let s3 = FakeS3::start().await;
    let proxy = TestProxy::start_with(&s3, |config| {
        config.rules[0].freshness = Freshness::Immutable;
    })
    .await;
    let api = Api::new(proxy.admin);
    (s3, proxy, api)
}

fn is_list(seen: &Seen) -> bool {
    seen.has_param("list-type")
}

#[tokio::test]
async fn a_prefix_is_warmed_each_byte_fetched_once_and_nothing_when_it_is_warm_already() {
    let (s3, proxy, api) = started().await;
    let objects = [("w/a", 11 * MIB + 5), ("w/b c+ü%&<", 100_000), ("w/empty", 0), ("w/d", 1)];
    for (index, (key, size)) in objects.into_iter().enumerate() {
        s3.put("data", key, Object::random(size, index as u64));
    }
    s3.put("data", "x", Object::random(5, 9));
    let job = api.warm(r#"{"prefix":"s3://data/w/"}"#).await;
    let total = 11 * MIB + 5 + 100_000 + 1;
    assert_eq!(job["state"], "done", "{job}");
    assert_eq!(
        job["objects"],
        serde_json::json!({"found": 4, "warmed": 4, "skipped": 0, "failed": 0})
    );
    assert_eq!(job["bytes"], serde_json::json!({"found": total, "warm": total, "fetched": total}));
    for (key, _) in objects {
        s3.assert_each_byte_sent_once("data", key);
    }
    assert!(s3.bytes_sent() < total + 10_000, "{}", s3.describe());

    s3.forget_requests();
    let again = api.warm(r#"{"prefix":"s3://data/w/"}"#).await;
    assert_eq!(again["bytes"], serde_json::json!({"found": total, "warm": total, "fetched": 0}));
    assert_eq!(again["objects"]["warmed"], 4);
    assert!(s3.requests().iter().all(is_list), "{}", s3.describe());

    s3.forget_requests();
    let read = proxy.client().get("/data/w/a").send().await;
    assert_eq!(read.header("cache-status"), HIT);
    assert!(read.body == s3.object_bytes("data", "w/a"));
    let odd = proxy.client().get("/data/w/b%20c%2B%C3%BC%25%26%3C").send().await;
    assert_eq!((odd.status.as_u16(), odd.header("cache-status")), (200, HIT));
    assert_eq!(s3.requests().len(), 0, "{}", s3.describe());
    assert!(proxy.metric(r#"hotset_warm_objects_total{result="warmed"}"#).await >= 8.0);
}

#[tokio::test]
async fn patterns_choose_among_keys_over_many_pages() {
    let (s3, proxy, api) = started().await;
    for index in 0..2500 {
        s3.put("data", &format!("p/{index:04}.bin"), Object::random(10, index));
    }
    s3.put("data", "p/deep/0000.bin", Object::random(10, 1));
    let job = api
        .warm(r#"{"prefix":"s3://data/p","include":["data/p/*00.bin"],"exclude":["**/1*"]}"#)
        .await;
    // 0000, 0100, .. 2400 without those that begin with 1.
    assert_eq!((&job["state"], &job["objects"]["warmed"]), (&"done".into(), &15.into()), "{job}");
    assert_eq!(s3.count(is_list), 3, "{}", s3.describe());
    assert_eq!(s3.count(|r| r.key == "p/2400.bin"), 1);
    assert_eq!(s3.count(|r| r.key == "p/1100.bin" || r.key == "p/deep/0000.bin"), 0);
    assert_eq!(proxy.client().get("/data/p/2400.bin").send().await.header("cache-status"), HIT);
}

#[tokio::test]
async fn a_list_of_keys_is_warmed_and_one_that_is_not_there_fails_by_name() {
    let (s3, _proxy, api) = started().await;
    s3.put("data", "a", Object::random(1000, 1));
    let job = api.warm(r#"{"keys":["s3://data/a","s3://data/none","s3://data/a"]}"#).await;
    assert_eq!((&job["state"], &job["complete"]), (&"done".into(), &true.into()), "{job}");
    assert_eq!(
        job["objects"],
        serde_json::json!({"found": 3, "warmed": 2, "skipped": 0, "failed": 1})
    );
    assert_eq!(job["failures"][0]["object"], "s3://data/none");
    s3.assert_each_byte_sent_once("data", "a");
}

#[tokio::test]
async fn only_head_and_tail_are_warmed_where_that_is_asked() {
    let (s3, proxy, api) = started().await;
    s3.put("data", "w/large", Object::random(20 * MIB, 1));
    let job = api.warm(r#"{"prefix":"s3://data/w/","head":"1MiB","tail":"64KiB"}"#).await;
    assert_eq!(job["bytes"]["fetched"], MIB + 64 * 1024, "{job}");
    s3.forget_requests();
    let bytes = s3.object_bytes("data", "w/large");
    for range in ["bytes=0-1048575", "bytes=-65536"] {
        let read = proxy.client().get("/data/w/large").range(range).send().await;
        assert_eq!((read.status.as_u16(), read.header("cache-status")), (206, HIT), "{range}");
        assert!(bytes.starts_with(&read.body) || bytes.ends_with(&read.body));
    }
    assert_eq!(s3.requests().len(), 0, "{}", s3.describe());
}

#[tokio::test]
async fn a_job_ends_at_its_limits_and_says_so() {
    let (s3, _proxy, api) = started().await;
    for index in 0..10_u64 {
        s3.put("data", &format!("w/{index}"), Object::random(1000, index));
    }
    let bytes = api.warm(r#"{"prefix":"s3://data/w/","max_bytes":3500}"#).await;
    assert_eq!(
        (&bytes["limited_by"], &bytes["bytes"]["warm"]),
        (&"max_bytes".into(), &3000.into())
    );
    assert_eq!(bytes["objects"]["found"], 3);
    let objects = api.warm(r#"{"prefix":"s3://data/w/","max_objects":5}"#).await;
    assert_eq!(objects["limited_by"], "max_objects");
    assert_eq!(
        (&objects["objects"]["warmed"], &objects["bytes"]["fetched"]),
        (&5.into(), &2000.into())
    );
    let keys = r#"{"keys":["s3://data/w/8","s3://data/w/9"],"max_bytes":1500}"#;
    let keys = api.warm(keys).await;
    assert_eq!((&keys["limited_by"], &keys["bytes"]["warm"]), (&"max_bytes".into(), &1000.into()));
    assert_eq!(
        keys["objects"],
        serde_json::json!({"found": 2, "warmed": 1, "skipped": 1, "failed": 0})
    );
}

#[tokio::test]
async fn a_dry_run_counts_and_reads_nothing() {
    let (s3, _proxy, api) = started().await;
    s3.put("data", "w/a", Object::random(1000, 1));
    s3.put("data", "w/b", Object::random(500, 1));
    let job = api.warm(r#"{"prefix":"s3://data/w/","dry_run":true}"#).await;
    assert_eq!((&job["objects"]["found"], &job["bytes"]["found"]), (&2.into(), &1500.into()));
    assert_eq!((&job["objects"]["warmed"], &job["bytes"]["fetched"]), (&0.into(), &0.into()));
    assert!(s3.requests().iter().all(is_list), "{}", s3.describe());
}

#[tokio::test]
async fn what_a_rule_has_bypass_the_cache_is_skipped() {
    let s3 = FakeS3::start().await;
    let proxy = TestProxy::start_with(&s3, |config| {
        let bypass = RuleConfig {
            pattern: "data/w/live/**".to_owned(),
            freshness: Freshness::Bypass,
            ..RuleConfig::default()
        };
        config.rules.insert(0, bypass);
    })
    .await;
    s3.put("data", "w/a", Object::random(1000, 1));
    s3.put("data", "w/live/b", Object::random(500, 1));
    s3.put("data", "w/private", Object::random(500, 1).header("cache-control", "no-store"));
    let job = Api::new(proxy.admin).warm(r#"{"prefix":"s3://data/w/"}"#).await;
    assert_eq!(
        job["objects"],
        serde_json::json!({"found": 3, "warmed": 1, "skipped": 2, "failed": 0})
    );
    assert_eq!(s3.count(|r| r.key == "w/live/b"), 0);
}

#[tokio::test]
async fn the_same_again_joins_the_job_that_runs() {
    let (s3, _proxy, api) = started().await;
    s3.put("data", "w/a", Object::random(1000, 1));
    let gate = Gate::new();
    s3.fault(Matcher::any().query("list-type"), Times(1), Fault::HoldHeader(gate.clone()));
    let body = r#"{"prefix":"s3://data/w/","rate":"100MiB"}"#;
    let (status, first) = api.post("/api/v1/warm", body).await;
    assert_eq!((status, &first["joined"]), (202, &false.into()));
    gate.wait_reached().await;
    let (status, same) = api.post("/api/v1/warm", body).await;
    assert_eq!((status, &same["joined"], &same["id"]), (202, &true.into(), &first["id"]));
    let (_, all) = api.get("/api/v1/warm").await;
    assert_eq!(all["jobs"].as_array().unwrap().len(), 1);
    gate.open();
    let job = api.job(&first, |job| job["state"] == "done").await;
    assert_eq!(job["objects"]["warmed"], 1);
    assert_eq!(s3.count(is_list), 1);
}

#[tokio::test]
async fn a_job_is_cancelled_and_leaves_what_it_was_waiting_for() {
    let (s3, proxy, api) = started().await;
    s3.put("data", "w/a", Object::random(1000, 1));
    let gate = Gate::new();
    s3.fault(Matcher::get("w/a"), Times(1), Fault::HoldHeader(gate.clone()));
    let (_, begun) = api.post("/api/v1/warm", r#"{"prefix":"s3://data/w/"}"#).await;
    gate.wait_reached().await;
    let path = format!("/api/v1/warm/{}", begun["id"].as_str().unwrap());
    for _ in 0..2 {
        let (status, ended) = api.delete(&path).await;
        assert_eq!((status, &ended["state"]), (200, &"cancelled".into()), "{ended}");
    }
    gate.open();
    assert_eq!(api.delete("/api/v1/warm/0000000000000000").await.0, 404);
    let read = proxy.client().get("/data/w/a").send().await;
    assert!(read.body == s3.object_bytes("data", "w/a"));
}

#[tokio::test]
async fn readers_come_first_and_warming_goes_on_after_them() {
    let s3 = FakeS3::start().await;
    let proxy = TestProxy::start_with(&s3, |config| config.warm.requests = 0).await;
    let api = Api::new(proxy.admin);
    for (key, seed) in [("w/a", 1), ("w/b", 2), ("slow", 3)] {
        s3.put("data", key, Object::random(1000, seed));
    }
    let gate = Gate::new();
    s3.fault(Matcher::get("slow"), Times(1), Fault::HoldHeader(gate.clone()));
    let client = proxy.client();
    let reader = tokio::spawn(async move { client.get("/data/slow").send().await });
    gate.wait_reached().await;
    let (_, begun) = api.post("/api/v1/warm", r#"{"prefix":"s3://data/w/"}"#).await;
    let waits = |job: &serde_json::Value| job["complete"] == true && job["waits_for"] == "readers";
    for _ in 0..20 {
        let job = api.job(&begun, waits).await;
        assert_eq!(job["bytes"]["fetched"], 0, "{job}");
    }
    assert_eq!(s3.count(|r| r.key.starts_with("w/")), 0, "{}", s3.describe());
    gate.open();
    assert_eq!(reader.await.unwrap().status, 200);
    let job = api.job(&begun, |job| job["state"] == "done").await;
    assert_eq!((&job["objects"]["warmed"], &job["waits_for"]), (&2.into(), &().into()), "{job}");
}

#[tokio::test]
async fn a_reader_and_the_warmer_share_one_fetch() {
    let (s3, proxy, api) = started().await;
    s3.put("data", "w/a", Object::random(MIB, 1));
    let gate = Gate::new();
    s3.fault(Matcher::get("w/a"), Times(1), Fault::HoldBodyAfter(1000, gate.clone()));
    let (_, begun) = api.post("/api/v1/warm", r#"{"prefix":"s3://data/w/"}"#).await;
    gate.wait_reached().await;
    let client = proxy.client();
    let reader = client.open("/data/w/a").await;
    gate.open();
    assert!(reader.finish().await.body == s3.object_bytes("data", "w/a"));
    api.job(&begun, |job| job["state"] == "done").await;
    s3.assert_each_byte_sent_once("data", "w/a");
    assert_eq!(s3.count(|r| r.key == "w/a"), 1, "{}", s3.describe());
}

#[tokio::test]
async fn a_list_that_cannot_be_had_fails_the_job_and_says_why() {
    let (s3, _proxy, api) = started().await;
    let list = || Matcher::any().query("list-type");
    s3.fault(list(), Times(1), Fault::Status(403, "AccessDenied"));
    let denied = api.warm(r#"{"prefix":"s3://data/w/"}"#).await;
    assert_eq!(denied["state"], "failed");
    assert!(denied["error"].as_str().unwrap().contains("AccessDenied"), "{denied}");
    s3.put("data", "w/a", Object::random(10, 1));
    s3.fault(list(), Times(2), Fault::Status(503, "SlowDown"));
    let retried = api.warm(r#"{"prefix":"s3://data/w/"}"#).await;
    assert_eq!((&retried["state"], &retried["objects"]["warmed"]), (&"done".into(), &1.into()));
}

#[tokio::test]
async fn who_does_not_know_the_token_is_refused_and_the_rest_of_the_port_goes_on() {
    let s3 = FakeS3::start().await;
    let proxy = TestProxy::start_with(&s3, |config| {
        config.admin.token = Some("the-right-token-of-16".into());
    })
    .await;
    let body = r#"{"prefix":"s3://data/w/","dry_run":true}"#;
    for api in [Api::new(proxy.admin), Api::with_token(proxy.admin, "wrong-token")] {
        let (status, refused) = api.post("/api/v1/warm", body).await;
        assert_eq!(status, 401, "{refused}");
        assert_eq!(api.get("/api/v1/warm").await.0, 401);
    }
    let right = Api::with_token(proxy.admin, "the-right-token-of-16");
    assert_eq!(right.post("/api/v1/warm", body).await.0, 202);
    let client = Client::new(proxy.admin);
    for path in ["/metrics", "/healthz", "/readyz"] {
        assert_eq!(client.get(path).send().await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn without_a_token_the_api_is_closed_to_other_machines_and_says_which_key_to_set() {
    let s3 = FakeS3::start().await;
    let proxy = TestProxy::start_with(&s3, |config| {
        config.admin.address = Some("0.0.0.0:0".to_owned());
    })
    .await;
    let admin = std::net::SocketAddr::from(([127, 0, 0, 1], proxy.admin.port()));
    let (status, refused) =
        Api::new(admin).post("/api/v1/warm", r#"{"keys":["s3://data/a"]}"#).await;
    assert_eq!(status, 403);
    assert!(refused["error"].as_str().unwrap().contains("admin.token"), "{refused}");
    assert_eq!(Client::new(admin).get("/metrics").send().await.status, 200);
    assert_eq!(s3.requests().len(), 0);
}

#[tokio::test]
async fn a_browser_that_another_site_told_to_is_refused() {
    let (s3, proxy, _api) = started().await;
    let client = Client::new(proxy.admin);
    let body = r#"{"prefix":"s3://data/w/"}"#;
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"] {
        let form = client.post("/api/v1/warm").header("content-type", kind).body(body);
        assert_eq!(form.send().await.status, 415, "{kind}");
    }
    assert_eq!(client.post("/api/v1/warm").body(body).send().await.status, 415);
    let rebound = client.post("/api/v1/warm").header("content-type", "application/json").body(body);
    assert_eq!(rebound.host("evil.example:9001").send().await.status, 403);
    let asked_first = client.request(http::Method::OPTIONS, "/api/v1/warm").send().await;
    assert_eq!(asked_first.status, 405);
    assert_eq!(asked_first.header("access-control-allow-origin"), "");
    let localhost =
        client.post("/api/v1/warm").header("content-type", "application/json").body(body);
    assert_eq!(localhost.host("localhost:9001").send().await.status, 202);
    s3.wait_for(|requests| requests.len() == 1).await;
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_said_and_nothing_is_done() {
    let (s3, proxy, api) = started().await;
    for (body, named) in [
        ("{", "EOF"),
        ("[]", "invalid"),
        (r#"{"prefix":"s3://data/","rat":"1MiB"}"#, "unknown field `rat`"),
        (r#"{"keys":["s3://data/a","nonsense"]}"#, "keys[1]"),
        (r#"{"prefix":"s3://data/","include":["a[b"]}"#, "a[b"),
    ] {
        let (status, answer) = api.post("/api/v1/warm", body).await;
        assert_eq!(status, 400, "{body}");
        assert!(answer["error"].as_str().unwrap().contains(named), "{body}: {answer}");
    }
    let keys = vec!["\"s3://data/a\""; 10_001].join(",");
    let (status, answer) = api.post("/api/v1/warm", &format!("{{\"keys\":[{keys}]}}")).await;
    assert_eq!(status, 400);
    assert!(answer["error"].as_str().unwrap().contains("10001"), "{answer}");
    let (status, _) = api.post("/api/v1/warm", &" ".repeat((4 << 20) + 1)).await;
    assert_eq!(status, 413);
    assert_eq!(api.get("/api/v1/nothing").await.0, 404);
    let put = Client::new(proxy.admin).put("/api/v1/warm").send().await;
    assert_eq!((put.status.as_u16(), put.header("allow")), (405, "GET, POST"));
    assert_eq!(s3.requests().len(), 0, "{}", s3.describe());
    assert_eq!(api.get("/api/v1/warm").await.1["jobs"], serde_json::json!([]));
}

#[tokio::test]
async fn what_was_created_is_read_before_anybody_asks_where_a_rule_says_so() {
    let s3 = FakeS3::start().await;
    let proxy = TestProxy::start_with(&s3, |config| {
        let prefetch = PrefetchConfig {
            whole: ByteSize::mib(2),
            head: ByteSize::mib(1),
            tail: ByteSize::kib(64),
        };
        let rule = RuleConfig {
            pattern: "data/hot/**".to_owned(),
            freshness: Freshness::Ttl(HumanDuration::secs(3600)),
            prefetch: Some(prefetch),
            ..RuleConfig::default()
        };
        config.rules.insert(0, rule);
    })
    .await;
    s3.put("data", "hot/small", Object::random(2 * MIB, 1));
    s3.put("data", "hot/large", Object::random(12 * MIB, 2));
    s3.put("data", "cold", Object::random(10, 3));
    let told = |key: &str, size: &str| {
        let body = format!(
            r#"{{"Records":[{{"eventVersion":"2.1","eventSource":"aws:s3","eventName":"ObjectCreated:Put",
            "s3":{{"bucket":{{"name":"data"}},"object":{{"key":"{key}"{size}}}}}}}]}}"#
        );
        drop(proxy.intake.apply(Source::Webhook, body.as_bytes()).expect("a right message"));
    };
    told("cold", "");
    told("hot/small", r#","size":2097152"#);
    told("hot/large", "");
    let read = |requests: &[Seen], key: &str| -> u64 {
        let gets = requests.iter().filter(|r| r.key == key && r.method == http::Method::GET);
        gets.filter(|r| r.done).map(|r| r.body_bytes_sent).sum()
    };
    let ends = MIB + 64 * 1024;
    s3.wait_for(|r| read(r, "hot/small") == 2 * MIB && read(r, "hot/large") == ends).await;
    s3.wait_idle().await;
    assert_eq!(s3.count(|r| r.key == "cold"), 0, "{}", s3.describe());
    let warmed = async {
        while proxy.metric(r#"hotset_warm_objects_total{result="warmed"}"#).await < 2.0 {}
    };
    within("both to be warm", warmed).await;
    s3.forget_requests();
    let client = proxy.client();
    assert_eq!(client.get("/data/hot/small").send().await.header("cache-status"), HIT);
    for range in ["bytes=0-1048575", "bytes=-65536"] {
        let read = client.get("/data/hot/large").range(range).send().await;
        assert_eq!(read.header("cache-status"), HIT, "{range}");
    }
    assert_eq!(s3.requests().len(), 0, "{}", s3.describe());
}
