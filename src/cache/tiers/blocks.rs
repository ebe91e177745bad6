//! Blocks in memory and on disk.

use std::ops::Range;
use std::sync::Arc;

use super::hot_queue::HotQueue;
use super::objects::ObjectTiers;
use super::spill::Spill;
use crate::cache::fetch::plan;
use crate::cache::fetch::yield_budget::YieldBudget;
use crate::cache::key::{BlockKey, ObjectVersion};
use crate::cache::memory::block::{Block, RESERVED};
use crate::cache::memory::tier::MemoryTier;

/// Cost of a lookup of a block, as a number of bytes moved in the same time.
const LOOK_UP: u64 = 1 << 10;

/// The blocks of objects in memory and on disk.
pub(in crate::cache) struct BlockTiers {
    pub objects: Arc<ObjectTiers>,
    pub memory: MemoryTier,
    pub hot: HotQueue,
    pub spill: Spill,
    /// Bytes for metadata in addition to those that blocks reserve.
    metadata: u64,
}

impl BlockTiers {
    /// Creates tiers with up to `capacity` bytes of blocks in memory. `metadata`: bytes for metadata in addition to
    /// those that blocks reserve.
    pub(in crate::cache) fn new(
        objects: Arc<ObjectTiers>,
        hot: HotQueue,
        capacity: u64,
        metadata: u64,
    ) -> Self {
        let spill = Spill::new(objects.clone());
        let evicted = spill.clone();
        let memory = MemoryTier::new(capacity, move |key, block| evicted.evicted(key, block));
        let memory = match &objects.disk {
            Some(_) => memory.with_hot(hot.intake()),
            None => memory,
        };
        Self { objects, memory, hot, spill, metadata }
    }

    /// Admits a block to memory, and removes it again if it was purged meanwhile, since the purge may have searched
    /// memory already.
    pub(in crate::cache) fn admit(&self, key: &BlockKey, block: Block) {
        let all_are_hot = self.hot.takes_everything();
        let newcomer = all_are_hot.then(|| block.clone());
        if self.memory.admit(key.clone(), block) {
            self.share_memory();
        }
        if let Some(block) = newcomer {
            self.memory.announce(key, &block);
        }
        if self.objects.is_purged(key) {
            self.memory.remove(key);
        }
    }

    /// Returns the bytes of a block that can be read from disk now, as offsets in the object.
    pub(in crate::cache) fn on_disk(&self, key: &BlockKey) -> Option<Range<u64>> {
        self.objects.disk.as_ref().and_then(|disk| disk.holds(key))
    }

    /// Whether memory or the disk holds all these bytes of a block.
    pub(in crate::cache) fn holds(&self, key: &BlockKey, part: &Range<u64>) -> bool {
        let is_whole = |held: Range<u64>| held.start <= part.start && part.end <= held.end;
        let in_memory = self.memory.find(key).is_some_and(|block| block.covers(part));
        in_memory || self.on_disk(key).is_some_and(is_whole)
    }

    /// Whether memory and disk hold all bytes of a range. They may be evicted before they are read. It yields to other
    /// tasks between the lookups of a long range.
    pub(in crate::cache) async fn holds_all(
        &self,
        version: &ObjectVersion,
        range: Range<u64>,
    ) -> bool {
        let mut budget = YieldBudget::default();
        let mut at = range.start;
        while at < range.end {
            let key = version.block_at(at);
            let upto = range.end.min(key.end());
            if !self.holds(&key, &(at..upto)) {
                return false;
            }
            at = upto;
            budget.spend(LOOK_UP).await;
        }
        true
    }

    /// Returns the parts of `range` that neither memory nor disk holds, in order.
    pub(in crate::cache) fn missing(
        &self,
        version: &ObjectVersion,
        range: Range<u64>,
    ) -> Vec<Range<u64>> {
        let mut gaps: Vec<Range<u64>> = Vec::new();
        let mut at = range.start;
        while at < range.end {
            let key = version.block_at(at);
            let end = key.end().min(range.end);
            let on_disk = self.on_disk(&key);
            let in_memory = self.memory.find(&key);
            let in_memory = in_memory.iter().flat_map(Block::spans);
            let mut have: Vec<_> = in_memory.chain(on_disk).collect();
            for gap in plan::missing(at..end, &mut have) {
                match gaps.last_mut() {
                    Some(last) if last.end == gap.start => last.end = gap.end,
                    _ => gaps.push(gap),
                }
            }
            at = end;
        }
        gaps
    }

    /// Returns the weight of blocks in memory, in bytes, without what they reserve for metadata, and their number.
    pub(in crate::cache) fn usage(&self) -> (u64, u64) {
        let (weight, blocks) = self.memory.usage();
        (weight.saturating_sub(reserved(blocks)), blocks)
    }

    /// Sets the capacity for blocks in memory, in bytes, at most that configured. Evicts the excess before it returns,
    /// which takes time with many blocks.
    pub(in crate::cache) fn set_capacity(&self, bytes: u64) {
        self.memory.set_capacity(bytes);
        self.share_memory();
    }

    /// Sets the capacity for metadata to what the blocks in memory reserve for it. With small objects that is a third
    /// of memory, with large ones next to nothing. The sum of both stays within `cache.memory`.
    fn share_memory(&self) {
        self.objects.meta.set_capacity(self.metadata + reserved(self.memory.usage().1));
    }

    /// Writes the blocks in memory that are worth it to disk, and makes the disk tier durable. Call it when nothing is
    /// in flight any more, with a time limit of the caller; what was written by then stays.
    pub(in crate::cache) async fn close(&self) {
        let Some(disk) = &self.objects.disk else { return };
        self.hot.end();
        self.objects.listed.all_settled().await;
        let (hot, rest): (Vec<_>, Vec<_>) =
            self.memory.iter().partition(|(_, block)| block.is_touched());
        let purged = |(key, _): &(Arc<BlockKey>, Block)| self.objects.is_purged(key);
        for (key, block) in hot.into_iter().chain(rest).filter(|block| !purged(block)) {
            disk.keep(&key, &block).await;
            self.objects.persist_described(disk, &key);
        }
        disk.finish().await;
    }
}

/// Returns the bytes that `blocks` blocks reserve for metadata.
fn reserved(blocks: u64) -> u64 {
    blocks * RESERVED as u64
}
