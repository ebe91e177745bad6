//! How soon the origin answers, which decides how long a read from disk may take.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The bounds of what is in time. Solid state answers in less than 1 ms, a disk that seeks in 15; S3 in 30 or more. A
/// faster origin does not make a device slow that answers within the lower one.
const IN_TIME_MIN: Duration = Duration::from_millis(10);
const IN_TIME_MAX: Duration = Duration::from_millis(50);
/// The least that a read is waited for.
const PATIENCE_MIN: Duration = Duration::from_millis(5);
/// Microseconds; longer answers count as if they took so long.
const LONGEST: u64 = 60_000_000;
/// The part of it by which the median moves for each answer.
const STEP: u64 = 16;

/// A running median of the time until the origin's answers begin: each answer moves it a step up or down, so that a few
/// of another kind do not matter.
#[derive(Debug, Default)]
pub(super) struct OriginPace {
    /// Microseconds; 0: nothing was fetched yet.
    median: AtomicU64,
}

impl OriginPace {
    /// Counts an answer that began after `took`.
    pub(super) fn answered(&self, took: Duration) {
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).clamp(1, LONGEST);
        // Answers at the same moment may overwrite each other: one of many does not matter.
        let median = self.median.load(Ordering::Relaxed);
        let step = median.div_ceil(STEP);
        let next = match median {
            0 => took,
            _ if took > median => (median + step).min(took),
            _ => (median - step).max(took),
        };
        self.median.store(next, Ordering::Relaxed);
    }

    /// How long a read from disk may take: half as long again as the origin, within bounds.
    pub(super) fn in_time(&self) -> Duration {
        let half_again = self.median().map(|median| median + median / 2);
        half_again.unwrap_or(IN_TIME_MAX).clamp(IN_TIME_MIN, IN_TIME_MAX)
    }

    /// How long a read is waited for that may be late: as long as the origin takes. Whoever waits in vain and asks the
    /// origin then has waited for twice as long as without a disk.
    pub(super) fn patience(&self) -> Duration {
        self.median().unwrap_or(IN_TIME_MAX).clamp(PATIENCE_MIN, IN_TIME_MAX)
    }

    fn median(&self) -> Option<Duration> {
        let median = self.median.load(Ordering::Relaxed);
        (median > 0).then(|| Duration::from_micros(median))
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
        assert_eq!(after([1; 100]), 10);
        assert_eq!(after([20; 100]), 30);
        assert_eq!(after([200; 100]), 50);
    }

    #[test]
    fn a_few_answers_of_another_kind_do_not_matter_and_a_change_is_followed() {
        let outliers = (0..1000).map(|n| if n % 10 == 0 { 5000 } else { 15 });
        assert!((22..=26).contains(&after(outliers)));
        assert_eq!(after([8; 100].into_iter().chain([20; 30])), 30);
        assert_eq!(after([20; 100].into_iter().chain([8; 30])), 12);
    }
}
