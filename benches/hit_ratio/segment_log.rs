//! The disk tier without a disk: its policy objects, on a log of segments that holds block numbers.

use std::collections::VecDeque;

use hotset::cache::disk::policy::{Admission, AdmissionMode, Candidate, Hotness, Reinsertion};

use crate::tiers::{Disk, Read, Traffic};

/// Number of segments, as in the tier; but here their size has no bounds, however small the disk is.
const SEGMENTS: u64 = 32;
/// Spare segments for reinsertion, as in the tier.
const SPARE: u64 = 2;

/// Parameters of the disk policy, varied to compare alternatives.
#[derive(Debug, Clone, Copy)]
pub struct Choice {
    pub mode: AdmissionMode,
    /// Capacity of the ghost queue: fingerprints for each block that the disk has room for.
    pub ghosts: u64,
    /// Whether a block that had a hit in memory is admitted at once.
    pub touched: bool,
    /// Whether a block evicted from disk enters the ghost queue.
    pub evicted: bool,
    /// Whether everything is admitted until the disk is full.
    pub room: bool,
    pub per_cent: u64,
    pub least: u8,
}

impl Choice {
    /// Returns the parameters that hotset uses.
    pub fn of_hotset(mode: AdmissionMode) -> Self {
        Self { mode, ghosts: 2, touched: true, evicted: true, room: true, per_cent: 20, least: 2 }
    }
}

#[derive(Default)]
struct Segment {
    blocks: Vec<u32>,
    bytes: u64,
}

#[derive(Clone, Copy, Default)]
struct Entry {
    /// Segment number, counted from 1; 0: not cached.
    segment: u64,
    hotness: Hotness,
}

pub struct SegmentLog<'a> {
    sizes: &'a [u32],
    capacity: u64,
    choice: Choice,
    admission: Admission,
    reinsertion: Reinsertion,
    index: Vec<Entry>,
    /// Segments on disk, oldest first; the last one is open.
    segments: VecDeque<Segment>,
    /// Number of segments evicted so far.
    gone: u64,
    /// Number of blocks on disk.
    blocks: u64,
    traffic: Traffic,
}

impl<'a> SegmentLog<'a> {
    /// Makes an empty log; `sizes` are bytes of data per block.
    pub fn new(sizes: &'a [u32], capacity: u64, choice: Choice) -> Self {
        let all: u64 = sizes.iter().map(|size| device_bytes(*size)).sum();
        let mut admission = Admission::with_ghosts(choice.mode, u64::MAX, choice.ghosts);
        // As many as the disk will hold: the choices without `room` need them before the first segment is evicted.
        admission.fit(sizes.len() as u64 * capacity / all.max(1));
        Self {
            sizes,
            capacity,
            choice,
            admission,
            reinsertion: Reinsertion::new(choice.per_cent, choice.least),
            index: vec![Entry::default(); sizes.len()],
            segments: VecDeque::new(),
            gone: 0,
            blocks: 0,
            traffic: Traffic::default(),
        }
    }

    fn segment_size(&self) -> u64 {
        self.capacity / SEGMENTS
    }

    fn is_full(&self, bytes: u64) -> bool {
        self.segments.back().is_none_or(|open| open.bytes + bytes > self.segment_size())
    }

    fn append(&mut self, block: u32) {
        let bytes = device_bytes(self.sizes[block as usize]);
        if self.is_full(bytes) {
            self.segments.push_back(Segment::default());
        }
        let open = self.segments.back_mut().expect("pushed above");
        open.blocks.push(block);
        self.blocks += 1;
        open.bytes += bytes;
        self.traffic.written += bytes;
        let segment = self.gone + self.segments.len() as u64;
        self.index[block as usize] = Entry { segment, hotness: Hotness::default() };
    }

    fn make_room(&mut self, bytes: u64) {
        if !self.is_full(bytes) {
            return;
        }
        let spare = SPARE * self.segment_size();
        while self.segments.iter().map(|s| s.bytes).sum::<u64>() + spare > self.capacity {
            self.reclaim();
        }
    }

    fn reclaim(&mut self) {
        let Some(oldest) = self.segments.pop_front() else { return };
        self.gone += 1;
        let candidate = |block: &u32| Candidate {
            touches: self.index[*block as usize].hotness.touches(),
            bytes: device_bytes(self.sizes[*block as usize]),
            block: *block,
        };
        let mut candidates: Vec<_> = oldest.blocks.iter().map(candidate).collect();
        self.reinsertion.survivors(&mut candidates, oldest.bytes);
        self.blocks -= oldest.blocks.len() as u64;
        for block in &oldest.blocks {
            self.index[*block as usize].segment = 0;
        }
        for survivor in candidates {
            self.append(survivor.block);
        }
        self.admission.fit(self.blocks);
        let gone = oldest.blocks.iter().filter(|b| self.index[**b as usize].segment == 0);
        for block in gone.filter(|_| self.choice.evicted) {
            self.admission.evicted(fingerprint(*block));
        }
    }
}

impl Disk for SegmentLog<'_> {
    fn read(&mut self, read: Read) -> Option<bool> {
        let entry = &mut self.index[read.block as usize];
        let length = self.sizes[read.block as usize] as usize;
        (entry.segment != 0).then(|| entry.hotness.touch(read.asked as usize, length, read.window))
    }

    fn offer(&mut self, block: u32, touched: bool, _: u32) {
        if self.index[block as usize].segment != 0 {
            return;
        }
        let touched = touched && self.choice.touched;
        let room = self.choice.room && self.gone == 0;
        if !self.admission.admit(fingerprint(block), touched, room) {
            return;
        }
        let size = self.sizes[block as usize];
        self.make_room(device_bytes(size));
        self.append(block);
        self.reinsertion.admitted(size.into(), device_bytes(size));
        self.traffic.admitted += u64::from(size);
    }

    fn traffic(&self) -> Traffic {
        self.traffic
    }
}

/// Returns the device bytes of a record: head, a key of 140 bytes, a frame for each chunk, an entry in the segment's
/// footer.
pub fn device_bytes(size: u32) -> u64 {
    const FIXED: u64 = 48 + 140 + 36;
    u64::from(size) + FIXED + u64::from(size).div_ceil(64 << 10) * 32
}

/// Returns an evenly distributed fingerprint, as digests are (`SplitMix64`).
fn fingerprint(block: u32) -> u64 {
    let mut z = u64::from(block).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
