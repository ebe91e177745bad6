//! hotset behind an ingress that serves it below a path, with or without removing that path (`listen[].path_prefix`).

use hotset::auth::AuthMode;
use http::Method;

use crate::support::{
    Always, FakeS3, Fault, H2Client, Matcher, Object, Scratch, Signed, TestProxy,
};

async fn below(prefix: &str, mode: AuthMode) -> (FakeS3, TestProxy, Scratch) {
    let s3 = FakeS3::start().await;
    s3.put("data", "k", Object::bytes("content"));
    let scratch = Scratch::new();
    let identities = "identities:\n  - { name: writer, access_key: AKWRITER, secret_key: writers-secret,\n      \
                      allow: [{ actions: [read, write, list], resources: ['**'] }] }\n";
    let identities = scratch.file("identities.yaml", identities);
    let proxy = TestProxy::start_with(&s3, |config| {
        config.listen[0].path_prefix = Some(prefix.to_owned());
        config.auth.mode = mode;
        if mode == AuthMode::Verify {
            config.auth.identities = Some(identities.into());
        }
    })
    .await;
    (s3, proxy, scratch)
}

/// Changes the target of a signed request after it was signed.
fn moved(wire: Vec<u8>, from: &str, to: &str) -> Vec<u8> {
    let text = String::from_utf8(wire).unwrap();
    text.replacen(&format!(" {from}"), &format!(" {to}"), 1).into_bytes()
}

#[tokio::test]
async fn a_signature_is_right_with_the_prefix_and_without_it_wherever_it_was_cut_off() {
    let (s3, proxy, _scratch) = below("/tools/s3", AuthMode::Verify).await;
    let client = proxy.client();
    for (signed, sent) in [
        ("/tools/s3/data/k", "/tools/s3/data/k"),
        ("/tools/s3/data/k", "/data/k"),
        ("/data/k", "/data/k"),
        ("/data/k", "/tools/s3/data/k"),
    ] {
        let request = Signed::new("GET", signed, proxy.addr);
        for wire in [request.wire(), request.wire_presigned(60)] {
            let answer = client.raw(&moved(wire, signed, sent)).await;
            assert_eq!(answer.text(), "content", "{signed} {sent}: {}", answer.status);
        }
    }
    assert_eq!(s3.count(|seen| seen.method == Method::GET), 1, "{}", s3.describe());
    let put = Signed::new("PUT", "/tools/s3/data/new", proxy.addr).body(b"written").wire();
    assert_eq!(client.raw(&put).await.status, 200);
    assert_eq!(s3.object_bytes("data", "new"), "written");
    for (signed, sent) in [("/tools/s3/", "/"), ("/tools/s3", "/tools/s3")] {
        let all = Signed::new("GET", signed, proxy.addr).wire();
        assert_eq!(client.raw(&moved(all, signed, sent)).await.status, 200, "{signed}");
    }
}

#[tokio::test]
async fn a_signature_for_another_path_is_refused_with_what_was_to_be_signed() {
    let (s3, proxy, _scratch) = below("/tools/s3", AuthMode::Verify).await;
    let client = proxy.client();
    for signed in ["/tools/data/k", "/tools/s3/data/other", "/tools/s3/tools/s3/data/k"] {
        let wire = Signed::new("GET", signed, proxy.addr).wire();
        let answer = client.raw(&moved(wire, signed, "/tools/s3/data/k")).await;
        let text = answer.text();
        assert_eq!(answer.status, 403, "{signed}");
        assert!(text.contains("<Code>SignatureDoesNotMatch</Code>"), "{text}");
        let canonical = "<CanonicalRequest>GET\n/tools/s3/data/k\n";
        assert!(text.replace("&#10;", "\n").contains(canonical), "{text}");
        assert!(text.contains("<StringToSign>AWS4-HMAC-SHA256"), "{text}");
        assert!(!text.contains("writers-secret"), "{text}");
    }
    assert!(s3.requests().is_empty(), "{}", s3.describe());
}

#[tokio::test]
async fn paths_mean_the_same_with_and_without_the_prefix_and_hits_are_hits() {
    let (s3, proxy, _scratch) = below("/storage", AuthMode::Trust).await;
    let client = proxy.client();
    for (path, cache) in
        [("/storage/data/k", "hotset; fwd=uri-miss; detail=new"), ("/data/k", "hotset; hit")]
    {
        let answer = client.get(path).send().await;
        assert_eq!((answer.text().as_str(), answer.header("cache-status")), ("content", cache));
    }
    let answer = client.get("/storage/data/k").send().await;
    assert_eq!(answer.header("cache-status"), "hotset; hit");
    let list = client.get("/storage/data?list-type=2").send().await.text();
    assert!(list.contains("<Key>k</Key>"), "{list}");
    let (status, _, body) = H2Client::connect(proxy.addr).await.get("/storage/data/k").await;
    assert_eq!(status, 200);
    assert_eq!(body.unwrap(), "content");
    // No bucket can have that name: its paths would be ambiguous.
    s3.put("storage", "k", Object::bytes("another"));
    let refused = client.get("/storage/storage/k").send().await;
    assert_eq!(refused.status, 400, "{}", refused.text());
    // A `Location` in a response is below the prefix.
    s3.fault(Matcher::any(), Always, Fault::SetHeader("Location", "/new".to_owned()));
    let created = client.put("/storage/data/other").body("text").send().await;
    assert_eq!(created.header("location"), "/storage/new");
}
