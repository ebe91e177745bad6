//! The real binary: wrong configurations, signals, logs, the admin port.

use std::net::TcpListener;
use std::path::PathBuf;

use tokio::net::TcpStream;

use crate::support::{FakeS3, Fault, Gate, Matcher, Object, Process, Scratch, Times, hotset, run};

/// Writes a configuration with free ports in front of `s3`; `more` are further keys.
fn config(scratch: &Scratch, s3: &FakeS3, more: &str) -> String {
    let text = format!(
        "listen: [{{ address: 127.0.0.1:0 }}]\nadmin: {{ address: 127.0.0.1:0 }}\n\
         origin: {{ endpoint: '{}', backoff: {{ base: 1ms, cap: 10ms }} }}\n{more}\n",
        s3.endpoint()
    );
    scratch.file("hotset.yaml", &text)
}

#[test]
fn a_wrong_identities_file_is_one_line_that_names_it_and_its_key_and_exit_code_2() {
    let scratch = Scratch::new();
    let config = "listen: [{ address: 127.0.0.1:0 }]\nadmin: { address: null }\n";
    for (text, key) in [
        ("identities: [{ name: a, access_key: A, secret_key: s }]", "identities[0]"),
        ("identities: [{ name: a, anonymous: true, allow: 1 }]", "identities[0].allow"),
        ("identities: []", "identities"),
        ("", ""),
    ] {
        let identities = scratch.file("identities.yaml", text);
        let auth = format!("{config}auth: {{ mode: verify, identities: '{identities}' }}");
        let file = scratch.file("hotset.yaml", &auth);
        for subcommand in ["check", "serve"] {
            let (code, stdout, stderr) = run(hotset(&[subcommand, "--config", &file]));
            let what = format!("{subcommand} {text}: {stderr}");
            assert_eq!((code, stdout.as_str(), stderr.lines().count()), (2, "", 1), "{what}");
            assert!(stderr.contains(&format!("auth.identities: {identities}: {key}")), "{what}");
        }
    }
    let right = "identities: [{ name: a, anonymous: true, allow: [] }]";
    let identities = scratch.file("identities.yaml", right);
    let auth = format!("{config}auth: {{ mode: verify, identities: '{identities}' }}");
    let file = scratch.file("hotset.yaml", &auth);
    let (code, stdout, _) = run(hotset(&["check", "--config", &file]));
    assert_eq!((code, stdout.as_str()), (0, "the configuration is right\n"));
}

#[test]
fn a_wrong_configuration_is_one_line_that_names_the_key_and_exit_code_2() {
    let scratch = Scratch::new();
    for (text, key) in [
        ("cache: { block: 3MiB }", "cache.block"),
        ("cache: { blok: 1MiB }", "cache.blok"),
        ("caches: {}", "caches"),
        ("cache: { memory: lots }", "cache.memory"),
        ("cache: { fetch: 3MiB, block: 2MiB }", "cache.fetch"),
        ("cache: { in_flight: 8MiB }", "cache.in_flight"),
        ("listen: []", "listen"),
        ("listen: [{ address: nowhere }]", "listen[0].address"),
        ("listen: [{ address: 'unix:relative' }]", "listen[0].address"),
        ("auth: { mode: verify }", "auth.identities"),
        ("auth: { mode: transparent, writes: false }", "auth.writes"),
        ("auth: { mode: transparent, decision_ttl: 2m }", "auth.decision_ttl"),
        ("auth: { decision_ttl: 1s }", "auth.decision_ttl"),
        ("listen: [{ address: '127.0.0.1:0', mode: 432 }]", "listen[0].mode"),
        ("listen: [{ address: '127.0.0.1:0', mode: '999' }]", "listen[0].mode"),
        (
            "listen: [{ address: '127.0.0.1:0', proxy_protocol: {} }]",
            "listen[0].proxy_protocol.from",
        ),
        (
            "listen: [{ address: 'unix:/x', proxy_protocol: { from: [10.0.0.0/8] } }]",
            "listen[0].proxy_protocol",
        ),
        (
            "listen: [{ address: '127.0.0.1:0', proxy_protocol: { from: [ten] } }]",
            "listen[0].proxy_protocol.from[0]",
        ),
        ("listen: [{ address: '127.0.0.1:0', tls: {} }]", "listen[0].tls.cert"),
        ("admin: { token: '' }", "admin.token"),
        ("admin: { token: 'a b' }", "admin.token"),
        ("admin: { token: fifteen-bytes-x }", "admin.token"),
        ("events: { webhook: { tokens: [fifteen-bytes-x] } }", "events.webhook.tokens[0]"),
        ("admin: { token: a, token_file: /x }", "admin.token_file"),
        ("warm: { reads: 65 }", "warm.reads"),
        ("cluster: { peers: [a:1, nowhere] }", "cluster.peers[1]"),
        ("admin: { address: '0.0.0.0:0' }\ncluster: { peers: h:9001 }", "cluster.peers"),
        ("rules: [{ match: '**', prefetch: { whole: 0 } }]", "rules[0].prefetch"),
        ("rules: [{ match: '**', freshness: bypass, prefetch: {} }]", "rules[0].prefetch"),
        ("limits: { headers: 257 }", "limits.headers"),
        ("limits: { uri_bytes: 1MiB }", "limits.uri_bytes"),
        ("limits: { body_timeout: 0s }", "limits.body_timeout"),
        ("auth: { buckets: [] }", "auth.buckets"),
        ("origin: { endpoint: 's3.local' }", "origin.endpoint"),
        ("origin: { endpoint: 'http://h/path' }", "origin.endpoint"),
        ("origin: { connect_timeout: 0s }", "origin.connect_timeout"),
        ("rules: [{ match: 'a/**' }]", "rules[0].match"),
        ("rules: [{ match: '**', freshness: { ttl: soon } }]", "rules[0].freshness"),
        ("log: { level: loud }", "log.level"),
        ("limits: { connections: 0 }", "limits.connections"),
        ("shutdown: { grace: -1s }", "shutdown.grace"),
        ("a: [", ""),
        ("- list", ""),
    ] {
        let file = scratch.file("wrong.yaml", text);
        for subcommand in ["check", "serve"] {
            let (code, stdout, stderr) = run(hotset(&[subcommand, "--config", &file]));
            let what = format!("{subcommand} {text}: {stderr}");
            assert_eq!((code, stdout.as_str(), stderr.lines().count()), (2, "", 1), "{what}");
            // The key follows the place, if the file contains it.
            let after = stderr.strip_prefix(&format!("hotset: {file}:")).expect(&what);
            let after = after.trim_start_matches(|c: char| c.is_ascii_digit() || c == ':');
            assert!(after.starts_with(&format!(" {key}")), "{what}");
        }
    }
    for subcommand in ["check", "serve"] {
        let (code, _, stderr) = run(hotset(&[subcommand, "--config", "/nowhere/x.yaml"]));
        assert_eq!((code, stderr.lines().count()), (2, 1), "{stderr}");
        assert!(stderr.contains("/nowhere/x.yaml"), "{stderr}");
        let (code, _, _) = run(hotset(&[subcommand, "--confg", "x"]));
        assert_eq!(code, 2);
    }
}

#[test]
fn the_environment_overrides_the_file_and_is_named_when_it_is_wrong() {
    let scratch = Scratch::new();
    let file = scratch.file("hotset.yaml", "cache: { block: 3MiB }");
    let with = |name: &str, value: &str| {
        let mut command = hotset(&["check", "--config", &file]);
        command.env(name, value).env("HOTSET_PORT", "tcp://10.0.0.1:9000");
        run(command)
    };
    let (code, stdout, stderr) = with("HOTSET_CACHE__BLOCK", "2MiB");
    assert_eq!((code, stdout.as_str()), (0, "the configuration is right\n"), "{stderr}");
    assert_eq!(stderr, "credentials for the origin: the environment, without an end\n");
    for (name, value, key) in [
        ("HOTSET_CACHE__BLOK", "2MiB", "cache.blok"),
        ("HOTSET_CACHE__BLOCK", "much", "cache.block"),
        ("HOTSET_NONE", "1", "none"),
        ("HOTSET_LISTEN__5__ADDRESS", "127.0.0.1:0", "listen[5]"),
    ] {
        let (code, _, stderr) = with(name, value);
        assert_eq!((code, stderr.lines().count()), (2, 1), "{stderr}");
        assert!(stderr.contains(name) && stderr.contains(key), "{stderr}");
    }
    let (code, _, stderr) = run(hotset(&["check"]));
    assert_eq!((code, stderr.lines().count()), (0, 1), "the defaults are right: {stderr}");
}

#[test]
fn check_warns_of_what_is_hardly_meant() {
    let scratch = Scratch::new();
    for (text, warning) in [
        ("# nothing\n", "sets no key"),
        ("cache: { memory: 10TiB }", "cache.memory: 10TiB and"),
        (
            "rules: [{ match: a/** }, { match: a/b/** }, { match: '**' }]",
            "rules[1].match: `a/b/**`",
        ),
        (
            "rules: [{ match: 'a/**.png' }, { match: '**' }]",
            "rules[0].match: `a/**.png`: a `**` beside other characters matches `/`, too",
        ),
    ] {
        let file = scratch.file("hotset.yaml", text);
        let (code, stdout, stderr) = run(hotset(&["check", "-c", &file]));
        assert_eq!((code, stdout.as_str()), (0, "the configuration is right\n"), "{stderr}");
        assert!(stderr.starts_with("warning: ") && stderr.contains(warning), "{text}: {stderr}");
        assert_eq!(stderr.lines().count(), 2, "it and the credentials: {stderr}");
    }
}

#[test]
fn a_file_or_a_folder_that_cannot_be_what_it_is_named_for_is_refused_by_check_and_serve() {
    let scratch = Scratch::new();
    let pem = scratch.file("no.pem", "no certificate");
    let theirs = PathBuf::from(scratch.path("theirs"));
    std::fs::create_dir(&theirs).unwrap();
    std::fs::write(theirs.join("thesis.txt"), "years of work").unwrap();
    let disk = format!("cache: {{ disk: [{{ path: '{}', capacity: 1GiB }}] }}", theirs.display());
    for (text, problem) in [
        (
            format!("origin: {{ ca_file: '{pem}' }}"),
            format!("origin.ca_file: {pem}: there is no certificate"),
        ),
        (
            "origin: { ca_file: /none/ca.pem }".to_owned(),
            "origin.ca_file: /none/ca.pem: No such file".to_owned(),
        ),
        (disk, format!("{} holds `thesis.txt`, which is not hotset's", theirs.display())),
    ] {
        let text =
            format!("listen: [{{ address: 127.0.0.1:0 }}]\nadmin: {{ address: null }}\n{text}");
        let file = scratch.file("hotset.yaml", &text);
        for subcommand in ["check", "serve"] {
            let (code, stdout, stderr) = run(hotset(&[subcommand, "--config", &file]));
            assert!(code != 0 && stdout.is_empty(), "{subcommand} {text}: {code} {stdout}");
            assert!(stderr.lines().last().unwrap().contains(&problem), "{subcommand}: {stderr}");
            assert!(!stderr.contains("panicked"), "{stderr}");
        }
    }
    assert_eq!(std::fs::read_dir(&theirs).unwrap().count(), 1);
}

#[tokio::test]
async fn the_access_log_names_who_was_refused_and_why() {
    let (scratch, s3) = (Scratch::new(), FakeS3::start().await);
    let everybody = "identities: [{ name: everybody, anonymous: true, allow: [{ actions: [read], resources: [open/**] }] }]";
    let identities = scratch.file("identities.yaml", everybody);
    let verify =
        format!("auth: {{ mode: verify, identities: '{identities}' }}\nlog: {{ access: plain }}");
    let mut process = Process::serve(&config(&scratch, &s3, &verify)).await;
    assert_eq!(process.client().get("/data/secret").send().await.status, 403);
    let line = process.printed("/data/secret").await;
    assert!(line.contains(" identity=everybody code=AccessDenied error="), "{line}");
    assert!(line.contains("everybody may not read data/secret"), "{line}");
    process.terminate();
    process.ended().await;
}

#[tokio::test]
async fn a_port_that_is_taken_is_said_in_one_line_and_exit_code_1() {
    let (scratch, s3) = (Scratch::new(), FakeS3::start().await);
    let file = config(&scratch, &s3, "");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for variable in ["HOTSET_LISTEN__0__ADDRESS", "HOTSET_ADMIN__ADDRESS"] {
        let mut command = hotset(&["serve", "--config", &file]);
        command.env(variable, &address);
        let (code, stdout, stderr) = run(command);
        assert_eq!((code, stdout.as_str(), stderr.lines().count()), (1, "", 1), "{stderr}");
        assert!(stderr.contains(&format!("cannot listen on {address}: ")), "{stderr}");
        assert!(stderr.to_lowercase().contains("in use"), "{stderr}");
    }
}

#[tokio::test]
async fn r30_sigterm_lets_a_request_under_way_finish_and_ends_then() {
    let (scratch, s3) = (Scratch::new(), FakeS3::start().await);
    s3.put("data", "k", Object::random(20 << 20, 1));
    s3.put("data", "other", Object::bytes("x"));
    let mut process = Process::serve(&config(&scratch, &s3, "shutdown: { grace: 5m }")).await;
    let (client, admin) = (process.client(), process.admin());
    assert_eq!(client.get("/data/other").send().await.status, 200);
    assert_eq!(admin.get("/readyz").send().await.status, 200);
    let gate = Gate::new();
    let last = Matcher::get("k").covering((20 << 20) - 1);
    s3.fault(last, Times(1), Fault::HoldBodyAfter(1000, gate.clone()));
    let mut reading = client.get("/data/k").open().await;
    let first = reading.read_until(gate.wait_reached()).await;
    process.terminate();
    process.logged("stopping").await;
    // Alive and draining: it reports that, and accepts no new connection.
    let ready = async {
        while admin.get("/readyz").send().await.status != 503 {
            tokio::task::yield_now().await;
        }
    };
    crate::support::within("not ready any more", ready).await;
    assert_eq!(admin.get("/healthz").send().await.status, 200);
    let refused = async {
        while TcpStream::connect(process.addr.unwrap()).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    crate::support::within("new connections to be refused", refused).await;
    gate.open();
    let rest = reading.finish().await;
    assert!(rest.complete && [first, rest.body].concat() == s3.object_bytes("data", "k"));
    // Well within the five minutes.
    assert_eq!(process.ended().await.code(), Some(0), "{}", process.output());
}

#[tokio::test]
async fn r30_sigterm_ends_an_idle_server_at_once() {
    let (scratch, s3) = (Scratch::new(), FakeS3::start().await);
    let mut process = Process::serve(&config(&scratch, &s3, "shutdown: { grace: 5m }")).await;
    // A kept-alive connection, and one that has sent nothing yet, have no request in flight.
    let client = process.client();
    assert_eq!(client.get("/data/none").send().await.status, 404);
    let silent = TcpStream::connect(process.addr.unwrap()).await.unwrap();
    process.terminate();
    assert_eq!(process.ended().await.code(), Some(0), "{}", process.output());
    drop(silent);
}

#[tokio::test]
async fn r30_a_request_that_outlives_the_grace_period_is_cut() {
    let (scratch, s3) = (Scratch::new(), FakeS3::start().await);
    s3.put("data", "k", Object::random(100_000, 1));
    let mut process = Process::serve(&config(&scratch, &s3, "shutdown: { grace: 100ms }")).await;
    s3.fault(Matcher::get("k"), Times(1), Fault::StallAfter(50_000));
    let mut reading = process.client().get("/data/k").open().await;
    assert_eq!(reading.read(1000).await.len(), 1000);
    process.terminate();
    process.logged("shutdown.grace is over").await;
    assert!(!reading.finish().await.complete);
    assert_eq!(process.ended().await.code(), Some(0));
}

const PRESIGNED: &str = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKSECRET%2Fscope\
                         &X-Amz-Security-Token=TOKENSECRET&X-Amz-Signature=SIGSECRET&x-id=GetObject";

#[tokio::test]
async fn the_access_log_has_a_line_for_each_request_and_no_secrets() {
    for format in ["plain", "json"] {
        let (scratch, s3) = (Scratch::new(), FakeS3::start().await);
        s3.put("data", "k", Object::random(5000, 1));
        let mut process =
            Process::serve(&config(&scratch, &s3, &format!("log: {{ access: {format} }}"))).await;
        let client = process.client();
        let got =
            client.get(&format!("/data/k?{PRESIGNED}")).header("User-Agent", "a \"b\"").send();
        let id = got.await.header("x-amz-request-id").to_owned();
        let line = process.printed("/data/k").await;
        assert!(line.contains(&id), "{line}");
        client.put("/data/new").header("Authorization", "AUTHSECRET").body("x").send().await;
        let write = process.printed("/data/new").await;
        client.get("/data/none").send().await;
        let missing = process.printed("/data/none").await;
        if format == "plain" {
            assert!(line.contains("\"GET /data/k?") && line.contains("\" 200 5000 "), "{line}");
            assert!(write.contains("\"PUT /data/new\" 200 0 "), "{write}");
            assert!(missing.contains("\"GET /data/none\" 404 "), "{missing}");
            // As nginx does.
            assert!(line.contains(r#" "a \x22b\x22""#), "{line}");
            let hostile =
                b"GET /data/q\"\\\xc2\x9b HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
            client.raw(hostile).await;
            let escaped = process.printed("/data/q").await;
            assert!(escaped.contains(r#""GET /data/q\x22\x5C\xC2\x9B" "#), "{escaped}");
            assert!(line.starts_with("127.0.0.1:") && line.contains(" miss "), "{line}");
        } else {
            let read = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap();
            let (line, write) = (read(&line), read(&write));
            assert_eq!((&line["status"], &line["bytes"]), (&200.into(), &5000.into()));
            assert_eq!((&line["method"], &line["cache"]), (&"GET".into(), &"miss".into()));
            assert_eq!(line["user_agent"], "a \"b\"");
            assert!(
                line["seconds"].as_f64().unwrap() >= line["first_byte_seconds"].as_f64().unwrap()
            );
            assert_eq!((&write["method"], &write["path"]), (&"PUT".into(), &"/data/new".into()));
            assert_eq!(read(&missing)["status"], 404);
        }
        process.terminate();
        process.ended().await;
        assert!(!process.output().contains("SECRET"), "{}", process.output());
        assert!(!process.output().contains("sktest"), "{}", process.output());
    }
}

#[tokio::test]
async fn the_access_log_is_complete_when_the_process_ends() {
    let (scratch, s3) = (Scratch::new(), FakeS3::start().await);
    s3.put("data", "k", Object::random(5000, 1));
    let mut process = Process::serve(&config(&scratch, &s3, "")).await;
    for n in 0..20 {
        assert_eq!(process.client().get(&format!("/data/k?x-id={n}")).send().await.status, 200);
    }
    process.terminate();
    assert_eq!(process.ended().await.code(), Some(0));
    assert_eq!(process.output().matches("\"GET /data/k?x-id=").count(), 20, "{}", process.output());
}

#[tokio::test]
async fn the_admin_port_shows_metrics_and_health_and_health_asks_it() {
    let (scratch, s3) = (Scratch::new(), FakeS3::start().await);
    s3.put("data", "k", Object::random(5000, 1));
    let mut process = Process::serve(&config(&scratch, &s3, "")).await;
    for _ in 0..3 {
        assert_eq!(process.client().get("/data/k").send().await.status, 200);
    }
    let admin = process.admin();
    for path in ["/healthz", "/readyz"] {
        assert_eq!(admin.get(path).send().await.status, 200);
    }
    assert_eq!(admin.get("/nothing").send().await.status, 404);
    let page = admin.get("/metrics").send().await;
    assert!(page.header("content-type").starts_with("text/plain"));
    let text = page.text();
    let hits = text
        .lines()
        .find(|l| l.starts_with("hotset_requests_total{operation=\"GetObject\",cache=\"hit\""));
    assert!(hits.is_some_and(|line| line.ends_with(" 2")), "{text}");
    let health = |file: &str, address: String| {
        let mut command = hotset(&["health", "--config", file]);
        command.env("HOTSET_ADMIN__ADDRESS", address);
        tokio::task::spawn_blocking(move || run(command))
    };
    let file = config(&scratch, &s3, "");
    let address = process.admin.to_string();
    let (code, _, stderr) = health(&file, address.clone()).await.unwrap();
    assert_eq!((code, stderr.as_str()), (0, ""));
    process.terminate();
    process.ended().await;
    let (code, _, stderr) = health(&file, address.clone()).await.unwrap();
    assert_eq!((code, stderr.lines().count()), (1, 1), "{stderr}");
    assert!(stderr.contains(&address), "{stderr}");
}

#[tokio::test]
async fn r20_trust_on_an_address_that_others_reach_is_warned_of_loudly() {
    let (scratch, s3) = (Scratch::new(), FakeS3::start().await);
    let file = config(&scratch, &s3, "");
    for (address, warned) in [("127.0.0.1:0", false), ("0.0.0.0:0", true)] {
        let mut command = hotset(&["serve", "--config", &file]);
        command.env("HOTSET_LISTEN__0__ADDRESS", address).env("HOTSET_AUTH__OPEN", "true");
        let process = Process::spawn(command).await;
        let output = process.output();
        assert_eq!(output.contains("WHOEVER CAN CONNECT"), warned, "{address}: {output}");
    }
}

#[tokio::test]
async fn r20_trust_on_an_address_that_others_reach_does_not_start_unasked() {
    let (scratch, s3) = (Scratch::new(), FakeS3::start().await);
    let file = config(&scratch, &s3, "");
    for subcommand in ["serve", "check"] {
        let mut command = hotset(&[subcommand, "--config", &file]);
        command.env("HOTSET_LISTEN__0__ADDRESS", "0.0.0.0:0");
        let (code, _, stderr) = tokio::task::spawn_blocking(|| run(command)).await.unwrap();
        assert_eq!((code, stderr.lines().count()), (2, 1), "{subcommand}: {stderr}");
        assert!(stderr.contains("auth.open: true") && stderr.contains("0.0.0.0:0"), "{stderr}");
    }
}
