//! The memory tier: blocks in moka, weighed in bytes, kept by W-TinyLFU.
//!
//! A block may be there from its middle on: reads fetch from the byte they need to the block's end (see
//! [`super::plan`]), and what comes before is added when it is read.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use foldhash::fast::RandomState;
use moka::notification::RemovalCause;
use moka::policy::EvictionPolicy;
use moka::sync::Cache as Moka;

use super::key::BlockKey;

/// What an entry costs beside its bytes: key, version, moka's own nodes. Measured with small objects.
const ENTRY_OVERHEAD: usize = 512;

/// The bytes `start..` of a block, up to its end.
#[derive(Debug, Clone)]
pub(super) struct Block {
    /// Offset in the object of the first byte that is there.
    pub start: u64,
    pub bytes: Bytes,
    /// Whether it was read since it came to memory.
    touched: Arc<AtomicBool>,
}

impl Block {
    pub(super) fn new(start: u64, bytes: Bytes) -> Self {
        Self { start, bytes, touched: Arc::default() }
    }

    fn touch(&self) {
        if !self.touched.load(Ordering::Relaxed) {
            self.touched.store(true, Ordering::Relaxed);
        }
    }

    pub(super) fn is_touched(&self) -> bool {
        self.touched.load(Ordering::Relaxed)
    }

    /// Offsets in the object of what is there.
    pub(super) fn span(&self) -> Range<u64> {
        self.start..self.end()
    }

    /// Offset in the object past the last byte.
    pub(super) fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    /// The bytes from `offset` on, when they are there.
    pub(super) fn from(&self, offset: u64) -> Option<Bytes> {
        let skip = offset.checked_sub(self.start)?;
        let skip = usize::try_from(skip).ok()?;
        (skip < self.bytes.len()).then(|| self.bytes.slice(skip..))
    }
}

pub(super) struct MemoryTier {
    blocks: Moka<BlockKey, Block, RandomState>,
    /// Bytes inserted since moka last evicted.
    unsettled: AtomicU64,
    /// So many of them make it evict: by itself it waits for 64 insertions or 300 ms, which may be 64 MiB.
    slack: u64,
}

impl MemoryTier {
    /// Holds up to `capacity` bytes, entries' own cost included. What leaves for want of room goes to `evicted`,
    /// which must not come back here.
    pub(super) fn new(
        capacity: u64,
        evicted: impl Fn(&BlockKey, &Block) + Send + Sync + 'static,
    ) -> Self {
        let blocks = Moka::builder()
            .name("blocks")
            .max_capacity(capacity)
            .weigher(|_, block: &Block| {
                u32::try_from(block.bytes.len() + ENTRY_OVERHEAD).unwrap_or(u32::MAX)
            })
            .eviction_policy(EvictionPolicy::tiny_lfu())
            .eviction_listener(move |key, block, cause| {
                if cause == RemovalCause::Size {
                    evicted(&key, &block);
                }
            })
            .build_with_hasher(RandomState::default());
        Self { blocks, unsettled: AtomicU64::new(0), slack: capacity / 64 }
    }

    /// The block, for a reader.
    pub(super) fn get(&self, key: &BlockKey) -> Option<Block> {
        let block = self.blocks.get(key)?;
        block.touch();
        Some(block)
    }

    /// What is there of a block, for who plans, as offsets in the object.
    pub(super) fn holds(&self, key: &BlockKey) -> Option<Range<u64>> {
        self.blocks.get(key).map(|block| block.start..block.end())
    }

    /// All blocks, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Arc<BlockKey>, Block)> + '_ {
        self.blocks.iter()
    }

    /// Admits the bytes `start..` of a block, joined to what is there already behind them.
    pub(super) fn admit(&self, key: BlockKey, block: Block) {
        debug_assert!(block.end() <= key.end() && block.start >= key.start());
        if block.end() == key.end() {
            self.insert(key, block);
            return;
        }
        if let Some(rest) = self.blocks.get(&key)
            && let Some(tail) = rest.from(block.end())
            && block.start < rest.start
        {
            let mut joined = BytesMut::with_capacity(block.bytes.len() + tail.len());
            joined.extend_from_slice(&block.bytes);
            joined.extend_from_slice(&tail);
            self.insert(key, Block::new(block.start, joined.freeze()));
        }
    }

    fn insert(&self, key: BlockKey, block: Block) {
        let bytes = block.bytes.len() as u64;
        self.blocks.insert(key, block);
        if self.unsettled.fetch_add(bytes, Ordering::Relaxed) + bytes > self.slack {
            self.unsettled.store(0, Ordering::Relaxed);
            self.blocks.run_pending_tasks();
        }
    }

    /// Lets go of a block; it does not go to disk.
    pub(super) fn remove(&self, key: &BlockKey) {
        self.blocks.invalidate(key);
    }

    /// Does now what moka does later.
    pub(super) fn settle(&self) {
        self.blocks.run_pending_tasks();
    }

    /// Weighed bytes and number of entries, as far as moka has counted.
    pub(super) fn usage(&self) -> (u64, u64) {
        (self.blocks.weighted_size(), self.blocks.entry_count())
    }
}
