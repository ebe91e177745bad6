//! Detection of folders that were not made by hotset.

use std::path::Path;

use super::files::{BLOCKS, LOCK, OBJECTS};

/// Folder that `mkfs` creates at the root of a file system; a whole file system may be given as a path.
const OF_FILE_SYSTEM: &str = "lost+found";

/// Returns the name of an entry in a folder that was never a path of the tier. `None`: it was one before, is empty or
/// missing, or cannot be read.
pub fn foreign(folder: &Path) -> Option<String> {
    if folder.join(LOCK).exists() {
        return None;
    }
    let names = std::fs::read_dir(folder).ok()?.flatten().map(|entry| entry.file_name());
    let mut others =
        names.filter(|name| ![OF_FILE_SYSTEM, BLOCKS, OBJECTS].iter().any(|ours| name == ours));
    Some(others.next()?.to_string_lossy().into_owned())
}
