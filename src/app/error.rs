//! Errors that prevent or end the server's run.

use super::activation::ActivationError;
use super::descriptors::TooFewDescriptors;
use super::sizing::TooLittleMemory;
use crate::auth::IdentitiesError;
use crate::cache::DiskError;
use crate::events::ReceiversError;
use crate::origin::CredentialsError;
use crate::tls::TlsError;

/// Error that prevented the start of the server, or ended it.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("cannot listen on {address}: {source}")]
    Bind { address: String, source: std::io::Error },
    #[error("listen[{index}].tls.{source}")]
    Tls { index: usize, source: TlsError },
    #[error("origin.endpoint: {0}")]
    Origin(String),
    /// Error of one of several origins.
    #[error("{key}: {source}")]
    Named { key: String, source: Box<Self> },
    #[error("origin.ca_file: {0}")]
    OriginAuthorities(String),
    #[error("origin credentials: {0}")]
    Credentials(#[from] CredentialsError),
    #[error("auth.identities: {0}")]
    Identities(#[from] IdentitiesError),
    #[error("cache.disk: {0}")]
    Disk(#[from] DiskError),
    #[error("{0}")]
    Memory(#[from] TooLittleMemory),
    #[error("{0}")]
    Descriptors(#[from] TooFewDescriptors),
    #[error("{0}")]
    Activation(#[from] ActivationError),
    #[error("events.{0}")]
    Events(#[from] ReceiversError),
    #[error("log.{0}: {1}")]
    Log(&'static str, std::io::Error),
    #[error("tracing.{0}: {1}")]
    Tracing(String, String),
    #[error("{0}: {1}")]
    AdminToken(&'static str, std::io::Error),
    #[error("cluster.{0}")]
    Cluster(String),
    #[error("admin.tls.{0}")]
    AdminTls(TlsError),
    #[error("rules: {0}")]
    Rules(#[from] crate::glob::InvalidGlob),
    #[error("{0}")]
    Runtime(#[from] std::io::Error),
    #[cfg(feature = "embedded")]
    #[error("embedded origin: {0}")]
    Embedded(#[from] crate::embedded::EmbeddedError),
}
