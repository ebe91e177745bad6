//! The interface of the cache to the rest of hotset. [`Cache`] delegates to the types that [`super::assembly`] puts
//! together.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, StatusCode};

use super::disk::Ticket;
use super::fetch::ahead::AheadReads;
use super::fetch::fetcher::Fetcher;
use super::fetch::plan;
use super::fetch::reader::BlockReader;
use super::invalidate::erase::{EraseError, Erased, Eraser};
use super::invalidate::evidence::EvidenceCheck;
use super::invalidate::generation::InFlight;
use super::invalidate::invalidation::{Invalidation, Writing};
use super::invalidate::page_evidence::PageEvidence;
use super::invalidate::purge::{Purged, Purges};
use super::invalidate::purge_preview::PurgePreview;
use super::invalidate::replicas::{RemoteWrite, Replicas};
use super::invalidate::scope::Scope;
use super::key::ObjectVersion;
use super::lists::store::{ListAnswer, ListFill, ListKey, Lists};
use super::lookup::error::CacheError;
use super::lookup::explain::{Explainer, Explanation};
use super::lookup::failover::FailoverReads;
use super::lookup::found::Found;
use super::lookup::hit_verification::{self, HitVerifier};
use super::lookup::local_hit::{LocalHit, LocalHits};
use super::lookup::metadata::{Lookup, MetadataLookup};
use super::lookup::miss_reason::MissReasons;
use super::lookup::open::{OpenRequest, Opener};
use super::lookup::parts::PartOpener;
use super::lookup::revalidation::Revalidation;
use super::metadata::clock::Sent;
use super::metadata::store::LearnedBy;
use super::rules::failover::Failover;
use super::rules::matching::Rules;
use super::rules::policy::Policy;
use super::tiers::blocks::BlockTiers;
use super::tiers::objects::ObjectTiers;
use crate::metrics::cache::{InvalidationCause, MissReason};
use crate::origin::Origins;
use crate::s3::{
    BucketName, ETag, Evidence, ListRequest, Listing, ObjectId, ObjectKey, ObjectMeta, PartNumber,
    Realm,
};

/// The cache, one per process.
pub struct Cache {
    pub(in crate::cache) origin: Origins,
    pub(in crate::cache) objects: Arc<ObjectTiers>,
    pub(in crate::cache) blocks: Arc<BlockTiers>,
    pub(in crate::cache) lookup: MetadataLookup,
    pub(super) local_hits: LocalHits,
    pub(super) revalidation: Arc<Revalidation>,
    pub(super) opener: Arc<Opener>,
    pub(super) ahead: Arc<AheadReads>,
    pub(super) part_opener: PartOpener,
    pub(super) misses: MissReasons,
    pub(super) explainer: Explainer,
    pub(super) hit_verifier: Arc<HitVerifier>,
    pub(super) failover: FailoverReads,
    pub(in crate::cache) fetcher: Arc<Fetcher>,
    pub(super) invalidation: Arc<Invalidation>,
    pub(super) purges: Arc<Purges>,
    pub(in crate::cache) eraser: Eraser,
    pub(super) replicas: Arc<Replicas>,
    pub(super) evidence: EvidenceCheck,
    pub(super) lists: Arc<Lists>,
    /// Bytes for cached listings while a rule has them cached.
    pub(super) lists_share: u64,
}

impl Cache {
    /// Returns the realm of a client's bucket for objects that are fetched with hotset's own keys.
    pub fn own_realm(&self, bucket: &BucketName) -> Realm {
        self.origin.realm_of(Some(bucket))
    }

    pub fn block_size(&self) -> u64 {
        self.objects.block_size
    }

    /// Returns the unit, in bytes, to which a fetch of the first `bytes` of an object is rounded up.
    pub fn granularity(&self, bytes: u64) -> u64 {
        let block_size = self.objects.block_size;
        if bytes < block_size { plan::UNIT.min(block_size) } else { block_size }
    }

    pub fn fetch_size(&self) -> u64 {
        self.fetcher.fetch_size
    }

    /// Waits until an invalidation would survive a power cut (R11). `false`: the disk did not take it within 3 s, and
    /// it holds only while this process runs.
    pub async fn durable(&self, ticket: Option<Ticket>) -> bool {
        self.objects.durable(ticket).await
    }

    /// As [`Cache::durable`], for a write that passes through, which waits at most 1 s. After that the disk counts as
    /// off, and a start that follows confirms each record (R38).
    pub async fn durable_or_off(&self, ticket: Option<Ticket>) {
        self.objects.durable_or_off(ticket).await;
    }

    /// Returns the last invalidation that is not durable yet; a repeated invalidation waits for it.
    pub fn unsettled(&self) -> Option<Ticket> {
        self.objects.unsettled()
    }

    /// Returns the cached response to a listing that was requested less than `ttl` ago, unless it was invalidated
    /// since.
    pub fn list(&self, key: &ListKey, ttl: Duration) -> Option<Arc<ListAnswer>> {
        if self.replicas.is_certain() { self.lists.get(key, ttl) } else { None }
    }

    /// Begins to fill a listing; call it before the request is sent.
    pub fn list_begins(&self, key: ListKey, listing: Listing, ttl: Duration) -> ListFill {
        self.lists.begin(key, listing, ttl)
    }

    /// Admits the response to a listing, unless something changed in its bucket meanwhile.
    pub fn admit_list(&self, fill: ListFill, answer: ListAnswer) {
        self.lists.admit(fill, answer);
    }

    /// Returns the metadata for `HeadObject`; asks the origin if the cache has none that is fresh.
    ///
    /// # Errors
    /// [`CacheError`]: an absence, a refusal, or no answer.
    pub async fn head(&self, id: &ObjectId, policy: &Policy) -> Result<Found, CacheError> {
        let known = self.lookup.find(id, policy, LearnedBy::Head).await;
        if let Lookup::Unknown = known
            && let Some(found) = Box::pin(self.ahead.head_with_tail(id, policy)).await?
        {
            return Ok(found);
        }
        self.revalidation.confirm(id, policy, known).await
    }

    /// Returns the metadata for `GetObject`. If none is cached, it requests the bytes that the client needs first: one
    /// round trip brings both (R17).
    ///
    /// # Errors
    /// [`CacheError`]: an absence, a refusal, no answer, or [`CacheError::Changed`] when two answers differ.
    pub async fn open(
        &self,
        id: &ObjectId,
        request: &OpenRequest<'_>,
        policy: &Policy,
    ) -> Result<Found, CacheError> {
        self.opener.open(id, request, policy).await
    }

    /// Requests the checksums of a version whose metadata came from a range response.
    ///
    /// # Errors
    /// [`CacheError`]; [`CacheError::Changed`] when it is another version by now.
    pub async fn with_checksums(&self, id: &ObjectId, found: Found) -> Result<Found, CacheError> {
        self.revalidation.with_checksums(id, found).await
    }

    /// As [`Cache::open`], for one part; the metadata found includes the part's range.
    ///
    /// # Errors
    /// As [`Cache::open`]; [`CacheError::Origin`] when there is no such part.
    pub async fn open_part(
        &self,
        id: &ObjectId,
        part: PartNumber,
        policy: &Policy,
    ) -> Result<Found, CacheError> {
        self.part_opener.open_part(id, part, policy).await
    }

    /// As [`Cache::head`], for one part.
    ///
    /// # Errors
    /// As [`Cache::open_part`].
    pub async fn head_part(
        &self,
        id: &ObjectId,
        part: PartNumber,
        policy: &Policy,
    ) -> Result<Found, CacheError> {
        self.part_opener.head_part(id, part, policy).await
    }

    /// Returns an object whose metadata is in memory and fresh; `None`: call [`Cache::open`].
    pub fn find_fresh(&self, id: &ObjectId, policy: &Policy) -> Option<Found> {
        self.lookup.find_fresh(id, policy)
    }

    /// Returns a local hit for a range, with the bytes at its start that are in memory. `None`: some bytes are neither
    /// in memory nor on disk, or there is no memory to hold them.
    pub fn local_hit(&self, found: &Found, range: &Range<u64>) -> Option<LocalHit> {
        self.local_hits.begin(found, range)
    }

    /// Reads the rest of a local hit from disk; `false`: it cannot be read any more.
    pub async fn read_remaining(&self, hit: &mut LocalHit) -> bool {
        self.local_hits.read_remaining(hit).await
    }

    /// Returns a reader of `range` of the object found.
    pub fn reader(&self, found: Found, range: Range<u64>) -> BlockReader {
        self.fetcher.reader(found, range)
    }

    /// Whether more of an object may be fetched than is read.
    pub fn may_read_ahead(&self, found: &Found) -> bool {
        self.ahead.may_read_ahead(found)
    }

    /// Notes that a client reads a range of an object, and fetches the ranges that it is likely to read next.
    pub fn read_follows(&self, found: &Found, range: &Range<u64>) {
        self.ahead.read_follows(found, range);
    }

    /// Returns the parts of `range` that neither memory nor disk holds, in order.
    pub fn missing(&self, found: &Found, range: Range<u64>) -> Vec<Range<u64>> {
        self.blocks.missing(&found.version, range)
    }

    /// Returns why a read of `id` has to ask the origin; `None` where its metadata, or its absence, is fresh.
    pub fn miss_reason(&self, id: &ObjectId, policy: &Policy) -> Option<MissReason> {
        self.misses.of_object(id, policy)
    }

    /// Returns why a byte of a range of a fresh object has to be fetched.
    pub fn missing_block_reason(&self, version: &ObjectVersion, range: &Range<u64>) -> MissReason {
        self.misses.of_range(version, range)
    }

    /// Explains the cached state of an object. `range`: the bytes of the read in question. It scans every block in
    /// memory, so call it on a thread that may block.
    pub fn explain(
        &self,
        id: &ObjectId,
        rules: &Rules,
        no_cache: bool,
        range: impl Fn(&ObjectMeta) -> Range<u64>,
    ) -> Explanation {
        self.explainer.explain(id, rules, no_cache, range)
    }

    /// Counts the objects and bytes in memory that these scopes cover, in every realm. It scans all of memory, so call
    /// it on a thread that may block.
    pub fn purge_preview(&self, scopes: &[Scope]) -> PurgePreview {
        PurgePreview::of(&self.blocks, scopes)
    }

    /// Whether this hit is drawn, at random, for comparison with the origin.
    pub fn draws(&self, found: &Found, policy: &Policy) -> bool {
        hit_verification::draws(found, policy)
    }

    /// Compares a hit with the origin in the background. `range`: the bytes that were served.
    pub fn verify_hit(&self, found: Found, range: Range<u64>, policy: &Policy) {
        self.hit_verifier.verify(found, range, policy);
    }

    /// Returns the object to read in place of `id`, and the policy for it, when the origin has been down for `down`.
    /// `None`: reads of `id` do not fail over.
    pub fn failover(
        &self,
        id: &ObjectId,
        policy: &Policy,
        to: &Failover,
        down: Duration,
    ) -> Option<(ObjectId, Policy)> {
        self.failover.place_of(id, policy, to, down)
    }

    /// Notes that a write of these objects begins; it ends when the returned guard is dropped. Call it before they are
    /// first invalidated, and before the write is sent.
    pub fn write_begins(&self, objects: Vec<ObjectId>, kind: InFlight) -> Writing {
        self.invalidation.write_begins(objects, kind)
    }

    /// As [`Cache::write_begins`], for a write that may change any object of a bucket.
    pub fn bucket_write_begins(
        &self,
        realm: &Realm,
        bucket: &BucketName,
        kind: InFlight,
    ) -> Writing {
        self.invalidation.bucket_write_begins(realm, bucket, kind)
    }

    /// Invalidates the metadata of an object that changed, was written or removed. Its blocks stay under their version
    /// and age out.
    ///
    /// Applied when this returns; durable when [`Cache::durable`] returns for the ticket.
    pub fn invalidate(&self, id: &ObjectId, cause: InvalidationCause) -> Option<Ticket> {
        self.invalidation.invalidate(id, cause)
    }

    /// As [`Cache::invalidate`], for every object of a bucket.
    pub fn invalidate_bucket(
        &self,
        realm: &Realm,
        bucket: &BucketName,
        cause: InvalidationCause,
    ) -> Option<Ticket> {
        self.invalidation.invalidate_bucket(realm, bucket, cause)
    }

    /// Returns a number that changes with every invalidation of a bucket as a whole, such as by a write to the bucket
    /// itself.
    #[must_use]
    pub fn writes_of_bucket(&self, realm: &Realm, bucket: &BucketName) -> u64 {
        self.invalidation.writes_of_bucket(realm, bucket)
    }

    /// Marks an object stale whose metadata changed, or which was rewritten unchanged. One HEAD revalidates it before
    /// it is served again, and its blocks stay (R10). A cached absence is invalidated.
    pub fn mark_stale(&self, id: &ObjectId, cause: InvalidationCause) -> Option<Ticket> {
        self.invalidation.mark_stale(id, cause)
    }

    /// Applies a write of new bytes under this name, with their `ETag` if it is known. If the cached `ETag` is the
    /// same, it may be the echo of our own write: one HEAD revalidates it, and the blocks stay (R10).
    pub fn written(
        &self,
        id: &ObjectId,
        etag: Option<&ETag>,
        cause: InvalidationCause,
    ) -> Option<Ticket> {
        self.invalidation.written(id, etag, cause)
    }

    /// Notes that the outcome of a write is unknown: for a minute each read of the key revalidates it (R8).
    pub fn outcome_unknown(&self, id: &ObjectId) -> Option<Ticket> {
        self.invalidation.outcome_unknown(id)
    }

    /// As [`Cache::outcome_unknown`], for every object of a bucket.
    pub fn bucket_outcome_unknown(&self, realm: &Realm, bucket: &BucketName) -> Option<Ticket> {
        self.invalidation.bucket_outcome_unknown(realm, bucket)
    }

    /// Purges these scopes in every realm: their metadata is invalidated, and their blocks are fetched again when they
    /// are read. Applied when this returns.
    pub fn purge(&self, scopes: &[Scope]) -> Purged {
        self.purges.purge(scopes)
    }

    /// Returns the purge epoch of an object, as reads and fills look it up; for benches.
    #[doc(hidden)]
    pub fn purge_epoch(&self, id: &ObjectId) -> u32 {
        self.objects.purge_epochs.of(id)
    }

    /// Waits until a purge is durable (R11). `false`: the disk did not record it in time, and it holds only while this
    /// process runs.
    pub async fn purged(&self, purged: Purged) -> bool {
        self.purges.purged(purged).await
    }

    /// Waits until all purges so far are durable. `false`: as [`Cache::purged`].
    pub async fn purges_settled(&self) -> bool {
        self.purges.purges_settled().await
    }

    /// Erases purged data from memory and from the files of the disk tier, whenever it was purged. `scopes`: those
    /// purged now. Only one erasure runs at a time. If it exceeds `limit`, it goes on in the background, and the next
    /// waits for it.
    ///
    /// # Errors
    /// [`EraseError`]: data may still be there.
    pub async fn erase(&self, scopes: &[Scope], limit: Duration) -> Result<Erased, EraseError> {
        self.eraser.erase(scopes, limit).await
    }

    /// Sets the time, by [`crate::cache::boot_time`], until which all invalidations of other replicas are known here;
    /// `None`: there are no other replicas.
    pub fn set_certain_until(&self, until: Option<Duration>) {
        self.replicas.set_certain_until(until);
    }

    /// Whether all writes of other replicas are known here.
    pub fn is_certain(&self) -> bool {
        self.replicas.is_certain()
    }

    /// Marks all cached metadata stale, on disk too, after invalidations may have been missed: under every rule, it is
    /// revalidated once before use. Blocks stay.
    pub fn confirm_all_once(&self) {
        self.replicas.confirm_all_once();
    }

    /// Notes that another replica is about to send a write of these to the origin. Applied when this returns.
    pub fn remote_write_begins(
        &self,
        objects: &[(BucketName, ObjectKey)],
        buckets: &[BucketName],
    ) -> RemoteWrite {
        self.replicas.remote_write_begins(objects, buckets)
    }

    /// Marks an object's metadata stale where the answer to a request sent at `sent` contradicts it. Applied when this
    /// returns; durable when [`Cache::durable`] returns for the ticket.
    pub fn apply_evidence(&self, id: &ObjectId, sent: Sent, evidence: &Evidence) -> Option<Ticket> {
        self.evidence.apply(id, sent, evidence)
    }

    /// As [`Cache::apply_evidence`], also for metadata that is only on disk.
    pub async fn apply_evidence_to_all(
        &self,
        id: &ObjectId,
        sent: Sent,
        evidence: &Evidence,
    ) -> Option<Ticket> {
        self.evidence.apply_to_all(id, sent, evidence).await
    }

    /// Reconsiders an uncacheable object by the response head to a request sent at `sent`. Once it may be stored or is
    /// gone, the next read is handled as any other. `obeys`: whether `no-store` and `private` are obeyed.
    pub fn judge_streamed(
        &self,
        id: &ObjectId,
        sent: Sent,
        head: (StatusCode, &HeaderMap),
        obeys: impl FnOnce() -> bool,
    ) {
        self.evidence.judge_streamed(id, sent, head, obeys);
    }

    /// Begins to compare the response to a listing of a bucket, requested at `sent`, with the cached metadata. `None`:
    /// nothing of the bucket is cached.
    pub fn page_evidence(
        &self,
        request: ListRequest,
        sent: Sent,
        realm: &Realm,
        bucket: &BucketName,
    ) -> Option<PageEvidence> {
        PageEvidence::begin(&self.evidence, request, sent, (realm.clone(), bucket.clone()))
    }
}
