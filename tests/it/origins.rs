//! Several origins behind one hotset, and buckets with other names for clients than at their origins.

use hotset::auth::AuthMode;
use hotset::cache::{Freshness, RuleConfig};
use hotset::config::Config;
use hotset::config::units::HumanDuration;
use hotset::events::Source;
use hotset::origin::{BucketConfig, OriginConfig};
use http::Method;

use crate::support::{
    Always, Api, Client, FakeS3, FakeSqs, Fault, Matcher, Object, Process, Scratch, Signed,
    TestProxy, test_config, unused_port,
};

const HIT: &str = "hotset; hit";

/// Adds `other` as the second origin: its bucket `real` is `mine` and `twin` for clients, `x-*` keep their names.
fn mapped(config: &mut Config, other: &FakeS3) {
    let origin = OriginConfig { endpoint: other.endpoint(), ..test_config(other).origin };
    config.origins.insert("other".to_owned(), origin);
    let of_other = |bucket: Option<&str>| BucketConfig {
        origin: Some("other".to_owned()),
        bucket: bucket.map(str::to_owned),
        ..BucketConfig::default()
    };
    for (name, bucket) in [("mine", Some("real")), ("twin", Some("real")), ("x-*", None)] {
        config.buckets.insert(name.to_owned(), of_other(bucket));
    }
    // At the default origin, by another name.
    let renamed = BucketConfig { bucket: Some("data".to_owned()), ..BucketConfig::default() };
    config.buckets.insert("renamed".to_owned(), renamed);
}

async fn start_with(change: impl FnOnce(&mut Config)) -> (FakeS3, FakeS3, TestProxy, Client) {
    let (default, other) = (FakeS3::start().await, FakeS3::start().await);
    for bucket in ["data", "mine", "real", "x-1"] {
        default.put(bucket, "k", Object::bytes(format!("default {bucket}")));
        other.put(bucket, "k", Object::bytes(format!("other {bucket}")));
    }
    let proxy = TestProxy::start_with(&default, |config| {
        mapped(config, &other);
        change(config);
    })
    .await;
    let client = proxy.client();
    (default, other, proxy, client)
}

async fn start() -> (FakeS3, FakeS3, TestProxy, Client) {
    start_with(|_| {}).await
}

async fn read(client: &Client, target: &str) -> String {
    let answer = client.get(target).send().await;
    assert_eq!(answer.status, 200, "{target}: {}", answer.text());
    answer.text()
}

#[tokio::test]
async fn r1_each_bucket_is_read_from_its_origin_and_nothing_is_shared() {
    let (default, other, _proxy, client) = start().await;
    let all = [
        ("/data/k", "default data"),
        ("/real/k", "default real"),
        ("/mine/k", "other real"),
        ("/twin/k", "other real"),
        ("/x-1/k", "other x-1"),
        ("/renamed/k", "default data"),
    ];
    for _ in 0..2 {
        for (target, content) in all {
            assert_eq!(read(&client, target).await, content, "{target}");
        }
    }
    assert_eq!((default.requests().len(), other.requests().len()), (3, 3), "each once");
    assert!(other.requests().iter().all(|seen| seen.bucket == "real" || seen.bucket == "x-1"));
    // A 404 at one origin says nothing about the other.
    assert_eq!(client.get("/data/none").send().await.status, 404);
    other.put("real", "none", Object::bytes("there"));
    assert_eq!(read(&client, "/mine/none").await, "there");
}

#[tokio::test]
async fn r1_an_origin_that_fails_leaves_the_others_alone() {
    let (default, _other, _proxy, client) = start().await;
    assert_eq!(read(&client, "/data/k").await, "default data");
    default.go_down().await;
    for n in 0..40 {
        let answer = client.get(&format!("/data/none{n}")).send().await;
        assert_eq!(answer.status, 503, "{}", answer.text());
    }
    assert_eq!(read(&client, "/mine/k").await, "other real");
    assert_eq!(read(&client, "/x-1/k").await, "other x-1");
    assert_eq!(client.put("/mine/new").body("x").send().await.status, 200);
}

#[tokio::test]
async fn answers_name_the_bucket_as_its_client_does() {
    let (default, other, _proxy, client) = start().await;
    for (target, name) in [("/mine", "real"), ("/renamed", "data")] {
        let bucket = &target[1..];
        let list = client.get(&format!("{target}?list-type=2")).send().await;
        assert!(list.complete, "{list:?}");
        assert!(list.text().contains(&format!("<Name>{bucket}</Name>")), "{}", list.text());
        assert!(!list.text().contains(name), "{}", list.text());
        let error = client.get(&format!("{target}/none")).send().await;
        assert!(
            error.text().contains(&format!("<Resource>{target}/none</Resource>")),
            "{}",
            error.text()
        );
        let passed = client.get(&format!("{target}/none?versionId=x&tagging")).send().await;
        assert!(!passed.text().contains(&format!("/{name}")), "{}", passed.text());

        let begun = client.request(Method::POST, &format!("{target}/big?uploads")).send().await;
        assert_eq!(begun.status, 200, "{}", begun.text());
        assert!(begun.text().contains(&format!("<Bucket>{bucket}</Bucket>")), "{}", begun.text());
        let text = begun.text();
        let id = text.split("<UploadId>").nth(1).and_then(|rest| rest.split('<').next());
        let id = id.expect("an upload id");
        let part = format!("{target}/big?partNumber=1&uploadId={id}");
        let part = client.put(&part).body("part one").send().await;
        let complete = format!(
            "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{}</ETag></Part></CompleteMultipartUpload>",
            part.header("etag").replace('"', "&quot;")
        );
        let done = client.request(Method::POST, &format!("{target}/big?uploadId={id}"));
        let done = done.body(complete).send().await;
        assert!(done.complete && done.status == 200, "{done:?}");
        assert!(!done.text().contains(name), "{}", done.text());
        assert_eq!(read(&client, &format!("{target}/big")).await, "part one");
    }
    assert_eq!(other.object_bytes("real", "big"), "part one");
    assert_eq!(default.object_bytes("data", "big"), "part one");
    // An object that looks like a list is not changed.
    other.put(
        "real",
        "list.xml",
        Object::bytes("<Name>real</Name>").header("content-type", "text/xml"),
    );
    let passed = client.get("/mine/list.xml").header("x-amz-checksum-mode", "ENABLED");
    assert_eq!(passed.send().await.text(), "<Name>real</Name>");
    let passed = client.get("/mine/list.xml?x-unknown=1").send().await;
    assert!(!passed.text().contains("mine"), "{}", passed.text());
}

#[tokio::test]
async fn r8_a_write_by_one_name_invalidates_all_names_of_its_bucket() {
    let (_default, other, _proxy, client) = start().await;
    for target in ["/mine/k", "/twin/k"] {
        assert_eq!(read(&client, target).await, "other real");
    }
    assert_eq!(client.put("/twin/k").body("new").send().await.status, 200);
    assert_eq!(other.object_bytes("real", "k"), "new");
    for target in ["/mine/k", "/twin/k"] {
        assert_eq!(read(&client, target).await, "new", "{target}");
    }
    assert_eq!(client.request(Method::DELETE, "/mine/k").send().await.status, 204);
    assert_eq!(client.get("/twin/k").send().await.status, 404);
    // By its own name, and by another, of the default origin.
    assert_eq!(read(&client, "/renamed/k").await, "default data");
    assert_eq!(read(&client, "/data/k").await, "default data");
    assert_eq!(client.put("/data/k").body("changed").send().await.status, 200);
    assert_eq!(read(&client, "/renamed/k").await, "changed");
}

#[tokio::test]
async fn a_copy_names_its_source_as_clients_do_and_stays_within_an_origin() {
    let (default, other, _proxy, client) = start().await;
    for source in ["/mine/k", "mine%2Fk"] {
        let copy = client.put("/x-1/copy").header("x-amz-copy-source", source).send().await;
        assert_eq!(copy.status, 200, "{source}: {}", copy.text());
        assert_eq!(other.object_bytes("x-1", "copy"), "other real");
        other.delete("x-1", "copy");
    }
    let copy = client.put("/data/copy").header("x-amz-copy-source", "/renamed/k").send().await;
    assert_eq!(copy.status, 200, "{}", copy.text());
    assert_eq!(default.object_bytes("data", "copy"), "default data");
    let (before, there) = (default.requests().len(), other.requests().len());
    for (target, source) in
        [("/data/copy", "/mine/k"), ("/mine/copy", "/data/k"), ("/mine/copy", "arn:x")]
    {
        let copy = client.put(target).header("x-amz-copy-source", source).send().await;
        assert_eq!(copy.status, 400, "{target} from {source}");
        assert!(copy.text().contains("different origins"), "{}", copy.text());
    }
    let hoisted = client.put("/data/copy?X-Amz-Copy-Source=mine/k").send().await;
    assert_eq!(hoisted.status, 400, "{}", hoisted.text());
    assert_eq!((default.requests().len(), other.requests().len()), (before, there));
}

#[tokio::test]
async fn identities_and_rules_see_the_names_of_clients() {
    let scratch = Scratch::new();
    let identities = "identities:\n  - { name: a, access_key: AKWRITER, secret_key: writers-secret,\n      \
                      allow: [{ actions: [read], resources: ['mine/**'] }] }\n  \
                      - { name: b, access_key: AKB, secret_key: writers-secret, origin: { access_key: OWN, secret_key: x },\n      \
                      allow: [{ actions: [read], resources: ['**'] }] }\n";
    let identities = scratch.file("identities.yaml", identities);
    let (_default, other, proxy, client) = start_with(|config| {
        config.auth.mode = AuthMode::Verify;
        config.auth.identities = Some(identities.into());
        let bypass = RuleConfig {
            pattern: "twin/**".to_owned(),
            freshness: Freshness::Bypass,
            ..RuleConfig::default()
        };
        config.rules.insert(0, bypass);
    })
    .await;
    let get = |target: &'static str| Signed::new("GET", target, proxy.addr).wire();
    let answer = client.raw(&get("/mine/k")).await;
    assert_eq!((answer.status.as_u16(), &*answer.text()), (200, "other real"));
    for target in ["/real/k", "/twin/k", "/data/k"] {
        assert_eq!(client.raw(&get(target)).await.status, 403, "{target}");
    }
    // The identity's keys are not sent to another origin, and our keys not for it.
    other.forget_requests();
    let brought = Signed::new("GET", "/mine/k", proxy.addr).keys("AKB", "writers-secret").wire();
    assert_eq!(client.raw(&brought).await.status, 403);
    let brought = Signed::new("GET", "/mine?list-type=2", proxy.addr).keys("AKB", "writers-secret");
    assert_eq!(client.raw(&brought.wire()).await.status, 403);
    assert_eq!(other.requests().len(), 0);
}

/// Returns S3's event that this key of this bucket was written.
fn event(bucket: &str, key: &str) -> String {
    format!(
        r#"{{"Records":[{{"eventVersion":"2.1","eventSource":"aws:s3","awsRegion":"us-east-1","eventTime":"2030-01-01T00:00:00.123Z","eventName":"ObjectCreated:Put","s3":{{"bucket":{{"name":"{bucket}"}},"object":{{"key":"{key}","size":3,"eTag":"d41d8cd98f00b204e9800998ecf8427e","sequencer":"0055AED6DCD90281E5"}}}}}}]}}"#
    )
}

#[tokio::test]
async fn an_event_of_a_bucket_invalidates_each_name_that_leads_to_it() {
    let (_default, other, proxy, client) = start_with(|config| {
        config.rules[0].freshness = Freshness::Immutable;
        config.rules[0].negative = HumanDuration::secs(0);
    })
    .await;
    for target in ["/mine/k", "/twin/k", "/x-1/k"] {
        read(&client, target).await;
    }
    other.put("real", "k", Object::bytes("new"));
    other.put("x-1", "k", Object::bytes("new"));
    assert_eq!(read(&client, "/mine/k").await, "other real", "it is immutable");
    let applied = proxy.intake.apply(Source::Webhook, event("mine", "k").as_bytes()).unwrap();
    assert_eq!(applied.objects, 0, "no client reads the origin's own `mine`");
    for (bucket, count) in [("real", 3), ("x-1", 1)] {
        let applied = proxy.intake.apply(Source::Webhook, event(bucket, "k").as_bytes()).unwrap();
        assert_eq!(applied.objects, count, "{bucket}");
    }
    for target in ["/mine/k", "/twin/k", "/x-1/k"] {
        assert_eq!(read(&client, target).await, "new", "{target}");
    }
}

#[tokio::test]
async fn an_event_of_a_receiver_that_names_an_origin_is_about_its_buckets_alone() {
    let (default, other, proxy, client) = start_with(|config| {
        config.rules[0].freshness = Freshness::Immutable;
    })
    .await;
    let all = ["/real/k", "/mine/k", "/twin/k"];
    let read_all = async || {
        let mut found = Vec::new();
        for target in all {
            found.push(read(&client, target).await);
        }
        found
    };
    assert_eq!(read_all().await, ["default real", "other real", "other real"]);
    for (time, (origin, expected, count)) in (101..).zip([
        ("other", ["default real", "new", "new"], 2),
        ("default", ["new", "new", "new"], 1),
        // Not in force yet: the event may be from any origin.
        ("another", ["newer", "newer", "newer"], 3),
    ]) {
        let content = if origin == "another" { "newer" } else { "new" };
        default.put("real", "k", Object::bytes(content));
        other.put("real", "k", Object::bytes(content));
        let event = event("real", "k").replace(".123Z", &format!(".{time}Z"));
        let applied = proxy.intake.apply_of(Source::Sqs, Some(origin), event.as_bytes());
        assert_eq!(applied.unwrap().objects, count, "{origin}");
        assert_eq!(read_all().await, expected, "{origin}");
    }
}

/// Through the real process: over HTTP, and by a queue.
#[cfg(feature = "sqs")]
#[tokio::test]
async fn receivers_pass_on_which_origin_their_events_are_of() {
    let (default, other, queue) =
        (FakeS3::start().await, FakeS3::start().await, FakeSqs::start().await);
    let (scratch, port) = (Scratch::new(), unused_port());
    let config = format!(
        "listen: [{{ address: 127.0.0.1:0 }}]\nadmin: {{ address: 127.0.0.1:0 }}\n\
         origin: {{ endpoint: '{}' }}\norigins: {{ other: {{ endpoint: '{}' }} }}\n\
         buckets: {{ mine: {{ origin: other, bucket: real }} }}\n\
         rules: [{{ match: '**', freshness: immutable }}]\nevents:\n  \
         webhook: {{ address: '127.0.0.1:{port}', origin: other }}\n  \
         sqs: [{{ queue: '{}', region: us-east-1, origin: default }}]\n",
        default.endpoint(),
        other.endpoint(),
        queue.url
    );
    let process = Process::serve(&scratch.file("hotset.yaml", &config)).await;
    let client = process.client();
    let put = |content: &'static str| {
        for s3 in [&default, &other] {
            s3.put("real", "k", Object::bytes(content));
        }
    };
    put("old");
    for target in ["/real/k", "/mine/k"] {
        assert_eq!(read(&client, target).await, "old");
    }
    put("new");
    let webhook = Client::new(([127, 0, 0, 1], port).into());
    let told = webhook.request(Method::POST, "/").body(event("real", "k")).send().await;
    assert_eq!(told.status, 200, "{}", told.text());
    assert_eq!(read(&client, "/real/k").await, "old", "it is of the default origin");
    assert_eq!(read(&client, "/mine/k").await, "new");
    put("newer");
    let told = queue.send(event("real", "k").replace(".123Z", ".124Z"));
    queue.until("the message to be deleted", told, |(_, is_deleted)| is_deleted).await;
    assert_eq!(read(&client, "/real/k").await, "newer");
    assert_eq!(read(&client, "/mine/k").await, "new", "it is of the other origin");
}

#[tokio::test]
async fn lists_are_kept_by_the_clients_name_and_buckets_are_those_of_the_default_origin() {
    let (default, other, _proxy, client) = start_with(|config| {
        config.rules[0].lists = Some(HumanDuration::secs(60));
    })
    .await;
    for expected in ["hotset; fwd=bypass", HIT] {
        let list = client.get("/mine?list-type=2").send().await;
        assert_eq!(list.header("cache-status"), expected);
        assert!(list.text().contains("<Name>mine</Name>"), "{}", list.text());
    }
    assert_eq!(other.count(|seen| seen.bucket == "real"), 1);
    client.get("/").send().await;
    assert_eq!(default.count(|seen| seen.bucket.is_empty()), 1);
}

#[tokio::test]
async fn a_mapped_prefix_is_warmed_and_each_origin_is_described() {
    let (_default, other, proxy, client) = start().await;
    let job = Api::new(proxy.admin).warm(r#"{"prefix":"s3://mine/"}"#).await;
    assert_eq!((&job["state"], &job["objects"]["warmed"]), (&"done".into(), &1.into()), "{job}");
    other.forget_requests();
    let answer = client.get("/mine/k").send().await;
    assert_eq!((answer.header("cache-status"), &*answer.text()), (HIT, "other real"));
    let ready = Client::new(proxy.admin).get("/readyz").send().await.text();
    let named = format!("other: origin {}: answers", other.endpoint());
    assert!(ready.contains(&named), "{ready}");
    assert!(proxy.metric(r#"hotset_origin_up{origin="other"}"#).await >= 1.0);
    let (_, stats) = Api::new(proxy.admin).get("/api/v1/stats").await;
    let health = &stats["origin"]["health"]["named"]["other"];
    assert_eq!(
        (&health["state"], &health["endpoint"]),
        (&"answers".into(), &other.endpoint().into())
    );
    let requests = r#"hotset_origin_requests_total{kind="get",outcome="ok",origin="other"}"#;
    assert!(proxy.metric(requests).await >= 1.0);
}

#[tokio::test]
async fn a_bucket_with_a_region_of_its_own_is_asked_there() {
    let (default, _other, _proxy, client) = start_with(|config| {
        let region =
            BucketConfig { region: Some("eu-west-1".to_owned()), ..BucketConfig::default() };
        config.buckets.insert("data".to_owned(), region);
    })
    .await;
    assert_eq!(read(&client, "/data/k").await, "default data");
    assert_eq!(read(&client, "/real/k").await, "default real");
    for (bucket, region) in [("data", "eu-west-1"), ("real", "us-east-1")] {
        let seen = default.requests().into_iter().find(|seen| seen.bucket == bucket);
        let seen = seen.expect("it is asked");
        let signed = crate::support::our_signature_for(&seen, region).0;
        assert_eq!(seen.header("authorization"), signed, "{bucket}");
    }
}

#[tokio::test]
async fn a_loop_by_way_of_a_named_origin_is_detected() {
    let (_default, other, _proxy, client) = start().await;
    client.get("/mine/k").send().await;
    let seen = other.requests().remove(0);
    let looped = client.get("/data/k").header("cdn-loop", seen.header("cdn-loop")).send().await;
    assert_eq!(looped.status, 508, "{}", looped.text());
    other.fault(Matcher::any(), Always, Fault::Status(500, "InternalError"));
}
