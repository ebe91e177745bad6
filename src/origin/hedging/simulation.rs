//! Simulation of an origin and its readers in virtual time: gain and cost of hedging.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::Hedging;
use super::race::About;
use crate::metrics::hedging::Phase;
use crate::origin::error::OriginError;
use crate::s3::S3Error;

/// Latencies and faults of the simulated origin.
#[derive(Debug, Clone, Copy)]
struct Origin {
    usual: Duration,
    /// Number of cold objects in ten thousand, and the extra latency of each of them, hedged or not.
    cold: (u32, Duration),
    /// Number of late requests in ten thousand, and their delay.
    late: (u32, Duration),
    /// Number of requests in ten thousand that are refused with 503.
    throttled: u32,
}

const WARM: Origin = Origin {
    usual: Duration::from_millis(30),
    cold: (0, Duration::ZERO),
    late: (0, Duration::ZERO),
    throttled: 0,
};

struct Outcome {
    /// Durations of the reads, ascending.
    times: Vec<Duration>,
    reads: u64,
    requests: u64,
}

impl Outcome {
    fn quantile(&self, per_mille: usize) -> Duration {
        self.times[self.times.len() * per_mille / 1000]
    }

    fn extra_percent(&self) -> f64 {
        #[allow(clippy::cast_precision_loss, reason = "small numbers")]
        let percent = (self.requests - self.reads) as f64 * 100.0 / self.reads as f64;
        percent
    }
}

/// Runs `reads` reads of 1 MiB by 16 readers, each in a bucket of its own.
async fn simulate(origin: Origin, enabled: bool, reads: u64) -> Outcome {
    let hedging = Arc::new(Hedging::new(enabled));
    let requests = Arc::new(AtomicU64::new(0));
    let random = Arc::new(Mutex::new(StdRng::seed_from_u64(7)));
    let mut readers = JoinSet::new();
    for reader in 0..16 {
        let (hedging, requests, random) = (hedging.clone(), requests.clone(), random.clone());
        readers.spawn(async move {
            let mut times = Vec::new();
            for _ in 0..reads / 16 {
                let chance = |of: u32| random.lock().gen_range(0..10_000) < of;
                let cold = if chance(origin.cold.0) { origin.cold.1 } else { Duration::ZERO };
                let send = || async {
                    let began = Instant::now();
                    requests.fetch_add(1, Ordering::Relaxed);
                    let late = if chance(origin.late.0) { origin.late.1 } else { Duration::ZERO };
                    let refused = chance(origin.throttled);
                    let noise = random.lock().gen_range(0.8..1.2);
                    sleep(origin.usual.mul_f64(noise) + cold + late).await;
                    match refused {
                        true => {
                            hedging.throttled();
                            Err(OriginError::Throttled(S3Error::slow_down()))
                        }
                        false => Ok(((), began.elapsed())),
                    }
                };
                let began = Instant::now();
                let about = About { phase: Phase::FirstByte, bytes: 1 << 20, bucket: reader };
                let _ = hedging.race(about, || true, send).await;
                times.push(began.elapsed());
            }
            times
        });
    }
    let mut times: Vec<Duration> = readers.join_all().await.into_iter().flatten().collect();
    times.sort_unstable();
    Outcome { reads: times.len() as u64, times, requests: requests.load(Ordering::Relaxed) }
}

#[tokio::test(start_paused = true)]
async fn one_late_answer_in_a_hundred_is_not_the_slowest_thousandth() {
    let origin = Origin { late: (100, Duration::from_secs(1)), ..WARM };
    let [without, with] =
        [simulate(origin, false, 50_000).await, simulate(origin, true, 50_000).await];
    assert!(without.quantile(999) > without.quantile(500) * 30);
    assert!(with.quantile(999) <= with.quantile(500) * 3, "{:?}", with.quantile(999));
    assert!(with.extra_percent() <= 6.0, "{} %", with.extra_percent());
}

#[tokio::test(start_paused = true)]
async fn cold_objects_are_waited_for() {
    let origin = Origin { cold: (3000, Duration::from_millis(80)), ..WARM };
    let with = simulate(origin, true, 50_000).await;
    assert!(with.extra_percent() <= 1.0, "{} %", with.extra_percent());
    let late = Origin { late: (100, Duration::from_secs(2)), ..origin };
    let with = simulate(late, true, 50_000).await;
    assert!(with.quantile(999) <= Duration::from_millis(400), "{:?}", with.quantile(999));
    assert!(with.extra_percent() <= 6.0, "{} %", with.extra_percent());
}

#[tokio::test(start_paused = true)]
async fn an_origin_that_gets_slower_as_a_whole_is_not_asked_twice_as_often() {
    let hedging = simulate(WARM, true, 5000).await;
    assert!(hedging.extra_percent() <= 1.5, "{} %", hedging.extra_percent());
    let slow = Origin { late: (5000, Duration::from_millis(500)), ..WARM };
    let with = simulate(slow, true, 50_000).await;
    assert!(with.extra_percent() <= 5.1, "{} %", with.extra_percent());
}

#[tokio::test(start_paused = true)]
async fn an_origin_that_throttles_is_not_asked_twice() {
    let origin = Origin { throttled: 500, late: (100, Duration::from_secs(1)), ..WARM };
    let with = simulate(origin, true, 20_000).await;
    assert!(with.extra_percent() <= 0.1, "{} %", with.extra_percent());
}
