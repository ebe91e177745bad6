//! Latency of hits while other objects are filled from the origin: the 99th percentile, against at rest.
//!
//! Open loop: requests are due at a third of the rate that saturates the server, at times that do not depend on its
//! responses, and the time of each begins when it is due. A second server, without a disk, is filled at the same
//! rate, to measure the cost of a fill by itself (origin, server and clients share the machine's cores). The origin,
//! and the client that causes the fill, would be on other machines: here they get only the cores that the others
//! leave idle. Memory is full before it begins, as in a server that has run for a while: memory that is new to a
//! process costs more than any fill.
//!
//! A 99th percentile shows when the host takes cores away. So there are many pairs of turns, the two of a pair one
//! after the other, and the median of their ratios counts.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{interval, sleep};

use crate::Result;
use crate::bench::{Bench, Subject, mebibytes};
use crate::content::{GIB, KIB, MIB, Object, Random};
use crate::hotset::{self, Disk, Hotset, Memory};
use crate::load::{self, Client, Crowd, Get};
use crate::origin::{Origin, Pace};
use crate::process;
use crate::report::{Bar, Row, median};

const MEMORY: Memory = Memory { cache: 512 * MIB, in_flight: 128 * MIB };
/// Write rate of the disk, and rate of the fill.
const WRITE_RATE: u64 = 128 * MIB;
/// Bytes of one request of a fill.
const RANGE: u64 = 4 * MIB;
const HOT_OBJECTS: u64 = 256;
const HOT_SIZE: u64 = 4 * KIB;
/// A request that is due while all connections are busy waits for one, and the wait counts as its time.
const CONNECTIONS: usize = 512;
/// Number of pairs of turns.
const TURNS: usize = 15;
const WARM_UP: Duration = Duration::from_secs(2);
const TURN: Duration = Duration::from_secs(4);
const TICK: Duration = Duration::from_millis(1);

/// Measures turns at rest and during a fill, of each server.
pub fn latency(bench: &Bench) -> Result<Vec<Row>> {
    if bench.subject() != Subject::Hotset {
        return Err("nginx has no memory tier to be slowed".into());
    }
    let origin = Origin::start_aside(Pace::NEAR)?;
    let path = bench.folder().join("filling");
    let disk = Disk { path, capacity: 4 * GIB, direct: false, write_rate: Some(WRITE_RATE) };
    let start = |disk| hotset::start(origin.address(), MEMORY, disk, None, bench.folder());
    let with_disk = Server::prepare(start(Some(&disk))?)?;
    let without = Server::prepare(start(None)?)?;
    for server in [&with_disk, &without] {
        server.fill_memory()?;
    }
    let mut pairs = [Vec::new(), Vec::new()];
    let written_before = with_disk.hotset.metric("hotset_disk_written_bytes_total")?;
    for turn in 0..TURNS {
        for (server, pairs) in [&with_disk, &without].into_iter().zip(&mut pairs) {
            let rest = server.turn(turn, false)?;
            pairs.push(Pair { rest, filling: server.turn(turn, true)? });
        }
    }
    let written = with_disk.hotset.metric("hotset_disk_written_bytes_total")? - written_before;
    let seconds = f64::from(u32::try_from(TURNS)?) * TURN.as_secs_f64();
    let rate = written / f64::from(1 << 20) / seconds;
    let asked = mebibytes(WRITE_RATE);
    let cells = (format!("{rate:.0} MiB/s"), format!("write_rate {asked:.0} MiB/s"));
    let [with_disk, without] = pairs;
    Ok(vec![
        row("p99 while the disk is filled / at rest", &with_disk, Bar::AtMost(2.0)),
        row("the same of a server without a disk", &without, Bar::None),
        Row::ratio("disk_filling", "written to disk", cells, rate / asked, Bar::AtLeast(0.8)),
    ])
}

/// The 99th percentiles of a turn at rest, and of the next one, during a fill.
#[derive(Clone, Copy)]
struct Pair {
    rest: Duration,
    filling: Duration,
}

/// Makes a row of the median of the pairs' ratios, and the median times.
fn row(figure: &str, pairs: &[Pair], bar: Bar) -> Row {
    let ratio = |pair: &Pair| pair.filling.as_secs_f64() / pair.rest.as_secs_f64();
    let ratio = median(pairs.iter().map(ratio).collect());
    let half = |time: fn(&Pair) -> Duration| median(pairs.iter().map(time).collect()).as_micros();
    let (filling, rest) = (half(|pair| pair.filling), half(|pair| pair.rest));
    let cells = (format!("{filling} us"), format!("at rest {rest} us"));
    Row::ratio("disk_filling", figure, cells, ratio, bar)
}

/// A server whose hot objects are in memory, and a third of the rate that saturates it.
pub struct Server {
    pub hotset: Hotset,
    pub gets: Arc<[Get]>,
    rate: f64,
}

impl Server {
    pub fn prepare(hotset: Hotset) -> Result<Self> {
        let objects = (0..HOT_OBJECTS).map(|n| Arc::new(Object::new(&format!("hot{n}"), HOT_SIZE)));
        let gets: Vec<_> = objects.map(|object| Get::whole(&object)).collect();
        let address = hotset.server.address();
        let rate = load::run(async {
            let mut client = Client::connect(address).await?;
            for get in gets.iter().chain(&gets) {
                client.get(get).await?;
            }
            let mut crowd = Crowd::connect(address, 16).await?;
            let gets: Arc<[Get]> = gets.clone().into();
            crowd.round(&gets, WARM_UP / 2).await?;
            let done = crowd.round(&gets, WARM_UP).await?;
            Ok(f64::from(u32::try_from(done.times.len())?) / done.elapsed.as_secs_f64() / 3.0)
        })?;
        let gets = gets.into_iter().map(Get::unchecked).collect();
        Ok(Self { hotset, gets, rate })
    }

    /// Returns the 99th percentile of one turn.
    fn turn(&self, turn: usize, filled: bool) -> Result<Duration> {
        self.turn_beside(turn, |over| if filled { self.fill(turn, over) } else { Ok(()) })
    }

    /// Returns the 99th percentile of one turn beside `work`, which ends when its flag says that the turn is over.
    pub fn turn_beside(
        &self,
        turn: usize,
        work: impl FnOnce(&AtomicBool) -> Result<()> + Send,
    ) -> Result<Duration> {
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let fill = scope.spawn(|| {
                process::step_aside();
                work(&over)
            });
            let times = load::run(LocalSet::new().run_until(self.open_loop(turn as u64)));
            over.store(true, Relaxed);
            fill.join().map_err(|_| "the fill panicked")??;
            let mut times = times?;
            times.sort_unstable();
            Ok(times[times.len() * 99 / 100])
        })
    }

    /// Reads more than memory holds, and waits until the disk has written its part.
    fn fill_memory(&self) -> Result<()> {
        load::run(async {
            let mut client = Client::connect(self.hotset.server.address()).await?;
            let object = Arc::new(Object::new("before", MEMORY.cache * 5 / 4));
            for at in (0..object.size()).step_by(usize::try_from(RANGE)?) {
                client.get(&Get::range(&object, at..at + RANGE)).await?;
            }
            Ok(())
        })?;
        while self.hotset.metric("hotset_disk_queued_bytes")? > 0.0 {}
        Ok(())
    }

    /// Reads new objects, at the write rate of the disk.
    fn fill(&self, turn: usize, over: &AtomicBool) -> Result<()> {
        load::run(async {
            let mut client = Client::connect(self.hotset.server.address()).await?;
            let object = Arc::new(Object::new(&format!("cold{turn}"), 8 * GIB));
            let start = Instant::now();
            let mut at = 0;
            while !over.load(Relaxed) {
                client.get(&Get::range(&object, at..at + RANGE).unchecked()).await?;
                at += RANGE;
                let due = start + Duration::from_secs_f64(mebibytes(at) / mebibytes(WRITE_RATE));
                sleep(due.saturating_duration_since(Instant::now())).await;
            }
            Ok(())
        })
    }

    /// Sends requests when they are due; returns the time of each, counted from then.
    async fn open_loop(&self, seed: u64) -> Result<Vec<Duration>> {
        let (idle, free) =
            (Rc::new(RefCell::new(Vec::new())), Rc::new(Semaphore::new(CONNECTIONS)));
        for _ in 0..CONNECTIONS {
            let client = Client::connect(self.hotset.server.address()).await?;
            idle.borrow_mut().push(client);
        }
        let mut random = Random::new(seed + 1);
        let (start, mut tick) = (Instant::now(), interval(TICK));
        let (mut tasks, mut sent) = (JoinSet::new(), 0.0);
        while start.elapsed() < TURN {
            tick.tick().await;
            // All requests that became due since the last tick count as due now.
            let due = Instant::now();
            while sent < self.rate * start.elapsed().as_secs_f64() {
                sent += 1.0;
                let index = usize::try_from(random.below(self.gets.len() as u64))?;
                let (gets, idle, free) = (self.gets.clone(), idle.clone(), free.clone());
                tasks.spawn_local(async move {
                    let _permit = free.acquire().await?;
                    let client = idle.borrow_mut().pop();
                    let mut client = client.ok_or("a permit without a connection")?;
                    client.get(&gets[index]).await?;
                    idle.borrow_mut().push(client);
                    Result::Ok(due.elapsed())
                });
            }
        }
        tasks.join_all().await.into_iter().collect()
    }
}
