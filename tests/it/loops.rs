//! `CDN-Loop` (RFC 8586): an origin that leads back to hotset is detected at the first turn.

use std::net::SocketAddr;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::support::{Client, FakeS3, Object, Process, Scratch, TestProxy, setup, within};

/// A relay to a server that is started later.
struct Relay {
    endpoint: String,
    to: watch::Sender<Option<SocketAddr>>,
}

impl Relay {
    async fn start() -> Relay {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://127.0.0.1:{}", listener.local_addr().unwrap().port());
        let (to, target) = watch::channel(None::<SocketAddr>);
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let mut target = target.clone();
                tokio::spawn(async move {
                    let to = target.wait_for(Option::is_some).await.unwrap().unwrap();
                    let mut server = TcpStream::connect(to).await.unwrap();
                    let _ = copy_bidirectional(&mut client, &mut server).await;
                });
            }
        });
        Relay { endpoint, to }
    }
}

/// Starts hotset with `endpoint` as its origin.
async fn before(s3: &FakeS3, endpoint: &str) -> TestProxy {
    TestProxy::start_with(s3, |config| endpoint.clone_into(&mut config.origin.endpoint)).await
}

async fn assert_loop_is_found(client: &Client) {
    for (method, target) in [
        ("GET", "/data/k"),
        ("HEAD", "/data/k"),
        ("GET", "/data?list-type=2"),
        ("GET", "/"),
        ("PUT", "/data/k"),
        ("DELETE", "/data/k"),
        ("GET", "/data/k?tagging"),
    ] {
        let answer = client.request(method.parse().unwrap(), target).send();
        let answer = within("an answer", answer).await;
        assert_eq!(answer.status, 508, "{method} {target}: {}", answer.text());
        if method != "HEAD" {
            assert!(answer.text().contains("<Code>LoopDetected</Code>"), "{}", answer.text());
        }
    }
}

#[tokio::test]
async fn hotset_as_its_own_origin_answers_508() {
    let s3 = FakeS3::start().await;
    let relay = Relay::start().await;
    let proxy = before(&s3, &relay.endpoint).await;
    relay.to.send_replace(Some(proxy.addr));
    assert_loop_is_found(&proxy.client()).await;
}

#[tokio::test]
async fn a_loop_is_an_error_in_the_log_that_names_the_key_and_is_not_repeated_each_time() {
    let (scratch, relay) = (Scratch::new(), Relay::start().await);
    let text = format!(
        "listen: [{{ address: 127.0.0.1:0 }}]\nadmin: {{ address: 127.0.0.1:0 }}\n\
         origin: {{ endpoint: '{}' }}\n",
        relay.endpoint
    );
    let mut process = Process::serve(&scratch.file("hotset.yaml", &text)).await;
    relay.to.send_replace(process.addr);
    for _ in 0..5 {
        assert_eq!(process.client().get("/data/k").send().await.status, 508);
    }
    let line = process.logged("came back to this hotset").await;
    assert!(line.contains("ERROR") && line.contains("origin.endpoint leads here"), "{line}");
    let output = process.output();
    assert_eq!(output.matches("came back to this hotset").count(), 1, "{output}");
}

#[tokio::test]
async fn two_hotsets_as_each_others_origin_answer_508() {
    let s3 = FakeS3::start().await;
    let relay = Relay::start().await;
    let first = before(&s3, &relay.endpoint).await;
    let second = before(&s3, &format!("http://127.0.0.1:{}", first.addr.port())).await;
    relay.to.send_replace(Some(second.addr));
    assert_loop_is_found(&first.client()).await;
    assert_loop_is_found(&second.client()).await;
}

#[tokio::test]
async fn a_chain_of_hotsets_and_other_proxies_is_no_loop() {
    let (s3, inner, _client) = setup().await;
    s3.put("data", "k", Object::bytes("content"));
    let outer = before(&s3, &format!("http://127.0.0.1:{}", inner.addr.port())).await;
    let client = outer.client();
    for target in ["/data/k", "/data/k?tagging", "/data?list-type=2"] {
        let request = client.get(target).header("CDN-Loop", "cdn.example; a=\"b\", other");
        assert_eq!(request.send().await.status, 200, "{target}");
    }
    let requests = s3.requests();
    let seen = requests.iter().find(|seen| seen.query == "tagging").expect("it passes through");
    let ids: Vec<&str> =
        seen.headers.get_all("cdn-loop").iter().map(|value| value.to_str().unwrap()).collect();
    assert_eq!(ids.len(), 3, "{ids:?}");
    assert_eq!(ids[0], "cdn.example; a=\"b\", other");
    assert!(ids[1].starts_with("hotset-") && ids[2].starts_with("hotset-") && ids[1] != ids[2]);
    // A fetch of the cache has none of its reader's headers (R4), but names the hotsets that it passed through.
    let fetch = requests.iter().find(|seen| seen.query.is_empty() && seen.key == "k").unwrap();
    let ids = fetch.headers.get_all("cdn-loop").iter().count();
    assert_eq!(ids, 2, "{fetch:?}");
}
