//! A note in shared memory that the log of metadata has all tombstones; it outlives the process, but not the machine.
//!
//! On a disk that hangs, its failure cannot be noted. A process that is killed leaves no mark of a clean shutdown
//! either (see [`super::startup_epoch`]), though its tombstones are durable as long as its disk works. A file in
//! `/dev/shm` tells the two apart: it is there while the disk works, removed before work goes on without the disk, and
//! gone with the machine, so that after a power cut each record is confirmed once.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

const FOLDER: &str = "/dev/shm";

/// Path of the note for one folder of metadata; `None`: there is no shared memory, and nothing is noted.
#[derive(Debug, Clone, Default)]
pub(in crate::cache::disk) struct RuntimeNote(Option<PathBuf>);

impl RuntimeNote {
    /// Returns the note for `folder`, which is identified by its device and inode.
    pub(in crate::cache::disk) fn of(folder: &Path) -> Self {
        let Ok(folder) = fs::metadata(folder) else { return Self(None) };
        let runtime = Path::new(FOLDER);
        let name = format!("hotset-{:x}-{:x}", folder.dev(), folder.ino());
        Self(runtime.is_dir().then(|| runtime.join(name)))
    }

    /// Reads the number of the start that was noted, and the first segment whose records are trusted.
    pub(in crate::cache::disk) fn read(&self) -> Option<(u64, u32)> {
        let path = self.0.as_ref()?;
        let file = fs::symlink_metadata(path).ok()?;
        // Every local user can create files there: only our own are trusted.
        let is_ours = file.is_file() && file.uid() == rustix::process::geteuid().as_raw();
        let text = is_ours.then(|| fs::read_to_string(path).ok())??;
        let (start, from) = text.strip_suffix('\n')?.split_once(' ')?;
        Some((start.parse().ok()?, from.parse().ok()?))
    }

    /// Notes that all tombstones are durable. If that fails, nothing is noted.
    pub(in crate::cache::disk) fn write(&self, start: u64, from: u32) {
        let Some(path) = &self.0 else { return };
        if let Err(error) = write(path, &format!("{start} {from}\n")) {
            log::debug!("{}: {error}", path.display());
        }
    }

    /// Removes the note, as tombstones may be missing from now on.
    pub(in crate::cache::disk) fn remove(&self) {
        if let Some(path) = &self.0
            && let Err(error) = fs::remove_file(path)
            && error.kind() != io::ErrorKind::NotFound
        {
            log::warn!("{} cannot be removed: {error}", path.display());
        }
    }
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let flags = OFlags::NOFOLLOW.bits().cast_signed();
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600).custom_flags(flags);
    options.open(path)?.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r38_a_note_is_read_as_it_was_written_and_one_that_is_cut_off_is_none() {
        let folder = std::env::temp_dir().join(format!("hotset-note-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let note = RuntimeNote::of(&folder);
        let Some(path) = note.0.clone() else { return };
        // The note may be of a removed folder, whose inode this one has now.
        note.remove();
        assert_eq!(note.read(), None);
        note.write(7, 3);
        assert_eq!(RuntimeNote::of(&folder).read(), Some((7, 3)));
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        note.write(8, 3);
        assert_eq!(note.read(), Some((8, 3)));
        for cut in ["", "8", "8 3", "8 x\n"] {
            fs::write(&path, cut).unwrap();
            assert_eq!(note.read(), None, "{cut:?}");
        }
        note.remove();
        note.remove();
        assert!(!path.exists());
        fs::remove_dir(folder).unwrap();
    }
}
