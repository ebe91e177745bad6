//! hotset's own credentials: found as the AWS SDKs find them, renewed in time, and never silently missing.

use std::collections::HashSet;
use std::process::Command;
use std::time::Duration;

use http::Method;

use crate::support::{
    Always, FakeAgent, FakeS3, Fault, Matcher, Object, Process, Scratch, Times, hotset, run, within,
};

pub const HOUR: Duration = Duration::from_hours(1);

/// Returns `hotset COMMAND` with these lines below `origin`, and an environment without credentials.
pub fn command(name: &str, s3: &FakeS3, scratch: &Scratch, origin: &str) -> Command {
    let text = format!(
        "listen: [{{ address: 127.0.0.1:0 }}]\nadmin: {{ address: 127.0.0.1:0 }}\n\
         rules: [{{ match: '**', freshness: revalidate }}]\n\
         origin:\n  endpoint: '{}'\n  backoff: {{ base: 1ms, cap: 10ms }}\n{origin}",
        s3.endpoint()
    );
    let mut command = hotset(&[name, "--config", &scratch.file("hotset.yaml", &text)]);
    command.env_clear();
    // The only credential sources are those that a test starts.
    command.env("AWS_EC2_METADATA_DISABLED", "true");
    command
}

/// Returns `hotset serve` with the credentials of a container's agent.
pub fn serve_with(agent: &FakeAgent, s3: &FakeS3, scratch: &Scratch) -> Command {
    let mut serve = command("serve", s3, scratch, "");
    serve.env("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("{}/v1/credentials", agent.url));
    serve
}

/// Returns the access key of each request at the origin; `-` if it is unsigned.
pub fn signers(s3: &FakeS3) -> Vec<String> {
    let signer = |request: &crate::support::Seen| {
        let credential = request.header("authorization").split_once("Credential=");
        credential.and_then(|(_, rest)| rest.split('/').next()).unwrap_or("-").to_owned()
    };
    s3.requests().iter().map(signer).collect()
}

pub async fn origin() -> FakeS3 {
    let s3 = FakeS3::start().await;
    s3.put("data", "key", Object::random(5000, 1));
    s3
}

/// Reads until a request at the origin is signed with this access key.
pub async fn reads_until_signed_by(process: &Process, s3: &FakeS3, access_key: &str) {
    within("a request signed by others", async {
        while signers(s3).last().is_none_or(|last| last != access_key) {
            assert_eq!(process.client().get("/data/key").send().await.status, 200);
        }
    })
    .await;
}

// `run` blocks its thread while the agent answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_source_of_the_sdks_signs_and_is_named() {
    let (s3, scratch) = (origin().await, Scratch::new());
    let agent = FakeAgent::start("AKAGENT", HOUR).await;
    let file = |name: &str, text: &str| scratch.file(name, text);
    let token = file("token", "jwt");
    let static_keys = "aws_access_key_id = AKFILE\naws_secret_access_key = hidden-material\n";
    let credentials = file(
        "credentials",
        &format!(
            "[default]\n{static_keys}[work]\naws_access_key_id = AKWORK\naws_secret_access_key = s\n"
        ),
    );
    let config = file(
        "config",
        "[profile process]\ncredential_process = /bin/sh -c \"echo '{\\\"Version\\\":1,\\\"AccessKeyId\\\":\
         \\\"AKPROCESS\\\",\\\"SecretAccessKey\\\":\\\"s\\\"}'\"\n\
         [profile role]\nrole_arn = arn:aws:iam::123456789012:role/r\nsource_profile = work\n",
    );
    let sts = ("AWS_ENDPOINT_URL_STS", agent.url.as_str());
    let files = [("AWS_SHARED_CREDENTIALS_FILE", &*credentials), ("AWS_CONFIG_FILE", &*config)];
    let with = |more: &[(&'static str, &str)]| {
        let all = files.iter().chain(more);
        all.map(|(name, value)| ((*name), (*value).to_owned())).collect::<Vec<_>>()
    };
    let set = |all: &[(&'static str, &str)]| {
        all.iter().map(|(name, value)| (*name, (*value).to_owned())).collect::<Vec<_>>()
    };
    let imds_on = ("AWS_EC2_METADATA_DISABLED", "false");
    let imds_at = ("AWS_EC2_METADATA_SERVICE_ENDPOINT", agent.url.as_str());
    let full = format!("{}/v1/credentials", agent.url);
    let arn = "arn:aws:iam::123456789012:role/r";
    let configured_role =
        format!("  credentials: {{ role_arn: '{arn}', external_id: ext-7, session_name: mine }}\n");
    let cases = [
        (
            "AKENV",
            "the environment",
            set(&[("AWS_ACCESS_KEY_ID", "AKENV"), ("AWS_SECRET_ACCESS_KEY", "s")]),
            "",
        ),
        ("AKFILE", "a profile", with(&[]), ""),
        ("AKWORK", "a profile", with(&[("AWS_PROFILE", "work")]), ""),
        ("AKWORK", "a profile", with(&[]), "  credentials: { profile: work }\n"),
        ("AKPROCESS", "credential_process", with(&[("AWS_PROFILE", "process")]), ""),
        ("AKAGENT", "a profile", with(&[("AWS_PROFILE", "role"), sts]), ""),
        ("AKAGENT", "origin.credentials.role_arn", with(&[sts]), configured_role.as_str()),
        (
            "AKAGENT",
            "a web identity token",
            set(&[("AWS_WEB_IDENTITY_TOKEN_FILE", &token), ("AWS_ROLE_ARN", arn), sts]),
            "",
        ),
        (
            "AKAGENT",
            "a container's agent",
            set(&[
                ("AWS_CONTAINER_CREDENTIALS_FULL_URI", &full),
                ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", &token),
            ]),
            "",
        ),
        ("AKAGENT", "IMDSv2", set(&[imds_on, imds_at]), ""),
    ];
    for (access_key, place, variables, origin) in cases {
        let mut serve = command("serve", &s3, &scratch, origin);
        serve.envs(variables.clone());
        let process = Process::spawn(serve).await;
        assert_eq!(process.client().get("/data/key").send().await.status, 200, "{place}");
        assert_eq!(signers(&s3).last().unwrap(), access_key, "{place}");
        let output = process.output();
        let line = output.lines().find(|line| line.contains("credentials for the origin from "));
        assert!(line.is_some_and(|line| line.contains(place)), "{place}: {output}");
        let expiry = process.metric("hotset_credentials_expiry_timestamp_seconds").await;
        assert_eq!(expiry > 1e9, access_key == "AKAGENT", "{place}: {expiry}");
        let mut check = command("check", &s3, &scratch, origin);
        check.envs(variables);
        let (code, stdout, stderr) = run(check);
        assert_eq!(code, 0, "{stderr}");
        let line = stderr.lines().find(|line| line.starts_with("credentials for the origin: "));
        let line = line.unwrap_or_else(|| panic!("{place}: {stderr}"));
        assert!(line.contains(place), "{line}");
        assert_eq!(line.contains("valid until "), access_key == "AKAGENT", "{line}");
        let said = stdout + &stderr + &process.output();
        assert!(!said.contains("hidden-material") && !said.contains("session-token"), "{said}");
    }
    let asked = agent.asked();
    let of =
        |path: &str| asked.iter().filter(|asked| asked.path == path).cloned().collect::<Vec<_>>();
    assert!(of("/v1/credentials").iter().all(|asked| asked.authorization == "jwt"));
    let node = of("/latest/meta-data/iam/security-credentials/node-role");
    assert!(!node.is_empty() && node.iter().all(|asked| asked.imds_token == "imds-token"));
    let role = of("/").into_iter().find(|asked| asked.body.contains("ExternalId=ext-7")).unwrap();
    assert!(role.body.contains("RoleSessionName=mine"), "{}", role.body);
    assert!(role.authorization.contains("Credential=AKFILE/"), "{}", role.authorization);
    assert!(of("/").iter().any(|asked| asked.body.contains("WebIdentityToken=jwt")));
}

// `run` blocks its thread while the agent answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_with_credentials_that_cannot_be_had_is_refused_and_says_what_is_set_up() {
    let (s3, scratch) = (origin().await, Scratch::new());
    let agent = FakeAgent::start("AKAGENT", HOUR).await;
    agent.fail(500);
    let full = format!("{}/v1/credentials", agent.url);
    let half = scratch.file("half", "[default]\naws_access_key_id = AKHALF\n");
    let missing = "/nonexistent/token";
    let arn = "arn:aws:iam::123456789012:role/r";
    for (variables, named) in [
        (
            vec![("AWS_CONTAINER_CREDENTIALS_FULL_URI", full.as_str())],
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        ),
        (vec![("AWS_PROFILE", "nobody")], "AWS_PROFILE"),
        (
            vec![("AWS_WEB_IDENTITY_TOKEN_FILE", missing), ("AWS_ROLE_ARN", arn)],
            "AWS_WEB_IDENTITY_TOKEN_FILE",
        ),
        (vec![("AWS_SHARED_CREDENTIALS_FILE", half.as_str())], "AWS_SHARED_CREDENTIALS_FILE"),
        (vec![("AWS_ACCESS_KEY_ID", "AKHALF")], "AWS_SECRET_ACCESS_KEY is not set"),
    ] {
        let mut serve = command("serve", &s3, &scratch, "");
        serve.envs(variables.clone());
        let (code, _, stderr) = run(serve);
        assert!(code != 0 && stderr.contains(named), "{named}: {code} {stderr}");
        let mut check = command("check", &s3, &scratch, "");
        check.envs(variables.clone());
        let (_, _, stderr) = run(check);
        assert!(stderr.contains("a start would be refused") && stderr.contains(named), "{stderr}");
        // Unsigned requests must be configured.
        let anonymous = "  credentials: { anonymous: true }\n";
        let mut serve = command("serve", &s3, &scratch, anonymous);
        serve.envs(variables);
        let process = Process::spawn(serve).await;
        assert_eq!(process.client().get("/data/key").send().await.status, 200, "{named}");
        assert_eq!(signers(&s3).last().unwrap(), "-", "{named}");
    }
}

#[tokio::test]
async fn credentials_are_renewed_before_they_end_and_the_old_ones_serve_until_then() {
    let (s3, scratch) = (origin().await, Scratch::new());
    let agent = FakeAgent::start("AK1", Duration::from_secs(6)).await;
    let mut serve = serve_with(&agent, &s3, &scratch);
    let token = scratch.file("token", "first");
    serve.env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", &token);
    let mut process = Process::spawn(serve).await;
    reads_until_signed_by(&process, &s3, "AK1").await;
    // The token has changed by now, as the kubelet rotates it.
    scratch.file("token", "second");
    agent.give("AK2", HOUR);
    reads_until_signed_by(&process, &s3, "AK2").await;
    process.logged("credentials for the origin renewed from a container's agent").await;
    let asked = agent.asked();
    let tokens: Vec<&str> = asked.iter().map(|asked| &*asked.authorization).collect();
    assert_eq!(tokens, ["first", "second"], "asked twice");
    assert!(process.metric("hotset_credentials_expiry_timestamp_seconds").await > 1e9);
}

#[tokio::test]
async fn old_credentials_serve_while_others_cannot_be_had() {
    let (s3, scratch) = (origin().await, Scratch::new());
    let agent = FakeAgent::start("AK1", Duration::from_secs(2)).await;
    let mut process = Process::spawn(serve_with(&agent, &s3, &scratch)).await;
    agent.fail(503);
    process.logged("cannot renew the credentials for the origin; the current ones stay").await;
    assert_eq!(process.client().get("/data/key").send().await.status, 200);
    assert_eq!(signers(&s3).into_iter().collect::<HashSet<_>>(), ["AK1".to_owned()].into());
}

#[tokio::test]
async fn a_credentials_file_that_changes_is_read_again() {
    let (s3, scratch) = (origin().await, Scratch::new());
    let text = |key: &str| format!("[default]\naws_access_key_id={key}\naws_secret_access_key=s\n");
    let file = scratch.file("credentials", &text("AKOLD"));
    let origin = format!("  credentials: {{ file: '{file}' }}\n");
    let mut process = Process::spawn(command("serve", &s3, &scratch, &origin)).await;
    reads_until_signed_by(&process, &s3, "AKOLD").await;
    // Half of the file, as an in-place write leaves it for a moment: the old credentials stay.
    scratch.file("credentials", "[default]\naws_access_key_id=AKNEW\n");
    process.logged("cannot renew the credentials for the origin").await;
    reads_until_signed_by(&process, &s3, "AKOLD").await;
    scratch.file("credentials", &text("AKNEW"));
    reads_until_signed_by(&process, &s3, "AKNEW").await;
    process.logged("renewed from a profile").await;
}

#[tokio::test]
async fn what_the_origin_refuses_is_fetched_again_once_for_all_and_the_read_goes_on() {
    for (status, code) in [
        (400, "ExpiredToken"),
        (403, "ExpiredToken"),
        (400, "InvalidToken"),
        (400, "TokenRefreshRequired"),
    ] {
        let (s3, scratch) = (origin().await, Scratch::new());
        let agent = FakeAgent::start("AK1", HOUR).await;
        let process = Process::spawn(serve_with(&agent, &s3, &scratch)).await;
        agent.give("AK2", HOUR);
        let readers = 8;
        for n in 0..readers {
            let key = format!("key-{n}");
            s3.put("data", &key, Object::random(5000, n));
            s3.fault(Matcher::get(&key), Times(1), Fault::Status(status, code));
        }
        let client = process.client();
        let reads = (0..readers).map(|n| {
            let client = client.clone();
            tokio::spawn(async move { client.get(&format!("/data/key-{n}")).send().await.status })
        });
        for read in reads.collect::<Vec<_>>() {
            assert_eq!(read.await.unwrap(), 200, "{code}");
        }
        assert_eq!(agent.asked().len(), 2, "{code}: one renewal for all");
        assert_eq!(signers(&s3).last().unwrap(), "AK2");
    }
}

#[tokio::test]
async fn a_refusal_that_no_others_mend_is_told_as_hotsets_own() {
    let (s3, scratch) = (origin().await, Scratch::new());
    let agent = FakeAgent::start("AK1", HOUR).await;
    let process = Process::spawn(serve_with(&agent, &s3, &scratch)).await;
    s3.fault(Matcher::get("key"), Always, Fault::Status(400, "ExpiredToken"));
    for _ in 0..5 {
        let answer = process.client().get("/data/key").send().await;
        assert_eq!(answer.status, 503);
        assert!(answer.text().contains("hotset signs with (ExpiredToken)"), "{}", answer.text());
    }
    assert_eq!(agent.asked().len(), 2, "one look, whoever fails");
}

#[tokio::test]
async fn a_request_that_the_origin_waited_for_in_vain_is_sent_again() {
    let (s3, scratch) = (origin().await, Scratch::new());
    let mut serve = command("serve", &s3, &scratch, "");
    serve.env("AWS_ACCESS_KEY_ID", "AK").env("AWS_SECRET_ACCESS_KEY", "s");
    let process = Process::spawn(serve).await;
    s3.fault(Matcher::get("key"), Times(1), Fault::Status(400, "RequestTimeout"));
    assert_eq!(process.client().get("/data/key").send().await.status, 200);
}

#[tokio::test]
async fn a_list_that_old_keys_are_refused_for_is_sent_again_with_others() {
    let (s3, scratch) = (origin().await, Scratch::new());
    let agent = FakeAgent::start("AK1", HOUR).await;
    let process = Process::spawn(serve_with(&agent, &s3, &scratch)).await;
    agent.give("AK2", HOUR);
    s3.fault(Matcher::any(), Times(1), Fault::Status(400, "ExpiredToken"));
    let answer = process.client().get("/data?list-type=2").send().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(signers(&s3), ["AK1", "AK2"]);
    s3.fault(Matcher::any(), Times(1), Fault::Status(403, "RequestTimeTooSkewed"));
    assert_eq!(process.client().get("/data?list-type=2").send().await.status, 200);
    s3.fault(Matcher::any(), Times(1), Fault::Status(400, "RequestTimeout"));
    assert_eq!(process.client().get("/data?list-type=2").send().await.status, 200);
}

#[tokio::test]
async fn r9_a_write_without_a_body_that_old_keys_are_refused_for_is_sent_again_with_others() {
    for (method, target, copied) in [
        (Method::DELETE, "/data/key", false),
        (Method::PUT, "/data/copy", true),
        (Method::POST, "/data/big?uploads", false),
    ] {
        let (s3, scratch) = (origin().await, Scratch::new());
        let agent = FakeAgent::start("AK1", HOUR).await;
        let process = Process::spawn(serve_with(&agent, &s3, &scratch)).await;
        agent.give("AK2", HOUR);
        s3.fault(Matcher::any(), Times(1), Fault::Status(400, "ExpiredToken"));
        let mut request = process.client().request(method.clone(), target);
        if copied {
            request =
                request.header("x-amz-copy-source", "/data/key").header("content-length", "0");
        }
        let answer = request.send().await;
        assert!(answer.status.is_success(), "{method} {target}: {}", answer.text());
        assert_eq!(signers(&s3), ["AK1", "AK2"], "{method} {target}");
    }
    // Bytes of a body are not kept for a second time.
    let (s3, scratch) = (origin().await, Scratch::new());
    let agent = FakeAgent::start("AK1", HOUR).await;
    let process = Process::spawn(serve_with(&agent, &s3, &scratch)).await;
    agent.give("AK2", HOUR);
    s3.fault(Matcher::any(), Times(1), Fault::Status(400, "ExpiredToken"));
    let put = process.client().put("/data/new").body("content").send().await;
    assert_eq!(put.status, 503, "{}", put.text());
    assert_eq!(process.client().put("/data/new").body("content").send().await.status, 200);
    assert_eq!(signers(&s3), ["AK1", "AK2"]);
}
