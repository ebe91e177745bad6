//! Negative entries (R12): the requests that a cached 404 answers, for how long, and what is never cached.

use hotset::cache::{Freshness, RuleConfig};
use hotset::config::units::HumanDuration;

use crate::support::*;

const MINUTE: HumanDuration = HumanDuration::secs(60);
const MOMENT: HumanDuration = HumanDuration::millis(1);

async fn with(freshness: Freshness, negative: HumanDuration) -> (FakeS3, TestProxy, Client) {
    let s3 = FakeS3::start().await;
    let proxy = TestProxy::start_with(&s3, |config| {
        config.rules = vec![RuleConfig { freshness, negative, ..RuleConfig::default() }];
    })
    .await;
    let client = proxy.client();
    (s3, proxy, client)
}

/// Starts hotset with a negative ttl of a minute.
async fn setup() -> (FakeS3, TestProxy, Client) {
    with(Freshness::Ttl(MINUTE), MINUTE).await
}

const NEGATIVE: &str = "hotset; hit; detail=negative";

#[tokio::test]
async fn r12_a_gets_no_such_key_answers_get_and_head() {
    let (s3, _proxy, client) = setup().await;
    let first = client.get("/data/none").send().await;
    assert_eq!(
        (first.status.as_u16(), first.header("cache-status")),
        (404, "hotset; fwd=uri-miss; detail=new")
    );
    for _ in 0..2 {
        let again = client.get("/data/none").send().await;
        assert_eq!((again.status.as_u16(), again.header("cache-status")), (404, NEGATIVE));
        assert!(again.text().contains("<Code>NoSuchKey</Code>"), "{}", again.text());
        assert!(again.text().contains("<Key>none</Key>"), "{}", again.text());
        assert_ne!(again.header("x-amz-request-id"), first.header("x-amz-request-id"));
        let head = client.head("/data/none").send().await;
        assert_eq!((head.status.as_u16(), head.header("cache-status")), (404, NEGATIVE));
        assert!(head.complete && head.body.is_empty());
    }
    assert_eq!(s3.requests().len(), 1, "{}", s3.describe());
    assert_eq!(client.get("/data/other").send().await.status, 404);
    assert_eq!(s3.requests().len(), 2, "another key is another question: {}", s3.describe());
}

#[tokio::test]
async fn r12_a_heads_404_answers_head_only() {
    let (s3, _proxy, client) = setup().await;
    for status in ["hotset; fwd=uri-miss; detail=new", NEGATIVE] {
        let head = client.head("/data/k").send().await;
        assert_eq!((head.status.as_u16(), head.header("cache-status")), (404, status));
    }
    s3.put("data", "k", Object::bytes("one"));
    assert_eq!(client.head("/data/k").send().await.status, 404, "still remembered");
    assert_eq!(client.get("/data/k").send().await.text(), "one", "it has no code: a GET asks");
    assert_eq!(client.head("/data/k").send().await.status, 200, "and what it finds replaces it");
    assert_eq!(s3.requests().len(), 2, "{}", s3.describe());
}

#[tokio::test]
async fn r12_a_get_after_a_heads_404_has_the_origins_code() {
    let (s3, _proxy, client) = setup().await;
    assert_eq!(client.head("/data/none").send().await.status, 404);
    for _ in 0..2 {
        let get = client.get("/data/none").send().await;
        assert!(get.text().contains("<Code>NoSuchKey</Code>"), "{}", get.text());
    }
    assert_eq!(s3.requests().len(), 2, "{}", s3.describe());
}

#[tokio::test]
async fn r12_no_such_bucket_and_a_404_of_no_known_kind_are_not_remembered() {
    let (s3, _proxy, client) = setup().await;
    for (key, code) in [("a", "NoSuchBucket"), ("b", "NoSuchVersion"), ("c", "NotFound")] {
        s3.fault(Matcher::get(key), Always, Fault::Status(404, code));
        s3.put("data", key, Object::bytes("one"));
        let path = format!("/data/{key}");
        for asked in 1..=3 {
            let answer = client.get(&path).send().await;
            assert_eq!(answer.status, 404);
            assert!(answer.text().contains(&format!("<Code>{code}</Code>")), "{}", answer.text());
            assert_eq!(s3.count(|r| r.key == key), asked, "{}", s3.describe());
        }
    }
    s3.clear_faults();
    for key in ["a", "b", "c"] {
        assert_eq!(client.get(&format!("/data/{key}")).send().await.text(), "one");
    }
}

#[tokio::test]
async fn r12_denials_and_server_errors_are_not_remembered() {
    let (s3, _proxy, client) = setup().await;
    for (key, status, code, told) in [
        ("a", 403, "AccessDenied", 403),
        ("b", 401, "AccessDenied", 401),
        ("c", 500, "InternalError", 503),
        ("d", 503, "SlowDown", 503),
        ("e", 400, "InvalidRequest", 400),
    ] {
        s3.put("data", key, Object::bytes("one"));
        s3.fault(Matcher::any().key(key), Always, Fault::Status(status, code));
        let path = format!("/data/{key}");
        for _ in 0..2 {
            let before = s3.requests().len();
            assert_eq!(client.get(&path).send().await.status, told, "{key}");
            assert!(s3.requests().len() > before, "{key} was asked again");
            let before = s3.requests().len();
            assert_eq!(client.head(&path).send().await.status, told, "{key}");
            assert!(s3.requests().len() > before, "{key} was asked again");
        }
        s3.clear_faults();
        assert_eq!(client.get(&path).send().await.text(), "one", "{key}");
    }
}

#[tokio::test]
async fn r12_absences_are_not_remembered_under_revalidate() {
    let (s3, _proxy, client) = with(Freshness::Revalidate, MINUTE).await;
    for asked in 1..=2 {
        assert_eq!(client.get("/data/k").send().await.status, 404);
        assert_eq!(s3.requests().len(), asked, "{}", s3.describe());
    }
    assert_eq!(client.head("/data/k").send().await.status, 404);
    s3.put("data", "k", Object::bytes("one"));
    assert_eq!(client.head("/data/k").send().await.status, 200);
    assert_eq!(client.get("/data/k").send().await.text(), "one");
}

#[tokio::test]
async fn r12_a_client_that_demands_freshness_is_not_told_an_old_absence() {
    let (s3, _proxy, client) = setup().await;
    assert_eq!(client.get("/data/k").send().await.status, 404);
    s3.put("data", "k", Object::bytes("one"));
    assert_eq!(client.get("/data/k").send().await.status, 404);
    let fresh = client.get("/data/k").header("Cache-Control", "no-cache").send().await;
    assert_eq!(fresh.text(), "one");
    assert_eq!(client.get("/data/k").send().await.text(), "one");
}

/// Reads until the object that was put is returned.
async fn seen_at_last(client: &Client) {
    within("an absence to be forgotten", async {
        while client.get("/data/k").send().await.status == 404 {}
    })
    .await;
}

#[tokio::test]
async fn r12_an_absence_is_believed_no_longer_than_the_rules_ttl() {
    let (s3, _proxy, client) = with(Freshness::Ttl(MOMENT), MINUTE).await;
    assert_eq!(client.get("/data/k").send().await.status, 404);
    s3.put("data", "k", Object::bytes("one"));
    seen_at_last(&client).await;
}

#[tokio::test]
async fn r12_an_absence_passes_under_immutable_too() {
    let (s3, _proxy, client) = with(Freshness::Immutable, MOMENT).await;
    assert_eq!(client.get("/data/k").send().await.status, 404);
    s3.put("data", "k", Object::bytes("one"));
    seen_at_last(&client).await;
    // Existing objects are immutable.
    s3.put("data", "k", Object::bytes("two"));
    assert_eq!(client.get("/data/k").send().await.text(), "one");
}

#[tokio::test]
async fn r12_by_default_an_absence_is_believed_for_a_second() {
    let (s3, proxy, client) = with(Freshness::default(), RuleConfig::default().negative).await;
    assert_eq!(RuleConfig::default().negative, HumanDuration::secs(1));
    let started = std::time::Instant::now();
    assert_eq!(client.get("/data/k").send().await.status, 404);
    s3.put("data", "k", Object::bytes("one"));
    seen_at_last(&client).await;
    assert!(started.elapsed() >= HumanDuration::secs(1).0, "not before");
    drop(proxy);
}

#[tokio::test]
async fn r12_the_headers_of_a_delete_marker_are_kept() {
    let (s3, _proxy, client) = setup().await;
    s3.put("data", "k", Object::bytes("one").version_id("v1"));
    s3.delete("data", "k");
    let first = client.get("/data/k").send().await;
    assert_eq!((first.status.as_u16(), first.header("x-amz-delete-marker")), (404, "true"));
    let marker = first.header("x-amz-version-id").to_owned();
    assert!(!marker.is_empty());
    for request in [client.get("/data/k"), client.head("/data/k")] {
        let again = request.send().await;
        assert_eq!((again.status.as_u16(), again.header("x-amz-delete-marker")), (404, "true"));
        assert_eq!(again.header("x-amz-version-id"), marker);
        assert_eq!(again.header("cache-status"), NEGATIVE);
    }
    assert_eq!(s3.requests().len(), 1, "{}", s3.describe());
}

#[tokio::test]
async fn r12_a_write_through_the_proxy_ends_an_absence() {
    let (_s3, _proxy, client) = setup().await;
    assert_eq!(client.get("/data/k").send().await.status, 404);
    assert_eq!(client.head("/data/k").send().await.status, 404);
    assert_eq!(client.put("/data/k").body("one").send().await.status, 200);
    assert_eq!(client.head("/data/k").send().await.status, 200);
    assert_eq!(client.get("/data/k").send().await.text(), "one");
}

#[tokio::test]
async fn r14_what_is_denied_or_gone_is_no_longer_served() {
    for (status, code) in [(403, "AccessDenied"), (404, "NoSuchKey")] {
        let (s3, _proxy, client) = setup().await;
        s3.put("data", "k", Object::bytes("one"));
        assert_eq!(client.get("/data/k").send().await.text(), "one");
        s3.fault(Matcher::any().key("k"), Always, Fault::Status(status, code));
        let fresh = client.get("/data/k").header("Cache-Control", "no-cache").send().await;
        assert_eq!(fresh.status, status);
        // A HEAD, and a GET that gets the error code.
        assert_eq!(s3.requests().len(), 3, "{}", s3.describe());
        // Not from old metadata: the origin answers again, or has answered a moment ago.
        assert_eq!(client.get("/data/k").send().await.status, status, "{}", s3.describe());
        let asked = if status == 404 { 3 } else { 4 };
        assert_eq!(s3.requests().len(), asked, "{}", s3.describe());
    }
}

#[tokio::test]
async fn an_absent_key_read_by_many_at_once_is_asked_for_once() {
    let (s3, _proxy, client) = setup().await;
    let gate = Gate::new();
    s3.fault(Matcher::get("none"), Times(1), Fault::HoldHeader(gate.clone()));
    let reads: Vec<_> = (0..20).map(|_| tokio::spawn(client.get("/data/none").send())).collect();
    gate.wait_reached().await;
    gate.open();
    for read in reads {
        assert_eq!(read.await.unwrap().status, 404);
    }
    assert_eq!(s3.requests().len(), 1, "{}", s3.describe());
}

/// Returns the error code in the body, which boto3's exceptions are named after.
fn code(answer: &Response) -> String {
    let text = answer.text();
    let code = text.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>"));
    code.map_or_else(String::new, |(code, _)| code.to_owned())
}

/// Reads a key that is in memory and must be revalidated, after `remove` deleted it without telling hotset.
async fn first_reads_after(remove: impl Fn(&FakeS3), path: &str, expected: (u16, &str)) {
    for freshness in [Freshness::Revalidate, Freshness::Ttl(MOMENT)] {
        for (name, value) in [
            ("x-test", "1"),
            ("Range", "bytes=1-2"),
            ("Range", "bytes=-2"),
            ("Range", "bytes=-0"),
            ("If-Match", "\"other\""),
            ("x-amz-checksum-mode", "ENABLED"),
        ] {
            let (s3, _proxy, client) = with(freshness, MINUTE).await;
            s3.put("data", "k", Object::bytes("one").version_id("v1"));
            s3.put("data", "k", Object::bytes("two").version_id("v2"));
            assert_eq!(client.get(path).send().await.status, 200);
            remove(&s3);
            for _ in 0..2 {
                let answer = client.get(path).header(name, value).send().await;
                let found = (answer.status.as_u16(), &*code(&answer));
                assert_eq!(found, expected, "{name}: {value}, {freshness:?}\n{}", s3.describe());
            }
        }
    }
}

#[tokio::test]
async fn r12_the_first_get_after_a_delete_has_the_origins_code() {
    let gone = |s3: &FakeS3| {
        s3.delete_version("data", "k", "v1");
        s3.delete_version("data", "k", "v2");
    };
    first_reads_after(gone, "/data/k", (404, "NoSuchKey")).await;
}

#[tokio::test]
async fn r12_the_first_get_behind_a_delete_marker_has_the_origins_code() {
    first_reads_after(|s3| s3.delete("data", "k"), "/data/k", (404, "NoSuchKey")).await;
}

#[tokio::test]
async fn r12_the_first_get_of_a_version_that_is_gone_has_the_origins_code() {
    let gone = |s3: &FakeS3| s3.delete_version("data", "k", "v1");
    first_reads_after(gone, "/data/k?versionId=v1", (404, "NoSuchVersion")).await;
}

#[tokio::test]
async fn r12_the_first_get_in_a_bucket_that_is_gone_has_the_origins_code() {
    let gone = |s3: &FakeS3| s3.fault(Matcher::any(), Always, Fault::Status(404, "NoSuchBucket"));
    first_reads_after(gone, "/data/k", (404, "NoSuchBucket")).await;
}

#[tokio::test]
async fn what_else_a_head_is_refused_for_is_said_to_a_get_in_the_origins_code() {
    let archived = |s3: &FakeS3| {
        let refused = Fault::Status(403, "InvalidObjectState");
        s3.fault(Matcher::any(), Always, refused);
    };
    first_reads_after(archived, "/data/k", (403, "InvalidObjectState")).await;
}

#[tokio::test]
async fn r12_a_part_of_an_object_that_is_gone_has_the_origins_code() {
    let (s3, _proxy, client) = with(Freshness::Revalidate, MINUTE).await;
    s3.put("data", "k", Object::random(300, 1).parts(&[100, 200]));
    assert_eq!(client.get("/data/k?partNumber=2").send().await.status, 206);
    s3.delete("data", "k");
    for _ in 0..2 {
        let answer = client.get("/data/k?partNumber=2").send().await;
        assert_eq!((answer.status.as_u16(), &*code(&answer)), (404, "NoSuchKey"));
    }
}

#[tokio::test]
async fn r12_many_who_learn_of_a_delete_at_once_share_the_get() {
    let (s3, _proxy, client) = with(Freshness::Revalidate, MINUTE).await;
    s3.put("data", "k", Object::bytes("one"));
    assert_eq!(client.get("/data/k").send().await.status, 200);
    s3.delete("data", "k");
    s3.forget_requests();
    let gate = Gate::new();
    s3.fault(Matcher::get("k"), Times(1), Fault::HoldHeader(gate.clone()));
    let reads: Vec<_> = (0..10).map(|_| tokio::spawn(client.get("/data/k").send())).collect();
    gate.wait_reached().await;
    for _ in 0..4 {
        assert_eq!(client.get("/data/%zz").send().await.status, 400);
    }
    gate.open();
    for read in reads {
        assert_eq!(code(&read.await.unwrap()), "NoSuchKey");
    }
    // Readers that had not sent a HEAD before the GET do so, and then share another GET.
    let gets = s3.count(|request| request.method == http::Method::GET);
    assert!(gets <= 3, "{}", s3.describe());
}

#[tokio::test]
async fn r12_an_object_that_is_there_again_is_served() {
    let (s3, _proxy, client) = with(Freshness::Revalidate, MINUTE).await;
    s3.put("data", "k", Object::bytes("one"));
    assert_eq!(client.get("/data/k").send().await.status, 200);
    s3.fault(Matcher::head("k"), Times(1), Fault::Status(404, "NoSuchKey"));
    s3.put("data", "k", Object::bytes("two"));
    assert_eq!(client.get("/data/k").send().await.text(), "two");
}
