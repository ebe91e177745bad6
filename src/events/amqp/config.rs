//! What can be set about an AMQP 0-9-1 broker, the key `events.amqp`.

use serde::{Deserialize, Serialize};

use crate::config::units::{HumanDuration, Secret};

/// A queue, and how to reach it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct AmqpConfig {
    /// `amqp://user:password@host:5672/vhost`, or `amqps://..`.
    pub url: Secret,
    /// The exchange that events are published to; `None`: the queue is there and is bound to what it should be.
    pub exchange: Option<String>,
    /// Its kind (`direct`, `fanout`, `topic`, `headers`), to make it where it is missing; `None`: it must be there.
    pub exchange_type: Option<String>,
    /// Which messages of the exchange: the key that they are published with.
    pub routing_key: String,
    /// The queue, each replica its own; `None`: `hotset-` and the host's name.
    pub queue: Option<String>,
    /// How long the broker keeps the queue while nobody consumes it; `None`: for ever.
    pub expires: Option<HumanDuration>,
    /// The most messages that are received and not acknowledged.
    pub prefetch: u16,
}

impl AmqpConfig {
    /// What is wrong with it: the name of the key and the problem.
    ///
    /// # Errors
    /// The first key found wrong.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        if !["amqp://", "amqps://"].iter().any(|scheme| self.url.expose().starts_with(scheme)) {
            return Err(("url", "must begin with amqp:// or amqps://".to_owned()));
        }
        if self.exchange.is_none() && self.queue.is_none() {
            return Err(("exchange", "an exchange to bind to, or a queue, is needed".to_owned()));
        }
        if self.exchange.is_none() && self.exchange_type.is_some() {
            return Err(("exchange_type", "means something only with an exchange".to_owned()));
        }
        if self.prefetch == 0 {
            return Err(("prefetch", "must be at least 1".to_owned()));
        }
        if self
            .expires
            .is_some_and(|time| time.is_zero() || u32::try_from(time.0.as_millis()).is_err())
        {
            return Err(("expires", "must be more than nothing and at most 49d".to_owned()));
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
        }
    }
}
