//! Request smuggling: requests that two servers in a row may read differently are refused with S3's XML, and the
//! connection ends (R29).

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Client, FakeS3, Object, TestProxy, setup as bare_setup, within};

/// A request that would have an effect if it were read as one of its own.
const SMUGGLED: &str = "DELETE /data/k HTTP/1.1\r\nHost: localhost\r\n\r\n";

async fn setup() -> (FakeS3, TestProxy, Client) {
    let (s3, proxy, client) = bare_setup().await;
    s3.put("data", "k", Object::bytes("kept"));
    (s3, proxy, client)
}

/// Asserts that `bytes` are answered once, with 400 and S3's XML, and that the connection ends.
async fn assert_refused(bytes: &[u8]) {
    let (s3, proxy, client) = setup().await;
    let what = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned();
    let before = proxy.metric(r#"hotset_refused_total{reason="malformed"}"#).await;
    let answer = String::from_utf8_lossy(&client.send_raw(bytes).await).into_owned();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{what}: {answer}");
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{what}: {answer}");
    assert!(answer.to_lowercase().contains("\r\nconnection: close\r\n"), "{what}: {answer}");
    assert!(answer.contains("<Code>BadRequest</Code><Message>An error occurred when"), "{answer}");
    assert!(answer.ends_with("</Error>"), "{what}: {answer}");
    assert!(s3.object("data", "k").is_some(), "{what}: a smuggled request was served");
    let after = proxy.metric(r#"hotset_refused_total{reason="malformed"}"#).await;
    assert!(after > before, "{what}");
}

/// Returns a PUT with these header lines and this body.
fn put(fields: &str, body: &str) -> String {
    format!("PUT /data/new HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n{body}")
}

#[tokio::test]
async fn r29_a_length_beside_an_encoding_is_refused() {
    let chunked = "Transfer-Encoding: chunked\r\n";
    for fields in
        [format!("Content-Length: 5\r\n{chunked}"), format!("{chunked}Content-Length: 5\r\n")]
    {
        assert_refused(put(&fields, &format!("0\r\n\r\n{SMUGGLED}")).as_bytes()).await;
    }
}

#[tokio::test]
async fn r29_two_lengths_are_refused_even_when_they_are_equal() {
    for fields in [
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\ncontent-length: 5\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: 5, 6\r\n",
    ] {
        assert_refused(put(fields, &format!("abcde{SMUGGLED}")).as_bytes()).await;
    }
}

#[tokio::test]
async fn r29_a_length_that_is_not_digits_is_refused() {
    for length in ["", "+5", "-5", "0x5", "5 5", "5a", "1e1", "99999999999999999999", "\u{665}"] {
        assert_refused(put(&format!("Content-Length: {length}\r\n"), "abcde").as_bytes()).await;
    }
}

#[tokio::test]
async fn r29_a_folded_header_is_refused() {
    for fold in [" ", "\t"] {
        let fields = format!("x-a: b\r\n{fold}Content-Length: 0\r\n");
        assert_refused(put(&fields, SMUGGLED).as_bytes()).await;
    }
    assert_refused(b"GET /data/k HTTP/1.1\r\n Host: localhost\r\n\r\n").await;
}

#[tokio::test]
async fn r29_a_line_that_ends_in_lf_alone_is_refused() {
    for head in [
        "GET /data/k HTTP/1.1\nHost: localhost\r\n\r\n",
        "GET /data/k HTTP/1.1\r\nHost: localhost\n\r\n",
        "GET /data/k HTTP/1.1\r\nHost: localhost\r\n\n",
        "GET /data/k HTTP/1.1\nHost: localhost\n\n",
        "\nGET /data/k HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ] {
        assert_refused(head.as_bytes()).await;
    }
}

#[tokio::test]
async fn r29_space_before_a_colon_is_refused() {
    for fields in [
        "Content-Length : 5\r\n",
        "Transfer-Encoding\t: chunked\r\n",
        "x y: z\r\n",
        ": z\r\n",
        "xyz\r\n",
    ] {
        assert_refused(put(fields, SMUGGLED).as_bytes()).await;
    }
}

#[tokio::test]
async fn r29_control_bytes_in_a_head_are_refused() {
    for byte in ["\0", "\u{1}", "\u{8}", "\u{b}", "\u{1b}", "\u{7f}", "\r"] {
        assert_refused(put(&format!("x-a: b{byte}c\r\n"), "").as_bytes()).await;
        let head = format!("GET /data/k{byte} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert_refused(head.as_bytes()).await;
        assert_refused(put(&format!("x-a{byte}: b\r\n"), "").as_bytes()).await;
    }
}

#[tokio::test]
async fn r29_more_than_one_host_is_refused_and_http_1_1_without_one() {
    for hosts in
        ["Host: localhost\r\nHost: localhost\r\n", "Host: localhost\r\nhost: other\r\n", "x: y\r\n"]
    {
        assert_refused(format!("GET /data/k HTTP/1.1\r\n{hosts}\r\n").as_bytes()).await;
    }
}

#[tokio::test]
async fn r29_an_encoding_other_than_chunked_is_refused() {
    for encoding in [
        "Transfer-Encoding: gzip\r\n",
        "Transfer-Encoding: chunked, gzip\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: \"chunked\"\r\n",
        "Transfer-Encoding: chunked;q=1\r\n",
        "Transfer-Encoding:\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
    ] {
        assert_refused(put(encoding, &format!("0\r\n\r\n{SMUGGLED}")).as_bytes()).await;
    }
    let old = "PUT /data/new HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    assert_refused(old.as_bytes()).await;
}

#[tokio::test]
async fn r29_a_malformed_chunk_is_refused() {
    for body in [
        "+5\r\nabcde\r\n0\r\n\r\n",
        "0x5\r\nabcde\r\n0\r\n\r\n",
        " 5\r\nabcde\r\n0\r\n\r\n",
        "5 \r\nabcde\r\n0\r\n\r\n",
        "5\nabcde\r\n0\r\n\r\n",
        "5;x\nabcde\r\n0\r\n\r\n",
        "\r\n5\r\nabcde\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nabcde\r\n0\r\n\r\n",
        "5\r\nabcdefg\r\n0\r\n\r\n",
        "5\r\nabcde\n0\r\n\r\n",
        "5\r\nabcde\r\n0\r\nx: y\n\r\n",
    ] {
        let request = put("Transfer-Encoding: chunked\r\n", &format!("{body}{SMUGGLED}"));
        assert_refused(request.as_bytes()).await;
    }
}

#[tokio::test]
async fn r29_a_request_line_that_readers_split_differently_is_refused() {
    for line in [
        "GET /data/k",
        "GET  /data/k HTTP/1.1",
        "GET /data/k  HTTP/1.1",
        "GET /data/k HTTP/1.1 ",
        "GET /data/k x HTTP/1.1",
        "GET\t/data/k\tHTTP/1.1",
        "GET /data/k HTTP/1.2",
        "GET /data/k HTTP/2.0",
        "GET /data/k http/1.1",
        "G@T /data/k HTTP/1.1",
        " GET /data/k HTTP/1.1",
        "PROXY TCP4 10.0.0.1 10.0.0.2 1 2",
    ] {
        assert_refused(format!("{line}\r\nHost: localhost\r\n\r\n").as_bytes()).await;
    }
}

#[tokio::test]
async fn a_tunnel_is_refused() {
    let (_s3, _proxy, client) = setup().await;
    let answer = client.raw(b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n").await;
    assert_eq!(answer.status, 405);
    assert!(answer.text().contains("<Code>MethodNotAllowed</Code>"), "{}", answer.text());
}

/// A client that pipelines a valid request and an invalid one gets both responses, in order, and the end.
#[tokio::test]
async fn r29_what_was_asked_before_a_refused_request_is_answered() {
    let (_s3, _proxy, client) = setup().await;
    let get = "GET /data/k HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let bad = "GET /data/k HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n";
    for good in [1, 3] {
        let all = format!("{}{bad}{get}", get.repeat(good));
        let answer = String::from_utf8_lossy(&client.send_raw(all.as_bytes()).await).into_owned();
        assert_eq!(answer.matches("HTTP/1.1 200 ").count(), good, "{answer}");
        assert_eq!(answer.matches("HTTP/1.1 400 ").count(), 1, "{answer}");
        assert!(answer.ends_with("</Error>"), "{answer}");
    }
}

#[tokio::test]
async fn r29_a_refused_head_is_answered_without_a_body() {
    let (_s3, _proxy, client) = setup().await;
    let answer = client.send_raw(b"HEAD /data/k HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n").await;
    assert!(answer.starts_with(b"HTTP/1.1 400 ") && answer.ends_with(b"\r\n\r\n"), "{answer:?}");
}

/// Unusual but unambiguous requests are accepted.
#[tokio::test]
async fn r29_unusual_requests_that_are_right_still_pass() {
    let (s3, _proxy, client) = setup().await;
    let many = "x-amz-meta-n: n\r\n".repeat(100);
    for (request, status) in [
        ("GET /data/k HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(), 200),
        ("\r\nGET /data/k HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(), 200),
        ("GET /data/k HTTP/1.0\r\n\r\n".to_owned(), 200),
        ("GET /data/k HTTP/1.1\r\nhOsT:localhost\r\n\r\n".to_owned(), 200),
        ("GET /data/k HTTP/1.1\r\nHost: \t localhost \t \r\n\r\n".to_owned(), 200),
        ("GET http://localhost/data/k HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(), 200),
        ("GET /data/k HTTP/1.1\r\nHost: localhost\r\nx-a:\r\nx-a: \tb\tc\r\n\r\n".to_owned(), 200),
        ("GET /data/k HTTP/1.1\r\nHost: localhost\r\nx-a: \u{e9}\r\n\r\n".to_owned(), 200),
        ("GET /data/k HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n".to_owned(), 200),
        ("GET /data/k HTTP/1.1\r\nHost: localhost\r\nX!#$%&'*+-.^_`|~9: b\r\n\r\n".to_owned(), 200),
        (put("Content-Length: 005\r\n", "abcde"), 200),
        (put(&format!("{many}Content-Length: 5\r\n"), "abcde"), 200),
        // S3 accepts no chunked body, nor does the fake: its refusal shows that the request reached it.
        (put("Transfer-Encoding: ChunKed\r\n", "5\r\nabcde\r\n0\r\n\r\n"), 501),
        (
            put("Transfer-Encoding: chunked\r\n", "3;a=\"b c\"\r\nabc\r\n02;\r\nde\r\n00\r\n\r\n"),
            501,
        ),
        (put("Transfer-Encoding: chunked\r\n", "5\r\nabcde\r\n0\r\nx-a: b\r\n\r\n"), 501),
    ] {
        let answer = client.raw(request.as_bytes()).await;
        assert_eq!(answer.status, status, "{request}: {}", answer.text());
        assert!(answer.complete);
        if status == 200 && request.starts_with("PUT") {
            assert_eq!(s3.object("data", "new").unwrap().all(), "abcde", "{request}");
            s3.delete("data", "new");
        }
    }
}

/// The bytes are the same request, however they are cut.
#[tokio::test]
async fn r29_a_request_may_come_byte_by_byte() {
    let (s3, proxy, _client) = setup().await;
    let mut stream = TcpStream::connect(proxy.addr).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let requests = put("Content-Length: 5\r\n", "abcde")
        + "GET /data/new HTTP/1.1\r\nHost: localhost\r\n\r\n"
        + &put("Content-Length: 5\r\n", "fghij")
        + "GET /data/new HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    for byte in requests.as_bytes() {
        stream.write_all(&[*byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut answers = String::new();
    within("the answers", stream.read_to_string(&mut answers)).await.unwrap();
    assert_eq!(answers.matches("HTTP/1.1 200 ").count(), 4, "{answers}");
    assert!(answers.contains("\r\n\r\nabcdeHTTP/1.1 200 "), "{answers}");
    assert!(answers.ends_with("fghij"), "{answers}");
    assert!(s3.complaints().is_empty(), "{:?}", s3.complaints());
}

/// HTTP/2 frames its bodies itself, and its library refuses headers of HTTP/1 connections (RFC 9113, section 8.2.2).
#[tokio::test]
async fn r29_connection_headers_over_http_2_are_refused() {
    let (_s3, proxy, _client) = setup().await;
    assert_eq!(h2_get(&proxy, ("te", "trailers")).await, Http2::Headers);
    for header in [
        ("transfer-encoding", "chunked"),
        ("connection", "close"),
        ("keep-alive", "timeout=1"),
        ("upgrade", "h2c"),
        ("te", "gzip"),
        ("Host", "localhost"),
        ("x-a", "b\r\nc: d"),
        ("x-a", "b\0"),
    ] {
        assert_eq!(h2_get(&proxy, header).await, Http2::Refused, "{header:?}");
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Http2 {
    Headers,
    Refused,
}

/// Sends a GET with one more header, in frames made here: client libraries refuse to.
async fn h2_get(proxy: &TestProxy, (name, value): (&str, &str)) -> Http2 {
    let frame = |kind: u8, flags: u8, stream: u8, payload: &[u8]| {
        let length = u8::try_from(payload.len()).unwrap();
        [&[0, 0, length, kind, flags, 0, 0, 0, stream], payload].concat()
    };
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    // RFC 7541, appendix A: 2 is `:method: GET`, 6 `:scheme: http`, 4 `:path`, 1 `:authority`.
    let fields = [
        &[0x82, 0x86, 0x04][..],
        &text("/data/k"),
        &[0x01],
        &text("localhost"),
        &[0x00],
        &text(name),
        &text(value),
    ];
    let mut stream = TcpStream::connect(proxy.addr).await.unwrap();
    let sent = [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        frame(4, 0, 0, &[]),
        frame(1, 5, 1, &fields.concat()),
    ];
    stream.write_all(&sent.concat()).await.unwrap();
    loop {
        let mut head = [0; 9];
        within("a frame", stream.read_exact(&mut head)).await.unwrap();
        let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
        within("its payload", stream.read_exact(&mut payload)).await.unwrap();
        match head[3] {
            1 => return Http2::Headers,
            // RST_STREAM and GOAWAY.
            3 | 7 => return Http2::Refused,
            _ => {}
        }
    }
}
