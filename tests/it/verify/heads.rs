//! Signed heads: the requests that are accepted, and the error codes for all others.

use crate::support::sigv4::{Signed, UNSIGNED};
use crate::support::{FakeS3, Fault, Gate, Matcher, Times};

use super::{Verifying, refused};

#[tokio::test]
async fn r20_a_signed_read_is_answered_from_the_cache_to_whoever_may_read_it() {
    let hotset = Verifying::start().await;
    let get = || hotset.signed("GET", "/data/public/k");
    for cache in ["hotset; fwd=uri-miss; detail=new", "hotset; hit"] {
        let answer = hotset.send(&get().wire()).await;
        assert_eq!((answer.status.as_u16(), answer.text().as_str()), (200, "for all"));
        assert_eq!(answer.header("cache-status"), cache);
    }
    let reader = get().keys("AKREADER", "readers-secret");
    for wire in [reader.wire(), reader.wire_presigned(60), reader.clone().payload(UNSIGNED).wire()]
    {
        assert_eq!(hotset.answer(&wire).await, (200, "for all".to_owned()));
    }
    let head = hotset.send(&hotset.signed("HEAD", "/data/public/k").wire()).await;
    assert_eq!((head.status.as_u16(), head.header("content-length")), (200, "7"));
    assert_eq!(hotset.s3.count(|seen| seen.key == "public/k"), 1, "{}", hotset.s3.describe());
}

/// An object cached for one identity is not readable by another one without permission.
#[tokio::test]
async fn r20_a_cached_object_is_refused_to_who_may_not_read_it() {
    let hotset = Verifying::start().await;
    assert_eq!(hotset.answer(&hotset.signed("GET", "/data/k").wire()).await.0, 200);
    hotset.s3.forget_requests();
    let reader = hotset.signed("GET", "/data/k").keys("AKREADER", "readers-secret");
    for wire in [reader.wire(), reader.wire_presigned(60)] {
        assert_eq!(hotset.answer(&wire).await, refused(403, "AccessDenied"));
    }
    for method in ["PUT", "DELETE", "POST"] {
        let signed = hotset.signed(method, "/data/public/k").keys("AKREADER", "readers-secret");
        assert_eq!(hotset.answer(&signed.wire()).await, refused(403, "AccessDenied"), "{method}");
    }
    let anonymous = hotset.client.get("/data/public/k").send().await;
    assert_eq!(anonymous.status, 403);
    assert!(anonymous.text().contains("<Code>AccessDenied</Code><Message>Access Denied</Message>"));
    assert!(hotset.s3.requests().is_empty(), "{}", hotset.s3.describe());
}

#[tokio::test]
async fn each_way_to_be_wrong_has_s3s_status_and_code() {
    let hotset = Verifying::start().await;
    let get = || hotset.signed("GET", "/data/k");
    let put = || hotset.signed("PUT", "/data/k").body(b"new");
    let text = |wire: Vec<u8>| String::from_utf8(wire).unwrap();
    let edited = |signed: &Signed, from: &str, to: &str| {
        let wire = text(signed.wire());
        assert!(wire.contains(from), "{from}");
        wire.replacen(from, to, 1).into_bytes()
    };
    let cases: Vec<(&str, Vec<u8>, u16, &str)> = vec![
        ("another secret", get().keys("AKWRITER", "x").wire(), 403, "SignatureDoesNotMatch"),
        ("another key", get().keys("AKNOBODY", "x").wire(), 403, "InvalidAccessKeyId"),
        ("too old", get().seconds_from_now(-960).wire(), 403, "RequestTimeTooSkewed"),
        ("too young", get().seconds_from_now(960).wire(), 403, "RequestTimeTooSkewed"),
        ("another region", get().region("eu-west-1").wire(), 400, "AuthorizationHeaderMalformed"),
        (
            "an expired identity",
            get().keys("AKEXPIRED", "expired-secret").wire(),
            400,
            "ExpiredToken",
        ),
        ("another method", edited(&get(), "GET", "DELETE"), 403, "SignatureDoesNotMatch"),
        ("another key name", edited(&get(), "/data/k", "/data/l"), 403, "SignatureDoesNotMatch"),
        (
            "one more parameter",
            edited(&get(), "/data/k", "/data/k?acl"),
            403,
            "SignatureDoesNotMatch",
        ),
        (
            "another range",
            edited(&get().header("range", "bytes=0-1"), "=0-1", "=0-2"),
            403,
            "SignatureDoesNotMatch",
        ),
        ("an unsigned acl", put().unsigned("x-amz-acl", "private").wire(), 403, "AccessDenied"),
        ("no hash", edited(&get(), "x-amz-content-sha256: ", "x-content: "), 400, "InvalidRequest"),
        ("no date", edited(&get(), "x-amz-date: ", "x-date: "), 403, "AccessDenied"),
        ("an odd hash", get().payload("abc").wire(), 400, "InvalidArgument"),
        (
            "another mechanism",
            edited(&get(), "AWS4-HMAC-SHA256 ", "Bearer "),
            400,
            "InvalidArgument",
        ),
        ("an older version", edited(&get(), "AWS4-HMAC-SHA256 ", "AWS "), 400, "InvalidRequest"),
        (
            "no signature",
            edited(&get(), ", Signature=", ", Sig="),
            400,
            "AuthorizationHeaderMalformed",
        ),
        (
            "a token nobody has",
            get().header("x-amz-security-token", "t").wire(),
            400,
            "InvalidToken",
        ),
        (
            "no token",
            get().keys("AKTEMPORARY", "temporary-secret").wire(),
            403,
            "InvalidAccessKeyId",
        ),
        ("an expired URL", get().seconds_from_now(-61).wire_presigned(60), 403, "AccessDenied"),
        ("a URL of tomorrow", get().seconds_from_now(960).wire_presigned(60), 403, "AccessDenied"),
        ("a URL for ever", get().wire_presigned(604_801), 400, "AuthorizationQueryParametersError"),
        ("a URL for no time", get().wire_presigned(0), 400, "AuthorizationQueryParametersError"),
        (
            "a URL of another secret",
            get().keys("AKWRITER", "x").wire_presigned(60),
            403,
            "SignatureDoesNotMatch",
        ),
        (
            "a URL for another region",
            get().region("r").wire_presigned(60),
            400,
            "AuthorizationQueryParametersError",
        ),
        (
            "both forms",
            {
                let presigned = text(get().wire_presigned(60));
                presigned
                    .replacen("\r\n\r\n", "\r\nauthorization: AWS4-HMAC-SHA256 x\r\n\r\n", 1)
                    .into_bytes()
            },
            400,
            "InvalidArgument",
        ),
    ];
    for (what, wire, status, code) in cases {
        assert_eq!(hotset.answer(&wire).await, refused(status, code), "{what}");
    }
    assert!(hotset.s3.requests().is_empty(), "{}", hotset.s3.describe());
    let temporary =
        get().keys("AKTEMPORARY", "temporary-secret").header("x-amz-security-token", "token/1");
    assert_eq!(hotset.answer(&temporary.wire()).await.0, 200);
}

#[tokio::test]
async fn a_refused_head_has_its_status_and_no_body() {
    let hotset = Verifying::start().await;
    let head = hotset.signed("HEAD", "/data/k").keys("AKWRITER", "x");
    let answer = hotset.send(&head.wire()).await;
    assert_eq!((answer.status.as_u16(), answer.body.len()), (403, 0));
}

/// Keys that a server which normalizes paths would confuse.
#[tokio::test]
async fn the_path_is_verified_as_it_was_sent_and_names_the_key_that_it_says() {
    let hotset = Verifying::start().await;
    for path in
        ["/data/a//b", "/data/./a", "/data/../a", "/data/a%20%2B%25%C3%BC", "/data//", "/data/a/"]
    {
        let put = hotset.signed("PUT", path).body(path.as_bytes());
        assert_eq!(hotset.answer(&put.wire()).await.0, 200, "{path}");
        let seen = hotset.s3.requests().pop().expect("a request");
        assert_eq!(seen.path, path);
        let got = hotset.answer(&hotset.signed("GET", path).wire_presigned(60)).await;
        assert_eq!(got, (200, path.to_owned()));
    }
    // A client may send its escapes in another form than it signs them, as S3 allows.
    let wire = String::from_utf8(hotset.signed("GET", "/data/a%20%2B%25%C3%BC").wire()).unwrap();
    let spelled = wire.replacen("%20%2B%25%C3%BC", "%20%2b%25%c3%bc", 1);
    assert_eq!(hotset.answer(spelled.as_bytes()).await.0, 200);
}

#[tokio::test]
async fn r24_a_configured_host_may_be_signed_and_no_other() {
    let hotset = Verifying::start_with(|config| {
        config.auth.hosts = vec!["cache.example:8443".to_owned()];
        config.listen[0].domains = vec!["s3.local".to_owned()];
    })
    .await;
    let through = |signed: &str, received: &str, target: &str| {
        let wire = hotset.signed("GET", target).header("host", signed).wire();
        let wire = String::from_utf8(wire).unwrap();
        wire.replacen(&format!("host: {signed}\r\n"), &format!("host: {received}\r\n"), 1)
            .into_bytes()
    };
    for (signed, received, target, status) in [
        ("cache.example:8443", "127.0.0.1", "/data/k", 200),
        ("cache.example", "127.0.0.1", "/data/k", 403),
        ("data.cache.example:8443", "data.s3.local", "/k", 200),
        ("cache.example:8443", "data.s3.local", "/data/k", 403),
        ("data.s3.local", "data.s3.local", "/k", 200),
        ("data.s3.local", "data.s3.local:80", "/k", 403),
    ] {
        let (got, told) = hotset.answer(&through(signed, received, target)).await;
        assert_eq!(got, status, "{signed} as {received}: {told}");
    }
}

/// The AWS SDK for JavaScript v3 presigns like this.
#[tokio::test]
async fn r16_a_presigned_url_with_the_payload_in_its_query_is_answered_from_the_cache() {
    let hotset = Verifying::start().await;
    let target = |claimed: &str| format!("/data/k?X-Amz-Content-Sha256={claimed}&x-id=GetObject");
    for cache in ["hotset; fwd=uri-miss; detail=new", "hotset; hit"] {
        let wire = hotset.signed("GET", &target("UNSIGNED-PAYLOAD")).wire_presigned(60);
        let answer = hotset.send(&wire).await;
        assert_eq!((answer.status.as_u16(), &*answer.text()), (200, "content"));
        assert_eq!(answer.header("cache-status"), cache);
    }
    // The signature covers it, whatever its value.
    let wire = hotset.signed("GET", &target("UNSIGNED-PAYLOAD")).wire_presigned(60);
    let changed = String::from_utf8(wire).unwrap().replacen("UNSIGNED", "SIGNED", 1);
    assert_eq!(hotset.answer(changed.as_bytes()).await, refused(403, "SignatureDoesNotMatch"));
    let put = hotset.signed("PUT", "/data/k?X-Amz-Content-Sha256=UNSIGNED-PAYLOAD");
    assert_eq!(hotset.send(&put.body(b"new").wire_presigned(60)).await.status, 200);
    assert_eq!(hotset.s3.object_bytes("data", "k"), "new");
    let requests = hotset.s3.requests();
    assert_eq!(requests.last().map(|seen| &*seen.query), Some(""));
}

/// The region is the origin's unless the configuration says otherwise.
#[tokio::test]
async fn clients_sign_for_the_origins_region_or_for_the_configured_one() {
    let hotset =
        Verifying::start_with(|config| config.auth.region = Some("eu-west-1".to_owned())).await;
    let get = |region: &str| hotset.signed("GET", "/data/k").region(region).wire();
    assert_eq!(hotset.answer(&get("eu-west-1")).await.0, 200);
    let answer = hotset.send(&get("us-east-1")).await;
    let text = answer.text();
    assert!(
        text.contains("the region &apos;us-east-1&apos; is wrong; expecting &apos;eu-west-1&apos;"),
        "{text}"
    );
    assert!(text.contains("<Region>eu-west-1</Region>"), "{text}");
}

/// R22 also holds in this mode: readers of a shared fetch are each authorized.
#[tokio::test]
async fn r22_coalesced_readers_are_each_authorised_on_their_own() {
    let hotset = Verifying::start().await;
    let gate = Gate::new();
    let matcher = Matcher::get("public/k");
    hotset.s3.fault(matcher, Times(1), Fault::HoldHeader(gate.clone()));
    let get = hotset.signed("GET", "/data/public/k");
    let wires = [
        get.wire(),
        get.clone().keys("AKREADER", "readers-secret").wire(),
        get.clone().keys("AKREADER", "another").wire(),
        get.clone().keys("AKEXPIRED", "expired-secret").wire(),
        get.clone().keys("AKREADER", "readers-secret").wire_presigned(60),
    ];
    let leader = tokio::spawn({
        let (client, wire) = (hotset.client.clone(), wires[0].clone());
        async move { client.raw(&wire).await.status.as_u16() }
    });
    gate.wait_reached().await;
    // Refusals are answered while the fetch still waits.
    assert_eq!(hotset.answer(&wires[2]).await, refused(403, "SignatureDoesNotMatch"));
    assert_eq!(hotset.answer(&wires[3]).await, refused(400, "ExpiredToken"));
    let waiters = [1, 4].map(|index| {
        let (client, wire) = (hotset.client.clone(), wires[index].clone());
        tokio::spawn(async move { client.raw(&wire).await.text() })
    });
    gate.open();
    assert_eq!(leader.await.unwrap(), 200);
    for waiter in waiters {
        assert_eq!(waiter.await.unwrap(), "for all");
    }
    assert_eq!(hotset.s3.count(|seen| seen.key == "public/k"), 1);
}

#[tokio::test]
async fn r23_what_goes_to_the_origin_is_signed_by_us_and_bears_nothing_of_the_clients() {
    let hotset = Verifying::start().await;
    let target = "/data/k?tagging&x-id=GetObjectTagging";
    let get = hotset.signed("GET", target).keys("AKTEMPORARY", "temporary-secret");
    let token = get.clone().header("x-amz-security-token", "token/1");
    let mut presigned = hotset.signed("GET", &format!("{target}&X-Amz-Security-Token=token%2F1"));
    presigned = presigned.keys("AKTEMPORARY", "temporary-secret");
    for wire in [token.wire(), presigned.wire_presigned(60)] {
        hotset.s3.forget_requests();
        hotset.answer(&wire).await;
        let requests = hotset.s3.requests();
        let seen = requests.last().expect("it passes through");
        let (ours, _) = crate::support::our_signature(seen);
        assert_eq!(seen.header("authorization"), ours);
        assert_eq!(seen.query, "tagging&x-id=GetObjectTagging");
        assert_eq!(seen.header("x-amz-security-token"), "");
    }
}

#[tokio::test]
async fn r20_verify_does_not_start_without_its_identities() {
    let s3 = FakeS3::start().await;
    let mut config = crate::support::test_config(&s3);
    config.auth.mode = hotset::auth::AuthMode::Verify;
    config.auth.identities = Some("/nowhere/identities.yaml".into());
    let error =
        hotset::app::App::bind_with(config, None).await.err().expect("no start").to_string();
    assert!(
        error.starts_with("auth.identities: /nowhere/identities.yaml: cannot be read"),
        "{error}"
    );
}
