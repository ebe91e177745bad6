//! The disk tier: blocks that left memory or are hot there, and the metadata of their objects.
//!
//! ```text
//! <path>/lock            held as long as the process lives
//! <path>/blocks/N.seg    a log of block records; the oldest segment is evicted when space is needed
//! <path>/objects/N.seg   metadata and tombstones, on the first path only
//! <path>/objects/N.start the last start that this path took part in
//! <path>/objects/N-M.clean that start shut down cleanly: metadata in segments from M on is trusted
//! <path>/objects/N.floors epochs of all purges
//!
//!   memory evicts, or a block is read over ─ admission ─ queue ─ writer ─> open segment ─ sealed ─ reclaimed
//!   a read misses memory ─ index ─ page cache, or a thread that waits ─ checks ─> bytes, or a miss
//! ```
//! It never fails a read: damaged, slow or missing data is counted, and a miss. It never returns wrong data: each chunk
//! that is read is verified by its checksum and its full key's digest. Blocks are keyed by version, so that an
//! invalidation needs no scan of them; it only invalidates metadata. Only erasing examines every record.

mod blocks;
mod config;
mod device;
mod format;
mod log;
mod objects;
pub(in crate::cache) mod tier;

pub use config::{DiskConfig, Share};
pub use device::foreign::foreign;
#[doc(hidden)]
pub use device::throttle;
pub(in crate::cache) use format::digest::{Digest, object_stripe};
pub(in crate::cache) use format::object_record::ObjectRecord;
pub use log::erasure::{ErasedFiles, NotErased};
pub(in crate::cache) use objects::store::Recalled;
pub use objects::store::Ticket;
pub use tier::error::DiskError;
#[cfg(any(test, fuzzing))]
pub use tier::fuzzing;
pub use tier::open::DiskLimits;
pub(in crate::cache) use tier::planned_read::FromDisk;
pub use tier::policy;
#[doc(hidden)]
pub use tier::synthetic;
pub use tier::usage::DiskUsage;
pub use tier::verify::{Damage, Verification, Verified};
pub(in crate::cache) use tier::{DiskTier, Presence};
