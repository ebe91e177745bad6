//! Cached listings of buckets.

pub(in crate::cache) mod prefix_map;
pub(in crate::cache) mod store;
