//! Object events over HTTP: their cost for readers, the throughput of a flood of them, and the time until reads are
//! fresh.
//!
//! The hot objects are not part of the flood: its events are of other keys of the same bucket, as in a busy bucket.
//! Each post holds a hundred records, as a relay that batches sends them; where the time until reads are fresh is
//! measured, it holds one.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use chrono::{DateTime, Utc};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::Result;
use crate::bench::{Bench, Subject, mebibytes};
use crate::content::{MIB, Object};
use crate::filling::Server;
use crate::hotset::{self, Extras, Hotset, Memory};
use crate::load::{self, Client, Crowd, Get};
use crate::origin::{Origin, Pace};
use crate::process;
use crate::report::{Bar, Row, median};

const MEMORY: Memory = Memory { cache: 512 * MIB, in_flight: 128 * MIB };
/// Events a second beside the reads.
const RATE: u64 = 20_000;
const RECORDS: u64 = 100;
const FLOOD: u64 = 1_000_000;
const SENDERS: u64 = 4;
const TURNS: usize = 5;
const FRESH_READS: usize = 500;
const APPLIED: &str = "hotset_events_total{source=\"webhook\",result=\"applied\"}";

/// Runs all three measurements on one server.
pub fn events(bench: &Bench) -> Result<Vec<Row>> {
    if bench.subject() != Subject::Hotset {
        return Err("nginx knows no events".into());
    }
    let mut rows = Vec::new();
    {
        let origin = Origin::start_aside(Pace::NEAR)?;
        let (server, webhook) = start(bench, &origin)?;
        rows.push(beside(&server, webhook)?);
        rows.extend(flood(&server.hotset, webhook)?);
    }
    // The origin's response is a part of what is measured: it does not run at idle priority.
    let origin = Origin::start(Pace::NEAR)?;
    let (server, webhook) = start(bench, &origin)?;
    rows.extend(fresh(&server, webhook, &origin)?);
    Ok(rows)
}

/// Starts hotset with hot objects in memory; also returns the address of its webhook.
fn start(bench: &Bench, origin: &Origin) -> Result<(Server, SocketAddr)> {
    let webhook = process::free_address()?;
    let extras = Extras { webhook: Some(webhook), ..Extras::default() };
    let hotset = hotset::start_with(origin.address(), MEMORY, &extras, None, bench.folder())?;
    Ok((Server::prepare(hotset)?, webhook))
}

/// The 99th percentile of hot reads with events, against without them.
fn beside(server: &Server, webhook: SocketAddr) -> Result<Row> {
    let (mut ratios, mut rest, mut loaded, mut sent) = (vec![], vec![], vec![], 0);
    let before = server.hotset.metric(APPLIED)?;
    for turn in 0..TURNS {
        let quiet = server.turn_beside(turn, |_| Ok(()))?;
        let count = AtomicU64::new(0);
        let busy =
            server.turn_beside(turn, |over| load::run(send_at_rate(webhook, over, &count)))?;
        sent += count.into_inner();
        ratios.push(busy.as_secs_f64() / quiet.as_secs_f64());
        rest.push(quiet);
        loaded.push(busy);
    }
    all_applied(&server.hotset, before, sent)?;
    let per_second = sent / (4 * TURNS as u64);
    let cells = (
        format!("{} us", median(loaded).as_micros()),
        format!("at rest {} us; {per_second} events/s", median(rest).as_micros()),
    );
    Ok(Row::ratio("events", "p99 beside events / at rest", cells, median(ratios), Bar::AtMost(1.5)))
}

async fn send_at_rate(webhook: SocketAddr, over: &AtomicBool, sent: &AtomicU64) -> Result<()> {
    let (start, mut poster) = (Instant::now(), Poster::connect(webhook).await?);
    while !over.load(Relaxed) {
        let first = sent.fetch_add(RECORDS, Relaxed);
        poster.post(&message(first..first + RECORDS)).await?;
        let due = start + Duration::from_secs_f64(load_seconds(first + RECORDS));
        sleep(due.saturating_duration_since(Instant::now())).await;
    }
    Ok(())
}

#[allow(clippy::cast_precision_loss, reason = "far below 2^53")]
fn load_seconds(events: u64) -> f64 {
    events as f64 / RATE as f64
}

/// A million events as fast as they are accepted: throughput, memory, and that none is lost.
fn flood(hotset: &Hotset, webhook: SocketAddr) -> Result<Vec<Row>> {
    let (applied, memory, cpu) =
        (hotset.metric(APPLIED)?, hotset.server.memory()?, hotset.server.cpu()?);
    let started = Instant::now();
    load::run(async {
        let mut senders = JoinSet::new();
        for sender in 0..SENDERS {
            senders.spawn(async move {
                let mut poster = Poster::connect(webhook).await?;
                let share = FLOOD / SENDERS;
                let all = FLOOD + sender * share..FLOOD + (sender + 1) * share;
                for first in all.step_by(usize::try_from(RECORDS)?) {
                    poster.post(&message(first..first + RECORDS)).await?;
                }
                Result::Ok(())
            });
        }
        senders.join_all().await.into_iter().collect::<Result<()>>()
    })?;
    let took = started.elapsed();
    all_applied(hotset, applied, FLOOD)?;
    let cpu = hotset.server.cpu()?.saturating_sub(cpu);
    let grown = hotset.server.memory()?.saturating_sub(memory);
    let rate = load_seconds(FLOOD) * f64::from(u32::try_from(RATE)?) / cpu.as_secs_f64();
    let cells =
        (format!("{:.1} s of CPU", cpu.as_secs_f64()), format!("{:.1} s", took.as_secs_f64()));
    let (grown, bar) = (mebibytes(grown), Bar::AtMost(64.0));
    Ok(vec![
        Row::amount(
            "events",
            "a million events: a second of one core",
            cells,
            (rate, "events"),
            Bar::AtLeast(20_000.0),
        ),
        Row::amount(
            "events",
            "resident memory that they add",
            (String::new(), String::new()),
            (grown, "MiB"),
            bar,
        ),
    ])
}

fn all_applied(hotset: &Hotset, before: f64, sent: u64) -> Result<()> {
    let applied = hotset.metric(APPLIED)? - before;
    #[allow(clippy::cast_precision_loss, reason = "far below 2^53")]
    match (applied - sent as f64).abs() < 0.5 {
        true => Ok(()),
        false => Err(format!("{sent} events were sent and {applied} applied").into()),
    }
}

/// Time from sending an event until a read returns the new version of its object, while others read as fast as they
/// can.
fn fresh(server: &Server, webhook: SocketAddr, origin: &Origin) -> Result<Vec<Row>> {
    let over = AtomicBool::new(false);
    let address = server.hotset.server.address();
    let alone = load::run(probe(address, webhook, origin))?;
    let times = thread::scope(|scope| {
        let readers = scope.spawn(|| {
            // Readers would have machines of their own: here they fill both cores, and must not delay the probe.
            process::step_aside();
            load::run(async {
                let mut crowd = Crowd::connect(address, 16).await?;
                while !over.load(Relaxed) {
                    crowd.round(&server.gets, Duration::from_millis(200)).await?;
                }
                Ok(())
            })
        });
        let times = load::run(probe(address, webhook, origin));
        over.store(true, Relaxed);
        readers.join().map_err(|_| "the readers panicked")??;
        times
    });
    Ok(vec![
        fresh_row("from an event to a fresh read, p99", times?, Bar::AtMost(5.0)),
        fresh_row("the same while nobody else reads", alone, Bar::None),
    ])
}

fn fresh_row(figure: &str, mut times: Vec<Duration>, bar: Bar) -> Row {
    times.sort_unstable();
    let at = |percent: usize| times[times.len() * percent / 100];
    let (half, most) = (at(50).as_micros(), at(95).as_micros());
    let cells = (format!("half in {half} us"), format!("95% in {most} us"));
    Row::amount("events", figure, cells, (at(99).as_secs_f64() * 1000.0, "ms"), bar)
}

async fn probe(address: SocketAddr, webhook: SocketAddr, origin: &Origin) -> Result<Vec<Duration>> {
    let (mut poster, mut client) =
        (Poster::connect(webhook).await?, Client::connect(address).await?);
    let object = Arc::new(Object::new("probed", 4096));
    let get = Get::whole(&object);
    client.get(&get).await?;
    let mut times = Vec::new();
    for turn in 0..FRESH_READS {
        let key = object.path().trim_start_matches("/bench/");
        let body = format!("{{\"Records\":[{}]}}", record(key, turn as u64));
        let asked = origin.seen().requests;
        let started = Instant::now();
        poster.post(&body).await?;
        client.get(&get).await?;
        times.push(started.elapsed());
        if origin.seen().requests == asked {
            return Err("a read after an event was not fresh".into());
        }
    }
    Ok(times)
}

/// Returns a message of events for objects that nobody reads.
fn message(objects: std::ops::Range<u64>) -> String {
    let mut body = String::from("{\"Records\":[");
    for (index, object) in objects.enumerate() {
        let comma = if index > 0 { "," } else { "" };
        write!(body, "{comma}{}", record(&format!("written/{object:010}"), object))
            .expect("a string takes everything");
    }
    body + "]}"
}

/// Returns an event record as AWS writes it.
fn record(key: &str, number: u64) -> String {
    format!(
        "{{\"eventVersion\":\"2.1\",\"eventSource\":\"aws:s3\",\"awsRegion\":\"us-east-1\",\
         \"eventTime\":\"{time}\",\"eventName\":\"ObjectCreated:Put\",\
         \"userIdentity\":{{\"principalId\":\"AWS:AIDAEXAMPLE\"}},\
         \"requestParameters\":{{\"sourceIPAddress\":\"192.0.2.1\"}},\
         \"s3\":{{\"s3SchemaVersion\":\"1.0\",\"configurationId\":\"hotset\",\
         \"bucket\":{{\"name\":\"bench\",\"arn\":\"arn:aws:s3:::bench\"}},\
         \"object\":{{\"key\":\"{key}\",\"size\":4096,\"eTag\":\"{number:032x}\",\
         \"sequencer\":\"0055AED6DCD90281E5\"}}}}}}",
        time = DateTime::<Utc>::from(SystemTime::now()).format("%Y-%m-%dT%H:%M:%S%.6fZ"),
    )
}

/// A connection for posting notifications, one after another.
struct Poster(TcpStream);

impl Poster {
    async fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self(stream))
    }

    async fn post(&mut self, body: &str) -> Result<()> {
        let request = format!(
            "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.0.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        loop {
            if self.0.read_buf(&mut answer).await? == 0 {
                return Err("the webhook closed the connection".into());
            }
            let mut headers = [httparse::EMPTY_HEADER; 16];
            let mut response = httparse::Response::new(&mut headers);
            let httparse::Status::Complete(head) = response.parse(&answer)? else { continue };
            let length =
                response.headers.iter().find(|h| h.name.eq_ignore_ascii_case("content-length"));
            let length = length.map_or(Ok("0"), |header| std::str::from_utf8(header.value))?;
            if answer.len() < head + length.parse::<usize>()? {
                continue;
            }
            return match response.code {
                Some(200) => Ok(()),
                _ => Err(String::from_utf8_lossy(&answer).into_owned().into()),
            };
        }
    }
}
