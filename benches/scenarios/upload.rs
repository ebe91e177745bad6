//! PUT of an object of [`crate::content`], on a connection of its own.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Result;
use crate::content::Object;

/// Bytes of one write.
const WRITE: usize = 64 << 10;
/// Maximum size of the response, in bytes.
const MAX_ANSWER: u64 = 32 << 10;

/// Uploads the object, unsigned.
///
/// # Errors
/// When the connection breaks, or the response is not 200.
pub async fn put(address: SocketAddr, object: &Object) -> Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (path, size) = (object.path(), object.size());
    let head = format!(
        "PUT {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {size}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    let mut at = 0;
    while at < size {
        let piece = object.piece(at);
        let rest = usize::try_from(size - at).unwrap_or(usize::MAX);
        let length = piece.len().min(rest).min(WRITE);
        stream.write_all(&piece[..length]).await?;
        at += length as u64;
    }
    let mut answer = String::new();
    stream.take(MAX_ANSWER).read_to_string(&mut answer).await?;
    match answer.starts_with("HTTP/1.1 200 ") {
        true => Ok(()),
        false => Err(format!("PUT {path}: {}", answer.lines().next().unwrap_or("nothing")).into()),
    }
}
