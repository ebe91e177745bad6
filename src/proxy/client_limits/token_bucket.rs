//! Token bucket that refills with time and may be overdrawn; its state is one number.
//!
//! The state is that of the virtual scheduling form of the generic cell rate algorithm: the time at which the bucket
//! is full again. A full bucket holds what its rate brings in one second, which an idle client may use at once.

use std::time::Duration;

/// Nanoseconds since a fixed instant.
pub(super) type Nanos = u64;

/// Capacity of a bucket, as the time that its rate takes to fill it.
const BURST: Nanos = 1_000_000_000;

/// Time at which the bucket is full again; it is full now if that time has passed.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct TokenBucket(Nanos);

/// Returns the time that a rate takes to bring `amount` tokens.
fn cost(amount: u64, rate: u64) -> Nanos {
    let nanos = u128::from(amount) * 1_000_000_000 / u128::from(rate.max(1));
    Nanos::try_from(nanos).unwrap_or(Nanos::MAX)
}

impl TokenBucket {
    /// Takes one token, if there is one.
    pub(super) fn take_one(&mut self, rate: u64, now: Nanos) -> bool {
        let full_at = self.0.max(now).saturating_add(cost(1, rate));
        let is_there = full_at - now <= BURST;
        if is_there {
            self.0 = full_at;
        }
        is_there
    }

    /// Takes an amount, and returns the time until the tokens taken before it are paid for.
    pub(super) fn take(&mut self, amount: u64, rate: u64, now: Nanos) -> Duration {
        let wait = self.debt(now);
        self.0 = self.0.max(now).saturating_add(cost(amount, rate));
        wait
    }

    /// Returns an amount that was taken and not used.
    pub(super) fn put_back(&mut self, amount: u64, rate: u64) {
        self.0 = self.0.saturating_sub(cost(amount, rate));
    }

    /// Returns the time until the bucket is no longer overdrawn.
    pub(super) fn debt(self, now: Nanos) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(now).saturating_sub(BURST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Nanos = 1_000_000_000;
    /// An arbitrary time: only differences count.
    const NOW: Nanos = 5 * SECOND;

    fn taken(bucket: &mut TokenBucket, rate: u64, now: Nanos) -> usize {
        (0..1000).take_while(|_| bucket.take_one(rate, now)).count()
    }

    #[test]
    fn holds_what_one_second_brings_and_refills_at_its_rate() {
        for rate in [1, 3, 7, 100] {
            let mut bucket = TokenBucket::default();
            let burst = usize::try_from(rate).unwrap();
            assert_eq!(taken(&mut bucket, rate, NOW), burst);
            // Rounding loses a few nanoseconds.
            assert_eq!(taken(&mut bucket, rate, NOW + SECOND / rate - 10), 0);
            assert_eq!(taken(&mut bucket, rate, NOW + SECOND / rate), 1);
            assert_eq!(taken(&mut bucket, rate, NOW + 9 * SECOND), burst, "never more than full");
        }
    }

    #[test]
    fn a_refused_token_costs_nothing() {
        let mut bucket = TokenBucket::default();
        assert_eq!(taken(&mut bucket, 2, NOW), 2);
        for _ in 0..1000 {
            assert!(!bucket.take_one(2, NOW));
        }
        assert_eq!(taken(&mut bucket, 2, NOW + SECOND / 2), 1);
    }

    #[test]
    fn amounts_of_any_size_pass_in_turn_at_the_rate() {
        let mut bucket = TokenBucket::default();
        // Ten seconds' worth in one piece; the bucket held one second's worth.
        assert_eq!(bucket.take(1000, 100, NOW), Duration::ZERO);
        assert_eq!(bucket.debt(NOW), Duration::from_secs(9));
        // Later requests wait for earlier ones: none overtakes.
        let waits: Vec<u64> = (0..3).map(|_| bucket.take(200, 100, NOW).as_secs()).collect();
        assert_eq!(waits, [9, 11, 13]);
        bucket.put_back(200, 100);
        assert_eq!(bucket.debt(NOW), Duration::from_secs(13));
        assert_eq!(bucket.debt(NOW + 13 * SECOND), Duration::ZERO);
    }

    #[test]
    fn sums_over_a_long_time_are_the_rate() {
        let (mut bucket, mut now, mut sent) = (TokenBucket::default(), NOW, 0);
        while now < NOW + 100 * SECOND {
            now += Nanos::try_from(bucket.take(1 << 20, 3 << 20, now).as_nanos()).unwrap();
            sent += 1;
        }
        // The first second's tokens come at once, and one piece more, which the next ones wait for; so does the last.
        assert_eq!(sent, 305);
    }
}
