//! Byte ranges of an object to warm. Pure arithmetic.

use std::ops::Range;

use crate::s3::ByteRange;

/// The part of an object to warm: all of it up to `whole` bytes; of larger objects, the first `head` bytes and the last
/// `tail`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub whole: u64,
    pub head: u64,
    pub tail: u64,
}

impl Span {
    /// The whole object.
    pub const WHOLE: Self = Self { whole: u64::MAX, head: 0, tail: 0 };

    /// Whether no bytes of an object of `size` bytes are to be warmed.
    pub(super) fn is_nothing(&self, size: u64) -> bool {
        size > self.whole && self.head == 0 && self.tail == 0
    }

    /// Returns the ranges of an object of `size` bytes, in order, disjoint. The head is extended as its fetch is, to a
    /// multiple of `granularity`: the rest of a fetch that nobody waits for would be cancelled.
    pub(super) fn ranges(&self, size: u64, granularity: u64) -> Vec<Range<u64>> {
        if size == 0 || self.is_nothing(size) {
            return Vec::new();
        }
        let head = match size <= self.whole {
            true => size,
            false => self.head.checked_next_multiple_of(granularity).unwrap_or(size).min(size),
        };
        let tail = size - self.tail.min(size);
        if tail <= head {
            return std::iter::once(0..size).collect();
        }
        [0..head, tail..size].into_iter().filter(|range| !range.is_empty()).collect()
    }

    /// Returns the number of bytes to warm.
    pub(super) fn bytes(&self, size: u64, granularity: u64) -> u64 {
        self.ranges(size, granularity).iter().map(|range| range.end - range.start).sum()
    }

    /// Returns the first range to request of an object of `size`, at most `chunk` bytes. `None`: it depends on the
    /// size, which is unknown.
    pub(super) fn first(&self, size: Option<u64>, chunk: u64) -> Option<ByteRange> {
        let bounded =
            |bytes: u64| ByteRange::Bounded { first: 0, last: bytes.min(chunk).max(1) - 1 };
        match size {
            Some(size) if size <= self.whole => Some(bounded(size)),
            None if self.whole == u64::MAX => Some(bounded(chunk)),
            None if self.whole > self.head => None,
            _ if self.head > 0 => Some(bounded(self.head)),
            _ => Some(ByteRange::Suffix(self.tail.min(chunk))),
        }
    }
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init, reason = "a list of one range is meant")]
mod tests {
    use super::*;

    #[test]
    fn small_objects_are_whole_and_large_ones_have_ends() {
        let span = Span { whole: 100, head: 10, tail: 5 };
        assert_eq!(span.ranges(100, 16), [0..100]);
        assert_eq!(span.ranges(101, 16), [0..16, 96..101]);
        assert_eq!(Span { whole: 0, head: 90, tail: 20 }.ranges(105, 16), [0..105], "they meet");
        assert_eq!(Span { whole: 0, head: 10, tail: 0 }.ranges(105, 16), [0..16]);
        assert_eq!(Span { whole: 0, head: 0, tail: 7 }.ranges(105, 16), [98..105]);
        assert_eq!(Span { whole: 0, head: u64::MAX, tail: 0 }.ranges(105, 16), [0..105]);
        assert_eq!(Span::WHOLE.ranges(1 << 50, 16), [0..1 << 50]);
        assert!(Span::WHOLE.ranges(0, 16).is_empty());
        assert!(Span { whole: 9, head: 0, tail: 0 }.is_nothing(10));
        assert_eq!(span.bytes(101, 16), 21);
    }

    #[test]
    fn the_first_request_is_for_bytes_that_are_wanted() {
        let first = |span: Span, size| span.first(size, 1000);
        let up_to = |last| Some(ByteRange::Bounded { first: 0, last });
        assert_eq!(first(Span::WHOLE, None), up_to(999));
        assert_eq!(first(Span::WHOLE, Some(10)), up_to(9));
        assert_eq!(first(Span::WHOLE, Some(0)), up_to(0));
        let ends = Span { whole: 0, head: 10, tail: 5 };
        assert_eq!(first(ends, None), up_to(9));
        assert_eq!(first(Span { head: 0, ..ends }, None), Some(ByteRange::Suffix(5)));
        let created = Span { whole: 100, head: 10, tail: 5 };
        assert_eq!(first(created, Some(100)), up_to(99));
        assert_eq!(first(created, Some(101)), up_to(9));
        assert_eq!(first(created, None), None);
    }
}
