//! What can be set about the operators' own port, the key `admin`.

use serde::{Deserialize, Serialize};

/// The operators' port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdminConfig {
    /// `ip:port` of `/metrics`, `/healthz` and `/readyz`; `None` (`null`) switches it off.
    pub address: Option<String>,
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self { address: Some("127.0.0.1:9001".to_owned()) }
    }
}
