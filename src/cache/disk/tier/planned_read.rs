//! Reads of blocks from disk in three steps: lookup, a memory reservation by the reader, and the read.

use std::ops::Range;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use log::debug;

use super::{DiskTier, lasting};
use crate::cache::disk::blocks::volume::AT_ONCE;
use crate::cache::disk::format::digest::Digest;
use crate::cache::disk::format::record::CHUNK;
use crate::cache::disk::log::index::{self, Entry};
use crate::cache::key::BlockKey;
use crate::cache::memory::block::Block;
use crate::metrics::disk::{Failure, Outcome};

/// A read that was looked up and not begun yet.
pub(in crate::cache) struct PlannedRead<'a> {
    tier: &'a DiskTier,
    key: BlockKey,
    digest: Digest,
    place: Place,
    /// Wanted range, as offsets in the part of the block that is on disk.
    wanted: Range<usize>,
    /// Maximum bytes that are read at a time.
    most: usize,
    /// Whether all of the block is read, to promote it to memory.
    promotes: bool,
}

enum Place {
    Device(Entry),
    /// The block is queued to be written.
    Queue(Block),
}

/// Result of a read from disk.
pub(in crate::cache) struct FromDisk {
    pub bytes: Bytes,
    /// All that is on disk of the block, if it is to be promoted to memory or was read anyway.
    pub promoted: Option<Block>,
}

impl DiskTier {
    /// Looks up the bytes of a block from `offset` to `end` or less (offsets in the object); `None` if they are not
    /// there. `again`: the same reader read from the block just before, which is no further use of it (promotion is for
    /// blocks that several reads use).
    pub(in crate::cache) fn plan_read(
        &self,
        key: &BlockKey,
        offset: u64,
        end: u64,
        again: bool,
    ) -> Option<PlannedRead<'_>> {
        let digest = key.digest();
        let end = end.min(key.end());
        let touched = match again {
            true => self.index.get(&digest).map(|entry| (entry, false)),
            false => self.touch(&digest, end - offset),
        };
        let (place, promotes, there) = match touched {
            Some((entry, should_promote)) => {
                (Place::Device(entry), should_promote, index::span(&entry))
            }
            None => {
                let job = self.home(&digest).queue.peek(&digest)?;
                let there = job.span();
                (Place::Queue(job.block(key.start())), false, there)
            }
        };
        let from = usize::try_from((offset - key.start()).checked_sub(there.start)?).ok()?;
        let upto = (end - key.start()).min(there.end).checked_sub(there.start)?;
        let wanted = from..usize::try_from(upto).ok()?;
        let (key, most) = (key.clone(), AT_ONCE);
        (!wanted.is_empty()).then_some(PlannedRead {
            tier: self,
            key,
            digest,
            place,
            wanted,
            most,
            promotes,
        })
    }

    /// Looks up and reads; `None` is a miss.
    #[cfg(test)]
    pub(in crate::cache::disk) async fn read(
        &self,
        key: &BlockKey,
        offset: u64,
        end: u64,
    ) -> Option<FromDisk> {
        self.plan_read(key, offset, end, false)?.run().await.ok()
    }

    fn touch(&self, digest: &Digest, bytes: u64) -> Option<(Entry, bool)> {
        let window = self.read.load(Ordering::Relaxed) / self.memory;
        let window = u8::try_from(window % 256).expect("below 256");
        self.index.touch(digest, usize::try_from(bytes).unwrap_or(usize::MAX), window)
    }

    pub(in crate::cache::disk) fn missed(&self, digest: &Digest, entry: &Entry, failure: Failure) {
        self.volumes[usize::from(entry.volume)].queue.metrics.failed(failure);
        match failure {
            Failure::Damaged | Failure::Read | Failure::Gone
                if self.index.remove_at(digest, entry.place()) =>
            {
                debug!("a record is not readable any more: {digest:?}");
            }
            _ => {}
        }
    }
}

impl PlannedRead<'_> {
    /// Returns the bytes of memory that the read takes until the client has received them.
    pub(in crate::cache) fn cost(&self) -> u64 {
        match &self.place {
            Place::Device(entry) => self.part(entry).len() as u64,
            Place::Queue(block) => block.len() as u64,
        }
    }

    /// Shrinks the read to a piece of the block, and then to a single chunk; returns whether it became smaller.
    pub(in crate::cache) fn shrink(&mut self) -> bool {
        let Place::Device(entry) = &self.place else { return false };
        let before = self.part(entry).len();
        self.most = match self.promotes {
            true => AT_ONCE,
            false => CHUNK,
        };
        self.promotes = false;
        self.part(entry).len() < before
    }

    /// Returns the range of the record's data to be read: up to a chunk's end, so that the next read begins with a
    /// chunk of its own.
    fn part(&self, entry: &Entry) -> Range<usize> {
        match self.promotes {
            true => 0..entry.data_len() as usize,
            false => {
                let Range { start, end } = self.wanted;
                start..end.min((start + self.most) / CHUNK * CHUNK)
            }
        }
    }

    /// # Errors
    /// The reason for the miss.
    pub(in crate::cache) async fn run(self) -> Result<FromDisk, Failure> {
        let Self { tier, key, digest, wanted, .. } = &self;
        let entry = match &self.place {
            Place::Device(entry) => entry,
            Place::Queue(block) => {
                let bytes = block.longest().bytes.slice(wanted.start..);
                return Ok(FromDisk { bytes, promoted: Some(block.clone()) });
            }
        };
        let part = self.part(entry);
        let ahead = part.end < wanted.end;
        let volume = &tier.volumes[usize::from(entry.volume)];
        match volume.read(digest, entry, part.clone(), ahead).await {
            Ok(bytes) => {
                volume.queue.metrics.read(Outcome::Hit, bytes.len() as u64);
                tier.read.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                let start = key.start() + u64::from(entry.start());
                let promoted = (part == (0..entry.data_len() as usize))
                    .then(|| Block::new(start, lasting(&bytes)));
                Ok(FromDisk { bytes: bytes.slice(wanted.start - part.start..), promoted })
            }
            Err(failure) => {
                volume.queue.metrics.read(Outcome::Miss, 0);
                tier.missed(digest, entry, failure);
                Err(failure)
            }
        }
    }
}
