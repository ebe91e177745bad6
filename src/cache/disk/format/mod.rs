//! On-disk format: records, digests of keys, metadata of objects. Nothing here does I/O.

pub(in crate::cache::disk) mod digest;
pub(in crate::cache::disk) mod object_record;
pub(in crate::cache::disk) mod record;
