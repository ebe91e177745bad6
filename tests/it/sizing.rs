//! Sizes from the limits of the control groups that the real process runs in. Skipped where none can be made.

use crate::support::{FakeS3, LimitedGroup, Process, Scratch, run};

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
