//! Index of cached metadata by bucket, in key order: a listing is compared with it in one pass (R34).
//!
//! It holds ids and fingerprints, not entries. An id is removed with its entry.

use std::borrow::Borrow;
use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use foldhash::fast::RandomState;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::store::{Entry, Known};
use crate::s3::{BucketName, Evidence, ObjectId, Realm};

const SHARDS: usize = 16;

pub(in crate::cache) type Bucket = (Realm, BucketName);

/// An id ordered by key; never one with a version, nor of a requester that pays.
#[derive(Clone)]
struct ByKey(ObjectId);

impl ByKey {
    fn key(&self) -> &str {
        self.0.key().as_str()
    }
}

impl Ord for ByKey {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(other.key())
    }
}

impl PartialOrd for ByKey {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for ByKey {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for ByKey {}

impl Borrow<str> for ByKey {
    fn borrow(&self) -> &str {
        self.key()
    }
}

/// A cached object and the fingerprint of its entry; 0: compare with the entry itself.
pub(in crate::cache) type Indexed = (ObjectId, u64);

struct Name {
    fingerprint: u64,
    /// Address of the last inserted entry.
    entry: usize,
}

struct Names {
    by_key: BTreeMap<ByKey, Name>,
    /// Time of the last insertion that changed what was known of an object.
    changed: Instant,
}

type Shard = HashMap<Bucket, Names, RandomState>;

/// The ids of all buckets.
#[derive(Default)]
pub(in crate::cache) struct KeyIndex {
    shards: [Mutex<Shard>; SHARDS],
    /// Whether objects are cached that a requester paid for.
    pays: AtomicBool,
}

impl KeyIndex {
    /// Adds an id whose entry was inserted.
    pub(in crate::cache) fn insert(&self, id: &ObjectId, entry: &Arc<Entry>) {
        if id.version().is_some() {
            return;
        }
        let fingerprint = match &entry.known {
            // Two entries share the id of an object that a requester paid for.
            _ if id.pays() => 0,
            Known::Object { meta, .. } => meta.fingerprint(),
            Known::Missing { .. } => Evidence::Absent.fingerprint(),
            Known::Uncacheable => 0,
        };
        self.pays.fetch_or(id.pays(), Ordering::Relaxed);
        let (id, entry) = (id.object(), address(entry));
        let mut shard = self.shard(id.bucket_hash64()).lock();
        let now = Instant::now();
        let none = || Names { by_key: BTreeMap::new(), changed: now };
        let names = shard.entry((id.realm().clone(), id.bucket().clone())).or_insert_with(none);
        let before = names.by_key.insert(ByKey(id.clone()), Name { fingerprint, entry });
        if fingerprint == 0 || before.is_none_or(|before| before.fingerprint != fingerprint) {
            names.changed = now;
        }
    }

    /// Removes an id whose entry was removed, unless another entry was inserted since.
    pub(in crate::cache) fn remove(&self, id: &ObjectId, entry: &Arc<Entry>) {
        if id.version().is_some() {
            return;
        }
        let bucket = (id.realm().clone(), id.bucket().clone());
        let mut shard = self.shard(id.bucket_hash64()).lock();
        let Some(names) = shard.get_mut(&bucket) else { return };
        let key = id.key().as_str();
        if names.by_key.get(key).is_some_and(|name| name.entry == address(entry)) {
            names.by_key.remove(key);
        }
        if names.by_key.is_empty() {
            shard.remove(&bucket);
        }
    }

    /// Returns the ids under which the object `id` may be cached.
    pub(in crate::cache) fn ids(&self, id: &ObjectId) -> impl Iterator<Item = ObjectId> {
        let paid = self.pays.load(Ordering::Relaxed).then(|| id.paid());
        std::iter::once(id.clone()).chain(paid)
    }

    /// Returns the first `most` ids of a bucket from the key `from` on.
    pub(in crate::cache) fn next(
        &self,
        bucket: &Bucket,
        from: Bound<&str>,
        most: usize,
    ) -> Vec<Indexed> {
        let shard = self.shard(ObjectId::hash_bucket(&bucket.0, &bucket.1)).lock();
        let Some(names) = shard.get(bucket) else { return Vec::new() };
        let names = names.by_key.range::<str, _>((from, Bound::Unbounded)).take(most);
        names.map(|(key, name)| (key.0.clone(), name.fingerprint)).collect()
    }

    /// Returns the time of the last insertion that changed what was known of an object of the bucket; `None`: nothing
    /// is cached.
    pub(in crate::cache) fn changed(&self, bucket: &Bucket) -> Option<Instant> {
        let shard = self.shard(ObjectId::hash_bucket(&bucket.0, &bucket.1)).lock();
        shard.get(bucket).map(|names| names.changed)
    }

    /// Whether anything of a bucket is cached.
    pub(in crate::cache) fn any(&self, bucket: &Bucket) -> bool {
        self.shard(ObjectId::hash_bucket(&bucket.0, &bucket.1)).lock().contains_key(bucket)
    }

    fn shard(&self, bucket_hash: u64) -> &Mutex<Shard> {
        &self.shards[usize::try_from(bucket_hash % SHARDS as u64).expect("below SHARDS")]
    }
}

fn address(entry: &Arc<Entry>) -> usize {
    Arc::as_ptr(entry).addr()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::cache::invalidate::departures::Departures;
    use crate::cache::invalidate::generation::Generations;
    use crate::cache::invalidate::purge_epochs::PurgeEpochs;
    use crate::cache::metadata::clock::Moment;
    use crate::cache::metadata::store::{LearnedBy, MetaCache};
    use crate::s3::S3Error;
    use crate::s3::testing::id;

    fn entry() -> Entry {
        let generations = Generations::new(Arc::new(PurgeEpochs::new()));
        let generation = generations.current(&id("bucket", "k"));
        Entry::new(Known::Uncacheable, Moment::now(), generation)
    }

    fn bucket() -> Bucket {
        let id = id("bucket", "k");
        (id.realm().clone(), id.bucket().clone())
    }

    fn keys(index: &KeyIndex, from: Bound<&str>, most: usize) -> Vec<String> {
        let names = index.next(&bucket(), from, most);
        names.iter().map(|(id, _)| id.key().as_str().to_owned()).collect()
    }

    #[test]
    fn names_of_a_bucket_come_in_the_order_of_their_keys() {
        let (index, entry) = (KeyIndex::default(), Arc::new(entry()));
        for key in ["b", "a", "c/d", "c"] {
            index.insert(&id("bucket", key), &entry);
            index.insert(&id("bucket", key).paid(), &entry);
            index.insert(&id("another", key), &entry);
        }
        assert_eq!(keys(&index, Bound::Included("a"), 9), ["a", "b", "c", "c/d"]);
        assert_eq!(keys(&index, Bound::Included("aa"), 2), ["b", "c"]);
        assert_eq!(keys(&index, Bound::Excluded("c"), 9), ["c/d"]);
        assert_eq!(index.next(&bucket(), Bound::Unbounded, 1), [(id("bucket", "a"), 0)]);
        assert_eq!(index.ids(&id("bucket", "a")).count(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_bucket_changes_by_what_is_learned_and_not_by_what_is_confirmed() {
        let (index, uncacheable) = (KeyIndex::default(), Arc::new(entry()));
        let error = Arc::new(S3Error::no_such_key("k"));
        let missing = || {
            let known = Known::Missing { error: error.clone(), by: LearnedBy::Get };
            Arc::new(Entry { known, ..entry() })
        };
        assert_eq!(index.changed(&bucket()), None);
        for (key, entry, changes) in [
            ("a", missing(), true),
            ("a", missing(), false),
            ("b", missing(), true),
            ("a", uncacheable.clone(), true),
            ("a", uncacheable, true),
            ("a", missing(), true),
        ] {
            let before = index.changed(&bucket());
            tokio::time::advance(Duration::from_millis(1)).await;
            index.insert(&id("bucket", key), &entry);
            assert_eq!(index.changed(&bucket()) != before, changes, "{key}");
        }
    }

    #[test]
    fn a_name_leaves_with_its_entry() {
        let meta = MetaCache::new(100_000, 400_000, Arc::new(Departures::new(4096)));
        for n in 0..1000 {
            meta.insert(&id("bucket", &format!("k{n:05}")), entry());
            meta.settle();
        }
        let left = meta.iter().count();
        assert!(left < 200, "{left}");
        assert_eq!(keys(meta.index(), Bound::Unbounded, 2000).len(), left);
        meta.insert(&id("bucket", "k00999"), entry());
        assert_eq!(keys(meta.index(), Bound::Unbounded, 2000).len(), left);
        for n in 0..1000 {
            meta.remove(&id("bucket", &format!("k{n:05}")));
        }
        assert!(!meta.index().any(&bucket()));
    }
}
