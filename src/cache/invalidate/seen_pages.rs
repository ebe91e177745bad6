//! Pages of listings that agreed with all cached metadata of their buckets (R34). An identical page still agrees,
//! unless other metadata was learned since the request for the first one was sent.
//!
//! Comparing a page costs half as much as passing it on; recognizing it costs next to nothing. In memory alone.

use std::hash::{BuildHasher as _, Hash as _, Hasher as _};
use std::sync::LazyLock;

use foldhash::fast::RandomState;
use parking_lot::Mutex;
use tokio::time::Instant;
use twox_hash::XxHash3_64;

use crate::s3::ListRequest;

/// Hash of a page, its bucket and its request, stable within a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PageDigest(u64);

/// Computes the [`PageDigest`] of a body in pieces.
pub(super) struct PageHasher(Box<XxHash3_64>);

impl PageHasher {
    pub(super) fn new(bucket_hash: u64, request: &ListRequest) -> Self {
        static SEED: LazyLock<u64> = LazyLock::new(|| RandomState::default().hash_one(0));
        let mut hasher = XxHash3_64::with_seed(*SEED);
        hasher.write_u64(bucket_hash);
        request.hash(&mut hasher);
        Self(Box::new(hasher))
    }

    pub(super) fn update(&mut self, piece: &[u8]) {
        self.0.write(piece);
    }

    pub(super) fn digest(&self) -> PageDigest {
        // 0 is an empty slot.
        PageDigest(self.0.finish().max(1))
    }
}

/// Times at which a page was requested that agreed with the cached metadata in each place.
#[derive(Clone, Copy, Default)]
struct Agreed {
    digest: u64,
    memory: Option<Instant>,
    disk: Option<Instant>,
}

/// The tier whose metadata a page was compared with.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place {
    Memory,
    Disk,
}

/// Recent pages that agreed, in a bounded number of bytes.
pub(super) struct SeenPages(Mutex<Box<[Agreed]>>);

impl SeenPages {
    pub(super) fn new(bytes: u64) -> Self {
        let slots = usize::try_from(bytes).unwrap_or(usize::MAX) / size_of::<Agreed>();
        Self(Mutex::new(vec![Agreed::default(); slots.max(1)].into_boxed_slice()))
    }

    /// Notes a page, requested at `sent`, that agrees with all metadata in `place`.
    pub(super) fn agrees(&self, digest: PageDigest, place: Place, sent: Option<Instant>) {
        let mut pages = self.0.lock();
        let slot = slot(digest, pages.len());
        let page = &mut pages[slot];
        if page.digest != digest.0 {
            *page = Agreed { digest: digest.0, ..Agreed::default() };
        }
        match place {
            Place::Memory => page.memory = sent,
            Place::Disk => page.disk = sent,
        }
    }

    /// Whether a page is known to agree with `place`, whose metadata last changed at `changed`.
    pub(super) fn agreed(
        &self,
        digest: PageDigest,
        place: Place,
        changed: Option<Instant>,
    ) -> bool {
        let pages = self.0.lock();
        let page = &pages[slot(digest, pages.len())];
        let sent = match place {
            Place::Memory => page.memory,
            Place::Disk => page.disk,
        };
        page.digest == digest.0 && sent.is_some() && changed < sent
    }
}

fn slot(digest: PageDigest, slots: usize) -> usize {
    usize::try_from(digest.0 % slots as u64).expect("below the number of slots")
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::s3::Query;

    fn digest(bucket: u64, query: &str, body: &[&str]) -> PageDigest {
        let request = ListRequest::of(&Method::GET, &Query::parse(query).unwrap()).unwrap();
        let mut hasher = PageHasher::new(bucket, &request);
        for piece in body {
            hasher.update(piece.as_bytes());
        }
        hasher.digest()
    }

    #[test]
    fn a_digest_is_of_the_bytes_whatever_their_pieces_and_of_what_was_asked() {
        let page = digest(1, "prefix=a", &["abc", "def"]);
        assert_eq!(digest(1, "prefix=a", &["a", "bcdef"]), page);
        let others = [
            digest(2, "prefix=a", &["abcdef"]),
            digest(1, "prefix=b", &["abcdef"]),
            digest(1, "prefix=a&delimiter=b", &["abcdef"]),
            digest(1, "prefix=a", &["abcdeg"]),
            digest(1, "prefix=a", &["abcde"]),
        ];
        assert!(others.iter().all(|other| *other != page));
    }

    #[tokio::test(start_paused = true)]
    async fn r34_a_page_agrees_until_something_else_is_learned() {
        let (pages, page) = (SeenPages::new(1 << 10), digest(1, "", &["a"]));
        let now = Instant::now();
        let millisecond = std::time::Duration::from_millis(1);
        assert!(!pages.agreed(page, Place::Memory, None));
        pages.agrees(page, Place::Memory, Some(now));
        assert!(pages.agreed(page, Place::Memory, None));
        assert!(pages.agreed(page, Place::Memory, Some(now - millisecond)));
        assert!(!pages.agreed(page, Place::Memory, Some(now)), "it may have been learned after");
        assert!(!pages.agreed(page, Place::Disk, None));
        pages.agrees(page, Place::Disk, Some(now));
        assert!(pages.agreed(page, Place::Disk, None) && pages.agreed(page, Place::Memory, None));
        assert!(!pages.agreed(digest(1, "", &["b"]), Place::Memory, None));
    }
}
