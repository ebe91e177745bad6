//! A running median of the origin's time to first byte, which decides how long a read from disk may take.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Bounds of the time that a read may take. Solid state answers in less than 1 ms, a disk that seeks in 15; S3 in 30 or
/// more. A device that answers within the lower bound is not slow, however fast the origin is or busy the cores are.
const IN_TIME_MIN: Duration = Duration::from_millis(30);
const IN_TIME_MAX: Duration = Duration::from_millis(50);
/// Maximum time to first byte that is counted, in microseconds; longer ones count as this.
const LONGEST: u64 = 60_000_000;
/// Divisor of the median that gives the step by which each answer moves it.
const STEP: u64 = 16;

/// Running median of the origin's time to first byte. Each answer moves it a step up or down, so that a few outliers do
/// not matter.
#[derive(Debug, Default)]
pub(in crate::cache::disk) struct OriginPace {
    /// Median in microseconds; 0: nothing was fetched yet.
    median: AtomicU64,
}

impl OriginPace {
    /// Counts an answer whose first byte came after `took`.
    pub(in crate::cache::disk) fn answered(&self, took: Duration) {
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).clamp(1, LONGEST);
        // Concurrent updates may overwrite each other: one of many answers does not matter.
        let median = self.median.load(Ordering::Relaxed);
        let step = median.div_ceil(STEP);
        let next = match median {
            0 => took,
            _ if took > median => (median + step).min(took),
            _ => (median - step).max(took),
        };
        self.median.store(next, Ordering::Relaxed);
    }

    /// Returns the maximum time of a read from disk: half as long again as the origin, within bounds.
    pub(in crate::cache::disk) fn in_time(&self) -> Duration {
        match self.median.load(Ordering::Relaxed) {
            0 => IN_TIME_MAX,
            median => Duration::from_micros(median + median / 2).clamp(IN_TIME_MIN, IN_TIME_MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(answers: impl IntoIterator<Item = u64>) -> u64 {
        let pace = OriginPace::default();
        answers.into_iter().for_each(|millis| pace.answered(Duration::from_millis(millis)));
        u64::try_from(pace.in_time().as_millis()).expect("small")
    }

    #[test]
    fn a_read_may_take_half_as_long_again_as_the_origin_within_bounds() {
        assert_eq!(after([]), 50);
        assert_eq!(after([1; 100]), 30);
        assert_eq!(after([24; 100]), 36);
        assert_eq!(after([200; 100]), 50);
    }

    #[test]
    fn a_few_answers_of_another_kind_do_not_matter_and_a_change_is_followed() {
        let outliers = (0..1000).map(|n| if n % 10 == 0 { 5000 } else { 24 });
        assert!((36..=40).contains(&after(outliers)));
        assert_eq!(after([22; 100].into_iter().chain([30; 30])), 45);
        assert_eq!(after([30; 100].into_iter().chain([22; 30])), 33);
    }
}
