//! The real process, killed as soon as it has answered a notification.

use super::written;
use crate::support::{Client, FakeS3, Object, Process, Scratch};

struct House {
    s3: FakeS3,
    scratch: Scratch,
}

impl House {
    async fn start(&self) -> Process {
        let config = format!(
            "listen: [{{ address: 127.0.0.1:0 }}]\nadmin: {{ address: 127.0.0.1:0 }}\nthreads: 2\n\
             log: {{ access: off }}\norigin: {{ endpoint: '{}' }}\n\
             cache: {{ admission: first-touch, disk: [{{ path: '{}', capacity: 128MiB }}] }}\n\
             events: {{ webhook: {{ address: 127.0.0.1:0 }} }}\n\
             rules: [{{ match: '**', freshness: immutable }}]\n",
            self.s3.endpoint(),
            self.scratch.path("cache"),
        );
        Process::serve(&self.scratch.file("hotset.yaml", &config)).await
    }
}

fn sender(process: &Process) -> Client {
    let output = process.output();
    let address = output.split("receiving notifications on ").nth(1).expect("it says so");
    Client::new(address.lines().next().unwrap().trim().parse().expect("an address"))
}

#[tokio::test]
async fn r11_what_was_told_and_answered_is_not_served_after_a_kill_under_immutable_either() {
    let house = House { s3: FakeS3::start().await, scratch: Scratch::new() };
    let old = Object::random(200_000, 1);
    let mut process = house.start().await;
    for key in ["told", "untold"] {
        house.s3.put("data", key, old.clone());
        assert!(process.client().get(&format!("/data/{key}")).send().await.body == old.all());
    }
    // At shutdown it writes memory to disk.
    process.terminate();
    process.ended().await;

    let process = house.start().await;
    let new = Object::random(100_000, 2);
    for key in ["told", "untold"] {
        house.s3.put("data", key, new.clone());
    }
    let answer = sender(&process).post("/").body(written("told")).send().await;
    process.kill();
    assert_eq!(answer.status, 200);

    let process = house.start().await;
    let read = |key| process.client().get(key).send();
    assert!(read("/data/told").await.body == new.all());
    assert!(read("/data/untold").await.body == old.all(), "what was not told is on disk still");
}
