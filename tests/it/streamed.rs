//! Responses that may not be stored stream through, at one origin request for each read (R2, R13).

use std::time::Duration;

use hotset::cache::{Freshness, RuleConfig};

use crate::support::{Client, FakeS3, Object, TestProxy};

type Change = fn(Object) -> Object;

const KINDS: [(&str, Change); 4] = [
    ("no-store", |object| object.header("Cache-Control", "no-store")),
    ("private", |object| object.header("Cache-Control", "private, max-age=60")),
    ("a weak ETag", |object| object.etag("W/\"abc\"")),
    ("no Last-Modified", Object::no_last_modified),
];

async fn setup(freshness: Freshness) -> (FakeS3, TestProxy, Client) {
    let s3 = FakeS3::start().await;
    let rules = vec![RuleConfig { freshness, ..RuleConfig::default() }];
    let proxy = TestProxy::start_with(&s3, |config| config.rules = rules).await;
    let client = proxy.client();
    (s3, proxy, client)
}

/// Advances the clock by this many seconds, for ages; no request may be in flight.
async fn pass(seconds: u64) {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(seconds)).await;
    tokio::time::resume();
}

#[tokio::test]
async fn r13_what_may_not_be_stored_is_one_request_a_read_at_every_ttl() {
    for (what, change) in KINDS {
        for freshness in [Freshness::default(), Freshness::Revalidate] {
            let (s3, _proxy, client) = setup(freshness).await;
            s3.put("data", "k", change(Object::bytes("content")));
            assert_eq!(client.get("/data/k").send().await.text(), "content");
            s3.forget_requests();
            for round in 1..=5 {
                pass(61).await;
                let answer = client.get("/data/k").send().await;
                assert_eq!((answer.status.as_u16(), &*answer.text()), (200, "content"), "{what}");
                let part = client.get("/data/k").range("bytes=1-2").send().await;
                assert_eq!((part.status.as_u16(), &*part.text()), (206, "on"), "{what}");
                assert_eq!(client.head("/data/k").send().await.status, 200, "{what}");
                assert_eq!(s3.requests().len(), 3 * round, "{what}: {}", s3.describe());
            }
        }
    }
}

/// Frequent reads do not change that either.
#[tokio::test]
async fn r13_what_is_read_at_least_hourly_is_never_asked_for_twice() {
    for (what, change) in KINDS {
        let (s3, _proxy, client) = setup(Freshness::default()).await;
        s3.put("data", "k", change(Object::bytes("content")));
        assert_eq!(client.get("/data/k").send().await.text(), "content");
        s3.forget_requests();
        for round in 1..=4 {
            pass(59 * 60).await;
            assert_eq!(client.get("/data/k").send().await.text(), "content", "{what}");
            assert_eq!(s3.requests().len(), round, "{what}: {}", s3.describe());
        }
    }
}

#[tokio::test]
async fn r13_what_may_be_stored_by_now_is_cached_after_the_read_that_shows_it() {
    for (what, change) in KINDS {
        let (s3, _proxy, client) = setup(Freshness::default()).await;
        s3.put("data", "k", change(Object::bytes("content")));
        assert_eq!(client.get("/data/k").send().await.text(), "content");
        s3.put("data", "k", Object::bytes("another"));
        s3.forget_requests();
        for _ in 0..5 {
            assert_eq!(client.get("/data/k").send().await.text(), "another", "{what}");
        }
        assert_eq!(s3.requests().len(), 2, "{what}: {}", s3.describe());
    }
}

#[tokio::test]
async fn r12_what_streamed_through_and_is_gone_is_an_absence_like_any_other() {
    for (what, change) in KINDS {
        let (s3, _proxy, client) = setup(Freshness::default()).await;
        s3.put("data", "k", change(Object::bytes("content")));
        assert_eq!(client.get("/data/k").send().await.text(), "content");
        s3.delete("data", "k");
        for _ in 0..2 {
            let gone = client.get("/data/k").send().await;
            assert!(gone.status == 404 && gone.text().contains("NoSuchKey"), "{what}");
        }
        s3.put("data", "k", Object::bytes("another"));
        pass(2).await;
        s3.forget_requests();
        for _ in 0..3 {
            assert_eq!(client.get("/data/k").send().await.text(), "another", "{what}");
        }
        assert_eq!(s3.requests().len(), 1, "{what}: {}", s3.describe());
    }
}
