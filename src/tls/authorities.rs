//! Files of certificate authorities, in PEM.

use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

/// The authorities in a file; blocks.
///
/// # Errors
/// One line that begins with the file: it cannot be read, is no PEM, or has no certificate of an authority in it.
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
