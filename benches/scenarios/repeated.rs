//! Repeated reads with full memory: new objects, each read again shortly after, beside objects that were read often.

use std::sync::Arc;

use tokio::task::{JoinSet, LocalSet};

use crate::Result;
use crate::bench::Bench;
use crate::content::{MIB, Object};
use crate::hotset::Memory;
use crate::load::{self, Client, Get};
use crate::origin::{Origin, Pace};
use crate::report::{Bar, Row};

const MEMORY: Memory = Memory { cache: 64 * MIB, in_flight: 64 * MIB };
const SIZE: u64 = 100_000;
/// Number of old objects: more than memory holds.
const OLD: u64 = 900;
/// Number of new objects of each reader.
const ROUNDS: u64 = 100;

fn get(name: &str) -> Get {
    Get::whole(&Arc::new(Object::new(name, SIZE)))
}

/// Runs with 16 readers and with 64.
pub fn with_full_memory(bench: &Bench) -> Result<Vec<Row>> {
    [16, 64].into_iter().map(|readers| fetched_twice(bench, readers)).collect()
}

fn fetched_twice(bench: &Bench, readers: u32) -> Result<Row> {
    let origin = Origin::start(Pace::NEAR)?;
    let server = bench.start(&origin, MEMORY, None)?;
    let address = server.address();
    let reads = async {
        let mut client = Client::connect(address).await?;
        for old in 0..OLD {
            let get = get(&format!("old{old}"));
            client.get(&get).await?;
            client.get(&get).await?;
        }
        let before = origin.seen();
        let mut crowd = JoinSet::new();
        for reader in 0..readers {
            crowd.spawn_local(async move {
                let mut client = Client::connect(address).await?;
                for n in 0..ROUNDS {
                    let get = get(&format!("new{reader}-{n}"));
                    client.get(&get).await?;
                    client.get(&get).await?;
                }
                Result::Ok(())
            });
        }
        while let Some(reader) = crowd.join_next().await {
            reader??;
        }
        Ok(before)
    };
    let before = load::run(LocalSet::new().run_until(reads))?;
    let objects = u64::from(readers) * ROUNDS;
    let twice = origin.seen().since(before).requests.saturating_sub(objects);
    let cells = (twice.to_string(), format!("{objects} objects"));
    let per_cent = f64::from(u32::try_from(twice)?) * 100.0 / f64::from(u32::try_from(objects)?);
    let figure = format!("fetched twice, {readers} readers");
    Ok(Row::amount("full_memory", figure, cells, (per_cent, "%"), Bar::AtMost(2.0)))
}
