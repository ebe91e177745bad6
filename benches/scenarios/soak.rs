//! Mixed load in a memory limit: no process is killed, and almost every request is answered.
//!
//! The configuration is the default one, so that the sizes follow from the limit. A thousand clients read slowly,
//! each other bytes; beside them others read hot and cold objects, ranges and whole large objects, and upload.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::{JoinSet, LocalSet};
use tokio::time::{sleep, timeout};

use crate::Result;
use crate::bench::{Bench, mebibytes};
use crate::content::{GIB, KIB, MIB, Object, Random};
use crate::hotset::{self, Hotset};
use crate::load::{self, Client, Get};
use crate::memory_limit::MemoryLimit;
use crate::origin::{Origin, Pace};
use crate::report::{Bar, Row};
use crate::upload;

const LIMIT: u64 = 512 * MIB;
const SLOW: usize = 1000;
/// Interval between two readings of the group's counters.
const LOOK: Duration = Duration::from_millis(100);
/// Bytes that a slow reader takes, and its pause after them: 40 kB/s.
const SIP: usize = 8 << 10;
const PAUSE: Duration = Duration::from_millis(200);
/// Bytes that the kernel buffers for a slow reader.
const NARROW: u32 = 128 << 10;
/// Timeout of an upload, and of the next bytes of a response.
const TIMEOUT: Duration = Duration::from_mins(1);

/// Kind of request that one client repeats, with pauses, and with random numbers from a sequence of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    /// 8 MiB, read slowly.
    Slow,
    /// Small objects out of a small set.
    Hit,
    /// Objects up to 4 MiB that were not read before.
    Miss,
    /// Ranges up to 256 KiB of a few large objects.
    Range,
    /// Uploads up to 32 MiB.
    Upload,
    /// 256 MiB, read as fast as they come.
    Download,
}

impl Work {
    const ALL: [(Self, usize); 6] = [
        (Self::Slow, SLOW),
        (Self::Hit, 32),
        (Self::Miss, 16),
        (Self::Range, 16),
        (Self::Upload, 16),
        (Self::Download, 8),
    ];

    fn pause(self) -> Duration {
        match self {
            Self::Slow => Duration::ZERO,
            Self::Hit => Duration::from_millis(20),
            Self::Miss | Self::Range => Duration::from_millis(50),
            Self::Download => Duration::from_millis(200),
            // One thread makes all the load: without a pause uploads would take most of its time.
            Self::Upload => Duration::from_secs(2),
        }
    }

    /// Returns the next read. `unique` is a name that no other read has.
    fn get(self, random: &mut Random, unique: &str) -> Get {
        match self {
            Self::Slow => {
                let object = Arc::new(Object::new(&format!("slow-{}", random.below(64)), GIB));
                let first = random.below(GIB / MIB - 8) * MIB;
                Get::range(&object, first..first + 8 * MIB)
            }
            Self::Hit => {
                let number = random.below(400);
                let size = (4 * KIB) << (number % 6);
                Get::whole(&Arc::new(Object::new(&format!("hot-{number}"), size)))
            }
            Self::Miss => {
                let size = 1 + random.below(4 * MIB);
                Get::whole(&Arc::new(Object::new(&format!("miss-{unique}"), size)))
            }
            Self::Range => {
                let object = Arc::new(Object::new(&format!("ranges-{}", random.below(16)), GIB));
                let (first, length) = (random.below(GIB - MIB), 1 + random.below(256 * KIB));
                Get::range(&object, first..first + length)
            }
            Self::Download | Self::Upload => {
                let number = random.below(40);
                Get::whole(&Arc::new(Object::new(&format!("large-{number}"), 256 * MIB)))
            }
        }
    }
}

/// Counts of finished requests.
#[derive(Default)]
struct Tally {
    answered: u64,
    failed: u64,
    by_work: Vec<(Work, u64, u64)>,
    /// Failures by cause.
    causes: BTreeMap<String, u64>,
}

impl Tally {
    fn add(&mut self, work: Work, outcome: &Result<()>) {
        if !self.by_work.iter().any(|(other, ..)| *other == work) {
            self.by_work.push((work, 0, 0));
        }
        let (_, answered, failed) =
            self.by_work.iter_mut().find(|(other, ..)| *other == work).expect("just added");
        match outcome {
            Ok(()) => {
                *answered += 1;
                self.answered += 1;
            }
            Err(error) => {
                *failed += 1;
                self.failed += 1;
                let cause = format!("{work:?}: {}", cause(&error.to_string()));
                *self.causes.entry(cause).or_default() += 1;
            }
        }
    }
}

/// Returns an error without the parts that differ between failures of one cause: object, numbers, response headers.
fn cause(error: &str) -> String {
    let text = error.rsplit_once("\r\n\r\n").map_or(error, |(_, body)| body);
    let status = error.split_once(": status ").map_or("", |(_, rest)| &rest[..rest.len().min(4)]);
    let text = text
        .strip_prefix("/bench/")
        .map_or(text, |path| path.split_once(": ").map_or(path, |(_, text)| text));
    let plain = |c: char| if c.is_ascii_digit() { '#' } else { c };
    let line: String = text.chars().map(plain).take(200).collect();
    format!("{status}{}", line.escape_debug())
}

/// Highest memory use seen.
#[derive(Default)]
struct Peak {
    process: u64,
    sockets: u64,
}

/// Runs the mixed load for the configured duration.
pub fn mixed(bench: &Bench) -> Result<Vec<Row>> {
    let group = MemoryLimit::new(LIMIT)?;
    let origin = Origin::start(Pace { first_byte: Duration::from_millis(10), ..Pace::NEAR })?;
    let hotset = hotset::start_by_default(origin.address(), &group, bench.folder())?;
    let base = mebibytes(hotset.server.memory()?);
    let tally = Rc::new(RefCell::new(Tally::default()));
    let mut peak = Peak::default();
    let time = bench.soak();
    load::run_within(time + Duration::from_mins(2), async {
        let local = LocalSet::new();
        let mut clients = JoinSet::new();
        let end = Instant::now() + time;
        for (work, count) in Work::ALL {
            for number in 0..count {
                let client = keep_asking(work, number, hotset.server.address(), end, tally.clone());
                clients.spawn_local_on(client, &local);
            }
        }
        let watch = watch(&hotset, &group, end, &mut peak);
        local
            .run_until(async {
                let watched = watch.await;
                clients.shutdown().await;
                watched
            })
            .await
    })?;
    let log =
        fs::read_to_string(bench.folder().join(format!("{}.log", hotset.server.address().port())))?;
    for line in log.lines().filter(|line| line.contains("memory is")) {
        eprintln!("{line}");
    }
    let mut errors = BTreeMap::<String, u64>::new();
    for line in log.lines() {
        if let Some((_, error)) = line.split_once("error=") {
            *errors.entry(cause(error)).or_default() += 1;
        } else if line.contains("WARN") || line.contains("ERROR") {
            *errors.entry(cause(line)).or_default() += 1;
        }
    }
    for (error, count) in &errors {
        eprintln!("log: {count} x {error}");
    }
    let tally = tally.borrow();
    for (cause, count) in &tally.causes {
        eprintln!("{count} x {cause}");
    }
    let seen = origin.seen();
    eprintln!("origin: {} requests, {:.0} MiB", seen.requests, mebibytes(seen.sent));
    for (work, answered, failed) in &tally.by_work {
        eprintln!("{work:?}: {answered} answered, {failed} failed");
    }
    rows(&group, &tally, &peak, base)
}

async fn keep_asking(
    work: Work,
    number: usize,
    address: SocketAddr,
    end: Instant,
    tally: Rc<RefCell<Tally>>,
) {
    let mut random = Random::new(0x50a4 + ((number as u64 + 1) << 20) + ((work as u64 + 1) << 40));
    // Start at different times.
    sleep(Duration::from_millis(random.below(5000))).await;
    let mut client = None;
    let mut count = 0_u32;
    while Instant::now() < end {
        count += 1;
        let unique = format!("{number}-{count}");
        let outcome = match work {
            Work::Upload => upload(&mut random, &unique, address).await,
            _ => read(work, &work.get(&mut random, &unique), &mut client, address, end).await,
        };
        if Instant::now() >= end {
            return;
        }
        tally.borrow_mut().add(work, &outcome);
        let pause = if outcome.is_err() { Duration::from_secs(1) } else { work.pause() };
        sleep(pause).await;
    }
}

async fn upload(random: &mut Random, unique: &str, address: SocketAddr) -> Result<()> {
    let object = Object::new(&format!("upload-{unique}"), 1 + random.below(32 * MIB));
    timeout(TIMEOUT, upload::put(address, &object)).await.map_err(|_| "no answer in time")?
}

/// Does one read, over the connection of the previous one if it is still open.
async fn read(
    work: Work,
    get: &Get,
    kept: &mut Option<Client>,
    address: SocketAddr,
    end: Instant,
) -> Result<()> {
    let mut client = match kept.take() {
        Some(client) => client,
        None if work == Work::Slow => Client::connect_narrow(address, NARROW).await?,
        None => Client::connect(address).await?,
    };
    let mut answer = client.send(get).await?;
    let is_slow = work == Work::Slow;
    while !answer.is_whole() && Instant::now() < end {
        let most = if is_slow { SIP } else { usize::MAX };
        timeout(TIMEOUT, answer.read(most)).await.map_err(|_| "no bytes in time")??;
        if is_slow {
            sleep(PAUSE).await;
        }
    }
    *kept = Some(client);
    Ok(())
}

/// Samples the group's counters until the end, or until the server has exited.
async fn watch(hotset: &Hotset, group: &MemoryLimit, end: Instant, peak: &mut Peak) -> Result<()> {
    let mut told = Instant::now();
    while Instant::now() < end {
        let ((process, page_cache), sockets) = (group.used()?, group.sockets()?);
        peak.process = peak.process.max(process);
        peak.sockets = peak.sockets.max(sockets);
        if group.kills()? > 0 {
            return Ok(());
        }
        if told.elapsed() >= Duration::from_secs(10) {
            told = Instant::now();
            eprintln!(
                "process {:.0} MiB (resident {:.0}), page cache {:.0}, sockets {:.0}",
                mebibytes(process),
                mebibytes(hotset.server.memory()?),
                mebibytes(page_cache),
                mebibytes(sockets)
            );
        }
        sleep(LOOK).await;
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn rows(group: &MemoryLimit, tally: &Tally, peak: &Peak, base: f64) -> Result<Vec<Row>> {
    let answered = |figure, answered: u64, failed: u64| {
        let all = answered + failed;
        let cells = (format!("{answered} answered"), format!("{all} requests"));
        let ratio = answered as f64 / all.max(1) as f64;
        Row::ratio("soak", figure, cells, ratio, Bar::AtLeast(0.99))
    };
    let limit = || (String::new(), format!("limit {:.0} MiB", mebibytes(LIMIT)));
    let none = || (String::new(), String::new());
    let mib =
        |figure, bytes| Row::amount("soak", figure, limit(), (mebibytes(bytes), "MiB"), Bar::None);
    let mut rows = vec![
        Row::amount("soak", "killed", none(), (group.kills()? as f64, ""), Bar::AtMost(0.0)),
        answered("answered", tally.answered, tally.failed),
        Row::amount("soak", "memory at the start", none(), (base, "MiB"), Bar::None),
        mib("peak without page cache", peak.process),
        mib("peak with page cache", group.peak()?),
        mib("peak of socket buffers", peak.sockets),
    ];
    // One slow read takes three and a half minutes.
    let slow = tally.by_work.iter().find(|(work, ..)| *work == Work::Slow);
    rows.extend(slow.map(|&(_, done, failed)| answered("answered, slow readers", done, failed)));
    Ok(rows)
}
