//! Limits of each client: by identity and by address (`limits.per_identity`, `limits.per_address`).

use std::net::SocketAddr;
use std::time::Duration;

use hotset::auth::{AuthMode, ClientLimit};
use hotset::config::Config;
use hotset::config::units::{ByteSize, HumanDuration};
use hotset::proxy::proxy_protocol::ProxyProtocolConfig;
use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::support::{
    Api, Client, FakeS3, Fault, Gate, H2Client, Matcher, Object, Response, Scratch, Signed,
    TestProxy, Times, within,
};

const IDENTITIES: &str = "
identities:
  - { name: one, access_key: AKONE, secret_key: secret-of-AKONE,
      allow: [{ actions: [read, write, list], resources: ['**'] }] }
  - { name: two, access_key: AKTWO, secret_key: secret-of-AKTWO,
      allow: [{ actions: [read], resources: ['**'] }] }
  - { name: free, access_key: AKFREE, secret_key: secret-of-AKFREE,
      limits: { requests: null, requests_per_second: null, bytes_per_second: null },
      allow: [{ actions: [read], resources: ['**'] }] }
  - { name: everybody, anonymous: true,
      allow: [{ actions: [read], resources: ['data/*'] }] }
";

fn requests(most: u32) -> ClientLimit {
    ClientLimit { requests: Some(most), ..ClientLimit::default() }
}

fn rate(most: u32) -> ClientLimit {
    ClientLimit { requests_per_second: Some(most), ..ClientLimit::default() }
}

fn bytes(rate: ByteSize) -> ClientLimit {
    ClientLimit { bytes_per_second: Some(rate), ..ClientLimit::default() }
}

async fn with(change: impl FnOnce(&mut Config)) -> (FakeS3, TestProxy) {
    let s3 = FakeS3::start().await;
    s3.put("data", "k", Object::bytes("content"));
    let proxy = TestProxy::start_with(&s3, change).await;
    (s3, proxy)
}

async fn verifying(change: impl FnOnce(&mut Config)) -> (FakeS3, TestProxy, Scratch) {
    let scratch = Scratch::new();
    let file = scratch.file("identities.yaml", IDENTITIES);
    let (s3, proxy) = with(|config| {
        config.auth.mode = AuthMode::Verify;
        config.auth.identities = Some(file.into());
        config.auth.reload = HumanDuration(Duration::from_millis(5));
        change(config);
    })
    .await;
    (s3, proxy, scratch)
}

/// Connects a client from this address of the loopback network, over one connection.
async fn client_from(address: &str, to: SocketAddr) -> Client {
    Client::with_connection(to, connect(address, to).await)
}

async fn connect(from: &str, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
    within("a connection", socket.connect(to)).await.unwrap()
}

async fn signed(proxy: &TestProxy, key: &str) -> Response {
    let request = Signed::new("GET", "/data/k", proxy.addr).keys(key, &format!("secret-of-{key}"));
    proxy.client().raw(&request.wire()).await
}

fn assert_slow_down(answer: &Response, limit: &str) {
    assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (503, "1"));
    let text = answer.text();
    assert!(text.contains("<Code>SlowDown</Code>") && text.contains(limit), "{text}");
}

/// Sends requests until one is refused, which the second request of a second is.
async fn until_refused(mut ask: impl AsyncFnMut() -> Response) -> Response {
    within("a refusal", async {
        loop {
            let answer = ask().await;
            if answer.status != 200 {
                return answer;
            }
        }
    })
    .await
}

async fn a_second_passes() {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(1)).await;
    tokio::time::resume();
}

async fn assert_counted(proxy: &TestProxy, reason: &str) {
    let series = format!("hotset_refused_total{{reason=\"{reason}\"}}");
    assert!(proxy.metric(&series).await >= 1.0, "{series}");
}

#[tokio::test]
async fn an_address_that_asks_too_often_is_told_to_slow_down_and_keeps_its_connection() {
    let (_s3, proxy) = with(|config| config.limits.per_address = rate(1)).await;
    let limit = "limits.per_address.requests_per_second";
    let client = proxy.client();
    let refused = until_refused(async || client.get("/data/k").send().await).await;
    assert_slow_down(&refused, limit);
    assert_slow_down(&client.get("/data/k").send().await, limit);
    let head = client.head("/data/k").send().await;
    assert_eq!((head.status.as_u16(), head.header("retry-after")), (503, "1"));
    // Misses, writes and requests over HTTP/2 count as well.
    assert_slow_down(&client.get("/data?list-type=2").send().await, limit);
    assert_eq!(client.put("/data/new").body("x").send().await.status, 503);
    let h2 = H2Client::connect(proxy.addr).await;
    assert_eq!(h2.get("/data/k").await.0, 503);
    a_second_passes().await;
    assert_eq!(client.get("/data/k").send().await.body, "content");
    assert_counted(&proxy, "address_request_rate").await;
}

#[tokio::test]
async fn each_address_has_a_limit_of_its_own_whatever_its_headers_say() {
    let (_s3, proxy) = with(|config| config.limits.per_address = rate(1)).await;
    let hostile = client_from("127.0.0.2", proxy.addr).await;
    let mut number = 0;
    let refused = until_refused(async || {
        number += 1;
        let claimed = format!("10.0.0.{number}");
        let request = hostile.get("/data/k").header("x-forwarded-for", &claimed);
        let request = request.header("x-real-ip", &claimed);
        request.header("forwarded", &format!("for={claimed}")).send().await
    })
    .await;
    assert_slow_down(&refused, "limits.per_address");
    for last in 3..30 {
        let client = client_from(&format!("127.0.0.{last}"), proxy.addr).await;
        assert_eq!(client.get("/data/k").send().await.status, 200, "{last}");
    }
}

#[tokio::test]
async fn a_request_is_charged_once_though_two_parts_of_the_server_look_at_it() {
    let (_s3, proxy, _scratch) = verifying(|config| {
        config.limits.per_address = rate(2);
        config.limits.per_identity = rate(2);
    })
    .await;
    let client = proxy.client();
    until_refused(async || client.get("/data/k").send().await).await;
    // Absent objects are answered by a session, lists and writes are passed through.
    for (path, status) in [("/data/none", 404), ("/data/k", 200), ("/data?list-type=2", 403)] {
        a_second_passes().await;
        for _ in 0..2 {
            assert_eq!(client.get(path).send().await.status, status, "{path}");
        }
    }
}

#[tokio::test]
async fn requests_under_way_are_counted_and_come_back() {
    let (s3, proxy) = with(|config| config.limits.per_address = requests(2)).await;
    let mut held = Vec::new();
    for key in ["slow-1", "slow-2"] {
        s3.put("data", key, Object::bytes("content"));
        let gate = Gate::new();
        s3.fault(Matcher::get(key), Times(1), Fault::HoldHeader(gate.clone()));
        let read = tokio::spawn(proxy.client().get(&format!("/data/{key}")).send());
        gate.wait_reached().await;
        held.push((gate, read));
    }
    let client = proxy.client();
    let limit = "limits.per_address.requests";
    let refused = until_refused(async || client.get("/data/k").send().await).await;
    assert_slow_down(&refused, limit);
    let other = client_from("127.0.0.2", proxy.addr).await;
    assert_eq!(other.get("/data/k").send().await.status, 200);
    let in_use = limit_in_use(&proxy, limit).await;
    assert_eq!((in_use["used"].as_u64(), in_use["limit"].as_u64()), (Some(2), Some(2)));
    for (gate, read) in held {
        gate.open();
        assert_eq!(read.await.unwrap().body, "content");
    }
    let again = async { while client.get("/data/k").send().await.status != 200 {} };
    within("a place for a request", again).await;
    assert_counted(&proxy, "address_requests").await;
}

/// Returns a limit as `/api/v1/stats` shows it.
async fn limit_in_use(proxy: &TestProxy, key: &str) -> serde_json::Value {
    let (code, stats) = Api::new(proxy.admin).get("/api/v1/stats").await;
    assert_eq!(code, 200, "{stats}");
    let limits = stats["limits"].as_array().unwrap();
    limits.iter().find(|limit| limit["key"] == key).cloned().unwrap_or_default()
}

#[tokio::test]
async fn clients_behind_a_balancer_are_told_apart_and_nobody_else_may_name_one() {
    let (_s3, proxy) = with(|config| {
        config.limits.per_address = rate(1);
        let from = vec!["127.0.0.1/32".parse().unwrap()];
        config.listen[0].proxy_protocol = Some(ProxyProtocolConfig { from });
    })
    .await;
    let ask = async |from: &str, header: String| {
        let mut stream = connect(from, proxy.addr).await;
        let get = "GET /data/k HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(format!("{header}{get}").as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        within("an answer", stream.read_to_end(&mut answer)).await.unwrap();
        String::from_utf8_lossy(&answer).split(' ').nth(1).unwrap_or_default().to_owned()
    };
    let named = |client: &str| format!("PROXY TCP4 {client} 10.0.0.9 56324 443\r\n");
    let refused = within("a refusal", async {
        loop {
            let status = ask("127.0.0.1", named("10.0.0.1")).await;
            if status != "200" {
                return status;
            }
        }
    });
    assert_eq!(refused.await, "503");
    for last in 2..20 {
        assert_eq!(ask("127.0.0.1", named(&format!("10.0.0.{last}"))).await, "200");
    }
    assert_eq!(ask("127.0.0.2", named("10.0.1.1")).await, "400");
}

#[tokio::test]
async fn each_identity_has_a_limit_which_the_identities_file_may_lift() {
    let (_s3, proxy, scratch) = verifying(|config| config.limits.per_identity = rate(1)).await;
    let limit = "limits.per_identity.requests_per_second";
    let refused = until_refused(async || signed(&proxy, "AKONE").await).await;
    assert_slow_down(&refused, limit);
    assert_eq!(signed(&proxy, "AKTWO").await.status, 200);
    for _ in 0..50 {
        assert_eq!(signed(&proxy, "AKFREE").await.status, 200);
    }
    // All anonymous clients are one identity, whatever their address.
    let mut last = 1;
    let refused = until_refused(async || {
        last = last % 250 + 1;
        client_from(&format!("127.0.0.{last}"), proxy.addr).await.get("/data/k").send().await
    })
    .await;
    assert_slow_down(&refused, limit);
    assert_counted(&proxy, "identity_request_rate").await;
    // A request that is denied for its permissions gets that error, and is not charged.
    for _ in 0..20 {
        let request = Signed::new("PUT", "/data/k", proxy.addr).keys("AKTWO", "secret-of-AKTWO");
        assert_eq!(proxy.client().raw(&request.wire()).await.status, 403);
    }
    // A changed identities file changes limits.
    let text = IDENTITIES.replace("requests_per_second: null", "requests_per_second: 1");
    scratch.file("identities.yaml", &text);
    let refused = until_refused(async || signed(&proxy, "AKFREE").await).await;
    assert_slow_down(&refused, limit);
}

#[tokio::test]
async fn bodies_above_the_limit_of_bytes_are_slowed_down_and_never_cut() {
    let (s3, proxy, _scratch) = verifying(|config| {
        config.limits.per_identity = bytes(ByteSize::mib(1));
        config.limits.per_address = bytes(ByteSize::mib(2));
    })
    .await;
    let object = Object::random(1_300_000, 1);
    s3.put("data", "large", object.clone());
    // From the origin, from memory, and as a series of fast hits.
    for _ in 0..2 {
        assert_eq!(proxy.client().get("/data/large").send().await.body, object.all());
    }
    for start in (0..1_300_000).step_by(100_000) {
        let range = format!("bytes={start}-{}", start + 99_999);
        let part = proxy.client().get("/data/large").header("range", &range).send().await;
        assert_eq!(part.body, object.all().slice(start..start + 100_000));
    }
    let body = Object::random(1_300_000, 2).all();
    let put = Signed::new("PUT", "/data/new", proxy.addr).keys("AKONE", "secret-of-AKONE");
    let put = put.body(&body);
    assert_eq!(proxy.client().raw(&put.wire()).await.status, 200);
    assert_eq!(s3.object("data", "new").unwrap().all(), body);
    // The same read without the cache, streamed through.
    let range = proxy.client().get("/data/large?versionId=null").send().await;
    assert_eq!(range.body, object.all());
    let series = "hotset_limit_delayed_bytes_total{limit=\"limits.per_identity.bytes_per_second\"}";
    assert!(proxy.metric(series).await >= 1_300_000.0);
}

#[tokio::test]
async fn a_client_that_leaves_a_slow_body_leaves_no_request_behind() {
    let (s3, proxy) = with(|config| {
        let requests = Some(1);
        config.limits.per_address = ClientLimit { requests, ..bytes(ByteSize::kib(1)) };
    })
    .await;
    s3.put("data", "large", Object::random(1 << 20, 1));
    // The whole transfer would take a quarter of an hour.
    let slow = proxy.client().open("/data/large").await;
    assert_slow_down(&proxy.client().get("/data/k").send().await, "limits.per_address.requests");
    drop(slow);
    let again = async { while proxy.client().get("/data/none").send().await.status == 503 {} };
    within("its place", again).await;
}

#[tokio::test]
async fn who_is_not_limited_has_no_series_and_no_limits() {
    let (_s3, proxy, _scratch) = verifying(|_| {}).await;
    for _ in 0..20 {
        assert_eq!(signed(&proxy, "AKONE").await.status, 200);
    }
    let (_, stats) = Api::new(proxy.admin).get("/api/v1/stats").await;
    let keys = stats["limits"].as_array().unwrap().iter().map(|limit| limit["key"].clone());
    assert_eq!(
        keys.collect::<Vec<_>>(),
        ["limits.requests", "limits.connections", "cache.in_flight"]
    );
    let refused = proxy.client().request(Method::OPTIONS, "/data/k").send().await;
    assert_ne!(refused.status, 503);
}
