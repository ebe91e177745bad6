//! Blocks on one path: its queue, its writer, its readers, and the shares that rules have of it.

pub(in crate::cache::disk) mod queue;
pub(in crate::cache::disk) mod shares;
pub(in crate::cache::disk) mod tables;
pub(in crate::cache::disk) mod volume;
pub(in crate::cache::disk) mod writer;
