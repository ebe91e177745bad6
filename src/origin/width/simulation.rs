//! Simulation of an origin and its readers in virtual time.

use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::advance;

use super::{Transfer, Width};

const TICK: Duration = Duration::from_millis(1);
const MB: f64 = 1e6;
const RANGE: f64 = 8.0 * MB;
/// Remaining bytes of a range below which the next one is requested.
const ALMOST_NONE: f64 = 1.5 * MB;

/// Speed and limits of the simulated origin.
#[derive(Debug, Clone, Copy)]
struct Origin {
    /// Time to the first byte, in milliseconds.
    first_byte: u32,
    /// Bytes per second of one connection.
    each: f64,
    /// Bytes per second of all connections together.
    total: f64,
    /// Maximum concurrent requests; more are refused.
    requests: usize,
    /// Maximum relative deviation of a connection's rate, in either direction.
    noise: f64,
}

/// S3 as seen from a virtual machine with 16 Gbit/s.
const S3: Origin =
    Origin { first_byte: 30, each: 80.0 * MB, total: 2000.0 * MB, requests: 1000, noise: 0.1 };
/// A nearby server that is saturated by one connection.
const LOCAL: Origin =
    Origin { first_byte: 1, each: 1000.0 * MB, total: 1000.0 * MB, requests: 1000, noise: 0.1 };

/// One range under way.
struct Range {
    /// Milliseconds until its first byte.
    waits: u32,
    left: f64,
    speed: f64,
    transfer: Transfer,
}

/// The simulated origin with its readers.
struct World {
    origin: Origin,
    width: Arc<Width>,
    readers: Vec<Vec<Range>>,
    random: StdRng,
    refused: u64,
}

impl World {
    fn new(origin: Origin, readers: usize) -> Self {
        let readers = (0..readers).map(|_| Vec::new()).collect();
        let (width, random) = (Width::new(None, 256), StdRng::seed_from_u64(7));
        Self { origin, width, readers, random, refused: 0 }
    }

    fn set_readers(&mut self, count: usize) {
        self.readers.resize_with(count, Vec::new);
    }

    fn under_way(&self) -> usize {
        self.readers.iter().map(Vec::len).sum()
    }

    /// Runs for `seconds` and returns the throughput in bytes per second.
    async fn run(&mut self, seconds: u32) -> f64 {
        let mut bytes = 0.0;
        for _ in 0..seconds * 1000 {
            self.ask();
            advance(TICK).await;
            bytes += self.deliver();
        }
        bytes / f64::from(seconds)
    }

    fn ask(&mut self) {
        for reader in 0..self.readers.len() {
            while self.open(reader) < self.width.ranges() {
                if self.under_way() >= self.origin.requests {
                    self.width.throttled();
                    self.refused += 1;
                    break;
                }
                let speed = self.random.gen_range(-self.origin.noise..=self.origin.noise);
                let transfer = self.width.begin(8 << 20).expect("many bytes");
                let waits = self.origin.first_byte;
                let range = Range { waits, left: RANGE, speed: 1.0 + speed, transfer };
                self.readers[reader].push(range);
            }
            self.width.held_back();
        }
    }

    /// Returns the number of ranges of a reader with much left to deliver.
    fn open(&self, reader: usize) -> usize {
        self.readers[reader].iter().filter(|range| range.left > ALMOST_NONE).count()
    }

    /// Delivers the bytes of one tick and returns their number.
    fn deliver(&mut self) -> f64 {
        let active = self.readers.iter().flatten().filter(|range| range.waits == 0).count();
        #[allow(clippy::cast_precision_loss, reason = "small numbers")]
        let share = self.origin.each.min(self.origin.total / active.max(1) as f64) / 1000.0;
        let mut sum = 0.0;
        for range in self.readers.iter_mut().flatten() {
            if range.waits > 0 {
                range.waits -= 1;
                if range.waits == 0 {
                    range
                        .transfer
                        .answered(Duration::from_millis(u64::from(self.origin.first_byte)));
                }
                continue;
            }
            let bytes = (share * range.speed).min(range.left);
            range.left -= bytes;
            sum += bytes;
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small")]
            range.transfer.received(bytes as u64);
        }
        for reader in &mut self.readers {
            reader.retain(|range| range.left > 0.0);
        }
        sum
    }
}

#[tokio::test(start_paused = true)]
async fn connections_that_are_limited_by_themselves_make_a_read_wide() {
    let mut world = World::new(S3, 1);
    // The first second, in which it becomes wide.
    let first = world.run(1).await;
    assert!(first >= 10.0 * 80.0 * MB, "{first}");
    assert!(world.width.ranges() >= 16, "{}", world.width.ranges());
    world.run(10).await;
    let then = world.run(10).await;
    assert!(then >= 0.85 * S3.total, "{then} at {}", world.width.ranges());
    assert!((20..=48).contains(&world.width.ranges()), "{}", world.width.ranges());
}

#[tokio::test(start_paused = true)]
async fn an_origin_without_a_limit_is_read_as_wide_as_allowed() {
    let mut world = World::new(Origin { total: 1e12, ..S3 }, 1);
    world.run(10).await;
    assert_eq!(world.width.ranges(), super::MOST);
}

#[tokio::test(start_paused = true)]
async fn one_request_of_a_fast_local_origin_is_the_fixed_point() {
    let mut world = World::new(LOCAL, 1);
    world.run(2).await;
    assert_eq!(world.width.ranges(), 1);
    let mut longest = 1;
    let mut bytes = 0.0;
    for _ in 0..30 {
        bytes += world.run(1).await / 30.0;
        longest = longest.max(world.width.ranges());
    }
    assert!(longest <= 2, "{longest}");
    assert!(bytes >= 0.95 * LOCAL.total, "{bytes}");
}

#[tokio::test(start_paused = true)]
async fn many_readers_share_what_the_origin_gives_and_one_that_is_left_becomes_wide_again() {
    let origin = Origin { total: 800.0 * MB, ..S3 };
    let mut world = World::new(origin, 16);
    world.run(10).await;
    assert_eq!(world.width.ranges(), 1);
    let many = world.run(10).await;
    assert!(many >= 0.95 * origin.total, "{many}");
    world.set_readers(1);
    world.run(5).await;
    let one = world.run(10).await;
    assert!(one >= 0.8 * origin.total, "{one} at {}", world.width.ranges());
}

#[tokio::test(start_paused = true)]
async fn an_origin_that_refuses_is_asked_for_half_and_for_more_again_in_small_steps() {
    let limited = Origin { requests: 20, total: 1e12, ..S3 };
    let mut world = World::new(limited, 1);
    world.run(10).await;
    let refused = world.refused;
    let bytes = world.run(30).await;
    // Now and then it is tried whether it takes more by now.
    assert!(world.refused - refused <= 30, "{}", world.refused - refused);
    // Each is idle for 30 ms of 135.
    assert!(bytes >= 0.5 * 20.0 * 62.0 * MB, "{bytes}");
    world.origin.requests = 1000;
    world.run(50).await;
    assert!(world.width.ranges() > 32, "{}", world.width.ranges());
}

#[tokio::test(start_paused = true)]
async fn an_origin_that_becomes_slower_or_faster_is_followed() {
    let mut world = World::new(S3, 1);
    world.run(5).await;
    world.origin.total = 160.0 * MB;
    world.run(60).await;
    assert!(world.width.ranges() <= 6, "{}", world.width.ranges());
    world.origin.total = S3.total;
    world.run(60).await;
    assert!(world.width.ranges() >= 16, "{}", world.width.ranges());
}

#[tokio::test(start_paused = true)]
async fn rates_that_vary_much_cost_little() {
    for seed in 0..3 {
        let mut world = World::new(Origin { noise: 0.5, ..S3 }, 1);
        world.random = StdRng::seed_from_u64(seed);
        world.run(5).await;
        let bytes = world.run(30).await;
        assert!(bytes >= 0.75 * S3.total, "{seed}: {bytes} at {}", world.width.ranges());
    }
}
