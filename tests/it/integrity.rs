//! Fetched bytes are compared with the origin's checksums: on a mismatch they are not cached, and fetched again.

use http::Method;

use crate::support::*;

const MIB: u64 = 1 << 20;
const CRCS: [&str; 3] =
    ["x-amz-checksum-crc64nvme", "x-amz-checksum-crc32c", "x-amz-checksum-crc32"];

fn in_checksum_mode(request: Request) -> Request {
    request.header("x-amz-checksum-mode", "ENABLED")
}

async fn compared(proxy: &TestProxy, algorithm: &str, outcome: &str) -> f64 {
    let labels = format!("{{algorithm=\"{algorithm}\",outcome=\"{outcome}\"}}");
    proxy.metric(&format!("hotset_origin_checksums_total{labels}")).await
}

fn gets(s3: &FakeS3, key: &str) -> usize {
    s3.count(|request| request.method == Method::GET && request.key == key)
}

#[tokio::test]
async fn a_small_object_with_a_wrong_bit_is_fetched_again_before_a_client_sees_it() {
    let (s3, proxy, client) = setup().await;
    for (n, header) in (0..).zip(CRCS) {
        let algorithm = header.rsplit('-').next().unwrap();
        let object = Object::random(5000, n).with_crc(header);
        s3.put("data", algorithm, object.clone());
        s3.fault(Matcher::get(algorithm), Times(1), Fault::FlipBit(4321));
        let before = compared(&proxy, algorithm, "mismatch").await;
        let path = format!("/data/{algorithm}");
        let read = in_checksum_mode(client.get(&path)).send().await;
        // One piece at the origin may be two here; then the first was sent before the mismatch was known.
        let is_right = read.status == 200 && read.complete && read.body == object.all();
        assert!(is_right || !read.complete, "{algorithm}: wrong bytes");
        let read = in_checksum_mode(client.get(&path)).send().await;
        assert!(read.complete && read.body == object.all(), "{algorithm}");
        // The reader itself may have fetched it again, which is not cached.
        assert!((2..=3).contains(&gets(&s3, algorithm)), "{}", s3.describe());
        assert_eq!(client.get(&path).send().await.header("cache-status"), "hotset; hit");
        assert!(compared(&proxy, algorithm, "mismatch").await > before, "{algorithm}");
        assert!(compared(&proxy, algorithm, "match").await > 0.0, "{algorithm}");
    }
}

#[tokio::test]
async fn a_large_object_with_a_wrong_bit_is_broken_off_and_nothing_of_it_stays() {
    let (s3, _proxy, client) = setup().await;
    let object = Object::random(20 * MIB, 1).with_crc(CRCS[0]);
    s3.put("data", "k", object.clone());
    assert_eq!(client.head("/data/k").send().await.status, 200);
    s3.fault(Matcher::get("k").covering(9 * MIB), Times(1), Fault::FlipBit(77));
    let read = client.get("/data/k").send().await;
    assert!(read.status == 200 && !read.complete, "{}", s3.describe());
    s3.wait_idle().await;
    s3.forget_requests();
    let read = client.get("/data/k").send().await;
    assert!(read.complete && read.body == object.all());
    s3.assert_each_byte_sent_once("data", "k");
    s3.forget_requests();
    let read = client.get("/data/k").send().await;
    assert!(read.complete && read.body == object.all());
    assert_eq!(s3.requests().len(), 0, "{}", s3.describe());
}

#[tokio::test]
async fn ranges_in_any_order_are_compared_with_the_checksum_of_the_whole() {
    let (s3, _proxy, client) = setup().await;
    let object = Object::random(4 * MIB, 2).with_crc(CRCS[1]);
    s3.put("data", "k", object.clone());
    assert_eq!(client.head("/data/k").send().await.status, 200);
    s3.fault(Matcher::get("k").starting_at(MIB), Times(1), Fault::FlipBit(1));
    let read = async |block: u64| {
        let (first, last) = (block * MIB, (block + 1) * MIB - 1);
        let range = format!("bytes={first}-{last}");
        let read = client.get("/data/k").range(&range).send().await;
        (read.complete, read.body == object.slice(first..last + 1))
    };
    for block in [3, 1, 0] {
        let (complete, right) = read(block).await;
        assert!(complete && right == (block != 1), "{block}: nobody knows yet");
    }
    let (complete, right) = read(2).await;
    assert!(right || !complete, "the last block is sent only when all are right");
    for block in 0..4 {
        assert_eq!(read(block).await, (true, true), "{block}");
    }
}

#[tokio::test]
async fn a_part_is_compared_with_its_own_checksum_and_a_composite_one_with_nothing() {
    let (s3, proxy, client) = setup().await;
    let object = Object::random(3 * MIB, 3).parts(&[2 * MIB, MIB]);
    let object = object.with_part_crc(1, CRCS[2]).with_part_crc(2, CRCS[2]);
    let object =
        object.checksum(CRCS[2], "AAAAAA==-2").checksum("x-amz-checksum-type", "COMPOSITE");
    s3.put("data", "k", object.clone());
    let whole = in_checksum_mode(client.get("/data/k")).send().await;
    assert!(whole.complete && whole.body == object.all());
    s3.put("data", "parts", object.clone());
    s3.fault(Matcher::get("parts").query("partNumber"), Times(1), Fault::FlipBit(2 * MIB - 1));
    let before = compared(&proxy, "crc32", "mismatch").await;
    let first = client.get("/data/parts?partNumber=1").send().await;
    assert!(!first.complete, "its last block is wrong");
    assert!(compared(&proxy, "crc32", "mismatch").await > before);
    let matches = compared(&proxy, "crc32", "match").await;
    for (number, range) in [(1, 0..2 * MIB), (2, 2 * MIB..3 * MIB)] {
        let part = client.get(&format!("/data/parts?partNumber={number}")).send().await;
        assert!(part.complete && part.body == object.slice(range), "{number}");
    }
    assert!(compared(&proxy, "crc32", "match").await >= matches + 2.0);
}

#[tokio::test]
async fn an_object_whose_checksum_is_wrong_again_is_streamed_through() {
    let (s3, _proxy, client) = setup().await;
    let object = Object::random(5000, 4).checksum(CRCS[2], "AAAAAA==");
    s3.put("data", "k", object.clone());
    // The second mismatch is found at the first read or, if its bytes came in pieces, at the next one.
    for _ in 0..2 {
        in_checksum_mode(client.get("/data/k")).send().await;
    }
    for _ in 0..2 {
        let read = in_checksum_mode(client.get("/data/k")).send().await;
        assert!(read.status == 200 && read.complete && read.body == object.all());
        assert_eq!(read.header("cache-status"), "hotset; fwd=bypass");
        assert_eq!(read.header(CRCS[2]), "AAAAAA==", "the client may compare it");
    }
    s3.put("data", "k", Object::random(5000, 5).with_crc(CRCS[2]));
    assert_eq!(client.put("/data/k").body("x").send().await.status, 200);
    assert_eq!(client.get("/data/k").send().await.body, "x");
    assert_eq!(client.get("/data/k").send().await.header("cache-status"), "hotset; hit");
}

#[tokio::test]
async fn a_rule_may_have_checksums_not_compared() {
    let s3 = FakeS3::start().await;
    let proxy = TestProxy::start_with(&s3, |config| config.rules[0].verify_checksums = false).await;
    let client = proxy.client();
    let object = Object::random(5000, 6).checksum(CRCS[2], "AAAAAA==");
    s3.put("data", "k", object.clone());
    for status in ["hotset; fwd=uri-miss; detail=new", "hotset; hit"] {
        let read = in_checksum_mode(client.get("/data/k")).send().await;
        assert!(read.complete && read.body == object.all());
        assert_eq!(read.header("cache-status"), status);
    }
}
