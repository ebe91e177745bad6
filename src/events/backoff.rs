//! Backoff of receivers between attempts, and the log messages about failures.

use std::time::Duration;

use rand::Rng;

const BASE: Duration = Duration::from_millis(200);
/// While a receiver is not connected nothing is trusted, so a long pause costs hits, not freshness.
pub(super) const CAP: Duration = Duration::from_secs(10);

/// Counts failures in a row.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The pause after one more failure: between the half and the whole of what doubles up to 10 s, so that
    /// many replicas do not come back at once.
    pub(super) fn pause(&mut self) -> Duration {
        let ceiling = BASE.saturating_mul(1 << self.failures.min(16)).min(CAP);
        self.failures = self.failures.saturating_add(1);
        ceiling.mul_f64(rand::thread_rng().gen_range(0.5..=1.0))
    }

    /// It works again.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

/// An error and what caused it, in one line: many say only at which step they failed.
pub(super) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        // Some repeat their cause in their own text.
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_to_the_cap_and_begin_anew_after_a_success() {
        let mut backoff = Backoff::default();
        let mut ceiling = BASE;
        for _ in 0..40 {
            let pause = backoff.pause();
            assert!(ceiling / 2 <= pause && pause <= ceiling, "{pause:?} of {ceiling:?}");
            ceiling = (ceiling * 2).min(CAP);
        }
        backoff.reset();
        assert!(backoff.pause() <= BASE);
    }
}
