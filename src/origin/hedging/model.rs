//! Quantiles of the origin's recent latencies, by response size.
//!
//! Each size band has a histogram whose buckets grow by a tenth. Samples lose half of their weight in 15 s in which
//! newer ones arrive. A band with too few samples predicts nothing.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// The upper bound of the first size band, in bytes; each further one is four times as large.
const FIRST_BAND: u64 = 64 << 10;
const BANDS: usize = 6;
/// The upper bound of the first bucket.
const FIRST_BUCKET: Duration = Duration::from_micros(100);
const GROWTH: f64 = 1.1;
/// Number of buckets, up to about 100 s.
const BUCKETS: usize = 145;
/// Time in which a sample loses half of its weight.
const HALF_LIFE: Duration = Duration::from_secs(15);
/// Maximum ageing of the others by one sample, so that at least a hundred count.
const MOST_AGE: Duration = Duration::from_millis(150);
/// Samples from which on a band predicts.
const ENOUGH: u64 = 100;
/// Samples between two computations of the quantiles.
const EVERY: u64 = 16;
/// Weight at which all weights are scaled down.
const HEAVY: f64 = 1e12;

/// Latencies by size band.
#[derive(Debug, Default)]
pub(super) struct Model {
    bands: [Mutex<Band>; BANDS],
}

/// Median, 95th and 99th percentile of response times, rounded up by at most a tenth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Quantiles {
    pub(super) median: Duration,
    pub(super) p95: Duration,
    pub(super) p99: Duration,
}

#[derive(Debug)]
struct Band {
    weights: [f64; BUCKETS],
    /// Sum of the weights.
    total: f64,
    /// Weight of the next sample: new samples gain weight instead of old ones losing it.
    weight: f64,
    samples: u64,
    last: Option<Instant>,
    quantiles: Option<Quantiles>,
}

impl Default for Band {
    fn default() -> Self {
        let weights = [0.0; BUCKETS];
        Self { weights, total: 0.0, weight: 1.0, samples: 0, last: None, quantiles: None }
    }
}

impl Model {
    /// Returns the latency quantiles of responses of `bytes`; `None`: too few samples. The median never falls with
    /// growing size.
    pub(super) fn quantiles(&self, bytes: u64) -> Option<Quantiles> {
        let band = band(bytes);
        let quantiles = self.bands[band].lock().quantiles?;
        let smaller = self.bands[..band].iter().filter_map(|b| b.lock().quantiles);
        let median = smaller.map(|smaller| smaller.median).fold(quantiles.median, Duration::max);
        Some(Quantiles { median, ..quantiles })
    }

    /// Records a response of `bytes` after `elapsed`.
    pub(super) fn record(&self, bytes: u64, elapsed: Duration) {
        self.bands[band(bytes)].lock().record(elapsed, Instant::now());
    }
}

impl Band {
    fn record(&mut self, elapsed: Duration, now: Instant) {
        let age = self.last.map_or(Duration::ZERO, |last| now - last).min(MOST_AGE);
        self.last = Some(now);
        self.weight *= (age.as_secs_f64() / HALF_LIFE.as_secs_f64()).exp2();
        if self.weight > HEAVY {
            self.weights.iter_mut().for_each(|weight| *weight /= HEAVY);
            self.total /= HEAVY;
            self.weight /= HEAVY;
        }
        self.weights[bucket(elapsed)] += self.weight;
        self.total += self.weight;
        self.samples += 1;
        if self.samples >= ENOUGH && self.samples.is_multiple_of(EVERY) || self.samples == ENOUGH {
            let (median, p95, p99) = (self.quantile(0.5), self.quantile(0.95), self.quantile(0.99));
            self.quantiles = Some(Quantiles { median, p95, p99 });
        }
    }

    /// Returns the upper bound of the bucket that contains this quantile.
    fn quantile(&self, share: f64) -> Duration {
        let mut left = self.total * share;
        let holds = |weight: &f64| {
            left -= weight;
            left <= 0.0
        };
        let bucket = self.weights.iter().position(holds).unwrap_or(BUCKETS - 1);
        let steps = i32::try_from(bucket).unwrap_or(i32::MAX);
        FIRST_BUCKET.mul_f64(GROWTH.powi(steps))
    }
}

fn band(bytes: u64) -> usize {
    (0..BANDS - 1).find(|band| bytes <= FIRST_BAND << (2 * band)).unwrap_or(BANDS - 1)
}

fn bucket(elapsed: Duration) -> usize {
    let times = elapsed.as_secs_f64() / FIRST_BUCKET.as_secs_f64();
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small number")]
    let bucket = times.max(1.0).log(GROWTH).ceil() as usize;
    bucket.min(BUCKETS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(range: std::ops::Range<u64>) -> impl Iterator<Item = Duration> {
        range.map(Duration::from_millis)
    }

    #[tokio::test(start_paused = true)]
    async fn quantiles_are_right_to_a_tenth() {
        let model = Model::default();
        millis(1..1001).for_each(|elapsed| model.record(1, elapsed));
        let found = model.quantiles(1).unwrap();
        for (found, exact) in [(found.median, 500.0), (found.p95, 950.0), (found.p99, 990.0)] {
            let ratio = found.as_secs_f64() * 1000.0 / exact;
            assert!((0.97..=1.11).contains(&ratio), "{found:?} for {exact} ms");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_predicted_from_few_samples() {
        let model = Model::default();
        millis(0..99).for_each(|elapsed| model.record(1, elapsed));
        assert_eq!(model.quantiles(1), None);
        model.record(1, Duration::ZERO);
        assert!(model.quantiles(1).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_long_ago_is_forgotten() {
        let model = Model::default();
        for (elapsed, samples) in [(800, 1000), (20, 1000)] {
            for _ in 0..samples {
                tokio::time::advance(Duration::from_millis(100)).await;
                model.record(1, Duration::from_millis(elapsed));
            }
        }
        assert!(model.quantiles(1).unwrap().p95 < Duration::from_millis(23));
        // A pause does not discard the samples.
        tokio::time::advance(Duration::from_hours(1000)).await;
        millis(30..31).for_each(|elapsed| model.record(1, elapsed));
        assert!(model.quantiles(1).unwrap().median < Duration::from_millis(23));
    }

    #[tokio::test(start_paused = true)]
    async fn weights_stay_finite() {
        let model = Model::default();
        for _ in 0..20_000 {
            tokio::time::advance(Duration::from_secs(1)).await;
            model.record(1, Duration::from_millis(5));
        }
        let band = model.bands[0].lock();
        assert!(band.total.is_finite() && band.weight <= HEAVY);
        drop(band);
        assert!(model.quantiles(1).unwrap().p99 < Duration::from_millis(6));
    }

    #[test]
    fn sizes_fall_into_bands_and_times_into_buckets() {
        let kib = 1 << 10;
        let of = [0, 64 * kib, 64 * kib + 1, 256 * kib, 1 << 20, 4 << 20, 16 << 20, u64::MAX];
        assert_eq!(of.map(band), [0, 0, 1, 1, 2, 3, 4, 5]);
        assert_eq!(bucket(Duration::ZERO), 0);
        assert_eq!(bucket(Duration::from_micros(110)), 1);
        assert_eq!(bucket(Duration::MAX), BUCKETS - 1);
    }
}
