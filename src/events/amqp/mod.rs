//! Events from an AMQP 0-9-1 broker (RabbitMQ), where MinIO and Ceph publish to an exchange.
//!
//! A durable queue of our own, bound to that exchange. A message is acknowledged only after its events were applied
//! durably (R11). An undecodable one is rejected: the queue's dead-letter exchange receives it, if it has one.

pub(super) mod config;
#[cfg(feature = "amqp")]
mod receiver;

#[cfg(feature = "amqp")]
pub(super) use receiver::Amqp;
