//! Reads from disk, compared with fio on the same files; and the cost of a large index.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::Result;
use crate::bench::{Bench, Subject, mebibytes, milliseconds};
use crate::content::{GIB, KIB, MIB, Object, Random};
use crate::fio::{self, Order, Reads};
use crate::hotset::{self, Disk, Hotset, Memory};
use crate::load::{self, Client, Crowd, Get};
use crate::origin::{Origin, Pace};
use crate::report::{Bar, Row, median};

/// Memory budget, with a cache sixteen times smaller than the object.
const MEMORY: Memory = Memory { cache: 128 * MIB, in_flight: 128 * MIB };
const OBJECT: u64 = 2 * GIB;
const ROUNDS: usize = 5;
/// A shared device gives more in one second than in the next: many short turns are fairer than a few long ones.
const TURNS: usize = 30;
const TURN: Duration = Duration::from_secs(1);
/// Maximum number of reads of the object until all of it is on disk: blocks for which the write queue has no room are
/// not written.
const PASSES: usize = 12;

/// Random ranges of 64 KiB, with direct I/O.
pub fn random(bench: &Bench) -> Result<Vec<Row>> {
    const RANGE: u64 = 64 * KIB;
    const CONNECTIONS: usize = 16;
    let (hotset, object, _origin) = filled(bench, "random", true)?;
    let files = segments(&bench.folder().join("random"))?;
    let mut random = Random::new(64);
    let gets: Arc<[Get]> = (0..1 << 16)
        .map(|_| random.below(OBJECT / RANGE) * RANGE)
        .map(|start| Get::range(&object, start..start + RANGE).unchecked())
        .collect();
    let threads = CONNECTIONS;
    let reads = Reads { block: RANGE, threads, order: Order::Random(TURN), direct: true };
    let mut rates = Vec::new();
    for _ in 0..TURNS {
        let device = fio::rate(&files, reads)?;
        let done = load::run(async {
            Crowd::connect(hotset.server.address(), CONNECTIONS).await?.round(&gets, TURN).await
        })?;
        rates.push((bytes_a_second(done.times.len(), RANGE, done.elapsed)?, device));
    }
    Ok(vec![row("disk_random", "rate / fio's psync", &rates, Some(0.85))])
}

/// Sequential ranges of 8 MiB, each connection through its part of the object. The page cache is empty at first.
pub fn sequential(bench: &Bench) -> Result<Vec<Row>> {
    const RANGE: u64 = 8 * MIB;
    const CONNECTIONS: usize = 4;
    let (hotset, object, _origin) = filled(bench, "sequential", false)?;
    let files = segments(&bench.folder().join("sequential"))?;
    let threads = CONNECTIONS;
    let reads = Reads { block: RANGE, threads, order: Order::Sequential, direct: false };
    let mut rates = Vec::new();
    for _ in 0..ROUNDS {
        forget_pages(&files)?;
        let device = fio::rate(&files, reads)?;
        forget_pages(&files)?;
        let elapsed = load::run(in_order(&hotset, &object, CONNECTIONS as u64, RANGE))?;
        rates.push((bytes_a_second(1, OBJECT, elapsed)?, device));
    }
    Ok(vec![row("disk_sequential", "rate / fio's psync", &rates, Some(0.9))])
}

async fn in_order(
    hotset: &Hotset,
    object: &Arc<Object>,
    connections: u64,
    range: u64,
) -> Result<Duration> {
    let start = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..connections {
        let (address, object) = (hotset.server.address(), object.clone());
        let part = OBJECT / connections;
        tasks.spawn(async move {
            let mut client = Client::connect(address).await?;
            for start in (number * part..(number + 1) * part).step_by(usize::try_from(range)?) {
                client.get(&Get::range(&object, start..start + range).unchecked()).await?;
            }
            Result::Ok(())
        });
    }
    while let Some(result) = tasks.join_next().await {
        result??;
    }
    Ok(start.elapsed())
}

/// A million synthetic blocks: their cost in process memory, and in time until the server is ready.
pub fn million(bench: &Bench) -> Result<Vec<Row>> {
    const BLOCKS: u32 = 1_000_000;
    const DATA: usize = 100;
    const READY: &str = "HTTP/1.1 200";
    let memory = Memory { cache: 4 * GIB, in_flight: 128 * MIB };
    let origin = Origin::start(Pace::NEAR)?;
    let mut empty = Vec::new();
    let mut full = Vec::new();
    // The index may take a 512th of the capacity. Nothing is allocated for what is not written.
    let disk = |name: &str| Disk {
        path: bench.folder().join(name),
        capacity: 100 * GIB,
        direct: false,
        write_rate: None,
    };
    let (without, with) = (disk("index-empty"), disk("index-full"));
    ::hotset::cache::disk::synthetic::write(&with.path, with.capacity, BLOCKS, DATA)?;
    for _ in 0..ROUNDS {
        for (disk, seen) in [(&without, &mut empty), (&with, &mut full)] {
            if disk.path.exists() {
                forget_pages(&segments(&disk.path)?)?;
            }
            let start = Instant::now();
            let hotset = hotset::start(origin.address(), memory, Some(disk), None, bench.folder())?;
            while !hotset::ask(hotset.admin, "/readyz").is_ok_and(|a| a.starts_with(READY)) {}
            let ready = start.elapsed();
            seen.push((ready, hotset.server.memory()?, hotset.metric("hotset_disk_blocks")?));
        }
    }
    if let Some((_, _, blocks)) = full.iter().find(|seen| (seen.2 - f64::from(BLOCKS)).abs() > 0.5)
    {
        return Err(format!("{blocks} blocks in the index in place of {BLOCKS}").into());
    }
    let memory = |seen: &[(Duration, u64, f64)]| median(seen.iter().map(|s| s.1).collect());
    let (less, more) = (memory(&empty), memory(&full));
    let bytes = mebibytes(more.saturating_sub(less)) * f64::from(1 << 20) / f64::from(BLOCKS);
    let ready =
        |seen: &[(Duration, u64, f64)]| milliseconds(median(seen.iter().map(|s| s.0).collect()));
    let cells = |value: (f64, f64), unit: &str| {
        (format!("{:.0} {unit}", value.0), format!("empty {:.0} {unit}", value.1))
    };
    Ok(vec![
        Row::amount(
            "disk_index",
            "memory of a block",
            cells((mebibytes(more), mebibytes(less)), "MiB"),
            (bytes, "B"),
            Bar::AtMost(100.0),
        ),
        Row::amount(
            "disk_index",
            "start to ready",
            cells((ready(&full), ready(&empty)), "ms"),
            (ready(&full), "ms"),
            Bar::AtMost(1000.0),
        ),
    ])
}

/// Starts hotset with all of an object on its disk.
fn filled(bench: &Bench, name: &str, direct: bool) -> Result<(Hotset, Arc<Object>, Origin)> {
    if bench.subject() != Subject::Hotset {
        return Err("only hotset has a disk that can be held against fio".into());
    }
    let origin = Origin::start(Pace::NEAR)?;
    let path = bench.folder().join(name);
    let disk = Disk { path, capacity: 4 * GIB, direct, write_rate: None };
    let hotset = hotset::start(origin.address(), MEMORY, Some(&disk), None, bench.folder())?;
    let object = Arc::new(Object::new(name, OBJECT));
    fill(&hotset, &origin, &object)?;
    Ok((hotset, object, origin))
}

/// Reads an object until the origin gets no more requests.
///
/// # Errors
/// When the origin still gets requests after many passes, or a response is wrong.
pub fn fill(hotset: &Hotset, origin: &Origin, object: &Arc<Object>) -> Result<()> {
    const RANGE: u64 = 8 * MIB;
    for _ in 0..PASSES {
        let before = origin.seen().requests;
        load::run(async {
            let mut client = Client::connect(hotset.server.address()).await?;
            for start in (0..object.size()).step_by(usize::try_from(RANGE)?) {
                let end = (start + RANGE).min(object.size());
                client.get(&Get::range(object, start..end)).await?;
            }
            origin.settled(Duration::from_secs(5)).await;
            Ok(())
        })?;
        while hotset.metric("hotset_disk_queued_bytes")? > 0.0 {}
        if origin.seen().requests == before {
            return Ok(());
        }
    }
    Err("not everything got onto the disk".into())
}

/// Returns the segment files.
fn segments(path: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(path.join("blocks"))?;
    Ok(entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?)
}

/// Evicts the files from the page cache, so that they are read from the device.
fn forget_pages(files: &[PathBuf]) -> Result<()> {
    for file in files {
        let file = File::open(file)?;
        file.sync_all()?;
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
    }
    Ok(())
}

fn bytes_a_second(count: usize, each: u64, elapsed: Duration) -> Result<f64> {
    let mebibytes = mebibytes(each) * f64::from(u32::try_from(count)?);
    Ok(mebibytes * f64::from(1 << 20) / elapsed.as_secs_f64())
}

/// Makes a row of the median of the rounds' ratios, and the median rates.
fn row(scenario: &'static str, figure: &str, rates: &[(f64, f64)], bar: Option<f64>) -> Row {
    let mebibytes = |rates: Vec<f64>| median(rates) / f64::from(1 << 20);
    let ratio = median(rates.iter().map(|(ours, device)| ours / device).collect());
    let cells = (
        format!("{:.0} MiB/s", mebibytes(rates.iter().map(|r| r.0).collect())),
        format!("fio {:.0} MiB/s", mebibytes(rates.iter().map(|r| r.1).collect())),
    );
    Row::ratio(scenario, figure, cells, ratio, bar.map_or(Bar::None, Bar::AtLeast))
}
