//! Size of the ranges into which a read is cut.
//!
//! The *worth* of an answer is the number of bytes that a connection brings in the time to a response head. A read of medium
//! length ends sooner in ranges of that size, over all the connections that it may have, than in a few long ones; shorter
//! ranges would cost more requests and gain little. Long reads keep all connections busy with long ranges, which cost the
//! fewest requests.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Width;

/// Time to a response head below which an origin counts as near: shorter ranges would gain nothing.
const NEAR: Duration = Duration::from_millis(5);

/// Limits on the size of a range, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    /// Size of a block.
    pub least: u64,
    pub most: u64,
}

impl Sizes {
    /// Halves the maximum until it is at most `bytes`, as long as whole blocks remain: readers of the same bytes cut them at
    /// the same places.
    fn at_most(self, bytes: u64) -> u64 {
        let mut size = self.most;
        while size > bytes && size.is_multiple_of(2) && (size / 2).is_multiple_of(self.least) {
            size /= 2;
        }
        size
    }
}

impl Width {
    /// Returns the size of the ranges of a read of `wanted` bytes.
    pub fn range_size(&self, wanted: u64, sizes: Sizes) -> u64 {
        match self.worth.load(Ordering::Relaxed) {
            0 => sizes.most,
            worth => sizes.at_most(worth.max(wanted / self.ranges() as u64)),
        }
    }

    /// Returns the maximum size of the first request for an object without cached metadata. Further ones are sent when it
    /// is answered, so that it is done at the same time as they are if it is twice as long.
    pub fn first_size(&self, sizes: Sizes) -> u64 {
        match self.worth.load(Ordering::Relaxed) {
            0 => sizes.most,
            _ if self.ranges() == 1 => sizes.most,
            worth => sizes.at_most(worth.saturating_mul(2)),
        }
    }
}

/// Returns the bytes that a connection of `rate` bytes per second brings in the time to a response head; 0: too few to
/// matter.
pub(super) fn worth(first_byte: Duration, rate: f64) -> u64 {
    if first_byte < NEAR {
        return 0;
    }
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a positive number of bytes"
    )]
    let bytes = (first_byte.as_secs_f64() * rate) as u64;
    bytes
}

#[cfg(test)]
mod tests {
    use super::super::Width;
    use super::super::search::START;
    use super::*;

    const MIB: u64 = 1 << 20;
    const SIZES: Sizes = Sizes { least: MIB, most: 8 * MIB };

    fn width(first_byte: Duration, rate: f64) -> std::sync::Arc<Width> {
        let width = Width::new(None, 256);
        width.worth.store(worth(first_byte, rate), Ordering::Relaxed);
        width
    }

    #[test]
    fn a_read_of_medium_length_is_cut_to_what_an_answer_is_worth() {
        let s3 = width(Duration::from_millis(30), 80e6);
        let sizes = |wanted: u64| s3.range_size(wanted * MIB, SIZES) / MIB;
        assert_eq!([1, 8, 16].map(sizes), [2; 3]);
        let (short, long) = (sizes(4 * START as u64), sizes(8 * START as u64));
        assert_eq!((short, long, sizes(1024)), (4, 8, 8));
        assert_eq!(s3.first_size(SIZES), 4 * MIB);
    }

    #[test]
    fn ranges_are_as_long_as_allowed_where_shorter_ones_gain_nothing() {
        for (origin, case) in [
            (width(Duration::ZERO, 0.0), "nothing is known yet"),
            (width(Duration::from_micros(300), 1e9), "a near origin"),
            (width(Duration::from_millis(200), 80e6), "a far origin"),
        ] {
            assert_eq!(origin.range_size(8 * MIB, SIZES), 8 * MIB, "{case}");
            assert_eq!(origin.first_size(SIZES), 8 * MIB, "{case}");
        }
        let shared = width(Duration::from_millis(30), 80e6);
        shared.ranges.store(1, Ordering::Relaxed);
        assert_eq!(shared.range_size(8 * MIB, SIZES), 8 * MIB, "connections share a limit");
        assert_eq!(shared.first_size(SIZES), 8 * MIB, "connections share a limit");
    }

    #[test]
    fn ranges_consist_of_whole_blocks() {
        let slow = width(Duration::from_millis(10), 1e6);
        for (least, most, size) in
            [(1, 8, 1), (4, 8, 4), (4, 12, 12), (8, 8, 8), (1, 6, 3), (1, 1, 1)]
        {
            let sizes = Sizes { least: least * MIB, most: most * MIB };
            assert_eq!(slow.range_size(8 * MIB, sizes), size * MIB, "{least} {most}");
        }
    }
}
