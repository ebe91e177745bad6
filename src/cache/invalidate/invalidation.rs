//! Invalidation of cached objects and buckets, by writes that pass through, events, purges and responses of the origin.

use std::sync::Arc;

use super::departures::Why;
use super::generation::{Generation, InFlight};
use super::recent_writes::RecentWrites;
use crate::cache::disk::Ticket;
use crate::cache::lists::store::Lists;
use crate::cache::metadata::store::Entry;
use crate::cache::tiers::objects::ObjectTiers;
use crate::metrics;
use crate::metrics::cache::InvalidationCause;
use crate::s3::{BucketName, ETag, ObjectId, Realm};

/// A guard for a write in flight; metadata of its objects that is learned meanwhile is not kept on disk.
///
/// If a tentative write is dropped without [`Writing::conclude`], its outcome is unknown.
pub struct Writing {
    invalidation: Arc<Invalidation>,
    objects: Vec<ObjectId>,
    bucket: Option<(Realm, BucketName)>,
    kind: InFlight,
    concluded: bool,
}

impl Writing {
    /// Notes that the write was refused, or that what it may have changed is invalidated.
    pub fn conclude(&mut self) {
        self.concluded = true;
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        let forgotten = self.kind == InFlight::Tentative && !self.concluded;
        for id in &self.objects {
            if forgotten {
                self.invalidation.outcome_unknown(id);
            }
            self.invalidation.recent_writes.note(id);
            self.invalidation.objects.generations.write_ended(id, self.kind);
        }
        if let Some((realm, bucket)) = &self.bucket {
            if forgotten {
                self.invalidation.bucket_outcome_unknown(realm, bucket);
            }
            self.invalidation.recent_writes.note_bucket(realm, bucket);
            self.invalidation.objects.generations.bucket_write_ended(realm, bucket, self.kind);
        }
    }
}

/// Invalidates metadata, records on disk and listings of objects and of whole buckets.
pub(in crate::cache) struct Invalidation {
    objects: Arc<ObjectTiers>,
    lists: Arc<Lists>,
    recent_writes: Arc<RecentWrites>,
}

impl Invalidation {
    pub(in crate::cache) fn new(
        objects: Arc<ObjectTiers>,
        lists: Arc<Lists>,
        recent_writes: Arc<RecentWrites>,
    ) -> Self {
        Self { objects, lists, recent_writes }
    }

    /// Notes that a write of these objects begins; it ends when the returned guard is dropped. Call it before they are
    /// first invalidated, and before the write is sent.
    pub(in crate::cache) fn write_begins(
        self: &Arc<Self>,
        objects: Vec<ObjectId>,
        kind: InFlight,
    ) -> Writing {
        for id in &objects {
            self.objects.generations.write_begins(id, kind);
            self.recent_writes.note(id);
        }
        Writing { invalidation: self.clone(), objects, bucket: None, kind, concluded: false }
    }

    /// As [`Self::write_begins`], for a write that may change any object of a bucket.
    pub(in crate::cache) fn bucket_write_begins(
        self: &Arc<Self>,
        realm: &Realm,
        bucket: &BucketName,
        kind: InFlight,
    ) -> Writing {
        self.objects.generations.bucket_write_begins(realm, bucket, kind);
        self.recent_writes.note_bucket(realm, bucket);
        let bucket = Some((realm.clone(), bucket.clone()));
        Writing { invalidation: self.clone(), objects: Vec::new(), bucket, kind, concluded: false }
    }

    /// Invalidates the metadata of an object that changed, was written or removed. Its blocks stay under their version
    /// and age out.
    ///
    /// Applied when this returns; durable when [`ObjectTiers::durable`] returns for the ticket.
    pub(in crate::cache) fn invalidate(
        &self,
        id: &ObjectId,
        cause: InvalidationCause,
    ) -> Option<Ticket> {
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

    /// Returns a number that changes with every invalidation of a bucket as a whole, such as by a write to the bucket
    /// itself.
    #[must_use]
    pub(in crate::cache) fn writes_of_bucket(&self, realm: &Realm, bucket: &BucketName) -> u64 {
        let generations = &self.objects.generations;
        // A raised epoch of certainty counts as such an invalidation, too.
        let epoch = u64::from(generations.certainty.epoch()) << 40;
        epoch ^ generations.bucket_invalidations(ObjectId::hash_bucket(realm, bucket))
    }

    /// As [`Self::invalidate`], for every object of a bucket.
    pub(in crate::cache) fn invalidate_bucket(
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
        // Raised again, since a record read from disk after the first time may have been void already.
        self.objects.generations.raise_bucket(realm, bucket);
        ticket
    }

    /// Marks an object stale whose metadata changed, or which was rewritten unchanged. One HEAD revalidates it before
    /// it is served again, and its blocks stay (R10). A cached absence is invalidated.
    pub(in crate::cache) fn mark_stale(
        &self,
        id: &ObjectId,
        cause: InvalidationCause,
    ) -> Option<Ticket> {
        metrics::cache::invalidation(cause);
        let mut ticket = None;
        self.objects.generations.raise(id, || {
            self.objects.record_invalidation(id, cause);
            match self.objects.meta.get(id) {
                Some(entry) if entry.meta().is_some() => {
                    let stale = self.objects.stale_mark_of(id, &entry);
                    self.objects.meta.insert(id, Entry { stale, ..(*entry).clone() });
                }
                _ => self.objects.meta.remove(id),
            }
            ticket = self.objects.void_record(id);
        });
        self.lists.changed(id);
        ticket
    }

    /// Applies a write of new bytes under this name, with their `ETag` if it is known. If the cached `ETag` is the
    /// same, it may be the echo of our own write: one HEAD revalidates it, and the blocks stay (R10).
    pub(in crate::cache) fn written(
        &self,
        id: &ObjectId,
        etag: Option<&ETag>,
        cause: InvalidationCause,
    ) -> Option<Ticket> {
        let held = self.objects.meta.get(id);
        let held = held.as_deref().and_then(Entry::meta);
        match held {
            Some(held) if etag.is_none_or(|etag| *etag == held.etag) => self.mark_stale(id, cause),
            _ => self.invalidate(id, cause),
        }
    }

    /// Notes that the outcome of a write is unknown: for a minute each read of the key revalidates it (R8).
    pub(in crate::cache) fn outcome_unknown(&self, id: &ObjectId) -> Option<Ticket> {
        self.objects.generations.outcome_unknown(id);
        self.lists.outcome_unknown(id.realm(), id.bucket());
        self.invalidate(id, InvalidationCause::UnknownOutcome)
    }

    /// As [`Self::outcome_unknown`], for every object of a bucket.
    pub(in crate::cache) fn bucket_outcome_unknown(
        &self,
        realm: &Realm,
        bucket: &BucketName,
    ) -> Option<Ticket> {
        self.objects.generations.bucket_outcome_unknown(realm, bucket);
        self.lists.outcome_unknown(realm, bucket);
        self.invalidate_bucket(realm, bucket, InvalidationCause::UnknownOutcome)
    }

    /// Invalidates an object after a pinned fetch met another version.
    pub(in crate::cache) fn changed(&self, id: &ObjectId, generation: Generation) {
        if self.objects.generations.is_current(id, generation) {
            self.invalidate(id, InvalidationCause::Origin);
        }
    }
}
