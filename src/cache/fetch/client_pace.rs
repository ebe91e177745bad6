//! The rate at which a client takes bytes, from the writes that had to wait for it.

use std::time::Duration;

use super::plan::UNIT;

/// Total time of blocked writes that makes a sample of the rate.
const SAMPLE: Duration = Duration::from_millis(100);

/// The measured rate of one client.
#[derive(Debug)]
pub(in crate::cache) struct ClientPace {
    /// Bytes of blocked writes, and the time for which they were blocked, since the last sample.
    sent: u64,
    took: Duration,
    /// Bytes per second, at least [`UNIT`]; `u64::MAX` until the first sample.
    rate: u64,
    /// Whether a write was blocked since the last fetch.
    waited: bool,
}

impl ClientPace {
    pub(in crate::cache) fn new() -> Self {
        Self { sent: 0, took: Duration::ZERO, rate: u64::MAX, waited: false }
    }

    /// Notes that a write of `bytes` was blocked for `took`. Returns whether that completed a sample.
    pub(in crate::cache) fn waited(&mut self, bytes: u64, took: Duration) -> bool {
        self.waited = true;
        self.sent += bytes;
        self.took += took;
        if self.took < SAMPLE {
            return false;
        }
        let millis = u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX);
        self.rate = (self.sent.saturating_mul(1000) / millis).max(UNIT);
        (self.sent, self.took) = (0, Duration::ZERO);
        true
    }

    /// Notes a fetch for the client: if no write was blocked since the last one, the client may be faster than
    /// measured.
    pub(in crate::cache) fn fetches(&mut self) {
        if !std::mem::take(&mut self.waited) {
            self.rate = self.rate.saturating_mul(2);
        }
    }

    /// Returns the rate of the client, in bytes per second.
    pub(in crate::cache) fn rate(&self) -> u64 {
        self.rate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_follows_the_writes_that_wait_and_doubles_while_none_does() {
        let mut pace = ClientPace::new();
        assert!(!pace.waited(1 << 20, Duration::from_millis(99)));
        assert_eq!(pace.rate(), u64::MAX, "too short to tell");
        assert!(pace.waited(1 << 20, Duration::from_millis(901)));
        assert_eq!(pace.rate(), 2 << 20);
        pace.fetches();
        assert_eq!(pace.rate(), 2 << 20, "a write had to wait");
        pace.fetches();
        assert_eq!(pace.rate(), 4 << 20);
        assert!(pace.waited(0, Duration::from_secs(10)));
        assert_eq!(pace.rate(), UNIT, "never nothing");
    }
}
