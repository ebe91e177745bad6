//! Shared state of fetches: the origin, the tiers that receive the bytes, and what is remembered of earlier fetches.

use std::sync::Arc;

use tokio::time::Instant;

use super::budget::Budget;
use super::empties::EmptyFolders;
use super::flight::Flights;
use super::integrity::Integrity;
use super::locality::Locality;
use super::plan::{self, FirstRequest};
use crate::cache::invalidate::checksum_failures::ChecksumFailures;
use crate::cache::invalidate::invalidation::Invalidation;
use crate::cache::lookup::partless::PartlessObjects;
use crate::cache::metadata::admission::MetadataAdmission;
use crate::cache::tiers::blocks::BlockTiers;
use crate::origin::{Origins, Sizes};
use crate::s3::{ByteRange, FirstAsk, ObjectId, Preconditions};

/// Fetches bytes from the origin for readers. Its tasks are in [`super::origin_fetch`].
pub(in crate::cache) struct Fetcher {
    pub origin: Origins,
    pub blocks: Arc<BlockTiers>,
    pub budget: Budget,
    pub flights: Arc<Flights>,
    pub integrity: Arc<Integrity>,
    pub locality: Locality,
    pub empties: EmptyFolders,
    pub partless: Arc<PartlessObjects>,
    pub invalidation: Arc<Invalidation>,
    pub admission: Arc<MetadataAdmission>,
    pub checksum_failures: ChecksumFailures,
    /// Maximum bytes of one request to the origin; at the end of a run of missing blocks, up to twice as many.
    pub fetch_size: u64,
    /// Maximum bytes that one reader reads ahead.
    pub read_ahead: u64,
}

impl Fetcher {
    /// Returns the first request of a cold GET, and records a small one in [`Locality`].
    pub(in crate::cache) fn first_request(
        &self,
        id: &ObjectId,
        range: Option<ByteRange>,
        checksums: bool,
        preconditions: Option<&Preconditions>,
    ) -> FirstRequest {
        let likely_empty = || plan::is_mostly_empty(id.key()) || self.empties.contain(id);
        let whole = range.is_none() && (checksums || likely_empty());
        let block_size = self.blocks.objects.block_size;
        let most = match whole {
            true => self.fetch_size,
            false => self.origin.width_of(id).first_size(self.range_sizes()),
        };
        let asked = plan::first_request(range, whole, block_size, most);
        if let Some(range) = asked.range().filter(|r| r.end - r.start < block_size) {
            self.locality.fetch_end(id, range, range.end);
        }
        let if_match = match preconditions.map(Preconditions::first_ask) {
            Some(FirstAsk::GetIfMatch(tag)) => Some(tag),
            None | Some(FirstAsk::Get | FirstAsk::Head) => None,
        };
        FirstRequest { asked, if_match }
    }

    /// Returns the limits on the size of a range.
    pub(in crate::cache) fn range_sizes(&self) -> Sizes {
        Sizes { least: self.blocks.objects.block_size, most: self.fetch_size }
    }

    /// Reports the response time of the origin, for a request made at `started`, to the disk tier, which compares its
    /// own latency with it (R37).
    pub(in crate::cache) fn answered(&self, started: Instant) {
        if let Some(disk) = &self.blocks.objects.disk {
            disk.origin_answered(started.elapsed());
        }
    }
}
