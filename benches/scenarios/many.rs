//! Many cold objects at once: fairness among clients, and the cost of a scan for readers of hot objects.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::{JoinSet, LocalSet};

use crate::Result;
use crate::bench::{Bench, mebibytes, milliseconds};
use crate::content::{GIB, KIB, MIB, Object};
use crate::hotset::{self, Extras, Memory};
use crate::load::{self, Client, Get};
use crate::origin::{Origin, Pace};
use crate::paced::{Load, failed, quantile};
use crate::report::{Bar, Row};

/// Rate of the origin over all connections, in bytes a second.
const TOTAL: u64 = 200_000_000;

/// Each of 64 clients reads another object. The size is a quarter of the documented one, since two cores play all
/// parts.
pub fn clients(bench: &Bench) -> Result<Vec<Row>> {
    const CLIENTS: u32 = 64;
    const SIZE: u64 = 64 * MIB;
    let memory = Memory { cache: GIB, in_flight: 512 * MIB };
    let origin = Origin::start(Pace { total: Some(TOTAL), ..Pace::FAR })?;
    let server = bench.start(&origin, memory, None)?;
    let address = server.address();
    let start = Instant::now();
    let read = async {
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS {
            clients.spawn_local(async move {
                let get = Get::whole(&Arc::new(Object::new(&format!("many-{number}"), SIZE)));
                Client::connect(address).await?.get(&get).await?;
                Result::Ok(start.elapsed())
            });
        }
        let mut took = Vec::new();
        while let Some(one) = clients.join_next().await {
            took.push(one??);
        }
        Ok(took)
    };
    let mut took = load::run(LocalSet::new().run_until(read))?;
    took.sort_unstable();
    let (middle, last) = (took[took.len() / 2], took[took.len() - 1]);
    let bytes = mebibytes(u64::from(CLIENTS) * SIZE) * 1.048_576;
    let (rate, limit) = (bytes / last.as_secs_f64(), mebibytes(TOTAL) * 1.048_576);
    let rates = (format!("{rate:.0} MB/s"), format!("limit {limit:.0} MB/s"));
    let times = (
        format!("slowest {:.1} s", last.as_secs_f64()),
        format!("median {:.1} s, fastest {:.1} s", middle.as_secs_f64(), took[0].as_secs_f64()),
    );
    let slowest = last.as_secs_f64() / middle.as_secs_f64();
    let sent = mebibytes(origin.seen().sent);
    let amounts = (
        format!("{sent:.0} MiB"),
        format!("objects {:.0} MiB", mebibytes(u64::from(CLIENTS) * SIZE)),
    );
    Ok(vec![
        Row::ratio("cold_crowd", "rate of 64 clients", rates, rate / limit, Bar::AtLeast(0.95)),
        Row::ratio("cold_crowd", "slowest client", times, slowest, Bar::AtMost(1.5)),
        Row::ratio(
            "cold_crowd",
            "sent by the origin",
            amounts,
            sent / mebibytes(u64::from(CLIENTS) * SIZE),
            Bar::None,
        ),
    ])
}

/// Hot objects that are revalidated on every read: alone, then while 32 clients scan a thousand cold objects through
/// hotset, then while they scan as many directly from the origin, which costs the machine about the same.
pub fn scan_beside(bench: &Bench) -> Result<Vec<Row>> {
    const ALONE: Duration = Duration::from_secs(10);
    let memory = Memory { cache: 512 * MIB, in_flight: 256 * MIB };
    let origin = Origin::start(Pace { total: Some(TOTAL), ..Pace::FAR })?;
    let rules = "  - match: \"bench/hot*\"\n    freshness: revalidate\n";
    let extras = Extras { rules, ..Extras::default() };
    let hotset = hotset::start_with(origin.address(), memory, &extras, None, bench.folder())?;
    let address = hotset.server.address();
    let load = Load {
        address,
        name: "hot",
        size: 64 * KIB,
        clients: 32,
        every: Duration::from_millis(5),
        objects: Some(20),
    };
    // Fills the cache: memory that the machine has not used yet is slow to touch, which a server pays once.
    load::run(async { LocalSet::new().run_until(scan(address, "touched")).await })?;
    let (alone, ()) = load::run(load.run(ALONE, async |_| Ok(())))?;
    let (past, _) = load::run(load.run(ALONE, async |_| scan(origin.address(), "past").await))?;
    let (beside, took) = load::run(load.run(ALONE, async |_| scan(address, "scan").await))?;
    let during: Vec<_> = beside.iter().filter(|sample| sample.at < took).copied().collect();
    let wrong = u32::try_from(
        [&alone, &past, &beside].map(|samples| failed(samples)).iter().sum::<usize>(),
    )?;
    let p99 = |samples: &[_]| milliseconds(quantile(samples, 990));
    let (quiet, elsewhere, busy) = (p99(&alone[200..]), p99(&past), p99(&during));
    let cells = (
        format!("p99 {busy:.0} ms of {} reads", during.len()),
        format!("alone {quiet:.0} ms; scan of {:.1} s", took.as_secs_f64()),
    );
    let same = (format!("p99 {busy:.0} ms"), format!("scan past hotset {elsewhere:.0} ms"));
    let errors = (format!("{wrong} failed"), format!("{} reads", alone.len() * 3));
    Ok(vec![
        Row::ratio(
            "scan_beside",
            "p99 of revalidated reads",
            cells,
            busy / quiet,
            Bar::AtMost(2.0),
        ),
        Row::ratio("scan_beside", "the same, past hotset", same, busy / elsewhere, Bar::None),
        Row::amount("scan_beside", "client errors", errors, (wrong.into(), ""), Bar::AtMost(0.0)),
    ])
}

/// Reads a thousand objects, each once; returns the time.
async fn scan(address: SocketAddr, name: &'static str) -> Result<Duration> {
    const CLIENTS: u32 = 32;
    const OBJECTS: u32 = 1000;
    let start = Instant::now();
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        clients.spawn_local(async move {
            let mut client = Client::connect(address).await?;
            for object in (number..OBJECTS).step_by(CLIENTS as usize) {
                let object = Object::new(&format!("{name}-{object}"), 2 * MIB);
                client.get(&Get::whole(&Arc::new(object)).unchecked()).await?;
            }
            Result::Ok(())
        });
    }
    while let Some(client) = clients.join_next().await {
        client??;
    }
    Ok(start.elapsed())
}
