//! A whole server on a disk that is slowed down and counted: while it is slow, reads come from the origin, and no
//! byte is read from it twice.

use std::iter;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use hotset::cache::DiskConfig;
use hotset::cache::disk::throttle::Throttle;
use hotset::config::units::ByteSize;

use crate::support::{Client, FakeS3, Object, Scratch, TestProxy, within};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const OBJECTS: u64 = 32;
const SIZE: u64 = MIB;
const LARGE: u64 = 16 * MIB;
const RANGE: u64 = 64 * KIB;
const READERS: u64 = 64;
const READS: u64 = 8;
/// Rate of the slow device, in bytes a second.
const SLOW: u64 = 4_000_000;
const FROM_DISK: &str = "hotset; hit; detail=disk";
/// Timeout of a test: far more than any of them takes.
const WATCHDOG: Duration = Duration::from_mins(2);

/// Runs a test on a runtime of its own: if a server spins, no timer of its runtime fires.
fn watched(test: impl Future<Output = ()> + Send + 'static) {
    let (ended, outcome) = mpsc::channel();
    let test = thread::spawn(move || {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(test);
        let _ = ended.send(());
    });
    let hangs = outcome.recv_timeout(WATCHDOG) == Err(mpsc::RecvTimeoutError::Timeout);
    assert!(!hangs, "the server still spins after {WATCHDOG:?}");
    test.join().unwrap();
}

/// Starts hotset with defaults, a disk in `scratch`, and memory for a few of the objects; also returns the disk's
/// device.
async fn start(scratch: &Scratch, s3: &FakeS3) -> (TestProxy, Arc<Throttle>) {
    let path = scratch.path("cache");
    let device = Throttle::below(Path::new(&path));
    let proxy = TestProxy::start_with(s3, |config| {
        config.cache.memory = Some(ByteSize::mib(8));
        let (path, capacity) = (path.into(), ByteSize::mib(256));
        config.cache.disk = vec![DiskConfig { path, capacity, ..DiskConfig::default() }];
    });
    (proxy.await, device)
}

/// Puts the objects that are read whole, and `large`, which memory has no room for.
fn put_objects(s3: &FakeS3) {
    (0..OBJECTS).for_each(|n| s3.put("data", &format!("o{n}"), Object::random(SIZE, n)));
    s3.put("data", "large", Object::random(LARGE, OBJECTS));
}

/// Reads one range of an object; returns whether it came from disk.
async fn read_range(s3: &FakeS3, client: &Client, number: u64) -> bool {
    let key = format!("o{}", number % OBJECTS);
    let start = number / OBJECTS % (SIZE / RANGE) * RANGE;
    let range = start..start + RANGE;
    let request =
        client.get(&format!("/data/{key}")).range(&format!("bytes={start}-{}", range.end - 1));
    let answer = request.send().await;
    assert!(answer.complete && answer.status == 206, "{key} {range:?}: {}", answer.text());
    assert!(
        answer.body == s3.object("data", &key).unwrap().slice(range.clone()),
        "{key} {range:?}"
    );
    answer.header("cache-status") == FROM_DISK
}

async fn read_whole(s3: &FakeS3, client: &Client, key: &str) {
    let answer = client.get(&format!("/data/{key}")).send().await;
    assert!(answer.complete && answer.body == s3.object_bytes("data", key), "{key}");
}

/// Reads all objects until the origin gets no more requests.
async fn fill(s3: &FakeS3, proxy: &TestProxy) {
    for _ in 0..12 {
        s3.forget_requests();
        for key in iter::once("large".to_owned()).chain((0..OBJECTS).map(|n| format!("o{n}"))) {
            read_whole(s3, &proxy.client(), &key).await;
            let queue = async {
                while proxy.metric("hotset_disk_queued_bytes").await > 0.0 {
                    tokio::task::yield_now().await;
                }
            };
            within("the queue to be written", queue).await;
        }
        if s3.requests().is_empty() {
            return;
        }
    }
    panic!("not all of it got onto the disk: {}", s3.describe());
}

/// Returns the numbers of reads that a slow device refused, by reason.
async fn refused(proxy: &TestProxy) -> [f64; 3] {
    let mut counts = [0.0; 3];
    for (count, reason) in counts.iter_mut().zip(["passed_by", "busy", "slow"]) {
        *count = proxy.metric(&format!("hotset_disk_failures_total{{reason=\"{reason}\"}}")).await;
    }
    counts
}

/// Runs 64 readers of ranges beside health checks; returns the number of ranges that came from disk.
async fn crowd(s3: &Arc<FakeS3>, proxy: &TestProxy) -> u64 {
    let mut readers = tokio::task::JoinSet::new();
    for reader in 0..READERS {
        let (s3, client) = (s3.clone(), proxy.client());
        readers.spawn(async move {
            let mut from_disk = 0;
            for read in 0..READS {
                from_disk += u64::from(read_range(&s3, &client, reader * 7 + read * 101).await);
            }
            from_disk
        });
    }
    let admin = Client::new(proxy.admin);
    let mut from_disk = 0;
    while let Some(reader) = readers.join_next().await {
        from_disk += reader.unwrap();
        assert_eq!(admin.get("/healthz").send().await.status, 200);
    }
    from_disk
}

#[test]
fn r37_while_a_disk_is_slow_reads_come_from_the_origin_and_then_from_the_disk_again() {
    watched(async {
        let (scratch, s3) = (Scratch::new(), Arc::new(FakeS3::start().await));
        put_objects(&s3);
        let (proxy, device) = start(&scratch, &s3).await;
        fill(&s3, &proxy).await;
        let (all, before) = (READERS * READS, refused(&proxy).await);
        device.set_rate(Some(SLOW));
        let from_disk = crowd(&s3, &proxy).await;
        let after = refused(&proxy).await;
        let [passed_by, busy, slow] = std::array::from_fn(|n| after[n] - before[n]);
        let counts =
            format!("{from_disk} of {all}; {passed_by} passed by, {busy} busy, {slow} slow");
        assert!(!s3.requests().is_empty() && from_disk < all, "{counts}");
        // A read of one block looks it up in two ways, and skips a bypassed device in both.
        let all = f64::from(u32::try_from(all).unwrap());
        assert!(passed_by <= all && busy + slow <= 2.0 * all, "{counts}");
        assert!(passed_by + busy + slow > 0.0, "{counts}");
        device.set_rate(None);
        let again = async {
            let client = proxy.client();
            let mut number = 0;
            while !read_range(&s3, &client, number).await {
                number += 1;
            }
        };
        within("the disk to be used again", again).await;
    });
}

#[test]
fn r37_a_long_read_past_a_busy_disk_is_fetched_as_without_a_disk() {
    watched(async {
        let (scratch, s3) = (Scratch::new(), FakeS3::start().await);
        put_objects(&s3);
        let (proxy, device) = start(&scratch, &s3).await;
        fill(&s3, &proxy).await;
        // One read that does not end, and no slot for another.
        device.set_rate(Some(1));
        let mut number = 0;
        while device.waiting() == 0 {
            read_range(&s3, &proxy.client(), number).await;
            number += 1;
        }
        s3.forget_requests();
        read_whole(&s3, &proxy.client(), "large").await;
        let (asked, blocks) = (s3.requests().len() as u64, LARGE / MIB);
        assert!((1..=blocks / 2).contains(&asked), "{asked} of {blocks}: {}", s3.describe());
        device.set_rate(None);
    });
}

#[test]
fn a_sequential_read_from_disk_reads_each_byte_once() {
    watched(async {
        let (scratch, s3) = (Scratch::new(), FakeS3::start().await);
        put_objects(&s3);
        let (proxy, device) = start(&scratch, &s3).await;
        fill(&s3, &proxy).await;
        let mut from_disk = 0;
        for key in iter::once("large".to_owned()).chain((0..OBJECTS).map(|n| format!("o{n}"))) {
            let before = device.read_bytes();
            read_whole(&s3, &proxy.client(), &key).await;
            let (read, size) =
                (device.read_bytes() - before, s3.object("data", &key).unwrap().len());
            // Each chunk is stored with its checksum.
            assert!(read <= size + size / 100, "{key}: {read} of {size}");
            from_disk += read;
        }
        assert!(2 * from_disk > LARGE + OBJECTS * SIZE, "{from_disk} bytes from disk");
        assert!(s3.requests().is_empty(), "{}", s3.describe());
    });
}
