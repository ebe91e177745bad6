//! Where events are received, the key `events`.

use serde::{Deserialize, Serialize};

use super::canary::CanaryConfig;
use super::webhook::config::WebhookConfig;
use crate::config::units::HumanDuration;

/// Receivers of object events, and how late an event may be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EventsConfig {
    /// An event that is applied later than this after it happened ends the trust in its bucket's events (R26).
    pub max_lag: HumanDuration,
    /// Objects that are written so that their event comes back.
    pub canaries: Vec<CanaryConfig>,
    /// A listener for notifications over HTTP.
    pub webhook: Option<WebhookConfig>,
}

impl EventsConfig {
    /// Whether there is any receiver.
    pub fn receives(&self) -> bool {
        self.webhook.is_some()
    }
}

impl Default for EventsConfig {
    fn default() -> Self {
        Self { max_lag: HumanDuration::secs(120), canaries: Vec::new(), webhook: None }
    }
}
