//! Writes through the proxy: seen by every later read, never sent twice, and revalidated when their outcome is
//! unknown (R8, R9).

use std::time::Duration;

use http::Method;

use crate::support::{Always, Client, FakeS3, Fault, Gate, Matcher, Object, Times, setup};

async fn read(client: &Client) -> String {
    client.get("/data/key").send().await.text()
}

fn heads(s3: &FakeS3) -> usize {
    s3.count(|r| r.method == Method::HEAD)
}

/// Advances the clock by this many seconds; no request may be in flight.
async fn pass(seconds: u64) {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(seconds)).await;
    tokio::time::resume();
}

/// Uploads one part of `content` and returns the target that completes the upload.
async fn upload(client: &Client, content: &str) -> String {
    let begun = client.post("/data/key?uploads").send().await.text();
    let id = begun.split("<UploadId>").nth(1).and_then(|rest| rest.split('<').next());
    let id = id.expect("an upload id").to_owned();
    let part = client.put(&format!("/data/key?partNumber=1&uploadId={id}"));
    assert_eq!(part.body(content.to_owned()).send().await.status, 200);
    format!("/data/key?uploadId={id}")
}

#[tokio::test]
async fn r8_what_is_read_during_a_write_is_not_kept_after_it() {
    let (s3, _proxy, client) = setup().await;
    s3.put("data", "key", Object::bytes("old"));
    assert_eq!(read(&client).await, "old");
    let gate = Gate::new();
    s3.fault(Matcher::put("key"), Times(1), Fault::HoldRequest(gate.clone()));
    let writer = client.put("/data/key").body("new");
    let writer = tokio::spawn(async move { writer.send().await });
    gate.wait_reached().await;
    // Invalidated before it was forwarded: the read asks the origin, and its object is cached for now.
    s3.forget_requests();
    assert_eq!(read(&client).await, "old");
    assert_eq!(read(&client).await, "old");
    assert_eq!(s3.count(|r| r.method == Method::GET), 1, "{}", s3.describe());
    gate.open();
    assert_eq!(writer.await.unwrap().status, 200);
    assert_eq!(read(&client).await, "new");
}

#[tokio::test]
async fn r8_a_read_that_is_under_way_when_a_write_ends_is_not_admitted() {
    let (s3, _proxy, client) = setup().await;
    s3.put("data", "key", Object::bytes("old"));
    let (writing, reading) = (Gate::new(), Gate::new());
    s3.fault(Matcher::put("key"), Times(1), Fault::HoldRequest(writing.clone()));
    s3.fault(Matcher::get("key"), Times(1), Fault::HoldHeader(reading.clone()));
    let writer = client.put("/data/key").body("new");
    let writer = tokio::spawn(async move { writer.send().await });
    writing.wait_reached().await;
    let reader = client.get("/data/key").start(0).await;
    reading.wait_reached().await;
    writing.open();
    assert_eq!(writer.await.unwrap().status, 200);
    assert_eq!(read(&client).await, "new");
    reading.open();
    // It arrived before the write ended: either object is right for it.
    assert!(["old", "new"].contains(&&*reader.finish().await.text()));
    assert_eq!(read(&client).await, "new");
}

#[tokio::test]
async fn r8_a_late_commit_is_seen_by_the_read_that_follows_its_last_byte() {
    let (s3, _proxy, client) = setup().await;
    s3.put("data", "key", Object::bytes("old"));
    assert_eq!(read(&client).await, "old");
    let target = upload(&client, "new").await;
    let gate = Gate::new();
    s3.fault(Matcher::any().query("uploadId"), Times(1), Fault::LateCommit(gate.clone()));
    let mut answer = client.post(&target).open().await;
    assert_eq!(answer.status, 200);
    assert!(answer.read(38).await.starts_with(b"<?xml"));
    gate.wait_reached().await;
    // The 200 has arrived, and the old object is still current.
    assert_eq!(read(&client).await, "old");
    gate.open();
    let rest = String::from_utf8_lossy(&answer.rest().await).into_owned();
    assert!(rest.contains("<CompleteMultipartUploadResult>"), "{rest}");
    assert_eq!(read(&client).await, "new");
}

#[tokio::test]
async fn r8_a_late_failure_leaves_the_old_object() {
    let (s3, _proxy, client) = setup().await;
    s3.put("data", "key", Object::bytes("old"));
    let target = upload(&client, "new").await;
    let gate = Gate::new();
    let fault = Fault::LateFailure(gate.clone(), "InternalError");
    s3.fault(Matcher::any().query("uploadId"), Times(1), fault);
    gate.open();
    let answer = client.post(&target).send().await;
    assert!(answer.status == 200 && answer.text().contains("<Code>InternalError</Code>"));
    assert_eq!(read(&client).await, "old");
}

#[tokio::test]
async fn r8_after_an_unknown_outcome_each_read_asks_for_a_minute() {
    let (s3, _proxy, client) = setup().await;
    s3.put("data", "key", Object::bytes("old"));
    s3.fault(Matcher::put("key"), Times(1), Fault::ResetBeforeAnswer);
    assert_eq!(client.put("/data/key").body("new").send().await.status, 503);
    assert_eq!(read(&client).await, "new");
    assert_eq!(heads(&s3), 0);
    for n in 1..4 {
        assert_eq!(read(&client).await, "new");
        assert_eq!(heads(&s3), n, "{}", s3.describe());
    }
    // The write takes effect late, without hotset.
    s3.put("data", "key", Object::bytes("late"));
    assert_eq!(read(&client).await, "late");
    assert_eq!(heads(&s3), 4);
    pass(61).await;
    assert_eq!(read(&client).await, "late");
    let asked = heads(&s3);
    assert_eq!(read(&client).await, "late");
    assert_eq!(heads(&s3), asked);
}

#[tokio::test]
async fn r8_an_error_of_the_server_is_an_unknown_outcome() {
    let (s3, _proxy, client) = setup().await;
    s3.put("data", "key", Object::bytes("old"));
    s3.fault(Matcher::put("key"), Always, Fault::Status(500, "InternalError"));
    assert_eq!(client.put("/data/key").body("new").send().await.status, 500);
    for n in 0..3 {
        assert_eq!(read(&client).await, "old");
        assert_eq!(heads(&s3), n, "{}", s3.describe());
    }
    // A refusal is a known outcome.
    s3.put("data", "other", Object::bytes("old"));
    s3.fault(Matcher::put("other"), Always, Fault::Status(403, "AccessDenied"));
    assert_eq!(client.put("/data/other").body("new").send().await.status, 403);
    s3.forget_requests();
    for _ in 0..3 {
        assert_eq!(client.get("/data/other").send().await.text(), "old");
    }
    assert_eq!(s3.requests().len(), 1, "{}", s3.describe());
}

#[tokio::test]
async fn r8_an_answer_that_breaks_off_is_an_unknown_outcome() {
    let (s3, _proxy, client) = setup().await;
    s3.put("data", "key", Object::bytes("old"));
    let target = upload(&client, "new").await;
    s3.fault(Matcher::any().query("uploadId"), Times(1), Fault::CutAfter(60));
    let answer = client.post(&target).send().await;
    assert!(!answer.complete);
    for _ in 0..3 {
        assert_eq!(read(&client).await, "new");
    }
    assert!(heads(&s3) >= 2, "{}", s3.describe());
}

#[tokio::test]
async fn r8_a_client_that_goes_away_before_the_commit_leaves_a_doubt() {
    let (s3, _proxy, client) = setup().await;
    s3.put("data", "key", Object::bytes("old"));
    let target = upload(&client, "new").await;
    let gate = Gate::new();
    s3.fault(Matcher::any().query("uploadId"), Times(1), Fault::LateCommit(gate.clone()));
    let answer = client.post(&target).open().await;
    gate.wait_reached().await;
    assert_eq!(read(&client).await, "old");
    answer.abandon();
    s3.wait_for(|seen| seen.iter().all(|r| r.done)).await;
    s3.put("data", "key", Object::bytes("committed after all"));
    for _ in 0..4 {
        assert_eq!(client.get("/data/%zz").send().await.status, 400);
    }
    assert_eq!(read(&client).await, "committed after all");
    s3.put("data", "key", Object::bytes("and again"));
    assert_eq!(read(&client).await, "and again");
}

#[tokio::test]
async fn r8_a_read_of_a_doubtful_key_does_not_join_an_earlier_opening() {
    let (s3, _proxy, client) = setup().await;
    s3.put("data", "key", Object::bytes("old"));
    s3.fault(Matcher::put("key"), Times(1), Fault::Status(500, "InternalError"));
    assert_eq!(client.put("/data/key").body("new").send().await.status, 500);
    let gate = Gate::new();
    s3.fault(Matcher::get("key"), Times(1), Fault::HoldHeader(gate.clone()));
    let early = client.get("/data/key").start(0).await;
    gate.wait_reached().await;
    s3.put("data", "key", Object::bytes("late"));
    let late = client.get("/data/key").start(0).await;
    for _ in 0..4 {
        assert_eq!(client.get("/data/%zz").send().await.status, 400);
    }
    gate.open();
    early.finish().await;
    assert_eq!(late.finish().await.text(), "late");
}

#[tokio::test]
async fn r8_a_delete_of_many_forgets_each_key_that_it_names() {
    let (s3, _proxy, client) = setup().await;
    for key in ["a", "b&c", "kept"] {
        s3.put("data", key, Object::bytes("old"));
    }
    for path in ["/data/a", "/data/b&c", "/data/kept"] {
        assert_eq!(client.get(path).send().await.status, 200);
    }
    let body = "<Delete><Object><Key>a</Key></Object><Object><Key>b&amp;c</Key></Object></Delete>";
    assert_eq!(client.post("/data?delete").body(body).send().await.status, 200);
    s3.forget_requests();
    assert_eq!(client.get("/data/a").send().await.status, 404);
    assert_eq!(client.get("/data/b&c").send().await.status, 404);
    assert_eq!(client.get("/data/kept").send().await.header("cache-status"), "hotset; hit");
}

#[tokio::test]
async fn r8_a_write_to_a_bucket_forgets_all_its_objects_and_no_others() {
    let (s3, _proxy, client) = setup().await;
    for method in [Method::PUT, Method::DELETE, Method::POST] {
        s3.put("data", "key", Object::bytes("old"));
        s3.put("elsewhere", "key", Object::bytes("old"));
        client.get("/data/key").header("Cache-Control", "no-cache").send().await;
        client.get("/elsewhere/key").header("Cache-Control", "no-cache").send().await;
        s3.put("data", "key", Object::bytes("new"));
        s3.put("elsewhere", "key", Object::bytes("new"));
        client.request(method.clone(), "/data?lifecycle").body("").send().await;
        assert_eq!(read(&client).await, "new", "{method}");
        assert_eq!(client.get("/elsewhere/key").send().await.text(), "old", "{method}");
    }
}

/// Writes that may change any object of the bucket, or each one that they name.
const BUCKET_WIDE: [(&str, &str, &str); 3] = [
    ("POST", "/data?delete", "<Delete><Object><Key>key</Key></Object></Delete>"),
    ("PUT", "/data?lifecycle", "x"),
    ("PATCH", "/data", "x"),
];

#[tokio::test]
async fn r8_after_an_unknown_outcome_of_a_write_to_a_bucket_each_read_of_its_objects_asks() {
    for (method, path, body) in BUCKET_WIDE {
        let (s3, _proxy, client) = setup().await;
        for bucket in ["data", "elsewhere"] {
            s3.put(bucket, "key", Object::bytes("old"));
        }
        s3.fault(
            Matcher::any().method(method.parse().unwrap()),
            Times(1),
            Fault::ResetBeforeAnswer,
        );
        let write = client.request(method.parse().unwrap(), path).body(body).send().await;
        assert_eq!(write.status, 503, "{method} {path}");
        // As if the write took effect later, and again.
        for late in ["one", "two", "three"] {
            s3.put("data", "key", Object::bytes(late));
            assert_eq!(read(&client).await, late, "{method} {path}");
        }
        assert_eq!(client.get("/elsewhere/key").send().await.text(), "old");
        s3.put("elsewhere", "key", Object::bytes("new"));
        assert_eq!(client.get("/elsewhere/key").send().await.text(), "old", "{method} {path}");
        pass(61).await;
        assert_eq!(read(&client).await, "three");
        s3.put("data", "key", Object::bytes("four"));
        assert_eq!(read(&client).await, "three", "after a minute its rule holds again");
    }
}

#[tokio::test]
async fn r8_what_the_origin_does_not_implement_has_a_known_outcome() {
    let (s3, _proxy, client) = setup().await;
    s3.put("data", "key", Object::bytes("old"));
    s3.fault(Matcher::any().method(Method::PUT), Times(1), Fault::Status(501, "NotImplemented"));
    assert_eq!(client.put("/data?lifecycle").body("x").send().await.status, 501);
    s3.forget_requests();
    for _ in 0..3 {
        assert_eq!(read(&client).await, "old");
    }
    assert_eq!(s3.requests().len(), 1, "{}", s3.describe());
}

#[tokio::test]
async fn r8_a_method_that_is_not_known_forgets_its_key() {
    let (s3, _proxy, client) = setup().await;
    s3.put("data", "key", Object::bytes("old"));
    assert_eq!(read(&client).await, "old");
    s3.put("data", "key", Object::bytes("new"));
    assert_eq!(read(&client).await, "old");
    client.request("PATCH".parse().unwrap(), "/data/key").body("x").send().await;
    assert_eq!(read(&client).await, "new");
}

#[tokio::test]
async fn r9_a_write_over_a_kept_alive_connection_that_dies_is_sent_once() {
    for fault in [Fault::ResetBeforeAnswer, Fault::CloseBeforeAnswer] {
        for method in [Method::PUT, Method::DELETE, Method::POST] {
            let (s3, _proxy, client) = setup().await;
            // The first makes the connection that the second one reuses.
            assert_eq!(client.put("/data/warm").body("x").send().await.status, 200);
            let matcher = Matcher::any().method(method.clone()).key("key");
            s3.fault(matcher, Times(1), fault.clone());
            let write = client.request(method.clone(), "/data/key");
            let write = if method == Method::DELETE { write } else { write.body("new") };
            let answer = write.header("If-None-Match", "*").send().await;
            assert_eq!(answer.status, 503, "{method}");
            let seen = s3.requests();
            assert_eq!(seen.len(), 2, "{method}:\n{}", s3.describe());
            assert_eq!(seen[0].connection, seen[1].connection, "it was not reused");
        }
    }
}

#[tokio::test]
async fn r9_a_write_is_not_retried_after_an_error() {
    let (s3, _proxy, client) = setup().await;
    s3.fault(Matcher::put("key"), Always, Fault::Status(503, "SlowDown"));
    let answer = client.put("/data/key").body("new").send().await;
    assert_eq!(answer.status, 503);
    assert!(answer.text().contains("<Code>SlowDown</Code>"), "{}", answer.text());
    assert_eq!(s3.requests().len(), 1);
}

#[tokio::test]
async fn a_read_that_passes_through_is_retried_over_a_dead_connection() {
    let (s3, _proxy, client) = setup().await;
    s3.put("data", "key", Object::bytes("content"));
    let read = || client.get("/data/key").header("x-amz-something-new", "1");
    assert_eq!(read().send().await.status, 200);
    s3.fault(Matcher::get("key"), Times(1), Fault::ResetBeforeAnswer);
    assert_eq!(read().send().await.text(), "content");
    assert_eq!(s3.requests().len(), 3);
}
