//! Cache of `ListObjectsV2` and `HeadBucket` responses, for short times (R27).
//!
//! A change to a key invalidates each listing of its bucket whose prefix the key begins with: every page, since one key
//! more or less shifts them all. It also raises the bucket's epoch, which fences requests sent before it. Changes that
//! bypass hotset are seen when a listing expires, which is why its lifetime is short.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::prefix_map::PrefixMap;
use crate::cache::metadata::clock::Moment;
use crate::s3::{BucketName, Listing, ObjectId, Realm};

const STRIPES: usize = 1 << 10;
/// Cost of an entry in addition to its body, in bytes.
const OVERHEAD: u64 = 1024;
/// Time after a write with unknown outcome for which listings of its bucket are not cached (R8).
const OUTCOME_UNKNOWN_FOR: Duration = Duration::from_mins(1);

pub(in crate::cache) type Bucket = (Realm, BucketName);

/// Key of a cached response.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ListKey {
    pub realm: Realm,
    pub bucket: BucketName,
    /// The requester, where requesters may see different keys; `None`: all see the same.
    pub identity: Option<Arc<str>>,
    /// [`Listing::question`].
    pub question: String,
}

/// A 200 response of the origin.
#[derive(Debug)]
pub struct ListAnswer {
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub body: Bytes,
}

/// A listing request in flight, whose response may be cached.
#[derive(Debug)]
pub struct ListFill {
    key: ListKey,
    prefix: Option<String>,
    /// Epoch of the bucket before the request was sent.
    epoch: u64,
    since: Moment,
    ttl: Duration,
}

struct Entry {
    prefix: Option<String>,
    since: Moment,
    answer: Arc<ListAnswer>,
    bytes: u64,
    /// Number in the order of admission.
    number: u64,
}

/// The listings of one bucket by prefix: a change of a key visits only the listings that it invalidates.
#[derive(Default)]
struct BucketLists {
    by_prefix: PrefixMap<HashSet<Arc<ListKey>>>,
    /// Responses about the bucket itself, which no change of a key invalidates.
    others: HashSet<Arc<ListKey>>,
}

/// Invariant: `buckets` and `order` name the keys of `entries`, all of them and nothing else.
#[derive(Default)]
struct Table {
    entries: HashMap<Arc<ListKey>, Entry>,
    buckets: HashMap<Bucket, BucketLists>,
    /// Keys in order of admission: the first is evicted first.
    order: BTreeMap<u64, Arc<ListKey>>,
    bytes: u64,
    admitted: u64,
    /// Buckets with a write of unknown outcome, and the end of the time in which it may yet happen.
    unknown: HashMap<Bucket, Instant>,
    /// Number of writes in flight of other replicas, by bucket.
    written: HashMap<Bucket, usize>,
}

/// All cached listings.
pub(in crate::cache) struct Lists {
    /// Capacity in bytes; 0: no rule has listings cached.
    capacity: AtomicU64,
    epochs: Box<[AtomicU64]>,
    table: Mutex<Table>,
}

impl Lists {
    pub(in crate::cache) fn new(capacity: u64) -> Self {
        let epochs = (0..STRIPES).map(|_| AtomicU64::new(0)).collect();
        Self { capacity: AtomicU64::new(capacity), epochs, table: Mutex::default() }
    }

    /// Sets the capacity, in bytes; 0: no listings are cached.
    pub(in crate::cache) fn set_capacity(&self, bytes: u64) {
        let before = self.capacity.swap(bytes, Ordering::AcqRel);
        if (before == 0) != (bytes == 0) {
            // Without capacity, changes raise no epochs: a fill from that time must not be admitted now.
            self.all_changed();
        }
    }

    fn capacity(&self) -> u64 {
        self.capacity.load(Ordering::Acquire)
    }

    /// Invalidates listings for an object that was written, removed, or found changed.
    pub(in crate::cache) fn changed(&self, id: &ObjectId) {
        let key = id.key().as_str().as_bytes();
        self.drop_lists(id.realm(), id.bucket(), |lists| {
            let prefixes = lists.by_prefix.covering(key).map(|(prefix, _)| prefix.to_vec());
            let prefixes: Vec<_> = prefixes.collect();
            let ended = prefixes.iter().filter_map(|prefix| lists.by_prefix.remove(prefix));
            ended.flatten().collect()
        });
    }

    /// Invalidates all listings of a bucket.
    pub(in crate::cache) fn bucket_changed(&self, realm: &Realm, bucket: &BucketName) {
        self.drop_lists(realm, bucket, |lists| {
            let BucketLists { by_prefix, others } = std::mem::take(lists);
            by_prefix.into_values().flatten().chain(others).collect()
        });
    }

    /// Invalidates all listings.
    pub(in crate::cache) fn all_changed(&self) {
        let mut table = self.table.lock();
        for epoch in &self.epochs {
            epoch.fetch_add(1, Ordering::AcqRel);
        }
        let Table { entries, buckets, order, bytes, .. } = &mut *table;
        entries.clear();
        buckets.clear();
        order.clear();
        *bytes = 0;
    }

    /// Notes a write with unknown outcome in the bucket, which may yet happen.
    pub(in crate::cache) fn outcome_unknown(&self, realm: &Realm, bucket: &BucketName) {
        // Also while no listings are cached, since they may be from the next moment on.
        let mut table = self.table.lock();
        let now = Instant::now();
        table.unknown.retain(|_, until| *until > now);
        table.unknown.insert((realm.clone(), bucket.clone()), now + OUTCOME_UNKNOWN_FOR);
        drop(table);
        self.bucket_changed(realm, bucket);
    }

    /// Notes that another replica is about to write in the bucket: until as many calls of [`Lists::remote_ended`], none
    /// of its listings is cached.
    pub(in crate::cache) fn remote_begins(&self, bucket: &Bucket) {
        *self.table.lock().written.entry(bucket.clone()).or_default() += 1;
    }

    pub(in crate::cache) fn remote_ended(&self, bucket: &Bucket) {
        let mut table = self.table.lock();
        let Some(writes) = table.written.get_mut(bucket) else { return };
        *writes -= 1;
        if *writes == 0 {
            table.written.remove(bucket);
        }
    }

    /// Removes the listings of a bucket that `take` takes out of its index.
    fn drop_lists(
        &self,
        realm: &Realm,
        bucket: &BucketName,
        take: impl FnOnce(&mut BucketLists) -> Vec<Arc<ListKey>>,
    ) {
        if self.capacity() == 0 {
            return;
        }
        let mut table = self.table.lock();
        self.epoch(realm, bucket).fetch_add(1, Ordering::AcqRel);
        let name = (realm.clone(), bucket.clone());
        let Some(lists) = table.buckets.get_mut(&name) else { return };
        let ended = take(lists);
        if lists.is_empty() {
            table.buckets.remove(&name);
        }
        for key in ended {
            table.remove_entry(&key);
        }
    }

    fn epoch(&self, realm: &Realm, bucket: &BucketName) -> &AtomicU64 {
        let stripe = ObjectId::hash_bucket(realm, bucket) % self.epochs.len() as u64;
        &self.epochs[usize::try_from(stripe).expect("below the number of stripes")]
    }

    pub(in crate::cache) fn get(&self, key: &ListKey, ttl: Duration) -> Option<Arc<ListAnswer>> {
        let table = self.table.lock();
        let entry = table.entries.get(key)?;
        (entry.since.age() < ttl).then(|| entry.answer.clone())
    }

    pub(in crate::cache) fn begin(
        &self,
        key: ListKey,
        listing: Listing,
        ttl: Duration,
    ) -> ListFill {
        let epoch = self.epoch(&key.realm, &key.bucket).load(Ordering::Acquire);
        ListFill { key, prefix: listing.prefix, epoch, since: Moment::now(), ttl }
    }

    pub(in crate::cache) fn admit(&self, fill: ListFill, answer: ListAnswer) {
        let ListFill { key, prefix, epoch, since, ttl } = fill;
        let bytes = OVERHEAD + (answer.body.len() + 2 * key.question.len()) as u64;
        let name = (key.realm.clone(), key.bucket.clone());
        let mut table = self.table.lock();
        let current = self.epoch(&key.realm, &key.bucket).load(Ordering::Acquire);
        let unknown = table.unknown.get(&name).is_some_and(|until| *until > Instant::now());
        let in_doubt = unknown || table.written.contains_key(&name);
        if epoch != current || in_doubt || bytes > self.capacity() || since.age() >= ttl {
            return;
        }
        let key = Arc::new(key);
        table.remove(&key);
        table.admitted += 1;
        let number = table.admitted;
        table.buckets.entry(name).or_default().insert(prefix.as_deref(), key.clone());
        table.order.insert(number, key.clone());
        table.bytes += bytes;
        let entry = Entry { prefix, since, answer: Arc::new(answer), bytes, number };
        table.entries.insert(key, entry);
        table.make_room(self.capacity());
    }
}

impl Table {
    /// Evicts the oldest entries until the rest fits.
    fn make_room(&mut self, capacity: u64) {
        while self.bytes > capacity
            && let Some((_, key)) = self.order.first_key_value()
        {
            let oldest = key.clone();
            self.remove(&oldest);
        }
    }

    fn remove(&mut self, key: &ListKey) {
        let Some(entry) = self.remove_entry(key) else { return };
        let name = (key.realm.clone(), key.bucket.clone());
        if let Some(lists) = self.buckets.get_mut(&name) {
            lists.remove(entry.prefix.as_deref(), key);
            if lists.is_empty() {
                self.buckets.remove(&name);
            }
        }
    }

    /// Removes the entry of a listing that is already removed from its bucket's index.
    fn remove_entry(&mut self, key: &ListKey) -> Option<Entry> {
        let entry = self.entries.remove(key)?;
        self.order.remove(&entry.number);
        self.bytes -= entry.bytes;
        Some(entry)
    }
}

impl BucketLists {
    fn insert(&mut self, prefix: Option<&str>, key: Arc<ListKey>) {
        let keys = match prefix {
            Some(prefix) => self.by_prefix.get_or_default(prefix.as_bytes()),
            None => &mut self.others,
        };
        keys.insert(key);
    }

    fn remove(&mut self, prefix: Option<&str>, key: &ListKey) {
        let Some(prefix) = prefix.map(str::as_bytes) else {
            self.others.remove(key);
            return;
        };
        if let Some(keys) = self.by_prefix.get_mut(prefix) {
            keys.remove(key);
            if keys.is_empty() {
                self.by_prefix.remove(prefix);
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.by_prefix.is_empty() && self.others.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::ObjectKey;

    const TTL: Duration = Duration::from_secs(5);

    fn realm() -> Realm {
        Realm::new("http://origin", "default")
    }

    fn bucket(name: &str) -> BucketName {
        BucketName::new(name).unwrap()
    }

    fn id(name: &str, key: &str) -> ObjectId {
        ObjectId::new(&realm(), bucket(name), ObjectKey::new(key).unwrap())
    }

    fn key(name: &str, prefix: &str, page: usize) -> ListKey {
        let question = format!("{prefix} {page}");
        ListKey { realm: realm(), bucket: bucket(name), identity: None, question }
    }

    fn begin(lists: &Lists, name: &str, prefix: &str, page: usize) -> ListFill {
        let key = key(name, prefix, page);
        let question = key.question.clone();
        let listing = Listing { prefix: Some(prefix.to_owned()), question, no_cache: false };
        lists.begin(key, listing, TTL)
    }

    fn answer() -> ListAnswer {
        ListAnswer { headers: Vec::new(), body: Bytes::from_static(&[b'x'; 1000]) }
    }

    fn put(lists: &Lists, name: &str, prefix: &str, page: usize) {
        lists.admit(begin(lists, name, prefix, page), answer());
    }

    fn has(lists: &Lists, name: &str, prefix: &str, page: usize) -> bool {
        lists.get(&key(name, prefix, page), TTL).is_some()
    }

    #[test]
    fn r27_a_change_ends_each_list_whose_prefix_the_key_begins_with_every_page() {
        let lists = Lists::new(1 << 20);
        for (prefix, page) in [("", 1), ("", 2), ("a/", 1), ("a/", 2), ("a/b", 1), ("b/", 1)] {
            put(&lists, "data", prefix, page);
            put(&lists, "other", prefix, page);
        }
        lists.changed(&id("data", "a/c"));
        for (prefix, page, stays) in [
            ("", 1, false),
            ("", 2, false),
            ("a/", 1, false),
            ("a/", 2, false),
            ("a/b", 1, true),
            ("b/", 1, true),
        ] {
            assert_eq!(has(&lists, "data", prefix, page), stays, "{prefix} {page}");
            assert!(has(&lists, "other", prefix, page));
        }
        lists.bucket_changed(&realm(), &bucket("data"));
        assert!(!has(&lists, "data", "b/", 1) && has(&lists, "other", "b/", 1));
    }

    #[test]
    fn r28_of_lists_that_are_gone_not_even_the_name_is_kept() {
        let lists = Lists::new(1 << 20);
        put(&lists, "data", "a/", 1);
        put(&lists, "other", "a/", 1);
        lists.bucket_changed(&realm(), &bucket("data"));
        let table = lists.table.lock();
        let names: Vec<_> = table.order.values().map(|key| key.bucket.clone()).collect();
        assert_eq!(names, [bucket("other")]);
        assert_eq!((table.entries.len(), table.buckets.len()), (1, 1));
    }

    #[test]
    fn a_list_that_is_refreshed_while_an_older_one_lives_takes_no_more_memory() {
        let lists = Lists::new(1 << 20);
        put(&lists, "data", "old/", 1);
        for _ in 0..1000 {
            put(&lists, "data", "a/", 1);
        }
        let table = lists.table.lock();
        assert_eq!((table.order.len(), table.entries.len()), (2, 2));
        assert_eq!(table.bytes, table.entries.values().map(|entry| entry.bytes).sum::<u64>());
    }

    #[test]
    fn r27_a_change_of_a_key_ends_no_answer_about_the_bucket() {
        let lists = Lists::new(1 << 20);
        let of_bucket = ListFill { prefix: None, ..begin(&lists, "data", "location", 1) };
        lists.admit(of_bucket, answer());
        lists.changed(&id("data", "location"));
        assert!(has(&lists, "data", "location", 1));
        lists.bucket_changed(&realm(), &bucket("data"));
        assert!(!has(&lists, "data", "location", 1));
        assert!(lists.table.lock().buckets.is_empty());
    }

    #[test]
    fn r27_what_was_asked_for_before_a_change_is_not_kept() {
        let lists = Lists::new(1 << 20);
        let fill = begin(&lists, "data", "b/", 1);
        lists.changed(&id("data", "a"));
        lists.admit(fill, answer());
        assert!(!has(&lists, "data", "b/", 1));
        put(&lists, "data", "b/", 1);
        assert!(has(&lists, "data", "b/", 1));
    }

    #[tokio::test(start_paused = true)]
    async fn r8_after_a_write_of_unknown_outcome_no_list_is_kept_for_a_minute() {
        let lists = Lists::new(1 << 20);
        put(&lists, "data", "", 1);
        lists.outcome_unknown(&realm(), &bucket("data"));
        assert!(!has(&lists, "data", "", 1));
        put(&lists, "data", "", 1);
        assert!(!has(&lists, "data", "", 1));
        tokio::time::advance(OUTCOME_UNKNOWN_FOR).await;
        put(&lists, "data", "", 1);
        assert!(has(&lists, "data", "", 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_is_as_old_as_its_request() {
        let lists = Lists::new(1 << 20);
        let fill = begin(&lists, "data", "", 1);
        tokio::time::advance(Duration::from_secs(4)).await;
        lists.admit(fill, answer());
        assert!(has(&lists, "data", "", 1));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!has(&lists, "data", "", 1));
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_go() {
        let lists = Lists::new(10 * 2100);
        for page in 0..100 {
            put(&lists, "data", "", page);
            put(&lists, "data", "", 99);
            let table = lists.table.lock();
            let kept: u64 = table.entries.values().map(|entry| entry.bytes).sum();
            assert!(kept == table.bytes && kept <= 10 * 2100);
            assert_eq!(table.order.len(), table.entries.len());
        }
        assert!(!has(&lists, "data", "", 0) && has(&lists, "data", "", 98));
        for page in 0..100 {
            put(&lists, "data", "", page);
            lists.changed(&id("data", "k"));
        }
        let table = lists.table.lock();
        assert_eq!((table.bytes, table.buckets.len()), (0, 0));
        assert!(table.order.is_empty() && table.entries.is_empty());
    }
}
