//! Erasure of purged data from the files (R28), segment by segment on each path.
//!
//! A purge invalidates blocks by an epoch in their key, and locates none of them. Erasing does: the writer of each path
//! examines the key of every record. A segment that holds an invalidated block is removed as a file, after its other
//! live blocks were copied. The log of metadata is removed as a whole, oldest segment first, and its live records are
//! copied: invalidated records are anywhere in it, and its tombstones name what they invalidate.
//!
//! - It covers what was written before, and later writes do not undo it: a writer compares each block's key with the
//!   purges of that moment.
//! - Erasing comes first: a block that cannot be copied is lost with its segment, as if it was evicted.
//! - Between two segments the writers execute their other orders.
//! - Nothing is overwritten: the files are gone, but the device may still hold their bytes.

use std::sync::Arc;

use futures_util::future::join_all;

use super::DiskTier;
use crate::cache::disk::blocks::volume::Volume;
use crate::cache::disk::log::erasure::{ErasedFiles, NotErased};
use crate::cache::invalidate::scope::Covered;

impl DiskTier {
    /// Erases the blocks that purges have invalidated so far, and the metadata of what is `covered`. It may take as
    /// long as reading and writing all of a path, and goes on if this future is dropped.
    ///
    /// # Errors
    /// [`NotErased`]: a path failed; on the other paths everything is erased.
    pub(in crate::cache) async fn erase(
        &self,
        covered: &Arc<Covered>,
    ) -> Result<ErasedFiles, NotErased> {
        let volumes = join_all(self.volumes.iter().map(Volume::erase));
        let (volumes, objects) = tokio::join!(volumes, self.objects.erase(covered.clone()));
        let mut all = ErasedFiles::default();
        for erased in volumes.into_iter().chain([objects]) {
            all += erased?;
        }
        Ok(all)
    }
}
