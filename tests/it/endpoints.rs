//! Kinds of endpoints: the requests sent to each, and the page that lists the tested ones.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use hotset::origin::{Addressing, BucketConfig};

use crate::support::{
    Always, FakeS3, Fault, Matcher, Object, Seen, TestProxy, Times, our_signature_for,
    session_signature_for, within,
};

/// Returns the request that the origin receives for `GET /data/a/k` through an endpoint of this name.
async fn sent(host: &str, region: &str, addressing: Addressing) -> Seen {
    let s3 = FakeS3::start().await;
    let proxy = TestProxy::start_with(&s3, |config| {
        config.origin.endpoint = format!("http://{host}:{}", s3.addr().port());
        config.origin.addresses = vec![s3.addr().ip()];
        region.clone_into(&mut config.origin.region);
        config.origin.addressing = addressing;
    })
    .await;
    proxy.client().get("/data/a/k").send().await;
    s3.requests().remove(0)
}

#[tokio::test]
async fn each_kind_of_endpoint_gets_the_host_path_and_signature_that_it_documents() {
    use Addressing::{Bucket, Path, Virtual};
    let region = "eu-west-1";
    for (endpoint, addressing, host, path) in [
        ("s3.eu-west-1.amazonaws.com", Path, "s3.eu-west-1.amazonaws.com", "/data/a/k"),
        ("s3.eu-west-1.amazonaws.com", Virtual, "data.s3.eu-west-1.amazonaws.com", "/a/k"),
        (
            "s3.dualstack.eu-west-1.amazonaws.com",
            Virtual,
            "data.s3.dualstack.eu-west-1.amazonaws.com",
            "/a/k",
        ),
        ("s3-fips.eu-west-1.amazonaws.com", Path, "s3-fips.eu-west-1.amazonaws.com", "/data/a/k"),
        ("s3-accelerate.amazonaws.com", Virtual, "data.s3-accelerate.amazonaws.com", "/a/k"),
        (
            "bucket.vpce-1a-2b.s3.eu-west-1.vpce.amazonaws.com",
            Virtual,
            "data.bucket.vpce-1a-2b.s3.eu-west-1.vpce.amazonaws.com",
            "/a/k",
        ),
        (
            "bucket.vpce-1a-2b.s3.eu-west-1.vpce.amazonaws.com",
            Path,
            "bucket.vpce-1a-2b.s3.eu-west-1.vpce.amazonaws.com",
            "/data/a/k",
        ),
        (
            "ap-111122223333.s3-accesspoint.eu-west-1.amazonaws.com",
            Bucket,
            "ap-111122223333.s3-accesspoint.eu-west-1.amazonaws.com",
            "/a/k",
        ),
    ] {
        let seen = sent(endpoint, region, addressing).await;
        assert_eq!(seen.header("host").split(':').next(), Some(host), "{endpoint}");
        assert_eq!(seen.path, path, "{endpoint}");
        assert_eq!(seen.header("authorization"), our_signature_for(&seen, region).0, "{endpoint}");
    }
}

#[tokio::test]
async fn a_bucket_may_be_an_access_point_by_its_arn() {
    for (origin, point) in [
        ("s3.us-east-1", "s3-accesspoint.eu-west-1"),
        ("s3-fips.dualstack.us-east-1", "s3-accesspoint-fips.dualstack.eu-west-1"),
    ] {
        let s3 = FakeS3::start().await;
        // The fake origin takes the first segment for the bucket.
        s3.put("a", "k", Object::bytes("content"));
        let proxy = TestProxy::start_with(&s3, |config| {
            config.origin.endpoint = format!("http://{origin}.amazonaws.com:{}", s3.addr().port());
            config.origin.addresses = vec![s3.addr().ip()];
            let arn = "arn:aws:s3:eu-west-1:111122223333:accesspoint/reports";
            let bucket = BucketConfig { bucket: Some(arn.to_owned()), ..BucketConfig::default() };
            config.buckets.insert("reports".to_owned(), bucket);
        })
        .await;
        let client = proxy.client();
        assert_eq!(client.get("/reports/a/k").send().await.text(), "content");
        assert_eq!(client.put("/reports/a/new").body("x").send().await.status, 200);
        let host = format!("reports-111122223333.{point}.amazonaws.com");
        for seen in s3.requests() {
            assert_eq!(seen.header("host").split(':').next(), Some(&*host));
            assert_eq!(seen.header("authorization"), our_signature_for(&seen, "eu-west-1").0);
        }
        assert_eq!(s3.object_bytes("a", "new"), "x");
    }
}

const DIRECTORY_BUCKET: &str = "fast--use1-az4--x-s3";

async fn start_with_directory_bucket(s3: &FakeS3) -> TestProxy {
    TestProxy::start_with(s3, |config| {
        config.origin.endpoint = format!("http://s3.us-east-1.amazonaws.com:{}", s3.addr().port());
        config.origin.addresses = vec![s3.addr().ip()];
        config.origin.circuit_breaker = false;
        let bucket = Some(DIRECTORY_BUCKET.to_owned());
        let bucket = BucketConfig { bucket, ..BucketConfig::default() };
        config.buckets.insert("fast".to_owned(), bucket);
    })
    .await
}

#[tokio::test]
async fn a_directory_bucket_is_asked_at_its_zone_in_a_session_of_its_own() {
    let s3 = FakeS3::start().await;
    // The fake origin takes the first segment for the bucket.
    s3.put("a", "k", Object::bytes("content"));
    let proxy = start_with_directory_bucket(&s3).await;
    let client = proxy.client();
    let host = format!("{DIRECTORY_BUCKET}.s3express-use1-az4.us-east-1.amazonaws.com");
    let created = s3.requests().remove(0);
    assert_eq!((&*created.path, created.has_param("session")), ("/", true), "before any request");
    assert_eq!(created.header("host").split(':').next(), Some(&*host));
    assert_eq!(created.header("x-amz-create-session-mode"), "ReadWrite");
    let credential = created.header("authorization");
    assert!(credential.contains("/us-east-1/s3express/aws4_request"), "{credential}");
    assert!(credential.contains("Credential=AKTEST/"), "{credential}");
    s3.forget_requests();
    assert_eq!(client.get("/fast/a/k").send().await.text(), "content");
    assert_eq!(client.head("/fast/a/k").send().await.header("cache-status"), "hotset; hit");
    assert_eq!(client.put("/fast/a/new").body("x").send().await.status, 200);
    assert_eq!(client.get("/fast?list-type=2&prefix=a/").send().await.status, 200);
    assert_eq!(s3.requests().len(), 3, "one session for all: {}", s3.describe());
    for seen in s3.requests() {
        assert_eq!(seen.header("host").split(':').next(), Some(&*host));
        assert_eq!(seen.header("authorization"), session_signature_for(&seen, "us-east-1", 1));
        assert!(seen.header("authorization").contains("/s3express/aws4_request"));
        assert_eq!(seen.header("x-amz-s3session-token"), "token1");
        assert_eq!(seen.header("x-amz-security-token"), "");
    }
    // A request for another bucket does not use the session.
    client.get("/data/k").send().await;
    let other = s3.requests().pop().unwrap();
    assert_eq!(other.header("authorization"), our_signature_for(&other, "us-east-1").0);
    assert_eq!(other.header("x-amz-s3session-token"), "");
}

#[tokio::test]
async fn a_session_that_is_refused_is_replaced_and_one_that_is_not_given_is_asked_for_again() {
    let s3 = FakeS3::start().await;
    s3.put("a", "k", Object::bytes("content"));
    let refused = Fault::Status(503, "SlowDown");
    s3.fault(Matcher::any().query("session"), Times(1), refused);
    let proxy = start_with_directory_bucket(&s3).await;
    let client = proxy.client();
    // No request is sent unsigned, nor with the keys that sessions are requested with.
    s3.fault(
        Matcher::any().when(|seen| seen.header("authorization").contains("Credential=none/")),
        Always,
        Fault::Status(403, "InvalidAccessKeyId"),
    );
    within("a session to be given", async {
        while client.get("/fast/a/k").send().await.text() != "content" {}
    })
    .await;
    let expired = Fault::Status(400, "ExpiredToken");
    let is_first = |seen: &Seen| seen.header("x-amz-s3session-token") == "token1";
    s3.fault(Matcher::any().when(is_first), Always, expired);
    within("another session to be given", async {
        while client.get("/fast/a/none").send().await.status != 404 {}
    })
    .await;
    let last = s3.requests().pop().unwrap();
    assert_eq!(last.header("x-amz-s3session-token"), "token2");
    assert!(s3.requests().iter().all(|seen| {
        seen.has_param("session") || !seen.header("authorization").contains("Credential=AKTEST/")
    }));
}

/// Returns the names of all tests, in Rust and in Python.
fn tests() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders: Vec<PathBuf> =
        ["src", "tests/it", "tests/clients"].map(|f| root.join(f)).into();
    let mut found = BTreeSet::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let function = match path.extension().and_then(|extension| extension.to_str()) {
                Some("rs") => "fn ",
                Some("py") => "def ",
                _ => continue,
            };
            let text = fs::read_to_string(&path).unwrap();
            let names = text.split(function).skip(1).filter_map(|rest| rest.split('(').next());
            found.extend(names.map(str::to_owned));
        }
    }
    found
}

#[test]
fn each_row_of_the_page_names_the_tests_that_it_claims() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/endpoints.md");
    let page = fs::read_to_string(page).unwrap();
    let tests = tests();
    let mut rows = 0;
    for line in page.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let kinds = ["server", "stand-in", "documentation"];
        let is_kind = |cell: &&&str| kinds.iter().any(|kind| cell.split(' ').next() == Some(kind));
        let Some(evidence) = cells.iter().find(is_kind) else { continue };
        rows += 1;
        let named: Vec<&str> = cells[cells.len() - 1].split('`').skip(1).step_by(2).collect();
        if evidence.starts_with("documentation") {
            assert!(!cells[cells.len() - 1].contains('_'), "{line}");
            continue;
        }
        assert!(!named.is_empty(), "it names no test: {line}");
        for name in named {
            assert!(tests.contains(name), "there is no test `{name}`: {line}");
        }
    }
    assert_eq!(rows, 20, "rows of the page");
}
