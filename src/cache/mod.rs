//! Bytes and freshness. This room knows S3's nouns and the origin; it knows nothing of HTTP.
//!
//! ```text
//!  open ── known and fresh ───────────────────────────────┐
//!       ── known, not fresh ── one HEAD, shared ──────────┤
//!       ── unknown ── opening: the first ranged GET ──────┴─> Found { meta, version }
//!  read ── memory ── in flight ── a new fetch, pinned to the version ──> slices, in order
//! ```
//! Invariants: blocks are keyed by version and never mixed; nothing read before an invalidation is admitted
//! after it; each byte is fetched by one fetch at a time; what is held for readers is paid for in a budget.

mod budget;
pub mod config;
mod fetch;
mod fill;
mod flight;
mod generation;
mod heads;
mod key;
mod learn;
mod memory;
mod meta;
mod open;
mod plan;
mod policy;
mod reader;

use std::sync::Arc;

use crate::origin::Origin;

pub use config::{CacheConfig, Freshness, RuleConfig};
pub use open::{CacheError, Found, Source};
pub use policy::Policy;
pub use reader::{BlockReader, Piece};

use budget::Budget;
use flight::Flights;
use generation::Generations;
use heads::Heads;
use memory::MemoryTier;
use meta::MetaCache;

/// The part of `cache.memory` that is for metadata.
const METADATA_SHARE: u64 = 8;

/// The cache: one a process.
pub struct Cache {
    origin: Arc<Origin>,
    memory: MemoryTier,
    meta: MetaCache,
    generations: Generations,
    flights: Flights,
    heads: Heads,
    budget: Budget,
    /// Bytes.
    block_size: u64,
    /// Least bytes of an origin range within a run of missing blocks.
    fetch_size: u64,
    /// Most bytes that one reader has read ahead.
    read_ahead: u64,
}

/// What the cache holds now, for gauges.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    pub block_bytes: u64,
    pub blocks: u64,
    pub metadata_bytes: u64,
    pub metadata_entries: u64,
    pub in_flight_bytes: u64,
    pub in_flight_limit: u64,
}

impl Cache {
    pub fn new(config: &CacheConfig, origin: Arc<Origin>) -> Arc<Self> {
        let metadata = config.memory.0 / METADATA_SHARE;
        Arc::new(Self {
            origin,
            memory: MemoryTier::new(config.memory.0 - metadata),
            meta: MetaCache::new(metadata),
            generations: Generations::new(),
            flights: Flights::new(),
            heads: Heads::default(),
            budget: Budget::new(config.in_flight.0),
            block_size: config.block.0,
            fetch_size: config.fetch.0,
            read_ahead: config.read_ahead.0,
        })
    }

    pub fn block_size(&self) -> u64 {
        self.block_size
    }

    pub fn fetch_size(&self) -> u64 {
        self.fetch_size
    }

    pub fn usage(&self) -> Usage {
        let (block_bytes, blocks) = self.memory.usage();
        let (metadata_bytes, metadata_entries) = self.meta.usage();
        let (in_flight_bytes, in_flight_limit) = self.budget.usage();
        Usage {
            block_bytes,
            blocks,
            metadata_bytes,
            metadata_entries,
            in_flight_bytes,
            in_flight_limit,
        }
    }
}
