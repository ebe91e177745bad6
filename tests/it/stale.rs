//! Stale responses (R14): only while the origin fails, within a bound, and never after an invalidation.

use std::time::Duration;

use hotset::cache::Scope;
use hotset::config::Config;
use hotset::config::units::HumanDuration;
use hotset::s3::{BucketName, ObjectKey};
use http::Method;
use tokio::task::JoinHandle;

use crate::support::{
    Always, Client, FakeS3, Fault, Gate, Matcher, Object, Request, Response, TestProxy, Times,
    within,
};

const STALE: &str = "hotset; hit; detail=stale-on-error";

/// Starts hotset with 60 s of freshness, and 100 s more while the origin is down; one object is in memory.
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

/// Advances the clock by this many seconds, for ages; no request may be in flight.
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
        // A HEAD gets the status, and a GET the error code.
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
    // Metadata learned after a write of unknown outcome is not served stale either.
    assert_eq!(client.get("/data/key").send().await.text(), "new");
    s3.go_down().await;
    assert_eq!(client.get("/data/key").send().await.status, 503);
}

/// Two stale objects, and an origin that accepts HEADs and does not answer them before the gate opens. `other` is as
/// old as `key`; `young` was learned 30 s later.
struct Hanging {
    s3: FakeS3,
    proxy: TestProxy,
    client: Client,
    gate: Gate,
}

const MEANWHILE: &str = "hotset; hit; detail=stale-while-revalidate";
const REVALIDATED: &str = "hotset; fwd=stale; detail=revalidated";

impl Hanging {
    async fn after(seconds: u64, change: impl FnOnce(&mut Config)) -> Self {
        let s3 = FakeS3::start().await;
        let proxy = TestProxy::start_with(&s3, |config| {
            config.rules[0].max_stale = Some(HumanDuration::secs(100));
            config.rules[0].stale_after = HumanDuration::millis(100);
            change(config);
        })
        .await;
        let client = proxy.client();
        for key in ["key", "other"] {
            s3.put("data", key, Object::bytes("old"));
            assert_eq!(client.get(&format!("/data/{key}")).send().await.status, 200);
        }
        pass(30).await;
        s3.put("data", "young", Object::bytes("old"));
        assert_eq!(client.get("/data/young").send().await.status, 200);
        pass(seconds - 30).await;
        let gate = Gate::new();
        s3.fault(Matcher::any().method(Method::HEAD), Always, Fault::HoldHeader(gate.clone()));
        s3.put("data", "key", Object::bytes("new"));
        s3.forget_requests();
        Self { s3, proxy, client, gate }
    }

    async fn get(&self, key: &str) -> (String, String) {
        let answer = self.client.get(&format!("/data/{key}")).send().await;
        (answer.text(), answer.header("cache-status").to_owned())
    }

    /// Begins a read, and waits until its HEAD has reached the origin.
    async fn begin(&self, request: Request) -> JoinHandle<Response> {
        let before = self.s3.requests().len();
        let reader = tokio::spawn(request.send());
        self.s3.wait_for(|seen| seen.len() > before).await;
        reader
    }
}

fn stale() -> (String, String) {
    ("old".to_owned(), MEANWHILE.to_owned())
}

#[tokio::test]
async fn r14_while_the_origin_hangs_a_stale_object_is_served_and_what_it_answers_later_is_used() {
    let it = Hanging::after(61, |_| {}).await;
    for _ in 0..5 {
        assert_eq!(it.get("key").await, stale());
    }
    assert_eq!(it.s3.requests().len(), 1, "one confirmation for all of them");
    assert!(!it.s3.requests()[0].done);
    it.gate.open();
    it.s3.wait_idle().await;
    within("the new object", async { while it.get("key").await.0 != "new" {} }).await;
    assert_eq!(it.s3.count(|seen| seen.method == Method::HEAD), 1, "{}", it.s3.describe());
}

/// The stale response for `young` takes as long as the other readers would wait if they could be served stale.
#[tokio::test]
async fn r14_who_wants_the_state_of_now_waits_for_it() {
    let it = Hanging::after(61 + 30, |_| {}).await;
    let request = it.client.get("/data/key").header("Cache-Control", "no-cache");
    let reader = it.begin(request).await;
    let refused = it.begin(it.client.get("/data/other").header("If-Match", "\"wrong\"")).await;
    assert_eq!(it.get("young").await, stale());
    it.gate.open();
    let answer = reader.await.unwrap();
    assert_eq!((&*answer.text(), answer.header("cache-status")), ("new", REVALIDATED));
    assert_eq!(refused.await.unwrap().status, 412, "R33: confirmed, and not refused unheard");
}

#[tokio::test]
async fn r14_what_is_older_than_max_stale_waits_however_long_the_origin_hangs() {
    let it = Hanging::after(161, |_| {}).await;
    let reader = it.begin(it.client.get("/data/key")).await;
    assert_eq!(it.get("young").await, stale());
    it.gate.open();
    let answer = reader.await.unwrap();
    assert_eq!((&*answer.text(), answer.header("cache-status")), ("new", REVALIDATED));
}

#[tokio::test]
async fn r14_what_is_invalidated_while_the_origin_hangs_is_not_served() {
    for written in [false, true] {
        let it = Hanging::after(61 + 30, |_| {}).await;
        let reader = it.begin(it.client.get("/data/key")).await;
        if written {
            assert_eq!(it.client.put("/data/key").body("new").send().await.status, 200);
        } else {
            let key = ObjectKey::new("key").unwrap();
            let _ = it.proxy.cache.purge(&[Scope::Object(BucketName::new("data").unwrap(), key)]);
        }
        assert_eq!(it.get("young").await, stale());
        it.gate.open();
        assert_eq!(reader.await.unwrap().text(), "new");
    }
}

#[tokio::test]
async fn r14_once_the_origin_is_known_to_fail_a_stale_object_is_served_without_asking_it() {
    let (s3, _proxy, client, object) = setup().await;
    s3.fault(Matcher::any(), Always, Fault::Status(500, "InternalError"));
    within("the breaker to open", async {
        for key in 0.. {
            let answer = client.get(&format!("/data/not-there-{key}")).send().await;
            if answer.text().contains("The origin fails") {
                return;
            }
        }
    })
    .await;
    pass(61).await;
    // The first may be a probe.
    client.get("/data/key").send().await;
    s3.forget_requests();
    for _ in 0..50 {
        let answer = client.get("/data/key").send().await;
        // The second: while a probe has no answer yet.
        let is_stale = [STALE, MEANWHILE];
        assert!(answer.status == 200 && is_stale.contains(&answer.header("cache-status")));
        assert!(answer.complete && answer.body == object.all());
    }
    assert!(s3.requests().len() < 25, "{}", s3.describe());
    s3.clear_faults();
    within("the origin to be asked again", async {
        while client.get("/data/key").send().await.header("cache-status") == STALE {}
    })
    .await;
}

#[tokio::test]
async fn r14_stale_while_revalidate_serves_at_once_and_asks_once() {
    let swr = |config: &mut Config| {
        config.rules[0].max_stale = None;
        // No reader waits that long.
        config.rules[0].stale_after = HumanDuration::secs(3600);
        config.rules[0].stale_while_revalidate = Some(HumanDuration::secs(100));
    };
    let it = Hanging::after(61, swr).await;
    for _ in 0..5 {
        assert_eq!(it.get("key").await, stale());
    }
    it.s3.wait_for(|seen| !seen.is_empty()).await;
    assert_eq!(it.s3.requests().len(), 1, "{}", it.s3.describe());
    let reader = it.begin(it.client.get("/data/other").header("Cache-Control", "no-cache")).await;
    it.gate.open();
    assert_eq!(reader.await.unwrap().header("cache-status"), REVALIDATED);
    it.s3.wait_idle().await;
    within("the new object", async { while it.get("key").await.0 != "new" {} }).await;

    let it = Hanging::after(161, swr).await;
    let reader = it.begin(it.client.get("/data/key")).await;
    assert_eq!(it.get("young").await, stale());
    it.gate.open();
    assert_eq!(reader.await.unwrap().text(), "new", "it is too old");
}

#[tokio::test]
async fn r14_without_stale_while_revalidate_an_origin_that_answers_is_waited_for() {
    let (s3, _proxy, client, _) = setup().await;
    pass(61).await;
    s3.put("data", "key", Object::bytes("new"));
    assert_eq!(client.get("/data/key").send().await.text(), "new");
}
