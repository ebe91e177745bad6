//! Outcome of an erasure, and how a writer alternates between its orders and erasing.

use std::io;
use std::ops::AddAssign;
use std::sync::mpsc::{Receiver, TryRecvError};

use tokio::sync::oneshot;

/// Numbers of files and bytes that an erasure removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ErasedFiles {
    /// Files that were removed with all their records.
    pub removed: u64,
    /// Files that were removed after some of their records were copied.
    pub rewritten: u64,
    /// Bytes of both that were not copied.
    pub bytes: u64,
}

/// Failure to erase a path, whose files may still be there.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {source}")]
pub struct NotErased {
    path: String,
    source: io::Error,
}

/// Channel on which a writer reports the outcome of an erasure.
pub(in crate::cache::disk) type Done = oneshot::Sender<io::Result<ErasedFiles>>;

impl ErasedFiles {
    /// Counts a removed segment of `length` bytes, of which `kept` were copied.
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

/// Returns the next order for a writer. Until one comes, calls `erase_next` as long as it returns that there is more to
/// erase.
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

/// Waits for the outcome that a writer reports; fails if the writer is gone.
pub(in crate::cache::disk) async fn outcome(
    path: &str,
    done: oneshot::Receiver<io::Result<ErasedFiles>>,
) -> Result<ErasedFiles, NotErased> {
    let gone = |_| Err(io::ErrorKind::BrokenPipe.into());
    let erased = done.await.unwrap_or_else(gone);
    erased.map_err(|source| NotErased { path: path.to_owned(), source })
}
