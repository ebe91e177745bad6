//! Origins with slow responses, errors, truncated bodies and stalls: the effect on clients, and the cost.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::{JoinSet, LocalSet};

use crate::Result;
use crate::bench::{Bench, milliseconds};
use crate::content::{GIB, MIB, Object};
use crate::hotset::{self, Extras, Memory};
use crate::load::{self, Client, Get};
use crate::origin::{Mishaps, Origin, Pace};
use crate::report::{Bar, Row, median};

const MEMORY: Memory = Memory { cache: GIB, in_flight: 256 * MIB };
const CLIENTS: u32 = 8;

/// One of a hundred requests is answered a second late.
pub fn one_in_a_hundred(bench: &Bench) -> Result<Vec<Row>> {
    const WARM: u32 = 1500;
    const READS: u32 = 6000;
    let mut rows = Vec::new();
    for (hedges, bar) in
        [(true, (Bar::AtMost(3.0), Bar::AtMost(6.0))), (false, (Bar::None, Bar::None))]
    {
        let reads = if hedges { READS } else { READS / 3 };
        let pace = Pace { mishaps: Mishaps { late: 10, ..Mishaps::NONE }, ..Pace::FAR };
        let origin = Origin::start(pace)?;
        let more = format!("  hedging: {hedges}\n");
        let extras = Extras { origin: &more, ..Extras::default() };
        let server =
            hotset::start_with(origin.address(), MEMORY, &extras, None, bench.folder())?.server;
        let read = |name, count| Reads { address: server.address(), name, size: MIB, count }.all();
        load::run(read("warm", WARM))?;
        let before = origin.seen();
        let mut took = load::run(read("late", reads))?;
        let more = origin.seen().since(before).arrived - u64::from(reads);
        took.sort_unstable();
        let at = |per_mille: usize| milliseconds(took[took.len() * per_mille / 1000]);
        let (middle, last) = (at(500), at(999));
        let what = if hedges { "" } else { ", without hedging" };
        let cells = (
            format!("p99.9 {last:.0} ms"),
            format!("median {middle:.1} ms, p99 {:.0} ms", at(990)),
        );
        rows.push(Row::ratio("late_origin", format!("p99.9{what}"), cells, last / middle, bar.0));
        let per_cent = f64::from(u32::try_from(more)?) * 100.0 / f64::from(reads);
        let cells = (format!("{more} more"), format!("{reads} reads"));
        rows.push(Row::amount(
            "late_origin",
            format!("more requests{what}"),
            cells,
            (per_cent, "%"),
            bar.1,
        ));
    }
    Ok(rows)
}

/// One in five requests is refused, one in twenty is cut off, and one in a hundred stalls for ever.
pub fn failing(bench: &Bench) -> Result<Vec<Row>> {
    const ROUNDS: u32 = 3;
    const WARM: u32 = 160;
    const READS: u32 = 240;
    let mishaps = Mishaps { refused: 200, cut: 50, stalled: 10, ..Mishaps::NONE };
    let (mut ratios, mut wrong, mut cells) = (Vec::new(), 0, Vec::new());
    for _ in 0..ROUNDS {
        let mut rates = Vec::new();
        for mishaps in [Mishaps::NONE, mishaps] {
            let origin = Origin::start(Pace { mishaps, ..Pace::FAR })?;
            let server = bench.start(&origin, MEMORY, None)?;
            let read = |name, count| {
                Reads { address: server.address(), name, size: 8 * MIB, count }.some()
            };
            wrong += load::run(read("warm", WARM))?.1;
            let start = Instant::now();
            wrong += load::run(read("cold", READS))?.1;
            rates.push(f64::from(READS) * 8.388_608 / start.elapsed().as_secs_f64());
        }
        ratios.push(rates[1] / rates[0]);
        cells.push(format!("{:.0}/{:.0}", rates[1], rates[0]));
    }
    let reads = ROUNDS * 2 * (READS + WARM);
    let cells = (cells.join(" "), "failing/clean, MB/s".into());
    let errors = (format!("{wrong} wrong"), format!("{reads} reads"));
    Ok(vec![
        Row::amount(
            "failing",
            "errors and wrong bytes",
            errors,
            (wrong.into(), ""),
            Bar::AtMost(0.0),
        ),
        Row::ratio("failing", "throughput", cells, median(ratios), Bar::AtLeast(0.6)),
    ])
}

/// Cold reads of whole objects, by clients that take the next one as soon as they are free.
struct Reads {
    address: std::net::SocketAddr,
    name: &'static str,
    size: u64,
    count: u32,
}

impl Reads {
    /// Returns the time of each read; fails if any read fails.
    async fn all(self) -> Result<Vec<Duration>> {
        match self.some().await? {
            (took, 0) => Ok(took),
            (_, failed) => Err(format!("{failed} reads failed").into()),
        }
    }

    /// Returns the times of the successful reads, and the number of failed ones.
    async fn some(self) -> Result<(Vec<Duration>, u32)> {
        let mut clients = JoinSet::new();
        let local = LocalSet::new();
        let this = std::rc::Rc::new(self);
        for number in 0..CLIENTS {
            let this = this.clone();
            clients.spawn_local_on(async move { this.client(number).await }, &local);
        }
        local
            .run_until(async {
                let (mut took, mut failed) = (Vec::new(), 0);
                while let Some(one) = clients.join_next().await {
                    let one = one??;
                    took.extend(one.0);
                    failed += one.1;
                }
                Ok((took, failed))
            })
            .await
    }

    async fn client(&self, number: u32) -> Result<(Vec<Duration>, u32)> {
        let (mut took, mut failed) = (Vec::new(), 0);
        let mut client = Client::connect(self.address).await?;
        for number in (number..self.count).step_by(CLIENTS as usize) {
            let name = format!("{}{number}", self.name);
            match client.get(&Get::whole(&Arc::new(Object::new(&name, self.size)))).await {
                Ok(one) => took.push(one.last_byte),
                Err(error) => {
                    if failed == 0 {
                        eprintln!("a client failed: {error}");
                    }
                    failed += 1;
                    client = Client::connect(self.address).await?;
                }
            }
        }
        Ok((took, failed))
    }
}
