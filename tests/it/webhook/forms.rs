//! Each sender's own format: MinIO, Ceph, EventBridge, a relay that signs; and attackers that imitate them.

use std::time::{SystemTime, UNIX_EPOCH};

use hotset::config::Config;
use hotset::events::webhook::config::WebhookConfig;
use hotset::tls::config::{ClientAuth, TlsConfig};
use http::Method;
use ring::hmac;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{Setup, address, written};
use crate::support::{Authority, Client, FakeS3, Scratch, within};

const SECRET: &str = "a made-up secret";

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Returns the headers of the plain signed format.
fn sign(secret: &str, timestamp: u64, body: &str) -> [(&'static str, String); 2] {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let tag = hmac::sign(&key, format!("{timestamp}.{body}").as_bytes());
    let value = tag.as_ref().iter().fold("v1=".to_owned(), |hex, b| format!("{hex}{b:02x}"));
    [("x-hotset-timestamp", timestamp.to_string()), ("x-hotset-signature", value)]
}

fn as_str<'a>(headers: &'a [(&'static str, String)]) -> Vec<(&'static str, &'a str)> {
    headers.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

#[tokio::test]
async fn r11_minio_is_believed_by_its_token_and_its_probe_is_answered() {
    let setup = Setup::new(|config| config.tokens = vec!["a-made-up-token-of-16".into()]).await;
    let probe = setup.sender.request(Method::HEAD, "/events").send().await;
    assert_eq!(probe.status, 200);
    let body = r#"{"EventName":"s3:ObjectCreated:Put","Key":"data/a b","Records":[{"eventVersion":"2.0",
        "eventSource":"minio:s3","eventName":"s3:ObjectCreated:Put","s3":{"bucket":{"name":"data"},
        "object":{"key":"a+b","size":6000}}}]}"#;
    for token in ["Bearer a-made-up-token-of-16", "a-made-up-token-of-16"] {
        setup.assert_applied(&[("Authorization", token)], body, "a b").await;
    }
    let wrong = [("Authorization", "Bearer made-up-tokem")];
    setup.assert_refused(&wrong, &written("key"), 403, "forged").await;
    setup.assert_refused(&[], &written("key"), 401, "unauthenticated").await;
}

#[tokio::test]
async fn eventbridge_is_believed_by_its_key() {
    let setup =
        Setup::new(|config| config.api_keys = vec!["a-made-up-key-of-16-bytes".into()]).await;
    let body = r#"{"version":"0","detail-type":"Object Created","source":"aws.s3",
        "detail":{"bucket":{"name":"data"},"object":{"key":"a b"}}}"#;
    setup.assert_applied(&[("X-Api-Key", "a-made-up-key-of-16-bytes")], body, "a b").await;
    setup.assert_refused(&[("X-Api-Key", "other")], &written("key"), 403, "forged").await;
}

#[tokio::test]
async fn ceph_is_believed_where_everybody_is_with_the_headers_of_cloudevents_and_without() {
    let setup = Setup::new(|_| {}).await;
    let body = r#"{"Records":[{"eventVersion":"2.2","eventSource":"ceph:s3","eventName":"ObjectCreated:Put",
        "s3":{"bucket":{"name":"data"},"object":{"key":"a b+c","size":"6000","sequencer":"52AB036B8C77B50D"}}}]}"#;
    setup.assert_applied(&[("Content-Type", "application/json")], body, "a b+c").await;
    let headers = [
        ("ce-specversion", "1.0"),
        ("ce-type", "com.amazonaws.ObjectCreated:Put"),
        ("ce-id", "1.2"),
        ("ce-source", "ceph:s3..data"),
        ("ce-subject", "a b+c"),
    ];
    setup.assert_applied(&headers, body, "a b+c").await;
}

#[tokio::test]
async fn a_relay_is_believed_by_its_signature_once_and_with_either_secret() {
    let setup = Setup::new(|config| {
        config.secrets = vec!["a made-up old secret".into(), SECRET.into()];
    })
    .await;
    let body = written("key");
    for secret in ["a made-up old secret", SECRET] {
        let headers = sign(secret, now(), &body);
        setup.assert_applied(&as_str(&headers), &body, "key").await;
        setup.assert_refused(&as_str(&headers), &body, 409, "replayed").await;
    }
}

#[tokio::test]
async fn a_signature_of_another_body_secret_or_time_is_refused() {
    let setup = Setup::new(|config| config.secrets = vec![SECRET.into()]).await;
    let body = written("key");
    let of_another_body = sign(SECRET, now(), &written("other"));
    setup.assert_refused(&as_str(&of_another_body), &body, 403, "forged").await;
    let of_another_secret = sign("a made-up lie...", now(), &body);
    setup.assert_refused(&as_str(&of_another_secret), &body, 403, "forged").await;
    let old = sign(SECRET, now() - 400, &body);
    setup.assert_refused(&as_str(&old), &body, 403, "expired").await;
    let early = sign(SECRET, now() + 400, &body);
    setup.assert_refused(&as_str(&early), &body, 403, "expired").await;
    let [timestamp, _] = sign(SECRET, now(), &body);
    setup.assert_refused(&as_str(&[timestamp]), &body, 401, "unauthenticated").await;
    let token = [("Authorization", "Bearer a-made-up-token-of-16")];
    setup.assert_refused(&token, &body, 401, "unauthenticated").await;
}

#[tokio::test]
async fn a_signed_message_that_says_nothing_is_refused_and_its_signature_stays_good() {
    let setup = Setup::new(|config| config.secrets = vec![SECRET.into()]).await;
    let body = r#"{"hello":"world"}"#;
    let headers = sign(SECRET, now(), body);
    for _ in 0..2 {
        setup.assert_refused(&as_str(&headers), body, 400, "undecodable").await;
    }
}

#[tokio::test]
async fn an_event_of_a_read_changes_nothing_and_is_taken() {
    let setup = Setup::new(|_| {}).await;
    let new = setup.overwrite("key").await;
    let body = written("key").replace("ObjectCreated:Put", "s3:ObjectAccessed:Get");
    assert_eq!(setup.post(&[], &body).await.status, 200);
    assert!(setup.read("key").await.body != new.all());
}

#[tokio::test]
async fn tls_is_spoken_and_a_required_certificate_is_enough() {
    let (authority, scratch) = (Authority::new("webhook"), Scratch::new());
    let pair = authority.sign(&["127.0.0.1"]);
    let tls = TlsConfig {
        cert: scratch.file("cert", &pair.cert).into(),
        key: scratch.file("key", &pair.key).into(),
        client_ca: Some(scratch.file("ca", &authority.pem()).into()),
        client_auth: ClientAuth::Required,
        ..TlsConfig::default()
    };
    let setup = Setup::new(|config| config.tls = Some(tls)).await;
    let new = setup.overwrite("key").await;
    let known = authority.client().with(&authority.sign(&["sender.local"]));
    let mut stream = known.connect(address(&setup.proxy), "127.0.0.1").await.unwrap();
    let body = written("key");
    let head = format!(
        "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).await.unwrap();
    let mut answer = String::new();
    within("an answer", stream.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(setup.read("key").await.body == new.all());

    let stranger = authority.client().connect(address(&setup.proxy), "127.0.0.1").await;
    let refused = match stranger {
        // With TLS 1.3 a client learns of a refusal only when it reads.
        Ok(mut stream) => within("the end", stream.read_u8()).await.is_err(),
        Err(_) => true,
    };
    assert!(refused);
}

#[tokio::test]
async fn whoever_connects_is_believed_only_on_loopback_and_the_key_is_named() {
    let s3 = FakeS3::start().await;
    let mut config: Config = crate::support::test_config(&s3);
    let webhook = |address: &str| {
        Some(WebhookConfig { address: address.to_owned(), ..WebhookConfig::default() })
    };
    config.events.webhook = webhook("0.0.0.0:0");
    let error = config.check().unwrap_err();
    assert_eq!(error.key(), Some("events.webhook"), "{error}");
    assert!(error.to_string().contains("secrets"), "{error}");
    config.events.webhook = webhook("[::1]:0");
    config.check().unwrap();
    let mut known = webhook("0.0.0.0:0").unwrap();
    known.secrets = vec![SECRET.into()];
    config.events.webhook = Some(known);
    config.check().unwrap();
}

#[tokio::test]
async fn other_methods_are_refused() {
    let setup = Setup::new(|config| config.secrets = vec![SECRET.into()]).await;
    let get = Client::new(address(&setup.proxy)).get("/").send().await;
    assert_eq!((get.status.as_u16(), get.header("allow")), (405, "POST, HEAD"));
}
