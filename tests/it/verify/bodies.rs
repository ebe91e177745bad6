//! Bodies in `verify` mode: one that differs from the signed one never reaches the origin whole.

use bytes::Bytes;
use http::Method;

use crate::support::sigv4::{SIGNED_CHUNKS, SIGNED_TRAILER, UNSIGNED, sha256};
use crate::support::{Object, our_signature};

use super::{Verifying, refused};

fn random(length: u64) -> Bytes {
    Object::random(length, 11).all()
}

/// Asserts that `data/k` was not overwritten, and that the cache returns it.
async fn assert_untouched(hotset: &Verifying, what: &str) {
    hotset.s3.wait_idle().await;
    assert_eq!(hotset.s3.object_bytes("data", "k"), "content", "{what}");
    let got = hotset.answer(&hotset.signed("GET", "/data/k").wire()).await;
    assert_eq!(got, (200, "content".to_owned()), "{what}");
}

#[tokio::test]
async fn a_body_is_stored_when_it_is_the_one_that_was_signed() {
    let hotset = Verifying::start().await;
    for length in [0, 1, 65_536, 300_000] {
        let body = random(length);
        let put = || hotset.signed("PUT", "/data/new").body(&body).header("x-amz-meta-a", "b");
        for wire in [put().wire(), put().payload(UNSIGNED).wire(), put().wire_presigned(60)] {
            hotset.s3.delete("data", "new");
            assert_eq!(hotset.answer(&wire).await.0, 200, "{length}");
            assert!(hotset.s3.object_bytes("data", "new") == body, "{length}");
        }
    }
    assert!(hotset.s3.complaints().is_empty(), "{:?}", hotset.s3.complaints());
}

#[tokio::test]
async fn r23_a_body_that_differs_from_its_hash_is_refused_and_never_stored() {
    let hotset = Verifying::start().await;
    let signed = random(300_000);
    for (what, at) in
        [("the first byte", 0), ("one in the middle", 150_000), ("the last byte", 299_999)]
    {
        let mut body = signed.to_vec();
        body[at] ^= 1;
        let put = hotset.signed("PUT", "/data/k").body(&body).payload(&sha256(&signed));
        let answer = hotset.answer(&put.wire()).await;
        assert_eq!(answer, refused(400, "XAmzContentSHA256Mismatch"), "{what}");
        assert_untouched(&hotset, what).await;
    }
    for (what, body) in [("shorter", &signed[1..]), ("empty", &signed[..0])] {
        let put = hotset.signed("PUT", "/data/k").body(body).payload(&sha256(&signed));
        let answer = hotset.answer(&put.wire()).await;
        assert_eq!(answer, refused(400, "XAmzContentSHA256Mismatch"), "{what}");
        assert_untouched(&hotset, what).await;
    }
    let get = hotset.signed("GET", "/data/k").payload(&sha256(b"no body at all"));
    assert_eq!(hotset.answer(&get.wire()).await, refused(400, "XAmzContentSHA256Mismatch"));
}

#[tokio::test]
async fn r23_signed_chunks_are_verified_and_signed_again_by_us() {
    let hotset = Verifying::start().await;
    for kind in [SIGNED_CHUNKS, SIGNED_TRAILER] {
        for (length, chunk) in
            [(0, 8192), (1, 8192), (65_536, 65_536), (300_000, 70_000), (20_000, 8192)]
        {
            let data = random(length);
            let put = hotset.signed("PUT", "/data/new").payload(kind);
            let answer = hotset.answer(&put.wire_chunked(&data, chunk)).await;
            assert_eq!(answer.0, 200, "{kind} {length}: {answer:?}");
            let requests = hotset.s3.requests();
            let seen = requests.iter().rfind(|seen| seen.method == Method::PUT).expect("an upload");
            assert!(seen.body == data, "{kind} {length}");
            assert_eq!(our_signature(seen).0, seen.header("authorization"));
        }
    }
    assert!(hotset.s3.complaints().is_empty(), "{:?}", hotset.s3.complaints());
}

/// Applies an edit to the bytes from `at` on; their length may change.
fn edit(wire: &[u8], at: usize, edit: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut rest = wire[at..].to_vec();
    edit(&mut rest);
    [&wire[..at], &rest].concat()
}

fn find(wire: &[u8], text: &str) -> usize {
    wire.windows(text.len()).position(|w| w == text.as_bytes()).expect("it is there")
}

#[tokio::test]
async fn r23_chunks_and_trailers_that_nobody_signed_are_refused_and_never_stored() {
    let hotset = Verifying::start().await;
    let data = random(200_000);
    let put = |kind: &str| {
        let put = hotset.signed("PUT", "/data/k").payload(kind);
        (put.wire_chunked(&data, 65_536), kind.to_owned())
    };
    let body_of = |wire: &[u8]| find(wire, "\r\n\r\n") + 4;
    let differs = || refused(403, "SignatureDoesNotMatch");
    for kind in [SIGNED_CHUNKS, SIGNED_TRAILER] {
        let (wire, kind) = put(kind);
        let body = body_of(&wire);
        let last = body + find(&wire[body..], "\r\n0;chunk-signature=") + 2;
        let mut cases = vec![
            ("a byte of data", edit(&wire, body + 1000, |rest| rest[0] ^= 1), differs()),
            ("the first signature", edit(&wire, body + 30, |rest| rest[0] ^= 1), differs()),
            ("the last signature", edit(&wire, last + 30, |rest| rest[0] ^= 1), differs()),
            (
                "a last chunk alone",
                edit(&wire, body, |rest| drop(rest.drain(..last - body))),
                differs(),
            ),
            ("no signature", edit(&wire, body, |rest| drop(rest.drain(5..5 + 81))), differs()),
        ];
        if kind == SIGNED_TRAILER {
            let trailer = body + find(&wire[body..], "x-amz-checksum-crc32c:");
            let signature = body + find(&wire[body..], "x-amz-trailer-signature:");
            cases.push(("a trailer", edit(&wire, trailer + 22, |rest| rest[0] = b'A'), differs()));
            cases.push((
                "its signature",
                edit(&wire, signature + 30, |rest| rest[0] ^= 1),
                differs(),
            ));
        }
        for (what, mut wire, expected) in cases {
            fit_length(&mut wire);
            assert_eq!(hotset.answer(&wire).await, expected, "{kind}: {what}");
            assert_untouched(&hotset, what).await;
        }
        for (what, mut wire) in [
            ("truncated", wire[..last].to_vec()),
            ("extended", [&wire[..], b"more"].concat()),
            ("a chunk twice", {
                let chunk = wire[body..body + 5 + 81 + 2 + 65_536].to_vec();
                [&wire[..body], &chunk, &wire[body..]].concat()
            }),
        ] {
            fit_length(&mut wire);
            let (status, code) = hotset.answer(&wire).await;
            assert!(
                status == 400 || (status, &*code) == (403, "SignatureDoesNotMatch"),
                "{what}: {code}"
            );
            assert_untouched(&hotset, what).await;
        }
    }
}

/// Corrects Content-Length, which is not signed.
fn fit_length(wire: &mut Vec<u8>) {
    let body = find(wire, "\r\n\r\n") + 4;
    let length = (wire.len() - body).to_string();
    let at = find(wire, "content-length: ") + "content-length: ".len();
    let end = at + find(&wire[at..], "\r");
    wire.splice(at..end, length.into_bytes());
}
