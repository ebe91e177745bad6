//! Origin requests of a cold read, by size and kind of read (R17).

use http::Method;

use crate::support::{FakeS3, Object, Request, TestProxy};

const MIB: u64 = 1 << 20;
const SIZES: [u64; 7] = [0, 1, 4096, MIB, MIB + 1, 8 * MIB, 20 * MIB];

#[derive(Clone, Copy, Debug)]
enum Kind {
    Plain,
    Range,
    Head,
    Checksums,
}

/// Kinds of reads, and the requests that each size takes; at most so many for the largest size.
const COSTS: [(Kind, [usize; 7]); 4] = [
    // A range of an empty object is refused without its metadata, which is requested after that. To request objects
    // of unknown size without a range would cost one request for these, but a connection and surplus bytes for large
    // ones.
    (Kind::Plain, [2, 1, 1, 1, 1, 1, 3]),
    (Kind::Range, [2, 1, 1, 1, 1, 1, 1]),
    (Kind::Head, [1, 1, 1, 1, 1, 1, 1]),
    (Kind::Checksums, [1, 1, 1, 1, 1, 1, 3]),
];

#[tokio::test]
async fn r17_a_cold_read_costs_so_many_requests_and_no_bytes_twice() {
    let s3 = FakeS3::start().await;
    let proxy = TestProxy::start(&s3).await;
    let client = proxy.client();
    for (kind, costs) in COSTS {
        for (size, cost) in SIZES.into_iter().zip(costs) {
            // Each object has a folder of its own: siblings would reveal more.
            let key = format!("{kind:?}/{size}/key");
            s3.put("data", &key, Object::random(size, 1));
            s3.forget_requests();
            let method = if matches!(kind, Kind::Head) { Method::HEAD } else { Method::GET };
            let read = client.request(method, &format!("/data/{key}"));
            let read = match kind {
                Kind::Plain | Kind::Head => read,
                Kind::Range => read.range("bytes=0-99"),
                Kind::Checksums => read.header("x-amz-checksum-mode", "ENABLED"),
            };
            let answer = read.send().await;
            let status = match kind {
                Kind::Range if size == 0 => 416,
                Kind::Range => 206,
                _ => 200,
            };
            assert_eq!(answer.status, status, "{key}");
            let asked = s3.requests().len();
            let expected = if size > 16 * MIB { asked.min(cost) } else { cost };
            assert_eq!(asked, expected, "{key}: {}", s3.describe());
            let sent = s3.bytes_sent();
            match kind {
                Kind::Head => assert_eq!(sent, 0, "{key}"),
                Kind::Range if size == 0 => {}
                Kind::Range => assert!(sent <= size.min(MIB), "{key}: {sent}"),
                Kind::Plain if size > 0 => assert_eq!(sent, size, "{key}"),
                Kind::Plain => {}
                // The first response for a large object is closed after 8 MiB, plus the bytes in flight by then.
                Kind::Checksums if size > 16 * MIB => assert!(sent >= size, "{key}: {sent}"),
                Kind::Checksums => assert_eq!(sent, size, "{key}"),
            }
        }
    }
}

#[tokio::test]
async fn r17_markers_of_folders_and_jobs_are_read_by_one_request() {
    let s3 = FakeS3::start().await;
    let proxy = TestProxy::start(&s3).await;
    let client = proxy.client();
    let get = |key: &str| -> Request { client.get(&format!("/data/{key}")) };
    for key in ["dir/", "dir_$folder$", "job/_SUCCESS", "_SUCCESS"] {
        for size in [0, 100, 300_000] {
            s3.put("data", key, Object::random(size, 1));
            assert_eq!(client.delete(&format!("/data/{key}")).send().await.status, 204);
            s3.put("data", key, Object::random(size, 1));
            s3.forget_requests();
            for _ in 0..2 {
                let answer = get(key).send().await;
                assert_eq!(answer.status, 200, "{key}");
                assert!(answer.complete && answer.body == s3.object_bytes("data", key), "{key}");
            }
            assert_eq!(s3.requests().len(), 1, "{key} {size}: {}", s3.describe());
        }
    }
}

#[tokio::test]
async fn r17_siblings_of_an_empty_object_are_read_by_one_request() {
    let s3 = FakeS3::start().await;
    let proxy = TestProxy::start(&s3).await;
    let client = proxy.client();
    let read = async |key: &str, size: u64| {
        s3.put("data", key, Object::random(size, 1));
        s3.forget_requests();
        let answer = client.get(&format!("/data/{key}")).send().await;
        assert_eq!(answer.status, 200, "{key}");
        assert!(answer.complete && answer.body == s3.object_bytes("data", key), "{key}");
        s3.requests()
    };
    assert_eq!(read("markers/1", 0).await.len(), 2);
    for (key, size) in [("markers/2", 0), ("markers/3", 0), ("markers/4", 300_000)] {
        let requests = read(key, size).await;
        assert_eq!(requests.len(), 1, "{key} {}", s3.describe());
        assert!(requests[0].range.is_none(), "{key}");
    }
    assert_eq!(read("elsewhere/1", 0).await.len(), 2, "of another folder nothing is known");
    // A large object costs a connection once.
    let requests = read("markers/large", 20 * MIB).await;
    assert!(requests[0].range.is_none() && requests.len() <= 3, "{}", s3.describe());
    let requests = read("markers/larger", 20 * MIB).await;
    assert!(requests.iter().all(|seen| seen.range.is_some()), "{}", s3.describe());
    assert_eq!(s3.bytes_sent(), 20 * MIB);
}
