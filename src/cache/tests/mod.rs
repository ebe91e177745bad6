//! Tests of several parts of the cache at once.

#[cfg(feature = "shuttle")]
mod fence;
mod memory;
mod memory_sharing;
