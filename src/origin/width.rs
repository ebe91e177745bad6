//! Width of reads: the number of ranges of one read that are requested concurrently, adapted to the origin.
//!
//! More connections bring more bytes as long as each is limited by itself, as those to an object store are. Where they
//! share a limit, further ones only cost. So reads are made wider while that pays ([`search`]), and narrower where
//! nothing is lost by it: an origin that is as fast over one connection gets one range at a time.
//!
//! Their ranges become shorter where a read of medium length would otherwise wait for a few connections ([`range_size`]).

mod meter;
mod range_size;
mod search;
#[cfg(test)]
mod simulation;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use self::meter::Meter;
pub use self::range_size::Sizes;
use self::search::Search;
use crate::metrics::origin as gauges;

/// Maximum concurrent ranges of one read, whatever the number of connections.
const MOST: usize = 64;
/// Minimum bytes of a request for it to count in the measurement.
const BULK: u64 = 1 << 20;

/// The width of reads from one origin, in concurrent ranges.
#[derive(Debug)]
pub struct Width {
    /// Name of the origin in metrics; `None`: the default origin.
    name: Option<Arc<str>>,
    state: Mutex<State>,
    /// The width in force.
    ranges: AtomicUsize,
    /// Bytes that a connection brings in the time to a response head; 0: unknown, or too few to matter.
    worth: AtomicU64,
}

#[derive(Debug)]
struct State {
    meter: Meter,
    search: Search,
}

/// A bulk transfer under way.
#[derive(Debug)]
pub(super) struct Transfer {
    width: Arc<Width>,
    /// Number of the step in which it began.
    step: u64,
    /// Time of the response head, and the bytes received since.
    body: Option<(Instant, u64)>,
}

impl Width {
    /// Creates the width for an origin with this many connections. `name`: in metrics; `None`: the default origin.
    pub(super) fn new(name: Option<&str>, connections: usize) -> Arc<Self> {
        let now = Instant::now();
        // Half of the connections are for other reads.
        let search = Search::new((connections / 2).clamp(1, MOST));
        let ranges = AtomicUsize::new(search.width());
        let state = Mutex::new(State { meter: Meter::new(now), search });
        Arc::new(Self { name: name.map(Arc::from), state, ranges, worth: AtomicU64::new(0) })
    }

    /// Returns the number of ranges that one read may have under way.
    pub fn ranges(&self) -> usize {
        self.ranges.load(Ordering::Relaxed)
    }

    /// Records that a read was held back by the width.
    pub fn held_back(&self) {
        self.state.lock().meter.held_back();
    }

    /// Starts a request for `bytes`. `None`: it is too small to count.
    pub(super) fn begin(self: &Arc<Self>, bytes: u64) -> Option<Transfer> {
        if bytes < BULK {
            return None;
        }
        gauges::set_parallel_ranges(self.name.as_deref(), self.ranges());
        let step = self.state.lock().meter.begins(Instant::now());
        Some(Transfer { width: self.clone(), step, body: None })
    }

    /// Records that the origin throttles.
    pub(super) fn throttled(&self) {
        let now = Instant::now();
        self.change(|state| {
            if state.search.throttled(now) {
                state.meter.restart(now, true);
            }
        });
        self.worth.store(0, Ordering::Relaxed);
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock();
        change(&mut state);
        let ranges = state.search.width();
        if self.ranges.swap(ranges, Ordering::Relaxed) != ranges {
            gauges::set_parallel_ranges(self.name.as_deref(), ranges);
        }
    }
}

impl State {
    /// Returns the bytes that an answer is worth. An origin that throttles gets few and long requests.
    fn worth(&self, now: Instant) -> u64 {
        if self.search.is_throttled(now) { 0 } else { self.meter.worth() }
    }
}

impl Transfer {
    /// Records that the response head arrived, `elapsed` after the request was sent.
    pub(super) fn answered(&mut self, elapsed: Duration) {
        self.body = Some((Instant::now(), 0));
        self.width.state.lock().meter.answered(elapsed);
    }

    /// Records that `bytes` of the body arrived.
    pub(super) fn received(&mut self, bytes: u64) {
        let now = Instant::now();
        if let Some((_, received)) = &mut self.body {
            *received += bytes;
        }
        self.width.change(|State { meter, search }| {
            if let Some(sample) = meter.received(bytes, now) {
                let before = search.width();
                search.step(sample, now);
                meter.restart(now, search.width() < before);
            } else if meter.was_idle() {
                search.was_idle();
            }
        });
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        let now = Instant::now();
        let mut state = self.width.state.lock();
        state.meter.ends(now, self.step);
        if let Some((since, bytes)) = self.body
            && bytes >= BULK
        {
            state.meter.transferred(bytes, now - since);
            self.width.worth.store(state.worth(now), Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_read_has_at_most_half_of_the_connections_and_small_requests_say_nothing() {
        for (connections, most) in [(1, 1), (2, 1), (8, 4), (256, search::START)] {
            assert_eq!(Width::new(None, connections).ranges(), most, "{connections}");
        }
        let width = Width::new(None, 256);
        assert!(width.begin(BULK - 1).is_none() && width.begin(BULK).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn an_origin_that_asks_for_less_is_asked_for_half_and_once_for_many_refusals() {
        let width = Width::new(None, 256);
        width.throttled();
        assert_eq!(width.ranges(), search::START / 2);
        (0..100).for_each(|_| width.throttled());
        assert_eq!(width.ranges(), search::START / 2);
        for _ in 0..10 {
            tokio::time::advance(Duration::from_secs(2)).await;
            width.throttled();
        }
        assert_eq!(width.ranges(), search::FLOOR);
    }

    #[tokio::test(start_paused = true)]
    async fn an_origin_that_throttles_gets_long_ranges_for_a_while() {
        let width = Width::new(None, 256);
        let read = async || {
            let mut transfer = width.begin(8 * BULK).expect("many bytes");
            transfer.answered(Duration::from_millis(30));
            tokio::time::advance(Duration::from_millis(100)).await;
            transfer.received(8 * BULK);
            drop(transfer);
            width.range_size(8 * BULK, Sizes { least: BULK, most: 8 * BULK })
        };
        assert_eq!(read().await, 2 * BULK);
        width.throttled();
        assert_eq!(read().await, 8 * BULK);
        tokio::time::advance(Duration::from_mins(1)).await;
        assert_eq!(read().await, 2 * BULK);
    }
}
