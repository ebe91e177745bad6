//! Hedged reads: a request that the origin answers late is sent a second time, within bounds.

use crate::support::{
    Api, Client, FakeS3, Fault, Gate, Matcher, Object, Seen, TestProxy, Times, within,
};

const LEN: u64 = 100_000;
/// Number of latency samples: more than a prediction needs.
const SAMPLES: u64 = 120;

/// Starts hotset and lets it sample the origin's latency. Timeouts are so long that only a hedged request helps a
/// waiting reader.
async fn start(hedging: bool) -> (FakeS3, TestProxy, Client) {
    let s3 = FakeS3::start().await;
    let proxy = TestProxy::start_with(&s3, |config| {
        let long_timeout = "120s".parse().unwrap();
        config.origin.first_byte_timeout = long_timeout;
        config.origin.idle_timeout = long_timeout;
        config.origin.hedging = hedging;
    })
    .await;
    let client = proxy.client();
    for number in 0..SAMPLES {
        let key = format!("usual-{number}");
        s3.put("data", &key, Object::random(LEN, number));
        assert_eq!(client.get(&format!("/data/{key}")).send().await.status, 200);
    }
    s3.forget_requests();
    (s3, proxy, client)
}

fn of(key: &'static str) -> impl Fn(&Seen) -> bool {
    move |request| request.key == key
}

/// Waits for longer than a late answer is waited for, by the time that other requests take.
async fn wait_while_others_are_answered(client: &Client) {
    for number in 0..SAMPLES {
        let path = format!("/data/usual-{number}?partNumber=1");
        assert_eq!(client.get(&path).send().await.status, 206);
    }
}

#[tokio::test]
async fn a_late_answer_is_asked_for_again() {
    let (s3, _proxy, client) = start(true).await;
    s3.put("data", "late", Object::random(LEN, 1000));
    let gate = Gate::new();
    s3.fault(Matcher::get("late"), Times(1), Fault::HoldHeader(gate.clone()));
    let answer = client.get("/data/late").send().await;
    assert!(answer.status == 200 && answer.body == s3.object_bytes("data", "late"));
    assert_eq!(s3.count(of("late")), 2);
    let seen = s3.requests();
    assert_ne!(seen[0].connection, seen[1].connection);
    gate.open();
}

#[tokio::test]
async fn r2_a_body_that_stalls_is_read_on_from_a_second_answer() {
    let (s3, _proxy, client) = start(true).await;
    for (number, stop) in [0, 1, 50_000, LEN - 1].into_iter().enumerate() {
        let key = format!("late-{number}");
        s3.put("data", &key, Object::random(LEN, 1000 + stop));
        s3.fault(Matcher::get(&key), Times(1), Fault::StallAfter(stop));
        let answer = client.get(&format!("/data/{key}")).send().await;
        assert!(answer.status == 200 && answer.body == s3.object_bytes("data", &key), "{stop}");
        let asked = s3.requests().into_iter().filter(|request| request.key == key);
        let asked: Vec<Seen> = asked.collect();
        assert_eq!(asked.len(), 2, "{stop}");
        assert!(!asked[1].header("if-match").is_empty());
    }
}

#[tokio::test]
async fn a_body_that_stalls_is_resumed_when_nothing_may_be_sent_twice() {
    let (s3, _proxy, client) = start(true).await;
    // They use up the budget of one bucket, or what is left of it.
    let gate = Gate::new();
    let held: Vec<_> = (0..8)
        .map(|number| {
            let key = format!("held-{number}");
            s3.put("data", &key, Object::random(LEN, 1));
            s3.fault(Matcher::get(&key), Times(2), Fault::HoldHeader(gate.clone()));
            tokio::spawn(client.get(&format!("/data/{key}")).send())
        })
        .collect();
    gate.wait_reached_by(8).await;
    s3.put("data", "stalls", Object::random(LEN, 2));
    s3.fault(Matcher::get("stalls"), Times(1), Fault::StallAfter(50_000));
    let answer = client.get("/data/stalls").send().await;
    assert!(answer.status == 200 && answer.body == s3.object_bytes("data", "stalls"));
    assert_eq!(s3.count(of("stalls")), 2);
    gate.open();
    for held in held {
        assert_eq!(held.await.unwrap().status, 200);
    }
}

#[tokio::test]
async fn r3_a_second_request_for_a_body_brings_no_other_version() {
    let (s3, _proxy, client) = start(true).await;
    s3.put("data", "late", Object::random(LEN, 1000));
    let old = s3.object_bytes("data", "late");
    let gate = Gate::new();
    s3.fault(Matcher::get("late"), Times(1), Fault::HoldBodyAfter(50_000, gate.clone()));
    let reader = client.get("/data/late").start(0).await;
    within("the body to stall", gate.wait_reached()).await;
    s3.put("data", "late", Object::random(LEN, 2000));
    s3.wait_for(|seen| seen.iter().any(|request| request.key == "late" && request.status == 412))
        .await;
    gate.open();
    let answer = reader.finish().await;
    assert!(answer.status == 200 && answer.body == old);
}

#[tokio::test]
async fn few_requests_are_sent_twice() {
    let (s3, _proxy, client) = start(true).await;
    let gate = Gate::new();
    let keys: Vec<String> = (0..12).map(|number| format!("late-{number}")).collect();
    for key in &keys {
        s3.put("data", key, Object::random(LEN, 3000));
        s3.fault(Matcher::get(key), Times(2), Fault::HoldHeader(gate.clone()));
    }
    let mut readers = Vec::new();
    for key in &keys {
        readers.push(client.get(&format!("/data/{key}")).start(0));
    }
    let release = async {
        // Two copies in a bucket, and one request of each reader.
        within("the requests and their copies", gate.wait_reached_by(keys.len() + 2)).await;
        gate.open();
    };
    let (started, ()) = tokio::join!(futures_util::future::join_all(readers), release);
    for reader in started {
        assert_eq!(reader.finish().await.status, 200);
    }
    let copies = s3.requests().len() - keys.len();
    assert!((2..=6).contains(&copies), "{copies}");
}

#[tokio::test]
async fn nothing_is_sent_twice_when_it_is_switched_off() {
    let (s3, _proxy, client) = start(false).await;
    s3.put("data", "late", Object::random(LEN, 1000));
    let gate = Gate::new();
    s3.fault(Matcher::get("late"), Times(1), Fault::HoldHeader(gate.clone()));
    let wait = async {
        within("the request", gate.wait_reached()).await;
        wait_while_others_are_answered(&client).await;
        gate.open();
    };
    let request = client.get("/data/late");
    let (answer, ()) = tokio::join!(request.send(), wait);
    assert_eq!(answer.status, 200);
    assert_eq!(s3.count(of("late")), 1);
}

#[tokio::test]
async fn a_body_that_falls_behind_is_read_on_from_the_second_answer_although_it_brought_a_little_more()
 {
    let (s3, _proxy, client) = start(true).await;
    s3.put("data", "late", Object::random(LEN, 1000));
    let (stop, again, answer) = (Gate::new(), Gate::new(), Gate::new());
    let stops = [(60_000, stop.clone()), (60_001, again.clone())];
    let holds = stops.map(|(at, gate)| Fault::HoldBodyAfter(at, gate)).into();
    s3.fault(Matcher::get("late"), Times(1), Fault::All(holds));
    s3.fault(Matcher::get("late"), Times(1), Fault::HoldHeader(answer.clone()));
    let reader = client.get("/data/late").start(0).await;
    within("the body to be asked for again", answer.wait_reached()).await;
    stop.open();
    within("the body to stop again", again.wait_reached()).await;
    answer.open();
    let read = reader.finish().await;
    assert!(read.status == 200 && read.body == s3.object_bytes("data", "late"));
    assert_eq!(s3.count(of("late")), 2);
    again.open();
}

#[tokio::test]
async fn nothing_is_sent_twice_once_a_second_request_was_refused_for_being_too_much() {
    let (s3, _proxy, client) = start(true).await;
    let gate = Gate::new();
    for key in ["first", "second"] {
        s3.put("data", key, Object::random(LEN, 1000));
        s3.fault(Matcher::get(key), Times(1), Fault::HoldHeader(gate.clone()));
        s3.fault(Matcher::get(key), Times(1), Fault::Status(503, "SlowDown"));
    }
    let first = client.get("/data/first").start(0).await;
    s3.wait_for(|seen| seen.iter().any(|seen| seen.key == "first" && seen.status == 503)).await;
    let second = client.get("/data/second").start(0).await;
    within("both requests", gate.wait_reached_by(2)).await;
    wait_while_others_are_answered(&client).await;
    assert_eq!(s3.count(of("second")), 1, "{}", s3.describe());
    gate.open();
    for reader in [first, second] {
        assert_eq!(reader.finish().await.status, 200);
    }
}

#[tokio::test]
async fn what_no_client_waits_for_is_not_sent_twice() {
    let (s3, proxy, client) = start(true).await;
    let gate = Gate::new();
    s3.put("data", "late", Object::random(LEN, 1000));
    s3.fault(Matcher::get("late"), Times(1), Fault::HoldHeader(gate.clone()));
    let api = Api::new(proxy.admin);
    let wait = async {
        within("the request", gate.wait_reached()).await;
        wait_while_others_are_answered(&client).await;
        assert_eq!(s3.count(of("late")), 1, "{}", s3.describe());
        gate.open();
    };
    let (job, ()) = tokio::join!(api.warm(r#"{"keys":["s3://data/late"]}"#), wait);
    assert_eq!(job["state"], "done", "{job}");
}

#[tokio::test]
async fn a_late_head_is_asked_for_again() {
    let (s3, proxy, client) = start(true).await;
    for number in 0..SAMPLES {
        let key = format!("head-{number}");
        s3.put("data", &key, Object::random(LEN, number));
        assert_eq!(client.head(&format!("/data/{key}")).send().await.status, 200);
    }
    let won = "hotset_origin_hedges_total{outcome=\"won\",phase=\"head\"}";
    let before = proxy.metric(won).await;
    s3.put("data", "late", Object::random(LEN, 1000));
    let gate = Gate::new();
    s3.fault(Matcher::head("late"), Times(1), Fault::HoldHeader(gate.clone()));
    let head = client.head("/data/late").send().await;
    assert_eq!((head.status.as_u16(), head.header("content-length")), (200, "100000"));
    assert_eq!(s3.count(of("late")), 2);
    assert!(proxy.metric(won).await > before);
    gate.open();
}

#[tokio::test]
async fn r2_an_answer_to_a_second_request_that_is_not_what_was_asked_for_is_not_used() {
    let (s3, _proxy, client) = start(true).await;
    s3.put("data", "late", Object::random(LEN, 1000));
    let gate = Gate::new();
    s3.fault(Matcher::get("late"), Times(1), Fault::HoldHeader(gate.clone()));
    s3.fault(Matcher::get("late"), Times(1), Fault::WrongContentRange);
    let reader = client.get("/data/late").start(0).await;
    s3.wait_for(|seen| seen.iter().any(|seen| seen.key == "late" && seen.done)).await;
    gate.open();
    let answer = reader.finish().await;
    assert!(answer.complete && answer.body == s3.object_bytes("data", "late"));
    assert_eq!(s3.count(of("late")), 2, "{}", s3.describe());
}
