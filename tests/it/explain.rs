//! `hotset explain` against a running server: its exact output for each state of an object.

use hotset::cache::{Freshness, RuleConfig};
use http::Method;

use crate::support::*;

const SIZE: u64 = 3 << 20;
/// Bytes that a small read fetches.
const UNIT: u64 = 64 << 10;
const HIT_EXIT: i32 = 0;
const MISS_EXIT: i32 = 3;

fn rule(pattern: &str, freshness: Freshness) -> RuleConfig {
    RuleConfig { pattern: pattern.to_owned(), freshness, ..RuleConfig::default() }
}

async fn start(s3: &FakeS3) -> TestProxy {
    TestProxy::start_with(s3, |config| {
        let ttl = Freshness::Ttl(hotset::config::units::HumanDuration::secs(3600));
        config.rules = vec![
            rule("data/raw/**", Freshness::Bypass),
            rule("data/ttl/**", ttl),
            rule("**", Freshness::Immutable),
        ];
    })
    .await
}

/// Returns the exit code and output of `hotset explain`, without times and dates.
async fn explain(proxy: &TestProxy, arguments: &[&str]) -> (i32, String) {
    let admin = format!("http://{}", proxy.admin);
    let all = [&["explain", "--admin", &admin], arguments].concat();
    let command = hotset(&all);
    let ended = tokio::task::spawn_blocking(move || run(command));
    let (code, stdout, stderr) = within("hotset explain", ended).await.expect("it does not panic");
    assert!(stdout.lines().all(|line| line.chars().count() <= 80), "{stdout}");
    (code, format!("{}{stderr}", without_time(&stdout)))
}

/// Replaces seconds by `N`, and a date by `DATE`.
fn without_time(text: &str) -> String {
    let mut out = Vec::new();
    for line in text.lines() {
        let mut words: Vec<&str> = line.split(' ').collect();
        for at in 1..words.len() {
            let is_age =
                words[at] == "s" && words.get(at + 1).is_some_and(|next| next.starts_with("ago"));
            let is_left = words[at - 1] == "for" && words.get(at + 1) == Some(&"s,");
            if is_age {
                words[at - 1] = "N";
            } else if is_left {
                words[at] = "N";
            }
        }
        out.push(words.join(" "));
    }
    out.join("\n") + "\n"
}

#[tokio::test]
async fn an_object_is_explained_before_it_is_read_and_after() {
    let s3 = FakeS3::start().await;
    s3.put("data", "k", Object::random(SIZE, 1));
    let proxy = start(&s3).await;
    let (code, told) = explain(&proxy, &["s3://data/k"]).await;
    assert_eq!(
        (code, told.as_str()),
        (
            MISS_EXIT,
            "s3://data/k\n  \
             rule        3 of 3: `**`, immutable; it is the first that matches data/k\n  \
             state       unknown; a miss: new\n  \
             invalidated no invalidation on record\n  \
             next read   a miss: one request to the origin brings metadata and first bytes\n"
        )
    );
    assert_eq!(s3.requests().len(), 0, "{}", s3.describe());

    let read = proxy.client().get("/data/k").range("bytes=0-99").send().await;
    let etag = read.header("etag").to_owned();
    let (code, told) = explain(&proxy, &["s3://data/k"]).await;
    let memory = format!("{UNIT} bytes: 0-{}", UNIT - 1);
    assert_eq!(
        (code, told),
        (
            MISS_EXIT,
            format!(
                "s3://data/k\n  \
                 rule        3 of 3: `**`, immutable; it is the first that matches data/k\n  \
                 state       fresh; a miss: new\n  \
                 version     {SIZE} bytes, ETag {etag}\n  \
                 confirmed   N s ago, by the origin\n  \
                 fresh       its rule is `immutable`: until it is invalidated\n  \
                 memory      {memory}\n  \
                 invalidated no invalidation on record\n  \
                 next read   its metadata is fresh; {} of {SIZE} bytes are fetched from\n              \
                 the origin\n",
                SIZE - UNIT
            )
        )
    );
    proxy.client().get("/data/k").send().await;
    let (code, told) = explain(&proxy, &["s3://data/k"]).await;
    assert_eq!(code, HIT_EXIT, "{told}");
    assert!(told.contains("  state       fresh\n"), "{told}");
    assert!(told.ends_with("  next read   a hit: answered without asking the origin\n"), "{told}");
    assert!(told.contains(&format!("  memory      {SIZE} bytes: 0-{}\n", SIZE - 1)), "{told}");
}

#[tokio::test]
async fn an_invalidation_is_explained_with_its_cause() {
    let s3 = FakeS3::start().await;
    s3.put("data", "k", Object::random(1000, 1));
    let proxy = start(&s3).await;
    let client = proxy.client();
    client.get("/data/k").send().await;
    let put = client.request(Method::PUT, "/data/k").body("new".to_owned()).send().await;
    assert_eq!(put.status, 200);
    let (code, told) = explain(&proxy, &["s3://data/k"]).await;
    assert_eq!(code, MISS_EXIT);
    assert!(told.contains("  state       unknown; a miss: invalidated\n"), "{told}");
    assert!(told.contains("  invalidated N s ago, cause: write, of the object\n"), "{told}");
    client.get("/data/k").send().await;
    Api::new(proxy.admin).post("/api/v1/purge", r#"{"keys":["s3://data/k"]}"#).await;
    let (_, told) = explain(&proxy, &["s3://data/k"]).await;
    assert!(told.contains("  invalidated N s ago, cause: purge, of the object\n"), "{told}");
}

#[tokio::test]
async fn freshness_by_ttl_says_until_when_and_bypass_says_so() {
    let s3 = FakeS3::start().await;
    s3.put("data", "ttl/k", Object::random(1000, 1));
    let proxy = start(&s3).await;
    proxy.client().get("/data/ttl/k").send().await;
    let (code, told) = explain(&proxy, &["s3://data/ttl/k"]).await;
    assert_eq!(code, HIT_EXIT, "{told}");
    assert!(
        told.contains(
            "  rule        2 of 3: `data/ttl/**`, {\"ttl\":\"1h\"}; it is the first that matches\n"
        ),
        "{told}"
    );
    assert!(told.contains("  fresh       for N s, until "), "{told}");
    assert!(
        told.replace("\n              ", " ").contains("; `ttl` of its rule is 3600 s\n"),
        "{told}"
    );
    let (code, told) = explain(&proxy, &["s3://data/raw/k"]).await;
    assert_eq!(code, MISS_EXIT);
    assert!(told.contains("  state       bypassed; a miss: bypassed\n"), "{told}");
}

#[tokio::test]
async fn a_request_is_told_the_first_reason_why_the_cache_does_not_answer_it() {
    let s3 = FakeS3::start().await;
    s3.put("data", "k", Object::random(SIZE, 1));
    let proxy = start(&s3).await;
    proxy.client().get("/data/k").range("bytes=0-99").send().await;
    let cases: [(&str, &[&str], i32, &str); 9] = [
        (
            "GET /data/k",
            &["Range: bytes=0-99"],
            HIT_EXIT,
            "a hit: answered without asking the origin",
        ),
        ("HEAD /data/k", &[], HIT_EXIT, "a hit: answered without asking the origin"),
        (
            "GET /data/k",
            &[],
            MISS_EXIT,
            "its metadata is fresh; 3080192 of 3145728 bytes are fetched from the origin",
        ),
        (
            "GET /data/k",
            &["Cache-Control: no-cache"],
            MISS_EXIT,
            "one HEAD confirms it first; the same version keeps its blocks",
        ),
        (
            "GET /data/k?acl",
            &[],
            MISS_EXIT,
            "it streams through: the query parameter `acl` may change what is answered",
        ),
        (
            "GET /data/k",
            &["x-amz-server-side-encryption-customer-key: k"],
            MISS_EXIT,
            "it streams through: the header `x-amz-server-side-encryption-customer-key` may change what is answered",
        ),
        (
            "PUT /data/k",
            &[],
            MISS_EXIT,
            "it streams through: PUT is not cached: only GET and HEAD of an object are",
        ),
        (
            "GET /data?list-type=2",
            &[],
            MISS_EXIT,
            "it streams through: it names no object: lists are kept only where a rule says so",
        ),
        ("GET /data/%zz", &[], MISS_EXIT, "it is refused: InvalidURI: "),
    ];
    for (request, headers, expected, because) in cases {
        let mut arguments = vec!["--request", request];
        for header in headers {
            arguments.extend(["-H", header]);
        }
        let (code, told) = explain(&proxy, &arguments).await;
        assert_eq!(code, expected, "{request}: {told}");
        let joined = told.replace("\n              ", " ");
        assert!(joined.contains(&format!("  because     {because}")), "{request}: {told}");
        let by = if expected == HIT_EXIT { "the cache" } else { "the origin" };
        assert!(told.starts_with(&format!("{request}\n  answered by {by}\n")), "{told}");
        // The real request, for comparison.
        let (method, target) = request.split_once(' ').unwrap();
        let mut real = proxy.client().request(method.parse::<Method>().unwrap(), target);
        for header in headers {
            let (name, value) = header.split_once(": ").unwrap();
            real = real.header(name, value);
        }
        if expected == HIT_EXIT {
            s3.forget_requests();
            assert_eq!(real.send().await.header("cache-status"), "hotset; hit", "{request}");
            assert_eq!(s3.requests().len(), 0);
        }
    }
}

#[tokio::test]
async fn wrong_questions_are_refused_and_the_rules_of_access_hold() {
    let s3 = FakeS3::start().await;
    let proxy = start(&s3).await;
    let (code, told) = explain(&proxy, &["data/k"]).await;
    assert_eq!((code, told.as_str()), (2, "\nhotset: `data/k` is not s3://bucket/key\n"));
    let api = Api::new(proxy.admin);
    for query in ["", "?object=k", "?object=s3://data/k&request=GET%20/data/k", "?request=GET"] {
        let (status, body) = api.get(&format!("/api/v1/explain{query}")).await;
        assert_eq!(status, 400, "{query}: {body}");
    }
    assert_eq!(api.post("/api/v1/explain", "{}").await.0, 405);
    let guarded = TestProxy::start_with(&s3, |config| {
        let token = serde_json::from_str("\"sixteen-bytes-ok\"").unwrap();
        config.admin.token = Some(token);
    })
    .await;
    let path = "/api/v1/explain?object=s3://data/k";
    assert_eq!(Api::new(guarded.admin).get(path).await.0, 401);
    assert_eq!(Api::with_token(guarded.admin, "sixteen-bytes-ok").get(path).await.0, 200);
}
