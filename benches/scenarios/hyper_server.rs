//! The baseline: bare hyper 1, which returns the same bytes from memory.
//!
//! No cache, no proxy, no log: the cost of a request here is that of the kernel and the HTTP library. The objects
//! have memory of their own, as in a cache, so that no server profits from the processor's caches. It runs as a child
//! process of the runner, by a hidden subcommand.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{
    ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderValue, LAST_MODIFIED,
    RANGE,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, body::Incoming};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::Result;
use crate::content::{self, Object};
use crate::process::{self, Server};

/// The runner's hidden subcommand that [`serve`]s.
pub const SUBCOMMAND: &str = "serve-with-hyper";

/// Starts the server with `objects` in memory, as a process on `core`.
///
/// # Errors
/// When it does not start.
pub fn start(objects: &[&Object], core: Option<usize>, folder: &Path) -> Result<Server> {
    let address = process::free_address()?;
    let mut command = process::command(&std::env::current_exe()?, core);
    command.arg(SUBCOMMAND).arg(address.to_string());
    command.args(objects.iter().map(|object| object.path()));
    Server::start("hyper", command, address, folder)
}

/// An object's bytes and its constant headers.
struct Held {
    bytes: Bytes,
    etag: HeaderValue,
}

/// Serves until killed: `arguments` are the address and the objects' paths.
///
/// # Errors
/// When the arguments are invalid, or the address cannot be bound.
pub fn serve(arguments: &[String]) -> Result<()> {
    let (address, paths) = arguments.split_first().ok_or("the address is missing")?;
    let address: SocketAddr = address.parse()?;
    let mut objects = HashMap::new();
    for path in paths {
        let object = Object::parse(path).ok_or("an object's path is not one")?;
        let held = Held { bytes: object.to_vec().into(), etag: object.etag().try_into()? };
        objects.insert(path.clone(), held);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(accept(address, Arc::new(objects)))
}

async fn accept(address: SocketAddr, objects: Arc<HashMap<String, Held>>) -> Result<()> {
    let listener = TcpListener::bind(address).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let objects = objects.clone();
        let service = service_fn(move |request| {
            let response = answer(&request, &objects);
            async move { Ok::<_, Infallible>(response) }
        });
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        // Every round ends with clients that disconnect.
        tokio::spawn(async move { connection.await.ok() });
    }
}

fn answer(request: &Request<Incoming>, objects: &HashMap<String, Held>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    let Some(held) = objects.get(request.uri().path()) else {
        *response.status_mut() = StatusCode::NOT_FOUND;
        return response;
    };
    let size = held.bytes.len() as u64;
    let range = request.headers().get(RANGE).and_then(|value| value.to_str().ok());
    let range = range.and_then(|value| content::parse_range(value, size));
    let bytes = match &range {
        Some(range) => held.bytes.slice(place(range.start)..place(range.end)),
        None => held.bytes.clone(),
    };
    let headers = response.headers_mut();
    headers.insert(LAST_MODIFIED, HeaderValue::from_static(content::LAST_MODIFIED));
    headers.insert(ETAG, held.etag.clone());
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("binary/octet-stream"));
    headers.insert(CONTENT_LENGTH, bytes.len().into());
    if let Some(range) = range {
        let value = format!("bytes {}-{}/{size}", range.start, range.end.saturating_sub(1));
        headers.insert(CONTENT_RANGE, value.try_into().expect("digits are a header value"));
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    *response.body_mut() = Full::new(bytes);
    response
}

fn place(offset: u64) -> usize {
    usize::try_from(offset).expect("the object is in memory")
}
