//! Loading of certificates and client authorities, and selection of a certificate by server name.
//!
//! All errors in a file are found when it is loaded, and name the file. Loaded files are complete, so that a handshake
//! opens nothing.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::{Ticketer, default_provider};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{
    ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::AlternativeName;
use super::config::{ClientAuth, TlsConfig};
use crate::metrics::wire::set_certificate_expiry;

/// Error in the certificate files of a listener. Its display is one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsError {
    /// The key below `listen[].tls` that names the file.
    pub key: String,
    pub problem: String,
}

impl TlsError {
    fn new(key: &str, file: &Path, problem: impl fmt::Display) -> Self {
        Self { key: key.to_owned(), problem: format!("{}: {problem}", file.display()) }
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.problem)
    }
}

impl std::error::Error for TlsError {}

/// Contents of the files of a listener, for comparison and parsing.
#[derive(PartialEq, Eq)]
pub(super) struct Files {
    /// The first pair, then the others.
    pairs: Vec<(Vec<u8>, Vec<u8>)>,
    client_ca: Option<Vec<u8>>,
}

impl Files {
    /// Reads the files; blocks.
    pub(super) fn read(config: &TlsConfig) -> Result<Self, TlsError> {
        let read = |key: &str, file: &Path| {
            std::fs::read(file).map_err(|error| TlsError::new(key, file, error))
        };
        let mut pairs = Vec::new();
        for (keys, cert, key) in pairs_of(config) {
            pairs.push((read(&keys.0, cert)?, read(&keys.1, key)?));
        }
        let client_ca = match &config.client_ca {
            Some(file) if config.client_auth != ClientAuth::None => Some(read("client_ca", file)?),
            _ => None,
        };
        Ok(Self { pairs, client_ca })
    }
}

/// Returns the keys of each certificate pair in the configuration, and its files.
fn pairs_of(config: &TlsConfig) -> impl Iterator<Item = ((String, String), &Path, &Path)> {
    let first = (("cert".to_owned(), "key".to_owned()), &*config.cert, &*config.key);
    let others = config.certificates.iter().enumerate().map(|(index, pair)| {
        let key = |name: &str| format!("certificates[{index}].{name}");
        ((key("cert"), key("key")), &*pair.cert, &*pair.key)
    });
    std::iter::once(first).chain(others)
}

/// Loaded certificate files.
pub(super) struct Loaded {
    pub config: Arc<ServerConfig>,
    /// Certificates that are not valid now: the key, and the reason.
    pub invalid_now: Vec<TlsError>,
}

/// Parses the files into a server configuration.
pub(super) fn load(config: &TlsConfig, files: &Files, http_2: bool) -> Result<Loaded, TlsError> {
    let provider = Arc::new(default_provider());
    let (mut invalid_now, mut expiries) = (Vec::new(), Vec::new());
    let mut shown = ByName { names: HashMap::new(), fallback: None };
    for ((keys, cert, key), (cert_pem, key_pem)) in pairs_of(config).zip(&files.pairs) {
        let chain = certificates(&keys.0, cert, cert_pem)?;
        let wrong_key = |problem: String| TlsError::new(&keys.1, key, problem);
        let private = PrivateKeyDer::from_pem_slice(key_pem)
            .map_err(|_| wrong_key("there is no private key in it".to_owned()))?;
        let about = About::read(&chain[0])
            .ok_or_else(|| TlsError::new(&keys.0, cert, "its first certificate is malformed"))?;
        let certified = CertifiedKey::from_der(chain, private, &provider).map_err(|error| {
            wrong_key(match error {
                rustls::Error::InconsistentKeys(_) => {
                    format!("is not the key of the certificate in {}", cert.display())
                }
                other => other.to_string(),
            })
        })?;
        if let Some(why) = about.invalid_now() {
            invalid_now.push(TlsError::new(&keys.0, cert, why));
        }
        expiries.push((cert.display().to_string(), about.not_after));
        shown.add(about, Arc::new(certified));
    }
    let mut server = server_config(config, files, provider, shown)?;
    if http_2 {
        server.alpn_protocols.push(b"h2".to_vec());
    }
    server.alpn_protocols.push(b"http/1.1".to_vec());
    for (file, not_after) in expiries {
        set_certificate_expiry(&file, not_after);
    }
    Ok(Loaded { config: Arc::new(server), invalid_now })
}

fn server_config(
    config: &TlsConfig,
    files: &Files,
    provider: Arc<CryptoProvider>,
    shown: ByName,
) -> Result<ServerConfig, TlsError> {
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("ring has suites for TLS 1.2 and 1.3");
    let builder = match (&config.client_ca, &files.client_ca) {
        (Some(file), Some(pem)) => {
            let mut roots = RootCertStore::empty();
            for authority in certificates("client_ca", file, pem)? {
                roots.add(authority).map_err(|e| TlsError::new("client_ca", file, e))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
            let verifier = match config.client_auth {
                ClientAuth::Required => verifier,
                _ => verifier.allow_unauthenticated(),
            };
            let verifier = verifier.build().map_err(|e| TlsError::new("client_ca", file, e))?;
            builder.with_client_cert_verifier(verifier)
        }
        _ => builder.with_no_client_auth(),
    };
    let mut server = builder.with_cert_resolver(Arc::new(shown));
    // Sessions are resumed by tickets, which cost no memory. Their keys end with this configuration, so that clients
    // are verified anew after a change.
    server.session_storage = Arc::new(NoServerSessionStorage {});
    server.ticketer = Ticketer::new().map_err(|error| TlsError {
        key: "cert".to_owned(),
        problem: format!("there are no random numbers for session tickets: {error}"),
    })?;
    Ok(server)
}

fn certificates(
    key: &str,
    file: &Path,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(chain) if chain.is_empty() => {
            Err(TlsError::new(key, file, "there is no certificate in it"))
        }
        Ok(chain) => Ok(chain),
        Err(error) => Err(TlsError::new(key, file, format_args!("malformed PEM: {error}"))),
    }
}

/// Parsed fields of a certificate.
pub(super) struct About {
    /// Host names, in lower case; a leading `*.` stands for one label.
    hosts: Vec<String>,
    /// All textual subject alternative names.
    pub names: Vec<AlternativeName>,
    /// Start of validity, in seconds since 1970.
    not_before: i64,
    not_after: i64,
}

impl About {
    pub(super) fn read(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
        let mut about = Self {
            hosts: Vec::new(),
            names: Vec::new(),
            not_before: parsed.validity().not_before.timestamp(),
            not_after: parsed.validity().not_after.timestamp(),
        };
        let names = parsed.subject_alternative_name().ok()?;
        for name in names.iter().flat_map(|names| &names.value.general_names) {
            match name {
                GeneralName::DNSName(host) => {
                    about.hosts.push(host.to_ascii_lowercase());
                    about.names.push(AlternativeName::Dns((*host).to_owned()));
                }
                GeneralName::URI(name) => {
                    about.names.push(AlternativeName::Uri((*name).to_owned()));
                }
                GeneralName::RFC822Name(name) => {
                    about.names.push(AlternativeName::Email((*name).to_owned()));
                }
                _ => {}
            }
        }
        Some(about)
    }

    /// Returns the reason for which the certificate is not valid now.
    pub(super) fn invalid_now(&self) -> Option<&'static str> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        match now {
            _ if now < self.not_before => Some("the certificate is not valid yet"),
            _ if now > self.not_after => Some("the certificate has expired"),
            _ => None,
        }
    }
}

/// Selection of a certificate by server name (SNI).
#[derive(Debug)]
struct ByName {
    /// Certificates by host name, or by the part of a wildcard name from its first dot on.
    names: HashMap<String, Arc<CertifiedKey>>,
    fallback: Option<Arc<CertifiedKey>>,
}

impl ByName {
    /// Adds a certificate; the first one for a name stays.
    fn add(&mut self, about: About, certified: Arc<CertifiedKey>) {
        for host in about.hosts {
            let name = host.strip_prefix('*').map_or(host.clone(), str::to_owned);
            self.names.entry(name).or_insert_with(|| certified.clone());
        }
        self.fallback.get_or_insert(certified);
    }

    fn find(&self, host: &str) -> Option<&Arc<CertifiedKey>> {
        let host = host.to_ascii_lowercase();
        let wildcard = || self.names.get(&host[host.find('.')?..]);
        self.names.get(&host).or_else(wildcard)
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = hello.server_name().and_then(|host| self.find(host));
        named.or(self.fallback.as_ref()).cloned()
    }
}
