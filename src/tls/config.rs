//! What can be set about TLS of one listener.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::config::units::HumanDuration;

/// TLS 1.2 and 1.3 on one address, the key `listen[].tls`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct TlsConfig {
    /// A PEM file: the certificate, then those that lead to its authority. It is for clients that name no host, or one
    /// that is in no certificate.
    pub cert: PathBuf,
    /// A PEM file: the certificate's private key.
    pub key: PathBuf,
    /// Further certificates, each for the names in it (`*.s3.local` is for one label more).
    pub certificates: Vec<PairConfig>,
    /// A PEM file: the authorities of clients' certificates; needed where these are asked for.
    pub client_ca: Option<PathBuf>,
    /// Whether clients are asked for a certificate.
    pub client_auth: ClientAuth,
    /// How often the files are looked at for changes.
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
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// Whether clients are asked for a certificate, the key `listen[].tls.client_auth`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum ClientAuth {
    /// They are not asked.
    #[default]
    None,
    /// One that is shown must be of `client_ca`; none need be.
    Optional,
    /// Who shows none of `client_ca` is refused.
    Required,
}
