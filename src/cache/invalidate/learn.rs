//! What the origin's answers and the world's events do to what is known.

use std::ops::Range;
use std::sync::Arc;

use super::generation::{Generation, InFlight};
use crate::cache::assembly::Cache;
use crate::cache::disk::Ticket;
use crate::cache::fetch::budget::Paid;
use crate::cache::invalidate::departures::Why;
use crate::cache::key::ObjectVersion;
use crate::cache::metadata::clock::Moment;
use crate::cache::metadata::heads::{Confirmed, HeadAnswer};
use crate::cache::metadata::store::{Doubt, Entry, Known, LearnedBy};
use crate::metrics;
use crate::metrics::cache::InvalidationCause;
use crate::origin::OriginError;
use crate::s3::{BucketName, ETag, ObjectId, ObjectMeta, Realm};

/// A write that may be on its way; what is learned of its objects meanwhile is not kept on disk.
///
/// One that is tentative and of which nobody said how it ended has changed what it names.
pub struct Writing {
    cache: Arc<Cache>,
    objects: Vec<ObjectId>,
    bucket: Option<(Realm, BucketName)>,
    kind: InFlight,
    concluded: bool,
}

impl Writing {
    /// It was refused, or what it may have changed is invalidated.
    pub fn conclude(&mut self) {
        self.concluded = true;
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        let forgotten = self.kind == InFlight::Tentative && !self.concluded;
        for id in &self.objects {
            if forgotten {
                self.cache.suspect(id);
            }
            self.cache.recent_writes.note(id);
            self.cache.objects.generations.write_ended(id, self.kind);
        }
        if let Some((realm, bucket)) = &self.bucket {
            if forgotten {
                self.cache.suspect_bucket(realm, bucket);
            }
            self.cache.recent_writes.note_bucket(realm, bucket);
            self.cache.objects.generations.bucket_write_ended(realm, bucket, self.kind);
        }
    }
}

impl Cache {
    /// A write of these objects begins, and ends when what this returns is dropped. To be called before they are
    /// invalidated for the first time, and before the write is sent.
    pub fn write_begins(self: &Arc<Self>, objects: Vec<ObjectId>, kind: InFlight) -> Writing {
        for id in &objects {
            self.objects.generations.write_begins(id, kind);
            self.recent_writes.note(id);
        }
        Writing { cache: self.clone(), objects, bucket: None, kind, concluded: false }
    }

    /// As [`Cache::write_begins`], of what may be any object of a bucket.
    pub fn bucket_write_begins(
        self: &Arc<Self>,
        realm: &Realm,
        bucket: &BucketName,
        kind: InFlight,
    ) -> Writing {
        self.objects.generations.bucket_write_begins(realm, bucket, kind);
        self.recent_writes.note_bucket(realm, bucket);
        let bucket = Some((realm.clone(), bucket.clone()));
        Writing { cache: self.clone(), objects: Vec::new(), bucket, kind, concluded: false }
    }

    /// The object changed, was written or removed: forget what is known of it. Its blocks stay under their
    /// version and age out.
    ///
    /// Applied when this returns; durable when [`Cache::durable`] does with what this returns.
    pub fn invalidate(&self, id: &ObjectId, cause: InvalidationCause) -> Option<Ticket> {
        metrics::cache::invalidation(cause);
        let mut ticket = None;
        self.objects.generations.raise(id, || {
            self.objects.record_invalidation(id, cause);
            self.objects.meta.remove(id);
            ticket = self.objects.void_record(id);
        });
        self.lists.changed(id);
        ticket
    }

    /// A number that changes with every invalidation of a bucket as a whole, by a write to the bucket itself
    /// for one.
    #[must_use]
    pub fn writes_of_bucket(&self, realm: &Realm, bucket: &BucketName) -> u64 {
        let generations = &self.objects.generations;
        // What was learned before everything was put in doubt is of before such a write, too.
        let epoch = u64::from(generations.certainty.epoch()) << 40;
        epoch ^ generations.bucket_invalidations(ObjectId::hash_bucket(realm, bucket))
    }

    /// As [`Cache::invalidate`], for every object of a bucket.
    pub fn invalidate_bucket(
        &self,
        realm: &Realm,
        bucket: &BucketName,
        cause: InvalidationCause,
    ) -> Option<Ticket> {
        metrics::cache::invalidation(cause);
        self.objects
            .departures
            .record(ObjectId::hash_bucket(realm, bucket), Why::Invalidated(cause));
        self.objects.generations.raise_bucket(realm, bucket);
        self.lists.bucket_changed(realm, bucket);
        let ticket = self.objects.void_records_of(realm, bucket);
        // Once more: what was read from disk since the first time may have been void already.
        self.objects.generations.raise_bucket(realm, bucket);
        ticket
    }

    /// What is said of the object changed, or was written anew as it is: what is known of it is confirmed by one HEAD
    /// before it is served again, and its blocks stay (R10). An absence is forgotten.
    pub fn doubt(&self, id: &ObjectId, cause: InvalidationCause) -> Option<Ticket> {
        metrics::cache::invalidation(cause);
        let mut ticket = None;
        self.objects.generations.raise(id, || {
            self.objects.record_invalidation(id, cause);
            match self.objects.meta.get(id) {
                Some(entry) if entry.meta().is_some() => {
                    let doubt = self.objects.doubt_of(id, &entry);
                    self.objects.meta.insert(id, Entry { doubt, ..(*entry).clone() });
                }
                _ => self.objects.meta.remove(id),
            }
            ticket = self.objects.void_record(id);
        });
        self.lists.changed(id);
        ticket
    }

    /// New bytes were written under this name, with this `ETag` if it is told. When that is the one we hold, it may be
    /// the echo of our own write: then one HEAD says so, and the blocks stay (R10).
    pub fn written(
        &self,
        id: &ObjectId,
        etag: Option<&ETag>,
        cause: InvalidationCause,
    ) -> Option<Ticket> {
        let held = self.objects.meta.get(id);
        let held = held.as_deref().and_then(Entry::meta);
        match held {
            Some(held) if etag.is_none_or(|etag| *etag == held.etag) => self.doubt(id, cause),
            _ => self.invalidate(id, cause),
        }
    }

    /// A write's outcome is unknown: for a minute each read of the key asks the origin first (R8).
    pub fn suspect(&self, id: &ObjectId) -> Option<Ticket> {
        self.objects.generations.suspect(id);
        self.lists.suspect(id.realm(), id.bucket());
        self.invalidate(id, InvalidationCause::UnknownOutcome)
    }

    /// As [`Cache::suspect`], for every object of a bucket.
    pub fn suspect_bucket(&self, realm: &Realm, bucket: &BucketName) -> Option<Ticket> {
        self.objects.generations.suspect_bucket(realm, bucket);
        self.lists.suspect(realm, bucket);
        self.invalidate_bucket(realm, bucket, InvalidationCause::UnknownOutcome)
    }

    /// A pinned fetch met another version.
    pub(in crate::cache) fn changed(&self, id: &ObjectId, generation: Generation) {
        if self.objects.generations.is_current(id, generation) {
            self.invalidate(id, InvalidationCause::Origin);
        }
    }

    /// Admits metadata that came with bytes. Another version than the one known means that the object changed
    /// between two answers, and nobody can say which is newer: then both are forgotten.
    pub(in crate::cache) fn learn(
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
                self.invalidate(id, InvalidationCause::Origin);
                return;
            }
            Arc::make_mut(&mut meta).complete_from(old);
        }
        let known = Known::Object { meta, version: version.clone() };
        self.admit(id, Entry::new(known, since, generation));
    }

    /// Takes in where a part of what is known lies, by an answer for the part.
    pub(in crate::cache) fn learn_part(
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

    /// Takes in what a HEAD brought: it replaces all that is stored (R10). The same version keeps its blocks;
    /// another raises the generation, so that fetches of the old one are not admitted.
    pub(in crate::cache) fn learn_head(
        &self,
        id: &ObjectId,
        generation: Generation,
        since: Moment,
        answer: Result<ObjectMeta, OriginError>,
    ) -> HeadAnswer {
        let mut meta = match answer {
            Ok(meta) => meta,
            Err(error) => {
                self.learn_failure(id, generation, since, &error, LearnedBy::Head);
                return Err(Arc::new(error));
            }
        };
        let old = self.objects.meta.get(id);
        // A bucket's epoch or a purge leaves the entry, which is not good for anything any more.
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

    /// Takes in what a failure teaches: an absence, a denial (both drop what is stored), or nothing.
    pub(in crate::cache) fn learn_failure(
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
            // Whoever asks for a version that never was must not keep the object's fills from being admitted.
            OriginError::NotFound(_) | OriginError::Denied(_) | OriginError::Changed
                if id.is_variant() && self.objects.meta.get(id).is_none() => {}
            OriginError::NotFound(_) | OriginError::Denied(_) | OriginError::Changed => {
                self.changed(id, generation);
            }

            OriginError::Uncacheable(_) => self.learn_uncacheable(id, generation),
            _ => {}
        }
    }

    /// The object's answers are to be streamed through for a while.
    pub(in crate::cache) fn learn_uncacheable(&self, id: &ObjectId, generation: Generation) {
        self.admit(id, Entry::new(Known::Uncacheable, Moment::now(), generation));
    }

    /// What was known is no longer so: fetches of it are not admitted any more.
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
                // The disk may know an older version that it failed to bring back.
                None => drop(self.objects.void_record(id)),
                Some(old) if self.was_in_doubt_on_disk(id, &old) => {
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

    /// Whether the disk is to know again what it knew of a doubted entry.
    fn was_in_doubt_on_disk(&self, id: &ObjectId, old: &Entry) -> bool {
        old.doubt == (Doubt::Yes { on_disk: true })
            || !self.objects.generations.epoch_is_current(old.generation)
                && self.objects.is_on_disk(id)
    }

    /// Memory for the first bytes of an answer: all of them, or those of its first block, or none. Not waited for:
    /// an answer holds one of the origin's connections, and who holds memory may wait for a connection.
    pub(in crate::cache) fn pay_for(
        &self,
        range: &mut Range<u64>,
        version: &ObjectVersion,
    ) -> Option<Paid> {
        if let Some(paid) = self.budget.try_fill(range.end - range.start) {
            return Some(paid);
        }
        range.end = range.end.min(version.block_at(range.start).end());
        self.budget.try_fill(range.end - range.start)
    }
}
