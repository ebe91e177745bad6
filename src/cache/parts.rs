//! From a part's number to its bytes (R18).
//!
//! Where a part lies is learned from the origin's own answer for it, once for each version: a GET of a part that
//! is not known yet brings its place and its bytes in one round trip, as an opening does for an object. From then
//! on it is a range like any other. (Memory keeps blocks from some byte to their end: of a part that ends within a
//! block, as those of an upload in odd sizes do, the last bytes are fetched again with the block's rest.)

use std::sync::Arc;

use super::Cache;
use super::meta::LearnedBy;
use super::open::{CacheError, Found, Lookup, Source};
use super::policy::Policy;
use crate::origin::{Asked, Pin};
use crate::s3::{ObjectId, PartNumber};

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
        let pin = match self.look(id, policy, LearnedBy::Get).await {
            Lookup::Unknown => Pin::Current,
            known => match self.confirm(id, policy, known).await? {
                found if found.meta.parts.get(part).is_some() => return Ok(found),
                found => Pin::Version(found.meta),
            },
        };
        self.open_by(id, &Asked::Part(part), pin, policy).await
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
