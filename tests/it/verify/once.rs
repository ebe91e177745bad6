//! Each request's signature is verified once, wherever it is answered, and no verdict is used for another request.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Verifying, refused};
use crate::support::{Fault, Gate, H2Client, Matcher, Object, Times, within};
use bytes::Bytes;
use http::Method;

const CLOSE: &str = "GET /data/k HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
const UNSIGNED: &str = "GET /data/k HTTP/1.1\r\nHost: localhost\r\n\r\n";

impl Verifying {
    /// Sends these bytes on one connection, followed by an unsigned request that ends it, and returns the statuses of
    /// all responses but the last.
    async fn statuses(&self, bytes: &[u8]) -> Vec<u16> {
        let bytes = [bytes, CLOSE.as_bytes()].concat();
        let mut statuses = statuses(&self.client.send_raw(&bytes).await);
        assert_eq!(statuses.pop(), Some(403), "the last request is not signed");
        statuses
    }

    /// As `statuses`, sending each request after the response to the one before.
    async fn statuses_in_turn(&self, requests: &[&[u8]]) -> Vec<u16> {
        let mut stream = TcpStream::connect(self.proxy.addr).await.unwrap();
        let mut found = Vec::new();
        for request in requests {
            stream.write_all(request).await.unwrap();
            let head = within("a head", head(&mut stream)).await;
            found.push(statuses(&head)[0]);
            let text = String::from_utf8(head).unwrap().to_lowercase();
            let length = text.split_once("content-length: ").unwrap().1;
            let length: usize = length.split_once("\r\n").unwrap().0.parse().unwrap();
            within("a body", stream.read_exact(&mut vec![0; length])).await.unwrap();
        }
        found
    }
}

async fn head(stream: &mut TcpStream) -> Vec<u8> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    head
}

fn statuses(answers: &[u8]) -> Vec<u16> {
    let text = String::from_utf8_lossy(answers);
    let lines = text.split("HTTP/1.1 ").skip(1);
    lines.map(|line| line[..3].parse().unwrap()).filter(|status| *status >= 200).collect()
}

fn edited(wire: &[u8], from: &str, to: &str) -> Vec<u8> {
    let text = String::from_utf8(wire.to_vec()).unwrap();
    assert!(text.contains(from), "{from} in {text}");
    text.replacen(from, to, 1).into_bytes()
}

/// Returns the same request with another signature.
fn forged(wire: &[u8]) -> Vec<u8> {
    let text = String::from_utf8(wire.to_vec()).unwrap();
    let at = text.find("Signature=").unwrap() + "Signature=".len();
    let digit = if &text[at..=at] == "0" { "1" } else { "0" };
    [&text[..at], digit, &text[at + 1..]].concat().into_bytes()
}

#[tokio::test]
async fn r20_a_request_is_verified_once_wherever_it_is_answered() {
    let verifying = Verifying::start().await;
    verifying.s3.put("data", "large", Object::random(300_000, 1));
    let signed = |method, target: &str| verifying.signed(method, target);
    let get = |target: &str| signed("GET", target).wire();
    let object = verifying.s3.object("data", "k").unwrap();
    let etag = object.etag_value().unwrap();
    let put = || signed("PUT", "/data/new").payload("UNSIGNED-PAYLOAD");
    let chunked = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD";
    let requests = [
        ("a miss", get("/data/k"), 200, 1),
        ("a hit", get("/data/k"), 200, 1),
        ("a hit's head", signed("HEAD", "/data/k").wire(), 200, 1),
        ("a range", signed("GET", "/data/k").header("range", "bytes=0-1").wire(), 206, 1),
        ("past the end", signed("GET", "/data/k").header("range", "bytes=99-").wire(), 416, 1),
        ("unchanged", signed("GET", "/data/k").header("if-none-match", etag).wire(), 304, 1),
        ("a miss of much", get("/data/large"), 200, 1),
        ("a hit of much", get("/data/large"), 200, 1),
        ("presigned", signed("GET", "/data/k").wire_presigned(60), 200, 1),
        ("presigned, a miss", signed("GET", "/data/public/k").wire_presigned(60), 200, 1),
        ("nothing there", get("/data/none"), 404, 1),
        ("a list", get("/data?list-type=2"), 200, 1),
        ("the same list", get("/data?list-type=2"), 200, 1),
        ("all buckets", get("/"), 200, 1),
        ("passed through", get("/data/k?tagging"), 200, 1),
        ("a write", put().body(b"new").wire(), 200, 1),
        ("a write that waits", put().header("expect", "100-continue").body(b"n").wire(), 200, 1),
        ("a write in chunks", put().payload(chunked).wire_chunked(b"abcdef", 4), 200, 1),
        ("a delete", signed("DELETE", "/data/new").wire(), 204, 1),
        (
            "a length of 0",
            edited(&get("/data/k"), "\r\n\r\n", "\r\ncontent-length: 0\r\n\r\n"),
            200,
            1,
        ),
        (
            "a length of 00",
            edited(&get("/data/k"), "\r\n\r\n", "\r\ncontent-length: 00\r\n\r\n"),
            200,
            1,
        ),
        ("HTTP/1.0", edited(&get("/data/k"), "HTTP/1.1", "HTTP/1.0"), 200, 1),
        (
            "the last one",
            edited(&get("/data/k"), "\r\n\r\n", "\r\nconnection: close\r\n\r\n"),
            200,
            1,
        ),
        (
            "an upgrade",
            edited(&get("/data/k"), "\r\n\r\n", "\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n"),
            200,
            1,
        ),
        ("forged", forged(&get("/data/k")), 403, 1),
        ("a forged list", forged(&get("/data?list-type=2")), 403, 1),
        ("a forged write", forged(&put().body(b"x").wire()), 403, 1),
        ("forbidden", signed("GET", "/data/k").keys("AKREADER", "readers-secret").wire(), 403, 1),
        ("unsigned", UNSIGNED.as_bytes().to_vec(), 403, 0),
        ("no bucket", get("/B%00"), 400, 0),
    ];
    for (what, wire, status, verifications) in requests {
        let before = verifying.proxy.verifications();
        let answer = verifying.send(&wire).await;
        let counted = verifying.proxy.verifications() - before;
        println!("{what}: {} {:?}, {counted}", answer.status, answer.headers.get("cache-status"));
        assert_eq!((answer.status.as_u16(), counted), (status, verifications), "{what}");
    }
}

#[tokio::test]
async fn r20_requests_of_one_connection_are_verified_once_each() {
    let verifying = Verifying::start().await;
    let get = |target: &str| verifying.signed("GET", target).wire();
    let put = verifying.signed("PUT", "/data/new").body(b"new").wire();
    let requests: [(Vec<u8>, u16); 11] = [
        (get("/data/k"), 200),
        (get("/data/k"), 200),
        (get("/data?list-type=2"), 200),
        (get("/data/k"), 200),
        (forged(&get("/data/k")), 403),
        (get("/data/public/k"), 200),
        (put, 200),
        (get("/data/new"), 200),
        (get("/data/none"), 404),
        (get("/data/k"), 200),
        (verifying.signed("GET", "/data/k").wire_presigned(60), 200),
    ];
    let expected: Vec<u16> = requests.iter().map(|(_, status)| *status).collect();
    let wires: Vec<&[u8]> = requests.iter().map(|(wire, _)| wire.as_slice()).collect();
    let before = verifying.proxy.verifications();
    assert_eq!(verifying.statuses_in_turn(&wires).await, expected);
    assert_eq!(verifying.proxy.verifications() - before, requests.len() as u64);
    let before = verifying.proxy.verifications();
    assert_eq!(verifying.statuses(&wires.concat()).await, expected);
    assert_eq!(verifying.proxy.verifications() - before, requests.len() as u64, "pipelined");
}

#[tokio::test]
async fn r20_streams_of_http_2_are_verified_once_each() {
    let verifying = Verifying::start().await;
    let client = H2Client::connect(verifying.proxy.addr).await;
    let wire = String::from_utf8(verifying.signed("GET", "/data/k").wire()).unwrap();
    let headers = wire.lines().skip(1).filter_map(|line| line.split_once(": "));
    let headers: Vec<_> = headers.filter(|(name, _)| *name != "host").collect();
    for expected in 1..=3 {
        let (status, _, body) = client.send(&Method::GET, "/data/k", &headers, Bytes::new()).await;
        assert_eq!((status.as_u16(), &body.unwrap()[..]), (200, &b"content"[..]));
        assert_eq!(verifying.proxy.verifications(), expected);
    }
}

/// A request is accepted or refused by itself, whatever comes before it, and however that ends.
#[tokio::test]
async fn r20_no_request_inherits_the_verdict_on_another() {
    let verifying = Verifying::start().await;
    let signed = |method, target: &str| verifying.signed(method, target);
    let unsigned_payload = || signed("PUT", "/data/new").payload("UNSIGNED-PAYLOAD");
    let smuggled = signed("DELETE", "/data/k").wire();
    let in_chunks = b"5\r\nabcde\r\n0\r\n\r\n".to_vec();
    let chunk =
        [format!("{:x}\r\n", smuggled.len()).as_bytes(), &smuggled, b"\r\n0\r\n\r\n"].concat();
    let with_encoding = |body: &[u8]| {
        let head =
            edited(&unsigned_payload().wire(), "content-length: 0", "transfer-encoding: chunked");
        [head.as_slice(), body].concat()
    };
    let firsts: Vec<(&str, Vec<u8>, u16)> = vec![
        ("a miss", signed("GET", "/data/public/k").wire(), 200),
        ("a hit", signed("GET", "/data/k").wire(), 200),
        ("an absence", signed("GET", "/data/none").wire(), 404),
        ("a list", signed("GET", "/data?list-type=2").wire(), 200),
        ("one that is presigned", signed("GET", "/data/k").wire_presigned(60), 200),
        ("one that passes through", signed("GET", "/data/k?tagging").wire(), 200),
        (
            "one that says it has a body of nothing",
            edited(&signed("GET", "/data/k").wire(), "\r\n\r\n", "\r\ncontent-length: 0\r\n\r\n"),
            200,
        ),
        ("a write", unsigned_payload().body(b"new").wire(), 200),
        ("a write of a request", unsigned_payload().body(&smuggled).wire(), 200),
        ("a write in chunks", with_encoding(&in_chunks), 501),
        ("a write of a request in a chunk", with_encoding(&chunk), 501),
        (
            "a write that waits",
            unsigned_payload().header("expect", "100-continue").body(&smuggled).wire(),
            200,
        ),
        ("one that is refused", forged(&signed("GET", "/data/k").wire()), 403),
        (
            "an upgrade",
            edited(
                &signed("GET", "/data/k").wire(),
                "\r\n\r\n",
                "\r\nconnection: keep-alive, upgrade\r\nupgrade: websocket\r\n\r\n",
            ),
            200,
        ),
    ];
    let good = signed("GET", "/data/k").wire();
    let reader = |target: &str| signed("GET", target).keys("AKREADER", "readers-secret").wire();
    let seconds: Vec<(&str, Vec<u8>, u16)> = vec![
        ("the same, forged", forged(&good), 403),
        ("unsigned", UNSIGNED.as_bytes().to_vec(), 403),
        ("by another, who may not", reader("/data/k"), 403),
        ("by another, who may", reader("/data/public/k"), 200),
        ("of another key", edited(&good, "/data/k", "/data/l"), 403),
        ("with one more header", edited(&good, "\r\n\r\n", "\r\nx-amz-acl: private\r\n\r\n"), 403),
        ("by who may", good.clone(), 200),
    ];
    for (first_what, first, first_status) in &firsts {
        for (second_what, second, second_status) in &seconds {
            let what = format!("{first_what}, then {second_what}");
            let expected = [*first_status, *second_status];
            let pipelined = [first.as_slice(), second].concat();
            assert_eq!(verifying.statuses(&pipelined).await, expected, "{what}");
            assert_eq!(
                verifying.statuses(&[second.as_slice(), first].concat()).await,
                [expected[1], expected[0]],
                "{what}, turned round"
            );
            assert!(verifying.s3.object("data", "k").is_some(), "{what}");
        }
    }
}

/// A head that is read while the request before it still waits for the origin is verified by itself.
#[tokio::test]
async fn r20_a_head_that_comes_while_another_is_served_is_verified_by_itself() {
    let verifying = Verifying::start().await;
    let good = verifying.signed("GET", "/data/k").wire();
    let gate = Gate::new();
    verifying.s3.fault(Matcher::get("k"), Times(1), Fault::HoldHeader(gate.clone()));
    let mut stream = TcpStream::connect(verifying.proxy.addr).await.unwrap();
    stream.write_all(&good).await.unwrap();
    gate.wait_reached().await;
    stream.write_all(&[forged(&good).as_slice(), &good, CLOSE.as_bytes()].concat()).await.unwrap();
    gate.open();
    let mut answers = Vec::new();
    within("the end", stream.read_to_end(&mut answers)).await.unwrap();
    assert_eq!(statuses(&answers), [200, 403, 200, 403]);
    assert_eq!(verifying.proxy.verifications(), 3);
    assert_eq!(verifying.answer(&forged(&good)).await, refused(403, "SignatureDoesNotMatch"));
}
