//! Latencies of the origin's addresses, each compared with the others.
//!
//! Requests go to all addresses alike, so their usual latencies are alike, whatever is requested. An address that is
//! much slower than most others for a while has a problem of its own. Geometric means are compared, in which each
//! response has a small weight, since single late responses prove nothing.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

/// Weight of one response in the mean.
const PART: f64 = 0.05;
/// Minimum responses before an address takes part in comparisons.
const LEAST: u32 = 20;
/// Factor over the usual latency of the others from which an address is much slower.
const RATIO: f64 = 4.0;
/// Minimum difference to that latency, in addition.
const DIFFERENCE: Duration = Duration::from_millis(50);
/// Time without a response after which an address no longer takes part in comparisons.
const RECENT: Duration = Duration::from_mins(1);
/// Maximum number of addresses that are compared.
const MOST: usize = 256;

/// Usual latencies by address.
#[derive(Debug, Default)]
pub(super) struct Latencies(HashMap<SocketAddr, Latency>);

#[derive(Debug)]
struct Latency {
    /// Mean of the logarithms of the latency in seconds.
    mean: f64,
    answers: u32,
    last: Instant,
}

impl Latencies {
    /// Records a response after `elapsed`. Returns whether the address is much slower than the others; its statistics
    /// are then reset.
    pub(super) fn record(&mut self, address: SocketAddr, elapsed: Duration) -> bool {
        let now = Instant::now();
        if self.0.len() >= MOST && !self.0.contains_key(&address) {
            self.0.retain(|_, other| now - other.last < RECENT);
            return false;
        }
        let log = elapsed.as_secs_f64().max(1e-6).ln();
        let of = self.0.entry(address).or_insert(Latency { mean: log, answers: 0, last: now });
        let part = PART.max(1.0 / f64::from(of.answers + 1));
        of.mean += (log - of.mean) * part;
        of.answers = of.answers.saturating_add(1);
        of.last = now;
        let (mean, answers) = (of.mean.exp(), of.answers);
        let is_slow = answers >= LEAST
            && self.usual_of_others(address, now).is_some_and(|usual| {
                mean > usual * RATIO && mean > usual + DIFFERENCE.as_secs_f64()
            });
        if is_slow {
            self.0.remove(&address);
        }
        is_slow
    }

    /// Returns the usual latency of an address, in seconds.
    pub(super) fn usual(&self, address: SocketAddr) -> Option<f64> {
        self.0.get(&address).map(|latency| latency.mean.exp())
    }

    /// Resets the statistics of an address.
    pub(super) fn forget(&mut self, address: SocketAddr) {
        self.0.remove(&address);
    }

    /// Returns the median latency of the other addresses, in seconds.
    pub(super) fn usual_of_others(&self, address: SocketAddr, now: Instant) -> Option<f64> {
        let others = self.0.iter().filter(|(other, latency)| {
            **other != address && latency.answers >= LEAST && now - latency.last < RECENT
        });
        let mut means: Vec<f64> = others.map(|(_, latency)| latency.mean).collect();
        means.sort_by(f64::total_cmp);
        means.get(means.len() / 2).map(|mean| mean.exp())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: u8) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, n], 80))
    }

    /// Returns those of four addresses that are found slow, when the first answers after `slow` and the others after 30
    /// ms.
    fn slow_ones(slow: impl Fn(u64) -> Duration) -> Vec<u8> {
        let mut latencies = Latencies::default();
        let mut found = Vec::new();
        for turn in 0..1000 {
            for n in 1..=4 {
                let usual = Duration::from_millis(20 + turn * 7 % 20);
                let elapsed = if n == 1 { slow(turn) } else { usual };
                if latencies.record(address(n), elapsed) && !found.contains(&n) {
                    found.push(n);
                }
            }
        }
        found
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_is_always_much_slower_than_the_others_is_found() {
        assert_eq!(slow_ones(|_| Duration::from_millis(300)), [1]);
        assert_eq!(slow_ones(|turn| Duration::from_millis(if turn < 500 { 30 } else { 400 })), [1]);
    }

    #[tokio::test(start_paused = true)]
    async fn late_answers_now_and_then_and_small_differences_are_none() {
        let late = |turn| Duration::from_millis(if turn % 20 == 0 { 10_000 } else { 30 });
        assert!(slow_ones(late).is_empty());
        assert!(slow_ones(|_| Duration::from_millis(90)).is_empty());
        let (mut near, mut all) = (Latencies::default(), Latencies::default());
        for turn in 0..1000 {
            // A tenth of a millisecond, and ten times as much: both are near.
            assert!(!near.record(address(1), Duration::from_millis(1)));
            assert!(!near.record(address(2), Duration::from_micros(100)));
            // All become slow together.
            for n in 1..=4 {
                let elapsed = Duration::from_millis(if turn < 500 { 30 } else { 2000 });
                assert!(!all.record(address(n), elapsed), "{n}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_alone_is_compared_with_nothing_and_what_is_kept_is_bounded() {
        let mut latencies = Latencies::default();
        assert!((0..100).all(|_| !latencies.record(address(1), Duration::from_secs(5))));
        for port in 0..1000 {
            latencies.record(SocketAddr::from(([127, 0, 0, 1], port)), Duration::ZERO);
        }
        assert!(latencies.0.len() <= MOST);
    }
}
