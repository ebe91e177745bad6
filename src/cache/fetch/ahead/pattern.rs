//! Patterns in the reads of one object, each of them a request of its own: in order, and at equal distances.
//!
//! A reader in order begins where an earlier read ended; what it reads ahead grows with what it has read. Reads at
//! equal distances repeat after one or several others, as those of a few columns of each row group do. Bytes fetched
//! ahead and not read count as wasted; a pattern that wastes more than it brings is not followed any further.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

use tokio::time::Instant;

use super::balance::{Kind, Outcomes};

/// Number of reads remembered per object.
const READS: usize = 24;
/// Maximum period of a pattern, in reads.
const PERIOD: usize = 8;
/// Sequential reads, the first included, before more are predicted.
const IN_ORDER: u32 = 3;
/// Reads that repeat others at the same distance, before more are predicted.
const REPEATS: usize = 3;
/// Bytes that a sequential reader may skip, and by which equal distances may differ.
const NEAR: u64 = 64 * 1024;
/// Maximum number of spans of an object that were fetched ahead and not read yet.
const SPANS: usize = 32;
/// Time after which bytes that were fetched ahead and not read count as wasted.
const UNREAD: Duration = Duration::from_mins(1);
/// Bytes that may be wasted before any byte fetched ahead is read.
const TRIAL: u64 = 2 << 20;

#[derive(Debug, Clone)]
struct Read {
    span: Range<u64>,
    /// Sequential reads that end with this one, and
    streak: u32,
    /// their bytes.
    bytes: u64,
    /// End of the predicted range, as an offset in the object.
    expected: u64,
}

#[derive(Debug)]
struct Span {
    range: Range<u64>,
    kind: Kind,
    since: Instant,
}

impl Span {
    fn bytes(&self) -> u64 {
        self.range.end - self.range.start
    }
}

/// The latest reads of one object.
#[derive(Debug, Default)]
pub(in crate::cache) struct Reads {
    /// The oldest first.
    latest: VecDeque<Read>,
    /// Fetched ahead, and not read yet.
    ahead: VecDeque<Span>,
    used: u64,
    wasted: u64,
    counted: Outcomes,
}

impl Reads {
    /// Takes a read of an object of `size` bytes. Returns the ranges likely to be read next, at most `most` bytes.
    pub(in crate::cache) fn read(
        &mut self,
        span: &Range<u64>,
        (size, most): (u64, u64),
        now: Instant,
    ) -> Vec<Range<u64>> {
        self.take(span);
        self.expire(now);
        let read = self.in_order(span);
        self.latest.push_back(read);
        if self.latest.len() > READS {
            self.latest.pop_front();
        }
        let unread: u64 = self.ahead.iter().map(Span::bytes).sum();
        if self.wasted + unread > self.used + TRIAL {
            return Vec::new();
        }
        let is_in_order = self.latest.back().is_some_and(|read| read.streak >= IN_ORDER);
        let mut next = match is_in_order {
            true => self.next_in_order(most),
            false => self.next_at_distance(most),
        };
        next.retain_mut(|next| {
            next.end = next.end.min(size);
            let is_expected =
                |span: &Span| span.range.start < next.end && next.start < span.range.end;
            next.start < next.end && !self.ahead.iter().any(is_expected)
        });
        next
    }

    /// Notes a span that was fetched ahead.
    pub(in crate::cache) fn fetched(&mut self, range: Range<u64>, kind: Kind, now: Instant) {
        self.ahead.push_back(Span { range, kind, since: now });
        self.forget_above(SPANS);
    }

    /// Counts the oldest spans as wasted that are more than `most`.
    fn forget_above(&mut self, most: usize) {
        while self.ahead.len() > most
            && let Some(oldest) = self.ahead.pop_front()
        {
            self.waste(oldest.kind, oldest.bytes());
        }
    }

    /// Returns the bytes used and wasted since the last call. Bytes not read for [`UNREAD`] are wasted.
    pub(in crate::cache) fn outcome(&mut self, now: Instant) -> Outcomes {
        self.expire(now);
        std::mem::take(&mut self.counted)
    }

    /// Returns the final outcome of an object that is not tracked any more: its unread bytes are wasted.
    pub(in crate::cache) fn end(mut self) -> Outcomes {
        self.forget_above(0);
        self.counted
    }

    fn waste(&mut self, kind: Kind, bytes: u64) {
        self.wasted += bytes;
        self.counted.of_mut(kind).wasted += bytes;
    }

    /// Counts the bytes of a read that were fetched ahead.
    fn take(&mut self, read: &Range<u64>) {
        for Span { range, kind, since } in std::mem::take(&mut self.ahead) {
            let (start, end) = (range.start.max(read.start), range.end.min(read.end));
            if start >= end {
                self.ahead.push_back(Span { range, kind, since });
                continue;
            }
            self.used += end - start;
            self.counted.of_mut(kind).used += end - start;
            for rest in [range.start..start, end..range.end] {
                // A small remainder of an estimate is not expected to be read any more.
                match rest.end.saturating_sub(rest.start) {
                    0 => {}
                    bytes if bytes <= NEAR => self.waste(kind, bytes),
                    _ => self.ahead.push_back(Span { range: rest, kind, since }),
                }
            }
        }
        self.forget_above(SPANS);
    }

    fn expire(&mut self, now: Instant) {
        while let Some(oldest) = self.ahead.front()
            && now.saturating_duration_since(oldest.since) > UNREAD
        {
            self.forget_above(self.ahead.len() - 1);
        }
    }

    /// Returns the read, with the streak that it continues.
    fn in_order(&self, span: &Range<u64>) -> Read {
        let follows =
            |read: &&Read| read.span.end <= span.start && span.start - read.span.end <= NEAR;
        let length = span.end - span.start;
        match self.latest.iter().rev().find(follows) {
            Some(before) => Read {
                span: span.clone(),
                streak: before.streak + 1,
                bytes: before.bytes + length,
                expected: before.expected,
            },
            None => Read { span: span.clone(), streak: 1, bytes: length, expected: 0 },
        }
    }

    /// Predicts as many bytes as were read in order, once half of the last prediction is read.
    fn next_in_order(&mut self, most: u64) -> Vec<Range<u64>> {
        let Some(last) = self.latest.back_mut() else { return Vec::new() };
        let depth = last.bytes.min(most);
        let from = last.expected.max(last.span.end);
        if from - last.span.end > depth / 2 {
            return Vec::new();
        }
        last.expected = last.span.end + depth;
        let next = from..last.expected;
        Some(next).filter(|next| !next.is_empty()).into_iter().collect()
    }

    /// Predicts the reads that repeat those of the latest period.
    fn next_at_distance(&self, most: u64) -> Vec<Range<u64>> {
        let periods = (1..=PERIOD).map(|period| (self.repeats(period), period));
        // Chooses the period with the most repeats, and of those the shortest.
        let (repeats, period) = periods
            .max_by_key(|(repeats, period)| (*repeats, Reverse(*period)))
            .unwrap_or_default();
        if repeats < REPEATS {
            return Vec::new();
        }
        let (Distance { by, other }, before) = (self.distance(0, period), self.distance(1, period));
        // Bytes by which the next reads may be off their predicted position.
        let apart = u64::try_from((by - before.by).unsigned_abs()).unwrap_or(u64::MAX);
        let slack = (apart + other.max(before.other)) * 2;
        let mut left = most;
        // With a period of one, two reads are predicted, so that the next is requested before it is needed.
        let times = if period == 1 { 2 } else { 1 };
        let ahead = (1..=times).flat_map(|time| (0..period).rev().map(move |back| (time, back)));
        let moved = ahead.filter_map(|(time, back)| {
            let then = self.span(back);
            let start = u64::try_from(i128::from(then.start) + by * time).ok()?;
            let length = then.end - then.start;
            left = left.checked_sub(length + 2 * slack)?;
            Some(start.saturating_sub(slack)..start + length + slack)
        });
        moved.collect()
    }

    /// Counts the latest consecutive reads that each lie at the same distance from the read one period before.
    fn repeats(&self, period: usize) -> usize {
        let count = self.latest.len();
        if count <= period {
            return 0;
        }
        let first = self.distance(0, period);
        let near = i128::from(NEAR);
        let is_alike =
            |distance: &Distance| (distance.by - first.by).abs() <= near && distance.other <= NEAR;
        if first.by.abs() <= near {
            return 0;
        }
        (0..count - period).map(|back| self.distance(back, period)).take_while(is_alike).count()
    }

    fn distance(&self, back: usize, period: usize) -> Distance {
        let (now, then) = (self.span(back), self.span(back + period));
        Distance {
            by: i128::from(now.start) - i128::from(then.start),
            other: (now.end - now.start).abs_diff(then.end - then.start),
        }
    }

    /// Returns the span of the read that is `back` reads before the latest.
    fn span(&self, back: usize) -> &Range<u64> {
        &self.latest[self.latest.len() - 1 - back].span
    }
}

/// Difference between a read and the one a period before: distance of their starts, and difference of lengths.
struct Distance {
    by: i128,
    /// Difference of their lengths, in bytes.
    other: u64,
}

#[cfg(test)]
mod tests {
    use super::super::balance::Outcome;
    use super::*;

    const KIB: u64 = 1 << 10;
    const MIB: u64 = 1 << 20;
    const MOST: u64 = 8 * MIB;

    /// Returns the spans fetched ahead for these reads of an object of 1 GiB, each fetched at once, and their outcome.
    fn ahead(spans: impl IntoIterator<Item = Range<u64>>) -> (Vec<Range<u64>>, Outcome) {
        let (mut reads, now) = (Reads::default(), Instant::now());
        let mut fetched = Vec::new();
        for span in spans {
            for next in reads.read(&span, (1 << 30, MOST), now) {
                reads.fetched(next.clone(), Kind::Reads, now);
                fetched.push(next);
            }
        }
        (fetched, reads.end().sum())
    }

    fn pieces(from: u64, length: u64, step: u64, count: u64) -> impl Iterator<Item = Range<u64>> {
        (0..count).map(move |n| from + n * step..from + n * step + length)
    }

    #[test]
    fn a_reader_in_order_is_read_ahead_of_by_as_much_as_it_has_read() {
        let (fetched, outcome) = ahead(pieces(5 * MIB, MIB, MIB, 3));
        assert_eq!((fetched.len(), &fetched[0]), (1, &(8 * MIB..11 * MIB)));
        assert_eq!(outcome, Outcome { used: 0, wasted: 3 * MIB });
        let (fetched, outcome) = ahead(pieces(0, MIB, MIB, 100));
        // The fetches have no gaps, and stay within the limit.
        assert!(fetched.windows(2).all(|two| two[0].end == two[1].start));
        assert!(fetched.iter().all(|span| span.end - span.start <= MOST));
        assert_eq!(outcome.used, 97 * MIB);
        assert!(outcome.wasted <= MOST, "{outcome:?}");
        // With small gaps.
        assert!(!ahead(pieces(0, MIB, MIB + 10 * KIB, 5)).0.is_empty());
    }

    #[test]
    fn several_readers_in_order_do_not_disturb_each_other() {
        let spans = (0..40)
            .flat_map(|n| [0, 300 * MIB, 600 * MIB].map(|at| at + n * MIB..at + (n + 1) * MIB));
        let (_, outcome) = ahead(spans);
        assert!(outcome.used >= 3 * 35 * MIB, "{outcome:?}");
        assert!(outcome.wasted <= 3 * MOST, "{outcome:?}");
    }

    #[test]
    fn reads_at_equal_distances_are_recognized_forwards_and_backwards() {
        let (fetched, outcome) = ahead(pieces(0, 100 * KIB, 10 * MIB, 50));
        assert_eq!(fetched[0], 40 * MIB..40 * MIB + 100 * KIB);
        assert_eq!(outcome.used, 46 * 100 * KIB);
        assert!(outcome.wasted <= 200 * KIB, "{outcome:?}");
        let backwards: Vec<_> = pieces(0, 100 * KIB, 10 * MIB, 50).collect();
        let (_, outcome) = ahead(backwards.into_iter().rev());
        assert_eq!((outcome.used, outcome.wasted), (46 * 100 * KIB, 0));
    }

    #[test]
    fn columns_of_row_groups_are_recognized() {
        let columns = [3, 20, 21, 77, 150].map(|column: u64| column * 200 * KIB);
        let group = 64 * MIB;
        let spans =
            (0..10).flat_map(|n| columns.map(|at| n * group + at..n * group + at + 150 * KIB));
        let (_, outcome) = ahead(spans);
        // All but the first group, and three columns of the second.
        assert!(outcome.used >= (50 - 5 - 3) * 150 * KIB, "{outcome:?}");
        assert!(outcome.wasted <= 5 * 150 * KIB, "{outcome:?}");
    }

    #[test]
    fn columns_that_differ_by_little_in_size_are_covered() {
        let mut state = 7_u64;
        let mut noise = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % (2 * KIB)
        };
        let columns = [3, 20, 21, 77, 150].map(|column: u64| column * 200 * KIB);
        let mut spans = Vec::new();
        for n in 0..10 {
            for at in columns {
                let start = n * 64 * MIB + at + noise();
                spans.push(start..start + 150 * KIB + noise());
            }
        }
        let (_, outcome) = ahead(spans);
        assert!(outcome.used >= (50 - 5 - 3) * 140 * KIB, "{outcome:?}");
        assert!(outcome.wasted <= 3 * MIB, "{outcome:?}");
    }

    #[test]
    fn random_reads_are_not_read_ahead_of() {
        let mut state = 7_u64;
        let spans = (0..5000).map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let at = (state >> 24) % (100 * MIB);
            at..at + 8 * KIB
        });
        let (fetched, _) = ahead(spans.collect::<Vec<_>>());
        let bytes: u64 = fetched.iter().map(|span| span.end - span.start).sum();
        assert!(bytes <= 5000 * 8 * KIB / 10, "{bytes}");
    }

    #[test]
    fn a_pattern_that_wastes_is_not_followed_any_further() {
        // Three reads in order, and then somewhere else.
        let spans = (0..30).flat_map(|n: u64| pieces(n * n * 3 * MIB, 256 * KIB, 256 * KIB, 3));
        let (fetched, outcome) = ahead(spans);
        let bytes: u64 = fetched.iter().map(|span| span.end - span.start).sum();
        assert_eq!((outcome.used, outcome.wasted), (0, bytes));
        assert!(bytes < 10 * MIB, "{bytes}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_read_for_long_is_wasted() {
        let mut reads = Reads::default();
        reads.fetched(0..MIB, Kind::Reads, Instant::now());
        reads.fetched(5 * MIB..6 * MIB, Kind::Footer, Instant::now());
        assert_eq!(reads.outcome(Instant::now()), Outcomes::default());
        reads.read(&(MIB / 2..MIB), (1 << 30, MOST), Instant::now());
        tokio::time::advance(UNREAD * 2).await;
        let outcome = reads.outcome(Instant::now());
        assert_eq!(outcome.of(Kind::Reads), Outcome { used: MIB / 2, wasted: MIB / 2 });
        assert_eq!(outcome.of(Kind::Footer), Outcome { used: 0, wasted: MIB });
        assert_eq!(reads.outcome(Instant::now()), Outcomes::default());
    }
}
