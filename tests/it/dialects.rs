//! Dialects of S3 and compatible servers: regions, tenants, redirects, two signatures on one request.

use hotset::auth::AuthMode;
use hotset::config::Config;
use http::Method;

use crate::support::sigv4::sha256;
use crate::support::{
    Always, FakeS3, Fault, Matcher, Object, Scratch, Seen, Signed, TestProxy, Times, setup,
};

/// Starts hotset in this mode, where `writer` may do everything in `data`.
async fn in_mode(mode: AuthMode, change: impl FnOnce(&mut Config)) -> (FakeS3, TestProxy, Scratch) {
    let s3 = FakeS3::start().await;
    s3.put("data", "k", Object::bytes("content"));
    let scratch = Scratch::new();
    let identities = "identities:\n  - { name: writer, access_key: AKWRITER, secret_key: writers-secret,\n      \
                      allow: [{ actions: [read, write, list], resources: ['data/**'] }] }\n";
    let identities = scratch.file("identities.yaml", identities);
    let proxy = TestProxy::start_with(&s3, |config| {
        config.auth.mode = mode;
        if mode == AuthMode::Verify {
            config.auth.identities = Some(identities.into());
        }
        change(config);
    })
    .await;
    (s3, proxy, scratch)
}

#[tokio::test]
async fn two_ways_of_signing_at_once_are_a_400_in_every_mode() {
    for mode in [AuthMode::Trust, AuthMode::Verify, AuthMode::Transparent] {
        let (s3, proxy, _scratch) = in_mode(mode, |_| {}).await;
        let client = proxy.client();
        let signed = Signed::new("GET", "/data/k", proxy.addr);
        let wire = String::from_utf8(signed.wire_presigned(60)).unwrap();
        let target = wire.split(' ').nth(1).unwrap();
        let header = "AWS4-HMAC-SHA256 Credential=A/20250101/us-east-1/s3/aws4_request, \
                      SignedHeaders=host, Signature=00";
        let both = client.get(target).header("Authorization", header).send().await;
        let twice = client.get("/data/k").header("Authorization", header);
        let twice = twice.header("Authorization", header).send().await;
        for answer in [both, twice] {
            assert_eq!(answer.status, 400, "{mode:?}");
            assert!(answer.text().contains("<Code>InvalidArgument</Code>"), "{}", answer.text());
        }
        assert!(s3.requests().is_empty(), "{mode:?}: {}", s3.describe());
        assert_eq!(client.raw(wire.as_bytes()).await.text(), "content", "{mode:?}");
    }
}

#[tokio::test]
async fn an_unsigned_content_sha256_is_taken_as_s3_does_and_still_compared() {
    let (s3, proxy, _scratch) = in_mode(AuthMode::Verify, |_| {}).await;
    let client = proxy.client();
    for (presigned, content) in [(false, "new"), (true, "own")] {
        let hash = sha256(content.as_bytes());
        let put = Signed::new("PUT", "/data/k", proxy.addr).body(content.as_bytes());
        let put = put.unsigned("x-amz-content-sha256", &hash);
        let put = if presigned { put.wire_presigned(60) } else { put.wire() };
        let answer = client.raw(&put).await;
        assert_eq!(answer.status, 200, "presigned: {presigned}: {}", answer.text());
        assert_eq!(s3.object_bytes("data", "k"), content);
        let text = String::from_utf8(put).unwrap();
        let forged = text.replace(&hash, "UNSIGNED-PAYLOAD");
        assert_eq!(client.raw(forged.as_bytes()).await.status, 403, "presigned: {presigned}");
        let other_body = text.replace(&format!("\r\n\r\n{content}"), "\r\n\r\nold");
        assert_eq!(client.raw(other_body.as_bytes()).await.status, 400, "presigned: {presigned}");
        assert_eq!(s3.object_bytes("data", "k"), content);
    }
}

#[tokio::test]
async fn answers_name_the_region_that_clients_sign_for() {
    for (region, location) in
        [("eu-west-1", ">eu-west-1</LocationConstraint>"), ("us-east-1", "></LocationConstraint>")]
    {
        let (s3, proxy, _scratch) = in_mode(AuthMode::Verify, |config| {
            config.origin.region = "garage".to_owned();
            config.auth.region = Some(region.to_owned());
        })
        .await;
        let theirs = Fault::SetHeader("x-amz-bucket-region", "garage".to_owned());
        s3.fault(Matcher::any(), Always, theirs);
        let client = proxy.client();
        let signed = |method, target| Signed::new(method, target, proxy.addr).region(region).wire();
        let answer = client.raw(&signed("GET", "/data?location")).await;
        assert_eq!((answer.status.as_u16(), answer.complete), (200, true));
        assert!(answer.text().contains(location), "{}", answer.text());
        assert_eq!(answer.header("x-amz-bucket-region"), region);
        let answer = client.raw(&signed("HEAD", "/data")).await;
        assert_eq!((answer.status.as_u16(), answer.header("x-amz-bucket-region")), (200, region));
        let answer = client.raw(&signed("GET", "/data/none")).await;
        assert_eq!((answer.status.as_u16(), answer.header("x-amz-bucket-region")), (404, region));
        assert_eq!(client.raw(&signed("GET", "/data?list-type=2")).await.status, 200);
    }
}

#[tokio::test]
async fn a_redirect_of_the_origin_keeps_its_location() {
    let (s3, _proxy, client) = setup().await;
    let elsewhere = "https://data.s3.eu-west-1.amazonaws.com/k";
    s3.fault(
        Matcher::any().key("k"),
        Always,
        Fault::All(vec![
            Fault::Status(307, "TemporaryRedirect"),
            Fault::SetHeader("Location", elsewhere.to_owned()),
            Fault::SetHeader("Vary", "Origin".to_owned()),
        ]),
    );
    for method in [Method::GET, Method::HEAD] {
        let answer = client.request(method.clone(), "/data/k").send().await;
        assert_eq!(
            (answer.status.as_u16(), answer.header("location")),
            (307, elsewhere),
            "{method}"
        );
        assert_eq!(answer.header("vary"), "Origin", "{method}");
    }
}

#[tokio::test]
async fn buckets_of_a_ceph_tenant_pass_through_and_their_writes_invalidate_the_tenants_own() {
    let (s3, _proxy, client) = setup().await;
    s3.put("photos", "k", Object::bytes("one"));
    assert_eq!(client.get("/photos/k").send().await.text(), "one");
    assert_eq!(client.get("/photos/k").send().await.header("cache-status"), "hotset; hit");
    s3.put("t:photos", "k", Object::bytes("one"));
    for _ in 0..2 {
        let read = client.get("/t%3Aphotos/k").send().await;
        assert_eq!((read.status.as_u16(), &*read.text()), (200, "one"));
        assert_eq!(read.header("cache-status"), "hotset; fwd=bypass");
    }
    let seen = s3.requests().pop().expect("it passes through");
    assert_eq!(seen.target, "/t%3Aphotos/k");
    assert_eq!(seen.header("authorization"), crate::support::our_signature(&seen).0);
    // The same object, under radosgw's name.
    s3.put("photos", "k", Object::bytes("two"));
    assert_eq!(client.put("/t:photos/k").body("two").send().await.status, 200);
    assert_eq!(client.get("/photos/k").send().await.text(), "two");
    for target in ["/%3Aphotos/k", "/t%3At%3Aphotos/k", "/t-1%3Aphotos/k"] {
        assert_eq!(client.get(target).send().await.status, 400, "{target}");
    }
}

/// The origin's own refusals, as AWS and as other servers word them.
#[tokio::test]
async fn refusals_of_the_origin_keep_their_vary() {
    let (s3, _proxy, client) = setup().await;
    for (status, code) in [(403, "AccessDenied"), (404, "NoSuchKey"), (404, "NoSuchBucket")] {
        for method in [Method::GET, Method::HEAD] {
            let refusal = Fault::All(vec![
                Fault::Status(status, code),
                Fault::SetHeader("Vary", "Origin, Accept".to_owned()),
            ]);
            s3.fault(Matcher::any().key("refused"), Times(1), refusal);
            let request = client.request(method.clone(), "/data/refused");
            let answer = request.header("Cache-Control", "no-cache").send().await;
            assert_eq!(
                (answer.status.as_u16(), answer.header("vary")),
                (status, "Origin, Accept"),
                "{method} {code}"
            );
        }
    }
}

/// S3 and most servers answer with the whole, empty object; others refuse each range of one.
#[tokio::test]
async fn a_suffix_of_an_empty_object_is_all_of_it_and_any_other_range_is_refused() {
    for answers_whole in [true, false] {
        let (s3, _proxy, client) = setup().await;
        if answers_whole {
            let suffix = |seen: &Seen| seen.header("range").starts_with("bytes=-");
            s3.fault(Matcher::any().when(suffix), Always, Fault::IgnoreRange);
        }
        for round in 0..3 {
            for key in ["cold", "after-a-head"] {
                if round == 0 {
                    s3.put("data", key, Object::bytes(""));
                }
                if key != "cold" {
                    assert_eq!(client.head(&format!("/data/{key}")).send().await.status, 200);
                }
                let path = format!("/data/{key}");
                let suffix = client.get(&path).range("bytes=-5").send().await;
                assert_eq!(suffix.status, 200, "{answers_whole} {round} {key}");
                assert!(suffix.complete && suffix.body.is_empty());
                assert_eq!(
                    (suffix.header("content-length"), suffix.header("content-range")),
                    ("0", "")
                );
                assert!(!suffix.header("etag").is_empty());
                for range in ["bytes=-0", "bytes=0-", "bytes=0-4"] {
                    let refused = client.get(&path).range(range).send().await;
                    assert_eq!(refused.status, 416, "{range}");
                }
            }
        }
    }
}
