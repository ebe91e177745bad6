//! Rules of the configuration: the first that matches a key, and the freshness that follows from it.

pub(in crate::cache) mod failover;
pub(in crate::cache) mod key_glob;
pub(in crate::cache) mod matching;
pub(in crate::cache) mod policy;
pub(in crate::cache) mod trust;
