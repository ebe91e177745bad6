//! Write-behind: blocks that are read again are written to disk while they are in memory, and survive a crash.

use http::Method;

use crate::support::{FakeS3, Object, Process, Scratch};

const HOT: u64 = 20;
const COLD: u64 = 20;
const SIZE: u64 = 100_000;

/// Starts the real process with the default admission, and memory for everything; `more` are further keys of the
/// cache.
async fn start(scratch: &Scratch, s3: &FakeS3, more: &str) -> Process {
    let config = format!(
        "listen: [{{ address: 127.0.0.1:0 }}]\nadmin: {{ address: 127.0.0.1:0 }}\n\
         log: {{ access: off }}\norigin: {{ endpoint: '{}', attempts: 1 }}\n\
         cache: {{ memory: 64MiB, disk: [{{ path: '{}', capacity: 128MiB }}]{more} }}\n\
         rules: [{{ match: '**', freshness: {{ ttl: 1h }} }}]\n",
        s3.endpoint(),
        scratch.path("cache"),
    );
    Process::serve(&scratch.file("hotset.yaml", &config)).await
}

async fn read(s3: &FakeS3, process: &Process, key: &str) {
    let answer = process.client().get(&format!("/data/{key}")).send().await;
    assert!(answer.complete && answer.body == s3.object_bytes("data", key), "{key}");
}

async fn wait_until_on_disk(process: &Process, blocks: u64) {
    let blocks = f64::from(u32::try_from(blocks).unwrap());
    process.wait_for_metric("hotset_disk_blocks", |now| now >= blocks).await;
    process.wait_for_metric("hotset_disk_objects", |now| now >= blocks).await;
    process.wait_for_metric("hotset_disk_queued_bytes", |now| now < 0.5).await;
}

#[tokio::test]
async fn r11_what_was_read_over_is_on_disk_after_a_kill_and_costs_one_confirmation() {
    let (scratch, s3) = (Scratch::new(), FakeS3::start().await);
    let hot = |n: u64| format!("hot{n}");
    let cold = |n: u64| format!("cold{n}");
    (0..HOT).for_each(|n| s3.put("data", &hot(n), Object::random(SIZE, n)));
    (0..COLD).for_each(|n| s3.put("data", &cold(n), Object::random(SIZE, HOT + n)));
    let process = start(&scratch, &s3, "").await;
    for n in 0..COLD {
        read(&s3, &process, &cold(n)).await;
    }
    for _ in 0..3 {
        for n in 0..HOT {
            read(&s3, &process, &hot(n)).await;
        }
    }
    wait_until_on_disk(&process, HOT).await;
    // Each block once, and none of those that were read once.
    let written = process.metric("hotset_disk_written_bytes_total").await;
    let read_over = f64::from(u32::try_from(HOT * SIZE).unwrap());
    assert!(written < read_over * 1.2, "{written} bytes written of {read_over}");
    process.kill();
    s3.forget_requests();
    let process = start(&scratch, &s3, "").await;
    for n in 0..HOT {
        read(&s3, &process, &hot(n)).await;
    }
    let heads = s3.count(|seen| seen.method == Method::HEAD);
    assert_eq!(heads, usize::try_from(HOT).unwrap(), "{}", s3.describe());
    assert_eq!(s3.requests().len(), heads, "{}", s3.describe());
}

#[tokio::test]
async fn with_first_touch_everything_that_is_read_is_written_while_it_is_in_memory() {
    let (scratch, s3) = (Scratch::new(), FakeS3::start().await);
    let process = start(&scratch, &s3, ", admission: first-touch").await;
    for n in 0..COLD {
        let key = format!("cold{n}");
        s3.put("data", &key, Object::random(SIZE, n));
        read(&s3, &process, &key).await;
    }
    wait_until_on_disk(&process, COLD).await;
}
