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

use std::io;
use std::ops::AddAssign;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};

use futures_util::future::join_all;
use tokio::sync::oneshot;

use crate::cache::disk::DiskTier;
use crate::cache::disk::blocks::volume::Volume;
use crate::cache::invalidate::purge::Covered;

/// What became of the files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ErasedFiles {
    /// Files that are gone with all that was in them.
    pub removed: u64,
    /// Files that are gone, and of which something was written once more.
    pub rewritten: u64,
    /// Bytes of both that are nowhere any more.
    pub bytes: u64,
}

/// Files that may still be there.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {source}")]
pub struct NotErased {
    path: String,
    source: io::Error,
}

/// Who waits until a writer has erased.
pub(in crate::cache::disk) type Done = oneshot::Sender<io::Result<ErasedFiles>>;

impl ErasedFiles {
    /// A segment of `length` bytes is gone, of which `kept` were written once more.
    pub(in crate::cache::disk) fn count(&mut self, length: u64, kept: u64) {
        match kept {
            0 => self.removed += 1,
            _ => self.rewritten += 1,
        }
        self.bytes += length.saturating_sub(kept);
    }
}

impl AddAssign for ErasedFiles {
    fn add_assign(&mut self, other: Self) {
        self.removed += other.removed;
        self.rewritten += other.rewritten;
        self.bytes += other.bytes;
    }
}

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

/// The next order for a writer. Until it comes, `erase_next` is called as long as it says that there is more to erase.
pub(in crate::cache::disk) fn next_order<O>(
    orders: &Receiver<O>,
    mut erase_next: impl FnMut() -> bool,
) -> Option<O> {
    loop {
        match orders.try_recv() {
            Ok(order) => return Some(order),
            Err(TryRecvError::Disconnected) => return None,
            Err(TryRecvError::Empty) if erase_next() => {}
            Err(TryRecvError::Empty) => return orders.recv().ok(),
        }
    }
}

/// What a writer says, or that it is gone.
pub(in crate::cache::disk) async fn outcome(
    path: &str,
    done: oneshot::Receiver<io::Result<ErasedFiles>>,
) -> Result<ErasedFiles, NotErased> {
    let gone = |_| Err(io::ErrorKind::BrokenPipe.into());
    let erased = done.await.unwrap_or_else(gone);
    erased.map_err(|source| NotErased { path: path.to_owned(), source })
}
