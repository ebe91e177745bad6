//! Guarantees while the disk hangs or fails (R11, R38): the real process, on a disk that does so on command.

use std::time::Duration;

use http::Method;

use crate::support::{Api, Client, FakeS3, FaultyDisk, Object, Process, Scratch, hotset, within};

const KEYS: [&str; 5] = ["purged", "told", "twice", "written", "kept"];

/// Objects on disk, for a process that knows them from there.
struct Setup {
    s3: FakeS3,
    scratch: Scratch,
    disk: FaultyDisk,
    /// Configuration of event receivers.
    events: String,
}

impl Setup {
    async fn new() -> (Setup, Process) {
        Setup::with_events("webhook: { address: 127.0.0.1:0 }").await
    }

    /// Makes the setup with these event receivers.
    async fn with_events(events: &str) -> (Setup, Process) {
        let scratch = Scratch::new();
        let disk = FaultyDisk::new(&scratch);
        let setup = Setup { s3: FakeS3::start().await, scratch, disk, events: events.to_owned() };
        let process = setup.start().await;
        for (n, key) in (0..).zip(KEYS) {
            setup.s3.put("data", key, Object::random(100_000, n));
            assert_eq!(setup.read(&process, key).await, 100_000);
        }
        setup.stop(process).await;
        let process = setup.start().await;
        (setup, process)
    }

    async fn start(&self) -> Process {
        let config = format!(
            "listen: [{{ address: 127.0.0.1:0 }}]\nadmin: {{ address: 127.0.0.1:0 }}\n\
             log: {{ access: off }}\norigin: {{ endpoint: '{}', attempts: 1 }}\n\
             cache: {{ admission: first-touch, disk: [{{ path: '{}', capacity: 128MiB }}] }}\n\
             events: {{ {} }}\n\
             rules: [{{ match: '**', freshness: immutable }}]\n",
            self.s3.endpoint(),
            self.scratch.path("cache"),
            self.events,
        );
        let file = self.scratch.file("hotset.yaml", &config);
        let mut command = hotset(&["serve", "--config", &file]);
        self.disk.below(&mut command);
        Process::spawn(command).await
    }

    async fn stop(&self, mut process: Process) {
        process.terminate();
        assert!(process.ended().await.success(), "{}", process.output());
    }

    /// Reads an object and compares it with the origin's; returns its size.
    async fn read(&self, process: &Process, key: &str) -> usize {
        let answer = process.client().get(&format!("/data/{key}")).send().await;
        assert!(answer.body == self.s3.object_bytes("data", key), "{key}: {:?}", answer.headers);
        answer.body.len()
    }

    /// Overwrites an object without telling hotset.
    fn overwrite(&self, key: &str) {
        self.s3.put("data", key, Object::random(60_000, 77));
    }
}

async fn purge(process: &Process, key: &str) -> u16 {
    let body = format!(r#"{{"keys":["s3://data/{key}"]}}"#);
    Api::new(process.admin).post("/api/v1/purge", &body).await.0
}

/// Posts an event to the webhook that an object was written: the same event each time.
async fn tell(process: &Process, key: &str) -> u16 {
    let output = process.output();
    let address = output.split("receiving notifications on ").nth(1).expect("it says so");
    let sender = Client::new(address.lines().next().unwrap().trim().parse().expect("an address"));
    sender.post("/").body(event(key)).send().await.status.as_u16()
}

fn event(key: &str) -> String {
    format!(
        r#"{{"Records":[{{"eventVersion":"2.1","eventSource":"aws:s3","eventName":"ObjectCreated:Put",
            "eventTime":"2026-01-01T00:00:00.123Z",
            "s3":{{"bucket":{{"name":"data"}},"object":{{"key":"{key}"}}}}}}]}}"#
    )
}

async fn write(process: &Process, key: &str) -> u16 {
    let body = Object::random(50_000, 99).all();
    let put = process.client().put(&format!("/data/{key}")).body(body);
    within("a write that passes through", put.send()).await.status.as_u16()
}

/// Repeats an event and a purge, as senders do, until both are acknowledged.
async fn until_acknowledged(process: &Process, key: &str) {
    let acknowledged = async {
        while tell(process, key).await != 200 || purge(process, key).await != 200 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within("an acknowledgement", acknowledged).await;
}

#[tokio::test]
async fn r38_a_disk_that_hangs_acknowledges_nothing_and_costs_one_confirmation_after_a_kill() {
    let (setup, process) = Setup::new().await;
    setup.disk.hang();
    for key in ["purged", "told", "twice"] {
        setup.overwrite(key);
    }
    // The second copy arrives while the first one is not durable.
    let (first, second) = tokio::join!(tell(&process, "twice"), tell(&process, "twice"));
    assert_eq!((first, second), (503, 503));
    assert_eq!(purge(&process, "purged").await, 503);
    assert_eq!(tell(&process, "told").await, 503);
    assert_eq!(tell(&process, "twice").await, 503, "and later neither");
    assert_eq!(write(&process, "written").await, 200);
    for key in KEYS {
        setup.read(&process, key).await;
    }
    assert!(process.output().contains("the disk does not take invalidations in time"));
    process.kill();
    setup.disk.heal();

    // None of these invalidations reached the disk, and none of the old objects is served.
    let process = setup.start().await;
    setup.s3.forget_requests();
    setup.read(&process, "kept").await;
    let asked = setup.s3.requests();
    let methods: Vec<_> = asked.iter().map(|seen| seen.method.clone()).collect();
    assert_eq!(methods, [Method::HEAD], "{}", setup.s3.describe());
    for _ in 0..2 {
        for key in KEYS {
            setup.read(&process, key).await;
        }
    }
    assert_eq!(setup.s3.count(|seen| seen.key == "kept"), 1, "once");
    // This is over when everything is confirmed and the shutdown is orderly.
    setup.stop(process).await;
    let process = setup.start().await;
    setup.s3.forget_requests();
    for key in KEYS {
        setup.read(&process, key).await;
    }
    assert!(setup.s3.requests().is_empty(), "{}", setup.s3.describe());
}

#[tokio::test]
async fn r38_a_disk_that_fails_acknowledges_nothing_until_it_works_again() {
    let (setup, process) = Setup::new().await;
    setup.disk.fail();
    for key in ["purged", "told"] {
        setup.overwrite(key);
    }
    for _ in 0..2 {
        assert_eq!(tell(&process, "told").await, 503);
        assert_eq!(purge(&process, "purged").await, 503);
    }
    assert_eq!(write(&process, "written").await, 200);
    setup.disk.heal();
    for key in ["told", "purged"] {
        until_acknowledged(&process, key).await;
    }
    process.kill();
    let process = setup.start().await;
    for key in KEYS {
        setup.read(&process, key).await;
    }
}

#[tokio::test]
async fn r38_a_plain_kill_costs_no_confirmation_and_what_was_acknowledged_holds() {
    let (setup, process) = Setup::new().await;
    setup.overwrite("told");
    setup.overwrite("purged");
    assert_eq!(tell(&process, "told").await, 200);
    assert_eq!(purge(&process, "purged").await, 200);
    assert_eq!(write(&process, "written").await, 200);
    process.kill();
    let process = setup.start().await;
    setup.s3.forget_requests();
    for key in KEYS {
        setup.read(&process, key).await;
    }
    let heads = setup.s3.count(|seen| seen.method == Method::HEAD);
    let kept = setup.s3.count(|seen| seen.key == "kept");
    assert_eq!((heads, kept), (0, 0), "{}", setup.s3.describe());
}

#[cfg(feature = "sqs")]
#[tokio::test]
async fn r38_a_message_of_a_queue_stays_there_until_the_disk_has_taken_what_it_says() {
    let sqs = crate::support::FakeSqs::start().await;
    let events =
        format!("sqs: [{{ queue: '{}', region: us-east-1, visibility: 2s, wait: 1s }}]", sqs.url);
    let (setup, process) = Setup::with_events(&events).await;
    let before = sqs.send(event("written"));
    sqs.until("a message to be deleted", before, |(_, is_deleted)| is_deleted).await;
    setup.disk.fail();
    setup.overwrite("told");
    let told = sqs.send(event("told"));
    // The event is applied at once, and redelivered until it is durable: not before the visibility timeout.
    sqs.until("a message to come again", told, |(received, _)| received >= 2).await;
    assert!(!sqs.state(told).1, "it was deleted, and is not durable");
    setup.read(&process, "told").await;
    setup.disk.heal();
    sqs.until("a message to be deleted", told, |(_, is_deleted)| is_deleted).await;
    process.kill();
    let process = setup.start().await;
    setup.read(&process, "told").await;
}
