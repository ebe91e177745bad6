//! Shadow verification: a sample of hits is compared with the origin, in the background (`rules[].verify_hits`).
//!
//! One ranged GET without conditions fetches the bytes of one block of the hit, along with the current metadata; a hit
//! without bytes uses a HEAD. If the version differs, the cache served a stale object; if the bytes of the same version
//! differ, it served corrupt ones. Both are dropped and logged. Invariants: no client waits for a check. Few checks run
//! at a time, in the lowest priority class, and none while the origin is known to fail. A hit that was invalidated
//! meanwhile is skipped.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderValue;
use tokio::sync::Semaphore;

use super::found::{Found, Source};
use crate::cache::fetch::budget::{Budget, Paid};
use crate::cache::invalidate::invalidation::Invalidation;
use crate::cache::invalidate::purge::Purges;
use crate::cache::key::BlockKey;
use crate::cache::rules::policy::Policy;
use crate::cache::tiers::blocks::BlockTiers;
use crate::metrics::cache::InvalidationCause;
use crate::metrics::integrity::{self as metrics, HitVerification};
use crate::origin::{Asked, Class, OriginError, Origins, Pin, Urgency};
use crate::s3::ObjectMeta;

/// Maximum number of concurrent comparisons.
const CHECKS: usize = 4;

/// A hit to be compared with the origin.
struct Check {
    found: Found,
    /// Cached bytes of one block, with the offset of the first in the object; `None`: the hit had no bytes.
    held: Option<Held>,
    /// Whether the rule promises that changes are known at once: then a stale hit is an error, and not just within its
    /// ttl.
    is_promised: bool,
}

struct Held {
    at: u64,
    bytes: Bytes,
    _paid: Paid,
}

/// A difference between the cached state of an object and the origin's.
enum Difference {
    /// The origin has another version; `None`: it has no such object.
    Version(Option<Arc<ObjectMeta>>),
    /// A byte of the same version, at this offset.
    Byte(u64),
}

/// Returns whether this hit is drawn, at random, for comparison with the origin.
pub(in crate::cache) fn draws(found: &Found, policy: &Policy) -> bool {
    // Not on behalf of a requester that pays, which has not asked for it.
    found.source == Source::Hit && policy.verify_hits.draws() && !found.id.pays()
}

/// Compares hits with the origin.
pub(in crate::cache) struct HitVerifier {
    origin: Origins,
    blocks: Arc<BlockTiers>,
    budget: Budget,
    invalidation: Arc<Invalidation>,
    purges: Arc<Purges>,
    /// Permits for comparisons.
    permits: Arc<Semaphore>,
}

impl HitVerifier {
    pub(in crate::cache) fn new(
        origin: Origins,
        blocks: Arc<BlockTiers>,
        budget: Budget,
        invalidation: Arc<Invalidation>,
        purges: Arc<Purges>,
    ) -> Self {
        let permits = Arc::new(Semaphore::new(CHECKS));
        Self { origin, blocks, budget, invalidation, purges, permits }
    }

    /// Compares a hit with the origin in the background. `range`: the bytes that were served.
    pub(in crate::cache) fn verify(
        self: &Arc<Self>,
        found: Found,
        range: Range<u64>,
        policy: &Policy,
    ) {
        let is_promised = policy.ttl.is_none() || policy.trusted.is_some();
        let permit = self.permits.clone().try_acquire_owned().ok();
        let permit = permit.filter(|_| !self.origin.of_object(&found.id).is_failing());
        let Some(permit) = permit else { return metrics::verified(HitVerification::Skipped) };
        let verifier = self.clone();
        tokio::spawn(async move {
            let outcome = verifier.compare(found, range, is_promised).await;
            metrics::verified(outcome);
            drop(permit);
        });
    }

    async fn compare(
        self: Arc<Self>,
        found: Found,
        range: Range<u64>,
        is_promised: bool,
    ) -> HitVerification {
        let held = match range.is_empty() {
            true => None,
            false => match self.held_of(&found, &range).await {
                None => return HitVerification::Skipped,
                held => held,
            },
        };
        let check = Check { found, held, is_promised };
        let mut found = check.difference(&self).await;
        if let Ok(Some(Difference::Byte(_))) = found {
            // A bit may as well flip on the way of the answer.
            found = check.difference(&self).await;
        }
        match found {
            Ok(None) => HitVerification::Match,
            Ok(Some(difference)) => check.conclude(&self, &difference),
            Err(error) => {
                log::debug!("hit verification: {}: {error}", check.name());
                HitVerification::Failed
            }
        }
    }

    /// Returns the cached bytes of a random block of a range.
    async fn held_of(&self, found: &Found, range: &Range<u64>) -> Option<Held> {
        let at = range.start + rand::random::<u64>() % (range.end - range.start);
        let key = found.version.block_at(at);
        let at = key.start().max(range.start);
        let paid = self.budget.try_read_ahead(key.len())?;
        let bytes = self.peek_block(&key, at).await?;
        Some(Held { at, bytes, _paid: paid })
    }

    /// Returns the bytes of a block from `at` on, as the next reader would get them, without counting a read.
    async fn peek_block(&self, key: &BlockKey, at: u64) -> Option<Bytes> {
        if let Some(bytes) = self.blocks.memory.find(key).and_then(|block| block.from(at)) {
            return Some(bytes);
        }
        let read = self.blocks.objects.disk.as_ref()?.plan_read(key, at, key.end(), true)?;
        Some(read.run().await.ok()?.bytes)
    }
}

impl Check {
    fn name(&self) -> String {
        format!("{}/{}", self.found.id.bucket(), self.found.id.key())
    }

    async fn difference(&self, verifier: &HitVerifier) -> Result<Option<Difference>, OriginError> {
        let id = &self.found.id;
        let urgency = Arc::new(Urgency::new(Class::Background));
        let gone = |error: OriginError| match error {
            OriginError::NotFound(_) => Ok(Some(Difference::Version(None))),
            error => Err(error),
        };
        let Some(Held { at, bytes, .. }) = &self.held else {
            return match verifier.origin.head_for(id, &urgency).await {
                Ok(meta) => Ok(self.other_version(Arc::new(meta))),
                Err(error) => gone(error),
            };
        };
        let asked = Asked::Range(*at..at + bytes.len() as u64);
        let mut answer = match verifier.origin.get(id, asked, Pin::Current, &urgency).await {
            Ok(answer) => answer,
            // The object ends before the cached bytes.
            Err(OriginError::RangeNotSatisfiable) => {
                let meta = verifier.origin.head_for(id, &urgency).await;
                return meta.map(|meta| self.other_version(Arc::new(meta))).or_else(gone);
            }
            Err(error) => return gone(error),
        };
        if let Some(other) = self.other_version(answer.meta.clone()) {
            return Ok(Some(other));
        }
        let (mut compared, mut differs) = (0, None);
        let mut compare = |piece: &[u8]| {
            let (cached, from) = (&bytes[compared..], compared);
            compared += piece.len();
            let other = cached.iter().zip(piece).position(|(cached, there)| cached != there);
            differs = differs.or(other.map(|other| at + (from + other) as u64));
        };
        while answer.body.next(&mut compare).await? {}
        Ok(differs.map(Difference::Byte))
    }

    fn other_version(&self, there: Arc<ObjectMeta>) -> Option<Difference> {
        let is_same = there.same_version(&self.found.meta);
        (!is_same).then_some(Difference::Version(Some(there)))
    }

    /// Drops the cached object, and logs the difference.
    fn conclude(&self, verifier: &HitVerifier, difference: &Difference) -> HitVerification {
        let Found { id, meta, generation, .. } = &self.found;
        let (name, cached) = (self.name(), describe(meta));
        if !verifier.blocks.objects.generations.is_current(id, *generation) {
            return HitVerification::Skipped;
        }
        match difference {
            Difference::Version(there) => {
                let there = there.as_deref().map_or("no such object".to_owned(), describe);
                let line = format!(
                    "hit verification: a hit on {name} was answered from {cached}, and the origin has {there}: it is \
                     dropped from the cache"
                );
                match self.is_promised {
                    true => log::error!("{line}; its rule says that it is current"),
                    false => log::warn!("{line}; its rule allows that for its ttl"),
                }
                verifier.invalidation.invalidate(id.object(), InvalidationCause::Origin);
                if id.is_variant() {
                    verifier.invalidation.invalidate(id, InvalidationCause::Origin);
                }
                HitVerification::Changed
            }
            Difference::Byte(at) => {
                log::error!(
                    "hit verification: the cached bytes of {name} are not the origin's from byte {at} on: both have \
                     {cached}; it is dropped from the cache, and fetched again"
                );
                verifier.purges.drop_blocks(id);
                HitVerification::Corrupt
            }
        }
    }
}

/// Describes a version for the log.
fn describe(meta: &ObjectMeta) -> String {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let etag = text(meta.etag.as_header());
    let version = meta.version_id.as_ref().map_or("none".to_owned(), text);
    format!("ETag {etag}, version {version}, {} bytes", meta.size)
}
