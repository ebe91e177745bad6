//! Folders that are somebody else's.

use std::path::Path;

use super::files::{BLOCKS, LOCK, OBJECTS};

/// What `mkfs` puts at the top of a file system, which may be given as a whole.
const OF_FILE_SYSTEM: &str = "lost+found";

/// The name of something in a folder that was never one of the tier. `None`: it was one before, is empty or missing, or
/// cannot be read.
pub fn foreign(folder: &Path) -> Option<String> {
    if folder.join(LOCK).exists() {
        return None;
    }
    let names = std::fs::read_dir(folder).ok()?.flatten().map(|entry| entry.file_name());
    let mut others =
        names.filter(|name| ![OF_FILE_SYSTEM, BLOCKS, OBJECTS].iter().any(|ours| name == ours));
    Some(others.next()?.to_string_lossy().into_owned())
}
