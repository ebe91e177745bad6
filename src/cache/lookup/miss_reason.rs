//! The reason for which a read is not answered from the cache alone.

use std::ops::Range;
use std::sync::Arc;

use super::metadata::{Lookup, MetadataLookup};
use crate::cache::invalidate::departures::{Departing, Why};
use crate::cache::key::ObjectVersion;
use crate::cache::metadata::store::LearnedBy;
use crate::cache::rules::policy::Policy;
use crate::cache::tiers::blocks::BlockTiers;
use crate::metrics::cache::MissReason;
use crate::s3::ObjectId;

/// Maximum number of blocks of a range that are searched for a missing one.
const BLOCKS: usize = 1024;

/// Finds the reason for which a read has to ask the origin.
#[derive(Clone)]
pub(in crate::cache) struct MissReasons {
    lookup: MetadataLookup,
    blocks: Arc<BlockTiers>,
}

impl MissReasons {
    pub(in crate::cache) fn new(lookup: MetadataLookup, blocks: Arc<BlockTiers>) -> Self {
        Self { lookup, blocks }
    }

    /// Returns why a read of `id` has to ask the origin; `None` where its metadata, or its absence, is fresh.
    ///
    /// It changes nothing; a concurrent read may make the result out of date.
    pub(in crate::cache) fn of_object(&self, id: &ObjectId, policy: &Policy) -> Option<MissReason> {
        match self.lookup.in_memory(id, policy, LearnedBy::Get) {
            Lookup::Fresh(_) | Lookup::Absent(_) => None,
            Lookup::Uncacheable => Some(MissReason::Bypassed),
            Lookup::Stale(Some(entry), _) if entry.recalled => Some(MissReason::Restarted),
            Lookup::Stale(Some(_), _) if self.blocks.objects.generations.must_confirm(id) => {
                Some(MissReason::Invalidated)
            }
            Lookup::Stale(Some(_), _) if policy.demand => Some(MissReason::MustRevalidate),
            Lookup::Stale(Some(_), _) => Some(MissReason::Expired),
            Lookup::Stale(None, found) if policy.confirms_each_read(&found.meta) => {
                Some(MissReason::MustRevalidate)
            }
            Lookup::Stale(None, _) => Some(MissReason::Invalidated),
            Lookup::Unknown => Some(self.absence_reason(id)),
        }
    }

    /// Returns the reason for an object without a usable entry in memory.
    fn absence_reason(&self, id: &ObjectId) -> MissReason {
        if let Some(entry) = self.blocks.objects.meta.get(id) {
            let is_void = !self.blocks.objects.generations.bucket_is_current(id, entry.generation);
            return match is_void || entry.is_marked_stale() {
                true => MissReason::Invalidated,
                // A stale absence, or an object that was uncacheable too long ago.
                false => MissReason::Expired,
            };
        }
        match self.blocks.objects.departures.last(id.departing()).map(|departure| departure.why) {
            Some(Why::Evicted) => MissReason::Evicted,
            Some(Why::Invalidated(_)) => MissReason::Invalidated,
            None if self.blocks.objects.is_on_disk(id) => MissReason::Restarted,
            None => MissReason::New,
        }
    }

    /// Returns why a byte of a range of a fresh object has to be fetched, for the first block that is neither in memory
    /// nor on disk.
    pub(in crate::cache) fn of_range(
        &self,
        version: &ObjectVersion,
        range: &Range<u64>,
    ) -> MissReason {
        let mut at = range.start;
        for _ in 0..BLOCKS {
            if at >= range.end {
                break;
            }
            let key = version.block_at(at);
            let upto = range.end.min(key.end());
            if !self.blocks.holds(&key, &(at..upto)) {
                return match self.blocks.objects.departures.last(key.departing()) {
                    Some(_) => MissReason::Evicted,
                    None => MissReason::New,
                };
            }
            at = upto;
        }
        MissReason::New
    }
}
