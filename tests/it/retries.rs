//! Retries of failed requests to the origin, within bounds, from the byte at which they broke off.

use std::time::Duration;

use tokio::time::Instant;

use crate::support::{Always, FakeS3, Fault, Matcher, Object, TestProxy, Times, setup};

const MIB: u64 = 1 << 20;

#[tokio::test]
async fn a_failing_status_is_retried_for_reads_and_heads() {
    let s3 = FakeS3::start().await;
    let proxy = TestProxy::start_with(&s3, |config| config.origin.retry_budget.floor = 15).await;
    let client = proxy.client();
    let statuses = [
        (500, "InternalError"),
        (502, "BadGateway"),
        (503, "SlowDown"),
        (504, "GatewayTimeout"),
        (429, "TooManyRequests"),
    ];
    for (status, code) in statuses {
        let key = format!("key-{status}");
        s3.put("data", &key, Object::random(5000, status.into()));
        let matcher = Matcher::any().key(&key);
        s3.fault(matcher, Times(2), Fault::Status(status, code));
        let answer = client.get(&format!("/data/{key}")).send().await;
        assert_eq!(answer.status, 200, "{status}");
        assert_eq!(answer.body, s3.object_bytes("data", &key));
        assert_eq!(s3.count(|r| r.key == key), 3);
        let key = format!("head-{status}");
        s3.put("data", &key, Object::random(5000, status.into()));
        s3.fault(Matcher::head(&key), Times(1), Fault::Status(status, code));
        assert_eq!(client.head(&format!("/data/{key}")).send().await.status, 200, "{status}");
        assert_eq!(s3.count(|r| r.key == key), 2);
    }
}

#[tokio::test]
async fn a_retry_goes_over_a_new_connection() {
    let (s3, _proxy, client) = setup().await;
    s3.put("data", "key", Object::random(5000, 1));
    s3.fault(Matcher::get("key"), Times(1), Fault::Status(503, "SlowDown"));
    assert_eq!(client.get("/data/key").send().await.status, 200);
    let seen = s3.requests();
    assert_ne!(seen[0].connection, seen[1].connection);
}

#[tokio::test]
async fn an_origin_that_closes_or_resets_before_it_answers_is_asked_again() {
    let (s3, _proxy, client) = setup().await;
    let faults = [("closes", Fault::CloseBeforeAnswer), ("resets", Fault::ResetBeforeAnswer)];
    for (key, fault) in faults {
        s3.put("data", key, Object::random(5000, 2));
        s3.fault(Matcher::get(key), Times(2), fault);
        let answer = client.get(&format!("/data/{key}")).send().await;
        assert!(answer.status == 200 && answer.body == s3.object_bytes("data", key), "{key}");
    }
}

#[tokio::test]
async fn an_origin_that_refuses_connections_is_tried_until_it_comes_back() {
    let s3 = FakeS3::start().await;
    let proxy = TestProxy::start_with(&s3, |config| {
        config.origin.attempts = 2000;
        config.origin.retry_budget.floor = 2000;
        config.origin.circuit_breaker = false;
    })
    .await;
    let client = proxy.client();
    s3.put("data", "key", Object::random(5000, 3));
    s3.go_down().await;
    let reader = client.get("/data/key").start(0).await;
    assert_eq!(client.get("/data/%zz").send().await.status, 400);
    s3.come_back().await;
    let answer = reader.finish().await;
    assert!(answer.status == 200 && answer.body == s3.object_bytes("data", "key"));
}

#[tokio::test]
async fn an_origin_that_stays_down_is_a_503_in_xml_and_soon() {
    let (s3, _proxy, client) = setup().await;
    s3.put("data", "key", Object::random(5000, 4));
    s3.go_down().await;
    let started = Instant::now();
    let answer = client.get("/data/key").send().await;
    assert!(started.elapsed() < Duration::from_secs(5));
    assert_eq!(answer.status, 503);
    assert_eq!(answer.header("content-type"), "application/xml");
    assert!(answer.text().contains("<Code>ServiceUnavailable</Code>"), "{}", answer.text());
    assert!(answer.text().contains("<RequestId>"));
    let head = client.head("/data/key").send().await;
    assert!(head.status == 503 && head.body.is_empty());
    let put = client.put("/data/key").body("x").send().await;
    assert_eq!(put.status, 503);
    assert!(put.text().contains("<Code>ServiceUnavailable</Code>"), "{}", put.text());
    s3.come_back().await;
    assert_eq!(client.get("/data/key").send().await.status, 200);
}

#[tokio::test]
async fn an_origin_that_goes_on_to_throttle_is_a_slow_down() {
    let (s3, _proxy, client) = setup().await;
    s3.put("data", "key", Object::random(5000, 5));
    s3.fault(Matcher::any(), Always, Fault::Status(503, "SlowDown"));
    let answer = client.get("/data/key").send().await;
    assert_eq!(answer.status, 503);
    assert!(answer.text().contains("<Code>SlowDown</Code>"), "{}", answer.text());
}

#[tokio::test]
async fn attempts_are_bounded() {
    let s3 = FakeS3::start().await;
    let proxy = TestProxy::start_with(&s3, |config| config.origin.attempts = 3).await;
    let client = proxy.client();
    for (key, fault) in [
        ("status", Fault::Status(500, "InternalError")),
        ("reset", Fault::ResetBeforeAnswer),
        ("no-byte", Fault::CutAfter(0)),
        ("lie", Fault::ShortContentLength),
    ] {
        s3.put("data", key, Object::random(5000, 6));
        s3.fault(Matcher::get(key), Always, fault);
        let answer = client.get(&format!("/data/{key}")).send().await;
        assert!(answer.status == 503 || !answer.complete, "{key}: {}", answer.status);
        let asked = s3.count(|r| r.key == key);
        // A head that arrived renews the bound once.
        assert!((3..=4).contains(&asked), "{key}: {asked}");
    }
}

#[tokio::test]
async fn an_origin_that_fails_is_asked_a_tenth_more_than_usual_and_not_six_times() {
    let (s3, proxy, client) = setup().await;
    for key in 0..200 {
        s3.put("data", &format!("{key}"), Object::random(500, key));
    }
    for key in 0..100 {
        assert_eq!(client.get(&format!("/data/{key}")).send().await.status, 200);
    }
    s3.fault(Matcher::any(), Always, Fault::Status(503, "SlowDown"));
    s3.forget_requests();
    for key in 100..200 {
        assert_eq!(client.get(&format!("/data/{key}")).send().await.status, 503);
    }
    // A tenth of the hundred that were answered, and the ten of `floor`.
    let asked = s3.requests().len();
    assert!((101..=120).contains(&asked), "{asked} requests for 100 reads");
    let refused = "hotset_origin_retries_refused_total";
    assert!(proxy.metric(refused).await >= 80.0);
    // A passed-through request is never sent again once it was answered.
    s3.forget_requests();
    assert_eq!(client.get("/data?list-type=2").send().await.status, 503);
    assert_eq!(s3.requests().len(), 1);
}

#[tokio::test]
async fn an_origin_that_refuses_every_other_request_once_costs_no_client_an_error() {
    let s3 = FakeS3::start().await;
    let proxy = TestProxy::start(&s3).await;
    let client = proxy.client();
    // Far more retries than the budget has for requests that are not answered.
    for number in 0..100 {
        let key = format!("key-{number}");
        s3.put("data", &key, Object::random(5000, number));
        if number % 2 == 0 {
            s3.fault(Matcher::get(&key), Times(1), Fault::Status(503, "ServiceUnavailable"));
        }
        let answer = client.get(&format!("/data/{key}")).send().await;
        assert!(answer.status == 200 && answer.body.len() == 5000, "{number}: {}", answer.status);
    }
    assert_eq!(s3.requests().len(), 150);
}

#[tokio::test]
async fn a_short_retry_after_of_the_origin_is_waited_for() {
    let s3 = FakeS3::start().await;
    let proxy = TestProxy::start_with(&s3, |config| {
        config.origin.backoff.cap.0 = Duration::from_secs(5);
    })
    .await;
    s3.put("data", "key", Object::random(5000, 16));
    let slow_down = Fault::All(vec![
        Fault::Status(503, "SlowDown"),
        Fault::SetHeader("Retry-After", "1".to_owned()),
    ]);
    s3.fault(Matcher::get("key"), Times(1), slow_down);
    let started = Instant::now();
    assert_eq!(proxy.client().get("/data/key").send().await.status, 200);
    assert!(started.elapsed() >= Duration::from_secs(1), "it was asked too early");
    assert_eq!(s3.requests().len(), 2);
}

#[tokio::test]
async fn a_long_retry_after_of_the_origin_is_passed_on_at_once() {
    let (s3, _proxy, client) = setup().await;
    let date = "Wed, 01 Jan 2098 10:00:00 GMT";
    for (key, status, code, header, value) in [
        ("seconds", 503, "SlowDown", "retry-after", "3600"),
        ("date", 503, "SlowDown", "retry-after", date),
        ("milliseconds", 503, "SlowDown", "x-amz-retry-after", "60000"),
        ("error", 500, "InternalError", "retry-after", "120"),
    ] {
        let come_later = Fault::All(vec![
            Fault::Status(status, code),
            Fault::SetHeader(header, value.to_owned()),
        ]);
        s3.fault(Matcher::any().key(key), Always, come_later);
        let answer = client.get(&format!("/data/{key}")).send().await;
        assert_eq!((answer.status.as_u16(), answer.header(header)), (503, value), "{key}");
        assert_eq!(s3.count(|r| r.key == key), 1, "{key}");
    }
}

#[tokio::test]
async fn the_deadline_ends_retries_whatever_the_attempts() {
    let s3 = FakeS3::start().await;
    let proxy = TestProxy::start_with(&s3, |config| {
        config.origin.attempts = u32::MAX;
        config.origin.deadline.0 = Duration::from_millis(300);
    })
    .await;
    s3.put("data", "key", Object::random(5000, 7));
    s3.fault(Matcher::any(), Always, Fault::Status(500, "InternalError"));
    let started = Instant::now();
    assert_eq!(proxy.client().get("/data/key").send().await.status, 503);
    assert!(started.elapsed() < Duration::from_secs(5));
    assert!(s3.requests().len() > 1);
}

#[tokio::test]
async fn an_origin_that_does_not_answer_is_given_up_after_the_first_byte_timeout() {
    let s3 = FakeS3::start().await;
    let proxy = TestProxy::start_with(&s3, |config| {
        config.origin.first_byte_timeout.0 = Duration::from_millis(200);
    })
    .await;
    s3.put("data", "key", Object::random(5000, 8));
    let gate = crate::support::Gate::new();
    s3.fault(Matcher::get("key"), Times(1), Fault::HoldHeader(gate.clone()));
    let answer = proxy.client().get("/data/key").send().await;
    assert!(answer.status == 200 && answer.body == s3.object_bytes("data", "key"));
    s3.wait_for(|seen| seen[0].done).await;
    assert_eq!(s3.requests().len(), 2);
}

#[tokio::test]
async fn refusals_are_passed_on_and_not_retried() {
    let (s3, _proxy, client) = setup().await;
    for (status, code) in
        [(400, "InvalidRequest"), (403, "AccessDenied"), (405, "MethodNotAllowed"), (409, "Odd")]
    {
        let key = format!("key-{status}");
        s3.put("data", &key, Object::random(5000, status.into()));
        s3.fault(Matcher::any().key(&key), Always, Fault::Status(status, code));
        let answer = client.get(&format!("/data/{key}")).send().await;
        assert_eq!(answer.status.as_u16(), status);
        assert!(answer.text().contains(&format!("<Code>{code}</Code>")), "{}", answer.text());
        assert_eq!(s3.count(|r| r.key == key), 1, "{status}");
    }
    let answer = client.get("/data/missing").send().await;
    assert!(answer.status == 404 && answer.text().contains("<Code>NoSuchKey</Code>"));
    assert_eq!(s3.count(|r| r.key == "missing"), 1);
}

/// Reads an object whose first response is broken by `fault`; returns the offset at which the second request began.
async fn resumed(fault: Fault) -> u64 {
    let s3 = FakeS3::start().await;
    let proxy = TestProxy::start_with(&s3, |config| {
        config.origin.idle_timeout.0 = Duration::from_millis(200);
    })
    .await;
    let object = Object::random(MIB, 9);
    s3.put("data", "key", object.clone());
    s3.fault(Matcher::get("key"), Times(1), fault);
    let answer = proxy.client().get("/data/key").send().await;
    assert!(answer.complete && answer.body == object.all());
    let seen = s3.requests();
    assert_eq!(seen.len(), 2, "{}", s3.describe());
    assert_ne!(seen[0].connection, seen[1].connection);
    assert_eq!(seen[1].header("if-match"), object.etag_value().unwrap());
    seen[1].range.clone().unwrap().start
}

#[tokio::test]
async fn a_body_that_is_cut_is_resumed_where_it_broke_off() {
    assert_eq!(resumed(Fault::CutAfter(300_000)).await, 300_000);
}

#[tokio::test]
async fn a_body_that_is_reset_is_resumed_where_it_broke_off() {
    // Bytes in flight may be lost with a reset.
    assert!(resumed(Fault::ResetAfter(300_000)).await <= 300_000);
}

#[tokio::test]
async fn a_body_that_stalls_is_resumed_where_it_stopped() {
    assert_eq!(resumed(Fault::StallAfter(300_000)).await, 300_000);
}

#[tokio::test]
async fn a_body_is_resumed_as_often_as_it_makes_progress() {
    let (s3, _proxy, client) = setup().await;
    let object = Object::random(4 * MIB, 10);
    s3.put("data", "key", object.clone());
    s3.fault(Matcher::get("key"), Always, Fault::CutAfter(100_000));
    let answer = client.get("/data/key").send().await;
    assert!(answer.complete && answer.body == object.all());
    s3.assert_each_byte_sent_once("data", "key");
    assert!(s3.requests().len() >= 42);
}

#[tokio::test]
async fn a_body_that_makes_no_progress_breaks_the_transfer() {
    let (s3, _proxy, client) = setup().await;
    let object = Object::random(MIB, 11);
    s3.put("data", "key", object.clone());
    s3.fault(Matcher::get("key"), Times(1), Fault::CutAfter(100_000));
    s3.fault(Matcher::get("key"), Always, Fault::CutAfter(0));
    let answer = client.get("/data/key").send().await;
    assert!(answer.status == 200 && !answer.complete);
    assert_eq!(answer.body, object.slice(0..100_000));
    s3.clear_faults();
    let answer = client.get("/data/key").send().await;
    assert!(answer.complete && answer.body == object.all());
}

#[tokio::test]
async fn a_kept_alive_connection_that_died_is_replaced_silently() {
    let s3 = FakeS3::start().await;
    let proxy = TestProxy::start_with(&s3, |config| config.origin.attempts = 1).await;
    let client = proxy.client();
    for (n, fault) in [Fault::ResetBeforeAnswer, Fault::CloseBeforeAnswer].into_iter().enumerate() {
        let (warm, key) = (format!("warm-{n}"), format!("key-{n}"));
        s3.put("data", &warm, Object::random(5000, 12));
        s3.put("data", &key, Object::random(5000, 13));
        assert_eq!(client.get(&format!("/data/{warm}")).send().await.status, 200);
        s3.fault(Matcher::get(&key), Times(1), fault);
        let answer = client.get(&format!("/data/{key}")).send().await;
        assert!(answer.status == 200 && answer.body == s3.object_bytes("data", &key));
        let seen = s3.requests();
        let [.., first, failed, again] = &seen[..] else { panic!("{}", s3.describe()) };
        assert_eq!(first.connection, failed.connection, "it was not reused");
        assert_ne!(failed.connection, again.connection);
    }
}

#[tokio::test]
async fn a_connection_that_the_origin_closed_meanwhile_costs_nothing() {
    let s3 = FakeS3::start().await;
    let proxy = TestProxy::start_with(&s3, |config| config.origin.attempts = 1).await;
    let client = proxy.client();
    s3.fault(Matcher::any(), Always, Fault::CloseAfterAnswer);
    for n in 0..5 {
        let key = format!("key-{n}");
        s3.put("data", &key, Object::random(5000, n));
        assert_eq!(client.get(&format!("/data/{key}")).send().await.status, 200);
    }
    assert_eq!(s3.requests().len(), 5);
}

#[tokio::test]
async fn r15_the_origins_clock_is_learned_when_it_calls_ours_skewed() {
    let (s3, _proxy, client) = setup().await;
    for key in ["one", "two"] {
        s3.put("data", key, Object::random(5000, 14));
    }
    let skewed = Fault::All(vec![
        Fault::Status(403, "RequestTimeTooSkewed"),
        Fault::SetHeader("Date", "Wed, 01 Jan 2031 10:00:00 GMT".to_owned()),
    ]);
    s3.fault(Matcher::get("one"), Times(1), skewed);
    for key in ["/data/one", "/data/two"] {
        assert_eq!(client.get(key).send().await.status, 200);
    }
    assert_eq!(client.put("/data/three").body("x").send().await.status, 200);
    let seen = s3.requests();
    assert_eq!(seen.len(), 4, "{}", s3.describe());
    assert!(!seen[0].header("x-amz-date").starts_with("2031"));
    for request in &seen[1..] {
        let date = request.header("x-amz-date");
        assert!(date.starts_with("20310101T1000") || date == "20310101T095959Z", "{date}");
    }
}

#[tokio::test]
async fn r15_a_clock_that_stays_skewed_is_not_told_as_if_it_were_the_clients_and_tried_once_more() {
    let (s3, _proxy, client) = setup().await;
    s3.put("data", "key", Object::random(5000, 15));
    s3.fault(Matcher::get("key"), Always, Fault::Status(403, "RequestTimeTooSkewed"));
    let answer = client.get("/data/key").send().await;
    assert_eq!(answer.status, 503);
    assert!(answer.text().contains("hotset signs with (RequestTimeTooSkewed)"));
    assert_eq!(s3.requests().len(), 2);
}

#[tokio::test]
async fn a_body_that_brings_next_to_nothing_is_resumed_in_time() {
    let s3 = FakeS3::start().await;
    let proxy = TestProxy::start_with(&s3, |config| {
        config.origin.idle_timeout = "120s".parse().unwrap();
        config.origin.deadline = "2s".parse().unwrap();
    })
    .await;
    s3.put("data", "key", Object::random(300_000, 6));
    s3.fault(Matcher::get("key"), Times(1), Fault::StallAfter(150_000));
    let answer = proxy.client().get("/data/key").send().await;
    assert!(answer.complete && answer.body == s3.object_bytes("data", "key"));
    let seen = s3.requests();
    let starts: Vec<_> = seen.iter().filter_map(|seen| Some(seen.range.clone()?.start)).collect();
    assert_eq!(starts, [0, 150_000], "{}", s3.describe());
}
