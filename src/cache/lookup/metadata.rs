//! Lookup of metadata in memory and on disk, and its freshness by the rule of a read.

use std::sync::Arc;

use super::found::{Found, Source};
use crate::cache::metadata::store::{Entry, Known, LearnedBy};
use crate::cache::rules::policy::{Policy, UNCACHEABLE};
use crate::cache::tiers::objects::ObjectTiers;
use crate::s3::{ObjectId, S3Error};

/// Result of a lookup.
pub(in crate::cache) enum Lookup {
    Fresh(Found),
    /// Has to be revalidated; without an entry it may not be served stale in any case.
    Stale(Option<Arc<Entry>>, Found),
    Absent(Arc<S3Error>),
    Uncacheable,
    Unknown,
}

/// Looks metadata up. Clones share the tiers.
#[derive(Clone)]
pub(in crate::cache) struct MetadataLookup {
    pub(super) objects: Arc<ObjectTiers>,
}

impl MetadataLookup {
    pub(in crate::cache) fn new(objects: Arc<ObjectTiers>) -> Self {
        Self { objects }
    }

    /// Looks an object up in memory, and then on disk.
    pub(in crate::cache) async fn find(
        &self,
        id: &ObjectId,
        policy: &Policy,
        by: LearnedBy,
    ) -> Lookup {
        match self.in_memory(id, policy, by) {
            Lookup::Unknown if self.objects.disk.is_some() => {
                let recalled = self.objects.recall(id).await
                    || id.version().is_some()
                        && !id.pays()
                        && self.objects.recall(id.object()).await;
                if recalled { self.in_memory(id, policy, by) } else { Lookup::Unknown }
            }
            known => known,
        }
    }

    /// Returns an object whose metadata is in memory and fresh.
    pub(in crate::cache) fn find_fresh(&self, id: &ObjectId, policy: &Policy) -> Option<Found> {
        match self.in_memory(id, policy, LearnedBy::Get) {
            Lookup::Fresh(found) => Some(found),
            _ => None,
        }
    }

    /// Looks an object up in memory.
    pub(in crate::cache) fn in_memory(
        &self,
        id: &ObjectId,
        policy: &Policy,
        by: LearnedBy,
    ) -> Lookup {
        // Both before the lookup: an invalidation in between makes the generation too old, never too new, and a write
        // that ends in between must still be seen, since it invalidates the entry found.
        let generation = self.objects.generations.current(id);
        let must_confirm = self.objects.generations.must_confirm(id);
        let Some((entry, doubted)) = self.entry(id) else { return Lookup::Unknown };
        if !self.objects.generations.bucket_is_current(id, entry.generation) {
            return Lookup::Unknown;
        }
        let doubted = doubted || !self.objects.generations.epoch_is_current(entry.generation);
        match &entry.known {
            Known::Object { meta, .. } if meta.no_store && policy.obey_no_store => {
                let lately = entry.since.age() < UNCACHEABLE;
                if lately { Lookup::Uncacheable } else { Lookup::Unknown }
            }
            Known::Object { meta, version } => {
                let found = Found {
                    id: id.clone(),
                    meta: meta.clone(),
                    version: version.clone(),
                    source: Source::Hit,
                    since: entry.since,
                    generation,
                    fetching: policy.fetching,
                    opening: None,
                    claims: Vec::new(),
                };
                match policy.is_fresh(&entry) && !must_confirm {
                    _ if doubted || policy.confirms_each_read(meta) => Lookup::Stale(None, found),
                    true => Lookup::Fresh(found),
                    false => Lookup::Stale(Some(entry), found),
                }
            }
            _ if doubted => Lookup::Unknown,
            Known::Missing { error, by: learned } => {
                let answers = *learned == by || *learned == LearnedBy::Get;
                match answers && !must_confirm && policy.believes_absence(&entry) {
                    true => Lookup::Absent(error.clone()),
                    false => Lookup::Unknown,
                }
            }
            Known::Uncacheable if policy.remembers_uncacheable(&entry) => Lookup::Uncacheable,
            Known::Uncacheable => Lookup::Unknown,
        }
    }

    /// Returns the entry of an id, and whether it must be revalidated before use.
    ///
    /// An invalidation of an object cannot find its variants (by version id, or of a requester that pays): those
    /// entries stay, with the generation in which they were learned. There are no tombstones for them either, so that
    /// an entry recalled from disk is revalidated once, under `immutable` too. The entry of the current version also
    /// serves a request for that version by id.
    fn entry(&self, id: &ObjectId) -> Option<(Arc<Entry>, bool)> {
        let own = self.objects.meta.get(id);
        let with_doubt = |entry: Arc<Entry>| {
            let doubted = entry.is_marked_stale();
            (entry, doubted)
        };
        if !id.is_variant() {
            return own.map(with_doubt);
        }
        let believed = |e: &Entry| {
            !e.recalled
                && !e.is_marked_stale()
                && self.objects.generations.is_current(id, e.generation)
        };
        if let Some(entry) = own.as_ref().filter(|entry| believed(entry)) {
            return Some((entry.clone(), false));
        }
        let version = id.version().filter(|_| !id.pays());
        let current = version.and_then(|version| {
            self.objects.meta.get(id.object()).filter(|entry| entry.is_of(version))
        });
        current.map(with_doubt).or(own.map(|entry| (entry, true)))
    }
}
