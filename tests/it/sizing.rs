//! Default sizes from the control group limits of the real process. Skipped where no group can be made.

use crate::support::{FakeS3, LimitedGroup, Object, Process, Scratch, run};

const MIB: u64 = 1 << 20;

fn config(scratch: &Scratch, s3: &FakeS3, more: &str) -> String {
    let text = format!(
        "listen: [{{ address: 127.0.0.1:0 }}]\nadmin: {{ address: 127.0.0.1:0 }}\n\
         origin: {{ endpoint: '{}' }}\n{more}\n",
        s3.endpoint()
    );
    scratch.file("hotset.yaml", &text)
}

#[tokio::test]
async fn sizes_are_shares_of_the_memory_limit_of_a_parent_group() {
    let Some(group) = LimitedGroup::memory(256 * MIB) else { return };
    let (scratch, s3) = (Scratch::new(), FakeS3::start().await);
    let process = group.hotset(&["serve", "--config", &config(&scratch, &s3, "")]);
    let process = Process::spawn(process).await;
    let log = process.output();
    assert!(log.contains("memory is limited to 256MiB by /sys/fs/cgroup/"), "{log}");
    assert!(log.contains(": 128MiB of cache.memory + 64MiB of cache.in_flight + "), "{log}");
    let in_flight = process.metric("hotset_in_flight_limit_bytes").await;
    assert!((in_flight - 64.0 * 1024.0 * 1024.0).abs() < 1.0, "{in_flight}");
}

#[tokio::test]
async fn a_configuration_that_cannot_fit_the_limit_is_refused_with_the_sum_and_exit_code_2() {
    let Some(group) = LimitedGroup::memory(256 * MIB) else { return };
    let (scratch, s3) = (Scratch::new(), FakeS3::start().await);
    let file = config(&scratch, &s3, "log: { level: error }\ncache: { memory: 1GiB }");
    let serve = group.hotset(&["serve", "--config", &file]);
    let (code, stdout, stderr) = tokio::task::spawn_blocking(|| run(serve)).await.unwrap();
    assert_eq!((code, stdout.as_str(), stderr.lines().count()), (2, "", 1), "{stderr}");
    let sum = "cache.memory: 1024MiB of cache.memory + 32MiB of cache.in_flight + 32MiB for the process itself = \
               1088MiB, more than the 256MiB that /sys/fs/cgroup/";
    assert!(stderr.contains(sum), "{stderr}");
}

#[tokio::test]
async fn threads_are_the_cpu_quota_rounded_up() {
    let Some(group) = LimitedGroup::cpu(50_000) else { return };
    let (scratch, s3) = (Scratch::new(), FakeS3::start().await);
    let process = group.hotset(&["serve", "--config", &config(&scratch, &s3, "")]);
    let log = Process::spawn(process).await.output();
    assert!(log.contains("threads: 1, by a CPU quota of 1 CPUs"), "{log}");
}

#[tokio::test]
async fn the_cache_shrinks_while_its_group_is_short_of_memory_and_grows_again() {
    let Some(group) = LimitedGroup::memory(256 * MIB) else { return };
    let (scratch, s3) = (Scratch::new(), FakeS3::start().await);
    s3.put("data", "large", Object::random(100 * MIB, 1));
    let process = group.hotset(&["serve", "--config", &config(&scratch, &s3, "")]);
    let mut process = Process::spawn(process).await;
    let client = process.client();
    for n in 0..25 {
        let range = format!("bytes={}-{}", n * 4 * MIB, (n + 1) * 4 * MIB - 1);
        assert_eq!(client.get("/data/large").header("range", &range).send().await.status, 206);
    }
    // No fetch is in flight any more, whose bytes would count.
    process.wait_for_metric("hotset_in_flight_bytes", |bytes| bytes < 1.0).await;
    let before = process.metric("hotset_cache_bytes").await;
    let full = process.metric("hotset_cache_capacity_bytes").await;
    let mut others = Vec::new();
    while process.metric("hotset_cache_capacity_bytes").await >= full {
        // Each object is measured before the next one: growth by more than the reserve between two measurements
        // cannot be helped by shrinking.
        let used = process.metric("hotset_memory_used_bytes").await;
        others.push(group.hold(8 * MIB));
        process
            .wait_for_metric("hotset_memory_used_bytes", |now| now > used + 4e6 || now < used - 1e6)
            .await;
    }
    process.logged("memory is short: ").await;
    process.wait_for_metric("hotset_cache_bytes", |held| held < before - 4e6).await;
    for mut other in others {
        drop(other.stdin.take());
        other.wait().unwrap();
    }
    process.logged("memory is no longer short").await;
    assert_eq!(client.get("/data/large").header("range", "bytes=0-9").send().await.status, 206);
}
