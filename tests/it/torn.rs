//! Objects that change while they are read (R3): a reader gets one version's bytes, or a visibly broken transfer.

use std::time::Duration;

use bytes::Bytes;

use crate::support::{
    Always, Broken, Client, FakeS3, Fault, Gate, H2Client, Matcher, Object, Response,
    ResponseStream, Seen, TestProxy, Times,
};

const MIB: u64 = 1 << 20;
const SIZE: u64 = 2 * MIB;
/// Offset in a range that is requested after the first.
const LATER: u64 = MIB;

/// Starts hotset with small blocks, so that one object takes many origin requests.
async fn setup() -> (FakeS3, TestProxy, Client) {
    let s3 = FakeS3::start().await;
    let proxy = TestProxy::start_with(&s3, |config| {
        config.cache.block = hotset::config::units::ByteSize::kib(64);
        config.cache.fetch = hotset::config::units::ByteSize::kib(256);
    })
    .await;
    let client = proxy.client();
    (s3, proxy, client)
}

fn versioned(seed: u64, id: &str) -> Object {
    Object::random(SIZE, seed).version_id(id)
}

/// Begins a read of the old object, and replaces it by `new` when the origin has received the request for a later
/// range. Returns the read, and the part of the body that had arrived by then.
async fn overwritten(
    s3: &FakeS3,
    client: &Client,
    new: Object,
    fault: Option<Fault>,
) -> (ResponseStream, Bytes) {
    let gate = Gate::new();
    let held = Fault::HoldRequest(gate.clone());
    let fault = fault.map_or(held.clone(), |fault| Fault::All(vec![held, fault]));
    s3.fault(Matcher::get("key").covering(LATER), Times(1), fault);
    let mut reader = client.open("/data/key").await;
    assert_eq!(reader.status, 200);
    let first = reader.read_until(gate.wait_reached()).await;
    s3.put("data", "key", new);
    gate.open();
    (reader, first)
}

async fn assert_broken(reader: ResponseStream, first: &[u8], old: &Object) {
    let answer = reader.finish().await;
    assert!(!answer.complete);
    let got = [first, &answer.body].concat();
    assert!(got.len() as u64 <= LATER && got == old.slice(0..got.len() as u64));
}

/// Whether the server reset the stream; if a body is shorter than announced, hyper resets the stream itself.
fn is_remote_reset(broken: &Broken) -> bool {
    broken.reason.contains("Reset") && broken.reason.contains("Remote")
}

fn assert_whole(answer: &Response, object: &Object) {
    assert!(answer.status == 200 && answer.complete, "{} {}", answer.status, answer.complete);
    assert_eq!(answer.header("etag"), object.etag_value().unwrap());
    assert!(answer.body == object.all());
}

#[tokio::test]
async fn r3_an_object_that_changes_between_two_ranges_breaks_the_transfer() {
    let (s3, _proxy, client) = setup().await;
    let (old, new) = (Object::random(SIZE, 1), Object::random(SIZE, 2));
    s3.put("data", "key", old.clone());
    let (reader, first) = overwritten(&s3, &client, new.clone(), None).await;
    assert_broken(reader, &first, &old).await;
    assert_whole(&client.get("/data/key").send().await, &new);
}

#[tokio::test]
async fn r3_so_it_does_when_the_origin_ignores_if_match() {
    let (s3, _proxy, client) = setup().await;
    let (old, new) = (Object::random(SIZE, 3), Object::random(SIZE, 4));
    s3.put("data", "key", old.clone());
    let (reader, first) = overwritten(&s3, &client, new.clone(), Some(Fault::IgnoreIfMatch)).await;
    assert_broken(reader, &first, &old).await;
    assert_whole(&client.get("/data/key").send().await, &new);
}

#[tokio::test]
async fn r3_an_object_that_is_deleted_between_two_ranges_breaks_the_transfer() {
    let (s3, _proxy, client) = setup().await;
    let old = Object::random(SIZE, 5);
    s3.put("data", "key", old.clone());
    let gate = Gate::new();
    let later = Matcher::get("key").covering(LATER);
    s3.fault(later, Times(1), Fault::HoldRequest(gate.clone()));
    let mut reader = client.open("/data/key").await;
    let first = reader.read_until(gate.wait_reached()).await;
    s3.delete("data", "key");
    gate.open();
    assert_broken(reader, &first, &old).await;
    assert_eq!(client.get("/data/key").send().await.status, 404);
}

#[tokio::test]
async fn r3_a_read_of_a_version_finishes_after_it_was_overwritten() {
    let (s3, _proxy, client) = setup().await;
    let (old, new) = (versioned(6, "v1"), versioned(7, "v2"));
    s3.put("data", "key", old.clone());
    let (mut reader, first) = overwritten(&s3, &client, new, None).await;
    assert_eq!(reader.headers["x-amz-version-id"], "v1");
    assert!([first, reader.rest().await].concat() == old.all());
    assert_eq!(reader.complete(), Some(true));
    let later = |r: &Seen| r.range.as_ref().is_some_and(|r| r.start > 0);
    assert!(
        s3.requests()
            .iter()
            .filter(|r| later(r))
            .all(|r| r.param("versionId") == Some("v1".into()))
    );
}

#[tokio::test]
async fn r3_keys_that_may_not_read_versions_fall_back_to_if_match() {
    let (s3, _proxy, client) = setup().await;
    let (old, new) = (versioned(8, "v1"), versioned(9, "v2"));
    s3.put("data", "key", old.clone());
    s3.fault(Matcher::get("key").query("versionId"), Always, Fault::Status(403, "AccessDenied"));
    assert_whole(&client.get("/data/key").send().await, &old);
    assert!(s3.count(|r| r.header("if-match") == old.etag_value().unwrap()) > 0);
    // Without the version, an overwritten object cannot be read to its end.
    s3.put("data", "other", old.clone());
    let gate = Gate::new();
    let later = Matcher::get("other").covering(LATER);
    s3.fault(later, Times(1), Fault::HoldRequest(gate.clone()));
    let mut reader = client.open("/data/other").await;
    let first = reader.read_until(gate.wait_reached()).await;
    s3.put("data", "other", new.clone());
    gate.open();
    assert_broken(reader, &first, &old).await;
    assert_whole(&client.get("/data/other").send().await, &new);
}

/// Asserts that an object which is overwritten during a read is read to its end by its version id.
async fn assert_pinned_by_version(s3: &FakeS3, client: &Client) {
    let (old, new) = (versioned(20, "v1"), versioned(21, "v2"));
    s3.put("data", "key", old.clone());
    let (mut reader, first) = overwritten(s3, client, new, None).await;
    assert!([first, reader.rest().await].concat() == old.all());
    assert_eq!(reader.complete(), Some(true));
}

#[tokio::test]
async fn r3_an_object_that_may_not_be_read_leaves_the_others_pinned_by_version() {
    let (s3, _proxy, client) = setup().await;
    let archived = versioned(22, "v1");
    s3.put("data", "archived", archived.clone());
    let later = Matcher::get("archived").covering(LATER);
    s3.fault(later, Always, Fault::Status(403, "InvalidObjectState"));
    assert_broken(client.open("/data/archived").await, &[], &archived).await;
    assert_pinned_by_version(&s3, &client).await;
}

#[tokio::test]
async fn r3_a_bucket_whose_versions_may_not_be_read_is_tried_again_and_leaves_others_pinned() {
    let (s3, _proxy, client) = setup().await;
    let object = versioned(23, "v1");
    for key in ["first", "second", "third"] {
        s3.put("denied", key, object.clone());
    }
    let by_version = |key: &'static str| {
        let asked = |r: &Seen| r.key == key && r.param("versionId").is_some();
        s3.count(asked)
    };
    let refused = Fault::Status(403, "AccessDenied");
    s3.fault(Matcher::get("first").query("versionId"), Always, refused);
    assert_whole(&client.get("/denied/first").send().await, &object);
    assert_whole(&client.get("/denied/second").send().await, &object);
    assert!(by_version("first") > 0 && by_version("second") == 0, "{}", s3.describe());
    assert_pinned_by_version(&s3, &client).await;
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(301)).await;
    tokio::time::resume();
    assert_whole(&client.get("/denied/third").send().await, &object);
    assert!(by_version("third") > 0, "{}", s3.describe());
}

#[tokio::test]
async fn r3_the_version_null_is_no_version() {
    let (s3, _proxy, client) = setup().await;
    let old = versioned(10, "null");
    s3.put("data", "key", old.clone());
    let (reader, first) = overwritten(&s3, &client, versioned(11, "null"), None).await;
    assert_broken(reader, &first, &old).await;
    assert_eq!(s3.count(|r| r.param("versionId").is_some()), 0);
}

#[tokio::test]
async fn r3_a_body_that_breaks_off_is_not_resumed_from_another_version() {
    for blind in [false, true] {
        let (s3, _proxy, client) = setup().await;
        let (old, new) = (Object::random(200_000, 12), Object::random(200_000, 13));
        s3.put("data", "key", old.clone());
        let change = Fault::ChangeObjectAfter(100_000, new.clone());
        s3.fault(Matcher::get("key"), Times(1), Fault::All(vec![change, Fault::CutAfter(150_000)]));
        if blind {
            s3.fault(Matcher::get("key"), Times(1), Fault::IgnoreIfMatch);
        }
        let answer = client.get("/data/key").send().await;
        assert!(!answer.complete);
        assert_eq!(answer.body, old.slice(0..answer.body.len() as u64));
        assert_whole(&client.get("/data/key").send().await, &new);
    }
}

#[tokio::test]
async fn r3_a_version_is_resumed_after_it_was_overwritten() {
    let (s3, _proxy, client) = setup().await;
    let (old, new) = (versioned(14, "v1"), versioned(15, "v2"));
    s3.put("data", "key", old.clone());
    let change = Fault::ChangeObjectAfter(100_000, new);
    s3.fault(Matcher::get("key"), Times(1), Fault::All(vec![change, Fault::CutAfter(150_000)]));
    assert_whole(&client.get("/data/key").send().await, &old);
}

#[tokio::test]
async fn r3_before_the_first_byte_a_changed_object_is_read_again_from_the_start() {
    for blind in [false, true] {
        let (s3, _proxy, client) = setup().await;
        let (old, new) = (Object::random(SIZE, 16), Object::random(SIZE + 5, 17));
        s3.put("data", "key", old);
        assert_eq!(client.head("/data/key").send().await.status, 200);
        s3.put("data", "key", new.clone());
        if blind {
            s3.fault(Matcher::get("key"), Always, Fault::IgnoreIfMatch);
        }
        assert_whole(&client.get("/data/key").send().await, &new);
    }
}

#[tokio::test]
async fn r3_before_the_first_byte_it_is_read_again_only_once() {
    let (s3, _proxy, client) = setup().await;
    s3.put("data", "key", Object::random(SIZE, 18));
    assert_eq!(client.head("/data/key").send().await.status, 200);
    s3.fault(Matcher::get("key"), Always, Fault::Status(412, "PreconditionFailed"));
    let answer = client.get("/data/key").send().await;
    assert_eq!(answer.status, 503);
    assert!(s3.count(|r| r.key == "key") < 12, "{}", s3.describe());
}

#[tokio::test]
async fn r3_on_http2_a_transfer_that_cannot_be_completed_is_reset() {
    let (s3, proxy, _client) = setup().await;
    let (old, new) = (Object::random(SIZE, 19), Object::random(SIZE, 20));
    s3.put("data", "key", old.clone());
    let gate = Gate::new();
    let later = Matcher::get("key").covering(LATER);
    s3.fault(later, Times(1), Fault::HoldRequest(gate.clone()));
    let client = H2Client::connect(proxy.addr).await;
    let none = Bytes::new();
    let mut reader = client.open(&http::Method::GET, "/data/key", &[], none).await.unwrap();
    gate.wait_reached().await;
    s3.put("data", "key", new.clone());
    gate.open();
    let broken = reader.rest().await.expect_err("a reset");
    assert!(broken.received <= LATER && is_remote_reset(&broken), "{broken}");
    let (status, _, body) = client.get("/data/key").await;
    assert_eq!(status, 200);
    assert!(body.expect("the connection goes on") == new.all());
}

#[tokio::test]
async fn an_origin_that_fails_in_the_middle_is_a_reset_on_http2() {
    let (s3, proxy, _client) = setup().await;
    s3.put("data", "key", Object::random(SIZE, 21));
    s3.fault(Matcher::get("key").covering(LATER), Always, Fault::Status(500, "InternalError"));
    let client = H2Client::connect(proxy.addr).await;
    let (status, _, body) = client.get("/data/key").await;
    assert_eq!(status, 200);
    let broken = body.expect_err("a reset");
    assert!(is_remote_reset(&broken), "{broken}");
}

#[tokio::test]
async fn no_two_versions_are_mixed_when_many_read_while_it_changes() {
    let (s3, _proxy, client) = setup().await;
    let versions: Vec<_> = (30..40).map(|seed| Object::random(SIZE, seed)).collect();
    s3.put("data", "key", versions[0].clone());
    for next in &versions[1..] {
        let gate = Gate::new();
        let later = Matcher::get("key").covering(LATER);
        s3.fault(later, Times(1), Fault::HoldRequest(gate.clone()));
        let readers = futures_util::future::join_all((0..4).map(|n| {
            let range = format!("bytes={}-", n * 100_000);
            client.get("/data/key").range(&range).header("Cache-Control", "no-cache").open()
        }));
        let mut readers = readers.await;
        let read = readers.iter_mut().map(|reader| reader.read_until(gate.wait_reached()));
        let firsts = futures_util::future::join_all(read).await;
        s3.put("data", "key", next.clone());
        gate.open();
        for (n, (reader, first)) in (0..).zip(readers.into_iter().zip(firsts)) {
            let answer = reader.finish().await;
            let body = [&first[..], &answer.body].concat();
            let of = versions.iter().find(|v| v.etag_value() == Some(answer.header("etag")));
            let of = of.expect("a version's ETag");
            let start = n * 100_000;
            assert_eq!(body, of.slice(start..start + body.len() as u64));
            assert_eq!(answer.complete, start + body.len() as u64 == SIZE);
        }
    }
}
