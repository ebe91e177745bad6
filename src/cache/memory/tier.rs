//! The memory tier: blocks in moka, weighed in bytes, kept by `TinyLFU` behind a window of the latest.
//!
//! ```text
//!   a new block ─> window ─ the oldest leave ─> moka ─ admits or refuses, evicts ─> the disk
//! ```
//! A block may be held in part: reads fetch the bytes that they need (see [`crate::cache::fetch::plan`]), and bytes of
//! later reads are added.

use std::hash::BuildHasher as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::fast::RandomState;
use moka::notification::RemovalCause;
use moka::ops::compute::Op;
use moka::policy::EvictionPolicy;
use moka::sync::Cache as Moka;
use parking_lot::Mutex;

use super::block::Block;
use super::window::{Leaving, Window};
use crate::cache::key::BlockKey;
use crate::metrics::cache::{self as metrics, Eviction};

/// Divisor of the capacity for the share of the window, which is at least [`WINDOW_MIN`] as far as [`WINDOW_SHARE_MAX`]
/// allows. `cargo bench --bench hit_ratio`: an eighth gains up to 20 points on three traces and loses 2.6 on P3 and 0.6
/// on Zipf's law; this loses nowhere more than half a point.
const WINDOW_SHARE: u64 = 100;
const WINDOW_SHARE_MAX: u64 = 6;
/// Minimum size of the window, in bytes: 64 readers with an object of 100 KB each fit.
const WINDOW_MIN: u64 = 8 << 20;
/// Number of locks under which bytes are added to blocks.
const STRIPES: usize = 64;

/// Receiver of evicted blocks.
type Evicted = Arc<dyn Fn(&BlockKey, &Block) + Send + Sync>;
/// Receiver of the keys of blocks to be offered to the disk soon; `false`: it does not take this one.
type Hot = Box<dyn Fn(&BlockKey) -> bool + Send + Sync>;

pub(crate) struct MemoryTier {
    window: Window,
    main: Moka<BlockKey, Block, RandomState>,
    /// Locks by hash of a key: a writer that adds to a block sees the bytes that others added.
    adding: [Mutex<()>; STRIPES],
    stripes: RandomState,
    evicted: Evicted,
    /// Receiver of hot blocks; `None`: no block is written before it is evicted.
    hot: Option<Hot>,
    /// Configured capacity in bytes, which moka enforces,
    full: u64,
    /// and current one: moka's capacity is fixed for its lifetime, so a smaller one is enforced here.
    capacity: AtomicU64,
    /// Bytes inserted since moka last evicted.
    unsettled: AtomicU64,
    /// Inserted bytes after which moka is made to evict: by itself it waits for 64 insertions or 300 ms, which may be
    /// 64 MiB.
    slack: u64,
}

impl MemoryTier {
    /// Creates a tier of up to `capacity` bytes, entries' own cost included. Evicted blocks are passed to `evicted`,
    /// which must not call back here.
    pub(crate) fn new(
        capacity: u64,
        evicted: impl Fn(&BlockKey, &Block) + Send + Sync + 'static,
    ) -> Self {
        let evicted: Evicted = Arc::new(evicted);
        let to_evicted = evicted.clone();
        let main = Moka::builder()
            .name("blocks")
            .max_capacity(main_share(capacity))
            .weigher(|_, block: &Block| u32::try_from(block.weight()).unwrap_or(u32::MAX))
            .eviction_policy(EvictionPolicy::tiny_lfu())
            .eviction_listener(move |key, block, cause| {
                if cause == RemovalCause::Size {
                    metrics::evicted_blocks(Eviction::Memory, 1, block.age());
                    to_evicted(&key, &block);
                }
            })
            .build_with_hasher(RandomState::default());
        Self {
            window: Window::new(window_share(capacity)),
            main,
            adding: std::array::from_fn(|_| Mutex::default()),
            stripes: RandomState::default(),
            evicted,
            hot: None,
            full: capacity,
            capacity: AtomicU64::new(capacity),
            unsettled: AtomicU64::new(0),
            slack: capacity / 64,
        }
    }

    /// Passes the key of each block that is read again while in memory to `hot`.
    pub(crate) fn with_hot(self, hot: impl Fn(&BlockKey) -> bool + Send + Sync + 'static) -> Self {
        Self { hot: Some(Box::new(hot)), ..self }
    }

    /// Returns a block for a reader, and counts the read.
    pub(crate) fn get(&self, key: &BlockKey) -> Option<Block> {
        let block = self.find(key)?;
        block.touch();
        self.announce(key, &block);
        Some(block)
    }

    /// Queues a block to be offered to the disk soon, once.
    pub(crate) fn announce(&self, key: &BlockKey, block: &Block) {
        if let Some(hot) = &self.hot
            && !block.is_offered()
            && hot(key)
        {
            block.offered();
        }
    }

    /// Whether any bytes of the block are in memory. moka counts no read.
    pub(crate) fn has(&self, key: &BlockKey) -> bool {
        self.window.get(key).is_some() || self.main.contains_key(key)
    }

    /// Returns a block without marking it as read.
    pub(crate) fn find(&self, key: &BlockKey) -> Option<Block> {
        // moka counts the read, whether it has the block or not.
        let found = self.main.get(key).or_else(|| self.window.get(key));
        // The block may have moved from the window to moka in between.
        found.or_else(|| if self.main.contains_key(key) { self.main.get(key) } else { None })
    }

    /// Returns all blocks, in no order; some may appear twice.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Arc<BlockKey>, Block)> + '_ {
        // In the direction in which blocks move, so that none is missed.
        let latest = self.window.blocks().into_iter();
        latest.map(|(key, block)| (Arc::new(key), block)).chain(self.main.iter())
    }

    /// Admits bytes of a block, joined to those already in memory. `true`: `slack` bytes were inserted since the last
    /// time, and [`MemoryTier::usage`] is exact again.
    pub(crate) fn admit(&self, key: BlockKey, block: Block) -> bool {
        debug_assert!(block.spans().all(|span| span.start >= key.start() && span.end <= key.end()));
        let _adding = self.stripe(&key).lock();
        let is_whole = block.covers(&(key.start()..key.end()));
        let there = if is_whole { None } else { self.peek(&key) };
        let block = match there {
            Some(there) if block.spans().all(|span| there.covers(&span)) => return false,
            Some(there) => there.joined(&block),
            None => block,
        };
        self.insert(key, block)
    }

    fn stripe(&self, key: &BlockKey) -> &Mutex<()> {
        let stripe = self.stripes.hash_one(key) % STRIPES as u64;
        &self.adding[usize::try_from(stripe).expect("below STRIPES")]
    }

    /// Returns a block; moka counts no read if it has none.
    fn peek(&self, key: &BlockKey) -> Option<Block> {
        let in_window = self.window.get(key);
        in_window.or_else(|| if self.main.contains_key(key) { self.main.get(key) } else { None })
    }

    fn insert(&self, key: BlockKey, block: Block) -> bool {
        // A block in moka stays there.
        if self.main.contains_key(&key) {
            self.window.remove(&key);
            return self.insert_main(key, block);
        }
        self.pass_on(self.window.push(key, block))
    }

    fn pass_on(&self, leaving: Vec<Leaving>) -> bool {
        let mut settled = false;
        for leaving in leaving {
            settled |= self.insert_main(leaving.key.clone(), leaving.block.clone());
            self.has_moved(&leaving);
        }
        settled
    }

    /// Moves a block from the window to moka, and calls `between` in between.
    #[cfg(test)]
    pub(crate) fn move_around(&self, leaving: &Leaving, between: impl FnOnce()) {
        self.insert_main(leaving.key.clone(), leaving.block.clone());
        between();
        self.has_moved(leaving);
    }

    #[cfg(test)]
    pub(crate) fn window(&self) -> &Window {
        &self.window
    }

    /// Completes the move of a block to moka. It is removed again if it was removed or replaced in the window
    /// meanwhile, unless the replacement is in moka already.
    fn has_moved(&self, leaving: &Leaving) {
        if self.window.left(leaving) {
            return;
        }
        let entry = self.main.entry_by_ref(&leaving.key);
        entry.and_compute_with(|there| match there {
            Some(there) if there.value().is_same(&leaving.block) => Op::Remove,
            _ => Op::Nop,
        });
    }

    fn insert_main(&self, key: BlockKey, block: Block) -> bool {
        let bytes = block.weight();
        let capacity = self.capacity.load(Ordering::Relaxed);
        if capacity < self.full
            && self.main_weight_at_most() + block.weight() > main_share(capacity)
        {
            metrics::evicted_blocks(Eviction::MemoryPressure, 1, block.age());
            (self.evicted)(&key, &block);
            return false;
        }
        self.main.insert(key, block);
        let settles = self.unsettled.fetch_add(bytes, Ordering::Relaxed) + bytes > self.slack;
        if settles {
            self.unsettled.store(0, Ordering::Relaxed);
            self.main.run_pending_tasks();
        }
        settles
    }

    /// Returns the weight in moka, including bytes that it has not counted yet.
    fn main_weight_at_most(&self) -> u64 {
        self.main.weighted_size() + self.unsettled.load(Ordering::Relaxed)
    }

    /// Returns the capacity, in bytes: as configured, and now.
    pub(crate) fn capacity(&self) -> (u64, u64) {
        (self.full, self.capacity.load(Ordering::Relaxed))
    }

    /// Sets the capacity, in bytes, at most that configured. Evicts the excess, first blocks that were not read since
    /// their admission. While the tier is shrunk, a sixteenth is kept free for new blocks.
    pub(crate) fn set_capacity(&self, bytes: u64) {
        let bytes = bytes.min(self.full);
        self.capacity.store(bytes, Ordering::Relaxed);
        self.pass_on(self.window.set_limit(window_share(bytes)));
        if bytes < self.full {
            self.evict_to(main_share(bytes - bytes / 16));
        }
    }

    fn evict_to(&self, bytes: u64) {
        self.settle();
        let mut excess = self.main.weighted_size().saturating_sub(bytes);
        for take_touched in [false, true] {
            for (key, block) in &self.main {
                if excess == 0 {
                    break;
                }
                if block.is_touched() == take_touched {
                    self.main.invalidate(&*key);
                    excess = excess.saturating_sub(block.weight());
                    metrics::evicted_blocks(Eviction::MemoryPressure, 1, block.age());
                    (self.evicted)(&key, &block);
                }
            }
        }
        self.settle();
    }

    /// Removes a block; it does not go to disk.
    pub(crate) fn remove(&self, key: &BlockKey) {
        // In this order: a block on its way to moka is then removed by the thread that moves it.
        self.window.remove(key);
        self.main.invalidate(key);
    }

    /// Runs moka's pending evictions and counts now.
    pub(crate) fn settle(&self) {
        self.unsettled.store(0, Ordering::Relaxed);
        self.main.run_pending_tasks();
    }

    /// Returns the weight in bytes, reserved bytes included, and the number of entries, as far as moka has counted.
    pub(crate) fn usage(&self) -> (u64, u64) {
        let (bytes, blocks) = self.window.usage();
        (bytes + self.main.weighted_size(), blocks + self.main.entry_count())
    }
}

/// Returns the share of a capacity for the window,
fn window_share(capacity: u64) -> u64 {
    WINDOW_MIN.min(capacity / WINDOW_SHARE_MAX).max(capacity / WINDOW_SHARE)
}

/// and the share for moka.
fn main_share(capacity: u64) -> u64 {
    capacity - window_share(capacity)
}
