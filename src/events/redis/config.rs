//! Configuration of a Redis list, the key `events.redis`.

use serde::{Deserialize, Serialize};

use crate::config::units::Secret;

/// A list, and how to reach it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct RedisConfig {
    /// `redis://[user:password@]host:6379[/db]`, or `rediss://..` for TLS.
    pub url: Secret,
    /// Key of the list. A message goes to one reader only, so each replica needs its own list.
    pub list: String,
    /// Name of the origin whose buckets its messages name; `None`: they may be any origin's.
    pub origin: Option<String>,
}

impl RedisConfig {
    /// Validates the settings; an error is the name of the key and the problem.
    ///
    /// # Errors
    /// The first invalid key.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        if !["redis://", "rediss://"].iter().any(|scheme| self.url.expose().starts_with(scheme)) {
            return Err(("url", "must begin with redis:// or rediss://".to_owned()));
        }
        if self.list.is_empty() {
            return Err(("list", "the name of a list is needed".to_owned()));
        }
        Ok(())
    }
}
