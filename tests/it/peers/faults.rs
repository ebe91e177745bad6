//! Failures between replicas: network partitions, frozen, slow or unauthorized replicas, malicious messages.

use std::time::Duration;

use http::Method;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::relay::Passes;
use super::replicas::{Replicas, TOKEN};
use super::{HIT, IMMUTABLE, REVALIDATED};
use crate::support::{Api, Fault, Gate, Matcher, Object, Times, within};

const BYPASS: &str = "hotset; fwd=bypass";

/// Reads until the response comes from memory alone.
async fn until_hit(replicas: &Replicas, index: usize, key: &str) {
    let known = async { while replicas.get(index, key).await.header("cache-status") != HIT {} };
    within("a hit", known).await;
}

/// Waits until both replicas consider each other gone, and go by their rules.
async fn cut_off(replicas: &Replicas) {
    for index in 0..2 {
        replicas.relays[index].set(Passes::Nothing);
    }
    for index in 0..2 {
        replicas.wait_for(index, "gone", 1).await;
    }
}

#[tokio::test]
async fn r8_a_replica_that_took_the_writer_for_gone_is_waited_for_when_it_can_be_reached() {
    let replicas = Replicas::start_behind_relays(2, IMMUTABLE).await;
    replicas.know("k", &Object::random(3000, 1)).await;
    cut_off(&replicas).await;
    until_hit(&replicas, 1, "k").await;
    // The first replica reaches the second with leases alone, and is not reached by it.
    replicas.relays[1].set(Passes::Questions);
    replicas.wait_for(0, "gone", 0).await;
    let put = replicas.client(0).put("/data/k").body("new").send();
    assert_eq!(within("the write", put).await.status, 200);
    assert_eq!(replicas.get(1, "k").await.text(), "new", "who asks is alive");
}

#[tokio::test]
async fn r8_a_write_does_not_wait_for_long_for_a_replica_that_takes_no_messages() {
    let replicas = Replicas::start_behind_relays(2, IMMUTABLE).await;
    replicas.know("k", &Object::random(3000, 1)).await;
    replicas.relays[1].set(Passes::Questions);
    let put = replicas.client(0).put("/data/k").body("new").send();
    assert_eq!(within("the write", put).await.status, 200);
    assert_eq!(replicas.get(1, "k").await.text(), "new", "it has no lease");
    assert!(replicas.at(0).metric(r#"hotset_peer_invalidations_total{result="late"}"#).await > 0.0);
}

#[tokio::test]
async fn r11_a_replica_that_stood_still_while_another_began_serves_nothing_old() {
    let mut replicas = Replicas::start(2, IMMUTABLE).await;
    replicas.know("k", &Object::random(3000, 1)).await;
    replicas.take(0).kill();
    replicas.wait_for(1, "gone", 1).await;
    until_hit(&replicas, 1, "k").await;
    // Nobody waits for the frozen replica, and its cached objects are served by the rules.
    replicas.at(1).freeze();
    replicas.spawn(0).await;
    replicas.wait_for(0, "gone", 1).await;
    let put = replicas.client(0).put("/data/k").body("new").send().await;
    assert_eq!(put.status, 200);
    let client = replicas.client(1);
    let reads: Vec<_> = (0..8).map(|_| tokio::spawn(client.get("/data/k").send())).collect();
    replicas.at(1).thaw();
    for read in reads {
        assert_eq!(within("an answer", read).await.unwrap().text(), "new");
    }
}

#[tokio::test]
async fn r27_a_list_through_another_replica_has_what_was_written() {
    let more = "rules: [{ match: '**', freshness: immutable, lists: 1m }]";
    let replicas = Replicas::start_behind_relays(2, more).await;
    let path = "/data?list-type=2&prefix=logs%2F";
    replicas.s3.put("data", "logs/1", Object::bytes("x"));
    let list = || replicas.client(1).get(path).send();
    let known = async { while list().await.header("cache-status") != HIT {} };
    within("the list to be known", known).await;
    // Its response is held until others have heard of the write, and they do not hear that it has ended.
    let gate = Gate::new();
    replicas.s3.fault(Matcher::put("logs/2"), Times(1), Fault::HoldHeader(gate.clone()));
    let put = tokio::spawn(replicas.client(0).put("/data/logs/2").body("x").send());
    gate.wait_reached().await;
    let before = list().await;
    assert_eq!(before.header("cache-status"), BYPASS);
    assert_eq!(list().await.header("cache-status"), BYPASS, "none is kept meanwhile");
    replicas.relays[1].set(Passes::Questions);
    gate.open();
    assert_eq!(within("the write", put).await.unwrap().status, 200);
    let after = list().await;
    assert!(after.text().contains("logs/2"), "{after:?}");
    replicas.relays[1].set(Passes::All);
    within("lists to be kept again", async { while list().await.header("cache-status") != HIT {} })
        .await;
}

#[tokio::test]
async fn r11_of_more_than_a_queue_holds_a_replica_confirms_each_object_once() {
    let replicas = Replicas::start_behind_relays(2, IMMUTABLE).await;
    let (old, new) = (Object::random(3000, 1), Object::random(3000, 2));
    replicas.know("k", &old).await;
    replicas.know("other", &old).await;
    cut_off(&replicas).await;
    until_hit(&replicas, 1, "k").await;
    until_hit(&replicas, 1, "other").await;
    let api = Api::with_token(replicas.at(0).admin, TOKEN);
    replicas.s3.put("data", "k", new.clone());
    let (status, done) = api.post("/api/v1/purge", r#"{"keys":["s3://data/k"]}"#).await;
    assert_eq!(status, 200, "{done}");
    assert_eq!(done["unreachable_replicas"][0], replicas.address(1), "{done}");
    // Messages of up to 32 MiB are queued.
    let keys: Vec<_> = (0..900).map(|n| format!("\"s3://data/{n:0>1000}\"")).collect();
    let many = format!("{{\"keys\":[{}]}}", keys.join(","));
    let mut given_up = 0;
    while !replicas.at(0).output().contains("its messages are dropped") {
        let (status, done) = api.post("/api/v1/purge", &many).await;
        assert_eq!(status, 200, "{done}");
        given_up += 1;
        assert!(given_up < 60, "it never is");
    }
    for relay in &replicas.relays {
        relay.set(Passes::All);
    }
    replicas.all_live(1).await;
    assert!(replicas.get(1, "k").await.body == new.all());
    assert_eq!(replicas.get(1, "other").await.header("cache-status"), REVALIDATED);
    assert_eq!(replicas.get(1, "other").await.header("cache-status"), HIT, "once");
}

#[tokio::test]
async fn r11_replicas_of_other_tokens_ask_the_origin_before_each_read_and_say_why() {
    let mut replicas = Replicas::new(2, IMMUTABLE).await;
    replicas.tokens = vec![TOKEN, "another-token-for-peers"];
    for index in 0..2 {
        replicas.spawn(index).await;
    }
    let said = format!("{} takes no part: it answers 401", replicas.address(1));
    let says = async {
        while !replicas.at(0).output().contains(&said) {
            tokio::task::yield_now().await;
        }
    };
    within("a line in the log", says).await;
    replicas.s3.put("data", "k", Object::random(3000, 1));
    for version in 0..5 {
        let text = format!("version {version}");
        let put = replicas.client(version % 2).put("/data/k").body(text.clone()).send();
        assert_eq!(within("a write", put).await.status, 200);
        for index in 0..2 {
            for _ in 0..2 {
                let read = replicas.get(index, "k").await;
                assert_eq!(read.text(), text);
                assert_ne!(read.header("cache-status"), HIT);
            }
        }
    }
}

#[tokio::test]
async fn r11_as_long_as_a_name_of_replicas_is_not_found_every_read_asks_the_origin() {
    let mut replicas = Replicas::new(1, IMMUTABLE).await;
    replicas.peers = Some("nobody.invalid:9001".to_owned());
    replicas.spawn(0).await;
    replicas.s3.put("data", "k", Object::random(3000, 1));
    replicas.get(0, "k").await;
    for _ in 0..3 {
        assert_eq!(replicas.get(0, "k").await.header("cache-status"), REVALIDATED);
    }
    replicas.take(0).kill();
    // A replica that finds its own name has found all that began before it.
    replicas.peers = Some("localhost:PORT".replace("PORT", port(replicas.address(0))));
    replicas.spawn(0).await;
    until_hit(&replicas, 0, "k").await;
}

fn port(address: &str) -> &str {
    address.rsplit_once(':').expect("a port").1
}

/// Sends every connection `head`, then `repeated` again and again, and discards what it receives.
async fn answers(listener: TcpListener, head: &'static [u8], repeated: &'static [u8]) {
    loop {
        let Ok((mut stream, _)) = listener.accept().await else { return };
        tokio::spawn(async move {
            let (mut read, mut write) = stream.split();
            let drain = async {
                let mut buffer = [0; 4096];
                while matches!(read.read(&mut buffer).await, Ok(1..)) {}
            };
            let answer = async {
                write.write_all(head).await?;
                while !repeated.is_empty() {
                    write.write_all(repeated).await?;
                }
                std::future::pending::<std::io::Result<()>>().await
            };
            tokio::select! { () = drain => {} _ = answer => {} }
        });
    }
}

#[tokio::test]
async fn what_a_hostile_replica_answers_costs_a_write_two_seconds_at_most_and_no_memory() {
    let mut fakes = Vec::new();
    for (head, repeated) in [
        (&b""[..], &b""[..]),
        (b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n", &[b'['; 4096]),
        (b"", &[b'x'; 4096]),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", b""),
        (b"HTTP/1.1 200 OK\r\nx: ", &[b'y'; 4096]),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        fakes.push(listener.local_addr().unwrap().to_string());
        tokio::spawn(answers(listener, head, repeated));
    }
    let mut replicas = Replicas::new(1, IMMUTABLE).await;
    replicas.peers = Some(format!("{fakes:?}"));
    replicas.spawn(0).await;
    let put = replicas.client(0).put("/data/k").body("new").send();
    assert_eq!(within("a write", put).await.status, 200);
    replicas.wait_for(0, "gone", 5).await;
    until_hit(&replicas, 0, "k").await;
    let memory = replicas.at(0).memory("VmHWM");
    assert!(memory < 300 << 20, "{memory}");
}

#[tokio::test]
async fn what_is_sent_with_the_token_is_bounded_and_breaks_nothing() {
    let replicas = Replicas::start(2, IMMUTABLE).await;
    replicas.know("k", &Object::random(3000, 1)).await;
    let right = format!("Bearer {TOKEN}");
    let push = |body: String| {
        let request = replicas.at(0).admin().request(Method::POST, "/cluster/v1/push");
        let request = request.header("content-type", "application/json");
        request.header("authorization", &right).body(body).try_send()
    };
    let huge = push("[".repeat((16 << 20) + 1)).await;
    assert!(huge.is_err() || huge.is_ok_and(|answer| answer.status.is_client_error()));
    let of = |messages: &str| {
        format!(r#"{{"session":7,"stream":1,"base":1,"first":1,"messages":[{messages}]}}"#)
    };
    for (body, status) in [
        ("[".repeat(100_000), 400),
        (of(r#"{"begin":{"write":1}}"#), 400),
        (of(r#""unknown""#), 400),
        (r#"{"session":-1}"#.to_owned(), 400),
        // Invalid names, numbers at the end of their range: the replica cannot know what was meant, and revalidates.
        (of(r#"{"begin":{"write":1,"objects":[["no/bucket","k"]],"buckets":[]}}"#), 200),
        (of(r#"{"purge":{"scopes":[{"object":["no/bucket","k"]}]}}"#), 200),
        (of(r#"{"event":{"source":"nobody","body":"{"}}"#), 200),
        (of("\"missed\"").replace("\"first\":1", "\"first\":18446744073709551615"), 200),
    ] {
        let shown = body[..body.len().min(100)].to_owned();
        assert_eq!(push(body).await.unwrap().status, status, "{shown}");
    }
    let read = replicas.get(0, "k").await;
    assert_eq!(read.header("cache-status"), REVALIDATED, "it may have missed something");
    replicas.all_live(1).await;
    until_hit(&replicas, 0, "k").await;
}

#[tokio::test]
async fn replicas_ask_each_other_ten_times_a_second_and_themselves_hardly_ever() {
    let replicas = Replicas::start_behind_relays(2, IMMUTABLE).await;
    let (begun, before) = (Instant::now(), replicas.relays[0].answers());
    while begun.elapsed() < Duration::from_secs(2) {
        assert_eq!(replicas.at(0).admin().get("/healthz").send().await.status, 200);
    }
    let answers = replicas.relays[0].answers() - before;
    let most = 20 * (begun.elapsed().as_secs() + 1);
    assert!(answers > 0 && answers < most, "{answers} answers in {:?}", begun.elapsed());
}
