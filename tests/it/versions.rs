//! Reads by version id (R3): cached under their version, and requested again whenever the version may have been
//! deleted.

use hotset::cache::Freshness;
use hotset::config::units::HumanDuration;

use crate::conformance::rule;
use crate::support::*;

const HIT: &str = "hotset; hit";
const REVALIDATED: &str = "hotset; fwd=stale; detail=revalidated";

async fn with(freshness: Freshness) -> (FakeS3, TestProxy, Client) {
    let s3 = FakeS3::start().await;
    let proxy = TestProxy::start_with(&s3, |config| config.rules = rule(freshness)).await;
    let client = proxy.client();
    (s3, proxy, client)
}

fn two_versions(s3: &FakeS3) -> (Object, Object) {
    let (one, two) = (Object::random(300_000, 1), Object::random(300_000, 2));
    s3.put("data", "k", one.clone().version_id("v1"));
    s3.put("data", "k", two.clone().version_id("v2"));
    (one, two)
}

#[tokio::test]
async fn r3_a_version_and_the_current_object_share_their_bytes() {
    let (s3, _proxy, client) = setup().await;
    let (one, two) = two_versions(&s3);
    assert!(client.get("/data/k").send().await.body == two.all());
    let same = client.get("/data/k?versionId=v2").send().await;
    assert!(same.body == two.all());
    assert_eq!(same.header("cache-status"), HIT, "what is known of the current one is enough");
    assert_eq!(s3.requests().len(), 1, "{}", s3.describe());

    assert!(client.get("/data/k?versionId=v1").send().await.body == one.all());
    s3.delete_version("data", "k", "v2");
    let now = client.get("/data/k").header("Cache-Control", "no-cache").send().await;
    assert!(now.body == one.all());
    let gets = s3.count(|r| r.method == http::Method::GET);
    assert_eq!(gets, 2, "v1 is current, and its bytes were here: {}", s3.describe());
}

#[tokio::test]
async fn r3_a_version_is_asked_for_by_its_id_and_every_range_of_it() {
    let s3 = FakeS3::start().await;
    let proxy = TestProxy::start_with(&s3, |config| {
        config.cache.fetch = config.cache.block;
    })
    .await;
    let client = proxy.client();
    let old = Object::random(5 << 20, 1);
    s3.put("data", "k", old.clone().version_id("v/1+"));
    s3.put("data", "k", Object::bytes("new").version_id("v2"));
    let answer = client.get("/data/k?versionId=v%2F1%2B").send().await;
    assert!(answer.complete && answer.body == old.all());
    let seen = s3.requests();
    assert!(seen.len() > 2, "{}", s3.describe());
    assert!(seen.iter().all(|r| r.param("versionId").as_deref() == Some("v/1+")), "{seen:?}");
    s3.assert_each_byte_sent_once("data", "k");
}

#[tokio::test]
async fn r12_a_version_that_is_deleted_through_us_is_gone_at_once() {
    for freshness in [Freshness::Immutable, Freshness::Ttl(HumanDuration::secs(60))] {
        let (s3, _proxy, client) = with(freshness).await;
        let (one, two) = two_versions(&s3);
        for path in ["/data/k?versionId=v1", "/data/k"] {
            assert_eq!(client.get(path).send().await.status, 200);
        }
        client.delete("/data/k?versionId=v1").send().await;
        for _ in 0..2 {
            let gone = client.get("/data/k?versionId=v1").send().await;
            assert_eq!(gone.status, 404, "{freshness:?}");
            assert_eq!(client.head("/data/k?versionId=v1").send().await.status, 404);
        }
        let still = client.get("/data/k").send().await;
        assert!(still.body == two.all(), "{freshness:?}");
        assert_ne!(one.all(), two.all());
    }
}

#[tokio::test]
async fn r12_a_version_deleted_among_many_is_gone_at_once() {
    let (s3, _proxy, client) = with(Freshness::Immutable).await;
    two_versions(&s3);
    assert_eq!(client.get("/data/k?versionId=v1").send().await.status, 200);
    s3.delete_version("data", "k", "v1");
    let body = "<Delete><Object><Key>k</Key><VersionId>v1</VersionId></Object></Delete>";
    client.post("/data?delete").body(body).send().await;
    assert_eq!(client.get("/data/k?versionId=v1").send().await.status, 404);
}

#[tokio::test]
async fn r10_a_version_deleted_elsewhere_is_noticed_when_its_rule_says() {
    let (s3, _proxy, client) = with(Freshness::Revalidate).await;
    let (one, _) = two_versions(&s3);
    for status in ["hotset; fwd=uri-miss; detail=new", REVALIDATED, REVALIDATED] {
        let answer = client.get("/data/k?versionId=v1").send().await;
        assert!(answer.body == one.all());
        assert_eq!(answer.header("cache-status"), status);
    }
    s3.assert_each_byte_sent_once("data", "k");
    s3.delete_version("data", "k", "v1");
    let gone = client.get("/data/k?versionId=v1").send().await;
    assert_eq!(gone.status, 404);
    let again = client.get("/data/k?versionId=v1").send().await;
    assert!(again.text().contains("<Code>NoSuchVersion</Code>"), "{}", again.text());
}

#[tokio::test]
async fn r10_after_a_write_to_its_key_a_version_is_asked_for_once_and_keeps_its_bytes() {
    let (s3, _proxy, client) = with(Freshness::Immutable).await;
    let (one, _) = two_versions(&s3);
    assert_eq!(client.get("/data/k?versionId=v1").send().await.status, 200);
    client.put("/data/k?tagging&versionId=v1").body("<Tagging/>").send().await;
    for status in [REVALIDATED, HIT, HIT] {
        let answer = client.get("/data/k?versionId=v1").send().await;
        assert!(answer.body == one.all());
        assert_eq!(answer.header("cache-status"), status);
    }
    s3.assert_each_byte_sent_once("data", "k");
}

#[tokio::test]
async fn r14_a_version_that_may_be_deleted_is_not_served_stale() {
    let s3 = FakeS3::start().await;
    let proxy = TestProxy::start_with(&s3, |config| {
        config.rules = rule(Freshness::Revalidate);
        config.rules[0].max_stale = Some(HumanDuration::secs(60));
        config.origin.attempts = 1;
    })
    .await;
    let client = proxy.client();
    two_versions(&s3);
    assert_eq!(client.get("/data/k?versionId=v1").send().await.status, 200);
    s3.fault(Matcher::head("k"), Always, Fault::Status(500, "InternalError"));
    let stale = client.get("/data/k?versionId=v1").send().await;
    assert_eq!(stale.header("cache-status"), "hotset; hit; detail=stale-on-error");
    client.delete("/data/k?versionId=v1").send().await;
    assert_eq!(client.get("/data/k?versionId=v1").send().await.status, 503);
}

#[tokio::test]
async fn the_version_null_is_mutable_under_every_rule() {
    for freshness in [Freshness::Immutable, Freshness::Ttl(HumanDuration::secs(60))] {
        let (s3, _proxy, client) = with(freshness).await;
        s3.put("data", "k", Object::bytes("one"));
        s3.put("data", "k", Object::bytes("two").version_id("v2"));
        for _ in 0..2 {
            let null = client.get("/data/k?versionId=null").send().await;
            assert_eq!((&*null.text(), null.header("x-amz-version-id")), ("one", "null"));
            assert_eq!(client.get("/data/k").send().await.text(), "two");
        }
        s3.put("data", "k", Object::bytes("three"));
        assert_eq!(client.get("/data/k?versionId=null").send().await.text(), "three");
        assert_eq!(s3.count(|r| r.method == http::Method::GET), 3, "{}", s3.describe());
    }
}

#[tokio::test]
async fn an_origin_that_refuses_a_head_of_null_answers_for_itself() {
    let (s3, _proxy, client) = setup().await;
    s3.put("data", "k", Object::bytes("one"));
    s3.fault(Matcher::head("k"), Always, Fault::Status(400, "InvalidArgument"));
    for mode in ["x-amz-checksum-mode", "x-amz-date", "x-amz-checksum-mode"] {
        let null = client.get("/data/k?versionId=null").header(mode, "ENABLED").send().await;
        assert_eq!((null.status.as_u16(), &*null.text()), (200, "one"));
        assert_eq!(client.head("/data/k?versionId=null").send().await.status, 400);
    }
}

#[tokio::test]
async fn r2_an_answer_of_another_version_than_the_one_asked_for_is_not_kept() {
    let (s3, _proxy, client) = setup().await;
    let object = Object::bytes("one").version_id("v1").header("x-amz-version-id", "v7");
    s3.put("data", "k", object);
    for asked in [2, 3] {
        let answer = client.get("/data/k?versionId=v1").send().await;
        assert_eq!((&*answer.text(), answer.header("x-amz-version-id")), ("one", "v7"));
        assert_eq!(answer.header("cache-status"), "hotset; fwd=bypass");
        assert_eq!(s3.requests().len(), asked, "{}", s3.describe());
    }
}

#[tokio::test]
async fn r6_asking_for_versions_that_never_were_keeps_nothing_else_from_being_admitted() {
    let (s3, _proxy, client) = setup().await;
    let (_, two) = two_versions(&s3);
    let gate = Gate::new();
    s3.fault(
        Matcher::get("k").when(|r| !r.has_param("versionId")),
        Times(1),
        Fault::HoldHeader(gate.clone()),
    );
    let read = tokio::spawn(client.get("/data/k").send());
    gate.wait_reached().await;
    for path in ["/data/k?versionId=v8", "/data/k?versionId=v9"] {
        assert_eq!(client.get(path).send().await.status, 404);
        assert_eq!(client.head(path).send().await.status, 404);
    }
    gate.open();
    assert!(read.await.unwrap().body == two.all());
    assert_eq!(client.get("/data/k").send().await.header("cache-status"), HIT);
}

#[tokio::test]
async fn r3_who_may_not_read_versions_is_told_so() {
    let (s3, _proxy, client) = setup().await;
    let (_, two) = two_versions(&s3);
    s3.fault(Matcher::any().query("versionId"), Always, Fault::Status(403, "AccessDenied"));
    for _ in 0..2 {
        assert_eq!(client.get("/data/k?versionId=v1").send().await.status, 403);
        assert_eq!(client.head("/data/k?versionId=v1").send().await.status, 403);
        assert!(client.get("/data/k").send().await.body == two.all());
    }
}
