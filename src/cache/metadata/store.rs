//! Metadata cache: metadata with the moment it was learned, absences, and uncacheable objects.
//!
//! No entry expires by itself: it records when it was learned, and the reader's policy decides whether that is fresh
//! enough. So one entry serves rules of different strictness, and a stale one is available when the origin is not
//! (R14).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::fast::RandomState;
use moka::notification::RemovalCause;
use moka::policy::EvictionPolicy;
use moka::sync::Cache as Moka;
use parking_lot::Mutex;

use super::clock::Moment;
use super::key_index::KeyIndex;
use crate::cache::invalidate::departures::{Departing as _, Departures, Why};
use crate::cache::invalidate::generation::Generation;
use crate::cache::key::ObjectVersion;
use crate::metrics::cache::{Eviction, evicted};
use crate::s3::{BucketName, ObjectId, ObjectKey, ObjectMeta, Realm, S3Error, VersionId};

/// Cost of an entry in addition to its headers, in bytes, its name in the index included.
const ENTRY_OVERHEAD: usize = 700;
/// Cost of a known part in addition to its checksums, in bytes.
const PART_OVERHEAD: usize = 80;

/// The kind of request that showed that an object is absent (R12).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cache) enum LearnedBy {
    /// A HEAD: its 404 carries no error code, so it answers only HEAD.
    Head,
    /// A GET, whose body said `NoSuchKey`.
    Get,
}

/// The known state of an object.
#[derive(Debug, Clone)]
pub(in crate::cache) enum Known {
    Object {
        meta: Arc<ObjectMeta>,
        version: ObjectVersion,
    },
    Missing {
        error: Arc<S3Error>,
        by: LearnedBy,
    },
    /// Responses are streamed through (R2, R13).
    Uncacheable,
}

/// An entry of the metadata cache: the known state of an object, and the moment it was learned.
#[derive(Debug, Clone)]
pub(in crate::cache) struct Entry {
    pub known: Known,
    /// A moment before the request that brought it was sent.
    pub since: Moment,
    pub generation: Generation,
    /// Whether it was recalled from disk: events may have been missed since (R11).
    pub recalled: bool,
    /// Mark of an entry whose object may have changed since it was learned.
    pub stale: StaleMark,
    /// Fingerprint of the evidence that made it stale; 0: none (R34).
    pub contradicted: u64,
    /// Fingerprints of evidence that a HEAD refuted since the object last changed.
    pub refuted: [u64; 2],
}

/// Whether an entry must be revalidated before it is served, however young it is (R10).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cache) enum StaleMark {
    No,
    Yes {
        /// Whether the disk had a record, which is rewritten once the entry is confirmed.
        on_disk: bool,
    },
}

impl Entry {
    pub(in crate::cache) fn new(known: Known, since: Moment, generation: Generation) -> Self {
        Self {
            known,
            since,
            generation,
            recalled: false,
            stale: StaleMark::No,
            contradicted: 0,
            refuted: [0; 2],
        }
    }

    /// Inherits the refuted evidence of `old`, if this entry confirms it.
    pub(in crate::cache) fn inherit(&mut self, old: &Self) {
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

    pub(in crate::cache) fn is_marked_stale(&self) -> bool {
        self.stale != StaleMark::No
    }

    /// Returns the metadata of the object, if it exists.
    pub(in crate::cache) fn meta(&self) -> Option<&Arc<ObjectMeta>> {
        match &self.known {
            Known::Object { meta, .. } => Some(meta),
            Known::Missing { .. } | Known::Uncacheable => None,
        }
    }

    /// Whether the entry is known to be of the version `id`.
    pub(in crate::cache) fn is_of(&self, id: &VersionId) -> bool {
        let version = self.meta().and_then(|meta| meta.version_id.as_ref());
        version.is_some_and(|known| known == id.as_str())
    }
}

/// The unit of weights, in bytes: moka counts in 32 bits.
const UNIT: u32 = 64;
/// Number of insertions after which the ballast is made the most recent entry again.
const BALLAST_EVERY: u64 = 16;

/// Entries by object, with LRU eviction.
///
/// moka's capacity is fixed for its lifetime. The part not to be used now is taken by one entry without content, the
/// ballast, which is kept the most recent one.
pub(in crate::cache) struct MetaCache {
    entries: Moka<ObjectId, Held, RandomState>,
    index: Arc<KeyIndex>,
    /// moka's capacity, in bytes,
    full: u64,
    /// the ballast's weight, in units,
    ballast: Mutex<u32>,
    /// its id,
    ballast_id: ObjectId,
    /// and the insertions so far.
    inserted: AtomicU64,
}

#[derive(Clone)]
enum Held {
    Entry(Arc<Entry>),
    Ballast(u32),
}

impl Held {
    fn entry(self) -> Option<Arc<Entry>> {
        match self {
            Self::Entry(entry) => Some(entry),
            Self::Ballast(_) => None,
        }
    }
}

impl MetaCache {
    /// Creates a cache of `capacity` bytes, which can be raised up to `full`.
    pub(in crate::cache) fn new(capacity: u64, full: u64, departures: Arc<Departures>) -> Self {
        let index = Arc::<KeyIndex>::default();
        let names = index.clone();
        let full = full.max(capacity);
        let entries = Moka::builder()
            .name("metadata")
            .max_capacity(full / u64::from(UNIT))
            .weigher(|id: &ObjectId, held: &Held| match held {
                Held::Entry(entry) => weigh(id, entry).div_ceil(UNIT),
                Held::Ballast(weight) => *weight,
            })
            .eviction_policy(EvictionPolicy::lru())
            .eviction_listener(move |id, held: Held, cause| match (held, cause) {
                (_, RemovalCause::Replaced) | (Held::Ballast(_), _) => {}
                (Held::Entry(entry), cause) => {
                    names.remove(&id, &entry);
                    if cause == RemovalCause::Size {
                        departures.record(id.departing(), Why::Evicted);
                        evicted(Eviction::Metadata, 1);
                    }
                }
            })
            .build_with_hasher(RandomState::default());
        let cache = Self {
            entries,
            index,
            full,
            ballast: Mutex::new(0),
            ballast_id: ballast_id(),
            inserted: AtomicU64::new(0),
        };
        cache.set_capacity(capacity);
        cache.settle();
        cache
    }

    pub(in crate::cache) fn get(&self, id: &ObjectId) -> Option<Arc<Entry>> {
        self.entries.get(id)?.entry()
    }

    /// Returns the index of entries in key order.
    pub(in crate::cache) fn index(&self) -> &KeyIndex {
        &self.index
    }

    /// Returns all entries, in no order.
    pub(in crate::cache) fn iter(&self) -> impl Iterator<Item = (Arc<ObjectId>, Arc<Entry>)> + '_ {
        self.entries.iter().filter_map(|(id, held)| Some((id, held.entry()?)))
    }

    pub(in crate::cache) fn insert(&self, id: &ObjectId, entry: Entry) {
        let entry = Arc::new(entry);
        // First, since the entry may be evicted at once.
        self.index.insert(id, &entry);
        self.entries.insert(id.clone(), Held::Entry(entry));
        if self.inserted.fetch_add(1, Ordering::Relaxed).is_multiple_of(BALLAST_EVERY) {
            let ballast = self.ballast.lock();
            self.entries.insert(self.ballast_id.clone(), Held::Ballast(*ballast));
        }
    }

    pub(in crate::cache) fn remove(&self, id: &ObjectId) {
        self.entries.invalidate(id);
    }

    /// Sets the capacity, in bytes, and evicts the excess.
    pub(in crate::cache) fn set_capacity(&self, bytes: u64) {
        let weight = self.full.saturating_sub(bytes) / u64::from(UNIT);
        let weight = u32::try_from(weight).unwrap_or(u32::MAX);
        let mut ballast = self.ballast.lock();
        let grows = weight > *ballast;
        if *ballast == weight {
            return;
        }
        *ballast = weight;
        self.entries.insert(self.ballast_id.clone(), Held::Ballast(weight));
        if grows {
            self.entries.run_pending_tasks();
        }
    }

    /// Runs moka's pending evictions and counts now.
    pub(in crate::cache) fn settle(&self) {
        self.entries.run_pending_tasks();
    }

    /// Returns the weight in bytes and the number of entries, as far as moka has counted.
    pub(in crate::cache) fn usage(&self) -> (u64, u64) {
        let ballast = u64::from(*self.ballast.lock());
        let weight = self.entries.weighted_size().saturating_sub(ballast);
        (weight * u64::from(UNIT), self.entries.entry_count().saturating_sub(1))
    }
}

/// Returns the id of the ballast, which is no object's: no origin's realm has this address.
fn ballast_id() -> ObjectId {
    let bucket = BucketName::new("ballast").expect("a bucket's name");
    let key = ObjectKey::new("ballast").expect("a key");
    ObjectId::new(&Realm::new("ballast", "ballast"), bucket, key)
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
