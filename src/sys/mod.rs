//! Everything that needs `unsafe`, behind safe interfaces: memory and reads of the disk tier, descriptors by number, and
//! the allocator's settings.
//!
//! Nothing here knows the rest of hotset. Each `unsafe` block says why it is sound; the unit tests run under valgrind
//! as well (`make memcheck`), where `io_uring` and Linux AIO are only followed in part.

#![deny(clippy::undocumented_unsafe_blocks)]

pub(crate) mod allocator;
pub(crate) mod async_reads;
pub(crate) mod buffers;
pub(crate) mod descriptor;
pub(crate) mod source;
