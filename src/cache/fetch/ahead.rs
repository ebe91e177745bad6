//! Reading ahead of clients that read an object by several requests.
//!
//! Predictions come from the reads before ([`pattern`]) and, for columnar files, from the end of the file ([`footer`]).
//! A HEAD of one is answered from a request for its end, which is usually read next; the metadata that the end points
//! at is fetched at once. Nobody waits for these fetches: they have the lowest priority, are paid for from free
//! in-flight memory, and stop where they do not pay.

mod balance;
mod footer;
mod observed;
mod pattern;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use self::balance::Kind;
use self::footer::{Columnar, TRAILER};
use self::observed::ReadAhead;
use super::fetcher::Fetcher;
use super::fill::Claim;
use super::flight::Reading;
use super::origin_fetch::{self, FetchTarget};
use super::plan::{self, Cuts, UNIT};
use crate::cache::key::BlockKey;
use crate::cache::lookup::error::CacheError;
use crate::cache::lookup::found::{Found, Source};
use crate::cache::lookup::open::{Arrived, Opener};
use crate::cache::memory::block::Block;
use crate::cache::rules::policy::Policy;
use crate::origin::{Asked, Class};
use crate::s3::ObjectId;

/// Maximum number of bytes that are predicted to be read next.
const MOST: u64 = 8 << 20;
/// Reads longer than this many bytes are read ahead by their own reader.
const LONG: u64 = 16 << 20;
/// Bytes requested from the end of a columnar file, as its readers do.
const TAIL: u64 = UNIT;
/// Time limit of a fetch ahead; afterwards nobody waits for it.
const TIMEOUT: Duration = Duration::from_mins(1);

/// Reads ahead of clients that read an object by several requests.
pub(in crate::cache) struct AheadReads {
    observed: ReadAhead,
    opener: Arc<Opener>,
    fetcher: Arc<Fetcher>,
}

impl AheadReads {
    /// `is_enabled`: whether anything is read ahead.
    pub(in crate::cache) fn new(
        is_enabled: bool,
        opener: Arc<Opener>,
        fetcher: Arc<Fetcher>,
    ) -> Self {
        Self { observed: ReadAhead::new(is_enabled), opener, fetcher }
    }

    /// Whether more of an object may be fetched than is read.
    pub(in crate::cache) fn may_read_ahead(&self, found: &Found) -> bool {
        let is_stale = matches!(found.source, Source::Stale | Source::StaleWhileRevalidate);
        self.observed.is_enabled()
            && !is_stale
            && found.version.size() > self.fetcher.blocks.objects.block_size
    }

    /// Notes that a client reads a range of an object, and fetches the ranges that it is likely to read next.
    pub(in crate::cache) fn read_follows(self: &Arc<Self>, found: &Found, range: &Range<u64>) {
        let (size, length) = (found.version.size(), range.end - range.start);
        let is_piece = length > 0 && length < size && length <= LONG;
        if !is_piece || !self.may_read_ahead(found) {
            return;
        }
        for next in self.observed.next(&found.id, range, (size, MOST)) {
            self.fetch_ahead(found, next, Kind::Reads);
        }
        let tail = size.saturating_sub(MOST);
        if let Some(columnar) = Columnar::of(found.id.key().as_str())
            && range.end == size
            && range.start >= tail
            && let Some(permit) = self.observed.permit()
        {
            let (ahead, found, read) = (self.clone(), found.again(), range.start);
            tokio::spawn(async move {
                let metadata = timeout(TIMEOUT, ahead.metadata_of(columnar, &found)).await;
                drop(permit);
                if let Ok(Some(start)) = metadata
                    && start < read
                {
                    ahead.fetch_ahead(&found, start..read, Kind::Footer);
                }
            });
        }
    }

    /// Answers a HEAD of an unknown columnar file from a request for its end, which brings the metadata and is usually
    /// read next. `None`: it has to be requested by a HEAD.
    ///
    /// # Errors
    /// [`CacheError`]: the object is not there, or the origin fails.
    pub(in crate::cache) async fn head_with_tail(
        self: &Arc<Self>,
        id: &ObjectId,
        policy: &Policy,
    ) -> Result<Option<Found>, CacheError> {
        let is_columnar = Columnar::of(id.key().as_str()).is_some();
        if !self.observed.is_enabled() || !is_columnar || !self.observed.pays(Kind::Footer) {
            return Ok(None);
        }
        match self.opener.open_by(id, &Asked::Suffix(TAIL).into(), policy, Arrived::now()).await {
            Ok(found) => {
                let size = found.version.size();
                let tail = size.saturating_sub(TAIL)..size;
                self.observed.fetched(id, Kind::Footer, std::iter::once(tail));
                Ok(Some(found))
            }
            Err(error) if error.is_absence() => Err(error),
            // The origin failed despite retries, or is known to be down: no HEAD is sent.
            Err(CacheError::Origin(error)) if error.allows_stale() => {
                Err(CacheError::Origin(error))
            }
            Err(_) => Ok(None),
        }
    }

    /// Returns the offset at which the metadata at the end of a columnar file begins.
    async fn metadata_of(self: &Arc<Self>, columnar: Columnar, found: &Found) -> Option<u64> {
        let size = found.version.size();
        let mut reader = self.fetcher.reader(found.again(), size.saturating_sub(TRAILER)..size);
        let mut trailer = Vec::new();
        while let Ok(Some(piece)) = reader.next().await {
            trailer.extend_from_slice(&piece.bytes);
        }
        size.checked_sub(columnar.metadata(&trailer)?)
    }

    /// Fetches the missing bytes of a range that no client waits for, if there is memory for them.
    fn fetch_ahead(self: &Arc<Self>, found: &Found, range: Range<u64>, kind: Kind) {
        if !self.observed.pays(kind) {
            return;
        }
        let bytes = range.end - range.start + 2 * UNIT;
        let Some(permit) = self.observed.permit() else { return };
        if self.fetcher.budget.is_under_pressure()
            || self.fetcher.origin.of_object(&found.id).is_failing()
        {
            return;
        }
        let Some(paid) = self.fetcher.budget.try_read_ahead(bytes) else { return };
        let Found { id, version, generation, meta, fetching, .. } = found;
        let class = Class::ReadAhead;
        let unit = plan::rounding(range.end - range.start);
        let reading = Reading { id, version, generation: *generation, class, unit };
        let end = plan::fetch_end(range.end, version.size(), unit);
        let held = |key: &BlockKey| {
            let in_memory = self.fetcher.blocks.memory.find(key);
            let on_disk = self.fetcher.blocks.on_disk(key);
            in_memory.iter().flat_map(Block::spans).chain(on_disk).collect::<Vec<_>>()
        };
        let paid = Some((paid, bytes));
        let cuts = Cuts::every(self.fetcher.fetch_size);
        let (claims, fetches) =
            self.fetcher.flights.join(&reading, &(range.start..end), end, &held, cuts, paid);
        if fetches.is_empty() {
            return;
        }
        self.observed.fetched(id, kind, fetches.iter().map(|fetch| fetch.range.clone()));
        for fetch in fetches {
            let wanted = FetchTarget { id, version, meta, fetching: *fetching };
            origin_fetch::spawn(&self.fetcher, wanted, *generation, fetch);
        }
        tokio::spawn(async move {
            let _ = timeout(TIMEOUT, all_of(&claims)).await;
            drop((claims, permit));
        });
    }
}

/// Waits until all fills have arrived or failed.
async fn all_of(claims: &[Claim]) {
    for claim in claims {
        claim.arrived(claim.end() - 1).await;
    }
}
