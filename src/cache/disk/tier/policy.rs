//! Policies of the disk tier: admission, reinsertion, and promotion to memory. No I/O here.
//!
//! - [`Admission`]: second hit. A block that leaves memory is written if it was read again while it was there, or if it
//!   left memory or the disk a short while ago already, which a ghost queue remembers.
//! - [`Reinsertion`]: FIFO-Reinsertion on a segmented log. The oldest segment is removed, and its blocks that were read
//!   are written again, hottest first, within a budget of bytes.
//! - [`Hotness`]: the reads of a block, which decide on reinsertion and on promotion to memory.
//!
//! Reasons for these: `cargo bench --bench hit_ratio` replays recorded traces, with `--policies` for all candidates. In
//! the mean over four traces, with disks of 10 % and 25 % of what they read and memory of a tenth of that, second hit
//! has a hit ratio of 50.7 % and writes 0.40 bytes for each byte requested; first touch has 51.4 % and writes 0.69.
//! After a scan as large as four disks, a hot set keeps 97 % of its hits with second hit, and 63 % with first touch,
//! LRU or FIFO.

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

/// Maximum number of reads that are counted for a block: more make it no hotter.
const TOUCHES_MAX: u8 = 3;
const SIXTEENTHS_BITS: u32 = 6;
const SIXTEENTHS_MAX: u8 = (1 << SIXTEENTHS_BITS) - 1;
/// Number of fingerprints in the ghost queue for each block on disk.
const GHOSTS: u64 = 2;
const GHOST_SETS_MIN: u64 = 64;

/// Recent reads of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Hotness {
    /// Two highest bits: reads since the block was written. Others: sixteenths of the block that were read in `window`
    /// and the one before.
    reads: u8,
    window: u8,
}

impl Hotness {
    /// Counts a read of `bytes` of a block of `length` bytes in the `window`-th turnover of memory. Returns whether to
    /// promote the block to memory: within two turnovers it was read as a whole already, or as much in parts.
    pub fn touch(&mut self, bytes: usize, length: usize, window: u8) -> bool {
        let (touches, mut before) = (self.touches(), self.reads & SIXTEENTHS_MAX);
        if window.wrapping_sub(self.window) > 1 {
            before = 0;
        }
        let deserves = before >= 16;
        let now = u8::try_from(bytes.saturating_mul(16).div_ceil(length.max(1))).unwrap_or(16);
        let sixteenths = if deserves { 0 } else { before.saturating_add(now).min(SIXTEENTHS_MAX) };
        self.reads = (touches + 1).min(TOUCHES_MAX) << SIXTEENTHS_BITS | sixteenths;
        self.window = window;
        deserves
    }

    /// Returns the number of reads since the block was written, up to a few.
    pub fn touches(self) -> u8 {
        self.reads >> SIXTEENTHS_BITS
    }
}

/// A block of a segment that is about to be removed.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<T> {
    pub touches: u8,
    /// Bytes that the block takes on the device.
    pub bytes: u64,
    pub block: T,
}

/// Chooses the blocks of the oldest segment that are written again, within a budget of bytes: a fixed part of what
/// is admitted, so that write amplification is bounded whatever is read.
#[derive(Debug)]
pub struct Reinsertion {
    per_cent: u64,
    least: u8,
    budget: u64,
}

impl Default for Reinsertion {
    fn default() -> Self {
        Self::new(20, 2)
    }
}

impl Reinsertion {
    /// Reinserts blocks with at least `least` touches, up to `per_cent` of the bytes that are admitted.
    pub fn new(per_cent: u64, least: u8) -> Self {
        Self { per_cent, least, budget: 0 }
    }

    /// Counts an admitted block of `length` bytes, which took `device` bytes on the device.
    pub fn admitted(&mut self, length: u64, device: u64) {
        let overhead = device.saturating_sub(length);
        self.budget += (length * self.per_cent / 100).saturating_sub(overhead);
    }

    /// Keeps the candidates to be written again, hottest first, and at most half a segment: an unused budget makes no
    /// burst later, and each removed segment makes room.
    pub fn survivors<T>(&mut self, candidates: &mut Vec<Candidate<T>>, segment: u64) {
        self.budget = self.budget.min(segment / 2);
        candidates.retain(|c| c.touches >= self.least);
        candidates.sort_by_key(|c| std::cmp::Reverse(c.touches));
        candidates.retain(|c| {
            let fits = self.budget.checked_sub(c.bytes);
            self.budget = fits.unwrap_or(self.budget);
            fits.is_some()
        });
    }
}

/// Choice of the blocks evicted from memory that are written to disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum AdmissionMode {
    /// All blocks.
    FirstTouch,
    /// Blocks that were requested at least twice, and all while the disk has free space.
    #[default]
    SecondTouch,
}

/// Decides which blocks that leave memory are written.
#[derive(Debug)]
pub struct Admission {
    mode: AdmissionMode,
    ghost: Ghost,
    per_block: u64,
    /// Maximum bytes of the ghost queue.
    memory: u64,
}

impl Admission {
    /// Creates an admission policy whose ghost queue takes at most `memory` bytes.
    pub fn new(mode: AdmissionMode, memory: u64) -> Self {
        Self::with_ghosts(mode, memory, GHOSTS)
    }

    /// As [`Admission::new`], with `per_block` fingerprints in the ghost queue for each block on disk.
    pub fn with_ghosts(mode: AdmissionMode, memory: u64, per_block: u64) -> Self {
        let mut admission = Self { mode, ghost: Ghost::default(), per_block, memory };
        admission.fit(0);
        admission
    }

    /// Whether a block that leaves memory is written. `touched`: it was read again while it was there. `room`: no other
    /// block must be evicted for it.
    pub fn admit(&mut self, fingerprint: u64, touched: bool, room: bool) -> bool {
        let at_once = self.mode == AdmissionMode::FirstTouch || touched || room;
        at_once || self.ghost.take(fingerprint)
    }

    /// Adds a block that was evicted from disk to the ghost queue: if it comes again, it was missed.
    pub fn evicted(&mut self, fingerprint: u64) {
        if self.mode != AdmissionMode::FirstTouch {
            self.ghost.push(fingerprint);
        }
    }

    /// Fits the ghost queue to the number of blocks on disk, and empties it if that number is very different: too long
    /// a queue admits blocks that will be evicted before they are read.
    pub fn fit(&mut self, blocks: u64) {
        let most = self.memory / Ghost::SET_BYTES;
        let wanted = (blocks * self.per_block / Ghost::WAYS as u64).max(GHOST_SETS_MIN).min(most);
        let now = self.ghost.sets.len() as u64;
        if self.mode != AdmissionMode::FirstTouch && (wanted > 2 * now || wanted < now / 2) {
            self.ghost = Ghost::new(wanted);
        }
    }
}

/// Ghost queue: fingerprints of blocks without their data, approximately in the order in which they came. It is
/// set-associative: the oldest of a set makes room, and all take a fixed number of bytes.
#[derive(Debug, Default)]
struct Ghost {
    sets: Vec<[u32; Ghost::WAYS]>,
}

impl Ghost {
    /// Number of fingerprints in a set: one cache line.
    const WAYS: usize = 16;
    const SET_BYTES: u64 = size_of::<[u32; Ghost::WAYS]>() as u64;

    fn new(sets: u64) -> Self {
        Self { sets: vec![[0; Self::WAYS]; usize::try_from(sets).unwrap_or(0)] }
    }

    /// Returns the set that the upper half of the fingerprint chooses, and the lower half, which stands for the block.
    /// Zero is an empty way.
    fn find(&mut self, fingerprint: u64) -> Option<(&mut [u32; Self::WAYS], u32)> {
        let set = ((fingerprint >> 32) * self.sets.len() as u64) >> 32;
        let tag = u32::try_from(fingerprint & u64::from(u32::MAX)).expect("32 bits");
        Some((self.sets.get_mut(usize::try_from(set).ok()?)?, tag.max(1)))
    }

    /// Adds the fingerprint as the newest of its set.
    fn push(&mut self, fingerprint: u64) {
        let Some((set, tag)) = self.find(fingerprint) else { return };
        let from = set.iter().position(|t| *t == tag).unwrap_or(Self::WAYS - 1);
        set[..=from].rotate_right(1);
        set[0] = tag;
    }

    /// Removes the fingerprint if it is there, else adds it as the newest; returns whether it was there.
    fn take(&mut self, fingerprint: u64) -> bool {
        let Some((set, tag)) = self.find(fingerprint) else { return false };
        match set.iter().position(|t| *t == tag) {
            Some(at) => {
                set[at..].rotate_left(1);
                set[Self::WAYS - 1] = 0;
                true
            }
            None => {
                self.push(fingerprint);
                false
            }
        }
    }
}
