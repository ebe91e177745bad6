//! Evidence about objects whose metadata is only on disk (R34): a record that it contradicts is durably invalidated.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::absences::PageKeys;
use super::evidence::EvidenceCheck;
use super::listed_pages::{ListedPage, Unchecked};
use super::seen_pages::Place;
use crate::cache::disk::{ObjectRecord, Recalled, Ticket};
use crate::cache::metadata::clock::{Moment, Sent};
use crate::cache::metadata::store::{Entry, Known};
use crate::cache::tiers::objects::ObjectTiers;
use crate::metrics;
use crate::metrics::cache::InvalidationCause;
use crate::s3::{
    EntryState, Evidence, ListedEntry, ListingScanner, ListingVisitor, ObjectHasher, ObjectId,
    ObjectKey,
};

/// Wait for queued records to be written.
const WRITTEN_WITHIN: Duration = Duration::from_millis(100);

/// A listed object with a record on disk.
struct Candidate {
    id: ObjectId,
    evidence: Evidence,
    unchecked: Unchecked,
}

/// Whether a record on disk agrees with evidence.
#[derive(PartialEq, Eq)]
enum Compared {
    Agrees,
    Contradicted(Option<Ticket>),
    /// The record could not be read.
    Unknown,
}

/// Starts the task that compares listings with the disk; it ends with the tiers of objects.
pub(in crate::cache) fn begin_comparing_pages(objects: &Arc<ObjectTiers>) {
    if let Some(pages) = objects.listed.take() {
        tokio::spawn(compare_pages(Arc::downgrade(objects), pages));
    }
}

impl EvidenceCheck {
    /// As [`Self::apply`], also for metadata that is only on disk.
    pub(in crate::cache) async fn apply_to_all(
        &self,
        id: &ObjectId,
        sent: Sent,
        evidence: &Evidence,
    ) -> Option<Ticket> {
        if self.objects.meta.get(id).is_some() {
            return self.apply(id, sent, evidence);
        }
        match self.compare_record(id, sent, evidence).await {
            Compared::Agrees => None,
            Compared::Contradicted(ticket) => ticket,
            Compared::Unknown => {
                self.objects.listed.lose(&(id.realm().clone(), id.bucket().clone()));
                None
            }
        }
    }

    /// Compares the record of an object on disk with evidence, and invalidates it if it is contradicted.
    async fn compare_record(&self, id: &ObjectId, sent: Sent, evidence: &Evidence) -> Compared {
        // An entry in memory is compared itself, and its record on disk says the same.
        let disk = self.objects.disk.as_ref().filter(|_| self.objects.meta.get(id).is_none());
        let Some(disk) = disk.filter(|disk| disk.knows(id)) else { return Compared::Agrees };
        let generation = self.objects.generations.current(id);
        let Some(Recalled { object: ObjectRecord { meta, learned }, .. }) = disk.recall(id).await
        else {
            return if disk.knows(id) { Compared::Unknown } else { Compared::Agrees };
        };
        let version = self.objects.version(id, &meta);
        let known = Known::Object { meta: Arc::new(meta), version };
        let entry = Entry::new(known, Moment::of(learned), generation);
        if !entry.is_contradicted(sent, evidence) {
            return Compared::Agrees;
        }
        metrics::cache::invalidation(InvalidationCause::Origin);
        let mut ticket = None;
        self.objects.generations.raise(id, || {
            // An entry that was admitted to memory meanwhile is newer than the record, and compared by its own age.
            if self.objects.meta.get(id).is_none() {
                self.objects.record_invalidation(id, InvalidationCause::Origin);
                ticket = self.objects.void_record(id);
            }
        });
        Compared::Contradicted(ticket.max(self.apply(id, sent, evidence)))
    }

    async fn compare_page(&self, page: &Arc<ListedPage>) {
        let (check, scanned) = (self.clone(), page.clone());
        let candidates = spawn_blocking(move || check.candidates(&scanned)).await;
        let Ok(candidates) = candidates else { return self.objects.listed.lose(&page.bucket) };
        let mut unknown = Vec::new();
        let mut agrees = true;
        for candidate in candidates {
            match self.compare_candidate(page, &candidate).await {
                Compared::Agrees => {}
                Compared::Contradicted(_) => agrees = false,
                Compared::Unknown => unknown.push(candidate),
            }
        }
        if unknown.is_empty() {
            if let Some(digest) = page.digest.filter(|_| agrees) {
                self.objects.listed.seen.agrees(digest, Place::Disk, page.sent.0.instant());
            }
            return;
        }
        // Records that are queued cannot be read before they are written.
        sleep(WRITTEN_WITHIN).await;
        for candidate in unknown {
            if self.compare_candidate(page, &candidate).await == Compared::Unknown {
                return self.objects.listed.lose(&page.bucket);
            }
        }
    }

    /// Compares the records of a listed object, for all variants of its requests.
    async fn compare_candidate(&self, page: &ListedPage, candidate: &Candidate) -> Compared {
        let Candidate { id, evidence, unchecked } = candidate;
        let one = self.compare_record(id, page.sent, evidence).await;
        let paid = self.compare_record(&id.paid(), page.sent, evidence).await;
        match (one, paid) {
            (Compared::Agrees, Compared::Agrees) => {
                self.objects.listed.agrees(*unchecked);
                Compared::Agrees
            }
            (Compared::Unknown, _) | (_, Compared::Unknown) => Compared::Unknown,
            (Compared::Agrees, other) | (other, _) => other,
        }
    }

    /// Keeps the keys of a page. Returns the listed objects with records on disk, except those known to agree with
    /// them.
    fn candidates(&self, page: &ListedPage) -> Vec<Candidate> {
        let (realm, bucket) = &page.bucket;
        let bucket_hash = ObjectId::hash_bucket(realm, bucket);
        let keys = PageKeys::new(bucket_hash, page.request.clone(), page.sent, page.digest);
        let hasher = ObjectHasher::new(realm, bucket);
        let mut scan = Scan { check: self, page, hasher, keys, candidates: Vec::new() };
        let mut scanner = ListingScanner::new(&page.request);
        page.body.iter().for_each(|piece| scanner.push(piece, &mut scan));
        self.objects.listed.absences.keep(scan.keys);
        scan.candidates
    }
}

struct Scan<'a> {
    check: &'a EvidenceCheck,
    page: &'a ListedPage,
    hasher: ObjectHasher,
    keys: PageKeys,
    candidates: Vec<Candidate>,
}

impl Scan<'_> {
    fn check(&mut self, key: &str, state: &EntryState<'_>) {
        let hash = self.hasher.hash64(key);
        self.keys.push(key.as_bytes(), hash);
        let Self { check, page, candidates, .. } = self;
        let Some(unchecked) = check.objects.listed.unchecked(hash, state.fingerprint()) else {
            return;
        };
        let Some(evidence) = state.evidence() else { return };
        let Ok(key) = ObjectKey::new(key) else { return };
        let (realm, bucket) = &page.bucket;
        let id = ObjectId::new(realm, bucket.clone(), key);
        // Entries that were admitted to memory since the page was compared with it.
        for id in check.objects.meta.index().ids(&id) {
            let _ = check.apply(&id, page.sent, &evidence);
        }
        let Some(disk) = &check.objects.disk else { return };
        match disk.knows(&id) || disk.knows(&id.paid()) {
            true => candidates.push(Candidate { id, evidence, unchecked }),
            false => check.objects.listed.agrees(unchecked),
        }
    }
}

impl ListingVisitor for Scan<'_> {
    fn skip(&mut self, _key: &[u8]) -> bool {
        false
    }

    fn visit(&mut self, entry: &ListedEntry<'_>) -> bool {
        let state = entry.state();
        if state == EntryState::Incomplete {
            return false;
        }
        if let Ok(key) = std::str::from_utf8(&entry.key) {
            self.check(key, &state);
        }
        true
    }
}

async fn compare_pages(objects: Weak<ObjectTiers>, mut pages: UnboundedReceiver<ListedPage>) {
    while let Some(page) = pages.recv().await {
        let page = Arc::new(page);
        let Some(objects) = objects.upgrade() else { return };
        EvidenceCheck::new(objects.clone()).compare_page(&page).await;
        objects.listed.finish(&page);
    }
}
