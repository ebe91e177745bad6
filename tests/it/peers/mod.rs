//! Replicas that send each other their invalidations (`cluster.peers`): real processes, killed, frozen and restarted.

mod chaos;
mod faults;
mod relay;
mod replicas;

use std::time::{Duration, SystemTime};

use http::Method;
use tokio::time::Instant;

use crate::events::record_of;
use crate::support::{Api, Fault, Gate, Matcher, Object, Process, Times, hotset, run, within};
use replicas::{Replicas, TOKEN};

const IMMUTABLE: &str = "rules: [{ match: '**', freshness: immutable }]";
const TTL: &str = "rules: [{ match: '**', freshness: { ttl: 1h } }]";
const ON_DISK: &str = "rules: [{ match: '**', freshness: immutable }]\n\
                       cache: { memory: 64MiB, disk: [{ path: DISK, capacity: 256MiB }] }";
const EVENTS: &str = "rules: [{ match: '**', freshness: { events: { ttl: 1ms, backstop: 1h } } }]\n\
                      events: { webhook: { address: 127.0.0.1:0 } }";
const HIT: &str = "hotset; hit";
const REVALIDATED: &str = "hotset; fwd=stale; detail=revalidated";

#[tokio::test]
async fn r8_a_write_through_one_replica_is_read_through_every_other() {
    let replicas = Replicas::start(3, IMMUTABLE).await;
    for turn in 0..60_u64 {
        let (writer, key) = ((turn % 3) as usize, format!("k{}", turn % 5));
        let path = format!("/data/{key}");
        if turn < 5 {
            replicas.know(&key, &Object::random(3000, turn)).await;
        }
        let client = replicas.client(writer);
        let deletes = turn % 7 == 6;
        let answer = match (deletes, turn % 2) {
            (false, _) => client.put(&path).body(format!("version {turn}")).send().await,
            (true, 0) => client.request(Method::DELETE, &path).send().await,
            (true, _) => {
                let keys = format!("<Delete><Object><Key>{key}</Key></Object></Delete>");
                client.request(Method::POST, "/data?delete").body(keys).send().await
            }
        };
        assert!(answer.status.is_success(), "{answer:?}");
        for reader in 0..3 {
            let read = replicas.get(reader, &key).await;
            match deletes {
                true => assert_eq!(read.status, 404, "{turn} through {reader}"),
                false => assert_eq!(read.text(), format!("version {turn}"), "through {reader}"),
            }
        }
    }
    let applied = r#"hotset_peer_invalidations_total{result="applied"}"#;
    assert!(replicas.at(0).metric(applied).await >= 40.0);
    assert!(replicas.at(1).metric("hotset_peer_invalidation_seconds_count").await >= 20.0);
}

#[tokio::test]
async fn r8_while_a_write_is_under_way_others_ask_the_origin() {
    let replicas = Replicas::start(2, IMMUTABLE).await;
    let (old, new) = (Object::random(5000, 1), Object::random(5000, 2));
    replicas.know("k", &old).await;
    let gate = Gate::new();
    replicas.s3.fault(Matcher::put("k"), Times(1), Fault::HoldHeader(gate.clone()));
    let client = replicas.client(0);
    let body = new.all();
    let writing = tokio::spawn(async move { client.put("/data/k").body(body).send().await });
    gate.wait_reached().await;
    // The origin has the request, and its response has not arrived.
    let read = replicas.get(1, "k").await;
    assert!(read.body == new.all() || read.body == old.all());
    assert_ne!(read.header("cache-status"), HIT);
    gate.open();
    assert_eq!(within("the write", writing).await.unwrap().status, 200);
    assert!(replicas.get(1, "k").await.body == new.all());
}

#[tokio::test]
async fn r26_an_event_that_one_replica_receives_is_applied_and_proof_at_all() {
    let replicas = Replicas::start(3, EVENTS).await;
    let webhook = replicas.webhook(0);
    let mut took = Vec::new();
    for version in 0..100 {
        let object = Object::random(2000, version);
        replicas.s3.put("data", "k", object.clone());
        let event =
            record_of("data", "ObjectCreated:Put", "k", object.etag_value(), SystemTime::now());
        let sent = Instant::now();
        let answer = webhook.request(Method::POST, "/").body(event).send().await;
        took.push(sent.elapsed());
        assert_eq!(answer.status, 200, "{answer:?}");
        for reader in 0..3 {
            assert!(replicas.get(reader, "k").await.body == object.all(), "{version} at {reader}");
        }
    }
    // Older than the ttl by now, and trusted at each of them.
    for reader in 0..3 {
        let trusted =
            async { while replicas.get(reader, "k").await.header("cache-status") != HIT {} };
        within("a hit that events are trusted for", trusted).await;
    }
    took.sort_unstable();
    println!("an event until all have applied it: median {:?}, p99 {:?}", took[50], took[98]);
    // The rest is due to the load of this machine.
    assert!(took[50] < Duration::from_millis(50), "{took:?}");
}

#[tokio::test]
async fn r28_a_purge_at_one_replica_purges_all_and_names_those_that_it_does_not_reach() {
    let mut replicas = Replicas::start(3, ON_DISK).await;
    let object = Object::random(5000, 1);
    replicas.know("a/k", &object).await;
    let api = Api::with_token(replicas.at(0).admin, TOKEN);
    for purge in [
        r#"{"keys":["s3://data/a/k"]}"#,
        r#"{"prefix":"s3://data/a/"}"#,
        r#"{"glob":"s3://data/?/[k-m]"}"#,
        r#"{"bucket":"data"}"#,
        r#"{"everything":true,"erase":true}"#,
    ] {
        let (status, done) = api.post("/api/v1/purge", purge).await;
        assert_eq!(status, 200, "{done}");
        assert!(done.get("unreachable_replicas").is_none(), "{done}");
        replicas.s3.forget_requests();
        for reader in 0..3 {
            assert!(replicas.get(reader, "a/k").await.body == object.all());
        }
        let bytes = replicas.s3.bytes_sent();
        assert_eq!(bytes, 3 * 5000, "{purge}: {}", replicas.s3.describe());
    }
    replicas.take(2).kill();
    let named = async {
        loop {
            let (status, done) = api.post("/api/v1/purge", r#"{"bucket":"data"}"#).await;
            assert_eq!(status, 200, "{done}");
            if done["unreachable_replicas"][0] == replicas.address(2) {
                return;
            }
        }
    };
    within("the dead replica to be named", named).await;
    let admin = format!("http://{}", replicas.at(0).admin);
    let mut command = hotset(&["purge", "s3://data/*", "--admin", &admin]);
    command.env("HOTSET_ADMIN__TOKEN", TOKEN);
    let (code, out, err) = tokio::task::spawn_blocking(move || run(command)).await.unwrap();
    let begin =
        format!("purged s3://data/*; not at {}, which cannot be reached", replicas.address(2));
    assert!(code == 1 && out.starts_with(&begin), "{code}: {out}{err}");
}

#[tokio::test]
async fn r8_what_a_frozen_replica_knew_is_not_served_when_it_goes_on() {
    let replicas = Replicas::start(3, IMMUTABLE).await;
    for turn in 0..8_u64 {
        let key = format!("k{turn}");
        replicas.know(&key, &Object::random(3000, turn)).await;
        let frozen = (turn % 3) as usize;
        let (writer, client) = ((frozen + 1) % 3, replicas.client(frozen));
        replicas.at(frozen).freeze();
        // The write is answered although the frozen replica cannot confirm.
        let put = replicas.client(writer).put(&format!("/data/{key}")).body("new").send().await;
        assert_eq!(put.status, 200);
        // The read is sent before the replica is thawed, so it is the first to be served.
        let reading = tokio::spawn(async move { client.get(&format!("/data/{key}")).send().await });
        if turn % 2 == 1 {
            replicas.wait_for(writer, "gone", 1).await;
        }
        replicas.at(frozen).thaw();
        assert_eq!(within("an answer", reading).await.unwrap().text(), "new", "turn {turn}");
        replicas.all_live(2).await;
    }
}

/// Returns the number of a replica's invalidations that another one did not confirm in time.
async fn late(replica: &Process) -> String {
    replica.metric("hotset_peer_invalidations_total{result=\"late\"}").await.to_string()
}

#[tokio::test]
async fn a_replica_that_is_gone_costs_one_confirmation_and_writes_do_not_wait_for_it() {
    let mut replicas = Replicas::start(3, IMMUTABLE).await;
    let object = Object::random(5000, 1);
    replicas.know("k", &object).await;
    let warnings = |replicas: &Replicas| replicas.at(0).output().matches("is unreachable").count();
    let before = warnings(&replicas);
    replicas.take(2).kill();
    for index in 0..2 {
        replicas.wait_for(index, "gone", 1).await;
        assert_eq!(replicas.get(index, "k").await.header("cache-status"), REVALIDATED);
        for _ in 0..5 {
            assert_eq!(replicas.get(index, "k").await.header("cache-status"), HIT);
        }
    }
    let before_writes = late(replicas.at(0)).await;
    for turn in 0..20 {
        let put = replicas.client(0).put("/data/k").body(format!("version {turn}")).send().await;
        assert_eq!(put.status, 200);
        assert_eq!(replicas.get(1, "k").await.text(), format!("version {turn}"));
    }
    assert_eq!(late(replicas.at(0)).await, before_writes, "no write waited for it");
    assert_eq!(warnings(&replicas), before + 1, "{}", replicas.at(0).output());
    replicas.spawn(2).await;
    replicas.all_live(2).await;
    let back = format!("{} is reachable", replicas.address(2));
    assert!(replicas.at(0).output().matches(&back).count() >= 2, "{}", replicas.at(0).output());
}

#[tokio::test]
async fn r11_what_lay_on_the_disk_of_a_replica_that_was_away_is_confirmed() {
    let mut replicas = Replicas::start(2, ON_DISK).await;
    let (old, other) = (Object::random(5000, 1), Object::random(5000, 2));
    replicas.know("k", &old).await;
    replicas.know("other", &other).await;
    let mut away = replicas.take(1);
    away.terminate();
    assert_eq!(away.ended().await.code(), Some(0), "{}", away.output());
    assert_eq!(replicas.client(0).put("/data/k").body("new").send().await.status, 200);
    replicas.spawn(1).await;
    assert_eq!(replicas.get(1, "k").await.text(), "new");
    replicas.s3.forget_requests();
    assert!(replicas.get(1, "other").await.body == other.all());
    assert_eq!(replicas.s3.bytes_sent(), 0, "its blocks are good: {}", replicas.s3.describe());
}

#[tokio::test]
async fn a_replica_that_ends_by_itself_costs_the_others_nothing() {
    let mut replicas = Replicas::start(2, IMMUTABLE).await;
    replicas.know("k", &Object::random(5000, 1)).await;
    for _ in 0..2 {
        let mut ending = replicas.take(1);
        ending.terminate();
        assert_eq!(ending.ended().await.code(), Some(0), "{}", ending.output());
        assert_eq!(replicas.get(0, "k").await.header("cache-status"), HIT);
        replicas.spawn(1).await;
        replicas.all_live(1).await;
        assert_eq!(replicas.get(0, "k").await.header("cache-status"), HIT);
    }
}

#[tokio::test]
async fn r8_a_write_that_a_killed_replica_had_sent_is_of_unknown_outcome_to_all() {
    let mut replicas = Replicas::start(2, IMMUTABLE).await;
    replicas.know("k", &Object::random(5000, 1)).await;
    let gate = Gate::new();
    replicas.s3.fault(Matcher::put("k"), Times(1), Fault::HoldHeader(gate.clone()));
    let client = replicas.client(0);
    let writing = tokio::spawn(async move { client.put("/data/k").body("new").try_send().await });
    gate.wait_reached().await;
    replicas.take(0).kill();
    assert!(within("the write", writing).await.unwrap().is_err());
    replicas.wait_for(1, "gone", 1).await;
    for version in 0..3 {
        // It may take effect at the origin at any time.
        let object = Object::random(1000, 10 + version);
        replicas.s3.put("data", "k", object.clone());
        assert!(replicas.get(1, "k").await.body == object.all(), "{version}");
    }
    gate.open();
}

#[tokio::test]
async fn replicas_speak_behind_the_token_and_probes_need_none() {
    let replicas = Replicas::start(2, IMMUTABLE).await;
    let admin = replicas.at(0).admin();
    assert_eq!(admin.get("/healthz").send().await.status, 200);
    assert_eq!(admin.get("/readyz").send().await.status, 200);
    let post = |path: &str| {
        let request = admin.request(Method::POST, path).header("content-type", "application/json");
        request.body(r#"{"session":1,"port":1}"#)
    };
    assert_eq!(post("/cluster/v1/lease").send().await.status, 401);
    let wrong = post("/cluster/v1/push").header("authorization", "Bearer another-long-token");
    assert_eq!(wrong.send().await.status, 401);
    let right = format!("Bearer {TOKEN}");
    let unknown = post("/cluster/v1/none").header("authorization", &right).send().await;
    assert_eq!(unknown.status, 404, "{unknown:?}");
    let malformed = post("/cluster/v1/push").header("authorization", &right).send().await;
    assert_eq!(malformed.status, 400, "{malformed:?}");
}
