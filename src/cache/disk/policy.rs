//! What is worth a place on disk, and what is worth being written once more. No I/O here.
//!
//! - [`Admission`]: second hit. A block that leaves memory is written when it was read again while it was there,
//!   or when it left memory a short while ago already, which a [`Ghost`] queue remembers.
//! - [`Reinsertion`]: FIFO-Reinsertion on a segmented log. The oldest segment goes, and the blocks of it that were
//!   read are written again, hottest first, as far as a budget of bytes reaches.
//! - [`Hotness`]: the reads of a block, from which both the above and promotion to memory follow.

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

/// Reads that are counted of one block: more make it no hotter.
const TOUCHES: u8 = 3;

/// How a block is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Hotness {
    /// Reads since it was written.
    touches: u8,
    /// Sixteenths of the block that were read in `window` and the one before.
    sixteenths: u8,
    window: u8,
}

impl Hotness {
    /// Notes that `bytes` of a block of `length` are read in the `window`-th turnover of memory. `true`: within two
    /// turnovers it was read as a whole already, or so often in parts, and deserves memory.
    pub fn touch(&mut self, bytes: usize, length: usize, window: u8) -> bool {
        self.touches = self.touches.saturating_add(1).min(TOUCHES);
        if window.wrapping_sub(self.window) > 1 {
            self.sixteenths = 0;
        }
        self.window = window;
        let deserves = self.sixteenths >= 16;
        let sixteenths = bytes.saturating_mul(16).div_ceil(length.max(1));
        self.sixteenths = match deserves {
            true => 0,
            false => self.sixteenths.saturating_add(u8::try_from(sixteenths).unwrap_or(16)),
        };
        deserves
    }

    /// Reads since it was written, up to a few.
    pub fn touches(self) -> u8 {
        self.touches
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
        Self::new(20, 1)
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
#[serde(rename_all = "kebab-case")]
pub enum AdmissionMode {
    FirstTouch,
    #[default]
    SecondTouch,
}

/// Decides which blocks that leave memory are written.
#[derive(Debug)]
pub struct Admission {
    mode: AdmissionMode,
    ghost: Ghost,
}

impl Admission {
    /// Remembers as many blocks as fit into `memory` bytes.
    pub fn new(mode: AdmissionMode, memory: u64) -> Self {
        let memory = if mode == AdmissionMode::FirstTouch { 0 } else { memory };
        Self { mode, ghost: Ghost::new(memory) }
    }

    /// Whether a block that leaves memory is written. `touched`: it was read again while it was there. `room`: no
    /// other block has to go for it.
    pub fn admit(&mut self, fingerprint: u64, touched: bool, room: bool) -> bool {
        let at_once = self.mode == AdmissionMode::FirstTouch || touched || room;
        at_once || self.ghost.seen(fingerprint)
    }
}

/// A queue of fingerprints without their blocks: what was not admitted, about in the order in which it came. It is
/// set-associative: the oldest of a set makes room, and all take a fixed number of bytes.
#[derive(Debug)]
struct Ghost {
    sets: Vec<[u32; Ghost::WAYS]>,
}

impl Ghost {
    /// One cache line.
    const WAYS: usize = 16;

    fn new(memory: u64) -> Self {
        let sets = usize::try_from(memory).unwrap_or(usize::MAX) / size_of::<[u32; Self::WAYS]>();
        Self { sets: vec![[0; Self::WAYS]; sets] }
    }

    /// Whether it was there; then it is there no more, else it is the newest.
    fn seen(&mut self, fingerprint: u64) -> bool {
        // The upper half chooses the set, the lower half stands for the block. Zero is an empty way.
        let set = ((fingerprint >> 32) * self.sets.len() as u64) >> 32;
        let tag = u32::try_from(fingerprint & u64::from(u32::MAX)).expect("32 bits").max(1);
        let Some(set) = self.sets.get_mut(set as usize) else { return false };
        match set.iter().position(|t| *t == tag) {
            Some(at) => {
                set[at..].rotate_left(1);
                set[Self::WAYS - 1] = 0;
                true
            }
            None => {
                set.rotate_right(1);
                set[0] = tag;
                false
            }
        }
    }
}
