//! Pages of listings that wait to be compared with the metadata on disk (R34).
//!
//! The index of the disk holds no keys, so that a page cannot be compared with it while it streams by: hashing every
//! key would delay the listing too much. The bytes of the page are kept, without a copy, and compared by a task. A
//! record of the bucket that is recalled meanwhile waits for the comparison; if a page was not compared, the record is
//! revalidated.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::absences::Absences;
use super::seen_pages::{PageDigest, PageHasher, Place, SeenPages};
use crate::cache::metadata::clock::{Moment, Sent};
use crate::cache::metadata::key_index::Bucket;
use crate::s3::{ListRequest, ObjectId};

/// Divisor of `cache.memory` for pages and for what is remembered of compared ones.
const SHARE: u64 = 64;
/// Minimum and maximum of that memory, in bytes.
const BYTES: (u64, u64) = (1 << 20, 8 << 20);
/// Divisor of `cache.memory` for an upper bound of that minimum.
const LARGEST_SHARE: u64 = 16;
/// Bytes of a page in addition to its body.
const PAGE_OVERHEAD: u64 = 512;
/// Slots for the times of lost evidence and of written records, by hash of the bucket.
const BUCKETS: usize = 256;
/// Time limit for a record to wait for pages of its bucket; after it, the record is revalidated instead.
const COMPARISON_TIMEOUT: Duration = Duration::from_millis(500);

/// The body of the response to a listing, or as much of it as arrived.
pub(super) struct ListedPage {
    pub request: ListRequest,
    pub sent: Sent,
    pub bucket: Bucket,
    pub body: Vec<Bytes>,
    /// Digest of the complete body; `None`: it is not complete.
    pub digest: Option<PageDigest>,
    number: u64,
    taken: u64,
}

/// The pages that wait for comparison, and the results of earlier comparisons.
pub(in crate::cache) struct ListedPages {
    /// Maximum bytes of bodies.
    capacity: u64,
    /// Current bytes of bodies, those of streaming pages included.
    taken: AtomicU64,
    pending: Mutex<Pending>,
    sender: UnboundedSender<ListedPage>,
    /// The receiving end, until the task takes it.
    receiver: Mutex<Option<UnboundedReceiver<ListedPage>>>,
    /// The number of the last page that was compared.
    compared: watch::Sender<u64>,
    agreed: Mutex<Box<[Agreed]>>,
    pub(super) absences: Absences,
    /// Digests of pages that agreed with the cache.
    pub(super) seen: SeenPages,
    started: Instant,
    /// Time of the last lost evidence by bucket, in milliseconds since `started`; 0: never.
    lost: Box<[AtomicU64]>,
    /// Time of the last written record by bucket, likewise.
    written: Box<[AtomicU64]>,
}

#[derive(Default)]
struct Pending {
    /// The number of the last queued page.
    last: u64,
    /// The number of the last queued page of each bucket with waiting pages.
    of_bucket: HashMap<u64, u64>,
}

/// A listed state that no record on disk contradicts.
#[derive(Clone, Copy, Default)]
struct Agreed {
    id: u64,
    /// Fingerprint of the evidence; 0: none.
    state: u64,
    /// Count of records written for objects that share the slot.
    writes: u32,
}

/// Permission to note that a state agrees, unless a record is written meanwhile.
#[derive(Clone, Copy)]
pub(in crate::cache) struct Unchecked {
    id: u64,
    state: u64,
    writes: u32,
}

impl ListedPages {
    /// Returns the bytes for a cache of `memory` bytes.
    pub(in crate::cache) fn share_of(memory: u64) -> u64 {
        (memory / SHARE).clamp(BYTES.0.min(memory / LARGEST_SHARE), BYTES.1)
    }

    /// Returns the bytes without a disk, where pages are kept only until they are complete.
    pub(in crate::cache) fn share_without_disk(memory: u64) -> u64 {
        (memory / SHARE / 2).min(BYTES.1 / 2)
    }

    /// Creates the store with at most `bytes`.
    pub(in crate::cache) fn new(bytes: u64) -> Arc<Self> {
        let slots = usize::try_from(bytes / 8).unwrap_or(0) / size_of::<Agreed>();
        let (sender, receiver) = unbounded_channel();
        Arc::new(Self {
            capacity: bytes - bytes / 4 - bytes / 16,
            absences: Absences::new(bytes / 8),
            seen: SeenPages::new(bytes / 16),
            taken: AtomicU64::new(0),
            pending: Mutex::default(),
            sender,
            receiver: Mutex::new(Some(receiver)),
            compared: watch::Sender::new(0),
            agreed: Mutex::new(vec![Agreed::default(); slots.max(1)].into_boxed_slice()),
            started: Instant::now(),
            lost: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(),
            written: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(),
        })
    }

    /// Returns the queue of pages, for the one task that compares them; `None`: it was taken before.
    pub(super) fn take(&self) -> Option<UnboundedReceiver<ListedPage>> {
        self.receiver.lock().take()
    }

    /// Records a page of a listing that was sent at `sent`, from its first byte on.
    pub(super) fn record(
        self: &Arc<Self>,
        request: ListRequest,
        sent: Sent,
        bucket: Bucket,
        on_disk: bool,
    ) -> RecordedPage {
        let bucket_hash = ObjectId::hash_bucket(&bucket.0, &bucket.1);
        let hasher = PageHasher::new(bucket_hash, &request);
        let body = Vec::new();
        let (number, taken, digest) = (0, 0, None);
        let page = ListedPage { request, sent, bucket, body, digest, number, taken };
        let mut recorded =
            RecordedPage { page: Some(page), hasher, bucket_hash, on_disk, pages: self.clone() };
        recorded.charge(PAGE_OVERHEAD);
        recorded
    }

    fn queue(&self, mut page: ListedPage) {
        let mut pending = self.pending.lock();
        pending.last += 1;
        page.number = pending.last;
        let bucket = ObjectId::hash_bucket(&page.bucket.0, &page.bucket.1);
        pending.of_bucket.insert(bucket, page.number);
        if let Err(refused) = self.sender.send(page) {
            // The task has ended, so the page will not be compared.
            self.lose(&refused.0.bucket);
            self.release(&refused.0);
        }
    }

    /// Notes that a page was compared, as far as possible.
    pub(super) fn finish(&self, page: &ListedPage) {
        self.pending.lock().of_bucket.retain(|_, last| *last > page.number);
        self.compared.send_replace(page.number);
        self.release(page);
    }

    fn release(&self, page: &ListedPage) {
        self.taken.fetch_sub(page.taken, Ordering::Relaxed);
    }

    /// Waits until the queued pages of an object's bucket are compared; `false`: the wait timed out.
    pub(in crate::cache) async fn settled(&self, id: &ObjectId) -> bool {
        let Some(last) = self.pending.lock().of_bucket.get(&id.bucket_hash64()).copied() else {
            return true;
        };
        let mut compared = self.compared.subscribe();
        let settled = compared.wait_for(|number| *number >= last);
        timeout(COMPARISON_TIMEOUT, settled).await.is_ok_and(|settled| settled.is_ok())
    }

    /// Waits until all queued pages are compared.
    pub(in crate::cache) async fn all_settled(&self) {
        let last = self.pending.lock().last;
        let mut compared = self.compared.subscribe();
        let _ = timeout(COMPARISON_TIMEOUT, compared.wait_for(|number| *number >= last)).await;
    }

    /// Notes that evidence about a bucket was lost: records of its objects learned before have to be revalidated.
    pub(super) fn lose(&self, (realm, bucket): &Bucket) {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let lost = &self.lost[slot(ObjectId::hash_bucket(realm, bucket), BUCKETS)];
        lost.fetch_max(now + 1, Ordering::AcqRel);
    }

    /// Whether a record of an object learned at `since` has to be revalidated: a listing left the object out, or
    /// evidence against it may have been lost.
    pub(in crate::cache) fn marks_stale(&self, id: &ObjectId, since: &Moment) -> bool {
        self.has_lost(id, since) || self.absences.cover(id, since)
    }

    fn has_lost(&self, id: &ObjectId, since: &Moment) -> bool {
        match self.lost[slot(id.bucket_hash64(), BUCKETS)].load(Ordering::Acquire) {
            0 => false,
            lost => {
                let lost = self.started + Duration::from_millis(lost);
                since.instant().is_none_or(|since| since <= lost)
            }
        }
    }

    /// Whether a page requested at `sent` is known to agree with the records on disk. If so, its keys are renewed.
    fn agrees_with_disk(&self, bucket_hash: u64, digest: PageDigest, sent: Sent) -> bool {
        let written = self.written[slot(bucket_hash, BUCKETS)].load(Ordering::Acquire);
        let written = (written > 0).then(|| self.started + Duration::from_millis(written));
        self.seen.agreed(digest, Place::Disk, written) && self.absences.renew(digest, sent)
    }

    /// Returns a permission to note this state of an object, by its [`ObjectId::hash64`]. `None`: it is known to agree
    /// with the records on disk.
    pub(in crate::cache) fn unchecked(&self, id: u64, state: u64) -> Option<Unchecked> {
        let agreed = self.agreed.lock();
        let slot = &agreed[slot(id, agreed.len())];
        let known = (slot.id, slot.state) == (id, state) && state != 0;
        (!known).then_some(Unchecked { id, state, writes: slot.writes })
    }

    /// Notes that no record of the object, in any request variant, contradicts the state.
    pub(in crate::cache) fn agrees(&self, Unchecked { id, state, writes }: Unchecked) {
        let mut agreed = self.agreed.lock();
        let at = slot(id, agreed.len());
        if agreed[at].writes == writes {
            agreed[at] = Agreed { id, state, writes };
        }
    }

    /// Notes that a record of the object is about to be written.
    pub(in crate::cache) fn is_written(&self, id: &ObjectId) {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let written = &self.written[slot(id.bucket_hash64(), BUCKETS)];
        written.fetch_max(now + 1, Ordering::AcqRel);
        let mut agreed = self.agreed.lock();
        let at = slot(id.hash64(), agreed.len());
        let writes = agreed[at].writes.wrapping_add(1);
        agreed[at] = Agreed { writes, ..Agreed::default() };
    }
}

fn slot(hash: u64, slots: usize) -> usize {
    usize::try_from(hash % slots as u64).expect("below the number of slots")
}

/// A page that streams by. On drop it is queued, complete or not, if it has to be compared with the disk.
pub(super) struct RecordedPage {
    /// `None`: there was no memory for it.
    page: Option<ListedPage>,
    hasher: PageHasher,
    bucket_hash: u64,
    on_disk: bool,
    pages: Arc<ListedPages>,
}

impl RecordedPage {
    pub(super) fn push(&mut self, piece: &Bytes) {
        if self.charge(piece.len() as u64)
            && let Some(page) = &mut self.page
        {
            page.body.push(piece.clone());
            self.hasher.update(piece);
        }
    }

    /// Whether there is memory for a piece just now.
    pub(super) fn has_room(&self, piece: &Bytes) -> bool {
        let taken = self.pages.taken.load(Ordering::Relaxed);
        self.page.is_some() && taken + piece.len() as u64 <= self.pages.capacity
    }

    /// Returns the pieces of the body so far; empty if there was no memory for them.
    pub(super) fn pieces(&self) -> &[Bytes] {
        self.page.as_ref().map_or(&[], |page| &page.body)
    }

    /// Returns the digest of the pieces so far; `None`: there was no memory for them.
    pub(super) fn digest(&self) -> Option<PageDigest> {
        self.page.as_ref().map(|_| self.hasher.digest())
    }

    /// Completes the page. One that is known to agree with the disk is not queued.
    pub(super) fn complete(&mut self) {
        let digest = self.digest();
        let Some(page) = &mut self.page else { return };
        page.digest = digest;
        if let Some(digest) = digest.filter(|_| self.on_disk) {
            self.on_disk = !self.pages.agrees_with_disk(self.bucket_hash, digest, page.sent);
        }
    }

    /// Reserves memory; `false`: there is none, and the page is dropped.
    fn charge(&mut self, bytes: u64) -> bool {
        let Some(page) = &mut self.page else { return false };
        page.taken += bytes;
        let before = self.pages.taken.fetch_add(bytes, Ordering::Relaxed);
        if before + bytes <= self.pages.capacity {
            return true;
        }
        self.pages.release(page);
        if self.on_disk {
            self.pages.lose(&page.bucket);
        }
        self.page = None;
        false
    }
}

impl Drop for RecordedPage {
    fn drop(&mut self) {
        match self.page.take() {
            Some(page) if self.on_disk => self.pages.queue(page),
            Some(page) => self.pages.release(&page),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use http::Method;

    use super::super::absences::PageKeys;
    use super::*;
    use crate::s3::{Query, testing};

    fn record(pages: &Arc<ListedPages>, id: &ObjectId) -> RecordedPage {
        let request = ListRequest::of(&Method::GET, &Query::default()).unwrap();
        pages.record(request, Sent::now(), (id.realm().clone(), id.bucket().clone()), true)
    }

    #[tokio::test(start_paused = true)]
    async fn a_record_waits_for_the_pages_of_its_bucket_that_were_queued() {
        let pages = ListedPages::new(BYTES.0);
        let (id, other) = (testing::id("bucket", "k"), testing::id("another", "k"));
        let mut received = pages.take().unwrap();
        let streaming = record(&pages, &id);
        assert!(pages.settled(&id).await, "it still streams");
        drop(streaming);
        drop(record(&pages, &id));
        assert_eq!(pages.settled(&other).now_or_never(), Some(true));
        assert!(!pages.settled(&id).await);
        pages.finish(&received.recv().await.unwrap());
        let mut waiting = Box::pin(pages.settled(&id));
        assert_eq!((&mut waiting).now_or_never(), None);
        pages.finish(&received.recv().await.unwrap());
        assert!(waiting.await && pages.settled(&id).await);
        assert_eq!(pages.taken.load(Ordering::Relaxed), 0);
        assert!(!pages.has_lost(&id, &Moment::ago(Duration::from_hours(1))));
    }

    #[tokio::test(start_paused = true)]
    async fn pages_take_a_bounded_number_of_bytes_and_what_is_lost_is_known() {
        let pages = ListedPages::new(BYTES.0);
        let (id, other) = (testing::id("bucket", "k"), testing::id("another", "k"));
        let mut received = pages.take().unwrap();
        let before = Moment::now();
        let mut page = record(&pages, &id);
        let piece = Bytes::from(vec![0; 1000]);
        while page.page.is_some() {
            assert!(pages.taken.load(Ordering::Relaxed) <= pages.capacity);
            page.push(&piece);
        }
        drop(page);
        assert!(received.recv().now_or_never().is_none() && pages.settled(&id).await);
        assert_eq!(pages.taken.load(Ordering::Relaxed), 0);
        assert!(pages.has_lost(&id, &before) && !pages.has_lost(&other, &before));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!pages.has_lost(&id, &Moment::now()), "it was learned since");
    }

    #[test]
    fn a_state_that_agrees_is_known_until_a_record_is_written() {
        let pages = ListedPages::new(BYTES.0);
        let id = testing::id("bucket", "k");
        let unchecked = pages.unchecked(id.hash64(), 7).unwrap();
        pages.agrees(unchecked);
        assert!(
            pages.unchecked(id.hash64(), 7).is_none() && pages.unchecked(id.hash64(), 8).is_some()
        );
        let late = pages.unchecked(id.hash64(), 8).unwrap();
        pages.is_written(&id.paid());
        assert!(pages.unchecked(id.hash64(), 7).is_some());
        pages.agrees(late);
        assert!(pages.unchecked(id.hash64(), 8).is_some(), "it was written meanwhile");
    }

    #[tokio::test(start_paused = true)]
    async fn r34_a_page_agrees_with_the_disk_until_a_record_of_its_bucket_is_written() {
        let pages = ListedPages::new(BYTES.0);
        let (id, other) = (testing::id("bucket", "k"), testing::id("another", "k"));
        let mut page = record(&pages, &id);
        page.push(&Bytes::from("k"));
        let (digest, bucket) = (page.digest().unwrap(), id.bucket_hash64());
        let request = ListRequest::of(&Method::GET, &Query::default()).unwrap();
        let mut keys = PageKeys::new(bucket, request, Sent::now(), Some(digest));
        keys.push(b"j", 1);
        keys.push(b"k", 2);
        pages.absences.keep(keys);
        let agrees = || pages.agrees_with_disk(bucket, digest, Sent::now());
        assert!(!agrees());
        for _ in 0..2 {
            tokio::time::advance(Duration::from_secs(1)).await;
            pages.seen.agrees(digest, Place::Disk, Sent::now().0.instant());
            pages.is_written(&other);
            assert!(agrees());
            pages.is_written(&id);
            assert!(!agrees());
        }
    }
}
