//! A file as a source of reads, through the page cache or with direct I/O.

use std::fs::{self, OpenOptions};
use std::io::{self, IoSliceMut};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use rustix::fs::{AtFlags, OFlags, StatxFlags, statx};

use super::buffers::{Buffer, Buffers};

/// Sector size of direct I/O, in bytes: offsets, lengths and memory are multiples of it. 4 KiB suits every device.
/// Where the system reports that smaller sectors do, fewer unwanted bytes are read.
const SECTOR: usize = 4096;
const SECTOR_MIN: usize = 512;

#[derive(Debug)]
pub(crate) struct Source {
    pub file: Arc<fs::File>,
    /// Parameters of direct I/O; `None`: the file is read through the page cache.
    direct: Option<Direct>,
}

#[derive(Debug)]
struct Direct {
    /// Alignment of offsets, lengths and memory, in bytes.
    sector: usize,
    buffers: Arc<Buffers>,
}

/// The whole sectors that hold a wanted range of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    /// Offset of the first sector in the file.
    pub from: u64,
    /// Bytes of the sectors before the wanted range.
    pub skip: usize,
    /// Bytes to be read at least, from the beginning of the first sector to the end of the wanted range.
    pub enough: usize,
    /// Total bytes of the sectors.
    pub length: usize,
}

impl Source {
    /// Makes a source that is read through the page cache.
    pub(crate) fn cached(file: Arc<fs::File>) -> Self {
        Self { file, direct: None }
    }

    /// Opens the file at `path` for direct I/O.
    pub(crate) fn direct(path: &Path, buffers: &Arc<Buffers>) -> io::Result<Self> {
        let open = |flags: OFlags| {
            let flags = i32::try_from(flags.bits()).unwrap_or(0);
            OpenOptions::new().read(true).custom_flags(flags).open(path)
        };
        // An update of the access time may wait for the file system's journal. Only the file's owner may suppress it.
        let file = open(OFlags::DIRECT | OFlags::NOATIME).or_else(|_| open(OFlags::DIRECT))?;
        let direct = Direct { sector: sector(&file), buffers: buffers.clone() };
        Ok(Self { file: Arc::new(file), direct: Some(direct) })
    }

    /// Returns the sectors to be read for `length` bytes from `offset`.
    pub(crate) fn span(&self, offset: u64, length: usize) -> Span {
        let sector = self.direct.as_ref().map_or(1, |direct| direct.sector);
        let skip = usize::try_from(offset % sector as u64).expect("below a sector");
        let enough = skip + length;
        let length = enough.next_multiple_of(sector);
        Span { from: offset - skip as u64, skip, enough, length }
    }

    /// Allocates memory that `span` can be read into.
    pub(crate) fn buffer(&self, span: Span) -> Buffer {
        match &self.direct {
            Some(direct) => direct.buffers.take(span.length),
            None => Buffer::ordinary(span.length, 1),
        }
    }

    /// Reads `length` bytes from `offset`; blocks on the device.
    ///
    /// # Errors
    /// Errors of the device; `UnexpectedEof` if the file ends early.
    pub(crate) fn fetch(&self, offset: u64, length: usize) -> io::Result<Bytes> {
        let span = self.span(offset, length);
        let mut buffer = self.buffer(span);
        while buffer.filled() < span.enough {
            let at = span.from + buffer.filled() as u64;
            if buffer.read(&self.file, at)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(Bytes::from(buffer).slice(span.skip..span.enough))
    }

    /// As [`Source::fetch`], but from the page cache and without blocking; `None` if not all of it is cached, or the
    /// source uses direct I/O.
    pub(crate) fn fetch_cached(&self, offset: u64, length: usize) -> io::Result<Option<Bytes>> {
        if self.direct.is_some() {
            return Ok(None);
        }
        let mut buffer = Buffer::ordinary(length, 1);
        let read = buffer.read_cached(&self.file, offset)?;
        Ok((read == length).then(|| buffer.into()))
    }

    /// As [`Source::fetch`], but fills `parts` in order.
    pub(crate) fn read(&self, parts: &mut [IoSliceMut<'_>], offset: u64) -> io::Result<()> {
        let bytes = self.fetch(offset, parts.iter().map(|part| part.len()).sum())?;
        let mut rest = &*bytes;
        for part in parts {
            let (ours, others) = rest.split_at(part.len());
            part.copy_from_slice(ours);
            rest = others;
        }
        Ok(())
    }
}

/// Returns the sector size of a file for direct I/O, as statx(2) reports it since Linux 6.1; else [`SECTOR`].
fn sector(file: &fs::File) -> usize {
    let Ok(told) = statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN) else {
        return SECTOR;
    };
    let least = told.stx_dio_offset_align.max(told.stx_dio_mem_align) as usize;
    let known = told.stx_mask & StatxFlags::DIOALIGN.bits() != 0;
    match known && least.is_power_of_two() && least <= SECTOR {
        true => least.max(SECTOR_MIN),
        false => SECTOR,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Write as _;
    use std::path::PathBuf;

    use super::*;

    pub(crate) const LENGTH: usize = 200_000;

    /// A temporary file, and its content.
    pub(crate) struct Written(PathBuf, pub(crate) Vec<u8>);

    impl Written {
        pub(crate) fn new(test: &str) -> Self {
            let path =
                std::env::temp_dir().join(format!("hotset-source-{}-{test}", std::process::id()));
            let bytes: Vec<u8> = (0..LENGTH).map(|n| (n * 5 / 3).to_le_bytes()[0]).collect();
            let mut file = fs::File::create(&path).unwrap();
            file.write_all(&bytes).unwrap();
            file.sync_all().unwrap();
            Self(path, bytes)
        }

        pub(crate) fn cached(&self) -> Source {
            Source::cached(Arc::new(fs::File::open(&self.0).unwrap()))
        }

        /// Opens the file for direct I/O; `None` if the file system does not support that.
        pub(crate) fn direct(&self) -> Option<Source> {
            let direct = Source::direct(&self.0, &Buffers::new());
            direct.inspect_err(|error| eprintln!("skipped: no direct I/O here: {error}")).ok()
        }

        pub(crate) fn sources(&self) -> Vec<Source> {
            [Some(self.cached()), self.direct()].into_iter().flatten().collect()
        }
    }

    impl Drop for Written {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    #[test]
    fn what_is_asked_for_is_what_is_read() {
        let written = Written::new("read");
        for source in written.sources() {
            for (offset, length) in
                [(0, LENGTH), (0, 1), (65_536, 65_568), (4095, 2), (8192, 4096), (LENGTH - 1, 1)]
            {
                let expected = &written.1[offset..offset + length];
                let offset = offset as u64;
                assert_eq!(source.fetch(offset, length).unwrap(), expected);
                let cached = source.fetch_cached(offset, length).unwrap();
                assert!(cached.is_none_or(|cached| cached == expected));
                let (mut one, mut other) = (vec![0; length / 3], vec![0; length - length / 3]);
                let parts = &mut [IoSliceMut::new(&mut one), IoSliceMut::new(&mut other)];
                source.read(parts, offset).unwrap();
                assert_eq!([one, other].concat(), expected);
            }
        }
    }

    #[test]
    fn what_is_behind_the_end_is_not_made_up() {
        let written = Written::new("end");
        for source in written.sources() {
            for offset in [LENGTH as u64 - 1, LENGTH as u64 + 1000] {
                let error = source.fetch(offset, 2).unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
                assert_eq!(source.fetch_cached(offset, 2).unwrap(), None);
            }
        }
    }

    #[test]
    fn direct_reads_are_of_whole_sectors() {
        let written = Written::new("sectors");
        let Some(source) = written.direct() else { return };
        let sector = source.direct.as_ref().unwrap().sector;
        for (offset, length) in [(0, 1), (1, sector), (sector as u64, sector), (9_999, 66_000)] {
            let span = source.span(offset, length);
            assert_eq!((span.from % sector as u64, span.length % sector), (0, 0));
            assert_eq!(span.from + span.skip as u64, offset);
            assert_eq!(span.enough, span.skip + length);
            assert!(span.length >= span.enough && span.length < span.enough + sector);
        }
    }
}
