//! What was purged, kept beside the metadata on every path (R28).
//!
//! A purge is rare, and what is to be remembered of all of them is small: it is written anew as a whole, to a file
//! with a higher number, before the older ones go. The first that can be read from the highest number down holds.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::files::Folder;

const SUFFIX: &str = ".floors";
/// How long a purge waits for the devices.
const DURABLE: Duration = Duration::from_secs(5);
/// More than there can be to keep.
const LENGTH_MAX: u64 = 1 << 30;

/// The files of all paths.
pub(super) struct Purges(Arc<Mutex<Vec<Box<dyn Folder>>>>);

impl Purges {
    pub(super) fn new(folders: Vec<Box<dyn Folder>>) -> Self {
        Self(Arc::new(Mutex::new(folders)))
    }

    /// What each path has, the latest first; an empty list where nothing was ever purged.
    ///
    /// # Errors
    /// What cannot be read is not damaged: who went on without it would serve what was purged, or lose every block.
    pub(super) fn load(&self) -> Vec<io::Result<Vec<Vec<u8>>>> {
        let folders = self.0.lock();
        folders.iter().map(|folder| candidates(&**folder)).collect()
    }

    /// Keeps what `encode` says on every path; it is asked when it is written, so that what is newer is never
    /// replaced by what is older. `false`: on none of them in time.
    pub(super) async fn keep(&self, encode: impl FnOnce() -> Vec<u8> + Send + 'static) -> bool {
        let folders = self.0.clone();
        let write = spawn_blocking(move || {
            let folders = folders.lock();
            let bytes = encode();
            let mut kept = false;
            for folder in &*folders {
                match replace(&**folder, &bytes) {
                    Ok(()) => kept = true,
                    Err(error) => {
                        log::error!("a purge was not written to one of the disks: {error}");
                    }
                }
            }
            kept
        });
        matches!(timeout(DURABLE, write).await, Ok(Ok(true)))
    }
}

fn candidates(folder: &dyn Folder) -> io::Result<Vec<Vec<u8>>> {
    let mut numbers = numbers(folder)?;
    numbers.sort_unstable_by_key(|number| std::cmp::Reverse(*number));
    let read = |number: &u64| match read(folder, *number) {
        // It was cut off.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Vec::new()),
        read => read,
    };
    let read = numbers.iter().map(read).collect::<io::Result<Vec<_>>>()?;
    // One that was made and never written acknowledged nothing: it is not a damaged one.
    Ok(read.into_iter().filter(|bytes| !bytes.is_empty()).collect())
}

fn read(folder: &dyn Folder, number: u64) -> io::Result<Vec<u8>> {
    let file = folder.open(&name(number))?;
    let length = file.len()?.min(LENGTH_MAX);
    let bytes = file.fetch(0, usize::try_from(length).unwrap_or(0))?;
    Ok(bytes.to_vec())
}

fn replace(folder: &dyn Folder, bytes: &[u8]) -> io::Result<()> {
    let older = numbers(folder)?;
    let next = older.iter().max().map_or(1, |last| last.saturating_add(1));
    let file = folder.create(&name(next), 0)?;
    let written = file
        .write(&mut [IoSlice::new(bytes)], 0)
        .and_then(|()| file.sync())
        .and_then(|()| folder.sync());
    if let Err(error) = written {
        // It acknowledges nothing; where it stays it is empty or damaged, and the one before holds.
        let _ = folder.remove(&name(next));
        return Err(error);
    }
    // One that stays is lower, and does not matter.
    let _ = older.iter().try_for_each(|number| folder.remove(&name(*number)));
    Ok(())
}

fn numbers(folder: &dyn Folder) -> io::Result<Vec<u64>> {
    let number = |name: &String| name.strip_suffix(SUFFIX)?.parse().ok();
    Ok(folder.list()?.iter().filter_map(number).collect())
}

fn name(number: u64) -> String {
    format!("{number:020}{SUFFIX}")
}
