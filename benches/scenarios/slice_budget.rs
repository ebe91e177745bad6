//! A fast reader of a disk while slow clients hold all the memory for slices: CPU time per byte.

use std::sync::Arc;

use tokio::time::{Duration, Instant, sleep};

use crate::Result;
use crate::bench::{Bench, Subject};
use crate::content::{GIB, KIB, MIB, Object};
use crate::disk::fill;
use crate::hotset::{self, Disk, Hotset, Memory};
use crate::load::{self, Client, Get};
use crate::origin::{Origin, Pace};
use crate::report::{Bar, Row, median};

/// A quarter of the memory in flight is for slices: 8 MiB.
const MEMORY: Memory = Memory { cache: 64 * MIB, in_flight: 32 * MIB };
const SLICES: f64 = 8.0 * 1024.0 * 1024.0;
const OBJECT: u64 = 256 * MIB;
const RANGE: u64 = 8 * MIB;
/// Number of clients that stop reading: more than there are slices for.
const STALLED: u64 = 64;
const ROUNDS: usize = 5;
const LIMIT: Duration = Duration::from_secs(10);

/// CPU time of a byte read in order from disk, with and without memory to hold it for its client.
pub fn used_up(bench: &Bench) -> Result<Vec<Row>> {
    if bench.subject() != Subject::Hotset {
        return Err("only hotset has a budget for slices".into());
    }
    let origin = Origin::start(Pace::NEAR)?;
    let path = bench.folder().join("slices");
    let disk = Disk { path, capacity: GIB, direct: false, write_rate: None };
    let hotset = hotset::start(origin.address(), MEMORY, Some(&disk), None, bench.folder())?;
    let object = Arc::new(Object::new("slices", OBJECT));
    fill(&hotset, &origin, &object)?;
    let (free, used_up) = load::run(async {
        let free = rounds(&hotset, &object).await?;
        let mut clients = Vec::new();
        for _ in 0..STALLED {
            clients.push(Client::connect_narrow(hotset.server.address(), 4 * 1024).await?);
        }
        let gets: Vec<_> = (0..STALLED)
            .map(|n| Get::range(&object, n * OBJECT / STALLED..OBJECT).unchecked())
            .collect();
        let mut answers = Vec::new();
        for (client, get) in clients.iter_mut().zip(&gets) {
            let mut answer = client.send(get).await?;
            answer.read(1).await?;
            answers.push(answer);
        }
        let start = Instant::now();
        while hotset.metric("hotset_in_flight_bytes")? < SLICES - 64.0 * 1024.0 {
            if start.elapsed() > LIMIT {
                return Err("the memory for slices is not used up".into());
            }
            sleep(Duration::from_millis(10)).await;
        }
        let used_up = rounds(&hotset, &object).await?;
        drop(answers);
        Ok((free, used_up))
    })?;
    let cells = (format!("{used_up:.1} us"), format!("with memory {free:.1} us"));
    let figure = "CPU of 16 KiB once memory for slices is used up";
    Ok(vec![Row::ratio("slice_budget", figure, cells, used_up / free, Bar::AtMost(4.0))])
}

/// Returns the CPU time for 16 KiB of the object, read in order by one client, in microseconds.
async fn rounds(hotset: &Hotset, object: &Arc<Object>) -> Result<f64> {
    let mut client = Client::connect(hotset.server.address()).await?;
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let before = hotset.server.cpu()?;
        for start in (0..OBJECT).step_by(usize::try_from(RANGE)?) {
            client.get(&Get::range(object, start..start + RANGE).unchecked()).await?;
        }
        let cpu = hotset.server.cpu()?.saturating_sub(before);
        let pieces = f64::from(u32::try_from(OBJECT / (16 * KIB))?);
        rounds.push(cpu.as_secs_f64() * 1e6 / pieces);
    }
    Ok(median(rounds))
}
