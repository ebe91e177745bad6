//! The admin port of a server that runs, as the subcommands ask it.
//!
//! Where it is and with which token is said by the configuration, as for the server itself; one request a connection,
//! each bounded in time.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::ConfigFile;
use super::health::reachable;
use crate::admin::Token;
use crate::config::ConfigError;
use crate::config::units::Secret;

/// For a whole request. The server gives itself half of it.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of an answer.
const MOST_BYTES: usize = 16 << 20;

/// Which server is asked.
#[derive(Debug, Args)]
pub(super) struct Server {
    #[command(flatten)]
    pub(super) file: ConfigFile,
    /// The admin port to ask, http://host:port; without it that of the configuration
    #[arg(long, value_name = "URL")]
    admin: Option<String>,
}

/// How to reach it.
pub(super) struct Admin {
    /// `host:port`.
    authority: String,
    token: Option<Secret>,
}

/// Why there is no answer to go by.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    #[error("{0} does not answer: {1}")]
    NotReachable(String, io::Error),
    /// The server says what is wrong with the request.
    #[error("{0}")]
    Wrong(String),
    #[error("{authority} answers {status}: {why}")]
    Refused { authority: String, status: u16, why: String },
}

impl Server {
    /// What the arguments and the configuration say.
    pub(super) fn find(&self) -> Result<Admin, ConfigError> {
        let config = self.file.load()?;
        let token = Token::new(&config.admin).read();
        let token = token.map_err(|error| ConfigError::at("admin.token_file", error))?;
        let authority = match (&self.admin, config.admin.address) {
            (Some(url), _) => authority(url)?,
            (None, None) => {
                return Err(ConfigError::at("admin.address", "is off: there is nobody to ask"));
            }
            (None, Some(address)) => {
                let parsed: Result<SocketAddr, _> = address.parse();
                let parsed = parsed.map_err(|_| {
                    ConfigError::at("admin.address", format_args!("`{address}` is not an address"))
                })?;
                reachable(parsed).to_string()
            }
        };
        Ok(Admin { authority, token })
    }
}

/// `host:port` of a URL.
fn authority(url: &str) -> Result<String, ConfigError> {
    let wrong = || ConfigError::at("--admin", format_args!("`{url}` is not http://host:port"));
    let uri: http::Uri = url.parse().map_err(|_| wrong())?;
    let authority = uri.authority().ok_or_else(wrong)?;
    let plain = matches!(uri.scheme_str(), None | Some("http"));
    if !plain || authority.as_str().contains('@') || !matches!(uri.path(), "" | "/") {
        return Err(wrong());
    }
    match authority.port_u16() {
        Some(_) => Ok(authority.to_string()),
        None => Err(wrong()),
    }
}

impl Admin {
    /// The JSON of a successful answer.
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, AskError> {
        self.ask_patiently(method, path, body, Duration::ZERO).await
    }

    /// As [`Admin::ask`], of what may take the server `longer` than others.
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
            asked.map_err(|error| AskError::NotReachable(self.authority.clone(), error))?;
        let answer: Option<Value> = serde_json::from_slice(&body).ok();
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
                let (authority, status) = (self.authority.clone(), status.as_u16());
                Err(AskError::Refused { authority, status, why })
            }
        }
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> io::Result<(StatusCode, Bytes)> {
        let stream = TcpStream::connect(&self.authority).await?;
        let handshake = http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(io::Error::other)?;
        let connection = tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(path).header(HOST, &self.authority);
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
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MOST_BYTES).collect().await;
        let body = body.map_err(io::Error::other)?.to_bytes();
        connection.abort();
        Ok((status, body))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_a_host_and_a_port() {
        let read = |url: &str| authority(url).ok();
        assert_eq!(read("http://127.0.0.1:9001").as_deref(), Some("127.0.0.1:9001"));
        assert_eq!(read("http://hotset-0:9001/").as_deref(), Some("hotset-0:9001"));
        assert_eq!(read("[::1]:9001").as_deref(), Some("[::1]:9001"));
        for url in ["https://h:1", "http://h", "http://u:p@h:1", "http://h:1/x", "", "h"] {
            assert_eq!(read(url), None, "{url}");
        }
    }
}
