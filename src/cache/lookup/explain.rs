//! The state of one object in the cache, for an operator: its rule, freshness, blocks and last invalidation, and what
//! the next read will do. It changes nothing, and does not count as a read.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::metadata::{Lookup, MetadataLookup};
use super::miss_reason::MissReasons;
use super::shared_head::SharedHead;
use crate::cache::fetch::flight::Flights;
use crate::cache::invalidate::departures::{Departing as _, Why};
use crate::cache::key::ObjectVersion;
use crate::cache::metadata::store::{Entry, Known, LearnedBy};
use crate::cache::rules::matching::{MatchedRule, Rules};
use crate::cache::rules::policy::{Policy, UNCACHEABLE};
use crate::cache::tiers::blocks::BlockTiers;
use crate::metrics::cache::MissReason;
use crate::s3::{ObjectId, ObjectMeta};

/// Maximum number of blocks of an object that are looked up on disk.
const DISK_BLOCKS: u64 = 1 << 16;
/// Maximum number of ranges listed for each place.
const RANGES: usize = 100;

/// The cached state of an object, and the outcome of its next read.
#[derive(Debug, Clone, Serialize)]
pub struct Explanation {
    /// `s3://bucket/key`.
    pub object: String,
    pub rule: MatchedRule,
    /// `fresh`, `stale`, `absent`, `uncacheable`, `unknown` or `bypassed`.
    pub state: &'static str,
    pub version: Option<VersionState>,
    pub freshness: Option<FreshnessState>,
    pub blocks: Option<BlockState>,
    /// Whether a request for its metadata or its first bytes is under way.
    pub asked_for: bool,
    pub last_invalidation: Option<Invalidation>,
    /// The outcome of a read without conditions, in words.
    pub next_read: String,
    /// The reason for a miss; `null`: a hit.
    pub miss: Option<&'static str>,
}

/// The version that is cached.
#[derive(Debug, Clone, Serialize)]
pub struct VersionState {
    /// In bytes.
    pub size: u64,
    pub etag: String,
    pub version_id: Option<String>,
}

/// Freshness of the metadata.
#[derive(Debug, Clone, Serialize)]
pub struct FreshnessState {
    /// Seconds since the request to the origin that confirmed it.
    pub age_seconds: u64,
    /// Seconds for which it stays fresh; `null`: until an invalidation, or it is not fresh.
    pub fresh_for_seconds: Option<u64>,
    /// End of that time, as an HTTP date.
    pub fresh_until: Option<String>,
    /// The reason, in words.
    pub because: String,
    /// The source that last confirmed the metadata.
    pub confirmed_by: &'static str,
}

/// The locations of the version's bytes, as inclusive ranges of offsets.
#[derive(Debug, Clone, Serialize)]
pub struct BlockState {
    /// In bytes.
    pub block_size: u64,
    pub memory: Place,
    pub disks: Vec<DiskPlace>,
    pub in_flight: Place,
    /// Number of blocks looked up on disk, if the object has more.
    pub disk_blocks_examined: Option<u64>,
}

/// Bytes in one place.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Place {
    pub bytes: u64,
    /// Ranges as `first-last`, at most a hundred.
    pub ranges: Vec<String>,
    #[serde(skip)]
    spans: Vec<Range<u64>>,
}

/// Bytes on one disk.
#[derive(Debug, Clone, Serialize)]
pub struct DiskPlace {
    pub path: String,
    #[serde(flatten)]
    pub place: Place,
}

/// A remembered invalidation.
#[derive(Debug, Clone, Serialize)]
pub struct Invalidation {
    pub cause: &'static str,
    pub seconds_ago: u64,
    /// `object` or `bucket`.
    pub scope: &'static str,
}

impl Place {
    fn of(mut spans: Vec<Range<u64>>) -> Self {
        spans.retain(|span| !span.is_empty());
        spans.sort_unstable_by_key(|span| span.start);
        let mut joined: Vec<Range<u64>> = Vec::new();
        for span in spans {
            match joined.last_mut() {
                Some(last) if span.start <= last.end => last.end = last.end.max(span.end),
                _ => joined.push(span),
            }
        }
        let shown = joined.iter().take(RANGES);
        Self {
            bytes: joined.iter().map(|span| span.end - span.start).sum(),
            ranges: shown.map(|span| format!("{}-{}", span.start, span.end - 1)).collect(),
            spans: joined,
        }
    }
}

impl BlockState {
    /// Returns the bytes of a range that are neither in memory nor on disk.
    fn missing(&self, range: &Range<u64>) -> u64 {
        let disks = self.disks.iter().flat_map(|disk| &disk.place.spans);
        let held = self.memory.spans.iter().chain(disks).cloned().collect();
        let clipped =
            |span: &Range<u64>| span.end.min(range.end).saturating_sub(span.start.max(range.start));
        let held: u64 = Place::of(held).spans.iter().map(clipped).sum();
        (range.end - range.start).saturating_sub(held)
    }
}

/// Explains the cached state of objects.
pub(in crate::cache) struct Explainer {
    lookup: MetadataLookup,
    misses: MissReasons,
    blocks: Arc<BlockTiers>,
    head: Arc<SharedHead>,
    flights: Arc<Flights>,
}

impl Explainer {
    pub(in crate::cache) fn new(
        lookup: MetadataLookup,
        misses: MissReasons,
        blocks: Arc<BlockTiers>,
        head: Arc<SharedHead>,
        flights: Arc<Flights>,
    ) -> Self {
        Self { lookup, misses, blocks, head, flights }
    }

    /// Explains the cached state of an object. `range`: the bytes of the read in question. It scans every block in
    /// memory, so call it on a thread that may block.
    pub(in crate::cache) fn explain(
        &self,
        id: &ObjectId,
        rules: &Rules,
        no_cache: bool,
        range: impl Fn(&ObjectMeta) -> Range<u64>,
    ) -> Explanation {
        let mut told = Explanation {
            object: format!("s3://{}/{}", id.bucket(), id.key()),
            rule: rules.matched(id.bucket(), id.key()),
            state: "bypassed",
            version: None,
            freshness: None,
            blocks: None,
            asked_for: self.is_asked_for(id),
            last_invalidation: self.last_invalidation(id),
            next_read: "streams through: its rule is `bypass`".to_owned(),
            miss: Some(MissReason::Bypassed.label()),
        };
        let Some(policy) = rules.policy(id, no_cache) else { return told };
        told.miss = self.misses.of_object(id, &policy).map(MissReason::label);
        match self.lookup.in_memory(id, &policy, LearnedBy::Get) {
            Lookup::Fresh(found) => {
                self.describe(&mut told, id, &policy, &found.version, &found.meta);
                told.state = "fresh";
                let wanted = range(&found.meta);
                let missing = told.blocks.as_ref().map_or(0, |blocks| blocks.missing(&wanted));
                told.next_read = match missing {
                    0 => "a hit: answered without asking the origin".to_owned(),
                    bytes => {
                        let reason = self.misses.of_range(&found.version, &wanted);
                        told.miss = Some(reason.label());
                        format!(
                            "its metadata is fresh; {bytes} of {} bytes are fetched from the origin",
                            wanted.end - wanted.start
                        )
                    }
                };
            }
            Lookup::Stale(_, found) => {
                self.describe(&mut told, id, &policy, &found.version, &found.meta);
                told.state = "stale";
                told.next_read = self.next_stale_read(id, &policy);
            }
            Lookup::Absent(_) => {
                told.state = "absent";
                told.freshness = self
                    .blocks
                    .objects
                    .meta
                    .get(id)
                    .map(|entry| self.freshness(id, &policy, &entry));
                "a 404 from the cache: its absence is remembered".clone_into(&mut told.next_read);
            }
            Lookup::Uncacheable => {
                told.state = "uncacheable";
                told.next_read = format!(
                    "streams through: the origin's answer may not be stored; judged anew within {} s",
                    UNCACHEABLE.as_secs()
                );
            }
            Lookup::Unknown => {
                told.state = "unknown";
                told.next_read = match self.blocks.objects.is_on_disk(id) {
                    true => "its metadata is read from disk and confirmed by one HEAD".to_owned(),
                    false => "a miss: one request to the origin brings metadata and first bytes"
                        .to_owned(),
                };
            }
        }
        told
    }

    fn describe(
        &self,
        told: &mut Explanation,
        id: &ObjectId,
        policy: &Policy,
        version: &ObjectVersion,
        meta: &ObjectMeta,
    ) {
        let version_id =
            version.version_id().map(|id| String::from_utf8_lossy(id.as_bytes()).into());
        let etag = String::from_utf8_lossy(meta.etag.as_bytes()).into_owned();
        told.version = Some(VersionState { size: meta.size, etag, version_id });
        told.freshness =
            self.blocks.objects.meta.get(id).map(|entry| self.freshness(id, policy, &entry));
        told.blocks = Some(self.places(version));
    }

    fn places(&self, version: &ObjectVersion) -> BlockState {
        let in_memory = self.blocks.memory.iter().filter(|(key, _)| key.version() == version);
        let memory =
            Place::of(in_memory.flat_map(|(_, block)| block.spans().collect::<Vec<_>>()).collect());
        let blocks = version.size().div_ceil(version.block_size());
        let mut disks: Vec<(String, Vec<Range<u64>>)> = Vec::new();
        if let Some(disk) = &self.blocks.objects.disk {
            for index in 0..blocks.min(DISK_BLOCKS) {
                let Some((path, span)) = disk.lies_on(&version.block(index)) else { continue };
                match disks.iter_mut().find(|(known, _)| known == path) {
                    Some((_, spans)) => spans.push(span),
                    None => disks.push((path.to_owned(), vec![span])),
                }
            }
        }
        let disks = disks.into_iter();
        BlockState {
            block_size: version.block_size(),
            memory,
            disks: disks.map(|(path, spans)| DiskPlace { path, place: Place::of(spans) }).collect(),
            in_flight: Place::of(self.flights.spans_of(version)),
            disk_blocks_examined: (self.blocks.objects.disk.is_some() && blocks > DISK_BLOCKS)
                .then_some(DISK_BLOCKS),
        }
    }

    fn freshness(&self, id: &ObjectId, policy: &Policy, entry: &Entry) -> FreshnessState {
        let age = entry.since.age();
        let (fresh_for, because) = self.fresh_for(id, policy, entry, age);
        let until = fresh_for.and_then(|left| SystemTime::now().checked_add(left));
        FreshnessState {
            age_seconds: age.as_secs(),
            fresh_for_seconds: fresh_for.map(|left| left.as_secs()),
            fresh_until: until.map(httpdate::fmt_http_date),
            because,
            confirmed_by: match (entry.recalled, policy.trusted.is_some()) {
                (true, _) => "the disk, since before it was read back",
                (false, true) => "the origin, and events since",
                (false, false) => "the origin",
            },
        }
    }

    /// Returns the remaining freshness lifetime of an entry, and the reason in words.
    fn fresh_for(
        &self,
        id: &ObjectId,
        policy: &Policy,
        entry: &Entry,
        age: Duration,
    ) -> (Option<Duration>, String) {
        let not = |why: &str| (None, why.to_owned());
        if entry.is_marked_stale() {
            return not("not fresh: marked stale, confirmed before it is served again");
        }
        if self.blocks.objects.generations.must_confirm(id) {
            return not(
                "not fresh: a write is under way, its outcome is unknown, or a replica is not heard of",
            );
        }
        if let Known::Missing { .. } = entry.known {
            let left = policy.negative.checked_sub(age);
            return (
                left,
                format!("`negative` of its rule is {} s", policy.negative.as_secs_f64()),
            );
        }
        if policy.demand {
            return not(
                "not fresh: its rule, its key or the request demands that each read is confirmed",
            );
        }
        if entry.recalled && policy.ttl.is_some() {
            return not("not fresh: from disk, where events may have been missed");
        }
        if entry.meta().is_some_and(|meta| policy.confirms_each_read(meta)) {
            return not("not fresh: its own Cache-Control demands that each read is confirmed");
        }
        let Some(ttl) = policy.ttl else {
            return not("its rule is `immutable`: until it is invalidated");
        };
        if let Some(trusted) = policy.trusted {
            let backstop = trusted.backstop;
            let since = trusted.since.age();
            if age < backstop.min(since) {
                let why = format!(
                    "events are proven to come for {} s: `backstop` of its rule is {} s",
                    since.as_secs(),
                    backstop.as_secs()
                );
                return (backstop.checked_sub(age), why);
            }
        }
        match ttl.checked_sub(age) {
            Some(left) => (Some(left), format!("`ttl` of its rule is {} s", ttl.as_secs_f64())),
            None => not("not fresh: older than `ttl` of its rule"),
        }
    }

    fn next_stale_read(&self, id: &ObjectId, policy: &Policy) -> String {
        let entry = self.blocks.objects.meta.get(id);
        let (meanwhile, stale) = entry.map_or((false, false), |entry| {
            let may = !entry.is_marked_stale() && !policy.demand;
            (
                may && policy.allows_stale_while_revalidate(&entry),
                may && policy.allows_stale(&entry),
            )
        });
        let first = match meanwhile {
            true => "answered from the cache while one HEAD confirms it (stale_while_revalidate)",
            false => "one HEAD confirms it first; the same version keeps its blocks",
        };
        match stale {
            true => format!("{first}; served stale if the origin fails (max_stale)"),
            false => first.to_owned(),
        }
    }

    fn last_invalidation(&self, id: &ObjectId) -> Option<Invalidation> {
        let told = |hash: u64, scope: &'static str| {
            let departure = self.blocks.objects.departures.last(hash)?;
            let Why::Invalidated(cause) = departure.why else { return None };
            let seconds_ago = departure.age.as_secs();
            Some(Invalidation { cause: cause.label(), seconds_ago, scope })
        };
        let of_object = told(id.departing(), "object");
        let of_bucket = told(id.bucket_hash64(), "bucket");
        of_object.into_iter().chain(of_bucket).min_by_key(|told| told.seconds_ago)
    }

    fn is_asked_for(&self, id: &ObjectId) -> bool {
        self.head.waited_for(id).is_some() || self.flights.is_opening(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_touch_are_one() {
        let place = Place::of(vec![5..10, 0..5, 20..30, 25..27, 9..9]);
        assert_eq!((place.bytes, place.ranges), (20, vec!["0-9".to_owned(), "20-29".to_owned()]));
    }
}
