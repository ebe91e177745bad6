//! PROXY protocol: load balancers that name their client, and clients that pretend to be one.

use std::net::SocketAddr;
use std::time::Duration;

use hotset::config::units::HumanDuration;
use hotset::proxy::proxy_protocol::ProxyProtocolConfig;
use hotset::tls::config::TlsConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::support::{Authority, FakeS3, Object, Process, Scratch, TestProxy, tls_over, within};

const GET: &str = "GET /data/k HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
const V1: &[u8] = b"PROXY TCP4 10.1.2.3 10.0.0.1 56324 443\r\n";

/// Returns a version 2 header with this command, family and payload.
fn v2(command: u8, family: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n", &[command, family][..], &length, payload].concat()
}

/// Returns the payload of TCP over IPv4 from 10.1.2.`last`, with these TLVs.
fn v4(last: u8, tlvs: &[u8]) -> Vec<u8> {
    [&[10, 1, 2, last, 10, 0, 0, 1, 0xdc, 0x04, 0x01, 0xbb], tlvs].concat()
}

/// Starts a proxy that trusts PROXY headers from 127.0.0.1 only.
async fn setup(change: impl FnOnce(&mut hotset::config::Config)) -> (FakeS3, TestProxy) {
    let s3 = FakeS3::start().await;
    s3.put("data", "k", Object::bytes("content"));
    let proxy = TestProxy::start_with(&s3, |config| {
        let from = vec!["127.0.0.1/32".parse().unwrap()];
        config.listen[0].proxy_protocol = Some(ProxyProtocolConfig { from });
        change(config);
    })
    .await;
    (s3, proxy)
}

async fn connect(from: &str, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
    let stream = within("a connection", socket.connect(to)).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Sends these pieces from an address, and returns everything received.
async fn send(from: &str, to: SocketAddr, pieces: &[&[u8]]) -> String {
    let mut stream = connect(from, to).await;
    for piece in pieces {
        if stream.write_all(piece).await.is_err() {
            break;
        }
        tokio::task::yield_now().await;
    }
    let mut answer = Vec::new();
    let _ = within("the end of the connection", stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn r32_both_versions_are_understood_however_they_are_cut() {
    let (_s3, proxy) = setup(|_| {}).await;
    let v6 = [[0x20; 32].as_slice(), &[0xdc, 0x04, 0x01, 0xbb]].concat();
    for header in [
        V1.to_vec(),
        b"PROXY TCP6 2001:db8::1 2001:db8::2 56324 443\r\n".to_vec(),
        b"PROXY UNKNOWN\r\n".to_vec(),
        b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(),
        v2(0x21, 0x11, &v4(3, &[])),
        v2(0x21, 0x11, &v4(3, &[0x04, 0x00, 0x02, 0xaa, 0xbb, 0xea, 0x00, 0x01, 0x01])),
        v2(0x21, 0x21, &v6),
        v2(0x21, 0x31, &[b'/'; 216]),
        v2(0x20, 0x00, &[]),
        v2(0x20, 0x00, &[0x04, 0x00, 0x01, 0x00]),
    ] {
        let whole = [&header, GET.as_bytes()].concat();
        for cut in [1, 5, 12, header.len() - 1, header.len(), header.len() + 1, whole.len()] {
            let answer = send("127.0.0.1", proxy.addr, &[&whole[..cut], &whole[cut..]]).await;
            assert!(answer.starts_with("HTTP/1.1 200 "), "{header:?} {cut}: {answer}");
            assert!(answer.ends_with("\r\n\r\ncontent"), "{header:?} {cut}: {answer}");
        }
    }
}

#[tokio::test]
async fn r32_a_balancer_that_says_nothing_or_nonsense_is_refused() {
    let (_s3, proxy) = setup(|config| {
        config.limits.handshake_timeout = HumanDuration(Duration::from_millis(100));
    })
    .await;
    let mut seen = 0.0;
    for header in [
        b"".to_vec(),
        b"PROXY TCP4 10.1.2.3 10.0.0.1 56324\r\n".to_vec(),
        b"PROXY TCP4 10.1.2.3 10.0.0.1 56324 99999\r\n".to_vec(),
        b"PROXY TCP5 10.1.2.3 10.0.0.1 56324 443\r\n".to_vec(),
        b"PROXY TCP4 10.1.2.3 10.0.0.1 56324 443 \n".to_vec(),
        [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 200], b"\r\n"].concat(),
        v2(0x11, 0x11, &v4(3, &[])),
        v2(0x22, 0x11, &v4(3, &[])),
        v2(0x21, 0x12, &v4(3, &[])),
        v2(0x21, 0x11, &[10, 1, 2, 3]),
    ] {
        let answer = send("127.0.0.1", proxy.addr, &[&header, GET.as_bytes()]).await;
        assert_eq!(answer, "", "{header:?}");
        let refused = proxy.metric(r#"hotset_refused_total{reason="proxy_protocol"}"#).await;
        assert!(refused > seen, "{header:?}");
        seen = refused;
    }
    for slow in [&b"PROXY TCP4 10.1.2"[..], b"\r\n\r\n\0", &v2(0x21, 0x11, &[10; 12])[..20]] {
        assert_eq!(send("127.0.0.1", proxy.addr, &[slow]).await, "");
    }
    assert!(proxy.metric(r#"hotset_refused_total{reason="slow_handshake"}"#).await >= 1.0);
}

#[tokio::test]
async fn r32_nobody_else_may_say_who_the_client_is() {
    let (_s3, proxy) = setup(|_| {}).await;
    let answer = send("127.0.0.2", proxy.addr, &[GET.as_bytes()]).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    for header in [V1, &v2(0x21, 0x11, &v4(3, &[]))] {
        let answer = send("127.0.0.2", proxy.addr, &[header, GET.as_bytes()]).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    }
}

#[tokio::test]
async fn r32_the_limit_of_an_address_is_that_of_the_client() {
    let (_s3, proxy) = setup(|config| config.limits.connections_per_address = Some(1)).await;
    let mut held = Vec::new();
    for last in 1..=3 {
        let mut stream = connect("127.0.0.1", proxy.addr).await;
        stream.write_all(&v2(0x21, 0x11, &v4(last, &[]))).await.unwrap();
        let get = GET.replace("Connection: close\r\n", "");
        stream.write_all(get.as_bytes()).await.unwrap();
        let mut start = [0; 12];
        within("an answer", stream.read_exact(&mut start)).await.unwrap();
        assert!(start.ends_with(b" 200"), "{last}: {}", String::from_utf8_lossy(&start));
        held.push(stream);
    }
    let header = v2(0x21, 0x11, &v4(2, &[]));
    let answer = send("127.0.0.1", proxy.addr, &[&header, GET.as_bytes()]).await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("SlowDown"), "{answer}");
}

#[tokio::test]
async fn r32_it_comes_before_tls() {
    let (authority, scratch) = (Authority::new("servers"), Scratch::new());
    let pair = authority.sign(&["localhost"]);
    let cert = scratch.file("tls.crt", &pair.cert).into();
    let key = scratch.file("tls.key", &pair.key).into();
    let tls = TlsConfig { cert, key, ..TlsConfig::default() };
    let (_s3, proxy) = setup(|config| config.listen[0].tls = Some(tls)).await;
    let mut stream = connect("127.0.0.1", proxy.addr).await;
    stream.write_all(V1).await.unwrap();
    let mut stream = tls_over(stream, authority.client().config(), "localhost").await.unwrap();
    stream.write_all(GET.as_bytes()).await.unwrap();
    let mut answer = String::new();
    within("an answer", stream.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.ends_with("\r\n\r\ncontent"), "{answer}");
}

/// In a process of its own, with TLS and client certificates.
#[tokio::test]
async fn the_log_names_the_client_and_its_certificate_and_says_https() {
    let (scratch, s3) = (Scratch::new(), FakeS3::start().await);
    s3.put("data", "k", Object::bytes("content"));
    let authority = Authority::new("all");
    let (server, client) = (authority.sign(&["localhost"]), authority.sign(&["spiffe://a/b"]));
    let config = format!(
        "listen: [{{ address: 127.0.0.1:0, proxy_protocol: {{ from: [127.0.0.1/32] }}, \
         tls: {{ cert: {}, key: {}, client_auth: optional, client_ca: {} }} }}]\n\
         admin: {{ address: 127.0.0.1:0 }}\norigin: {{ endpoint: '{}' }}\nlog: {{ access: json }}\n",
        scratch.file("tls.crt", &server.cert),
        scratch.file("tls.key", &server.key),
        scratch.file("ca.crt", &authority.pem()),
        s3.endpoint()
    );
    let mut process = Process::serve(&scratch.file("hotset.yaml", &config)).await;
    assert!(process.output().contains("serving S3 on https://127.0.0.1:"), "{}", process.output());
    let der = CertificateDer::from_pem_slice(client.cert.as_bytes()).unwrap();
    let digest = ring::digest::digest(&ring::digest::SHA256, &der);
    let hex = |byte: &u8| [byte >> 4, byte & 15].map(|n| char::from_digit(n.into(), 16).unwrap());
    let fingerprint: String = digest.as_ref().iter().flat_map(hex).collect();
    for (tls, certificate) in [
        (authority.client(), serde_json::Value::Null),
        (authority.client().with(&client), fingerprint.into()),
    ] {
        let mut stream = connect("127.0.0.1", process.addr.unwrap()).await;
        stream.write_all(V1).await.unwrap();
        let mut stream = tls_over(stream, tls.config(), "localhost").await.unwrap();
        stream.write_all(GET.as_bytes()).await.unwrap();
        let mut answer = String::new();
        within("an answer", stream.read_to_string(&mut answer)).await.unwrap();
        let line = process.printed("/data/k").await;
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(line["client"], "10.1.2.3:56324");
        assert_eq!(line["client_certificate"], certificate);
    }
}
