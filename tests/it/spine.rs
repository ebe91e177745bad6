//! The basic sequences: miss, hit, write.

use crate::support::{Object, setup};

#[tokio::test]
async fn r17_a_cold_read_is_one_request_and_a_second_read_is_none() {
    let (s3, _proxy, client) = setup().await;
    s3.put("data", "small", Object::random(5000, 1).header("x-amz-meta-a", "b"));
    for status in ["hotset; fwd=uri-miss; detail=new", "hotset; hit"] {
        let answer = client.get("/data/small").send().await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.body, s3.object_bytes("data", "small"));
        assert_eq!(answer.header("cache-status"), status);
        assert_eq!(answer.header("x-amz-meta-a"), "b");
    }
    assert_eq!(s3.requests().len(), 1, "{}", s3.describe());
    s3.assert_each_byte_sent_once("data", "small");
}

#[tokio::test]
async fn a_large_object_is_fetched_once_over_several_connections() {
    let (s3, _proxy, client) = setup().await;
    s3.put("data", "large", Object::random(40 << 20, 2));
    for _ in 0..2 {
        let answer = client.get("/data/large").send().await;
        assert!(answer.complete && answer.body == s3.object_bytes("data", "large"));
    }
    s3.assert_each_byte_sent_once("data", "large");
    assert!(s3.connections() > 1);
}

#[tokio::test]
async fn r8_a_write_through_the_proxy_is_seen_by_the_next_read() {
    let (s3, _proxy, client) = setup().await;
    for version in ["one", "two"] {
        let put = client.put("/data/key").body(version).send().await;
        assert_eq!(put.status, 200);
        assert_eq!(client.get("/data/key").send().await.text(), version);
    }
    assert_eq!(client.delete("/data/key").send().await.status, 204);
    assert_eq!(client.get("/data/key").send().await.status, 404);
    assert!(s3.complaints().is_empty(), "{:?}", s3.complaints());
}
