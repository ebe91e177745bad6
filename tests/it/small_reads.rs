//! Small reads of large objects cost the origin little more than their bytes, and sequential readers lose nothing.

use futures_util::future::join_all;
use http::Method;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::support::{Client, FakeS3, Fault, Gate, Matcher, Object, TestProxy, Times, setup};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const UNIT: u64 = 64 * KIB;
const READ: u64 = 8 * KIB;
const LARGE: u64 = 100_000_000;

/// Reads `length` bytes at `start` and checks them.
async fn read(client: &Client, key: &str, object: &Object, start: u64, length: u64) {
    let range = format!("bytes={start}-{}", start + length - 1);
    let answer = client.get(&format!("/data/{key}")).range(&range).send().await;
    assert!(answer.status == 206 && answer.complete, "{key} {range}: {}", answer.status);
    assert!(answer.body == object.slice(start..start + length), "{key} {range}");
}

/// Returns the bytes that the origin sent since the last call, once it has sent all of them.
async fn sent(s3: &FakeS3) -> u64 {
    s3.wait_idle().await;
    let sent = s3.bytes_sent();
    s3.forget_requests();
    sent
}

fn put_large(s3: &FakeS3, objects: u64) -> Vec<Object> {
    let put = |n| {
        let object = Object::random(LARGE, n);
        s3.put("data", &format!("large{n}"), object.clone());
        object
    };
    (0..objects).map(put).collect()
}

/// Does 500 reads of 8 KiB at random offsets of `objects` objects; returns their bytes, and the bytes that the origin
/// sent.
async fn random_reads(objects: u64) -> (u64, u64) {
    const READS: u64 = 500;
    let (s3, _proxy, client) = setup().await;
    let all = put_large(&s3, objects);
    let mut random = StdRng::seed_from_u64(7);
    for _ in 0..READS {
        let n = random.gen_range(0..all.len());
        let start = random.gen_range(0..LARGE - READ);
        read(&client, &format!("large{n}"), &all[n], start, READ).await;
    }
    for n in 0..objects {
        s3.assert_each_byte_sent_once("data", &format!("large{n}"));
    }
    (READS * READ, sent(&s3).await)
}

#[tokio::test]
async fn random_reads_of_large_objects_cost_at_most_16_times_their_bytes() {
    for objects in [1, 4, 50] {
        let (asked, sent) = random_reads(objects).await;
        println!("{objects} objects: {} % of the bytes asked", sent * 100 / asked);
        assert!(sent <= 16 * asked, "{objects} objects: {sent} bytes for {asked}");
    }
}

#[tokio::test]
async fn one_byte_costs_one_unit_wherever_it_lies() {
    let (s3, _proxy, client) = setup().await;
    let object = put_large(&s3, 1).remove(0);
    for start in [0, 20 * MIB, 40 * MIB + 5, 61 * MIB - 1] {
        read(&client, "large0", &object, start, 1).await;
        assert_eq!(sent(&s3).await, UNIT, "{start}");
        // The whole unit is cached now.
        read(&client, "large0", &object, start - start % UNIT, UNIT).await;
        assert_eq!(sent(&s3).await, 0, "{start}");
    }
    // Two units, one request.
    read(&client, "large0", &object, 80 * MIB - 1, 2).await;
    assert_eq!(s3.requests().len(), 1, "{}", s3.describe());
    assert_eq!(sent(&s3).await, 2 * UNIT);
}

#[tokio::test]
async fn a_second_read_nearby_widens_the_fetch_and_one_far_away_does_not() {
    let (s3, _proxy, client) = setup().await;
    let object = put_large(&s3, 1).remove(0);
    let mut fetched = Vec::new();
    for start in [30 * MIB, 60 * MIB, 30 * MIB + 2 * UNIT, 90 * MIB, 30 * MIB + 8 * UNIT] {
        read(&client, "large0", &object, start, READ).await;
        fetched.push(sent(&s3).await / UNIT);
    }
    assert_eq!(fetched, [1, 1, 2, 1, 4]);
    // The gaps between them are fetched when they are read, and nothing twice.
    s3.forget_requests();
    read(&client, "large0", &object, 30 * MIB, MIB).await;
    assert_eq!(sent(&s3).await, MIB - 7 * UNIT);
}

#[tokio::test]
async fn who_reads_on_in_small_pieces_has_whole_blocks_fetched_soon() {
    let (s3, _proxy, client) = setup().await;
    let object = put_large(&s3, 1).remove(0);
    let from = 16 * MIB;
    for at in (from..from + 4 * MIB).step_by(8192) {
        read(&client, "large0", &object, at, READ).await;
    }
    s3.assert_each_byte_sent_once("data", "large0");
    // 64 KiB and the rest of the first block; then one block each.
    assert_eq!(s3.requests().len(), 2 + 3, "{}", s3.describe());
    assert_eq!(sent(&s3).await, 4 * MIB);
}

#[tokio::test]
async fn long_reads_and_small_objects_cost_no_more_requests_than_they_have_blocks() {
    let (s3, _proxy, client) = setup().await;
    let object = put_large(&s3, 1).remove(0);
    // Aligned or not, in pieces of a block: one request each.
    for offset in [0, 50 * MIB + 70_000] {
        for n in 0..16 {
            read(&client, "large0", &object, offset + n * MIB, MIB).await;
        }
        assert_eq!(s3.requests().len(), 16, "{}", s3.describe());
        s3.forget_requests();
    }
    // A long one: to the end of its last block, in one request.
    read(&client, "large0", &object, 90 * MIB + 5, 3 * MIB).await;
    assert_eq!((s3.requests().len(), sent(&s3).await), (1, 4 * MIB));
    // An object of one block: whole in one request; read in pieces, in one request more.
    let small = Object::random(700_000, 9);
    s3.put("data", "small", small.clone());
    let answer = client.get("/data/small").send().await;
    assert!(answer.complete && answer.body == small.all());
    assert_eq!(s3.requests().len(), 1, "{}", s3.describe());
    s3.forget_requests();
    s3.put("data", "pieces", small.clone());
    for at in (0..700_000 - READ).step_by(8192) {
        read(&client, "pieces", &small, at, READ).await;
    }
    assert_eq!((s3.requests().len(), sent(&s3).await), (2, 700_000));
}

#[tokio::test]
async fn footer_and_column_chunks_cost_their_units() {
    let (s3, _proxy, client) = setup().await;
    let object = put_large(&s3, 1).remove(0);
    let answer = client.get("/data/large0").range("bytes=-8").send().await;
    assert!(answer.complete && answer.body == object.slice(LARGE - 8..LARGE));
    read(&client, "large0", &object, LARGE - 40_000, 39_992).await;
    assert_eq!((s3.requests().len(), sent(&s3).await), (1, UNIT));
    let chunk = 400_000;
    for n in 1..=5 {
        read(&client, "large0", &object, n * 15 * MIB + 12_345, chunk).await;
    }
    assert_eq!(s3.requests().len(), 5, "{}", s3.describe());
    let asked = 5 * chunk;
    let sent = sent(&s3).await;
    assert!(sent * 10 <= asked * 13, "{sent} bytes for {asked}");
}

/// Runs 64 clients that read at once, each from its own start: the first responses are held until all have asked.
async fn crowd(known: bool, starts: impl Fn(u64) -> u64) -> (FakeS3, TestProxy) {
    let (s3, proxy, client) = setup().await;
    let object = put_large(&s3, 1).remove(0);
    if known {
        assert_eq!(client.head("/data/large0").send().await.status, 200);
    }
    let gate = Gate::new();
    s3.fault(Matcher::get("large0"), Times(1), Fault::HoldHeader(gate.clone()));
    let reads = (0..64).map(|n| {
        let (proxy, object, start) = (&proxy, &object, starts(n));
        async move { read(&proxy.client(), "large0", object, start, READ).await }
    });
    let first_is_there = async {
        gate.wait_reached().await;
        gate.open();
    };
    tokio::join!(join_all(reads), first_is_there);
    s3.assert_each_byte_sent_once("data", "large0");
    (s3, proxy)
}

#[tokio::test]
async fn clients_at_one_unit_cost_it_once() {
    for known in [false, true] {
        let (s3, _proxy) = crowd(known, |n| 10 * MIB + n * 100).await;
        let gets = s3.count(|seen| seen.method == Method::GET);
        assert_eq!((gets, sent(&s3).await), (1, UNIT), "known: {known}");
    }
}

#[tokio::test]
async fn clients_at_neighbouring_units_cost_each_byte_once() {
    for known in [false, true] {
        // The reads overlap: each ends in the next one's unit.
        let (s3, _proxy) = crowd(known, |n| 10 * MIB + (n + 1) * UNIT - 1).await;
        let sent = sent(&s3).await;
        assert!((65 * UNIT..=80 * UNIT).contains(&sent), "known: {known}: {sent}");
    }
}

#[tokio::test]
async fn r5_an_invalidation_during_a_fill_of_one_unit_ends_what_is_held_of_the_others() {
    let (s3, _proxy, client) = setup().await;
    let (old, new) = (Object::random(4 * MIB, 1), Object::random(4 * MIB, 2));
    s3.put("data", "key", old.clone());
    read(&client, "key", &old, 0, READ).await;
    let gate = Gate::new();
    let second = Matcher::get("key").starting_at(2 * MIB);
    s3.fault(second, Times(1), Fault::HoldBodyAfter(100, gate.clone()));
    let fill = read(&client, "key", &old, 2 * MIB, READ);
    let write = async {
        gate.wait_reached().await;
        let body = new.all();
        let answer = client.put("/data/key").body(body).send().await;
        assert_eq!(answer.status, 200);
        for start in [0, 2 * MIB, 2 * MIB + UNIT] {
            read(&client, "key", &new, start, READ).await;
        }
        gate.open();
    };
    tokio::join!(fill, write);
    for start in [0, 2 * MIB, 2 * MIB + UNIT, 3 * MIB] {
        read(&client, "key", &new, start, READ).await;
    }
}
