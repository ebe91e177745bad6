//! Browsers' forms: their policy, the permissions of their sender, and the request that the origin receives.

use hotset::auth::AuthMode;

use super::{Guarded, IDENTITIES};
use crate::support::{FakeS3, Form, Object, Response, TestProxy};

impl Guarded {
    async fn post(&self, form: &Form) -> Response {
        self.client.raw(&form.wire()).await
    }

    /// Returns the status of a post, and an error's code and message.
    async fn told(&self, form: &Form) -> String {
        told(&self.post(form).await)
    }

    /// Asserts that the form is refused with this status and error, before anything of it was sent to the origin.
    async fn refuses(&self, form: &Form, expected: &str) {
        let told = self.told(form).await;
        assert!(told.starts_with(expected), "{told} is not {expected}: {form:?}");
        self.nothing_was_sent();
    }
}

pub(super) fn told(answer: &Response) -> String {
    assert!(answer.complete);
    let text = answer.text();
    let child = |name: &str| {
        let (_, rest) = text.split_once(&format!("<{name}>")).unwrap_or_default();
        rest.split('<').next().unwrap_or_default().to_owned()
    };
    match answer.status.is_success() {
        true => answer.status.as_str().to_owned(),
        false => format!("{} {}: {}", answer.status.as_str(), child("Code"), child("Message")),
    }
}

fn team() -> Form {
    Form::new().key("team/new")
}

#[tokio::test]
async fn r21_a_form_inside_its_policy_is_stored_and_signed_by_us() {
    let guarded = Guarded::start_with(IDENTITIES, |config| {
        config.listen[0].domains = vec!["s3.local".to_owned()];
    })
    .await;
    let form = Form::new()
        .key("team/${filename}")
        .field("acl", "private")
        .field("Content-Type", "image/jpeg")
        .field("x-amz-meta-a", "b & c")
        .uncovered("x-ignore-a", "b")
        .uncovered("x-amz-meta-tag", "Some,Tag")
        .condition("[\"starts-with\", \"$x-amz-meta-tag\", \"Some\"]")
        .condition("[\"content-length-range\", 1, 100]");
    for wire in
        [form.wire(), form.wire_to("/data/", "127.0.0.1"), form.wire_to("/", "data.s3.local")]
    {
        guarded.s3.delete("data", "team/photo.jpg");
        let answer = guarded.client.raw(&wire).await;
        assert_eq!(told(&answer), "204");
        let seen = guarded.s3.requests().pop().expect("one request");
        assert_eq!((&*seen.path, seen.header("authorization")), ("/data", ""));
        let text = String::from_utf8_lossy(&seen.body).into_owned();
        assert!(text.contains("AKTEST/") && !text.contains("TEAM"), "{text}");
        assert!(!text.contains("x-ignore") && !text.contains("WebKit"), "{text}");
        let read = guarded.send(&guarded.by("TEAM", "GET", "/data/team/photo.jpg")).await;
        assert_eq!(read.text(), "the file");
        assert_eq!(read.headers["x-amz-meta-a"], "b & c");
        assert_eq!(read.headers["content-type"], "image/jpeg");
    }
    assert!(guarded.s3.complaints().is_empty(), "{:?}", guarded.s3.complaints());
    let created = form.field("success_action_status", "201");
    let answer = guarded.post(&created).await;
    assert!(answer.text().contains("<Key>team/photo.jpg</Key>"), "{}", answer.text());
    let page = "https://app.example/done";
    let redirected = guarded.post(&team().field("success_action_redirect", page)).await;
    assert_eq!(redirected.status, 303);
    let location = redirected.headers["location"].to_str().unwrap();
    assert_eq!(location, format!("{page}?bucket=data&key=team/new"));
}

#[tokio::test]
async fn r21_a_form_needs_what_its_sender_may_do_as_well() {
    let guarded = Guarded::start().await;
    for (form, expected) in [
        (Form::new().key("secret/k"), "403 AccessDenied: Access Denied: team may not write"),
        (Form::new().key("team/../secret/k"), "403 AccessDenied: Access Denied: team may not"),
        (Form::new().key("team/${filename}").filename(".."), "403 AccessDenied: Access Denied"),
        (team().field("acl", "public-read"), "403 AccessDenied: Access Denied: team may not admin"),
        (team().field("x-amz-acl", "public-read"), "403 AccessDenied: Access Denied: team may"),
        (team().field("x-amz-grant-read", "id=1"), "403 AccessDenied: Access Denied: team may"),
        (team().field("x-amz-new", "1"), "403 AccessDenied: Access Denied: team may not admin"),
        (team().field("x-amz-copy-source", "data/secret/k"), "403 AccessDenied: Access Denied"),
        (team().by("LISTER"), "403 AccessDenied: Access Denied: lister may not write"),
        (team().by("FAR"), "403 AccessDenied: Access Denied: far may not connect from here"),
        (team().by("PAST"), "400 ExpiredToken"),
        (team().by("NOBODY"), "403 InvalidAccessKeyId"),
        (team().unsigned(), "403 AccessDenied: Access Denied: everybody may not write"),
    ] {
        guarded.refuses(&form, expected).await;
    }
    for form in [team().by("OWNER").field("acl", "public-read"), Form::new().by("OWNER").key("k")] {
        assert_eq!(guarded.told(&form).await, "204");
    }
}

#[tokio::test]
async fn r21_a_form_outside_its_policy_is_refused_and_nothing_is_sent() {
    let guarded = Guarded::start().await;
    let starts = "[\"starts-with\", \"$key\", \"team/a\"]";
    let failed = "403 AccessDenied: Invalid according to Policy: Policy Condition failed: [";
    let extra = "403 AccessDenied: Invalid according to Policy: Extra input fields: ";
    let other = Form::new().key("team/other");
    for (form, expected) in [
        (team().condition(starts), failed.to_owned()),
        (team().change("key", "team/other"), failed.to_owned()),
        (team().change("key", "secret/k"), failed.to_owned()),
        (team().condition("{\"x-amz-meta-a\": \"b\"}"), failed.to_owned()),
        (team().condition("{\"bucket\": \"other\"}"), failed.to_owned()),
        (team().uncovered("x-amz-meta-a", "b"), format!("{extra}x-amz-meta-a")),
        (team().uncovered("submit", "b"), format!("{extra}submit")),
        (team().uncovered("x-amz-security-token", "t"), "400 InvalidToken".to_owned()),
        (team().field("bucket", "other"), failed.to_owned()),
        (
            team().expired(),
            "403 AccessDenied: Invalid according to Policy: Policy expired.".to_owned(),
        ),
        (team().condition("[]"), "400 InvalidPolicyDocument: Invalid Policy: ".to_owned()),
        (team().change("policy", "e30="), "403 SignatureDoesNotMatch".to_owned()),
        (team().change("x-amz-signature", &"0".repeat(64)), "403 SignatureDoesNotMatch".to_owned()),
        (team().change("x-amz-date", "20200101T000000Z"), "400 InvalidArgument".to_owned()),
        (team().change("x-amz-signature", ""), "400 InvalidArgument: Bucket POST must".to_owned()),
        (team().change("policy", ""), "400 InvalidArgument: Bucket POST must contain".to_owned()),
        (Form::new(), "400 InvalidArgument: Bucket POST must contain a field named".to_owned()),
        (Form::new().key(""), "400 InvalidArgument: User key must have".to_owned()),
        (Form::new().key(&"k".repeat(1025)), "400 KeyTooLongError".to_owned()),
        (
            team().header("x-amz-acl", "public-read"),
            "403 AccessDenied: There were headers".to_owned(),
        ),
        (
            team().unsigned().field("AWSAccessKeyId", "TEAM").field("signature", "x"),
            "400 InvalidRequest".to_owned(),
        ),
    ] {
        guarded.refuses(&form, &expected).await;
    }
    let elsewhere = guarded.client.raw(&other.wire_to("/other", "127.0.0.1")).await;
    assert!(told(&elsewhere).starts_with(failed), "{}", told(&elsewhere));
    guarded.nothing_was_sent();
    assert_eq!(guarded.told(&other).await, "204");
}

#[tokio::test]
async fn r21_what_follows_the_file_says_nothing() {
    let guarded = Guarded::start().await;
    let form =
        team().after("key", "secret/k").after("submit", "Upload").after("acl", "public-read");
    assert_eq!(guarded.told(&form).await, "204");
    assert_eq!(guarded.s3.object_bytes("data", "team/new"), "the file");
    let seen = guarded.s3.requests().pop().expect("one request");
    let text = String::from_utf8_lossy(&seen.body).into_owned();
    assert!(!text.contains("secret") && !text.contains("public-read"), "{text}");
    // Nor does a form inside the file or inside a field, to a parser that takes LF for the end of a line.
    let inner = form.body();
    let mut bare = inner.clone();
    bare.retain(|byte| *byte != b'\r');
    let file = [b"\n", &*bare].concat();
    assert_eq!(guarded.told(&team().file(&file)).await, "204");
    assert_eq!(guarded.s3.object_bytes("data", "team/new"), file);
    assert!(guarded.s3.object("data", "secret/k").unwrap().all() == "content of secret/k");
    assert!(guarded.s3.complaints().is_empty(), "{:?}", guarded.s3.complaints());
}

#[tokio::test]
async fn r21_a_form_that_nobody_signed_is_the_anonymous_identitys() {
    let writes = IDENTITIES.replace(
        "actions: [read], resources: ['data/public/**']",
        "actions: [write], resources: ['data/public/**']",
    );
    let guarded = Guarded::start_with(&writes, |_| {}).await;
    let anonymous = |key: &str| Form::new().key(key).unsigned();
    guarded.refuses(&anonymous("team/new"), "403 AccessDenied").await;
    guarded.refuses(&anonymous("public/k").field("acl", "public-read"), "403 AccessDenied").await;
    assert_eq!(guarded.told(&anonymous("public/k")).await, "204");
    assert_eq!(guarded.s3.object_bytes("data", "public/k"), "the file");
    let seen = guarded.s3.requests().pop().expect("one request");
    assert!(String::from_utf8_lossy(&seen.body).contains("AKTEST/"), "the origin knows us");
    // An unsigned policy has no effect.
    let policy = anonymous("public/k").field("policy", "e30=");
    assert_eq!(guarded.told(&policy).await, "204");
}

#[tokio::test]
async fn r8_a_form_ends_what_is_known_of_its_key_and_of_no_other() {
    let guarded = Guarded::start().await;
    for key in ["team/k", "public/k"] {
        assert_eq!(guarded.ask("OWNER", "GET", &format!("/data/{key}")).await, 200);
    }
    guarded.s3.forget_requests();
    assert_eq!(guarded.told(&Form::new().key("team/k")).await, "204");
    let read = guarded.send(&guarded.by("TEAM", "GET", "/data/team/k")).await;
    assert_eq!(read.text(), "the file");
    assert_eq!(guarded.ask("OWNER", "GET", "/data/public/k").await, 200);
    assert_eq!(guarded.s3.count(|seen| seen.key == "public/k"), 0, "it is still a hit");
}

#[tokio::test]
async fn r1_a_form_of_who_brings_keys_is_signed_with_those() {
    let brings = format!(
        "{IDENTITIES}
  - {{ name: partner, access_key: PARTNER, secret_key: PARTNER-secret,
      allow: [{{ actions: [write], resources: ['data/team/**'] }}],
      origin: {{ access_key: AKATS3, secret_key: at-s3 }} }}
"
    );
    let guarded = Guarded::start_with(&brings, |_| {}).await;
    // The origin of these tests knows only our own keys.
    assert!(guarded.told(&team().by("PARTNER")).await.starts_with("403 AccessDenied"));
    let seen = guarded.s3.requests().pop().expect("one request");
    let text = String::from_utf8_lossy(&seen.body).into_owned();
    assert!(text.contains("AKATS3/") && !text.contains("AKTEST"), "{text}");
}

/// Clients sign with unknown keys; anybody who can connect may write.
#[tokio::test]
async fn r20_in_trust_mode_a_form_is_signed_anew_whatever_its_signature() {
    let s3 = FakeS3::start().await;
    let proxy = TestProxy::start_with(&s3, |config| config.auth.mode = AuthMode::Trust).await;
    let client = proxy.client();
    for key in ["k", "other"] {
        s3.put("data", key, Object::bytes("old"));
        assert_eq!(client.get(&format!("/data/{key}")).send().await.text(), "old");
    }
    let unknown = Form::new().key("k").by("UNKNOWN");
    for form in [unknown.clone(), unknown.expired().header("x-amz-acl", "public-read")] {
        s3.forget_requests();
        assert_eq!(told(&client.raw(&form.wire()).await), "204");
        assert_eq!(client.get("/data/k").send().await.text(), "the file");
        assert_eq!(client.get("/data/other").send().await.text(), "old");
        assert_eq!(s3.count(|seen| seen.key == "other"), 0, "{}", s3.describe());
        let sent = s3.requests().remove(0);
        assert_eq!((sent.header("authorization"), sent.header("x-amz-acl")), ("", ""));
    }
    let proxy = TestProxy::start_with(&s3, |config| config.auth.writes = false).await;
    let refused = proxy.client().raw(&Form::new().key("k").wire()).await;
    assert!(told(&refused).starts_with("403 AccessDenied"));
}

/// s3s verifies the signature of a form and its policy, as S3 does.
#[cfg(feature = "embedded")]
#[tokio::test]
async fn a_server_that_verifies_forms_takes_ours() {
    use crate::support::{Scratch, test_config};
    use hotset::embedded::{Keys, start_with};

    let scratch = Scratch::new();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let keys = Keys { access: "AKTEST", secret: "sktest" };
    let folder = scratch.path("data");
    let origin = start_with(listener, folder.as_ref(), &keys, &[]).await.unwrap();
    let s3 = FakeS3::start().await;
    let mut config = test_config(&s3);
    config.origin.endpoint = origin.endpoint();
    let proxy = TestProxy::start_unchecked(config).await;
    let client = proxy.client();
    assert_eq!(client.put("/data").send().await.status, 200);
    let form = Form::new()
        .key("a$b/${filename}")
        .field("Content-Type", "image/jpeg")
        .field("x-amz-meta-a", "b")
        .after("submit", "Upload");
    for length in [0, 8, 70_000, 300_000] {
        let file = Object::random(length, 3).all();
        let answer = client.raw(&form.clone().file(&file).wire()).await;
        assert_eq!(told(&answer), "204", "{}", answer.text());
        let read = client.get("/data/a$b/photo.jpg").send().await;
        assert!(read.body == file, "{length}");
    }
}
