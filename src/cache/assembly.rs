//! Construction of the cache from its parts: divides its memory, and starts, measures and closes it.

use std::sync::Arc;

use super::config::{CacheConfig, RuleConfig};
use super::disk::{DiskError, DiskLimits, DiskTier, DiskUsage};
use super::facade::Cache;
use super::fetch::ahead::AheadReads;
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
use super::invalidate::generation::Generations;
use super::invalidate::invalidation::Invalidation;
use super::invalidate::listed_pages::ListedPages;
use super::invalidate::purge::Purges;
use super::invalidate::purge_epochs::PurgeEpochs;
use super::invalidate::recent_writes::RecentWrites;
use super::invalidate::replicas::Replicas;
use super::lists::store::Lists;
use super::lookup::explain::Explainer;
use super::lookup::failover::FailoverReads;
use super::lookup::hit_verification::HitVerifier;
use super::lookup::local_hit::LocalHits;
use super::lookup::metadata::MetadataLookup;
use super::lookup::miss_reason::MissReasons;
use super::lookup::open::Opener;
use super::lookup::partless::PartlessObjects;
use super::lookup::parts::PartOpener;
use super::lookup::revalidation::Revalidation;
use super::lookup::shared_head::SharedHead;
use super::metadata::admission::MetadataAdmission;
use super::metadata::store::MetaCache;
use super::tiers::blocks::BlockTiers;
use super::tiers::hot_queue::HotQueue;
use super::tiers::objects::ObjectTiers;
use super::tiers::write_behind;
use crate::origin::Origins;

/// Divisor of `cache.memory` for the minimum share of metadata; each block reserves some more.
const METADATA_SHARE: u64 = 16;
/// Divisor of `cache.memory` for the maximum share of metadata.
const METADATA_SHARE_MAX: u64 = 2;
/// Divisor of `cache.memory` for the maximum share of the disk index; [`QUEUE_SHARE`] is that of the disk's write
/// queue.
const INDEX_SHARE: u64 = 8;
/// Divisor of `cache.memory` for the share of cached listings, where a rule has them cached.
const LISTS_SHARE: u64 = 64;
const QUEUE_SHARE: u64 = 16;
const QUEUE_MAX: u64 = 64 << 20;
const QUEUE_BLOCKS: u64 = 8;

/// Current contents of the cache, for gauges.
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
        let purge_epochs = Arc::new(PurgeEpochs::new());
        let disk = match config.disk.is_empty() {
            true => None,
            false => Some(DiskTier::open(&config.disk, rules, limits, &purge_epochs)?),
        };
        let kept = disk.as_ref().map(DiskTier::purge_epochs).transpose()?;
        for kept in kept.iter().flatten().filter(|kept| !kept.is_empty()) {
            if !kept.iter().any(|kept| purge_epochs.merge(kept)) {
                log::error!("what was purged is not known any more: blocks on disk are not used");
                purge_epochs.lost();
            }
        }
        Ok(Self::over(disk, purge_epochs, config, rules, origin))
    }

    /// Creates the cache on top of an opened disk tier.
    pub(in crate::cache) fn over(
        disk: Option<DiskTier>,
        purge_epochs: Arc<PurgeEpochs>,
        config: &CacheConfig,
        rules: &[RuleConfig],
        origin: impl Into<Origins>,
    ) -> Arc<Self> {
        let origin = origin.into();
        let shares = MemoryShares::of(config, rules);
        let blocks = tiers(disk, purge_epochs, config, &shares);
        let objects = blocks.objects.clone();
        let lists = Arc::new(Lists::new(shares.lists));
        let room = Invalidators::new(&origin, &objects, &lists);
        let Invalidators { recent_writes, invalidation, admission, purges } = &room;
        let partless = Arc::new(PartlessObjects::new());
        let fetcher = room.fetcher(config, &origin, &blocks, &partless);
        let Fetcher { budget, flights, .. } = &*fetcher;
        let lookup = MetadataLookup::new(objects.clone());
        let head =
            SharedHead::new(origin.clone(), objects.clone(), admission.clone(), partless.clone());
        let head = Arc::new(head);
        let revalidation = Arc::new(Revalidation::new(
            origin.clone(),
            lookup.clone(),
            head.clone(),
            flights.clone(),
        ));
        let opener = Opener::new(lookup.clone(), revalidation.clone(), fetcher.clone());
        let opener = Arc::new(opener);
        let ahead = AheadReads::new(config.predict_reads, opener.clone(), fetcher.clone());
        let part_opener = PartOpener::new(
            lookup.clone(),
            revalidation.clone(),
            opener.clone(),
            admission.clone(),
            partless,
        );
        let misses = MissReasons::new(lookup.clone(), blocks.clone());
        let explainer =
            Explainer::new(lookup.clone(), misses.clone(), blocks.clone(), head, flights.clone());
        let hit_verifier = Arc::new(HitVerifier::new(
            origin.clone(),
            blocks.clone(),
            budget.clone(),
            invalidation.clone(),
            purges.clone(),
        ));
        let replicas = Arc::new(Replicas::new(
            origin.clone(),
            objects.clone(),
            lists.clone(),
            recent_writes.clone(),
            invalidation.clone(),
        ));
        let failover = FailoverReads::new(origin.clone(), objects.clone(), recent_writes.clone());
        failover.set_rules(rules);
        Arc::new(Self {
            local_hits: LocalHits::new(blocks.clone(), budget.clone()),
            eraser: Eraser::new(blocks.clone()),
            evidence: EvidenceCheck::new(objects.clone()),
            invalidation: invalidation.clone(),
            purges: purges.clone(),
            lists_share: config.memory() / LISTS_SHARE,
            fetcher,
            origin,
            objects,
            blocks,
            lookup,
            revalidation,
            opener,
            ahead: Arc::new(ahead),
            part_opener,
            misses,
            explainer,
            hit_verifier,
            failover,
            replicas,
            lists,
        })
    }

    /// Starts the disk tier, which may now remove unusable files, since everything else that a start needs is there.
    /// Call it before anything is served.
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

    /// Applies the rules to the disk tier and to cached listings; [`Rules::replace`](super::Rules::replace) does the
    /// rest. If no rule had listings cached at the start, their memory comes in addition to that of blocks.
    pub fn set_rules(&self, rules: &[RuleConfig]) {
        let keeps_lists = rules.iter().any(|rule| rule.lists.is_some());
        self.lists.set_capacity(if keeps_lists { self.lists_share } else { 0 });
        self.failover.set_rules(rules);
        if let Some(disk) = &self.objects.disk {
            disk.set_rules(rules);
        }
    }

    /// Writes the blocks in memory that are worth it to disk, and makes the disk tier durable. Call it when nothing is
    /// in flight any more, with a time limit of the caller; what was written by then stays.
    pub async fn close(&self) {
        self.blocks.close().await;
    }

    pub fn usage(&self) -> Usage {
        let (block_bytes, blocks) = self.blocks.usage();
        let (metadata_bytes, metadata_entries) = self.objects.meta.usage();
        let (in_flight_bytes, in_flight_limit) = self.fetcher.budget.usage();
        Usage {
            block_bytes,
            blocks,
            metadata_bytes,
            metadata_entries,
            in_flight_bytes,
            in_flight_limit,
        }
    }

    /// Returns the capacity for blocks in memory, in bytes: as configured, and now.
    pub fn block_capacity(&self) -> (u64, u64) {
        self.blocks.memory.capacity()
    }

    /// Sets the capacity for blocks in memory, in bytes, at most that configured. Evicts the excess before it returns,
    /// which takes time with many blocks.
    pub fn set_block_capacity(&self, bytes: u64) {
        self.blocks.set_capacity(bytes);
    }

    /// Sets the gauges of each path of the disk tier.
    pub fn set_disk_gauges(&self) {
        if let Some(disk) = &self.objects.disk {
            disk.set_gauges();
        }
    }

    /// Returns the contents of the disk tier, or `None` without one.
    pub fn disk_usage(&self) -> Option<DiskUsage> {
        self.objects.disk.as_ref().map(DiskTier::usage)
    }

    /// Whether no fetch waits for in-flight memory, and as much is free as one reader would leave to others when it
    /// reads ahead.
    pub fn has_room(&self) -> bool {
        self.fetcher.budget.has_room(self.fetcher.fetch_size)
    }
}

/// Creates the tiers on top of an opened disk tier.
fn tiers(
    disk: Option<DiskTier>,
    purge_epochs: Arc<PurgeEpochs>,
    config: &CacheConfig,
    shares: &MemoryShares,
) -> Arc<BlockTiers> {
    let departures = Arc::new(Departures::new(shares.departures));
    let most_metadata = config.memory() / METADATA_SHARE_MAX;
    let objects = Arc::new(ObjectTiers {
        meta: MetaCache::new(shares.metadata, most_metadata, departures.clone()),
        disk,
        generations: Generations::new(purge_epochs.clone()),
        purge_epochs,
        departures,
        listed: ListedPages::new(shares.listed),
        block_size: config.block.0,
    });
    let hot = HotQueue::new(config.admission);
    Arc::new(BlockTiers::new(objects, hot, shares.blocks, shares.metadata))
}

/// The parts that invalidate cached objects, and the one that admits new metadata.
struct Invalidators {
    recent_writes: Arc<RecentWrites>,
    invalidation: Arc<Invalidation>,
    admission: Arc<MetadataAdmission>,
    purges: Arc<Purges>,
}

impl Invalidators {
    fn new(origin: &Origins, objects: &Arc<ObjectTiers>, lists: &Arc<Lists>) -> Self {
        let recent_writes = Arc::new(RecentWrites::default());
        let invalidation = Invalidation::new(objects.clone(), lists.clone(), recent_writes.clone());
        let invalidation = Arc::new(invalidation);
        let admission =
            MetadataAdmission::new(objects.clone(), lists.clone(), invalidation.clone());
        let purges =
            Purges::new(origin.clone(), objects.clone(), lists.clone(), invalidation.clone());
        Self {
            recent_writes,
            invalidation,
            admission: Arc::new(admission),
            purges: Arc::new(purges),
        }
    }

    fn fetcher(
        &self,
        config: &CacheConfig,
        origin: &Origins,
        blocks: &Arc<BlockTiers>,
        partless: &Arc<PartlessObjects>,
    ) -> Arc<Fetcher> {
        let integrity = Arc::new(Integrity::new());
        let checksum_failures = ChecksumFailures::new(
            blocks.objects.clone(),
            self.admission.clone(),
            self.purges.clone(),
            integrity.clone(),
        );
        Arc::new(Fetcher {
            origin: origin.clone(),
            blocks: blocks.clone(),
            budget: Budget::new(config.in_flight()),
            flights: Arc::new(Flights::new()),
            integrity,
            locality: Locality::new(),
            empties: EmptyFolders::new(),
            partless: partless.clone(),
            invalidation: self.invalidation.clone(),
            admission: self.admission.clone(),
            checksum_failures,
            fetch_size: config.fetch.0,
            read_ahead: config.read_ahead.0,
        })
    }
}

/// Division of `cache.memory` by use, in bytes.
struct MemoryShares {
    metadata: u64,
    departures: u64,
    index: u64,
    queue: u64,
    lists: u64,
    /// For pages of listings that wait for comparison, and for those known to agree with the cache.
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

/// Returns the memory for the disk's index and for its write queue, in bytes.
fn disk_memory(config: &CacheConfig) -> (u64, u64) {
    let memory = config.memory();
    let capacity: u64 = config.disk.iter().map(|disk| disk.capacity.0).sum();
    // One entry per 64 KiB of capacity, the average block, of 128 bytes including its share of entries for objects.
    let index = (capacity / 512).min(memory / INDEX_SHARE);
    let queue = QUEUE_MAX.min(memory / QUEUE_SHARE).max(QUEUE_BLOCKS * config.block.0);
    (index, queue.min(memory / 4))
}
