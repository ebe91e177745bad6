//! Read-ahead for clients that read an object by several requests.

use bytes::Bytes;
use http::Method;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::support::*;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

async fn started() -> (FakeS3, TestProxy, Client) {
    let s3 = FakeS3::start().await;
    let proxy = TestProxy::start_with(&s3, |config| config.cache.predict_reads = true).await;
    let client = proxy.client();
    (s3, proxy, client)
}

async fn read(client: &Client, key: &str, object: &Object, start: u64, length: u64) {
    let range = format!("bytes={start}-{}", start + length - 1);
    let answer = client.get(&format!("/data/{key}")).range(&range).send().await;
    assert!(answer.status == 206 && answer.complete, "{key} {range}: {}", answer.status);
    assert!(answer.body == object.slice(start..start + length), "{key} {range}");
}

/// Waits until the bytes at `offset` were requested from the origin, and all its requests are complete.
async fn fetched(s3: &FakeS3, offset: u64) {
    let is_asked = |seen: &Seen| seen.range.as_ref().is_some_and(|range| range.contains(&offset));
    s3.wait_for(|seen| seen.iter().any(is_asked)).await;
    s3.wait_idle().await;
}

/// Returns the metric of bytes read ahead with this outcome; other tests of this process add to it.
async fn counted(proxy: &TestProxy, outcome: &str) -> f64 {
    proxy.metric(&format!("hotset_read_ahead_bytes_total{{outcome=\"{outcome}\"}}")).await
}

#[tokio::test]
async fn a_reader_in_order_finds_its_next_pieces_in_the_cache() {
    let (s3, proxy, client) = started().await;
    let object = Object::random(64 * MIB, 1);
    s3.put("data", "large", object.clone());
    let before = counted(&proxy, "used").await;
    for n in 0..3 {
        read(&client, "large", &object, n * MIB, MIB).await;
    }
    fetched(&s3, 5 * MIB).await;
    read(&client, "large", &object, 3 * MIB, MIB).await;
    let asked = |seen: &Seen| seen.range.as_ref().is_some_and(|range| range.contains(&(3 * MIB)));
    assert_eq!(s3.count(asked), 1, "{}", s3.describe());
    for n in 4..32 {
        read(&client, "large", &object, n * MIB, MIB).await;
    }
    s3.wait_idle().await;
    s3.assert_each_byte_sent_once("data", "large");
    assert!(s3.bytes_sent() <= (32 + 9) * MIB, "{}", s3.describe());
    let used = counted(&proxy, "used").await - before;
    assert!(used >= 20.0 * 1_048_576.0, "{used}");
}

#[tokio::test]
async fn reads_at_equal_distances_find_the_next_ones_in_the_cache() {
    let (s3, _proxy, client) = started().await;
    let object = Object::random(200 * MIB, 1);
    s3.put("data", "large", object.clone());
    for n in 0..4 {
        read(&client, "large", &object, n * 10 * MIB + 5, 100 * KIB).await;
    }
    for n in 4..10 {
        fetched(&s3, n * 10 * MIB + 5).await;
        let asked = s3.count(|seen| {
            seen.range.as_ref().is_some_and(|range| range.contains(&(n * 10 * MIB + 5)))
        });
        read(&client, "large", &object, n * 10 * MIB + 5, 100 * KIB).await;
        assert_eq!(asked, 1, "{}", s3.describe());
    }
    s3.wait_idle().await;
    s3.assert_each_byte_sent_once("data", "large");
    let read = 10 * 100 * KIB;
    assert!(s3.bytes_sent() <= 2 * read, "{}", s3.describe());
}

#[tokio::test]
async fn nothing_is_read_ahead_where_that_is_switched_off() {
    let (s3, _proxy, client) = setup().await;
    let object = Object::random(64 * MIB, 1);
    s3.put("data", "large.parquet", object.clone());
    assert_eq!(client.head("/data/large.parquet").send().await.status, 200);
    for n in 0..8 {
        read(&client, "large.parquet", &object, n * MIB, MIB).await;
    }
    s3.wait_idle().await;
    assert_eq!(s3.requests().len(), 9, "{}", s3.describe());
    assert_eq!(s3.bytes_sent(), 8 * MIB);
}

#[tokio::test]
async fn random_reads_of_large_objects_are_not_read_ahead_of() {
    const READS: u64 = 1000;
    const READ: u64 = 8 * KIB;
    const LARGE: u64 = 100_000_000;
    let (s3, _proxy, client) = started().await;
    let objects: Vec<_> = (0..20).map(|n| Object::random(LARGE, n)).collect();
    for (n, object) in objects.iter().enumerate() {
        s3.put("data", &format!("large{n}"), object.clone());
    }
    let mut random = StdRng::seed_from_u64(11);
    for _ in 0..READS {
        let n = random.gen_range(0..objects.len());
        let start = random.gen_range(0..LARGE - READ);
        read(&client, &format!("large{n}"), &objects[n], start, READ).await;
    }
    s3.wait_idle().await;
    let (asked, sent) = (READS * READ, s3.bytes_sent());
    println!("{} % of the bytes asked", sent * 100 / asked);
    assert!(sent <= 16 * asked, "{sent} bytes for {asked}");
}

/// Makes a Parquet file whose trailer announces `metadata` bytes of metadata before it.
fn parquet(size: usize, metadata: u32) -> Object {
    let mut bytes = Object::random(size as u64, 5).all().to_vec();
    let (_, trailer) = bytes.split_last_chunk_mut::<8>().unwrap();
    trailer[..4].copy_from_slice(&metadata.to_le_bytes());
    trailer[4..].copy_from_slice(b"PAR1");
    Object::bytes(Bytes::from(bytes))
}

#[tokio::test]
async fn a_columnar_files_end_comes_with_its_head_and_its_metadata_with_its_end() {
    let (s3, _proxy, client) = started().await;
    let (size, metadata) = (8 * MIB, 300_000);
    let object = parquet(usize::try_from(size).unwrap(), metadata);
    s3.put("data", "table.parquet", object.clone());
    let head = client.head("/data/table.parquet").send().await;
    assert_eq!((head.status.as_u16(), head.header("content-length")), (200, "8388608"));
    read(&client, "table.parquet", &object, size - 64 * KIB, 64 * KIB).await;
    let start = size - 8 - u64::from(metadata);
    fetched(&s3, start).await;
    assert_eq!(s3.count(|seen| seen.method == Method::HEAD), 0, "{}", s3.describe());
    assert_eq!(s3.requests().len(), 2, "{}", s3.describe());
    read(&client, "table.parquet", &object, start, size - start).await;
    assert_eq!(s3.requests().len(), 2, "{}", s3.describe());
    s3.assert_each_byte_sent_once("data", "table.parquet");
    assert!(s3.bytes_sent() <= u64::from(metadata) + 2 * 64 * KIB, "{}", s3.describe());
}

#[tokio::test]
async fn r12_a_head_of_a_columnar_file_that_is_absent_or_archived_is_answered_as_ever() {
    let (s3, _proxy, client) = started().await;
    assert_eq!(client.head("/data/none.parquet").send().await.status, 404);
    assert_eq!(s3.requests().len(), 1, "{}", s3.describe());
    s3.put("data", "cold.parquet", parquet(2 << 20, 1000));
    s3.fault(Matcher::get("cold.parquet"), Always, Fault::Status(403, "InvalidObjectState"));
    let head = client.head("/data/cold.parquet").send().await;
    assert_eq!((head.status.as_u16(), head.header("content-length")), (200, "2097152"));
    s3.put("data", "empty.parquet", Object::bytes(Bytes::new()));
    let head = client.head("/data/empty.parquet").send().await;
    assert_eq!((head.status.as_u16(), head.header("content-length")), (200, "0"));
}

/// While the origin fails, a HEAD of a columnar file causes no more requests than one of any other file.
#[tokio::test]
async fn an_origin_that_fails_is_asked_as_often_for_a_columnar_file_as_for_any_other() {
    let (s3, _proxy, client) = started().await;
    s3.fault(Matcher::any(), Always, Fault::Status(500, "InternalError"));
    let mut asked = Vec::new();
    for key in ["a.bin", "a.parquet"] {
        s3.forget_requests();
        assert_eq!(client.head(&format!("/data/{key}")).send().await.status, 503);
        asked.push(s3.requests().len());
    }
    assert_eq!(asked[0], asked[1], "{}", s3.describe());
}

/// Bytes that are read ahead while their object is overwritten are not served after the write.
#[tokio::test]
async fn r5_what_is_read_ahead_of_an_old_version_is_not_served_after_a_write() {
    let (s3, _proxy, client) = started().await;
    let (old, new) = (Object::random(32 * MIB, 1), Object::random(32 * MIB, 2));
    s3.put("data", "key", old.clone());
    let gate = Gate::new();
    s3.fault(
        Matcher::get("key").covering(4 * MIB),
        Times(1),
        Fault::HoldBodyAfter(100, gate.clone()),
    );
    for n in 0..3 {
        read(&client, "key", &old, n * MIB, MIB).await;
    }
    gate.wait_reached().await;
    assert_eq!(client.put("/data/key").body(new.all()).send().await.status, 200);
    gate.open();
    s3.wait_idle().await;
    for n in 0..8 {
        read(&client, "key", &new, n * MIB, MIB).await;
    }
}

#[tokio::test]
async fn ends_of_columnar_files_that_nobody_reads_are_no_longer_fetched() {
    let (s3, _proxy, client) = started().await;
    let object = parquet(200_000, 1000);
    for number in 0..4000 {
        let key = format!("table-{number}.parquet");
        s3.put("data", &key, object.clone());
        assert_eq!(client.head(&format!("/data/{key}")).send().await.status, 200);
        if s3.requests().iter().any(|seen| seen.method == Method::HEAD) {
            assert!(number > 500, "{number}");
            return;
        }
        s3.forget_requests();
    }
    panic!("each end was fetched");
}
