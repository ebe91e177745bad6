//! A thousand concurrent clients: each byte is fetched once, and memory stays within its budget.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::Result;
use crate::bench::{Bench, mebibytes};
use crate::content::{GIB, MIB, Object};
use crate::hotset::Memory;
use crate::load::{self, Client, Get};
use crate::origin::{Origin, Pace};
use crate::report::{Bar, Row};

const CLIENTS: usize = 1000;

/// A thousand clients request the same cold object at the same moment.
pub fn herd(bench: &Bench) -> Result<Vec<Row>> {
    let memory = Memory { cache: 2 * GIB, in_flight: 512 * MIB };
    let origin = Origin::start(Pace::FAR)?;
    let server = bench.start(&origin, memory, None)?;
    let get = Get::whole(&Arc::new(Object::new("herd", 64 * MIB)));
    load::run(async {
        let mut clients = Vec::new();
        for _ in 0..CLIENTS {
            clients.push(Client::connect(server.address()).await?);
        }
        let start = Instant::now();
        let wrong =
            all_at_once(clients, async move |client| client.get(&get).await.map(drop)).await?;
        let elapsed = start.elapsed().as_secs_f64();
        let seen = origin.settled(Duration::from_secs(5)).await;
        let sent = mebibytes(seen.sent);
        let requests = format!("{} requests", seen.requests);
        let peak = mebibytes(server.peak_memory()?);
        Ok(vec![
            Row::ratio(
                "herd",
                "sent by the origin",
                (format!("{sent:.1} MiB"), "object 64.0 MiB".into()),
                sent / 64.0,
                Bar::AtMost(1.005),
            ),
            bodies("herd", wrong),
            Row::amount("herd", "time", (requests, "64 GiB".into()), (elapsed, "s"), Bar::None),
            Row::amount("herd", "peak memory", none(), (peak, "MiB"), Bar::None),
        ])
    })
}

/// A thousand clients each read another 8 MiB: slowly at first, so that the bytes being sent have to wait for them,
/// then as fast as they can, to the end.
pub fn slow_readers(bench: &Bench) -> Result<Vec<Row>> {
    const SLOW: Duration = Duration::from_secs(15);
    const PAUSE: Duration = Duration::from_millis(50);
    const SIP: usize = 16 << 10;
    const REGION: u64 = 8 * MIB;
    let memory = Memory { cache: 256 * MIB, in_flight: 512 * MIB };
    let origin = Origin::start(Pace::FAR)?;
    let server = bench.start(&origin, memory, None)?;
    load::run(async {
        let mut readers = Vec::new();
        for index in 0..CLIENTS as u64 {
            let object = Arc::new(Object::new(&format!("slow-{}", index % 8), GIB));
            let first = index / 8 * REGION;
            let client = Client::connect_narrow(server.address(), 128 << 10).await?;
            readers.push((client, Get::range(&object, first..first + REGION)));
        }
        let start = Instant::now();
        let wrong = all_at_once(readers, async move |(client, get)| {
            let mut answer = client.send(get).await?;
            while !answer.is_whole() {
                if start.elapsed() < SLOW {
                    answer.read(SIP).await?;
                    sleep(PAUSE).await;
                } else {
                    answer.read(usize::MAX).await?;
                }
            }
            Ok(())
        })
        .await?;
        let elapsed = start.elapsed().as_secs_f64();
        let (peak, budget) = (server.peak_memory()?, memory.cache + memory.in_flight);
        let cells = (
            format!("{:.0} MiB", mebibytes(peak)),
            format!("cache + in flight {:.0} MiB", mebibytes(budget)),
        );
        let ratio = mebibytes(peak) / mebibytes(budget);
        Ok(vec![
            Row::ratio("memory_bound", "peak resident memory", cells, ratio, Bar::AtMost(1.15)),
            bodies("memory_bound", wrong),
            Row::amount("memory_bound", "time", none(), (elapsed, "s"), Bar::None),
        ])
    })
}

/// Runs `work` for all `clients` concurrently; returns the number of failures. The first failure is printed.
async fn all_at_once<C, W>(clients: Vec<C>, work: W) -> Result<u32>
where
    C: Send + 'static,
    W: AsyncFn(&mut C) -> Result<()> + 'static,
{
    let barrier = Arc::new(Barrier::new(clients.len()));
    let work = std::rc::Rc::new(work);
    let local = tokio::task::LocalSet::new();
    let mut tasks = JoinSet::new();
    for mut client in clients {
        let (barrier, work) = (barrier.clone(), work.clone());
        let task = async move {
            barrier.wait().await;
            work(&mut client).await
        };
        tasks.spawn_local_on(task, &local);
    }
    local
        .run_until(async {
            let mut wrong = 0;
            while let Some(result) = tasks.join_next().await {
                if let Err(error) = result? {
                    if wrong == 0 {
                        eprintln!("a client failed: {error}");
                    }
                    wrong += 1;
                }
            }
            Ok(wrong)
        })
        .await
}

fn bodies(scenario: &'static str, wrong: u32) -> Row {
    let right = CLIENTS - wrong as usize;
    let cells = (format!("{right} right"), format!("{CLIENTS} clients"));
    Row::amount(scenario, "broken or wrong bodies", cells, (wrong.into(), ""), Bar::AtMost(0.0))
}

fn none() -> (String, String) {
    (String::new(), String::new())
}
