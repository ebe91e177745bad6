//! Lookup of the version from which a read of a name may be answered.

pub(in crate::cache) mod error;
pub(in crate::cache) mod explain;
pub(in crate::cache) mod failover;
pub(in crate::cache) mod found;
pub(in crate::cache) mod hit_verification;
pub(in crate::cache) mod local_hit;
pub(in crate::cache) mod metadata;
pub(in crate::cache) mod miss_reason;
pub(in crate::cache) mod open;
pub(in crate::cache) mod partless;
pub(in crate::cache) mod parts;
pub(in crate::cache) mod revalidation;
pub(in crate::cache) mod shared_head;
