//! A slow disk: results of readers of objects on it, against a server without a disk in front of the same origin.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use crate::Result;
use crate::bench::{Bench, Subject, milliseconds};
use crate::content::{GIB, KIB, MIB, Object, Random};
use crate::hotset::{self, Disk, Hotset, Memory};
use crate::load::{self, Crowd, Get};
use crate::origin::{Origin, Pace};
use crate::report::{Bar, Row};
use crate::throttle::Throttle;

const MEMORY: Memory = Memory { cache: 64 * MIB, in_flight: 128 * MIB };
/// Number of objects, read whole: four times more than memory holds.
const OBJECTS: u64 = 4096;
const SIZE: u64 = 64 * KIB;
/// Rate of the device, in bytes a second.
const SLOW: u64 = 4_000_000;
const TURNS: usize = 5;
const TURN: Duration = Duration::from_millis(1500);
/// Number of readers that fill the disk, and maximum number of passes.
const FILLERS: usize = 32;
const PASSES: usize = 12;
/// Interval between two health checks.
const HEALTH: Duration = Duration::from_millis(20);

/// Origins in the same data centre and in a region nearby: name, delay, and numbers of readers.
const SETTINGS: [(&str, Duration, [usize; 2]); 2] =
    [("5 ms", Duration::from_millis(5), [64, 4]), ("30 ms", Duration::from_millis(30), [64, 4])];

/// Reads of objects that are on a throttled device.
pub fn reads(bench: &Bench) -> Result<Vec<Row>> {
    if bench.subject() != Subject::Hotset {
        return Err("nginx is not known to read from elsewhere what its disk is slow with".into());
    }
    let throttle = Throttle::new(bench.folder())?;
    let mut rows = Vec::new();
    for (name, first_byte, crowds) in SETTINGS {
        let origin = Origin::start(Pace { first_byte, ..Pace::NEAR })?;
        let path = bench.folder().join(format!("slow-{}", first_byte.as_millis()));
        let disk = Disk { path, capacity: GIB, direct: true, write_rate: None };
        let start = |disk| hotset::start(origin.address(), MEMORY, disk, None, bench.folder());
        let (slow, without) = (start(Some(&disk))?, start(None)?);
        let objects = (0..OBJECTS).map(|n| Arc::new(Object::new(&format!("slow{n}"), SIZE)));
        let gets: Arc<[Get]> = objects.map(|object| Get::whole(&object)).collect();
        let mut random = Random::new(SIZE);
        for hotset in [&slow, &without] {
            fill(hotset, &origin, &gets)?;
        }
        throttle.take(slow.server.id())?;
        throttle.set_rate(Some(SLOW))?;
        for readers in crowds {
            let mut seen = [Seen::default(), Seen::default()];
            let refused = refused(&slow)?;
            for _ in 0..TURNS {
                // Objects that the last turn left in memory are not read again first.
                let gets = shuffled(&gets, &mut random)?;
                for (hotset, seen) in [&slow, &without].into_iter().zip(&mut seen) {
                    seen.turn(hotset, &gets, readers)?;
                }
            }
            let refused = self::refused(&slow)? - refused;
            rows.extend(compare(&format!("origin {name}, {readers} readers"), &mut seen, refused)?);
        }
        throttle.set_rate(None)?;
    }
    Ok(rows)
}

/// Returns the same requests in random order.
fn shuffled(gets: &[Get], random: &mut Random) -> Result<Arc<[Get]>> {
    let mut gets = gets.to_vec();
    for index in (1..gets.len()).rev() {
        gets.swap(index, usize::try_from(random.below(index as u64 + 1))?);
    }
    Ok(gets.into())
}

/// Reads everything until the origin gets no more requests, or once if there is no disk.
fn fill(hotset: &Hotset, origin: &Origin, gets: &Arc<[Get]>) -> Result<()> {
    for _ in 0..PASSES {
        let before = origin.seen().requests;
        load::run(async {
            let mut crowd = Crowd::connect(hotset.server.address(), FILLERS).await?;
            crowd.once(gets).await?;
            origin.settled(Duration::from_secs(5)).await;
            Ok(())
        })?;
        while hotset.metric("hotset_disk_queued_bytes")? > 0.0 {}
        if origin.seen().requests == before || hotset.metric("hotset_disk_blocks")? < 0.5 {
            return Ok(());
        }
    }
    Err("not everything got onto the disk".into())
}

/// Returns the number of reads that a slow device refused.
fn refused(hotset: &Hotset) -> Result<f64> {
    let reasons = ["passed_by", "busy", "slow"];
    let count = |reason| format!("hotset_disk_failures_total{{reason=\"{reason}\"}}");
    reasons.into_iter().map(|reason| hotset.metric(&count(reason))).sum()
}

/// Results of one server over all turns.
#[derive(Default)]
struct Seen {
    times: Vec<Duration>,
    elapsed: Duration,
    cpu: Duration,
    /// Longest time that `/healthz` took.
    health: Duration,
}

impl Seen {
    fn turn(&mut self, hotset: &Hotset, gets: &Arc<[Get]>, readers: usize) -> Result<()> {
        let over = AtomicBool::new(false);
        let before = hotset.server.cpu()?;
        let (done, health) = thread::scope(|scope| {
            let health = scope.spawn(|| slowest_health(hotset, &over));
            let done = load::run(async {
                Crowd::connect(hotset.server.address(), readers).await?.round(gets, TURN).await
            });
            over.store(true, Relaxed);
            (done, health.join().expect("it does not panic"))
        });
        let done = done?;
        self.cpu += hotset.server.cpu()?.saturating_sub(before);
        self.health = self.health.max(health?);
        self.elapsed += done.elapsed;
        self.times.extend(done.times);
        Ok(())
    }

    /// Returns the reads a second, the CPU time of one in microseconds, and the median and 99th percentile of the
    /// times.
    fn figures(&mut self) -> Result<(f64, f64, [Duration; 2])> {
        self.times.sort_unstable();
        let (count, reads) = (self.times.len(), f64::from(u32::try_from(self.times.len())?));
        let times = [self.times[count / 2], self.times[count * 99 / 100]];
        let cpu = self.cpu.as_secs_f64() * 1e6 / reads;
        Ok((reads / self.elapsed.as_secs_f64(), cpu, times))
    }
}

/// Checks the health of a server until `over`; returns the longest time that it took.
fn slowest_health(hotset: &Hotset, over: &AtomicBool) -> Result<Duration> {
    let mut slowest = Duration::ZERO;
    while !over.load(Relaxed) {
        let start = Instant::now();
        let answer = hotset::ask(hotset.admin, "/healthz")?;
        slowest = slowest.max(start.elapsed());
        if !answer.starts_with("HTTP/1.1 200") {
            return Err(format!("/healthz: {answer}").into());
        }
        thread::sleep(HEALTH);
    }
    Ok(slowest)
}

fn compare(name: &str, [slow, without]: &mut [Seen; 2], refused: f64) -> Result<Vec<Row>> {
    const SCENARIO: &str = "slow_disk";
    let reads = f64::from(u32::try_from(slow.times.len())?);
    let health = [slow.health, without.health].map(milliseconds);
    let ((rate, cpu, times), (other_rate, other_cpu, other_times)) =
        (slow.figures()?, without.figures()?);
    let cells = |unit: &str, ours: f64, other: f64| {
        (format!("{ours:.1} {unit}"), format!("no disk {other:.1} {unit}"))
    };
    let [half, most] = times.map(milliseconds);
    let [other_half, other_most] = other_times.map(milliseconds);
    let ratio = |figure: &str, cells, value, bar| {
        Row::ratio(SCENARIO, format!("{name}: {figure}"), cells, value, bar)
    };
    Ok(vec![
        ratio("reads", cells("/s", rate, other_rate), rate / other_rate, Bar::None),
        ratio("p50", cells("ms", half, other_half), half / other_half, Bar::None),
        ratio("p99", cells("ms", most, other_most), most / other_most, Bar::AtMost(2.0)),
        ratio("CPU a read", cells("us", cpu, other_cpu), cpu / other_cpu, Bar::AtMost(1.5)),
        Row::amount(
            SCENARIO,
            format!("{name}: slowest /healthz"),
            cells("ms", health[0], health[1]),
            (health[0], "ms"),
            Bar::None,
        ),
        Row::amount(
            SCENARIO,
            format!("{name}: refused by the disk, of a read"),
            (format!("{refused:.0}"), format!("{reads:.0} reads")),
            (refused / reads, ""),
            Bar::AtMost(2.0),
        ),
    ])
}
