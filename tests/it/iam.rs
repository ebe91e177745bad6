//! The table of permissions in `docs/endpoints.md`, against the requests that each feature makes.

use std::collections::{BTreeMap, BTreeSet};

use hotset::config::units::HumanDuration;
use hotset::events::CanaryConfig;
use hotset::origin::BucketConfig;
use http::Method;

use crate::support::{
    Api, FakeS3, FakeSqs, Object, Process, Scratch, Seen, TestProxy, hotset, run, setup,
    test_config, within,
};

const MIB: u64 = 1 << 20;

type Actions = BTreeSet<&'static str>;

/// Returns the permissions that S3 requires for a request, by "Actions, resources, and condition keys for Amazon S3".
fn actions_of(seen: &Seen) -> Vec<&'static str> {
    let has = |name| seen.has_param(name);
    let is_read = seen.method == Method::GET || seen.method == Method::HEAD;
    match (seen.bucket.is_empty(), seen.key.is_empty()) {
        (true, _) if has("session") => vec!["s3express:CreateSession"],
        (true, _) => vec!["s3:ListAllMyBuckets"],
        (_, true) if has("location") => vec!["s3:GetBucketLocation"],
        (_, true) if has("versions") => vec!["s3:ListBucketVersions"],
        (_, true) if has("delete") => vec!["s3:DeleteObject"],
        (_, true) => vec!["s3:ListBucket"],
        _ if has("tagging") && is_read => vec!["s3:GetObjectTagging"],
        _ if has("tagging") => vec!["s3:PutObjectTagging"],
        _ if has("uploadId") && is_read => vec!["s3:ListMultipartUploadParts"],
        _ if has("uploadId") && seen.method == Method::DELETE => vec!["s3:AbortMultipartUpload"],
        _ if seen.method == Method::DELETE && has("versionId") => vec!["s3:DeleteObjectVersion"],
        _ if seen.method == Method::DELETE => vec!["s3:DeleteObject"],
        _ if is_read && has("versionId") => vec!["s3:GetObjectVersion"],
        _ if is_read => vec!["s3:GetObject"],
        _ if !seen.header("x-amz-copy-source").is_empty() => vec!["s3:GetObject", "s3:PutObject"],
        _ => vec!["s3:PutObject"],
    }
}

fn actions(s3: &FakeS3) -> Actions {
    let actions = s3.requests().iter().flat_map(actions_of).collect();
    s3.forget_requests();
    actions
}

/// Returns the actions of each row of the table, by the feature's name.
fn table() -> BTreeMap<String, BTreeSet<String>> {
    let page = include_str!("../../docs/endpoints.md");
    let (_, table) = page.split_once("## What they must be allowed to do").expect("the section");
    let rows = table.lines().filter(|line| line.starts_with("| "));
    let row = |line: &str| {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let actions = cells[1].split('`').skip(1).step_by(2).filter(|text| text.contains(':'));
        let actions = actions.filter(|text| !text.starts_with("arn:")).map(str::to_owned);
        (cells[0].replace('`', ""), actions.collect())
    };
    rows.skip(1).map(row).collect()
}

/// Asserts that a row lists exactly the permissions of the calls.
#[track_caller]
fn assert_row(feature: &str, called: &Actions) {
    let table = table();
    let named = table.iter().find(|(name, _)| name.starts_with(feature));
    let (_, listed) = named.unwrap_or_else(|| panic!("no row {feature:?} in {:?}", table.keys()));
    let listed: Actions = listed.iter().map(|action| &*String::leak(action.clone())).collect();
    assert_eq!(called, &listed, "{feature}");
}

fn without(all: &Actions, known: &[&'static str]) -> Actions {
    all.iter().filter(|action| !known.contains(action)).copied().collect()
}

#[tokio::test]
async fn each_feature_calls_what_its_row_allows_and_nothing_else() {
    let (s3, _proxy, client) = setup().await;
    let get = async |target: &str| client.get(target).send().await.status.as_u16();
    s3.put("data", "k", Object::random(20 * MIB, 1));
    s3.put("data", "v", Object::random(20 * MIB, 2).version_id("v1"));
    assert_eq!(get("/data/k").await, 200);
    assert_eq!(client.head("/data/k").send().await.status, 200);
    assert_eq!(get("/data/none").await, 404);
    assert_row("reads", &actions(&s3));
    assert_eq!(get("/data/v").await, 200);
    s3.wait_idle().await;
    let versioned = actions(&s3);
    assert_row("reads of a versioned bucket", &without(&versioned, &["s3:GetObject"]));
    assert_eq!(get("/data?list-type=2").await, 200);
    assert_row("404 in place of 403", &actions(&s3));
    assert_eq!(get("/data?versions").await, 200);
    assert_row("lists of versions", &actions(&s3));
    assert_eq!(get("/data/k?tagging").await, 200);
    assert_eq!(client.put("/data/k?tagging").body("<Tagging/>").send().await.status, 200);
    assert_row("tags", &actions(&s3));
    assert_eq!(get("/").await, 200);
    assert_row("ListBuckets", &actions(&s3));
    get("/data?location").await;
    assert_row("GetBucketLocation", &actions(&s3));
    assert_eq!(client.request(Method::DELETE, "/data/v?versionId=v1").send().await.status, 204);
    assert_row("deletes of versions", &actions(&s3));
}

#[tokio::test]
async fn writes_call_what_their_row_allows() {
    let (s3, _proxy, client) = setup().await;
    assert_eq!(client.put("/data/k").body("content").send().await.status, 200);
    let copy = client.put("/data/copy").header("x-amz-copy-source", "/data/k").send().await;
    assert_eq!(copy.status, 200, "{}", copy.text());
    for ending in ["complete", "abort"] {
        let begun = client.request(Method::POST, "/data/big?uploads").send().await.text();
        let id = begun.split("<UploadId>").nth(1).and_then(|rest| rest.split('<').next()).unwrap();
        let part = format!("/data/big?partNumber=1&uploadId={id}");
        let part = client.put(&part).body("part").send().await;
        let upload = format!("/data/big?uploadId={id}");
        client.get(&upload).send().await;
        let document = format!(
            "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{}</ETag></Part></CompleteMultipartUpload>",
            part.header("etag").replace('"', "&quot;")
        );
        let method = if ending == "abort" { Method::DELETE } else { Method::POST };
        client.request(method, &upload).body(document).send().await;
    }
    assert_eq!(client.request(Method::DELETE, "/data/k").send().await.status, 204);
    let many = "<Delete><Object><Key>copy</Key></Object></Delete>";
    client.request(Method::POST, "/data?delete").body(many).send().await;
    // The source of a copy is read, as by any other read.
    assert_row("writes", &without(&actions(&s3), &["s3:GetObject"]));
}

#[tokio::test]
async fn what_hotset_does_by_itself_calls_what_its_row_allows() {
    let s3 = FakeS3::start().await;
    s3.put("data", "w/k", Object::random(5000, 1));
    let proxy = TestProxy::start(&s3).await;
    let job = Api::new(proxy.admin).warm(r#"{"prefix":"s3://data/w/"}"#).await;
    assert_eq!(job["objects"]["warmed"], 1, "{job}");
    let warmed = actions(&s3);
    assert_row("404 in place of 403", &without(&warmed, &["s3:GetObject"]));
    drop(proxy);

    let mut config = test_config(&s3);
    config.events.canaries = vec![CanaryConfig {
        bucket: "data".to_owned(),
        key: "canary".to_owned(),
        every: HumanDuration::millis(5),
        timeout: HumanDuration::secs(60),
    }];
    let proxy = TestProxy::start_unchecked(config).await;
    s3.wait_for(|requests| requests.iter().any(|seen| seen.key == "canary" && seen.done)).await;
    drop(proxy);
    assert_row("events.canaries", &actions(&s3));

    let proxy = TestProxy::start_with(&s3, |config| {
        config.origin.endpoint = format!("http://s3.us-east-1.amazonaws.com:{}", s3.addr().port());
        config.origin.addresses = vec![s3.addr().ip()];
        config.buckets.insert("fast--use1-az4--x-s3".to_owned(), BucketConfig::default());
    })
    .await;
    drop(proxy);
    assert_row("a directory bucket", &actions(&s3));

    let scratch = Scratch::new();
    let config = format!("origin: {{ endpoint: '{}' }}", s3.endpoint());
    let file = scratch.file("hotset.yaml", &config);
    for (bucket, feature) in [(None, "ListBuckets"), (Some("data"), "404 in place of 403")] {
        let mut command = hotset(&["check", "--online", "--config", &file]);
        command.args(bucket.iter().flat_map(|bucket| ["--bucket", bucket]));
        let ran = tokio::task::spawn_blocking(move || run(command));
        within("the command to end", ran).await.unwrap();
        assert_row(feature, &actions(&s3));
    }
}

#[cfg(feature = "sqs")]
#[tokio::test]
async fn a_queue_is_asked_what_its_row_allows() {
    let (s3, queue) = (FakeS3::start().await, FakeSqs::start().await);
    let number = queue.send("{}".to_owned());
    let scratch = Scratch::new();
    let config = format!(
        "listen: [{{ address: 127.0.0.1:0 }}]\nadmin: {{ address: 127.0.0.1:0 }}\norigin: {{ endpoint: '{}' }}\n\
         events: {{ sqs: [{{ queue: '{}', region: us-east-1 }}] }}",
        s3.endpoint(),
        queue.url
    );
    let _process = Process::serve(&scratch.file("hotset.yaml", &config)).await;
    queue.until("the message to be received", number, |(received, _)| received > 0).await;
    let listed = table().remove("events.sqs").expect("its row");
    let called = queue.actions();
    assert!(called.contains("sqs:ReceiveMessage") && called.is_subset(&listed), "{called:?}");
    // Calls that the receiver makes in other cases.
    let source = include_str!("../../src/events/sqs/queue.rs");
    for (call, action) in [
        (".receive_message()", "sqs:ReceiveMessage"),
        (".delete_message_batch()", "sqs:DeleteMessage"),
        (".change_message_visibility_batch()", "sqs:ChangeMessageVisibility"),
        (".get_queue_attributes()", "sqs:GetQueueAttributes"),
    ] {
        assert_eq!(source.contains(call), listed.contains(action), "{action}");
    }
    assert_eq!(listed.len(), 4);
}
