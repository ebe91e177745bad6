//! The metadata of objects in memory, its index by bucket, and the shared HEAD requests that confirm it.

pub(in crate::cache) mod admission;
pub(in crate::cache) mod clock;
pub(in crate::cache) mod heads;
pub(in crate::cache) mod key_index;
pub(in crate::cache) mod store;
