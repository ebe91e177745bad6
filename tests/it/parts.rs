//! Reads by part number (R18): the range of a part is learned once for each version, and its bytes are the object's.

use std::time::Duration;

use hotset::config::units::ByteSize;
use http::Method;

use crate::support::*;

const HIT: &str = "hotset; hit";
const SUM: &str = "x-amz-checksum-crc32";

const BLOCK: u64 = 64 * 1024;
/// End offsets of the parts 1, 2 and 5, in bytes.
const ENDS: [u64; 3] = [4 * BLOCK, 10 * BLOCK, 10 * BLOCK + 1];

fn object(seed: u64) -> Object {
    Object::random(ENDS[2], seed)
        .parts(&[4 * BLOCK, 6 * BLOCK, 1])
        .part_numbers(&[1, 2, 5])
        .checksum(SUM, "d2hvbGU=-3")
        .checksum("x-amz-checksum-type", "COMPOSITE")
        .part_checksum(1, SUM, "cGFydDE=")
        .part_checksum(1, "x-amz-checksum-type", "COMPOSITE")
        .part_checksum(2, SUM, "cGFydDI=")
}

async fn with_object() -> (FakeS3, TestProxy, Client, Object) {
    let s3 = FakeS3::start().await;
    let proxy = TestProxy::start_with(&s3, |config| config.cache.block = ByteSize::kib(64)).await;
    let client = proxy.client();
    s3.put("data", "k", object(1));
    (s3, proxy, client, object(1))
}

fn in_checksum_mode(request: Request) -> Request {
    request.header("x-amz-checksum-mode", "ENABLED")
}

#[tokio::test]
async fn r17_a_cold_read_of_a_part_costs_a_head_beside_it_and_the_next_one_nothing() {
    let (s3, _proxy, client, object) = with_object().await;
    for status in ["hotset; fwd=uri-miss; detail=new", HIT] {
        let part = client.get("/data/k?partNumber=2").send().await;
        assert!(part.complete && part.body == object.slice(ENDS[0]..ENDS[1]));
        assert_eq!(part.header("cache-status"), status);
        assert_eq!(part.header("content-range"), "bytes 262144-655359/655361");
        assert_eq!(part.header("etag"), object.etag_value().unwrap());
        assert_eq!(part.header("x-amz-mp-parts-count"), "3");
    }
    assert_eq!(s3.requests().len(), 2, "{}", s3.describe());
    let range = client.get("/data/k").range("bytes=262144-300000").send().await;
    assert!(range.body == object.slice(ENDS[0]..300_001));
    assert_eq!(range.header("cache-status"), HIT, "its bytes are the object's");
    assert_eq!(range.header("x-amz-mp-parts-count"), "");
    let head = client.head("/data/k").send().await;
    assert_eq!((head.status.as_u16(), head.header("content-length")), (200, "655361"));
    assert_eq!(s3.requests().len(), 2, "{}", s3.describe());
}

#[tokio::test]
async fn of_bytes_that_are_here_only_the_parts_place_is_asked_for() {
    let (s3, _proxy, client, object) = with_object().await;
    assert!(client.get("/data/k").send().await.body == object.all());
    for number in [1, 2, 5] {
        let part = client.get(&format!("/data/k?partNumber={number}")).send().await;
        assert!(part.complete && part.status == 206);
    }
    assert_eq!(s3.requests().len(), 4, "{}", s3.describe());
    // An abandoned response costs no more than the bytes in the sockets' buffers.
    s3.wait_idle().await;
    s3.forget_requests();
    for number in [1, 2, 5] {
        for method in [Method::GET, Method::HEAD] {
            let path = format!("/data/k?partNumber={number}");
            let part = client.request(method, &path).send().await;
            assert_eq!((part.status.as_u16(), part.header("cache-status")), (206, HIT));
        }
    }
    assert_eq!(s3.requests().len(), 0, "{}", s3.describe());
}

#[tokio::test]
async fn r16_a_head_of_a_part_is_never_taken_for_the_whole() {
    let (s3, _proxy, client, object) = with_object().await;
    for _ in 0..2 {
        let head = client.head("/data/k?partNumber=5").send().await;
        assert_eq!((head.status.as_u16(), head.header("content-length")), (206, "1"));
        assert_eq!(head.header("content-range"), "bytes 655360-655360/655361");
        let whole = client.head("/data/k").send().await;
        assert_eq!((whole.status.as_u16(), whole.header("content-length")), (200, "655361"));
    }
    assert_eq!(s3.requests().len(), 2, "one of the part and one of the whole: {}", s3.describe());
    assert!(client.get("/data/k").send().await.body == object.all());
}

#[tokio::test]
async fn parts_are_fetched_side_by_side_and_each_once() {
    let (s3, _proxy, client, object) = with_object().await;
    let gate = Gate::new();
    s3.fault(Matcher::get("k"), Times(2), Fault::HoldHeader(gate.clone()));
    let reads = [1, 2, 1, 2]
        .map(|number| tokio::spawn(client.get(&format!("/data/k?partNumber={number}")).send()));
    gate.wait_reached_by(2).await;
    gate.open();
    for (read, range) in reads.into_iter().zip([0..ENDS[0], ENDS[0]..ENDS[1]].into_iter().cycle()) {
        let part = read.await.unwrap();
        assert!(part.complete && part.body == object.slice(range));
    }
    assert_eq!(s3.count(|r| r.method == Method::GET), 2, "{}", s3.describe());
    s3.assert_each_byte_sent_once("data", "k");
}

#[tokio::test]
async fn a_parts_checksum_is_of_that_part_and_of_the_range_that_it_is() {
    let (s3, _proxy, client, _) = with_object().await;
    for _ in 0..2 {
        let part = in_checksum_mode(client.get("/data/k?partNumber=1")).send().await;
        assert_eq!(part.header(SUM), "cGFydDE=");
        assert_eq!(part.header("x-amz-checksum-type"), "COMPOSITE");
        let silent = client.get("/data/k?partNumber=1").send().await;
        assert_eq!((silent.header(SUM), silent.header("x-amz-checksum-type")), ("", ""));
        let same = in_checksum_mode(client.get("/data/k").range("bytes=0-262143")).send().await;
        assert_eq!(same.header(SUM), "cGFydDE=");
        assert_eq!(same.header("x-amz-mp-parts-count"), "");
        for other in [
            "bytes=0-262142",
            "bytes=1-262143",
            "bytes=0-262144",
            "bytes=0-",
            "bytes=262144-655359",
        ] {
            let range = in_checksum_mode(client.get("/data/k").range(other)).send().await;
            assert_eq!((range.status.as_u16(), range.header(SUM)), (206, ""), "{other}");
        }
        let whole = in_checksum_mode(client.get("/data/k")).send().await;
        assert_eq!(whole.header(SUM), "d2hvbGU=-3");
    }
    s3.wait_idle().await;
}

#[tokio::test]
async fn parts_that_end_within_a_block_have_the_right_bytes_in_any_order() {
    let (s3, _proxy, client, _) = with_object().await;
    let lengths = [100_000, 1, 70_000, 65_536, 3];
    let odd = Object::random(lengths.iter().sum(), 7).parts(&lengths);
    s3.put("data", "odd", odd.clone());
    for number in [3, 1, 5, 2, 4, 1, 2, 3, 4, 5] {
        let part = client.get(&format!("/data/odd?partNumber={number}")).send().await;
        let start: u64 = lengths[..number - 1].iter().sum();
        let bytes = odd.slice(start..start + lengths[number - 1]);
        assert!(part.status == 206 && part.complete && part.body == bytes, "{number}");
    }
    assert!(client.get("/data/odd").send().await.body == odd.all());
}

#[tokio::test]
async fn r18_a_part_that_is_not_there_is_asked_for_each_time_and_nothing_is_stored() {
    let (s3, _proxy, client, object) = with_object().await;
    assert_eq!(client.head("/data/k").send().await.status, 200);
    for asked in 2..=3 {
        let none = client.get("/data/k?partNumber=3").send().await;
        assert_eq!(none.status, 416);
        let text = none.text();
        assert!(text.contains("<Code>InvalidPartNumber</Code>"), "{text}");
        assert!(text.contains("<ActualPartCount>3</ActualPartCount>"), "{text}");
        assert_eq!(s3.requests().len(), asked, "{}", s3.describe());
    }
    assert!(client.get("/data/k").send().await.body == object.all());
}

#[tokio::test]
async fn r3_a_part_of_an_object_that_changed_is_of_the_new_one() {
    let (s3, _proxy, client, old) = with_object().await;
    assert!(client.get("/data/k?partNumber=1").send().await.body == old.slice(0..ENDS[0]));
    let new = Object::random(500_000, 2).parts(&[200_000, 300_000]);
    s3.put("data", "k", new.clone());
    // Cached metadata allows a request for part 2; the origin answers that the object is another one.
    let part = client.get("/data/k?partNumber=2").send().await;
    assert!(part.complete && part.body == new.slice(200_000..500_000), "{part:?}");
    assert_eq!(part.header("etag"), new.etag_value().unwrap());
    assert_eq!(part.header("x-amz-mp-parts-count"), "2");
    let first = client.get("/data/k?partNumber=1").send().await;
    assert!(first.body == new.slice(0..200_000), "{first:?}");
}

#[tokio::test]
async fn r10_a_heads_metadata_replaces_all_but_what_is_known_of_the_parts() {
    let (s3, _proxy, client, object) = with_object().await;
    assert_eq!(client.get("/data/k?partNumber=1").send().await.status, 206);
    s3.put("data", "k", object.header("x-amz-meta-new", "1"));
    let head = client.head("/data/k").header("Cache-Control", "no-cache").send().await;
    assert_eq!(head.header("x-amz-meta-new"), "1");
    let part = in_checksum_mode(client.get("/data/k?partNumber=1")).send().await;
    assert_eq!((part.header("x-amz-meta-new"), part.header(SUM)), ("1", "cGFydDE="));
    assert_eq!(part.header("cache-status"), HIT);
    assert_eq!(s3.requests().len(), 3, "{}", s3.describe());
}

#[tokio::test]
async fn an_origin_that_knows_no_parts_answers_for_itself_and_nothing_of_it_is_stored() {
    let (s3, _proxy, client, object) = with_object().await;
    // As moto answers: the whole object to a GET, and 200 with the part's own length and ETag to a HEAD.
    let length = Fault::SetHeader("Content-Length", "262144".to_owned());
    let odd = Fault::All(vec![Fault::IgnorePart, Fault::WrongETag, length]);
    s3.fault(Matcher::head("k").query("partNumber"), Always, odd);
    s3.fault(Matcher::get("k").query("partNumber"), Always, Fault::IgnorePart);
    for _ in 0..2 {
        for (method, length) in [(Method::HEAD, "262144"), (Method::GET, "655361")] {
            let odd = client.request(method, "/data/k?partNumber=1").send().await;
            assert_eq!((odd.status.as_u16(), odd.header("content-length")), (200, length));
            assert_eq!(odd.header("cache-status"), "hotset; fwd=bypass");
        }
        let whole = client.get("/data/k").send().await;
        assert!(whole.complete && whole.body == object.all());
        assert_eq!(client.head("/data/k").send().await.header("content-length"), "655361");
    }
}

#[tokio::test]
async fn an_origin_that_knows_no_parts_is_not_asked_twice_for_each() {
    let (s3, _proxy, client, object) = with_object().await;
    s3.fault(Matcher::any().query("partNumber"), Always, Fault::IgnorePart);
    s3.put("data", "other", object.clone());
    // The first part alone cannot be told from the whole object.
    assert_eq!(client.head("/data/k").send().await.status, 200);
    for (number, asked) in [(1, 2), (1, 2), (2, 2), (1, 1), (2, 1), (5, 1)] {
        s3.forget_requests();
        let whole = client.get(&format!("/data/k?partNumber={number}")).send().await;
        assert!(whole.status == 200 && whole.body == object.all(), "{number}");
        assert_eq!(s3.requests().len(), asked, "{number}: {}", s3.describe());
    }
    // A response about one object says nothing about another.
    s3.clear_faults();
    for status in ["hotset; fwd=uri-miss; detail=new", HIT] {
        let part = client.get("/data/other?partNumber=2").send().await;
        assert_eq!((part.status.as_u16(), part.header("cache-status")), (206, status));
    }
}

#[tokio::test]
async fn r5_a_part_that_was_looked_for_before_a_delete_is_not_what_is_there_after_it() {
    let (s3, _proxy, client, object) = with_object().await;
    s3.put("data", "k", object.clone().version_id("v1"));
    assert_eq!(client.get("/data/k").send().await.status, 200);
    let gate = Gate::new();
    s3.fault(Matcher::head("k"), Times(1), Fault::HoldHeader(gate.clone()));
    // The range of part 2 is not known; first a HEAD confirms the object.
    let part = client.get("/data/k?partNumber=2").header("Cache-Control", "no-cache").send();
    let part = tokio::spawn(part);
    gate.wait_reached().await;
    s3.put_marker("data", "k", "v2");
    assert_eq!(client.delete("/data/k").send().await.status, 204);
    gate.open();
    let part = part.await.unwrap();
    assert!(part.status == 404 || part.body == object.slice(ENDS[0]..ENDS[1]), "{part:?}");
    assert_eq!(client.get("/data/k").send().await.status, 404, "deleted before it was asked for");
}

#[tokio::test]
async fn r4_a_part_is_asked_for_in_checksum_mode_and_without_a_range() {
    let (s3, _proxy, client, _) = with_object().await;
    client.get("/data/k?partNumber=1").send().await;
    client.head("/data/k?partNumber=2").send().await;
    let mut seen = s3.requests();
    seen.retain(|request| request.param("partNumber").is_some());
    assert_eq!(seen.len(), 2, "{}", s3.describe());
    for (request, number) in seen.iter().zip(["1", "2"]) {
        assert_eq!(request.param("partNumber").as_deref(), Some(number));
        assert_eq!(request.header("x-amz-checksum-mode"), "ENABLED");
        assert_eq!(request.header("range"), "");
    }
}

#[tokio::test]
async fn r18_a_416_without_a_code_is_of_a_part_that_is_not_there() {
    let (s3, _proxy, client, _) = with_object().await;
    s3.fault(Matcher::any().query("partNumber"), Always, Fault::Status(416, "InvalidRange"));
    let none = client.get("/data/k?partNumber=9").send().await;
    assert_eq!(none.status, 416);
    assert!(none.text().contains("<Code>InvalidPartNumber</Code>"), "{}", none.text());
    assert_eq!(client.head("/data/k?partNumber=9").send().await.status, 416);
}

/// Makes responses for parts have their own `ETag`, as Ceph does for some objects.
fn with_etags_of_parts(s3: &FakeS3) {
    s3.fault(Matcher::any().query("partNumber"), Always, Fault::WrongETag);
}

#[tokio::test]
async fn a_parts_own_etag_is_never_taken_for_that_of_the_object() {
    for method in [Method::GET, Method::HEAD] {
        let (s3, _proxy, client, object) = with_object().await;
        with_etags_of_parts(&s3);
        for number in [1, 2, 5, 1] {
            let path = format!("/data/k?partNumber={number}");
            let part = client.request(method.clone(), &path).send().await;
            assert_eq!((part.status.as_u16(), part.complete), (206, true), "{part:?}");
            assert_eq!(
                part.header("etag"),
                "\"00000000000000000000000000000bad\"",
                "the origin's own"
            );
            for _ in 0..2 {
                let whole = client.get("/data/k").send().await;
                assert_eq!(whole.header("etag"), object.etag_value().unwrap());
                assert!(whole.status == 200 && whole.complete && whole.body == object.all());
            }
            let head = client.head("/data/k").send().await;
            assert_eq!(head.header("etag"), object.etag_value().unwrap());
        }
    }
}

#[tokio::test]
async fn a_part_that_is_passed_through_is_not_shorter_than_its_range() {
    let (s3, _proxy, client, _) = with_object().await;
    with_etags_of_parts(&s3);
    let path = "/data/k?partNumber=2";
    assert_eq!(client.get(path).send().await.status, 206, "as it is, from now on");
    s3.clear_faults();
    s3.fault(Matcher::get("k"), Always, Fault::ShortContentLength);
    let cut = client.get(path).send().await;
    assert_eq!(cut.status, 503, "{:?}", cut.headers);
    s3.clear_faults();
    assert_eq!(client.get(path).send().await.status, 206);
}

#[tokio::test]
async fn a_part_that_is_passed_through_does_not_stall_for_longer_than_what_is_cached() {
    let s3 = FakeS3::start().await;
    let proxy = TestProxy::start_with(&s3, |config| {
        config.origin.idle_timeout.0 = Duration::from_millis(300);
        config.origin.first_byte_timeout.0 = Duration::from_millis(300);
    })
    .await;
    s3.put("data", "k", object(1));
    with_etags_of_parts(&s3);
    let (client, path) = (proxy.client(), "/data/k?partNumber=2");
    assert_eq!(client.get(path).send().await.status, 206, "as it is, from now on");
    s3.clear_faults();
    s3.fault(Matcher::get("k"), Always, Fault::StallAfter(1000));
    let stalled = client.get(path).send().await;
    assert!(!stalled.complete, "{} bytes", stalled.body.len());
}

#[tokio::test]
async fn a_parts_own_etag_does_not_end_what_is_known_of_the_object() {
    let (s3, _proxy, client, object) = with_object().await;
    assert!(client.get("/data/k").send().await.body == object.all());
    s3.forget_requests();
    with_etags_of_parts(&s3);
    for asked in [3, 1, 1] {
        s3.forget_requests();
        assert_eq!(client.get("/data/k?partNumber=2").send().await.status, 206);
        // The part, a HEAD that confirms the object, and the part passed through; later only the last.
        assert_eq!(s3.requests().len(), asked, "{}", s3.describe());
        s3.wait_idle().await;
        s3.forget_requests();
        let whole = client.get("/data/k").send().await;
        assert_eq!(whole.header("cache-status"), HIT);
        assert!(whole.body == object.all());
        assert_eq!(s3.requests().len(), 0, "{}", s3.describe());
    }
}

#[tokio::test]
async fn while_a_part_waits_for_the_whole_nobody_reads_by_its_etag() {
    let (s3, _proxy, client, object) = with_object().await;
    with_etags_of_parts(&s3);
    let gate = Gate::new();
    s3.fault(Matcher::head("k"), Times(1), Fault::HoldHeader(gate.clone()));
    let part = client.get("/data/k?partNumber=1").start(0).await;
    gate.wait_reached().await;
    s3.wait_for(|seen| seen.iter().any(|r| r.param("partNumber").is_some() && r.done)).await;
    let whole = client.get("/data/k").send().await;
    assert_eq!(whole.header("etag"), object.etag_value().unwrap());
    assert!(whole.complete && whole.body == object.all());
    gate.open();
    assert_eq!(part.finish().await.status, 206);
}
