//! Hits that need no request to the origin: metadata in memory, and bytes in memory or on disk.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::found::Found;
use crate::cache::disk::FromDisk;
use crate::cache::fetch::budget::{Budget, Paid, units};
use crate::cache::key::ObjectVersion;
use crate::cache::memory::tier::MemoryTier;
use crate::cache::tiers::blocks::BlockTiers;

/// The cached bytes of a range: at first those at its start that are in memory.
pub struct LocalHit {
    version: ObjectVersion,
    /// Offset in the object from which bytes are still missing.
    at: u64,
    end: u64,
    /// Pieces in order, each of at most a block.
    pub pieces: VecDeque<Bytes>,
    pub from_memory: u64,
    pub from_disk: u64,
    /// Charge for the whole blocks that the pieces are slices of.
    paid: Paid,
}

impl AsMut<VecDeque<Bytes>> for LocalHit {
    fn as_mut(&mut self) -> &mut VecDeque<Bytes> {
        &mut self.pieces
    }
}

impl LocalHit {
    /// Copies the pieces and releases their blocks, for a client that does not take them soon: a copy costs less.
    pub fn copy(&mut self) {
        let rest: Vec<u8> = self.pieces.iter().flat_map(|piece| &**piece).copied().collect();
        let copied = self.paid.split(units(rest.len() as u64) as usize);
        if let Some(copied) = copied {
            self.paid = copied;
        }
        self.pieces.clear();
        self.pieces.push_back(rest.into());
    }

    /// Takes the bytes of the next block that are in memory.
    fn take_block(&mut self, memory: &MemoryTier) -> bool {
        let block = memory.get(&self.version.block_at(self.at));
        let Some(bytes) = block.and_then(|block| block.from(self.at)) else { return false };
        self.from_memory += self.take(bytes);
        true
    }

    fn take(&mut self, mut bytes: Bytes) -> u64 {
        bytes.truncate(usize::try_from(self.end - self.at).unwrap_or(usize::MAX));
        let length = bytes.len() as u64;
        self.at += length;
        self.pieces.push_back(bytes);
        length
    }
}

/// Answers reads from memory and disk alone.
pub(in crate::cache) struct LocalHits {
    blocks: Arc<BlockTiers>,
    budget: Budget,
}

impl LocalHits {
    pub(in crate::cache) fn new(blocks: Arc<BlockTiers>, budget: Budget) -> Self {
        Self { blocks, budget }
    }

    /// Returns a local hit for a range, with the bytes at its start that are in memory. `None`: some bytes are neither
    /// in memory nor on disk, or there is no memory to hold them.
    pub(in crate::cache) fn begin(&self, found: &Found, range: &Range<u64>) -> Option<LocalHit> {
        let version = found.version.clone();
        let blocks = match range.is_empty() {
            true => 0..0,
            false => version.block_at(range.start).start()..version.block_at(range.end - 1).end(),
        };
        let paid = self.budget.try_slice(blocks.end - blocks.start)?;
        let mut hit = LocalHit {
            version,
            at: range.start,
            end: range.end,
            pieces: VecDeque::with_capacity(2),
            from_memory: 0,
            from_disk: 0,
            paid,
        };
        while hit.at < hit.end && hit.take_block(&self.blocks.memory) {}
        self.rest_on_disk(&hit).then_some(hit)
    }

    fn rest_on_disk(&self, hit: &LocalHit) -> bool {
        let mut at = hit.at;
        while at < hit.end {
            let key = hit.version.block_at(at);
            let upto = hit.end.min(key.end());
            let on_disk = self.blocks.on_disk(&key);
            if !on_disk.is_some_and(|there| there.start <= at && upto <= there.end) {
                return false;
            }
            at = upto;
        }
        true
    }

    /// Reads the rest of a local hit from disk; `false`: it cannot be read any more.
    pub(in crate::cache) async fn read_remaining(&self, hit: &mut LocalHit) -> bool {
        while hit.at < hit.end {
            if hit.take_block(&self.blocks.memory) {
                continue;
            }
            let Some(disk) = &self.blocks.objects.disk else { return false };
            let key = hit.version.block_at(hit.at);
            let Some(read) = disk.plan_read(&key, hit.at, hit.end, false) else { return false };
            let Ok(FromDisk { bytes, promoted }) = read.run().await else { return false };
            if let Some(block) = promoted {
                self.blocks.admit(&key, block);
            }
            hit.from_disk += hit.take(bytes);
        }
        true
    }
}
