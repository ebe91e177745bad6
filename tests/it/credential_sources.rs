//! Sources of hotset's own credentials: which one is used, those of profiles, and those that fail or appear late.

use std::process::Command;
use std::time::Duration;

use crate::credentials::{HOUR, command, origin, reads_until_signed_by, serve_with, signers};
use crate::support::{Asked, FakeAgent, FakeS3, Object, Process, Scratch, run, within};

const PROCESS: &str = "credential_process = /bin/sh -c \"echo '{\\\"Version\\\":1,\\\"AccessKeyId\\\":\
                       \\\"AKPROCESS\\\",\\\"SecretAccessKey\\\":\\\"s\\\"}'\"\n";

fn keys(access_key: &str) -> String {
    format!("aws_access_key_id = {access_key}\naws_secret_access_key = hidden-material\n")
}

/// Sets keys in the environment.
fn with_keys(mut command: Command) -> Command {
    command.env("AWS_ACCESS_KEY_ID", "AKENV").env("AWS_SECRET_ACCESS_KEY", "s");
    command
}

/// Writes a file into the folder `.aws` of this home, or a folder in it.
fn in_aws(home: &Scratch, name: &str, text: &str) {
    let file = home.path(&format!(".aws/{name}"));
    std::fs::create_dir_all(std::path::Path::new(&file).parent().unwrap()).unwrap();
    std::fs::write(file, text).unwrap();
}

#[tokio::test]
async fn a_profile_or_a_file_of_the_configuration_wins_over_keys_of_the_environment() {
    let (s3, scratch) = (origin().await, Scratch::new());
    in_aws(
        &scratch,
        "credentials",
        &format!("[default]\n{}[work]\n{}", keys("AK1"), keys("AKWORK")),
    );
    in_aws(&scratch, "config", &format!("[default]\n{PROCESS}"));
    let file =
        scratch.file("own", &format!("[default]\n{}[other]\n{}", keys("AKFILE"), keys("AKOTHER")));
    for (access_key, credentials) in [
        ("AKENV", String::new()),
        ("AKWORK", "{ profile: work }".to_owned()),
        ("AKFILE", format!("{{ file: '{file}' }}")),
        ("AKOTHER", format!("{{ file: '{file}', profile: other }}")),
    ] {
        let origin = match credentials.as_str() {
            "" => String::new(),
            credentials => format!("  credentials: {credentials}\n"),
        };
        let mut serve = with_keys(command("serve", &s3, &scratch, &origin));
        serve.env("HOME", scratch.path(""));
        let process = Process::spawn(serve).await;
        assert_eq!(process.client().get("/data/key").send().await.status, 200, "{credentials}");
        assert_eq!(signers(&s3).last().unwrap(), access_key, "{credentials}");
    }
}

// `run` blocks its thread while the agent answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_profile_that_is_not_defined_refuses_the_start_and_is_named_with_its_files() {
    let (s3, scratch) = (origin().await, Scratch::new());
    let agent = FakeAgent::start("AKAGENT", HOUR).await;
    let file = scratch.file("own", &format!("[work]\n{}", keys("AKWORK")));
    let gone = scratch.path("gone");
    in_aws(&scratch, "config", "[profile nobody]\nregion = eu-west-1\n");
    let (credentials, config) = (scratch.path(".aws/credentials"), scratch.path(".aws/config"));
    for (settings, named) in [
        (
            "{ profile: typo }".to_owned(),
            vec!["origin.credentials.profile", "profile `typo` in", &credentials, &config],
        ),
        ("{ profile: nobody }".to_owned(), vec!["profile `nobody` in", &credentials, &config]),
        (
            format!("{{ file: '{file}' }}"),
            vec!["origin.credentials.file", "profile `default` in", &file],
        ),
        (format!("{{ file: '{gone}' }}"), vec!["origin.credentials.file", &gone]),
    ] {
        for name in ["serve", "check"] {
            let origin = format!("  credentials: {settings}\n");
            let mut command = with_keys(command(name, &s3, &scratch, &origin));
            command.env("HOME", scratch.path(""));
            command.env("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("{}/v1", agent.url));
            let (code, _, stderr) = run(command);
            assert_eq!(code == 0, name == "check", "{stderr}");
            assert!(named.iter().all(|text| stderr.contains(text)), "{named:?}: {stderr}");
        }
    }
    assert!(agent.asked().is_empty(), "no other source is used in place of it");
}

// `run` blocks its thread while the agent answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_origin_signs_with_its_own_source_and_shows_its_own_expiry() {
    let (s3, archive, scratch) = (origin().await, FakeS3::start().await, Scratch::new());
    archive.put("old", "key", Object::random(5000, 1));
    archive.put("mine", "key", Object::random(5000, 1));
    let agent = FakeAgent::start("AKAGENT", HOUR).await;
    let file =
        scratch.file("own", &format!("[default]\n{}[mine]\n{}", keys("AKARCHIVE"), keys("AKMINE")));
    let more = format!(
        "origins: {{ archive: {{ endpoint: '{}', credentials: {{ file: '{file}' }} }} }}\n\
         buckets:\n  old: {{ origin: archive }}\n  mine: {{ origin: archive, credentials: {{ file: '{file}', \
         profile: mine }} }}\n",
        archive.endpoint()
    );
    let with_agent = |name: &str| {
        let mut command = command(name, &s3, &scratch, &more);
        command.env("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("{}/v1", agent.url));
        command
    };
    let process = Process::spawn(with_agent("serve")).await;
    for path in ["/data/key", "/old/key", "/mine/key"] {
        assert_eq!(process.client().get(path).send().await.status, 200, "{path}");
    }
    assert_eq!(signers(&s3), ["AKAGENT"]);
    assert_eq!(signers(&archive), ["AKARCHIVE", "AKMINE"]);
    let output = process.output();
    for line in [
        "credentials for the origin from a container's agent",
        "credentials for origin archive from a profile, without an end",
        "credentials for origin buckets.mine from a profile, without an end",
    ] {
        assert!(output.contains(line), "{line}: {output}");
    }
    let page = process.admin().get("/metrics").send().await.text();
    let series = |labels: &str| {
        let prefix = format!("hotset_credentials_expiry_timestamp_seconds{labels} ");
        page.lines().find_map(|line| line.strip_prefix(&prefix)?.parse::<f64>().ok())
    };
    assert!(series("").is_some_and(|ends| ends > 1e9), "{page}");
    assert_eq!(series("{origin=\"archive\"}"), Some(0.0), "{page}");
    assert_eq!(series("{origin=\"buckets.mine\"}"), Some(0.0), "{page}");
    let (code, _, stderr) = run(with_agent("check"));
    assert_eq!(code, 0, "{stderr}");
    for line in [
        "credentials for the origin: a container's agent (ECS or EKS Pod Identity), valid until ",
        "credentials for origins.archive: a profile, without an end",
        "credentials for buckets.mine: a profile, without an end",
    ] {
        assert!(stderr.contains(line), "{line}: {stderr}");
    }
}

#[tokio::test]
async fn credentials_that_appear_after_the_start_are_used() {
    let (s3, scratch) = (origin().await, Scratch::new());
    let mut serve = command("serve", &s3, &scratch, "");
    serve.env("HOME", scratch.path(""));
    let mut process = Process::spawn(serve).await;
    assert_eq!(process.client().get("/data/key").send().await.status, 200);
    assert_eq!(signers(&s3), ["-"]);
    in_aws(&scratch, "credentials", &format!("[default]\n{}", keys("AKFILE")));
    process.logged("credentials for the origin from a profile").await;
    reads_until_signed_by(&process, &s3, "AKFILE").await;
    let output = process.output();
    let warned = output.matches("no credentials for the origin are set up").count();
    assert_eq!(warned, 1, "{output}");
}

#[tokio::test]
async fn credentials_of_an_agent_that_begins_to_answer_are_used() {
    let (s3, scratch) = (origin().await, Scratch::new());
    let agent = FakeAgent::start("AKAGENT", HOUR).await;
    // To the SDK an instance without a role.
    agent.fail(404);
    let mut serve = command("serve", &s3, &scratch, "");
    serve.env("AWS_EC2_METADATA_DISABLED", "false");
    serve.env("HOME", scratch.path(""));
    in_aws(
        &scratch,
        "config",
        &format!("[default]\nec2_metadata_service_endpoint = {}\n", agent.url),
    );
    let process = Process::spawn(serve).await;
    assert_eq!(process.client().get("/data/key").send().await.status, 200);
    assert_eq!(signers(&s3), ["-"]);
    agent.give("AKAGENT", HOUR);
    reads_until_signed_by(&process, &s3, "AKAGENT").await;
}

/// Writes tokens of IAM Identity Center for `https://example.awsapps.com/start` and for the session `work` into this home,
/// named after their SHA-1.
fn log_in(home: &Scratch) {
    let token = "{\"accessToken\": \"sso-token\", \"expiresAt\": \"2999-01-01T00:00:00Z\"}";
    in_aws(home, "sso/cache/e8be5486177c5b5392bd9aa76563515b29358e6e.json", token);
    let token = token.replace("sso-token", "session-sso-token");
    in_aws(home, "sso/cache/e274eeff768c6396088ec6eb091f4bf4d47ab1e0.json", &token);
}

const SSO_SESSION: &str = "sso_session = work\nsso_account_id = 123456789012\nsso_role_name = reader\n\
                           [sso-session work]\nsso_region = eu-west-1\n\
                           sso_start_url = https://example.awsapps.com/start\n";
const SSO: &str = "sso_start_url = https://example.awsapps.com/start\nsso_region = eu-west-1\n\
                   sso_account_id = 123456789012\nsso_role_name = reader\n";

// `run` blocks its thread while the agent answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn profiles_of_each_kind_in_the_config_file_alone_sign_and_are_named() {
    let (s3, home) = (origin().await, Scratch::new());
    let agent = FakeAgent::start("AKAGENT", HOUR).await;
    log_in(&home);
    let role = |name: &str| format!("role_arn = arn:aws:iam::123456789012:role/{name}\n");
    let chain = format!(
        "[default]\n{}source_profile = middle\n[profile middle]\n{}external_id = ext-7\nsource_profile = base\n\
         [profile base]\n{}",
        role("outer"),
        role("inner"),
        keys("AKBASE")
    );
    for (access_key, place, config) in [
        ("AKAGENT", "IAM Identity Center (SSO)", format!("[default]\n{SSO}")),
        ("AKAGENT", "IAM Identity Center (SSO)", format!("[default]\n{SSO_SESSION}")),
        ("AKPROCESS", "credential_process", format!("[default]\n{PROCESS}")),
        (
            "AKAGENT",
            "a profile's role",
            format!("[default]\n{}credential_source = EcsContainer\n", role("r")),
        ),
        ("AKAGENT", "a profile's role", chain),
    ] {
        in_aws(&home, "config", &config);
        let with = |name: &str| {
            let mut command = command(name, &s3, &home, "");
            command.env("HOME", home.path(""));
            command.env("AWS_ENDPOINT_URL_SSO", &agent.url).env("AWS_ENDPOINT_URL_STS", &agent.url);
            if config.contains("EcsContainer") {
                let agent = format!("{}/v1", agent.url);
                command.env("AWS_CONTAINER_CREDENTIALS_FULL_URI", agent);
            }
            command
        };
        let process = Process::spawn(with("serve")).await;
        assert_eq!(process.client().get("/data/key").send().await.status, 200, "{place}");
        assert_eq!(signers(&s3).last().unwrap(), access_key, "{place}");
        let (code, _, stderr) = run(with("check"));
        assert_eq!(code, 0, "{stderr}");
        let line = stderr.lines().find(|line| line.starts_with("credentials for the origin: "));
        assert!(line.is_some_and(|line| line.contains(place)), "{place}: {stderr}");
    }
    let asked = agent.asked();
    let logins = asked.iter().filter(|asked| asked.path == "/federation/credentials");
    let logins: Vec<_> = logins.map(|asked| &*asked.sso_token).collect();
    assert_eq!(logins, ["sso-token", "sso-token", "session-sso-token", "session-sso-token"]);
    let signed = |role: &str| {
        let of_role = |asked: &&Asked| asked.body.contains(&format!("role%2F{role}&"));
        let asked = asked.iter().find(of_role).unwrap();
        let (_, credential) = asked.authorization.split_once("Credential=").unwrap();
        (credential.split('/').next().unwrap().to_owned(), asked.body.clone())
    };
    // The keys of each hop sign for the next.
    let (inner, body) = signed("inner");
    assert!(inner == "AKBASE" && body.contains("ExternalId=ext-7"), "{inner} {body}");
    assert_eq!(signed("outer").0, "AKAGENT");
    assert_eq!(signed("r").0, "AKAGENT");
}

#[tokio::test]
async fn a_login_that_is_missing_refuses_the_start_and_the_config_file_is_named() {
    let (s3, home) = (origin().await, Scratch::new());
    in_aws(&home, "config", &format!("[default]\n{SSO}"));
    for (name, word) in [("serve", "credentials"), ("check", "a start would be refused")] {
        let mut command = command(name, &s3, &home, "");
        command.env("HOME", home.path(""));
        let (code, _, stderr) = run(command);
        assert_eq!(code == 0, name == "check", "{stderr}");
        let named = format!("although {} is set up", home.path(".aws/config"));
        assert!(stderr.contains(&named) && stderr.contains(word), "{stderr}");
    }
}

#[tokio::test]
async fn a_web_identity_token_is_read_again_at_each_renewal() {
    let (s3, scratch) = (origin().await, Scratch::new());
    let agent = FakeAgent::start("AK1", Duration::from_secs(8)).await;
    let mut serve = command("serve", &s3, &scratch, "");
    serve.env("AWS_WEB_IDENTITY_TOKEN_FILE", scratch.file("token", "first"));
    serve.env("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/r");
    serve.env("AWS_ENDPOINT_URL_STS", &agent.url);
    let process = Process::spawn(serve).await;
    reads_until_signed_by(&process, &s3, "AK1").await;
    scratch.file("token", "second");
    agent.give("AK2", HOUR);
    reads_until_signed_by(&process, &s3, "AK2").await;
    let asked = agent.asked();
    assert!(asked[0].body.contains("WebIdentityToken=first"), "{asked:?}");
    assert!(asked[1].body.contains("WebIdentityToken=second"), "{asked:?}");
}

#[tokio::test]
async fn answers_that_are_no_credentials_leave_the_old_ones_in_use() {
    for text in [
        "<html>",
        "{\"Code\": \"Failed\", \"Message\": \"no role\"}",
        "{\"AccessKeyId\": \"AKBAD\"",
    ] {
        let (s3, scratch) = (origin().await, Scratch::new());
        let agent = FakeAgent::start("AK1", Duration::from_secs(2)).await;
        let mut process = Process::spawn(serve_with(&agent, &s3, &scratch)).await;
        agent.answer(text);
        process.logged("cannot renew the credentials for the origin; the current ones stay").await;
        reads_until_signed_by(&process, &s3, "AK1").await;
        assert!(!signers(&s3).contains(&"AKBAD".to_owned()), "{text}");
    }
}

#[tokio::test]
async fn an_agent_that_hangs_delays_no_read() {
    let (s3, scratch) = (origin().await, Scratch::new());
    let agent = FakeAgent::start("AK1", Duration::from_secs(2)).await;
    let process = Process::spawn(serve_with(&agent, &s3, &scratch)).await;
    agent.hang();
    within("a lookup that hangs", async {
        while agent.asked().len() < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    // The lookup takes 20 s to fail, and so would a read that waited for it.
    for _ in 0..3 {
        assert_eq!(process.client().get("/data/key").send().await.status, 200);
    }
    assert_eq!(signers(&s3).last().unwrap(), "AK1");
    assert!(!process.output().contains("cannot renew"), "it still hangs");
}

#[tokio::test]
async fn an_origin_that_a_reload_replaced_shows_no_expiry_any_more() {
    let (s3, scratch) = (origin().await, Scratch::new());
    let agent = FakeAgent::start("AK1", Duration::from_secs(6)).await;
    let mut process = Process::spawn(serve_with(&agent, &s3, &scratch)).await;
    let expiry = "hotset_credentials_expiry_timestamp_seconds";
    assert!(process.metric(expiry).await > 1e9);
    let file = scratch.file("own", &format!("[default]\n{}", keys("AKFILE")));
    // Writes the configuration.
    let _unused =
        command("serve", &s3, &scratch, &format!("  credentials: {{ file: '{file}' }}\n"));
    process.hang_up();
    process.logged("credentials for the origin from a profile").await;
    reads_until_signed_by(&process, &s3, "AKFILE").await;
    // The replaced origin goes on for reads under way, and renews its keys.
    agent.give("AK2", HOUR);
    process.logged("credentials for the origin renewed from a container's agent").await;
    assert!(process.metric(expiry).await < 1.0);
}

// `run` blocks its thread while the agent answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_asks_the_instance_metadata_service_where_nothing_is_set_up() {
    let (s3, home) = (origin().await, Scratch::new());
    let agent = FakeAgent::start("AKNODE", HOUR).await;
    // A region or an endpoint is no source.
    in_aws(&home, "config", &format!("[default]\nec2_metadata_service_endpoint = {}\n", agent.url));
    let check = || {
        let mut check = command("check", &s3, &home, "");
        check.env("AWS_EC2_METADATA_DISABLED", "false").env("HOME", home.path(""));
        let (code, _, stderr) = run(check);
        assert_eq!(code, 0, "{stderr}");
        stderr
    };
    let said = check();
    let named = "credentials for the origin: the instance metadata service (IMDSv2), valid until ";
    assert!(said.contains(named), "{said}");
    for is_silent in [false, true] {
        match is_silent {
            false => agent.fail(404),
            true => agent.hang(),
        }
        let said = check();
        let none = "warning: credentials for the origin: none are set up";
        assert!(said.contains(none) && said.contains("would not be signed"), "{said}");
    }
}
