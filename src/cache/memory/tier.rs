//! The memory tier: blocks in moka, weighed in bytes, kept by `TinyLFU` behind a window of the latest.
//!
//! ```text
//!   a new block ─> window ─ the oldest leave ─> moka ─ admits or refuses, evicts ─> the disk
//! ```
//! A block may be there from its middle on: reads fetch from the byte they need to the block's end (see
//! [`crate::cache::fetch::plan`]), and what comes before is added when it is read.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use foldhash::fast::RandomState;
use moka::notification::RemovalCause;
use moka::policy::EvictionPolicy;
use moka::sync::Cache as Moka;

use super::window::{Leaving, Window};
use crate::cache::key::BlockKey;
use crate::metrics::cache::{self as metrics, Eviction};

/// What an entry costs beside its bytes: key, version, moka's own nodes. Measured with small objects.
const ENTRY_OVERHEAD: usize = 512;
/// Bytes of the same memory that an entry reserves for the metadata of its object, without which nobody finds it.
pub(crate) const RESERVED: usize = 1024;
pub(crate) const ENTRY_COST: usize = ENTRY_OVERHEAD + RESERVED;

/// The part of the capacity that is for the window, and at least [`WINDOW_MIN`] where that is not more than
/// [`WINDOW_SHARE_MAX`]. `cargo bench --bench hit_ratio`: an eighth gains up to 20 points on three traces and loses 2.6
/// on P3 and 0.6 on Zipf's law; this loses nowhere more than half a point.
const WINDOW_SHARE: u64 = 100;
const WINDOW_SHARE_MAX: u64 = 6;
/// Bytes: 64 readers with an object of 100 KB each fit.
const WINDOW_MIN: u64 = 8 << 20;

/// The bytes `start..` of a block, up to its end.
#[derive(Debug, Clone)]
pub(crate) struct Block {
    /// Offset in the object of the first byte that is there.
    pub start: u64,
    pub bytes: Bytes,
    /// [`TOUCHED`] and [`OFFERED`].
    flags: Arc<AtomicU8>,
}

/// It was read since it came to memory.
const TOUCHED: u8 = 1;
/// The disk has it, or will be offered it.
const OFFERED: u8 = 2;

impl Block {
    pub(crate) fn new(start: u64, bytes: Bytes) -> Self {
        Self { start, bytes, flags: Arc::default() }
    }

    /// Bytes that it costs, its entry and what it reserves included.
    pub(crate) fn weight(&self) -> u64 {
        (self.bytes.len() + ENTRY_COST) as u64
    }

    fn is(&self, flag: u8) -> bool {
        self.flags.load(Ordering::Relaxed) & flag != 0
    }

    fn set(&self, flag: u8) {
        if !self.is(flag) {
            self.flags.fetch_or(flag, Ordering::Relaxed);
        }
    }

    pub(crate) fn is_touched(&self) -> bool {
        self.is(TOUCHED)
    }

    /// The disk did not take it: the next reader has it offered again.
    pub(crate) fn refused(&self) {
        self.flags.fetch_and(!OFFERED, Ordering::Relaxed);
    }

    /// Offsets in the object of what is there.
    pub(crate) fn span(&self) -> Range<u64> {
        self.start..self.end()
    }

    /// Offset in the object past the last byte.
    pub(crate) fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    /// The bytes from `offset` on, when they are there.
    pub(crate) fn from(&self, offset: u64) -> Option<Bytes> {
        let skip = offset.checked_sub(self.start)?;
        let skip = usize::try_from(skip).ok()?;
        (skip < self.bytes.len()).then(|| self.bytes.slice(skip..))
    }
}

/// Takes what leaves for want of room.
type Evicted = Arc<dyn Fn(&BlockKey, &Block) + Send + Sync>;
/// Takes the names of blocks that are to be offered to the disk soon; `false`: not this time.
type Hot = Box<dyn Fn(&BlockKey) -> bool + Send + Sync>;

pub(crate) struct MemoryTier {
    window: Window,
    main: Moka<BlockKey, Block, RandomState>,
    evicted: Evicted,
    /// `None`: nothing is written before it leaves.
    hot: Option<Hot>,
    /// Bytes as configured, which moka holds to,
    full: u64,
    /// and now: moka's capacity is for its lifetime, so less than that is kept to here.
    capacity: AtomicU64,
    /// Bytes inserted since moka last evicted.
    unsettled: AtomicU64,
    /// So many of them make it evict: by itself it waits for 64 insertions or 300 ms, which may be 64 MiB.
    slack: u64,
}

impl MemoryTier {
    /// Holds up to `capacity` bytes, entries' own cost included. What leaves for want of room goes to `evicted`,
    /// which must not come back here.
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
                    metrics::evicted(Eviction::Memory, 1);
                    to_evicted(&key, &block);
                }
            })
            .build_with_hasher(RandomState::default());
        Self {
            window: Window::new(window_share(capacity)),
            main,
            evicted,
            hot: None,
            full: capacity,
            capacity: AtomicU64::new(capacity),
            unsettled: AtomicU64::new(0),
            slack: capacity / 64,
        }
    }

    /// Tells `hot` of each block that is read over while it is here.
    pub(crate) fn with_hot(self, hot: impl Fn(&BlockKey) -> bool + Send + Sync + 'static) -> Self {
        Self { hot: Some(Box::new(hot)), ..self }
    }

    /// The block, for a reader.
    pub(crate) fn get(&self, key: &BlockKey) -> Option<Block> {
        let block = self.find(key)?;
        block.set(TOUCHED);
        self.announce(key, &block);
        Some(block)
    }

    /// Has a block offered to the disk soon, once.
    pub(crate) fn announce(&self, key: &BlockKey, block: &Block) {
        if let Some(hot) = &self.hot
            && !block.is(OFFERED)
            && hot(key)
        {
            block.set(OFFERED);
        }
    }

    /// What is there of a block, for who plans, as offsets in the object.
    pub(crate) fn holds(&self, key: &BlockKey) -> Option<Range<u64>> {
        self.find(key).map(|block| block.span())
    }

    /// The block, for none of its readers.
    pub(crate) fn find(&self, key: &BlockKey) -> Option<Block> {
        // moka counts the read, whether it has the block or not.
        let found = self.main.get(key).or_else(|| self.window.get(key));
        // It may have gone from the one to the other in between.
        found.or_else(|| if self.main.contains_key(key) { self.main.get(key) } else { None })
    }

    /// All blocks, in no order; some twice.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Arc<BlockKey>, Block)> + '_ {
        // In the direction in which they go, so that none is missed.
        let latest = self.window.blocks().into_iter();
        latest.map(|(key, block)| (Arc::new(key), block)).chain(self.main.iter())
    }

    /// Admits the bytes `start..` of a block, joined to what is there already behind them. `true`: a part of the
    /// capacity was inserted since it last was, and [`MemoryTier::usage`] is exact again.
    pub(crate) fn admit(&self, key: BlockKey, block: Block) -> bool {
        debug_assert!(block.end() <= key.end() && block.start >= key.start());
        if block.end() == key.end() {
            return self.insert(key, block);
        }
        if let Some(rest) = self.find(&key)
            && let Some(tail) = rest.from(block.end())
            && block.start < rest.start
        {
            let mut joined = BytesMut::with_capacity(block.bytes.len() + tail.len());
            joined.extend_from_slice(&block.bytes);
            joined.extend_from_slice(&tail);
            return self.insert(key, Block::new(block.start, joined.freeze()));
        }
        false
    }

    fn insert(&self, key: BlockKey, block: Block) -> bool {
        // What moka has stays there.
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
            if !self.window.left(&leaving) {
                self.main.invalidate(&leaving.key);
            }
        }
        settled
    }

    fn insert_main(&self, key: BlockKey, block: Block) -> bool {
        let bytes = block.weight();
        let capacity = self.capacity.load(Ordering::Relaxed);
        if capacity < self.full
            && self.main_weight_at_most() + block.weight() > main_share(capacity)
        {
            metrics::evicted(Eviction::MemoryPressure, 1);
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

    /// Weighed bytes in moka, those included that it has not counted yet.
    fn main_weight_at_most(&self) -> u64 {
        self.main.weighted_size() + self.unsettled.load(Ordering::Relaxed)
    }

    /// Bytes that it may hold: as configured, and now.
    pub(crate) fn capacity(&self) -> (u64, u64) {
        (self.full, self.capacity.load(Ordering::Relaxed))
    }

    /// Holds up to so many bytes from now on, at most as many as configured. What is too much is evicted, blocks that
    /// were not read since they came first; while it is shrunk a sixteenth is kept free, so that new blocks come in.
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
                    metrics::evicted(Eviction::MemoryPressure, 1);
                    (self.evicted)(&key, &block);
                }
            }
        }
        self.settle();
    }

    /// Removes a block; it does not go to disk.
    pub(crate) fn remove(&self, key: &BlockKey) {
        // In this order: what is on its way to moka is then removed by who brings it there.
        self.window.remove(key);
        self.main.invalidate(key);
    }

    /// Does now what moka does later.
    pub(crate) fn settle(&self) {
        self.unsettled.store(0, Ordering::Relaxed);
        self.main.run_pending_tasks();
    }

    /// Weighed bytes, with what is reserved, and number of entries, as far as moka has counted.
    pub(crate) fn usage(&self) -> (u64, u64) {
        let (bytes, blocks) = self.window.usage();
        (bytes + self.main.weighted_size(), blocks + self.main.entry_count())
    }
}

/// The part of a capacity that is for the window,
fn window_share(capacity: u64) -> u64 {
    WINDOW_MIN.min(capacity / WINDOW_SHARE_MAX).max(capacity / WINDOW_SHARE)
}

/// and that for moka.
fn main_share(capacity: u64) -> u64 {
    capacity - window_share(capacity)
}
