//! Offers blocks that are evicted from memory, or are hot there, to the disk.

use std::sync::Arc;

use super::objects::ObjectTiers;
use crate::cache::invalidate::departures::{Departing as _, Why};
use crate::cache::key::BlockKey;
use crate::cache::memory::block::Block;

/// Writes blocks from memory to disk, with their metadata.
#[derive(Clone)]
pub(in crate::cache) struct Spill {
    objects: Arc<ObjectTiers>,
}

impl Spill {
    pub(in crate::cache) fn new(objects: Arc<ObjectTiers>) -> Self {
        Self { objects }
    }

    /// Offers a block to the disk; returns whether the disk has it, or will.
    pub(in crate::cache) fn offer(&self, key: &BlockKey, block: &Block) -> bool {
        let Some(disk) = &self.objects.disk else { return false };
        let is_taken = !self.objects.is_purged(key) && disk.offer(key, block, block.is_touched());
        if is_taken {
            self.objects.persist_described(disk, key);
        }
        is_taken
    }

    /// Offers an evicted block to the disk. Called by moka in the task that makes it evict: it neither waits nor
    /// accesses memory's blocks.
    pub(in crate::cache) fn evicted(&self, key: &BlockKey, block: &Block) {
        if !self.offer(key, block) {
            self.objects.departures.record(key.departing(), Why::Evicted);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use futures_util::FutureExt as _;
    use http::Method;

    use super::*;
    use crate::cache::Cache;
    use crate::cache::key::ObjectVersion;
    use crate::cache::lookup::metadata::Lookup;
    use crate::cache::metadata::clock::{Moment, Sent};
    use crate::cache::metadata::store::LearnedBy;
    use crate::cache::tiers::write_behind::write_hot;
    use crate::cache::{CacheConfig, DiskConfig, Freshness, Policy, RuleConfig, Scope};
    use crate::config::units::ByteSize;
    use crate::metrics::cache::InvalidationCause;
    use crate::origin::{Origin, OriginConfig};
    use crate::s3::{BucketName, ListRequest, ObjectId, ObjectKey, ObjectMeta, Query, testing};

    fn meta(etag: &'static str) -> Arc<ObjectMeta> {
        Arc::new(testing::meta(etag, 5))
    }

    /// Returns a cache with a temporary disk tier, and the id of an object.
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
            // The writer creates files as long as there is something to write.
            self.cache.close().await;
            std::fs::remove_dir_all(self.path).unwrap();
        }
    }

    /// Kinds of invalidation of an object's metadata.
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

    /// Waits until `is_so`, or long enough for it to become so: a thread that waits for a lock cannot be observed.
    fn yield_until(mut is_so: impl FnMut() -> bool) {
        for _ in 0..300_000 {
            if is_so() {
                break;
            }
            std::thread::yield_now();
        }
    }

    /// The disk still has a record when it is read, while it is being voided.
    #[tokio::test]
    async fn r5_what_was_read_from_disk_while_it_was_voided_is_not_served_afterwards() {
        let policy = Policy::new(&Freshness::Immutable, None, Duration::ZERO, true, false);
        for end in [End::Object, End::Bucket, End::PurgedPrefix, End::PurgedEverything] {
            let world = World::new("voided");
            let (cache, id) = (&world.cache, &world.id);
            let disk = cache.objects.disk.as_ref().unwrap();
            disk.remember(id, &meta("\"old\""), SystemTime::now(), || true);
            disk.finish().await;
            std::thread::scope(|scope| {
                let voided = disk.while_nothing_is_voided(async {
                    let before = cache.objects.generations.current(id);
                    scope.spawn(|| world.void(end));
                    yield_until(|| !cache.objects.generations.is_current(id, before));
                    let read = scope.spawn(|| cache.objects.recall(id).now_or_never());
                    yield_until(|| read.is_finished());
                });
                voided.now_or_never().expect("it waits for nothing");
            });
            let known = cache.lookup.find(id, &policy, LearnedBy::Get).await;
            assert!(matches!(known, Lookup::Unknown), "{end:?}");
            world.end().await;
        }
    }

    #[tokio::test]
    async fn r11_what_the_disk_failed_to_bring_back_is_void_once_the_origin_was_asked() {
        let world = World::new("recall");
        let (cache, id) = (&world.cache, &world.id);
        let disk = cache.objects.disk.as_ref().unwrap();
        disk.remember(id, &meta("\"old\""), SystemTime::now(), || true);
        assert!(disk.knows(id));

        let new = meta("\"new\"");
        admit(&world, &new);
        assert!(!disk.knows(id));
        world.end().await;
    }

    /// Admits metadata of the object as a cold read does.
    fn admit(world: &World, meta: &Arc<ObjectMeta>) -> ObjectVersion {
        let (cache, id) = (&world.cache, &world.id);
        let version = cache.objects.version(id, meta);
        let generation = cache.objects.generations.current(id);
        cache.fetcher.admission.admit_opened(id, generation, Moment::now(), meta, &version);
        version
    }

    /// Admits the metadata and a block of the object to memory; returns the block's key.
    fn keep_block(world: &World) -> BlockKey {
        let cache = &world.cache;
        let meta = meta("\"e\"");
        let version = admit(world, &meta);
        let key = version.block(0);
        cache.blocks.admit(&key, Block::new(0, bytes::Bytes::from_static(b"12345")));
        key
    }

    /// Passes a listing that shows the object with this `ETag`.
    fn list(world: &World, etag: &str) {
        let (cache, id) = (&world.cache, &world.id);
        let request = ListRequest::of(&Method::GET, &Query::default()).unwrap();
        let mut page = cache.page_evidence(request, Sent::now(), id.realm(), id.bucket()).unwrap();
        let entry = format!("<Contents><Key>key</Key><ETag>{etag}</ETag><Size>5</Size></Contents>");
        page.push(&entry.into());
        page.finish();
    }

    #[tokio::test]
    async fn r34_a_shutdown_waits_until_listings_are_compared_with_the_disk() {
        let world = World::new("compared");
        let (cache, id) = (&world.cache, &world.id);
        cache.begin().unwrap();
        let disk = cache.objects.disk.as_ref().unwrap();
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
        let unchecked = cache.objects.listed.unchecked(id.hash64(), 7).unwrap();
        cache.objects.listed.agrees(unchecked);
        let key = keep_block(&world);
        assert!(cache.objects.listed.unchecked(id.hash64(), 7).is_none());
        let block = cache.blocks.memory.get(&key).unwrap();
        assert!(
            cache.blocks.spill.offer(&key, &block)
                && cache.objects.disk.as_ref().unwrap().knows(id)
        );
        assert!(cache.objects.listed.unchecked(id.hash64(), 7).is_some());
        world.end().await;
    }

    #[tokio::test]
    async fn what_was_written_while_it_was_in_memory_is_not_written_when_it_leaves() {
        let world = World::new("once");
        let cache = &world.cache;
        cache.begin().unwrap();
        let key = keep_block(&world);
        let disk = cache.objects.disk.as_ref().unwrap();
        for _ in 0..2 {
            assert!(cache.blocks.memory.get(&key).is_some());
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
        assert!(!cache.blocks.memory.has(&key));
        disk.finish().await;
        assert_eq!(cache.disk_usage().unwrap().device_bytes, before);
        world.end().await;
    }

    #[tokio::test]
    async fn what_the_disk_has_no_room_for_is_offered_to_it_by_the_next_reader() {
        let world = World::new("again");
        let cache = &world.cache;
        let key = keep_block(&world);
        let waiting = || cache.blocks.hot.waiting();
        assert!(cache.blocks.memory.get(&key).is_some());
        assert!(cache.blocks.memory.get(&key).is_some());
        assert_eq!(waiting(), 1, "once");
        assert_eq!(write_hot(&cache.blocks, &key, false), 0);
        assert!(cache.blocks.memory.get(&key).is_some());
        assert_eq!(waiting(), 2);
        assert_eq!(write_hot(&cache.blocks, &key, true), 5);
        assert!(cache.blocks.memory.get(&key).is_some());
        assert_eq!(waiting(), 2);
        world.end().await;
    }
}
