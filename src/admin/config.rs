//! What can be set about the operators' own port, the key `admin`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::config::units::Secret;

/// The operators' port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct AdminConfig {
    /// `ip:port` of `/metrics`, `/healthz`, `/readyz` and the API; `None` (`null`) switches it off.
    pub address: Option<String>,
    /// What who uses the API must say, as `Authorization: Bearer`; `None`: on a loopback address it is open, on any
    /// other it is closed.
    #[cfg_attr(test, schemars(extend("minLength" = Self::TOKEN_MIN)))]
    pub token: Option<Secret>,
    /// A file that holds it instead, read again for each request.
    pub token_file: Option<PathBuf>,
}

impl AdminConfig {
    /// The shortest token, in bytes: whoever can connect may try them all.
    pub const TOKEN_MIN: usize = 16;
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self { address: Some("127.0.0.1:9001".to_owned()), token: None, token_file: None }
    }
}
