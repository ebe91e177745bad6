//! Sliding counts of the last seconds, for the retry budget and the circuit breaker.

use tokio::time::Instant;

/// Length of the window in seconds.
const WINDOW: usize = 10;

/// Outcomes of requests to the origin.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    /// Attempts that were answered, including refusals.
    pub answered: u32,
    /// Attempts that failed by the origin's fault.
    pub failed: u32,
    /// Retries, but for those of requests that were answered in the end.
    pub retries: u32,
    /// All retries.
    pub all_retries: u32,
}

/// The [`Counts`] of each of the last ten seconds.
#[derive(Debug)]
pub(super) struct Recent {
    started: Instant,
    /// Counts in a ring, by second since `started`.
    seconds: [(u64, Counts); WINDOW],
}

impl Default for Recent {
    fn default() -> Self {
        Self { started: Instant::now(), seconds: [(0, Counts::default()); WINDOW] }
    }
}

impl Recent {
    /// Returns the counts of this second.
    pub(super) fn now(&mut self) -> &mut Counts {
        let second = self.second();
        let index = usize::try_from(second).unwrap_or_default() % WINDOW;
        let (of, counts) = &mut self.seconds[index];
        if *of != second {
            (*of, *counts) = (second, Counts::default());
        }
        counts
    }

    /// Takes back this many retries, the most recent first.
    pub(super) fn take_back_retries(&mut self, mut retries: u32) {
        let second = self.second();
        let mut seconds: Vec<_> = self.seconds.iter_mut().collect();
        seconds.sort_unstable_by_key(|(of, _)| std::cmp::Reverse(*of));
        for (_, counts) in seconds.into_iter().filter(|(of, _)| of + WINDOW as u64 > second) {
            let taken = retries.min(counts.retries);
            counts.retries -= taken;
            retries -= taken;
        }
    }

    /// Returns the counts of this second and of the one before.
    pub(super) fn latest(&self) -> (Counts, Counts) {
        let second = self.second();
        let of = |second: u64| {
            let (of, counts) = self.seconds[usize::try_from(second).unwrap_or_default() % WINDOW];
            if of == second { counts } else { Counts::default() }
        };
        (of(second), second.checked_sub(1).map_or_else(Counts::default, of))
    }

    /// Returns the sums over the last ten seconds.
    pub(super) fn sum(&self) -> Counts {
        let second = self.second();
        let recent = self.seconds.iter().filter(|(of, _)| of + WINDOW as u64 > second);
        recent.fold(Counts::default(), |sum, (_, counts)| Counts {
            answered: sum.answered.saturating_add(counts.answered),
            failed: sum.failed.saturating_add(counts.failed),
            retries: sum.retries.saturating_add(counts.retries),
            all_retries: sum.all_retries.saturating_add(counts.all_retries),
        })
    }

    fn second(&self) -> u64 {
        self.started.elapsed().as_secs()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_older_than_ten_seconds_does_not_count() {
        let mut recent = Recent::default();
        recent.now().answered = 5;
        advance(Duration::from_secs(9)).await;
        recent.now().answered += 2;
        assert_eq!(recent.sum().answered, 7);
        advance(Duration::from_secs(1)).await;
        assert_eq!(recent.sum().answered, 2);
        recent.now().answered += 1;
        assert_eq!(recent.sum().answered, 3);
        advance(Duration::from_mins(1)).await;
        assert_eq!(recent.sum().answered, 0);
    }
}
