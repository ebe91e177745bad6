//! Configuration of an AMQP 0-9-1 queue, the key `events.amqp`.

use serde::{Deserialize, Serialize};

use crate::config::units::{HumanDuration, Secret};

/// A queue, and how to reach it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct AmqpConfig {
    /// `amqp://user:password@host:5672/vhost`, or `amqps://..` for TLS.
    pub url: Secret,
    /// Exchange that events are published to, to which the queue is bound; `None`: the queue exists
    /// and is bound already.
    pub exchange: Option<String>,
    /// Type of the exchange (`direct`, `fanout`, `topic` or `headers`), to declare it if missing;
    /// `None`: it must exist.
    pub exchange_type: Option<String>,
    /// Routing key of the binding.
    pub routing_key: String,
    /// Name of the durable queue, declared if missing. Each replica needs its own. `None`:
    /// `hotset-` followed by the host name.
    pub queue: Option<String>,
    /// Time for which the broker keeps the queue without consumers; `None`: for ever.
    pub expires: Option<HumanDuration>,
    /// Maximum number of unacknowledged messages.
    pub prefetch: u16,
    /// Name of the origin whose buckets its messages name; `None`: they may be any origin's.
    pub origin: Option<String>,
}

impl AmqpConfig {
    /// Validates the settings; an error is the name of the key and the problem.
    ///
    /// # Errors
    /// The first invalid key.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        if !["amqp://", "amqps://"].iter().any(|scheme| self.url.expose().starts_with(scheme)) {
            return Err(("url", "must begin with amqp:// or amqps://".to_owned()));
        }
        if self.exchange.is_none() && self.queue.is_none() {
            return Err(("exchange", "an exchange to bind to, or a queue, is needed".to_owned()));
        }
        if self.exchange.is_none() && self.exchange_type.is_some() {
            return Err(("exchange_type", "only valid with an exchange".to_owned()));
        }
        if self.prefetch == 0 {
            return Err(("prefetch", "must be at least 1".to_owned()));
        }
        if self
            .expires
            .is_some_and(|time| time.is_zero() || u32::try_from(time.0.as_millis()).is_err())
        {
            return Err(("expires", "must be greater than zero and at most 49d".to_owned()));
        }
        Ok(())
    }
}

impl Default for AmqpConfig {
    fn default() -> Self {
        Self {
            url: Secret::default(),
            exchange: None,
            exchange_type: None,
            routing_key: "#".to_owned(),
            queue: None,
            expires: Some(HumanDuration::secs(24 * 3600)),
            prefetch: 1000,
            origin: None,
        }
    }
}
