//! Metadata of objects in memory and on disk: it is written with the blocks that it describes, and recalled on demand.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::cache::disk::{DiskTier, ObjectRecord, Recalled, Ticket};
use crate::cache::invalidate::departures::{Departing as _, Departures, Why};
use crate::cache::invalidate::generation::Generations;
use crate::cache::invalidate::listed_pages::ListedPages;
use crate::cache::invalidate::purge_epochs::PurgeEpochs;
use crate::cache::key::{BlockKey, ObjectVersion};
use crate::cache::metadata::clock::Moment;
use crate::cache::metadata::store::{Entry, Known, MetaCache, StaleMark};
use crate::metrics::cache::InvalidationCause;
use crate::s3::{BucketName, ObjectId, ObjectMeta, Realm, VersionId};

/// Maximum wait of a write that passes through for its record on disk (R38).
const WRITE_TIMEOUT: Duration = Duration::from_secs(1);
/// Maximum wait of an acknowledgement for its record on disk; less than the timeout of a webhook's sender.
const ACKNOWLEDGE_TIMEOUT: Duration = Duration::from_secs(3);

/// The metadata of objects in memory and on disk, and the counters that decide its races with invalidations.
pub(in crate::cache) struct ObjectTiers {
    pub meta: MetaCache,
    pub disk: Option<DiskTier>,
    pub purge_epochs: Arc<PurgeEpochs>,
    pub generations: Generations,
    pub departures: Arc<Departures>,
    /// Pages of listings that wait to be compared with the disk.
    pub listed: Arc<ListedPages>,
    /// Block size of versions learned from now on, in bytes.
    pub block_size: u64,
}

impl ObjectTiers {
    /// Returns a version for metadata that was learned just now.
    pub(in crate::cache) fn version(&self, id: &ObjectId, meta: &ObjectMeta) -> ObjectVersion {
        ObjectVersion::new(id, meta, self.block_size, self.purge_epochs.of(id))
    }

    /// Whether the block was purged.
    pub(in crate::cache) fn is_purged(&self, key: &BlockKey) -> bool {
        key.version().purge_epoch() < self.purge_epochs.of(key.id())
    }

    /// Whether the disk has a record of the object.
    pub(in crate::cache) fn is_on_disk(&self, id: &ObjectId) -> bool {
        self.disk.as_ref().is_some_and(|disk| disk.knows(id))
    }

    /// Records the invalidation of a cached object as a departure; one that was not cached stays new.
    pub(in crate::cache) fn record_invalidation(&self, id: &ObjectId, cause: InvalidationCause) {
        if self.meta.get(id).is_some() || self.is_on_disk(id) {
            self.departures.record(id.departing(), Why::Invalidated(cause));
        }
    }

    /// Returns the stale mark for an entry that becomes stale now.
    pub(in crate::cache) fn stale_mark_of(&self, id: &ObjectId, entry: &Entry) -> StaleMark {
        let before = matches!(entry.stale, StaleMark::Yes { on_disk: true });
        StaleMark::Yes { on_disk: self.is_on_disk(id) || before }
    }

    /// Writes the metadata that describes a block to disk; without it, the block cannot be used after a restart.
    pub(in crate::cache) fn persist_described(&self, disk: &DiskTier, key: &BlockKey) {
        let Some((id, entry)) = self.described(key) else { return };
        let Known::Object { meta, .. } = &entry.known else { return };
        if meta.no_store || disk.knows(&id) {
            return;
        }
        self.generations.locked(&id, || {
            if self.is_still_known(&id, &entry) {
                self.persist(disk, &id, meta, &entry);
            }
        });
    }

    /// Whether an entry was not invalidated since it was learned; the caller holds its stripe's lock. The generation
    /// alone is too coarse: objects that share the stripe raise it, too, often with many purges and events.
    fn is_still_known(&self, id: &ObjectId, entry: &Arc<Entry>) -> bool {
        if id.is_variant() {
            // A variant stays when the object is invalidated.
            return self.generations.is_current(id, entry.generation);
        }
        self.meta.get(id).is_some_and(|known| Arc::ptr_eq(&known, entry))
            && !entry.is_marked_stale()
            && self.generations.bucket_is_current(id, entry.generation)
    }

    /// Rewrites the record of an object of which more parts are known by now; the caller holds the stripe's lock.
    pub(in crate::cache) fn persist_parts(&self, id: &ObjectId, entry: &Entry) {
        if let (Some(disk), Some(meta)) = (&self.disk, entry.meta())
            && !meta.no_store
            && disk.knows(id)
        {
            self.persist(disk, id, meta, entry);
        }
    }

    /// Rewrites a voided record whose version was confirmed; the caller holds the stripe's lock.
    pub(in crate::cache) fn persist_confirmed(
        &self,
        id: &ObjectId,
        doubted: &Entry,
        entry: &Entry,
    ) {
        if let (Some(disk), Some(old), Some(meta)) = (&self.disk, doubted.meta(), entry.meta())
            && !meta.no_store
            && meta.same_version(old)
        {
            self.persist(disk, id, meta, entry);
        }
    }

    fn persist(&self, disk: &DiskTier, id: &ObjectId, meta: &ObjectMeta, entry: &Entry) {
        // After a crash, it would not be known that the outcome was in doubt.
        if self.generations.is_being_written(id) || self.generations.is_outcome_unknown(id) {
            return;
        }
        let learned = SystemTime::now().checked_sub(entry.since.age());
        let learned = learned.unwrap_or(SystemTime::UNIX_EPOCH);
        // These epochs are raised without the object's lock.
        let is_current = || {
            self.generations.bucket_is_current(id, entry.generation)
                && self.generations.epoch_is_current(entry.generation)
        };
        self.listed.is_written(id);
        disk.remember(id, meta, learned, is_current);
    }

    /// Returns the entry that describes a block's version: the object's, or else one of its variants.
    fn described(&self, key: &BlockKey) -> Option<(ObjectId, Arc<Entry>)> {
        let describes = |entry: &Arc<Entry>| match &entry.known {
            Known::Object { version, .. } => version == key.version(),
            Known::Missing { .. } | Known::Uncacheable => false,
        };
        if let Some(entry) = self.meta.get(key.id()).filter(describes) {
            return Some((key.id().clone(), entry));
        }
        let version = key.version().version_id().and_then(|id| VersionId::new(id.to_str().ok()?));
        let version = version.map(|version| key.id().at(version));
        let paid = [Some(key.id().paid()), version.as_ref().map(ObjectId::paid)];
        let mut ways = [version].into_iter().chain(paid).flatten();
        ways.find_map(|id| {
            let entry = self.meta.get(&id).filter(describes)?;
            Some((id, entry))
        })
    }

    /// Recalls the record of an object from disk into memory; returns whether there was one.
    pub(in crate::cache) async fn recall(&self, id: &ObjectId) -> bool {
        let Some(disk) = &self.disk else { return false };
        if !disk.knows(id) {
            return false;
        }
        // First, so that a record that a listing contradicts is void (R34).
        let is_settled = self.listed.settled(id).await;
        let generation = self.generations.current(id);
        let Some(Recalled { object, is_confirmed }) = disk.recall(id).await else { return false };
        let ObjectRecord { meta, learned } = object;
        let since = Moment::of(learned);
        let is_confirmed = is_confirmed && is_settled && !self.listed.marks_stale(id, &since);
        let stale = if is_confirmed { StaleMark::No } else { StaleMark::Yes { on_disk: true } };
        let version = self.version(id, &meta);
        let known = Known::Object { meta: Arc::new(meta), version };
        let entry = Entry { recalled: true, stale, ..Entry::new(known, since, generation) };
        self.generations.admit(id, generation, || self.meta.insert(id, entry))
    }

    /// Voids the record of an object on disk; the caller holds its stripe's lock.
    pub(in crate::cache) fn void_record(&self, id: &ObjectId) -> Option<Ticket> {
        self.disk.as_ref()?.forget(id)
    }

    /// Voids the records on disk of every object of a bucket.
    pub(in crate::cache) fn void_records_of(
        &self,
        realm: &Realm,
        bucket: &BucketName,
    ) -> Option<Ticket> {
        self.disk.as_ref()?.forget_bucket(realm, bucket)
    }

    /// Waits until an invalidation would survive a power cut (R11). `false`: the disk did not take it within 3 s, and
    /// it holds only while this process runs.
    pub(in crate::cache) async fn durable(&self, ticket: Option<Ticket>) -> bool {
        match (&self.disk, ticket) {
            (Some(disk), Some(ticket)) => disk.durable(ticket, ACKNOWLEDGE_TIMEOUT).await,
            _ => true,
        }
    }

    /// As [`Self::durable`], for a write that passes through, which waits at most 1 s. After that the disk counts as
    /// off, and a start that follows confirms each record (R38).
    pub(in crate::cache) async fn durable_or_off(&self, ticket: Option<Ticket>) {
        if let (Some(disk), Some(ticket)) = (&self.disk, ticket) {
            disk.durable(ticket, WRITE_TIMEOUT).await;
        }
    }

    /// Returns the last invalidation that is not durable yet; a repeated invalidation waits for it.
    pub(in crate::cache) fn unsettled(&self) -> Option<Ticket> {
        self.disk.as_ref()?.unsettled()
    }
}
