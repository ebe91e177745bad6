//! Startup epochs: which paths took part in the last start of any of them, and whether it ended well.
//!
//! Metadata lies on the first path. A log that lies on another one, or was away while another was the first,
//! lacks the tombstones that were written meanwhile: nothing in it may be believed. So each start leaves its
//! number on all paths, as the name of an empty file beside the log.
//!
//! A disk that hangs or fails takes no tombstones, nor a note that it did not. So it is the other way round: a process
//! whose tombstones are all durable leaves a mark at its end, under the number of its start. Without the mark
//! some may be missing, and every record is confirmed by the origin before it is used, once (R38). A mark says, too,
//! below which segment records are still to be confirmed. A process that was killed left a note instead, see
//! [`super::runtime_note`].

use std::io;

use super::segment_log::{ALL, remove_below};
use crate::cache::disk::device::files::Folder;

const START: &str = ".start";
const CLEAN: &str = ".clean";

/// How far the records of the first path may be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cache::disk) enum Trust {
    /// Tombstones were written elsewhere: not at all.
    Nothing,
    /// The last process did not end well: each is confirmed first.
    Unconfirmed,
    /// Those in segments from this number on; each other is confirmed first.
    From(u32),
}

/// The marks of all paths, in folders of metadata.
pub(in crate::cache::disk) struct StartupEpoch {
    folders: Vec<Box<dyn Folder>>,
    /// The last start that each took part in; 0: none.
    seen: Vec<u64>,
    trust: Trust,
}

impl StartupEpoch {
    /// Reads the marks and changes nothing. `folders`: one of each path, the first path's first. `noted`: what the
    /// last process noted outside of them.
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

    /// Numbers this start on all paths and removes the logs that may not be believed after it. Returns its number.
    ///
    /// # Errors
    /// A folder cannot be written. The logs that were believed before are believed still.
    pub(in crate::cache::disk) fn begin(&self) -> io::Result<u64> {
        let number = self.seen.iter().max().map_or(1, |last| last.saturating_add(1));
        for (at, folder) in self.folders.iter().enumerate() {
            let folder = &**folder;
            let earlier = folder.list()?;
            // Of the first one nothing is read that is void; it goes with the first start that succeeds. Another one is
            // behind until its log is gone.
            if at > 0 || self.trust == Trust::Nothing {
                remove_below(folder, ALL, |_| true)?;
            }
            folder.create(&start_name(number), 0)?;
            folder.sync()?;
            // One that stays is lower, and does not matter.
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

/// The mark of a process that ended well: its start, and from which segment on its records are believed.
pub(in crate::cache::disk) fn clean_name(start: u64, from: u32) -> String {
    format!("{start:020}-{from:010}{CLEAN}")
}
