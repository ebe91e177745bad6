//! Purges: explicit invalidation of metadata and of blocks (R28).
//!
//! After an event that an object changed, its cached blocks stay valid, since they are keyed by version. A purge
//! declares cached bytes wrong whatever their version, so that they are fetched again. It takes effect at once however
//! much it covers, since it raises epochs and looks nothing up.

use std::sync::Arc;

use super::invalidation::Invalidation;
use super::scope::Scope;
use crate::cache::disk::Ticket;
use crate::cache::lists::store::Lists;
use crate::cache::tiers::objects::ObjectTiers;
use crate::metrics;
use crate::metrics::cache::InvalidationCause;
use crate::origin::Origins;
use crate::s3::{BucketName, ObjectId, ObjectKey};

/// A purge that is applied, and may not be durable yet: see [`Cache::purged`](crate::cache::Cache::purged).
#[derive(Debug)]
#[must_use = "a purge is acknowledged when it is durable"]
pub struct Purged {
    ticket: Option<Ticket>,
}

/// Purges objects in every realm: their metadata, and their blocks whatever their version.
pub(in crate::cache) struct Purges {
    origin: Origins,
    objects: Arc<ObjectTiers>,
    lists: Arc<Lists>,
    invalidation: Arc<Invalidation>,
}

impl Purges {
    pub(in crate::cache) fn new(
        origin: Origins,
        objects: Arc<ObjectTiers>,
        lists: Arc<Lists>,
        invalidation: Arc<Invalidation>,
    ) -> Self {
        Self { origin, objects, lists, invalidation }
    }

    /// Purges these scopes in every realm: their metadata is invalidated, and their blocks are fetched again when they
    /// are read. Applied when this returns.
    pub(in crate::cache) fn purge(&self, scopes: &[Scope]) -> Purged {
        let mut ticket = None;
        for scope in scopes {
            // First, so that metadata learned from now on gives blocks new keys.
            self.objects.purge_epochs.raise(scope);
            let applied = match scope {
                Scope::Object(bucket, key) => self.purge_object(bucket, key),
                Scope::Prefix(bucket, _) | Scope::Bucket(bucket) => self.purge_in(bucket),
                Scope::Glob(glob) => self.purge_in(glob.bucket()),
                Scope::Everything => self.purge_everything(),
            };
            if self.objects.disk.is_some() && !matches!(scope, Scope::Object(..)) {
                // Raised again, since a record read from disk after the first time may have been void already.
                self.objects.purge_epochs.raise(scope);
            }
            ticket = ticket.max(applied);
        }
        Purged { ticket }
    }

    /// Waits until a purge is durable (R11). `false`: the disk did not record it in time, and it holds only while this
    /// process runs.
    pub(in crate::cache) async fn purged(&self, purged: Purged) -> bool {
        let Some(disk) = &self.objects.disk else { return true };
        let kept = disk.persist_purge_epochs(&self.objects.purge_epochs);
        let (is_durable, is_kept) = tokio::join!(self.objects.durable(purged.ticket), kept);
        if !(is_durable && is_kept) {
            log::error!(
                "a purge is not written to disk in time: it holds while this process runs; ask again when the disk \
                 works"
            );
        }
        is_durable && is_kept
    }

    /// Waits until all purges so far are durable. `false`: as [`Self::purged`].
    pub(in crate::cache) async fn purges_settled(&self) -> bool {
        self.purged(Purged { ticket: self.objects.unsettled() }).await
    }

    /// Purges an object, whatever its version (R28).
    pub(in crate::cache) fn drop_blocks(self: &Arc<Self>, id: &ObjectId) {
        self.objects.purge_epochs.raise(&Scope::Object(id.bucket().clone(), id.key().clone()));
        let mut ticket = self.invalidation.invalidate(id.object(), InvalidationCause::Origin);
        if id.is_variant() {
            ticket = ticket.max(self.invalidation.invalidate(id, InvalidationCause::Origin));
        }
        if self.objects.disk.is_some() {
            let purges = self.clone();
            tokio::spawn(async move { purges.purged(Purged { ticket }).await });
        }
    }

    fn purge_object(&self, bucket: &BucketName, key: &ObjectKey) -> Option<Ticket> {
        let realms = self.origin.realms_of(bucket);
        let ids = realms.iter().map(|realm| ObjectId::new(realm, bucket.clone(), key.clone()));
        ids.map(|id| self.invalidation.invalidate(&id, InvalidationCause::Purge)).max().flatten()
    }

    /// Purges metadata on disk, and listings, for a prefix, a glob or a bucket. In memory the purge epoch invalidates
    /// just what the scope covers. Records on disk are not indexed by key, so those of the whole bucket are
    /// invalidated, which costs each other object one request after a restart.
    fn purge_in(&self, bucket: &BucketName) -> Option<Ticket> {
        metrics::cache::invalidation(InvalidationCause::Purge);
        let realms = self.origin.realms_of(bucket);
        let forget = realms.iter().map(|realm| {
            self.lists.bucket_changed(realm, bucket);
            self.objects.void_records_of(realm, bucket)
        });
        forget.max().flatten()
    }

    fn purge_everything(&self) -> Option<Ticket> {
        metrics::cache::invalidation(InvalidationCause::Purge);
        self.lists.all_changed();
        self.objects.disk.as_ref()?.forget_all()
    }
}
