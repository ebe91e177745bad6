//! Purge epochs on disk, beside the metadata on every path (R28).
//!
//! Each purge is appended to a file, so that its cost does not grow with their number. All epochs are written anew, to
//! a file with a higher number before the older ones are removed: when the appended part exceeds the rest, after a
//! failure, and at the first purge of a process. The file with the highest number that can be read is the valid one.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::cache::disk::device::files::{File, Folder};
use crate::cache::invalidate::purge_epochs::PurgeEpochs;

const SUFFIX: &str = ".floors";
/// Maximum wait of a purge for the devices.
const DURABLE: Duration = Duration::from_secs(5);
/// Maximum bytes of a file that are read: more than all epochs can take.
const LENGTH_MAX: u64 = 1 << 30;

/// Bytes that may be appended to a file, however short it was at first.
const APPENDED_MIN: u64 = 1 << 20;

/// Purge files of all paths.
pub(in crate::cache::disk) struct Purges(Arc<Mutex<Vec<PurgeLog>>>);

/// Purge file of one path.
struct PurgeLog {
    folder: Box<dyn Folder>,
    open: Option<Open>,
}

/// A file to which this process appends, all of it durable.
struct Open {
    file: Arc<dyn File>,
    /// Bytes at first (`begun`) and now (`length`).
    begun: u64,
    length: u64,
}

impl Purges {
    pub(in crate::cache::disk) fn new(folders: Vec<Box<dyn Folder>>) -> Self {
        let logs = folders.into_iter().map(|folder| PurgeLog { folder, open: None });
        Self(Arc::new(Mutex::new(logs.collect())))
    }

    /// Returns the content of each path's files, the latest first; an empty list if nothing was ever purged.
    ///
    /// # Errors
    /// A file cannot be read. It may be whole: a start without it would serve purged blocks, or lose every block.
    pub(in crate::cache::disk) fn load(&self) -> Vec<io::Result<Vec<Vec<u8>>>> {
        let folders = self.0.lock();
        folders.iter().map(|log| candidates(&*log.folder)).collect()
    }

    /// Writes all purge epochs so far to every path; returns `false` if no path has them in time.
    pub(in crate::cache::disk) async fn keep(&self, purge_epochs: &Arc<PurgeEpochs>) -> bool {
        let (logs, purge_epochs) = (self.0.clone(), purge_epochs.clone());
        let write = spawn_blocking(move || {
            let mut logs = logs.lock();
            // The first to get this lock also writes the purges of all others that wait for it.
            let changes = purge_epochs.take_changes();
            let mut kept = false;
            for log in &mut *logs {
                match log.keep(changes.as_deref(), &purge_epochs) {
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

impl PurgeLog {
    /// Writes the purge epochs. `changes`: those since the last time, if they can be appended.
    fn keep(&mut self, changes: Option<&[u8]>, purge_epochs: &PurgeEpochs) -> io::Result<()> {
        // After a failure the content of the file is not known: the next purge begins another.
        let open = match (self.open.take(), changes) {
            (Some(open), Some([])) => open,
            (Some(open), Some(changes)) if open.has_room() => open.append(changes)?,
            _ => self.begin(&purge_epochs.encode())?,
        };
        self.open = Some(open);
        Ok(())
    }

    fn begin(&self, bytes: &[u8]) -> io::Result<Open> {
        let folder = &*self.folder;
        let older = numbers(folder)?;
        let next = older.iter().max().map_or(1, |last| last.saturating_add(1));
        let file = folder.create(&name(next), 0)?;
        let written = file
            .write(&mut [IoSlice::new(bytes)], 0)
            .and_then(|()| file.sync())
            .and_then(|()| folder.sync());
        if let Err(error) = written {
            // It acknowledges nothing: if it stays it is empty or damaged, and the one before is valid.
            let _ = folder.remove(&name(next));
            return Err(error);
        }
        // A file that stays has a lower number, and does not matter.
        let _ = older.iter().try_for_each(|number| folder.remove(&name(*number)));
        let length = bytes.len() as u64;
        Ok(Open { file, begun: length, length })
    }
}

impl Open {
    fn has_room(&self) -> bool {
        self.length - self.begun < self.begun.max(APPENDED_MIN)
    }

    fn append(mut self, changes: &[u8]) -> io::Result<Self> {
        self.file.write(&mut [IoSlice::new(changes)], self.length)?;
        self.file.sync()?;
        self.length += changes.len() as u64;
        Ok(self)
    }
}

fn candidates(folder: &dyn Folder) -> io::Result<Vec<Vec<u8>>> {
    let mut numbers = numbers(folder)?;
    numbers.sort_unstable_by_key(|number| std::cmp::Reverse(*number));
    let read = |number: &u64| match read(folder, *number) {
        // The file was cut off.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Vec::new()),
        read => read,
    };
    let read = numbers.iter().map(read).collect::<io::Result<Vec<_>>>()?;
    // A file that was created and never written acknowledged nothing: it is not damaged.
    Ok(read.into_iter().filter(|bytes| !bytes.is_empty()).collect())
}

fn read(folder: &dyn Folder, number: u64) -> io::Result<Vec<u8>> {
    let file = folder.open(&name(number))?;
    let length = file.len()?.min(LENGTH_MAX);
    let bytes = file.fetch(0, usize::try_from(length).unwrap_or(0))?;
    Ok(bytes.to_vec())
}

fn numbers(folder: &dyn Folder) -> io::Result<Vec<u64>> {
    let number = |name: &String| name.strip_suffix(SUFFIX)?.parse().ok();
    Ok(folder.list()?.iter().filter_map(number).collect())
}

fn name(number: u64) -> String {
    format!("{number:020}{SUFFIX}")
}
