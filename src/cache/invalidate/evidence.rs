//! Evidence of answers that pass through (R34): cached metadata that they contradict becomes stale.
//!
//! Evidence only marks stale: the next read asks the origin by HEAD. It counts against an entry only if the request that
//! taught the entry was sent before the one that brings the evidence. Evidence that a HEAD refuted is ignored until the
//! object changes, since some servers' listings always differ from their HEADs.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::ops::Bound;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::cache::assembly::Cache;
use crate::cache::disk::Ticket;
use crate::cache::invalidate::listed_pages::RecordedPage;
use crate::cache::metadata::clock::Sent;
use crate::cache::metadata::key_index::{Bucket, Indexed};
use crate::cache::metadata::store::{Entry, Known};
use crate::metrics;
use crate::metrics::cache::InvalidationCause;
use crate::s3::{
    BucketName, EntryState, Evidence, ListRequest, ListedEntry, ListingScanner, ListingVisitor,
    ObjectId, ObjectKey, ObjectMeta, Realm,
};

/// Names that are copied from the index at a time.
const BATCH: usize = 64;
/// Cached names between its keys that one page is compared with; behind them it shows no absences.
const MAX_WALK: usize = 4096;

impl Cache {
    /// Marks an object's metadata stale where the answer to a request sent at `sent` contradicts it. Applied when this
    /// returns; durable when [`Cache::durable`] does with what this returns.
    pub fn apply_evidence(&self, id: &ObjectId, sent: Sent, evidence: &Evidence) -> Option<Ticket> {
        if !self.objects.meta.get(id)?.is_contradicted(sent, evidence) {
            return None;
        }
        metrics::cache::invalidation(InvalidationCause::Origin);
        let mut ticket = None;
        self.objects.generations.raise(id, || {
            // Under the lock once more: it may have been replaced by now.
            let Some(entry) = self.objects.meta.get(id) else { return };
            if entry.is_contradicted(sent, evidence) {
                let doubt = self.objects.doubt_of(id, &entry);
                let contradicted = evidence.fingerprint();
                self.objects.record_invalidation(id, InvalidationCause::Origin);
                let entry = Entry { doubt, contradicted, ..(*entry).clone() };
                self.objects.meta.insert(id, entry);
                ticket = self.objects.void_record(id);
            }
        });
        ticket
    }

    /// Judges anew what streams through, by the head of the answer to a request sent at `sent`: once that may be stored or
    /// is gone, the next read asks for it as for anything else. `obeys`: whether `no-store` and `private` are obeyed.
    pub fn judge_streamed(
        &self,
        id: &ObjectId,
        sent: Sent,
        (status, headers): (StatusCode, &HeaderMap),
        obeys: impl FnOnce() -> bool,
    ) {
        let Some(entry) = self.objects.meta.get(id) else { return };
        let streams = match &entry.known {
            Known::Uncacheable => true,
            Known::Object { meta, .. } => meta.no_store,
            Known::Missing { .. } => false,
        };
        if !streams || entry.since.instant() >= sent.0.instant() {
            return;
        }
        let is_of_the_version_asked_for = |meta: &ObjectMeta| {
            let answered = meta.version_id.as_ref().map(HeaderValue::as_bytes);
            id.version().is_none_or(|asked| {
                answered == (!asked.is_null()).then(|| asked.as_str().as_bytes())
            })
        };
        let may_be_stored = match status {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => {
                ObjectMeta::from_response(status, headers).is_ok_and(|meta| {
                    is_of_the_version_asked_for(&meta) && (!meta.no_store || !obeys())
                })
            }
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => true,
            // It says nothing of that.
            _ => return,
        };
        match may_be_stored {
            true => self.objects.meta.remove(id),
            false => {
                self.objects
                    .meta
                    .insert(id, Entry::new(Known::Uncacheable, sent.0, entry.generation));
            }
        }
    }

    /// Begins to compare the answer to a listing of a bucket that was sent at `sent`; `None`: nothing of the bucket is
    /// cached.
    pub fn page_evidence(
        &self,
        request: ListRequest,
        sent: Sent,
        realm: &Realm,
        bucket: &BucketName,
    ) -> Option<PageEvidence> {
        let bucket = (realm.clone(), bucket.clone());
        let on_disk =
            self.objects.disk.as_ref().is_some_and(|disk| disk.knows_any_of(realm, &bucket.1));
        if !on_disk && !self.objects.meta.index().any(&bucket) {
            return None;
        }
        let recorded =
            on_disk.then(|| self.objects.listed.record(request.clone(), sent, bucket.clone()));
        Some(PageEvidence { recorded, ..PageEvidence::new(request, sent, bucket) })
    }
}

impl Entry {
    pub(super) fn is_contradicted(&self, sent: Sent, evidence: &Evidence) -> bool {
        let contradicts = match &self.known {
            Known::Object { meta, .. } => evidence.contradicts(Some(meta)),
            Known::Missing { .. } => evidence.contradicts(None),
            Known::Uncacheable => false,
        };
        let older = self.since.instant() < sent.0.instant();
        contradicts
            && older
            && !self.is_doubted()
            && !self.refuted.contains(&evidence.fingerprint())
    }
}

/// Comparison of one page of a listing with the cached metadata of its bucket, while the page streams by. What is only
/// on disk is compared behind it.
pub struct PageEvidence {
    scanner: ListingScanner,
    page: Page,
    recorded: Option<RecordedPage>,
}

/// State of the comparison behind the last key.
struct Page {
    request: ListRequest,
    sent: Sent,
    bucket: Bucket,
    last: Option<Vec<u8>>,
    ordered: bool,
    /// Cached names from the last key on, in order.
    ahead: VecDeque<Indexed>,
    /// The index may hold more behind those.
    more: bool,
    walked: usize,
    /// Cached, between two keys of the page, and not listed.
    absent: Vec<ObjectId>,
}

impl PageEvidence {
    /// Of the answer to `request`, which was sent at `sent`.
    fn new(request: ListRequest, sent: Sent, bucket: Bucket) -> Self {
        let scanner = ListingScanner::new(&request);
        let page = Page {
            request,
            sent,
            bucket,
            last: None,
            ordered: true,
            ahead: VecDeque::new(),
            more: true,
            walked: 0,
            absent: Vec::new(),
        };
        Self { scanner, page, recorded: None }
    }

    /// Applies the evidence in the next bytes of the body. To be called before they are passed on.
    pub fn push(&mut self, cache: &Cache, piece: &Bytes) {
        if let Some(recorded) = &mut self.recorded {
            recorded.push(piece);
        }
        self.scanner.push(piece, &mut Comparison { page: &mut self.page, cache });
    }

    /// Applies what only a complete body shows: which keys are absent.
    pub fn finish(self, cache: &Cache) {
        // Queued when it is dropped, complete or not.
        if let Some(mut recorded) = self.recorded {
            recorded.complete();
        }
        let Page { absent, sent, .. } = self.page;
        for id in absent.iter().flat_map(|id| cache.objects.meta.index().ids(id)) {
            let _ = cache.apply_evidence(&id, sent, &Evidence::Absent);
        }
    }
}

struct Comparison<'a> {
    page: &'a mut Page,
    cache: &'a Cache,
}

impl ListingVisitor for Comparison<'_> {
    fn skip(&mut self, key: &[u8]) -> bool {
        let page = &mut *self.page;
        if page.last.as_deref().is_some_and(|last| last > key) {
            page.ordered = false;
            page.absent = Vec::new();
        }
        let skips = page.walks()
            && match page.ahead.front() {
                Some((first, _)) => first.key().as_str().as_bytes() > key,
                None => !page.more,
            };
        if skips {
            page.set_last(key);
        }
        skips
    }

    fn visit(&mut self, entry: &ListedEntry<'_>) -> bool {
        self.page.compare(self.cache, entry)
    }
}

impl Page {
    /// Applies one entry; false: the rest of it is needed.
    fn compare(&mut self, cache: &Cache, entry: &ListedEntry<'_>) -> bool {
        let key = &*entry.key;
        if let Some((id, fingerprint)) = self.cached(cache, key) {
            let state = entry.state();
            if state == EntryState::Incomplete {
                return false;
            }
            if fingerprint == 0 || fingerprint != state.fingerprint() {
                self.apply(cache, &id, &state);
            }
        }
        self.set_last(key);
        true
    }

    /// Whether the page is compared name by name.
    fn walks(&self) -> bool {
        self.ordered && self.walked < MAX_WALK
    }

    fn set_last(&mut self, key: &[u8]) {
        let last = self.last.get_or_insert_default();
        last.clear();
        last.extend_from_slice(key);
    }

    fn apply(&self, cache: &Cache, id: &ObjectId, state: &EntryState<'_>) {
        let Some(evidence) = state.evidence() else { return };
        for id in cache.objects.meta.index().ids(id) {
            // Durable soon after: a part of a body cannot wait for the disk.
            let _ = cache.apply_evidence(&id, self.sent, &evidence);
        }
    }

    /// The cached object of a key. In an ordered page, cached names before it are walked past.
    fn cached(&mut self, cache: &Cache, key: &[u8]) -> Option<Indexed> {
        while self.walks() {
            let Some(first) = self.ahead.front() else {
                if !self.more {
                    return None;
                }
                self.fill(cache, Bound::Included(str::from_utf8(key).ok()?));
                continue;
            };
            match first.0.key().as_str().as_bytes().cmp(key) {
                Ordering::Less => self.walk_past_first(cache),
                Ordering::Equal => return Some(first.clone()),
                Ordering::Greater => return None,
            }
        }
        let (realm, bucket) = &self.bucket;
        let key = ObjectKey::new(str::from_utf8(key).ok()?).ok()?;
        let id = ObjectId::new(realm, bucket.clone(), key);
        let is_cached =
            cache.objects.meta.index().ids(&id).any(|id| cache.objects.meta.get(&id).is_some());
        is_cached.then_some((id, 0))
    }

    fn walk_past_first(&mut self, cache: &Cache) {
        let Some((id, _)) = self.ahead.pop_front() else { return };
        self.walked += 1;
        let key = id.key().as_str();
        match self.request.common_prefix(key) {
            // All that the prefix stands for is left out of the page.
            Some(prefix) => {
                let rolled_up = |id: &ObjectId| id.key().as_str().starts_with(prefix);
                while self.ahead.front().is_some_and(|(id, _)| rolled_up(id)) {
                    self.ahead.pop_front();
                }
                if self.ahead.is_empty() && self.more {
                    self.fill(cache, Bound::Excluded(&format!("{prefix}{}", char::MAX)));
                }
            }
            None => {
                if self.last.as_deref().is_some_and(|last| last < key.as_bytes()) {
                    self.absent.push(id.clone());
                }
                if self.ahead.is_empty() && self.more {
                    self.fill(cache, Bound::Excluded(key));
                }
            }
        }
    }

    fn fill(&mut self, cache: &Cache, from: Bound<&str>) {
        self.ahead = cache.objects.meta.index().next(&self.bucket, from, BATCH).into();
        self.more = self.ahead.len() == BATCH;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::Method;

    use super::*;
    use crate::cache::metadata::clock::Moment;
    use crate::cache::{CacheConfig, RuleConfig};
    use crate::origin::{Origin, OriginConfig};
    use crate::s3::{Query, testing};

    /// Of a bucket with objects of 5 bytes and the `ETag` "e".
    fn cache(keys: &[String]) -> (Arc<Cache>, Vec<ObjectId>) {
        let origin = Arc::new(Origin::new(OriginConfig::default(), None).unwrap());
        let rules = [RuleConfig::default()];
        let cache = Cache::new(&CacheConfig::default(), &rules, origin).unwrap();
        let realm = cache.origin.realm_of(None).clone();
        let bucket = BucketName::new("bucket").unwrap();
        let id = |key: &String| ObjectId::new(&realm, bucket.clone(), ObjectKey::new(key).unwrap());
        let ids: Vec<_> = keys.iter().map(id).collect();
        for id in &ids {
            let meta = Arc::new(testing::meta("\"e\"", 5));
            let version = cache.objects.version(id, &meta);
            let generation = cache.objects.generations.current(id);
            let known = Known::Object { meta, version };
            cache.objects.meta.insert(id, Entry::new(known, Moment::now(), generation));
        }
        (cache, ids)
    }

    fn keys(keys: &[&str]) -> Vec<String> {
        keys.iter().map(|key| (*key).to_owned()).collect()
    }

    /// The cached keys that are stale after a page that lists `listed`.
    fn stale(cached: &[String], query: &str, listed: &[&str]) -> Vec<String> {
        let (cache, ids) = cache(cached);
        let request = ListRequest::of(&Method::GET, &Query::parse(query).unwrap()).unwrap();
        let mut page =
            cache.page_evidence(request, Sent::now(), ids[0].realm(), ids[0].bucket()).unwrap();
        for key in listed {
            let fields = "<ETag>&quot;e&quot;</ETag><Size>5</Size>";
            let entry = format!("<Contents><Key>{key}</Key>{fields}</Contents>");
            page.push(&cache, &entry.into());
        }
        page.finish(&cache);
        let doubted = |id: &&ObjectId| cache.objects.meta.get(id).unwrap().is_doubted();
        ids.iter().filter(doubted).map(|id| id.key().as_str().to_owned()).collect()
    }

    #[tokio::test]
    async fn r34_absence_counts_between_two_keys_of_an_ordered_page() {
        let cached = keys(&["a", "b", "c/1", "c/2", "d", "e"]);
        assert_eq!(stale(&cached, "", &["b", "d"]), ["c/1", "c/2"]);
        assert_eq!(stale(&cached, "delimiter=/", &["b", "e"]), ["d"]);
        assert_eq!(stale(&cached, "", &["b"]), [""; 0]);
        assert_eq!(stale(&cached, "", &["e", "b"]), [""; 0]);
        assert_eq!(stale(&cached, "", &["a", "d", "b", "e"]), [""; 0]);
    }

    /// More names than are copied from the index at a time, and than one page is compared with.
    #[tokio::test]
    async fn r34_a_page_skips_what_it_rolls_up_and_ends_with_its_bound() {
        let mut cached: Vec<_> = (0..3 * BATCH).map(|n| format!("dir/{n:05}")).collect();
        cached.extend(keys(&["m", "n", "z"]));
        assert_eq!(stale(&cached, "delimiter=/", &["a", "m", "z"]), ["n"]);
        let cached: Vec<_> = (0..2 * MAX_WALK).map(|n| format!("{n:05}")).collect();
        assert_eq!(stale(&cached, "", &["00000", "99999"]).len(), MAX_WALK - 1);
    }
}
