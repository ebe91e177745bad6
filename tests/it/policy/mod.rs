//! R20 and R21: the permissions of an identity; R1: the credentials that its requests to the origin are signed with.
//! Over real sockets, with signatures by independent code.

mod delete_many;
mod domains;
mod form_bodies;
mod forms;
mod reload;

use hotset::auth::AuthMode;
use hotset::config::Config;
use hotset::config::units::HumanDuration;
use std::time::Duration;

use crate::support::{Client, FakeS3, Object, Response, Scratch, Signed, TestProxy};

/// Identities of the tests. Each secret is the access key followed by `-secret`.
const IDENTITIES: &str = "
identities:
  - { name: owner, access_key: OWNER, secret_key: OWNER-secret,
      allow: [{ actions: [read, write, list, delete, admin], resources: ['**'] }] }
  - { name: team, access_key: TEAM, secret_key: TEAM-secret,
      allow: [{ actions: [read, write, list, delete], resources: ['data/team/**'] }] }
  - { name: lister, access_key: LISTER, secret_key: LISTER-secret,
      allow: [{ actions: [list], resources: ['data/**'] }] }
  - { name: far, access_key: FAR, secret_key: FAR-secret, networks: [10.0.0.0/8],
      allow: [{ actions: [read], resources: ['**'] }] }
  - { name: near, access_key: NEAR, secret_key: NEAR-secret, networks: ['::1', 127.0.0.0/8],
      allow: [{ actions: [read], resources: ['**'] }] }
  - { name: past, access_key: PAST, secret_key: PAST-secret, expires: 2020-01-01T00:00:00Z,
      allow: [{ actions: [read], resources: ['**'] }] }
  - { name: everybody, anonymous: true,
      allow: [{ actions: [read], resources: ['data/public/**'] }] }
";

/// hotset in front of an origin with `data/team/k`, `data/secret/k` and `data/public/k`.
struct Guarded {
    s3: FakeS3,
    proxy: TestProxy,
    client: Client,
    scratch: Scratch,
}

impl Guarded {
    async fn start() -> Guarded {
        Guarded::start_with(IDENTITIES, |_| {}).await
    }

    async fn start_with(identities: &str, change: impl FnOnce(&mut Config)) -> Guarded {
        let s3 = FakeS3::start().await;
        for key in ["team/k", "secret/k", "public/k"] {
            s3.put("data", key, Object::bytes(format!("content of {key}")));
        }
        let scratch = Scratch::new();
        let file = scratch.file("identities.yaml", identities);
        let proxy = TestProxy::start_with(&s3, |config| {
            config.auth.mode = AuthMode::Verify;
            config.auth.identities = Some(file.into());
            config.auth.reload = HumanDuration(Duration::from_millis(5));
            change(config);
        })
        .await;
        let client = proxy.client();
        Guarded { s3, proxy, client, scratch }
    }

    fn by(&self, access_key: &str, method: &'static str, target: &str) -> Signed {
        let secret = format!("{access_key}-secret");
        Signed::new(method, target, self.proxy.addr).keys(access_key, &secret)
    }

    async fn send(&self, request: &Signed) -> Response {
        self.client.raw(&request.wire()).await
    }

    /// Returns the status of the response, and asserts that a refusal is an S3 error.
    async fn status(&self, request: &Signed) -> u16 {
        let answer = self.send(request).await;
        assert!(answer.complete);
        let has_body = !answer.body.is_empty();
        if answer.status == 403 && has_body {
            assert!(answer.text().contains("<Code>AccessDenied</Code>"), "{}", answer.text());
        }
        answer.status.as_u16()
    }

    async fn ask(&self, access_key: &str, method: &'static str, target: &str) -> u16 {
        self.status(&self.by(access_key, method, target)).await
    }

    fn nothing_was_sent(&self) {
        assert!(self.s3.requests().is_empty(), "{}", self.s3.describe());
    }
}

#[tokio::test]
async fn r21_an_identity_does_what_it_may_and_nothing_else() {
    let guarded = Guarded::start().await;
    for (method, target, status) in [
        ("GET", "/data/team/k", 200),
        ("HEAD", "/data/team/k", 200),
        ("GET", "/data/team/k?tagging", 200),
        ("PUT", "/data/team/new", 200),
        ("DELETE", "/data/team/new", 204),
        ("HEAD", "/data", 200),
    ] {
        assert_eq!(guarded.ask("TEAM", method, target).await, status, "{method} {target}");
    }
    guarded.s3.forget_requests();
    for (method, target) in [
        ("GET", "/data/secret/k"),
        ("HEAD", "/data/secret/k"),
        ("GET", "/data/secret/k?versionId=1"),
        ("PUT", "/data/secret/k"),
        ("DELETE", "/data/secret/k"),
        ("POST", "/data/secret/k?uploads"),
        ("GET", "/data/teams/k"),
        ("GET", "/other/team/k"),
        ("HEAD", "/other"),
        ("PUT", "/data/team/k?acl"),
        ("GET", "/data/team/k?annotation"),
        ("GET", "/data?policy"),
        ("PUT", "/data?lifecycle"),
        ("DELETE", "/data"),
        ("PUT", "/data"),
        ("POST", "/data"),
        ("GET", "/"),
    ] {
        assert_eq!(guarded.ask("TEAM", method, target).await, 403, "{method} {target}");
    }
    let public = guarded.by("TEAM", "PUT", "/data/team/k").header("x-amz-acl", "public-read");
    assert_eq!(guarded.status(&public).await, 403);
    guarded.nothing_was_sent();
    for (method, target) in [("GET", "/"), ("GET", "/data/secret/k"), ("GET", "/data?policy")] {
        assert_ne!(guarded.ask("OWNER", method, target).await, 403, "{method} {target}");
    }
}

#[tokio::test]
async fn r21_what_is_cached_is_refused_like_what_is_not() {
    let guarded = Guarded::start().await;
    assert_eq!(guarded.ask("OWNER", "GET", "/data/secret/k").await, 200);
    guarded.s3.forget_requests();
    for method in ["GET", "HEAD"] {
        assert_eq!(guarded.ask("OWNER", method, "/data/secret/k").await, 200);
        assert_eq!(guarded.ask("TEAM", method, "/data/secret/k").await, 403);
    }
    guarded.nothing_was_sent();
}

#[tokio::test]
async fn r21_a_copy_from_a_source_that_may_not_be_read_is_refused() {
    let guarded = Guarded::start().await;
    let part = "/data/team/copy?partNumber=1&uploadId=u";
    for target in ["/data/team/copy", part] {
        for source in [
            "/data/secret/k",
            "data/secret/k",
            "%2Fdata%2Fsecret%2Fk",
            "data/secret/k?versionId=1",
            "data/team/../secret/k",
            "data/team/%2E%2E/secret/k",
            "//data/team/k",
            "",
        ] {
            let copy = guarded.by("TEAM", "PUT", target).header("x-amz-copy-source", source);
            assert_eq!(guarded.status(&copy).await, 403, "{target} from {source}");
        }
    }
    for hoisted in ["x-amz-copy-source", "X-Amz-Copy-Source"] {
        let target = format!("/data/team/copy?{hoisted}=data%2Fsecret%2Fk");
        let wire = guarded.by("TEAM", "PUT", &target).wire_presigned(60);
        assert_eq!(guarded.client.raw(&wire).await.status, 403, "{hoisted}");
    }
    guarded.nothing_was_sent();
    let copy = guarded.by("TEAM", "PUT", "/data/team/copy");
    let copy = copy.header("x-amz-copy-source", "/data/team/k");
    assert_eq!(guarded.status(&copy).await, 200);
    assert_eq!(guarded.s3.object_bytes("data", "team/copy"), "content of team/k");
}

#[tokio::test]
async fn r21_a_list_lies_inside_what_may_be_listed() {
    let guarded = Guarded::start().await;
    for target in ["/data?list-type=2&prefix=team%2F", "/data?prefix=team%2Fk&versions"] {
        assert_ne!(guarded.ask("TEAM", "GET", target).await, 403, "{target}");
    }
    assert_eq!(guarded.ask("LISTER", "GET", "/data?list-type=2").await, 200);
    guarded.s3.forget_requests();
    for target in [
        "/data",
        "/data?list-type=2",
        "/data?list-type=2&prefix=",
        "/data?list-type=2&prefix=team",
        "/data?list-type=2&prefix=secret%2F",
        "/data?list-type=2&prefix=team%2F..%2Fsecret%2F",
        "/data?prefix=team%2F&prefix=secret%2F",
        "/data?versions",
        "/data?uploads&prefix=secret%2F",
        "/data?list-type=2&prefix=team%2F&metadata=true",
    ] {
        assert_eq!(guarded.ask("TEAM", "GET", target).await, 403, "{target}");
    }
    assert_eq!(guarded.ask("LISTER", "GET", "/other?list-type=2").await, 403);
    assert_eq!(guarded.ask("LISTER", "GET", "/data/team/k").await, 403, "listing is not reading");
    guarded.nothing_was_sent();
}

#[tokio::test]
async fn r21_keys_with_dot_segments_are_refused_to_who_has_a_prefix_only() {
    let guarded = Guarded::start().await;
    let keys = ["team/../secret/k", "team/./k", "team/..", "team/.", "team/x/../../secret/k"];
    for key in keys {
        for method in ["GET", "HEAD", "PUT", "DELETE"] {
            let target = format!("/data/{key}");
            assert_eq!(guarded.ask("TEAM", method, &target).await, 403, "{method} {key}");
        }
    }
    guarded.nothing_was_sent();
    assert_eq!(guarded.ask("OWNER", "GET", "/data/team/../secret/k").await, 404);
    assert!(guarded.s3.count(|seen| seen.key == "team/../secret/k") > 0, "it is a key like any");
}

#[tokio::test]
async fn r20_an_identity_is_refused_from_elsewhere_and_when_it_has_expired() {
    let guarded = Guarded::start().await;
    assert_eq!(guarded.ask("NEAR", "GET", "/data/team/k").await, 200);
    assert_eq!(guarded.ask("FAR", "GET", "/data/team/k").await, 403);
    let expired = guarded.send(&guarded.by("PAST", "GET", "/data/team/k")).await;
    assert_eq!(expired.status, 400);
    assert!(expired.text().contains("<Code>ExpiredToken</Code>"), "{}", expired.text());
}

#[tokio::test]
async fn r20_who_does_not_sign_is_the_anonymous_identity() {
    let guarded = Guarded::start().await;
    let status = async |method: &str, path: &str| {
        guarded.client.request(method.parse().unwrap(), path).send().await.status.as_u16()
    };
    assert_eq!(status("GET", "/data/public/k").await, 200);
    for (method, path) in [
        ("GET", "/data/secret/k"),
        ("PUT", "/data/public/k"),
        ("GET", "/data?prefix=public/"),
        ("GET", "/"),
        // A form names its sender in its body, and that is not verified.
        ("POST", "/data"),
    ] {
        assert_eq!(status(method, path).await, 403, "{method} {path}");
    }
}

#[tokio::test]
async fn a_browser_asks_before_a_request_without_signing_it() {
    let guarded = Guarded::start_with(&IDENTITIES.replace("everybody", "nobody"), |_| {}).await;
    guarded.s3.allow_cors("data", "https://app.example");
    let preflight = guarded.client.request("OPTIONS".parse().unwrap(), "/data/secret/k");
    let preflight = preflight.header("Origin", "https://app.example");
    let answer = preflight.header("Access-Control-Request-Method", "GET").send().await;
    assert_eq!(answer.status, 200);
    assert_eq!(guarded.s3.count(|seen| seen.method == "OPTIONS"), 1);
    let without = guarded.client.request("OPTIONS".parse().unwrap(), "/data/secret/k");
    assert_eq!(without.send().await.status, 400, "in the origin's words");
}
