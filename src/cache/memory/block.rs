//! A block in memory: the cached bytes of one block of an object version.
//!
//! Reads fetch what they need of a block and little more (see [`crate::cache::fetch::plan`]), so a block consists of
//! one or several *runs* of bytes. Runs that touch are joined; most blocks have one.

use std::cmp::Reverse;
use std::ops::Range;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

/// Cost of an entry in addition to its data, in bytes: key, version, moka's nodes. Measured with small objects.
const ENTRY_OVERHEAD: usize = 512;
/// Bytes of the same memory that an entry reserves for its object's metadata, without which it cannot be found.
pub(crate) const RESERVED: usize = 1024;
pub(crate) const ENTRY_COST: usize = ENTRY_OVERHEAD + RESERVED;
/// Cost of each run but the first in addition to its data, in bytes.
const RUN_COST: usize = 128;

/// Flag of a block that was read since it was admitted to memory.
const TOUCHED: u8 = 1;
/// Flag of a block that is on disk, or in the queue to be offered to it.
const OFFERED: u8 = 2;

/// Returns the seconds since the first block of the process was created.
fn seconds_since_start() -> u32 {
    static START: OnceLock<Instant> = OnceLock::new();
    u32::try_from(START.get_or_init(Instant::now).elapsed().as_secs()).unwrap_or(u32::MAX)
}

/// Consecutive bytes of a block.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    /// Offset in the object of the first byte.
    pub start: u64,
    pub bytes: Bytes,
}

impl Run {
    /// Offset in the object past the last byte.
    pub(crate) fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    pub(crate) fn span(&self) -> Range<u64> {
        self.start..self.end()
    }

    fn from(&self, offset: u64) -> Option<Bytes> {
        let skip = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        (skip < self.bytes.len()).then(|| self.bytes.slice(skip..))
    }
}

/// The bytes of a block that are in memory. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Block(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    first: Run,
    /// Runs behind the first one, in order, with gaps between them. None in most blocks.
    rest: Vec<Run>,
    /// [`TOUCHED`] and [`OFFERED`].
    flags: AtomicU8,
    /// Time at which its first bytes were admitted, in seconds since the start of the process.
    since: u32,
}

impl Block {
    /// Creates a block with the bytes from offset `start` in the object.
    pub(crate) fn new(start: u64, bytes: Bytes) -> Self {
        let first = Run { start, bytes };
        let since = seconds_since_start();
        Self(Arc::new(Parts { first, rest: Vec::new(), flags: AtomicU8::new(0), since }))
    }

    /// Joins the runs of two entries of the same block. The result was read if one of them was, and is not offered yet.
    pub(crate) fn joined(&self, other: &Self) -> Self {
        let mut runs: Vec<Run> = self.runs().chain(other.runs()).cloned().collect();
        runs.sort_by_key(|run| (run.start, Reverse(run.end())));
        let mut joined = groups(&runs).map(join);
        let first = joined.next().expect("a block has a run");
        let rest = joined.collect();
        let flags = (self.flags() | other.flags()) & TOUCHED;
        let since = self.0.since.min(other.0.since);
        Self(Arc::new(Parts { first, rest, flags: AtomicU8::new(flags), since }))
    }

    /// Returns the time since its first bytes were admitted, in whole seconds.
    pub(crate) fn age(&self) -> Duration {
        Duration::from_secs(seconds_since_start().saturating_sub(self.0.since).into())
    }

    /// Whether both share one allocation.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    fn runs(&self) -> impl Iterator<Item = &Run> {
        std::iter::once(&self.0.first).chain(&self.0.rest)
    }

    /// Returns the spans of its runs, as offsets in the object, in order.
    pub(crate) fn spans(&self) -> impl Iterator<Item = Range<u64>> {
        self.runs().map(Run::span)
    }

    /// Whether the block holds all bytes of `range`, given as offsets in the object.
    pub(crate) fn covers(&self, range: &Range<u64>) -> bool {
        self.runs().any(|run| run.start <= range.start && range.end <= run.end())
    }

    /// Returns the bytes from `offset` in the object on, up to the next gap.
    pub(crate) fn from(&self, offset: u64) -> Option<Bytes> {
        let first = self.0.first.from(offset);
        first.or_else(|| self.0.rest.iter().find_map(|run| run.from(offset)))
    }

    /// Returns the longest run.
    pub(crate) fn longest(&self) -> &Run {
        let longest = self.runs().max_by_key(|run| (run.bytes.len(), Reverse(run.start)));
        longest.expect("a block has a run")
    }

    /// Returns the number of bytes in its runs.
    pub(crate) fn len(&self) -> usize {
        self.runs().map(|run| run.bytes.len()).sum()
    }

    /// Returns the weight of the block, in bytes: data, entry, and bytes reserved for metadata.
    pub(crate) fn weight(&self) -> u64 {
        (self.len() + ENTRY_COST + self.0.rest.len() * RUN_COST) as u64
    }

    fn flags(&self) -> u8 {
        self.0.flags.load(Ordering::Relaxed)
    }

    fn set(&self, flag: u8) {
        if self.flags() & flag == 0 {
            self.0.flags.fetch_or(flag, Ordering::Relaxed);
        }
    }

    pub(crate) fn is_touched(&self) -> bool {
        self.flags() & TOUCHED != 0
    }

    /// Notes a read.
    pub(crate) fn touch(&self) {
        self.set(TOUCHED);
    }

    pub(crate) fn is_offered(&self) -> bool {
        self.flags() & OFFERED != 0
    }

    /// Notes that the disk has the block, or that it is queued to be offered.
    pub(crate) fn offered(&self) {
        self.set(OFFERED);
    }

    /// Notes that the disk did not take the block: the next reader has it offered again.
    pub(crate) fn refused(&self) {
        self.0.flags.fetch_and(!OFFERED, Ordering::Relaxed);
    }
}

/// Splits runs, in order of their starts, into groups that overlap or touch.
fn groups(mut runs: &[Run]) -> impl Iterator<Item = &[Run]> {
    std::iter::from_fn(move || {
        let mut end = runs.first()?.end();
        let touching = runs.iter().take_while(|run| {
            let touches = run.start <= end;
            end = end.max(run.end());
            touches
        });
        let (group, rest) = runs.split_at(touching.count());
        runs = rest;
        Some(group)
    })
}

/// Joins runs that overlap or touch, in order of their starts, into one.
fn join(runs: &[Run]) -> Run {
    let start = runs[0].start;
    let end = runs.iter().map(Run::end).max().unwrap_or(start);
    if let Some(all) = runs.iter().find(|run| run.span() == (start..end)) {
        return all.clone();
    }
    let mut bytes = BytesMut::with_capacity(usize::try_from(end - start).expect("fits memory"));
    for run in runs {
        let at = start + bytes.len() as u64;
        bytes.extend_from_slice(&run.from(at).unwrap_or_default());
    }
    Run { start, bytes: bytes.freeze() }
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init, reason = "a list of one range is meant")]
mod tests {
    use super::*;

    fn content(range: Range<u64>) -> Bytes {
        range.map(|at| u8::try_from(at * 7 % 251).expect("below 251")).collect()
    }

    fn block(range: Range<u64>) -> Block {
        Block::new(range.start, content(range))
    }

    fn spans(block: &Block) -> Vec<Range<u64>> {
        block.spans().collect()
    }

    #[test]
    fn runs_that_touch_are_joined_and_others_stay_apart() {
        let apart = block(20..30).joined(&block(0..10));
        assert_eq!(spans(&apart), [0..10, 20..30]);
        assert_eq!(apart.len(), 20);
        assert_eq!(spans(&apart.joined(&block(10..15))), [0..15, 20..30]);
        assert_eq!(spans(&apart.joined(&block(10..20))), [0..30]);
        assert_eq!(spans(&apart.joined(&block(5..25))), [0..30]);
        assert_eq!(spans(&apart.joined(&block(2..5))), [0..10, 20..30]);
        assert!(apart.covers(&(21..30)) && !apart.covers(&(9..21)));
        assert_eq!(apart.longest().start, 0);
        assert_eq!(apart.joined(&block(30..35)).longest().span(), 20..35);
        assert_eq!(apart.from(10), None);
        assert_eq!(apart.from(25), Some(content(25..30)));
        assert!(apart.weight() > block(0..20).weight());
    }

    #[test]
    fn what_is_joined_has_the_bytes_of_its_parts_and_only_those() {
        let mut state = 11_u64;
        for _ in 0..500 {
            let mut next = |n: u64| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 33) % n
            };
            let mut held = vec![false; 64];
            let mut all: Option<Block> = None;
            for _ in 0..=next(8) {
                let start = next(60);
                let end = start + 1 + next(63 - start);
                let part = block(start..end);
                all = Some(all.map_or(part.clone(), |all| all.joined(&part)));
                (start..end).for_each(|at| held[usize::try_from(at).unwrap()] = true);
            }
            let all = all.unwrap();
            for (at, held) in (0_u64..).zip(&held) {
                let here = all.from(at);
                assert_eq!(here.is_some(), *held);
                assert!(here.is_none_or(|b| b == content(at..at + b.len() as u64)));
            }
            let gaps = spans(&all).windows(2).all(|pair| pair[0].end < pair[1].start);
            assert!(gaps && all.len() == held.iter().filter(|held| **held).count());
        }
    }

    #[test]
    fn a_joined_block_was_read_when_a_part_was_and_is_offered_anew() {
        let old = block(0..10);
        old.touch();
        old.offered();
        let joined = old.joined(&block(10..20));
        assert!(joined.is_touched() && !joined.is_offered());
    }
}
