//! Configuration of the admin port, the key `admin`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::config::units::{Dollars, Secret};
use crate::tls::config::TlsConfig;

/// The admin port: metrics, health checks and the admin API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct AdminConfig {
    /// `ip:port` of `/metrics`, `/healthz`, `/readyz` and the API; `None` disables it.
    pub address: Option<String>,
    /// Bearer token that the API requires. `None`: on a loopback address the API is open to all
    /// local users; on any other address it is closed.
    #[cfg_attr(test, schemars(extend("minLength" = Self::TOKEN_MIN)))]
    pub token: Option<Secret>,
    /// A second token that may only read: every `GET` below `/api/`, and nothing else. It must differ
    /// from `token`. When only this one is set, nothing can be changed by the API.
    #[cfg_attr(test, schemars(extend("minLength" = Self::TOKEN_MIN)))]
    pub read_token: Option<Secret>,
    /// File with the second token, in place of `read_token`. It is read again for each request.
    pub read_token_file: Option<PathBuf>,
    /// TLS, as in `listen[].tls` but without client certificates, which probes do not have; `None`:
    /// plain HTTP.
    pub tls: Option<TlsConfig>,
    /// Prices of the origin, by which `hotset_saved_dollars_total` counts what the cache saves.
    pub prices: Prices,
    /// File with the token, in place of `token`. It is read again for each request.
    pub token_file: Option<PathBuf>,
}

/// Prices of the origin; the defaults are those of S3 Standard in `us-east-1`, read from the same region.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Prices {
    /// US dollars for 1,000 GET requests.
    pub requests: Dollars,
    /// US dollars for each GB (10^9 bytes) that leaves the origin.
    pub gigabyte: Dollars,
}

impl Default for Prices {
    fn default() -> Self {
        Self { requests: Dollars(400_000), gigabyte: Dollars(0) }
    }
}

impl AdminConfig {
    /// Minimum length of a token in bytes: anyone who can connect may try to guess it.
    pub const TOKEN_MIN: usize = 16;
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self {
            address: Some("127.0.0.1:9001".to_owned()),
            token: None,
            token_file: None,
            read_token: None,
            read_token_file: None,
            tls: None,
            prices: Prices::default(),
        }
    }
}
