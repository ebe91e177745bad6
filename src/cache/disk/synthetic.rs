//! A disk tier full of made-up blocks, to measure what a large one costs.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::digest::Digest;
use super::files::{FolderLock, PageCache, RealFolder};
use super::format::{Contents, Kind, Record};
use super::index::{Entry, Index};
use super::log::{Appender, Log, LogKind};
use super::open::{BLOCKS, segment_size};

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

/// The index of metadata, with made-up objects.
pub struct MetadataIndex(Index);

impl MetadataIndex {
    /// For so many objects.
    pub fn new(objects: u32) -> Self {
        Self(Index::grouped(u64::from(objects) * 256))
    }

    pub fn insert(&self, bucket: u32, object: u32) {
        let digest = Digest::of(&object.to_le_bytes());
        let start = bucket;
        let record = Record { kind: Kind::Object, digest, key_len: 1, data_len: 1, start, tag: 0 };
        self.0.insert(digest, Entry::new(0, 1, 0, &record));
    }

    /// Removes what is known of a bucket; returns of how many objects.
    pub fn end_bucket(&self, bucket: u32) -> u64 {
        self.0.remove_group(bucket)
    }

    /// As [`MetadataIndex::end_bucket`], by a look at all objects.
    pub fn end_bucket_by_scan(&self, bucket: u32) -> u64 {
        self.0.remove_where(|_, entry| entry.start() == bucket)
    }
}
