//! Certificate authorities: those of the system, or of a PEM file.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::ring::default_provider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

/// Loads the system's authorities, or those in a file; blocks.
///
/// # Errors
/// One line: there are none, or as [`authorities`].
pub fn trusted_authorities(file: Option<&Path>) -> Result<RootCertStore, String> {
    if let Some(file) = file {
        return authorities(file);
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(
            "the system has no authorities (ca-certificates); name a file of some".to_owned()
        );
    }
    Ok(roots)
}

/// Creates a TLS connector that trusts the system's authorities, or those in a file; blocks.
///
/// # Errors
/// As [`trusted_authorities`].
#[allow(clippy::missing_panics_doc, reason = "ring has suites for TLS 1.2 and 1.3")]
pub fn connector(file: Option<&Path>) -> Result<TlsConnector, String> {
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has suites for TLS 1.2 and 1.3")
        .with_root_certificates(trusted_authorities(file)?)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Loads the authorities in a file; blocks.
///
/// # Errors
/// One line that begins with the file: it cannot be read, is not PEM, or contains no authority's certificate.
pub fn authorities(file: &Path) -> Result<RootCertStore, String> {
    let wrong = |problem: String| format!("{}: {problem}", file.display());
    let pem = std::fs::read(file).map_err(|error| wrong(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| wrong(format!("malformed PEM: {error}")))?;
        roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(wrong("there is no certificate in it".to_owned()));
    }
    Ok(roots)
}
