//! The append-only log: segments in a folder, the index of their records, and what a process leaves to the next start.

pub(in crate::cache::disk) mod erasure;
pub(in crate::cache::disk) mod index;
pub(in crate::cache::disk) mod runtime_note;
pub(in crate::cache::disk) mod segment;
pub(in crate::cache::disk) mod segment_log;
pub(in crate::cache::disk) mod startup_epoch;
pub(in crate::cache::disk) mod unreadable;
pub(in crate::cache::disk) mod unusable;
