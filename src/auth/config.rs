//! What can be set about who may do what, the key `auth`.

use std::path::PathBuf;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::config::units::HumanDuration;

/// Who may do what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct AuthConfig {
    /// Who decides (R20).
    pub mode: AuthMode,
    /// With `trust`: whether anything but reads and lists is forwarded; `false` answers writes with
    /// 403.
    pub writes: bool,
    /// With `trust`: the buckets that may be named; `None`: all.
    pub buckets: Option<Vec<String>>,
    /// With `trust` and `verify`: names of buckets that the origin may take for interfaces of its own, with `*` at the
    /// end what names begin with. `trust` refuses them unless `buckets` lists them, `verify` asks for `admin`. `None`:
    /// `admin`, `auth`, `minio`, `moto-api`, `rustfs`, `swift`, `_*` and `.*`, none on AWS.
    pub reserved: Option<Vec<String>>,
    /// With `trust`: whether a listener may have an address that is not loopback, where nothing tells its clients
    /// apart.
    pub open: bool,
    /// With `trust`, and with `verify` for who does not sign: the origins of the web pages whose requests are
    /// accepted (R39), such as `https://app.example.org`.
    pub origins: Vec<String>,
    /// With `verify`: the file of those who may do something, and what.
    pub identities: Option<PathBuf>,
    /// With `verify`: how often that file is looked at.
    pub reload: HumanDuration,
    /// With `verify`: the region that clients sign for; `None`: the origin's.
    pub region: Option<String>,
    /// With `verify`: hosts (with their port, if any) that clients may sign in place of the one that they send.
    pub hosts: Vec<String>,
    /// With `transparent`: how long S3's yes to a request serves repeats of that very request; zero: not at all.
    pub decision_ttl: HumanDuration,
}

impl AuthConfig {
    /// What is not said of `decision_ttl`.
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

/// Who decides whether a request is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum AuthMode {
    /// Nobody is refused: whoever can connect may do what the origin's credentials may (R20),
    /// narrowed by `auth.writes` and `auth.buckets`.
    #[default]
    Trust,
    /// The signature says who asks, and the identities file what they may do.
    Verify,
    /// S3 says of each request whether its sender may do it (R22); signatures are passed on as they are.
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
