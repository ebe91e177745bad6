//! Replays a trace: through memory alone, and through memory with a disk below it.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use hotset::cache::disk::policy::Hotness;
use parking_lot::Mutex;

use crate::baselines::Policy;
use crate::cache::key::BlockKey;
use crate::cache::memory::block::Block;
use crate::cache::memory::tier::MemoryTier;
use crate::segment_log::device_bytes;
use crate::traces::{Access, Trace};

/// Reads and bytes of a replay, in total and as hits.
#[derive(Debug, Clone, Copy, Default)]
pub struct Hits {
    reads: u64,
    reads_hit: u64,
    pub bytes: u64,
    bytes_hit: u64,
}

impl Hits {
    fn count(&mut self, access: &Access, hit: bool) {
        let asked = u64::from(access.asked);
        self.reads += 1;
        self.bytes += asked;
        if hit {
            self.reads_hit += 1;
            self.bytes_hit += asked;
        }
    }

    pub fn ratio(&self) -> f64 {
        self.reads_hit as f64 / self.reads.max(1) as f64
    }

    pub fn byte_ratio(&self) -> f64 {
        self.bytes_hit as f64 / self.bytes.max(1) as f64
    }
}

/// Bytes that a replay wrote to the disk tier.
#[derive(Debug, Clone, Copy, Default)]
pub struct Traffic {
    /// Bytes of admitted blocks.
    pub admitted: u64,
    /// Bytes that the device wrote.
    pub written: u64,
}

/// A read that misses in memory.
#[derive(Debug, Clone, Copy)]
pub struct Read {
    pub block: u32,
    pub asked: u32,
    /// Turnover of memory at the read.
    pub window: u8,
}

/// A disk tier below the memory tier.
pub trait Disk {
    /// Records a request of a block, wherever it is found.
    fn requested(&mut self, _block: u32, _next: u32) {}

    /// Reads a block; `None`: it is not on disk. Otherwise returns whether it is promoted to memory.
    fn read(&mut self, read: Read) -> Option<bool>;

    /// Offers a block that was evicted from memory.
    fn offer(&mut self, block: u32, touched: bool, next: u32);

    fn traffic(&self) -> Traffic;
}

impl<D: Disk + ?Sized> Disk for Box<D> {
    fn requested(&mut self, block: u32, next: u32) {
        (**self).requested(block, next);
    }

    fn read(&mut self, read: Read) -> Option<bool> {
        (**self).read(read)
    }

    fn offer(&mut self, block: u32, touched: bool, next: u32) {
        (**self).offer(block, touched, next);
    }

    fn traffic(&self) -> Traffic {
        (**self).traffic()
    }
}

/// Disk tier without capacity.
pub struct NoDisk;

impl Disk for NoDisk {
    fn read(&mut self, _: Read) -> Option<bool> {
        None
    }

    fn offer(&mut self, _: u32, _: bool, _: u32) {}

    fn traffic(&self) -> Traffic {
        Traffic::default()
    }
}

/// Disk that admits everything and evicts block by block, which no log can do.
pub struct Plain<'a, P> {
    policy: P,
    sizes: &'a [u32],
    hotness: Vec<Hotness>,
    traffic: Traffic,
}

impl<'a, P> Plain<'a, P> {
    pub fn new(policy: P, sizes: &'a [u32]) -> Self {
        let hotness = vec![Hotness::default(); sizes.len()];
        Self { policy, sizes, hotness, traffic: Traffic::default() }
    }
}

impl<P: Policy> Disk for Plain<'_, P> {
    fn requested(&mut self, block: u32, next: u32) {
        self.policy.requested(block, next);
    }

    fn read(&mut self, read: Read) -> Option<bool> {
        let length = self.sizes[read.block as usize] as usize;
        let hotness = &mut self.hotness[read.block as usize];
        let there = self.policy.get(read.block);
        there.then(|| hotness.touch(read.asked as usize, length, read.window))
    }

    fn offer(&mut self, block: u32, _: bool, next: u32) {
        if !self.policy.get(block) && self.policy.insert(block, next) {
            self.hotness[block as usize] = Hotness::default();
            self.traffic.admitted += u64::from(self.sizes[block as usize]);
            self.traffic.written += device_bytes(self.sizes[block as usize]);
        }
    }

    fn traffic(&self) -> Traffic {
        self.traffic
    }
}

/// A block evicted from memory, and whether it had a hit there.
type Left = (u32, bool);

/// Simulation of the two tiers over a trace.
pub struct Tiers<'a, D> {
    trace: &'a Trace,
    memory: MemoryTier,
    left: Arc<Mutex<Vec<Left>>>,
    /// Blocks that had a hit in memory; they are written before they are evicted.
    hot: Arc<Mutex<Vec<u32>>>,
    pub disk: D,
    /// Next request of each block.
    next: Vec<u32>,
    capacity: u64,
    read_from_disk: u64,
}

impl<'a, D: Disk> Tiers<'a, D> {
    pub fn new(trace: &'a Trace, memory: u64, disk: D) -> Self {
        let left: Arc<Mutex<Vec<Left>>> = Arc::default();
        let sink = left.clone();
        let evicted = move |key: &BlockKey, block: &Block| {
            sink.lock().push((key.block, block.is_touched()));
        };
        let hot: Arc<Mutex<Vec<u32>>> = Arc::default();
        let sink = hot.clone();
        let to_hot = move |key: &BlockKey| {
            sink.lock().push(key.block);
            true
        };
        Self {
            trace,
            memory: MemoryTier::new(memory, evicted).with_hot(to_hot),
            left,
            hot,
            disk,
            next: vec![0; trace.sizes.len()],
            capacity: memory.max(1),
            read_from_disk: 0,
        }
    }

    /// Replays a range of accesses of the trace.
    pub fn replay(&mut self, range: Range<usize>) -> Hits {
        let mut hits = Hits::default();
        for access in &self.trace.accesses[range] {
            let hit = self.access(access);
            hits.count(access, hit);
        }
        hits
    }

    fn access(&mut self, access: &Access) -> bool {
        let Access { block, asked, next } = *access;
        self.next[block as usize] = next;
        self.disk.requested(block, next);
        let length = self.trace.sizes[block as usize];
        let key = BlockKey { block, start: 0, end: length };
        if self.memory.get(&key).is_some() {
            for block in self.hot.lock().drain(..) {
                self.disk.offer(block, true, next);
            }
            return true;
        }
        let turnovers = self.read_from_disk / self.capacity % 256;
        let window = u8::try_from(turnovers).expect("below 256");
        let found = self.disk.read(Read { block, asked, window });
        if found.is_some() {
            self.read_from_disk += u64::from(asked);
        }
        if found.unwrap_or(true) {
            self.memory.admit(key, Block::new(0, content(length)));
        }
        for (block, touched) in self.left.lock().drain(..) {
            self.disk.offer(block, touched, self.next[block as usize]);
        }
        found.is_some()
    }
}

/// Returns bytes that take no memory: only their length matters.
fn content(length: u32) -> Bytes {
    static ZEROS: [u8; 1 << 20] = [0; 1 << 20];
    Bytes::from_static(&ZEROS[..length as usize])
}

/// Simulation of one policy over a trace.
pub struct Alone<'a, P> {
    trace: &'a Trace,
    policy: P,
}

impl<'a, P: Policy> Alone<'a, P> {
    pub fn new(trace: &'a Trace, policy: P) -> Self {
        Self { trace, policy }
    }

    /// Replays a range of accesses of the trace.
    pub fn replay(&mut self, range: Range<usize>) -> Hits {
        let mut hits = Hits::default();
        for access in &self.trace.accesses[range] {
            self.policy.requested(access.block, access.next);
            let hit = self.policy.get(access.block);
            hits.count(access, hit);
            if !hit {
                self.policy.insert(access.block, access.next);
            }
        }
        hits
    }
}
