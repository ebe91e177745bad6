//! Callbacks of librdkafka from its own threads.

use rdkafka::consumer::{BaseConsumer, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{ClientContext, Statistics};
use tokio::sync::mpsc;

/// A callback of librdkafka.
#[derive(Debug)]
pub(super) enum KafkaEvent {
    /// The group assigned partitions to this consumer.
    Assigned,
    /// Approximate number of messages waiting in them.
    Waiting(u64),
    /// The consumer cannot continue, with the reason.
    Lost(String),
}

/// Forwards callbacks of librdkafka to the receiver.
#[derive(Debug)]
pub(super) struct EventForwarder(mpsc::Sender<KafkaEvent>);

impl EventForwarder {
    pub(super) fn new() -> (Self, mpsc::Receiver<KafkaEvent>) {
        let (sender, receiver) = mpsc::channel(16);
        (Self(sender), receiver)
    }

    fn tell(&self, said: KafkaEvent) {
        let _ = self.0.try_send(said);
    }
}

impl ClientContext for EventForwarder {
    fn stats(&self, statistics: Statistics) {
        let partitions = statistics.topics.values().flat_map(|topic| topic.partitions.values());
        let waiting = partitions.map(|part| u64::try_from(part.consumer_lag).unwrap_or(0)).sum();
        self.tell(KafkaEvent::Waiting(waiting));
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // A broker or another may come and go; without any, and with wrong credentials, nothing comes.
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AllBrokersDown | RDKafkaErrorCode::Authentication) => {
                self.tell(KafkaEvent::Lost(reason.to_owned()));
            }
            _ => log::debug!("events.kafka: {error}: {reason}"),
        }
    }
}

impl ConsumerContext for EventForwarder {
    fn post_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(_) => self.tell(KafkaEvent::Assigned),
            Rebalance::Revoke(_) => {
                self.tell(KafkaEvent::Lost("the consumer group revoked all partitions".to_owned()));
            }
            Rebalance::Error(error) => self.tell(KafkaEvent::Lost(error.to_string())),
        }
    }
}
