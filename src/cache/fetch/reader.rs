//! Reader of a range of one version, in order, from memory, from disk, or from fetches in flight.
//!
//! It reads ahead as long as the origin is what it waits for, and stops reading ahead when its client is slow:
//! the window doubles whenever the reader had to wait for bytes, and closes to nothing when a write to the
//! client takes long while somebody else needs the memory.

mod fetching;

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::budget::{Paid, units};
use super::client_pace::ClientPace;
use super::fetcher::Fetcher;
use super::fill::{Claim, Slice};
use super::flight::ColdFetchHandle;
use super::plan::{self, Cuts};
use crate::cache::disk::{FromDisk, Presence};
use crate::cache::invalidate::generation::Generation;
use crate::cache::key::{BlockKey, ObjectVersion};
use crate::cache::lookup::error::CacheError;
use crate::cache::lookup::found::Found;
use crate::cache::rules::policy::Fetching;
use crate::metrics::disk::Failure;
use crate::origin::Width;
use crate::s3::{ObjectId, ObjectMeta};

/// Seconds of a client's rate: the bytes that may be held for it while others wait for memory.
const SOON: u64 = 2;
/// Bytes to prefetch from disk behind the block that is being read.
const DISK_AHEAD: u64 = 2 << 20;
/// Sizes of copies to try when the memory for slices held by clients has no room for a block; copies are charged to it.
const COPIES: [usize; 2] = [256 * 1024, 64 * 1024];
/// Size of a copy when that memory is used up; it is not charged, and the block is released.
const SMALL_COPY: usize = 16 * 1024;
/// Attempts to get bytes that memory, disk or another fetch seemed to have. After that they are fetched regardless.
const ROUNDS: u32 = 3;

/// The source of a reader's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PieceSource {
    Memory,
    Disk,
    /// Fetched for this reader, or for another one at the same time.
    Origin,
}

/// Bytes for the client. The memory that they keep alive is charged to the budget until this is dropped.
pub struct Piece {
    pub bytes: Bytes,
    pub source: PieceSource,
    _paid: Option<Paid>,
}

/// Limits on the bytes of the next piece.
struct Allowance {
    /// Maximum bytes of a copy.
    most: usize,
    /// Whether a whole block may be kept alive.
    share: bool,
    paid: Option<Paid>,
}

impl Allowance {
    const NONE: Self = Self { most: SMALL_COPY, share: false, paid: None };
}

/// Returns all but `length` bytes of a permit to the budget.
fn trim(mut paid: Paid, length: usize) -> Option<Paid> {
    let units = units(length as u64) as usize;
    paid.split(units.min(paid.num_permits()))
}

/// The unit to which a reader's fetches extend behind its last byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Granularity {
    /// To the end of the block.
    Block,
    /// To the end of the unit, or further where other reads were near.
    Unit,
}

pub struct BlockReader {
    fetcher: Arc<Fetcher>,
    id: ObjectId,
    meta: Arc<ObjectMeta>,
    version: ObjectVersion,
    generation: Generation,
    fetching: Fetching,
    opening: Option<ColdFetchHandle>,
    /// Offset in the object of the next byte.
    at: u64,
    end: u64,
    granularity: Granularity,
    /// Bytes to which both ends of fetches are rounded.
    unit: u64,
    /// Offset up to which bytes were claimed or found in memory.
    planned: u64,
    /// Offset up to which blocks were prefetched from disk.
    prefetched: u64,
    /// Bytes to read ahead; none as long as everything is in memory.
    window: u64,
    /// Whether the client is slow: nothing is read ahead until it waits for bytes again.
    slow: bool,
    claims: VecDeque<Claim>,
    /// Positions at which its ranges are cut, decided with the width.
    cuts: Cuts,
    /// Limit on its concurrent ranges; `None`: not looked up yet.
    width: Option<Arc<Width>>,
    /// The rest of a chunk read from disk, when there was no memory to hand out all of it.
    left_over: Option<Bytes>,
    /// Offsets in the object at which a disk read failed: those bytes are fetched.
    refused: Range<u64>,
    /// Index of the block that was last read from disk.
    touched: Option<u64>,
    /// Whether it was counted that a bypassed device holds some of the bytes; it is counted once.
    passed_by: bool,
    /// Whether to fetch the block even if memory or disk seem to hold it.
    insists: bool,
    pace: ClientPace,
}

impl Fetcher {
    /// Returns a reader of `range` of the object found.
    pub(in crate::cache) fn reader(
        self: &Arc<Self>,
        found: Found,
        range: Range<u64>,
    ) -> BlockReader {
        let length = range.end - range.start;
        let block_size = self.blocks.objects.block_size;
        let is_small = length < block_size && found.version.size() > block_size;
        let granularity = if is_small { Granularity::Unit } else { Granularity::Block };
        let mut reader = BlockReader {
            fetcher: self.clone(),
            id: found.id,
            meta: found.meta,
            version: found.version,
            generation: found.generation,
            fetching: found.fetching,
            opening: found.opening,
            at: range.start,
            end: range.end,
            granularity,
            unit: plan::rounding(length),
            planned: range.start,
            prefetched: range.start,
            window: 0,
            slow: false,
            claims: VecDeque::new(),
            cuts: Cuts::every(self.fetch_size),
            width: None,
            left_over: None,
            refused: 0..0,
            touched: None,
            passed_by: false,
            insists: false,
            pace: ClientPace::new(),
        };
        reader.keep(found.claims, Vec::new());
        reader
    }
}

impl BlockReader {
    /// Returns the next bytes, or `None` after the last. Cancel-safe.
    ///
    /// # Errors
    /// [`CacheError`]: no more bytes can be read; [`CacheError::Changed`] when the version is gone.
    pub async fn next(&mut self) -> Result<Option<Piece>, CacheError> {
        if let Some(piece) = self.left_over() {
            return Ok(Some(piece));
        }
        // Each round finds bytes, waits for a fetch in flight, or excludes one more source (R37).
        let mut rounds = 0;
        while self.at < self.end {
            self.insists = rounds >= ROUNDS;
            rounds += 1;
            self.claims.retain(|claim| claim.end() > self.at);
            if let Some(piece) = self.claimed().await? {
                self.read_ahead();
                return Ok(Some(piece));
            }
            if let Some(piece) = self.in_memory() {
                self.read_ahead();
                return Ok(Some(piece));
            }
            if !self.insists
                && let Some(piece) = self.on_disk().await
            {
                self.read_ahead();
                return Ok(Some(piece));
            }
            self.fetch().await?;
        }
        Ok(None)
    }

    /// Whether the last byte was handed out.
    pub fn is_done(&self) -> bool {
        self.at == self.end
    }

    /// Whether memory and disk hold all bytes not handed out yet.
    pub async fn rest_is_held(&self) -> bool {
        let from = self.at + self.left_over.as_ref().map_or(0, |bytes| bytes.len() as u64);
        self.fetcher.blocks.holds_all(&self.version, from..self.end).await
    }

    /// Notes that the client took `bytes` in `took`. Under memory pressure, it releases bytes held for a client that
    /// will not take them soon.
    pub fn sent(&mut self, bytes: u64, took: Duration) {
        if !self.pace.waited(bytes, took) || !self.fetcher.budget.is_under_pressure() {
            return;
        }
        let soon = self.pace.rate().saturating_mul(SOON);
        if self.planned.saturating_sub(self.at) > soon {
            self.release_ahead();
        }
        if self.claim().is_some_and(|claim| claim.end() - self.at > soon) {
            // Memory may have the rest of the block; the missing bytes are fetched in parts.
            self.claims.clear();
        }
    }

    /// Releases the bytes that were read ahead, to free their memory. The block that is being read is kept.
    pub fn release_ahead(&mut self) {
        let block_end = self.at.next_multiple_of(self.version.block_size());
        self.claims.retain(|claim| claim.end() > self.at && claim.start() < block_end);
        self.opening = None;
        self.planned = self.at;
        self.window = 0;
        self.slow = true;
    }

    /// Releases all bytes, when the client has stopped reading.
    pub fn release(&mut self) {
        self.release_ahead();
        self.claims.clear();
        self.left_over = None;
    }

    /// Resolves when a fetch waits for memory.
    pub async fn memory_pressure(&self) {
        self.fetcher.budget.memory_pressure().await;
    }

    async fn claimed(&mut self) -> Result<Option<Piece>, CacheError> {
        let Some(claim) = self.claim() else { return Ok(None) };
        if !claim.is_ready(self.at) && !self.is_thrifty() {
            // The client is faster than the origin, so more ranges are requested concurrently.
            self.slow = false;
            self.window = (self.window * 2).clamp(self.fetcher.fetch_size, self.fetcher.read_ahead);
            self.read_ahead();
        }
        let claim = self.claim().expect("claims ahead replace none");
        claim.raise(self.class());
        claim.arrived(self.at).await;
        let allowance = self.allowance();
        let claim = self.claim().expect("nothing is released while it is waited for");
        let slice = claim.try_read(self.at, allowance.most).expect("what arrived stays")?;
        Ok(Some(self.take(slice, PieceSource::Origin, allowance)))
    }

    fn claim(&self) -> Option<&Claim> {
        self.claims.iter().find(|claim| claim.covers(self.at))
    }

    fn in_memory(&mut self) -> Option<Piece> {
        let (memory, key) = (&self.fetcher.blocks.memory, self.version.block_at(self.at));
        // The first read of bytes that were just fetched for this reader does not count as a repeated read.
        let block = if self.opening.is_some() { memory.find(&key) } else { memory.get(&key) }?;
        let bytes = block.from(self.at)?;
        let allowance = self.allowance();
        Some(self.take(Slice::Shared(bytes), PieceSource::Memory, allowance))
    }

    /// Returns the rest of a chunk that was read from disk.
    fn left_over(&mut self) -> Option<Piece> {
        let bytes = self.left_over.take()?;
        let allowance = self.allowance();
        Some(self.take(Slice::Copied(bytes), PieceSource::Disk, allowance))
    }

    /// Returns the next bytes from disk. After a failed read, the disk counts as not holding the block: the reader does
    /// not wait for it twice (R37).
    async fn on_disk(&mut self) -> Option<Piece> {
        let key = self.version.block_at(self.at);
        if self.refused.contains(&self.at) {
            return None;
        }
        let disk = self.fetcher.blocks.objects.disk.as_ref()?;
        let there = match disk.presence(&key) {
            Presence::Readable(there) => there,
            Presence::Bypassed => {
                if !std::mem::replace(&mut self.passed_by, true) {
                    disk.count_bypassed(&key);
                }
                return None;
            }
            Presence::Absent => return None,
        };
        let is_elsewhere = !there.contains(&self.at);
        if is_elsewhere || self.fetcher.blocks.memory.has(&key) {
            self.join_rest(&key, &there).await?;
            return if is_elsewhere { None } else { self.in_memory() };
        }
        match self.read_disk(&key).await {
            Ok(piece) => Some(piece),
            Err(failure) => {
                self.refuse(&key, failure);
                None
            }
        }
    }

    /// Marks bytes to be fetched after a failed disk read. A slow or busy device will be so for the next blocks, too,
    /// which are fetched with them.
    fn refuse(&mut self, key: &BlockKey, failure: Failure) {
        let end = match failure {
            Failure::Slow | Failure::Busy | Failure::PassedBy => self.at + self.fetcher.fetch_size,
            _ => key.end(),
        };
        self.refused = self.at..end.max(key.end());
    }

    /// Loads the part of a block that is on disk into memory, where it is joined with a part that is fetched or cached,
    /// and evicted with it.
    async fn join_rest(&mut self, key: &BlockKey, there: &Range<u64>) -> Option<()> {
        if self.fetcher.blocks.memory.find(key).is_none_or(|block| !block.covers(there)) {
            match self.fetcher.blocks.objects.disk.as_ref()?.load(key).await {
                Some(rest) => self.fetcher.blocks.admit(key, rest),
                None => self.refused = key.start()..key.end(),
            }
        }
        Some(())
    }

    async fn read_disk(&mut self, key: &BlockKey) -> Result<Piece, Failure> {
        self.prefetch(key);
        let disk = self.fetcher.blocks.objects.disk.as_ref().ok_or(Failure::Gone)?;
        let again = self.touched.replace(key.index()) == Some(key.index());
        let read = disk.plan_read(key, self.at, self.end, again);
        let mut read = read.ok_or(Failure::Gone)?;
        // Memory is acquired first, so that no more is read than can be handed out.
        let paid = loop {
            let paid = self.fetcher.budget.try_slice(read.cost());
            if paid.is_some() || !read.shrink() {
                break paid;
            }
        };
        let FromDisk { bytes, promoted } = read.run().await?;
        let slice = match &promoted {
            Some(_) => Slice::Shared(bytes),
            None => Slice::Copied(bytes),
        };
        if let Some(block) = promoted {
            self.fetcher.blocks.admit(key, block);
        }
        let allowance = match paid {
            Some(paid) => Allowance { most: usize::MAX, share: true, paid: Some(paid) },
            None => Allowance::NONE,
        };
        Ok(self.take(slice, PieceSource::Disk, allowance))
    }

    /// Prefetches the blocks behind this one from disk.
    fn prefetch(&mut self, key: &BlockKey) {
        let Some(disk) = &self.fetcher.blocks.objects.disk else { return };
        self.prefetched = self.prefetched.max(key.end());
        let upto = self.end.min(key.end() + DISK_AHEAD);
        while self.prefetched < upto {
            let next = self.version.block_at(self.prefetched);
            if self.fetcher.blocks.memory.find(&next).is_none() {
                disk.prefetch(&next);
            }
            self.prefetched = next.end();
        }
    }

    /// Returns the limits on the next piece: a shared block, a charged copy, or a small uncharged one.
    fn allowance(&self) -> Allowance {
        let budget = &self.fetcher.budget;
        if let Some(paid) = budget.try_slice(self.version.block_at(self.at).len()) {
            return Allowance { most: COPIES[0], share: true, paid: Some(paid) };
        }
        let copy = |most: usize| {
            let paid = Some(budget.try_slice(most as u64)?);
            Some(Allowance { most, share: false, paid })
        };
        COPIES.into_iter().find_map(copy).unwrap_or(Allowance::NONE)
    }

    /// Makes a piece of a slice: cuts unwanted bytes, copies what may not be shared, and advances. Returns the excess
    /// charge.
    fn take(&mut self, slice: Slice, source: PieceSource, allowance: Allowance) -> Piece {
        let Allowance { most, share, paid } = allowance;
        let wanted = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let (bytes, paid) = match slice {
            Slice::Shared(bytes) if share => (bytes.slice(..bytes.len().min(wanted)), paid),
            Slice::Shared(bytes) => {
                let bytes = Bytes::copy_from_slice(&bytes[..bytes.len().min(wanted).min(most)]);
                let paid = paid.and_then(|paid| trim(paid, bytes.len()));
                (bytes, paid)
            }
            Slice::Copied(mut bytes) => {
                bytes.truncate(wanted);
                if bytes.len() > most {
                    let piece = Bytes::copy_from_slice(&bytes[..most]);
                    self.left_over = Some(bytes.split_off(most));
                    bytes = piece;
                }
                let paid = paid.and_then(|paid| trim(paid, bytes.len()));
                (bytes, paid)
            }
        };
        self.at += bytes.len() as u64;
        Piece { bytes, source, _paid: paid }
    }
}
