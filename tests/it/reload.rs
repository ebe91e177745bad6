//! Changes of the configuration while hotset serves: by SIGHUP, `hotset reload`, the API and a replaced file.

#![allow(clippy::float_cmp, reason = "metrics that are whole numbers")]

use std::os::unix::fs::symlink;
use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use crate::support::*;

const HIT: &str = "hotset; hit";
const FAILURES: &str = "hotset_config_reloads_total{result=\"failure\"}";
const SUCCESSES: &str = "hotset_config_reloads_total{result=\"success\"}";

/// A server with a configuration file that can be rewritten.
pub struct Reloading {
    pub scratch: Scratch,
    pub s3: FakeS3,
    pub process: Process,
}

/// Returns a configuration with free ports in front of `s3`, whose file is not watched; `more` are further keys.
pub fn text(s3: &FakeS3, more: &str) -> String {
    format!(
        "reload: null\nlisten: [{{ address: 127.0.0.1:0 }}]\nadmin: {{ address: 127.0.0.1:0 }}\n\
         origin: {{ endpoint: '{}', hedging: false, backoff: {{ base: 1ms, cap: 10ms }} }}\n{more}\n",
        s3.endpoint()
    )
}

impl Reloading {
    pub async fn start(more: &str) -> Self {
        let (scratch, s3) = (Scratch::new(), FakeS3::start().await);
        s3.put("data", "k", Object::random(100_000, 1));
        let process = Process::serve(&scratch.file("hotset.yaml", &text(&s3, more))).await;
        Self { scratch, s3, process }
    }

    pub fn write(&self, more: &str) {
        self.scratch.file("hotset.yaml", &text(&self.s3, more));
    }

    /// Runs `hotset reload`; returns its exit code, its output and its errors.
    fn reload_by_command(&self, more: &[&str]) -> (i32, String, String) {
        let (file, admin) =
            (self.scratch.path("hotset.yaml"), format!("http://{}", self.process.admin));
        let arguments = [&["reload", "--config", &file, "--admin", &admin], more].concat();
        run(hotset(&arguments))
    }

    /// Writes another configuration, and reloads it.
    pub async fn reload(&self, more: &str) -> Value {
        self.write(more);
        let (status, report) = Api::new(self.process.admin).post("/api/v1/reload", "{}").await;
        assert_eq!(status, 200, "{report}");
        report
    }

    /// Returns `limits.requests` as it is in force.
    pub async fn requests_limit(&self) -> u64 {
        let (_, stats) = Api::new(self.process.admin).get("/api/v1/stats").await;
        let limits = stats["limits"].as_array().unwrap();
        let requests = limits.iter().find(|limit| limit["key"] == "limits.requests").unwrap();
        requests["limit"].as_u64().unwrap()
    }

    /// Reads and checks the object; returns its `Cache-Status`.
    async fn read(&self) -> String {
        let read = self.process.client().get("/data/k").send().await;
        assert_eq!((read.status.as_u16(), read.complete), (200, true), "{}", read.text());
        assert_eq!(read.body, self.s3.object_bytes("data", "k"));
        read.header("cache-status").to_owned()
    }
}

fn rule(freshness: &str) -> String {
    format!("rules: [{{ match: '**', freshness: {freshness} }}]")
}

#[tokio::test]
async fn what_can_be_is_applied_and_what_needs_a_restart_is_named() {
    let mut server = Reloading::start("limits: { requests: 7 }\ncache: { memory: 64MiB }").await;
    server.read().await;
    assert_eq!(server.process.metric("hotset_config_last_reload_successful").await, 1.0);
    let began = server.process.metric("hotset_config_last_reload_timestamp_seconds").await;
    assert!(began > 1e9, "{began}");

    server.write("limits: { requests: 9 }\ncache: { memory: 96MiB }\nlog: { level: debug }");
    let (file, admin) = (server.scratch.path("hotset.yaml"), server.process.admin);
    let admin = format!("http://{admin}");
    let (code, printed, errors) =
        run(hotset(&["check", "--diff", "--config", &file, "--admin", &admin]));
    let diff = "the configuration is right\n\
                cache.memory: 64MiB -> 96MiB (needs a restart)\n\
                limits.requests: 7 -> 9 (live)\nlog.level: info -> debug (live)\n\
                a reload would change 2 keys, and 1 need a restart\n";
    assert_eq!((code, printed.as_str()), (3, diff), "{errors}");
    let (code, printed, errors) = server.reload_by_command(&["--dry-run"]);
    let expected = "cache.memory: 64MiB -> 96MiB (needs a restart)\n\
                    limits.requests: 7 -> 9 (live)\nlog.level: info -> debug (live)\n";
    let would = format!("{expected}would be reloaded: 2 keys changed, and 1 need a restart\n");
    assert_eq!((code, printed.as_str(), errors.as_str()), (3, would.as_str(), ""));
    assert_eq!(server.process.metric(SUCCESSES).await, 0.0, "nothing is changed");

    let (code, printed, errors) = server.reload_by_command(&[]);
    let done = format!("{expected}reloaded: 2 keys changed, and 1 need a restart\n");
    assert_eq!((code, printed.as_str(), errors.as_str()), (3, done.as_str(), ""));
    server.process.logged("cache.memory: 64MiB -> 96MiB (needs a restart)").await;
    server.process.logged("reloaded by the admin API: 2 keys changed, and 1 wait").await;
    assert_eq!(server.process.metric(SUCCESSES).await, 1.0);
    let (_, shown) = Api::new(server.process.admin).get("/api/v1/config").await;
    let value = |key: &str| {
        let settings = shown["settings"].as_array().unwrap();
        settings.iter().find(|setting| setting["key"] == key).unwrap()["value"].clone()
    };
    assert_eq!(value("limits.requests"), 9);
    assert_eq!(value("cache.memory"), "64MiB", "what is in force");
    assert_eq!(server.requests_limit().await, 9);

    assert_eq!(server.read().await, HIT, "no cached byte is dropped");
    server.process.hang_up();
    server.process.logged("reloaded by SIGHUP: 0 keys changed, and 1 wait").await;
    assert_eq!(server.read().await, HIT);
    server.process.terminate();
    server.process.ended().await;
}

#[tokio::test]
async fn a_file_that_is_wrong_changes_nothing_and_says_where() {
    let mut server = Reloading::start(&rule("{ ttl: 1h }")).await;
    server.read().await;
    let file = server.scratch.path("hotset.yaml");
    let (lines, above) = (text(&server.s3, ""), "limits: { requests: 1 }\n");
    let line = lines.lines().count() + 1;
    for (more, problem) in [
        (format!("{above}cache: {{ block: 3MiB }}"), format!("{line}:17: cache.block: 3MiB is")),
        (format!("{above}rules: [{{ match: '[' }}]"), format!("{line}:18: rules[0].match: ")),
        (format!("{above}warm: {{ reads: many }}"), format!("{line}:16: warm.reads: ")),
        (format!("{above}no_such_key: 1"), format!("{line}:1: no_such_key: ")),
    ] {
        server.write(&more);
        let failures = server.process.metric(FAILURES).await;
        let (code, printed, errors) = server.reload_by_command(&[]);
        assert_eq!((code, printed.as_str(), errors.lines().count()), (2, "", 1), "{errors}");
        assert!(errors.contains(&format!("{file}:{problem}")), "{more}: {errors}");
        let (status, said) = Api::new(server.process.admin).post("/api/v1/reload", "{}").await;
        assert_eq!(
            (status, format!("hotset: {}\n", said["error"].as_str().unwrap())),
            (400, errors)
        );
        assert_eq!(server.process.metric(FAILURES).await, failures + 1.0);
        assert_eq!(server.process.metric("hotset_config_last_reload_successful").await, 0.0);
        assert_eq!(server.read().await, HIT);
        assert_eq!(server.requests_limit().await, 20_000, "not even what is right is applied");
    }
    std::fs::write(&file, "").unwrap();
    let (code, _, errors) = server.reload_by_command(&[]);
    assert!(code == 2 && errors.contains("sets no key any more"), "{code} {errors}");
    server.write("admin: { address: 127.0.0.1:1, token_file: /nowhere/token }");
    server.process.hang_up();
    server.process.logged("the configuration stays as it is (reload by SIGHUP)").await;
    assert_eq!(server.read().await, HIT);
    let report = server.reload(&rule("{ ttl: 1h }")).await;
    assert_eq!(report["changes"], json!([]));
    assert_eq!(server.process.metric("hotset_config_last_reload_successful").await, 1.0);
}

#[tokio::test]
async fn a_file_that_is_replaced_is_reloaded_and_so_is_a_config_map_that_is_swapped() {
    let (scratch, s3) = (Scratch::new(), FakeS3::start().await);
    s3.put("data", "k", Object::random(1000, 1));
    let config = |requests: u32| {
        text(&s3, &format!("limits: {{ requests: {requests} }}"))
            .replace("reload: null", "reload: 20ms")
    };
    let swap = |version: &str, text: &str| {
        let folder = scratch.path(&format!("..{version}"));
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(format!("{folder}/hotset.yaml"), text).unwrap();
        symlink(format!("..{version}"), scratch.path("..data_tmp")).unwrap();
        std::fs::rename(scratch.path("..data_tmp"), scratch.path("..data")).unwrap();
    };
    swap("1", &config(101));
    symlink("..data/hotset.yaml", scratch.path("hotset.yaml")).unwrap();
    let mut process = Process::serve(&scratch.path("hotset.yaml")).await;
    swap("2", &config(102));
    process.logged("limits.requests: 101 -> 102 (live)").await;
    swap("3", "limits: { requests: ");
    process.logged("stays as it is (reload by a changed file)").await;
    swap("4", &config(104));
    process.logged("limits.requests: 102 -> 104 (live)").await;
    std::fs::write(scratch.path("next"), config(105)).unwrap();
    std::fs::rename(scratch.path("next"), scratch.path("hotset.yaml")).unwrap();
    process.logged("limits.requests: 104 -> 105 (live)").await;
    assert_eq!(process.metric(FAILURES).await, 1.0, "a wrong file is tried once");
    // The reload is counted after the line is written.
    process.wait_for_metric(SUCCESSES, |count| count > 2.5).await;
}

#[tokio::test]
async fn r7_a_stricter_rule_holds_for_what_is_cached_at_once() {
    let server = Reloading::start(&rule("immutable")).await;
    let heads = || server.s3.count(|seen| seen.method == "HEAD");
    let gets = || server.s3.count(|seen| seen.method == "GET");
    server.read().await;
    assert_eq!(server.read().await, HIT);
    let (first_heads, first_gets) = (heads(), gets());

    server.reload(&rule("revalidate")).await;
    for asked in 1..=2 {
        server.read().await;
        assert_eq!((heads(), gets()), (first_heads + asked, first_gets), "its bytes stay");
    }
    server.reload(&rule("bypass")).await;
    server.read().await;
    assert_eq!((heads(), gets()), (first_heads + 2, first_gets + 1));
    server.reload(&rule("{ ttl: 1h }")).await;
    assert_eq!(server.read().await, HIT, "it was confirmed less than an hour ago");
}

#[tokio::test]
async fn r11_what_becomes_immutable_is_confirmed_once_before_it_is_served_for_ever() {
    let server = Reloading::start(&rule("{ ttl: 1h }")).await;
    server.read().await;
    // Nothing invalidates the object: for an hour the old one may be served.
    server.s3.put("data", "k", Object::random(100_000, 2));
    assert_eq!(server.process.client().get("/data/k").send().await.header("cache-status"), HIT);
    server.reload(&rule("immutable")).await;
    server.read().await;
    let asked = server.s3.requests().len();
    assert_eq!(server.read().await, HIT);
    // A reload that leaves the rule unchanged revalidates nothing.
    server.reload(&format!("{}\nwarm: {{ reads: 2 }}", rule("immutable"))).await;
    assert_eq!(server.read().await, HIT);
    assert_eq!(server.s3.requests().len(), asked);
}

#[tokio::test]
async fn limits_hold_for_connections_from_then_on() {
    let server = Reloading::start("").await;
    let long = "x".repeat(4000);
    let h1 = async |status: u16| {
        let client = server.process.client();
        let read = client.get("/data/k").header("x-a", &long).send().await;
        assert_eq!(read.status.as_u16(), status);
    };
    let h2 = async || {
        let h2 = H2Client::connect(server.process.addr.unwrap()).await;
        let read = h2.open(&Method::GET, "/data/k", &[("x-a", &long)], Bytes::new()).await;
        read.map(|answer| answer.status.as_u16()).unwrap_or_default()
    };
    h1(200).await;
    assert_eq!(h2().await, 200);
    server.reload("limits: { header_bytes: 1KiB, uri_bytes: 1KiB, headers: 8 }").await;
    h1(400).await;
    assert_ne!(h2().await, 200);
    server.reload("").await;
    h1(200).await;
    assert_eq!(h2().await, 200);
}

#[tokio::test]
async fn the_access_log_and_its_format_follow() {
    let mut server = Reloading::start("log: { access: 'off' }").await;
    server.read().await;
    server.reload("log: { access: json }").await;
    server.read().await;
    let line = server.process.printed("/data/k").await;
    assert!(serde_json::from_str::<Value>(&line).is_ok(), "{line}");
    server.reload("log: { access: plain }").await;
    server.read().await;
    // A line is written after its client has the answer: those of the reads before may come in JSON.
    let mut line = server.process.printed("/data/k").await;
    while serde_json::from_str::<Value>(&line).is_ok() {
        line = server.process.printed("/data/k").await;
    }
    assert!(line.contains(" 200 "), "{line}");
}

#[tokio::test]
async fn the_admin_token_follows() {
    let admin = |token: &str| {
        format!("x: &admin {{ address: 127.0.0.1:0, token: {token} }}")
            .replace("x: &admin", "admin:")
    };
    let (scratch, s3) = (Scratch::new(), FakeS3::start().await);
    let config =
        |token: &str| text(&s3, "").replace("admin: { address: 127.0.0.1:0 }", &admin(token));
    let process = Process::serve(&scratch.file("hotset.yaml", &config("made-up-token-one"))).await;
    scratch.file("hotset.yaml", &config("made-up-token-two"));
    let [one, two] = ["made-up-token-one", "made-up-token-two"]
        .map(|token| Api::with_token(process.admin, token));
    let (status, report) = one.post("/api/v1/reload", "{}").await;
    assert_eq!(status, 200, "{report}");
    let changed = json!([{ "key": "admin.token", "old": "***", "new": "***", "effect": "live" }]);
    assert_eq!(report["changes"], changed);
    assert_eq!(one.get("/api/v1/config").await.0, 401);
    assert_eq!(two.get("/api/v1/config").await.0, 200);
}

/// Number of objects that are read while the configuration changes.
const OBJECTS: u64 = 8;
const READERS: u64 = 6;
const RELOADS: u64 = 200;

/// Returns the `n`th configuration to reload; each is valid, and none may make a read fail.
fn variant(n: u64) -> String {
    let freshness = ["{ ttl: 1h }", "revalidate", "bypass", "immutable", "{ ttl: 10ms }"];
    let freshness = freshness[usize::try_from(n % 5).unwrap()];
    let (requests, reads) = (500 + n, 1 + n % 8);
    let (connections, access) =
        (100 + n % 7, ["off", "plain", "json"][usize::try_from(n % 3).unwrap()]);
    format!(
        "rules: [{{ match: 'data/{}/**' }}, {{ match: '**', freshness: {freshness}, lists: 1s }}]\n\
         limits: {{ requests: {requests}, connections: {connections} }}\nwarm: {{ reads: {reads} }}\n\
         log: {{ access: '{access}' }}",
        n % 4
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_fails_in_200_reloads_under_load() {
    let server = Reloading::start(&variant(0)).await;
    for n in 0..OBJECTS {
        server.s3.put("data", &format!("{n}/o"), Object::random(3000 + n * 150_000, n));
    }
    let right = (0..OBJECTS).map(|n| server.s3.object_bytes("data", &format!("{n}/o")));
    let right: Arc<[Bytes]> = right.collect();
    let clients = (0..READERS).map(|_| server.process.client());
    let readers = Readers::start(clients, &right);
    let mut refused = 0;
    for n in 1..=RELOADS {
        if n % 20 == 0 {
            server.write("limits: { requests: 0 }\nrules: []");
            let (status, _) = Api::new(server.process.admin).post("/api/v1/reload", "{}").await;
            assert_eq!(status, 400);
            refused += 1;
        }
        let report = server.reload(&variant(n)).await;
        assert_eq!(report["restart_needed"], false, "{report}");
        // Some reads happen under each configuration.
        readers.one_more().await;
    }
    let reads = readers.count();
    assert_eq!(readers.end().await, READERS, "no connection was dropped");
    let count = |series: &'static str| server.process.metric(series);
    assert_eq!((count(SUCCESSES).await, count(FAILURES).await), (200.0, f64::from(refused)));
    assert!(reads >= RELOADS);
}
