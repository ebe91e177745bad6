//! Revalidation: when the origin is asked whether an object changed, and which readers share the answer (R5, R6, R7,
//! R10).

use std::time::Duration;

use futures_util::future::join_all;
use hotset::cache::{Freshness, RuleConfig};
use hotset::config::units::HumanDuration;
use http::Method;

use crate::support::{
    Always, Client, FakeS3, Fault, Gate, Matcher, Object, Response, TestProxy, Times, Upload,
};

const SIZE: u64 = 300_000;

async fn setup(freshness: Freshness) -> (FakeS3, TestProxy, Client) {
    let s3 = FakeS3::start().await;
    let change = |config: &mut hotset::config::Config| config.rules[0].freshness = freshness;
    let proxy = TestProxy::start_with(&s3, change).await;
    let client = proxy.client();
    (s3, proxy, client)
}

fn ttl() -> Freshness {
    Freshness::default()
}

/// Advances the clock by this many seconds, for ages; no request may be in flight.
async fn pass(seconds: u64) {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(seconds)).await;
    tokio::time::resume();
}

/// Returns when the proxy has most likely read everything that was sent before: after some round trips that need no
/// origin.
async fn caught_up(client: &Client) {
    for _ in 0..4 {
        assert_eq!(client.get("/data/%zz").send().await.status, 400);
    }
}

async fn no_cache(client: &Client) -> Response {
    client.get("/data/key").header("Cache-Control", "no-cache").send().await
}

fn heads(s3: &FakeS3) -> usize {
    s3.count(|r| r.method == Method::HEAD)
}

fn gets(s3: &FakeS3) -> usize {
    s3.count(|r| r.method == Method::GET)
}

fn assert_is(answer: &Response, object: &Object) {
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("etag"), object.etag_value().unwrap());
    assert!(answer.complete && answer.body == object.all());
}

#[tokio::test]
async fn r10_revalidate_asks_with_a_head_without_conditions_and_reads_from_memory() {
    let (s3, _proxy, client) = setup(Freshness::Revalidate).await;
    let object = Object::random(SIZE, 1);
    s3.put("data", "key", object.clone());
    for _ in 0..3 {
        assert_is(&client.get("/data/key").send().await, &object);
    }
    assert_eq!((gets(&s3), heads(&s3)), (1, 2), "{}", s3.describe());
    for request in s3.requests() {
        assert!(request.headers.keys().all(|name| !name.as_str().starts_with("if-")));
    }
    let new = Object::random(SIZE, 2);
    s3.put("data", "key", new.clone());
    assert_is(&client.get("/data/key").send().await, &new);
    s3.delete("data", "key");
    assert_eq!(client.get("/data/key").send().await.status, 404);
}

#[tokio::test]
async fn r10_headers_that_changed_are_replaced_and_blocks_kept() {
    let (s3, _proxy, client) = setup(ttl()).await;
    let object = Object::random(SIZE, 3).header("x-amz-meta-old", "1");
    s3.put("data", "key", object.clone());
    assert_is(&client.get("/data/key").send().await, &object);
    let changed = Object::random(SIZE, 3)
        .header("Content-Type", "text/plain")
        .last_modified("Thu, 02 Jan 2025 00:00:00 GMT");
    s3.put("data", "key", changed.clone());
    let answer = no_cache(&client).await;
    assert_is(&answer, &changed);
    assert_eq!(answer.header("content-type"), "text/plain");
    assert_eq!(answer.header("x-amz-meta-old"), "");
    assert_eq!(answer.header("last-modified"), "Thu, 02 Jan 2025 00:00:00 GMT");
    let answer = client.get("/data/key").send().await;
    assert_eq!(answer.header("content-type"), "text/plain");
    assert_eq!((gets(&s3), heads(&s3)), (1, 1), "{}", s3.describe());
}

#[tokio::test]
async fn r10_a_copy_onto_itself_changes_the_content_type() {
    let (s3, _proxy, client) = setup(ttl()).await;
    let object = Object::random(SIZE, 4);
    s3.put("data", "key", object.clone());
    assert_is(&client.get("/data/key").send().await, &object);
    let copy = client
        .put("/data/key")
        .header("x-amz-copy-source", "/data/key")
        .header("x-amz-metadata-directive", "REPLACE")
        .header("Content-Type", "text/csv");
    assert_eq!(copy.send().await.status, 200);
    let answer = client.get("/data/key").send().await;
    assert_is(&answer, &object);
    assert_eq!(answer.header("content-type"), "text/csv");
}

#[tokio::test]
async fn r7_no_cache_does_not_join_an_opening_that_was_sent_before() {
    let (s3, _proxy, client) = setup(ttl()).await;
    let (old, new) = (Object::random(SIZE, 5), Object::random(SIZE, 6));
    s3.put("data", "key", old.clone());
    let gate = Gate::new();
    s3.fault(Matcher::get("key"), Times(1), Fault::HoldHeader(gate.clone()));
    let early = client.get("/data/key").start(0).await;
    gate.wait_reached().await;
    s3.put("data", "key", new.clone());
    assert_is(&no_cache(&client).await, &new);
    gate.open();
    let answer = early.finish().await;
    assert!(answer.status == 200 && answer.complete);
    assert!(answer.body == old.all() || answer.body == new.all());
    assert_is(&no_cache(&client).await, &new);
}

/// Holds the first HEAD, changes the object, and lets readers arrive; all must see the change and share one HEAD.
async fn readers_behind_a_held_head(freshness: Freshness, header: (&str, &str)) {
    let (s3, _proxy, client) = setup(freshness).await;
    let (old, new) = (Object::random(SIZE, 7), Object::random(SIZE, 8));
    s3.put("data", "key", old.clone());
    assert_is(&client.get("/data/key").send().await, &old);
    let gate = Gate::new();
    s3.fault(Matcher::head("key"), Times(1), Fault::HoldHeader(gate.clone()));
    let ask = || client.get("/data/key").header(header.0, header.1).start(0);
    let early = ask().await;
    gate.wait_reached().await;
    s3.put("data", "key", new.clone());
    let late = join_all((0..8).map(|_| ask())).await;
    caught_up(&client).await;
    gate.open();
    let answer = early.finish().await;
    assert!(answer.complete || answer.body.is_empty());
    for answer in join_all(late.into_iter().map(Upload::finish)).await {
        assert_is(&answer, &new);
    }
    // The held HEAD, the one that the readers share, and at most one that the early reader needs to start again.
    assert!((2..=3).contains(&heads(&s3)), "{}", s3.describe());
}

#[tokio::test]
async fn r7_revalidate_shares_the_next_head_and_never_joins_an_earlier_one() {
    readers_behind_a_held_head(Freshness::Revalidate, ("x-test", "1")).await;
}

#[tokio::test]
async fn r7_no_cache_shares_the_next_head_and_never_joins_an_earlier_one() {
    readers_behind_a_held_head(ttl(), ("Cache-Control", "no-cache")).await;
}

#[tokio::test]
async fn r7_a_head_that_demands_the_state_of_now_does_not_join_an_earlier_one() {
    let (s3, _proxy, client) = setup(ttl()).await;
    s3.put("data", "key", Object::random(SIZE, 9));
    let gate = Gate::new();
    s3.fault(Matcher::head("key"), Times(1), Fault::HoldHeader(gate.clone()));
    let early = client.head("/data/key").start(0).await;
    gate.wait_reached().await;
    let new = Object::random(SIZE + 1, 10);
    s3.put("data", "key", new.clone());
    let late = client.head("/data/key").header("Cache-Control", "no-cache").start(0).await;
    caught_up(&client).await;
    gate.open();
    assert_eq!(early.finish().await.status, 200);
    assert_eq!(late.finish().await.header("etag"), new.etag_value().unwrap());
}

#[tokio::test]
async fn r7_checksums_for_a_read_that_demands_the_state_of_now_come_from_a_later_head() {
    let (s3, _proxy, client) = setup(ttl()).await;
    s3.put("data", "key", Object::random(SIZE, 11).header("Content-Type", "text/old"));
    let gate = Gate::new();
    s3.fault(Matcher::head("key"), Times(1), Fault::HoldHeader(gate.clone()));
    let early = client.head("/data/key").start(0).await;
    gate.wait_reached().await;
    // A copy onto itself: the same ETag, other headers.
    s3.put("data", "key", Object::random(SIZE, 11).header("Content-Type", "text/new"));
    let late = client
        .get("/data/key")
        .header("Cache-Control", "no-cache")
        .header("x-amz-checksum-mode", "ENABLED")
        .start(0)
        .await;
    caught_up(&client).await;
    gate.open();
    assert_eq!(early.finish().await.status, 200);
    assert_eq!(late.finish().await.header("content-type"), "text/new");
}

#[tokio::test]
async fn a_ttl_that_has_passed_costs_one_head_for_all_who_wait() {
    let (s3, _proxy, client) = setup(ttl()).await;
    let object = Object::random(SIZE, 12);
    s3.put("data", "key", object.clone());
    assert_is(&client.get("/data/key").send().await, &object);
    pass(59).await;
    assert_is(&client.get("/data/key").send().await, &object);
    assert_eq!(heads(&s3), 0);
    pass(2).await;
    let gate = Gate::new();
    s3.fault(Matcher::head("key"), Times(1), Fault::HoldHeader(gate.clone()));
    let waiting = join_all((0..8).map(|_| client.get("/data/key").start(0))).await;
    gate.wait_reached().await;
    caught_up(&client).await;
    gate.open();
    for answer in join_all(waiting.into_iter().map(Upload::finish)).await {
        assert_is(&answer, &object);
    }
    assert_is(&client.get("/data/key").send().await, &object);
    assert_eq!((gets(&s3), heads(&s3)), (1, 1), "{}", s3.describe());
}

#[tokio::test]
async fn a_ttl_that_has_passed_shows_what_changed() {
    let (s3, _proxy, client) = setup(Freshness::Ttl(HumanDuration(Duration::from_secs(5)))).await;
    let (old, new) = (Object::random(SIZE, 13), Object::random(SIZE, 14));
    s3.put("data", "key", old.clone());
    assert_is(&client.get("/data/key").send().await, &old);
    s3.put("data", "key", new.clone());
    assert_is(&client.get("/data/key").send().await, &old);
    pass(6).await;
    assert_is(&client.get("/data/key").send().await, &new);
}

#[tokio::test]
async fn immutable_never_asks_again_but_for_no_cache() {
    let (s3, _proxy, client) = setup(Freshness::Immutable).await;
    let (old, new) = (Object::random(SIZE, 15), Object::random(SIZE, 16));
    s3.put("data", "key", old.clone());
    assert_is(&client.get("/data/key").send().await, &old);
    s3.put("data", "key", new.clone());
    pass(1_000_000).await;
    assert_is(&client.get("/data/key").send().await, &old);
    assert_is(&no_cache(&client).await, &new);
}

#[tokio::test]
async fn r5_an_opening_from_before_a_write_answers_nobody_who_came_after_it() {
    let (s3, _proxy, client) = setup(ttl()).await;
    let old = Object::random(SIZE, 17);
    s3.put("data", "key", old.clone());
    let gate = Gate::new();
    s3.fault(Matcher::get("key"), Times(1), Fault::HoldHeader(gate.clone()));
    let early = client.get("/data/key").start(0).await;
    gate.wait_reached().await;
    assert_eq!(client.put("/data/key").body("new").send().await.status, 200);
    assert_eq!(client.get("/data/key").send().await.text(), "new");
    gate.open();
    // It arrived before the write: either object is right for it, if it is whole.
    let answer = early.finish().await;
    assert!(answer.complete && (answer.body == old.all() || answer.text() == "new"));
    // Its response was not admitted to the cache.
    assert_eq!(client.get("/data/key").send().await.text(), "new");
    s3.forget_requests();
    assert_eq!(client.get("/data/key").send().await.text(), "new");
    assert_eq!(s3.requests().len(), 0, "{}", s3.describe());
}

#[tokio::test]
async fn r5_a_head_from_before_a_write_answers_nobody_who_came_after_it() {
    let (s3, _proxy, client) = setup(ttl()).await;
    s3.put("data", "key", Object::random(SIZE, 18));
    let gate = Gate::new();
    s3.fault(Matcher::head("key"), Times(1), Fault::HoldHeader(gate.clone()));
    let early = client.head("/data/key").start(0).await;
    gate.wait_reached().await;
    assert_eq!(client.put("/data/key").body("new").send().await.status, 200);
    assert_eq!(client.head("/data/key").send().await.header("content-length"), "3");
    gate.open();
    assert_eq!(early.finish().await.header("content-length"), SIZE.to_string());
    assert_eq!(client.head("/data/key").send().await.header("content-length"), "3");
    assert_eq!(client.get("/data/key").send().await.text(), "new");
}

#[tokio::test]
async fn r6_a_fill_that_began_before_a_write_is_not_admitted_after_it() {
    let (s3, _proxy, client) = setup(ttl()).await;
    let old = Object::random(SIZE, 19);
    s3.put("data", "key", old.clone());
    let gate = Gate::new();
    s3.fault(Matcher::get("key"), Times(1), Fault::HoldBodyAfter(100_000, gate.clone()));
    let mut early = client.open("/data/key").await;
    assert_eq!(early.read(100_000).await, old.slice(0..100_000));
    assert_eq!(client.put("/data/key").body("new").send().await.status, 200);
    gate.open();
    assert!(early.rest().await == old.slice(100_000..SIZE));
    assert_eq!(early.complete(), Some(true));
    assert_eq!(client.get("/data/key").send().await.text(), "new");
}

#[tokio::test]
async fn r6_an_absence_from_before_a_write_is_not_remembered_after_it() {
    let (s3, _proxy, client) = setup(ttl()).await;
    let gate = Gate::new();
    s3.fault(Matcher::get("key"), Times(1), Fault::HoldHeader(gate.clone()));
    let early = client.get("/data/key").start(0).await;
    gate.wait_reached().await;
    assert_eq!(client.put("/data/key").body("new").send().await.status, 200);
    gate.open();
    assert_eq!(early.finish().await.status, 404);
    assert_eq!(client.get("/data/key").send().await.text(), "new");
}

#[tokio::test]
async fn r13_no_cache_and_max_age_0_are_confirmed_before_each_answer() {
    for value in ["no-cache", "public, max-age=0", "max-age=\"0\"", "s-maxage=0", "No-Cache=\"x\""]
    {
        let (s3, _proxy, client) = setup(ttl()).await;
        for content in ["first content", "other content"] {
            s3.put("data", "k", Object::bytes(content).header("Cache-Control", value));
            for _ in 0..2 {
                let answer = client.get("/data/k").send().await;
                assert_eq!((&*answer.text(), answer.header("cache-control")), (content, value));
                s3.wait_idle().await;
            }
        }
        let gets = s3.count(|request| request.method == Method::GET);
        let heads = s3.count(|request| request.method == Method::HEAD);
        assert_eq!((gets, heads), (2, 3), "{value}: {}", s3.describe());
    }
}

#[tokio::test]
async fn r13_no_cache_is_obeyed_only_under_a_ttl_and_where_the_rule_says_so() {
    let ignoring = RuleConfig { obey_no_store: false, ..RuleConfig::default() };
    let immutable = RuleConfig { freshness: Freshness::Immutable, ..RuleConfig::default() };
    for rule in [ignoring, immutable] {
        let s3 = FakeS3::start().await;
        let proxy = TestProxy::start_with(&s3, |config| config.rules = vec![rule]).await;
        let client = proxy.client();
        s3.put("data", "k", Object::bytes("one").header("Cache-Control", "no-cache, max-age=0"));
        for _ in 0..3 {
            assert_eq!(client.get("/data/k").send().await.text(), "one");
        }
        assert_eq!(s3.requests().len(), 1, "{}", s3.describe());
    }
}

/// `no-cache` also forbids stale responses while the origin is down.
#[tokio::test]
async fn r13_no_cache_is_not_served_stale() {
    let s3 = FakeS3::start().await;
    let proxy = TestProxy::start_with(&s3, |config| {
        config.rules[0].max_stale = Some(HumanDuration::secs(600));
    })
    .await;
    let client = proxy.client();
    for (value, status) in [("no-cache", 503), ("public", 200)] {
        s3.put("data", value, Object::bytes("one").header("Cache-Control", value));
        assert_eq!(client.get(&format!("/data/{value}")).send().await.status, 200);
        s3.fault(Matcher::any().key(value), Always, Fault::Status(500, "InternalError"));
        let again = client.get(&format!("/data/{value}")).send().await;
        assert_eq!(again.status, status, "{value}");
    }
}
