//! Rejects a connection above the limits with an S3 error, and quickly: a client that opens too many must not hold
//! more of the server by being refused.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::transport::Socket;
use crate::proxy::context::RequestId;
use crate::proxy::response::refusal::slow_down;

/// Maximum time that a client may take to read the error, and maximum number of clients that are sent it at a time.
/// Others are closed without one.
const TIME: Duration = Duration::from_secs(1);
static LISTENING: Semaphore = Semaphore::const_new(64);

/// Answers 503 `SlowDown` to the client's next request, and closes the connection.
pub(in crate::proxy) async fn reject_overload(mut socket: Socket) {
    let Ok(_listening) = LISTENING.try_acquire() else { return };
    let error = slow_down();
    let id = RequestId::next().to_string();
    let body = error.to_xml("/", &id, "hotset");
    let mut answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/xml\r\nContent-Length: {}\r\n\
         x-amz-request-id: {id}\r\nServer: hotset\r\nConnection: close\r\n",
        body.len()
    );
    for (name, value) in &error.headers {
        let value = value.to_str().unwrap_or_default();
        answer.extend([name.as_str(), ": ", value, "\r\n"]);
    }
    let answer = [answer.as_bytes(), b"\r\n", &body].concat();
    let told = async {
        socket.write_all(&answer).await?;
        socket.shutdown().await?;
        // A socket that is closed with unread bytes is reset, and the client may lose its response.
        let mut discarded = [0; 1024];
        while socket.read(&mut discarded).await? > 0 {}
        std::io::Result::Ok(())
    };
    let _ = timeout(TIME, told).await;
}
