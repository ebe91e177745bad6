//! Revalidation of metadata by one HEAD, and stale responses: the conditions for serving them, and the wait for the
//! origin before (R14).
//!
//! A revalidation goes on when its reader does not wait for it any more, and its result is admitted as usual.
//! Invariant: a stale response was allowed when it is served, and not only when it was looked up: after a write, an
//! event or a purge during the wait for the origin, the reader keeps waiting.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::error::CacheError;
use super::found::{Found, Source};
use super::metadata::{Lookup, MetadataLookup};
use super::shared_head::SharedHead;
use crate::cache::fetch::flight::Flights;
use crate::cache::metadata::heads::{Confirmed, Join};
use crate::cache::metadata::store::{Entry, Known};
use crate::cache::rules::policy::Policy;
use crate::origin::{OriginError, Origins};
use crate::s3::{ObjectId, PartNumber, VersionId};

/// Maximum wait for an origin that is known to fail.
const KNOWN_TO_FAIL: Duration = Duration::from_millis(50);
/// Maximum number of concurrent revalidations; beyond it, none is begun that no reader would wait for.
const MAX_CONFIRMATIONS: usize = 1024;

/// Revalidates stale metadata, and requests metadata that is not cached.
pub(in crate::cache) struct Revalidation {
    origin: Origins,
    lookup: MetadataLookup,
    head: Arc<SharedHead>,
    flights: Arc<Flights>,
}

impl Revalidation {
    pub(in crate::cache) fn new(
        origin: Origins,
        lookup: MetadataLookup,
        head: Arc<SharedHead>,
        flights: Arc<Flights>,
    ) -> Self {
        Self { origin, lookup, head, flights }
    }

    /// Turns the result of a lookup into an answer, with one HEAD if it is stale or unknown.
    pub(in crate::cache) async fn confirm(
        &self,
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

    /// Requests the checksums of a version whose metadata came from a range response.
    ///
    /// # Errors
    /// [`CacheError`]; [`CacheError::Changed`] when it is another version by now.
    pub(in crate::cache) async fn with_checksums(
        &self,
        id: &ObjectId,
        found: Found,
    ) -> Result<Found, CacheError> {
        if matches!(found.source, Source::Stale | Source::StaleWhileRevalidate) {
            return Ok(found);
        }
        match self.ask(id, None, Join::UnderWay).await {
            // The cached object is still served, without checksums.
            Err(CacheError::Origin(error)) if error.allows_stale() => Ok(found),
            head => found.agree(head?),
        }
    }

    pub(in crate::cache) async fn ask_head(
        &self,
        id: &ObjectId,
        part: Option<PartNumber>,
        policy: &Policy,
        source: Source,
    ) -> Result<Found, CacheError> {
        let join = self.may_join(id, policy);
        if join == Join::Next && part.is_none() {
            self.flights.mark_openings_stale(id, self.lookup.objects.generations.current(id));
        }
        let Confirmed { meta, since } = self.ask(id, part, join).await?;
        if meta.no_store && policy.obey_no_store {
            return Err(CacheError::Uncacheable);
        }
        let generation = self.lookup.objects.generations.current(id);
        let entry = self.lookup.objects.meta.get(id);
        let entry =
            entry.filter(|e| self.lookup.objects.generations.bucket_is_current(id, e.generation));
        let version = match entry.as_deref().map(|e| &e.known) {
            Some(Known::Object { meta: known, version }) if known.same_version(&meta) => {
                version.clone()
            }
            _ => self.lookup.objects.version(id, &meta),
        };
        let (id, fetching, opening, claims) = (id.clone(), policy.fetching, None, Vec::new());
        Ok(Found { id, meta, version, source, since, generation, fetching, opening, claims })
    }

    /// Sends or joins a shared HEAD.
    async fn ask(
        &self,
        id: &ObjectId,
        part: Option<PartNumber>,
        join: Join,
    ) -> Result<Confirmed, CacheError> {
        match self.head.ask(id, part, join).await {
            // Some servers refuse a HEAD of version `null` and answer a GET, so the request is streamed through.
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

    /// Returns which HEAD a reader may join. One that demands the current state, or reads a key whose state is unknown,
    /// joins none that was sent before (R7, R8).
    pub(in crate::cache) fn may_join(&self, id: &ObjectId, policy: &Policy) -> Join {
        match policy.demand || self.lookup.objects.generations.must_confirm(id) {
            true => Join::Next,
            false => Join::UnderWay,
        }
    }

    /// Revalidates a stale version. `entry`: may be served stale, if the policy allows it.
    async fn revalidate(
        &self,
        id: &ObjectId,
        policy: &Policy,
        entry: Option<Arc<Entry>>,
        found: Found,
    ) -> Result<Found, CacheError> {
        let asked = self.ask_head(id, None, policy, Source::Revalidated);
        let Some((entry, limit)) =
            entry.and_then(|entry| self.time_limit(id, policy, &entry).map(|limit| (entry, limit)))
        else {
            return asked.await;
        };
        let gains = !limit.is_zero() && !self.origin.of_object(id).is_failing();
        if !gains && self.head.in_flight() >= MAX_CONFIRMATIONS && self.is_usable(id, &found) {
            return Ok(Found { source: Source::StaleWhileRevalidate, ..found });
        }
        tokio::pin!(asked);
        let answer = match timeout(limit, &mut asked).await {
            Ok(answer) => answer,
            Err(_) if policy.allows_unconfirmed(&entry) && self.is_usable(id, &found) => {
                if !limit.is_zero() {
                    self.origin.of_object(id).unanswered();
                }
                return Ok(Found { source: Source::StaleWhileRevalidate, ..found });
            }
            Err(_) => asked.await,
        };
        match answer {
            Err(CacheError::Origin(error))
                if error.allows_stale()
                    && policy.allows_stale(&entry)
                    && self.is_usable(id, &found) =>
            {
                Ok(Found { source: Source::Stale, ..found })
            }
            other => other,
        }
    }

    /// Returns the maximum wait for a revalidation before the entry is served stale; `None`: until it ends.
    fn time_limit(&self, id: &ObjectId, policy: &Policy, entry: &Entry) -> Option<Duration> {
        if policy.allows_stale_while_revalidate(entry) {
            return Some(Duration::ZERO);
        }
        if !policy.allows_stale(entry) {
            return None;
        }
        let limit = policy.stale.after;
        let limit =
            if self.origin.of_object(id).is_failing() { limit.min(KNOWN_TO_FAIL) } else { limit };
        // Time for which the request under way has been waited for.
        let waited = self.head.waited_for(id).unwrap_or_default();
        Some(limit.saturating_sub(waited))
    }

    /// Whether the object was not invalidated or written since it was looked up.
    fn is_usable(&self, id: &ObjectId, found: &Found) -> bool {
        !self.lookup.objects.generations.must_confirm(id)
            && self.lookup.objects.generations.is_current(id, found.generation)
    }
}
