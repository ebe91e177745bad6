//! Objects of 50 TB, S3's limit since December 2025, and blocks of every size.

use std::ops::Range;

use hotset::config::units::ByteSize;

use crate::support::*;

const SIZE: u64 = 50 * 1000 * 1000 * 1000 * 1000;

async fn setup(block: ByteSize, size: u64) -> (FakeS3, TestProxy, Client) {
    let s3 = FakeS3::start().await;
    s3.put("data", "huge", Object::random(size, 50));
    let proxy = TestProxy::start_with(&s3, |config| {
        config.cache.block = block;
        config.cache.fetch = config.cache.fetch.max(block);
    })
    .await;
    let client = proxy.client();
    (s3, proxy, client)
}

#[tokio::test]
async fn ranges_of_a_50_tb_object_come_from_its_middle_and_its_tail() {
    for block in [ByteSize::kib(64), ByteSize::mib(1), ByteSize::mib(16)] {
        let (s3, _proxy, client) = setup(block, SIZE).await;
        let object = s3.object("data", "huge").unwrap();
        let middle = (SIZE / 2 / block.0) * block.0;
        let cases: [(String, Range<u64>); 6] = [
            ("bytes=0-9".to_owned(), 0..10),
            ("bytes=-100000".to_owned(), SIZE - 100_000..SIZE),
            (format!("bytes={}-", SIZE - 7), SIZE - 7..SIZE),
            (format!("bytes={}-{}", SIZE - 5, u64::MAX), SIZE - 5..SIZE),
            (format!("bytes={}-{}", middle - 3, middle + 2), middle - 3..middle + 3),
            (
                format!("bytes={}-{}", middle + 70_000, middle + 70_009),
                middle + 70_000..middle + 70_010,
            ),
        ];
        for (asked, range) in cases {
            for _ in 0..2 {
                let part = client.get("/data/huge").range(&asked).send().await;
                assert_eq!(part.status, 206, "{asked}");
                let said = format!("bytes {}-{}/{SIZE}", range.start, range.end - 1);
                assert_eq!(part.header("content-range"), said);
                assert!(part.complete && part.body == object.slice(range.clone()), "{asked}");
            }
        }
        let past = client.get("/data/huge").range(&format!("bytes={SIZE}-")).send().await;
        assert_eq!(past.status, 416);
        assert!(past.text().contains(&format!("<ActualObjectSize>{SIZE}</ActualObjectSize>")));
        let head = client.head("/data/huge").send().await;
        assert_eq!(
            (head.status.as_u16(), head.header("content-length")),
            (200, &*SIZE.to_string())
        );
        s3.assert_each_byte_sent_once("data", "huge");
    }
}

#[tokio::test]
async fn a_50_tb_object_is_described_by_a_head_and_begun_by_a_get() {
    let (s3, _proxy, client) = setup(ByteSize::mib(1), SIZE).await;
    let head = client.head("/data/huge").send().await;
    assert_eq!(head.header("content-length"), SIZE.to_string());
    let mut whole = client.open("/data/huge").await;
    assert_eq!(whole.status, 200);
    assert_eq!(whole.headers["content-length"], SIZE.to_string());
    let object = s3.object("data", "huge").unwrap();
    assert!(whole.read(3 << 20).await == object.slice(0..3 << 20));
    let far = format!("bytes={}-", SIZE / 3);
    let mut open = client.get("/data/huge").range(&far).open().await;
    assert_eq!(open.status, 206);
    assert!(open.read(3 << 20).await == object.slice(SIZE / 3..SIZE / 3 + (3 << 20)));
}

#[tokio::test]
async fn every_block_size_serves_the_same_bytes_around_its_edges() {
    const MIB: u64 = 1 << 20;
    let mut block = 64 << 10;
    while block <= 16 * MIB {
        let size = 2 * block + 12_345;
        let (s3, _proxy, client) = setup(ByteSize(block), size).await;
        let object = s3.object("data", "huge").unwrap();
        for edge in [block, 2 * block] {
            for (first, last) in
                [(edge - 1, edge), (edge, edge), (edge - 1, edge - 1), (edge - 2, edge + 9)]
            {
                let asked = format!("bytes={first}-{last}");
                let part = client.get("/data/huge").range(&asked).send().await;
                assert_eq!(part.status, 206);
                assert_eq!(
                    part.body,
                    object.slice(first..last + 1),
                    "{asked} of blocks of {block}"
                );
            }
        }
        let whole = client.get("/data/huge").send().await;
        assert!(whole.complete && whole.body == object.all(), "blocks of {block}");
        s3.assert_each_byte_sent_once("data", "huge");
        block *= 2;
    }
}
