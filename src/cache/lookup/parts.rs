//! From a part's number to its bytes (R18).
//!
//! Where a part lies is learned from the origin's own answer for it, once for each version: a GET of a part that
//! is not known yet brings its place and its bytes in one round trip, as an opening does for an object. From then
//! on it is a range like any other. What an answer for a part says is of the part: what identifies the object comes from
//! an answer for the whole, a HEAD beside the GET when nothing is known. (Memory keeps blocks from some byte to their end: of a part that ends within a
//! block, as those of an upload in odd sizes do, the last bytes are fetched again with the block's rest.)

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::open::{Arrived, CacheError, Found, Lookup, Source};
use crate::cache::Cache;
use crate::cache::metadata::store::LearnedBy;
use crate::cache::rules::policy::Policy;
use crate::origin::{Asked, OriginError};
use crate::s3::{ObjectId, PartNumber};

const STRIPES: usize = 1 << 12;
/// For so long parts of an object are passed through.
const REMEMBERED: Duration = Duration::from_mins(1);

/// Objects of which the origin lately answered with the whole for a part that cannot be that, or as if a part were an
/// object of its own. By the hash of the
/// id, so that it never grows: of two ids that share a place one is passed through for a while.
pub(in crate::cache) struct NoParts {
    /// Milliseconds since `started` at which it is over; 0: never seen.
    until: Box<[AtomicU64]>,
    started: Instant,
}

impl NoParts {
    pub(in crate::cache) fn new() -> Self {
        let until = (0..STRIPES).map(|_| AtomicU64::new(0)).collect();
        Self { until, started: Instant::now() }
    }

    /// Takes in why a part was not had.
    pub(in crate::cache) fn note(&self, id: &ObjectId, part: PartNumber, error: &OriginError) {
        // The first part may be all there is: of an empty object even S3 says 200.
        if matches!(error, OriginError::NotAPart) && part.get() > 1 {
            self.remember(id);
        }
    }

    /// For a while its parts are passed through.
    fn remember(&self, id: &ObjectId) {
        let until = (self.started.elapsed() + REMEMBERED).as_millis();
        let until = u64::try_from(until).unwrap_or(u64::MAX);
        self.place(id).store(until, Ordering::Relaxed);
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
        let arrived = Arrived::now();
        match self.open_part_once(id, part, policy, arrived).await {
            Err(CacheError::HeadRefused(_)) => {
                self.open_by(id, &Asked::Part(part).into(), policy, arrived.insisting()).await?;
                // What was refused a moment ago is there now.
                Err(CacheError::Changed)
            }
            found => found,
        }
    }

    async fn open_part_once(
        self: &Arc<Self>,
        id: &ObjectId,
        part: PartNumber,
        policy: &Policy,
        arrived: Arrived,
    ) -> Result<Found, CacheError> {
        if self.no_parts.seen_lately(id) {
            return Err(CacheError::Uncacheable);
        }
        // Of what is current, whatever was found: an answer that is pinned to a version does not say that it still
        // is, and would be taken for it after a write that came between (R5).
        let asked = Asked::Part(part).into();
        let opening = self.open_by(id, &asked, policy, arrived);
        let (answer, whole) = match self.look(id, policy, LearnedBy::Get).await {
            Lookup::Unknown => {
                let head = self.ask_head(id, None, policy, Source::Miss);
                let (answer, head) = tokio::join!(opening, head);
                (answer?, head?)
            }
            known => {
                let found = self.confirm(id, policy, known).await?;
                if found.meta.parts.get(part).is_some() {
                    return Ok(found);
                }
                (opening.await?, found)
            }
        };
        self.part_of(id, policy, answer, whole).await
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
        let known = self.look(id, policy, LearnedBy::Head).await;
        if let Lookup::Fresh(found) | Lookup::Stale(_, found) = &known
            && found.meta.parts.get(part).is_some()
        {
            return self.confirm(id, policy, known).await;
        }
        // Not one that was sent before: it may refuse this reader (R33).
        let now = policy.demanding();
        let answer = self.ask_head(id, Some(part), &now, Source::Revalidated);
        let (answer, whole) = tokio::join!(answer, self.confirm(id, policy, known));
        self.part_of(id, policy, answer?, whole?).await
    }

    /// The object with a part of it, by the answers for both. Another `ETag` in the part's answer is that of another
    /// object by now, or, as some servers have it, the part's own.
    async fn part_of(
        self: &Arc<Self>,
        id: &ObjectId,
        policy: &Policy,
        answer: Found,
        mut whole: Found,
    ) -> Result<Found, CacheError> {
        if !answer.meta.same_version(&whole.meta) {
            whole = self.ask_head(id, None, &policy.demanding(), Source::Revalidated).await?;
        }
        if !answer.meta.same_version(&whole.meta) {
            self.no_parts.remember(id);
            return Err(CacheError::Uncacheable);
        }
        self.learn_part(id, answer.generation, &answer.meta);
        let meta = Arc::make_mut(&mut whole.meta);
        meta.parts.add(&answer.meta.parts);
        Ok(Found { meta: whole.meta, ..answer })
    }
}
