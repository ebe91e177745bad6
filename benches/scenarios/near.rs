//! Cold reads from an origin that is as fast as the machine: hotset's overhead where it gains nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::Result;
use crate::bench::{Bench, mebibytes};
use crate::content::{GIB, MIB, Object};
use crate::hotset::{self, Memory};
use crate::load::{self, Client, Get};
use crate::nginx::{self, Files};
use crate::origin::{Origin, Pace};
use crate::process::{Apart, Server, own_cpu};
use crate::report::{Bar, Row, median};

const MEMORY: Memory = Memory { cache: GIB, in_flight: 256 * MIB };
const SIZE: u64 = 512 * MIB;
/// Number of reads before the measured ones, which fill the cache: memory that a machine has not used yet may cost a
/// second a GiB to touch, which a server pays once.
const TOUCHED: u32 = 3;
const ROUNDS: u32 = 5;

/// One client; rates are those of pairs of consecutive reads.
pub fn origin(bench: &Bench) -> Result<Vec<Row>> {
    let origin = Origin::start(Pace::NEAR)?;
    let hotset = hotset::start(origin.address(), MEMORY, None, None, bench.folder())?;
    touch(&hotset.server)?;
    let mut ratios = Vec::new();
    let mut cells = (Vec::new(), Vec::new());
    let mut ceilings = Vec::new();
    let cores = f64::from(u32::try_from(std::thread::available_parallelism()?.get())?);
    for round in 0..ROUNDS {
        let direct = load::run(read(origin.address(), "direct", round))?;
        let before = hotset.server.cpu()? + own_cpu()?;
        let through = load::run(read(hotset.server.address(), "near", round))?;
        let cpu = (hotset.server.cpu()? + own_cpu()?).saturating_sub(before);
        ratios.push(direct.as_secs_f64() / through.as_secs_f64());
        ceilings.push(direct.as_secs_f64() * cores / cpu.as_secs_f64());
        let rate =
            |time: Duration| format!("{:.0}", mebibytes(SIZE) * 1.048_576 / time.as_secs_f64());
        cells.0.push(rate(through));
        cells.1.push(rate(direct));
    }
    let cells = (format!("{} MB/s", cells.0.join(" ")), format!("direct {}", cells.1.join(" ")));
    let mut rows = vec![Row::ratio(
        "cold_near",
        "rate of one client",
        cells,
        median(ratios),
        Bar::AtLeast(0.8),
    )];
    // Origin, hotset and client share the cores: no read can be faster than all of them busy all the time.
    let cells = (format!("{cores:.0} cores busy all the time"), "direct".to_owned());
    rows.push(Row::ratio("cold_near", "what the CPU allows", cells, median(ceilings), Bar::None));
    drop(hotset);
    let nginx = nginx::start(origin.address(), Files::Opened, None, None, bench.folder())?;
    touch(&nginx)?;
    let mut theirs = Vec::new();
    for round in 0..ROUNDS {
        let direct = load::run(read(origin.address(), "direct", round))?;
        let through = load::run(read(nginx.address(), "near", round))?;
        theirs.push(direct.as_secs_f64() / through.as_secs_f64());
    }
    let none = (String::new(), "direct".to_owned());
    rows.push(Row::ratio("cold_near", "the same of nginx", none, median(theirs), Bar::None));
    drop(nginx);
    rows.push(cpu(bench, &origin)?);
    Ok(rows)
}

/// CPU time of hotset filling its memory, against nginx filling its files.
fn cpu(bench: &Bench, origin: &Origin) -> Result<Row> {
    let apart = Apart::new()?;
    let core = Some(apart.server);
    let start = || hotset::start(origin.address(), MEMORY, None, core, bench.folder());
    let ours = start()?.server;
    let theirs = nginx::start(origin.address(), Files::Opened, None, core, bench.folder())?;
    touch(&ours)?;
    touch(&theirs)?;
    let mut ratios = Vec::new();
    let mut costs = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let (ours, theirs) = (cost(&ours, round)?, cost(&theirs, round)?);
        ratios.push(ours / theirs);
        costs.0.push(ours);
        costs.1.push(theirs);
    }
    let cells =
        (format!("{:.0} ms/GiB", median(costs.0)), format!("nginx {:.0} ms/GiB", median(costs.1)));
    Ok(Row::ratio("cold_near", "CPU of a cold read", cells, median(ratios), Bar::AtMost(2.2)))
}

fn touch(server: &Server) -> Result<()> {
    for round in 0..TOUCHED {
        load::run(read(server.address(), "touched", round))?;
    }
    Ok(())
}

/// Returns the CPU time for a GiB that was not read before, in milliseconds.
fn cost(server: &Server, round: u32) -> Result<f64> {
    let before = server.cpu()?;
    for part in 0..2 {
        load::run(read(server.address(), "cpu", round * 2 + part))?;
    }
    Ok(server.cpu()?.saturating_sub(before).as_secs_f64() * 1e3 * mebibytes(GIB)
        / mebibytes(2 * SIZE))
}

async fn read(address: std::net::SocketAddr, name: &str, round: u32) -> Result<Duration> {
    let get = Get::whole(&Arc::new(Object::new(&format!("{name}-{round}"), SIZE))).unchecked();
    let mut client = Client::connect(address).await?;
    let start = Instant::now();
    client.get(&get).await?;
    Ok(start.elapsed())
}
