//! Configuration of the S3 service behind hotset, the key `origin`.

use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::config::units::HumanDuration;

/// The S3 service behind hotset: its address, credentials, timeouts and retries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct OriginConfig {
    /// `http://host[:port]` or `https://host[:port]`, without a path.
    pub endpoint: String,
    /// The region in the signatures of requests to the origin.
    pub region: String,
    /// Position of the bucket name in requests: `path` (`https://host/bucket/key`), `virtual`
    /// (`https://bucket.host/key`) or `bucket` (`https://host/key`: the endpoint is one bucket's own).
    pub addressing: Addressing,
    /// IP addresses to connect to in place of those that the endpoint's host resolves to; none: those.
    pub addresses: Vec<IpAddr>,
    /// PEM file of the certificate authorities to trust in place of the system's; `None`: the
    /// system's.
    pub ca_file: Option<PathBuf>,
    /// Source of the origin credentials.
    pub credentials: CredentialsConfig,
    /// Name of the set of clients that share what these credentials fetch; it is part of every
    /// object's identity (R1).
    pub credential_domain: String,
    /// Timeout for establishing a connection, TLS handshake included.
    pub connect_timeout: HumanDuration,
    /// Timeout from sending a request to receiving the response head.
    pub first_byte_timeout: HumanDuration,
    /// Timeout between two reads of a response body.
    pub idle_timeout: HumanDuration,
    /// Timeout of one fetch, with all its attempts and pauses.
    pub deadline: HumanDuration,
    /// Maximum attempts of one fetch, the first included.
    pub attempts: u32,
    /// Pause before a retry.
    pub backoff: BackoffConfig,
    /// Limit on retries, over all fetches together.
    pub retry_budget: RetryBudgetConfig,
    /// Whether to stop sending fetches to an origin that keeps failing, except for probes. Misses
    /// are then answered 503 at once; requests that pass through are always tried.
    pub circuit_breaker: bool,
    /// Whether to hedge: a read that the origin answers much later than usual is sent again, at most one in 20, and the
    /// first response is used.
    pub hedging: bool,
    /// Maximum time for which an idle connection is kept. It is shortened, to no less than 4s, when a connection turns out
    /// to be dead, and grows again.
    pub keep_alive: HumanDuration,
    /// Maximum concurrent fetches and metadata requests.
    pub connections: usize,
    /// Maximum connections in use to one address of the origin, by all requests; further ones go to other addresses, or
    /// wait. `None`: no limit but those of `connections` and `pass_through_connections`.
    pub connections_per_address: Option<usize>,
    /// Maximum concurrent requests that pass through; further ones wait for `connect_timeout`, and are then answered 503.
    pub pass_through_connections: usize,
}

impl OriginConfig {
    /// Whether these settings reach the same store with the same credentials as `other`. Keys that only tune requests
    /// are listed here.
    pub fn is_same_store(&self, other: &Self) -> bool {
        let untuned = |config: &Self| {
            let defaults = Self::default();
            Self {
                connect_timeout: defaults.connect_timeout,
                first_byte_timeout: defaults.first_byte_timeout,
                idle_timeout: defaults.idle_timeout,
                deadline: defaults.deadline,
                attempts: defaults.attempts,
                backoff: defaults.backoff,
                retry_budget: defaults.retry_budget,
                circuit_breaker: defaults.circuit_breaker,
                hedging: defaults.hedging,
                keep_alive: defaults.keep_alive,
                connections: defaults.connections,
                connections_per_address: defaults.connections_per_address,
                pass_through_connections: defaults.pass_through_connections,
                ..config.clone()
            }
        };
        untuned(self) == untuned(other)
    }
}

/// The name that stands for the key `origin` in `buckets`.
pub const DEFAULT_ORIGIN: &str = "default";

/// A bucket that is another origin's, or has another name there, a value of `buckets`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct BucketConfig {
    /// Name of its origin in `origins`; `None` or `default`: `origin`.
    pub origin: Option<String>,
    /// Its name at the origin, or the ARN of an access point; `None`: the name that clients use.
    pub bucket: Option<String>,
    /// Its region, where that is not the origin's; `None`: the origin's, or the one that is found.
    pub region: Option<String>,
    /// Source of the credentials for it; `None`: the origin's.
    pub credentials: Option<CredentialsConfig>,
}

impl Default for OriginConfig {
    fn default() -> Self {
        Self {
            endpoint: "https://s3.us-east-1.amazonaws.com".to_owned(),
            region: "us-east-1".to_owned(),
            addressing: Addressing::default(),
            addresses: Vec::new(),
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
            hedging: true,
            keep_alive: HumanDuration::secs(50),
            connections: 256,
            connections_per_address: None,
            pass_through_connections: 4096,
        }
    }
}

/// Position of the bucket name in requests to the origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Addressing {
    /// `https://host/bucket/key`.
    #[default]
    Path,
    /// `https://bucket.host/key`.
    Virtual,
    /// `https://host/key`: the endpoint is that of one bucket, or of an access point.
    Bucket,
}

/// Source of the origin credentials: by default the chain of the AWS SDKs (environment, profiles,
/// web identity, container and instance roles).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct CredentialsConfig {
    /// Credentials file in the format of `~/.aws/credentials`; `None`: the default location. A file or a profile that is
    /// named is used and no other source, keys in the environment included.
    pub file: Option<PathBuf>,
    /// Profile in that file and in `~/.aws/config`; with `default`, `AWS_PROFILE` applies if it is
    /// set.
    pub profile: String,
    /// Role to assume with the credentials that are found; `None`: none.
    pub role_arn: Option<String>,
    /// With `role_arn`: the external ID that the role requires.
    pub external_id: Option<String>,
    /// With `role_arn`: the session name; `None`: `hotset`.
    pub session_name: Option<String>,
    /// Whether requests are sent unsigned, without credentials.
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

/// Pause before a retry: it doubles from `base` up to `cap`, and a random part is subtracted so
/// that the retries of many requests spread out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct BackoffConfig {
    /// Maximum pause before the first retry.
    pub base: HumanDuration,
    /// Maximum pause. A `Retry-After` of the origin is honoured up to this.
    pub cap: HumanDuration,
}

impl Default for BackoffConfig {
    fn default() -> Self {
        Self { base: HumanDuration::millis(50), cap: HumanDuration::secs(5) }
    }
}

/// Limit on retries within ten seconds, over all requests together, so that an outage does not
/// multiply the request rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct RetryBudgetConfig {
    /// Allowed retries, as a percentage of the requests that the origin answered in the last ten
    /// seconds.
    pub percent: u32,
    /// Retries that are allowed in addition, for times of few requests.
    pub floor: u32,
}

impl Default for RetryBudgetConfig {
    fn default() -> Self {
        Self { percent: 10, floor: 10 }
    }
}
