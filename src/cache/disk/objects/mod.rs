//! Metadata of objects on disk: records, tombstones, and the thread that writes them.

pub(in crate::cache::disk) mod store;
pub(in crate::cache::disk) mod writer;
