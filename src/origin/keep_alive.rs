//! Idle timeout of connections, adapted to the time for which the origin keeps them open.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Minimum of the timeout, if the configuration allows as much: every service keeps connections for some seconds.
const LEAST: Duration = Duration::from_secs(4);
/// Time without a dead connection after which the timeout is doubled.
const SETTLED: Duration = Duration::from_mins(10);

/// The adaptive idle timeout of connections.
#[derive(Debug)]
pub(super) struct KeepAlive {
    most: Duration,
    limit: Mutex<Limit>,
}

#[derive(Debug)]
struct Limit {
    time: Duration,
    /// Time of the last change.
    since: Instant,
}

impl KeepAlive {
    /// Starts at `most`, the upper limit.
    pub(super) fn new(most: Duration) -> Self {
        Self { most, limit: Mutex::new(Limit { time: most, since: Instant::now() }) }
    }

    /// Returns the current idle timeout.
    pub(super) fn limit(&self) -> Duration {
        let mut limit = self.limit.lock();
        if limit.time < self.most && limit.since.elapsed() >= SETTLED {
            *limit = Limit { time: (limit.time * 2).min(self.most), since: Instant::now() };
        }
        limit.time
    }

    /// Shortens the timeout because a connection with this idle time turned out to be dead. One that died within the
    /// minimum did not die of being idle.
    pub(super) fn was_dead(&self, idle: Duration) {
        let (mut limit, least) = (self.limit.lock(), LEAST.min(self.most));
        if idle < least {
            return;
        }
        let time = (idle / 4 * 3).max(least);
        if time < limit.time {
            log::debug!("origin: a connection was dead after {idle:?}, they are kept for {time:?}");
            *limit = Limit { time, since: Instant::now() };
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[tokio::test(start_paused = true)]
    async fn a_dead_connection_shortens_it_and_time_without_one_brings_it_back() {
        let keep_alive = KeepAlive::new(secs(50));
        assert_eq!(keep_alive.limit(), secs(50));
        keep_alive.was_dead(secs(20));
        assert_eq!(keep_alive.limit(), secs(15));
        keep_alive.was_dead(secs(40));
        assert_eq!(keep_alive.limit(), secs(15), "never longer by a dead one");
        for idle in [3, 1, 0] {
            keep_alive.was_dead(secs(idle));
        }
        assert_eq!(keep_alive.limit(), secs(15), "not by one that was hardly idle");
        keep_alive.was_dead(secs(5));
        assert_eq!(keep_alive.limit(), LEAST);
        advance(SETTLED.saturating_sub(secs(1))).await;
        assert_eq!(keep_alive.limit(), LEAST);
        for longer in [8, 16, 32, 50, 50] {
            advance(SETTLED).await;
            assert_eq!(keep_alive.limit(), secs(longer));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_configured_is_the_most() {
        let keep_alive = KeepAlive::new(secs(2));
        keep_alive.was_dead(secs(2));
        assert_eq!(keep_alive.limit(), secs(2));
        let none = KeepAlive::new(Duration::ZERO);
        none.was_dead(Duration::ZERO);
        assert_eq!(none.limit(), Duration::ZERO);
    }
}
