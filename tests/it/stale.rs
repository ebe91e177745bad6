//! An old answer instead of none (R14): only while the origin is not there, within a bound, and never after news.

use std::time::Duration;

use hotset::config::units::HumanDuration;

use crate::support::{Always, Client, FakeS3, Fault, Matcher, Object, TestProxy, Times};

const STALE: &str = "hotset; hit; detail=stale-on-error";

/// 60 s fresh, and 100 s more while the origin is down; one object in memory.
async fn setup() -> (FakeS3, TestProxy, Client, Object) {
    let s3 = FakeS3::start().await;
    let proxy = TestProxy::start_with(&s3, |config| {
        config.rules[0].max_stale = Some(HumanDuration(Duration::from_secs(100)));
    })
    .await;
    let client = proxy.client();
    let object = Object::random(100_000, 1);
    s3.put("data", "key", object.clone());
    assert_eq!(client.get("/data/key").send().await.status, 200);
    (s3, proxy, client, object)
}

/// Lets that much time pass at once, for ages; nothing may be under way.
async fn pass(seconds: u64) {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(seconds)).await;
    tokio::time::resume();
}

#[tokio::test]
async fn r14_a_stale_object_is_served_while_the_origin_fails() {
    let faults = [
        Fault::Status(500, "InternalError"),
        Fault::Status(503, "SlowDown"),
        Fault::ResetBeforeAnswer,
    ];
    for fault in faults {
        let (s3, _proxy, client, object) = setup().await;
        s3.fault(Matcher::any(), Always, fault);
        pass(61).await;
        let answer = client.get("/data/key").send().await;
        assert_eq!((answer.status.as_u16(), answer.header("cache-status")), (200, STALE));
        assert!(answer.complete && answer.body == object.all());
        assert_eq!(client.head("/data/key").send().await.status, 200);
        s3.clear_faults();
        let answer = client.get("/data/key").send().await;
        assert_eq!(answer.header("cache-status"), "hotset; fwd=stale; detail=revalidated");
    }
}

#[tokio::test]
async fn r14_a_stale_object_is_served_while_the_origin_is_down_but_not_for_ever() {
    let (s3, _proxy, client, _) = setup().await;
    pass(61).await;
    s3.go_down().await;
    assert_eq!(client.get("/data/key").send().await.header("cache-status"), STALE);
    pass(90).await;
    assert_eq!(client.get("/data/key").send().await.header("cache-status"), STALE);
    pass(10).await;
    assert_eq!(client.get("/data/key").send().await.status, 503);
}

#[tokio::test]
async fn r14_without_max_stale_nothing_stale_is_served() {
    let s3 = FakeS3::start().await;
    let proxy = TestProxy::start(&s3).await;
    s3.put("data", "key", Object::random(5000, 2));
    let client = proxy.client();
    assert_eq!(client.get("/data/key").send().await.status, 200);
    s3.go_down().await;
    assert_eq!(client.get("/data/key").send().await.status, 200);
    pass(61).await;
    assert_eq!(client.get("/data/key").send().await.status, 503);
}

#[tokio::test]
async fn r14_a_denial_or_an_absence_drops_the_stale_object() {
    for (status, code) in [(403, "AccessDenied"), (401, "Unauthorized"), (404, "NoSuchKey")] {
        let (s3, _proxy, client, _) = setup().await;
        pass(61).await;
        // A HEAD is told that it is so, and a GET why.
        s3.fault(Matcher::any(), Times(2), Fault::Status(status, code));
        assert_eq!(client.get("/data/key").send().await.status.as_u16(), status);
        s3.go_down().await;
        pass(2).await;
        assert_eq!(client.get("/data/key").send().await.status, 503, "{status}");
    }
}

#[tokio::test]
async fn r14_a_write_drops_the_stale_object() {
    let (s3, _proxy, client, _) = setup().await;
    assert_eq!(client.put("/data/key").body("new").send().await.status, 200);
    s3.go_down().await;
    assert_eq!(client.get("/data/key").send().await.status, 503);
}

#[tokio::test]
async fn r14_a_write_whose_outcome_is_unknown_drops_the_stale_object() {
    let (s3, _proxy, client, _) = setup().await;
    s3.fault(Matcher::put("key"), Times(1), Fault::ResetBeforeAnswer);
    assert_eq!(client.put("/data/key").body("new").send().await.status, 503);
    s3.go_down().await;
    assert_eq!(client.get("/data/key").send().await.status, 503);
    s3.come_back().await;
    // What is learned while the key is suspect is not served instead of an answer either.
    assert_eq!(client.get("/data/key").send().await.text(), "new");
    s3.go_down().await;
    assert_eq!(client.get("/data/key").send().await.status, 503);
}
