//! Opening of parts of objects by part number (R18).
//!
//! The range of a part is learned from the origin's response for it, once for each version: a GET of an unknown part
//! brings its range and its bytes in one round trip, as a cold fetch does for an object. From then on it is a range
//! like any other. The headers of a response for a part describe the part. The object's identity comes from a response
//! for the whole: a HEAD in parallel to the GET when nothing is cached.

use std::sync::Arc;

use super::error::CacheError;
use super::found::{Found, Source};
use super::metadata::{Lookup, MetadataLookup};
use super::open::{Arrived, Opener};
use super::partless::PartlessObjects;
use super::revalidation::Revalidation;
use crate::cache::metadata::admission::MetadataAdmission;
use crate::cache::metadata::store::LearnedBy;
use crate::cache::rules::policy::Policy;
use crate::origin::Asked;
use crate::s3::{ObjectId, PartNumber};

/// Opens parts of objects.
pub(in crate::cache) struct PartOpener {
    lookup: MetadataLookup,
    revalidation: Arc<Revalidation>,
    opener: Arc<Opener>,
    admission: Arc<MetadataAdmission>,
    partless: Arc<PartlessObjects>,
}

impl PartOpener {
    pub(in crate::cache) fn new(
        lookup: MetadataLookup,
        revalidation: Arc<Revalidation>,
        opener: Arc<Opener>,
        admission: Arc<MetadataAdmission>,
        partless: Arc<PartlessObjects>,
    ) -> Self {
        Self { lookup, revalidation, opener, admission, partless }
    }

    /// As [`Opener::open`], for one part; the metadata found includes the part's range.
    ///
    /// # Errors
    /// As [`Opener::open`]; [`CacheError::Origin`] when there is no such part.
    pub(in crate::cache) async fn open_part(
        &self,
        id: &ObjectId,
        part: PartNumber,
        policy: &Policy,
    ) -> Result<Found, CacheError> {
        let arrived = Arrived::now();
        match self.open_part_once(id, part, policy, arrived).await {
            Err(CacheError::HeadRefused(_)) => {
                self.opener
                    .open_by(id, &Asked::Part(part).into(), policy, arrived.insisting())
                    .await?;
                // The part that was refused a moment ago exists now.
                Err(CacheError::Changed)
            }
            found => found,
        }
    }

    async fn open_part_once(
        &self,
        id: &ObjectId,
        part: PartNumber,
        policy: &Policy,
        arrived: Arrived,
    ) -> Result<Found, CacheError> {
        if self.partless.is_remembered(id) {
            return Err(CacheError::Uncacheable);
        }
        // Requests the current version, whatever was found: a response pinned to a version does not show that it is
        // still current, and would be taken for the current one after a write in between (R5).
        let asked = Asked::Part(part).into();
        let opening = self.opener.open_by(id, &asked, policy, arrived);
        let (answer, whole) = match self.lookup.find(id, policy, LearnedBy::Get).await {
            Lookup::Unknown => {
                let head = self.revalidation.ask_head(id, None, policy, Source::Miss);
                let (answer, head) = tokio::join!(opening, head);
                (answer?, head?)
            }
            known => {
                let found = self.revalidation.confirm(id, policy, known).await?;
                if found.meta.parts.get(part).is_some() {
                    return Ok(found);
                }
                (opening.await?, found)
            }
        };
        self.part_of(id, policy, answer, whole).await
    }

    /// As [`Revalidation::head`], for one part.
    ///
    /// # Errors
    /// As [`Self::open_part`].
    pub(in crate::cache) async fn head_part(
        &self,
        id: &ObjectId,
        part: PartNumber,
        policy: &Policy,
    ) -> Result<Found, CacheError> {
        if self.partless.is_remembered(id) {
            return Err(CacheError::Uncacheable);
        }
        let known = self.lookup.find(id, policy, LearnedBy::Head).await;
        if let Lookup::Fresh(found) | Lookup::Stale(_, found) = &known
            && found.meta.parts.get(part).is_some()
        {
            return self.revalidation.confirm(id, policy, known).await;
        }
        // Does not join a request sent before, since the response may refuse this reader (R33).
        let now = policy.demanding();
        let answer = self.revalidation.ask_head(id, Some(part), &now, Source::Revalidated);
        let (answer, whole) = tokio::join!(answer, self.revalidation.confirm(id, policy, known));
        self.part_of(id, policy, answer?, whole?).await
    }

    /// Combines the responses for the object and for a part of it. If the `ETag` of the part's response differs, the
    /// object was overwritten, or the server gives the part an `ETag` of its own.
    async fn part_of(
        &self,
        id: &ObjectId,
        policy: &Policy,
        answer: Found,
        mut whole: Found,
    ) -> Result<Found, CacheError> {
        if !answer.meta.same_version(&whole.meta) {
            whole = self
                .revalidation
                .ask_head(id, None, &policy.demanding(), Source::Revalidated)
                .await?;
        }
        if !answer.meta.same_version(&whole.meta) {
            self.partless.remember(id);
            return Err(CacheError::Uncacheable);
        }
        self.admission.admit_part(id, answer.generation, &answer.meta);
        let meta = Arc::make_mut(&mut whole.meta);
        meta.parts.add(&answer.meta.parts);
        Ok(Found { meta: whole.meta, ..answer })
    }
}
