//! R21: a signed request with any one byte changed.

use std::sync::Arc;

use futures_util::{StreamExt, stream};
use hotset::config::units::HumanDuration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::sigv4::SIGNED_TRAILER;
use crate::support::{Seen, within};

use super::Verifying;

/// Number of concurrent requests.
const AT_ONCE: usize = 16;

/// Returns the meaning of an upload to the origin, independent of its spelling.
fn meaning(seen: &Seen) -> impl PartialEq + std::fmt::Debug + use<> {
    let mut params: Vec<_> = seen.params().collect();
    params.sort();
    let header =
        |name: &str| seen.header(name).split_ascii_whitespace().collect::<Vec<_>>().join(" ");
    let headers = ["content-type", "x-amz-meta-a", "x-amz-storage-class", "if-match"].map(header);
    (seen.method.clone(), seen.bucket.clone(), seen.key.clone(), params, headers, seen.body.clone())
}

/// Sends `wire` on a connection of its own; returns the status of the response, if there is one.
async fn status(hotset: &Verifying, wire: &[u8]) -> Option<u16> {
    let mut stream = within("a connection", TcpStream::connect(hotset.proxy.addr)).await.ok()?;
    // It may be refused before it was read.
    let _ = stream.write_all(wire).await;
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    while !answer.windows(4).any(|window| window == b"\r\n\r\n") {
        match within("an answer", stream.read(&mut buffer)).await {
            Ok(read) if read > 0 => answer.extend_from_slice(&buffer[..read]),
            _ => break,
        }
    }
    let text = String::from_utf8_lossy(&answer).into_owned();
    text.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok()
}

/// Changes every byte of `wire` to several others; a request that is accepted must mean the same as the original.
async fn change_every_byte(hotset: Verifying, wire: Vec<u8>) {
    assert_eq!(status(&hotset, &wire).await, Some(200));
    let original = hotset.s3.requests().pop().expect("the original");
    hotset.s3.forget_requests();
    let hotset = Arc::new(hotset);
    let changed = (0..wire.len()).flat_map(|at| {
        let byte = wire[at];
        let others = [byte ^ 1, byte ^ 2, byte ^ 0x20, b' ', b'a', b'%', b'\n', 0xFF];
        let others: std::collections::BTreeSet<u8> =
            others.into_iter().filter(|b| *b != byte).collect();
        let wire = &wire;
        others.into_iter().map(move |other| {
            let mut changed = wire.clone();
            changed[at] = other;
            changed
        })
    });
    let answers = stream::iter(changed).map(|changed| {
        let hotset = hotset.clone();
        async move { (status(&hotset, &changed).await, changed) }
    });
    let answers: Vec<_> = answers.buffer_unordered(AT_ONCE).collect().await;
    hotset.s3.wait_idle().await;
    let stored: Vec<Seen> =
        hotset.s3.requests().into_iter().filter(|seen| (200..300).contains(&seen.status)).collect();
    let expected = meaning(&original);
    for seen in &stored {
        assert_eq!(meaning(seen), expected, "{}", hotset.s3.describe());
    }
    let accepted = answers.iter().filter(|(status, _)| *status == Some(200)).count();
    let refused = answers.iter().filter(|(status, _)| matches!(status, Some(400..500))).count();
    assert_eq!(stored.len(), accepted, "the origin has stored what was refused");
    assert!(refused > answers.len() * 4 / 5, "{refused} of {} refused", answers.len());
}

async fn quick() -> Verifying {
    // Some changes make a head or a body that is never complete.
    Verifying::start_with(|config| {
        config.limits.header_timeout = HumanDuration::secs(1);
        config.limits.body_timeout = HumanDuration::secs(1);
        config.limits.keep_alive = HumanDuration::secs(1);
    })
    .await
}

#[tokio::test]
async fn r21_no_byte_of_a_signed_upload_can_be_changed_to_store_something_else() {
    let hotset = quick().await;
    let wire = hotset.signed("PUT", "/data/dir/a%20b?x-id=PutObject");
    let wire = wire.header("content-type", "text/plain").header("x-amz-meta-a", "one two");
    let wire = wire.body(b"the content").wire();
    change_every_byte(hotset, wire).await;
}

#[tokio::test]
async fn r21_no_byte_of_a_presigned_upload_can_be_changed_to_store_something_else() {
    let hotset = quick().await;
    let wire = hotset.signed("PUT", "/data/dir/a%20b?x-id=PutObject&x-amz-storage-class=STANDARD");
    let wire = wire.header("x-amz-meta-a", "one two").wire_presigned(60);
    change_every_byte(hotset, wire).await;
}

#[tokio::test]
async fn r21_no_byte_of_a_chunked_upload_can_be_changed_to_store_something_else() {
    let hotset = quick().await;
    let wire =
        hotset.signed("PUT", "/data/k").payload(SIGNED_TRAILER).wire_chunked(b"the content", 8);
    change_every_byte(hotset, wire).await;
}
