//! A version of an object that a read is answered from.

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

/// Where the metadata of an answer came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Known and fresh: no I/O.
    Hit,
    /// Known, and the origin confirmed or replaced it.
    Revalidated,
    /// Not known before.
    Miss,
    /// Known and old; the origin did not answer (R14).
    Stale,
    /// Known and old; the origin is being asked.
    StaleWhileRevalidate,
}

/// A version of an object, and how we know.
pub struct Found {
    /// As it was asked for.
    pub(in crate::cache) id: ObjectId,
    pub meta: Arc<ObjectMeta>,
    pub version: ObjectVersion,
    pub source: Source,
    /// Before the request that brought it was sent.
    pub(in crate::cache) since: Moment,
    pub(in crate::cache) generation: Generation,
    pub(in crate::cache) fetching: Fetching,
    /// Keeps the first bytes wanted until a reader claims them.
    pub(in crate::cache) opening: Option<ColdFetchHandle>,
    /// Bytes that were claimed already.
    pub(in crate::cache) claims: Vec<Claim>,
}

impl Found {
    /// Takes the checksums of `head`, which must be of the same version.
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

    /// The same version for another reader.
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
