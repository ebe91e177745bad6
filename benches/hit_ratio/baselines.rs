//! Baseline policies for comparison: LRU, FIFO, and Belady's optimum.

use std::collections::{BinaryHeap, VecDeque};

use crate::traces::NEVER;

/// Cache replacement policy over blocks within a capacity. The cost of a block, in bytes, is looked up by its number.
pub trait Policy {
    /// Records a request of a block, wherever it is found; its next request is the `next`-th of the trace.
    fn requested(&mut self, _block: u32, _next: u32) {}

    /// Whether the block is cached; if it is, this counts as a read.
    fn get(&mut self, block: u32) -> bool;

    /// Inserts a block that is not cached; returns whether it was kept.
    fn insert(&mut self, block: u32, next: u32) -> bool;
}

const NONE: u32 = u32::MAX;

/// Least recently used, a doubly linked list of block numbers.
pub struct Lru<'a> {
    costs: &'a [u32],
    free: u64,
    /// Neighbours of each block, the more recent one first; the last pair is the list's head.
    links: Vec<(u32, u32)>,
}

impl<'a> Lru<'a> {
    pub fn new(costs: &'a [u32], capacity: u64) -> Self {
        let mut links = vec![(NONE, NONE); costs.len() + 1];
        let head = u32::try_from(costs.len()).expect("few blocks");
        links[costs.len()] = (head, head);
        Self { costs, free: capacity, links }
    }

    fn head(&self) -> u32 {
        u32::try_from(self.costs.len()).expect("few blocks")
    }

    fn unlink(&mut self, block: u32) {
        let (newer, older) = std::mem::replace(&mut self.links[block as usize], (NONE, NONE));
        self.links[newer as usize].1 = older;
        self.links[older as usize].0 = newer;
    }

    fn push(&mut self, block: u32) {
        let head = self.head();
        let newest = self.links[head as usize].1;
        self.links[block as usize] = (head, newest);
        self.links[head as usize].1 = block;
        self.links[newest as usize].0 = block;
    }
}

impl Policy for Lru<'_> {
    fn get(&mut self, block: u32) -> bool {
        let there = self.links[block as usize].0 != NONE;
        if there {
            self.unlink(block);
            self.push(block);
        }
        there
    }

    fn insert(&mut self, block: u32, _: u32) -> bool {
        let cost = u64::from(self.costs[block as usize]);
        while self.free < cost {
            let oldest = self.links[self.head() as usize].0;
            if oldest == self.head() {
                return false;
            }
            self.unlink(oldest);
            self.free += u64::from(self.costs[oldest as usize]);
        }
        self.push(block);
        self.free -= cost;
        true
    }
}

/// First in, first out.
pub struct Fifo<'a> {
    costs: &'a [u32],
    free: u64,
    there: Vec<bool>,
    queue: VecDeque<u32>,
}

impl<'a> Fifo<'a> {
    pub fn new(costs: &'a [u32], capacity: u64) -> Self {
        Self { costs, free: capacity, there: vec![false; costs.len()], queue: VecDeque::new() }
    }
}

impl Policy for Fifo<'_> {
    fn get(&mut self, block: u32) -> bool {
        self.there[block as usize]
    }

    fn insert(&mut self, block: u32, _: u32) -> bool {
        let cost = u64::from(self.costs[block as usize]);
        while self.free < cost {
            let Some(oldest) = self.queue.pop_front() else { return false };
            self.there[oldest as usize] = false;
            self.free += u64::from(self.costs[oldest as usize]);
        }
        self.queue.push_back(block);
        self.there[block as usize] = true;
        self.free -= cost;
        true
    }
}

/// Belady's MIN with bypass and a capacity in bytes: it evicts the block whose next request is farthest, or does not
/// admit the new one. This is the optimum for blocks of one size, and close to it for others (whose optimum is
/// NP-hard).
pub struct Belady<'a> {
    costs: &'a [u32],
    free: u64,
    /// Next request of each cached block; 0: not cached.
    next: Vec<u32>,
    /// Blocks by next request; entries that do not match `next` are outdated.
    farthest: BinaryHeap<(u32, u32)>,
}

impl<'a> Belady<'a> {
    pub fn new(costs: &'a [u32], capacity: u64) -> Self {
        Self { costs, free: capacity, next: vec![0; costs.len()], farthest: BinaryHeap::new() }
    }
}

impl Policy for Belady<'_> {
    fn requested(&mut self, block: u32, next: u32) {
        if self.next[block as usize] != 0 {
            self.next[block as usize] = next;
            self.farthest.push((next, block));
        }
    }

    fn get(&mut self, block: u32) -> bool {
        self.next[block as usize] != 0
    }

    fn insert(&mut self, block: u32, next: u32) -> bool {
        let cost = u64::from(self.costs[block as usize]);
        if next == NEVER {
            return false;
        }
        self.next[block as usize] = next;
        self.farthest.push((next, block));
        let mut over = cost.saturating_sub(self.free);
        self.free = self.free.saturating_sub(cost);
        while over > 0 {
            let (next, goes) = self.farthest.pop().expect("what is there is in the heap");
            if self.next[goes as usize] == next {
                self.next[goes as usize] = 0;
                let freed = u64::from(self.costs[goes as usize]);
                self.free += freed.saturating_sub(over);
                over = over.saturating_sub(freed);
            }
        }
        self.next[block as usize] != 0
    }
}
