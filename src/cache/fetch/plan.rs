//! Planning of origin ranges for the bytes that are wanted. Pure arithmetic.
//!
//! Missing bytes are fetched in *units* of 64 KiB. A read of less than a block fetches the units that it touches, and
//! more behind them when other reads were near (see [`super::locality`]): a small range in the middle of a large object
//! is as fast as a direct request to S3, and costs little more. Longer reads, and those of objects that fit into one
//! block, fetch to the end of their last block. The wanted bytes come first on the wire; what lies before them stays
//! missing until it is read.

use std::ops::Range;

use http::HeaderValue;

use crate::origin::{Asked, Pin};
use crate::s3::{ByteRange, ObjectKey};

/// Bytes that fetches are rounded to, so that neighbouring reads do not ask for slivers. It costs at most 0.8 ms at
/// S3's usual 80 MB/s a connection, and is the unit in which the disk tier checks its records.
pub(in crate::cache) const UNIT: u64 = 64 * 1024;

/// Returns the unit to which both ends of a fetch for a read of `length` bytes are rounded. A read of at most two units
/// fetches whole units, a longer one little more than its bytes.
pub(in crate::cache) fn rounding(length: u64) -> u64 {
    if length <= 2 * UNIT { UNIT } else { UNIT / 4 }
}

/// The first request for an object without cached metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cache) struct FirstRequest {
    pub asked: Asked,
    /// The client's own `If-Match`: if it fails, the origin sends no bytes.
    pub if_match: Option<HeaderValue>,
}

impl FirstRequest {
    pub(in crate::cache) fn pin(&self) -> Pin {
        self.if_match.clone().map_or(Pin::Current, Pin::Matching)
    }
}

impl From<Asked> for FirstRequest {
    fn from(asked: Asked) -> Self {
        Self { asked, if_match: None }
    }
}

/// Rounds a wanted offset down to where its fetch begins, never below `floor` (the block's start). `unit`: of [`rounding`].
pub(in crate::cache) fn fetch_start(offset: u64, floor: u64, unit: u64) -> u64 {
    (offset - offset % unit).max(floor)
}

/// Rounds the end of a small read up to where its fetch ends, at most `limit` (the block's end).
pub(in crate::cache) fn fetch_end(end: u64, limit: u64, unit: u64) -> u64 {
    end.checked_next_multiple_of(unit).unwrap_or(u64::MAX).min(limit)
}

/// Returns the first request for an object without cached metadata, so that the response begins with the bytes the
/// client needs: at most about `fetch` bytes, to the end of a unit or of a block. A suffix is requested as it is, since
/// its offset is only known from the response. `whole`: the object is requested without a range, which brings checksums
/// and succeeds for empty objects.
pub(in crate::cache) fn first_request(
    range: Option<ByteRange>,
    whole: bool,
    block: u64,
    fetch: u64,
) -> Asked {
    let (first, last) = match range {
        None if whole => return Asked::Whole(fetch.max(block)),
        None => (0, u64::MAX),
        Some(ByteRange::From(first)) => (first, u64::MAX),
        Some(ByteRange::Bounded { first, last }) => (first, last),
        Some(ByteRange::Suffix(n)) => return Asked::Suffix(n.max(UNIT)),
    };
    let length = last.saturating_sub(first).saturating_add(1);
    let unit = rounding(length);
    let start = fetch_start(first, first - first % block, unit);
    let most = (start - start % block).saturating_add(fetch.max(block));
    let block_end = (last - last % block).saturating_add(block);
    let end = match length < block {
        true => fetch_end(last.saturating_add(1), block_end, unit),
        false => block_end,
    };
    Asked::Range(start..end.min(most))
}

/// Whether an object is most likely empty by its name, as markers of folders and of finished jobs are. A range of an
/// empty object is refused without its metadata, so that a read would cost two requests.
pub(in crate::cache) fn is_mostly_empty(key: &ObjectKey) -> bool {
    const MARKERS: [&str; 2] = ["/", "_$folder$"];
    let key = key.as_str();
    MARKERS.iter().any(|end| key.ends_with(end)) || key.rsplit('/').next() == Some("_SUCCESS")
}

/// Returns the parts of `wanted` that none of `have` covers, in order.
pub(in crate::cache) fn missing(wanted: Range<u64>, have: &mut [Range<u64>]) -> Vec<Range<u64>> {
    have.sort_unstable_by_key(|r| r.start);
    let mut gaps = Vec::new();
    let mut at = wanted.start;
    for part in have.iter() {
        if part.end <= at {
            continue;
        }
        if part.start >= wanted.end {
            break;
        }
        if part.start > at {
            gaps.push(at..part.start);
        }
        at = part.end;
    }
    if at < wanted.end {
        gaps.push(at..wanted.end);
    }
    gaps
}

/// Positions at which runs of missing blocks are cut into ranges. They are multiples of a number of bytes, so that
/// readers of overlapping ranges request the same ranges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cache) struct Cuts {
    /// Minimum bytes of a range within a run.
    every: u64,
    /// Whether no range crosses a cut; else a range may have up to twice as many bytes.
    exact: bool,
}

impl Cuts {
    pub(in crate::cache) fn every(bytes: u64) -> Self {
        Self { every: bytes, exact: false }
    }

    /// Returns cuts along the parts of a multipart upload, where their size is known: the store keeps other parts in
    /// other places. Ranges have at most about `fetch` bytes.
    pub(in crate::cache) fn along_parts(part: Option<u64>, block: u64, fetch: u64) -> Self {
        let Some(part) = part.filter(|part| part % block == 0) else { return Self::every(fetch) };
        if part <= fetch {
            return Self { every: fetch - fetch % part, exact: true };
        }
        let least = part.div_ceil(fetch);
        let is_even =
            |pieces: &u64| part.is_multiple_of(*pieces) && (part / pieces).is_multiple_of(block);
        match (least..=2 * least).find(is_even) {
            Some(pieces) => Self { every: part / pieces, exact: true },
            None => Self::every(fetch),
        }
    }

    /// Minimum bytes of a range within a run.
    pub(in crate::cache) fn bytes(self) -> u64 {
        self.every
    }
}

/// Merges adjacent spans and cuts the runs into origin ranges.
pub(in crate::cache) fn origin_ranges(
    spans: impl IntoIterator<Item = Range<u64>>,
    cuts: Cuts,
) -> Vec<Range<u64>> {
    let mut runs: Vec<Range<u64>> = Vec::new();
    for span in spans {
        match runs.last_mut() {
            Some(last) if last.end == span.start => last.end = span.end,
            _ => runs.push(span),
        }
    }
    runs.into_iter().flat_map(|run| cut(run, cuts)).collect()
}

fn cut(run: Range<u64>, Cuts { every, exact }: Cuts) -> Vec<Range<u64>> {
    let mut pieces = Vec::new();
    let mut start = run.start;
    while start < run.end {
        let mut end = (start / every + 1) * every;
        if !exact && end - start < every {
            end += every;
        }
        if !exact && run.end.saturating_sub(end) < every && run.end - start <= 2 * every {
            end = run.end;
        }
        let end = end.min(run.end);
        pieces.push(start..end);
        start = end;
    }
    pieces
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init, reason = "a list of one range is meant")]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn a_fetch_begins_and_ends_with_the_units_of_the_wanted_bytes() {
        assert_eq!(fetch_start(700_000, 0, UNIT), 10 * UNIT);
        assert_eq!(fetch_start(MIB + 5, MIB, UNIT), MIB);
        assert_eq!(fetch_start(1_000, 900, UNIT), 900);
        assert_eq!(fetch_end(UNIT, MIB, UNIT), UNIT);
        assert_eq!(fetch_end(UNIT + 1, MIB, UNIT), 2 * UNIT);
        assert_eq!(fetch_end(1_000, 1_001, UNIT), 1_001);
        assert_eq!(fetch_end(u64::MAX, u64::MAX, UNIT), u64::MAX);
    }

    #[test]
    fn r17_the_first_request_begins_where_the_client_reads() {
        let first = |range| first_request(range, false, MIB, 8 * MIB);
        assert_eq!(first(None), Asked::Range(0..8 * MIB));
        let whole = first_request(None, true, MIB, 8 * MIB);
        assert_eq!(whole, Asked::Whole(8 * MIB));
        assert_eq!(whole.span(16 * MIB), Some(0..16 * MIB));
        assert_eq!(whole.span(16 * MIB + 1), Some(0..8 * MIB));
        let small = ByteRange::Bounded { first: 5 * MIB + 70_000, last: 5 * MIB + 74_000 };
        assert_eq!(first(Some(small)), Asked::Range(5 * MIB + UNIT..5 * MIB + 2 * UNIT));
        let byte = ByteRange::Bounded { first: 0, last: 0 };
        assert_eq!(first(Some(byte)), Asked::Range(0..UNIT));
        let across = ByteRange::Bounded { first: MIB - 1, last: MIB };
        assert_eq!(first(Some(across)), Asked::Range(MIB - UNIT..MIB + UNIT));
        let most_of_a_block = ByteRange::Bounded { first: 1, last: MIB - 1 };
        assert_eq!(first(Some(most_of_a_block)), Asked::Range(0..MIB));
        let column = ByteRange::Bounded { first: 100_000, last: 399_999 };
        assert_eq!(first(Some(column)), Asked::Range(98_304..409_600));
        let one_block = ByteRange::Bounded { first: 70_000, last: MIB + 69_999 };
        assert_eq!(first(Some(one_block)), Asked::Range(UNIT..2 * MIB));
        assert_eq!(first(Some(ByteRange::From(3 * MIB))), Asked::Range(3 * MIB..11 * MIB));
        let large = ByteRange::Bounded { first: 0, last: 1 << 40 };
        assert_eq!(first(Some(large)), Asked::Range(0..8 * MIB));
        assert_eq!(first(Some(ByteRange::Suffix(8))), Asked::Suffix(UNIT));
        let far = ByteRange::Bounded { first: u64::MAX - 5, last: u64::MAX };
        assert!(matches!(first(Some(far)), Asked::Range(r) if r.start < r.end));
    }

    #[test]
    fn missing_parts_are_the_gaps_between_what_is_there() {
        let have = |parts: &[Range<u64>]| parts.to_vec();
        assert_eq!(missing(0..10, &mut have(&[])), [0..10]);
        assert_eq!(missing(0..10, &mut have(&[4..10])), [0..4]);
        assert_eq!(missing(2..10, &mut have(&[6..8, 0..3])), [3..6, 8..10]);
        assert_eq!(missing(5..10, &mut have(&[0..20])), Vec::<Range<u64>>::new());
        assert_eq!(missing(0..4, &mut have(&[8..9])), [0..4]);
    }

    #[test]
    fn adjacent_spans_merge_into_ranges_of_one_to_two_fetches() {
        let blocks = |n: u64| (0..n).map(|i| i * MIB..(i + 1) * MIB);
        let cuts = Cuts::every(8 * MIB);
        assert_eq!(origin_ranges(blocks(3), cuts), [0..3 * MIB]);
        assert_eq!(origin_ranges(blocks(12), cuts), [0..12 * MIB]);
        let many = origin_ranges(blocks(64), cuts);
        assert!(many.iter().all(|r| (8 * MIB..=16 * MIB).contains(&(r.end - r.start))), "{many:?}");
        assert_eq!(many.len(), 8);
        assert_eq!(
            origin_ranges([7 * MIB..24 * MIB], cuts),
            [7 * MIB..16 * MIB, 16 * MIB..24 * MIB]
        );
    }

    #[test]
    fn ranges_of_an_object_that_is_stored_in_parts_lie_in_one_part_each() {
        let cuts = |part| Cuts::along_parts(Some(part * MIB), MIB, 8 * MIB);
        let sizes: Vec<_> = [1, 3, 5, 8, 16, 25, 100].map(|part| cuts(part).bytes() / MIB).into();
        assert_eq!(sizes, [8, 6, 5, 8, 8, 5, 5]);
        // A prime number, and blocks that do not end with parts.
        assert_eq!(cuts(17), Cuts::every(8 * MIB));
        assert_eq!(Cuts::along_parts(Some(5 * MIB), 4 * MIB, 8 * MIB), Cuts::every(8 * MIB));
        assert_eq!(Cuts::along_parts(None, MIB, 8 * MIB), Cuts::every(8 * MIB));
        assert_eq!(
            origin_ranges([8 * MIB..22 * MIB], cuts(5)),
            [8 * MIB..10 * MIB, 10 * MIB..15 * MIB, 15 * MIB..20 * MIB, 20 * MIB..22 * MIB]
        );
    }

    #[test]
    fn ranges_cover_every_span_once_and_nothing_else() {
        let mut state = 7_u64;
        for _ in 0..2_000 {
            let mut next = |n: u64| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 33) % n
            };
            let mut at = next(100);
            let mut spans = Vec::new();
            for _ in 0..next(12) {
                at += if next(2) == 0 { 0 } else { next(20) };
                let end = at + 1 + next(30);
                spans.push(at..end);
                at = end;
            }
            let bytes =
                |ranges: &[Range<u64>]| ranges.iter().flat_map(Clone::clone).collect::<Vec<_>>();
            let cuts = Cuts { every: 1 + next(16), exact: next(2) == 0 };
            let ranges = origin_ranges(spans.clone(), cuts);
            assert_eq!(bytes(&ranges), bytes(&spans));
        }
    }
}
