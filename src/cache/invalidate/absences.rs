//! Keys of recent pages of listings, for objects whose metadata is only on disk: between two keys of an ordered page
//! each key that is not listed is absent (R34).
//!
//! The index of the disk holds no keys, so that it cannot be searched for keys that a page leaves out. The page's keys
//! are kept as hashes, and looked up when a record is recalled. The oldest pages are dropped: then an absence goes
//! unnoticed until the object is listed or read otherwise. In memory alone.

use std::collections::VecDeque;

use parking_lot::Mutex;

use super::seen_pages::PageDigest;
use crate::cache::metadata::clock::{Moment, Sent};
use crate::s3::{ListRequest, ObjectId};

/// Bytes of a page in addition to its hashes.
const PAGE_OVERHEAD: usize = 512;

/// The keys of one page.
pub(super) struct PageKeys {
    pub bucket_hash: u64,
    pub request: ListRequest,
    pub sent: Sent,
    first: Vec<u8>,
    last: Vec<u8>,
    ordered: bool,
    /// Hashes of objects; sorted once the page is kept.
    hashes: Vec<u64>,
    /// Digest of the page; `None`: it is not complete.
    digest: Option<PageDigest>,
}

impl PageKeys {
    pub(super) fn new(
        bucket_hash: u64,
        request: ListRequest,
        sent: Sent,
        digest: Option<PageDigest>,
    ) -> Self {
        let (first, last, hashes) = (Vec::new(), Vec::new(), Vec::new());
        Self { bucket_hash, request, sent, first, last, ordered: true, hashes, digest }
    }

    /// Adds the next key of the page, with the hash of its object.
    pub(super) fn push(&mut self, key: &[u8], hash: u64) {
        if self.hashes.is_empty() {
            self.first = key.to_vec();
        }
        self.ordered &= self.last.as_slice() <= key;
        self.last.clear();
        self.last.extend_from_slice(key);
        self.hashes.push(hash);
    }

    fn bytes(&self) -> usize {
        PAGE_OVERHEAD + self.first.len() + self.last.len() + self.hashes.len() * size_of::<u64>()
    }

    fn replaces(&self, old: &Self) -> bool {
        (self.bucket_hash, &self.request, &self.first, &self.last)
            == (old.bucket_hash, &old.request, &old.first, &old.last)
    }

    fn leaves_out(&self, id: &ObjectId) -> bool {
        let key = id.key().as_str();
        let between =
            self.first.as_slice() < key.as_bytes() && key.as_bytes() < self.last.as_slice();
        between
            && self.bucket_hash == id.bucket_hash64()
            && self.request.common_prefix(key).is_none()
            && self.hashes.binary_search(&id.hash64()).is_err()
    }
}

/// Recent pages, in a bounded number of bytes.
pub(super) struct Absences {
    capacity: usize,
    pages: Mutex<Pages>,
}

#[derive(Default)]
struct Pages {
    latest_last: VecDeque<PageKeys>,
    bytes: usize,
}

impl Absences {
    pub(super) fn new(capacity: u64) -> Self {
        let capacity = usize::try_from(capacity).unwrap_or(usize::MAX);
        Self { capacity, pages: Mutex::default() }
    }

    /// Renews a page that was requested again at `sent`; `false`: its keys are not kept.
    pub(super) fn renew(&self, digest: PageDigest, sent: Sent) -> bool {
        let mut pages = self.pages.lock();
        let known = |page: &PageKeys| page.digest == Some(digest);
        let Some(at) = pages.latest_last.iter().position(known) else { return false };
        if let Some(mut page) = pages.latest_last.remove(at) {
            page.sent = sent;
            pages.latest_last.push_back(page);
        }
        true
    }

    /// Keeps the keys of a page that is complete.
    pub(super) fn keep(&self, mut page: PageKeys) {
        if !page.ordered || page.hashes.len() < 2 || page.digest.is_none() {
            return;
        }
        page.hashes.sort_unstable();
        let mut pages = self.pages.lock();
        pages.latest_last.retain(|old| !page.replaces(old));
        pages.latest_last.push_back(page);
        pages.bytes = pages.latest_last.iter().map(PageKeys::bytes).sum();
        while pages.bytes > self.capacity
            && let Some(oldest) = pages.latest_last.pop_front()
        {
            pages.bytes -= oldest.bytes();
        }
    }

    /// Whether a listing that was requested after `since` left an object out.
    pub(super) fn cover(&self, id: &ObjectId, since: &Moment) -> bool {
        let pages = self.pages.lock();
        let later = |page: &&PageKeys| page.sent.0.instant() > since.instant();
        pages.latest_last.iter().filter(later).any(|page| page.leaves_out(id))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::Method;

    use super::super::seen_pages::PageHasher;
    use super::*;
    use crate::s3::{Query, testing};

    fn page(query: &str, keys: &[&str]) -> PageKeys {
        let request = ListRequest::of(&Method::GET, &Query::parse(query).unwrap()).unwrap();
        let bucket = testing::id("bucket", "k").bucket_hash64();
        let mut hasher = PageHasher::new(bucket, &request);
        for key in keys {
            hasher.update(key.as_bytes());
        }
        let mut page = PageKeys::new(bucket, request, Sent::now(), Some(hasher.digest()));
        for key in keys {
            page.push(key.as_bytes(), testing::id("bucket", key).hash64());
        }
        page
    }

    fn before() -> Moment {
        Moment::ago(Duration::from_secs(1))
    }

    #[tokio::test(start_paused = true)]
    async fn r34_a_key_between_two_of_an_ordered_page_is_absent() {
        let absent = |query: &str, listed: &[&str], key: &str| {
            let absences = Absences::new(1 << 20);
            absences.keep(page(query, listed));
            assert!(!absences.cover(&testing::id("another", key), &before()));
            assert!(!absences.cover(&testing::id("bucket", key), &Moment::now()), "learned since");
            absences.cover(&testing::id("bucket", key), &before())
        };
        assert!(absent("", &["a", "c"], "b") && absent("", &["a", "c/1", "c/3"], "c/2"));
        for key in ["a", "c", "0", "d"] {
            assert!(!absent("", &["a", "c"], key), "{key}");
        }
        assert!(!absent("", &["a", "e", "d"], "b"), "in no order");
        assert!(!absent("delimiter=/", &["a", "c"], "b/1"), "rolled up");
        assert!(absent("delimiter=/", &["a", "c"], "b"));
    }

    #[tokio::test(start_paused = true)]
    async fn the_latest_pages_are_kept_in_a_bounded_number_of_bytes() {
        let absences = Absences::new(10_000);
        for n in 0..100 {
            absences.keep(page("", &[&format!("{n:03}"), &format!("{n:03}x")]));
            absences.keep(page("prefix=x", &["x1", "x3"]));
        }
        let pages = absences.pages.lock();
        assert!(pages.bytes <= 10_000 && pages.latest_last.len() > 10, "{}", pages.bytes);
        let same = pages.latest_last.iter().filter(|page| page.first == b"x1").count();
        assert_eq!(same, 1, "a page replaces an earlier one of the same keys");
        drop(pages);
        assert!(absences.cover(&testing::id("bucket", "x2"), &before()));
        assert!(absences.cover(&testing::id("bucket", "099a"), &before()));
        assert!(!absences.cover(&testing::id("bucket", "000a"), &before()));
    }

    #[tokio::test(start_paused = true)]
    async fn r34_a_page_that_comes_again_shows_absences_since() {
        let absences = Absences::new(1 << 20);
        let first = page("", &["a", "c"]);
        let digest = first.digest.unwrap();
        absences.keep(first);
        tokio::time::advance(Duration::from_secs(1)).await;
        let learned = Moment::now();
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!absences.cover(&testing::id("bucket", "b"), &learned));
        assert!(absences.renew(digest, Sent::now()));
        assert!(absences.cover(&testing::id("bucket", "b"), &learned));
        assert!(!absences.renew(page("", &["a", "d"]).digest.unwrap(), Sent::now()));
    }
}
