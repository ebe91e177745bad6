//! From a part's number to its bytes (R18).
//!
//! Where a part lies is learned from the origin's own answer for it, once for each version: a GET of a part that
//! is not known yet brings its place and its bytes in one round trip, as an opening does for an object. From then
//! on it is a range like any other. (Memory keeps blocks from some byte to their end: of a part that ends within a
//! block, as those of an upload in odd sizes do, the last bytes are fetched again with the block's rest.)

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::Instant;

use super::Cache;
use super::meta::LearnedBy;
use super::open::{CacheError, Found, Lookup, Source};
use super::policy::{Policy, UNCACHEABLE};
use crate::origin::{Asked, OriginError};
use crate::s3::{ObjectId, PartNumber};

const STRIPES: usize = 1 << 12;

/// Objects of which the origin lately answered with the whole for a part that cannot be that. By the hash of the
/// id, so that it never grows: of two ids that share a place one is passed through for a while.
pub(super) struct NoParts {
    /// Milliseconds since `started` at which it is over; 0: never seen.
    until: Box<[AtomicU64]>,
    started: Instant,
}

impl NoParts {
    pub(super) fn new() -> Self {
        let until = (0..STRIPES).map(|_| AtomicU64::new(0)).collect();
        Self { until, started: Instant::now() }
    }

    /// Takes in why a part was not had.
    pub(super) fn note(&self, id: &ObjectId, part: PartNumber, error: &OriginError) {
        // The first part may be all there is: of an empty object even S3 says 200.
        if matches!(error, OriginError::NotAPart) && part.get() > 1 {
            let until = (self.started.elapsed() + UNCACHEABLE).as_millis();
            let until = u64::try_from(until).unwrap_or(u64::MAX);
            self.place(id).store(until, Ordering::Relaxed);
        }
    }

    /// Then asking for parts would cost a request more each time.
    fn seen_lately(&self, id: &ObjectId) -> bool {
        let until = self.place(id).load(Ordering::Relaxed);
        until != 0 && self.started.elapsed().as_millis() < u128::from(until)
    }

    fn place(&self, id: &ObjectId) -> &AtomicU64 {
        let at = id.hash64() % STRIPES as u64;
        &self.until[usize::try_from(at).expect("below the number of stripes")]
    }
}

impl Cache {
    /// As [`Cache::open`], for one part: what is found knows where it lies.
    ///
    /// # Errors
    /// As [`Cache::open`]; [`CacheError::Origin`] when there is no such part.
    pub async fn open_part(
        self: &Arc<Self>,
        id: &ObjectId,
        part: PartNumber,
        policy: &Policy,
    ) -> Result<Found, CacheError> {
        if self.no_parts.seen_lately(id) {
            return Err(CacheError::Uncacheable);
        }
        match self.look(id, policy, LearnedBy::Get).await {
            Lookup::Unknown => {}
            known => {
                let found = self.confirm(id, policy, known).await?;
                if found.meta.parts.get(part).is_some() {
                    return Ok(found);
                }
            }
        }
        // Of what is current, whatever was found: an answer that is pinned to a version does not say that it still
        // is, and would be taken for it after a write that came between (R5).
        self.open_by(id, &Asked::Part(part), policy).await
    }

    /// As [`Cache::head`], for one part.
    ///
    /// # Errors
    /// As [`Cache::open_part`].
    pub async fn head_part(
        self: &Arc<Self>,
        id: &ObjectId,
        part: PartNumber,
        policy: &Policy,
    ) -> Result<Found, CacheError> {
        if self.no_parts.seen_lately(id) {
            return Err(CacheError::Uncacheable);
        }
        match self.look(id, policy, LearnedBy::Head).await {
            Lookup::Unknown => self.ask_head(id, Some(part), policy, Source::Miss).await,
            // One HEAD confirms what is known and says where the part lies.
            Lookup::Fresh(found) | Lookup::Stale(_, found)
                if found.meta.parts.get(part).is_none() =>
            {
                self.ask_head(id, Some(part), policy, Source::Revalidated).await
            }
            known => self.confirm(id, policy, known).await,
        }
    }
}
