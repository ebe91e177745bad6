//! What the configuration says of a key: the first rule that matches it, and the freshness that follows.

pub(in crate::cache) mod failover;
pub(in crate::cache) mod key_glob;
pub(in crate::cache) mod matching;
pub(in crate::cache) mod policy;
pub(in crate::cache) mod trust;
