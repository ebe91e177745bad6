//! Times of the last writes through hotset, which decide whether a read may fail over to a replica that has received
//! them.
//!
//! A time is kept for each hash of an object and for each hash of a bucket: all that shares a hash with a written
//! object counts as written, too. Writes before the start are unknown, so that the start counts as a write of
//! everything.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::s3::{BucketName, ObjectId, Realm};

/// Slots for objects: 4 MiB, where a rule has reads fail over. Of a million writes within `failover.lag`, few collide.
const OBJECTS: usize = 1 << 20;
const BUCKETS: usize = 1 << 12;

#[derive(Default)]
pub(in crate::cache) struct RecentWrites {
    /// Times, allocated when a rule first has reads fail over.
    moments: OnceLock<Moments>,
}

struct Moments {
    since: Instant,
    /// Time up to which writes may be missing, in milliseconds after `since`; everything counts as written at that
    /// time.
    missed: AtomicU64,
    /// Times of writes in seconds after `since`, rounded up; 0: none.
    objects: Box<[AtomicU32]>,
    buckets: Box<[AtomicU32]>,
}

impl RecentWrites {
    /// Starts to note writes.
    pub(in crate::cache) fn begin(&self) {
        let empty = |slots: usize| (0..slots).map(|_| AtomicU32::new(0)).collect();
        self.moments.get_or_init(|| Moments {
            since: Instant::now(),
            missed: AtomicU64::new(0),
            objects: empty(OBJECTS),
            buckets: empty(BUCKETS),
        });
    }

    /// Notes that a write of the object is about to be sent, or has ended.
    pub(in crate::cache) fn note(&self, id: &ObjectId) {
        if let Some(moments) = self.moments.get() {
            moments.note(&moments.objects, id.hash64());
        }
    }

    /// As [`RecentWrites::note`], for a write that may change any object of a bucket.
    pub(in crate::cache) fn note_bucket(&self, realm: &Realm, bucket: &BucketName) {
        if let Some(moments) = self.moments.get() {
            moments.note(&moments.buckets, ObjectId::hash_bucket(realm, bucket));
        }
    }

    /// Notes that writes of other replicas may be missing.
    pub(in crate::cache) fn note_all(&self) {
        if let Some(moments) = self.moments.get() {
            let now = u64::try_from(moments.since.elapsed().as_millis()).unwrap_or(u64::MAX);
            moments.missed.fetch_max(now, Ordering::AcqRel);
        }
    }

    /// Returns the time since the last noted write of the object, or since writes are noted; zero before.
    pub(in crate::cache) fn quiet_for(&self, id: &ObjectId) -> Duration {
        let Some(moments) = self.moments.get() else { return Duration::ZERO };
        let object = slot(&moments.objects, id.hash64()).load(Ordering::Acquire);
        let bucket = slot(&moments.buckets, id.bucket_hash64()).load(Ordering::Acquire);
        let missed = Duration::from_millis(moments.missed.load(Ordering::Acquire));
        let last = Duration::from_secs(object.max(bucket).into()).max(missed);
        moments.since.elapsed().saturating_sub(last)
    }
}

impl Moments {
    fn note(&self, slots: &[AtomicU32], hash: u64) {
        let now = self.since.elapsed().as_secs() + 1;
        slot(slots, hash).fetch_max(u32::try_from(now).unwrap_or(u32::MAX), Ordering::AcqRel);
    }
}

fn slot(slots: &[AtomicU32], hash: u64) -> &AtomicU32 {
    &slots[usize::try_from(hash % slots.len() as u64).expect("below the number of slots")]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::testing::id;

    #[tokio::test(start_paused = true)]
    async fn an_object_is_quiet_since_its_last_write_and_since_the_start() {
        let writes = RecentWrites::default();
        let (ours, other) = (id("bucket", "k"), id("another", "k"));
        writes.note(&ours);
        assert_eq!(writes.quiet_for(&ours), Duration::ZERO, "nothing is remembered yet");
        writes.begin();
        let pass = |seconds| tokio::time::advance(Duration::from_secs(seconds));
        pass(100).await;
        assert_eq!(writes.quiet_for(&ours), Duration::from_secs(100));
        writes.note(&ours);
        writes.begin();
        pass(10).await;
        assert_eq!(writes.quiet_for(&ours), Duration::from_secs(9), "rounded, to the safe side");
        assert_eq!(writes.quiet_for(&other), Duration::from_secs(110));
        writes.note_bucket(ours.realm(), ours.bucket());
        pass(10).await;
        assert_eq!(writes.quiet_for(&id("bucket", "more")), Duration::from_secs(9));
        assert_eq!(writes.quiet_for(&other), Duration::from_mins(2));
        writes.note_all();
        pass(5).await;
        assert_eq!(writes.quiet_for(&other), Duration::from_secs(5));
    }
}
