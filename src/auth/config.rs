//! Configuration of authentication and authorisation, the key `auth`.

use std::path::PathBuf;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::config::units::HumanDuration;

/// Authentication and authorisation of clients.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct AuthConfig {
    /// Authorisation mode of requests (R20). `trust`: every client may do what the origin credentials
    /// may do. `verify`: hotset checks signatures, and the identities file says who may do what.
    /// `transparent`: S3 decides on each caller's own request.
    pub mode: AuthMode,
    /// With `trust`: whether requests other than reads and lists are allowed; `false` answers them
    /// with 403.
    pub writes: bool,
    /// With `trust`: the only buckets that requests may name; `None`: all.
    pub buckets: Option<Vec<String>>,
    /// With `trust` and `verify`: bucket names that the origin may route to interfaces of its own;
    /// a trailing `*` matches every name with that prefix. `trust` refuses them unless `buckets`
    /// lists them, and `verify` requires the action `admin`. `None`: `admin`, `auth`, `minio`,
    /// `moto-api`, `rustfs`, `swift`, `_*` and `.*`, but none on AWS.
    pub reserved: Option<Vec<String>>,
    /// With `trust`: whether a listener may use an address that is not loopback. Whoever reaches it
    /// is then trusted.
    pub open: bool,
    /// With `trust`, and with `verify` for unsigned requests: the web origins whose pages may send
    /// requests (R39), such as `https://app.example.org`. Requests from all other pages are
    /// refused.
    pub origins: Vec<String>,
    /// With `verify`: path of the identities file.
    pub identities: Option<PathBuf>,
    /// With `verify`: how often the identities file is checked for changes.
    pub reload: HumanDuration,
    /// With `verify`: the region in client signatures; `None`: `origin.region`.
    pub region: Option<String>,
    /// With `verify`: further values of `Host` (with port, if any) that a signature may cover, for
    /// a proxy in front that changes `Host`.
    pub hosts: Vec<String>,
    /// With `transparent`: how long S3's permission for a request is reused for identical requests;
    /// zero: never.
    pub decision_ttl: HumanDuration,
}

impl AuthConfig {
    /// The default of `decision_ttl`.
    pub const DECISION_TTL: HumanDuration = HumanDuration::secs(5);
}

impl Default for AuthConfig {
    fn default() -> Self {
        Self {
            mode: AuthMode::default(),
            writes: true,
            buckets: None,
            reserved: None,
            open: false,
            origins: Vec::new(),
            identities: None,
            reload: HumanDuration::secs(5),
            region: None,
            hosts: Vec::new(),
            decision_ttl: Self::DECISION_TTL,
        }
    }
}

/// Authorisation mode of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum AuthMode {
    /// Every client may do what the origin credentials may do (R20), within `auth.writes` and
    /// `auth.buckets`.
    #[default]
    Trust,
    /// The signature identifies the caller, and the identities file lists what each may do.
    Verify,
    /// S3 decides whether the caller may send each request (R22); signatures are passed on
    /// unchanged.
    Transparent,
}

impl<'de> Deserialize<'de> for AuthMode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ModeVisitor;
        impl Visitor<'_> for ModeVisitor {
            type Value = AuthMode;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("trust, verify or transparent")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<AuthMode, E> {
                match text {
                    "trust" => Ok(AuthMode::Trust),
                    "verify" => Ok(AuthMode::Verify),
                    "transparent" => Ok(AuthMode::Transparent),
                    _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }
        }
        deserializer.deserialize_str(ModeVisitor)
    }
}
