//! Buckets in other regions than the configured one: found by the origin's responses, remembered, and transparent to
//! clients.

use hotset::auth::AuthMode;
use hotset::config::Config;
use http::Method;

use crate::support::{
    Always, Api, Client, FakeS3, Fault, Gate, Matcher, Object, Scratch, Seen, Signed, Tells,
    TestProxy, Times, our_signature_for, setup, within,
};

const REGION: &str = "eu-west-1";
const ALL: [Tells; 5] = [
    Tells::Permanent,
    Tells::Temporary,
    Tells::Malformed,
    Tells::MalformedUnnamed,
    Tells::IllegalLocation,
];

/// Sets an endpoint with a region in its name; all its regions have the origin's address.
fn regional(config: &mut Config, s3: &FakeS3) {
    config.origin.endpoint = format!("http://s3.us-east-1.storage.test:{}", s3.addr().port());
    config.origin.addresses = vec![s3.addr().ip()];
}

async fn start(tells: Tells) -> (FakeS3, TestProxy) {
    let s3 = FakeS3::start().await;
    s3.put("data", "k", Object::bytes("content"));
    s3.put("data", "k2", Object::bytes("more"));
    s3.put("home", "k", Object::bytes("at home"));
    s3.place("data", REGION, tells);
    let proxy = TestProxy::start_with(&s3, |config| regional(config, &s3)).await;
    (s3, proxy)
}

/// Whether a request is signed with our keys for this region.
fn is_signed_for(seen: &Seen, region: &str) -> bool {
    seen.header("authorization") == our_signature_for(seen, region).0
}

fn host(seen: &Seen) -> &str {
    seen.header("host").split(':').next().unwrap_or_default()
}

/// Sends a request twice: the first is answered after one or two further requests to the origin, the second needs none.
async fn learns(tells: Tells, method: Method, target: &str, expected: u16) {
    let (s3, proxy) = start(tells).await;
    let client = proxy.client();
    let what = format!("{method} {target}, {tells:?}");
    let answer = client.request(method.clone(), target).send().await;
    assert_eq!(answer.status, expected, "{what}: {}\n{}", answer.text(), s3.describe());
    let asks = s3.count(|seen| seen.method == Method::HEAD && seen.target == "/data");
    let is_head_bucket = method == Method::HEAD && target == "/data";
    let unnamed = matches!(tells, Tells::MalformedUnnamed | Tells::IllegalLocation)
        || method == Method::HEAD && tells == Tells::Malformed;
    assert_eq!(asks > 0, unnamed || is_head_bucket, "{what}: {}", s3.describe());
    let seen = s3.requests();
    let last = seen.last().expect("requests");
    let (first, others) = seen.split_first().expect("requests");
    assert!(is_signed_for(first, "us-east-1"), "{what}: {first:?}");
    assert!(others.len() <= 2, "{what}: {}", s3.describe());
    assert!(is_signed_for(last, REGION), "{what}: {last:?}");
    let elsewhere =
        if tells == Tells::Malformed && method != Method::HEAD { "us-east-1" } else { REGION };
    assert_eq!(host(last), format!("s3.{elsewhere}.storage.test"), "{what}");
    s3.forget_requests();
    let answer = client.request(method, &target.replace("/data/k", "/data/k2")).send().await;
    assert_eq!(answer.status, expected, "{what}: {}", answer.text());
    let seen = s3.requests();
    assert_eq!(seen.len(), 1, "{what}: {}", s3.describe());
    assert!(is_signed_for(&seen[0], REGION), "{what}");
}

#[tokio::test]
async fn a_bucket_elsewhere_is_read_and_listed_after_one_request_more() {
    for tells in ALL {
        for (method, target) in [
            (Method::GET, "/data/k"),
            (Method::HEAD, "/data/k"),
            (Method::GET, "/data/k?tagging"),
            (Method::GET, "/data?list-type=2"),
            (Method::HEAD, "/data"),
        ] {
            learns(tells, method, target, 200).await;
        }
    }
}

#[tokio::test]
async fn a_bucket_at_home_is_asked_at_home_beside_one_elsewhere() {
    let (s3, proxy) = start(Tells::Permanent).await;
    let client = proxy.client();
    for (target, content) in [("/data/k", "content"), ("/home/k", "at home")] {
        assert_eq!(client.get(target).send().await.text(), content);
    }
    let seen = s3.requests();
    let home = seen.iter().find(|seen| seen.bucket == "home").expect("it is asked");
    assert!(is_signed_for(home, "us-east-1") && host(home) == "s3.us-east-1.storage.test");
}

#[tokio::test]
async fn an_object_is_confirmed_in_its_region_after_a_restart_of_the_knowledge() {
    for tells in ALL {
        let s3 = FakeS3::start().await;
        s3.put("data", "k", Object::bytes("content"));
        let proxy = TestProxy::start_with(&s3, |config| regional(config, &s3)).await;
        let client = proxy.client();
        assert_eq!(client.get("/data/k").send().await.text(), "content");
        s3.place("data", REGION, tells);
        s3.forget_requests();
        // A HEAD, whose refusal has no code.
        let answer = client.get("/data/k").header("cache-control", "no-cache").send().await;
        assert_eq!(answer.text(), "content", "{tells:?}: {}", s3.describe());
        assert!(s3.requests().iter().all(|seen| seen.method == Method::HEAD), "{}", s3.describe());
        assert!(is_signed_for(s3.requests().last().expect("it is asked"), REGION));
    }
}

#[tokio::test]
async fn writes_without_a_body_reach_their_bucket_and_others_when_they_are_sent_again() {
    for tells in ALL {
        let (s3, proxy) = start(tells).await;
        let client = proxy.client();
        let answer = client.request(Method::DELETE, "/data/k").send().await;
        assert!(answer.status.is_success(), "{tells:?}: {}\n{}", answer.text(), s3.describe());
        assert!(s3.object("data", "k").is_none());

        let (s3, proxy) = start(tells).await;
        let client = proxy.client();
        let content = "x".repeat(300_000);
        let first = client.put("/data/new").body(content.clone()).send().await;
        assert_eq!(first.status, 503, "{tells:?}: {}", first.text());
        assert!(first.text().contains("<Code>ServiceUnavailable</Code>"), "{}", first.text());
        assert!(s3.object("data", "new").is_none());
        let second = client.put("/data/new").body(content.clone()).send().await;
        assert_eq!(second.status, 200, "{tells:?}: {}\n{}", second.text(), s3.describe());
        assert_eq!(s3.object_bytes("data", "new"), content);
        assert_eq!(client.get("/data/new").send().await.text(), content);
    }
}

#[tokio::test]
async fn a_prefix_elsewhere_is_warmed() {
    for tells in ALL {
        let (s3, proxy) = start(tells).await;
        let job = Api::new(proxy.admin).warm(r#"{"prefix":"s3://data/"}"#).await;
        assert_eq!(
            (&job["state"], &job["objects"]["warmed"]),
            (&"done".into(), &2.into()),
            "{job}"
        );
        assert!(is_signed_for(s3.requests().last().expect("requests"), REGION));
    }
}

#[tokio::test]
async fn a_redirect_is_followed_once_and_not_in_a_circle() {
    let (s3, proxy) = start(Tells::Loop).await;
    let client = proxy.client();
    for (round, expected) in [2, 1, 1].into_iter().enumerate() {
        for (method, target) in [(Method::GET, "/data/k"), (Method::GET, "/data/k?tagging")] {
            let expected = if target.ends_with("tagging") && round == 0 { 1 } else { expected };
            s3.forget_requests();
            let answer = client.request(method, target).send().await;
            assert_eq!(answer.status, 301, "{}", answer.text());
            assert_eq!(s3.requests().len(), expected, "{target}: {}", s3.describe());
        }
    }
    let (s3, proxy) = start(Tells::Loop).await;
    let answer = proxy.client().get("/data/k?tagging").send().await;
    assert_eq!((answer.status.as_u16(), s3.requests().len()), (301, 2), "{}", s3.describe());
}

#[tokio::test]
async fn no_signature_is_sent_to_a_host_that_a_redirect_names() {
    let foreign = FakeS3::start().await;
    for endpoint_has_region in [true, false] {
        let s3 = FakeS3::start().await;
        s3.put("data", "k", Object::bytes("content"));
        let proxy = TestProxy::start_with(&s3, |config| {
            if endpoint_has_region {
                regional(config, &s3);
            }
        })
        .await;
        let redirect = Fault::All(vec![
            Fault::Status(307, "TemporaryRedirect"),
            Fault::SetHeader("Location", format!("{}/data/k", foreign.endpoint())),
        ]);
        s3.fault(Matcher::any(), Always, redirect);
        for target in ["/data/k", "/data/k?tagging"] {
            let answer = proxy.client().get(target).send().await;
            assert_eq!(answer.status, 307, "{}", answer.text());
        }
        let named = s3.count(|seen| !seen.header("host").contains(&s3.addr().port().to_string()));
        assert_eq!((named, foreign.requests().len(), foreign.connections()), (0, 0, 0));
    }
}

#[tokio::test]
async fn clients_sign_for_one_region_whatever_their_buckets_is() {
    let s3 = FakeS3::start().await;
    s3.put("data", "k", Object::bytes("content"));
    s3.place("data", REGION, Tells::Permanent);
    let scratch = Scratch::new();
    let identities = "identities:\n  - { name: a, access_key: AKWRITER, secret_key: writers-secret,\n      \
                      allow: [{ actions: [read, write, list], resources: ['data/**'] }] }\n";
    let identities = scratch.file("identities.yaml", identities);
    let proxy = TestProxy::start_with(&s3, |config| {
        regional(config, &s3);
        config.auth.mode = AuthMode::Verify;
        config.auth.identities = Some(identities.into());
    })
    .await;
    let theirs = Fault::SetHeader("x-amz-bucket-region", REGION.to_owned());
    let client: Client = proxy.client();
    let wire = |method, target| Signed::new(method, target, proxy.addr).wire();
    assert_eq!(client.raw(&wire("GET", "/data/k")).await.text(), "content");
    s3.fault(Matcher::any(), Always, theirs);
    for (method, target) in [("HEAD", "/data"), ("GET", "/data?location"), ("GET", "/data/none")] {
        let answer = client.raw(&wire(method, target)).await;
        assert_eq!(answer.header("x-amz-bucket-region"), "us-east-1", "{method} {target}");
        assert!(!answer.text().contains(REGION), "{}", answer.text());
    }
}

#[tokio::test]
async fn a_refusal_of_a_head_for_another_reason_asks_for_the_region_once() {
    let (s3, _proxy, client) = setup().await;
    s3.fault(Matcher::any().key("k"), Always, Fault::Status(400, "InvalidRequest"));
    for _ in 0..3 {
        assert_eq!(client.head("/data/k").send().await.status, 400);
    }
    let asked = s3.count(|seen| seen.key.is_empty());
    assert_eq!(asked, 1, "{}", s3.describe());
}

fn head_bucket(bucket: &str) -> Matcher {
    Matcher::any().method(Method::HEAD).bucket(bucket).key("")
}

#[tokio::test]
async fn a_bucket_whose_region_is_not_told_holds_up_no_other_bucket() {
    let (s3, proxy) = start(Tells::MalformedUnnamed).await;
    s3.put("other", "k", Object::bytes("other"));
    s3.place("other", REGION, Tells::MalformedUnnamed);
    let gate = Gate::new();
    s3.fault(head_bucket("data"), Always, Fault::HoldHeader(gate.clone()));
    let held = tokio::spawn(proxy.client().get("/data/k").send());
    gate.wait_reached().await;
    let other = within("the other bucket's object", proxy.client().get("/other/k").send()).await;
    assert_eq!(other.text(), "other");
    gate.open();
    assert_eq!(held.await.unwrap().text(), "content");
}

#[tokio::test]
async fn a_region_that_is_not_told_fails_those_who_wait_and_the_next_request_asks_again() {
    const READERS: usize = 20;
    let (s3, proxy) = start(Tells::MalformedUnnamed).await;
    let gate = Gate::new();
    let fault = Fault::All(vec![Fault::Status(503, "SlowDown"), Fault::HoldHeader(gate.clone())]);
    s3.fault(head_bucket("data"), Times(1), fault);
    let key = |n| format!("reader-{n}");
    (0..READERS).for_each(|n| s3.put("data", &key(n), Object::bytes("content")));
    let read = |n| tokio::spawn(proxy.client().get(&format!("/data/{}", key(n))).send());
    let readers: Vec<_> = (0..READERS).map(read).collect();
    gate.wait_reached().await;
    let is_refused = |seen: &&Seen| seen.method == Method::GET && seen.done;
    s3.wait_for(|seen| seen.iter().filter(is_refused).count() == READERS).await;
    // What has arrived is handled before the answer to a later request.
    for target in ["/home/k", "/home/k?tagging", "/home/k?acl"] {
        assert_eq!(proxy.client().get(target).send().await.status, 200);
    }
    gate.open();
    for reader in readers {
        assert_eq!(reader.await.unwrap().status, 503, "{}", s3.describe());
    }
    let asks = || s3.count(|seen| seen.method == Method::HEAD && seen.target == "/data");
    assert_eq!(asks(), 1, "{}", s3.describe());
    assert_eq!(read(0).await.unwrap().text(), "content");
    assert_eq!(asks(), 2, "{}", s3.describe());
}
