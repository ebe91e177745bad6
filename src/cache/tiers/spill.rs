//! Between the tiers: what leaves memory goes to disk, and what is known of an object goes with it and comes back.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::cache::assembly::Cache;
use crate::cache::disk::{DiskTier, ObjectRecord, Recalled, Ticket};
use crate::cache::key::BlockKey;
use crate::cache::memory::block::Block;
use crate::cache::metadata::clock::Moment;
use crate::cache::metadata::store::{Doubt, Entry, Known};
use crate::s3::{BucketName, ObjectId, ObjectMeta, Realm, VersionId};

/// How long a write that passes through waits for the disk (R38).
const WRITE_PATIENCE: Duration = Duration::from_secs(1);
/// How long what is acknowledged waits for it; less than a webhook's sender does.
const PATIENCE: Duration = Duration::from_secs(3);

impl Cache {
    /// Offers a block that leaves memory to the disk. Called by moka, in whichever task makes it evict: nothing
    /// here waits, and nothing goes back to memory. Says whether it lies there, or will.
    pub(in crate::cache) fn spill(&self, key: &BlockKey, block: &Block) -> bool {
        self.offer(key, block)
    }

    /// Offers a block to the disk; says whether it lies there, or will.
    pub(in crate::cache) fn offer(&self, key: &BlockKey, block: &Block) -> bool {
        let Some(disk) = &self.disk else { return false };
        let is_taken = !self.is_ended(key) && disk.offer(key, block, block.is_touched());
        if is_taken {
            self.keep_metadata(disk, key);
        }
        is_taken
    }

    /// Blocks are of no use after a restart when nobody remembers what they are blocks of.
    fn keep_metadata(&self, disk: &DiskTier, key: &BlockKey) {
        let Some((id, entry)) = self.described(key) else { return };
        let Known::Object { meta, .. } = &entry.known else { return };
        if meta.no_store || disk.knows(&id) {
            return;
        }
        self.generations.locked(&id, || {
            if self.is_still_known(&id, &entry) {
                self.remember(disk, &id, meta, &entry);
            }
        });
    }

    /// Whether what was said of an object since the entry was learned left it as it is; the caller holds its stripe's
    /// lock. Its generation alone would say too little: it is raised by others that share its stripe, which with many
    /// purges and events are most.
    fn is_still_known(&self, id: &ObjectId, entry: &Arc<Entry>) -> bool {
        if id.is_variant() {
            // It stays when the object is forgotten.
            return self.generations.is_current(id, entry.generation);
        }
        self.meta.get(id).is_some_and(|known| Arc::ptr_eq(&known, entry))
            && !entry.is_doubted()
            && self.generations.bucket_is_current(id, entry.generation)
    }

    /// More parts are known than when the disk was told; the caller holds the stripe's lock.
    pub(in crate::cache) fn keep_parts(&self, id: &ObjectId, entry: &Entry) {
        if let (Some(disk), Some(meta)) = (&self.disk, entry.meta())
            && !meta.no_store
            && disk.knows(id)
        {
            self.remember(disk, id, meta, entry);
        }
    }

    /// What the disk knew before it was doubted turned out to be so; the caller holds the stripe's lock.
    pub(in crate::cache) fn keep_confirmed(&self, id: &ObjectId, doubted: &Entry, entry: &Entry) {
        if let (Some(disk), Some(old), Some(meta)) = (&self.disk, doubted.meta(), entry.meta())
            && !meta.no_store
            && meta.same_version(old)
        {
            self.remember(disk, id, meta, entry);
        }
    }

    fn remember(&self, disk: &DiskTier, id: &ObjectId, meta: &ObjectMeta, entry: &Entry) {
        // After a crash nobody would know that it was in doubt.
        if self.generations.is_being_written(id) || self.generations.is_suspect(id) {
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

    /// The entry that describes a block's version: the object's, or else one of another way to ask for it.
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

    /// Brings back what an earlier time knew of an object; says whether there was something.
    pub(in crate::cache) async fn recall(&self, id: &ObjectId) -> bool {
        let Some(disk) = &self.disk else { return false };
        if !disk.knows(id) {
            return false;
        }
        // First: what a listing contradicts is void then (R34).
        let is_settled = self.listed.settled(id).await;
        let generation = self.generations.current(id);
        let Some(Recalled { object, is_confirmed }) = disk.recall(id).await else { return false };
        let ObjectRecord { meta, learned } = object;
        let since = Moment::of(learned);
        let is_confirmed = is_confirmed && is_settled && !self.listed.casts_doubt(id, &since);
        let doubt = if is_confirmed { Doubt::No } else { Doubt::Yes { on_disk: true } };
        let version = self.version(id, &meta);
        let known = Known::Object { meta: Arc::new(meta), version };
        let entry = Entry { recalled: true, doubt, ..Entry::new(known, since, generation) };
        self.generations.admit(id, generation, || self.meta.insert(id, entry))
    }

    /// What is on disk of an object is void; the caller holds its stripe's lock.
    pub(in crate::cache) fn forget(&self, id: &ObjectId) -> Option<Ticket> {
        self.disk.as_ref()?.forget(id)
    }

    pub(in crate::cache) fn forget_bucket(
        &self,
        realm: &Realm,
        bucket: &BucketName,
    ) -> Option<Ticket> {
        self.disk.as_ref()?.forget_bucket(realm, bucket)
    }

    /// Waits until an invalidation would survive a power cut (R11). `false`: the disk did not take it within 3 s, and
    /// it holds only while this process runs.
    pub async fn durable(&self, ticket: Option<Ticket>) -> bool {
        match (&self.disk, ticket) {
            (Some(disk), Some(ticket)) => disk.durable(ticket, PATIENCE).await,
            _ => true,
        }
    }

    /// As [`Cache::durable`], for a write that passes through: it goes on after 1 s. The disk then counts as off, and
    /// a start that follows confirms each record (R38).
    pub async fn durable_or_off(&self, ticket: Option<Ticket>) {
        if let (Some(disk), Some(ticket)) = (&self.disk, ticket) {
            disk.durable(ticket, WRITE_PATIENCE).await;
        }
    }

    /// The last invalidation that is not durable yet: who repeats one waits for it.
    pub fn unsettled(&self) -> Option<Ticket> {
        self.disk.as_ref()?.unsettled()
    }

    /// Writes what is worth it of memory to disk, and makes what lies there last. To be called when nothing is in
    /// flight any more, with a limit of the caller's: what is written when that is over stays.
    pub async fn close(&self) {
        let Some(disk) = &self.disk else { return };
        self.write_behind.end();
        self.listed.all_settled().await;
        let (hot, rest): (Vec<_>, Vec<_>) =
            self.memory.iter().partition(|(_, block)| block.is_touched());
        let ended = |(key, _): &(Arc<BlockKey>, Block)| self.is_ended(key);
        for (key, block) in hot.into_iter().chain(rest).filter(|block| !ended(block)) {
            disk.keep(&key, &block).await;
            self.keep_metadata(disk, &key);
        }
        disk.finish().await;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use http::Method;

    use super::*;
    use crate::cache::lookup::open::Lookup;
    use crate::cache::metadata::clock::Sent;
    use crate::cache::metadata::store::LearnedBy;
    use crate::cache::{CacheConfig, DiskConfig, Freshness, Policy, RuleConfig, Scope};
    use crate::config::units::ByteSize;
    use crate::metrics::cache::InvalidationCause;
    use crate::origin::{Origin, OriginConfig};
    use crate::s3::{ListRequest, ObjectKey, Query, testing};

    fn meta(etag: &'static str) -> Arc<ObjectMeta> {
        Arc::new(testing::meta(etag, 5))
    }

    /// A cache over a disk of its own, which goes with it; and the name of an object.
    struct World {
        cache: Arc<Cache>,
        path: std::path::PathBuf,
        id: ObjectId,
    }

    impl World {
        fn new(name: &str) -> Self {
            let path = format!("hotset-{name}-{}", std::process::id());
            let path = std::env::temp_dir().join(path);
            let capacity = ByteSize::mib(128);
            let disk = DiskConfig { path: path.clone(), capacity, ..DiskConfig::default() };
            let config = CacheConfig { disk: vec![disk], ..CacheConfig::default() };
            let origin = Arc::new(Origin::new(OriginConfig::default(), None).unwrap());
            let realm = origin.domains().own().realm().clone();
            let cache = Cache::new(&config, &[RuleConfig::default()], origin).unwrap();
            let bucket = BucketName::new("bucket").unwrap();
            let id = ObjectId::new(&realm, bucket, ObjectKey::new("key").unwrap());
            Self { cache, path, id }
        }

        async fn end(self) {
            // Its writer makes files as long as there is something to write.
            self.cache.close().await;
            std::fs::remove_dir_all(self.path).unwrap();
        }
    }

    /// What ends the metadata of an object.
    #[derive(Debug, Clone, Copy)]
    enum End {
        Object,
        Bucket,
        PurgedPrefix,
        PurgedEverything,
    }

    impl World {
        fn void(&self, end: End) {
            let (cache, id) = (&self.cache, &self.id);
            let bucket = id.bucket().clone();
            match end {
                End::Object => drop(cache.invalidate(id, InvalidationCause::Event)),
                End::Bucket => {
                    let _ = cache.invalidate_bucket(id.realm(), &bucket, InvalidationCause::Event);
                }
                End::PurgedPrefix => drop(cache.purge(&[Scope::Prefix(bucket, "k".to_owned())])),
                End::PurgedEverything => drop(cache.purge(&[Scope::Everything])),
            }
        }
    }

    /// Waits until it is so, or well beyond the time at which it would be: who waits for a lock shows nothing.
    fn yield_until(mut is_so: impl FnMut() -> bool) {
        for _ in 0..300_000 {
            if is_so() {
                break;
            }
            std::thread::yield_now();
        }
    }

    /// The disk still has what is being voided when it is read.
    #[tokio::test]
    async fn r5_what_was_read_from_disk_while_it_was_voided_is_not_served_afterwards() {
        let policy = Policy::new(&Freshness::Immutable, None, Duration::ZERO, true, false);
        for end in [End::Object, End::Bucket, End::PurgedPrefix, End::PurgedEverything] {
            let world = World::new("voided");
            let (cache, id) = (&world.cache, &world.id);
            let disk = cache.disk.as_ref().unwrap();
            disk.remember(id, &meta("\"old\""), SystemTime::now(), || true);
            disk.finish().await;
            std::thread::scope(|scope| {
                let voided = disk.while_nothing_is_voided(async {
                    let before = cache.generations.current(id);
                    scope.spawn(|| world.void(end));
                    yield_until(|| !cache.generations.is_current(id, before));
                    let read = scope.spawn(|| cache.recall(id).now_or_never());
                    yield_until(|| read.is_finished());
                });
                voided.now_or_never().expect("it waits for nothing");
            });
            let known = cache.look(id, &policy, LearnedBy::Get).await;
            assert!(matches!(known, Lookup::Unknown), "{end:?}");
            world.end().await;
        }
    }

    #[tokio::test]
    async fn r11_what_the_disk_failed_to_bring_back_is_void_once_the_origin_was_asked() {
        let world = World::new("recall");
        let (cache, id) = (&world.cache, &world.id);
        let disk = cache.disk.as_ref().unwrap();
        disk.remember(id, &meta("\"old\""), SystemTime::now(), || true);
        assert!(disk.knows(id));

        let new = meta("\"new\"");
        let version = cache.version(id, &new);
        cache.learn(id, cache.generations.current(id), Moment::now(), &new, &version);
        assert!(!disk.knows(id));
        world.end().await;
    }

    /// Makes a block of the object known and puts it into memory.
    fn keep_block(world: &World) -> BlockKey {
        let (cache, id) = (&world.cache, &world.id);
        let meta = meta("\"e\"");
        let version = cache.version(id, &meta);
        cache.learn(id, cache.generations.current(id), Moment::now(), &meta, &version);
        let key = version.block(0);
        cache.keep(&key, Block::new(0, bytes::Bytes::from_static(b"12345")));
        key
    }

    /// Passes a listing that shows the object with this `ETag`.
    fn list(world: &World, etag: &str) {
        let (cache, id) = (&world.cache, &world.id);
        let request = ListRequest::of(&Method::GET, &Query::default()).unwrap();
        let mut page = cache.page_evidence(request, Sent::now(), id.realm(), id.bucket()).unwrap();
        let entry = format!("<Contents><Key>key</Key><ETag>{etag}</ETag><Size>5</Size></Contents>");
        page.push(cache, &entry.into());
        page.finish(cache);
    }

    #[tokio::test]
    async fn r34_a_shutdown_waits_until_listings_are_compared_with_the_disk() {
        let world = World::new("compared");
        let (cache, id) = (&world.cache, &world.id);
        cache.begin().unwrap();
        let disk = cache.disk.as_ref().unwrap();
        let before = SystemTime::now() - Duration::from_secs(10);
        for (listed, is_kept) in [("old", true), ("new", false)] {
            disk.remember(id, &meta("\"old\""), before, || true);
            disk.finish().await;
            list(&world, listed);
            cache.close().await;
            assert_eq!(disk.knows(id), is_kept, "{listed}");
        }
        world.end().await;
    }

    #[tokio::test]
    async fn r34_a_record_that_is_written_anew_is_compared_with_the_next_listing() {
        let world = World::new("anew");
        let (cache, id) = (&world.cache, &world.id);
        cache.begin().unwrap();
        let unchecked = cache.listed.unchecked(id, 7).unwrap();
        cache.listed.agrees(unchecked);
        let key = keep_block(&world);
        assert!(cache.listed.unchecked(id, 7).is_none());
        let block = cache.memory.get(&key).unwrap();
        assert!(cache.offer(&key, &block) && cache.disk.as_ref().unwrap().knows(id));
        assert!(cache.listed.unchecked(id, 7).is_some());
        world.end().await;
    }

    #[tokio::test]
    async fn what_was_written_while_it_was_in_memory_is_not_written_when_it_leaves() {
        let world = World::new("once");
        let cache = &world.cache;
        cache.begin().unwrap();
        let key = keep_block(&world);
        let disk = cache.disk.as_ref().unwrap();
        for _ in 0..2 {
            assert!(cache.memory.get(&key).is_some());
        }
        let written = async {
            while disk.holds(&key).is_none() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), written).await.expect("it is written");
        disk.finish().await;
        assert!(disk.knows(&world.id), "its metadata goes with it");
        let before = cache.disk_usage().unwrap().device_bytes;
        cache.set_block_capacity(0);
        assert!(!cache.memory.has(&key));
        disk.finish().await;
        assert_eq!(cache.disk_usage().unwrap().device_bytes, before);
        world.end().await;
    }

    #[tokio::test]
    async fn what_the_disk_has_no_room_for_is_offered_to_it_by_the_next_reader() {
        let world = World::new("again");
        let cache = &world.cache;
        let key = keep_block(&world);
        let waiting = || cache.write_behind.waiting();
        assert!(cache.memory.get(&key).is_some());
        assert!(cache.memory.get(&key).is_some());
        assert_eq!(waiting(), 1, "once");
        assert_eq!(cache.write_hot(&key, false), 0);
        assert!(cache.memory.get(&key).is_some());
        assert_eq!(waiting(), 2);
        assert_eq!(cache.write_hot(&key, true), 5);
        assert!(cache.memory.get(&key).is_some());
        assert_eq!(waiting(), 2);
        world.end().await;
    }
}
