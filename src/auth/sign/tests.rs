//! The worked examples of the Amazon S3 API Reference ("Examples: Signature Calculations",
//! "Transferring Payload in Multiple Chunks", "Including Trailing Headers"), and what they leave
//! open.

use std::time::{Duration, UNIX_EPOCH};

use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, DATE};

use super::*;
use crate::config::units::Secret;

const HELLO_SHA256: &str = "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072";

/// Fri, 24 May 2013 00:00:00 GMT, the time of every published example.
fn example_time() -> SystemTime {
    UNIX_EPOCH + Duration::from_hours(380_376)
}

fn signer_with(token: Option<&str>) -> Signer {
    let secret = Secret::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned());
    let token = token.map(|token| Secret::new(token.to_owned()));
    let credentials = Credentials::new("AKIAIOSFODNN7EXAMPLE".to_owned(), secret, token).unwrap();
    Signer::new(Arc::new(credentials), "us-east-1")
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let pairs = pairs.iter().map(|(name, value)| {
        (HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap())
    });
    pairs.collect()
}

fn query(raw: &str) -> Query {
    Query::parse(raw).unwrap()
}

/// Whether a header is signed in the published examples, which include `date`, `content-encoding` and `content-length`.
fn is_signed_in_examples(name: &HeaderName) -> bool {
    is_signed(name) || [DATE, CONTENT_ENCODING, CONTENT_LENGTH].contains(name)
}

fn sign_example(
    method: &Method,
    path: &str,
    raw_query: &str,
    headers: &mut HeaderMap,
    payload: Payload<'_>,
) -> Signature {
    signer_with(None).sign_selected(
        method,
        path,
        &query(raw_query),
        headers,
        payload,
        example_time(),
        is_signed_in_examples,
    )
}

/// Returns the seed of the published chunked upload of 65 KiB of `a`, with or without its CRC32C trailer.
pub(in crate::auth) fn example_seed(trailer: bool) -> Signature {
    let mut headers = headers(&[
        ("host", "s3.amazonaws.com"),
        ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
        ("content-encoding", "aws-chunked"),
        ("x-amz-decoded-content-length", "66560"),
    ]);
    let payload = if trailer {
        headers.insert("x-amz-trailer", HeaderValue::from_static("x-amz-checksum-crc32c"));
        Payload::StreamingSignedTrailer
    } else {
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("66824"));
        Payload::StreamingSigned
    };
    sign_example(&Method::PUT, "/examplebucket/chunkObject.txt", "", &mut headers, payload)
}

#[test]
fn published_example_get_object_with_range() {
    let mut headers =
        headers(&[("host", "examplebucket.s3.amazonaws.com"), ("range", "bytes=0-9")]);
    let payload = Payload::Sha256Hex(EMPTY_SHA256);
    let signature = sign_example(&Method::GET, "/test.txt", "", &mut headers, payload);
    let expected = "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41";
    assert_eq!(signature.hex(), expected);
    assert_eq!(signature.amz_date(), "20130524T000000Z");
    assert_eq!(signature.scope(), "20130524/us-east-1/s3/aws4_request");
    assert_eq!(
        headers[AUTHORIZATION],
        format!(
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, \
             SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, Signature={expected}"
        )
    );
    assert!(headers[AUTHORIZATION].is_sensitive());
}

#[test]
fn published_example_put_object() {
    let mut headers = headers(&[
        ("host", "examplebucket.s3.amazonaws.com"),
        ("date", "Fri, 24 May 2013 00:00:00 GMT"),
        ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
    ]);
    let payload = Payload::Sha256Hex(HELLO_SHA256);
    let signature = sign_example(&Method::PUT, "/test%24file.text", "", &mut headers, payload);
    assert_eq!(signature.hex(), "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd");
}

#[test]
fn published_example_get_bucket_lifecycle() {
    let mut headers = headers(&[("host", "examplebucket.s3.amazonaws.com")]);
    let payload = Payload::Sha256Hex(EMPTY_SHA256);
    let signature = sign_example(&Method::GET, "/", "lifecycle", &mut headers, payload);
    assert_eq!(signature.hex(), "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543");
}

#[test]
fn published_example_list_objects_in_any_order_of_the_query() {
    for raw in ["max-keys=2&prefix=J", "prefix=J&max-keys=2"] {
        let mut headers = headers(&[("host", "examplebucket.s3.amazonaws.com")]);
        let payload = Payload::Sha256Hex(EMPTY_SHA256);
        let signature = sign_example(&Method::GET, "/", raw, &mut headers, payload);
        assert_eq!(
            signature.hex(),
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"
        );
    }
}

#[test]
fn published_example_chunked_upload_seed_and_chunk_signatures() {
    let mut seed = example_seed(false);
    let expected = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9";
    assert_eq!(seed.hex(), expected);
    let chunks: [(&[u8], &str); 3] = [
        (&vec![b'a'; 65536], "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648"),
        (&[b'a'; 1024], "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497"),
        (b"", "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9"),
    ];
    for (data, expected) in chunks {
        assert_eq!(seed.advance_chunk(data), expected);
    }
}

#[test]
fn published_example_chunked_upload_with_trailer() {
    let mut seed = example_seed(true);
    let expected = "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e";
    assert_eq!(seed.hex(), expected);
    seed.advance_chunk(&vec![b'a'; 65536]);
    seed.advance_chunk(&[b'a'; 1024]);
    let last = "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992";
    assert_eq!(seed.advance_chunk(b""), last);
    assert_eq!(
        seed.advance_trailer(b"x-amz-checksum-crc32c:sOO8/Q==\n"),
        "d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435"
    );
}

fn signed_headers_of(headers: &HeaderMap) -> String {
    let text = headers[AUTHORIZATION].to_str().unwrap();
    let (_, rest) = text.split_once("SignedHeaders=").unwrap();
    rest.split_once(',').unwrap().0.to_owned()
}

fn sign_plain(signer: &Signer, headers: &mut HeaderMap) -> Signature {
    signer.sign(&Method::GET, "/b/k", &query(""), headers, Payload::Unsigned, example_time())
}

#[test]
fn conditions_ranges_and_amz_headers_are_signed_and_hop_headers_are_not() {
    let mut headers = headers(&[
        ("host", "s3.local:9000"),
        ("range", "bytes=0-9"),
        ("if-match", "\"e\""),
        ("if-unmodified-since", "Fri, 24 May 2013 00:00:00 GMT"),
        ("content-type", "text/plain"),
        ("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg=="),
        ("x-amz-meta-a", "1"),
        ("connection", "keep-alive"),
        ("transfer-encoding", "chunked"),
        ("content-length", "9"),
        ("expect", "100-continue"),
        ("te", "trailers"),
        ("user-agent", "x"),
        ("accept-encoding", "identity"),
        ("x-amzn-trace-id", "rewritten-by-load-balancers"),
    ]);
    sign_plain(&signer_with(None), &mut headers);
    assert_eq!(
        signed_headers_of(&headers),
        "content-md5;content-type;host;if-match;if-unmodified-since;range;\
         x-amz-content-sha256;x-amz-date;x-amz-meta-a"
    );
    assert_eq!(headers["x-amz-content-sha256"], "UNSIGNED-PAYLOAD");
}

#[test]
fn r23_a_clients_signature_date_and_token_are_replaced() {
    let from_client = [
        ("host", "s3.local"),
        ("authorization", "AWS4-HMAC-SHA256 Credential=client/..."),
        ("x-amz-date", "19990101T000000Z"),
        ("x-amz-content-sha256", "client"),
        ("x-amz-security-token", "client-token"),
    ];
    let mut permanent = headers(&from_client);
    sign_plain(&signer_with(None), &mut permanent);
    assert!(!permanent.contains_key(X_AMZ_SECURITY_TOKEN));
    assert_eq!(permanent["x-amz-date"], "20130524T000000Z");
    assert!(!permanent[AUTHORIZATION].to_str().unwrap().contains("client"));

    let mut temporary = headers(&from_client);
    sign_plain(&signer_with(Some("our-token")), &mut temporary);
    assert_eq!(temporary[X_AMZ_SECURITY_TOKEN], "our-token");
    assert!(signed_headers_of(&temporary).ends_with(";x-amz-security-token"));
}

#[test]
fn blanks_repeated_headers_and_raw_octets_are_canonical() {
    let canonical = |pairs: &[(&'static str, &[u8])]| {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_bytes(value).unwrap());
        }
        let request = CanonicalRequest {
            method: &Method::GET,
            encoded_path: "//a/./b",
            query: &query("b=2&b=1&a&X-Amz-Signature=x&c=%2f+x"),
            host: None,
            headers: &headers,
            signed_headers: "host;x-amz-meta-a;x-amz-meta-b",
        };
        request.to_bytes("UNSIGNED-PAYLOAD")
    };
    let bytes = canonical(&[
        ("host", b"h"),
        ("x-amz-meta-a", b"  one   two "),
        ("x-amz-meta-a", b"three"),
        ("x-amz-meta-b", b"\xff"),
    ]);
    let expected: &[u8] =
        b"GET\n//a/./b\na=&b=1&b=2&c=%2F%20x\nhost:h\nx-amz-meta-a:one two,three\n\
        x-amz-meta-b:\xff\n\nhost;x-amz-meta-a;x-amz-meta-b\nUNSIGNED-PAYLOAD";
    assert_eq!(bytes.as_deref(), Some(expected));
    assert_eq!(canonical(&[("host", b"h"), ("x-amz-meta-a", b"1")]), None, "one is missing");
}

#[test]
fn the_signing_key_is_kept_for_the_day() {
    let signer = signer_with(None);
    let key_at = |seconds| {
        let now = example_time() + Duration::from_secs(seconds);
        let mut headers = headers(&[("host", "h")]);
        let payload = Payload::Unsigned;
        signer.sign(&Method::GET, "/", &query(""), &mut headers, payload, now)
    };
    let (first, late, next, back) = (key_at(0), key_at(86_399), key_at(86_400), key_at(0));
    assert!(Arc::ptr_eq(&first.key, &late.key));
    assert!(!Arc::ptr_eq(&first.key, &next.key));
    assert_eq!(next.amz_date(), "20130525T000000Z");
    assert_ne!(first.hex(), next.hex());
    assert_eq!(first.hex(), back.hex());
}

#[test]
fn debug_of_signer_and_signature_shows_no_secret() {
    let signer = signer_with(Some("our-token"));
    let signature = sign_plain(&signer, &mut headers(&[("host", "h")]));
    let shown = format!("{signer:?} {signature:?}");
    assert!(!shown.contains("wJalr") && !shown.contains("our-token"), "{shown}");
    assert!(!shown.contains(signature.hex()), "{shown}");
}
