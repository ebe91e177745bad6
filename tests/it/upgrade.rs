//! Disks written by other releases of hotset: they are read if the format is the same; otherwise the start is cold,
//! and reported in one line.
//!
//! `tests/it/upgrade/` has a disk of the latest release. `HOTSET_WRITE_FIXTURE=1 cargo test --test it upgrade::r11`
//! makes it anew, with that release. Its origin was `http://127.0.0.1:1`, where nothing listens while a test runs;
//! making it needs the permission to listen there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use twox_hash::XxHash3_64;

use crate::support::{FakeS3, Object, Process, Scratch};

const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/upgrade/format-3.tar.gz");
/// Offset of the format version in a segment's head.
const VERSION_AT: usize = 8;
const CHECK_AT: usize = 24;
const KEPT: [&str; 2] = ["/data/kept", "/data/large"];
const ENDED: [&str; 2] = ["/data/overwritten", "/data/purged/key"];
const OLD_ORIGIN: &str = "http://127.0.0.1:1";

fn object(key: &str) -> Object {
    let length = if key == "/data/large" { 150_000 } else { 3_000 };
    Object::random(length, key.len() as u64)
}

fn config(scratch: &Scratch, origin: &str) -> String {
    let text = format!(
        "listen: [{{ address: 127.0.0.1:0 }}]\nadmin: {{ address: 127.0.0.1:0 }}\n\
         origin: {{ endpoint: '{origin}', attempts: 1 }}\n\
         cache: {{ memory: 2MiB, block: 64KiB, fetch: 128KiB, in_flight: 8MiB, read_ahead: 1MiB, \
         admission: first-touch, disk: [{{ path: '{}', capacity: 128MiB }}] }}\n\
         rules: [{{ match: '**', freshness: immutable }}]\n",
        scratch.path("cache"),
    );
    scratch.file("hotset.yaml", &text)
}

fn unpack(scratch: &Scratch) {
    let tar = Command::new("tar").args(["-xzf", FIXTURE, "-C", &scratch.path("")]).status();
    assert!(tar.expect("there is tar").success());
}

async fn stop(mut process: Process) -> String {
    process.terminate();
    assert!(process.ended().await.success(), "{}", process.output());
    process.output()
}

fn segments(cache: &Path) -> Vec<PathBuf> {
    let folders = ["blocks", "objects"].map(|folder| cache.join(folder));
    let files = folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap());
    let paths = files.map(|file| file.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|e| e == "seg")).collect()
}

/// Changes the format version of all segments to another release's.
fn reformat(cache: &Path, version: u16) {
    for path in segments(cache) {
        let mut bytes = fs::read(&path).unwrap();
        bytes[VERSION_AT..VERSION_AT + 2].copy_from_slice(&version.to_le_bytes());
        let check = XxHash3_64::oneshot(&bytes[..CHECK_AT]).to_le_bytes();
        bytes[CHECK_AT..CHECK_AT + 8].copy_from_slice(&check);
        fs::write(path, bytes).unwrap();
    }
}

#[tokio::test]
async fn r11_the_disk_of_the_latest_release_is_read_and_what_it_had_ended_stays_ended() {
    if std::env::var_os("HOTSET_WRITE_FIXTURE").is_some() {
        write_fixture().await;
    }
    let scratch = Scratch::new();
    unpack(&scratch);
    let process = Process::serve(&config(&scratch, OLD_ORIGIN)).await;
    for key in KEPT {
        let answer = process.client().get(key).send().await;
        assert_eq!(answer.status, 200, "{key}: {}", answer.text());
        assert!(answer.header("cache-status").contains("detail=disk"), "{answer:?}");
        assert!(answer.body == object(key).all(), "{key}");
    }
    for key in ENDED {
        let answer = process.client().get(key).send().await;
        assert_eq!(answer.status, 503, "{key} is asked of the origin: {}", answer.text());
    }
    let said = stop(process).await;
    assert!(!said.contains("another release"), "{said}");
}

#[tokio::test]
async fn a_disk_in_the_format_of_another_release_starts_cold_in_one_line_and_is_used_again() {
    let (scratch, s3) = (Scratch::new(), FakeS3::start().await);
    for key in KEPT {
        s3.put("data", &key["/data/".len()..], object(key));
    }
    unpack(&scratch);
    let (cache, config) = (PathBuf::from(scratch.path("cache")), config(&scratch, &s3.endpoint()));
    // To a later release, and back to an earlier one.
    for version in [4, 2] {
        reformat(&cache, version);
        let old = segments(&cache).iter().map(|path| fs::read(path).unwrap()).collect::<Vec<_>>();
        s3.forget_requests();
        for (lines, cold) in [(1, true), (0, false)] {
            let process = Process::serve(&config).await;
            for key in KEPT {
                let answer = process.client().get(key).send().await;
                assert!(answer.status == 200 && answer.body == object(key).all(), "{answer:?}");
            }
            let said = stop(process).await;
            assert_eq!(said.matches("another release").count(), lines, "{said}");
            assert_eq!(said.matches("WARN").count(), lines, "{said}");
            assert_eq!(!s3.requests().is_empty(), cold, "{}", s3.describe());
            s3.forget_requests();
        }
        let now = segments(&cache).iter().map(|path| fs::read(path).unwrap()).collect::<Vec<_>>();
        assert!(now.iter().all(|file| !old.contains(file)), "the old segments are gone");
    }
}

async fn write_fixture() {
    let (scratch, s3) = (Scratch::new(), FakeS3::start_at(1).await);
    for key in KEPT.iter().chain(&ENDED) {
        s3.put("data", &key["/data/".len()..], object(key));
    }
    let process = Process::serve(&config(&scratch, &s3.endpoint())).await;
    for key in KEPT.iter().chain(&ENDED) {
        assert_eq!(process.client().get(key).send().await.status, 200, "{key}");
    }
    let put = process.client().put("/data/overwritten").body("new").send().await;
    assert_eq!(put.status, 200, "{}", put.text());
    let purge = process.admin().post("/api/v1/purge").body(r#"{"prefix":"s3://data/purged/"}"#);
    let purge = purge.header("content-type", "application/json").send().await;
    assert_eq!(purge.status, 200, "{}", purge.text());
    stop(process).await;
    let tar = Command::new("tar")
        .args(["--sort=name", "--owner=0", "--group=0", "--mtime=2000-01-01", "-czf", FIXTURE])
        .args(["-C", &scratch.path(""), "cache"])
        .status();
    assert!(tar.expect("there is tar").success());
}
