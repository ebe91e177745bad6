//! TLS to the server with the same configuration, whose certificate is available as a file.
//!
//! Names and authorities are not checked: the subcommands reach the server by its address, and this machine may not
//! know the issuer of its certificate.

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring::default_provider;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use tokio_rustls::TlsConnector;

use super::config::TlsConfig;

/// Creates a connector to a server with one of the certificates of `config`; blocks.
///
/// # Errors
/// One line that begins with the unreadable file.
pub fn connector_to_own(config: &TlsConfig) -> Result<TlsConnector, String> {
    let files = config.certificates.iter().map(|pair| &pair.cert);
    let files = std::iter::once(&config.cert).chain(files);
    let certificates = files.map(|file| first_certificate(file)).collect::<Result<_, _>>()?;
    Ok(connector(Some(certificates)))
}

/// Creates a connector that accepts any certificate: for callers that send no secret and only read a status.
#[must_use]
pub fn connector_to_any() -> TlsConnector {
    connector(None)
}

fn connector(certificates: Option<Vec<CertificateDer<'static>>>) -> TlsConnector {
    let provider = Arc::new(default_provider());
    let verifier = Arc::new(Verifier { certificates, provider: provider.clone() });
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has suites for TLS 1.2 and 1.3")
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

fn first_certificate(file: &Path) -> Result<CertificateDer<'static>, String> {
    let wrong = |problem: String| format!("{}: {problem}", file.display());
    let pem = std::fs::read(file).map_err(|error| wrong(error.to_string()))?;
    CertificateDer::from_pem_slice(&pem).map_err(|error| wrong(error.to_string()))
}

#[derive(Debug)]
struct Verifier {
    /// Accepted certificates; `None`: any.
    certificates: Option<Vec<CertificateDer<'static>>>,
    provider: Arc<CryptoProvider>,
}

const OTHER_CERTIFICATE: &str =
    "the server has another certificate than the file of this configuration";

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match &self.certificates {
            Some(known) if !known.contains(shown) => {
                Err(Error::General(OTHER_CERTIFICATE.to_owned()))
            }
            _ => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
