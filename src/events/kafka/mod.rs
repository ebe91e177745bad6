//! Events from Kafka topics, where MinIO and Ceph produce.
//!
//! A consumer group of our own; an offset is committed only when what lies before it was applied and is durable (R11).
//! A message that cannot be read is passed over: it stays in the topic as long as all others.

#[cfg(feature = "kafka")]
mod callbacks;
pub(super) mod config;
#[cfg(feature = "kafka")]
mod receiver;

#[cfg(feature = "kafka")]
pub(super) use receiver::Kafka;
