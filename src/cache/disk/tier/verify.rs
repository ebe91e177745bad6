//! Verification of a path: reads every record and reports what is not as it was written; changes nothing.
//!
//! A sealed segment is compared with its footer, so that one damaged record hides none of the others. A segment without
//! a footer was open when its process ended: its last record may be cut off, which is no damage.

use std::io;
use std::path::{Path, PathBuf};

use crate::cache::disk::device::files::{BLOCKS, OBJECTS};
use crate::cache::disk::device::files::{Folder, FolderLock, RealFolder};
use crate::cache::disk::format::object_record::ObjectRecord;
use crate::cache::disk::format::record::{Contents, Damaged, Kind, Record, SEGMENT_HEAD};
use crate::cache::disk::log::segment::{ReadError, Segment, Wait};
use crate::cache::disk::log::segment_log::segment_number;
use crate::cache::disk::{DiskConfig, DiskError};

/// Result of a verification: numbers of what was read, and the damage.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verified {
    pub segments: u64,
    pub blocks: u64,
    /// Bytes of the blocks.
    pub block_bytes: u64,
    /// Records of metadata, including tombstones.
    pub objects: u64,
    /// Records cut off at the end of segments that were open when their process ended.
    pub cut_off: u64,
    pub damage: Vec<Damage>,
    /// Number of items of `damage` that could not be read, and may be whole: a device that fails, or permissions.
    pub unreadable: usize,
}

/// A record, or a whole segment, that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    pub file: PathBuf,
    /// Offset of the record in bytes; `None`: the whole segment.
    pub offset: Option<u64>,
    pub reason: String,
}

/// Paths that are locked against a running server while they are read.
#[derive(Debug)]
pub struct Verification {
    paths: Vec<PathBuf>,
    _locks: Vec<FolderLock>,
}

impl Verification {
    /// Locks the paths, so that no server writes to them meanwhile.
    ///
    /// # Errors
    /// [`DiskError`]: a path does not exist, cannot be read, or is in use by a server.
    pub fn of(paths: &[DiskConfig]) -> Result<Self, DiskError> {
        let mut locks = Vec::new();
        for DiskConfig { path, .. } in paths {
            locks.push(FolderLock::share(path).map_err(|error| match error.kind() {
                io::ErrorKind::WouldBlock => DiskError::InUse(path.clone()),
                _ => DiskError::NotReadable { path: path.clone(), source: error },
            })?);
        }
        let paths = paths.iter().map(|config| config.path.clone()).collect();
        Ok(Self { paths, _locks: locks })
    }

    /// Returns the bytes of all segments.
    ///
    /// # Errors
    /// A folder cannot be read.
    pub fn size(&self) -> Result<u64, DiskError> {
        let mut size = 0;
        self.each(|folder, _, name| {
            size += folder.open(name).and_then(|file| file.len()).unwrap_or(0);
        })?;
        Ok(size)
    }

    /// Reads and verifies everything; calls `read` with the bytes as they are read.
    ///
    /// # Errors
    /// A folder cannot be read. Errors in its files are in [`Verified::damage`].
    pub fn run(&self, mut read: impl FnMut(u64)) -> Result<Verified, DiskError> {
        let mut verified = Verified::default();
        self.each(|folder, file, name| {
            verified.segments += 1;
            let mut reader = Reader { file, verified: &mut verified, read: &mut read };
            if let Err(error) = reader.segment(folder, name) {
                reader.damaged(None, &error);
            }
        })?;
        Ok(verified)
    }

    fn each(&self, mut segment: impl FnMut(&RealFolder, &Path, &str)) -> Result<(), DiskError> {
        for path in &self.paths {
            for part in [BLOCKS, OBJECTS] {
                let part = path.join(part);
                let failed = |source| DiskError::NotReadable { path: part.clone(), source };
                // Only the first path has objects.
                let Some(folder) = RealFolder::existing(part.clone()).map_err(failed)? else {
                    continue;
                };
                let mut names = folder.list().map_err(failed)?;
                names.retain(|name| segment_number(name).is_some());
                names.sort_unstable();
                for name in names {
                    segment(&folder, &part.join(&name), &name);
                }
            }
        }
        Ok(())
    }
}

struct Reader<'a, F> {
    file: &'a Path,
    verified: &'a mut Verified,
    read: &'a mut F,
}

impl<F: FnMut(u64)> Reader<'_, F> {
    fn segment(&mut self, folder: &RealFolder, name: &str) -> Result<(), ReadError> {
        let number = segment_number(name).expect("others were left out");
        let segment = Segment::open(folder.open(name)?, number)?;
        match segment.footer() {
            Ok(footer) => {
                footer.each(|offset, record| self.record(&segment, offset.into(), record))?;
                (self.read)(segment.size() - footer.offset());
            }
            Err(ReadError::Io(error)) if error.kind() != io::ErrorKind::UnexpectedEof => {
                return Err(error.into());
            }
            Err(_) => self.scan(&segment),
        }
        Ok(())
    }

    /// Verifies the records of a segment without a footer, up to the first that is not whole.
    fn scan(&mut self, segment: &Segment) {
        let mut at = SEGMENT_HEAD as u64;
        while !segment.ends_at(at).unwrap_or(false) {
            match segment.record_at(at) {
                Ok((record, _)) => {
                    self.record(segment, at, record);
                    at += record.len();
                }
                Err(error @ ReadError::Io(_)) if !is_cut_off(&error) => {
                    return self.damaged(Some(at), &error);
                }
                Err(_) => {
                    self.verified.cut_off += 1;
                    return (self.read)(segment.size().saturating_sub(at));
                }
            }
        }
    }

    fn record(&mut self, segment: &Segment, at: u64, listed: Record) {
        match read_record(segment, at, listed) {
            Ok(record) if segment.contents == Contents::Objects => {
                self.verified.objects += 1;
                (self.read)(record.len());
            }
            Ok(record) => {
                self.verified.blocks += 1;
                self.verified.block_bytes += u64::from(record.data_len);
                (self.read)(record.len());
            }
            Err(error) => {
                self.damaged(Some(at), &error);
                (self.read)(listed.len());
            }
        }
    }

    fn damaged(&mut self, offset: Option<u64>, reason: &ReadError) {
        let is_unreadable = matches!(reason, ReadError::Io(_)) && !is_cut_off(reason);
        self.verified.unreadable += usize::from(is_unreadable);
        let (file, reason) = (self.file.to_owned(), reason.to_string());
        self.verified.damage.push(Damage { file, offset, reason });
    }
}

/// Whether the file ends before the range that was to be read.
fn is_cut_off(error: &ReadError) -> bool {
    matches!(error, ReadError::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof)
}

/// Reads and verifies a whole record, and compares it with its description in the footer (`listed`).
fn read_record(segment: &Segment, at: u64, listed: Record) -> Result<Record, ReadError> {
    let (record, _) = segment.record_at(at)?;
    if listed != record {
        return Err(Damaged::Key.into());
    }
    if record.data_len > 0 {
        let offset = u32::try_from(at).map_err(|_| Damaged::Length)?;
        let all = 0..record.data_len as usize;
        let data = segment.data(offset, &record, &all, Wait::Yes)?;
        let (data, _) = data.expect("a read that may wait brings bytes");
        if record.kind == Kind::Object {
            ObjectRecord::decode(&data)?;
        }
    }
    Ok(record)
}

#[cfg(test)]
mod tests;
