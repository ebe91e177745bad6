//! Limits of the webhook: senders that send too much, too deep, too slowly, or too many requests at once.

use hotset::config::units::{ByteSize, HumanDuration};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{Setup, address, written};
use crate::support::within;

#[tokio::test]
async fn a_body_that_is_too_long_is_refused_by_its_length_and_by_its_bytes() {
    let setup = Setup::new(|config| config.body = ByteSize::kib(4)).await;
    let long = format!("{}{}", written("key"), " ".repeat(4096));
    setup.assert_refused(&[], &long, 413, "too_large").await;

    let new = setup.overwrite("key").await;
    let before = setup.ended("too_large").await;
    let chunk = format!("{:x}\r\n{long}\r\n0\r\n\r\n", long.len());
    let head = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    let answer = setup.sender.raw(format!("{head}{chunk}").as_bytes()).await;
    assert_eq!(answer.status, 413);
    assert!(setup.ended("too_large").await > before);
    assert!(setup.read("key").await.body != new.all());
    // The largest body within the limit is accepted.
    let fits = format!("{}{}", written("key"), " ".repeat(4096 - written("key").len()));
    setup.assert_applied(&[], &fits, "key").await;
}

#[tokio::test]
async fn a_body_that_is_nested_deeply_is_refused() {
    let setup = Setup::new(|_| {}).await;
    let deep = format!("{}{}", "[".repeat(400_000), "]".repeat(400_000));
    setup.assert_refused(&[], &deep, 400, "too_deep").await;
    let hidden = written("key").replacen('{', &format!("{{\"x\":{deep},"), 1);
    setup.assert_refused(&[], &hidden, 400, "too_deep").await;
}

#[tokio::test]
async fn what_is_no_notification_is_refused() {
    let setup = Setup::new(|_| {}).await;
    for body in ["", "hello", "{}", "{\"Records\":[{}]}"] {
        setup.assert_refused(&[], body, 400, "undecodable").await;
    }
}

#[tokio::test]
async fn a_body_that_does_not_come_is_given_up() {
    let setup = Setup::new(|config| config.body_timeout = HumanDuration::millis(50)).await;
    let new = setup.overwrite("key").await;
    let upload = setup.sender.post("/").start(1000).await;
    let answer = upload.answer().await.unwrap().finish().await;
    assert_eq!((answer.status.as_u16(), &*answer.text()), (408, "slow_body\n"));
    assert!(setup.read("key").await.body != new.all());
}

#[tokio::test]
async fn a_head_that_does_not_come_ends_the_connection() {
    let setup = Setup::new(|config| config.header_timeout = HumanDuration::millis(50)).await;
    let mut stream = TcpStream::connect(address(&setup.proxy)).await.unwrap();
    stream.write_all(b"POST / HT").await.unwrap();
    let mut rest = Vec::new();
    within("the end of the connection", stream.read_to_end(&mut rest)).await.unwrap();
    assert!(!rest.starts_with(b"HTTP/1.1 200"));
}

#[tokio::test]
async fn one_body_too_many_is_told_to_come_again() {
    let setup = Setup::new(|config| config.requests = 1).await;
    let body = written("key");
    let new = setup.overwrite("key").await;
    let mut first = setup.sender.post("/").start(body.len() as u64).await;
    first.write(&body.as_bytes()[..10]).await.unwrap();
    // Until its head has arrived, another request can take its place.
    let refused = loop {
        let answer = setup.post(&[], "{}").await;
        if answer.status == 503 {
            break answer;
        }
        assert_eq!(answer.status, 400);
    };
    assert_eq!((refused.header("retry-after"), &*refused.text()), ("1", "busy\n"));
    first.write(&body.as_bytes()[10..]).await.unwrap();
    assert_eq!(first.finish().await.status, 200);
    assert!(setup.read("key").await.body == new.all());
}

#[tokio::test]
async fn one_connection_too_many_waits_for_its_turn() {
    let setup = Setup::new(|config| config.connections = 1).await;
    let first = TcpStream::connect(address(&setup.proxy)).await.unwrap();
    let request = b"HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let second = tokio::spawn(setup.sender.send_raw(request));
    drop(first);
    let answer = within("the second one's turn", second).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200 "));
}

#[tokio::test]
async fn an_answer_that_is_under_way_is_given_before_the_end_of_the_server() {
    let mut setup = Setup::new(|_| {}).await;
    let body = written("key");
    let mut upload = setup.sender.post("/").start(body.len() as u64).await;
    upload.write(&body.as_bytes()[..10]).await.unwrap();
    // This one has been read once a later request is answered.
    assert_eq!(setup.post(&[], "{}").await.status, 400);
    setup.proxy.begin_shutdown();
    upload.write(&body.as_bytes()[10..]).await.unwrap();
    assert_eq!(upload.finish().await.status, 200);
    setup.proxy.ended().await;
}
