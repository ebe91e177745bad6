//! Keys of cached blocks.
//!
//! Blocks are keyed by *version*, not by object: an overwritten object gets new blocks and the old ones age
//! out, so that an invalidation drops only metadata, no scan is ever needed, and no interleaving of fills can
//! mix two versions under one key (R1).

use std::hash::{Hash, Hasher};
use std::sync::{Arc, OnceLock};

use http::HeaderValue;

use super::disk::Digest;
use crate::s3::{ETag, ObjectId, ObjectMeta};

/// One version of one object, cut into blocks of one size. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ObjectVersion(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    id: ObjectId,
    version_id: Option<HeaderValue>,
    etag: ETag,
    size: u64,
    block_size: u64,
    /// Number of the last purge before its blocks were fetched (R28).
    purge_epoch: u32,
    /// Digest of all other fields, computed when the disk is first asked.
    digest: OnceLock<Digest>,
}

impl Parts {
    fn is(&self, other: &Self) -> bool {
        self.etag == other.etag
            && (self.size, self.block_size, self.purge_epoch)
                == (other.size, other.block_size, other.purge_epoch)
            && self.version_id == other.version_id
            && self.id == other.id
    }
}

impl ObjectVersion {
    /// Creates the version of an object. Its blocks are the same whether it is requested by name or by a version id.
    /// `purge_epoch`: from [`super::invalidate::purge_epochs::PurgeEpochs`].
    pub fn new(id: &ObjectId, meta: &ObjectMeta, block_size: u64, purge_epoch: u32) -> Self {
        Self(Arc::new(Parts {
            id: id.object().clone(),
            version_id: meta.version_id.clone(),
            etag: meta.etag.clone(),
            size: meta.size,
            block_size,
            purge_epoch,
            digest: OnceLock::new(),
        }))
    }

    pub fn id(&self) -> &ObjectId {
        &self.0.id
    }

    pub fn etag(&self) -> &ETag {
        &self.0.etag
    }

    pub fn version_id(&self) -> Option<&HeaderValue> {
        self.0.version_id.as_ref()
    }

    /// Returns the size of the object, in bytes.
    pub fn size(&self) -> u64 {
        self.0.size
    }

    pub fn block_size(&self) -> u64 {
        self.0.block_size
    }

    /// Returns the purge epoch; 0: no purge ever covered the object.
    pub fn purge_epoch(&self) -> u32 {
        self.0.purge_epoch
    }

    /// Returns the block that holds the byte at `offset`.
    pub fn block_at(&self, offset: u64) -> BlockKey {
        self.block(offset / self.0.block_size)
    }

    pub fn block(&self, index: u64) -> BlockKey {
        BlockKey { version: self.clone(), index }
    }
}

impl PartialEq for ObjectVersion {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.is(&other.0)
    }
}

impl Eq for ObjectVersion {}

/// A block: the bytes `start()..end()` of an object version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockKey {
    version: ObjectVersion,
    index: u64,
}

impl BlockKey {
    /// Returns the digest that identifies the block on disk.
    pub(super) fn digest(&self) -> Digest {
        let version = self.version.0.digest.get_or_init(|| Digest::of_version(&self.version));
        version.of_block(self.index)
    }

    pub fn version(&self) -> &ObjectVersion {
        &self.version
    }

    pub fn id(&self) -> &ObjectId {
        self.version.id()
    }

    pub fn index(&self) -> u64 {
        self.index
    }

    /// Offset in the object of the block's first byte.
    pub fn start(&self) -> u64 {
        self.index * self.version.0.block_size
    }

    /// Returns the length of the block, in bytes.
    pub fn len(&self) -> u64 {
        self.end() - self.start()
    }

    /// Offset in the object past the block's last byte; the last block of an object may be short.
    pub fn end(&self) -> u64 {
        (self.start() + self.version.0.block_size).min(self.version.0.size)
    }
}

impl Hash for BlockKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.version.0.id.hash64());
        state.write_u64(self.index);
    }
}
