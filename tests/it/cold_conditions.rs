//! A cold read whose condition fails costs the origin one request and no bytes.

use http::Method;

use crate::support::{Client, FakeS3, Fault, Gate, Matcher, Object, Request, Seen, Times, setup};

const MIB: u64 = 1 << 20;
const OTHER: &str = "\"00000000000000000000000000000000\"";
const THEN: &str = "Wed, 01 Jan 2020 00:00:00 GMT";
const LATER: &str = "Wed, 01 Jan 2070 00:00:00 GMT";

fn put(s3: &FakeS3, key: &str) -> String {
    let object = Object::random(20 * MIB, 3);
    let etag = object.etag_value().expect("it has one").to_owned();
    s3.put("data", key, object);
    etag
}

/// Returns the ways of reading: whole, in checksum mode, a range at the start and one further on.
fn reads(client: &Client, key: &str) -> Vec<Request> {
    let get = || client.get(&format!("/data/{key}"));
    vec![
        get(),
        get().header("x-amz-checksum-mode", "ENABLED"),
        get().range("bytes=0-99"),
        get().range("bytes=5000000-"),
    ]
}

#[tokio::test]
async fn r33_a_condition_that_fails_costs_one_request_and_no_bytes() {
    let (s3, _proxy, client) = setup().await;
    for way in 0..4 {
        let key = format!("key-{way}");
        let etag = put(&s3, &key);
        let conditions = [
            ("If-None-Match", &*etag, 304),
            ("If-None-Match", "*", 304),
            ("If-Modified-Since", LATER, 304),
            ("If-Match", OTHER, 412),
            ("If-Match", "\"a\", \"b\"", 412),
            ("If-Unmodified-Since", THEN, 412),
        ];
        for (n, (name, value, status)) in conditions.into_iter().enumerate() {
            let key = format!("{key}-{n}");
            let etag = put(&s3, &key);
            s3.forget_requests();
            let answer = reads(&client, &key).remove(way).header(name, value).send().await;
            assert_eq!(answer.status, status, "{name}: {value}");
            if status == 304 {
                assert_eq!(answer.header("etag"), etag);
            } else {
                let text = answer.text();
                assert!(text.contains("<Code>PreconditionFailed</Code>"), "{text}");
                assert!(text.contains(&format!("<Condition>{name}</Condition>")), "{text}");
            }
            assert_eq!(s3.requests().len(), 1, "{name}: {value}\n{}", s3.describe());
            s3.wait_idle().await;
            let has_body = |r: &Seen| r.status < 300 && r.method == Method::GET;
            assert_eq!(s3.count(has_body), 0, "{name}: {value}\n{}", s3.describe());
        }
    }
}

/// Later reads with the same condition cost no request.
#[tokio::test]
async fn what_a_cold_304_teaches_answers_the_next() {
    let (s3, _proxy, client) = setup().await;
    let etag = put(&s3, "key");
    for _ in 0..3 {
        let answer = client.get("/data/key").header("If-None-Match", &etag).send().await;
        assert_eq!(answer.status, 304);
    }
    assert_eq!(s3.requests().len(), 1, "{}", s3.describe());
}

/// Clients that pin a version send `If-Match` on every request.
#[tokio::test]
async fn a_cold_if_match_that_passes_costs_one_request() {
    let (s3, _proxy, client) = setup().await;
    for way in 0..3 {
        let key = format!("key-{way}");
        let object = Object::random(60_000, way);
        s3.put("data", &key, object.clone());
        let etag = object.etag_value().expect("it has one").to_owned();
        let read = reads(&client, &key).remove(usize::try_from(way).expect("small"));
        let answer = read.header("If-Match", &etag).send().await;
        assert!(answer.complete && matches!(answer.status.as_u16(), 200 | 206), "{way}");
        assert_eq!(s3.count(|r| r.key == key), 1, "{}", s3.describe());
        let again = client.get(&format!("/data/{key}")).send().await;
        assert!(again.body == object.all());
        assert_eq!(s3.count(|r| r.key == key), 1, "{}", s3.describe());
    }
}

#[tokio::test]
async fn a_condition_that_fails_fails_no_other_reader() {
    let (s3, _proxy, client) = setup().await;
    let etag = put(&s3, "key");
    let gate = Gate::new();
    s3.fault(Matcher::get("key"), Times(1), Fault::HoldHeader(gate.clone()));
    let refused = client.get("/data/key").header("If-Match", OTHER).start(0).await;
    gate.wait_reached().await;
    let mut others = Vec::new();
    for _ in 0..4 {
        others.push(client.get("/data/key").range("bytes=0-99").start(0).await);
        let pinned = client.get("/data/key").range("bytes=0-99").header("If-Match", &etag);
        others.push(pinned.start(0).await);
        others.push(
            client.get("/data/key").range("bytes=0-99").header("If-Match", OTHER).start(0).await,
        );
    }
    for _ in 0..4 {
        assert_eq!(client.get("/data/%zz").send().await.status, 400);
    }
    gate.open();
    assert_eq!(refused.finish().await.status, 412);
    let object = s3.object("data", "key").expect("it is there");
    for (n, other) in others.into_iter().enumerate() {
        let answer = other.finish().await;
        if n % 3 == 2 {
            assert_eq!(answer.status, 412, "{n}");
        } else {
            assert!(
                answer.status == 206 && answer.body == object.slice(0..100),
                "{n}: {}",
                answer.status
            );
        }
    }
    s3.assert_each_byte_sent_once("data", "key");
}

/// A condition on an absent object gets the origin's own error code.
#[tokio::test]
async fn a_cold_condition_on_an_absent_object_is_no_such_key() {
    let (s3, _proxy, client) = setup().await;
    s3.put("data", "other", Object::bytes("x"));
    for (n, (name, value)) in
        [("If-Match", OTHER), ("If-None-Match", OTHER), ("If-Unmodified-Since", LATER)]
            .iter()
            .enumerate()
    {
        let answer = client.get(&format!("/data/absent-{n}")).header(name, value).send().await;
        assert_eq!(answer.status, 404, "{name}");
        assert!(answer.text().contains("<Code>NoSuchKey</Code>"), "{}", answer.text());
    }
}
