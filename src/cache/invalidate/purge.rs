//! Forgetting by hand: what is known, and the blocks, too (R28).
//!
//! An event says that an object changed: then its blocks, which are named by version, are not wrong. A purge says
//! that what we hold may be wrong whatever its version: it is fetched again. It takes effect at once however much it
//! covers, since it raises numbers and finds nothing.

use super::scope::Scope;
use crate::cache::assembly::Cache;
use crate::cache::disk::Ticket;
use crate::metrics;
use crate::metrics::cache::InvalidationCause;
use crate::s3::{BucketName, ObjectId, ObjectKey};

/// A purge that was applied, and may not survive a power cut yet: see [`Cache::purged`].
#[derive(Debug)]
#[must_use = "a purge is acknowledged when it is durable"]
pub struct Purged {
    pub(super) ticket: Option<Ticket>,
}

impl Cache {
    /// Forgets what is known of these, in every realm, and fetches their blocks again when they are read: applied
    /// when this returns.
    pub fn purge(&self, scopes: &[Scope]) -> Purged {
        let mut ticket = None;
        for scope in scopes {
            // First: who learns of the object from now on names its blocks anew.
            self.objects.floors.raise(scope);
            let applied = match scope {
                Scope::Object(bucket, key) => self.purge_object(bucket, key),
                Scope::Prefix(bucket, _) | Scope::Bucket(bucket) => self.purge_in(bucket),
                Scope::Glob(glob) => self.purge_in(glob.bucket()),
                Scope::Everything => self.purge_everything(),
            };
            if self.objects.disk.is_some() && !matches!(scope, Scope::Object(..)) {
                // Once more: what was read from disk since the first time may have been void already.
                self.objects.floors.raise(scope);
            }
            ticket = ticket.max(applied);
        }
        Purged { ticket }
    }

    /// The number of the last purge that covered this object, as reads and fills look it up; for benches.
    #[doc(hidden)]
    pub fn purge_epoch(&self, id: &ObjectId) -> u32 {
        self.objects.floors.of(id)
    }

    /// Waits until what was purged stays so whatever happens to the machine (R11). `false`: the disk did not take it
    /// down in time, and it holds only while this process runs.
    pub async fn purged(&self, purged: Purged) -> bool {
        let Some(disk) = &self.objects.disk else { return true };
        let kept = disk.keep_floors(&self.objects.floors);
        let (is_durable, is_kept) = tokio::join!(self.durable(purged.ticket), kept);
        if !(is_durable && is_kept) {
            log::error!(
                "a purge is not written to disk in time: it holds while this process runs; ask again when the disk \
                 works"
            );
        }
        is_durable && is_kept
    }

    /// Waits until all that was purged so far stays so. `false`: as [`Cache::purged`].
    pub async fn purges_settled(&self) -> bool {
        self.purged(Purged { ticket: self.unsettled() }).await
    }

    fn purge_object(&self, bucket: &BucketName, key: &ObjectKey) -> Option<Ticket> {
        let realms = self.origin.realms_of(bucket);
        let ids = realms.iter().map(|realm| ObjectId::new(realm, bucket.clone(), key.clone()));
        ids.map(|id| self.invalidate(&id, InvalidationCause::Purge)).max().flatten()
    }

    /// Of a prefix or glob: in memory its floor ends just what it covers; on disk, where metadata is not told apart by key,
    /// that of the whole bucket is void, which costs each other object one request after a restart.
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
