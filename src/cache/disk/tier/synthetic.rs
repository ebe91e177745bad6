//! Synthetic disk tiers, to measure the cost of large ones.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::cache::disk::blocks::shares::Shares;
use crate::cache::disk::config::segment_size;
use crate::cache::disk::device::files::BLOCKS;
use crate::cache::disk::device::files::{FolderLock, PageCache, RealFolder};
use crate::cache::disk::format::digest::Digest;
use crate::cache::disk::format::record::{Contents, Kind, Record};
use crate::cache::disk::log::index::{Entry, Index};
use crate::cache::disk::log::segment::Segment;
use crate::cache::disk::log::segment_log::{Appender, Found, Log, LogKind};

/// Writes `blocks` records of `data_len` bytes each into `path`, as a server of this capacity would have.
///
/// # Errors
/// The path cannot be written, or a server uses it.
pub fn write(path: &Path, capacity: u64, blocks: u32, data_len: usize) -> io::Result<()> {
    let _lock = FolderLock::take(path)?;
    let folder = Box::new(RealFolder::new(path.join(BLOCKS), PageCache::Everything)?);
    let log = Arc::new(Log::open(folder, segment_size(capacity), LogKind::Blocks, |_| ())?.0);
    let mut appender = Appender::new(&log, Contents::Blocks, None);
    let data = vec![0; data_len];
    for number in 0..blocks {
        // About as long as real ones are.
        let mut key = format!("a bucket/a folder/another folder/object-{number:012}").into_bytes();
        key.extend_from_slice(&0_u64.to_le_bytes());
        let digest = Digest::of_record(Kind::Block, &key).expect("it ends in an index");
        let [key_len, data_len] =
            [key.len(), data_len].map(|n| u32::try_from(n).expect("it is short"));
        let record = Record { kind: Kind::Block, digest, key_len, data_len, start: 0, tag: 0 };
        appender.append(&record, &key, &data)?;
    }
    appender.seal()
}

/// Metadata index with synthetic objects.
pub struct MetadataIndex(Index);

impl MetadataIndex {
    /// Creates an index for this number of objects.
    pub fn new(objects: u32) -> Self {
        Self(Index::grouped(u64::from(objects) * 256))
    }

    pub fn insert(&self, bucket: u32, object: u32) {
        let digest = Digest::of(&object.to_le_bytes());
        let start = bucket;
        let record = Record { kind: Kind::Object, digest, key_len: 1, data_len: 1, start, tag: 0 };
        self.0.insert(digest, Entry::new(0, 1, 0, &record));
    }

    /// Whether metadata of an object is indexed.
    pub fn knows(&self, object: u32) -> bool {
        self.0.get(&Digest::of(&object.to_le_bytes())).is_some()
    }

    /// Removes the objects of a bucket; returns their number.
    pub fn end_bucket(&self, bucket: u32) -> u64 {
        self.0.remove_group(bucket)
    }

    /// As [`MetadataIndex::end_bucket`], by a scan of all objects.
    pub fn end_bucket_by_scan(&self, bucket: u32) -> u64 {
        self.0.remove_where(|_, entry| entry.start() == bucket)
    }
}

/// Block index with synthetic blocks, and one real segment.
pub struct BlockIndex {
    index: Index,
    shares: Shares,
    segment: Arc<Segment>,
}

/// Class of all blocks of a [`BlockIndex`].
const CLASS: u8 = 1;

impl BlockIndex {
    /// Creates an index of `blocks` blocks in segments of `per_segment` each, and writes the first segment to `path`.
    ///
    /// # Errors
    /// The path cannot be written.
    pub fn new(path: &Path, blocks: u32, per_segment: u32) -> io::Result<Self> {
        write(path, 0, per_segment, 1)?;
        let folder = Box::new(RealFolder::new(path.join(BLOCKS), PageCache::Everything)?);
        let index = Index::new(u64::from(blocks) * 256);
        let mut shares = Shares::new(0, &[(CLASS, u64::MAX)], &index);
        let mut add = |segment, offset, record: &Record| {
            let entry = Entry::new(0, segment, offset, record).in_class(CLASS);
            index.insert(record.digest, entry);
            shares.add(record.digest, &entry, &index);
        };
        let (log, _) = Log::open(folder, segment_size(0), LogKind::Blocks, |found| {
            if let Found::Record { segment, offset, record } = found {
                add(segment.number, offset, record);
            }
        })?;
        let segment = log.segments().pop().expect("one was written");
        for block in per_segment..blocks {
            let digest = Digest::of(&block.to_le_bytes());
            let (kind, start, tag) = (Kind::Block, 0, 0);
            let record = Record { kind, digest, key_len: 1, data_len: 1, start, tag };
            add(segment.number + block / per_segment, block % per_segment, &record);
        }
        Ok(Self { index, shares, segment })
    }

    /// Finds and removes the blocks of the first segment, as when it is reclaimed; returns their number.
    pub fn reclaim(&mut self) -> usize {
        let live = self.index.entries_in(&self.segment, 0);
        self.shares.forget(self.segment.number);
        let gone = live.iter().filter(|(d, entry)| self.index.remove_at(d, entry.place()));
        gone.count()
    }
}
