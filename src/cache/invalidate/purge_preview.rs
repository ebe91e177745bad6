//! Preview of the entries in memory that a purge would cover.

use super::scope::{Covered, Scope};
use crate::cache::metadata::store::Known;
use crate::cache::tiers::blocks::BlockTiers;
use crate::s3::ObjectId;

/// Counts of entries in memory; the disk, whose index holds only digests, is not counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PurgePreview {
    /// Objects with metadata in memory.
    pub objects: u64,
    /// Bytes of their blocks, and of those whose metadata left memory before them.
    pub bytes: u64,
}

impl PurgePreview {
    /// Counts the objects and bytes in memory that these scopes cover, in every realm. It scans all of memory, so call
    /// it on a thread that may block.
    pub(in crate::cache) fn of(blocks: &BlockTiers, scopes: &[Scope]) -> Self {
        let BlockTiers { objects, memory, .. } = blocks;
        let covered = Covered::by(scopes);
        // Data purged before is still there, but unreachable.
        let is_found = |id: &ObjectId, epoch: u32| {
            covered.covers(id.bucket(), id.key()) && epoch == objects.purge_epochs.of(id)
        };
        let mut found = Self::default();
        for (id, entry) in objects.meta.iter() {
            let is_known = match &entry.known {
                Known::Object { version, .. } => is_found(&id, version.purge_epoch()),
                Known::Missing { .. } | Known::Uncacheable => false,
            };
            found.objects += u64::from(is_known && !id.is_variant());
        }
        for (key, block) in memory.iter() {
            let version = key.version();
            if is_found(version.id(), version.purge_epoch()) {
                found.bytes += block.len() as u64;
            }
        }
        found
    }
}
