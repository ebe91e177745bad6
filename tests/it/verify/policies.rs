//! R21: a request is also authorized for what it reads or changes beside its target.

use crate::support::sigv4::sha256;
use crate::support::{Object, Scratch, Signed};

use super::{Verifying, refused};

fn by_cleaner(hotset: &Verifying, method: &'static str, target: &str) -> Signed {
    hotset.signed(method, target).keys("AKCLEANER", "cleaners-secret")
}

fn delete_list(keys: &[&str]) -> String {
    let object = |list: String, key: &&str| list + &format!("<Object><Key>{key}</Key></Object>");
    let objects = keys.iter().fold(String::new(), object);
    format!("<Delete>{objects}</Delete>")
}

#[tokio::test]
async fn r21_a_copy_needs_its_source_and_its_target() {
    let hotset = Verifying::start().await;
    hotset.s3.put("data", "tmp/a", Object::bytes("a"));
    for (target, source, status) in [
        ("/data/tmp/b", "/data/tmp/a", 200),
        ("/data/tmp/b", "/data/k", 403),
        ("/data/tmp/b", "data/tmp/../k", 403),
        ("/data/k", "/data/tmp/a", 403),
    ] {
        let put = by_cleaner(&hotset, "PUT", target).header("x-amz-copy-source", source);
        assert_eq!(hotset.answer(&put.wire()).await.0, status, "{source} to {target}");
    }
    let hoisted = by_cleaner(&hotset, "PUT", "/data/tmp/b?x-amz-copy-source=%2Fdata%2Fk");
    assert_eq!(hotset.answer(&hoisted.wire_presigned(60)).await, refused(403, "AccessDenied"));
    assert_eq!(hotset.s3.object_bytes("data", "k"), "content");
}

#[tokio::test]
async fn r21_a_delete_of_many_needs_each_key_of_its_body() {
    let hotset = Verifying::start().await;
    for key in ["tmp/a", "tmp/b"] {
        hotset.s3.put("data", key, Object::bytes("x"));
    }
    let post = |keys: &[&str]| {
        by_cleaner(&hotset, "POST", "/data?delete").body(delete_list(keys).as_bytes())
    };
    for keys in [&["k"][..], &["tmp/a", "k"], &["tmp/a", "tmp/../k"]] {
        let answer = hotset.answer(&post(keys).wire()).await;
        assert_eq!(answer, refused(403, "AccessDenied"), "{keys:?}");
    }
    for body in ["", "<Delete>", "tmp/a"] {
        let post = by_cleaner(&hotset, "POST", "/data?delete").body(body.as_bytes());
        let (status, code) = hotset.answer(&post.wire()).await;
        assert_eq!((status, &*code), (400, "MalformedXML"), "{body:?}");
    }
    let other = post(&["tmp/a"]).payload(&sha256(delete_list(&["tmp/b"]).as_bytes()));
    assert_eq!(hotset.answer(&other.wire()).await, refused(400, "XAmzContentSHA256Mismatch"));
    hotset.s3.wait_idle().await;
    assert_eq!(hotset.s3.count(|seen| seen.status == 200), 0, "{}", hotset.s3.describe());
    assert!(hotset.s3.object("data", "tmp/a").is_some());

    assert_eq!(hotset.answer(&post(&["tmp/a", "tmp/b"]).wire()).await.0, 200);
    assert!(hotset.s3.object("data", "tmp/a").is_none() && hotset.s3.object("data", "k").is_some());
}

#[tokio::test]
async fn a_list_of_keys_beyond_the_bound_is_refused() {
    let hotset = Verifying::start().await;
    let key = format!("tmp/{}", "x".repeat(1000));
    let body = delete_list(&vec![key.as_str(); 2200]);
    let narrow = by_cleaner(&hotset, "POST", "/data?delete").body(body.as_bytes());
    let wide = hotset.signed("POST", "/data?delete").body(body.as_bytes());
    for post in [narrow, wide] {
        let answer = hotset.answer(&post.wire()).await;
        assert_eq!(answer, refused(400, "MaxMessageLengthExceeded"));
    }
}

#[tokio::test]
async fn an_anonymous_identity_answers_for_who_does_not_sign() {
    let scratch = Scratch::new();
    let identities = scratch.file(
        "identities.yaml",
        "identities:\n  - { name: guest, anonymous: true, allow: [{ actions: [read], resources: ['data/public/**'] }] }\n",
    );
    let hotset =
        Verifying::start_with(|config| config.auth.identities = Some(identities.into())).await;
    let status = async |path: &str| hotset.client.get(path).send().await.status.as_u16();
    assert_eq!(status("/data/public/k").await, 200);
    assert_eq!(status("/data/k").await, 403);
    let put = hotset.client.put("/data/public/k").body("x").send().await;
    assert_eq!(put.status, 403);
    // Overrides need a signature, whoever may read.
    assert_eq!(status("/data/public/k?response-content-type=a%2Fb").await, 400);
    // A request signed with an unknown key is not anonymous.
    let signed = hotset.signed("GET", "/data/public/k");
    assert_eq!(hotset.answer(&signed.wire()).await, refused(403, "InvalidAccessKeyId"));
}

#[tokio::test]
async fn a_preflight_is_the_origins_to_answer_and_needs_no_identity() {
    let hotset = Verifying::start().await;
    let preflight = hotset
        .client
        .request(http::Method::OPTIONS, "/data/k")
        .header("Origin", "https://app.example")
        .header("Access-Control-Request-Method", "GET");
    preflight.send().await;
    assert_eq!(hotset.s3.count(|seen| seen.method == http::Method::OPTIONS), 1);
}
