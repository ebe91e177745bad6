//! Accidents of disks: two processes on one path, a path that is no folder, a full file system, files that were cut,
//! lost, overwritten or swapped, another configuration. No accident makes a read fail or return wrong bytes, and the
//! log stays short.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::support::{FakeS3, Object, Process, Scratch, hotset, run};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const OBJECTS: u64 = 10;
const SIZE: u64 = 700 * KIB + 123;
const IMMUTABLE: &str = "rules: [{ match: '**', freshness: immutable }]\n";
const CACHE: &str = "memory: 2MiB, block: 128KiB, fetch: 256KiB, in_flight: 8MiB, read_ahead: 1MiB, \
                     admission: first-touch";
const DAMAGED: &str = "hotset_disk_failures_total{reason=\"damaged\"}";
const WRITES: &str = "hotset_disk_failures_total{reason=\"write\"}";

/// Writes a configuration with these keys of `cache`, and `more` keys.
fn config(scratch: &Scratch, s3: &FakeS3, cache: &str, more: &str) -> String {
    let text = format!(
        "listen: [{{ address: 127.0.0.1:0 }}]\nadmin: {{ address: 127.0.0.1:0 }}\nlog: {{ access: off }}\n\
         origin: {{ endpoint: '{}', attempts: 1 }}\ncache: {{ {cache} }}\n{more}",
        s3.endpoint(),
    );
    scratch.file("hotset.yaml", &text)
}

fn disk(path: &str) -> String {
    format!("{CACHE}, disk: [{{ path: '{path}', capacity: 128MiB }}]")
}

/// Starts hotset in front of `s3` with a disk in `scratch`; its objects change only through hotset.
async fn start(scratch: &Scratch, s3: &FakeS3) -> Process {
    let cache = disk(&scratch.path("cache"));
    Process::serve(&config(scratch, s3, &cache, IMMUTABLE)).await
}

async fn stop(mut process: Process) {
    process.terminate();
    assert!(process.ended().await.success(), "{}", process.output());
}

fn put_objects(s3: &FakeS3) {
    for n in 0..OBJECTS {
        s3.put("data", &format!("o{n}"), Object::random(SIZE, n));
    }
}

/// Reads every object, and expects the current bytes at the origin.
async fn read_all(s3: &FakeS3, process: &Process, what: &str) {
    for n in 0..OBJECTS {
        let key = format!("o{n}");
        let answer = process.client().get(&format!("/data/{key}")).send().await;
        let right = answer.complete && answer.body == s3.object_bytes("data", &key);
        assert!(right, "{what}: {key}: {} {:?}", answer.status, answer.headers);
    }
}

/// Asserts that the log does not repeat a message again and again.
fn assert_short_log(process: &Process, what: &str) {
    let output = process.output();
    let ours = output.lines().filter(|line| line.contains("hotset::"));
    assert!(ours.count() < 10, "{what}:\n{output}");
}

/// Returns the segment files of a folder of the disk, oldest first.
fn segments(scratch: &Scratch, folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(scratch.path(&format!("cache/{folder}"))).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|suffix| suffix == "seg"));
    paths.sort();
    paths
}

#[tokio::test]
async fn a_second_process_on_a_path_ends_with_one_line_and_the_first_goes_on() {
    let (scratch, s3) = (Scratch::new(), FakeS3::start().await);
    put_objects(&s3);
    let first = start(&scratch, &s3).await;
    read_all(&s3, &first, "before").await;
    let (code, stdout, stderr) = run(hotset(&["serve", "--config", &scratch.path("hotset.yaml")]));
    assert_eq!((code, stdout.as_str(), stderr.lines().count()), (1, "", 1), "{stderr}");
    let path = scratch.path("cache");
    assert!(stderr.contains(&format!("cache.disk: {path} is in use by another")), "{stderr}");
    read_all(&s3, &first, "after").await;
    stop(first).await;
    // The lock ended with its process.
    read_all(&s3, &start(&scratch, &s3).await, "at last").await;
}

#[tokio::test]
async fn a_path_that_cannot_be_written_is_said_in_one_line() {
    let (scratch, s3) = (Scratch::new(), FakeS3::start().await);
    let file = scratch.file("file", "");
    for taken in ["blocks", "objects"] {
        fs::create_dir(scratch.path(&format!("no-{taken}"))).unwrap();
        scratch.file(&format!("no-{taken}/{taken}"), "");
    }
    fs::create_dir_all(scratch.path("no-lock/lock")).unwrap();
    for path in [
        file.clone(),
        format!("{file}/below"),
        "/proc/hotset".to_owned(),
        scratch.path("no-blocks"),
        scratch.path("no-objects"),
        scratch.path("no-lock"),
    ] {
        let file = config(&scratch, &s3, &disk(&path), "");
        let (code, stdout, stderr) = run(hotset(&["serve", "--config", &file]));
        assert_eq!((code, stdout.as_str(), stderr.lines().count()), (1, "", 1), "{path}: {stderr}");
        let said = format!("cache.disk: {path} cannot be written: ");
        assert!(stderr.contains(&said), "{path}: {stderr}");
    }
}

#[tokio::test]
async fn verify_reads_what_a_server_left_and_names_what_is_damaged() {
    let (scratch, s3) = (Scratch::new(), FakeS3::start().await);
    put_objects(&s3);
    let process = start(&scratch, &s3).await;
    read_all(&s3, &process, "to fill the disk").await;
    let file = scratch.path("hotset.yaml");
    let verify = || run(hotset(&["disk", "verify", "--config", &file]));
    let (code, _, stderr) = verify();
    assert!(code == 1 && stderr.contains("is in use by another process"), "{stderr}");
    stop(process).await;
    let (code, stdout, stderr) = verify();
    assert_eq!((code, stderr.as_str()), (0, ""), "{stdout}");
    assert!(stdout.ends_with("; 0 damaged\n") && !stdout.contains(" 0 blocks"), "{stdout}");

    let segment = segments(&scratch, "blocks").remove(0);
    let bytes = fs::OpenOptions::new().write(true).open(&segment).unwrap();
    bytes.write_all_at(b"not what was here", 100_000).unwrap();
    let (code, stdout, _) = verify();
    assert_eq!(code, 1);
    assert!(stdout.starts_with(&format!("{} at ", segment.display())), "{stdout}");
    assert!(stdout.ends_with("; 1 damaged\n"), "{stdout}");
    // The check changed nothing, and a server reads around the damage.
    assert_eq!(verify().1, stdout);
    read_all(&s3, &start(&scratch, &s3).await, "after the damage").await;
}

/// An accident of a segment file.
#[derive(Clone, Copy, Debug)]
enum Accident {
    CutShort,
    Emptied,
    Removed,
    Zeroed,
    BitsFlipped,
    Overwritten,
    GarbageBehind,
    OtherVersion,
    Swapped,
}

use Accident::{
    BitsFlipped, CutShort, Emptied, GarbageBehind, OtherVersion, Overwritten, Removed, Swapped,
    Zeroed,
};

const ACCIDENTS: [Accident; 9] = [
    CutShort,
    Emptied,
    Removed,
    Zeroed,
    BitsFlipped,
    Overwritten,
    GarbageBehind,
    OtherVersion,
    Swapped,
];

impl Accident {
    fn befall(self, path: &Path, other: &Path, random: &mut StdRng) {
        let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
        let length = file.metadata().unwrap().len();
        let at = random.gen_range(0..length);
        let some = usize::try_from(random.gen_range(1..=length - at)).unwrap();
        match self {
            CutShort => file.set_len(at).unwrap(),
            Emptied => file.set_len(0).unwrap(),
            Removed => fs::remove_file(path).unwrap(),
            Zeroed => file.write_all_at(&vec![0; some], at).unwrap(),
            Overwritten => {
                let noise: Vec<u8> = (0..some).map(|_| random.r#gen()).collect();
                file.write_all_at(&noise, at).unwrap();
            }
            BitsFlipped => {
                for _ in 0..8 {
                    let (at, mut byte) = (random.gen_range(0..length), [0]);
                    file.read_exact_at(&mut byte, at).unwrap();
                    byte[0] ^= 1 << random.gen_range(0..8);
                    file.write_all_at(&byte, at).unwrap();
                }
            }
            GarbageBehind => file.write_all_at(&[7; 5000], length).unwrap(),
            // The format version follows the eight bytes of the magic number.
            OtherVersion => file.write_all_at(&[99], 8).unwrap(),
            Swapped => {
                let aside = path.with_extension("aside");
                fs::rename(path, &aside).unwrap();
                fs::rename(other, path).unwrap();
                fs::rename(&aside, other).unwrap();
            }
        }
    }
}

/// Runs four processes that each leave segments; during the last, some objects are overwritten.
async fn live(scratch: &Scratch, s3: &FakeS3) {
    put_objects(s3);
    for life in 0..4 {
        let process = start(scratch, s3).await;
        if life == 3 {
            for n in 0..3 {
                let body = Object::random(SIZE / 2, 100 + n).all();
                let put = process.client().put(&format!("/data/o{n}")).body(body);
                assert_eq!(put.send().await.status, 200);
            }
        }
        for n in 0..OBJECTS {
            if (n + life) % 3 > 0 {
                process.client().get(&format!("/data/o{n}")).send().await;
            }
        }
        match life {
            1 | 3 => process.kill(),
            _ => stop(process).await,
        }
    }
}

#[tokio::test]
async fn r11_whatever_happens_to_the_files_reads_are_exact_and_nothing_replaced_comes_back() {
    let mut random = StdRng::seed_from_u64(11);
    for accident in ACCIDENTS {
        for folder in ["blocks", "objects"] {
            let (scratch, s3) = (Scratch::new(), FakeS3::start().await);
            live(&scratch, &s3).await;
            let paths = segments(&scratch, folder);
            // Metadata is small: one segment, which every process appends to.
            assert!(paths.len() >= if folder == "blocks" { 3 } else { 1 }, "{paths:?}");
            let chosen = random.gen_range(0..paths.len());
            let other = &paths[(chosen + 1) % paths.len()];
            if matches!(accident, Swapped) && *other == paths[chosen] {
                continue;
            }
            accident.befall(&paths[chosen], other, &mut random);
            let what = format!("{accident:?}, {}", paths[chosen].display());
            let process = start(&scratch, &s3).await;
            for _ in 0..2 {
                read_all(&s3, &process, &what).await;
            }
            let lost_only = matches!(accident, Removed);
            let counted = process.metric(DAMAGED).await;
            // A segment that was cut or overwritten may never be read again, and the loss of a segment is not
            // noticed.
            let certain = matches!(accident, Emptied | OtherVersion | Swapped);
            assert!(!certain || counted > 0.0, "{what}: {}", process.output());
            assert!(!lost_only || counted == 0.0, "{what}: {counted}");
            assert_short_log(&process, &what);
            stop(process).await;
            let process = start(&scratch, &s3).await;
            read_all(&s3, &process, &format!("later after {what}")).await;
            assert!(counted == 0.0 || folder == "blocks" || process.metric(DAMAGED).await == 0.0);
        }
    }
}

#[tokio::test]
async fn r11_what_damage_made_void_is_not_believed_at_a_later_start_either() {
    let (scratch, s3) = (Scratch::new(), FakeS3::start().await);
    s3.put("data", "o", Object::bytes("old"));
    let process = start(&scratch, &s3).await;
    assert_eq!(process.client().get("/data/o").send().await.text(), "old");
    stop(process).await;
    let process = start(&scratch, &s3).await;
    assert_eq!(process.client().put("/data/o").body("new").send().await.status, 200);
    process.kill();
    let last = segments(&scratch, "objects").pop().unwrap();
    let length = fs::metadata(&last).unwrap().len();
    let file = fs::OpenOptions::new().write(true).open(&last).unwrap();
    file.write_all_at(&[0xff], length - 1).unwrap();
    // The damage is found once; after that it has been dealt with.
    for _ in 0..2 {
        stop(start(&scratch, &s3).await).await;
    }
    let process = start(&scratch, &s3).await;
    assert_eq!(process.client().get("/data/o").send().await.text(), "new");
}

/// A small file system, unmounted when dropped.
struct Small(String);

impl Small {
    /// Mounts the file system; `None`, with a printed line, where a test may not mount.
    fn mount(scratch: &Scratch, size: &str) -> Option<Small> {
        let path = scratch.path("small");
        fs::create_dir(&path).unwrap();
        let option = format!("size={size}");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &option, "tmpfs", &path]);
        match mount.output() {
            Ok(output) if output.status.success() => Some(Small(path)),
            refused => {
                eprintln!("skipped: no file system can be mounted here: {refused:?}");
                None
            }
        }
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[tokio::test]
async fn a_full_file_system_costs_no_read_and_is_said_once() {
    let (scratch, s3) = (Scratch::new(), FakeS3::start().await);
    let Some(small) = Small::mount(&scratch, "50m") else { return };
    // Two segments fit, and three are filled.
    let (objects, size) = (20, 3 * MIB + 77);
    for n in 0..objects {
        s3.put("data", &format!("o{n}"), Object::random(size, n));
    }
    let file = config(&scratch, &s3, &disk(&small.0), IMMUTABLE);
    let process = Process::serve(&file).await;
    for _ in 0..2 {
        for n in 0..objects {
            let key = format!("o{n}");
            let answer = process.client().get(&format!("/data/{key}")).send().await;
            assert!(answer.complete && answer.body == s3.object_bytes("data", &key), "{key}");
        }
    }
    assert_eq!(process.client().put("/data/o0").body("new").send().await.status, 200);
    assert_eq!(process.client().get("/data/o0").send().await.text(), "new");
    assert!(process.metric(WRITES).await > 0.0);
    let output = process.output();
    let said = output.lines().filter(|line| line.contains("writing to")).count();
    assert!((1..=4).contains(&said), "{output}");
    assert_short_log(&process, "a full file system");
    process.kill();
    let process = Process::serve(&file).await;
    assert_eq!(process.client().get("/data/o0").send().await.text(), "new");
}

#[tokio::test]
async fn a_device_that_takes_nothing_costs_no_read_and_is_said_once() {
    let (scratch, s3) = (Scratch::new(), FakeS3::start().await);
    put_objects(&s3);
    let file = config(&scratch, &s3, &disk(&scratch.path("cache")), IMMUTABLE);
    // No file may contain a byte.
    let limited = "trap '' XFSZ; ulimit -f 0; exec \"$0\" serve --config \"$1\"";
    let plain = hotset(&[]);
    let mut command = Command::new("/bin/sh");
    command.args(["-c", limited]).arg(plain.get_program()).arg(&file).env_clear();
    command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut process = Process::spawn(command).await;
    for _ in 0..3 {
        read_all(&s3, &process, "no segment").await;
    }
    assert_eq!(process.client().put("/data/o0").body("new").send().await.status, 200);
    assert_eq!(process.client().get("/data/o0").send().await.text(), "new");
    assert!(process.metric(WRITES).await > 0.0);
    process.logged("writing metadata to").await;
    for text in ["writing to", "writing metadata to"] {
        let output = process.output();
        let said = output.lines().filter(|line| line.contains(text)).count();
        assert_eq!(said, 1, "{text}: {output}");
    }
}

#[tokio::test]
async fn another_configuration_finds_what_it_can_use_and_reads_are_exact() {
    let (scratch, s3) = (Scratch::new(), FakeS3::start().await);
    put_objects(&s3);
    let path = scratch.path("cache");
    let with = |keys: &str, capacity: &str| {
        format!("{keys}, disk: [{{ path: '{path}', capacity: {capacity} }}]")
    };
    let larger = CACHE.replace("block: 128KiB", "block: 256KiB");
    for cache in [
        with(CACHE, "1GiB"),
        with(&larger, "1GiB"),
        with(CACHE, "128MiB"),
        CACHE.to_owned(),
        with(CACHE, "128MiB"),
    ] {
        let process = Process::serve(&config(&scratch, &s3, &cache, IMMUTABLE)).await;
        read_all(&s3, &process, &cache).await;
        assert_short_log(&process, &cache);
        stop(process).await;
        s3.forget_requests();
    }
    let process = Process::serve(&config(&scratch, &s3, &with(CACHE, "128MiB"), IMMUTABLE)).await;
    read_all(&s3, &process, "at last").await;
    assert_eq!(s3.requests().len(), 0, "{}", s3.describe());
}
