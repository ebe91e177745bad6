//! From a name to the version that a read may be answered from.

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
