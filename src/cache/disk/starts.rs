//! Which of the paths took part in the last start of any of them.
//!
//! Metadata lies on the first path. A log that lies on another one, or was away while another was the first,
//! lacks the tombstones that were written meanwhile: nothing in it may be believed. So each start leaves its
//! number on all paths, as the name of an empty file beside the log.

use std::io;

use super::files::Folder;
use super::log::{ALL, remove_below};

const SUFFIX: &str = ".start";

/// Numbers this start on all paths, whose folders of metadata these are. Returns the first one, where nothing is
/// left that may not be believed.
pub(super) fn begin(folders: Vec<Box<dyn Folder>>) -> io::Result<Box<dyn Folder>> {
    let seen = folders.iter().map(|folder| starts(&**folder)).collect::<io::Result<Vec<_>>>()?;
    let last = seen.iter().map(|starts| highest(starts)).max().unwrap_or(0);
    for (at, folder) in folders.iter().enumerate() {
        if at > 0 || highest(&seen[at]) < last {
            remove_below(&**folder, ALL)?;
        }
    }
    // The first one first: when this ends in between, its log is still the latest.
    for (folder, earlier) in folders.iter().zip(&seen) {
        folder.create(&name(last.saturating_add(1)), 0)?;
        folder.sync()?;
        // One that stays is lower, and does not matter.
        let _ = earlier.iter().try_for_each(|number| folder.remove(&name(*number)));
    }
    Ok(folders.into_iter().next().expect("there is a first path"))
}

fn highest(starts: &[u64]) -> u64 {
    starts.iter().copied().max().unwrap_or(0)
}

fn starts(folder: &dyn Folder) -> io::Result<Vec<u64>> {
    let number = |name: &String| name.strip_suffix(SUFFIX)?.parse().ok();
    Ok(folder.list()?.iter().filter_map(number).filter(|n| *n < u64::MAX).collect())
}

fn name(number: u64) -> String {
    format!("{number:020}{SUFFIX}")
}
