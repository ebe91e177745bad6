//! Pace of warming: a limit on concurrent reads, none while readers need the capacity, and a rate limit per job.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::SemaphorePermit;
use tokio::time::{Instant, sleep, sleep_until};

use super::config::WarmConfig;
use crate::cache::Cache;
use crate::permits::Permits;

/// Interval between checks whether client load allows warming to continue.
const LOOK: Duration = Duration::from_millis(20);

/// Returns the number of client requests in flight.
pub type Demand = Arc<dyn Fn() -> usize + Send + Sync>;

pub(super) struct Pace {
    reads: Arc<Permits>,
    cache: Arc<Cache>,
    demand: Demand,
    requests_max: AtomicUsize,
}

/// Permit for a read, until it is dropped.
pub(super) type Turn<'a> = SemaphorePermit<'a>;

impl Pace {
    pub(super) fn new(config: &WarmConfig, cache: Arc<Cache>, demand: Demand) -> Self {
        let reads = Permits::new(reads_max(config));
        Self { reads, cache, demand, requests_max: AtomicUsize::new(config.requests) }
    }

    /// Sets the limits, from the next read on.
    pub(super) fn set_limits(&self, config: &WarmConfig) {
        self.reads.resize(reads_max(config));
        self.requests_max.store(config.requests, Ordering::Relaxed);
    }

    /// Returns the maximum number of concurrent reads.
    pub(super) fn reads(&self) -> usize {
        self.reads.usage().1
    }

    /// Waits until one more read may begin: the job's rate, the limit on reads, and the load of readers allow it.
    pub(super) async fn turn(&self, rate: &Rate) -> Turn<'_> {
        // The job's own rate first: a job that waits for it must not hold a permit.
        rate.wait().await;
        let turn = self.reads.semaphore().acquire().await.expect("it is never closed");
        while self.obstacle().is_some() {
            sleep(LOOK).await;
        }
        turn
    }

    /// Returns the reason why warming is paused, if it is.
    pub(super) fn obstacle(&self) -> Option<&'static str> {
        if (self.demand)() > self.requests_max.load(Ordering::Relaxed) {
            return Some("readers");
        }
        (!self.cache.has_room()).then_some("memory")
    }
}

fn reads_max(config: &WarmConfig) -> usize {
    config.reads.clamp(1, WarmConfig::READS_MAX)
}

/// Average rate limit in bytes per second: each read is charged afterwards, and the next one waits until the charge is
/// paid off.
pub(super) struct Rate {
    bytes: Option<u64>,
    next: Mutex<Instant>,
}

impl Rate {
    pub(super) fn new(bytes: Option<u64>) -> Self {
        Self { bytes: bytes.map(|bytes| bytes.max(1)), next: Mutex::new(Instant::now()) }
    }

    /// Returns the maximum bytes of one read: those of a second, so that a slow job has no bursts.
    pub(super) fn chunk(&self, block: u64, fetch: u64) -> u64 {
        let bytes = self.bytes.unwrap_or(fetch).min(fetch);
        (bytes - bytes % block).max(block)
    }

    async fn wait(&self) {
        loop {
            let next = *self.next.lock();
            if next <= Instant::now() {
                return;
            }
            sleep_until(next).await;
        }
    }

    pub(super) fn pay(&self, bytes: u64) {
        let Some(rate) = self.bytes else { return };
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(rate);
        let took = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let mut next = self.next.lock();
        let from = (*next).max(Instant::now());
        *next = from.checked_add(took).unwrap_or(from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[tokio::test(start_paused = true)]
    async fn bytes_are_paid_for_before_the_next_read() {
        let rate = Rate::new(Some(10 * MIB));
        let start = Instant::now();
        rate.wait().await;
        assert_eq!(start.elapsed(), Duration::ZERO);
        rate.pay(20 * MIB);
        rate.pay(10 * MIB);
        rate.wait().await;
        assert!(start.elapsed() >= Duration::from_secs(3));
        assert!(
            start.elapsed() < Duration::from_millis(3100),
            "the clock of the test, not a real one"
        );
        // Unused time is not accumulated.
        tokio::time::advance(Duration::from_mins(1)).await;
        rate.pay(10 * MIB);
        let before = Instant::now();
        rate.wait().await;
        assert!(before.elapsed() >= Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_rate_nothing_waits() {
        let rate = Rate::new(None);
        rate.pay(u64::MAX);
        let start = Instant::now();
        rate.wait().await;
        assert_eq!(start.elapsed(), Duration::ZERO);
    }

    #[tokio::test]
    async fn a_slow_job_reads_in_small_pieces_of_whole_blocks() {
        let chunk = |rate| Rate::new(rate).chunk(MIB, 8 * MIB);
        assert_eq!(chunk(None), 8 * MIB);
        assert_eq!(chunk(Some(100 * MIB)), 8 * MIB);
        assert_eq!(chunk(Some(3 * MIB + 5)), 3 * MIB);
        assert_eq!(chunk(Some(1)), MIB);
    }
}
