//! A self-signed certificate for the servers, and clients that trust it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::Result;

const HOST: &str = "localhost";

/// Files for a server, and the configuration of a client that trusts it: TLS 1.3 only.
#[derive(Clone)]
pub struct Identity {
    pub cert: PathBuf,
    pub key: PathBuf,
    client: Arc<ClientConfig>,
}

impl Identity {
    /// Makes a certificate, with its files in `folder`.
    ///
    /// # Errors
    /// When the folder can't be written to.
    pub fn new(folder: &Path) -> Result<Self> {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed([HOST.to_owned()])?;
        let mut roots = RootCertStore::empty();
        roots.add(cert.der().clone())?;
        let client = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let identity = Self {
            cert: folder.join("tls.crt"),
            key: folder.join("tls.key"),
            client: Arc::new(client),
        };
        fs::write(&identity.cert, cert.pem())?;
        fs::write(&identity.key, signing_key.serialize_pem())?;
        Ok(identity)
    }

    /// Does the handshake over a connection.
    ///
    /// # Errors
    /// When the server has another certificate, or does not speak TLS 1.3.
    pub async fn connect(&self, stream: TcpStream) -> Result<TlsStream<TcpStream>> {
        let connector = TlsConnector::from(self.client.clone());
        Ok(connector.connect(ServerName::try_from(HOST)?, stream).await?)
    }
}
