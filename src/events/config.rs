//! Configuration of event receivers, the key `events`.

use serde::{Deserialize, Serialize};

pub use super::amqp::config::AmqpConfig;
use super::canary::CanaryConfig;
pub use super::kafka::config::KafkaConfig;
pub use super::nats::config::NatsConfig;
pub use super::redis::config::RedisConfig;
pub use super::sqs::config::SqsConfig;
use super::webhook::config::WebhookConfig;
use crate::config::units::HumanDuration;

/// Receivers of S3 event notifications.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct EventsConfig {
    /// Maximum delay of an event: one that is applied later than this after it happened ends the
    /// trust in events of its bucket (R26).
    pub max_lag: HumanDuration,
    /// Objects that hotset writes periodically to verify that their events arrive.
    pub canaries: Vec<CanaryConfig>,
    /// HTTP listener for event notifications; `None`: none.
    pub webhook: Option<WebhookConfig>,
    /// Amazon SQS queues.
    pub sqs: Vec<SqsConfig>,
    /// A NATS JetStream stream; `None`: none.
    pub nats: Option<NatsConfig>,
    /// An AMQP 0-9-1 queue (RabbitMQ); `None`: none.
    pub amqp: Option<AmqpConfig>,
    /// Kafka topics; `None`: none.
    pub kafka: Option<KafkaConfig>,
    /// A Redis list; `None`: none.
    pub redis: Option<RedisConfig>,
}

impl EventsConfig {
    /// Whether any receiver is configured.
    pub fn receives(&self) -> bool {
        let one = self.webhook.is_some() || self.nats.is_some() || self.amqp.is_some();
        one || self.kafka.is_some() || self.redis.is_some() || !self.sqs.is_empty()
    }

    /// Returns the receivers that name the origin of their events, and its name.
    pub fn origins(&self) -> Vec<(String, &str)> {
        fn of<C>(config: Option<&C>, origin: fn(&C) -> Option<&String>) -> Option<&String> {
            config.and_then(origin)
        }
        let queues = self.sqs.iter().enumerate();
        let queues = queues.map(|(index, queue)| (format!("sqs[{index}]"), queue.origin.as_ref()));
        let others = [
            ("webhook", of(self.webhook.as_ref(), |config| config.origin.as_ref())),
            ("nats", of(self.nats.as_ref(), |config| config.origin.as_ref())),
            ("amqp", of(self.amqp.as_ref(), |config| config.origin.as_ref())),
            ("kafka", of(self.kafka.as_ref(), |config| config.origin.as_ref())),
            ("redis", of(self.redis.as_ref(), |config| config.origin.as_ref())),
        ];
        let others = others.into_iter().map(|(name, origin)| (name.to_owned(), origin));
        queues.chain(others).filter_map(|(name, origin)| Some((name, origin?.as_str()))).collect()
    }

    /// Validates all receivers; an error is the key, as in `sqs[0].queue`, and the problem.
    ///
    /// # Errors
    /// The first invalid key.
    pub fn check(&self) -> Result<(), (String, String)> {
        for (index, queue) in self.sqs.iter().enumerate() {
            let at = format!("sqs[{index}]");
            is_compiled(&at, "sqs", cfg!(feature = "sqs"))?;
            queue.check().map_err(|(key, problem)| (format!("{at}.{key}"), problem))?;
            if self.sqs[..index].iter().any(|other| other.queue == queue.queue) {
                return Err((format!("{at}.queue"), "is listed twice".to_owned()));
            }
        }
        check_one("nats", cfg!(feature = "nats"), self.nats.as_ref(), NatsConfig::check)?;
        check_one("amqp", cfg!(feature = "amqp"), self.amqp.as_ref(), AmqpConfig::check)?;
        check_one("kafka", cfg!(feature = "kafka"), self.kafka.as_ref(), KafkaConfig::check)?;
        check_one("redis", cfg!(feature = "redis"), self.redis.as_ref(), RedisConfig::check)
    }
}

impl Default for EventsConfig {
    fn default() -> Self {
        Self {
            max_lag: HumanDuration::secs(120),
            canaries: Vec::new(),
            webhook: None,
            sqs: Vec::new(),
            nats: None,
            amqp: None,
            kafka: None,
            redis: None,
        }
    }
}

fn check_one<C>(
    name: &str,
    compiled: bool,
    config: Option<&C>,
    check: impl Fn(&C) -> Result<(), (&'static str, String)>,
) -> Result<(), (String, String)> {
    let Some(config) = config else { return Ok(()) };
    is_compiled(name, name, compiled)?;
    check(config).map_err(|(key, problem)| (format!("{name}.{key}"), problem))
}

fn is_compiled(key: &str, feature: &str, compiled: bool) -> Result<(), (String, String)> {
    let problem = || format!("this hotset was built without it: cargo build --features {feature}");
    if compiled { Ok(()) } else { Err((key.to_owned(), problem())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(yaml: &str) -> EventsConfig {
        crate::yaml::from_str(yaml).unwrap()
    }

    #[test]
    fn what_is_wrong_with_a_receiver_is_said_with_its_key() {
        let sqs = "https://sqs.eu-west-1.amazonaws.com/1/q";
        for (yaml, key) in [
            ("sqs: [{ queue: q }]".to_owned(), "sqs[0].queue"),
            (format!("sqs: [{{ queue: {sqs} }}, {{ queue: {sqs} }}]"), "sqs[1].queue"),
            ("nats: { servers: [nats://n] }".to_owned(), "nats.stream"),
            ("nats: { servers: [nats://u:p@n], stream: S }".to_owned(), "nats.servers"),
            ("nats: { servers: [nats://n], stream: a.b }".to_owned(), "nats.stream"),
            ("nats: { servers: [nats://n], stream: S, user: u }".to_owned(), "nats.password"),
            ("amqp: { exchange: minio }".to_owned(), "amqp.url"),
            ("amqp: { url: amqp://h }".to_owned(), "amqp.exchange"),
            ("amqp: { url: amqp://h, queue: q, expires: 50d }".to_owned(), "amqp.expires"),
            ("kafka: { topics: [t] }".to_owned(), "kafka.brokers"),
            ("kafka: { brokers: [b:9092] }".to_owned(), "kafka.topics"),
            ("redis: { url: redis://h }".to_owned(), "redis.list"),
        ] {
            let (found, problem) = of(&yaml).check().unwrap_err();
            // For a receiver that is not compiled in, only that is reported.
            let receiver = key.split('.').next().unwrap();
            let missing = problem.contains("built without it");
            assert!(found == key || missing && found == receiver, "{yaml}: {found}: {problem}");
        }
        assert!(of("redis: { url: redis://h, list: l }").receives());
        assert!(!EventsConfig::default().receives());
    }

    #[test]
    fn a_receiver_that_is_not_compiled_in_is_refused_by_the_name_of_its_feature() {
        let (key, problem) = is_compiled("nats", "nats", false).unwrap_err();
        assert_eq!(key, "nats");
        assert!(problem.ends_with("--features nats"), "{problem}");
        is_compiled("nats", "nats", true).unwrap();
    }

    #[test]
    fn urls_with_passwords_in_them_are_never_printed() {
        let config = of(
            "{ amqp: { url: amqp://u:hunter2@h, queue: q }, redis: { url: redis://:hunter2@h, list: l } }",
        );
        assert!(!format!("{config:?}").contains("hunter2"));
        assert!(!serde_json::to_string(&config).unwrap().contains("hunter2"));
    }
}
