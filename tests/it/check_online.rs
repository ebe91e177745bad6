//! `hotset check --online`: its requests, and its messages about failures.

use std::time::SystemTime;

use http::Method;

use crate::support::{
    Always, FakeS3, FakeSqs, Fault, Matcher, Object, Scratch, Tells, hotset, run, unused_port,
    within,
};

/// Runs the check; returns its exit code and its output.
async fn check(endpoint: &str, more: &str, arguments: &[&str]) -> (i32, String) {
    let scratch = Scratch::new();
    let config = format!("origin: {{ endpoint: '{endpoint}' }}\n{more}");
    let file = scratch.file("hotset.yaml", &config);
    let command = hotset(&[&["check", "--online", "--config", &file], arguments].concat());
    let ran = tokio::task::spawn_blocking(move || run(command));
    let (code, out, err) = within("the command to end", ran).await.unwrap();
    (code, format!("{out}{err}"))
}

#[tokio::test]
async fn an_origin_and_a_queue_that_answer_pass_each_step_and_nothing_is_written() {
    let (s3, queue) = (FakeS3::start().await, FakeSqs::start().await);
    s3.put("data", "k", Object::bytes("content"));
    let now = httpdate::fmt_http_date(SystemTime::now());
    s3.fault(Matcher::any(), Always, Fault::SetHeader("Date", now));
    let events = format!("events: {{ sqs: [{{ queue: '{}', region: us-east-1 }}] }}", queue.url);
    let (code, said) = check(&s3.endpoint(), &events, &["--bucket", "data"]).await;
    assert_eq!(code, 0, "{said}");
    for step in [
        "ok      origin.credentials: the environment, without an end (".to_owned(),
        format!("ok      origin.endpoint, name: {} (", s3.addr()),
        format!("ok      origin, {}: connected (", s3.addr()),
        "ok      origin, list of one key of data: signed, and allowed (".to_owned(),
        "ok      events.sqs[0]: 0 messages wait (".to_owned(),
    ] {
        assert!(said.contains(&step), "{step}: {said}");
    }
    let requests = s3.requests();
    assert_eq!(requests.len(), 1, "{}", s3.describe());
    assert_eq!(requests[0].method, Method::GET);
    assert_eq!(requests[0].param("max-keys").as_deref(), Some("1"));
    assert!(requests[0].header("authorization").starts_with("AWS4-HMAC-SHA256 "));
    let (code, said) = check(&s3.endpoint(), "", &[]).await;
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("ok      origin, list of buckets: "), "{said}");
}

#[tokio::test]
async fn an_origin_that_is_not_reached_is_said_with_its_cause() {
    let s3 = FakeS3::start().await;
    let nobody = unused_port();
    for (endpoint, cause) in [
        (
            format!("http://127.0.0.1:{nobody}"),
            format!("FAILED  origin, 127.0.0.1:{nobody}: Connection refused"),
        ),
        (
            "http://no-such-host.invalid".to_owned(),
            "FAILED  origin.endpoint, name: no-such-host.invalid: ".to_owned(),
        ),
        (format!("https://{}", s3.addr()), "FAILED  origin, TLS: ".to_owned()),
    ] {
        let (code, said) = check(&endpoint, "", &[]).await;
        assert_eq!(code, 1, "{said}");
        assert!(said.contains(&cause), "{cause}: {said}");
    }
}

#[tokio::test]
async fn keys_a_clock_and_a_region_that_are_wrong_are_named() {
    for (fault, cause) in [
        (Fault::Status(403, "SignatureDoesNotMatch"), "look at the secret key"),
        (Fault::Status(403, "AccessDenied"), "s3:ListBucket"),
        (
            Fault::All(vec![
                Fault::Status(400, "AuthorizationHeaderMalformed"),
                Fault::SetHeader("x-amz-bucket-region", "elsewhere-1".to_owned()),
            ]),
            "FAILED  origin.region: us-east-1 is configured, and it is in elsewhere-1",
        ),
        (
            Fault::SetHeader("Date", "Fri, 24 May 2013 00:00:00 GMT".to_owned()),
            "FAILED  origin, clock: this machine is ",
        ),
    ] {
        let s3 = FakeS3::start().await;
        s3.fault(Matcher::any(), Always, fault);
        let (code, said) = check(&s3.endpoint(), "", &["--bucket", "data"]).await;
        assert_eq!(code, 1, "{said}");
        assert!(said.contains(cause), "{cause}: {said}");
    }
}

#[tokio::test]
async fn a_bucket_in_another_region_passes_since_hotset_finds_it() {
    for tells in [Tells::Permanent, Tells::Malformed, Tells::MalformedUnnamed] {
        let s3 = FakeS3::start().await;
        let now = httpdate::fmt_http_date(SystemTime::now());
        s3.fault(Matcher::any(), Always, Fault::SetHeader("Date", now));
        s3.put("data", "k", Object::bytes("content"));
        s3.place("data", "eu-west-1", tells);
        let endpoint = format!(
            "http://s3.us-east-1.storage.test:{}', addresses: ['127.0.0.1'], region: 'us-east-1",
            s3.addr().port()
        );
        let (code, said) = check(&endpoint, "", &["--bucket", "data"]).await;
        assert_eq!(code, 0, "{tells:?}: {said}");
        for step in [
            "ok      origin, list of one key of data: signed, and allowed",
            "ok      origin.region: us-east-1 is configured; data is in eu-west-1, which is found by itself",
        ] {
            assert!(said.contains(step), "{tells:?}: {step}: {said}");
        }
    }
    // The header alone fails nothing.
    let s3 = FakeS3::start().await;
    s3.put("data", "k", Object::bytes("content"));
    let now = httpdate::fmt_http_date(SystemTime::now());
    let region = Fault::SetHeader("x-amz-bucket-region", "elsewhere-1".to_owned());
    s3.fault(Matcher::any(), Always, Fault::All(vec![Fault::SetHeader("Date", now), region]));
    let (code, said) = check(&s3.endpoint(), "", &["--bucket", "data"]).await;
    assert_eq!(code, 0, "{said}");
    assert!(
        said.contains("ok      origin.region: us-east-1 is configured, and it is in elsewhere-1")
    );
}

#[tokio::test]
async fn an_address_that_is_not_reached_is_a_note_while_another_one_is() {
    let s3 = FakeS3::start().await;
    let now = httpdate::fmt_http_date(SystemTime::now());
    s3.fault(Matcher::any(), Always, Fault::SetHeader("Date", now));
    let port = s3.addr().port();
    let endpoint = format!(
        "http://s3.storage.test:{port}', addresses: ['127.0.0.3', '127.0.0.1'], region: 'r"
    );
    let (code, said) = check(&endpoint, "", &[]).await;
    assert_eq!(code, 0, "{said}");
    for step in [
        format!("note    origin, 127.0.0.3:{port}: Connection refused"),
        format!("ok      origin, 127.0.0.1:{port}: connected ("),
    ] {
        assert!(said.contains(&step), "{step}: {said}");
    }
    s3.go_down().await;
    let (code, said) = check(&endpoint, "", &[]).await;
    assert_eq!(code, 1, "{said}");
    for address in ["127.0.0.3", "127.0.0.1"] {
        let refused = format!("FAILED  origin, {address}:{port}: Connection refused");
        assert!(said.contains(&refused), "{refused}: {said}");
    }
}

#[tokio::test]
async fn each_named_origin_is_asked_for_a_bucket_of_its_own_and_named_when_it_fails() {
    let (s3, archive) = (FakeS3::start().await, FakeS3::start().await);
    let now = httpdate::fmt_http_date(SystemTime::now());
    for origin in [&s3, &archive] {
        origin.fault(Matcher::any(), Always, Fault::SetHeader("Date", now.clone()));
    }
    let more = format!(
        "origins: {{ archive: {{ endpoint: '{}' }} }}\n\
         buckets: {{ reports: {{ origin: archive, bucket: real }}, 'logs-*': {{ origin: archive }} }}",
        archive.endpoint()
    );
    let (code, said) = check(&s3.endpoint(), &more, &[]).await;
    assert_eq!(code, 0, "{said}");
    for step in [
        format!("ok      origins.archive, {}: connected (", archive.addr()),
        "ok      origins.archive, list of one key of ".to_owned(),
        "ok      origin, list of buckets: ".to_owned(),
    ] {
        assert!(said.contains(&step), "{step}: {said}");
    }
    for (bucket, at, real) in [
        ("reports", "origins.archive", "real"),
        ("logs-eu", "origins.archive", "logs-eu"),
        ("data", "origin", "data"),
    ] {
        let (code, said) = check(&s3.endpoint(), &more, &["--bucket", bucket]).await;
        assert_eq!(code, 0, "{said}");
        assert!(said.contains(&format!("ok      {at}, list of one key of {real}: ")), "{said}");
    }
    archive.clear_faults();
    archive.fault(Matcher::any(), Always, Fault::Status(403, "SignatureDoesNotMatch"));
    let (code, said) = check(&s3.endpoint(), &more, &["--bucket", "reports"]).await;
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("look at the secret key, and at origins.archive.region"), "{said}");
    archive.go_down().await;
    let (code, said) = check(&s3.endpoint(), &more, &[]).await;
    assert_eq!(code, 1, "{said}");
    let refused = format!("FAILED  origins.archive, {}: Connection refused", archive.addr());
    assert!(said.contains(&refused) && said.contains("look at origins.archive.endpoint"), "{said}");
}
