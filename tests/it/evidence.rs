//! Passed-through responses are evidence (R34): they mark stale what they contradict, and nothing else.

use hotset::cache::{Freshness, RuleConfig};
use hotset::config::units::HumanDuration;
use http::Method;

use crate::support::*;

const SIZE: u64 = 100_000;
const KEYS: [&str; 4] = ["a", "b", "dir/c", "e"];
/// Listings by version 2, by version 1, and of all versions.
const LISTINGS: [&str; 3] =
    ["/data?list-type=2&encoding-type=url", "/data?encoding-type=url", "/data?versions"];

/// Starts hotset with a ttl of a minute for everything; the objects of [`KEYS`] are in memory.
async fn with_objects() -> (FakeS3, TestProxy, Client) {
    let s3 = FakeS3::start().await;
    let minute = HumanDuration::secs(60);
    let proxy = TestProxy::start_with(&s3, |config| {
        let rule = RuleConfig { negative: minute, ..RuleConfig::default() };
        config.rules = vec![rule];
    })
    .await;
    let client = proxy.client();
    for (seed, key) in (1..).zip(KEYS) {
        s3.put("data", key, Object::random(SIZE, seed));
        assert_eq!(client.get(&format!("/data/{key}")).send().await.status, 200);
    }
    s3.wait_idle().await;
    s3.forget_requests();
    (s3, proxy, client)
}

fn heads(s3: &FakeS3) -> usize {
    s3.count(|request| request.method == Method::HEAD)
}

async fn list(client: &Client, path: &str) -> Response {
    let answer = client.get(path).send().await;
    assert!(answer.status == 200 && answer.complete, "{answer:?}");
    answer
}

#[tokio::test]
async fn r34_an_object_that_a_listing_shows_changed_is_confirmed() {
    for path in LISTINGS {
        let (s3, _proxy, client) = with_objects().await;
        let new = Object::random(2 * SIZE, 9);
        s3.put("data", "b", new.clone());
        assert!(client.get("/data/b").send().await.body != new.all(), "within its ttl");
        list(&client, path).await;
        let answer = client.get("/data/b").send().await;
        assert!(answer.status == 200 && answer.body == new.all(), "{path}");
        assert_eq!(heads(&s3), 1, "{path}\n{}", s3.describe());
        s3.wait_idle().await;
        s3.forget_requests();
        for key in KEYS {
            assert_eq!(client.get(&format!("/data/{key}")).send().await.status, 200);
        }
        assert_eq!(s3.requests().len(), 0, "{path}\n{}", s3.describe());
    }
}

/// s3fs, pyarrow, `DuckDB` and polars take sizes and `ETag`s from a listing.
#[tokio::test]
async fn r34_reads_by_the_size_and_etag_of_a_listing_get_the_new_object() {
    for path in LISTINGS {
        let (s3, _proxy, client) = with_objects().await;
        let new = Object::random(2 * SIZE, 9);
        s3.put("data", "b", new.clone());
        let etag = new.etag_value().unwrap().to_owned();
        assert!(list(&client, path).await.text().contains(etag.trim_matches('"')));
        let tail = client.get("/data/b").range("bytes=150000-199999").send().await;
        assert!(tail.status == 206 && tail.body == new.all()[150_000..], "{path}");
        let pinned = client.get("/data/b").header("If-Match", &etag).send().await;
        assert!(pinned.status == 200 && pinned.body == new.all(), "{path}");
        assert_eq!(heads(&s3), 1, "{path}\n{}", s3.describe());
    }
}

#[tokio::test]
async fn r34_a_listing_streams_as_it_is() {
    let (s3, _proxy, client) = with_objects().await;
    let direct = Client::new(s3.addr()).get(LISTINGS[0]).send().await;
    let gate = Gate::new();
    s3.fault(Matcher::any().key(""), Times(1), Fault::HoldBodyAfter(200, gate.clone()));
    let mut listing = client.open(LISTINGS[0]).await;
    let first = listing.read(200).await;
    assert_eq!(first, direct.body[..200], "while the origin holds the rest");
    gate.open();
    let rest = listing.finish().await;
    assert!(rest.complete && rest.body == direct.body[200..]);
}

#[tokio::test]
async fn r34_an_encoded_listing_is_left_alone() {
    let (s3, _proxy, client) = with_objects().await;
    s3.put("data", "b", Object::random(2 * SIZE, 9));
    let direct = Client::new(s3.addr()).get(LISTINGS[0]).send().await;
    let gzip = Fault::SetHeader("Content-Encoding", "gzip".to_owned());
    s3.fault(Matcher::any().key(""), Times(1), gzip);
    assert!(list(&client, LISTINGS[0]).await.body == direct.body);
    assert_eq!(client.get("/data/b").send().await.header("cache-status"), "hotset; hit");
}

#[tokio::test]
async fn r34_a_broken_listing_shows_no_absences() {
    let (s3, _proxy, client) = with_objects().await;
    s3.delete("data", "b");
    let whole = Client::new(s3.addr()).get(LISTINGS[0]).send().await.body.len() as u64;
    s3.fault(Matcher::any().key(""), Times(1), Fault::CutAfter(whole - 5));
    assert!(!client.get(LISTINGS[0]).send().await.complete);
    assert_eq!(client.get("/data/b").send().await.header("cache-status"), "hotset; hit");
}

#[tokio::test]
async fn r34_of_two_objects_of_one_size_the_etag_tells() {
    let (s3, _proxy, client) = with_objects().await;
    let new = Object::random(SIZE, 9);
    s3.put("data", "dir/c", new.clone());
    list(&client, LISTINGS[0]).await;
    assert!(client.get("/data/dir/c").send().await.body == new.all());
}

#[tokio::test]
async fn r34_a_listing_that_shows_what_is_known_costs_nothing() {
    let (s3, _proxy, client) = with_objects().await;
    for path in LISTINGS {
        list(&client, path).await;
        list(&client, &format!("{path}&max-keys=2")).await;
        list(&client, &format!("{path}&prefix=dir%2F")).await;
        list(&client, &format!("{path}&delimiter=%2F")).await;
    }
    s3.forget_requests();
    for key in KEYS {
        let answer = client.get(&format!("/data/{key}")).send().await;
        assert_eq!(answer.header("cache-status"), "hotset; hit", "{key}");
    }
    assert_eq!(s3.requests().len(), 0, "{}", s3.describe());
}

#[tokio::test]
async fn r34_a_key_that_a_listing_shows_ends_its_absence() {
    let (s3, _proxy, client) = with_objects().await;
    for path in LISTINGS {
        s3.delete("data", "new");
        let gone = client.get("/data/new").header("Cache-Control", "no-cache").send().await;
        assert_eq!(gone.status, 404);
        s3.put("data", "new", Object::bytes("one"));
        assert_eq!(client.get("/data/new").send().await.status, 404, "within its time");
        list(&client, path).await;
        assert_eq!(client.get("/data/new").send().await.text(), "one", "{path}");
    }
}

#[tokio::test]
async fn r34_a_key_that_is_missing_between_two_others_is_confirmed() {
    let (s3, _proxy, client) = with_objects().await;
    s3.delete("data", "b");
    s3.delete("data", "e");
    list(&client, LISTINGS[0]).await;
    let gone = client.get("/data/b").send().await;
    assert!(gone.status == 404 && gone.text().contains("<Code>NoSuchKey</Code>"));
    // Nothing is known about keys after the last one of a page.
    assert_eq!(client.get("/data/e").send().await.header("cache-status"), "hotset; hit");
}

#[tokio::test]
async fn r34_what_a_page_does_not_reach_or_rolls_up_is_not_missing() {
    let (s3, _proxy, client) = with_objects().await;
    for key in ["b", "dir/c"] {
        s3.delete("data", key);
    }
    // Only `a`, then only `e`; and objects in `dir/` are not listed one by one.
    list(&client, "/data?list-type=2&max-keys=1").await;
    list(&client, "/data?list-type=2&prefix=e").await;
    list(&client, "/data?list-type=2&delimiter=%2F").await;
    let hit = |answer: Response| answer.header("cache-status") == "hotset; hit";
    assert!(hit(client.get("/data/dir/c").send().await));
    assert!(!hit(client.get("/data/b").send().await), "between `a` and `e`");
}

#[tokio::test]
async fn r34_what_a_head_refutes_is_ignored_until_the_object_changes() {
    let (s3, _proxy, client) = with_objects().await;
    // Reads and listings always have different `ETag`s.
    let odd = Fault::All(vec![Fault::WrongETag, Fault::IgnoreIfMatch]);
    s3.fault(Matcher::any().key("b"), Always, odd);
    let fresh = client.get("/data/b").header("Cache-Control", "no-cache").send().await;
    assert_eq!(fresh.status, 200);
    s3.wait_idle().await;
    s3.forget_requests();
    for _ in 0..3 {
        list(&client, LISTINGS[0]).await;
        assert_eq!(client.get("/data/b").send().await.status, 200);
        assert_eq!(heads(&s3), 1, "{}", s3.describe());
    }
    let new = Object::random(2 * SIZE, 9);
    s3.put("data", "b", new.clone());
    list(&client, LISTINGS[0]).await;
    assert!(client.get("/data/b").send().await.body == new.all());
}

#[tokio::test]
async fn r34_a_read_that_bypasses_shows_what_changed() {
    for method in [Method::GET, Method::HEAD] {
        let (s3, _proxy, client) = with_objects().await;
        let bypassing = |key: &str| {
            let path = format!("/data/{key}");
            client.request(method.clone(), &path).header("x-amz-test", "1").send()
        };
        let new = Object::random(SIZE, 9);
        s3.put("data", "b", new.clone());
        s3.delete("data", "dir/c");
        assert_eq!(bypassing("a").await.header("cache-status"), "hotset; fwd=bypass");
        assert_eq!(bypassing("b").await.status, 200);
        assert_eq!(bypassing("dir/c").await.status, 404);
        assert_eq!(client.get("/data/a").send().await.header("cache-status"), "hotset; hit");
        assert!(client.get("/data/b").send().await.body == new.all());
        assert_eq!(client.get("/data/dir/c").send().await.status, 404);
        s3.put("data", "dir/c", new.clone());
        assert_eq!(client.get("/data/dir/c").send().await.status, 404, "within its time");
        assert_eq!(bypassing("dir/c").await.status, 200);
        assert!(client.get("/data/dir/c").send().await.body == new.all());
    }
}

#[tokio::test]
async fn r34_answers_about_something_else_are_no_evidence() {
    let (s3, _proxy, client) = with_objects().await;
    s3.fault(Matcher::any().query("acl"), Always, Fault::Status(404, "NoSuchKey"));
    assert_eq!(client.get("/data/b?acl").send().await.status, 404);
    s3.fault(Matcher::any().query("partNumber"), Always, Fault::WrongETag);
    let part = client.get("/data/b?partNumber=1").header("x-amz-test", "1");
    assert_eq!(part.send().await.status, 206);
    s3.fault(Matcher::any().key("e"), Times(1), Fault::Status(403, "AccessDenied"));
    let denied = client.get("/data/e").header("x-amz-test", "1").send().await;
    assert_eq!(denied.status, 403);
    s3.fault(Matcher::any().key(""), Times(1), Fault::Status(404, "NoSuchBucket"));
    assert_eq!(client.get(LISTINGS[0]).send().await.status, 404);
    for key in KEYS {
        let answer = client.get(&format!("/data/{key}")).send().await;
        assert_eq!(answer.header("cache-status"), "hotset; hit", "{key}");
    }
}

#[tokio::test]
async fn r34_what_was_confirmed_since_a_listing_was_sent_stays() {
    let (s3, _proxy, client) = with_objects().await;
    let gate = Gate::new();
    s3.fault(Matcher::any().key(""), Times(1), Fault::HoldHeader(gate.clone()));
    let listing = tokio::spawn(client.get(LISTINGS[0]).send());
    gate.wait_reached().await;
    let new = Object::random(SIZE, 9);
    s3.put("data", "b", new.clone());
    let fresh = client.get("/data/b").header("Cache-Control", "no-cache").send().await;
    assert!(fresh.body == new.all());
    gate.open();
    assert_eq!(listing.await.unwrap().status, 200);
    s3.wait_idle().await;
    s3.forget_requests();
    assert!(client.get("/data/b").send().await.body == new.all());
    assert_eq!(s3.requests().len(), 0, "{}", s3.describe());
}

#[tokio::test]
async fn r34_a_confirmation_sent_before_a_listing_does_not_undo_it() {
    let (s3, _proxy, client) = with_objects().await;
    let gate = Gate::new();
    s3.fault(Matcher::head("b"), Times(1), Fault::HoldHeader(gate.clone()));
    let early = client.get("/data/b").header("Cache-Control", "no-cache");
    let early = tokio::spawn(early.send());
    gate.wait_reached().await;
    let new = Object::random(SIZE, 9);
    s3.put("data", "b", new.clone());
    list(&client, LISTINGS[0]).await;
    gate.open();
    assert_eq!(early.await.unwrap().status, 200);
    assert!(client.get("/data/b").send().await.body == new.all());
}

#[tokio::test]
async fn r34_a_fill_in_flight_is_fenced() {
    let (s3, _proxy, client) = with_objects().await;
    let (old, new) = (Object::random(4 * SIZE, 7), Object::random(4 * SIZE, 8));
    s3.put("data", "f", old.clone());
    let gate = Gate::new();
    s3.fault(Matcher::get("f"), Times(1), Fault::HoldBodyAfter(SIZE, gate.clone()));
    let early = client.get("/data/f").start(0).await;
    gate.wait_reached().await;
    s3.put("data", "f", new.clone());
    list(&client, LISTINGS[0]).await;
    let late = client.get("/data/f").send().await;
    assert!(late.status == 200 && late.body == new.all());
    gate.open();
    assert!(early.finish().await.body == old.all(), "it arrived before");
    let again = client.get("/data/f").send().await;
    assert!(again.body == new.all() && again.header("cache-status") == "hotset; hit");
}

#[tokio::test]
async fn r34_evidence_counts_under_immutable_and_is_never_served_stale() {
    let s3 = FakeS3::start().await;
    let proxy = TestProxy::start_with(&s3, |config| {
        config.rules[0].freshness = Freshness::Immutable;
        config.rules[0].max_stale = Some(HumanDuration::secs(600));
    })
    .await;
    let client = proxy.client();
    s3.put("data", "k", Object::random(SIZE, 1));
    assert_eq!(client.get("/data/k").send().await.status, 200);
    let new = Object::random(SIZE, 2);
    s3.put("data", "k", new.clone());
    list(&client, LISTINGS[0]).await;
    s3.fault(Matcher::any().key("k"), Always, Fault::Status(500, "InternalError"));
    assert_eq!(client.get("/data/k").send().await.status, 503);
    s3.clear_faults();
    assert!(client.get("/data/k").send().await.body == new.all());
}

#[tokio::test]
async fn r34_a_412_to_a_write_ends_what_it_contradicts() {
    let (s3, _proxy, client) = with_objects().await;
    assert_eq!(client.get("/data/new").send().await.status, 404);
    s3.put("data", "new", Object::bytes("one"));
    let refused = client.put("/data/new").header("If-None-Match", "*").body("two").send().await;
    assert_eq!(refused.status, 412);
    assert_eq!(client.get("/data/new").send().await.text(), "one");
}

/// The page has more keys than are copied from the index at a time.
#[tokio::test]
async fn r34_a_long_page_is_compared_to_its_end() {
    let (s3, _proxy, client) = with_objects().await;
    let key = |n: usize| format!("many/{n:04} &+%");
    let path = |n: usize| format!("/data/many/{n:04}%20%26%2B%25");
    for n in 0..300 {
        s3.put("data", &key(n), Object::bytes(format!("old {n}")));
        assert_eq!(client.get(&path(n)).send().await.status, 200);
    }
    for n in (0..300).step_by(7) {
        s3.put("data", &key(n), Object::bytes(format!("new {n}")));
    }
    for n in (3..298).step_by(7) {
        s3.delete("data", &key(n));
    }
    list(&client, LISTINGS[0]).await;
    s3.forget_requests();
    for n in 0..300 {
        let answer = client.get(&path(n)).send().await;
        match n % 7 {
            0 => assert_eq!(answer.text(), format!("new {n}")),
            3 if n < 298 => assert_eq!(answer.status, 404, "{n}"),
            _ => assert_eq!(answer.header("cache-status"), "hotset; hit", "{n}"),
        }
    }
}

/// A page that agreed with the cache and is sent again is not compared again, unless something was learned since.
#[tokio::test]
async fn r34_a_page_that_comes_again_counts_against_what_was_learned_since() {
    let (s3, _proxy, client) = with_objects().await;
    for path in LISTINGS {
        let (old, new) = (Object::random(SIZE, 20), Object::random(2 * SIZE, 21));
        s3.put("data", "b", old.clone());
        for _ in 0..3 {
            list(&client, path).await;
        }
        assert!(client.get("/data/b").send().await.body == old.all(), "{path}");
        list(&client, path).await;
        // Read while it was another object, and put back: the page is the same again, byte by byte.
        s3.put("data", "b", new.clone());
        let read = client.get("/data/b").header("Cache-Control", "no-cache").send().await;
        assert!(read.body == new.all(), "{path}");
        s3.put("data", "b", old.clone());
        list(&client, path).await;
        assert!(client.get("/data/b").send().await.body == old.all(), "{path}");
    }
}

/// The part of a listing that the client has received counts as evidence before the rest arrives.
#[tokio::test]
async fn r34_a_listing_that_is_cut_counts_as_far_as_it_came() {
    let (s3, _proxy, client) = with_objects().await;
    let new = Object::random(SIZE, 9);
    s3.put("data", "a", new.clone());
    let whole = Client::new(s3.addr()).get(LISTINGS[0]).send().await.body.len() as u64;
    s3.fault(Matcher::any().key(""), Times(1), Fault::CutAfter(whole - 5));
    assert!(!client.get(LISTINGS[0]).send().await.complete);
    assert!(client.get("/data/a").send().await.body == new.all());
    // The client disconnects.
    let newer = Object::random(SIZE, 10);
    s3.put("data", "a", newer.clone());
    let gate = Gate::new();
    s3.fault(Matcher::any().key(""), Times(1), Fault::HoldBodyAfter(whole - 5, gate.clone()));
    let mut listing = client.open(LISTINGS[0]).await;
    listing.read(usize::try_from(whole - 5).unwrap()).await;
    drop(listing);
    gate.open();
    let seen = async {
        while client.get("/data/a").send().await.body != newer.all() {
            tokio::task::yield_now().await;
        }
    };
    within("what a client saw counts", seen).await;
}
