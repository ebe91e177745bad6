//! The circuit breaker: while the origin fails, hits are still served, misses are refused at once, and its recovery
//! is noticed.

use std::time::{Duration, Instant};

use crate::support::{
    Always, Client, FakeS3, Fault, Gate, Matcher, Object, TestProxy, Times, setup, within,
};

const ERROR: Fault = Fault::Status(500, "InternalError");

/// Reads uncached objects until the origin gets no requests for them.
async fn read_until_refused(client: &Client) {
    within("the breaker to open", async {
        for key in 0.. {
            let answer = client.get(&format!("/data/not-there-{key}")).send().await;
            assert_eq!(answer.status, 503);
            if answer.text().contains("The origin fails") {
                return;
            }
        }
    })
    .await;
}

async fn read_until_answered(client: &Client, path: &str) {
    within("the origin to be asked again", async {
        while client.get(path).send().await.status != 200 {}
    })
    .await;
}

fn read(s3: &FakeS3, key: &str) -> usize {
    s3.count(|seen| seen.key == key)
}

#[tokio::test]
async fn while_the_origin_fails_hits_go_on_and_misses_are_refused_without_asking_it() {
    let (s3, _proxy, client) = setup().await;
    for key in ["hot", "cold"] {
        s3.put("data", key, Object::random(5000, 1));
    }
    assert_eq!(client.get("/data/hot").range("bytes=0-99").send().await.status, 206);
    s3.fault(Matcher::any(), Always, ERROR);
    read_until_refused(&client).await;
    s3.forget_requests();
    let mut refused = 0;
    for key in 0..200 {
        let answer = client.get(&format!("/data/miss-{key}")).send().await;
        assert_eq!(answer.status, 503);
        refused += usize::from(answer.text().contains("The origin fails"));
        if answer.text().contains("The origin fails") {
            assert_eq!(answer.header("retry-after"), "1");
        }
        let hit = client.get("/data/hot").range("bytes=0-99").send().await;
        assert_eq!((hit.status.as_u16(), hit.header("cache-status")), (206, "hotset; hit"));
    }
    // All but the probes, at most one every tenth of a second.
    assert!(refused > 150, "{refused} of 200");
    assert_eq!(s3.requests().len(), 200 - refused, "{}", s3.describe());
    // Also in checksum mode, which asks for unknown checksums.
    let whole = client.get("/data/hot").header("x-amz-checksum-mode", "ENABLED").send().await;
    assert_eq!((whole.status.as_u16(), whole.header("cache-status")), (200, "hotset; hit"));
    s3.clear_faults();
    read_until_answered(&client, "/data/cold").await;
    s3.fault(Matcher::any().key("again"), Always, Fault::Status(404, "NoSuchKey"));
    assert_eq!(client.get("/data/again").send().await.status, 404, "it is closed");
}

#[tokio::test]
async fn what_passes_through_is_tried_while_the_origin_fails_and_its_answer_counts() {
    let (s3, _proxy, client) = setup().await;
    s3.put("data", "cold", Object::random(5000, 1));
    s3.fault(Matcher::any(), Always, ERROR);
    read_until_refused(&client).await;
    s3.forget_requests();
    assert_eq!(client.get("/data?list-type=2").send().await.status, 500);
    assert_eq!(client.put("/data/new").body("x").send().await.status, 500);
    assert_eq!(read(&s3, "new"), 1, "{}", s3.describe());
    s3.clear_faults();
    assert_eq!(client.put("/data/new").body("x").send().await.status, 200);
    assert_eq!(client.get("/data/cold").send().await.status, 200, "at once");
}

/// The circuit breaker is not opened by refusals, throttling, or failures of a single object.
#[tokio::test]
async fn an_origin_that_answers_is_asked_whatever_it_says() {
    let (s3, _proxy, client) = setup().await;
    for (round, fault) in [
        Fault::Status(503, "SlowDown"),
        Fault::Status(403, "AccessDenied"),
        Fault::Status(404, "NoSuchKey"),
        Fault::Status(412, "PreconditionFailed"),
    ]
    .into_iter()
    .enumerate()
    {
        s3.clear_faults();
        s3.fault(Matcher::any(), Always, fault);
        let started = Instant::now();
        let mut key = 0;
        while key < 30 || started.elapsed() < Duration::from_millis(700) {
            client.get(&format!("/data/{round}-{key}")).send().await;
            assert!(read(&s3, &format!("{round}-{key}")) > 0, "{round} {key}");
            key += 1;
        }
    }
    s3.clear_faults();
    s3.fault(Matcher::any().key("poison"), Always, ERROR);
    let started = Instant::now();
    while started.elapsed() < Duration::from_millis(700) {
        s3.forget_requests();
        assert_eq!(client.get("/data/poison").send().await.status, 503);
        assert!(read(&s3, "poison") > 0);
    }
}

#[tokio::test]
async fn a_body_under_way_outlives_a_short_outage() {
    let s3 = FakeS3::start().await;
    // The pauses of tests are so short that the attempts would end before the breaker opens.
    let proxy = TestProxy::start_with(&s3, |config| config.origin.attempts = 2000).await;
    let client = proxy.client();
    s3.put("data", "large", Object::random(300_000, 7));
    let gate = Gate::new();
    s3.fault(Matcher::get("large"), Times(1), Fault::HoldBodyAfter(100_000, gate.clone()));
    let reader = client.get("/data/large").start(0).await;
    within("the body to begin", gate.wait_reached()).await;
    s3.go_down().await;
    read_until_refused(&client).await;
    let admin = Client::new(proxy.admin);
    within("the outage to last", async {
        while !admin.get("/readyz").send().await.text().contains("fails for 2 s") {}
    })
    .await;
    s3.come_back().await;
    let answer = reader.finish().await;
    assert!(answer.complete && answer.body == s3.object_bytes("data", "large"));
}
