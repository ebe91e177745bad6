//! Puts the cache together of its parts. Lookups, fetches and invalidations work on them in files of their own.

use std::sync::{Arc, Weak};

use super::config::{CacheConfig, RuleConfig};
use super::disk::{DiskError, DiskLimits, DiskTier, DiskUsage};
use super::fetch::budget::Budget;
use super::fetch::empties::EmptyFolders;
use super::fetch::flight::Flights;
use super::fetch::integrity::Integrity;
use super::fetch::locality::Locality;
use super::fetch::plan;
use super::invalidate::departures::{Departing as _, Departures, Why};
use super::invalidate::floors::Floors;
use super::invalidate::generation::Generations;
use super::invalidate::listed_pages::ListedPages;
use super::key::{BlockKey, ObjectVersion};
use super::lists::store::Lists;
use super::lookup::no_parts::NoParts;
use super::memory::block::RESERVED;
use super::memory::tier::MemoryTier;
use super::metadata::heads::Heads;
use super::metadata::store::MetaCache;
use super::tiers::hot_queue::WriteBehind;
use crate::origin::Origins;
use crate::s3::{BucketName, ObjectId, ObjectMeta, Realm};

/// The part of `cache.memory` that is for metadata whatever else is there; each block reserves some more.
const METADATA_SHARE: u64 = 16;
/// The most that is for metadata.
const METADATA_SHARE_MAX: u64 = 2;
/// The most of it that is for the index of the disk, and for what waits to be written there.
const INDEX_SHARE: u64 = 8;
/// That for lists, where a rule has them kept.
const LISTS_SHARE: u64 = 64;
const QUEUE_SHARE: u64 = 16;
const QUEUE_MAX: u64 = 64 << 20;
const QUEUE_BLOCKS: u64 = 8;

/// The cache: one a process.
pub struct Cache {
    pub(in crate::cache) origin: Origins,
    pub(in crate::cache) memory: MemoryTier,
    pub(in crate::cache) disk: Option<DiskTier>,
    pub(in crate::cache) write_behind: WriteBehind,
    pub(in crate::cache) meta: MetaCache,
    /// Bytes for metadata beside those that blocks reserve.
    pub(in crate::cache) metadata: u64,
    pub(in crate::cache) floors: Arc<Floors>,
    /// Held by who erases.
    pub(in crate::cache) erasing: Arc<tokio::sync::Mutex<()>>,
    pub(in crate::cache) generations: Generations,
    pub(in crate::cache) flights: Flights,
    pub(in crate::cache) integrity: Integrity,
    pub(in crate::cache) locality: Locality,
    pub(in crate::cache) empties: EmptyFolders,
    pub(in crate::cache) heads: Heads,
    pub(in crate::cache) lists: Lists,
    pub(in crate::cache) no_parts: NoParts,
    pub(in crate::cache) departures: Arc<Departures>,
    /// Listings that wait to be compared with the disk.
    pub(in crate::cache) listed: Arc<ListedPages>,
    pub(in crate::cache) budget: Budget,
    /// Bytes for lists while a rule has them kept.
    lists_share: u64,
    /// Bytes.
    pub(in crate::cache) block_size: u64,
    /// Least bytes of an origin range within a run of missing blocks.
    pub(in crate::cache) fetch_size: u64,
    /// Most bytes that one reader has read ahead.
    pub(in crate::cache) read_ahead: u64,
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
    /// # Errors
    /// [`DiskError`]: a path of the disk tier is not ours to write.
    pub fn new(
        config: &CacheConfig,
        rules: &[RuleConfig],
        origin: impl Into<Origins>,
    ) -> Result<Arc<Self>, DiskError> {
        let MemoryShares { index, queue, blocks, .. } = MemoryShares::of(config, rules);
        let limits = DiskLimits { index, queue, memory: blocks, admission: config.admission };
        let floors = Arc::new(Floors::new());
        let disk = match config.disk.is_empty() {
            true => None,
            false => Some(DiskTier::open(&config.disk, rules, limits, &floors)?),
        };
        let kept = disk.as_ref().map(DiskTier::floors).transpose()?;
        for kept in kept.iter().flatten().filter(|kept| !kept.is_empty()) {
            if !kept.iter().any(|kept| floors.merge(kept)) {
                log::error!("what was purged is not known any more: blocks on disk are not used");
                floors.lost();
            }
        }
        Ok(Self::over(disk, floors, config, rules, origin))
    }

    /// Over a disk tier that is open.
    pub(in crate::cache) fn over(
        disk: Option<DiskTier>,
        floors: Arc<Floors>,
        config: &CacheConfig,
        rules: &[RuleConfig],
        origin: impl Into<Origins>,
    ) -> Arc<Self> {
        let origin = origin.into();
        let MemoryShares { metadata, departures, lists, listed, blocks, .. } =
            MemoryShares::of(config, rules);
        let departures = Arc::new(Departures::new(departures));
        Arc::new_cyclic(|cache: &Weak<Self>| {
            let cache = cache.clone();
            let evicted = move |key: &BlockKey, block: &_| {
                if let Some(cache) = cache.upgrade()
                    && !cache.spill(key, block)
                {
                    cache.departures.record(key.departing(), Why::Evicted);
                }
            };
            let write_behind = WriteBehind::new(config.admission);
            let memory = MemoryTier::new(blocks, evicted);
            let memory = match &disk {
                Some(_) => memory.with_hot(write_behind.intake()),
                None => memory,
            };
            Self {
                origin,
                memory,
                write_behind,
                disk,
                meta: MetaCache::new(
                    metadata,
                    config.memory() / METADATA_SHARE_MAX,
                    departures.clone(),
                ),
                metadata,
                generations: Generations::new(floors.clone()),
                floors,
                erasing: Arc::default(),
                flights: Flights::new(),
                integrity: Integrity::new(),
                locality: Locality::new(),
                empties: EmptyFolders::new(),
                heads: Heads::default(),
                lists: Lists::new(lists),
                lists_share: config.memory() / LISTS_SHARE,
                no_parts: NoParts::new(),
                departures,
                listed: ListedPages::new(listed),
                budget: Budget::new(config.in_flight()),
                block_size: config.block.0,
                fetch_size: config.fetch.0,
                read_ahead: config.read_ahead.0,
            }
        })
    }

    /// Everything else that a start needs is there: the disk tier may remove what is of no use. To be called before
    /// anything is served.
    ///
    /// # Errors
    /// [`DiskError`]: a path of the disk tier cannot be written.
    pub fn begin(self: &Arc<Self>) -> Result<(), DiskError> {
        let Some(disk) = &self.disk else { return Ok(()) };
        disk.begin()?;
        self.begin_writing_behind();
        self.begin_comparing_pages();
        Ok(())
    }

    /// Puts what rules say of the disk and of lists into force; [`Rules::replace`](super::Rules::replace) does the rest.
    /// Lists that no rule had kept at the start take their memory beside that of blocks.
    pub fn set_rules(&self, rules: &[RuleConfig]) {
        let keeps_lists = rules.iter().any(|rule| rule.lists.is_some());
        self.lists.set_capacity(if keeps_lists { self.lists_share } else { 0 });
        if let Some(disk) = &self.disk {
            disk.set_rules(rules);
        }
    }

    /// Where objects of a client's bucket belong that are fetched with hotset's own keys.
    pub fn own_realm(&self, bucket: &BucketName) -> &Realm {
        self.origin.realm_of(Some(bucket))
    }

    pub fn block_size(&self) -> u64 {
        self.block_size
    }

    /// A version that was learned just now.
    pub(in crate::cache) fn version(&self, id: &ObjectId, meta: &ObjectMeta) -> ObjectVersion {
        ObjectVersion::new(id, meta, self.block_size, self.floors.of(id))
    }

    /// What a fetch of the first `bytes` of an object is rounded up to, in bytes.
    pub fn granularity(&self, bytes: u64) -> u64 {
        if bytes < self.block_size { plan::UNIT.min(self.block_size) } else { self.block_size }
    }

    pub fn fetch_size(&self) -> u64 {
        self.fetch_size
    }

    pub fn usage(&self) -> Usage {
        let (weight, blocks) = self.memory.usage();
        let block_bytes = weight.saturating_sub(reserved(blocks));
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

    /// Most bytes of blocks in memory: as configured, and now.
    pub fn block_capacity(&self) -> (u64, u64) {
        self.memory.capacity()
    }

    /// Bounds the blocks in memory by less than is configured, or by as much again. What is too much is evicted before
    /// it returns, which takes time with many blocks.
    pub fn set_block_capacity(&self, bytes: u64) {
        self.memory.set_capacity(bytes);
        self.share_memory();
    }

    /// Gives metadata what the blocks in memory reserve for it. With small objects that is a third of memory, with large
    /// ones next to nothing. The sum of both stays within `cache.memory`.
    pub(in crate::cache) fn share_memory(&self) {
        self.meta.set_capacity(self.metadata + reserved(self.memory.usage().1));
    }

    /// Sets the gauges of each path of the disk tier.
    pub fn set_disk_gauges(&self) {
        if let Some(disk) = &self.disk {
            disk.set_gauges();
        }
    }

    /// What lies on disk; `None` without a disk tier.
    pub fn disk_usage(&self) -> Option<DiskUsage> {
        self.disk.as_ref().map(DiskTier::usage)
    }
}

/// Bytes that so many blocks reserve for metadata.
fn reserved(blocks: u64) -> u64 {
    blocks * RESERVED as u64
}

/// Bytes of `cache.memory`, by what they are for.
struct MemoryShares {
    pub(in crate::cache) metadata: u64,
    departures: u64,
    index: u64,
    queue: u64,
    pub(in crate::cache) lists: u64,
    /// For listings that wait to be compared with the disk.
    listed: u64,
    blocks: u64,
}

impl MemoryShares {
    fn of(config: &CacheConfig, rules: &[RuleConfig]) -> Self {
        let memory = config.memory();
        let departures = Departures::share_of(memory);
        let metadata = (memory / METADATA_SHARE).saturating_sub(departures);
        let (index, queue) = if config.disk.is_empty() { (0, 0) } else { disk_memory(config) };
        let listed = if config.disk.is_empty() { 0 } else { ListedPages::share_of(memory) };
        let lists = rules.iter().any(|rule| rule.lists.is_some());
        let lists = if lists { memory / LISTS_SHARE } else { 0 };
        let others = (memory / METADATA_SHARE).max(departures) + index + queue + lists + listed;
        Self {
            metadata,
            departures,
            index,
            queue,
            lists,
            listed,
            blocks: memory.saturating_sub(others),
        }
    }
}

/// Memory for the disk's index and for its queue.
fn disk_memory(config: &CacheConfig) -> (u64, u64) {
    let memory = config.memory();
    let capacity: u64 = config.disk.iter().map(|disk| disk.capacity.0).sum();
    // Entries for blocks of 64 KiB on average, of 128 bytes with those for objects.
    let index = (capacity / 512).min(memory / INDEX_SHARE);
    let queue = QUEUE_MAX.min(memory / QUEUE_SHARE).max(QUEUE_BLOCKS * config.block.0);
    (index, queue.min(memory / 4))
}
