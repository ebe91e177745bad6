//! Fetches in flight, so that each byte is fetched once.
//!
//! A *fill* is the part of one block that one fetch will bring; readers *claim* fills and stream along as bytes arrive.
//! A *cold fetch* is the first request for an object without cached metadata; it brings the metadata along, and its
//! bytes become fills once the version is known. Both are keyed by generation: a reader that arrived after an
//! invalidation never joins what began before it (R5). A failed fill leaves the table at once, so that its waiters get
//! the failure and the next reader tries afresh.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use super::budget::Paid;
use super::fill::{Claim, Fill, Interest, WaiterGuard};
use super::plan::{self, Cuts, FirstRequest};
use crate::cache::invalidate::generation::Generation;
use crate::cache::key::{BlockKey, ObjectVersion};
use crate::cache::memory::block::Block;
use crate::cache::metadata::clock::Moment;
use crate::metrics::{self, GaugeGuard};
use crate::origin::{Asked, Class, OriginError, Pin};
use crate::s3::{ObjectId, ObjectMeta};

const SHARDS: usize = 64;

/// Description of the object by the answer to a cold fetch.
#[derive(Clone)]
pub(in crate::cache) struct Opened {
    pub meta: Arc<ObjectMeta>,
    pub version: ObjectVersion,
    /// A moment before the request was sent.
    pub since: Moment,
    /// The fills of the response, if a part was requested.
    pub fills: Vec<Arc<Fill>>,
}

/// Result of a cold fetch, as its waiters receive it.
pub(in crate::cache) type ColdFetchAnswer = Result<Opened, Arc<OriginError>>;

/// The first request for an object without cached metadata.
pub(in crate::cache) struct ColdFetch {
    first: FirstRequest,
    interest: Arc<Interest>,
    answer: watch::Sender<Option<ColdFetchAnswer>>,
    /// A moment before the request is sent.
    sent: Instant,
    /// A reader demanded the current state after the request was sent: its bytes may be of an older one.
    marked_stale: AtomicBool,
}

impl ColdFetch {
    pub(in crate::cache) fn asked(&self) -> &Asked {
        &self.first.asked
    }

    pub(in crate::cache) fn pin(&self) -> Pin {
        self.first.pin()
    }

    pub(in crate::cache) fn interest(&self) -> &Arc<Interest> {
        &self.interest
    }

    /// Returns the bytes that it will bring if its response is of this version; empty if it is marked stale.
    fn span(&self, version: &ObjectVersion) -> Range<u64> {
        if self.marked_stale.load(Ordering::Acquire) {
            return 0..0;
        }
        self.asked().span(version.size()).unwrap_or_default()
    }

    fn overlaps(&self, asked: &Asked) -> bool {
        match (self.asked(), asked) {
            (Asked::Whole(n), Asked::Range(r)) | (Asked::Range(r), Asked::Whole(n)) => r.start < *n,
            (Asked::Range(a), Asked::Range(b)) => a.start < b.end && b.start < a.end,
            // A reader of one part must not wait for the bytes of another, whatever their offsets.
            (Asked::Part(a), Asked::Part(b)) => a == b,
            (Asked::Part(_), _) | (_, Asked::Part(_)) => false,
            // The offset of a suffix is unknown until the size is known.
            (Asked::Suffix(_), _) | (_, Asked::Suffix(_)) | (Asked::Whole(_), Asked::Whole(_)) => {
                true
            }
        }
    }
}

/// A reader's hold on a cold fetch; keeps its bytes wanted until the reader has claimed fills.
pub(in crate::cache) struct ColdFetchHandle {
    answer: watch::Receiver<Option<ColdFetchAnswer>>,
    sent: Instant,
    /// Whether it was sent with a condition of the reader that began it.
    conditional: bool,
    _wanted: WaiterGuard,
    coalesced: Option<GaugeGuard>,
}

impl ColdFetchHandle {
    fn new(opening: &ColdFetch, coalesced: Option<GaugeGuard>) -> Self {
        let (answer, sent) = (opening.answer.subscribe(), opening.sent);
        let conditional = opening.first.if_match.is_some();
        Self { answer, sent, conditional, _wanted: WaiterGuard::new(&opening.interest), coalesced }
    }

    /// Whether a failure may be due to the condition of another reader.
    pub(in crate::cache) fn is_by_condition_of_another(&self, error: &OriginError) -> bool {
        let may_be = matches!(error, OriginError::PreconditionFailed) || error.is_refusal();
        self.conditional && self.coalesced.is_some() && may_be
    }

    /// Returns a moment before the request was sent.
    pub(in crate::cache) fn sent(&self) -> Instant {
        self.sent
    }

    /// Waits for the origin's answer.
    ///
    /// # Errors
    /// The failure of the request.
    pub(in crate::cache) async fn answer(&mut self) -> ColdFetchAnswer {
        match self.answer.wait_for(Option::is_some).await {
            Ok(answer) => answer.clone().expect("waited until it was there"),
            Err(_) => Err(Arc::new(OriginError::GivenUp)),
        }
    }
}

/// A planned fetch; its holder must run it.
pub(in crate::cache) struct NewFetch {
    pub range: Range<u64>,
    pub fills: Vec<(BlockKey, Arc<Fill>)>,
    pub interest: Arc<Interest>,
}

/// The version that a reader reads, and parameters of its fetches.
#[derive(Clone, Copy)]
pub(in crate::cache) struct Reading<'a> {
    /// The object as requested: by name, or by a version id.
    pub id: &'a ObjectId,
    pub version: &'a ObjectVersion,
    pub generation: Generation,
    pub class: Class,
    /// Bytes to which both ends of its fetches are rounded.
    pub unit: u64,
}

type Key<T> = (T, Generation);

#[derive(Default)]
struct Table {
    openings: HashMap<Key<ObjectId>, Vec<Arc<ColdFetch>>>,
    fills: HashMap<Key<BlockKey>, Vec<Arc<Fill>>>,
}

/// All fetches in flight.
pub(in crate::cache) struct Flights {
    shards: Box<[Mutex<Table>]>,
}

impl Flights {
    pub(in crate::cache) fn new() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect() }
    }

    fn shard(&self, id: &ObjectId) -> &Mutex<Table> {
        &self.shards[usize::try_from(id.hash64() % SHARDS as u64).expect("below SHARDS")]
    }

    /// Joins a cold fetch that overlaps the request, or begins one (then it is returned, to be run). `None`: by
    /// `known`, the metadata was cached meanwhile.
    pub(in crate::cache) fn open(
        &self,
        id: &ObjectId,
        generation: Generation,
        first: &FirstRequest,
        class: Class,
        known: impl FnOnce() -> bool,
    ) -> Option<(ColdFetchHandle, Option<Arc<ColdFetch>>)> {
        let mut table = self.shard(id).lock();
        let openings = table.openings.entry((id.clone(), generation)).or_default();
        if let Some(opening) = openings.iter().find(|o| o.overlaps(&first.asked)) {
            opening.interest.urgency().raise(class);
            return Some((ColdFetchHandle::new(opening, Some(metrics::coalesced())), None));
        }
        if known() {
            if openings.is_empty() {
                table.openings.remove(&(id.clone(), generation));
            }
            return None;
        }
        let opening = Arc::new(ColdFetch {
            first: first.clone(),
            interest: Interest::new(class),
            answer: watch::Sender::new(None),
            sent: Instant::now(),
            marked_stale: AtomicBool::new(false),
        });
        openings.push(opening.clone());
        Some((ColdFetchHandle::new(&opening, None), Some(opening)))
    }

    /// Joins the cold fetch that will bring the byte at `offset` of a version whose metadata was cached meanwhile.
    pub(in crate::cache) fn opening_at(
        &self,
        read: &Reading<'_>,
        offset: u64,
    ) -> Option<ColdFetchHandle> {
        let table = self.shard(read.id).lock();
        let openings = table.openings.get(&(read.id.clone(), read.generation))?;
        let opening = openings.iter().find(|o| o.span(read.version).contains(&offset))?;
        opening.interest.urgency().raise(read.class);
        Some(ColdFetchHandle::new(opening, Some(metrics::coalesced())))
    }

    /// Returns the spans of a version that are being fetched, as offsets in the object.
    pub(in crate::cache) fn spans_of(&self, version: &ObjectVersion) -> Vec<Range<u64>> {
        let table = self.shard(version.id()).lock();
        let fills = table.fills.iter().filter(|((key, _), _)| key.version() == version);
        fills.flat_map(|(_, fills)| fills.iter().map(|fill| fill.span.clone())).collect()
    }

    /// Whether the first request for an object is under way.
    pub(in crate::cache) fn is_opening(&self, id: &ObjectId) -> bool {
        self.shard(id).lock().openings.keys().any(|(opening, _)| opening == id)
    }

    /// Marks the cold fetches under way stale: no reader of a known version waits for them.
    pub(in crate::cache) fn mark_openings_stale(&self, id: &ObjectId, generation: Generation) {
        let table = self.shard(id).lock();
        let openings = table.openings.get(&(id.clone(), generation));
        for opening in openings.into_iter().flatten() {
            opening.marked_stale.store(true, Ordering::Release);
        }
    }

    /// Ends a cold fetch: removes it from the table, and gives its waiters the result.
    pub(in crate::cache) fn opened(
        &self,
        id: &ObjectId,
        generation: Generation,
        opening: &Arc<ColdFetch>,
        answer: ColdFetchAnswer,
    ) {
        let key = (id.clone(), generation);
        let mut table = self.shard(id).lock();
        if let Some(openings) = table.openings.get_mut(&key) {
            openings.retain(|o| !Arc::ptr_eq(o, opening));
            if openings.is_empty() {
                table.openings.remove(&key);
            }
        }
        drop(table);
        opening.answer.send_replace(Some(answer));
    }

    /// Ends a cold fetch without waiters; `false`: it has some after all.
    pub(in crate::cache) fn abandon(
        &self,
        id: &ObjectId,
        generation: Generation,
        opening: &Arc<ColdFetch>,
    ) -> bool {
        let key = (id.clone(), generation);
        let mut table = self.shard(id).lock();
        if !opening.interest.is_lost() {
            return false;
        }
        if let Some(openings) = table.openings.get_mut(&key) {
            openings.retain(|o| !Arc::ptr_eq(o, opening));
            if openings.is_empty() {
                table.openings.remove(&key);
            }
        }
        true
    }

    /// Registers fills for the bytes that a cold fetch will bring.
    pub(in crate::cache) fn adopt(
        &self,
        version: &ObjectVersion,
        generation: Generation,
        range: Range<u64>,
        interest: &Arc<Interest>,
        paid: Option<Paid>,
    ) -> NewFetch {
        let mut table = self.shard(version.id()).lock();
        let mut paid = BudgetSplit(paid);
        let fills = blocks(version, &range)
            .map(|(key, span)| table.register(key, generation, span, interest, &mut paid))
            .collect();
        NewFetch { range, fills, interest: interest.clone() }
    }

    /// Claims every fill in flight for `wanted`, and plans fetches for what is neither in flight nor `held`, as far as
    /// `paid` (for `limit` bytes) goes. Missing bytes behind the last wanted one are fetched with it, up to `fetch_end`
    /// (in the last wanted block) or the next byte that is held. Bytes that a cold fetch will bring are neither claimed
    /// nor fetched: a reader that needs them now waits for [`Flights::opening_at`].
    pub(in crate::cache) fn join(
        &self,
        read: &Reading<'_>,
        wanted: &Range<u64>,
        fetch_end: u64,
        held: &dyn Fn(&BlockKey) -> Vec<Range<u64>>,
        cuts: Cuts,
        paid: Option<(Paid, u64)>,
    ) -> (Vec<Claim>, Vec<NewFetch>) {
        let Reading { id, version, generation, class, unit } = *read;
        let mut table = self.shard(id).lock();
        let openings = table.openings.get(&(id.clone(), generation));
        let coming: Vec<_> = openings.into_iter().flatten().map(|o| o.span(version)).collect();
        let mut claims = Vec::new();
        let mut gaps = Vec::new();
        let (paid, mut left) = paid.map_or((None, 0), |(paid, limit)| (Some(paid), limit));
        let is_wanted = |part: &Range<u64>| part.start < wanted.end && wanted.start < part.end;
        for (key, mut span) in blocks(version, &(wanted.start..fetch_end)) {
            let in_flight = table.fills.get(&(key.clone(), generation));
            let in_flight = in_flight.map_or(&[][..], Vec::as_slice);
            let ours = in_flight.iter().filter(|fill| is_wanted(&fill.span));
            claims.extend(ours.map(|fill| Claim::new(fill, Some(metrics::coalesced()))));
            for claim in &claims {
                claim.raise(class);
            }
            let mut have: Vec<_> = in_flight.iter().map(|f| f.span.clone()).collect();
            have.extend(held(&key));
            have.extend_from_slice(&coming);
            span.start = plan::fetch_start(span.start, key.start(), unit);
            for mut gap in plan::missing(span, &mut have).into_iter().filter(is_wanted) {
                gap.end = gap.end.min(gap.start + left);
                left -= gap.end - gap.start;
                if gap.start < gap.end {
                    gaps.push(gap);
                }
            }
        }
        let mut split = BudgetSplit(paid);
        let fetches: Vec<_> = plan::origin_ranges(gaps, cuts)
            .into_iter()
            .map(|range| table.plan(read, range, &mut split))
            .collect();
        claims.extend(
            fetches.iter().flat_map(|f| f.fills.iter().map(|(_, fill)| Claim::new(fill, None))),
        );
        (claims, fetches)
    }

    /// Completes a fill: passes its bytes to `admit`, and removes it from the table.
    pub(in crate::cache) fn completed(
        &self,
        key: &BlockKey,
        fill: &Arc<Fill>,
        generation: Generation,
        admit: impl FnOnce(Block),
    ) {
        let mut table = self.shard(key.id()).lock();
        // Admitted before it is removed, under one lock, so that it is always in memory or in flight.
        if let Some(block) = fill.complete() {
            admit(block);
        }
        table.remove(key, fill, generation);
    }

    /// Removes failed fills from the table and gives their waiters the error.
    pub(in crate::cache) fn failed(
        &self,
        fills: &[(BlockKey, Arc<Fill>)],
        generation: Generation,
        error: &Arc<OriginError>,
    ) {
        let Some((first, _)) = fills.first() else { return };
        let mut table = self.shard(first.id()).lock();
        for (key, fill) in fills {
            table.remove(key, fill, generation);
        }
        drop(table);
        for (_, fill) in fills {
            fill.fail(error);
        }
    }

    /// Removes fills without waiters from the table; `false`: they have some after all.
    pub(in crate::cache) fn withdraw(
        &self,
        fills: &[(BlockKey, Arc<Fill>)],
        generation: Generation,
        interest: &Interest,
    ) -> bool {
        let Some((first, _)) = fills.first() else { return true };
        let mut table = self.shard(first.id()).lock();
        let unwanted = interest.is_lost();
        if unwanted {
            for (key, fill) in fills {
                table.remove(key, fill, generation);
            }
        }
        unwanted
    }
}

impl Table {
    fn plan(&mut self, read: &Reading<'_>, range: Range<u64>, paid: &mut BudgetSplit) -> NewFetch {
        let Reading { version, generation, class, .. } = *read;
        let interest = Interest::new(class);
        let fills = blocks(version, &range)
            .map(|(key, span)| self.register(key, generation, span, &interest, paid))
            .collect();
        NewFetch { range, fills, interest }
    }

    fn register(
        &mut self,
        key: BlockKey,
        generation: Generation,
        span: Range<u64>,
        interest: &Arc<Interest>,
        paid: &mut BudgetSplit,
    ) -> (BlockKey, Arc<Fill>) {
        let paid = paid.take(span.end - span.start);
        let fill = Arc::new(Fill::new(span, interest.clone(), paid));
        self.fills.entry((key.clone(), generation)).or_default().push(fill.clone());
        (key, fill)
    }

    fn remove(&mut self, key: &BlockKey, fill: &Arc<Fill>, generation: Generation) {
        let entry = (key.clone(), generation);
        let Some(fills) = self.fills.get_mut(&entry) else { return };
        fills.retain(|f| !Arc::ptr_eq(f, fill));
        if fills.is_empty() {
            self.fills.remove(&entry);
        }
    }
}

/// Memory acquired in one piece and split among fills.
struct BudgetSplit(Option<Paid>);

impl BudgetSplit {
    fn take(&mut self, bytes: u64) -> Option<Paid> {
        let split = self.0.as_mut()?;
        let units = super::budget::units(bytes) as usize;
        split.split(units.min(split.num_permits()))
    }
}

/// Returns the blocks that `range` touches, each with the part of it that lies in `range`.
fn blocks<'a>(
    version: &'a ObjectVersion,
    range: &Range<u64>,
) -> impl Iterator<Item = (BlockKey, Range<u64>)> + use<'a> {
    let Range { start, end } = *range;
    let size = version.block_size();
    (start / size..end.div_ceil(size)).map(move |index| {
        let key = version.block(index);
        let span = start.max(key.start())..end.min(key.end());
        (key, span)
    })
}
