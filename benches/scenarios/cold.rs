//! Cold reads: they should be faster than from the origin, and never slower.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::Result;
use crate::bench::{Bench, mebibytes, milliseconds};
use crate::content::{GIB, KIB, MIB, Object, Random};
use crate::hotset::Memory;
use crate::load::{self, Client, Get, Took};
use crate::origin::{Origin, Pace};
use crate::process::Server;
use crate::report::{Bar, Row, median};

/// Default configuration but for a cache that holds two of the objects.
const MEMORY: Memory = Memory { cache: 2 * GIB, in_flight: 512 * MIB };
/// Maximum time that the origin may go on sending after the client has its bytes.
const SETTLE: Duration = Duration::from_secs(5);
/// Maximum added latency of a cold read against a direct read, in milliseconds: of a whole object, and of a small range.
const LATENCY: (Bar, Bar) = (Bar::AtMost(2.0), Bar::AtMost(3.0));

/// Cold 1 GiB objects, each read once.
pub fn whole_object(bench: &Bench) -> Result<Vec<Row>> {
    const READS: usize = 5;
    const TOUCHED: usize = 3;
    let origin = Origin::start(Pace::FAR)?;
    let server = bench.start(&origin, MEMORY, None)?;
    let object = |name: String| Get::whole(&Arc::new(Object::new(&name, GIB)));
    load::run(async {
        let direct = Client::connect(origin.address()).await?.get(&object("direct".into())).await?;
        let mut direct_first = vec![direct.first_byte];
        for read in 1..READS {
            direct_first.push(first_byte(&origin, &object(format!("direct-{read}"))).await?);
            origin.settled(SETTLE).await;
        }
        // Fill the cache, and compare all bytes: memory that the machine has not used yet is slow to touch, and comparing takes
        // CPU from the server.
        for read in 0..TOUCHED {
            let mut client = Client::connect(server.address()).await?;
            client.get(&object(format!("touched-{read}"))).await?;
        }
        origin.settled(SETTLE).await;
        let before = origin.seen();
        let mut took = Vec::new();
        for read in 0..READS {
            let mut client = Client::connect(server.address()).await?;
            took.push(client.get(&object(format!("cold-{read}")).unchecked()).await?);
            origin.settled(SETTLE).await;
        }
        let seen = origin.seen().since(before);
        let through = median(took.iter().map(|took| took.last_byte).collect());
        let rate = |time: Duration| format!("{:.0} MB/s", 1_073.741_824 / time.as_secs_f64());
        let ratio = direct.last_byte.as_secs_f64() / through.as_secs_f64();
        let speed = (rate(through), format!("direct {}", rate(direct.last_byte)));
        let sent = mebibytes(seen.sent);
        let whole = mebibytes(READS as u64 * GIB);
        let amounts = (format!("{sent:.0} MiB"), format!("objects {whole:.0} MiB"));
        let most = f64::from(u32::try_from(seen.most_in_flight)?);
        let requests = (format!("{} requests", seen.requests), format!("{READS} reads"));
        Ok(vec![
            Row::ratio("cold_1gib", "rate", speed, ratio, Bar::AtLeast(14.0)),
            later(
                "cold_1gib",
                "first byte",
                (took.iter().map(|t| t.first_byte).collect(), direct_first),
                LATENCY.0,
            ),
            Row::ratio(
                "cold_1gib",
                "sent by the origin",
                amounts,
                sent / whole,
                Bar::AtMost(1.005),
            ),
            Row::amount("cold_1gib", "asked at once", requests, (most, ""), Bar::None),
        ])
    })
}

/// Returns the time to the first byte of a response, which is then abandoned.
async fn first_byte(origin: &Origin, get: &Get) -> Result<Duration> {
    let mut client = Client::connect(origin.address()).await?;
    let start = Instant::now();
    let mut answer = client.send(get).await?;
    while answer.received() == 0 {
        answer.read(64 << 10).await?;
    }
    Ok(start.elapsed())
}

fn later(
    scenario: &'static str,
    figure: &str,
    (through, direct): (Vec<Duration>, Vec<Duration>),
    bar: Bar,
) -> Row {
    let (through, direct) = (milliseconds(median(through)), milliseconds(median(direct)));
    let cells = (format!("{through:.1} ms"), format!("direct {direct:.1} ms"));
    Row::amount(scenario, figure, cells, (through - direct, "ms"), bar)
}

/// Cold 4 KiB ranges at random offsets inside one block, each of another 1 GiB object.
pub fn small_range(bench: &Bench) -> Result<Vec<Row>> {
    const READS: usize = 21;
    let origin = Origin::start(Pace::FAR)?;
    let server = bench.start(&origin, MEMORY, None)?;
    load::run(async {
        let mut samples = Vec::new();
        let mut random = Random::new(4);
        for read in 0..READS {
            let object = Arc::new(Object::new(&format!("small-{read}"), GIB));
            let start = random.below(GIB / MIB) * MIB + random.below(MIB - 4 * KIB + 1);
            let get = Get::range(&object, start..start + 4 * KIB);
            samples.push(Sample::take(&origin, &server, &get).await?);
        }
        let times = |pick: fn(&Sample) -> Duration| samples.iter().map(pick).collect::<Vec<_>>();
        let asked = samples.iter().map(|sample| sample.asked).max().unwrap_or_default();
        let requests = samples.iter().map(|sample| sample.requests).max().unwrap_or_default();
        let asked_cells = (format!("{} KiB", asked >> 10), "a read of 4 KiB, the worst".into());
        let requests_cells = (format!("{requests} requests"), "a read of 4 KiB, the worst".into());
        Ok(vec![
            later(
                "cold_4kib",
                "first byte",
                (
                    times(|sample| sample.through.first_byte),
                    times(|sample| sample.direct.first_byte),
                ),
                LATENCY.1,
            ),
            later(
                "cold_4kib",
                "last byte",
                (times(|sample| sample.through.last_byte), times(|sample| sample.direct.last_byte)),
                LATENCY.1,
            ),
            Row::amount(
                "cold_4kib",
                "asked of the origin",
                asked_cells,
                (mebibytes(asked), "MiB"),
                Bar::AtMost(1.1),
            ),
            Row::amount(
                "cold_4kib",
                "origin requests",
                requests_cells,
                (f64::from(u32::try_from(requests)?), ""),
                Bar::AtMost(1.0),
            ),
        ])
    })
}

/// One read done directly and through the cache.
struct Sample {
    direct: Took,
    through: Took,
    /// Bytes and requests that the read through the cache cost the origin.
    asked: u64,
    requests: u64,
}

impl Sample {
    async fn take(origin: &Origin, server: &Server, get: &Get) -> Result<Self> {
        let direct = Client::connect(origin.address()).await?.get(get).await?;
        let before = origin.settled(SETTLE).await;
        let through = Client::connect(server.address()).await?.get(get).await?;
        let seen = origin.settled(SETTLE).await.since(before);
        Ok(Self { direct, through, asked: seen.asked, requests: seen.requests })
    }
}
