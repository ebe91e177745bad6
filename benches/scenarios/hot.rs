//! Hot reads, from memory or the page cache: the server's CPU time, compared with nginx and with bare hyper.
//!
//! Each server has one core to itself while it is measured, and the load has another. The servers take turns in short
//! rounds, and the median of the rounds' ratios is compared: whatever else the machine does affects all of them.

use std::sync::Arc;
use std::time::Duration;

use crate::Result;
use crate::bench::{Bench, Subject};
use crate::content::{GIB, KIB, MIB, Object, Random};
use crate::hotset::{self, Disk, Extras, Memory};
use crate::hyper_server;
use crate::load::{self, Client, Crowd, Get};
use crate::nginx::{self, Files};
use crate::origin::{Origin, Pace};
use crate::process::{Apart, Server};
use crate::report::{Bar, Row, median};
use crate::tls::Identity;

const CONNECTIONS: usize = 16;
const ROUNDS: usize = 9;
const PASSES: usize = 12;
const WARM_UP: Duration = Duration::from_millis(300);
const ROUND: Duration = Duration::from_millis(1500);
const MEMORY: Memory = Memory { cache: 2 * GIB, in_flight: 512 * MIB };

/// A whole object of 4 KiB.
pub fn small_object(bench: &Bench) -> Result<Vec<Row>> {
    let object = Arc::new(Object::new("hot", 4 * KIB));
    let bars = Bars { nginx: Bar::AtMost(0.75), hyper: Bar::None };
    let gets = [Get::whole(&object)];
    compare(
        "hot_4kib",
        bench,
        &Served { object: &object, memory: MEMORY, disk: None, tls: None, verifies: false },
        &gets,
        bars,
    )
}

/// The same object, signed as an SDK signs it: hotset verifies each request, the others do not.
pub fn signed_object(bench: &Bench) -> Result<Vec<Row>> {
    let object = Arc::new(Object::new("hot", 4 * KIB));
    let bars = Bars { nginx: Bar::AtMost(1.0), hyper: Bar::None };
    let gets = [Get::signed(&object, hotset::reader())];
    let served = Served { object: &object, memory: MEMORY, disk: None, tls: None, verifies: true };
    compare("verified_4kib", bench, &served, &gets, bars)
}

/// Ranges of 8 MiB in random order, aligned as the parts of an SDK's download are (and nginx's slices).
pub fn large_ranges(bench: &Bench) -> Result<Vec<Row>> {
    const RANGE: u64 = 8 * MIB;
    let object = Arc::new(Object::new("hot", 512 * MIB));
    let gets = shuffled(&object, RANGE)?;
    let bars = Bars { nginx: Bar::AtMost(1.0), hyper: Bar::AtMost(1.15) };
    compare(
        "hot_8mib",
        bench,
        &Served { object: &object, memory: MEMORY, disk: None, tls: None, verifies: false },
        &gets,
        bars,
    )
}

/// The same ranges over TLS 1.3.
pub fn over_tls(bench: &Bench) -> Result<Vec<Row>> {
    const RANGE: u64 = 8 * MIB;
    let object = Arc::new(Object::new("hot", 256 * MIB));
    let gets = shuffled(&object, RANGE)?;
    let bars = Bars { nginx: Bar::AtMost(1.0), hyper: Bar::None };
    let tls = Some(Identity::new(bench.folder())?);
    let served = Served { object: &object, memory: MEMORY, disk: None, tls, verifies: false };
    compare("tls_8mib", bench, &served, &gets, bars)
}

/// Ranges of 64 KiB of an object on disk, sixteen times larger than memory, and in the page cache.
pub fn from_page_cache(bench: &Bench) -> Result<Vec<Row>> {
    let object = Arc::new(Object::new("paged", GIB));
    let gets = shuffled(&object, 64 * KIB)?;
    let bars = Bars { nginx: Bar::AtMost(1.2), hyper: Bar::None };
    let memory = Memory { cache: 64 * MIB, in_flight: 128 * MIB };
    let path = bench.folder().join("paged");
    let disk = Disk { path, capacity: 4 * GIB, direct: false, write_rate: None };
    let served = Served { object: &object, memory, disk: Some(disk), tls: None, verifies: false };
    compare("disk_cached", bench, &served, &gets, bars)
}

/// Returns the ranges that make up the object, in random order.
fn shuffled(object: &Arc<Object>, range: u64) -> Result<Vec<Get>> {
    let mut random = Random::new(range);
    let mut starts: Vec<_> = (0..object.size() / range).map(|index| index * range).collect();
    for index in (1..starts.len()).rev() {
        let other = random.below(index as u64 + 1);
        starts.swap(index, usize::try_from(other)?);
    }
    Ok(starts.into_iter().map(|start| Get::range(object, start..start + range)).collect())
}

/// Object that the servers serve, and hotset's settings for it.
struct Served<'a> {
    object: &'a Object,
    memory: Memory,
    disk: Option<Disk>,
    tls: Option<Identity>,
    verifies: bool,
}

/// Bars for the ratios to nginx and to hyper.
#[derive(Clone, Copy)]
struct Bars {
    nginx: Bar,
    hyper: Bar,
}

/// Results of one server in one round.
#[derive(Clone, Copy)]
pub(crate) struct Round {
    /// CPU time per request, in microseconds.
    pub(crate) cpu: f64,
    /// Requests a second.
    rate: f64,
    /// Median and 99th percentile of the time of a request.
    half: Duration,
    most: Duration,
}

fn compare(
    scenario: &'static str,
    bench: &Bench,
    served: &Served<'_>,
    gets: &[Get],
    bars: Bars,
) -> Result<Vec<Row>> {
    let apart = Apart::new()?;
    let core = Some(apart.server);
    let origin = Origin::start(Pace::NEAR)?;
    let tls = served.tls.as_ref();
    let subject = match &served.disk {
        disk if bench.subject() == Subject::Hotset => {
            let verifies = served.verifies;
            let extras = Extras { disk: disk.as_ref(), tls, verifies, ..Extras::default() };
            let (memory, folder) = (served.memory, bench.folder());
            hotset::start_with(origin.address(), memory, &extras, core, folder)?.server
        }
        _ if served.tls.is_some() => return Err("nginx over TLS is compared with only".into()),
        _ => bench.start(&origin, served.memory, core)?,
    };
    let mut servers = vec![(subject, Bar::None)];
    if served.tls.is_none() {
        let hyper = hyper_server::start(&[served.object], core, bench.folder())?;
        servers.push((hyper, bars.hyper));
    }
    if bench.subject() == Subject::Hotset {
        if nginx::program().is_some() {
            let files = match served.disk {
                Some(_) => Files::OpenedUncorked,
                None => Files::Opened,
            };
            let debian = nginx::start(origin.address(), files, tls, core, bench.folder())?;
            servers.push((debian, bars.nginx));
            if served.disk.is_none() {
                let tuned =
                    nginx::start(origin.address(), Files::KeptOpen, tls, core, bench.folder())?;
                servers.push((tuned, Bar::None));
            }
        } else {
            eprintln!("nginx is not installed (--install gets it): not compared with it");
        }
    }
    let rounds = load::run(async {
        for (server, _) in &servers {
            fill(server, &origin, gets, tls).await?;
        }
        let before = origin.seen().requests;
        let gets: Arc<[Get]> = gets.iter().cloned().map(Get::unchecked).collect();
        let mut rounds = vec![Vec::new(); servers.len()];
        for turn in 0..ROUNDS {
            for place in 0..servers.len() {
                // Every second turn in reverse order, so that no server always follows the same other one.
                let index = if turn % 2 == 0 { place } else { servers.len() - 1 - place };
                rounds[index].push(round(&servers[index].0, &gets, tls).await?);
            }
        }
        let missed = origin.seen().requests - before;
        if missed > 0 {
            return Err(format!("{missed} requests to the origin while everything was hot").into());
        }
        Ok(rounds)
    })?;
    let mut rows = Vec::new();
    for ((server, bar), others) in servers.iter().zip(&rounds).skip(1) {
        rows.push(row(scenario, (server.name(), *bar), &rounds[0], others));
    }
    for ((server, _), rounds) in servers.iter().zip(&rounds) {
        rows.push(about(scenario, server.name(), rounds));
    }
    Ok(rows)
}

/// Reads and checks everything, until all of it is in the cache: a disk may be too slow for the first pass.
pub(crate) async fn fill(
    server: &Server,
    origin: &Origin,
    gets: &[Get],
    tls: Option<&Identity>,
) -> Result<()> {
    let mut client = Client::connect_tls(server.address(), tls).await?;
    for _ in 0..PASSES {
        let before = origin.seen().requests;
        for get in gets {
            client.get(get).await?;
        }
        origin.settled(Duration::from_secs(5)).await;
        if origin.seen().requests == before {
            break;
        }
    }
    Ok(())
}

pub(crate) async fn round(
    server: &Server,
    gets: &Arc<[Get]>,
    tls: Option<&Identity>,
) -> Result<Round> {
    let mut crowd = Crowd::connect_tls(server.address(), CONNECTIONS, tls).await?;
    crowd.round(gets, WARM_UP).await?;
    let before = server.cpu()?;
    let done = crowd.round(gets, ROUND).await?;
    let cpu = server.cpu()?.saturating_sub(before);
    let requests = f64::from(u32::try_from(done.times.len())?);
    Ok(Round {
        cpu: cpu.as_secs_f64() * 1e6 / requests,
        rate: requests / done.elapsed.as_secs_f64(),
        half: done.times[done.times.len() / 2],
        most: done.times[done.times.len() * 99 / 100],
    })
}

fn row(
    scenario: &'static str,
    (name, bar): (&str, Bar),
    subject: &[Round],
    other: &[Round],
) -> Row {
    let ratio = median(subject.iter().zip(other).map(|(a, b)| a.cpu / b.cpu).collect());
    let cpu = |rounds: &[Round]| median(rounds.iter().map(|round| round.cpu).collect());
    let cells = (format!("{:.2} us", cpu(subject)), format!("{name} {:.2} us", cpu(other)));
    Row::ratio(scenario, format!("CPU a request / {name}"), cells, ratio, bar)
}

fn about(scenario: &'static str, name: &str, rounds: &[Round]) -> Row {
    let rate = median(rounds.iter().map(|round| round.rate).collect());
    let half = median(rounds.iter().map(|round| round.half).collect());
    let most = median(rounds.iter().map(|round| round.most).collect());
    let cells =
        (format!("half in {} us", half.as_micros()), format!("99% in {} us", most.as_micros()));
    Row::amount(scenario, format!("rate of {name}"), cells, (rate, "/s"), Bar::None)
}
