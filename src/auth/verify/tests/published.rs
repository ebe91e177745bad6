//! The worked examples of the Amazon S3 API Reference, "Examples: Signature Calculations" and its neighbours.

use super::*;

#[test]
fn published_examples_of_the_header_form_are_verified() {
    assert_eq!(published_get().verify().unwrap(), "example");
    let fixed = |head: &str, signed: &str, signature: &str| {
        Sent::new(head).with("x-amz-date", "20130524T000000Z").with(
            "authorization",
            &format!(
                "AWS4-HMAC-SHA256 Credential={KEY}/{SCOPE},SignedHeaders={signed},Signature={signature}"
            ),
        )
    };
    let host = "Host: examplebucket.s3.amazonaws.com";
    let put = fixed(
        &format!(
            "PUT /test$file.text\n{host}\nDate: Fri, 24 May 2013 00:00:00 GMT\n\
             x-amz-content-sha256: 44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072\n\
             x-amz-storage-class: REDUCED_REDUNDANCY"
        ),
        "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
        "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
    );
    assert_eq!(put.with_body().verify().unwrap(), "example");
    let plain = "host;x-amz-content-sha256;x-amz-date";
    for (target, signature) in [
        ("/?lifecycle", "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
        (
            "/?max-keys=2&prefix=J",
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
        (
            "/?prefix=J&max-keys=2",
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
    ] {
        let head = format!("GET {target}\n{host}\nx-amz-content-sha256: {EMPTY_SHA256}");
        assert_eq!(fixed(&head, plain, signature).verify().unwrap(), "example", "{target}");
    }
}

#[test]
fn published_examples_of_chunked_uploads_give_the_chunks_their_seed() {
    for (signed, more, payload, signature, trailers) in [
        (
            "content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;\
             x-amz-decoded-content-length;x-amz-storage-class",
            "Content-Length: 66824",
            Payload::StreamingSigned,
            "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
            false,
        ),
        (
            "content-encoding;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;\
             x-amz-storage-class;x-amz-trailer",
            "x-amz-trailer: x-amz-checksum-crc32c",
            Payload::StreamingSignedTrailer,
            "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e",
            true,
        ),
    ] {
        let sent = Sent::new(&format!(
            "PUT /examplebucket/chunkObject.txt\nHost: s3.amazonaws.com\nx-amz-date: 20130524T000000Z\n\
             x-amz-storage-class: REDUCED_REDUNDANCY\nx-amz-content-sha256: {}\n\
             Content-Encoding: aws-chunked\nx-amz-decoded-content-length: 66560\n{more}\n\
             Authorization: AWS4-HMAC-SHA256 Credential={KEY}/{SCOPE},SignedHeaders={signed},\
             Signature={signature}",
            payload.as_str()
        ));
        let verified = sent.with_body().verify_at(example_time()).unwrap();
        let BodyCheck::Chunks { seed, trailer } = verified.body else { panic!("chunks") };
        assert_eq!((seed.hex(), seed.scope(), trailer), (signature, SCOPE, trailers));
    }
}

#[test]
fn the_published_presigned_url_is_verified_until_it_expires() {
    let sent = published_presigned();
    let at = |seconds: i64| {
        let shift = Duration::from_secs(seconds.unsigned_abs());
        let now = if seconds < 0 { example_time() - shift } else { example_time() + shift };
        sent.verify_at(now).map(drop).map_err(|error| told(&error))
    };
    for seconds in [-900, 0, 1, 86_400] {
        assert_eq!(at(seconds), Ok(()), "{seconds}");
    }
    assert_eq!(at(86_401), Err(error(403, "AccessDenied", "Request has expired")));
    assert_eq!(at(-901), Err(error(403, "AccessDenied", "Request is not valid yet")));
}
