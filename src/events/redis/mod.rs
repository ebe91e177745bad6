//! Events from a Redis list, where MinIO's `access` format appends them.
//!
//! An event is moved into a list of our own, and removed from it only after it was applied durably (R11): after a
//! crash, the rest is applied at the next start. An undecodable one is moved to a third list, of bounded length, for
//! inspection.
//!
//! MinIO's other format, `namespace`, keeps the latest state in a hash and removes deleted keys from it, so that it
//! cannot be consumed.

pub(super) mod config;
#[cfg(feature = "redis")]
mod receiver;

#[cfg(feature = "redis")]
pub(super) use receiver::Redis;
