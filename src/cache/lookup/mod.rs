//! From a name to the version that a read may be answered from.

pub(in crate::cache) mod at_hand;
pub(in crate::cache) mod confirm;
pub(in crate::cache) mod explain;
mod failover;
pub(in crate::cache) mod found;
pub(in crate::cache) mod known;
mod miss_reason;
pub(in crate::cache) mod no_parts;
pub(in crate::cache) mod open;
pub(in crate::cache) mod parts;
pub(in crate::cache) mod shadow;
pub(in crate::cache) mod stale;
