//! Events from a Redis list, where MinIO's `access` format appends them.
//!
//! An event is moved into a list of our own, and taken off that one only when what it said was applied and is durable
//! (R11): what a crash leaves there is applied at the next start. One that cannot be read is put into a third list,
//! of bounded length, for somebody to look at.
//!
//! MinIO's other format, `namespace`, keeps the latest state in a hash and removes deleted keys from it: there is
//! nothing in it that could be consumed.

pub(super) mod config;
#[cfg(feature = "redis")]
mod receiver;

#[cfg(feature = "redis")]
pub(super) use receiver::Redis;
