//! Opening of objects: finds the metadata that a read needs before it can answer.

use std::sync::Arc;

use tokio::time::Instant;

use super::error::CacheError;
use super::found::{Found, Source};
use super::metadata::{Lookup, MetadataLookup};
use super::revalidation::Revalidation;
use crate::cache::fetch::fetcher::Fetcher;
use crate::cache::fetch::fill::Claim;
use crate::cache::fetch::flight::{ColdFetchHandle, Opened};
use crate::cache::fetch::origin_fetch;
use crate::cache::fetch::plan::FirstRequest;
use crate::cache::invalidate::generation::Generation;
use crate::cache::metadata::heads::Join;
use crate::cache::metadata::store::LearnedBy;
use crate::cache::rules::policy::Policy;
use crate::origin::{Asked, OriginError};
use crate::s3::{ByteRange, FirstAsk, ObjectId, Preconditions};

/// The range, checksums and preconditions of a GET.
#[derive(Debug, Clone, Copy, Default)]
pub struct OpenRequest<'a> {
    pub range: Option<ByteRange>,
    /// Whether the checksums of the whole object are wanted.
    pub checksums: bool,
    /// Preconditions of the request; if one fails, no bytes are wanted.
    pub preconditions: Option<&'a Preconditions>,
}

/// Arrival time of a reader, and its handling of a cold fetch that was sent before (R7).
#[derive(Debug, Clone, Copy)]
pub(in crate::cache) struct Arrived {
    at: Instant,
    /// Whether a HEAD was refused: then the reader waits for the cold fetch to end and begins its own, instead of
    /// sending a HEAD.
    insists: bool,
}

impl Arrived {
    pub(in crate::cache) fn now() -> Self {
        Self { at: Instant::now(), insists: false }
    }

    pub(in crate::cache) fn insisting(self) -> Self {
        Self { insists: true, ..self }
    }
}

/// Maximum number of cold fetches of other readers that a reader waits for.
const WAITS: u32 = 3;

/// Opens objects for reads.
pub(in crate::cache) struct Opener {
    lookup: MetadataLookup,
    revalidation: Arc<Revalidation>,
    fetcher: Arc<Fetcher>,
}

impl Opener {
    pub(in crate::cache) fn new(
        lookup: MetadataLookup,
        revalidation: Arc<Revalidation>,
        fetcher: Arc<Fetcher>,
    ) -> Self {
        Self { lookup, revalidation, fetcher }
    }

    /// Returns the metadata for `GetObject`. If none is cached, it requests the bytes that the client needs first: one
    /// round trip brings both (R17). With `checksums`, the metadata includes those of the whole object. They come with
    /// the bytes of a cold GET of the whole object, or by a HEAD, whose version must be the same.
    ///
    /// # Errors
    /// [`CacheError`]: an absence, a refusal, no answer, or [`CacheError::Changed`] when the two answers differ.
    pub(in crate::cache) async fn open(
        &self,
        id: &ObjectId,
        request: &OpenRequest<'_>,
        policy: &Policy,
    ) -> Result<Found, CacheError> {
        let OpenRequest { range, checksums, preconditions } = *request;
        let by_head = preconditions.is_some_and(|p| matches!(p.first_ask(), FirstAsk::Head));
        let arrived = Arrived::now();
        let found = match self.lookup.find(id, policy, LearnedBy::Get).await {
            Lookup::Unknown if !by_head => {
                let first = self.fetcher.first_request(id, range, checksums, preconditions);
                self.open_by(id, &first, policy, arrived).await
            }
            known => self.revalidation.confirm(id, policy, known).await,
        };
        let found = match found {
            Ok(found) => self.complete(id, found, checksums).await,
            Err(failure) => Err(failure),
        };
        match found {
            Err(CacheError::HeadRefused(_)) => {
                let first = self.fetcher.first_request(id, range, checksums, preconditions);
                let found = self.open_by(id, &first, policy, arrived.insisting()).await?;
                self.complete(id, found, checksums).await
            }
            found => found,
        }
    }

    /// Adds the checksums of the whole object, where they are wanted.
    async fn complete(
        &self,
        id: &ObjectId,
        found: Found,
        checksums: bool,
    ) -> Result<Found, CacheError> {
        match checksums && found.meta.checksums.is_none() {
            true => self.revalidation.with_checksums(id, found).await,
            false => Ok(found),
        }
    }

    /// Requests the bytes that are needed first, and takes the metadata from the response.
    pub(in crate::cache) async fn open_by(
        &self,
        id: &ObjectId,
        first: &FirstRequest,
        policy: &Policy,
        arrived: Arrived,
    ) -> Result<Found, CacheError> {
        let part = first.asked.part();
        for _ in 0..WAITS {
            let (mut handle, generation) = match self.join(id, first, policy, arrived).await? {
                Joined::Opening(handle, generation) => (handle, generation),
                Joined::Known(found) => return Ok(*found),
            };
            return match handle.answer().await {
                Ok(Opened { meta, version, since, fills }) => {
                    if matches!(first.asked, Asked::Whole(_))
                        && meta.size > 2 * self.fetcher.fetch_size
                    {
                        self.fetcher.empties.remove(id);
                    }
                    let claims: Vec<_> = fills.iter().map(|fill| Claim::new(fill, None)).collect();
                    let opening = claims.is_empty().then_some(handle);
                    let (id, source, fetching) = (id.clone(), Source::Miss, policy.fetching);
                    Ok(Found {
                        id,
                        meta,
                        version,
                        source,
                        since,
                        generation,
                        fetching,
                        opening,
                        claims,
                    })
                }
                Err(error) if handle.is_by_condition_of_another(&error) => continue,
                // An empty object, or a start past its end: its metadata decides what the client gets (R17).
                Err(error) if matches!(*error, OriginError::RangeNotSatisfiable) => {
                    let found = self.revalidation.ask_head(id, part, policy, Source::Miss).await?;
                    if found.meta.size == 0 {
                        self.fetcher.empties.add(id);
                    }
                    Ok(found)
                }
                // A refusal applies to no reader that arrived after the request was sent (R33).
                Err(error)
                    if part.is_some() && error.is_refusal() && handle.sent() < arrived.at =>
                {
                    Err(CacheError::HeadRefused(error))
                }
                Err(error) => Err(error.into()),
            };
        }
        self.revalidation.ask_head(id, part, policy, Source::Miss).await
    }

    /// Joins a cold fetch, or begins one, unless the metadata was cached meanwhile.
    async fn join(
        &self,
        id: &ObjectId,
        first: &FirstRequest,
        policy: &Policy,
        arrived: Arrived,
    ) -> Result<Joined, CacheError> {
        let part = first.asked.part();
        let knows = |found: &Found| part.is_none_or(|part| found.meta.parts.get(part).is_some());
        let look = || match self.lookup.in_memory(id, policy, LearnedBy::Get) {
            Lookup::Fresh(found) if knows(&found) => Some(found),
            _ => None,
        };
        let done = |found| Ok(Joined::Known(Box::new(found)));
        let mut waits = if arrived.insists { WAITS } else { 0 };
        loop {
            let generation = self.lookup.objects.generations.current(id);
            let class = policy.fetching.class_of(&first.asked);
            let is_known = || look().is_some();
            let opening = self.fetcher.flights.open(id, generation, first, class, is_known);
            let Some((mut handle, new)) = opening else {
                // The metadata was cached between two lookups.
                return done(match look() {
                    Some(found) => found,
                    None => self.revalidation.ask_head(id, part, policy, Source::Miss).await?,
                });
            };
            match new {
                Some(opening) => {
                    origin_fetch::spawn_cold(&self.fetcher, id, generation, opening, policy);
                }
                // Sent before this reader arrived (R7).
                None if self.revalidation.may_join(id, policy) == Join::Next
                    && handle.sent() < arrived.at =>
                {
                    if waits == 0 {
                        return done(
                            self.revalidation
                                .ask_head(id, part, policy, Source::Revalidated)
                                .await?,
                        );
                    }
                    waits -= 1;
                    let _ = handle.answer().await;
                    continue;
                }
                None => {}
            }
            return Ok(Joined::Opening(handle, generation));
        }
    }
}

/// A request for an object that is not cached: under way, or not needed any more.
enum Joined {
    Opening(ColdFetchHandle, Generation),
    Known(Box<Found>),
}
