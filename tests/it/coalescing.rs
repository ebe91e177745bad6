//! Coalescing: any number of readers of the same bytes cost the origin each byte once, and no reader can hurt
//! another.

use std::time::Duration;

use futures_util::future::join_all;

use crate::support::{
    Always, Client, FakeS3, Fault, Gate, Matcher, Object, TestProxy, Times, Upload, setup,
};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// Sends requests for these ranges, each on a connection of its own, without waiting for responses.
async fn ask(client: &Client, path: &str, ranges: &[&str]) -> Vec<Upload> {
    let requests = ranges.iter().map(|range| {
        let request = client.get(path);
        if range.is_empty() { request.start(0) } else { request.range(range).start(0) }
    });
    let asked = join_all(requests).await;
    caught_up(client).await;
    asked
}

/// Returns when the proxy has most likely read everything that was sent before: after some round trips that need no
/// origin.
async fn caught_up(client: &Client) {
    for _ in 0..4 {
        assert_eq!(client.get("/data/%zz").send().await.status, 400);
    }
}

/// Returns the bytes of `object` that a range names.
fn slice(object: &Object, range: &str) -> bytes::Bytes {
    let (first, last) = range.trim_start_matches("bytes=").split_once('-').unwrap_or_default();
    let size = object.len();
    match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), Ok(last)) => object.slice(first..size.min(last + 1)),
        (Ok(first), Err(_)) => object.slice(first..size),
        (Err(_), Ok(last)) => object.slice(size.saturating_sub(last)..size),
        (Err(_), Err(_)) => object.all(),
    }
}

async fn check(asked: Vec<Upload>, object: &Object, ranges: &[&str]) {
    let answers = join_all(asked.into_iter().map(Upload::finish)).await;
    for (answer, range) in answers.into_iter().zip(ranges) {
        assert_eq!(answer.status, if range.is_empty() { 200 } else { 206 });
        assert!(answer.complete && answer.body == slice(object, range), "{range}");
    }
}

#[tokio::test]
async fn concurrent_cold_readers_cost_each_byte_once() {
    let (s3, _proxy, client) = setup().await;
    let object = Object::random(12 * MIB, 1);
    s3.put("data", "key", object.clone());
    let gate = Gate::new();
    s3.fault(Matcher::get("key"), Times(1), Fault::HoldHeader(gate.clone()));
    let ranges = [""; 24];
    let asked = ask(&client, "/data/key", &ranges).await;
    gate.wait_reached().await;
    assert_eq!(s3.requests().len(), 1, "{}", s3.describe());
    gate.open();
    check(asked, &object, &ranges).await;
    s3.assert_each_byte_sent_once("data", "key");
    assert_eq!(s3.bytes_sent(), object.len());
}

#[tokio::test]
async fn concurrent_readers_of_a_known_object_cost_each_byte_once() {
    let (s3, _proxy, client) = setup().await;
    let object = Object::random(12 * MIB, 2);
    s3.put("data", "key", object.clone());
    assert_eq!(client.head("/data/key").send().await.status, 200);
    let ranges = ["", "bytes=0-", "bytes=-12582912", "", "bytes=5-12582911"];
    let asked = ask(&client, "/data/key", &ranges).await;
    check(asked, &object, &ranges).await;
    s3.assert_each_byte_sent_once("data", "key");
    assert_eq!(s3.bytes_sent(), object.len());
}

#[tokio::test]
async fn overlapping_cold_ranges_cost_each_byte_once() {
    let (s3, _proxy, client) = setup().await;
    let object = Object::random(6 * MIB, 3);
    s3.put("data", "key", object.clone());
    let gate = Gate::new();
    s3.fault(Matcher::get("key"), Times(1), Fault::HoldHeader(gate.clone()));
    let ranges = [
        "bytes=0-1048575",
        "bytes=524288-1572863",
        "bytes=100-5000",
        "bytes=-1048576",
        "bytes=-70000",
        "bytes=3145728-",
        "bytes=3000000-4000000",
        "",
    ];
    let asked = ask(&client, "/data/key", &ranges).await;
    gate.wait_reached().await;
    gate.open();
    check(asked, &object, &ranges).await;
    s3.assert_each_byte_sent_once("data", "key");
}

#[tokio::test]
async fn a_reader_of_the_whole_waits_for_an_opening_further_on() {
    let s3 = FakeS3::start().await;
    let proxy = TestProxy::start(&s3).await;
    let client = proxy.client();
    let object = Object::random(24 * MIB, 4);
    s3.put("data", "key", object.clone());
    let gate = Gate::new();
    let far = Matcher::get("key").starting_at(12 * MIB);
    s3.fault(far, Times(1), Fault::HoldHeader(gate.clone()));
    let ranges = ["bytes=12582912-13631487"];
    let ahead = ask(&client, "/data/key", &ranges).await;
    gate.wait_reached().await;
    let mut whole = client.open("/data/key").await;
    let first = whole.read(1 << 20).await;
    assert_eq!(first, object.slice(0..MIB));
    caught_up(&client).await;
    gate.open();
    check(ahead, &object, &ranges).await;
    assert!(whole.rest().await == object.slice(MIB..24 * MIB));
    s3.assert_each_byte_sent_once("data", "key");
}

#[tokio::test]
async fn reading_backwards_within_a_block_costs_each_byte_once() {
    let (s3, _proxy, client) = setup().await;
    let object = Object::random(MIB, 5);
    s3.put("data", "key", object.clone());
    for range in ["bytes=900000-900009", "bytes=500000-950000", "bytes=10-19", "bytes=0-"] {
        let answer = client.get("/data/key").range(range).send().await;
        assert!(answer.complete && answer.body == slice(&object, range), "{range}");
    }
    s3.assert_each_byte_sent_once("data", "key");
}

#[tokio::test]
async fn a_late_joiner_streams_what_has_arrived() {
    let (s3, _proxy, client) = setup().await;
    let object = Object::random(MIB, 6);
    s3.put("data", "key", object.clone());
    let gate = Gate::new();
    s3.fault(Matcher::get("key"), Times(1), Fault::HoldBodyAfter(300_000, gate.clone()));
    let mut leader = client.open("/data/key").await;
    assert_eq!(leader.read(300_000).await, object.slice(0..300_000));
    let mut joiner = client.open("/data/key").await;
    assert_eq!(joiner.read(300_000).await, object.slice(0..300_000));
    let mut further = client.get("/data/key").range("bytes=250000-").open().await;
    assert_eq!(further.read(50_000).await, object.slice(250_000..300_000));
    gate.open();
    assert!(leader.rest().await == object.slice(300_000..MIB));
    assert!(joiner.rest().await == object.slice(300_000..MIB));
    assert!(further.rest().await == object.slice(300_000..MIB));
    s3.assert_each_byte_sent_once("data", "key");
    assert_eq!(s3.requests().len(), 1, "{}", s3.describe());
}

#[tokio::test]
async fn a_slow_reader_neither_stalls_nor_cuts_the_others() {
    let (s3, proxy, client) = setup().await;
    let object = Object::random(40 * MIB, 7);
    s3.put("data", "key", object.clone());
    let slow = Client::with_receive_buffer(proxy.addr, 4096);
    let mut slow: Vec<_> = join_all((0..4).map(|_| slow.open("/data/key"))).await;
    for _ in 0..2 {
        let quick = client.get("/data/key").send().await;
        assert!(quick.complete && quick.body == object.all());
    }
    for reader in &mut slow {
        assert!(reader.rest().await == object.all());
        assert_eq!(reader.complete(), Some(true));
    }
}

#[tokio::test]
async fn a_leader_that_goes_away_does_not_cut_the_others() {
    let (s3, _proxy, client) = setup().await;
    let object = Object::random(4 * MIB, 8);
    s3.put("data", "key", object.clone());
    let gate = Gate::new();
    s3.fault(Matcher::get("key"), Times(1), Fault::HoldBodyAfter(100_000, gate.clone()));
    let mut leader = client.open("/data/key").await;
    assert_eq!(leader.read(100_000).await.len(), 100_000);
    let mut joiner = client.open("/data/key").await;
    assert_eq!(joiner.read(100_000).await, object.slice(0..100_000));
    leader.abandon();
    caught_up(&client).await;
    gate.open();
    assert!(joiner.rest().await == object.slice(100_000..4 * MIB));
    assert_eq!(joiner.complete(), Some(true));
    s3.assert_each_byte_sent_once("data", "key");
}

#[tokio::test]
async fn a_leader_that_goes_away_before_the_first_byte_does_not_cut_the_others() {
    let (s3, _proxy, client) = setup().await;
    let object = Object::random(4 * MIB, 9);
    s3.put("data", "key", object.clone());
    let gate = Gate::new();
    s3.fault(Matcher::get("key"), Times(1), Fault::HoldHeader(gate.clone()));
    let leader = client.get("/data/key").start(0).await;
    gate.wait_reached().await;
    let joiner = ask(&client, "/data/key", &[""]).await;
    leader.abandon();
    caught_up(&client).await;
    gate.open();
    check(joiner, &object, &[""]).await;
    s3.assert_each_byte_sent_once("data", "key");
    assert_eq!(s3.requests().len(), 1, "{}", s3.describe());
}

#[tokio::test]
async fn a_fetch_that_nobody_waits_for_is_given_up_unless_little_is_left() {
    let (s3, _proxy, client) = setup().await;
    let (large, small) = (Object::random(8 * MIB, 10), Object::random(512 * KIB, 11));
    s3.put("data", "large", large);
    s3.put("data", "small", small.clone());
    let (held, little) = (Gate::new(), Gate::new());
    s3.fault(Matcher::get("large"), Always, Fault::HoldBodyAfter(100_000, held.clone()));
    s3.fault(Matcher::get("small"), Times(1), Fault::HoldBodyAfter(100_000, little.clone()));
    for key in ["/data/small", "/data/large"] {
        let mut reader = client.open(key).await;
        assert_eq!(reader.read(100_000).await.len(), 100_000);
        reader.abandon();
    }
    s3.wait_for(|seen| seen.iter().filter(|r| r.key == "large").all(|r| r.done)).await;
    let sent: u64 =
        s3.requests().iter().filter(|r| r.key == "large").map(|r| r.body_bytes_sent).sum();
    assert!((1..=200_000).contains(&sent), "{sent}");
    assert!(!s3.requests()[0].done, "the small one was given up:\n{}", s3.describe());
    little.open();
    s3.wait_for(|seen| seen[0].complete).await;
    let answer = client.get("/data/small").send().await;
    assert!(answer.body == small.all());
    s3.assert_each_byte_sent_once("data", "small");
}

#[tokio::test]
async fn a_given_up_fetch_is_started_again_by_the_next_reader() {
    let (s3, _proxy, client) = setup().await;
    let object = Object::random(4 * MIB, 12);
    s3.put("data", "key", object.clone());
    let held = Gate::new();
    s3.fault(Matcher::get("key"), Times(1), Fault::HoldHeader(held.clone()));
    let reader = client.get("/data/key").start(0).await;
    held.wait_reached().await;
    reader.abandon();
    s3.wait_for(|seen| seen[0].done).await;
    let answer = client.get("/data/key").send().await;
    assert!(answer.complete && answer.body == object.all());
}

#[tokio::test]
async fn waiters_get_the_failure_at_once_and_the_next_reader_tries_afresh() {
    let s3 = FakeS3::start().await;
    let proxy = TestProxy::start_with(&s3, |config| config.origin.attempts = 1).await;
    let client = proxy.client();
    let object = Object::random(5000, 13);
    s3.put("data", "key", object.clone());
    let gate = Gate::new();
    let fault =
        Fault::All(vec![Fault::HoldRequest(gate.clone()), Fault::Status(500, "InternalError")]);
    s3.fault(Matcher::get("key"), Times(1), fault);
    let asked = ask(&client, "/data/key", &[""; 5]).await;
    gate.wait_reached().await;
    gate.open();
    for answer in join_all(asked.into_iter().map(Upload::finish)).await {
        assert_eq!(answer.status, 503);
    }
    assert_eq!(s3.requests().len(), 1, "{}", s3.describe());
    assert!(client.get("/data/key").send().await.body == object.all());
}

#[tokio::test]
async fn a_failure_in_the_middle_reaches_every_waiter_and_not_the_next_reader() {
    let s3 = FakeS3::start().await;
    let proxy = TestProxy::start_with(&s3, |config| {
        config.origin.attempts = 1;
        config.origin.idle_timeout.0 = Duration::from_millis(300);
    })
    .await;
    let client = proxy.client();
    let object = Object::random(MIB, 14);
    s3.put("data", "key", object.clone());
    let gate = Gate::new();
    let fault =
        Fault::All(vec![Fault::HoldBodyAfter(100_000, gate.clone()), Fault::CutAfter(150_000)]);
    s3.fault(Matcher::get("key"), Times(1), fault);
    let readers = join_all((0..3).map(|_| client.open("/data/key"))).await;
    gate.open();
    for reader in readers {
        let answer = reader.finish().await;
        assert!(!answer.complete);
        assert_eq!(answer.body, object.slice(0..answer.body.len() as u64));
    }
    let next = client.get("/data/key").send().await;
    assert!(next.complete && next.body == object.all());
}
