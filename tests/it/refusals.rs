//! 412 and 416 (R33): sent only by metadata that the origin confirmed after the request arrived.

use std::time::Duration;

use futures_util::future::join_all;
use hotset::config::units::HumanDuration;
use http::Method;

use crate::support::*;

const SIZE: u64 = 100_000;

/// Starts hotset with the default ttl of 60 s; its one object in memory was then replaced at the origin by a longer
/// one.
async fn overwritten() -> (FakeS3, TestProxy, Client, Object) {
    let (s3, proxy, client) = setup().await;
    s3.put("data", "key", Object::random(SIZE, 1));
    assert_eq!(client.get("/data/key").send().await.status, 200);
    let new = Object::random(2 * SIZE, 2).last_modified("Thu, 02 Jan 2025 00:00:00 GMT");
    s3.put("data", "key", new.clone());
    s3.wait_idle().await;
    s3.forget_requests();
    (s3, proxy, client, new)
}

fn heads(s3: &FakeS3) -> usize {
    s3.count(|request| request.method == Method::HEAD)
}

#[tokio::test]
async fn r33_a_range_in_the_new_end_of_a_longer_object_is_answered() {
    let (s3, _proxy, client, new) = overwritten().await;
    let range = client.get("/data/key").range("bytes=150000-150099").send().await;
    assert_eq!(
        (range.status.as_u16(), range.header("content-range")),
        (206, "bytes 150000-150099/200000")
    );
    assert!(range.body == new.slice(150_000..150_100));
    assert_eq!(heads(&s3), 1, "{}", s3.describe());
}

#[tokio::test]
async fn r33_an_if_match_that_only_the_new_object_meets_is_met() {
    for method in [Method::GET, Method::HEAD] {
        let (s3, _proxy, client, new) = overwritten().await;
        let etag = new.etag_value().unwrap();
        let answer = client.request(method, "/data/key").header("If-Match", etag).send().await;
        assert_eq!((answer.status.as_u16(), answer.header("etag")), (200, etag));
        assert_eq!(answer.header("content-length"), "200000");
        assert_eq!(heads(&s3), 1, "{}", s3.describe());
    }
}

#[tokio::test]
async fn r33_a_date_that_only_the_new_object_meets_is_met() {
    let (s3, _proxy, client) = setup().await;
    s3.put("data", "key", Object::random(SIZE, 1).last_modified("Thu, 02 Jan 2025 00:00:00 GMT"));
    assert_eq!(client.get("/data/key").send().await.status, 200);
    // Restored from a backup, with its old date.
    let old = Object::random(SIZE, 2).last_modified("Wed, 01 Jan 2020 00:00:00 GMT");
    s3.put("data", "key", old.clone());
    let date = "Wed, 01 Jan 2020 00:00:00 GMT";
    let answer = client.get("/data/key").header("If-Unmodified-Since", date).send().await;
    assert!(answer.status == 200 && answer.body == old.all(), "{answer:?}");
}

#[tokio::test]
async fn r33_a_refusal_that_the_origin_confirms_costs_one_head_each_and_no_bytes() {
    let (s3, _proxy, client) = setup().await;
    s3.put("data", "key", Object::random(SIZE, 1));
    assert_eq!(client.get("/data/key").send().await.status, 200);
    s3.forget_requests();
    for asked in 1..=3 {
        let refused = client.get("/data/key").header("If-Match", "\"other\"").send().await;
        assert_eq!(refused.status, 412);
        assert!(refused.text().contains("<Code>PreconditionFailed</Code>"), "{}", refused.text());
        assert_eq!((s3.requests().len(), heads(&s3)), (asked, asked), "{}", s3.describe());
    }
    for asked in 4..=5 {
        let refused = client.get("/data/key").range("bytes=100000-").send().await;
        assert_eq!(
            (refused.status.as_u16(), refused.header("content-range")),
            (416, "bytes */100000")
        );
        assert_eq!((s3.requests().len(), heads(&s3)), (asked, asked), "{}", s3.describe());
    }
    // Conditions that are met, and 304, need no confirmation.
    let etag = s3.object("data", "key").unwrap().etag_value().unwrap().to_owned();
    for (name, status) in [("If-Match", 200), ("If-None-Match", 304)] {
        let answer = client.get("/data/key").header(name, &etag).send().await;
        assert_eq!(answer.status, status);
    }
    assert_eq!(s3.requests().len(), 5, "{}", s3.describe());
}

#[tokio::test]
async fn r33_many_refused_at_once_share_the_next_head() {
    let (s3, _proxy, client) = setup().await;
    s3.put("data", "key", Object::random(SIZE, 1));
    assert_eq!(client.get("/data/key").send().await.status, 200);
    s3.wait_idle().await;
    s3.forget_requests();
    let gate = Gate::new();
    s3.fault(Matcher::head("key"), Times(1), Fault::HoldHeader(gate.clone()));
    let ask = || client.get("/data/key").header("If-Match", "\"other\"").start(0);
    let first = ask().await;
    gate.wait_reached().await;
    let late = join_all((0..8).map(|_| ask())).await;
    // Some round trips that need no origin: by then they have most likely been read.
    for _ in 0..4 {
        assert_eq!(client.get("/data/%zz").send().await.status, 400);
    }
    gate.open();
    assert_eq!(first.finish().await.status, 412);
    for late in join_all(late.into_iter().map(Upload::finish)).await {
        assert_eq!(late.status, 412);
    }
    assert_eq!((s3.requests().len(), heads(&s3)), (2, 2), "{}", s3.describe());
}

#[tokio::test]
async fn r33_what_was_asked_before_the_request_arrived_refuses_nobody() {
    let (s3, _proxy, client) = setup().await;
    s3.put("data", "key", Object::random(SIZE, 1));
    let gate = Gate::new();
    s3.fault(Matcher::get("key"), Times(1), Fault::HoldHeader(gate.clone()));
    let early = client.get("/data/key").start(0).await;
    gate.wait_reached().await;
    let new = Object::random(2 * SIZE, 2);
    s3.put("data", "key", new.clone());
    // It joins the request in flight, whose response has another ETag.
    let late = client.get("/data/key").header("If-Match", new.etag_value().unwrap()).start(0).await;
    for _ in 0..4 {
        assert_eq!(client.get("/data/%zz").send().await.status, 400);
    }
    gate.open();
    early.finish().await;
    let late = late.finish().await;
    assert!(late.status == 200 && late.body == new.all(), "{late:?}");
}

#[tokio::test]
async fn r33_without_an_answer_from_the_origin_it_is_503_and_not_a_refusal() {
    for max_stale in [None, Some(HumanDuration(Duration::from_mins(10)))] {
        let s3 = FakeS3::start().await;
        let proxy =
            TestProxy::start_with(&s3, |config| config.rules[0].max_stale = max_stale).await;
        let client = proxy.client();
        s3.put("data", "key", Object::random(SIZE, 1));
        assert_eq!(client.get("/data/key").send().await.status, 200);
        for fault in [Fault::Status(500, "InternalError"), Fault::ResetBeforeAnswer] {
            s3.clear_faults();
            s3.fault(Matcher::any(), Always, fault);
            let refused = client.get("/data/key").header("If-Match", "\"other\"").send().await;
            assert_eq!(refused.status, 503, "{}", refused.text());
            let refused = client.get("/data/key").range("bytes=100000-").send().await;
            assert_eq!(refused.status, 503, "{}", refused.text());
            // Stale metadata still answers readers that are not refused.
            assert_eq!(client.get("/data/key").send().await.status, 200);
        }
    }
}

#[tokio::test]
async fn r33_under_immutable_too_a_refusal_is_confirmed() {
    let s3 = FakeS3::start().await;
    let proxy = TestProxy::start_with(&s3, |config| {
        config.rules[0].freshness = hotset::cache::Freshness::Immutable;
    })
    .await;
    let client = proxy.client();
    s3.put("data", "key", Object::random(SIZE, 1));
    assert_eq!(client.get("/data/key").send().await.status, 200);
    let new = Object::random(2 * SIZE, 2);
    s3.put("data", "key", new.clone());
    let etag = new.etag_value().unwrap();
    let answer = client.get("/data/key").header("If-Match", etag).send().await;
    assert!(answer.status == 200 && answer.body == new.all());
}

#[tokio::test]
async fn r33_an_object_that_is_gone_is_said_to_be_gone() {
    let (s3, _proxy, client, _) = overwritten().await;
    s3.delete("data", "key");
    let answer = client.get("/data/key").header("If-Match", "\"other\"").send().await;
    assert_eq!(answer.status, 404);
}
