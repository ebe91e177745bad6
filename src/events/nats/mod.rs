//! Events from NATS JetStream, where MinIO delivers to a subject that a stream captures.
//!
//! A durable pull consumer of our own; a message is acknowledged only after its events were applied durably (R11). An
//! undecodable one is terminated: the server publishes an advisory and does not redeliver it.

pub(super) mod config;
#[cfg(feature = "nats")]
mod receiver;

#[cfg(feature = "nats")]
pub(super) use receiver::Nats;
