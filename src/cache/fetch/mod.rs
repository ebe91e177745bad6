//! Readers of one version, in order, from memory, from disk, or from fetches in flight, and the fetches of missing
//! bytes.

pub(in crate::cache) mod ahead;
pub(in crate::cache) mod budget;
pub(in crate::cache) mod client_pace;
pub(in crate::cache) mod empties;
pub(in crate::cache) mod fetcher;
pub(in crate::cache) mod fill;
pub(in crate::cache) mod flight;
pub(in crate::cache) mod integrity;
pub(in crate::cache) mod locality;
pub(in crate::cache) mod origin_fetch;
pub(in crate::cache) mod plan;
pub(in crate::cache) mod reader;
pub(in crate::cache) mod yield_budget;
