//! Configuration of Kafka, the key `events.kafka`.

use serde::{Deserialize, Serialize};

use crate::config::units::Secret;

/// Topics, and how to reach them. There is no TLS: librdkafka would bring a second crypto library.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct KafkaConfig {
    /// Bootstrap brokers, `host:9092`.
    pub brokers: Vec<String>,
    /// User name for SASL PLAIN, with `password`; `None`: no authentication.
    pub user: Option<String>,
    /// Password of `user`.
    pub password: Option<Secret>,
    /// Topics to consume.
    pub topics: Vec<String>,
    /// Consumer group. Each replica needs its own. `None`: `hotset-` followed by the host name.
    pub group: Option<String>,
    /// Name of the origin whose buckets its messages name; `None`: they may be any origin's.
    pub origin: Option<String>,
}

impl KafkaConfig {
    /// Validates the settings; an error is the name of the key and the problem.
    ///
    /// # Errors
    /// The first invalid key.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        let wrong = |name: &String| name.is_empty() || name.contains([',', ' ', '/']);
        if self.brokers.is_empty() || self.brokers.iter().any(wrong) {
            return Err(("brokers", "a list such as [kafka:9092] is needed".to_owned()));
        }
        if self.topics.is_empty() || self.topics.iter().any(wrong) {
            return Err(("topics", "a list of the names of topics is needed".to_owned()));
        }
        if self.user.is_some() != self.password.is_some() {
            return Err(("password", "user and password must be set together".to_owned()));
        }
        Ok(())
    }
}
