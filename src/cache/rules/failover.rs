//! Failover of reads to another origin, the key `failover` of a rule.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::units::HumanDuration;
use crate::s3::BucketName;

/// Replica from which objects are read while their origin is down, the key `failover` of a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct FailoverConfig {
    /// Name of the other origin in `origins`; `default`: `origin`. Required.
    pub origin: String,
    /// Name of the bucket there; `None`: the name that clients use.
    pub bucket: Option<String>,
    /// The most time that a write through hotset takes to reach that bucket. A key is not read there for so long after its
    /// last write, and no key for so long after the start.
    pub lag: HumanDuration,
}

impl Default for FailoverConfig {
    fn default() -> Self {
        Self { origin: String::new(), bucket: None, lag: HumanDuration::secs(15 * 60) }
    }
}

/// The failover of a rule in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failover {
    /// Name of the other origin.
    pub origin: String,
    /// The bucket there; `None`: the name that clients use.
    pub bucket: Option<BucketName>,
    pub lag: Duration,
    /// Whether the rule revalidates before each read; else only for clients that demand the current state.
    pub revalidates: bool,
}

impl Failover {
    pub(in crate::cache) fn new(config: &FailoverConfig, revalidates: bool) -> Self {
        let bucket = config.bucket.as_deref().and_then(|bucket| BucketName::new(bucket).ok());
        Self { origin: config.origin.clone(), bucket, lag: config.lag.0, revalidates }
    }
}
