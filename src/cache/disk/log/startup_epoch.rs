//! Startup epochs: which paths took part in the last start, and whether that process shut down cleanly.
//!
//! Metadata is kept on the first path. A log on another path, or on one that was away while another was the first,
//! lacks the tombstones that were written meanwhile: nothing in it may be trusted. So each start leaves its number on
//! all paths, as the name of an empty file beside the log.
//!
//! A disk that hangs or fails stores no tombstones, nor a note that they are missing. So it is the other way round: a
//! process whose tombstones are all durable leaves a mark when it shuts down, under the number of its start. Without
//! the mark some may be missing, and every record is confirmed with the origin once before it is used (R38). A mark
//! also names the segment below which records are still to be confirmed. A process that was killed left a note instead,
//! see [`super::runtime_note`].

use std::io;

use super::segment_log::{ALL, remove_below};
use crate::cache::disk::device::files::Folder;

const START: &str = ".start";
const CLEAN: &str = ".clean";

/// Trust in the records of the first path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cache::disk) enum Trust {
    /// No record is used: tombstones were written elsewhere.
    Nothing,
    /// Each record is confirmed first: the last process did not shut down cleanly.
    Unconfirmed,
    /// Records in segments from this number on are trusted; all others are confirmed first.
    From(u32),
}

/// Startup marks of all paths, in their folders of metadata.
pub(in crate::cache::disk) struct StartupEpoch {
    folders: Vec<Box<dyn Folder>>,
    /// Number of the last start that each path took part in; 0: none.
    seen: Vec<u64>,
    trust: Trust,
}

impl StartupEpoch {
    /// Reads the marks and changes nothing. `folders`: one of each path, the first path's first. `noted`: the content
    /// of the runtime note of the last process.
    ///
    /// # Errors
    /// A folder cannot be read.
    pub(in crate::cache::disk) fn read(
        folders: Vec<Box<dyn Folder>>,
        noted: Option<(u64, u32)>,
    ) -> io::Result<Self> {
        let names = folders.iter().map(|folder| folder.list()).collect::<io::Result<Vec<_>>>()?;
        let seen: Vec<_> = names.iter().map(|names| highest(names)).collect();
        let last = seen.iter().copied().max().unwrap_or(0);
        let trust = match seen.first() {
            Some(first) if *first == last => {
                let clean = names[0].iter().filter_map(|name| clean_mark(name)).chain(noted);
                let from = clean.filter(|(start, _)| *start == last).map(|(_, from)| from).max();
                from.map_or(Trust::Unconfirmed, Trust::From)
            }
            _ => Trust::Nothing,
        };
        Ok(Self { folders, seen, trust })
    }

    pub(in crate::cache::disk) fn trust(&self) -> Trust {
        self.trust
    }

    /// Records the number of this start on all paths, and removes the logs that may not be trusted after it. Returns
    /// the number.
    ///
    /// # Errors
    /// A folder cannot be written. Logs that were trusted before still are.
    pub(in crate::cache::disk) fn begin(&self) -> io::Result<u64> {
        let number = self.seen.iter().max().map_or(1, |last| last.saturating_add(1));
        for (at, folder) in self.folders.iter().enumerate() {
            let folder = &**folder;
            let earlier = folder.list()?;
            // On the first path a void log is not read, and is removed by the first start that succeeds. Another path
            // gets the new number only after its log is gone.
            if at > 0 || self.trust == Trust::Nothing {
                remove_below(folder, ALL, |_| true)?;
            }
            folder.create(&start_name(number), 0)?;
            folder.sync()?;
            // A mark that stays has a lower number, and does not matter.
            let earlier = earlier.iter().filter(|name| is_mark(name));
            let _ = earlier.into_iter().try_for_each(|name| folder.remove(name));
        }
        Ok(number)
    }
}

fn highest(names: &[String]) -> u64 {
    names.iter().filter_map(|name| start_mark(name)).max().unwrap_or(0)
}

fn is_mark(name: &str) -> bool {
    start_mark(name).is_some() || clean_mark(name).is_some()
}

fn start_mark(name: &str) -> Option<u64> {
    name.strip_suffix(START)?.parse().ok().filter(|number| *number < u64::MAX)
}

fn clean_mark(name: &str) -> Option<(u64, u32)> {
    let (start, from) = name.strip_suffix(CLEAN)?.split_once('-')?;
    Some((start.parse().ok()?, from.parse().ok()?))
}

fn start_name(number: u64) -> String {
    format!("{number:020}{START}")
}

/// Returns the name of the clean-shutdown mark: its start, and the first segment whose records are trusted.
pub(in crate::cache::disk) fn clean_name(start: u64, from: u32) -> String {
    format!("{start:020}-{from:010}{CLEAN}")
}
