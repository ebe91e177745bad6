//! Certificates for a test: an authority, the certificates that it signs, and clients that trust it.

use std::net::SocketAddr;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, SanType,
};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::within;

/// A certificate authority.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate with its chain, and its key, as PEM.
#[derive(Debug, Clone)]
pub struct Pair {
    pub cert: String,
    pub key: String,
}

impl Authority {
    #[must_use]
    pub fn new(name: &str) -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("random numbers");
        Authority(CertifiedIssuer::self_signed(params, key).expect("a complete certificate"))
    }

    /// Returns its own certificate, as PEM.
    #[must_use]
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// Issues a certificate for these names, each a host (`*.s3.local` too), an address or a URI; the text after
    /// `dns:` is taken for a host name, whatever it is.
    #[must_use]
    pub fn sign(&self, names: &[&str]) -> Pair {
        self.sign_until(names, 2099)
    }

    /// Issues the same certificate, valid until the end of a year.
    #[must_use]
    pub fn sign_until(&self, names: &[&str], year: i32) -> Pair {
        let key = KeyPair::generate().expect("random numbers");
        Pair { cert: self.certify(names, year, &key), key: key.serialize_pem() }
    }

    /// Issues a certificate for an existing key, as PEM.
    #[must_use]
    pub fn certify(&self, names: &[&str], year: i32, key: &KeyPair) -> String {
        let is_plain = |name: &&&str| !name.contains("://") && !name.starts_with("dns:");
        let hosts = names.iter().filter(is_plain);
        let hosts: Vec<String> = hosts.map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(hosts).expect("names that can be in a certificate");
        for name in names.iter().filter(|name| !is_plain(name)) {
            params.subject_alt_names.push(match name.strip_prefix("dns:") {
                Some(name) => SanType::DnsName(name.try_into().expect("ASCII")),
                None => SanType::URI((*name).try_into().expect("ASCII")),
            });
        }
        params.not_after = rcgen::date_time_ymd(year, 12, 31);
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.signed_by(key, &self.0).expect("a complete certificate").pem()
    }

    /// Returns a client that trusts this authority.
    #[must_use]
    pub fn client(&self) -> TlsClient {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.as_ref().der().clone()).expect("a right certificate");
        TlsClient { roots, pair: None, alpn: Vec::new(), versions: rustls::ALL_VERSIONS }
    }
}

/// A TLS client under construction; chained, then connected.
#[derive(Debug, Clone)]
pub struct TlsClient {
    roots: RootCertStore,
    pair: Option<Pair>,
    alpn: Vec<Vec<u8>>,
    versions: &'static [&'static SupportedProtocolVersion],
}

impl TlsClient {
    /// Presents this certificate when asked for one.
    #[must_use]
    pub fn with(mut self, pair: &Pair) -> TlsClient {
        self.pair = Some(pair.clone());
        self
    }

    /// Offers these protocols (ALPN).
    #[must_use]
    pub fn alpn(mut self, protocols: &[&str]) -> TlsClient {
        self.alpn = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        self
    }

    /// Supports one TLS version only.
    #[must_use]
    pub fn version(mut self, versions: &'static [&'static SupportedProtocolVersion]) -> TlsClient {
        self.versions = versions;
        self
    }

    /// Returns the configuration for rustls; connections made with the same one resume their sessions.
    #[must_use]
    pub fn config(&self) -> Arc<ClientConfig> {
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(self.versions)
            .expect("versions that ring has")
            .with_root_certificates(self.roots.clone());
        let mut config = match &self.pair {
            None => builder.with_no_client_auth(),
            Some(pair) => {
                let cert = CertificateDer::from_pem_slice(pair.cert.as_bytes()).expect("PEM");
                let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("PEM");
                builder.with_client_auth_cert(vec![cert], key).expect("a pair")
            }
        };
        config.alpn_protocols.clone_from(&self.alpn);
        Arc::new(config)
    }

    /// Connects and does the handshake for `host`.
    ///
    /// # Errors
    /// When either side refuses the other.
    pub async fn connect(
        &self,
        addr: SocketAddr,
        host: &str,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(addr).await?;
        tls_over(stream, self.config(), host).await
    }
}

/// Does the handshake over a connection.
///
/// # Errors
/// When either side refuses the other.
pub async fn tls_over(
    stream: TcpStream,
    config: Arc<ClientConfig>,
    host: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let host = ServerName::try_from(host.to_owned()).expect("a host");
    within("a TLS handshake", TlsConnector::from(config).connect(host, stream)).await
}
