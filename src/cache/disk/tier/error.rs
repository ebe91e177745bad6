//! Errors of opening the disk tier.

use std::io;
use std::path::PathBuf;

use rustix::io::Errno;

/// Reason why the disk tier cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    #[error("{0} is in use by another process")]
    InUse(PathBuf),
    #[error("{path} cannot be written: {source}{}", advice(source))]
    NotWritable { path: PathBuf, source: io::Error },
    #[error("{path} cannot be read: {source}{}", advice(source))]
    NotReadable { path: PathBuf, source: io::Error },
    #[error("{path} holds `{name}`, which is not hotset's: name a folder of its own")]
    Foreign { path: PathBuf, name: String },
    #[error("{path} is given twice")]
    Twice { path: PathBuf },
}

/// Returns advice on an error; empty if there is none.
fn advice(error: &io::Error) -> &'static str {
    match Errno::from_io_error(error) {
        Some(Errno::MFILE) => {
            "; raise the limit of open files (`ulimit -n`, LimitNOFILE=); nothing was removed"
        }
        Some(Errno::NFILE) => {
            "; the system has no more open files (fs.file-max); nothing was removed"
        }
        _ => "",
    }
}
