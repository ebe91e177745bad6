//! `purge --erase` (R28): no byte of a purged object is left in memory or in any file of the disk tier; all other
//! objects are.

use std::path::Path;
use std::sync::LazyLock;

use hotset::cache::Freshness;
use serde_json::{Value, json};

use crate::support::*;

const SIZE: usize = 700_000;
const OBJECTS: [(&str, &str); 5] = [
    ("data", "users/ann@example.com"),
    ("data", "users/bob@example.com"),
    ("data", "models/large-one"),
    ("data", "models/another-one"),
    ("other", "users/somebody-else"),
];

/// Returns the text that an object repeats and that occurs nowhere else.
fn pattern(bucket: &str, key: &str) -> String {
    static RANDOM: LazyLock<u64> = LazyLock::new(rand::random);
    format!("<the secret of {bucket} {} {}>", key.replace(['/', '@'], "-"), *RANDOM)
}

fn put_all(s3: &FakeS3) {
    for (bucket, key) in OBJECTS {
        let bytes = pattern(bucket, key).repeat(SIZE)[..SIZE].to_owned();
        let mail = format!("mail-of-{}", pattern(bucket, key).replace(['<', '>', ' '], "-"));
        s3.put(bucket, key, Object::bytes(bytes).header("x-amz-meta-mail", &mail));
    }
}

/// Starts a server whose disk is in `scratch`, with memory for some of the objects.
async fn start(scratch: &Scratch, s3: &FakeS3) -> Process {
    let config = format!(
        "listen: [{{ address: 127.0.0.1:0 }}]\nadmin: {{ address: 127.0.0.1:0 }}\n\
         origin: {{ endpoint: '{}', attempts: 1 }}\n\
         cache: {{ memory: 8MiB, block: 256KiB, fetch: 1MiB, in_flight: 16MiB, read_ahead: 2MiB, \
         admission: first-touch, disk: [{{ path: '{}', capacity: 128MiB }}] }}\n\
         rules: [{{ match: '**', freshness: immutable }}]\n",
        s3.endpoint(),
        scratch.path("cache"),
    );
    Process::serve(&scratch.file("hotset.yaml", &config)).await
}

async fn stop(mut process: Process) {
    process.terminate();
    assert!(process.ended().await.success());
}

/// Reads and checks these objects; returns the number of origin requests for them, and the bytes that the origin
/// sent.
async fn read(s3: &FakeS3, process: &Process, wanted: &[bool]) -> (usize, u64) {
    s3.forget_requests();
    let sent = s3.bytes_sent();
    for ((bucket, key), _) in OBJECTS.iter().zip(wanted).filter(|(_, wanted)| **wanted) {
        let answer = process.client().get(&format!("/{bucket}/{key}")).send().await;
        assert!(answer.complete && answer.body == s3.object_bytes(bucket, key), "{bucket}/{key}");
    }
    (s3.requests().len(), s3.bytes_sent() - sent)
}

/// Starts a server on a disk that has everything from an earlier process; some of it is also in memory.
async fn with_everything_on_disk(scratch: &Scratch, s3: &FakeS3) -> Process {
    put_all(s3);
    let process = start(scratch, s3).await;
    read(s3, &process, &[true; OBJECTS.len()]).await;
    stop(process).await;
    let process = start(scratch, s3).await;
    for _ in 0..3 {
        assert_eq!(read(s3, &process, &[true; OBJECTS.len()]).await, (0, 0), "all from disk");
    }
    process
}

/// Returns the objects of which the files below `path` contain bytes, metadata or the name.
fn traces(path: &Path) -> [bool; OBJECTS.len()] {
    let mut found = [false; OBJECTS.len()];
    for entry in std::fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            let below = traces(&path);
            found.iter_mut().zip(below).for_each(|(found, below)| *found |= below);
            continue;
        }
        let content = std::fs::read(&path).unwrap();
        for (found, (bucket, key)) in found.iter_mut().zip(OBJECTS) {
            let pattern = pattern(bucket, key);
            let inner = pattern.replace(['<', '>', ' '], "-");
            for needle in [pattern.as_str(), &inner, key] {
                *found |= memchr::memmem::find(&content, needle.as_bytes()).is_some();
            }
        }
    }
    found
}

/// Arguments of the command, and the [`OBJECTS`] that they cover.
fn cases() -> [(&'static [&'static str], [bool; OBJECTS.len()]); 5] {
    [
        (&["s3://data/users/ann@example.com"], [true, false, false, false, false]),
        (
            &["s3://data/users/bob@example.com", "s3://data/models/another-one"],
            [false, true, false, true, false],
        ),
        (&["s3://data/users/*"], [true, true, false, false, false]),
        (&["s3://data/*"], [true, true, true, true, false]),
        (&["--everything"], [true; OBJECTS.len()]),
    ]
}

async fn command(arguments: &[&str]) -> (i32, String, String) {
    let command = hotset(arguments);
    let ran = tokio::task::spawn_blocking(move || run(command));
    within("the command to end", ran).await.expect("it does not panic")
}

#[tokio::test]
async fn r28_what_is_erased_is_in_no_file_and_the_rest_is_read_from_disk() {
    for (named, gone) in cases() {
        let (scratch, s3) = (Scratch::new(), FakeS3::start().await);
        let process = with_everything_on_disk(&scratch, &s3).await;
        let disk = scratch.path("cache");
        let disk = Path::new(&disk);
        assert_eq!(traces(disk), [true; OBJECTS.len()]);
        let url = format!("http://{}", process.admin);
        let asked = [&["purge", "--erase", "--admin", &url], named].concat();

        let (code, out, _) = command(&[&asked[..], &["--dry-run"]].concat()).await;
        assert!(code == 0 && out.contains("of the disk would be looked through"), "{out}");
        assert_eq!(traces(disk), [true; OBJECTS.len()], "only said");

        let (code, out, err) = command(&asked).await;
        assert_eq!((code, err.as_str()), (0, ""), "{named:?}");
        let line = out.lines().last().unwrap();
        assert!(line.starts_with("purged ") && line.contains(" and erased "), "{out}");
        let left = gone.map(|gone| !gone);
        assert_eq!(traces(disk), left, "{named:?}: {out}");
        assert_eq!(read(&s3, &process, &left).await, (0, 0), "{named:?}");

        // Eviction from memory does not write it to disk again.
        stop(process).await;
        assert_eq!(traces(disk), left, "{named:?}: after the end");
        let process = start(&scratch, &s3).await;
        assert_eq!(traces(disk), left, "{named:?}: after a restart");
        let (asked, sent) = read(&s3, &process, &left).await;
        // Other objects below a bucket's prefix are confirmed once, which fetches their first bytes.
        let others = left.iter().filter(|left| **left).count();
        let of_bucket = if named[0].ends_with("users/*") { others - 1 } else { 0 };
        assert!(
            asked <= of_bucket && sent <= (of_bucket * SIZE) as u64,
            "{named:?}: {asked} {sent}"
        );
        let count = gone.iter().filter(|gone| **gone).count();
        let (_, sent) = read(&s3, &process, &gone).await;
        assert_eq!(sent, (count * SIZE) as u64, "{named:?}: fetched again");
    }
}

#[tokio::test]
async fn r28_what_cannot_be_erased_is_purged_and_said_and_can_be_asked_again() {
    let (scratch, s3) = (Scratch::new(), FakeS3::start().await);
    let process = with_everything_on_disk(&scratch, &s3).await;
    let disk = scratch.path("cache");
    let segment = Path::new(&disk).join("blocks/0000000001.seg");
    // A file that nobody can remove: a folder takes its place.
    std::fs::remove_file(&segment).unwrap();
    std::fs::create_dir(&segment).unwrap();
    let api = Api::new(process.admin);
    let body = r#"{"prefix":"s3://data/users/","erase":true}"#;
    let (status, answer) = api.post("/api/v1/purge", body).await;
    let error = answer["error"].as_str().unwrap();
    assert_eq!(status, 503, "{error}");
    assert!(error.contains("it is purged") && error.contains(&disk), "{error}");
    let url = format!("http://{}", process.admin);
    let asked = ["purge", "--erase", "--admin", &url, "s3://data/users/*"];
    let (code, out, err) = command(&asked).await;
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains("it is purged; not everything is erased yet"), "{err}");
    let users = [true, true, false, false, false];
    assert_eq!(read(&s3, &process, &users).await.1, 2 * SIZE as u64, "purged all the same");

    std::fs::remove_dir(&segment).unwrap();
    let (code, _, err) = command(&asked).await;
    assert_eq!(code, 0, "{err}");
    assert_eq!(traces(Path::new(&disk))[..2], [false, false]);
}

#[tokio::test]
async fn r28_erasing_without_a_disk_is_about_memory_and_the_answer_says_how_much() {
    let s3 = FakeS3::start().await;
    put_all(&s3);
    let proxy = TestProxy::start_with(&s3, |config| {
        config.rules[0].freshness = Freshness::Immutable;
    })
    .await;
    for (bucket, key) in OBJECTS {
        assert!(proxy.client().get(&format!("/{bucket}/{key}")).send().await.complete);
    }
    let api = Api::new(proxy.admin);
    let erase = async |more: &str| {
        let body = format!(r#"{{"bucket":"data","erase":true{more}}}"#);
        let (status, answer) = api.post("/api/v1/purge", &body).await;
        assert_eq!(status, 200, "{answer}");
        answer
    };
    let said = erase(r#","dry_run":true"#).await;
    assert_eq!((&said["erased"], &said["disk_bytes"]), (&Value::Null, &Value::Null));
    let erased = |memory_bytes: usize| {
        json!({
            "memory_bytes": memory_bytes, "disk_bytes": 0, "files_removed": 0, "files_rewritten": 0,
        })
    };
    assert_eq!(erase("").await["erased"], erased(4 * SIZE));
    assert_eq!(proxy.cache.usage().block_bytes / 1000, SIZE as u64 / 1000, "the other bucket's");
    assert_eq!(erase("").await["erased"], erased(0));
    let (_, answer) = api.post("/api/v1/purge", r#"{"bucket":"data"}"#).await;
    assert_eq!(answer["erased"], Value::Null, "{answer}");
}
