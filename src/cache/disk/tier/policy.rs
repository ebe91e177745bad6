//! What is worth a place on disk, and what is worth being written once more. No I/O here.
//!
//! - [`Admission`]: second hit. A block that leaves memory is written when it was read again while it was there,
//!   or when it left memory or the disk a short while ago already, which a ghost queue remembers.
//! - [`Reinsertion`]: FIFO-Reinsertion on a segmented log. The oldest segment goes, and the blocks of it that were
//!   read are written again, hottest first, as far as a budget of bytes reaches.
//! - [`Hotness`]: the reads of a block, from which reinsertion and promotion to memory follow.
//!
//! Why these: `cargo bench --bench hit_ratio` replays recorded traces, with `--policies` all that was compared. The
//! mean over four traces and disks of 10 % and 25 % of what they read, memory a tenth of that: second hit finds
//! 50.7 % and writes 0.40 bytes for each one asked; first touch finds 51.4 % and writes 0.69. A scan of four disks
//! leaves a hot set 97 % of its hits with second hit, and 63 % with first touch, LRU or FIFO.

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

/// Reads that are counted of one block: more make it no hotter.
const TOUCHES_MAX: u8 = 3;
const SIXTEENTHS_BITS: u32 = 6;
const SIXTEENTHS_MAX: u8 = (1 << SIXTEENTHS_BITS) - 1;
/// Fingerprints in the ghost queue for each block on disk.
const GHOSTS: u64 = 2;
const GHOST_SETS_MIN: u64 = 64;

/// How a block is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Hotness {
    /// Reads since it was written in the two highest bits, and sixteenths of the block that were read in `window`
    /// and the one before in the others.
    reads: u8,
    window: u8,
}

impl Hotness {
    /// Notes that `bytes` of a block of `length` are read in the `window`-th turnover of memory. `true`: within two
    /// turnovers it was read as a whole already, or so often in parts, and deserves memory.
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

    /// Reads since it was written, up to a few.
    pub fn touches(self) -> u8 {
        self.reads >> SIXTEENTHS_BITS
    }
}

/// A block of a segment that is about to go.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<T> {
    pub touches: u8,
    /// What it takes of the device.
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
    /// Blocks with at least `least` touches, up to `per_cent` of the bytes that are admitted.
    pub fn new(per_cent: u64, least: u8) -> Self {
        Self { per_cent, least, budget: 0 }
    }

    /// Notes that a block of `length` bytes was admitted, which took `device` bytes.
    pub fn admitted(&mut self, length: u64, device: u64) {
        let overhead = device.saturating_sub(length);
        self.budget += (length * self.per_cent / 100).saturating_sub(overhead);
    }

    /// Keeps those that are worth being written once more, hottest first. At most half a segment is: what is not
    /// used up does not make a burst later, and each segment that goes makes room.
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

/// Which blocks that leave memory are written.
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
    /// Bytes that the ghost queue may take.
    memory: u64,
}

impl Admission {
    /// Remembers as many blocks as fit into `memory` bytes, or fewer.
    pub fn new(mode: AdmissionMode, memory: u64) -> Self {
        Self::with_ghosts(mode, memory, GHOSTS)
    }

    /// With a ghost queue of `per_block` fingerprints for each block on disk.
    pub fn with_ghosts(mode: AdmissionMode, memory: u64, per_block: u64) -> Self {
        let mut admission = Self { mode, ghost: Ghost::default(), per_block, memory };
        admission.fit(0);
        admission
    }

    /// Whether a block that leaves memory is written. `touched`: it was read again while it was there. `room`: no
    /// other block has to go for it.
    pub fn admit(&mut self, fingerprint: u64, touched: bool, room: bool) -> bool {
        let at_once = self.mode == AdmissionMode::FirstTouch || touched || room;
        at_once || self.ghost.take(fingerprint)
    }

    /// Remembers a block that had to go from disk: when it comes again, it was missed.
    pub fn evicted(&mut self, fingerprint: u64) {
        if self.mode != AdmissionMode::FirstTouch {
            self.ghost.push(fingerprint);
        }
    }

    /// Fits the ghost queue to the number of blocks on disk. It is emptied where that is another one by far: too
    /// long a memory admits what will have to go before it is read.
    pub fn fit(&mut self, blocks: u64) {
        let most = self.memory / Ghost::SET_BYTES;
        let wanted = (blocks * self.per_block / Ghost::WAYS as u64).max(GHOST_SETS_MIN).min(most);
        let now = self.ghost.sets.len() as u64;
        if self.mode != AdmissionMode::FirstTouch && (wanted > 2 * now || wanted < now / 2) {
            self.ghost = Ghost::new(wanted);
        }
    }
}

/// A queue of fingerprints without their blocks, about in the order in which they came. It is set-associative: the
/// oldest of a set makes room, and all take a fixed number of bytes.
#[derive(Debug, Default)]
struct Ghost {
    sets: Vec<[u32; Ghost::WAYS]>,
}

impl Ghost {
    /// One cache line.
    const WAYS: usize = 16;
    const SET_BYTES: u64 = size_of::<[u32; Ghost::WAYS]>() as u64;

    fn new(sets: u64) -> Self {
        Self { sets: vec![[0; Self::WAYS]; usize::try_from(sets).unwrap_or(0)] }
    }

    /// The set that the upper half chooses, and the lower half, which stands for the block. Zero is an empty way.
    fn find(&mut self, fingerprint: u64) -> Option<(&mut [u32; Self::WAYS], u32)> {
        let set = ((fingerprint >> 32) * self.sets.len() as u64) >> 32;
        let tag = u32::try_from(fingerprint & u64::from(u32::MAX)).expect("32 bits");
        Some((self.sets.get_mut(usize::try_from(set).ok()?)?, tag.max(1)))
    }

    /// Makes it the newest.
    fn push(&mut self, fingerprint: u64) {
        let Some((set, tag)) = self.find(fingerprint) else { return };
        let from = set.iter().position(|t| *t == tag).unwrap_or(Self::WAYS - 1);
        set[..=from].rotate_right(1);
        set[0] = tag;
    }

    /// Takes it out if it is there, else makes it the newest.
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
