//! The outcome of erasing, and how a writer takes turns between its orders and what there is to erase.

use std::io;
use std::ops::AddAssign;
use std::sync::mpsc::{Receiver, TryRecvError};

use tokio::sync::oneshot;

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
