//! Simulation of an outage in virtual time: requests sent to the origin meanwhile, by the code of the server.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::client::Origin;
use super::config::OriginConfig;
use super::error::OriginError;
use super::retry::RetryBudget;
use crate::metrics::OriginKind;
use crate::metrics::origin::OriginFailure;
use crate::s3::S3Error;

const READS_A_SECOND: u32 = 200;

/// Readers that continue to read whatever the outcome, and an origin that fails for a while.
struct World {
    origin: Origin,
    fails: AtomicBool,
    started: Instant,
    /// Requests received by the origin, by second.
    sent: Mutex<Vec<u32>>,
    refused_at_once: AtomicU32,
    /// Time of the first answer after the failure.
    answered: Mutex<Option<Instant>>,
}

impl World {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            origin: Origin::new(OriginConfig::default(), None).unwrap(),
            fails: AtomicBool::new(false),
            started: Instant::now(),
            sent: Mutex::default(),
            refused_at_once: AtomicU32::new(0),
            answered: Mutex::default(),
        })
    }

    fn count(&self) {
        let second = usize::try_from(self.started.elapsed().as_secs()).unwrap();
        let mut sent = self.sent.lock();
        let seconds = sent.len().max(second + 1);
        sent.resize(seconds, 0);
        sent[second] += 1;
    }

    async fn send(&self, by: fn() -> OriginError) -> Result<(), OriginError> {
        self.origin.health().permit()?;
        self.count();
        sleep(Duration::from_millis(10)).await;
        match self.fails.load(Ordering::Relaxed) {
            true => Err(by()),
            false => Ok(()),
        }
    }

    /// Reads as [`Origin::get`] does.
    async fn read(&self, number: u64, by: fn() -> OriginError) {
        let (began, mut budget) = (Instant::now(), RetryBudget::new(self.origin.config()));
        loop {
            let outcome = self.send(by).await;
            if !matches!(outcome, Err(OriginError::Down(_))) {
                self.origin.health().record(OriginKind::Get, number, outcome.as_ref().err());
            }
            let failure = match outcome {
                Ok(()) => {
                    self.answered.lock().get_or_insert_with(Instant::now);
                    return;
                }
                Err(failure) => failure,
            };
            if let OriginError::Down(_) = &failure
                && began.elapsed().is_zero()
            {
                let error = failure.to_s3();
                assert!(
                    error.status == 503 && error.headers.iter().any(|(n, _)| n == "retry-after")
                );
                self.refused_at_once.fetch_add(1, Ordering::Relaxed);
            }
            if self.origin.pause(failure, &mut budget).await.is_err() {
                return;
            }
        }
    }

    async fn read_for(self: &Arc<Self>, seconds: u64, by: fn() -> OriginError) {
        let (mut reads, began) = (JoinSet::new(), Instant::now());
        for number in 0..u64::from(READS_A_SECOND) * seconds {
            sleep_until(
                began + Duration::from_secs(1) * u32::try_from(number).unwrap() / READS_A_SECOND,
            )
            .await;
            let this = self.clone();
            reads.spawn(async move { this.read(number, by).await });
        }
        sleep_until(began + Duration::from_secs(seconds)).await;
        reads.detach_all();
    }
}

/// Simulates an outage of a minute after 20 good seconds.
async fn outage(by: fn() -> OriginError) {
    let world = World::new();
    world.read_for(20, by).await;
    world.fails.store(true, Ordering::Relaxed);
    world.read_for(60, by).await;
    let sent = world.sent.lock().clone();
    assert!(sent[19] <= READS_A_SECOND + 1, "{sent:?}");
    // A tenth more, and the few of `retry_budget.floor`; from then on probes.
    assert!(sent[20] <= READS_A_SECOND * 11 / 10 + 10, "{sent:?}");
    assert!(sent[22..].iter().all(|sent| *sent <= 2), "{sent:?}");
    // All but the reads of its first moments and the probes were answered at once.
    let refused = world.refused_at_once.load(Ordering::Relaxed);
    assert!(refused >= 58 * READS_A_SECOND, "{refused}");

    world.fails.store(false, Ordering::Relaxed);
    *world.answered.lock() = None;
    let back = Instant::now();
    world.read_for(5, by).await;
    let answered = world.answered.lock().expect("it is asked again");
    assert!(answered - back <= Duration::from_secs(2));
    let sent = world.sent.lock().clone();
    assert!(sent[83] >= READS_A_SECOND - 1, "{sent:?}");
}

#[tokio::test(start_paused = true)]
async fn an_origin_that_is_down_sees_a_tenth_more_requests_and_then_probes() {
    outage(|| OriginError::Connect(OriginFailure::Connect, String::new())).await;
    outage(|| OriginError::ServerError(S3Error::internal())).await;
}
