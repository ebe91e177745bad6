//! Admission of metadata from the origin's responses, and of absences from its failures.

use std::sync::Arc;

use super::clock::Moment;
use super::heads::{Confirmed, HeadAnswer};
use super::store::{Entry, Known, LearnedBy, StaleMark};
use crate::cache::invalidate::generation::Generation;
use crate::cache::invalidate::invalidation::Invalidation;
use crate::cache::key::ObjectVersion;
use crate::cache::lists::store::Lists;
use crate::cache::tiers::objects::ObjectTiers;
use crate::metrics;
use crate::metrics::cache::InvalidationCause;
use crate::origin::OriginError;
use crate::s3::{ObjectId, ObjectMeta};

/// Admits metadata to memory, unless it was invalidated since it was requested.
pub(in crate::cache) struct MetadataAdmission {
    objects: Arc<ObjectTiers>,
    lists: Arc<Lists>,
    invalidation: Arc<Invalidation>,
}

impl MetadataAdmission {
    pub(in crate::cache) fn new(
        objects: Arc<ObjectTiers>,
        lists: Arc<Lists>,
        invalidation: Arc<Invalidation>,
    ) -> Self {
        Self { objects, lists, invalidation }
    }

    /// Admits metadata that came with bytes. If another version is cached, the object changed between two responses,
    /// and it is unknown which is newer: both are dropped.
    pub(in crate::cache) fn admit_opened(
        &self,
        id: &ObjectId,
        generation: Generation,
        since: Moment,
        meta: &Arc<ObjectMeta>,
        version: &ObjectVersion,
    ) {
        let known = self.objects.meta.get(id).filter(|e| e.generation == generation);
        let mut meta = meta.clone();
        if let Some(Known::Object { meta: old, .. }) = known.as_deref().map(|e| &e.known) {
            if !old.same_version(&meta) {
                self.invalidation.invalidate(id, InvalidationCause::Origin);
                return;
            }
            Arc::make_mut(&mut meta).complete_from(old);
        }
        let known = Known::Object { meta, version: version.clone() };
        self.admit(id, Entry::new(known, since, generation));
    }

    /// Adds the range of a part to cached metadata, from the response for the part.
    pub(in crate::cache) fn admit_part(
        &self,
        id: &ObjectId,
        generation: Generation,
        part: &ObjectMeta,
    ) {
        self.objects.generations.admit(id, generation, || {
            let Some(old) = self.objects.meta.get(id) else { return };
            let Known::Object { meta, version } = &old.known else { return };
            if !meta.same_version(part) {
                return;
            }
            let mut meta = ObjectMeta::clone(meta);
            meta.parts.add(&part.parts);
            let known = Known::Object { meta: Arc::new(meta), version: version.clone() };
            let entry = Entry { known, ..(*old).clone() };
            self.objects.persist_parts(id, &entry);
            self.objects.meta.insert(id, entry);
        });
    }

    /// Admits the metadata of a HEAD, which replaces all that is cached (R10). The same version keeps its blocks;
    /// another raises the generation, so that fetches of the old one are not admitted.
    pub(in crate::cache) fn admit_head(
        &self,
        id: &ObjectId,
        generation: Generation,
        since: Moment,
        answer: Result<ObjectMeta, OriginError>,
    ) -> HeadAnswer {
        let mut meta = match answer {
            Ok(meta) => meta,
            Err(error) => {
                self.admit_failure(id, generation, since, &error, LearnedBy::Head);
                return Err(Arc::new(error));
            }
        };
        let old = self.objects.meta.get(id);
        // After a raised bucket epoch or a purge, the entry is still there, but invalid.
        let old = old.filter(|e| self.objects.generations.bucket_is_current(id, e.generation));
        let same_version = match old.as_deref().map(|e| &e.known) {
            Some(Known::Object { meta: old, version }) => old.same_version(&meta).then(|| {
                meta.complete_from(old);
                version.clone()
            }),
            Some(Known::Missing { .. } | Known::Uncacheable) => None,
            None => Some(self.objects.version(id, &meta)),
        };
        let meta = Arc::new(meta);
        if let Some(version) = same_version {
            let known = Known::Object { meta: meta.clone(), version };
            self.admit(id, Entry::new(known, since, generation));
        } else {
            let version = self.objects.version(id, &meta);
            let known = Known::Object { meta: meta.clone(), version };
            self.replace(id, generation, since, known);
        }
        Ok(Confirmed { meta, since })
    }

    /// Applies a failure of a request: an absence or a denial, which both drop the cached metadata, or nothing.
    pub(in crate::cache) fn admit_failure(
        &self,
        id: &ObjectId,
        generation: Generation,
        since: Moment,
        error: &OriginError,
        by: LearnedBy,
    ) {
        match error {
            OriginError::NotFound(answer)
                if by == LearnedBy::Head || answer.code == "NoSuchKey" =>
            {
                let known = Known::Missing { error: Arc::new(answer.clone()), by };
                if self.objects.meta.get(id).is_some() {
                    self.replace(id, generation, since, known);
                } else {
                    self.admit(id, Entry::new(known, since, generation));
                }
            }
            // A request for a version that never existed must not prevent the admission of the object's fills.
            OriginError::NotFound(_) | OriginError::Denied(_) | OriginError::Changed
                if id.is_variant() && self.objects.meta.get(id).is_none() => {}
            OriginError::NotFound(_) | OriginError::Denied(_) | OriginError::Changed => {
                self.invalidation.changed(id, generation);
            }

            OriginError::Uncacheable(_) => self.admit_uncacheable(id, generation),
            _ => {}
        }
    }

    /// Marks an object uncacheable for a while, so that it is streamed through.
    pub(in crate::cache) fn admit_uncacheable(&self, id: &ObjectId, generation: Generation) {
        self.admit(id, Entry::new(Known::Uncacheable, Moment::now(), generation));
    }

    /// Replaces an entry by a different one, and raises the generation, so that fetches of the old version are not
    /// admitted.
    fn replace(&self, id: &ObjectId, generation: Generation, since: Moment, known: Known) {
        let replaced = self.objects.generations.replace(id, generation, |generation| {
            let mut entry = Entry::new(known, since, generation);
            if let Some(old) = self.objects.meta.get(id) {
                entry.inherit(&old);
            }
            self.objects.record_invalidation(id, InvalidationCause::Origin);
            self.objects.meta.insert(id, entry);
            let _ = self.objects.void_record(id);
        });
        if replaced {
            self.lists.changed(id);
            metrics::cache::invalidation(InvalidationCause::Origin);
        } else {
            metrics::admission_refused();
        }
    }

    fn admit(&self, id: &ObjectId, mut entry: Entry) {
        let generation = entry.generation;
        let parts = |entry: &Entry| entry.meta().map_or(0, |meta| meta.parts.len());
        let admitted = self.objects.generations.admit(id, generation, || {
            let old = self.objects.meta.get(id);
            if let Some(old) = &old {
                entry.inherit(old);
            }
            match old {
                // The disk may have a record of an older version that it failed to read.
                None => drop(self.objects.void_record(id)),
                Some(old) if self.was_stale_on_disk(id, &old) => {
                    self.objects.persist_confirmed(id, &old, &entry);
                }
                Some(old) if parts(&entry) > parts(&old) => self.objects.persist_parts(id, &entry),
                Some(_) => {}
            }
            self.objects.meta.insert(id, entry);
        });
        if !admitted {
            metrics::admission_refused();
        }
    }

    /// Whether the record on disk of a stale entry was voided, and has to be rewritten.
    fn was_stale_on_disk(&self, id: &ObjectId, old: &Entry) -> bool {
        old.stale == (StaleMark::Yes { on_disk: true })
            || !self.objects.generations.epoch_is_current(old.generation)
                && self.objects.is_on_disk(id)
    }
}
