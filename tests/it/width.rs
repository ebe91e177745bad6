//! Fetch width: the number of ranges of one cold read that are requested from the origin at the same time.

use std::ops::Range;
use std::time::Duration;

use hotset::config::units::ByteSize;
use http::Method;

use crate::support::*;

const MIB: u64 = 1 << 20;
/// Ranges of one read in flight before the origin's speed is known.
const START: usize = 8;
/// Number of waits of a reader after which only the width limits it: with each wait for bytes it reads ahead twice as
/// far.
const WAITS: u64 = 6;

async fn started() -> (FakeS3, TestProxy, Client) {
    let s3 = FakeS3::start().await;
    let proxy = TestProxy::start_with(&s3, |config| {
        config.cache.fetch = ByteSize::mib(1);
        config.cache.in_flight = Some(ByteSize::mib(256));
        config.cache.read_ahead = ByteSize::mib(64);
    })
    .await;
    let client = proxy.client();
    (s3, proxy, client)
}

fn gets(s3: &FakeS3, key: &str) -> usize {
    s3.count(|request| request.method == Method::GET && request.key == key)
}

/// Reads a cold object from an origin that sends the first range byte by byte and nothing of the others. Goes on
/// until the reader has waited often enough to want the whole object. Returns the number of requests that wait when
/// the first range is complete.
async fn width_of_a_cold_read(s3: &FakeS3, client: &Client, key: &str, expected: usize) -> usize {
    let object = Object::random(32 * MIB, 3);
    s3.put("data", key, object.clone());
    let (steps, rest): (Vec<Gate>, _) = ((0..WAITS).map(|_| Gate::new()).collect(), Gate::new());
    let holds = (1..).zip(&steps).map(|(at, gate)| Fault::HoldBodyAfter(at, gate.clone()));
    s3.fault(Matcher::get(key).starting_at(0), Times(1), Fault::All(holds.collect()));
    s3.fault(Matcher::get(key), Always, Fault::HoldHeader(rest.clone()));
    let mut read = client.get(&format!("/data/{key}")).open().await;
    let mut wanted = 2;
    for gate in &steps {
        // Each wait for the next byte raises the number of its requests.
        let now = expected.min(wanted);
        s3.wait_for(|seen| seen.iter().filter(|seen| seen.key == key).count() >= now).await;
        gate.open();
        wanted *= 2;
    }
    let mut body = read.read(usize::try_from(MIB).unwrap()).await.to_vec();
    // One is complete, and another one takes its place.
    rest.wait_reached_by(expected).await;
    let waiting = rest.reached();
    assert_eq!(gets(s3, key), waiting + 1, "{}", s3.describe());
    rest.open();
    body.extend_from_slice(&read.rest().await);
    assert!(body == object.all());
    s3.assert_each_byte_sent_once("data", key);
    s3.wait_idle().await;
    waiting
}

#[tokio::test]
async fn a_cold_read_has_so_many_ranges_under_way() {
    let (s3, _proxy, client) = started().await;
    assert_eq!(width_of_a_cold_read(&s3, &client, "large", START).await, START);
}

#[tokio::test]
async fn an_origin_that_asks_for_less_is_asked_for_half_as_many() {
    let (s3, _proxy, client) = started().await;
    s3.put("data", "small", Object::random(1000, 1));
    s3.fault(Matcher::get("small"), Times(1), Fault::Status(503, "SlowDown"));
    let small = client.get("/data/small").send().await;
    assert!(small.status == 200 && small.complete);
    assert_eq!(width_of_a_cold_read(&s3, &client, "large", START / 2).await, START / 2);
}

#[tokio::test]
async fn ranges_of_an_object_that_is_stored_in_parts_lie_in_one_part_each() {
    let (s3, _proxy, client) = setup().await;
    let object = Object::random(43 * MIB, 1).etag("\"9b2cf535f27731c974343645a3985328-9\"");
    s3.put("data", "parts", object.clone());
    let answer = client.get("/data/parts").send().await;
    assert!(answer.complete && answer.body == object.all());
    s3.assert_each_byte_sent_once("data", "parts");
    let ranges = s3.requests().into_iter().filter_map(|seen| seen.range);
    // The part size was not known yet when the first range was requested.
    let inner: Vec<_> = ranges.filter(|range| range.start > 0).collect();
    assert!(inner.len() >= 8, "{inner:?}");
    let is_in_one = |range: &Range<u64>| range.start / (5 * MIB) == (range.end - 1) / (5 * MIB);
    assert!(inner.iter().all(is_in_one), "{inner:?}");
}

#[tokio::test]
async fn few_connections_are_shared_with_other_reads() {
    let s3 = FakeS3::start().await;
    let proxy = TestProxy::start_with(&s3, |config| {
        config.origin.connections = 8;
        config.cache.fetch = ByteSize::mib(1);
    })
    .await;
    let client = proxy.client();
    assert_eq!(width_of_a_cold_read(&s3, &client, "large", 4).await, 4);
}

/// Time to a response head of a paced origin: far above what a busy machine adds.
const ANSWER: Duration = Duration::from_millis(60);

async fn read(s3: &FakeS3, client: &Client, key: &str, size: u64) -> Vec<Range<u64>> {
    let object = Object::random(size, 9);
    s3.put("data", key, object.clone());
    let answer = client.get(&format!("/data/{key}")).send().await;
    assert!(answer.complete && answer.body == object.all(), "{key}");
    s3.assert_each_byte_sent_once("data", key);
    let seen = s3.requests().into_iter().filter(|seen| seen.key == key);
    seen.filter_map(|seen| seen.range).collect()
}

fn longest(ranges: &[Range<u64>]) -> u64 {
    ranges.iter().map(|range| range.end - range.start).max().expect("a range was requested")
}

#[tokio::test]
async fn ranges_become_as_short_as_an_answer_is_worth_and_long_again_at_a_near_origin() {
    let (s3, _proxy, client) = setup().await;
    // An answer is worth 1.2 MB.
    let pace = Pace::new(ANSWER, 20_000_000);
    s3.fault(Matcher::get("far"), Times(1), Fault::Paced(pace.clone()));
    let unknown = read(&s3, &client, "far", 8 * MIB).await;
    assert_eq!((unknown.len(), longest(&unknown)), (1, 8 * MIB), "nothing was known yet");
    s3.fault(Matcher::get("far-too"), Always, Fault::Paced(pace));
    let known = read(&s3, &client, "far-too", 8 * MIB).await;
    // On a busy machine an answer is worth more.
    assert!(longest(&known[..1]) <= 4 * MIB && longest(&known[1..]) <= 2 * MIB, "{known:?}");
    for number in 0..40 {
        // Each moves the averages by a tenth.
        let near = read(&s3, &client, &format!("near-{number}"), 4 * MIB).await;
        if longest(&near) == 4 * MIB {
            return;
        }
    }
    panic!("ranges stay short: {}", s3.describe());
}

#[tokio::test]
async fn connections_that_are_limited_by_themselves_make_reads_wide() {
    let (s3, _proxy, client) = started().await;
    let pace = Pace::new(ANSWER / 6, 2_500_000);
    s3.fault(Matcher::get("large"), Always, Fault::Paced(pace.clone()));
    read(&s3, &client, "large", 48 * MIB).await;
    // At a constant width some are nearly done when others begin.
    let most = pace.take_most();
    assert!(most > 2 * START + START / 2, "{most}");
}

#[tokio::test]
async fn connections_that_share_a_limit_make_reads_narrow() {
    let (s3, _proxy, client) = started().await;
    let object = Object::random(384 * MIB, 9);
    s3.put("data", "large", object.clone());
    let pace = Pace::new(ANSWER / 6, 1 << 40).sharing(60_000_000);
    s3.fault(Matcher::get("large"), Always, Fault::Paced(pace.clone()));
    let mut read = client.get("/data/large").open().await;
    let mut widths = Vec::new();
    for _ in 0..24 {
        read.read(usize::try_from(16 * MIB).unwrap()).await;
        widths.push(pace.take_most());
        if widths.last().is_some_and(|width| *width < START) {
            return;
        }
    }
    panic!("it stays wide: {widths:?}");
}
