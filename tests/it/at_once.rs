//! The fast path: small hits are answered without a session of pingora, and no client can tell.

use std::time::Duration;

use hotset::auth::AuthMode;
use hotset::config::Config;
use hotset::config::units::HumanDuration;
use http::HeaderMap;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{
    Client, FakeS3, Fault, Gate, Matcher, Object, Response, Scratch, Signed, TestProxy, Times,
    within,
};

const OBJECT: u64 = 300_000;
const RANGE: &str = "Range: bytes=0-3\r\n";
const IDENTITIES: &str = "
identities:
  - { name: admin, access_key: AKADMIN, secret_key: secret-of-AKADMIN,
      allow: [{ actions: [read, write, list, delete, admin], resources: ['**'] }] }
  - { name: me, access_key: AKME, secret_key: secret-of-AKME,
      allow: [{ actions: [read], resources: ['data/mine/**'] }] }
  - { name: own, access_key: AKOWN, secret_key: secret-of-AKOWN,
      origin: { access_key: AKORIGIN, secret_key: secret-at-the-origin },
      allow: [{ actions: [read], resources: ['**'] }] }
";

/// Starts hotset with one whole object in memory.
async fn with(limits: impl FnOnce(&mut Config)) -> (FakeS3, TestProxy, Client, Object) {
    let s3 = FakeS3::start().await;
    let object = Object::random(OBJECT, 1)
        .with_crc("x-amz-checksum-crc64nvme")
        .header("x-amz-meta-Name", "value")
        .header("cache-control", "max-age=9");
    s3.put("data", "k", object.clone());
    let proxy = TestProxy::start_with(&s3, limits).await;
    let client = proxy.client();
    let read = client.get("/data/k").header("x-amz-checksum-mode", "ENABLED").send().await;
    assert_eq!(read.status, 200);
    within("a hit", async {
        while client.get("/data/k").send().await.header("cache-status") != "hotset; hit" {}
    })
    .await;
    s3.forget_requests();
    (s3, proxy, client, object)
}

/// Returns the parts of a response that are the same for equal requests.
fn told(answer: &Response) -> (u16, HeaderMap, Vec<u8>) {
    assert!(answer.complete);
    let mut headers = answer.headers.clone();
    for own in ["date", "x-amz-request-id", "x-amz-id-2", "connection"] {
        assert!(headers.remove(own).is_some(), "{own} in {:?}", answer.headers);
    }
    (answer.status.as_u16(), headers, answer.body.to_vec())
}

#[tokio::test]
async fn a_hit_is_told_alike_with_and_without_a_session() {
    let (s3, _proxy, client, object) = with(|_| ()).await;
    let modified = "Fri, 01 Jan 2100 00:00:00 GMT";
    let requests: [&[(&str, &str)]; 10] = [
        &[],
        &[("range", "bytes=0-0")],
        &[("range", "bytes=1000-70000")],
        &[("range", "bytes=-10")],
        &[("range", "bytes=299999-400000")],
        &[("range", "bytes=0-9,20-29")],
        &[("range", "bytes=0-9"), ("x-amz-checksum-mode", "ENABLED")],
        &[("x-amz-checksum-mode", "ENABLED")],
        &[("if-none-match", "\"other\""), ("range", "bytes=5-9")],
        &[("if-unmodified-since", modified), ("range", "bytes=5-9")],
    ];
    for headers in requests {
        for head in [false, true] {
            let send = |last: bool| {
                let request = if head { client.head("/data/k") } else { client.get("/data/k") };
                let request =
                    headers.iter().fold(request, |r, (name, value)| r.header(name, value));
                if last { request.header("connection", "close").send() } else { request.send() }
            };
            let (at_once, by_session) = (send(false).await, send(true).await);
            assert_eq!(at_once.header("connection"), "keep-alive");
            assert_eq!(told(&at_once), told(&by_session), "{headers:?}");
        }
    }
    let answer = client.get("/data/k").range("bytes=1000-70000").send().await;
    assert_eq!(answer.body, object.slice(1000..70_001));
    assert_eq!(s3.requests().len(), 0, "{}", s3.describe());
}

#[tokio::test]
async fn requests_that_come_at_once_are_answered_in_their_order() {
    let (s3, proxy, _client, object) = with(|_| ()).await;
    s3.put("data", "cold", Object::bytes("cold"));
    let get =
        |path: &str, more: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n");
    let mut requests = String::new();
    for _ in 0..3 {
        requests += &get("/data/k", "Range: bytes=0-9\r\n");
        requests += &get("/data/cold", "");
        requests += &get("/data/none", "");
        requests += "PUT /data/new HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nnew";
        requests += &get("/data/new", "");
        requests += &get("/data/k", "Range: bytes=20-29\r\nExpect: 100-continue\r\n");
        requests += "HEAD /data/k HTTP/1.1\r\nHost: localhost\r\n\r\n";
    }
    requests += &get("/data/k", "Range: bytes=30-39\r\nConnection: close\r\n");
    let all = proxy.client().send_raw(requests.as_bytes()).await;
    let mut rest = &all[..];
    let mut bodies = Vec::new();
    while !rest.is_empty() {
        let end = rest.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        let head = String::from_utf8_lossy(&rest[..end]).to_lowercase();
        rest = &rest[end..];
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.unwrap().parse().unwrap();
        let length = if length == 300_000 { 0 } else { length };
        bodies.push((head[9..12].to_owned(), rest[..length].to_vec()));
        rest = &rest[length..];
    }
    let range = |from: u64| ("206".to_owned(), object.slice(from..from + 10).to_vec());
    for seven in bodies[..21].chunks(7) {
        let statuses: Vec<&str> = seven.iter().map(|(status, _)| status.as_str()).collect();
        assert_eq!(statuses, ["206", "200", "404", "200", "200", "206", "200"]);
        assert_eq!((&seven[0], &seven[5]), (&range(0), &range(20)));
        assert_eq!((&*seven[1].1, &*seven[4].1), (&b"cold"[..], &b"new"[..]));
    }
    assert_eq!(bodies[21..], [range(30)]);
}

#[tokio::test]
async fn r31_a_client_that_takes_no_answers_is_cut_off() {
    let (_s3, proxy, client, _) = with(|config| {
        config.limits.write_timeout = HumanDuration(Duration::from_millis(200));
    })
    .await;
    let mut socket = TcpStream::connect(proxy.addr).await.unwrap();
    let request = b"GET /data/k HTTP/1.1\r\nHost: localhost\r\nRange: bytes=0-99999\r\n\r\n";
    // Also writes until the server has stopped reading.
    let cut = async { while socket.write_all(request).await.is_ok() {} };
    within("the end of the connection", cut).await;
    let mut rest = Vec::new();
    let _ = within("what was sent before", socket.read_to_end(&mut rest)).await;
    assert_eq!(client.get("/data/k").range("bytes=0-9").send().await.status, 206);
    // A response arrives before it is counted as sent.
    let done = async { while proxy.metric("hotset_requests_in_flight").await > 0.5 {} };
    within("nothing under way", done).await;
}

#[tokio::test]
async fn a_connection_on_which_nothing_comes_is_closed() {
    let (_s3, proxy, _client, _) = with(|config| {
        config.limits.keep_alive = HumanDuration(Duration::from_millis(100));
    })
    .await;
    let mut socket = TcpStream::connect(proxy.addr).await.unwrap();
    for _ in 0..3 {
        socket.write_all(b"HEAD /data/k HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        let mut answer = [0; 2048];
        assert!(socket.read(&mut answer).await.unwrap() > 0);
    }
    let mut rest = Vec::new();
    within("the end", socket.read_to_end(&mut rest)).await.unwrap();
    assert!(rest.is_empty());
}

#[tokio::test]
async fn r21_each_request_of_a_connection_is_allowed_by_itself() {
    let s3 = FakeS3::start().await;
    for key in ["mine/k", "theirs/k"] {
        s3.put("data", key, Object::bytes(key));
    }
    let scratch = Scratch::new();
    let identities = scratch.file("identities.yaml", IDENTITIES);
    let proxy = TestProxy::start_with(&s3, |config| {
        config.auth.mode = AuthMode::Verify;
        config.auth.identities = Some(identities.into());
    })
    .await;
    let wire = |key: &str, user: &str, last: bool| {
        let target = format!("/data/{key}/k");
        let signed = Signed::new("GET", &target, proxy.addr);
        let signed = signed.keys(user, &format!("secret-of-{user}"));
        let signed = if last { signed.unsigned("connection", "close") } else { signed };
        signed.wire()
    };
    for key in ["mine", "theirs"] {
        for _ in 0..2 {
            assert_eq!(proxy.client().raw(&wire(key, "AKADMIN", true)).await.status, 200);
        }
    }
    // Reads by an identity whose own keys for the origin belong to another realm.
    assert_eq!(
        proxy.client().raw(&wire("theirs", "AKOWN", false)).await.header("cache-status"),
        "hotset; fwd=uri-miss; detail=new"
    );
    s3.forget_requests();
    let asked = [("mine", "AKME"), ("theirs", "AKME"), ("mine", "AKME"), ("theirs", "AKNOBODY")];
    let mut requests: Vec<u8> =
        asked.iter().flat_map(|(key, user)| wire(key, user, false)).collect();
    requests.extend(wire("mine", "AKME", true));
    let all = proxy.client().send_raw(&requests).await;
    let all = String::from_utf8_lossy(&all);
    let statuses: Vec<&str> = all.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
    assert_eq!(statuses, ["200", "403", "200", "403", "200"], "{all}");
    assert!(
        !all.contains("theirs/k\r") && all.matches("Cache-Status: hotset; hit").count() == 3,
        "{all}"
    );
    assert_eq!(s3.requests().len(), 0, "{}", s3.describe());
}

#[tokio::test]
async fn hits_go_on_behind_a_request_that_had_to_wait() {
    let (s3, proxy, _client, object) = with(|config| {
        config.limits.keep_alive_requests = Some(4);
    })
    .await;
    s3.put("data", "cold", Object::bytes("cold"));
    let gate = Gate::new();
    s3.fault(Matcher::get("cold"), Times(1), Fault::HoldHeader(gate.clone()));
    let mut socket = TcpStream::connect(proxy.addr).await.unwrap();
    let get = |key: &str| format!("GET /data/{key} HTTP/1.1\r\nHost: localhost\r\n{RANGE}\r\n");
    // The second hit arrives while the origin is waited for: pingora checks whether its client is still there.
    socket.write_all((get("k") + &get("cold")).as_bytes()).await.unwrap();
    gate.wait_reached().await;
    socket.write_all(get("k").as_bytes()).await.unwrap();
    gate.open();
    let mut all = Vec::new();
    socket.write_all(get("k").as_bytes()).await.unwrap();
    within("the end after four", socket.read_to_end(&mut all)).await.unwrap();
    let bodies = [object.slice(0..4), "cold".into(), object.slice(0..4), object.slice(0..4)];
    let mut rest = &all[..];
    for (number, body) in bodies.iter().enumerate() {
        let end = rest.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        let last = String::from_utf8_lossy(&rest[..end]).contains("Connection: close");
        assert_eq!(last, number == 3);
        assert_eq!(rest[end..end + 4], body[..], "{number}");
        rest = &rest[end + 4..];
    }
    assert!(rest.is_empty());
}
