//! Events from NATS JetStream, where MinIO delivers to a subject that a stream captures.
//!
//! A durable pull consumer of our own; a message is acknowledged only when what it said was applied and is durable
//! (R11). One that cannot be read is terminated: the server says so in an advisory and does not send it again.

pub(super) mod config;
#[cfg(feature = "nats")]
mod receiver;

#[cfg(feature = "nats")]
pub(super) use receiver::Nats;
