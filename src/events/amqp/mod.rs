//! Events from an AMQP 0-9-1 broker (RabbitMQ), where MinIO and Ceph publish to an exchange.
//!
//! A durable queue of our own, bound to that exchange; a message is acknowledged only when what it said was applied
//! and is durable (R11). One that cannot be read is rejected: the queue's dead-letter exchange gets it, if it has one.

pub(super) mod config;
#[cfg(feature = "amqp")]
mod receiver;

#[cfg(feature = "amqp")]
pub(super) use receiver::Amqp;
