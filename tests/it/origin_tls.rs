//! An origin behind TLS.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hotset::config::Config;
use hotset::origin::Addressing;
use http::Method;
use tokio::net::TcpListener;

use crate::support::{
    Always, Authority, FakeS3, Fault, Matcher, Object, Process, Scratch, Tells, TestProxy,
    TlsFront, hotset, within,
};

const NAME: &str = "s3.test";
const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Sets an origin behind TLS, whose authority is in a file.
fn behind_tls(config: &mut Config, (name, front): (&str, &TlsFront), ca_file: &str) {
    config.origin.endpoint = format!("https://{name}:{}", front.port());
    config.origin.addresses = vec![HERE];
    config.origin.ca_file = Some(ca_file.into());
}

fn names(front: &TlsFront) -> Vec<String> {
    let handshakes = front.handshakes();
    let mut names: Vec<_> = handshakes.into_iter().filter_map(|shake| shake.name).collect();
    names.dedup();
    names
}

#[tokio::test]
async fn the_origins_certificate_is_verified_for_the_name_that_is_asked_for() {
    for (addressing, certified, name) in
        [(Addressing::Path, NAME, NAME), (Addressing::Virtual, "*.s3.test", "data.s3.test")]
    {
        let (s3, scratch, authority) = (FakeS3::start().await, Scratch::new(), Authority::new("a"));
        let front = TlsFront::start(&s3, &authority.sign(&[certified]), &[HERE]).await;
        let ca_file = scratch.file("ca.pem", &authority.pem());
        let proxy = TestProxy::start_with(&s3, |config| {
            behind_tls(config, (NAME, &front), &ca_file);
            config.origin.addressing = addressing;
        })
        .await;
        // The fake origin takes the first segment for the bucket.
        let bucket = if addressing == Addressing::Path { "data" } else { "a" };
        let prefix = if addressing == Addressing::Path { "" } else { "/data" };
        s3.put(bucket, "k", Object::bytes("content"));
        let client = proxy.client();
        let target = format!("{prefix}/{bucket}/k");
        assert_eq!(client.get(&target).send().await.text(), "content");
        assert_eq!(client.get(&format!("{target}?tagging")).send().await.status, 200);
        let new = client.put(&format!("{prefix}/{bucket}/new")).body("x").send().await;
        assert_eq!(new.status, 200);
        assert_eq!(s3.object_bytes(bucket, "new"), "x");
        assert_eq!(names(&front), [name]);
    }
}

#[tokio::test]
async fn an_origin_of_a_foreign_authority_or_name_is_not_asked_and_the_log_says_why() {
    for (is_foreign, name, cause) in [
        (true, "127.0.0.1", "UnknownIssuer"),
        (false, "other.test", "certificate not valid for name"),
    ] {
        let (s3, scratch, authority) = (FakeS3::start().await, Scratch::new(), Authority::new("a"));
        s3.put("data", "k", Object::bytes("content"));
        let front = TlsFront::start(&s3, &authority.sign(&[name]), &[HERE]).await;
        let trusted = if is_foreign { Authority::new("b") } else { authority };
        let ca_file = scratch.file("ca.pem", &trusted.pem());
        let text = format!(
            "listen: [{{ address: 127.0.0.1:0 }}]\nadmin: {{ address: 127.0.0.1:0 }}\n\
             origin: {{ endpoint: 'https://127.0.0.1:{}', ca_file: '{ca_file}', attempts: 1 }}\n",
            front.port()
        );
        let config = scratch.file("hotset.yaml", &text);
        let mut process = Process::spawn(hotset(&["serve", "--config", &config])).await;
        for method in [Method::GET, Method::PUT] {
            let answer = process.client().request(method, "/data/k").send().await;
            assert_eq!(answer.status, 503, "{}", answer.text());
        }
        let line = process.logged("origin.ca_file for authorities of your own").await;
        assert!(line.contains(cause), "{line}");
        assert_eq!((s3.connections(), front.handshakes().len()), (0, 0));
    }
}

#[tokio::test]
async fn connections_over_tls_are_used_again_by_reads_lists_and_writes() {
    let (s3, scratch, authority) = (FakeS3::start().await, Scratch::new(), Authority::new("a"));
    let front = TlsFront::start(&s3, &authority.sign(&[NAME]), &[HERE]).await;
    let ca_file = scratch.file("ca.pem", &authority.pem());
    let proxy =
        TestProxy::start_with(&s3, |config| behind_tls(config, (NAME, &front), &ca_file)).await;
    let client = proxy.client();
    for n in 0..20 {
        s3.put("data", &format!("key-{n}"), Object::random(300_000, n));
        let read = client.get(&format!("/data/key-{n}")).send().await;
        assert_eq!(read.body, s3.object_bytes("data", &format!("key-{n}")));
        assert_eq!(client.get("/data?list-type=2").send().await.status, 200);
        assert_eq!(client.put(&format!("/data/new-{n}")).body("x").send().await.status, 200);
    }
    assert_eq!(front.handshakes().len(), 1);
}

#[tokio::test]
async fn a_region_is_entered_with_the_authorities_that_were_read_at_the_start() {
    let (s3, scratch, authority) = (FakeS3::start().await, Scratch::new(), Authority::new("a"));
    let (home, away) = ("s3.us-east-1.storage.test", "s3.eu-west-1.storage.test");
    let front = TlsFront::start(&s3, &authority.sign(&[home, away]), &[HERE]).await;
    let ca_file = scratch.file("ca.pem", &authority.pem());
    let proxy =
        TestProxy::start_with(&s3, |config| behind_tls(config, (home, &front), &ca_file)).await;
    s3.put("data", "k", Object::bytes("content"));
    s3.place("data", "eu-west-1", Tells::Permanent);
    std::fs::remove_file(Path::new(&ca_file)).unwrap();
    assert_eq!(proxy.client().get("/data/k").send().await.text(), "content");
    assert_eq!(names(&front), [home, away]);
}

#[tokio::test]
async fn an_origin_is_reached_by_its_ipv6_address() {
    let (s3, scratch, authority) = (FakeS3::start().await, Scratch::new(), Authority::new("a"));
    let here = IpAddr::from(Ipv6Addr::LOCALHOST);
    let front = TlsFront::start(&s3, &authority.sign(&["::1"]), &[here]).await;
    let plain = s3.listen_at(here);
    let ca_file = scratch.file("ca.pem", &authority.pem());
    s3.put("data", "k", Object::bytes("content"));
    for endpoint in [format!("https://[::1]:{}", front.port()), format!("http://{plain}")] {
        let proxy = TestProxy::start_with(&s3, |config| {
            config.origin.endpoint.clone_from(&endpoint);
            config.origin.ca_file = Some(ca_file.clone().into());
        })
        .await;
        assert_eq!(proxy.client().get("/data/k").send().await.text(), "content", "{endpoint}");
        assert_eq!(proxy.client().get("/data?list-type=2").send().await.status, 200, "{endpoint}");
    }
    assert!(!front.handshakes().is_empty());
}

async fn advance(seconds: u64) {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(seconds)).await;
    tokio::time::resume();
}

#[tokio::test]
async fn an_address_that_is_set_aside_is_used_again_once_a_probe_has_completed_a_handshake() {
    let (s3, scratch, authority) = (FakeS3::start().await, Scratch::new(), Authority::new("a"));
    let pair = authority.sign(&[NAME]);
    let front = TlsFront::start(&s3, &pair, &[HERE]).await;
    let second = IpAddr::from([127, 0, 0, 2]);
    let listener = TcpListener::bind((second, front.port())).await.unwrap();
    let taken = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&taken);
    let without_tls = tokio::spawn(async move {
        while listener.accept().await.is_ok() {
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    let ca_file = scratch.file("ca.pem", &authority.pem());
    let proxy = TestProxy::start_with(&s3, |config| {
        behind_tls(config, (NAME, &front), &ca_file);
        config.origin.addresses = vec![HERE, second];
    })
    .await;
    s3.fault(Matcher::any(), Always, Fault::CloseAfterAnswer);
    s3.put("data", "k", Object::bytes("content"));
    let read = async || {
        let target = "/data?list-type=2&prefix=k";
        assert_eq!(proxy.client().get(target).send().await.status, 200);
    };
    for _ in 0..10 {
        read().await;
    }
    assert_eq!(taken.load(Ordering::Relaxed), 3, "failures until it is set aside");
    advance(6).await;
    within("a probe", async {
        while taken.load(Ordering::Relaxed) < 4 {
            read().await;
        }
    })
    .await;
    for _ in 0..10 {
        read().await;
    }
    assert_eq!(taken.load(Ordering::Relaxed), 4, "a connection alone is not enough");
    without_tls.abort();
    let _ = without_tls.await;
    let front = TlsFront::start_at(&s3, &pair, &[second], front.port()).await;
    advance(11).await;
    within("the address to be used", async {
        // The first one is the probe.
        while front.handshakes().len() < 3 {
            read().await;
        }
    })
    .await;
}
