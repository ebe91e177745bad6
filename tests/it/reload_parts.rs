//! Changes of authorization, identities, certificates and event receivers while hotset serves.

#![allow(clippy::float_cmp, reason = "metrics that are whole numbers")]

use http::Method;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::reload::{Reloading, text};
use crate::support::*;

#[tokio::test]
async fn r20_what_trust_mode_allows_follows() {
    let server = Reloading::start("").await;
    let status = async |method: Method, path: &str| {
        server.process.client().request(method, path).body("x").send().await.status.as_u16()
    };
    server.s3.put("other", "k", Object::bytes("content"));
    assert_eq!(status(Method::PUT, "/data/new").await, 200);
    assert_eq!(status(Method::GET, "/other/k").await, 200);
    server.reload("auth: { writes: false, buckets: [data] }").await;
    assert_eq!(status(Method::PUT, "/data/new").await, 403);
    assert_eq!(status(Method::GET, "/other/k").await, 403, "what is cached obeys at once, too");
    assert_eq!(status(Method::GET, "/data/k").await, 200);
    server.reload("auth: { buckets: [data] }").await;
    assert_eq!(status(Method::PUT, "/data/new").await, 200);
    server.write("auth: { mode: verify, identities: /nowhere }");
    let (code, said) = Api::new(server.process.admin).post("/api/v1/reload", "{}").await;
    let why = "auth.identities: only valid with auth.mode: verify; it is valid only together with auth.mode, which";
    assert!(code == 400 && said.to_string().contains(why), "{said}");
    assert_eq!(status(Method::GET, "/other/k").await, 403, "nothing of it is applied");
}

#[tokio::test]
async fn r20_another_identities_file_is_used_at_once_and_a_wrong_one_changes_nothing() {
    let scratch = Scratch::new();
    let identities = |name: &str, key: &str| {
        let text = format!(
            "identities: [{{ name: one, access_key: {key}, secret_key: {key}-secret, \
             allow: [{{ actions: [read], resources: ['**'] }}] }}]"
        );
        scratch.file(name, &text)
    };
    let auth = |file: &str| format!("auth: {{ mode: verify, identities: '{file}' }}");
    let server = Reloading::start(&auth(&identities("one.yaml", "ONE"))).await;
    let status = async |key: &str| {
        let addr = server.process.addr.unwrap();
        let signed = Signed::new("GET", "/data/k", addr).keys(key, &format!("{key}-secret"));
        server.process.client().raw(&signed.wire()).await.status.as_u16()
    };
    assert_eq!((status("ONE").await, status("TWO").await), (200, 403));
    let wrong = scratch.file("wrong.yaml", "identities: [{ name: half, ");
    server.write(&(auth(&wrong) + "\nlimits: { requests: 1 }"));
    let (code, said) = Api::new(server.process.admin).post("/api/v1/reload", "{}").await;
    let said = said["error"].as_str().unwrap().to_owned();
    assert!(code == 400 && said.contains("hotset.yaml:5:"), "{said}");
    assert!(said.contains("auth.identities: ") && said.contains("wrong.yaml"), "{said}");
    assert_eq!(server.requests_limit().await, 20_000, "not even what is right is applied");
    assert_eq!((status("ONE").await, status("TWO").await), (200, 403));
    server.reload(&auth(&identities("two.yaml", "TWO"))).await;
    assert_eq!((status("ONE").await, status("TWO").await), (403, 200));
    // A reload that names the same file does not read it again.
    std::fs::write(scratch.path("two.yaml"), "identities: [").unwrap();
    let more = "auth: { mode: verify, region: eu-west-1, identities: ";
    server.reload(&format!("{more}'{}' }}", scratch.path("two.yaml"))).await;
    assert_eq!(status("TWO").await, 400, "signed for another region");
}

#[tokio::test]
async fn a_listener_shows_the_certificate_of_other_files_and_keeps_its_connections() {
    let (scratch, s3, authority) = (Scratch::new(), FakeS3::start().await, Authority::new("ca"));
    s3.put("data", "k", Object::bytes("content"));
    let pair = |name: &str| {
        let pair = authority.sign(&[name]);
        let cert = scratch.file(&format!("{name}.crt"), &pair.cert);
        let key = scratch.file(&format!("{name}.key"), &pair.key);
        format!("tls: {{ cert: '{cert}', key: '{key}' }}")
    };
    let config = |tls: &str| {
        text(&s3, "").replace(
            "listen: [{ address: 127.0.0.1:0 }]",
            &format!("listen: [{{ address: 127.0.0.1:0, {tls} }}]"),
        )
    };
    let (one, two) = (pair("one.local"), pair("two.local"));
    let process = Process::serve(&scratch.file("hotset.yaml", &config(&one))).await;
    let addr = process.addr.unwrap();
    let mut before = authority.client().connect(addr, "one.local").await.unwrap();
    scratch.file("hotset.yaml", &config(&two.replace("two.local.key", "one.local.key")));
    let (status, said) = Api::new(process.admin).post("/api/v1/reload", "{}").await;
    assert!(status == 400 && said.to_string().contains("listen[0].tls."), "{said}");
    assert!(authority.client().connect(addr, "one.local").await.is_ok());
    scratch.file("hotset.yaml", &config(&two));
    let (status, said) = Api::new(process.admin).post("/api/v1/reload", "{}").await;
    assert_eq!((status, said["restart_needed"].as_bool()), (200, Some(false)), "{said}");
    assert!(authority.client().connect(addr, "two.local").await.is_ok());
    assert!(authority.client().connect(addr, "one.local").await.is_err());
    let request = "GET /data/k HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    before.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    within("an answer", before.read_to_end(&mut answer)).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200") && answer.ends_with(b"content"));
    scratch.file("hotset.yaml", &config("mode: '0600'"));
    let (_, said) = Api::new(process.admin).post("/api/v1/reload", "{}").await;
    assert_eq!(said["restart_needed"], true, "TLS is not taken away from a listener");
    assert!(authority.client().connect(addr, "two.local").await.is_ok());
}

#[tokio::test]
async fn a_webhook_takes_other_tokens() {
    let token = |token: &str| {
        format!("events: {{ webhook: {{ address: 127.0.0.1:0, tokens: [{token}] }} }}")
    };
    let server = Reloading::start(&token("made-up-token-one")).await;
    let output = server.process.output();
    let address = output.lines().find_map(|line| line.split_once("receiving notifications on "));
    let webhook = Client::new(address.unwrap().1.trim().parse().unwrap());
    let body = r#"{"Service":"Amazon S3","Event":"s3:TestEvent","Time":"2026-01-01T00:00:00Z","Bucket":"data","RequestId":"1","HostId":"1"}"#;
    let status = async |token: &str| {
        let sent = webhook.post("/").header("authorization", &format!("Bearer {token}"));
        sent.body(body).send().await.status.as_u16()
    };
    let accepted = status("made-up-token-one").await;
    assert!((200..300).contains(&accepted), "{accepted}");
    assert!([401, 403].contains(&status("made-up-token-two").await));
    let report = server.reload(&token("made-up-token-two")).await;
    assert_eq!(report["restart_needed"], false, "{report}");
    assert_eq!(status("made-up-token-two").await, accepted);
    assert!([401, 403].contains(&status("made-up-token-one").await));
    let report = server.reload("").await;
    assert_eq!(report["restart_needed"], true, "a listener stays");
    assert_eq!(status("made-up-token-two").await, accepted);
}

#[cfg(feature = "sqs")]
#[tokio::test]
async fn r26_a_queue_is_received_from_as_soon_as_it_is_configured_and_no_longer_than_that() {
    let sqs = FakeSqs::start().await;
    let events =
        |sqs: &str| format!("events: {{ webhook: {{ address: 127.0.0.1:0 }}, sqs: [{sqs}] }}");
    let queue = events(&format!("{{ queue: '{}', region: us-east-1, wait: 1s }}", sqs.url));
    let mut server = Reloading::start(&events("")).await;
    let freshness = "rules: [{ match: '**', freshness: { events: { ttl: 0s } } }]";
    server.reload(&format!("{queue}\n{freshness}")).await;
    let up = "hotset_event_receiver_up{source=\"sqs\",name=\"queue\"}";
    server.process.wait_for_metric(up, |up| up == 1.0).await;
    let event = crate::events::record_of(
        "data",
        "ObjectCreated:Put",
        "k",
        None,
        std::time::SystemTime::now(),
    );
    let told = sqs.send(event);
    sqs.until("a message to be deleted", told, |(_, is_deleted)| is_deleted).await;
    assert_eq!(server.process.metric("hotset_events_trusted").await, 1.0);
    // Another key of the receiver, the same rules: trust stays.
    server.reload(&format!("{queue}\n{freshness}\nlimits: {{ requests: 99 }}")).await;
    assert_eq!(server.process.metric("hotset_events_trusted").await, 1.0);
    // The other receiver continues; it may not have received what this one would have.
    server.reload(&format!("{}\n{freshness}", events(""))).await;
    server.process.wait_for_metric(up, f64::is_nan).await;
    server.process.wait_for_metric("hotset_events_trusted", |trusted| trusted == 0.0).await;
    server.process.terminate();
    server.process.ended().await;
}
