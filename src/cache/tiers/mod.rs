//! Movement of blocks and metadata between memory and disk.

pub(in crate::cache) mod blocks;
pub(in crate::cache) mod hot_queue;
pub(in crate::cache) mod objects;
pub(in crate::cache) mod spill;
pub(in crate::cache) mod write_behind;
