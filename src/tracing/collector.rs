//! Requests to the collector, over one persistent connection.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, USER_AGENT};
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::config::TracingConfig;
use crate::tls::trusted_authorities;

/// Path for spans, unless the endpoint has one.
const PATH: &str = "/v1/traces";
/// Maximum bytes of a response that are read; it may list refused spans.
const LONGEST: usize = 64 * 1024;

/// The address of a collector.
#[derive(Debug, Clone)]
struct Address {
    is_tls: bool,
    host: String,
    port: u16,
    path: PathAndQuery,
}

impl Address {
    fn parse(endpoint: &str) -> Option<Self> {
        let uri: Uri = endpoint.parse().ok()?;
        let (scheme, authority) = (uri.scheme()?, uri.authority()?);
        let is_tls = *scheme == Scheme::HTTPS;
        let is_legal = (is_tls || *scheme == Scheme::HTTP) && !authority.as_str().contains('@');
        let path = uri.path_and_query().filter(|path| path.as_str() != "/").cloned();
        is_legal.then(|| Self {
            is_tls,
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port: authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 }),
            path: path.unwrap_or_else(|| PathAndQuery::from_static(PATH)),
        })
    }
}

/// Sends batches to a collector.
pub(super) struct Collector {
    address: Address,
    tls: Option<TlsConnector>,
    headers: HeaderMap,
    timeout: Duration,
    connection: Option<Connection>,
}

struct Connection {
    sender: SendRequest<Full<Bytes>>,
    driver: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Error of a batch that was not accepted.
#[derive(Debug)]
pub(super) struct Refused {
    pub why: String,
    /// Whether the same batch may be accepted later.
    pub is_passing: bool,
}

impl Refused {
    fn passing(why: &impl ToString) -> Self {
        Self { why: why.to_string(), is_passing: true }
    }
}

/// Validates the address and the headers of a collector.
///
/// # Errors
/// The key below `tracing`, and the problem.
pub(super) fn check(config: &TracingConfig) -> Result<(), (String, String)> {
    if let Some(endpoint) = &config.endpoint
        && Address::parse(endpoint).is_none()
    {
        let why = format!("`{endpoint}` is not an address such as http://collector:4318");
        return Err(("endpoint".to_owned(), why));
    }
    headers(config).map(drop)
}

fn headers(config: &TracingConfig) -> Result<HeaderMap, (String, String)> {
    let header = |(name, value): (&String, &crate::config::units::Secret)| {
        let wrong = |why: &str| (format!("headers.{name}"), why.to_owned());
        let key = HeaderName::try_from(name.as_str());
        let key = key.map_err(|_| wrong("is not the name of a header"))?;
        let value = HeaderValue::try_from(value.expose());
        let value = value.map_err(|_| wrong("is not the value of a header"))?;
        Ok((key, value))
    };
    config.headers.iter().map(header).collect()
}

impl Collector {
    /// Loads the trusted authorities; blocks.
    ///
    /// # Errors
    /// The key below `tracing`, and the problem.
    pub(super) fn new(endpoint: &str, config: &TracingConfig) -> Result<Self, (String, String)> {
        check(config)?;
        let address = Address::parse(endpoint)
            .ok_or_else(|| ("endpoint".to_owned(), "is not an address".to_owned()))?;
        let tls = match address.is_tls {
            false => None,
            true => {
                let wrong = |why| ("ca_file".to_owned(), why);
                let roots = trusted_authorities(config.ca_file.as_deref()).map_err(wrong)?;
                let tls = ClientConfig::builder_with_provider(Arc::new(default_provider()))
                    .with_safe_default_protocol_versions()
                    .expect("ring has suites for TLS 1.2 and 1.3")
                    .with_root_certificates(roots)
                    .with_no_client_auth();
                Some(TlsConnector::from(Arc::new(tls)))
            }
        };
        let (headers, timeout) = (headers(config)?, config.timeout.0);
        Ok(Self { address, tls, headers, timeout, connection: None })
    }

    /// Sends a batch.
    pub(super) async fn send(&mut self, batch: &Bytes) -> Result<(), Refused> {
        let limit = self.timeout;
        let sent = timeout(limit, self.send_unbounded(batch)).await;
        let sent = sent.unwrap_or_else(|_| {
            Err(Refused::passing(&format_args!("no answer within {} s", limit.as_secs_f32())))
        });
        if sent.is_err() {
            self.connection = None;
        }
        sent
    }

    async fn send_unbounded(&mut self, batch: &Bytes) -> Result<(), Refused> {
        if let Some(kept) = &mut self.connection
            && kept.sender.ready().await.is_err()
        {
            self.connection = None;
        }
        let mut connection = match self.connection.take() {
            Some(kept) => kept,
            None => self.connect().await.map_err(|error| Refused::passing(&error))?,
        };
        let request = self.request(batch).map_err(|error| Refused::passing(&error))?;
        let response = connection
            .sender
            .send_request(request)
            .await
            .map_err(|error| Refused::passing(&error))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), LONGEST).collect().await;
        let body = body.map_err(|error| Refused::passing(&error))?.to_bytes();
        self.connection = Some(connection);
        if status.is_success() {
            return Ok(());
        }
        let text: String = String::from_utf8_lossy(&body).chars().take(200).collect();
        let is_passing = matches!(status.as_u16(), 429 | 502 | 503 | 504);
        Err(Refused { why: format!("{status} {}", text.escape_debug()), is_passing })
    }

    async fn connect(&self) -> io::Result<Connection> {
        let Address { host, port, .. } = &self.address;
        let stream = TcpStream::connect((host.as_str(), *port)).await?;
        match &self.tls {
            None => begin(stream).await,
            Some(tls) => {
                let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
                begin(tls.connect(name, stream).await?).await
            }
        }
    }

    fn request(&self, batch: &Bytes) -> Result<Request<Full<Bytes>>, http::Error> {
        let Address { host, port, path, .. } = &self.address;
        let host =
            if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let mut request = Request::post(path.as_str())
            .header(HOST, host)
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, concat!("hotset/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(batch.clone()))?;
        request.headers_mut().extend(self.headers.clone());
        Ok(request)
    }
}

async fn begin<S>(stream: S) -> io::Result<Connection>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let driver = tokio::spawn(async move {
        let _ = connection.await;
    });
    Ok(Connection { sender, driver })
}

impl std::fmt::Display for Collector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.address.host, self.address.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_without_a_path_has_that_of_traces() {
        let parse = |text: &str| {
            let address = Address::parse(text)?;
            Some((address.is_tls, address.host, address.port, address.path.to_string()))
        };
        let parsed =
            |tls, host: &str, port, path: &str| Some((tls, host.to_owned(), port, path.to_owned()));
        assert_eq!(parse("http://c:4318"), parsed(false, "c", 4318, "/v1/traces"));
        assert_eq!(parse("https://c/"), parsed(true, "c", 443, "/v1/traces"));
        assert_eq!(parse("http://[::1]:1/x?y=z"), parsed(false, "::1", 1, "/x?y=z"));
        for wrong in ["", "c:4318", "grpc://c:4317", "http://", "http://user@c"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
