//! Erasing what was purged from the files (R28), a path at a time and a segment at a time.
//!
//! A purge ends blocks by a number in their name and finds none of them. Erasing does: the writer of each path looks at
//! the key of every record there is. A segment that holds one that a purge ended goes, as a file; what else is alive in
//! it is written once more before. The log of metadata goes as a whole, from its oldest segment on, since what was
//! voided in it lies anywhere, and its tombstones name what they void.
//!
//! - It holds for what was written before and is not undone by what is written meanwhile: who writes a block compares
//!   its name with the purges of that moment.
//! - Erasing comes first: what cannot be written once more is lost with its segment, as it might be for want of room.
//! - Between two segments the writers do what they are there for.
//! - Nothing is overwritten: a file that is gone is what is promised, not what the device keeps of it.

use std::sync::Arc;

use futures_util::future::join_all;

use super::DiskTier;
use crate::cache::disk::blocks::volume::Volume;
use crate::cache::disk::log::erasure::{ErasedFiles, NotErased};
use crate::cache::invalidate::scope::Covered;

impl DiskTier {
    /// Erases the blocks that purges ended so far, and the metadata of what is `covered`. It may take as long as
    /// reading and writing all of a path; when this is dropped it goes on.
    ///
    /// # Errors
    /// [`NotErased`]: of the other paths all is erased.
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
