//! Bodies of browsers' forms: sizes, limits, timeouts, and forms that never reach the origin whole.

use std::time::Duration;

use bytes::Bytes;
use hotset::config::units::HumanDuration;
use http::Method;

use super::forms::told;
use super::{Guarded, IDENTITIES};
use crate::support::{Fault, Form, H2Client, Matcher, Object, Times};

fn team() -> Form {
    Form::new().key("team/k")
}

/// Asserts that the object is unchanged, and that a read returns it.
async fn assert_untouched(guarded: &Guarded, what: &str) {
    guarded.s3.wait_idle().await;
    assert_eq!(guarded.s3.object_bytes("data", "team/k"), "content of team/k", "{what}");
    let read = guarded.send(&guarded.by("TEAM", "GET", "/data/team/k")).await;
    assert_eq!(read.text(), "content of team/k", "{what}");
}

#[tokio::test]
async fn a_file_of_any_length_arrives_as_it_is() {
    let guarded = Guarded::start().await;
    let h2 = H2Client::connect(guarded.proxy.addr).await;
    for length in [0, 1, 8_000, 60_000, 64_000, 65_536, 70_000, 131_072, 200_000, 5_000_000] {
        let file = Object::random(length, 5).all();
        for form in [team().file(&file), team().file(&file).after("submit", "Upload")] {
            let answer = guarded.client.raw(&form.wire()).await;
            assert_eq!(told(&answer), "204", "{length}");
            assert!(guarded.s3.object_bytes("data", "team/k") == file, "{length}");
            guarded.s3.delete("data", "team/k");
            let (kind, body) = (Form::content_type(), form.body());
            let length = body.len().to_string();
            let headers = [("content-type", &*kind), ("content-length", &*length)];
            let sent = h2.send(&Method::POST, "/data", &headers, Bytes::from(body)).await;
            assert_eq!(sent.0, 204, "{length}: {:?}", sent.2);
            assert!(guarded.s3.object_bytes("data", "team/k") == file, "{length} over HTTP/2");
        }
    }
    let expecting = team().header("expect", "100-continue").header("connection", "close");
    let answered = guarded.client.send_raw(&expecting.wire()).await;
    let answered = String::from_utf8_lossy(&answered);
    assert!(
        answered.starts_with("HTTP/1.1 100 ") && answered.contains("HTTP/1.1 204 "),
        "{answered}"
    );
    assert_eq!(guarded.s3.object_bytes("data", "team/k"), "the file");
    assert!(guarded.s3.complaints().is_empty(), "{:?}", guarded.s3.complaints());
}

#[tokio::test]
async fn a_file_streams_and_its_end_waits_for_all_of_it() {
    let guarded = Guarded::start().await;
    let form = team().file(&Object::random(8_000_000, 5).all());
    let body = form.body();
    let post = guarded.client.post("/data").header("content-type", &Form::content_type());
    let mut upload = post.start(body.len() as u64).await;
    let (most, end) = body.split_at(body.len() - 2);
    upload.write(most).await.unwrap();
    guarded.s3.wait_for(|seen| seen.iter().any(|r| r.body_bytes_received > 7_900_000)).await;
    let seen = guarded.s3.requests().remove(0);
    let announced: u64 = seen.header("content-length").parse().unwrap();
    assert!(seen.body_bytes_received + 40 < announced, "the end of the form is not out yet");
    upload.write(end).await.unwrap();
    assert_eq!(told(&upload.finish().await), "204");
}

#[tokio::test]
async fn r21_a_file_of_a_size_that_the_policy_forbids_is_never_stored() {
    let guarded = Guarded::start().await;
    let range = |low: u64, high: u64| {
        team().condition(&format!("[\"content-length-range\", {low}, {high}]"))
    };
    let file = |length: u64| Object::random(length, 5).all();
    for (what, form, code) in [
        ("one byte too many", range(0, 7), "400 EntityTooLarge"),
        ("one byte too few", range(9, 10), "400 EntityTooSmall"),
        ("far too few", range(90_000, 100_000), "400 EntityTooSmall"),
        ("far too many", range(0, 100).file(&file(100_000)), "400 EntityTooLarge"),
        ("found while it streams", range(0, 299_999).file(&file(300_000)), "400 EntityTooLarge"),
        ("hidden by fields", range(9, 10).after("a", "0123456789"), "400 EntityTooSmall"),
    ] {
        let answer = guarded.client.raw(&form.wire()).await;
        assert!(told(&answer).starts_with(code), "{what}: {}", told(&answer));
        assert_untouched(&guarded, what).await;
    }
    for form in [range(8, 8), range(0, 300_000).file(&file(300_000)), range(0, 8).after("a", "b")] {
        assert_eq!(told(&guarded.client.raw(&form.wire()).await), "204");
    }
}

#[tokio::test]
async fn what_is_no_form_is_refused_and_nothing_is_sent() {
    let guarded = Guarded::start().await;
    let body = |text: &str| {
        let head = format!(
            "POST /data HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: {}\r\ncontent-length: {}\r\n\r\n",
            Form::content_type(),
            text.len()
        );
        head + text
    };
    let form = String::from_utf8(team().wire()).unwrap();
    let length = form.find("content-length").unwrap();
    let line = form[length..].find("\r\n").unwrap() + length + 2;
    let without_length = format!("{}{}", &form[..length], &form[line..]);
    let chunked = format!(
        "{}transfer-encoding: chunked\r\n\r\n5\r\n--abc\r\n0\r\n\r\n",
        without_length.split_once("\r\n\r\n").unwrap().0.to_owned() + "\r\n"
    );
    let long = Form::part("x-amz-meta-a", &"v".repeat(21_000));
    let key = Form::part("key", "team/k");
    let whole = String::from_utf8(team().body()).unwrap();
    let close = key.split_once("\r\n").unwrap().0.to_owned() + "--\r\n";
    for (wire, code) in [
        (chunked, "411 MissingContentLength"),
        (
            without_length.split_once("\r\n\r\n").unwrap().0.to_owned() + "\r\n\r\n",
            "400 MalformedPOSTRequest",
        ),
        (form.replace("; boundary=", "; limit="), "400 MalformedPOSTRequest"),
        (body("something else"), "400 MalformedPOSTRequest"),
        (body(&key), "400 MalformedPOSTRequest"),
        (body(&(key.clone() + &close)), "400 InvalidArgument: POST requires exactly one file"),
        (body(&(key.clone() + &whole)), "400 InvalidArgument: POST requires exactly one value"),
        (body(&(key + &long)), "400 MaxPostPreDataLengthExceeded"),
    ] {
        let answer = guarded.client.raw(wire.as_bytes()).await;
        assert!(told(&answer).starts_with(code), "{code}: {} {wire:.300}", told(&answer));
        guarded.nothing_was_sent();
    }
}

#[tokio::test]
async fn r29_a_form_that_does_not_end_as_one_never_reaches_the_origin_whole() {
    let guarded = Guarded::start().await;
    let file = Object::random(200_000, 5).all();
    let end = "--\r\n".len();
    for form in [team(), team().file(&file)] {
        let whole = form.body();
        for body in [&whole[..whole.len() - end], &whole[..whole.len() - 60]] {
            let head = format!(
                "POST /data HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: {}\r\ncontent-length: {}\r\n\r\n",
                Form::content_type(),
                body.len()
            );
            let answer = guarded.client.raw(&[head.as_bytes(), body].concat()).await;
            assert!(told(&answer).starts_with("400 MalformedPOSTRequest"), "{}", told(&answer));
            assert_untouched(&guarded, "not ended").await;
        }
    }
}

#[tokio::test]
async fn a_form_that_comes_too_slowly_or_not_at_all_is_given_up() {
    let guarded = Guarded::start_with(IDENTITIES, |config| {
        config.limits.body_timeout = HumanDuration(Duration::from_millis(200));
    })
    .await;
    let wire = team().file(&Object::random(200_000, 5).all()).wire();
    for (what, length) in [("fields", 600), ("file", 100_000), ("end", wire.len() - 3)] {
        let answer = guarded.client.raw(&wire[..length]).await;
        assert!(told(&answer).starts_with("400 RequestTimeout"), "{what}: {}", told(&answer));
        assert_untouched(&guarded, what).await;
    }
}

#[tokio::test]
async fn r8_after_a_form_whose_outcome_is_not_known_its_key_is_doubted() {
    let guarded = Guarded::start().await;
    assert_eq!(guarded.ask("TEAM", "GET", "/data/team/k").await, 200);
    let posts = Matcher::any().method(Method::POST);
    guarded.s3.fault(posts, Times(1), Fault::CloseBeforeAnswer);
    let answer = guarded.client.raw(&team().wire()).await;
    assert_eq!(answer.status, 503);
    assert_eq!(guarded.s3.count(|seen| seen.method == Method::POST), 1, "R9: it is sent once");
    guarded.s3.forget_requests();
    for _ in 0..2 {
        assert_eq!(guarded.ask("TEAM", "GET", "/data/team/k").await, 200);
    }
    let asked = guarded.s3.count(|seen| seen.key == "team/k");
    assert!(asked >= 2, "each read asks:\n{}", guarded.s3.describe());
}
