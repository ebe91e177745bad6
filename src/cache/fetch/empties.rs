//! Folders in which empty objects were found recently.
//!
//! A range of an empty object is refused without its metadata, so that a cold read of one costs two requests (R17). Empty
//! objects have siblings that are empty, as placeholders and markers do: in such a folder objects are asked for without a
//! range. That costs nothing up to twice the size of a fetch. Larger objects cost a connection and the bytes that were
//! under way, after which the folder counts as any other.

use std::hash::BuildHasher as _;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::fast::RandomState;

use crate::s3::ObjectId;

/// Maximum number of folders that are remembered.
const FOLDERS: usize = 1024;

/// Hashes of the latest folders. Bounded: a folder takes the place of another.
pub(in crate::cache) struct EmptyFolders {
    /// 0: none.
    slots: Box<[AtomicU64]>,
    seed: RandomState,
}

impl EmptyFolders {
    pub(in crate::cache) fn new() -> Self {
        let slots = (0..FOLDERS).map(|_| AtomicU64::new(0)).collect();
        Self { slots, seed: RandomState::default() }
    }

    /// Whether an empty object was found in the folder of `id`.
    pub(in crate::cache) fn contain(&self, id: &ObjectId) -> bool {
        let folder = self.folder(id);
        self.slot(folder).load(Ordering::Relaxed) == folder
    }

    /// Notes an empty object.
    pub(in crate::cache) fn add(&self, id: &ObjectId) {
        let folder = self.folder(id);
        self.slot(folder).store(folder, Ordering::Relaxed);
    }

    /// Removes the folder of an object that is too large to be requested without a range.
    pub(in crate::cache) fn remove(&self, id: &ObjectId) {
        let folder = self.folder(id);
        let _ = self.slot(folder).compare_exchange(folder, 0, Ordering::Relaxed, Ordering::Relaxed);
    }

    fn folder(&self, id: &ObjectId) -> u64 {
        let key = id.key().as_str();
        let folder = key.rfind('/').map_or("", |end| &key[..end]);
        self.seed.hash_one((id.bucket_hash64(), folder)).max(1)
    }

    fn slot(&self, folder: u64) -> &AtomicU64 {
        &self.slots[usize::try_from(folder % FOLDERS as u64).expect("below FOLDERS")]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::testing::id;

    #[test]
    fn a_folder_counts_until_a_large_object_is_found_in_it() {
        let folders = EmptyFolders::new();
        assert!(!folders.contain(&id("bucket", "a/b/1")));
        folders.add(&id("bucket", "a/b/1"));
        assert!(folders.contain(&id("bucket", "a/b/2")));
        for (bucket, key) in [("bucket", "a/1"), ("bucket", "a/b/c/1"), ("another", "a/b/1")] {
            assert!(!folders.contain(&id(bucket, key)), "{bucket} {key}");
        }
        folders.add(&id("bucket", "1"));
        assert!(folders.contain(&id("bucket", "2")) && !folders.contain(&id("bucket", "x/2")));
        folders.remove(&id("bucket", "a/b/3"));
        assert!(!folders.contain(&id("bucket", "a/b/1")) && folders.contain(&id("bucket", "3")));
    }
}
