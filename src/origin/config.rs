//! What can be set about the S3 behind us, the key `origin`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::config::units::HumanDuration;

/// The S3 behind us and how patiently it is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct OriginConfig {
    /// `http://host[:port]` or `https://host[:port]`, without a path.
    pub endpoint: String,
    /// The region that requests are signed for.
    pub region: String,
    /// Where the bucket's name goes in a request.
    pub addressing: Addressing,
    /// PEM certificates to trust instead of the public ones.
    pub ca_file: Option<PathBuf>,
    /// Where the keys that sign requests come from.
    pub credentials: CredentialsConfig,
    /// Names who may read what these credentials read: a part of every object's identity (R1).
    pub credential_domain: String,
    /// How long a connection, TLS included, may take to be made.
    pub connect_timeout: HumanDuration,
    /// How long an answer's head may take after the request was sent.
    pub first_byte_timeout: HumanDuration,
    /// How long an answer's body may bring no byte.
    pub idle_timeout: HumanDuration,
    /// How long one fetch may take, all its attempts and pauses included.
    pub deadline: HumanDuration,
    /// How often a fetch is tried, the first time included.
    pub attempts: u32,
    /// The pause before another attempt.
    pub backoff: BackoffConfig,
    /// How many attempts of all fetches together may be repetitions.
    pub retry_budget: RetryBudgetConfig,
    /// Whether an origin that fails is left alone but for a probe now and then: what is not cached is answered 503 at
    /// once meanwhile. What passes through is always tried.
    pub circuit_breaker: bool,
    /// How long an idle connection is kept; shorter than what the origin keeps it.
    pub keep_alive: HumanDuration,
    /// Requests of our own (fills and their HEADs) that run at the same time.
    pub connections: usize,
}

impl Default for OriginConfig {
    fn default() -> Self {
        Self {
            endpoint: "https://s3.us-east-1.amazonaws.com".to_owned(),
            region: "us-east-1".to_owned(),
            addressing: Addressing::default(),
            ca_file: None,
            credentials: CredentialsConfig::default(),
            credential_domain: "default".to_owned(),
            connect_timeout: HumanDuration::secs(2),
            first_byte_timeout: HumanDuration::secs(10),
            idle_timeout: HumanDuration::secs(10),
            deadline: HumanDuration::secs(60),
            attempts: 6,
            backoff: BackoffConfig::default(),
            retry_budget: RetryBudgetConfig::default(),
            circuit_breaker: true,
            keep_alive: HumanDuration::secs(4),
            connections: 256,
        }
    }
}

/// Where the bucket's name goes in a request to the origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Addressing {
    /// `https://host/bucket/key`.
    #[default]
    Path,
    /// `https://bucket.host/key`.
    Virtual,
}

/// Where the keys come from: by default the chain of the AWS SDKs (environment, profiles, web identity, containers,
/// instances).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct CredentialsConfig {
    /// A file in the format of `~/.aws/credentials`; `None`: the usual place.
    pub file: Option<PathBuf>,
    /// The profile of that file and of `~/.aws/config`; `default`: what `AWS_PROFILE` names, if it is set.
    pub profile: String,
    /// A role to assume with what was found.
    pub role_arn: Option<String>,
    /// With `role_arn`: what the role's owner demands.
    pub external_id: Option<String>,
    /// With `role_arn`: the name of its sessions; `None`: `hotset`.
    pub session_name: Option<String>,
    /// Requests are not signed, and nobody is asked for keys.
    pub anonymous: bool,
}

impl Default for CredentialsConfig {
    fn default() -> Self {
        Self {
            file: None,
            profile: "default".to_owned(),
            role_arn: None,
            external_id: None,
            session_name: None,
            anonymous: false,
        }
    }
}

/// The pause before another attempt: it doubles from `base` up to `cap`, and is then shortened at
/// random so that attempts of many requests do not come together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct BackoffConfig {
    /// The longest first pause.
    pub base: HumanDuration,
    /// The longest pause.
    pub cap: HumanDuration,
}

impl Default for BackoffConfig {
    fn default() -> Self {
        Self { base: HumanDuration::millis(50), cap: HumanDuration::secs(5) }
    }
}

/// The most retries within ten seconds, of all requests together: an outage is not met with a multiple of the usual
/// requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct RetryBudgetConfig {
    /// Of the requests of the last ten seconds that the origin answered, so many percent,
    pub percent: u32,
    /// and so many more, for times in which there are few.
    pub floor: u32,
}

impl Default for RetryBudgetConfig {
    fn default() -> Self {
        Self { percent: 10, floor: 10 }
    }
}
