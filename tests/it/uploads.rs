//! R23: an upload's body reaches the origin whole, framed so that the origin can check it, or not at all.

use bytes::Bytes;
use hotset::auth::chunked::{ChunkedEncoder, Form, Incoming, Reframer};
use http::Method;

use crate::support::{
    Client, FakeS3, Fault, Gate, Matcher, Object, Request, Seen, Times, our_signature, setup,
};

const SIGNED: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD";
const SIGNED_TRAILER: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER";
const UNSIGNED_TRAILER: &str = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";
const CHECKSUM: &str = "x-amz-checksum-crc32";

fn random(length: u64) -> Bytes {
    Object::random(length, 3).all()
}

/// Returns a client's aws-chunked body; `trailer` makes it end with a checksum.
fn chunked(data: &[u8], chunk: usize, kind: &str) -> Vec<u8> {
    let signature = "c".repeat(64);
    let extension = match kind {
        UNSIGNED_TRAILER => String::new(),
        _ => format!(";chunk-signature={signature}"),
    };
    let mut body = Vec::new();
    for piece in data.chunks(chunk) {
        body.extend_from_slice(format!("{:x}{extension}\r\n", piece.len()).as_bytes());
        body.extend_from_slice(piece);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("0{extension}\r\n").as_bytes());
    if kind != SIGNED {
        body.extend_from_slice(format!("{CHECKSUM}:NhCmhg==\r\n").as_bytes());
    }
    if kind == SIGNED_TRAILER {
        body.extend_from_slice(format!("x-amz-trailer-signature:{signature}\r\n").as_bytes());
    }
    body.extend_from_slice(b"\r\n");
    body
}

fn streaming(client: &Client, path: &str, kind: &str, length: usize) -> Request {
    let request = client
        .put(path)
        .header("x-amz-content-sha256", kind)
        .header("x-amz-decoded-content-length", &length.to_string())
        .header("Content-Encoding", "aws-chunked,gzip");
    if kind == SIGNED { request } else { request.header("x-amz-trailer", CHECKSUM) }
}

fn last(s3: &FakeS3, method: &Method) -> Seen {
    s3.requests().into_iter().rfind(|r| r.method == *method).expect("a request of this method")
}

#[tokio::test]
async fn r23_a_plain_put_arrives_byte_for_byte_with_its_headers() {
    let (s3, _proxy, client) = setup().await;
    for length in [0, 1, 8191, 70_000, 1 << 20] {
        let body = random(length);
        let put = client
            .put("/data/k")
            .header("Content-Type", "text/x")
            .header("Cache-Control", "max-age=5")
            .header("x-amz-meta-a", "b")
            .header("x-amz-content-sha256", &"a1".repeat(32))
            .body(body.clone());
        let answer = put.send().await;
        assert_eq!(
            (answer.status.as_u16(), answer.header("cache-status")),
            (200, "hotset; fwd=method")
        );
        let seen = last(&s3, &Method::PUT);
        assert!(seen.raw_body == body, "{length}");
        assert_eq!(seen.header("content-length"), length.to_string());
        assert_eq!(seen.header("content-type"), "text/x");
        assert_eq!(seen.header("x-amz-content-sha256"), "a1".repeat(32));
        assert_eq!(our_signature(&seen).0, seen.header("authorization"));
        let got = client.get("/data/k").send().await;
        assert!(got.body == body && got.header("x-amz-meta-a") == "b");
        assert_eq!(got.header("cache-control"), "max-age=5");
    }
    assert!(s3.complaints().is_empty(), "{:?}", s3.complaints());
    assert_eq!(client.connections(), 1, "kept alive after each");
}

#[tokio::test]
async fn a_put_without_a_length_is_passed_on_and_the_origins_refusal_comes_back() {
    let (s3, _proxy, client) = setup().await;
    let request = b"PUT /data/k HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n\
                    5\r\nhello\r\n0\r\n\r\n";
    let answer = client.raw(request).await;
    assert_eq!(answer.status, 501);
    assert!(answer.text().contains("<Code>NotImplemented</Code>"), "{}", answer.text());
    assert!(s3.object("data", "k").is_none());
    assert!(last(&s3, &Method::PUT).headers.contains_key("transfer-encoding"));
}

#[tokio::test]
async fn r23_signed_chunks_are_signed_again_with_our_key() {
    let (s3, _proxy, client) = setup().await;
    for kind in [SIGNED, SIGNED_TRAILER] {
        for length in [0, 1, 65_536, 65_537, 300_000] {
            let data = random(length);
            let body = chunked(&data, 100_000, kind);
            let put = streaming(&client, "/data/k", kind, data.len()).body(body.clone());
            let answer = put.header("Authorization", "AWS4-HMAC-SHA256 theirs").send().await;
            assert_eq!(answer.status, 200, "{kind} {length} {}", answer.text());
            let seen = last(&s3, &Method::PUT);
            assert!(seen.body == data, "{kind} {length}");
            let (authorization, signature) = our_signature(&seen);
            assert_eq!(seen.header("authorization"), authorization);
            assert!(!seen.raw_body.windows(64).any(|w| w == "c".repeat(64).as_bytes()));
            let (form, trailer_names) = match kind {
                SIGNED => (Form::Signed, vec![]),
                _ => (Form::SignedTrailer, vec![CHECKSUM.parse().unwrap()]),
            };
            let incoming = Incoming { decoded_length: length, trailer_names };
            let mut expected =
                Reframer::new(ChunkedEncoder::new(form, signature), incoming).unwrap();
            assert!(seen.raw_body == expected.push(body.into(), true).unwrap(), "{kind} {length}");
            assert_eq!(seen.header("content-encoding"), "aws-chunked,gzip");
        }
    }
    assert!(s3.complaints().is_empty(), "{:?}", s3.complaints());
    let head = client.head("/data/k").header("x-amz-checksum-mode", "ENABLED").send().await;
    assert_eq!((head.header(CHECKSUM), head.header("content-encoding")), ("NhCmhg==", "gzip"));
}

/// A piece without a whole chunk must not be taken for the end of the body.
#[tokio::test]
async fn r23_a_signed_body_that_comes_in_small_pieces_arrives_whole() {
    let (s3, _proxy, client) = setup().await;
    let data = random(200_000);
    let body = chunked(&data, 30_000, SIGNED_TRAILER);
    // `put` sends an empty body, which `start` does not.
    let put = streaming(&client, "/data/k", SIGNED_TRAILER, data.len());
    let mut upload = put.start(body.len() as u64).await;
    s3.wait_for(|requests| requests.len() == 1).await;
    for piece in body.chunks(997) {
        upload.write(piece).await.unwrap();
        tokio::task::yield_now().await;
    }
    let answer = upload.finish().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(s3.object_bytes("data", "k") == data);
    assert!(s3.complaints().is_empty(), "{:?}", s3.complaints());
}

#[tokio::test]
async fn r23_an_unsigned_trailer_body_is_passed_on_as_it_is() {
    let (s3, _proxy, client) = setup().await;
    let data = random(150_001);
    let body = chunked(&data, 9_000, UNSIGNED_TRAILER);
    let put = streaming(&client, "/data/k", UNSIGNED_TRAILER, data.len()).body(body.clone());
    assert_eq!(put.send().await.status, 200);
    let seen = last(&s3, &Method::PUT);
    assert!(seen.raw_body == body && seen.body == data);
    assert_eq!(seen.header("x-amz-content-sha256"), UNSIGNED_TRAILER);
    assert_eq!(seen.header("x-amz-trailer"), CHECKSUM);
    assert_eq!(our_signature(&seen).0, seen.header("authorization"));
    assert!(s3.complaints().is_empty(), "{:?}", s3.complaints());
}

#[tokio::test]
async fn r23_a_body_whose_framing_is_wrong_is_a_400_and_never_stored() {
    let (s3, _proxy, client) = setup().await;
    let data = random(100_000);
    s3.put("data", "k", Object::bytes("before"));
    let good = |kind| chunked(&data, 65_536, kind);
    let text = |edit: &dyn Fn(Vec<u8>) -> Vec<u8>, kind| edit(good(kind));
    let cases: Vec<(&str, &str, usize, Vec<u8>)> = vec![
        ("ends before its length", SIGNED, 100_001, good(SIGNED)),
        ("is longer than its length", SIGNED, 99_999, good(SIGNED)),
        ("a last chunk is missing", SIGNED, 100_000, good(SIGNED)[..100_100].to_vec()),
        (
            "bytes follow the end",
            SIGNED,
            100_000,
            text(&|b| [b, b"more".to_vec()].concat(), SIGNED),
        ),
        ("no size", SIGNED, 100_000, text(&|b| [b"x".to_vec(), b].concat(), SIGNED)),
        ("no CRLF", SIGNED, 100_000, text(&|b| [b"1".to_vec(), b].concat(), SIGNED)),
        ("a trailer is missing", SIGNED_TRAILER, 100_000, good(SIGNED)),
        ("no number", SIGNED, usize::MAX, good(SIGNED)),
    ];
    for (what, kind, length, body) in cases {
        let path = "/data/k";
        let request = match length {
            usize::MAX => client.put(path).header("x-amz-content-sha256", SIGNED),
            length => streaming(&client, path, kind, length),
        };
        let answer = request.body(body).send().await;
        assert_eq!(answer.status, 400, "{what}: {}", answer.text());
        assert!(answer.complete && answer.text().contains("<Code>InvalidRequest</Code>"), "{what}");
        s3.wait_idle().await;
        assert_eq!(s3.object_bytes("data", "k"), "before", "{what}");
        assert_eq!(client.get(path).send().await.text(), "before", "{what}");
    }
}

#[tokio::test]
async fn r23_a_client_that_leaves_in_the_middle_of_a_body_stores_nothing() {
    let (s3, _proxy, client) = setup().await;
    let data = random(300_000);
    for kind in ["", SIGNED] {
        let (request, body) = match kind {
            "" => (client.put("/data/k"), data.to_vec()),
            kind => {
                let request = streaming(&client, "/data/k", kind, data.len());
                (request, chunked(&data, 65_536, kind))
            }
        };
        s3.forget_requests();
        let mut upload = request.start(body.len() as u64).await;
        upload.write(&body[..200_000]).await.unwrap();
        s3.wait_for(|r| r.iter().any(|r| r.body_bytes_received > 100_000)).await;
        upload.abandon();
        s3.wait_for(|r| r.len() == 1 && r[0].done).await;
        assert!(s3.object("data", "k").is_none(), "{kind}");
        assert_eq!(client.get("/data/k").send().await.status, 404);
    }
}

#[tokio::test]
async fn a_put_streams_while_the_client_is_still_sending() {
    let (s3, _proxy, client) = setup().await;
    let gate = Gate::new();
    s3.fault(Matcher::put("k"), Times(1), Fault::HoldRequestAfter(1000, gate.clone()));
    let data = random(3 << 20);
    let mut upload = client.put("/data/k").start(data.len() as u64).await;
    upload.write(&data[..2000]).await.unwrap();
    gate.wait_reached().await;
    gate.open();
    upload.write(&data[2000..]).await.unwrap();
    assert_eq!(upload.finish().await.status, 200);
    assert!(s3.object_bytes("data", "k") == data);
}

#[tokio::test]
async fn an_expected_100_continue_is_the_origins() {
    let (s3, _proxy, client) = setup().await;
    let put = client.put("/data/k").header("Expect", "100-continue").start(5).await;
    let mut upload = put;
    assert!(upload.continued().await);
    upload.write(b"hello").await.unwrap();
    assert_eq!(upload.finish().await.status, 200);
    assert_eq!(s3.object_bytes("data", "k"), "hello");
    assert_eq!(last(&s3, &Method::PUT).header("expect"), "100-continue");
}

#[tokio::test]
async fn an_expecting_client_is_refused_before_it_has_sent_its_body() {
    let (s3, _proxy, client) = setup().await;
    s3.fault(Matcher::put("k"), Times(1), Fault::Status(403, "AccessDenied"));
    let put = client.put("/data/k").header("Expect", "100-continue");
    let mut upload = put.start(1 << 20).await;
    assert!(!upload.continued().await);
    let answer = upload.finish().await;
    assert_eq!(answer.status, 403);
    assert!(answer.complete && answer.text().contains("<Code>AccessDenied</Code>"));
    assert!(s3.object("data", "k").is_none());
}

#[tokio::test]
async fn a_refusal_in_the_middle_of_a_body_reaches_the_client() {
    let (s3, _proxy, client) = setup().await;
    s3.fault(Matcher::put("k"), Times(1), Fault::RefuseBody(403, "AccessDenied"));
    let mut upload = client.put("/data/k").start(64 << 20).await;
    upload.write(&random(100_000)).await.unwrap();
    let answer = upload.finish().await;
    assert_eq!(answer.status, 403);
    assert!(answer.complete && answer.text().contains("<Code>AccessDenied</Code>"));
}
