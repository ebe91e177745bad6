//! The admin port's API and the subcommands that use it: authorization, the scope of purges, output for scripts.

use std::sync::Arc;

use hotset::cache::Freshness;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;

use crate::support::*;

const HIT: &str = "hotset; hit";
const SIZE: u64 = 100_000;
const OBJECTS: [(&str, &str); 4] =
    [("data", "a/1"), ("data", "a/2"), ("data", "b"), ("other", "a/1")];

fn put_all(s3: &FakeS3) {
    for (seed, (bucket, key)) in (0..).zip(OBJECTS) {
        s3.put(bucket, key, Object::random(SIZE, seed));
    }
}

/// Reads and checks every object; returns which of them came from the cache.
async fn hits(s3: &FakeS3, client: &Client) -> [bool; OBJECTS.len()] {
    let mut hits = [false; OBJECTS.len()];
    for (hit, (bucket, key)) in hits.iter_mut().zip(OBJECTS) {
        let read = client.get(&format!("/{bucket}/{key}")).send().await;
        assert!(read.complete && read.body == s3.object_bytes(bucket, key), "{bucket}/{key}");
        *hit = read.header("cache-status") == HIT;
    }
    hits
}

async fn started() -> (FakeS3, TestProxy, Api) {
    let s3 = FakeS3::start().await;
    put_all(&s3);
    let proxy = TestProxy::start_with(&s3, |config| {
        config.rules[0].freshness = Freshness::Immutable;
    })
    .await;
    hits(&s3, &proxy.client()).await;
    let api = Api::new(proxy.admin);
    (s3, proxy, api)
}

/// Purge requests, the scope that each reports, and the [`OBJECTS`] that it covers.
fn scopes() -> [(&'static str, &'static str, [bool; OBJECTS.len()]); 8] {
    [
        (
            r#""keys":["s3://data/a/1","s3://data/none"]"#,
            "s3://data/a/1",
            [true, false, false, false],
        ),
        (r#""prefix":"s3://data/a/""#, "s3://data/a/*", [true, true, false, false]),
        (r#""prefix":"s3://data""#, "s3://data/*", [true, true, true, false]),
        (r#""glob":"s3://data/*/1""#, "s3://data/*/1", [true, false, false, false]),
        (r#""glob":"s3://data/*.csv""#, "s3://data/*.csv", [false; OBJECTS.len()]),
        (r#""bucket":"data""#, "s3://data/*", [true, true, true, false]),
        (r#""bucket":"nobody-has-it""#, "s3://nobody-has-it/*", [false; OBJECTS.len()]),
        (r#""everything":true"#, "s3://*", [true; OBJECTS.len()]),
    ]
}

#[tokio::test]
async fn r28_each_scope_is_purged_and_nothing_beside_it() {
    for (scope, told, covers) in scopes() {
        let (s3, proxy, api) = started().await;
        let client = proxy.client();
        assert_eq!(hits(&s3, &client).await, [true; OBJECTS.len()]);
        // Repeating a purge does no harm.
        for _ in 0..2 {
            let (status, done) = api.post("/api/v1/purge", &format!("{{{scope}}}")).await;
            assert_eq!((status, &done["dry_run"]), (200, &json!(false)), "{scope}: {done}");
            assert_eq!(done["scopes"][0], told);
        }
        assert_eq!(hits(&s3, &client).await, covers.map(|covered| !covered), "{scope}");
        assert_eq!(hits(&s3, &client).await, [true; OBJECTS.len()], "kept anew");
    }
}

#[tokio::test]
async fn a_dry_run_says_what_memory_knows_and_changes_nothing() {
    for (scope, told, covers) in scopes() {
        let (s3, proxy, api) = started().await;
        let body = format!("{{{scope},\"dry_run\":true}}");
        let (status, done) = api.post("/api/v1/purge", &body).await;
        assert_eq!((status, &done["scopes"][0]), (200, &json!(told)), "{done}");
        let covered = covers.iter().filter(|covered| **covered).count() as u64;
        let known = json!({"objects": covered, "bytes": covered * SIZE});
        assert_eq!(done["known"], known, "{scope}");
        s3.forget_requests();
        assert_eq!(hits(&s3, &proxy.client()).await, [true; OBJECTS.len()]);
        assert_eq!(s3.requests().len(), 0);

        // A purged object stays in memory until it ages out, and is not counted.
        assert_eq!(api.post("/api/v1/purge", &format!("{{{scope}}}")).await.0, 200);
        let (_, done) = api.post("/api/v1/purge", &body).await;
        assert_eq!(done["known"], json!({"objects": 0, "bytes": 0}), "{scope}");
    }
}

#[tokio::test]
async fn a_purge_that_is_not_understood_purges_nothing() {
    let (s3, proxy, api) = started().await;
    for (body, named) in [
        (r#"{"keys":["s3://data/a/1","s3://data/"]}"#, "keys[1]"),
        (r#"{"everything":true,"bucket":"data"}"#, "one of keys"),
        (r#"{"bucket":"data","dry-run":true}"#, "unknown field `dry-run`"),
        (r#"{"bucket":"data""#, "EOF"),
    ] {
        let (status, answer) = api.post("/api/v1/purge", body).await;
        assert_eq!(status, 400, "{body}");
        assert!(answer["error"].as_str().unwrap().contains(named), "{body}: {answer}");
    }
    let form = Client::new(proxy.admin).post("/api/v1/purge");
    let form = form.header("content-type", "text/plain").body(r#"{"everything":true}"#);
    assert_eq!(form.send().await.status, 415);
    assert_eq!(hits(&s3, &proxy.client()).await, [true; OBJECTS.len()]);
}

/// Starts a server of its own; returns it with the arguments for its admin port and the path of its configuration.
async fn process(scratch: &Scratch, s3: &FakeS3, more: &str) -> (Process, String, String) {
    let text = format!(
        "listen: [{{ address: 127.0.0.1:0 }}]\nadmin: {{ address: 127.0.0.1:0{more} }}\n\
         origin: {{ endpoint: '{}', backoff: {{ base: 1ms, cap: 10ms }} }}\n\
         rules: [{{ match: '**', freshness: immutable }}]\n",
        s3.endpoint()
    );
    let config = scratch.file("hotset.yaml", &text);
    let process = Process::serve(&config).await;
    let url = format!("http://{}", process.admin);
    (process, config, url)
}

/// Runs the command beside the server; returns its exit code, stdout and stderr.
async fn command(arguments: &[&str], env: &[(&str, &str)]) -> (i32, String, String) {
    let mut command = hotset(arguments);
    command.envs(env.iter().copied());
    let ran = tokio::task::spawn_blocking(move || run(command));
    within("the command to end", ran).await.expect("it does not panic")
}

#[tokio::test]
async fn the_subcommands_purge_and_warm_and_their_exit_codes_say_how_it_went() {
    let (scratch, s3) = (Scratch::new(), FakeS3::start().await);
    put_all(&s3);
    let (process, _, url) = process(&scratch, &s3, "").await;
    let client = process.client();
    let at = ["--admin", &url];
    let hotset = async |arguments: &[&str]| command(&[arguments, &at].concat(), &[]).await;

    let (code, out, err) = hotset(&["warm", "s3://data/", "--exclude", "**/b", "--dry-run"]).await;
    assert_eq!((code, out.as_str()), (0, "2 objects of 195.31 KiB would be warmed\n"), "{err}");
    let (code, out, err) = hotset(&["warm", "s3://data/", "--rate", "100MiB"]).await;
    let line = "3 objects of 292.97 KiB are warm, 292.97 KiB of it fetched; 0 skipped, 0 failed\n";
    assert_eq!((code, out.as_str(), err.as_str()), (0, line, ""));
    assert_eq!(hits(&s3, &client).await, [true, true, true, false]);
    let (code, out, _) = hotset(&["warm", "s3://data/", "--json"]).await;
    let job: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &job["bytes"]["fetched"], &job["state"]), (0, &json!(0), &json!("done")));

    let (code, out, _) = hotset(&["purge", "s3://data/a/*", "--dry-run"]).await;
    let line =
        "s3://data/a/* would be purged: memory knows 2 objects and holds 195.31 KiB of them\n";
    assert_eq!((code, out.as_str()), (0, line));
    assert_eq!(hits(&s3, &client).await, [true; OBJECTS.len()]);
    let (code, out, _) = hotset(&["purge", "s3://data/b", "s3://data/a/*"]).await;
    assert_eq!((code, out.as_str()), (0, "purged s3://data/a/*\npurged s3://data/b\n"));
    assert_eq!(hits(&s3, &client).await, [false, false, false, true]);
    let (code, out, _) = hotset(&["purge", "--prefix", "s3://data/a", "--json"]).await;
    assert_eq!((code, out.as_str()), (0, "{\"dry_run\":false,\"scopes\":[\"s3://data/a*\"]}\n"));
    assert_eq!(hotset(&["purge", "--everything"]).await.0, 0);
    assert_eq!(hits(&s3, &client).await, [false; OBJECTS.len()]);

    // A glob that matches, one that does not, and a key that does not exist.
    let (code, out, err) = hotset(&["purge", "s3://data/a/[0-1]"]).await;
    let line = "purged s3://data/a/[0-1] (1 objects that memory knew, 97.66 KiB of them)\n";
    assert_eq!((code, out.as_str(), err.as_str()), (0, line, ""));
    assert_eq!(hits(&s3, &client).await, [false, true, true, true]);
    let (code, out, err) = hotset(&["purge", "s3://data/a/*.csv"]).await;
    assert_eq!(code, 3, "{out}");
    assert!(err.contains("s3://data/a/*.csv: memory knows of no object that matches"), "{err}");
    assert_eq!(hotset(&["purge", "s3://data/none"]).await.0, 0);
    let (code, out, err) = hotset(&["warm", "s3://data/none/"]).await;
    assert_eq!(code, 3, "{out}");
    assert!(err.contains("s3://data/none/: no object matches"), "{err}");
    assert_eq!(hotset(&["purge", "--everything"]).await.0, 0);

    let keys = scratch.file("keys", "s3://data/b\n\ns3://data/none\r\n");
    let (code, out, err) = hotset(&["warm", "--keys", &keys]).await;
    assert_eq!(code, 1, "{out}");
    assert!(out.contains("1 objects of") && out.contains("1 failed"), "{out}");
    assert!(err.starts_with("hotset: s3://data/none: "), "{err}");

    for wrong in [
        ["warm", "s3://data/", "--include", "a[b"].as_slice(),
        &["warm", "data/prefix"],
        &["warm"],
        &["warm", "s3://data/", "--rate", "fast"],
        &["warm", "--keys", "/nothing/there"],
        &["purge", "s3://data"],
        &["purge"],
        &["purge", "--everything", "s3://data/a"],
    ] {
        let (code, out, err) = hotset(wrong).await;
        assert_eq!((code, out.as_str()), (2, ""), "{wrong:?}: {err}");
        assert!(!err.is_empty(), "{wrong:?}");
    }
}

#[test]
fn a_token_file_that_holds_too_little_refuses_the_start() {
    let scratch = Scratch::new();
    let secret = scratch.file("token", "fifteen-bytes-x\n");
    let text = format!(
        "listen: [{{ address: 127.0.0.1:0 }}]\n\
         admin: {{ address: 127.0.0.1:0, token_file: '{secret}' }}\n\
         origin: {{ endpoint: http://127.0.0.1:1 }}\n"
    );
    let config = scratch.file("short.yaml", &text);
    let (code, _, err) = run(hotset(&["serve", "--config", &config]));
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("admin.token_file: it is shorter than 16 bytes"), "{err}");
    assert!(!err.contains("fifteen"), "{err}");
}

#[tokio::test]
async fn the_subcommands_find_the_port_and_the_token_as_the_server_does() {
    let (scratch, s3) = (Scratch::new(), FakeS3::start().await);
    put_all(&s3);
    let secret = scratch.file("token", "a-token-in-a-file\n");
    let more = format!(", token_file: '{secret}'");
    let (process, config, url) = process(&scratch, &s3, &more).await;
    let port = process.admin.to_string();
    let env = [("HOTSET_ADMIN__ADDRESS", port.as_str())];
    let (code, out, err) = command(&["purge", "s3://data/b", "--config", &config], &env).await;
    assert_eq!((code, out.as_str()), (0, "purged s3://data/b\n"), "{err}");

    let purge = ["purge", "s3://data/b", "--admin", &url];
    let (code, out, err) = command(&purge, &[]).await;
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains("401") && err.contains("admin.token"), "{err}");
    let token = |token| [("HOTSET_ADMIN__TOKEN", token)];
    assert_eq!(command(&purge, &token("a-wrong-token-of-16")).await.0, 1);
    assert_eq!(command(&purge, &token("a-token-in-a-file")).await.0, 0);

    process.kill();
    let (code, _, err) = command(&purge, &token("a-token-in-a-file")).await;
    assert_eq!(code, 1);
    assert!(err.contains("does not answer"), "{err}");
}

fn acceptor(pair: &Pair) -> tokio_rustls::TlsAcceptor {
    let certificate = CertificateDer::from_pem_slice(pair.cert.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key);
    Arc::new(config.unwrap()).into()
}

#[tokio::test]
async fn the_subcommands_ask_over_a_unix_socket_and_over_tls() {
    let (scratch, s3) = (Scratch::new(), FakeS3::start().await);
    put_all(&s3);
    let (process, _, url) = process(&scratch, &s3, "").await;
    let socket = scratch.path("admin.sock");
    let listener = tokio::net::UnixListener::bind(&socket).unwrap();
    let admin = process.admin;
    let relay = tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.unwrap();
        let mut server = tokio::net::TcpStream::connect(admin).await.unwrap();
        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
    });
    let over = format!("unix:{socket}");
    let (code, out, err) = command(&["purge", "s3://data/b", "--admin", &over], &[]).await;
    assert_eq!((code, out.as_str()), (0, "purged s3://data/b\n"), "{err}");
    relay.abort();

    let authority = Authority::new("admin");
    let acceptor = acceptor(&authority.sign(&["localhost"]));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let relay = tokio::spawn(async move {
        loop {
            let (client, _) = listener.accept().await.unwrap();
            // A client that does not trust the certificate ends the handshake.
            let Ok(mut client) = acceptor.accept(client).await else { continue };
            let mut server = tokio::net::TcpStream::connect(admin).await.unwrap();
            let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
        }
    });
    let over = format!("https://localhost:{port}");
    let ca = scratch.file("ca.pem", &authority.pem());
    let purge = ["purge", "s3://data/b", "--admin", &over];
    let trusting = [&purge[..], &["--admin-ca", &ca]].concat();
    let (code, out, err) = command(&trusting, &[]).await;
    assert_eq!((code, out.as_str()), (0, "purged s3://data/b\n"), "{err}");
    let (code, _, err) = command(&purge, &[]).await;
    assert_eq!(code, 1, "an authority that is not trusted: {err}");
    assert!(err.contains("certificate"), "{err}");
    relay.abort();
    drop(url);
}
