//! Puts the cache together of its parts, divides its memory among them, and starts, measures and closes it.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::config::{CacheConfig, RuleConfig};
use super::disk::{DiskError, DiskLimits, DiskTier, DiskUsage};
use super::facade::Cache;
use super::fetch::budget::Budget;
use super::fetch::empties::EmptyFolders;
use super::fetch::fetcher::Fetcher;
use super::fetch::flight::Flights;
use super::fetch::integrity::Integrity;
use super::fetch::locality::Locality;
use super::invalidate::checksum_failures::ChecksumFailures;
use super::invalidate::departures::Departures;
use super::invalidate::disk_evidence;
use super::invalidate::erase::Eraser;
use super::invalidate::evidence::EvidenceCheck;
use super::invalidate::floors::Floors;
use super::invalidate::generation::Generations;
use super::invalidate::invalidation::Invalidation;
use super::invalidate::listed_pages::ListedPages;
use super::invalidate::purge::Purges;
use super::invalidate::recent_writes::RecentWrites;
use super::invalidate::replicas::Replicas;
use super::lists::store::Lists;
use super::lookup::no_parts::NoParts;
use super::metadata::admission::MetadataAdmission;
use super::metadata::heads::Heads;
use super::metadata::store::MetaCache;
use super::tiers::blocks::BlockTiers;
use super::tiers::hot_queue::HotQueue;
use super::tiers::objects::ObjectTiers;
use super::tiers::write_behind;
use crate::origin::Origins;

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
/// Comparisons of hits with the origin that are under way at a time.
const HIT_CHECKS: usize = 4;

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
        let most_metadata = config.memory() / METADATA_SHARE_MAX;
        let objects = Arc::new(ObjectTiers {
            meta: MetaCache::new(metadata, most_metadata, departures.clone()),
            disk,
            generations: Generations::new(floors.clone()),
            floors,
            departures,
            listed: ListedPages::new(listed),
            block_size: config.block.0,
        });
        let hot = HotQueue::new(config.admission);
        let blocks = Arc::new(BlockTiers::new(objects.clone(), hot, blocks, metadata));
        let lists = Arc::new(Lists::new(lists));
        let recent_writes = Arc::new(RecentWrites::default());
        let integrity = Arc::new(Integrity::new());
        let invalidation =
            Arc::new(Invalidation::new(objects.clone(), lists.clone(), recent_writes.clone()));
        let admission =
            Arc::new(MetadataAdmission::new(objects.clone(), lists.clone(), invalidation.clone()));
        let purges = Arc::new(Purges::new(
            origin.clone(),
            objects.clone(),
            lists.clone(),
            invalidation.clone(),
        ));
        let replicas = Arc::new(Replicas::new(
            origin.clone(),
            objects.clone(),
            lists.clone(),
            recent_writes.clone(),
            invalidation.clone(),
        ));
        let checksum_failures = ChecksumFailures::new(
            objects.clone(),
            admission.clone(),
            purges.clone(),
            integrity.clone(),
        );
        let no_parts = Arc::new(NoParts::new());
        let budget = Budget::new(config.in_flight());
        let flights = Arc::new(Flights::new());
        let locality = Arc::new(Locality::new());
        let fetcher = Arc::new(Fetcher {
            origin: origin.clone(),
            blocks: blocks.clone(),
            budget: budget.clone(),
            flights: flights.clone(),
            integrity,
            locality: locality.clone(),
            empties: EmptyFolders::new(),
            no_parts: no_parts.clone(),
            invalidation: invalidation.clone(),
            admission: admission.clone(),
            checksum_failures,
            fetch_size: config.fetch.0,
        });
        let cache = Arc::new(Self {
            eraser: Eraser::new(blocks.clone()),
            evidence: EvidenceCheck::new(objects.clone()),
            origin,
            objects,
            blocks,
            budget,
            flights,
            locality,
            fetcher,
            fetch_size: config.fetch.0,
            read_ahead: config.read_ahead.0,
            invalidation,
            admission,
            purges,
            replicas,
            heads: Heads::default(),
            lists,
            lists_share: config.memory() / LISTS_SHARE,
            no_parts,
            recent_writes,
            hit_checks: Arc::new(Semaphore::new(HIT_CHECKS)),
        });
        cache.set_failovers(rules);
        cache
    }

    /// Everything else that a start needs is there: the disk tier may remove what is of no use. To be called before
    /// anything is served.
    ///
    /// # Errors
    /// [`DiskError`]: a path of the disk tier cannot be written.
    pub fn begin(&self) -> Result<(), DiskError> {
        let Some(disk) = &self.objects.disk else { return Ok(()) };
        disk.begin()?;
        write_behind::begin(&self.blocks);
        disk_evidence::begin_comparing_pages(&self.objects);
        Ok(())
    }

    /// Puts what rules say of the disk and of lists into force; [`Rules::replace`](super::Rules::replace) does the rest.
    /// Lists that no rule had kept at the start take their memory beside that of blocks.
    pub fn set_rules(&self, rules: &[RuleConfig]) {
        let keeps_lists = rules.iter().any(|rule| rule.lists.is_some());
        self.lists.set_capacity(if keeps_lists { self.lists_share } else { 0 });
        self.set_failovers(rules);
        if let Some(disk) = &self.objects.disk {
            disk.set_rules(rules);
        }
    }

    /// Writes what is worth it of memory to disk, and makes what lies there last. To be called when nothing is in
    /// flight any more, with a limit of the caller's: what is written when that is over stays.
    pub async fn close(&self) {
        self.blocks.close().await;
    }

    pub fn usage(&self) -> Usage {
        let (block_bytes, blocks) = self.blocks.usage();
        let (metadata_bytes, metadata_entries) = self.objects.meta.usage();
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
        self.blocks.memory.capacity()
    }

    /// Bounds the blocks in memory by less than is configured, or by as much again. What is too much is evicted before
    /// it returns, which takes time with many blocks.
    pub fn set_block_capacity(&self, bytes: u64) {
        self.blocks.set_capacity(bytes);
    }

    /// Sets the gauges of each path of the disk tier.
    pub fn set_disk_gauges(&self) {
        if let Some(disk) = &self.objects.disk {
            disk.set_gauges();
        }
    }

    /// What lies on disk; `None` without a disk tier.
    pub fn disk_usage(&self) -> Option<DiskUsage> {
        self.objects.disk.as_ref().map(DiskTier::usage)
    }

    /// Whether nobody waits for memory in flight, and as much is free as one reader would leave to others when it
    /// reads ahead.
    pub fn has_room(&self) -> bool {
        self.budget.has_room(self.fetch_size)
    }
}

/// Bytes of `cache.memory`, by what they are for.
struct MemoryShares {
    metadata: u64,
    departures: u64,
    index: u64,
    queue: u64,
    lists: u64,
    /// For listings that are compared, and for those that are known to agree.
    listed: u64,
    blocks: u64,
}

impl MemoryShares {
    fn of(config: &CacheConfig, rules: &[RuleConfig]) -> Self {
        let memory = config.memory();
        let departures = Departures::share_of(memory);
        let metadata = (memory / METADATA_SHARE).saturating_sub(departures);
        let (index, queue) = if config.disk.is_empty() { (0, 0) } else { disk_memory(config) };
        let listed = match config.disk.is_empty() {
            true => ListedPages::share_without_disk(memory),
            false => ListedPages::share_of(memory),
        };
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
