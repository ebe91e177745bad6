//! An S3 server inside the process, so that `make run` shows hotset with nothing else installed.
//!
//! It is the library pair s3s and s3s-fs over one folder: a stand-in for a real S3, with its own
//! keys, its own socket and its own request log. The cache must not know that it is here: hotset
//! reaches it over TCP like any other origin, and only `app` imports this module.
//!
//! The invariant is that every object in the folder was written *through* the library. It keeps an
//! `ETag` for what it wrote itself and hashes a file that was copied in whole, on every request.

mod request_log;
mod samples;
mod suffix;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s_fs::FileSystem;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};

use request_log::RequestLog;
use suffix::CutSuffixes;

use crate::accept::accept;

/// Maximum number of concurrent connections.
const CONNECTIONS: usize = 1024;

pub use samples::{ALL, BUCKET, SMALL, Sample};

/// The one access key and secret key that the embedded server accepts.
#[derive(Clone, Copy)]
pub struct Keys<'a> {
    /// The access key id.
    pub access: &'a str,
    /// The secret access key.
    pub secret: &'a str,
}

/// The reason for which the embedded server could not start.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// The data folder, or the log beside it, cannot be made or opened.
    #[error("{}: {source}", path.display())]
    Folder {
        /// The folder or file that was refused.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// The library would not open the folder.
    #[error("{}: the S3 server library cannot use this folder: {reason}", path.display())]
    Store {
        /// The data folder.
        path: PathBuf,
        /// The error of the library.
        reason: String,
    },
    /// The library refused a sample bucket or object.
    #[error("sample {key}: {source}")]
    Sample {
        /// `bucket` or `bucket/key`.
        key: String,
        /// The error of the library.
        source: s3s::S3Error,
    },
    /// The listening socket has no address.
    #[error("the listening socket: {0}")]
    Socket(std::io::Error),
}

/// A running embedded server. Dropping it closes the listener and every connection.
pub struct EmbeddedOrigin {
    address: SocketAddr,
    log_path: PathBuf,
    accepting: JoinHandle<()>,
}

impl EmbeddedOrigin {
    /// Returns the listening address; if port 0 was requested, with the port that the system chose.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the endpoint URL, as `origin.endpoint` takes it.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns the path of the request log: one line per request, `METHOD path range status bytes-sent`.
    #[must_use]
    pub fn log_path(&self) -> &Path {
        &self.log_path
    }
}

impl Drop for EmbeddedOrigin {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Starts the server over `folder` on the tokio runtime that polls this, with every sample
/// in [`ALL`] written (the first start writes about 306 MB; later ones find them there).
///
/// `folder` is made when it is missing. The request log is `origin.log` beside `folder`, and starts
/// empty each time.
///
/// # Errors
/// When the folder or the log cannot be written, or the library refuses a sample.
pub async fn start(
    listener: TcpListener,
    folder: &Path,
    keys: &Keys<'_>,
) -> Result<EmbeddedOrigin, EmbeddedError> {
    start_with(listener, folder, keys, ALL).await
}

/// Like [`start`], with the samples named: tests take [`SMALL`] or none.
///
/// # Errors
/// As [`start`].
pub async fn start_with(
    listener: TcpListener,
    folder: &Path,
    keys: &Keys<'_>,
    wanted: &[Sample],
) -> Result<EmbeddedOrigin, EmbeddedError> {
    let refused = |path: &Path| {
        let path = path.to_owned();
        move |source| EmbeddedError::Folder { path, source }
    };
    // Stored data is accessible to its owner alone (R35).
    let mut made = std::fs::DirBuilder::new();
    made.recursive(true).mode(0o700).create(folder).map_err(refused(folder))?;
    let folder = folder.canonicalize().map_err(refused(folder))?;
    let log_path = folder.parent().unwrap_or(&folder).join("origin.log");
    let log = Arc::new(RequestLog::create(&log_path).map_err(refused(&log_path))?);
    let address = listener.local_addr().map_err(EmbeddedError::Socket)?;

    // Both before the first write, since opening removes leftovers of interrupted writes.
    let (store, sizes) = (open(&folder)?, open(&folder)?);
    samples::write_missing(&store, wanted).await?;

    let mut service = S3ServiceBuilder::new(store);
    service.set_auth(SimpleAuth::from_single(keys.access, keys.secret));
    service.set_access(CutSuffixes { sizes });
    let accepting = tokio::spawn(accept_all(listener, service.build(), log));
    Ok(EmbeddedOrigin { address, log_path, accepting })
}

fn open(folder: &Path) -> Result<FileSystem, EmbeddedError> {
    FileSystem::new(folder).map_err(|error| EmbeddedError::Store {
        path: folder.to_owned(),
        reason: format!("{error:?}"),
    })
}

/// Accepts until aborted. The connections live in this future's set, so that they end with it.
async fn accept_all(listener: TcpListener, service: S3Service, log: Arc<RequestLog>) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            ((socket, _), slot) = accept("embedded origin", &slots, || listener.accept()) => {
                let (service, log) = (service.clone(), Arc::clone(&log));
                connections.spawn(async move {
                    serve(socket, service, log).await;
                    drop(slot);
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(socket: TcpStream, service: S3Service, log: Arc<RequestLog>) {
    // A small answer goes out as two writes, header and body: with Nagle's algorithm on, the second
    // waits 40 ms for the client's delayed ACK of the first.
    if let Err(error) = socket.set_nodelay(true) {
        log::debug!("embedded origin: TCP_NODELAY: {error}");
    }
    let logged = service_fn(move |request| {
        let entry = request_log::Entry::of(&request, Arc::clone(&log));
        let answer = hyper::service::Service::call(&service, request);
        async move {
            let answer = answer.await?;
            Ok::<_, s3s::HttpError>(entry.follow(answer))
        }
    });
    if let Err(error) = http1::Builder::new().serve_connection(TokioIo::new(socket), logged).await {
        log::debug!("embedded origin: connection: {error}");
    }
}

/// Returns the text that `hotset serve` prints with the embedded origin: the endpoint, the keys and three commands,
/// each of which reads one object twice and shows the `Cache-Status` of a miss and then of a hit.
#[must_use]
pub fn banner(endpoint: &str, keys: &Keys<'_>) -> String {
    let Keys { access, secret } = keys;
    let mut text = String::new();
    let _ = write!(
        text,
        r#"hotset is serving {endpoint}
  access key  {access}
  secret key  {secret}
  bucket      {BUCKET}

Paste one of these; each reads an object twice, a miss and then a hit:

curl     for i in 1 2; do curl -sD - -o /dev/null --user {access}:{secret} --aws-sigv4 aws:amz:us-east-1:s3 {endpoint}/{BUCKET}/measurements.csv | grep -i cache-status; done

aws CLI  for i in 1 2; do AWS_ACCESS_KEY_ID={access} AWS_SECRET_ACCESS_KEY={secret} AWS_DEFAULT_REGION=us-east-1 aws --debug --endpoint-url {endpoint} s3api get-object --bucket {BUCKET} --key random-5MiB.bin /dev/null 2>&1 | grep -io "cache-status': '[^']*" | head -1; done

boto3    python3 -c "import boto3; s3 = boto3.client('s3', endpoint_url='{endpoint}', aws_access_key_id='{access}', aws_secret_access_key='{secret}', region_name='us-east-1'); [print(s3.get_object(Bucket='{BUCKET}', Key='measurements.parquet')['ResponseMetadata']['HTTPHeaders']['cache-status']) for _ in range(2)]"
"#
    );
    text
}

#[cfg(test)]
mod tests;
