//! TLS to clients: names, versions, protocols, client certificates, and files that change under load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::HandshakeKind;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use hotset::config::Config;
use hotset::config::units::HumanDuration;
use hotset::tls::config::{ClientAuth, PairConfig, TlsConfig};

use crate::support::{
    Authority, FakeS3, Object, Pair, Scratch, TestProxy, hotset, run, tls_over, within,
};

/// A proxy with TLS; its files are in a scratch folder.
struct Setup {
    s3: FakeS3,
    proxy: TestProxy,
    authority: Authority,
    scratch: Scratch,
}

impl Setup {
    /// Makes a proxy for `s3.local` and its wildcard, with the TLS configuration that `change` adapts.
    async fn new(change: impl FnOnce(&mut TlsConfig, &Scratch, &Authority)) -> Setup {
        Setup::with(change, |_, _| {}).await
    }

    /// Makes the same proxy with other changes to the configuration.
    async fn with(
        change: impl FnOnce(&mut TlsConfig, &Scratch, &Authority),
        change_more: impl FnOnce(&mut Config, &Scratch),
    ) -> Setup {
        let (authority, scratch) = (Authority::new("servers"), Scratch::new());
        let tls = files(&scratch, "tls", &authority.sign(&["s3.local", "*.s3.local"]));
        let mut tls = TlsConfig { cert: tls.cert, key: tls.key, ..TlsConfig::default() };
        change(&mut tls, &scratch, &authority);
        let s3 = FakeS3::start().await;
        s3.put("data", "k", Object::bytes("content"));
        s3.put("data", "large", Object::random(20 << 20, 1));
        let proxy = TestProxy::start_with(&s3, |config: &mut Config| {
            config.listen[0].tls = Some(tls);
            config.listen[0].domains = vec!["s3.local".to_owned()];
            change_more(config, &scratch);
        })
        .await;
        Setup { s3, proxy, authority, scratch }
    }
}

/// Writes a certificate and its key into two files.
fn files(scratch: &Scratch, name: &str, pair: &Pair) -> PairConfig {
    let cert = scratch.file(&format!("{name}.crt"), &pair.cert).into();
    let key = scratch.file(&format!("{name}.key"), &pair.key).into();
    PairConfig { cert, key }
}

fn get(path: &str, host: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")
}

/// Sends a request and returns everything received.
async fn ask(mut stream: TlsStream<TcpStream>, request: &str) -> std::io::Result<String> {
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    within("an answer", stream.read_to_end(&mut answer)).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn shown(stream: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    stream.get_ref().1.peer_certificates().expect("a server shows one")[0].clone()
}

#[tokio::test]
async fn both_versions_of_tls_serve_path_and_virtual_hosted_style() {
    let setup = Setup::new(|_, _, _| {}).await;
    for version in [&TLS12, &TLS13] {
        let versions: &'static [_] = Box::leak(Box::new([version]));
        let client = setup.authority.client().version(versions);
        for (host, path) in [("s3.local", "/data/k"), ("data.s3.local", "/k")] {
            let stream = client.connect(setup.proxy.addr, host).await.unwrap();
            let answer = ask(stream, &get(path, host)).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 200 "), "{version:?} {host}: {answer}");
            assert!(answer.ends_with("\r\n\r\ncontent"), "{version:?} {host}: {answer}");
        }
    }
    // Another name, and a client that trusts another authority.
    assert!(setup.authority.client().connect(setup.proxy.addr, "other.example").await.is_err());
    let stranger = Authority::new("strangers").client();
    assert!(stranger.connect(setup.proxy.addr, "s3.local").await.is_err());
    setup.proxy.client().send_raw(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    let refused = setup.proxy.metric(r#"hotset_refused_total{reason="tls_handshake"}"#).await;
    assert!(refused >= 1.0, "{refused}");
}

#[tokio::test]
async fn a_large_object_arrives_whole_over_tls() {
    let setup = Setup::new(|_, _, _| {}).await;
    let expected = setup.s3.object("data", "large").unwrap().all();
    for _ in 0..2 {
        let mut stream =
            setup.authority.client().connect(setup.proxy.addr, "s3.local").await.unwrap();
        stream.write_all(get("/data/large", "s3.local").as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        within("the object", stream.read_to_end(&mut answer)).await.unwrap();
        let body = answer.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4;
        assert!(answer[body..] == expected);
    }
}

#[tokio::test]
async fn http_2_is_spoken_with_those_who_offer_it() {
    let setup = Setup::new(|_, _, _| {}).await;
    let client = setup.authority.client();
    for (offered, chosen) in
        [(&["h2", "http/1.1"][..], Some("h2")), (&["http/1.1"], Some("http/1.1")), (&[], None)]
    {
        let stream = client.clone().alpn(offered).connect(setup.proxy.addr, "s3.local").await;
        let stream = stream.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), chosen.map(str::as_bytes));
        if chosen != Some("h2") {
            let answer = ask(stream, &get("/data/k", "s3.local")).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
            continue;
        }
        let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
        let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(connection);
        let request = http::Request::get("https://s3.local/data/large").body(Empty::<Bytes>::new());
        let answer = within("an answer", sender.send_request(request.unwrap())).await.unwrap();
        assert_eq!(answer.status(), 200);
        let body = within("its body", answer.collect()).await.unwrap().to_bytes();
        assert!(body == setup.s3.object("data", "large").unwrap().all());
        connection.abort();
    }
    // A client that did not negotiate HTTP/2 does not speak it (RFC 9113, section 3.2).
    let stream = client.connect(setup.proxy.addr, "s3.local").await.unwrap();
    let answer = ask(stream, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
}

#[tokio::test]
async fn each_client_is_shown_the_certificate_for_the_name_that_it_asks_for() {
    let mut signed = Vec::new();
    let setup = Setup::new(|tls, scratch, authority| {
        for names in [&["one.example"][..], &["*.two.example", "two.example"]] {
            let pair = authority.sign(names);
            tls.certificates.push(files(scratch, names[0].trim_start_matches("*."), &pair));
            signed.push(CertificateDer::from_pem_slice(pair.cert.as_bytes()).unwrap());
        }
    })
    .await;
    for (host, expected) in [
        ("one.example", &signed[0]),
        ("two.example", &signed[1]),
        ("bucket.two.example", &signed[1]),
        ("BUCKET.Two.Example", &signed[1]),
    ] {
        let stream = setup.authority.client().connect(setup.proxy.addr, host).await;
        assert_eq!(shown(&stream.unwrap()), *expected, "{host}");
    }
    // A wildcard covers one label: this name gets the first certificate, and its client refuses that.
    assert!(setup.authority.client().connect(setup.proxy.addr, "a.b.two.example").await.is_err());
    let stream = setup.authority.client().connect(setup.proxy.addr, "s3.local").await.unwrap();
    assert!(!signed.contains(&shown(&stream)));
}

#[tokio::test]
async fn sessions_are_resumed() {
    let setup = Setup::new(|_, _, _| {}).await;
    for version in [&TLS12, &TLS13] {
        let versions: &'static [_] = Box::leak(Box::new([version]));
        let config = setup.authority.client().version(versions).config();
        for expected in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let stream = TcpStream::connect(setup.proxy.addr).await.unwrap();
            let mut stream = tls_over(stream, config.clone(), "s3.local").await.unwrap();
            stream.write_all(get("/data/k", "s3.local").as_bytes()).await.unwrap();
            let mut answer = String::new();
            within("an answer", stream.read_to_string(&mut answer)).await.unwrap();
            assert_eq!(stream.get_ref().1.handshake_kind(), Some(expected), "{version:?}");
        }
    }
}

/// Sends a request: with TLS 1.3 a client can believe that it is connected before its certificate was checked.
async fn gets_an_answer(
    setup: &Setup,
    client: crate::support::TlsClient,
) -> Result<String, std::io::Error> {
    let stream = client.connect(setup.proxy.addr, "s3.local").await?;
    ask(stream, &get("/data/k", "s3.local")).await
}

#[tokio::test]
async fn client_certificates_are_asked_for_as_configured() {
    let (ours, others) = (Authority::new("clients"), Authority::new("others"));
    let (known, unknown) = (ours.sign(&["spiffe://a/b"]), others.sign(&["spiffe://a/b"]));
    let expired = ours.sign_until(&["spiffe://a/b"], 2001);
    for (mode, without, with_unknown) in [
        (ClientAuth::None, true, true),
        (ClientAuth::Optional, true, false),
        (ClientAuth::Required, false, false),
    ] {
        let setup = Setup::new(|tls, scratch, _| {
            tls.client_auth = mode;
            if mode != ClientAuth::None {
                tls.client_ca = Some(scratch.file("clients.crt", &ours.pem()).into());
            }
        })
        .await;
        let client = setup.authority.client();
        for versions in [&[&TLS12][..], &[&TLS13]] {
            let versions: &'static [_] = Box::leak(versions.to_vec().into_boxed_slice());
            let client = client.clone().version(versions);
            let answered = gets_an_answer(&setup, client.clone().with(&known)).await;
            assert!(answered.is_ok_and(|a| a.starts_with("HTTP/1.1 200 ")), "{mode:?}");
            for (other, expected) in [
                (client.clone(), without),
                (client.clone().with(&unknown), with_unknown),
                (client.clone().with(&expired), with_unknown),
            ] {
                let answered = gets_an_answer(&setup, other).await;
                assert_eq!(answered.is_ok(), expected, "{mode:?} {versions:?}: {answered:?}");
            }
        }
    }
}

#[tokio::test]
async fn r20_a_client_certificate_makes_an_identity_known() {
    const IDENTITIES: &str = "
identities:
  - { name: node, certificates: ['spiffe://Cluster/Node', 'ops@example.org'],
      allow: [{ actions: [read], resources: ['data/**'] }] }
  - { name: other, certificates: ['spiffe://cluster/other'],
      allow: [{ actions: [read], resources: ['elsewhere/**'] }] }
";
    let ours = Authority::new("clients");
    let setup = Setup::with(
        |tls, scratch, _| {
            tls.client_auth = ClientAuth::Optional;
            tls.client_ca = Some(scratch.file("clients.crt", &ours.pem()).into());
        },
        |config, scratch| {
            config.auth.mode = hotset::auth::AuthMode::Verify;
            config.auth.identities = Some(scratch.file("identities.yaml", IDENTITIES).into());
        },
    )
    .await;
    let client = setup.authority.client();
    for (names, status) in [
        (&["spiffe://cluster/Node"][..], 200),
        (&["spiffe://cluster/third", "spiffe://cluster/Node"], 200),
        // Two ids, and names of another kind.
        (&["spiffe://cluster/node"], 403),
        (&["dns:spiffe://cluster/Node"], 403),
        (&["dns:ops@example.org"], 403),
        (&["spiffe://cluster/other"], 403),
        (&["spiffe://cluster/third"], 403),
    ] {
        let shown = client.clone().with(&ours.sign(names));
        let answer = gets_an_answer(&setup, shown).await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{names:?}: {answer}");
    }
    let answer = gets_an_answer(&setup, client).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 403 "), "nobody without one: {answer}");
}

/// Certificates of a mounted Secret: the folder is a symbolic link, which is replaced.
struct Mounted<'a>(&'a Scratch);

impl Mounted<'_> {
    fn show(&self, generation: u32, cert: &str, key: &str) {
        let folder = self.0.path(&format!("..{generation}"));
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(format!("{folder}/tls.crt"), cert).unwrap();
        std::fs::write(format!("{folder}/tls.key"), key).unwrap();
        let (new, link) = (self.0.path("..new"), self.0.path("..data"));
        std::os::unix::fs::symlink(folder, &new).unwrap();
        std::fs::rename(new, link).unwrap();
    }
}

#[tokio::test]
async fn new_certificates_are_taken_under_load_and_no_connection_is_dropped() {
    let setup = Setup::new(|tls, scratch, authority| {
        let pair = authority.sign(&["s3.local"]);
        Mounted(scratch).show(0, &pair.cert, &pair.key);
        tls.cert = scratch.path("..data/tls.crt").into();
        tls.key = scratch.path("..data/tls.key").into();
        tls.reload = HumanDuration(Duration::from_millis(5));
    })
    .await;
    let setup = Arc::new(setup);
    let done = Arc::new(AtomicBool::new(false));
    let kept = setup.authority.client().connect(setup.proxy.addr, "s3.local").await.unwrap();
    let load = (0..4).map(|_| {
        let (setup, done) = (setup.clone(), done.clone());
        tokio::spawn(async move {
            let mut served = 0;
            while !done.load(Ordering::Relaxed) {
                let answer = gets_an_answer(&setup, setup.authority.client()).await.unwrap();
                assert!(answer.ends_with("\r\n\r\ncontent"), "{answer}");
                served += 1;
            }
            served
        })
    });
    let load: Vec<_> = load.collect();
    for generation in 1..=5 {
        let pair = setup.authority.sign(&["s3.local"]);
        Mounted(&setup.scratch).show(generation, &pair.cert, &pair.key);
        let expected = CertificateDer::from_pem_slice(pair.cert.as_bytes()).unwrap();
        let taken = async {
            loop {
                let client = setup.authority.client();
                let stream = client.connect(setup.proxy.addr, "s3.local").await.unwrap();
                if shown(&stream) == expected {
                    return;
                }
            }
        };
        within("the new certificate", taken).await;
    }
    done.store(true, Ordering::Relaxed);
    for task in load {
        assert!(task.await.unwrap() > 0);
    }
    // A connection from before all of them is still served.
    let answer = ask(kept, &get("/data/k", "s3.local")).await.unwrap();
    assert!(answer.ends_with("\r\n\r\ncontent"), "{answer}");
    let reloads = r#"hotset_certificate_reloads_total{outcome="ok"}"#;
    assert!(setup.proxy.metric(reloads).await >= 5.0);
}

#[tokio::test]
async fn a_broken_new_pair_leaves_the_old_one_in_use() {
    let setup = Setup::new(|tls, _, _| {
        tls.reload = HumanDuration(Duration::from_millis(5));
    })
    .await;
    let client = setup.authority.client();
    let old = shown(&client.connect(setup.proxy.addr, "s3.local").await.unwrap());
    let (one, two) = (setup.authority.sign(&["s3.local"]), setup.authority.sign(&["s3.local"]));
    let failed = r#"hotset_certificate_reloads_total{outcome="failed"}"#;
    for (cert, key) in [(&one.cert, &two.key), (&"nonsense".to_owned(), &one.key)] {
        let before = setup.proxy.metric(failed).await;
        setup.scratch.file("tls.crt", cert);
        setup.scratch.file("tls.key", key);
        let found = async { while setup.proxy.metric(failed).await <= before {} };
        within("the broken pair to be found", found).await;
        let stream = client.connect(setup.proxy.addr, "s3.local").await.unwrap();
        assert_eq!(shown(&stream), old);
    }
    setup.scratch.file("tls.crt", &two.cert);
    setup.scratch.file("tls.key", &two.key);
    let expected = CertificateDer::from_pem_slice(two.cert.as_bytes()).unwrap();
    let taken = async {
        while shown(&client.connect(setup.proxy.addr, "s3.local").await.unwrap()) != expected {}
    };
    within("the right pair to be taken", taken).await;
}

#[tokio::test]
async fn a_handshake_that_is_not_made_is_given_up_and_stops_nobody() {
    let s3 = FakeS3::start().await;
    s3.put("data", "k", Object::bytes("content"));
    let (authority, scratch) = (Authority::new("servers"), Scratch::new());
    let pair = files(&scratch, "tls", &authority.sign(&["s3.local"]));
    let proxy = TestProxy::start_with(&s3, |config| {
        config.listen[0].tls =
            Some(TlsConfig { cert: pair.cert, key: pair.key, ..TlsConfig::default() });
        config.listen[0].domains = vec!["s3.local".to_owned()];
        config.limits.handshake_timeout = HumanDuration(Duration::from_millis(200));
    })
    .await;
    let mut silent = TcpStream::connect(proxy.addr).await.unwrap();
    let stream = authority.client().connect(proxy.addr, "s3.local").await.unwrap();
    assert!(ask(stream, &get("/data/k", "s3.local")).await.unwrap().ends_with("content"));
    let mut rest = Vec::new();
    let _ = within("the end of the connection", silent.read_to_end(&mut rest)).await;
    let slow = r#"hotset_refused_total{reason="slow_handshake"}"#;
    assert!(proxy.metric(slow).await >= 1.0);
}

#[test]
fn a_wrong_certificate_file_is_one_line_that_names_the_key_and_exit_code_2() {
    let (authority, scratch) = (Authority::new("servers"), Scratch::new());
    let (one, two) = (authority.sign(&["a"]), authority.sign(&["b"]));
    let (good, good_key) = (scratch.file("a.crt", &one.cert), scratch.file("a.key", &one.key));
    let other_key = scratch.file("b.key", &two.key);
    let nonsense = scratch.file("nonsense", "nonsense");
    let expired = authority.sign_until(&["c"], 2001);
    let old = scratch.file("old.crt", &expired.cert);
    let old_key = scratch.file("old.key", &expired.key);
    let check = |tls: &str| {
        let text = format!("listen: [{{ address: '127.0.0.1:0', tls: {tls} }}]");
        let (code, _, stderr) = run(hotset(&["check", "--config", &scratch.file("h.yaml", &text)]));
        (code, stderr)
    };
    let (code, stderr) = check(&format!("{{ cert: {good}, key: {good_key} }}"));
    assert_eq!(code, 0, "{stderr}");
    for (tls, key, why) in [
        (format!("{{ cert: {good} }}"), "tls.key", "needed"),
        (
            format!("{{ cert: /nowhere/x, key: {good_key} }}"),
            "tls.cert: /nowhere/x",
            "No such file",
        ),
        (format!("{{ cert: {nonsense}, key: {good_key} }}"), "tls.cert", "no certificate in it"),
        (format!("{{ cert: {good}, key: {nonsense} }}"), "tls.key", "no private key in it"),
        (
            format!("{{ cert: {good}, key: {other_key} }}"),
            "tls.key",
            "is not the key of the certificate",
        ),
        (format!("{{ cert: {old}, key: {old_key} }}"), "tls.cert", "has expired"),
        (
            format!(
                "{{ cert: {good}, key: {good_key}, certificates: [{{ cert: {good}, key: {other_key} }}] }}"
            ),
            "tls.certificates[0].key",
            "is not the key",
        ),
        (
            format!("{{ cert: {good}, key: {good_key}, client_auth: required }}"),
            "tls.client_ca",
            "a file is required",
        ),
        (
            format!(
                "{{ cert: {good}, key: {good_key}, client_auth: optional, client_ca: {nonsense} }}"
            ),
            "tls.client_ca",
            "no certificate in it",
        ),
        (
            format!("{{ cert: {good}, key: {good_key}, client_ca: {good} }}"),
            "tls.client_auth",
            "optional",
        ),
    ] {
        let (code, stderr) = check(&tls);
        assert_eq!((code, stderr.lines().count()), (2, 1), "{tls}: {stderr}");
        assert!(stderr.contains(&format!("listen[0].{key}")) && stderr.contains(why), "{stderr}");
    }
}
