//! Events from Kafka topics, where MinIO and Ceph produce.
//!
//! A consumer group of our own; an offset is committed only after the messages before it were applied durably (R11). An
//! undecodable message is skipped: it stays in the topic as long as all others.

#[cfg(feature = "kafka")]
mod callbacks;
pub(super) mod config;
#[cfg(feature = "kafka")]
mod receiver;

#[cfg(feature = "kafka")]
pub(super) use receiver::Kafka;
