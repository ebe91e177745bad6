//! Recent small misses, by object: a second miss near a first one predicts more reads nearby.
//!
//! A read of less than a block fetches the units that it touches. When it misses exactly where the fetch of an earlier
//! read ended, its reader reads on, and the rest of the block is fetched: that costs a sequential reader one request more
//! than whole blocks would. When it begins in the next unit, four times the bytes are fetched; when it begins near one,
//! twice as much as last time. Reads at random offsets of large objects are rarely near each other: they cost what they
//! touch.

use std::ops::Range;

use parking_lot::Mutex;

use super::plan::{self, UNIT};
use crate::s3::ObjectId;

/// Maximum number of objects that are remembered: 320 KiB.
const OBJECTS: usize = 1024;
/// Fetches remembered per object, and so the number of concurrent sequential readers.
const FETCHES: usize = 8;
/// Maximum bytes between a fetch and a read that is near it.
const NEAR: u64 = 8 * UNIT;
/// Growth of a fetch that begins in the unit behind an earlier one,
const ONWARD: u64 = 4;
/// and of one that begins near it.
const NEARBY: u64 = 2;

/// Recent small fetches of recently read objects. Bounded: an object takes the place of another with the same hash.
pub(in crate::cache) struct Locality(Box<[Mutex<Recent>]>);

#[derive(Default)]
struct Recent {
    /// [`ObjectId::hash64`].
    object: u64,
    fetches: [Fetch; FETCHES],
    /// Index of the oldest fetch.
    oldest: usize,
}

/// An earlier fetch, by offsets in the object; all zero: none.
#[derive(Debug, Clone, Copy, Default)]
struct Fetch {
    start: u64,
    end: u64,
    /// Minimum bytes that it fetched, whatever was read.
    width: u64,
}

impl Fetch {
    /// Returns the width to which a fetch from `start` grows, for a read that misses at `wanted`. `None`: it is not
    /// near this one.
    fn grown(&self, start: u64, wanted: u64) -> Option<u64> {
        let is_near = start <= self.end + NEAR && self.start <= start + NEAR;
        match self.width {
            0 => None,
            // These bytes were fetched before and evicted since, which predicts no other reads.
            width if (self.start..self.end).contains(&start) => Some(width),
            _ if wanted == self.end => Some(u64::MAX),
            _ if start == self.end => Some((self.end - self.start) * ONWARD),
            width => is_near.then_some(width * NEARBY),
        }
    }
}

impl Locality {
    pub(in crate::cache) fn new() -> Self {
        Self((0..OBJECTS).map(|_| Mutex::default()).collect())
    }

    /// Returns the end of the fetch for a read of `wanted`, at most `limit`, and remembers it.
    pub(in crate::cache) fn fetch_end(
        &self,
        id: &ObjectId,
        wanted: &Range<u64>,
        limit: u64,
    ) -> u64 {
        let hash = id.object().hash64();
        let place = usize::try_from(hash % OBJECTS as u64).expect("below OBJECTS");
        let mut recent = self.0[place].lock();
        if recent.object != hash {
            *recent = Recent { object: hash, ..Recent::default() };
        }
        recent.fetch_end(wanted, limit)
    }
}

impl Recent {
    fn fetch_end(&mut self, wanted: &Range<u64>, limit: u64) -> u64 {
        let start = plan::fetch_start(wanted.start, 0, UNIT);
        let unit = plan::rounding(wanted.end - wanted.start);
        let grown = |(at, fetch): (usize, &Fetch)| Some((fetch.grown(start, wanted.start)?, at));
        let widest = self.fetches.iter().enumerate().filter_map(grown).max();
        let (width, place) = widest.unwrap_or((UNIT, self.oldest));
        if widest.is_none() {
            self.oldest = (self.oldest + 1) % FETCHES;
        }
        let end =
            plan::fetch_end(wanted.end, limit, unit).max(limit.min(start.saturating_add(width)));
        self.fetches[place] = Fetch { start, end, width: width.min(limit - start) };
        end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// Returns the number of units fetched for a read of 8 KiB at each of these units.
    fn units(starts: &[u64]) -> Vec<u64> {
        let mut recent = Recent::default();
        let fetch = |unit: &u64| {
            let start = unit * UNIT;
            let limit = (start / MIB + 1) * MIB;
            (recent.fetch_end(&(start + 5..start + 8197), limit) - start) / UNIT
        };
        starts.iter().map(fetch).collect()
    }

    #[test]
    fn a_read_far_from_others_fetches_what_it_touches() {
        assert_eq!(units(&[0, 100, 50, 200, 150, 25, 300, 400, 500, 600]), [1; 10]);
        let mut recent = Recent::default();
        assert_eq!(recent.fetch_end(&(UNIT - 1..UNIT + 1), MIB), 2 * UNIT);
        assert_eq!(recent.fetch_end(&(9 * MIB..9 * MIB + 5), 9 * MIB + 7), 9 * MIB + 7);
    }

    #[test]
    fn a_second_read_nearby_widens_the_fetch_up_to_the_end_of_the_block() {
        assert_eq!(units(&[32, 34]), [1, 2]);
        assert_eq!(units(&[40, 36]), [1, 2]);
        assert_eq!(units(&[40, 50]), [1, 1]);
        assert_eq!(units(&[32, 40, 48, 56, 64, 72, 80]), [1, 2, 4, 8, 16, 8, 16]);
        assert_eq!(units(&[32, 32, 32]), [1, 1, 1]);
    }

    #[test]
    fn a_reader_that_misses_where_a_fetch_ended_has_the_rest_of_the_block_fetched() {
        let mut recent = Recent::default();
        assert_eq!(recent.fetch_end(&(0..8192), MIB), UNIT);
        assert_eq!(recent.fetch_end(&(UNIT..UNIT + 8192), MIB), MIB);
        assert_eq!(recent.fetch_end(&(MIB..MIB + 1), 2 * MIB), 2 * MIB);
        // Another reader, and one byte further on.
        assert_eq!(recent.fetch_end(&(9 * MIB..9 * MIB + 1), 10 * MIB), 9 * MIB + UNIT);
        assert_eq!(
            recent.fetch_end(&(9 * MIB + UNIT + 1..9 * MIB + UNIT + 2), 10 * MIB),
            9 * MIB + 5 * UNIT
        );
    }

    #[test]
    fn a_reader_that_reads_on_has_whole_blocks_fetched_with_the_fourth_request() {
        assert_eq!(units(&[0, 1, 5, 16, 32]), [1, 4, 11, 16, 16]);
    }

    #[test]
    fn of_several_fetches_nearby_the_widest_counts() {
        assert_eq!(units(&[32, 34, 51, 43]), [1, 2, 1, 4]);
    }

    #[test]
    fn objects_that_share_a_place_do_not_share_their_fetches() {
        let id = |n: usize| crate::s3::testing::id("bucket", &format!("{n}"));
        let place = |n: usize| id(n).hash64() % OBJECTS as u64;
        let other =
            (1..100 * OBJECTS).find(|n| place(*n) == place(0)).expect("one of a few thousand");
        let locality = Locality::new();
        assert_eq!(locality.fetch_end(&id(0), &(0..8192), MIB), UNIT);
        assert_eq!(locality.fetch_end(&id(other), &(UNIT..UNIT + 8192), MIB), 2 * UNIT);
    }

    #[test]
    fn readers_at_several_places_do_not_disturb_each_other() {
        assert_eq!(units(&[0, 100, 200, 1, 101, 201]), [1, 1, 1, 4, 4, 4]);
    }

    #[test]
    fn a_reader_of_distant_pieces_gets_no_more_than_it_reads() {
        let mut recent = Recent::default();
        for piece in 0..10 {
            let start = piece * 10 * MIB;
            assert_eq!(
                recent.fetch_end(&(start..start + 640 * 1024), start + MIB),
                start + 640 * 1024
            );
        }
    }
}
