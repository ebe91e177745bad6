//! Files and folders that only their owner can access, whatever the umask (R35).
//!
//! A umask can only remove permissions, so that everything is created with its final mode. Wider modes that an older
//! version left are narrowed at startup.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

const FOLDER: u32 = 0o700;
const FILE: u32 = 0o600;
/// Permission bits of the group and of others.
const OTHERS: u32 = 0o077;
/// Permission bits of others.
const EVERYBODY: u32 = 0o007;

/// Creates a folder, and its parents if they are missing.
pub(in crate::cache::disk) fn make_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(above) = path.parent().filter(|above| *above != Path::new("")) {
        make_folder(above)?;
    }
    match DirBuilder::new().mode(FOLDER).create(path) {
        // Somebody else created it first.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {
            return Ok(());
        }
        made => made?,
    }
    // A strict umask may have removed permissions of the owner.
    fs::set_permissions(path, Permissions::from_mode(FOLDER))
}

/// Creates a file for reading and writing; fails if it exists.
pub(in crate::cache::disk) fn make_file(path: &Path) -> io::Result<fs::File> {
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create_new(true).mode(FILE).open(path)?;
    file.set_permissions(Permissions::from_mode(FILE))?;
    Ok(file)
}

/// Opens a file for writing, and creates it if it is missing.
pub(in crate::cache::disk) fn open_or_make(path: &Path) -> io::Result<fs::File> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(false).mode(FILE).open(path)?;
    if file.metadata()?.permissions().mode() & 0o7777 != FILE {
        file.set_permissions(Permissions::from_mode(FILE))?;
    }
    Ok(file)
}

/// Result of narrowing the modes of files and folders.
#[derive(Debug, Default)]
struct Wide {
    narrowed: usize,
    /// Whether some were accessible to everybody, and not only to a group.
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

/// Restricts `path`, its entries of these names, and the files in them to their owner, and logs that once.
pub(in crate::cache::disk) fn narrow(path: &Path, names: &[&str]) {
    let mut wide = Wide::default();
    for name in names {
        let there = path.join(name);
        // A plain file has no entries.
        let files = fs::read_dir(&there).into_iter().flatten().flatten();
        files.for_each(|file| wide.narrow(&file.path()));
        wide.narrow(&there);
    }
    let refused = wide.refused.take();
    wide.narrow(path);
    // A mount point may belong to another user; its content does not.
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
