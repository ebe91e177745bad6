//! What memory knows of what a purge would cover, for who asks before doing it.

use super::scope::{Covered, Scope};
use crate::cache::metadata::store::Known;
use crate::cache::tiers::blocks::BlockTiers;
use crate::s3::ObjectId;

/// What is in memory; the disk, which finds things by their digest only, is not counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PurgePreview {
    /// Objects whose metadata is known.
    pub objects: u64,
    /// Bytes of their blocks, and of those whose metadata left memory before them.
    pub bytes: u64,
}

impl PurgePreview {
    /// Counts what memory knows of these, in every realm. It looks at everything in memory, and so belongs on a thread
    /// that may block.
    pub(in crate::cache) fn of(blocks: &BlockTiers, scopes: &[Scope]) -> Self {
        let BlockTiers { objects, memory, .. } = blocks;
        let covered = Covered::by(scopes);
        // What was purged before is still there, and found by nobody.
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
