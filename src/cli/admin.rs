//! Client of a running server's admin port, for the subcommands.
//!
//! Address and token come from the configuration, as for the server itself; each connection carries one request, with a
//! timeout.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use http_body_util::{BodyExt as _, Collected, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::config_file::ConfigFile;
use super::health::reachable;
use crate::admin::Token;
use crate::config::ConfigError;
use crate::config::units::Secret;
use crate::tls::{connector, connector_to_own};

/// Timeout of a whole request. The server's own is half of it.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Maximum bytes of a response.
const MOST_BYTES: usize = 16 << 20;

/// The server to contact.
#[derive(Debug, Args)]
pub(super) struct Server {
    #[command(flatten)]
    pub(super) file: ConfigFile,
    #[arg(
        long,
        value_name = "URL",
        help = "The admin port to ask: http://host:port, https://host[:port] or unix:/path; without it that of the \
            configuration"
    )]
    admin: Option<String>,
    /// With https://, a file of the certificates to trust instead of the system's
    #[arg(long, alias = "ca-file", value_name = "FILE", requires = "admin")]
    admin_ca: Option<PathBuf>,
}

/// A connection to the admin port.
pub(super) struct Admin {
    address: Address,
    token: Option<Secret>,
    tls: Option<TlsConnector>,
}

/// Address of the admin port.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Address {
    /// `host:port`.
    Http(String),
    /// Host name and port.
    Https(String, u16),
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(authority) => f.write_str(authority),
            Self::Https(host, port) => write!(f, "https://{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Error of a request to the admin port.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    #[error("{0} does not answer: {1}")]
    NotReachable(String, io::Error),
    /// The server rejects the request, with the reason.
    #[error("{0}")]
    Wrong(String),
    #[error("{authority} answers {status}: {why}")]
    Refused { authority: String, status: u16, why: String },
    #[error("the terminal cannot be used: {0}; --once needs none")]
    Terminal(io::Error),
}

impl Server {
    /// Determines the address from the arguments and the configuration.
    pub(super) fn find(&self) -> Result<Admin, ConfigError> {
        let config = self.file.load()?;
        let token = Token::new(&config.admin).of_client().map_err(ConfigError::because)?;
        let mut tls = None;
        let address = match (&self.admin, config.admin.address) {
            (Some(url), _) => address(url)?,
            (None, None) => {
                return Err(ConfigError::at("admin.address", "is off: there is nobody to ask"));
            }
            (None, Some(address)) => {
                let parsed: Result<SocketAddr, _> = address.parse();
                let parsed = parsed.map_err(|_| {
                    ConfigError::at("admin.address", format_args!("`{address}` is not an address"))
                })?;
                let reached = reachable(parsed);
                match &config.admin.tls {
                    None => Address::Http(reached.to_string()),
                    Some(config) => {
                        let own = connector_to_own(config);
                        tls = Some(own.map_err(|why| ConfigError::at("admin.tls.cert", why))?);
                        Address::Https(reached.ip().to_string(), reached.port())
                    }
                }
            }
        };
        if matches!(address, Address::Https(..)) && tls.is_none() {
            let connector = connector(self.admin_ca.as_deref());
            tls = Some(connector.map_err(|problem| ConfigError::at("--admin-ca", problem))?);
        }
        Ok(Admin { address, token, tls })
    }
}

/// Parses `http://host:port`, `https://host[:port]` or `unix:/path`.
fn address(url: &str) -> Result<Address, ConfigError> {
    let wrong = || {
        let why = format!("`{url}` is not http://host:port, https://host[:port] or unix:/path");
        ConfigError::at("--admin", why)
    };
    if let Some(path) = url.strip_prefix("unix:") {
        return if path.starts_with('/') { Ok(Address::Unix(path.into())) } else { Err(wrong()) };
    }
    let uri: http::Uri = url.parse().map_err(|_| wrong())?;
    let authority = uri.authority().ok_or_else(wrong)?;
    if authority.as_str().contains('@') || !matches!(uri.path(), "" | "/") {
        return Err(wrong());
    }
    match (uri.scheme_str(), authority.port_u16()) {
        (None | Some("http"), Some(_)) => Ok(Address::Http(authority.to_string())),
        (Some("https"), port) => {
            let host = authority.host().trim_start_matches('[').trim_end_matches(']');
            Ok(Address::Https(host.to_owned(), port.unwrap_or(443)))
        }
        _ => Err(wrong()),
    }
}

impl Admin {
    /// Sends a request and returns the JSON of a successful response.
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, AskError> {
        self.ask_patiently(method, path, body, Duration::ZERO).await
    }

    /// As [`Admin::ask`], for a request that may take the server `longer` than others.
    pub(super) async fn ask_patiently(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        longer: Duration,
    ) -> Result<Value, AskError> {
        let asked = timeout(TIMEOUT + longer, self.exchange(method, path, body)).await;
        let asked = asked.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let (status, body) =
            asked.map_err(|error| AskError::NotReachable(self.address.to_string(), error))?;
        self.successful(status, &body)
    }

    /// Returns the JSON of a successful response.
    fn successful(&self, status: StatusCode, body: &[u8]) -> Result<Value, AskError> {
        let answer: Option<Value> = serde_json::from_slice(body).ok();
        if let Some(answer) = &answer
            && status.is_success()
        {
            return Ok(answer.clone());
        }
        let error = answer.as_ref().and_then(|answer| answer["error"].as_str());
        let why = error.unwrap_or("it is not hotset's admin port").to_owned();
        match status {
            StatusCode::BAD_REQUEST => Err(AskError::Wrong(why)),
            status => {
                let (authority, status) = (self.address.to_string(), status.as_u16());
                Err(AskError::Refused { authority, status, why })
            }
        }
    }

    /// Reads lines of a response while they arrive and `take` returns true.
    pub(super) async fn lines(
        &self,
        path: &str,
        mut take: impl FnMut(&str) -> bool,
    ) -> Result<(), AskError> {
        let failed = |error| AskError::NotReachable(self.address.to_string(), error);
        let opened = timeout(TIMEOUT, self.open(Method::GET, path, None)).await;
        let opened = opened.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let (answer, connection) = opened.map_err(failed)?;
        let _connection = AbortOnDrop(connection);
        let (status, mut body) = (answer.status(), answer.into_body());
        if !status.is_success() {
            let whole = timeout(TIMEOUT, Limited::new(body, MOST_BYTES).collect()).await;
            let whole = whole.map(|whole| whole.map(Collected::to_bytes));
            let whole = whole.ok().and_then(Result::ok).unwrap_or_default();
            return self.successful(status, &whole).map(drop);
        }
        let mut rest = Vec::new();
        loop {
            // The server sends an empty line now and then.
            let frame = timeout(TIMEOUT, body.frame()).await;
            let frame = match frame.map_err(|_| failed(io::ErrorKind::TimedOut.into()))? {
                None => return Ok(()),
                Some(frame) => frame.map_err(|error| failed(io::Error::other(error)))?,
            };
            rest.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = rest.drain(..=end).collect();
                let line = String::from_utf8_lossy(&line[..end]);
                if !line.is_empty() && !take(&line) {
                    return Ok(());
                }
            }
            if rest.len() > MOST_BYTES {
                return Err(failed(io::Error::other("a line is too long")));
            }
        }
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> io::Result<(StatusCode, Bytes)> {
        let (answer, connection) = self.open(method, path, body).await?;
        let _connection = AbortOnDrop(connection);
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MOST_BYTES).collect().await;
        Ok((status, body.map_err(io::Error::other)?.to_bytes()))
    }

    /// Sends a request. Returns the response head and the task of the connection.
    async fn open(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> io::Result<(Response<Incoming>, JoinHandle<()>)> {
        match (&self.address, &self.tls) {
            (Address::Unix(socket), _) => {
                let stream = UnixStream::connect(socket).await?;
                self.open_over(stream, "localhost", method, path, body).await
            }
            (Address::Https(host, port), Some(tls)) => {
                let stream = TcpStream::connect((host.as_str(), *port)).await?;
                let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
                let stream = tls.connect(name, stream).await?;
                let authority = match (host.contains(':'), port) {
                    (true, port) => format!("[{host}]:{port}"),
                    (false, port) => format!("{host}:{port}"),
                };
                self.open_over(stream, &authority, method, path, body).await
            }
            (Address::Https(..), None) => Err(io::Error::other("there is no TLS for it")),
            (Address::Http(authority), _) => {
                let stream = TcpStream::connect(authority).await?;
                self.open_over(stream, authority, method, path, body).await
            }
        }
    }

    async fn open_over<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
        &self,
        stream: S,
        authority: &str,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> io::Result<(Response<Incoming>, JoinHandle<()>)> {
        let handshake = http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(io::Error::other)?;
        let connection = tokio::spawn(async move { drop(connection.await) });
        let mut request = Request::builder().method(method).uri(path).header(HOST, authority);
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {}", token.expose()));
        }
        let body = match body {
            Some(body) => {
                request = request.header(CONTENT_TYPE, "application/json");
                Full::new(Bytes::from(body.to_string()))
            }
            None => Full::default(),
        };
        let request = request.body(body).map_err(io::Error::other)?;
        let answer = sender.send_request(request).await.map_err(io::Error::other)?;
        Ok((answer, connection))
    }
}

/// Aborts a task on drop.
struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_a_host_and_a_port_or_a_socket() {
        let read = |url: &str| address(url).ok().map(|address| address.to_string());
        assert_eq!(read("https://h").as_deref(), Some("https://h:443"));
        assert_eq!(read("https://[::1]:8443/").as_deref(), Some("https://::1:8443"));
        assert_eq!(read("unix:/run/a.sock").as_deref(), Some("unix:/run/a.sock"));
        assert_eq!(read("http://127.0.0.1:9001").as_deref(), Some("127.0.0.1:9001"));
        assert_eq!(read("http://hotset-0:9001/").as_deref(), Some("hotset-0:9001"));
        assert_eq!(read("[::1]:9001").as_deref(), Some("[::1]:9001"));
        for url in [
            "ftp://h:1",
            "unix:relative",
            "https://u@h",
            "http://h",
            "http://u:p@h:1",
            "http://h:1/x",
            "",
            "h",
        ] {
            assert_eq!(read(url), None, "{url}");
        }
    }
}
