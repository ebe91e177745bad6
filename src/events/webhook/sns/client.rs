//! A bounded GET from SNS over TLS, without redirects.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::client::WebPkiServerVerifier;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::host::Url;
use crate::events::webhook::config::SnsConfig;
use crate::events::webhook::error::WebhookError;
use crate::tls::trusted_authorities;

/// Timeout of the whole request, name resolution included.
const TIME: Duration = Duration::from_secs(8);
/// Maximum response body in bytes; a chain of certificates has some 6 KiB.
const LONGEST: usize = 64 * 1024;

/// Client of SNS, with its trusted authorities.
pub(super) struct Client {
    tls: TlsConnector,
    /// Verifier of certificates that are not seen by TLS: those of signatures.
    pub(super) verifier: Arc<WebPkiServerVerifier>,
}

/// Response of an SNS endpoint.
pub(super) struct Answer {
    pub status: StatusCode,
    pub body: Bytes,
    /// Intermediate certificates of the host; verified, unless TLS is not used.
    pub chain: Vec<CertificateDer<'static>>,
}

impl Client {
    /// Reads the trusted authorities; blocks.
    pub(super) fn new(config: &SnsConfig) -> Result<Self, WebhookError> {
        let roots = trusted_authorities(config.ca_file.as_deref());
        let roots = roots.map_err(|problem| WebhookError::new("sns.ca_file", problem))?;
        let roots = Arc::new(roots);
        let provider = Arc::new(default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider.clone())
            .build()
            .map_err(|error| WebhookError::new("sns.ca_file", error))?;
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has suites for TLS 1.2 and 1.3")
            .with_webpki_verifier(verifier.clone())
            .with_no_client_auth();
        Ok(Self { tls: TlsConnector::from(Arc::new(tls)), verifier })
    }

    /// Sends a GET.
    pub(super) async fn get(&self, url: &Url) -> io::Result<Answer> {
        match timeout(TIME, self.get_unbounded(url)).await {
            Ok(answer) => answer,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    async fn get_unbounded(&self, url: &Url) -> io::Result<Answer> {
        let stream = TcpStream::connect((url.host.as_str(), url.port)).await?;
        if !url.tls {
            return ask(stream, url, Vec::new()).await;
        }
        let name = ServerName::try_from(url.host.clone()).map_err(io::Error::other)?;
        let stream = self.tls.connect(name, stream).await?;
        let shown = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let chain = shown.iter().skip(1).map(|certificate| certificate.clone().into_owned());
        let chain = chain.collect();
        ask(stream, url, chain).await
    }
}

async fn ask<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    url: &Url,
    chain: Vec<CertificateDer<'static>>,
) -> io::Result<Answer> {
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    // The task ends when the sender is dropped, at the end of this function or on its timeout.
    let connection = tokio::spawn(connection);
    let default_port = url.port == if url.tls { 443 } else { 80 };
    let host = if default_port { url.host.clone() } else { format!("{}:{}", url.host, url.port) };
    let request = Request::get(url.target.as_str())
        .header(header::HOST, host)
        .header(header::ACCEPT, "*/*")
        .header(header::USER_AGENT, concat!("hotset/", env!("CARGO_PKG_VERSION")))
        .body(Empty::<Bytes>::new())
        .map_err(io::Error::other)?;
    let response = sender.send_request(request).await.map_err(io::Error::other)?;
    let status = response.status();
    let body = Limited::new(response.into_body(), LONGEST).collect().await;
    let body = body.map_err(io::Error::other)?.to_bytes();
    connection.abort();
    Ok(Answer { status, body, chain })
}
