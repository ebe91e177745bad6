//! What is known of objects: metadata with the moment it was learned, absences, and what must not be cached.
//!
//! Nothing here expires by itself: an entry says when it was learned, and the reader's policy says whether that
//! is fresh enough. So one entry serves rules of different strictness, and a stale one is at hand when the
//! origin is not (R14).

use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use moka::notification::RemovalCause;
use moka::policy::EvictionPolicy;
use moka::sync::Cache as Moka;
use rustix::time::{ClockId, clock_gettime};
use tokio::time::Instant;

use super::generation::Generation;
use super::key::ObjectVersion;
use super::key_index::KeyIndex;
use crate::s3::{ObjectId, ObjectMeta, S3Error, VersionId};

/// What an entry costs beside its headers, its name in the index included.
const ENTRY_OVERHEAD: usize = 700;
/// What a part that is known costs beside its checksums.
const PART_OVERHEAD: usize = 80;

/// A moment, by the monotonic clock and by the clock that goes on while the machine is suspended (R15).
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    monotonic: Instant,
    boot: Duration,
    /// So long before the two clocks above were read.
    before: Duration,
}

impl Moment {
    pub(super) fn now() -> Self {
        Self::ago(Duration::ZERO)
    }

    pub(super) fn ago(before: Duration) -> Self {
        Self { monotonic: Instant::now(), boot: boot_time(), before }
    }

    /// When it was, by the monotonic clock.
    pub(super) fn instant(&self) -> Option<Instant> {
        self.monotonic.checked_sub(self.before)
    }

    /// Time since then, suspended time included.
    pub(super) fn age(&self) -> Duration {
        let since = self.monotonic.elapsed().max(boot_time().saturating_sub(self.boot));
        self.before.saturating_add(since)
    }
}

/// The clock that goes on while the machine is suspended.
pub fn boot_time() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// Which request taught us that an object is not there (R12).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LearnedBy {
    /// Its 404 carries no code, so it answers only HEAD.
    Head,
    /// Its body said `NoSuchKey`.
    Get,
}

/// What is known of one object.
#[derive(Debug, Clone)]
pub(super) enum Known {
    Object {
        meta: Arc<ObjectMeta>,
        version: ObjectVersion,
    },
    Missing {
        error: Arc<S3Error>,
        by: LearnedBy,
    },
    /// Its answers are streamed through (R2, R13).
    Uncacheable,
}

/// What is known of one object, and since when.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub known: Known,
    /// Before the request that taught it was sent.
    pub since: Moment,
    pub generation: Generation,
    /// It comes from disk: events may have been missed since (R11).
    pub recalled: bool,
    /// It was said to have changed since it was learned.
    pub doubt: Doubt,
    /// Fingerprint of the evidence that made it stale; 0: none (R34).
    pub contradicted: u64,
    /// Fingerprints of evidence that a HEAD refuted since the object last changed.
    pub refuted: [u64; 2],
}

/// Whether what is known must be confirmed by the origin before it is served, however young it is (R10).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doubt {
    No,
    Yes {
        /// The disk knew it, too, and is to know it again once it is confirmed.
        on_disk: bool,
    },
}

impl Entry {
    pub(super) fn new(known: Known, since: Moment, generation: Generation) -> Self {
        Self {
            known,
            since,
            generation,
            recalled: false,
            doubt: Doubt::No,
            contradicted: 0,
            refuted: [0; 2],
        }
    }

    /// Takes over which evidence is refuted, if this confirms what `old` says.
    pub(super) fn inherit(&mut self, old: &Self) {
        let same = match (&self.known, &old.known) {
            (Known::Object { meta, .. }, Known::Object { meta: old, .. }) => meta.same_version(old),
            (Known::Missing { .. }, Known::Missing { .. }) => true,
            _ => false,
        };
        if same {
            self.refuted = match old.contradicted {
                0 => old.refuted,
                refuted => [refuted, old.refuted[0]],
            };
        }
    }

    pub(super) fn is_doubted(&self) -> bool {
        self.doubt != Doubt::No
    }

    /// The object's, if it is there.
    pub(super) fn meta(&self) -> Option<&Arc<ObjectMeta>> {
        match &self.known {
            Known::Object { meta, .. } => Some(meta),
            Known::Missing { .. } | Known::Uncacheable => None,
        }
    }

    /// Whether it is known to be of the version that `id` names.
    pub(super) fn is_of(&self, id: &VersionId) -> bool {
        let version = self.meta().and_then(|meta| meta.version_id.as_ref());
        version.is_some_and(|known| known == id.as_str())
    }
}

/// Entries by object, the least recently used leave first.
pub(super) struct MetaCache {
    entries: Moka<ObjectId, Arc<Entry>, RandomState>,
    index: Arc<KeyIndex>,
}

impl MetaCache {
    /// Holds entries of up to `capacity` bytes.
    pub(super) fn new(capacity: u64) -> Self {
        let index = Arc::<KeyIndex>::default();
        let names = index.clone();
        let entries = Moka::builder()
            .name("metadata")
            .max_capacity(capacity)
            .weigher(|id: &ObjectId, entry: &Arc<Entry>| weigh(id, entry))
            .eviction_policy(EvictionPolicy::lru())
            .eviction_listener(move |id, entry, cause| match cause {
                RemovalCause::Replaced => {}
                _ => names.remove(&id, &entry),
            })
            .build_with_hasher(RandomState::default());
        Self { entries, index }
    }

    pub(super) fn get(&self, id: &ObjectId) -> Option<Arc<Entry>> {
        self.entries.get(id)
    }

    /// The names of entries in the order of their keys.
    pub(super) fn index(&self) -> &KeyIndex {
        &self.index
    }

    /// All entries, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Arc<ObjectId>, Arc<Entry>)> + '_ {
        self.entries.iter()
    }

    pub(super) fn insert(&self, id: &ObjectId, entry: Entry) {
        let entry = Arc::new(entry);
        // First: it may be evicted at once.
        self.index.insert(id, &entry);
        self.entries.insert(id.clone(), entry);
    }

    pub(super) fn remove(&self, id: &ObjectId) {
        self.entries.invalidate(id);
    }

    /// Does now what moka does later.
    pub(super) fn settle(&self) {
        self.entries.run_pending_tasks();
    }

    /// Weighed bytes and number of entries, as far as moka has counted.
    pub(super) fn usage(&self) -> (u64, u64) {
        (self.entries.weighted_size(), self.entries.entry_count())
    }
}

fn weigh(id: &ObjectId, entry: &Entry) -> u32 {
    let known = match &entry.known {
        Known::Object { meta, .. } => {
            let checksums = meta.checksums.iter().flatten();
            let parts = meta.parts.iter().flat_map(|part| part.checksums.iter());
            let headers = meta.headers.iter().chain(checksums).chain(parts);
            let parts = meta.parts.len() * PART_OVERHEAD;
            parts
                + headers.map(|(name, value)| name.as_str().len() + value.len() + 80).sum::<usize>()
        }
        Known::Missing { error, .. } => error.message.len() + 200,
        Known::Uncacheable => 0,
    };
    let version = id.version().map_or(0, |version| version.as_str().len() + 200);
    let names = id.bucket().as_str().len() + id.key().as_str().len() + version;
    u32::try_from(ENTRY_OVERHEAD + names + known).unwrap_or(u32::MAX)
}
