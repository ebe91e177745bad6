//! Logs of the real binary: formats, destinations, the audit log, and the level of messages.

use std::fs;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;

use hyper::StatusCode;
use serde_json::Value;

use crate::support::{FakeS3, Object, Process, Scratch, hotset, run, within};

const IDENTITIES: &str = "identities:
  - { name: team, access_key: TEAMKEY, secret_key: TEAMSECRET, allow: [{ actions: [read], resources: ['data/team/**'] }] }
  - { name: everybody, anonymous: true, allow: [{ actions: [read], resources: ['data/open/**'] }] }
";
/// An authorization header with an invalid signature.
const FORGED: &str = "AWS4-HMAC-SHA256 Credential=TEAMKEY/20260101/us-east-1/s3/aws4_request, \
    SignedHeaders=host;x-amz-date, Signature=0000000000000000000000000000000000000000000000000000000000000000";

async fn start(scratch: &Scratch, s3: &FakeS3, more: &str) -> Process {
    let text = format!(
        "listen: [{{ address: 127.0.0.1:0 }}]\nadmin: {{ address: 127.0.0.1:0 }}\n\
         origin: {{ endpoint: '{}' }}\nrules: [{{ match: 'data/**', freshness: {{ ttl: 60s }} }}, {{ match: '**', freshness: {{ ttl: 60s }} }}]\n{more}\n",
        s3.endpoint()
    );
    Process::serve(&scratch.file("hotset.yaml", &text)).await
}

/// Waits until a file has a line that contains this text; returns the whole file.
async fn written(path: &str, text: &str) -> String {
    let found = async {
        loop {
            let content = fs::read_to_string(path).unwrap_or_default();
            if content.contains(text) {
                return content;
            }
            tokio::task::yield_now().await;
        }
    };
    within(&format!("{text} in {path}"), found).await
}

#[tokio::test]
async fn a_file_is_opened_again_on_sigusr1() {
    let (scratch, s3) = (Scratch::new(), FakeS3::start().await);
    s3.put("data", "k", Object::random(5000, 1));
    let (path, old) = (scratch.path("access.log"), scratch.path("access.log.1"));
    let process = start(&scratch, &s3, &format!("log: {{ access_to: '{path}' }}")).await;
    assert_eq!(process.client().get("/data/k?x-id=1").send().await.status, 200);
    written(&path, "x-id=1").await;
    fs::rename(&path, &old).unwrap();
    process.signal_user();
    within("a new file", async {
        while fs::metadata(&path).is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(process.client().get("/data/k?x-id=2").send().await.status, 200);
    let new = written(&path, "x-id=2").await;
    assert!(!new.contains("x-id=1") && new.contains(" rule=data/**\n"), "{new}");
    assert!(!fs::read_to_string(&old).unwrap().contains("x-id=2"));
    assert!(process.output().lines().all(|line| !line.contains("GET /data/k")));
    let dropped = process.metric(r#"hotset_log_lines_dropped_total{log="access"}"#).await;
    assert!(dropped < 0.5, "{dropped}");
}

#[tokio::test]
async fn a_file_that_cannot_be_opened_is_named_at_the_start() {
    let scratch = Scratch::new();
    for key in ["access_to", "audit_to"] {
        let text = format!(
            "listen: [{{ address: 127.0.0.1:0 }}]\nadmin: {{ address: null }}\nlog: {{ audit: all, {key}: '{}' }}",
            scratch.path("none/a.log")
        );
        let (code, _, stderr) =
            run(hotset(&["serve", "--config", &scratch.file("hotset.yaml", &text)]));
        let named = format!("hotset: log.{key}: ");
        assert!(code == 1 && stderr.lines().last().unwrap().starts_with(&named), "{stderr}");
    }
}

#[tokio::test]
async fn the_format_of_s3_has_bucket_key_and_operation_also_of_what_is_denied() {
    let (scratch, s3) = (Scratch::new(), FakeS3::start().await);
    s3.put("data", "open/a b", Object::random(5000, 1));
    let identities = scratch.file("identities.yaml", IDENTITIES);
    let more =
        format!("auth: {{ mode: verify, identities: '{identities}' }}\nlog: {{ access: s3 }}");
    let mut process = start(&scratch, &s3, &more).await;
    let client = process.client();
    for _ in 0..2 {
        let read =
            client.get("/data/open/a%20b").range("bytes=0-99").header("user-agent", "x \"y\"");
        assert_eq!(read.send().await.status, 206);
        let line = process.printed("open/a%20b").await;
        assert!(line.starts_with("- data ["), "{line}");
        assert!(line.contains("] 127.0.0.1 everybody "), "{line}");
        let fields =
            " REST.GET.OBJECT open/a%20b \"GET /data/open/a%20b HTTP/1.1\" 206 - 100 5000 ";
        assert!(
            line.contains(fields) && line.contains(" \"-\" \"x \\x22y\\x22\" - - - - - "),
            "{line}"
        );
        assert!(line.ends_with(" data/%2A%2A -"), "{line}");
    }
    assert_eq!(client.get("/data/secret").send().await.status, 403);
    let line = process.printed("data/secret").await;
    let fields = " REST.GET.OBJECT secret \"GET /data/secret HTTP/1.1\" 403 AccessDenied ";
    assert!(line.contains("] 127.0.0.1 everybody ") && line.contains(fields), "{line}");
}

#[tokio::test]
async fn the_rule_and_the_origins_request_id_stand_in_the_log() {
    let (scratch, s3) = (Scratch::new(), FakeS3::start().await);
    let mut process = start(&scratch, &s3, "log: { access: json }").await;
    assert_eq!(process.client().put("/data/new").body("x").send().await.status, 200);
    let line: Value = serde_json::from_str(&process.printed("/data/new").await).unwrap();
    assert_eq!(line["rule"], "data/**");
    assert!(line["origin_request_id"].as_str().is_some_and(|id| !id.is_empty()), "{line}");
    let rules = r#"hotset_rule_requests_total{rule="data/**",cache="bypass"}"#;
    assert!(process.metric(rules).await >= 1.0);
    let bucket = r#"hotset_bucket_requests_total{bucket="data",cache="bypass"}"#;
    assert!(process.metric(bucket).await >= 1.0);
}

#[tokio::test]
async fn syslog_gets_a_message_for_each_line() {
    let (scratch, s3) = (Scratch::new(), FakeS3::start().await);
    let path = scratch.path("log");
    let (local, remote) =
        (UnixDatagram::bind(&path).unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
    let address = remote.local_addr().unwrap();
    let more = format!(
        "log: {{ access_to: 'syslog:{path}', audit: all, audit_to: 'syslog://{address}' }}"
    );
    let process = start(&scratch, &s3, &more).await;
    assert_eq!(process.client().get("/data/none").send().await.status, 404);
    let received = tokio::task::spawn_blocking(move || {
        let (mut first, mut second) = ([0; 2000], [0; 2000]);
        let (one, two) = (local.recv(&mut first).unwrap(), remote.recv(&mut second).unwrap());
        [first[..one].to_vec(), second[..two].to_vec()]
    });
    let [access, audit] = within("two messages", received).await.unwrap();
    let (access, audit) = (String::from_utf8(access).unwrap(), String::from_utf8(audit).unwrap());
    assert!(access.starts_with("<134>1 20") && access.contains(" access - 127.0.0.1:"), "{access}");
    assert!(access.contains("\"GET /data/none\" 404 "), "{access}");
    assert!(audit.starts_with("<86>1 20") && audit.contains(" audit - {\"time\":\""), "{audit}");
}

#[tokio::test]
async fn the_audit_log_names_who_was_refused_what_and_no_secret() {
    let (scratch, s3) = (Scratch::new(), FakeS3::start().await);
    s3.put("data", "open/k", Object::random(5000, 1));
    let identities = scratch.file("identities.yaml", IDENTITIES);
    let path = scratch.path("audit.log");
    let more = format!(
        "auth: {{ mode: verify, identities: '{identities}' }}\nlog: {{ audit: denied, audit_to: '{path}' }}"
    );
    let process = start(&scratch, &s3, &more).await;
    let client = process.client();
    assert_eq!(client.get("/data/open/k").send().await.status, 200);
    assert_eq!(client.get("/data/secret").send().await.status, 403);
    let forged = client.get("/data/team/k").header("authorization", FORGED);
    assert!(forged.header("x-amz-date", "20260101T000000Z").send().await.status.is_client_error());
    let purge = process.admin().post("/api/v1/purge").header("content-type", "application/json");
    assert_eq!(purge.body("{\"keys\":[\"s3://data/open/k\"]}").send().await.status, 200);
    let foreign = process.admin().get("/api/v1/config").header("host", "evil.example");
    assert_eq!(foreign.send().await.status, StatusCode::FORBIDDEN);
    let all = async {
        loop {
            let text = written(&path, "\n").await;
            if text.lines().count() >= 4 && text.ends_with('\n') {
                return text;
            }
            tokio::task::yield_now().await;
        }
    };
    let text = within("a line of each refusal and change", all).await;
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 4, "{text}");
    // Requests of different connections are logged in the order in which they end.
    let of = |name: &str, value: &str| {
        let mut found = lines.iter().filter(|line| line[name] == value);
        let line = found.next().unwrap_or_else(|| panic!("{name} {value}: {text}"));
        assert!(found.next().is_none(), "{name} {value} twice: {text}");
        line
    };
    let (denied, forged) = (of("resource", "data/secret"), of("resource", "data/team/k"));
    let purge = of("action", "POST /api/v1/purge");
    let foreign = of("action", "GET /api/v1/config");
    assert_eq!((&denied["decision"], &denied["identity"]), (&"deny".into(), &"everybody".into()));
    assert_eq!(
        (&denied["resource"], &denied["action"]),
        (&"data/secret".into(), &"GetObject".into())
    );
    assert_eq!(denied["code"], "AccessDenied");
    assert!(denied["reason"].as_str().unwrap().contains("may not read data/secret"), "{denied}");
    assert_eq!(
        (&forged["decision"], &forged["access_key_id"]),
        (&"deny".into(), &"TEAMKEY".into())
    );
    assert_eq!(
        (&purge["decision"], &purge["action"]),
        (&"allow".into(), &"POST /api/v1/purge".into())
    );
    assert_eq!(
        (&purge["api"], &purge["resource"]),
        (&"admin".into(), &"[\"s3://data/open/k\"]".into())
    );
    assert_eq!((&foreign["decision"], &foreign["status"]), (&"deny".into(), &403.into()));
    assert!(!text.contains("TEAMSECRET") && !text.contains("Signature"), "{text}");
    let refused = r#"hotset_identity_requests_total{identity="everybody",code="403"}"#;
    assert!(process.metric(refused).await >= 1.0);
}

#[tokio::test]
async fn messages_are_json_and_their_level_changes_while_it_runs() {
    let (scratch, s3) = (Scratch::new(), FakeS3::start().await);
    let mut process = start(&scratch, &s3, "log: { format: plain }").await;
    let admin = process.admin.to_string();
    let ask = async |arguments: &[&str]| {
        let file = scratch.path("hotset.yaml");
        let url = format!("http://{admin}");
        let all = [&["log-level", "--config", &file, "--admin", &url], arguments].concat();
        let command = hotset(&all);
        tokio::task::spawn_blocking(move || run(command)).await.unwrap()
    };
    assert_eq!(ask(&[]).await, (0, "info\n".to_owned(), String::new()));
    assert_eq!(ask(&["debug"]).await, (0, "debug\n".to_owned(), String::new()));
    process.logged("the level of log messages is debug now, and was info").await;
    assert_eq!(ask(&[]).await.1, "debug\n");
    assert_eq!(ask(&["loud"]).await.0, 2);
    let wrong =
        process.admin().post("/api/v1/log-level").header("content-type", "application/json");
    let wrong = wrong.body("{\"level\":\"loud\"}").send().await;
    assert_eq!(wrong.status, 400, "{wrong:?}");

    // The process warns of a token that others may read, and then finds that its port is taken.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let config = format!(
        "listen: [{{ address: 127.0.0.1:0 }}]\nlog: {{ format: json }}\norigin: {{ endpoint: '{}' }}\n\
         admin: {{ address: '{}', token: 0123456789abcdefghij }}",
        s3.endpoint(),
        taken.local_addr().unwrap()
    );
    let file = scratch.file("json.yaml", &config);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let command = hotset(&["serve", "--config", &file]);
    let (_, _, stderr) = tokio::task::spawn_blocking(move || run(command)).await.unwrap();
    let line = stderr.lines().find(|line| line.starts_with('{')).expect("a warning in JSON");
    let line: Value = serde_json::from_str(line).unwrap();
    assert_eq!(line["level"], "warn", "{line}");
    assert!(line["time"].as_str().unwrap().ends_with('Z') && line["message"].is_string());
}
