//! What was purged, kept beside the metadata on every path (R28).
//!
//! What is to be remembered is appended to a file, so that a purge costs no more the more there were. When what was
//! appended is more than the rest, after a failure, and at the first purge of a process, all of it is written anew, to
//! a file with a higher number, before the older ones go. The first that can be read from the highest number down
//! holds.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::cache::disk::device::files::{File, Folder};
use crate::cache::invalidate::purge_epochs::PurgeEpochs;

const SUFFIX: &str = ".floors";
/// How long a purge waits for the devices.
const DURABLE: Duration = Duration::from_secs(5);
/// More than there can be to keep.
const LENGTH_MAX: u64 = 1 << 30;

/// As much as this is appended to a file however short it was when it was begun.
const APPENDED_MIN: u64 = 1 << 20;

/// The files of all paths.
pub(in crate::cache::disk) struct Purges(Arc<Mutex<Vec<PurgeLog>>>);

/// The file of one path.
struct PurgeLog {
    folder: Box<dyn Folder>,
    open: Option<Open>,
}

/// A file of this process, all of it durable.
struct Open {
    file: Arc<dyn File>,
    /// Bytes that it was begun with, and that it has now.
    begun: u64,
    length: u64,
}

impl Purges {
    pub(in crate::cache::disk) fn new(folders: Vec<Box<dyn Folder>>) -> Self {
        let logs = folders.into_iter().map(|folder| PurgeLog { folder, open: None });
        Self(Arc::new(Mutex::new(logs.collect())))
    }

    /// What each path has, the latest first; an empty list where nothing was ever purged.
    ///
    /// # Errors
    /// What cannot be read is not damaged: who went on without it would serve what was purged, or lose every block.
    pub(in crate::cache::disk) fn load(&self) -> Vec<io::Result<Vec<Vec<u8>>>> {
        let folders = self.0.lock();
        folders.iter().map(|log| candidates(&*log.folder)).collect()
    }

    /// Keeps all that was purged so far on every path. `false`: on none of them in time.
    pub(in crate::cache::disk) async fn keep(&self, purge_epochs: &Arc<PurgeEpochs>) -> bool {
        let (logs, purge_epochs) = (self.0.clone(), purge_epochs.clone());
        let write = spawn_blocking(move || {
            let mut logs = logs.lock();
            // Of all who wait for this lock the first writes what the others purged, too.
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
    /// `changes`: since the last time, where they can be appended.
    fn keep(&mut self, changes: Option<&[u8]>, purge_epochs: &PurgeEpochs) -> io::Result<()> {
        // Whatever fails, what lies in the file then is not known: the next purge begins another.
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
            // It acknowledges nothing; where it stays it is empty or damaged, and the one before holds.
            let _ = folder.remove(&name(next));
            return Err(error);
        }
        // One that stays is lower, and does not matter.
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

fn numbers(folder: &dyn Folder) -> io::Result<Vec<u64>> {
    let number = |name: &String| name.strip_suffix(SUFFIX)?.parse().ok();
    Ok(folder.list()?.iter().filter_map(number).collect())
}

fn name(number: u64) -> String {
    format!("{number:020}{SUFFIX}")
}
