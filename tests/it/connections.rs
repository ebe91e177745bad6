//! Connections to the origin are reused, by the cache's fetches and by passed-through requests.

use std::collections::HashSet;
use std::time::Duration;

use crate::support::{
    Client, FakeS3, Fault, Gate, Matcher, Object, Process, Scratch, TestProxy, Times,
};

const REQUESTS: usize = 200;

/// Returns the number of connections that the recorded requests came on.
fn connections(s3: &FakeS3) -> usize {
    s3.requests().iter().map(|request| request.connection).collect::<HashSet<_>>().len()
}

/// Starts hotset as installed, on all CPUs: connections would get lost between threads.
async fn serve(s3: &FakeS3, scratch: &Scratch) -> Process {
    let text = format!(
        "listen: [{{ address: 127.0.0.1:0 }}]\nadmin: {{ address: 127.0.0.1:0 }}\n\
         origin: {{ endpoint: '{}' }}\n",
        s3.endpoint()
    );
    Process::serve(&scratch.file("hotset.yaml", &text)).await
}

async fn assert_reused(s3: &FakeS3, client: &Client, what: &str, target: impl Fn(usize) -> String) {
    let before = s3.requests().len();
    for n in 0..REQUESTS {
        let answer = client.get(&target(n)).send().await;
        assert!(answer.status.as_u16() < 500 && answer.complete, "{what}: {}", answer.status);
    }
    let requests = s3.requests();
    let used = requests[before..].iter().map(|request| request.connection);
    let used = used.collect::<HashSet<_>>().len();
    assert!(requests.len() >= before + REQUESTS, "{what} asks the origin");
    println!("{what}: {used} connections for {REQUESTS} requests");
    assert!(used * 20 <= REQUESTS, "{what}: {used} connections for {REQUESTS} requests");
}

#[tokio::test]
async fn requests_one_after_another_share_their_connections() {
    let s3 = FakeS3::start().await;
    let scratch = Scratch::new();
    let process = serve(&s3, &scratch).await;
    for n in 0..REQUESTS {
        s3.put("data", &format!("small-{n}"), Object::random(5000, n as u64));
        s3.put("data", &format!("large-{n}"), Object::random(300_000, n as u64));
        s3.put("data", &format!("empty-{n}"), Object::random(0, 0));
    }
    let client = process.client();
    for kind in ["small", "large", "empty", "absent"] {
        assert_reused(&s3, &client, kind, |n| format!("/data/{kind}-{n}")).await;
    }
    assert_reused(&s3, &client, "lists", |n| format!("/data?list-type=2&prefix=small-{n}")).await;
    assert_reused(&s3, &client, "tags", |n| format!("/data/small-{n}?tagging")).await;
    let output = process.output();
    assert!(!output.contains("ERROR"), "{output}");
}

#[tokio::test]
async fn what_passes_through_and_what_is_fetched_share_connections() {
    let s3 = FakeS3::start().await;
    let proxy = TestProxy::start(&s3).await;
    let client = proxy.client();
    for n in 0..20 {
        s3.put("data", &format!("key-{n}"), Object::random(5000, n));
        assert_eq!(client.get(&format!("/data/key-{n}")).send().await.status, 200);
        assert_eq!(client.get("/data?list-type=2").send().await.status, 200);
        assert_eq!(client.put(&format!("/data/new-{n}")).body("x").send().await.status, 200);
    }
    assert_eq!(connections(&s3), 1);
}

#[tokio::test]
async fn a_read_over_a_kept_connection_that_dies_is_sent_once_more_over_a_new_one() {
    let s3 = FakeS3::start().await;
    let proxy = TestProxy::start(&s3).await;
    let client = proxy.client();
    s3.put("data", "first", Object::random(5000, 1));
    s3.put("data", "key", Object::random(5000, 1));
    for target in ["/data/key", "/data/key?tagging"] {
        assert_eq!(client.get("/data/first?acl").send().await.status, 200);
        let before = s3.requests().len();
        s3.fault(Matcher::get("key"), Times(1), Fault::CloseBeforeAnswer);
        assert_eq!(client.get(target).send().await.status, 200, "{target}");
        let seen = s3.requests();
        assert_eq!(seen.len(), before + 2, "{target}");
        assert_eq!(seen[before - 1].connection, seen[before].connection, "{target}");
        assert_ne!(seen[before].connection, seen[before + 1].connection, "{target}");
    }
}

#[tokio::test]
async fn connections_that_the_origin_has_closed_are_not_used() {
    let s3 = FakeS3::start().await;
    let proxy = TestProxy::start(&s3).await;
    let client = proxy.client();
    for round in 0..5 {
        s3.put("data", &format!("key-{round}"), Object::random(5000, round));
        assert_eq!(client.get(&format!("/data/key-{round}")).send().await.status, 200);
        let before = s3.requests().len();
        s3.go_down().await;
        s3.come_back().await;
        assert_eq!(client.put(&format!("/data/new-{round}")).body("x").send().await.status, 200);
        assert_eq!(s3.requests().len(), before + 1);
    }
}

#[tokio::test]
async fn a_connection_is_kept_after_answers_of_which_little_is_not_wanted() {
    let s3 = FakeS3::start().await;
    let proxy = TestProxy::start(&s3).await;
    let client = proxy.client();
    for n in 0..20 {
        s3.put("data", &format!("key-{n}"), Object::random(5000, n));
        let target = format!("/data/key-{n}");
        s3.fault(Matcher::get(&format!("key-{n}")), Times(1), Fault::Status(403, "AccessDenied"));
        assert_eq!(client.get(&target).send().await.status, 403);
        assert_eq!(client.head(&target).send().await.status, 200);
        let wrong = client.get(&target).header("if-match", "\"other\"").send().await;
        assert_eq!(wrong.status, 412);
    }
    assert_eq!(connections(&s3), 1);
}

async fn advance(seconds: u64) {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(seconds)).await;
    tokio::time::resume();
}

#[tokio::test]
async fn connections_are_kept_for_less_after_one_that_died_of_being_idle_and_not_after_a_slow_answer()
 {
    for (fault, target, is_dead) in [
        (Fault::CloseBeforeAnswer, "/data/second", true),
        (Fault::CloseBeforeAnswer, "/data/second?tagging", true),
        (Fault::HoldHeader(Gate::new()), "/data/second", false),
    ] {
        let s3 = FakeS3::start().await;
        let proxy = TestProxy::start_with(&s3, |config| {
            config.origin.first_byte_timeout = "200ms".parse().unwrap();
        })
        .await;
        let read = async |target: &str| proxy.client().get(target).send().await.status;
        for key in ["first", "second", "third"] {
            s3.put("data", key, Object::random(5000, 1));
        }
        assert_eq!(read("/data/first").await, 200);
        advance(10).await;
        s3.fault(Matcher::get("second"), Times(1), fault);
        assert_eq!(read(target).await, 200, "{target}");
        advance(9).await;
        assert_eq!(read("/data/third").await, 200);
        let used: Vec<u64> = s3.requests().iter().map(|seen| seen.connection).collect();
        assert!(used.len() == 4 && used[0] == used[1] && used[1] != used[2], "{used:?}");
        assert_eq!(used[2] != used[3], is_dead, "{target}: {used:?}");
    }
}
