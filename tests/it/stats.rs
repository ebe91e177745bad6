//! The admin API's routes about the server: the snapshot and the effective configuration.

use http::Method;
use serde_json::{Value, json};

use crate::support::*;

const TOKEN: &str = "made-up-token-of-stats";

async fn snapshot(proxy: &TestProxy) -> Value {
    let (status, snapshot) = Api::new(proxy.admin).get("/api/v1/stats").await;
    assert_eq!(status, 200, "{snapshot}");
    snapshot
}

fn number(snapshot: &Value, pointer: &str) -> f64 {
    snapshot.pointer(pointer).and_then(Value::as_f64).unwrap_or_default()
}

// Other tests of this binary record in the same metrics at the same time: differences are compared with `>=`.

#[tokio::test]
async fn counters_rise_with_what_clients_read() {
    let s3 = FakeS3::start().await;
    s3.put("data", "a", Object::random(100_000, 1));
    let proxy = TestProxy::start(&s3).await;
    let before = snapshot(&proxy).await;
    for _ in 0..3 {
        assert!(proxy.client().get("/data/a").send().await.complete);
    }
    let after = snapshot(&proxy).await;
    let rose = |pointer: &str| number(&after, pointer) - number(&before, pointer);
    assert!(rose("/requests/total") >= 3.0);
    assert!(rose("/requests/by_operation/GetObject") >= 3.0);
    assert!(rose("/reads/miss") >= 1.0 && rose("/reads/hit") >= 2.0, "{after}");
    assert!(rose("/bytes/memory") >= 200_000.0 && rose("/bytes/origin") >= 100_000.0, "{after}");
    assert!(rose("/saved/requests") >= 2.0 && rose("/saved/bytes") >= 200_000.0);
    assert!(rose("/origin/requests") >= 1.0 && rose("/origin/received_bytes") >= 100_000.0);
    assert!(rose("/first_byte/count") >= 3.0 && rose("/uptime_seconds") > 0.0);
    let (bounds, counts) = (&after["duration"]["le"], &after["duration"]["cumulative"]);
    let (bounds, counts) = (bounds.as_array().unwrap(), counts.as_array().unwrap());
    assert_eq!((bounds.len(), bounds.last()), (counts.len(), Some(&Value::Null)));
    assert_eq!(counts.last().unwrap(), &after["duration"]["count"]);
    assert_eq!(after["origin"]["health"]["state"], "answers");
    assert_eq!(after["origin"]["health"]["addresses"], json!([s3.addr().to_string()]));
}

#[tokio::test]
async fn limits_have_their_use_and_the_disk_tier_its_paths() {
    let s3 = FakeS3::start().await;
    let proxy = TestProxy::start_with(&s3, |config| {
        config.limits.requests = 1234;
        config.limits.connections = 77;
    })
    .await;
    // Its connection stays open.
    let client = proxy.client();
    client.get("/data/none").send().await;
    let snapshot = snapshot(&proxy).await;
    let limits = snapshot["limits"].as_array().unwrap();
    let limit = |key: &str| limits.iter().find(|limit| limit["key"] == key).unwrap().clone();
    assert_eq!(limit("limits.requests")["limit"], 1234);
    assert_eq!(limit("limits.connections")["limit"], 77);
    assert!(limit("cache.in_flight")["limit"].as_u64().unwrap() > 0);
    assert_eq!(snapshot["disk"]["paths"], json!([]));
}

#[tokio::test]
async fn recent_errors_tell_who_asked_for_what_and_why_it_failed() {
    let s3 = FakeS3::start().await;
    let proxy = TestProxy::start_with(&s3, |config| {
        config.auth.writes = false;
    })
    .await;
    let key = "/data/%3Cimg%20src=x%3E?X-Amz-Signature=made-up";
    let refused = proxy.client().put(key).body("x").send().await;
    assert_eq!(refused.status, 403);
    let id = refused.header("x-amz-request-id").to_owned();
    let snapshot = snapshot(&proxy).await;
    let errors = snapshot["errors"].as_array().unwrap();
    let error = errors.iter().find(|error| error["request_id"] == id.as_str()).unwrap();
    assert_eq!((&error["status"], &error["code"]), (&json!(403), &json!("AccessDenied")));
    assert_eq!((&error["method"], &error["operation"]), (&json!("PUT"), &json!("PutObject")));
    assert_eq!(error["path"], "/data/%3Cimg%20src=x%3E", "without the signature");
    assert!(error["client"].as_str().unwrap().starts_with("127.0.0.1"));
    assert!(!error["reason"].as_str().unwrap().is_empty());
}

#[tokio::test]
async fn the_effective_configuration_marks_defaults_and_hides_secrets() {
    let s3 = FakeS3::start().await;
    let proxy = TestProxy::start_with(&s3, |config| {
        config.admin.token = Some(TOKEN.into());
        config.limits.requests = 4321;
    })
    .await;
    let (status, config) = Api::with_token(proxy.admin, TOKEN).get("/api/v1/config").await;
    assert_eq!(status, 200);
    assert!(!config.to_string().contains(TOKEN));
    let settings = config["settings"].as_array().unwrap();
    let setting = |key: &str| settings.iter().find(|setting| setting["key"] == key).unwrap();
    assert_eq!(setting("admin.token")["value"], "***");
    let requests = setting("limits.requests");
    assert_eq!((&requests["value"], &requests["is_default"]), (&json!(4321), &json!(false)));
    assert_eq!(setting("limits.headers")["is_default"], true);
}

#[tokio::test]
async fn without_a_token_only_the_page_of_this_port_may_steer() {
    let s3 = FakeS3::start().await;
    let proxy = TestProxy::start(&s3).await;
    let client = Client::new(proxy.admin);
    let here = format!("http://{}", proxy.admin);
    let s3_port = format!("http://{}", proxy.addr);
    for (origin, status) in
        [(&*here, 200), (&s3_port, 403), ("http://evil.example", 403), ("null", 403)]
    {
        let purge = client.request(Method::POST, "/api/v1/purge").header("origin", origin);
        let purge = purge.header("content-type", "application/json").body(r#"{"bucket":"data"}"#);
        assert_eq!(purge.send().await.status, status, "{origin}");
    }
    // A name that another site made point to this machine is its origin, too (DNS rebinding).
    let rebound = client.request(Method::POST, "/api/v1/purge").header("host", "evil.example");
    let rebound = rebound.header("origin", "http://evil.example");
    let rebound = rebound.header("content-type", "application/json");
    assert_eq!(rebound.body(r#"{"bucket":"data"}"#).send().await.status, 403);
}

#[tokio::test]
async fn they_are_as_closed_as_the_rest_of_the_api() {
    let s3 = FakeS3::start().await;
    let open = TestProxy::start(&s3).await;
    let closed = TestProxy::start_with(&s3, |config| {
        config.admin.token = Some(TOKEN.into());
    })
    .await;
    for path in ["/api/v1/stats", "/api/v1/config"] {
        let (status, _) = Api::new(closed.admin).get(path).await;
        assert_eq!(status, 401, "{path}");
        let (status, _) = Api::with_token(closed.admin, "another-made-up-token").get(path).await;
        assert_eq!(status, 401, "{path}");
        let (status, _) = Api::with_token(closed.admin, TOKEN).get(path).await;
        assert_eq!(status, 200, "{path}");
        let (status, _) = Api::new(open.admin).post(path, "{}").await;
        assert_eq!(status, 405, "{path}");
        let client = Client::new(open.admin);
        // A name that another site made point to this machine, and a page of another site.
        let rebound = client.get(path).header("host", "evil.example").send().await;
        assert_eq!(rebound.status, 403, "{path}");
        let foreign = client.get(path).header("origin", "http://evil.example").send().await;
        assert_eq!(foreign.status, 403, "{path}");
    }
}

/// Labels of `hotset stats --once` without the values, which depend on the machine.
const HEADS: &str = "hotset VERSION, up
||requests|  hit|  partial|  miss|  passed through|bytes|  memory|  disk|  origin|  passed through|hit ratio|  of bytes
|saved|first byte|last byte|under way||origin|endpoint|state|addresses|requests|received|first byte|outcomes|failures
|retries||events|receivers|results|lag|invalidated||disks and limits|memory|limits.requests|limits.connectio
|cache.in_flight|refused||errors|No request has f|";

#[tokio::test]
async fn hotset_stats_shows_a_running_server_once_and_as_json() {
    let (scratch, s3) = (Scratch::new(), FakeS3::start().await);
    s3.put("data", "a", Object::random(100_000, 1));
    let text = format!(
        "listen: [{{ address: 127.0.0.1:0 }}]\nadmin: {{ address: 127.0.0.1:0, token: {TOKEN} }}\n\
         origin: {{ endpoint: '{}' }}\n",
        s3.endpoint()
    );
    let config = scratch.file("hotset.yaml", &text);
    let process = Process::serve(&config).await;
    let admin = format!("http://{}", process.admin);
    let stats = async |more: &[&str]| {
        let mut arguments = vec!["stats", "--config", &config, "--admin", &admin];
        arguments.extend(more);
        let command = hotset(&arguments);
        let ran = tokio::task::spawn_blocking(move || run(command));
        within("the command to end", ran).await.expect("it does not panic")
    };
    assert!(process.client().get("/data/a").send().await.complete);
    let (code, json, err) = stats(&["--json", "--once"]).await;
    let snapshot: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((code, json.lines().count(), &*err), (0, 1, ""));
    assert!(number(&snapshot, "/reads/miss") >= 1.0, "{json}");

    let (code, out, err) = stats(&["--interval", "1"]).await;
    assert_eq!((code, &*err), (0, ""), "no terminal: once");
    let head = |line: &str| match line.starts_with("hotset ") {
        true => "hotset VERSION, up".to_owned(),
        false => line.chars().take(16).collect::<String>().trim_end().to_owned(),
    };
    // Only with a control group limit.
    let lines = out.lines().filter(|line| !line.starts_with("memory of the process"));
    let heads: Vec<_> = lines.map(head).collect();
    assert_eq!(heads.join("|"), HEADS.replace('\n', ""), "{out}");
    assert!(out.lines().all(|line| line.len() <= 80 && !line.contains(char::is_control)), "{out}");
    let row = |head: &str| out.lines().find(|line| line.starts_with(head)).unwrap();
    assert!(row("  miss").contains(" 1 ") && row("endpoint").contains(&s3.endpoint()), "{out}");

    let other = scratch.file("other.yaml", "admin: { token: another-made-up-token }\n");
    let arguments = ["stats", "--once", "--config", &other, "--admin", &admin];
    let command = hotset(&arguments);
    let (code, _, err) = tokio::task::spawn_blocking(move || run(command)).await.unwrap();
    assert!(code == 1 && err.contains("answers 401"), "{err}");
}
