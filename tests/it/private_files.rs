//! Permissions of files, folders and sockets (R35): the real process, for any umask and any earlier permissions.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{FakeS3, Object, Process, Scratch, hotset};

fn config(scratch: &Scratch, s3: &FakeS3, more: &str) -> String {
    let text = format!(
        "listen: [{{ address: 127.0.0.1:0 }}, {{ address: 'unix:{}' }}]\nadmin: {{ address: 127.0.0.1:0 }}\n\
         origin: {{ endpoint: '{}', attempts: 1 }}\n\
         cache: {{ memory: 2MiB, block: 128KiB, fetch: 256KiB, in_flight: 8MiB, read_ahead: 1MiB, \
         admission: first-touch, disk: [{{ path: '{}', capacity: 128MiB }}] }}\n\
         rules: [{{ match: '**', freshness: immutable }}]\n{more}",
        scratch.path("s3.sock"),
        s3.endpoint(),
        scratch.path("new/cache"),
    );
    scratch.file("hotset.yaml", &text)
}

/// Returns the command of the process, run by a shell after `setup`.
fn after(setup: &str, config: &str) -> Command {
    let plain = hotset(&[]);
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &format!("{setup}; exec \"$0\" serve --config \"$1\"")]);
    command.arg(plain.get_program()).arg(config).env_clear();
    command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command
}

async fn stop(mut process: Process) {
    process.terminate();
    assert!(process.ended().await.success(), "{}", process.output());
}

/// Returns a folder and everything below it.
fn all(path: &Path) -> Vec<PathBuf> {
    let mut found = vec![path.to_owned()];
    if path.is_dir() {
        let entries = fs::read_dir(path).unwrap();
        found.extend(entries.flat_map(|entry| all(&entry.unwrap().path())));
    }
    found
}

fn assert_private(path: &Path) {
    for path in all(path) {
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
        let right = if path.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(mode, right, "{} is {mode:o}", path.display());
    }
}

#[tokio::test]
async fn r35_files_folders_and_sockets_are_for_their_owner_alone_whatever_the_umask() {
    for umask in ["umask 000", "umask 022", "umask 277"] {
        let (scratch, s3) = (Scratch::new(), FakeS3::start().await);
        s3.put("data", "k", Object::random(700_000, 1));
        let process = Process::spawn(after(umask, &config(&scratch, &s3, ""))).await;
        assert_eq!(process.client().get("/data/k").send().await.status, 200, "{umask}");
        let purge = process.admin().post("/api/v1/purge").body(r#"{"bucket":"other"}"#);
        let purge = purge.header("content-type", "application/json").send().await;
        assert_eq!(purge.status, 200, "{umask}: {}", purge.text());
        let socket = fs::metadata(scratch.path("s3.sock")).unwrap();
        assert_eq!(socket.permissions().mode() & 0o777, 0o600, "{umask}");
        stop(process).await;
        let made = PathBuf::from(scratch.path("new"));
        assert!(all(&made).len() > 7, "{:?}", all(&made));
        assert_private(&made);
    }
}

#[tokio::test]
async fn r35_what_an_older_version_left_for_everybody_is_narrowed_and_said_once() {
    let (scratch, s3) = (Scratch::new(), FakeS3::start().await);
    s3.put("data", "k", Object::random(700_000, 1));
    let file = config(&scratch, &s3, "");
    let process = Process::serve(&file).await;
    assert_eq!(process.client().get("/data/k").send().await.status, 200);
    stop(process).await;
    let cache = PathBuf::from(scratch.path("new/cache"));
    for path in all(&cache) {
        let mode = if path.is_dir() { 0o755 } else { 0o644 };
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    }
    s3.forget_requests();
    for said in [1, 0] {
        let process = Process::serve(&file).await;
        assert_private(&cache);
        let lines = process.output();
        let lines = lines.lines().filter(|line| line.contains("by every local user"));
        assert_eq!(lines.count(), said, "{}", process.output());
        assert_eq!(process.client().get("/data/k").send().await.status, 200);
        stop(process).await;
    }
    assert_eq!(s3.requests().len(), 0, "{}", s3.describe());
}

#[tokio::test]
async fn r35_secrets_that_others_can_read_are_warned_of_and_those_of_a_group_are_not() {
    let (scratch, s3) = (Scratch::new(), FakeS3::start().await);
    let token = scratch.file("token", "0123456789abcdef0123456789abcdef");
    let more = format!(
        "events: {{ webhook: {{ address: 127.0.0.1:0, tokens: ['{}'] }} }}\n",
        "t".repeat(32)
    );
    let text = config(&scratch, &s3, &more);
    let yaml = fs::read_to_string(&text).unwrap();
    let admin = format!("admin: {{ address: 127.0.0.1:0, token_file: '{token}' }}");
    fs::write(&text, yaml.replace("admin: { address: 127.0.0.1:0 }", &admin)).unwrap();
    for (mode, warned) in [
        (0o644, true),
        (0o604, true),
        (0o660, true),
        (0o640, false),
        (0o440, false),
        (0o600, false),
    ] {
        for path in [&token, &text] {
            fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        }
        let process = Process::serve(&text).await;
        let output = process.output();
        for path in [&token, &text] {
            let said = output
                .lines()
                .any(|line| line.contains("WARN") && line.contains(&format!("{path} (")));
            assert_eq!(said, warned, "{mode:o} {path}: {output}");
        }
        assert!(!output.contains("tttt"), "no secret is shown");
        stop(process).await;
    }
}

#[tokio::test]
async fn r38_a_start_with_too_few_open_files_removes_nothing_and_the_next_one_serves_from_disk() {
    let (scratch, s3) = (Scratch::new(), FakeS3::start().await);
    s3.put("data", "k", Object::random(700_000, 1));
    let file = config(&scratch, &s3, "");
    for _ in 0..3 {
        let process = Process::serve(&file).await;
        assert_eq!(process.client().get("/data/k").send().await.status, 200);
        stop(process).await;
    }
    let cache = PathBuf::from(scratch.path("new/cache"));
    let content = || {
        let mut files: Vec<_> = all(&cache).into_iter().filter(|path| path.is_file()).collect();
        files.sort();
        files.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect::<Vec<_>>()
    };
    let before = content();
    for limit in [10, 20, 40, 100] {
        let output = after(&format!("ulimit -n {limit}"), &file).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{limit}: {said}");
        assert!(said.contains("nothing was removed"), "{limit}: {said}");
        assert!(content() == before, "{limit}: {said}");
    }
    // Only the soft limit is raised.
    s3.forget_requests();
    let process = Process::spawn(after("ulimit -S -n 20", &file)).await;
    let answer = process.client().get("/data/k").send().await;
    assert!(answer.body == s3.object_bytes("data", "k"));
    assert_eq!(s3.requests().len(), 0, "{}", s3.describe());
}
