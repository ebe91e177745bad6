//! TLS configuration of a listener.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::config::units::HumanDuration;

/// TLS 1.2 and 1.3 on one address, the key `listen[].tls`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct TlsConfig {
    /// PEM file with the certificate and its intermediates. It is the default for clients that send
    /// no server name, or one that no certificate covers.
    pub cert: PathBuf,
    /// PEM file with the private key of the certificate.
    pub key: PathBuf,
    /// Further certificates, chosen by the names in them; `*.s3.local` covers one more label.
    pub certificates: Vec<PairConfig>,
    /// PEM file with the authorities of client certificates; required unless `client_auth` is
    /// `none`.
    pub client_ca: Option<PathBuf>,
    /// Whether clients are asked for a certificate: `none`, `optional` or `required`.
    pub client_auth: ClientAuth,
    /// Interval at which the files are checked for changes.
    pub reload: HumanDuration,
}

impl Default for TlsConfig {
    fn default() -> Self {
        Self {
            cert: PathBuf::new(),
            key: PathBuf::new(),
            certificates: Vec::new(),
            client_ca: None,
            client_auth: ClientAuth::None,
            reload: HumanDuration::secs(10),
        }
    }
}

/// A certificate and its key, an item of `listen[].tls.certificates`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PairConfig {
    /// PEM file with the certificate and its intermediates.
    pub cert: PathBuf,
    /// PEM file with the private key.
    pub key: PathBuf,
}

/// Whether clients are asked for a certificate, the key `listen[].tls.client_auth`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum ClientAuth {
    /// Clients are not asked for a certificate.
    #[default]
    None,
    /// A certificate is optional, and must be of `client_ca` if it is sent.
    Optional,
    /// A certificate of `client_ca` is required.
    Required,
}
