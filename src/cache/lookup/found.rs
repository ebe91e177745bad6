//! The version of an object from which a read is answered.

use std::sync::Arc;

use tokio::time::Instant;

use super::error::CacheError;
use crate::cache::fetch::fill::Claim;
use crate::cache::fetch::flight::ColdFetchHandle;
use crate::cache::invalidate::generation::Generation;
use crate::cache::key::ObjectVersion;
use crate::cache::metadata::clock::Moment;
use crate::cache::metadata::heads::Confirmed;
use crate::cache::rules::policy::Fetching;
use crate::s3::{ObjectId, ObjectMeta};

/// The source of the metadata of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Cached and fresh: no I/O.
    Hit,
    /// Cached, and confirmed or replaced by the origin.
    Revalidated,
    /// Not cached before.
    Miss,
    /// Cached and stale; the origin did not answer (R14).
    Stale,
    /// Cached and stale; a revalidation is under way.
    StaleWhileRevalidate,
}

/// A version of an object, with the source of its metadata.
pub struct Found {
    /// The object as requested: by name, or by a version id.
    pub(in crate::cache) id: ObjectId,
    pub meta: Arc<ObjectMeta>,
    pub version: ObjectVersion,
    pub source: Source,
    /// A moment before the request that brought the metadata was sent.
    pub(in crate::cache) since: Moment,
    pub(in crate::cache) generation: Generation,
    pub(in crate::cache) fetching: Fetching,
    /// Handle that keeps the cold fetch going until a reader claims its bytes.
    pub(in crate::cache) opening: Option<ColdFetchHandle>,
    /// Claims on bytes in flight.
    pub(in crate::cache) claims: Vec<Claim>,
}

impl Found {
    /// Adopts the checksums of `head`, which must be of the same version.
    pub(in crate::cache) fn agree(mut self, head: Confirmed) -> Result<Self, CacheError> {
        let Confirmed { meta, since } = head;
        if !meta.same_version(&self.meta) {
            return Err(CacheError::Changed);
        }
        self.meta = meta;
        if since.instant() < self.since.instant() {
            self.since = since;
        }
        Ok(self)
    }

    /// Whether the request that brought it was sent at `arrived` or later: only then may it refuse a reader that
    /// arrived at that time (R33).
    pub fn is_confirmed_since(&self, arrived: Instant) -> bool {
        self.since.instant().is_some_and(|since| since >= arrived)
    }

    /// Returns the same version for another reader.
    pub fn again(&self) -> Self {
        Self {
            id: self.id.clone(),
            meta: self.meta.clone(),
            version: self.version.clone(),
            source: self.source,
            since: self.since,
            generation: self.generation,
            fetching: self.fetching,
            opening: None,
            claims: Vec::new(),
        }
    }
}
