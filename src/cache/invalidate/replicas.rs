//! Writes of other replicas: those under way, and whether all of them are known here.
//!
//! Replicas send each other their invalidations, and until a lease expires none can be missing. While the lease holds,
//! the rules decide what is fresh. After it has expired, every read is revalidated. When an invalidation may have been
//! missed, all metadata is revalidated once: the *epoch* is raised, and metadata learned in an earlier one is stale.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::generation::InFlight;
use super::invalidation::{Invalidation, Writing};
use super::recent_writes::RecentWrites;
use crate::cache::lists::store::{Bucket, Lists};
use crate::cache::tiers::objects::ObjectTiers;
use crate::metrics::cache::InvalidationCause;
use crate::origin::Origins;
use crate::s3::{BucketName, ObjectId, ObjectKey};

/// Outcome of a write of another replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemoteEnd {
    /// Its keys may have changed.
    Done,
    /// It changed nothing.
    Refused,
    /// The outcome is unknown, or the write may yet happen (R8).
    Unknown,
}

/// A write that passes through another replica. Until it ends, every read of its objects is revalidated. If it is
/// dropped, its outcome is unknown.
#[must_use = "dropped, its outcome is unknown"]
pub struct RemoteWrite {
    replicas: Arc<Replicas>,
    objects: Vec<ObjectId>,
    buckets: Vec<BucketName>,
    writing: Vec<Writing>,
    /// Buckets whose listings are not cached until the write ends.
    unlisted: HashSet<Bucket>,
}

impl RemoteWrite {
    /// Ends the write; applied when this returns. Nothing has to be written to disk, since a restarted replica
    /// revalidates what is there.
    pub fn end(mut self, end: RemoteEnd) {
        if end == RemoteEnd::Unknown {
            return;
        }
        if end == RemoteEnd::Done {
            for id in &self.objects {
                let _ = self.replicas.invalidation.invalidate(id, InvalidationCause::Peer);
            }
            for bucket in &self.buckets {
                for realm in &*self.replicas.origin.realms_of(bucket) {
                    let _ = self.replicas.invalidation.invalidate_bucket(
                        realm,
                        bucket,
                        InvalidationCause::Peer,
                    );
                }
            }
        }
        self.writing.iter_mut().for_each(Writing::conclude);
    }
}

impl Drop for RemoteWrite {
    fn drop(&mut self) {
        // First the end of the writes, or their unknown outcome.
        self.writing.clear();
        for bucket in &self.unlisted {
            self.replicas.lists.remote_ended(bucket);
        }
    }
}

/// Tracks the writes of other replicas, and whether all of them are known here.
pub(in crate::cache) struct Replicas {
    origin: Origins,
    objects: Arc<ObjectTiers>,
    lists: Arc<Lists>,
    recent_writes: Arc<RecentWrites>,
    invalidation: Arc<Invalidation>,
}

impl Replicas {
    pub(in crate::cache) fn new(
        origin: Origins,
        objects: Arc<ObjectTiers>,
        lists: Arc<Lists>,
        recent_writes: Arc<RecentWrites>,
        invalidation: Arc<Invalidation>,
    ) -> Self {
        Self { origin, objects, lists, recent_writes, invalidation }
    }

    /// Sets the time, by [`crate::cache::boot_time`], until which all invalidations of other replicas are known here;
    /// `None`: there are no other replicas.
    pub(in crate::cache) fn set_certain_until(&self, until: Option<Duration>) {
        self.objects.generations.certainty.set_until(until);
    }

    /// Whether all writes of other replicas are known here.
    pub(in crate::cache) fn is_certain(&self) -> bool {
        self.objects.generations.certainty.holds()
    }

    /// Marks all cached metadata stale, on disk too, after invalidations may have been missed: under every rule, it is
    /// revalidated once before use. Blocks stay.
    pub(in crate::cache) fn confirm_all_once(&self) {
        let raise = || self.objects.generations.certainty.raise_epoch();
        self.recent_writes.note_all();
        match &self.objects.disk {
            Some(disk) => disk.confirm_all(raise),
            None => raise(),
        }
        self.lists.all_changed();
    }

    /// Notes that another replica is about to send a write of these to the origin. Applied when this returns.
    pub(in crate::cache) fn remote_write_begins(
        self: &Arc<Self>,
        objects: &[(BucketName, ObjectKey)],
        buckets: &[BucketName],
    ) -> RemoteWrite {
        const KIND: InFlight = InFlight::Tentative;
        let in_realms = |(bucket, key): &(BucketName, ObjectKey)| {
            let realms = self.origin.realms_of(bucket);
            let names = realms.iter().map(|realm| (realm, bucket.clone(), key.clone()));
            names.map(|(realm, bucket, key)| ObjectId::new(realm, bucket, key)).collect::<Vec<_>>()
        };
        let objects: Vec<ObjectId> = objects.iter().flat_map(in_realms).collect();
        let of_object = |id: &ObjectId| (id.realm().clone(), id.bucket().clone());
        let mut unlisted: HashSet<Bucket> = objects.iter().map(of_object).collect();
        for bucket in buckets {
            let realms = self.origin.realms_of(bucket);
            unlisted.extend(realms.iter().map(|realm| (realm.clone(), bucket.clone())));
        }
        // A listing cached before would be stale from the end of the write until that is known here (R27).
        for bucket in &unlisted {
            self.lists.remote_begins(bucket);
        }
        for id in &objects {
            self.lists.changed(id);
        }
        let mut writing = Vec::new();
        for bucket in buckets {
            let realms = self.origin.realms_of(bucket);
            let begin = |realm| self.invalidation.bucket_write_begins(realm, bucket, KIND);
            writing.extend(realms.iter().map(begin));
            for realm in &*realms {
                self.lists.bucket_changed(realm, bucket);
            }
        }
        if !objects.is_empty() {
            writing.push(self.invalidation.write_begins(objects.clone(), KIND));
        }
        RemoteWrite {
            replicas: self.clone(),
            objects,
            buckets: buckets.to_vec(),
            writing,
            unlisted,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::SystemTime;

    use http::HeaderValue;

    use super::*;
    use crate::cache::lookup::metadata::Lookup;
    use crate::cache::metadata::clock::{Moment, boot_time};
    use crate::cache::metadata::store::LearnedBy;
    use crate::cache::{Cache, CacheConfig, DiskConfig, Freshness, Policy, RuleConfig};
    use crate::config::units::ByteSize;
    use crate::origin::{Origin, OriginConfig};
    use crate::s3::{ETag, ObjectMeta, testing};

    fn immutable() -> Policy {
        Policy::new(&Freshness::Immutable, None, Duration::ZERO, true, false)
    }

    fn cache(disk: Vec<DiskConfig>) -> (Arc<Cache>, ObjectId) {
        let origin = Arc::new(Origin::new(OriginConfig::default(), None).unwrap());
        let realm = origin.domains().own().realm().clone();
        let config = CacheConfig { disk, ..CacheConfig::default() };
        let cache = Cache::new(&config, &[RuleConfig::default()], origin).unwrap();
        let bucket = BucketName::new("bucket").unwrap();
        (cache, ObjectId::new(&realm, bucket, ObjectKey::new("key").unwrap()))
    }

    fn meta() -> ObjectMeta {
        testing::meta("\"e\"", 5)
    }

    fn confirm(cache: &Cache, id: &ObjectId) {
        let generation = cache.objects.generations.current(id);
        cache.fetcher.admission.admit_head(id, generation, Moment::now(), Ok(meta())).unwrap();
    }

    fn is_fresh(cache: &Cache, id: &ObjectId) -> bool {
        matches!(cache.lookup.in_memory(id, &immutable(), LearnedBy::Get), Lookup::Fresh(_))
    }

    #[test]
    fn r11_every_read_asks_the_origin_once_the_lease_has_run_out() {
        let (cache, id) = cache(Vec::new());
        confirm(&cache, &id);
        assert!(is_fresh(&cache, &id), "alone");
        cache.set_certain_until(Some(boot_time() + Duration::from_mins(1)));
        assert!(is_fresh(&cache, &id));
        cache.set_certain_until(Some(boot_time()));
        assert!(!is_fresh(&cache, &id) && !cache.is_certain());
        confirm(&cache, &id);
        assert!(!is_fresh(&cache, &id), "once is not enough");
        cache.set_certain_until(None);
        assert!(is_fresh(&cache, &id), "nothing was missed");
    }

    #[test]
    fn r11_what_may_have_been_missed_is_confirmed_once_and_keeps_its_blocks() {
        let (cache, id) = cache(Vec::new());
        confirm(&cache, &id);
        let before = cache.objects.generations.current(&id);
        cache.confirm_all_once();
        match cache.lookup.in_memory(&id, &immutable(), LearnedBy::Get) {
            Lookup::Stale(None, found) => {
                assert_eq!(found.version, cache.objects.version(&id, &meta()));
            }
            _ => panic!("it is not in doubt"),
        }
        assert!(
            !cache.objects.generations.is_current(&id, before),
            "no reader joins what was sent before"
        );
        confirm(&cache, &id);
        assert!(is_fresh(&cache, &id));
    }

    #[tokio::test]
    async fn r11_what_lies_on_disk_is_confirmed_once_too() {
        let path = std::env::temp_dir().join(format!("hotset-epoch-{}", std::process::id()));
        let capacity = ByteSize::mib(128);
        let disk = DiskConfig { path: path.clone(), capacity, ..DiskConfig::default() };
        let (cache, id) = cache(vec![disk]);
        let disk = cache.objects.disk.as_ref().unwrap();
        disk.remember(&id, &meta(), SystemTime::now(), || true);
        disk.finish().await;
        cache.confirm_all_once();
        let policy = immutable();
        let look = || cache.lookup.find(&id, &policy, LearnedBy::Get);
        assert!(matches!(look().await, Lookup::Stale(None, _)), "at once");
        disk.finish().await;
        cache.objects.meta.remove(&id);
        assert!(matches!(look().await, Lookup::Stale(None, _)), "and later");
        confirm(&cache, &id);
        assert!(matches!(look().await, Lookup::Fresh(_)));
        disk.finish().await;
        cache.objects.meta.remove(&id);
        assert!(matches!(look().await, Lookup::Fresh(_)), "its record is a new one");
        cache.close().await;
        std::fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn r8_what_another_replica_writes_is_confirmed_on_every_read_until_the_write_has_ended() {
        for (end, fresh) in
            [(RemoteEnd::Done, true), (RemoteEnd::Refused, true), (RemoteEnd::Unknown, false)]
        {
            let (cache, id) = cache(Vec::new());
            confirm(&cache, &id);
            let names = [(id.bucket().clone(), id.key().clone())];
            let write = cache.remote_write_begins(&names, &[]);
            confirm(&cache, &id);
            assert!(!is_fresh(&cache, &id));
            write.end(end);
            assert_eq!(is_fresh(&cache, &id), end == RemoteEnd::Refused, "{end:?}");
            confirm(&cache, &id);
            assert_eq!(is_fresh(&cache, &id), fresh, "{end:?}");
        }
    }

    /// Tests the race of a read with the end of a write: metadata found before the end must not count as fresh after
    /// it.
    #[test]
    fn r8_no_read_that_begins_after_a_write_finds_what_was_before_while_the_write_ends() {
        const WRITES: u64 = 10_000;
        let (cache, id) = cache(Vec::new());
        let names = [(id.bucket().clone(), id.key().clone())];
        let answered = AtomicU64::new(0);
        let learn = |version: u64| {
            let etag = HeaderValue::from_str(&format!("\"{version}\"")).unwrap();
            let meta = ObjectMeta { etag: ETag::new(etag), ..meta() };
            let generation = cache.objects.generations.current(&id);
            cache.fetcher.admission.admit_head(&id, generation, Moment::now(), Ok(meta)).unwrap();
        };
        let read = || {
            let mut hits = 0_u64;
            loop {
                let floor = answered.load(Ordering::Acquire);
                if let Lookup::Fresh(found) =
                    cache.lookup.in_memory(&id, &immutable(), LearnedBy::Get)
                {
                    let etag = std::str::from_utf8(found.meta.etag.as_bytes()).unwrap();
                    let version: u64 = etag.trim_matches('"').parse().unwrap();
                    assert!(version >= floor, "version {version} after {floor}");
                    hits += 1;
                }
                if floor == WRITES {
                    return hits;
                }
            }
        };
        std::thread::scope(|scope| {
            let readers = [scope.spawn(read), scope.spawn(read)];
            for version in 1..=WRITES {
                let write = cache.remote_write_begins(&names, &[]);
                // Its response may reach the client before its end is known here.
                answered.store(version, Ordering::Release);
                write.end(RemoteEnd::Done);
                learn(version);
            }
            let hits = readers.map(|reader| reader.join().unwrap());
            assert!(hits.iter().all(|hits| *hits > 0), "{hits:?}");
        });
    }

    #[test]
    fn r8_so_is_every_object_of_a_bucket() {
        let (cache, id) = cache(Vec::new());
        let buckets = [id.bucket().clone()];
        confirm(&cache, &id);
        let write = cache.remote_write_begins(&[], &buckets);
        assert!(!is_fresh(&cache, &id));
        write.end(RemoteEnd::Done);
        assert!(matches!(
            cache.lookup.in_memory(&id, &immutable(), LearnedBy::Get),
            Lookup::Unknown
        ));
        confirm(&cache, &id);
        assert!(is_fresh(&cache, &id));
    }
}
