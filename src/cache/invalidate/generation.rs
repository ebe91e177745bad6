//! Generations: the fence that decides a race between a fill and an invalidation (R5, R6).
//!
//! A generation is a count of invalidations, kept in a fixed array indexed by the hash of the id: it can never be
//! evicted (and so never restart), and never grows. If two ids share a counter, each may only cause the other's
//! admission to be refused. Raising a counter and compare-and-admit hold the same stripe's lock, so that nothing read
//! before an invalidation is admitted after it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::certainty::Certainty;
use super::purge_epochs::PurgeEpochs;
use super::sync::{AtomicU32, AtomicU64, Mutex, Ordering};
use crate::s3::{BucketName, ObjectId, Realm};

/// Whether a test scheduler creates all counters anew for each schedule, so that they have to be few.
const SCHEDULED: bool = cfg!(feature = "shuttle");
const OBJECT_STRIPES: usize = if SCHEDULED { 2 } else { 1 << 16 };
const BUCKET_STRIPES: usize = if SCHEDULED { 2 } else { 1 << 12 };
/// Time for which a key is revalidated on every read after a write with unknown outcome (R8).
const OUTCOME_UNKNOWN_FOR: Duration = Duration::from_mins(1);

/// The counters of one id when a fetch or read began; compare with [`Generations::is_current`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::cache) struct Generation {
    object: u64,
    bucket: u64,
    /// See [`super::replicas`].
    epoch: u32,
}

/// All counters of one cache.
pub(in crate::cache) struct Generations {
    objects: Box<[Stripe]>,
    buckets: Box<[BucketStripe]>,
    /// Purges of many objects end generations, too.
    purge_epochs: Arc<PurgeEpochs>,
    /// So do missed invalidations of other replicas.
    pub(in crate::cache) certainty: Certainty,
    started: Instant,
}

#[derive(Default)]
struct Stripe {
    admission: Mutex<()>,
    generation: AtomicU64,
    writes: Writes,
}

/// The counters of all buckets that share a stripe.
#[derive(Default)]
struct BucketStripe {
    /// Raised instead of dropping each entry of a bucket.
    epoch: AtomicU64,
    /// Writes that may change any object of a bucket.
    writes: Writes,
}

/// Writes in flight, or with unknown outcome, of an object or of all objects of a bucket.
#[derive(Default)]
struct Writes {
    in_flight: AtomicU32,
    /// The number of writes in flight that have invalidated nothing yet.
    tentative: AtomicU32,
    /// End of the time in which the outcome of an earlier write counts as unknown, in milliseconds since
    /// [`Generations::started`]; 0: all are known.
    unknown_until: AtomicU64,
}

/// Effect of a write in flight on cached entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InFlight {
    /// It has invalidated them: reads meanwhile are served as usual.
    Invalidated,
    /// None yet, since it may be refused: every read meanwhile is revalidated (R40).
    Tentative,
}

impl Writes {
    fn begin(&self, kind: InFlight) {
        self.in_flight.fetch_add(1, Ordering::AcqRel);
        if kind == InFlight::Tentative {
            self.tentative.fetch_add(1, Ordering::AcqRel);
        }
    }

    fn end(&self, kind: InFlight) {
        if kind == InFlight::Tentative {
            self.tentative.fetch_sub(1, Ordering::AcqRel);
        }
        self.in_flight.fetch_sub(1, Ordering::AcqRel);
    }

    fn may_be_refused(&self) -> bool {
        self.tentative.load(Ordering::Acquire) > 0
    }

    fn are_in_flight(&self) -> bool {
        self.in_flight.load(Ordering::Acquire) > 0
    }

    fn unknown_for(&self, elapsed: Duration, period: Duration) {
        let until = u64::try_from((elapsed + period).as_millis()).unwrap_or(u64::MAX);
        self.unknown_until.fetch_max(until, Ordering::AcqRel);
    }

    fn are_suspect(&self, elapsed: impl FnOnce() -> Duration) -> bool {
        let until = self.unknown_until.load(Ordering::Acquire);
        until != 0 && elapsed().as_millis() < u128::from(until)
    }
}

impl Generations {
    pub(in crate::cache) fn new(purge_epochs: Arc<PurgeEpochs>) -> Self {
        Self {
            purge_epochs,
            certainty: Certainty::new(),
            objects: (0..OBJECT_STRIPES).map(|_| Stripe::default()).collect(),
            buckets: (0..BUCKET_STRIPES).map(|_| BucketStripe::default()).collect(),
            started: Instant::now(),
        }
    }

    pub(in crate::cache) fn current(&self, id: &ObjectId) -> Generation {
        Generation {
            object: self.stripe(id).generation.load(Ordering::Acquire),
            bucket: self.bucket_epoch(id),
            epoch: self.certainty.epoch(),
        }
    }

    pub(in crate::cache) fn is_current(&self, id: &ObjectId, generation: Generation) -> bool {
        self.current(id) == generation
    }

    /// Whether the bucket of `id` was not invalidated as a whole since `generation`.
    pub(in crate::cache) fn bucket_is_current(
        &self,
        id: &ObjectId,
        generation: Generation,
    ) -> bool {
        self.bucket_epoch(id) == generation.bucket
    }

    /// Whether no invalidation of other replicas was missed since `generation`.
    pub(in crate::cache) fn epoch_is_current(&self, generation: Generation) -> bool {
        self.certainty.epoch() == generation.epoch
    }

    /// Runs `admit` unless the id was invalidated since `generation`; returns whether it ran.
    pub(in crate::cache) fn admit(
        &self,
        id: &ObjectId,
        generation: Generation,
        admit: impl FnOnce(),
    ) -> bool {
        let _held = self.stripe(id).admission.lock();
        let current = self.is_current(id, generation);
        if current {
            admit();
        }
        current
    }

    /// Runs `work` under the lock that excludes admissions and invalidations of the id.
    pub(in crate::cache) fn locked(&self, id: &ObjectId, work: impl FnOnce()) {
        let _held = self.stripe(id).admission.lock();
        work();
    }

    /// Waits for every admission under way; later ones see all counters that were raised before.
    pub(in crate::cache) fn settle(&self) {
        for stripe in &self.objects {
            drop(stripe.admission.lock());
        }
    }

    /// Runs `drop_entry` and raises the generation of `id` under the same lock.
    ///
    /// In this order: a reader that still finds the dropped entry on disk has read the older generation, and cannot
    /// admit it.
    pub(in crate::cache) fn raise(&self, id: &ObjectId, drop_entry: impl FnOnce()) {
        let stripe = self.stripe(id);
        let _held = stripe.admission.lock();
        drop_entry();
        stripe.generation.fetch_add(1, Ordering::AcqRel);
    }

    /// Runs `put_entry` with the next generation of `id`, and raises it to that under the same lock, unless it was
    /// raised since `generation`. Returns whether it did. In this order, as [`Generations::raise`].
    pub(in crate::cache) fn replace(
        &self,
        id: &ObjectId,
        generation: Generation,
        put_entry: impl FnOnce(Generation),
    ) -> bool {
        let stripe = self.stripe(id);
        let _held = stripe.admission.lock();
        let current = self.is_current(id, generation);
        if current {
            // Derived from the given generation, not the current one: an epoch raised since must invalidate the entry,
            // too.
            put_entry(Generation { object: generation.object + 1, ..generation });
            stripe.generation.fetch_add(1, Ordering::AcqRel);
        }
        current
    }

    /// Raises the epoch of a whole bucket.
    pub(in crate::cache) fn raise_bucket(&self, realm: &Realm, bucket: &BucketName) {
        let hash = ObjectId::hash_bucket(realm, bucket);
        self.bucket_stripe(hash).epoch.fetch_add(1, Ordering::AcqRel);
    }

    /// Notes that the outcome of a write of `id` is unknown: for a minute it is revalidated on every read.
    pub(in crate::cache) fn outcome_unknown(&self, id: &ObjectId) {
        self.stripe(id).writes.unknown_for(self.started.elapsed(), OUTCOME_UNKNOWN_FOR);
    }

    /// As [`Generations::outcome_unknown`], for every object of a bucket.
    pub(in crate::cache) fn bucket_outcome_unknown(&self, realm: &Realm, bucket: &BucketName) {
        let hash = ObjectId::hash_bucket(realm, bucket);
        self.bucket_stripe(hash).writes.unknown_for(self.started.elapsed(), OUTCOME_UNKNOWN_FOR);
    }

    pub(in crate::cache) fn is_outcome_unknown(&self, id: &ObjectId) -> bool {
        let elapsed = || self.started.elapsed();
        self.stripe(id).writes.are_suspect(elapsed)
            || self.bucket_stripe(id.bucket_hash64()).writes.are_suspect(elapsed)
    }

    /// Notes that a write begins: until [`Generations::write_ended`], the state of the object is unknown.
    pub(in crate::cache) fn write_begins(&self, id: &ObjectId, kind: InFlight) {
        self.stripe(id).writes.begin(kind);
    }

    pub(in crate::cache) fn write_ended(&self, id: &ObjectId, kind: InFlight) {
        self.stripe(id).writes.end(kind);
    }

    /// As [`Generations::write_begins`], for every object of a bucket, until [`Generations::bucket_write_ended`].
    pub(in crate::cache) fn bucket_write_begins(
        &self,
        realm: &Realm,
        bucket: &BucketName,
        kind: InFlight,
    ) {
        let hash = ObjectId::hash_bucket(realm, bucket);
        self.bucket_stripe(hash).writes.begin(kind);
    }

    pub(in crate::cache) fn bucket_write_ended(
        &self,
        realm: &Realm,
        bucket: &BucketName,
        kind: InFlight,
    ) {
        let hash = ObjectId::hash_bucket(realm, bucket);
        self.bucket_stripe(hash).writes.end(kind);
    }

    /// Whether every read of `id` must be revalidated: the outcome of a write is unknown, a tentative write is in
    /// flight (R8, R40), or a write of another replica may be unknown here.
    pub(in crate::cache) fn must_confirm(&self, id: &ObjectId) -> bool {
        !self.certainty.holds()
            || self.stripe(id).writes.may_be_refused()
            || self.bucket_stripe(id.bucket_hash64()).writes.may_be_refused()
            || self.is_outcome_unknown(id)
    }

    pub(in crate::cache) fn is_being_written(&self, id: &ObjectId) -> bool {
        self.stripe(id).writes.are_in_flight()
            || self.bucket_stripe(id.bucket_hash64()).writes.are_in_flight()
    }

    fn stripe(&self, id: &ObjectId) -> &Stripe {
        &self.objects[index(id.hash64(), OBJECT_STRIPES)]
    }

    fn bucket_stripe(&self, hash: u64) -> &BucketStripe {
        &self.buckets[index(hash, BUCKET_STRIPES)]
    }

    /// Returns a number that changes with every invalidation of the bucket as a whole.
    pub(in crate::cache) fn bucket_invalidations(&self, bucket_hash: u64) -> u64 {
        self.bucket_stripe(bucket_hash).epoch.load(Ordering::Acquire)
    }

    fn bucket_epoch(&self, id: &ObjectId) -> u64 {
        let epoch = &self.bucket_stripe(id.bucket_hash64()).epoch;
        epoch.load(Ordering::Acquire) << u32::BITS | u64::from(self.purge_epochs.wide(id))
    }
}

fn index(hash: u64, stripes: usize) -> usize {
    usize::try_from(hash % stripes as u64).expect("below the number of stripes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::testing::id;

    #[test]
    fn r6_nothing_read_before_an_invalidation_is_admitted_after_it() {
        let generations = Generations::new(Arc::new(PurgeEpochs::new()));
        let id = id("bucket", "key");
        let before = generations.current(&id);
        assert!(generations.admit(&id, before, || {}));
        generations.raise(&id, || {});
        assert!(!generations.admit(&id, before, || panic!("admitted")));
        assert!(generations.admit(&id, generations.current(&id), || {}));
    }

    #[test]
    fn r6_a_bucket_epoch_ends_every_generation_under_it() {
        let generations = Generations::new(Arc::new(PurgeEpochs::new()));
        let (ours, other) = (id("bucket", "key"), id("another", "key"));
        let (before, other_before) = (generations.current(&ours), generations.current(&other));
        generations.raise_bucket(ours.realm(), ours.bucket());
        assert!(!generations.is_current(&ours, before));
        assert!(!generations.bucket_is_current(&ours, before));
        assert!(generations.is_current(&other, other_before));
    }

    #[tokio::test(start_paused = true)]
    async fn r8_a_key_is_suspected_for_a_minute() {
        let generations = Generations::new(Arc::new(PurgeEpochs::new()));
        let id = id("bucket", "key");
        assert!(!generations.is_outcome_unknown(&id));
        generations.outcome_unknown(&id);
        tokio::time::advance(Duration::from_secs(59)).await;
        assert!(generations.is_outcome_unknown(&id));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(!generations.is_outcome_unknown(&id));
    }

    #[tokio::test(start_paused = true)]
    async fn r8_every_key_of_a_suspected_bucket_is_suspected_for_a_minute_and_no_other() {
        let generations = Generations::new(Arc::new(PurgeEpochs::new()));
        let (ours, other) = (id("bucket", "key"), id("another", "key"));
        generations.bucket_outcome_unknown(ours.realm(), ours.bucket());
        tokio::time::advance(Duration::from_secs(59)).await;
        assert!(
            generations.is_outcome_unknown(&ours)
                && generations.is_outcome_unknown(&id("bucket", "more"))
        );
        assert!(!generations.is_outcome_unknown(&other));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(!generations.is_outcome_unknown(&ours));
    }

    #[test]
    fn r8_every_key_of_a_bucket_is_being_written_while_the_bucket_is() {
        let generations = Generations::new(Arc::new(PurgeEpochs::new()));
        let (ours, other) = (id("bucket", "key"), id("another", "key"));
        generations.bucket_write_begins(ours.realm(), ours.bucket(), InFlight::Invalidated);
        assert!(generations.is_being_written(&ours) && !generations.is_being_written(&other));
        generations.bucket_write_ended(ours.realm(), ours.bucket(), InFlight::Invalidated);
        assert!(!generations.is_being_written(&ours));
    }
}
