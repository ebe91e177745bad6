//! Pauses between lookups of credentials.

use std::time::Duration;

use tokio::time::Instant;

use crate::pacing::Backoff;

/// Minimum time between two lookups.
const PAUSE: Duration = Duration::from_secs(5);
/// Maximum pause after a lookup that found nothing, or that was not answered: a `credential_process` that hangs is not
/// ended by the SDK, and each lookup starts another one.
pub(super) const LONG: Duration = Duration::from_mins(5);
/// Maximum pause after a lookup that was refused.
pub(super) const SHORT: Duration = Duration::from_secs(30);

/// Decides when credentials may be looked up again.
#[derive(Debug)]
pub(super) struct Pace {
    /// Time before which no lookup begins.
    next: Option<Instant>,
    backoff: Backoff,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self { next: None, backoff: Backoff::with_half_jitter(PAUSE * 2, LONG) }
    }

    /// Whether a lookup may begin now. If so, records that it does.
    pub(super) fn begin(&mut self) -> bool {
        let now = Instant::now();
        let may = self.next.is_none_or(|next| next <= now);
        if may {
            self.next = Some(now + PAUSE);
        }
        may
    }

    /// Records that a lookup failed: the pause doubles with each failure, up to `longest`.
    pub(super) fn failed(&mut self, longest: Duration) {
        self.next = Some(Instant::now() + self.backoff.pause().min(longest).max(PAUSE));
    }

    /// Records that a lookup succeeded.
    pub(super) fn succeeded(&mut self) {
        self.backoff.reset();
    }

    /// Ends the pause, since a source has changed.
    pub(super) fn source_changed(&mut self) {
        self.backoff.reset();
        self.next = None;
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    /// Returns the time until the next lookup may begin.
    async fn pause(pace: &mut Pace) -> Duration {
        let since = Instant::now();
        while !pace.begin() {
            advance(Duration::from_secs(1)).await;
        }
        since.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn lookups_that_fail_follow_each_other_ever_more_slowly_until_one_succeeds() {
        let mut pace = Pace::new();
        assert!(pace.begin() && !pace.begin());
        let mut pauses = Vec::new();
        for _ in 0..12 {
            pace.failed(LONG);
            pauses.push(pause(&mut pace).await);
        }
        assert!(pauses[0] <= PAUSE * 2, "{pauses:?}");
        assert!(pauses.iter().all(|pause| (PAUSE..=LONG + PAUSE).contains(pause)), "{pauses:?}");
        assert!(pauses[8..].iter().all(|pause| *pause >= LONG / 2), "{pauses:?}");
        pace.failed(SHORT);
        assert!(pause(&mut pace).await <= SHORT + PAUSE);
        pace.succeeded();
        pace.failed(LONG);
        assert!(pause(&mut pace).await <= PAUSE * 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_that_changes_is_looked_at_at_once() {
        let mut pace = Pace::new();
        for _ in 0..12 {
            pace.failed(LONG);
        }
        assert!(!pace.begin());
        pace.source_changed();
        assert!(pace.begin());
        // What is there now may be half written.
        pace.failed(SHORT);
        assert!(!pace.begin() && pause(&mut pace).await <= PAUSE * 2);
    }
}
