//! From a name to a version: what a read must know before it can answer.

use std::sync::Arc;

use tokio::time::Instant;

use super::found::Found;
use crate::cache::facade::Cache;
use crate::cache::fetch::fill::Claim;
use crate::cache::fetch::flight::{Opened, OpeningHandle};
use crate::cache::fetch::origin_fetch;
use crate::cache::fetch::plan::FirstRequest;
use crate::cache::invalidate::generation::Generation;
use crate::cache::metadata::heads::{Confirmed, Join};
use crate::cache::metadata::store::{Entry, Known, LearnedBy};
use crate::cache::rules::policy::{Policy, UNCACHEABLE};
use crate::origin::{Asked, OriginError};
use crate::s3::{ByteRange, FirstAsk, ObjectId, PartNumber, Preconditions, S3Error, VersionId};

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

/// The range, checksums and preconditions of a GET.
#[derive(Debug, Clone, Copy, Default)]
pub struct OpenRequest<'a> {
    pub range: Option<ByteRange>,
    /// Those of the whole object.
    pub checksums: bool,
    /// When one fails, no bytes are wanted.
    pub preconditions: Option<&'a Preconditions>,
}

/// Why a read has no answer from the cache.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// An absence that is remembered.
    #[error("known to be absent")]
    Absent(Arc<S3Error>),
    /// Stream it through.
    #[error("not to be cached")]
    Uncacheable,
    /// Another version came between two answers, or its bytes were wrong; nothing was sent yet, start again.
    #[error("the object changed")]
    Changed,
    /// It would be refused by metadata that the origin did not confirm in time (R33).
    #[error("not confirmed by the origin")]
    Unconfirmed,
    /// No memory came free in time.
    #[error("no memory for more bytes in flight")]
    NoMemory,
    #[error("{0}")]
    Origin(Arc<OriginError>),
    /// The origin refused a HEAD, whose answer has no body to say why: to a GET it says it in its own code.
    #[error("{0}")]
    HeadRefused(Arc<OriginError>),
}

impl CacheError {
    /// Whether the object is gone.
    #[must_use]
    pub fn is_absence(&self) -> bool {
        match self {
            Self::Absent(_) => true,
            Self::Origin(error) | Self::HeadRefused(error) => {
                matches!(**error, OriginError::NotFound(_))
            }
            _ => false,
        }
    }
}

impl From<Arc<OriginError>> for CacheError {
    fn from(error: Arc<OriginError>) -> Self {
        match &*error {
            OriginError::Uncacheable(_) | OriginError::NotAPart => Self::Uncacheable,
            OriginError::Changed | OriginError::Corrupt => Self::Changed,
            _ => Self::Origin(error),
        }
    }
}

/// When a reader arrived, and what it does about an opening that was sent before (R7).
#[derive(Debug, Clone, Copy)]
pub(in crate::cache) struct Arrived {
    at: Instant,
    /// A HEAD was refused: it waits for the opening to end and begins its own, instead of asking by HEAD.
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

/// Openings of others that a reader waits for.
const WAITS: u32 = 3;

pub(in crate::cache) enum Lookup {
    Fresh(Found),
    /// To be confirmed; without an entry it may not be served in any case before it is.
    Stale(Option<Arc<Entry>>, Found),
    Absent(Arc<S3Error>),
    Uncacheable,
    Unknown,
}

impl Cache {
    /// What is known for `HeadObject`; asks the origin when it must.
    ///
    /// # Errors
    /// [`CacheError`]: an absence, a refusal, or no answer.
    pub async fn head(
        self: &Arc<Self>,
        id: &ObjectId,
        policy: &Policy,
    ) -> Result<Found, CacheError> {
        let known = self.look(id, policy, LearnedBy::Head).await;
        self.confirm(id, policy, known).await
    }

    /// What a look found, confirmed by one HEAD where it must be, or replaced by what that brings.
    pub(in crate::cache) async fn confirm(
        self: &Arc<Self>,
        id: &ObjectId,
        policy: &Policy,
        known: Lookup,
    ) -> Result<Found, CacheError> {
        match known {
            Lookup::Fresh(found) => Ok(found),
            Lookup::Stale(entry, found) => {
                let demand = policy.demand || policy.confirms_each_read(&found.meta);
                self.revalidate(id, &Policy { demand, ..*policy }, entry, found).await
            }
            Lookup::Absent(error) => Err(CacheError::Absent(error)),
            Lookup::Uncacheable => Err(CacheError::Uncacheable),
            Lookup::Unknown => self.ask_head(id, None, policy, Source::Miss).await,
        }
    }

    /// What is known for `GetObject`. An object that is not known yet is opened by asking for the bytes that the
    /// client will need first: one round trip brings both (R17). With `checksums`, those of the whole object are
    /// known, too: they come with the bytes when all of it is wanted and nothing is known, or by a HEAD, and both answers
    /// must name the same version.
    ///
    /// # Errors
    /// [`CacheError`]: an absence, a refusal, no answer, or [`CacheError::Changed`] when the two answers differ.
    pub async fn open(
        self: &Arc<Self>,
        id: &ObjectId,
        request: &OpenRequest<'_>,
        policy: &Policy,
    ) -> Result<Found, CacheError> {
        let OpenRequest { range, checksums, preconditions } = *request;
        let by_head = preconditions.is_some_and(|p| matches!(p.first_ask(), FirstAsk::Head));
        let arrived = Arrived::now();
        let found = match self.look(id, policy, LearnedBy::Get).await {
            Lookup::Unknown if !by_head => {
                let first = self.fetcher.first_request(id, range, checksums, preconditions);
                self.open_by(id, &first, policy, arrived).await
            }
            known => self.confirm(id, policy, known).await,
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

    /// With the checksums of the whole, where they are wanted.
    async fn complete(
        self: &Arc<Self>,
        id: &ObjectId,
        found: Found,
        checksums: bool,
    ) -> Result<Found, CacheError> {
        match checksums && found.meta.checksums.is_none() {
            true => self.with_checksums(id, found).await,
            false => Ok(found),
        }
    }

    /// Asks for the checksums of a version that was learned from a range.
    ///
    /// # Errors
    /// [`CacheError`]; [`CacheError::Changed`] when it is another version by now.
    pub async fn with_checksums(
        self: &Arc<Self>,
        id: &ObjectId,
        found: Found,
    ) -> Result<Found, CacheError> {
        if matches!(found.source, Source::Stale | Source::StaleWhileRevalidate) {
            return Ok(found);
        }
        match self.ask(id, None, Join::UnderWay).await {
            // What is cached goes on being served, without them.
            Err(CacheError::Origin(error)) if error.allows_stale() => Ok(found),
            head => found.agree(head?),
        }
    }

    /// What memory knows, or else what the disk does.
    pub(in crate::cache) async fn look(
        &self,
        id: &ObjectId,
        policy: &Policy,
        by: LearnedBy,
    ) -> Lookup {
        match self.lookup(id, policy, by) {
            Lookup::Unknown if self.objects.disk.is_some() => {
                let recalled = self.objects.recall(id).await
                    || id.version().is_some()
                        && !id.pays()
                        && self.objects.recall(id.object()).await;
                if recalled { self.lookup(id, policy, by) } else { Lookup::Unknown }
            }
            known => known,
        }
    }

    pub(in crate::cache) fn lookup(&self, id: &ObjectId, policy: &Policy, by: LearnedBy) -> Lookup {
        // Both before the look: an invalidation between makes the generation too old, never too new; and a write that
        // ends between has ended what is found, and must not pass for one that never was.
        let generation = self.objects.generations.current(id);
        let suspect = self.objects.generations.must_confirm(id);
        let Some((entry, doubted)) = self.known(id) else { return Lookup::Unknown };
        if !self.objects.generations.bucket_is_current(id, entry.generation) {
            return Lookup::Unknown;
        }
        let doubted = doubted || !self.objects.generations.epoch_is_current(entry.generation);
        match &entry.known {
            Known::Object { meta, .. } if meta.no_store && policy.obey_no_store => {
                let lately = entry.since.age() < UNCACHEABLE;
                if lately { Lookup::Uncacheable } else { Lookup::Unknown }
            }
            Known::Object { meta, version } => {
                let found = Found {
                    id: id.clone(),
                    meta: meta.clone(),
                    version: version.clone(),
                    source: Source::Hit,
                    since: entry.since,
                    generation,
                    fetching: policy.fetching,
                    opening: None,
                    claims: Vec::new(),
                };
                match policy.is_fresh(&entry) && !suspect {
                    _ if doubted || policy.confirms_each_read(meta) => Lookup::Stale(None, found),
                    true => Lookup::Fresh(found),
                    false => Lookup::Stale(Some(entry), found),
                }
            }
            _ if doubted => Lookup::Unknown,
            Known::Missing { error, by: learned } => {
                let answers = *learned == by || *learned == LearnedBy::Get;
                match answers && !suspect && policy.believes_absence(&entry) {
                    true => Lookup::Absent(error.clone()),
                    false => Lookup::Unknown,
                }
            }
            Known::Uncacheable if policy.remembers_uncacheable(&entry) => Lookup::Uncacheable,
            Known::Uncacheable => Lookup::Unknown,
        }
    }

    /// The entry of an id, and whether it must be confirmed before it is believed.
    ///
    /// Nobody who forgets an object knows in which other ways it is known here, by which versions or to payers: those
    /// entries stay, and say in which generation they were learned. Nor are there tombstones for them, so that what
    /// comes back from disk is asked for once, under `immutable` too. What is known of the current version is as good
    /// for a version, if it is this one.
    fn known(&self, id: &ObjectId) -> Option<(Arc<Entry>, bool)> {
        let own = self.objects.meta.get(id);
        let with_doubt = |entry: Arc<Entry>| {
            let doubted = entry.is_doubted();
            (entry, doubted)
        };
        if !id.is_variant() {
            return own.map(with_doubt);
        }
        let believed = |e: &Entry| {
            !e.recalled && !e.is_doubted() && self.objects.generations.is_current(id, e.generation)
        };
        if let Some(entry) = own.as_ref().filter(|entry| believed(entry)) {
            return Some((entry.clone(), false));
        }
        let version = id.version().filter(|_| !id.pays());
        let current = version.and_then(|version| {
            self.objects.meta.get(id.object()).filter(|entry| entry.is_of(version))
        });
        current.map(with_doubt).or(own.map(|entry| (entry, true)))
    }

    pub(in crate::cache) async fn ask_head(
        self: &Arc<Self>,
        id: &ObjectId,
        part: Option<PartNumber>,
        policy: &Policy,
        source: Source,
    ) -> Result<Found, CacheError> {
        let join = self.may_join(id, policy);
        if join == Join::Next && part.is_none() {
            self.flights.doubt_openings(id, self.objects.generations.current(id));
        }
        let Confirmed { meta, since } = self.ask(id, part, join).await?;
        if meta.no_store && policy.obey_no_store {
            return Err(CacheError::Uncacheable);
        }
        let generation = self.objects.generations.current(id);
        let entry = self.objects.meta.get(id);
        let entry = entry.filter(|e| self.objects.generations.bucket_is_current(id, e.generation));
        let version = match entry.as_deref().map(|e| &e.known) {
            Some(Known::Object { meta: known, version }) if known.same_version(&meta) => {
                version.clone()
            }
            _ => self.objects.version(id, &meta),
        };
        let (id, fetching, opening, claims) = (id.clone(), policy.fetching, None, Vec::new());
        Ok(Found { id, meta, version, source, since, generation, fetching, opening, claims })
    }

    /// One HEAD, shared.
    async fn ask(
        self: &Arc<Self>,
        id: &ObjectId,
        part: Option<PartNumber>,
        join: Join,
    ) -> Result<Confirmed, CacheError> {
        match self.shared_head(id, part, join).await {
            // Some servers refuse a HEAD of `null` and answer a GET: it is theirs to say.
            Err(error)
                if matches!(*error, OriginError::Refused(_))
                    && id.version().is_some_and(VersionId::is_null) =>
            {
                Err(CacheError::Uncacheable)
            }
            Err(error) if error.is_refusal() => Err(CacheError::HeadRefused(error)),
            answer => Ok(answer?),
        }
    }

    /// Who demands the state of now, or reads a key whose state nobody knows, joins nothing that was sent before (R7, R8).
    fn may_join(&self, id: &ObjectId, policy: &Policy) -> Join {
        match policy.demand || self.objects.generations.must_confirm(id) {
            true => Join::Next,
            false => Join::UnderWay,
        }
    }

    /// Asks for the bytes that are needed first, and learns from the answer what they are bytes of.
    pub(in crate::cache) async fn open_by(
        self: &Arc<Self>,
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
                    if matches!(first.asked, Asked::Whole(_)) && meta.size > 2 * self.fetch_size {
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
                    let found = self.ask_head(id, part, policy, Source::Miss).await?;
                    if found.meta.size == 0 {
                        self.fetcher.empties.add(id);
                    }
                    Ok(found)
                }
                // It refuses nobody who arrived after it was asked (R33).
                Err(error)
                    if part.is_some() && error.is_refusal() && handle.sent() < arrived.at =>
                {
                    Err(CacheError::HeadRefused(error))
                }
                Err(error) => Err(error.into()),
            };
        }
        self.ask_head(id, part, policy, Source::Miss).await
    }

    /// Joins an opening, or begins one; unless the object becomes known.
    async fn join(
        self: &Arc<Self>,
        id: &ObjectId,
        first: &FirstRequest,
        policy: &Policy,
        arrived: Arrived,
    ) -> Result<Joined, CacheError> {
        let part = first.asked.part();
        let knows = |found: &Found| part.is_none_or(|part| found.meta.parts.get(part).is_some());
        let look = || match self.lookup(id, policy, LearnedBy::Get) {
            Lookup::Fresh(found) if knows(&found) => Some(found),
            _ => None,
        };
        let done = |found| Ok(Joined::Known(Box::new(found)));
        let mut waits = if arrived.insists { WAITS } else { 0 };
        loop {
            let generation = self.objects.generations.current(id);
            let class = policy.fetching.class_of(&first.asked);
            let is_known = || look().is_some();
            let opening = self.flights.open(id, generation, first, class, is_known);
            let Some((mut handle, new)) = opening else {
                // It became known between two looks.
                return done(match look() {
                    Some(found) => found,
                    None => self.ask_head(id, part, policy, Source::Miss).await?,
                });
            };
            match new {
                Some(opening) => {
                    origin_fetch::spawn_opening(&self.fetcher, id, generation, opening, policy);
                }
                // Sent before this reader arrived (R7).
                None if self.may_join(id, policy) == Join::Next && handle.sent() < arrived.at => {
                    if waits == 0 {
                        return done(self.ask_head(id, part, policy, Source::Revalidated).await?);
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
    Opening(OpeningHandle, Generation),
    Known(Box<Found>),
}
