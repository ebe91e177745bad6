//! Lists and `HeadBucket`, cached by rule for a short time (R27), and never past a change that went through hotset.

use hotset::cache::RuleConfig;
use hotset::config::units::HumanDuration;
use http::Method;

use crate::support::*;

const HIT: &str = "hotset; hit";
const BYPASS: &str = "hotset; fwd=bypass";
const LOGS: &str = "/data?list-type=2&prefix=logs%2F";

async fn kept_for(lists: Option<HumanDuration>) -> (FakeS3, TestProxy, Client) {
    let s3 = FakeS3::start().await;
    let proxy = TestProxy::start_with(&s3, |config| {
        config.rules = vec![RuleConfig { lists, ..RuleConfig::default() }];
        config.auth.origins = vec!["https://app.example".to_owned()];
    })
    .await;
    let client = proxy.client();
    for key in ["logs/1", "logs/2", "logs/3", "other"] {
        s3.put("data", key, Object::bytes("x"));
    }
    (s3, proxy, client)
}

/// Starts hotset with lists cached for a minute.
async fn setup() -> (FakeS3, TestProxy, Client) {
    kept_for(Some(HumanDuration::secs(60))).await
}

async fn status(client: &Client, path: &str) -> String {
    let answer = client.get(path).send().await;
    assert!(answer.status == 200 && answer.complete, "{answer:?}");
    answer.header("cache-status").to_owned()
}

#[tokio::test]
async fn r27_a_list_is_answered_from_memory_as_it_came() {
    let (s3, _proxy, client) = setup().await;
    let first = client.get(LOGS).send().await;
    assert_eq!(first.header("cache-status"), BYPASS);
    for path in [LOGS, "/data/?prefix=logs/&list-type=2&x-id=ListObjectsV2"] {
        let again = client.get(path).send().await;
        assert_eq!((again.status.as_u16(), again.header("cache-status")), (200, HIT));
        assert_eq!(again.body, first.body);
        assert_eq!(again.header("content-type"), first.header("content-type"));
        assert!(!again.header("x-amz-request-id").starts_with("ORIGIN"));
    }
    for other in ["&max-keys=1", "&delimiter=%2F", "&start-after=logs%2F1"] {
        assert_eq!(status(&client, &format!("{LOGS}{other}")).await, BYPASS, "{other}");
    }
    assert_eq!(status(&client, "/data?prefix=logs%2F").await, BYPASS, "version 1 is not kept");
    assert_eq!(status(&client, "/data?prefix=logs%2F").await, BYPASS);
    let head = [BYPASS, HIT, HIT];
    for expected in head {
        let answer = client.head("/data").send().await;
        assert_eq!((answer.status.as_u16(), answer.header("cache-status")), (200, expected));
    }
    assert_eq!(s3.count(|r| r.method == Method::HEAD), 1, "{}", s3.describe());
}

#[tokio::test]
async fn lists_are_not_kept_unless_a_rule_says_so() {
    let (s3, _proxy, client) = kept_for(None).await;
    for asked in 1..=3 {
        assert_eq!(status(&client, LOGS).await, BYPASS);
        assert_eq!(s3.requests().len(), asked);
    }
}

#[tokio::test]
async fn r27_a_change_ends_each_list_that_it_is_in_every_page_and_no_other() {
    let (_s3, _proxy, client) = setup().await;
    let page = format!("{LOGS}&max-keys=2");
    let next = format!("{page}&continuation-token=logs%2F2");
    let other = "/data?list-type=2&prefix=o";
    let all = [LOGS, &page, &next, "/data?list-type=2"];
    let writes: [(&str, &str, &str); 5] = [
        ("PUT", "/data/logs/4", "x"),
        ("DELETE", "/data/logs/4", ""),
        ("PUT", "/data/logs/4?tagging", "x"),
        ("POST", "/data?delete", "<Delete><Object><Key>logs/1</Key></Object></Delete>"),
        ("PUT", "/data/logs/1", "x"),
    ];
    for (method, path, body) in writes {
        for list in all.iter().chain([&other]) {
            status(&client, list).await;
            assert_eq!(status(&client, list).await, HIT, "{list}");
        }
        let request = client.request(method.parse().unwrap(), path);
        let request = if body.is_empty() { request } else { request.body(body) };
        assert!(request.send().await.status.is_success(), "{method} {path}");
        for list in all {
            assert_eq!(status(&client, list).await, BYPASS, "{method} {path}: {list}");
        }
        assert_eq!(status(&client, other).await, HIT, "{method} {path}");
    }
    let listed = client.get(LOGS).send().await.text();
    assert!(listed.contains("logs/1") && !listed.contains("logs/4"), "{listed}");
    client.put("/data?versioning").body("x").send().await;
    assert_eq!(status(&client, other).await, BYPASS, "a change to the bucket ends all");
}

#[tokio::test]
async fn r27_a_list_asked_for_before_a_write_is_not_kept_after_it() {
    let (s3, _proxy, client) = setup().await;
    let gate = Gate::new();
    let lists = || Matcher::any().method(Method::GET).query("list-type");
    s3.fault(lists(), Times(1), Fault::HoldHeader(gate.clone()));
    let old = tokio::spawn(client.get(LOGS).send());
    gate.wait_reached().await;
    assert_eq!(client.put("/data/logs/4").body("x").send().await.status, 200);
    gate.open();
    assert!(!old.await.unwrap().text().contains("logs/4"));
    let new = client.get(LOGS).send().await;
    assert_eq!(new.header("cache-status"), BYPASS);
    assert!(new.text().contains("logs/4"));
    assert_eq!(status(&client, LOGS).await, HIT);
}

#[tokio::test]
async fn r8_after_a_write_of_unknown_outcome_no_list_of_its_bucket_is_kept() {
    let (s3, _proxy, client) = setup().await;
    status(&client, LOGS).await;
    assert_eq!(status(&client, LOGS).await, HIT);
    s3.fault(Matcher::put("logs/9"), Times(1), Fault::ResetBeforeAnswer);
    assert_eq!(client.put("/data/logs/9").body("x").send().await.status, 503);
    for _ in 0..3 {
        let list = client.get(LOGS).send().await;
        assert_eq!(list.header("cache-status"), BYPASS);
        assert!(list.text().contains("logs/9"), "it has happened");
    }
}

#[tokio::test]
async fn only_whole_answers_with_200_are_kept() {
    let (s3, _proxy, client) = setup().await;
    let lists = || Matcher::any().method(Method::GET).query("list-type");
    for fault in [
        Fault::Status(403, "AccessDenied"),
        Fault::Status(404, "NoSuchBucket"),
        Fault::Status(503, "SlowDown"),
        Fault::CutAfter(100),
        Fault::All(vec![Fault::Chunked, Fault::CutAfter(100)]),
    ] {
        s3.fault(lists(), Times(1), fault.clone());
        let failed = client.get(LOGS).send().await;
        assert!(failed.status != 200 || !failed.complete, "{fault:?}");
        assert_eq!(s3.requests().len(), 1);
        let whole = client.get(LOGS).header("Cache-Control", "no-cache").send().await;
        assert!(whole.complete && whole.text().ends_with("</ListBucketResult>"));
        s3.forget_requests();
        // The write invalidates the list that the last response left in the cache.
        client.put("/data/logs/1").body("x").send().await;
        s3.forget_requests();
    }
    s3.fault(lists(), Times(1), Fault::Chunked);
    assert_eq!(status(&client, LOGS).await, BYPASS);
    assert_eq!(status(&client, LOGS).await, HIT, "a length is not needed");
}

#[tokio::test]
async fn r7_who_demands_freshness_gets_a_list_of_now_and_others_get_that() {
    let (s3, _proxy, client) = setup().await;
    status(&client, LOGS).await;
    s3.put("data", "logs/8", Object::bytes("x"));
    assert!(!client.get(LOGS).send().await.text().contains("logs/8"), "it went past us");
    let now = client.get(LOGS).header("Cache-Control", "no-cache").send().await;
    assert!(now.header("cache-status") == BYPASS && now.text().contains("logs/8"));
    let list = client.get(LOGS).send().await;
    assert!(list.header("cache-status") == HIT && list.text().contains("logs/8"));
}

#[tokio::test]
async fn a_list_that_is_asked_for_in_an_unknown_way_is_not_kept() {
    let (_s3, _proxy, client) = setup().await;
    for (name, value) in [
        ("Origin", "https://app.example"),
        ("x-amz-request-payer", "requester"),
        ("x-amz-expected-bucket-owner", OWNER),
        ("x-amz-optional-object-attributes", "RestoreStatus"),
    ] {
        for _ in 0..2 {
            let answer = client.get(LOGS).header(name, value).send().await;
            assert_eq!(answer.header("cache-status"), BYPASS, "{name}");
        }
    }
}
