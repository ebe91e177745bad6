//! Comparison of pages of listings that pass through with the cached metadata of their buckets (R34).
//!
//! A page is compared when its last byte has arrived, before that is passed on: only then is it clear whether the page
//! is known to agree. If it arrives slowly, or there is no memory to keep it, it is compared part by part, each before
//! it is passed on. Metadata that is only on disk is compared later.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::ops::Bound;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::evidence::EvidenceCheck;
use super::listed_pages::RecordedPage;
use super::seen_pages::Place;
use crate::cache::metadata::clock::Sent;
use crate::cache::metadata::key_index::{Bucket, Indexed};
use crate::s3::{
    EntryState, Evidence, ListRequest, ListedEntry, ListingScanner, ListingVisitor, ObjectId,
    ObjectKey,
};

/// Keys copied from the index at a time.
const BATCH: usize = 64;
/// Maximum number of cached keys between its own that one page is compared with; behind them it shows no absences.
const MAX_WALK: usize = 4096;
/// Age of a page from which its parts are compared as they arrive.
const PROMPT: Duration = Duration::from_millis(100);

/// Comparison of one page of a listing with the cached metadata of its bucket. On drop, the bytes that arrived are
/// compared.
pub struct PageEvidence {
    check: EvidenceCheck,
    scanner: ListingScanner,
    page: Page,
    recorded: RecordedPage,
    begun: Instant,
    /// Whether parts are compared as they arrive.
    streams: bool,
    is_complete: bool,
}

/// State of the comparison behind the last key.
struct Page {
    request: ListRequest,
    sent: Sent,
    bucket: Bucket,
    last: Option<Vec<u8>>,
    ordered: bool,
    /// Cached keys from the last key on, in order.
    ahead: VecDeque<Indexed>,
    /// Whether the index may hold more behind those.
    more: bool,
    walked: usize,
    /// Cached objects between two keys of the page that are not listed.
    absent: Vec<ObjectId>,
    /// Whether no cached object differs so far.
    agrees: bool,
}

impl PageEvidence {
    /// Begins to compare the response to `request`, which was sent at `sent`; `None`: nothing of the bucket is cached.
    pub(in crate::cache) fn begin(
        check: &EvidenceCheck,
        request: ListRequest,
        sent: Sent,
        bucket: Bucket,
    ) -> Option<Self> {
        let objects = &check.objects;
        let (realm, name) = &bucket;
        let on_disk = objects.disk.as_ref().is_some_and(|disk| disk.knows_any_of(realm, name));
        if !on_disk && !objects.meta.index().any(&bucket) {
            return None;
        }
        let scanner = ListingScanner::new(&request);
        let recorded = objects.listed.record(request.clone(), sent, bucket.clone(), on_disk);
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
            agrees: true,
        };
        let (begun, streams, is_complete) = (Instant::now(), false, false);
        let check = check.clone();
        Some(Self { check, scanner, page, recorded, begun, streams, is_complete })
    }

    /// Takes the next bytes of the body. Call it before they are passed on.
    pub fn push(&mut self, piece: &Bytes) {
        if !self.streams && (self.begun.elapsed() > PROMPT || !self.recorded.has_room(piece)) {
            self.compare_recorded();
        }
        self.recorded.push(piece);
        if self.streams {
            self.scanner.push(piece, &mut Comparison { page: &mut self.page, check: &self.check });
        }
    }

    /// Notes that the body is complete; only then does it show which keys are absent. Call it before its last byte is
    /// passed on.
    pub fn finish(mut self) {
        self.is_complete = true;
    }

    fn compare_recorded(&mut self) {
        self.streams = true;
        for piece in self.recorded.pieces() {
            self.scanner.push(piece, &mut Comparison { page: &mut self.page, check: &self.check });
        }
    }

    fn conclude(&mut self) {
        let (listed, changed) = (
            &self.check.objects.listed,
            self.check.objects.meta.index().changed(&self.page.bucket),
        );
        let digest = self.recorded.digest().filter(|_| self.is_complete);
        let known = digest.is_some_and(|digest| listed.seen.agreed(digest, Place::Memory, changed));
        if !known {
            if !self.streams {
                self.compare_recorded();
            }
            let agrees = self.is_complete && self.page.finish(&self.check);
            if let Some(digest) = digest.filter(|_| agrees) {
                let sent = self.page.sent.0.instant();
                self.check.objects.listed.seen.agrees(digest, Place::Memory, sent);
            }
        }
        if self.is_complete {
            self.recorded.complete();
        }
    }
}

impl Drop for PageEvidence {
    fn drop(&mut self) {
        self.conclude();
    }
}

struct Comparison<'a> {
    page: &'a mut Page,
    check: &'a EvidenceCheck,
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
        self.page.compare(self.check, entry)
    }
}

impl Page {
    /// Applies the absences, which only a complete page shows. Returns whether all cached objects agree.
    fn finish(&mut self, check: &EvidenceCheck) -> bool {
        for id in std::mem::take(&mut self.absent) {
            self.apply_to_all(check, &id, &Evidence::Absent);
        }
        self.agrees && self.walked < MAX_WALK
    }

    /// Applies one entry; `false`: the rest of the entry is needed.
    fn compare(&mut self, check: &EvidenceCheck, entry: &ListedEntry<'_>) -> bool {
        let key = &*entry.key;
        if let Some((id, fingerprint)) = self.cached(check, key) {
            let state = entry.state();
            if state == EntryState::Incomplete {
                return false;
            }
            if fingerprint == 0 || fingerprint != state.fingerprint() {
                self.apply(check, &id, &state);
            }
        }
        self.set_last(key);
        true
    }

    /// Whether the page is compared key by key.
    fn walks(&self) -> bool {
        self.ordered && self.walked < MAX_WALK
    }

    fn set_last(&mut self, key: &[u8]) {
        let last = self.last.get_or_insert_default();
        last.clear();
        last.extend_from_slice(key);
    }

    fn apply(&mut self, check: &EvidenceCheck, id: &ObjectId, state: &EntryState<'_>) {
        if let Some(evidence) = state.evidence() {
            self.apply_to_all(check, id, &evidence);
        }
    }

    fn apply_to_all(&mut self, check: &EvidenceCheck, id: &ObjectId, evidence: &Evidence) {
        for id in check.objects.meta.index().ids(id) {
            self.agrees &=
                check.objects.meta.get(&id).is_none_or(|entry| !entry.differs_from(evidence));
            // Not awaited: a part of a body cannot wait for the disk, and the invalidation is durable soon after.
            let _ = check.apply(&id, self.sent, evidence);
        }
    }

    /// Returns the cached object of a key. In an ordered page, it advances past the cached keys before it.
    fn cached(&mut self, check: &EvidenceCheck, key: &[u8]) -> Option<Indexed> {
        while self.walks() {
            let Some(first) = self.ahead.front() else {
                if !self.more {
                    return None;
                }
                self.fill(check, Bound::Included(str::from_utf8(key).ok()?));
                continue;
            };
            match first.0.key().as_str().as_bytes().cmp(key) {
                Ordering::Less => self.walk_past_first(check),
                Ordering::Equal => return Some(first.clone()),
                Ordering::Greater => return None,
            }
        }
        let (realm, bucket) = &self.bucket;
        let key = ObjectKey::new(str::from_utf8(key).ok()?).ok()?;
        let id = ObjectId::new(realm, bucket.clone(), key);
        let is_cached =
            check.objects.meta.index().ids(&id).any(|id| check.objects.meta.get(&id).is_some());
        is_cached.then_some((id, 0))
    }

    fn walk_past_first(&mut self, check: &EvidenceCheck) {
        let Some((id, _)) = self.ahead.pop_front() else { return };
        self.walked += 1;
        let key = id.key().as_str();
        match self.request.common_prefix(key) {
            // The page leaves out all keys that the common prefix stands for.
            Some(prefix) => {
                let rolled_up = |id: &ObjectId| id.key().as_str().starts_with(prefix);
                while self.ahead.front().is_some_and(|(id, _)| rolled_up(id)) {
                    self.ahead.pop_front();
                }
                if self.ahead.is_empty() && self.more {
                    self.fill(check, Bound::Excluded(&format!("{prefix}{}", char::MAX)));
                }
            }
            None => {
                if self.last.as_deref().is_some_and(|last| last < key.as_bytes()) {
                    self.absent.push(id.clone());
                }
                if self.ahead.is_empty() && self.more {
                    self.fill(check, Bound::Excluded(key));
                }
            }
        }
    }

    fn fill(&mut self, check: &EvidenceCheck, from: Bound<&str>) {
        self.ahead = check.objects.meta.index().next(&self.bucket, from, BATCH).into();
        self.more = self.ahead.len() == BATCH;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::Method;

    use super::*;
    use crate::cache::metadata::clock::Moment;
    use crate::cache::metadata::store::{Entry, Known};
    use crate::cache::{Cache, CacheConfig, RuleConfig};
    use crate::origin::{Origin, OriginConfig};
    use crate::s3::{BucketName, Query, testing};

    /// Returns a cache with objects of 5 bytes and the `ETag` "e" under these keys, and their ids.
    fn cache(keys: &[String]) -> (Arc<Cache>, Vec<ObjectId>) {
        let origin = Arc::new(Origin::new(OriginConfig::default(), None).unwrap());
        let rules = [RuleConfig::default()];
        let cache = Cache::new(&CacheConfig::default(), &rules, origin).unwrap();
        let realm = cache.origin.realm_of(None);
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

    /// Returns the cached keys that are stale after a page that lists `listed`.
    fn stale(cached: &[String], query: &str, listed: &[&str]) -> Vec<String> {
        let (cache, ids) = cache(cached);
        let request = ListRequest::of(&Method::GET, &Query::parse(query).unwrap()).unwrap();
        let mut page =
            cache.page_evidence(request, Sent::now(), ids[0].realm(), ids[0].bucket()).unwrap();
        for key in listed {
            let fields = "<ETag>&quot;e&quot;</ETag><Size>5</Size>";
            let entry = format!("<Contents><Key>{key}</Key>{fields}</Contents>");
            page.push(&entry.into());
        }
        page.finish();
        let doubted = |id: &&ObjectId| cache.objects.meta.get(id).unwrap().is_marked_stale();
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

    /// More keys than are copied from the index at a time, and than one page is compared with.
    #[tokio::test]
    async fn r34_a_page_skips_what_it_rolls_up_and_ends_with_its_bound() {
        let mut cached: Vec<_> = (0..3 * BATCH).map(|n| format!("dir/{n:05}")).collect();
        cached.extend(keys(&["m", "n", "z"]));
        assert_eq!(stale(&cached, "delimiter=/", &["a", "m", "z"]), ["n"]);
        let cached: Vec<_> = (0..2 * MAX_WALK).map(|n| format!("{n:05}")).collect();
        assert_eq!(stale(&cached, "", &["00000", "99999"]).len(), MAX_WALK - 1);
    }
}
