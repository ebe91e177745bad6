//! Tests of each kind of refusal: code, status and message.

use super::*;

#[test]
fn a_request_without_a_signature_is_nobodys() {
    let sent = Sent::new("GET /bkt/key\nHost: s3.amazonaws.com");
    let verified =
        verifier(&[]).verify(&identities(), &sent.head(), &sent.parsed().unwrap(), example_time());
    assert!(verified.unwrap().is_none());
}

#[test]
fn r21_the_host_and_every_amz_header_must_be_signed() {
    let message = "There were headers present in the request which were not signed";
    for (name, value) in
        [("x-amz-acl", "public-read"), ("x-amz-copy-source", "/b/k"), ("x-amz-security-token", "")]
    {
        for sent in [published_get(), published_presigned()] {
            let sent = sent.with(name, value);
            assert_eq!(sent.refused(), error(403, "AccessDenied", message), "{name}");
            let refused = sent.verify().unwrap_err();
            assert_eq!(refused.details, [("HeadersNotSigned".to_owned(), name.to_owned())]);
        }
    }
    let no_host = published_get();
    let text = no_host.headers["authorization"].to_str().unwrap().replace("host;", "");
    assert_eq!(no_host.with("authorization", &text).refused(), error(403, "AccessDenied", message));
    let absent = published_get().without("range").verify().unwrap_err();
    assert_eq!(absent.details, [("HeadersNotSigned".to_owned(), "range".to_owned())]);
    let unsigned = published_get().with("user-agent", "any").with("x-amzn-trace-id", "any");
    assert_eq!(unsigned.verify().unwrap(), "example");
}

/// A repeat would write the header into the canonical request once more.
#[test]
fn a_header_that_is_named_twice_in_signed_headers_is_refused_though_its_signature_is_right() {
    let problem = "SignedHeaders must name each header once.";
    let sent = published_get();
    let text = sent.headers["authorization"].to_str().unwrap().replace("range;", "range;range;");
    assert_eq!(sent.with("authorization", &text).refused(), malformed(problem));
    let plain = Sent::new("GET /bkt/key\nHost: s3.amazonaws.com");
    let expires = "&X-Amz-Expires=60";
    let right = presign(plain.clone(), KEY, SECRET, expires, "host");
    assert_eq!(right.verify().unwrap(), "example");
    let twice = presign(plain, KEY, SECRET, expires, "host;host");
    assert_eq!(twice.refused(), error(400, "AuthorizationQueryParametersError", problem));
}

#[test]
fn a_request_of_another_time_is_too_skewed_and_told_by_how_much() {
    for seconds in [900, 901] {
        for now in [
            example_time() + Duration::from_secs(seconds),
            example_time() - Duration::from_secs(seconds),
        ] {
            match published_get().verify_at(now) {
                Ok(_) => assert_eq!(seconds, 900),
                Err(refused) => {
                    let message = "The difference between the request time and the current time is too large.";
                    assert_eq!(seconds, 901);
                    assert_eq!(told(&refused), error(403, "RequestTimeTooSkewed", message));
                    let detail = |name: &str, text: &str| (name.to_owned(), text.to_owned());
                    assert_eq!(
                        refused.details,
                        [
                            detail("RequestTime", "20130524T000000Z"),
                            detail("ServerTime", &amz_date(now)),
                            detail("MaxAllowedSkewMilliseconds", "900000"),
                        ]
                    );
                }
            }
        }
    }
}

#[test]
fn what_is_wrong_with_an_authorization_header_is_said_in_s3s_words() {
    let region = "the region 'eu-west-1' is wrong; expecting 'us-east-1'";
    let components = "the authorization header requires three components: Credential, SignedHeaders, and Signature.";
    let expecting = "the Credential is mal-formed; expecting \"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request\".";
    let unknown = "The AWS Access Key Id you provided does not exist in our records.";
    for (from, to, expected) in [
        (KEY, "AKIANOBODY", error(403, "InvalidAccessKeyId", unknown)),
        ("us-east-1", "eu-west-1", malformed(region)),
        ("/s3/", "/ec2/", malformed("incorrect service \"ec2\". This endpoint belongs to \"s3\".")),
        (
            "aws4_request",
            "aws5_request",
            malformed("incorrect terminal \"aws5_request\". This endpoint uses \"aws4_request\"."),
        ),
        (
            "/20130524/",
            "/2013052x/",
            malformed(
                "incorrect date format \"2013052x\". This date in the credential must be in the format \"yyyyMMdd\".",
            ),
        ),
        (
            "/20130524/",
            "/20130525/",
            malformed(
                "Invalid credential date \"20130525\". This date is not the same as X-Amz-Date: \"20130524\".",
            ),
        ),
        ("/us-east-1", "", malformed(expecting)),
        ("aws4_request", "aws4_request/more", malformed(expecting)),
        (
            "=AKIAIOSFODNN7EXAMPLE/",
            "=/",
            malformed("a non-empty Access Key (AKID) must be provided in the credential."),
        ),
        (
            ",Signature=",
            ",Signatur=",
            malformed(&format!(
                "the authorization component \"Signatur={}\" is malformed.",
                "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
            )),
        ),
        ("Signature=f0e8", "Signature=F0e8", error(403, "SignatureDoesNotMatch", DIFFERS)),
        ("Signature=f0e8", "Signature=e8", error(403, "SignatureDoesNotMatch", DIFFERS)),
        ("SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,", "", malformed(components)),
        (
            "AWS4-HMAC-SHA256 ",
            "Basic ",
            error(400, "InvalidArgument", "Unsupported Authorization Type"),
        ),
        (
            "AWS4-HMAC-SHA256 ",
            "AWS4-ECDSA-P256-SHA256 ",
            error(
                400,
                "InvalidRequest",
                "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.",
            ),
        ),
    ] {
        let sent = published_get();
        let text = sent.headers["authorization"].to_str().unwrap().replacen(from, to, 1);
        assert_ne!(text, sent.headers["authorization"], "{from}");
        assert_eq!(sent.with("authorization", &text).refused(), expected, "{from} -> {to}");
    }
    let region = published_get();
    let text = region.headers["authorization"].to_str().unwrap().replace("us-east-1", "eu-west-1");
    let refused = region.with("authorization", &text).verify().unwrap_err();
    assert_eq!(refused.details, [("Region".to_owned(), "us-east-1".to_owned())], "SDKs follow it");
}

#[test]
fn headers_that_the_signature_needs_must_be_there_once_and_sound() {
    let no_date = "AWS authentication requires a valid Date or x-amz-date header";
    let sent = published_get().without("x-amz-date");
    assert_eq!(sent.refused(), error(403, "AccessDenied", no_date));
    let sent = published_get().with("x-amz-date", "yesterday");
    assert_eq!(sent.refused(), error(403, "AccessDenied", no_date));
    let sent = published_get().without("x-amz-content-sha256");
    let missing = "Missing required header for this request: x-amz-content-sha256";
    assert_eq!(sent.refused(), error(400, "InvalidRequest", missing));
    let mut twice = published_get();
    twice.headers.append("x-amz-content-sha256", "UNSIGNED-PAYLOAD".parse().unwrap());
    assert_eq!(twice.refused().1, "InvalidArgument");
    let mut twice = published_get();
    twice.headers.append("authorization", twice.headers["authorization"].clone());
    assert_eq!(twice.refused().1, "InvalidArgument");
    let both = Sent { target: published_presigned().target, ..published_get() };
    assert_eq!(both.refused().1, "InvalidArgument");
    assert!(
        both.refused().2.starts_with("Only one auth mechanism allowed; only the X-Amz-Algorithm")
    );
    let version_2 =
        Sent::new("GET /bkt/k?AWSAccessKeyId=a&Expires=1&Signature=s\nHost: s3.amazonaws.com");
    assert_eq!(version_2.refused().1, "InvalidRequest");
    for payload in ["", "unsigned-payload", "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD", "00"] {
        let host = "Host: s3.amazonaws.com";
        let sent = sign(Sent::new(&format!("PUT /bkt/k\n{host}")), Payload::Sha256Hex(payload));
        let (status, code, message) = sent.with_body().refused();
        assert_eq!((status, code.as_str()), (400, "InvalidArgument"), "{payload:?}");
        assert!(message.starts_with("x-amz-content-sha256 must be UNSIGNED-PAYLOAD"), "{message}");
    }
}

/// The `date` of RFC 9110 replaces `x-amz-date`, as in S3's oldest examples.
#[test]
fn a_date_header_is_enough() {
    let sent = sign(Sent::new("GET /bkt/k\nHost: s3.amazonaws.com"), Payload::Unsigned);
    // The signature covers the time either way; only the list of headers is another one.
    assert!(sent.verify().is_ok());
    for date in ["Fri, 24 May 2013 00:00:00 GMT", "20130524T000000Z"] {
        let sent = Sent::new(&format!("GET /bkt/k\nHost: s3.amazonaws.com\nDate: {date}"))
            .with("x-amz-content-sha256", "UNSIGNED-PAYLOAD");
        let query = Query::default();
        let request = CanonicalRequest {
            method: &sent.method,
            encoded_path: "/bkt/k",
            query: &query,
            host: None,
            headers: &sent.headers,
            signed_headers: "date;host;x-amz-content-sha256",
        };
        let canonical = request.to_bytes("UNSIGNED-PAYLOAD").unwrap();
        let to_sign = string_to_sign("20130524T000000Z", SCOPE, &canonical);
        let credentials = Credentials::new(KEY.to_owned(), SECRET.into(), None).unwrap();
        let key = credentials.signing_key("20130524", "us-east-1");
        let hex =
            crate::auth::sign::signature::hex(hmac::sign(&key.key, to_sign.as_bytes()).as_ref());
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={KEY}/{SCOPE}, SignedHeaders=date;host;x-amz-content-sha256, Signature={hex}"
        );
        assert_eq!(sent.with("authorization", &authorization).verify().unwrap(), "example");
    }
}

#[test]
fn what_is_wrong_with_a_presigned_query_is_said_in_s3s_words() {
    let bad = |message: &str| error(400, "AuthorizationQueryParametersError", message);
    let missing = bad(
        "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, \
         X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters.",
    );
    let week = bad(
        "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than \
         604800 seconds",
    );
    for (from, to, expected) in [
        ("X-Amz-Expires=86400", "", missing.clone()),
        ("X-Amz-Date=20130524T000000Z", "X-Amz-Date=", missing.clone()),
        ("X-Amz-SignedHeaders=", "x-amz-signedheaders=", missing),
        ("=86400", "=604801", week.clone()),
        ("=86400", "=99999999999999999999", week),
        ("=86400", "=0", bad("X-Amz-Expires must be non-negative")),
        ("=86400", "=-1", bad("X-Amz-Expires must be non-negative")),
        ("=86400", "=1h", bad("X-Amz-Expires should be a number")),
        ("=86400", "=86401", error(403, "SignatureDoesNotMatch", DIFFERS)),
        (
            "20130524T000000Z",
            "2013-05-24",
            bad("X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\""),
        ),
        (
            "us-east-1",
            "eu-west-1",
            bad(
                "Error parsing the X-Amz-Credential parameter; the region 'eu-west-1' is wrong; expecting 'us-east-1'",
            ),
        ),
        (
            "%2Fs3%2F",
            "%2F",
            bad(
                "Error parsing the X-Amz-Credential parameter; the Credential is mal-formed; expecting \
                 \"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request\".",
            ),
        ),
        ("AWS4-HMAC-SHA256", "AWS4", bad("X-Amz-Algorithm only supports \"AWS4-HMAC-SHA256\"")),
        (
            "%2F20130524",
            "%2F20130523",
            bad(
                "Invalid credential date \"20130523\". This date is not the same as X-Amz-Date: \"20130524\".",
            ),
        ),
    ] {
        let sent = published_presigned();
        let target = sent.target.replacen(from, to, 1);
        assert_ne!(target, sent.target, "{from}");
        assert_eq!(Sent { target, ..sent }.refused(), expected, "{from} -> {to}");
    }
}

#[test]
fn nothing_secret_is_told_of_a_signature_that_differs() {
    let refused = published_get().with("range", "bytes=0-8").verify().unwrap_err();
    let names: Vec<&str> = refused.details.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["AWSAccessKeyId", "StringToSign", "SignatureProvided", "CanonicalRequest"]);
    let shown = format!("{refused:?}");
    assert!(!shown.contains(SECRET), "{shown}");
    assert_eq!(parse_amz_date("20130524T000000Z"), Some(example_time()));
}
