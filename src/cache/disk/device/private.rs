//! Files and folders for their owner alone, whatever the umask (R35).
//!
//! A umask can only narrow what is asked for, so that all is made with its mode. What an older version left wider is
//! narrowed at a start.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

const FOLDER: u32 = 0o700;
const FILE: u32 = 0o600;
/// What is for others than the owner.
const OTHERS: u32 = 0o077;
/// What is for everybody.
const EVERYBODY: u32 = 0o007;

/// Makes a folder and those above it that are missing.
pub(in crate::cache::disk) fn make_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(above) = path.parent().filter(|above| *above != Path::new("")) {
        make_folder(above)?;
    }
    match DirBuilder::new().mode(FOLDER).create(path) {
        // Somebody else was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {
            return Ok(());
        }
        made => made?,
    }
    // A strict umask may have taken something of the owner's.
    fs::set_permissions(path, Permissions::from_mode(FOLDER))
}

/// Makes a file that must not be there, to be read and written.
pub(in crate::cache::disk) fn make_file(path: &Path) -> io::Result<fs::File> {
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create_new(true).mode(FILE).open(path)?;
    file.set_permissions(Permissions::from_mode(FILE))?;
    Ok(file)
}

/// Opens a file to be written, and makes it where it is missing.
pub(in crate::cache::disk) fn open_or_make(path: &Path) -> io::Result<fs::File> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(false).mode(FILE).open(path)?;
    if file.metadata()?.permissions().mode() & 0o7777 != FILE {
        file.set_permissions(Permissions::from_mode(FILE))?;
    }
    Ok(file)
}

/// What was wider than it should be.
#[derive(Debug, Default)]
struct Wide {
    narrowed: usize,
    /// Whether some of it was for everybody, and not only for a group.
    for_everybody: bool,
    refused: Option<(String, io::Error)>,
}

impl Wide {
    fn narrow(&mut self, path: &Path) {
        // A link's own mode means nothing.
        let file = fs::symlink_metadata(path).ok().filter(|file| !file.is_symlink());
        let Some(file) = file else { return };
        let mode = file.permissions().mode() & 0o7777;
        if mode & OTHERS == 0 {
            return;
        }
        match fs::set_permissions(path, Permissions::from_mode(mode & !OTHERS)) {
            Ok(()) => {
                self.narrowed += 1;
                self.for_everybody |= mode & EVERYBODY != 0;
            }
            Err(error) => {
                self.refused.get_or_insert((path.display().to_string(), error));
            }
        }
    }
}

/// Narrows `path`, what of these names is in it, and the files in that to their owner, and says so once.
pub(in crate::cache::disk) fn narrow(path: &Path, names: &[&str]) {
    let mut wide = Wide::default();
    for name in names {
        let there = path.join(name);
        // A file has none in it.
        let files = fs::read_dir(&there).into_iter().flatten().flatten();
        files.for_each(|file| wide.narrow(&file.path()));
        wide.narrow(&there);
    }
    let refused = wide.refused.take();
    wide.narrow(path);
    // A mount point may be another's; what is in it is not.
    wide.refused = refused;
    say(path, &wide);
}

fn say(path: &Path, wide: &Wide) {
    let (path, narrowed) = (path.display(), wide.narrowed);
    if let Some((file, error)) = &wide.refused {
        log::warn!(
            "{path}: {file} may be read by others than its owner, and that cannot be changed: {error}; chown it to \
             the user that hotset runs as, or chmod it"
        );
    }
    if wide.for_everybody {
        log::warn!(
            "{path}: {narrowed} files and folders could be read by every local user; they are for their owner alone now"
        );
    } else if narrowed > 0 {
        log::info!(
            "{path}: {narrowed} files and folders could be read by their group; they are for their owner alone now"
        );
    }
}
