//! From a part's number to its bytes (R18).
//!
//! Where a part lies is learned from the origin's own answer for it, once for each version: a GET of a part that
//! is not known yet brings its place and its bytes in one round trip, as an opening does for an object. From then
//! on it is a range like any other. (Memory keeps blocks from some byte to their end: of a part that ends within a
//! block, as those of an upload in odd sizes do, the last bytes are fetched again with the block's rest.)

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::Cache;
use super::meta::LearnedBy;
use super::open::{CacheError, Found, Lookup, Source};
use super::policy::{Policy, UNCACHEABLE};
use crate::origin::{Asked, OriginError, Pin};
use crate::s3::{ObjectId, PartNumber};

/// When the origin last answered with a whole object for a part that cannot be one.
#[derive(Default)]
pub(super) struct NoParts(Mutex<Option<Instant>>);

impl NoParts {
    /// Takes in why a part was not had.
    pub(super) fn note(&self, part: PartNumber, error: &OriginError) {
        // The first part may be all there is: of an empty object even S3 says 200.
        if matches!(error, OriginError::NotAPart) && part.get() > 1 {
            *self.0.lock() = Some(Instant::now());
        }
    }

    /// Then asking for parts would cost a request more each time.
    fn seen_lately(&self) -> bool {
        self.0.lock().is_some_and(|since| since.elapsed() < UNCACHEABLE)
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
        if self.no_parts.seen_lately() {
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
        self.open_by(id, &Asked::Part(part), Pin::Current, policy).await
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
        if self.no_parts.seen_lately() {
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
