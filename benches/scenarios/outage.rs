//! An origin that is down for a while under load, and one with a single failed address: the load on it, and the time
//! to recovery.

use std::fmt::Write as _;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::Result;
use crate::bench::{Bench, milliseconds};
use crate::content::{GIB, KIB, MIB};
use crate::hotset::{self, Extras, Memory};
use crate::load;
use crate::origin::{Origin, Pace};
use crate::paced::{Load, Outcome, Sample, failed, quantile};
use crate::report::{Bar, Row};

const MEMORY: Memory = Memory { cache: GIB, in_flight: 256 * MIB };
const SECOND: Duration = Duration::from_secs(1);
/// Interval of a hundred reads a second, each of another object.
const EVERY: Duration = Duration::from_millis(10);

/// Down for ten seconds: each second of it is looked at, so a minute would show no more.
pub fn down(bench: &Bench) -> Result<Vec<Row>> {
    const BEFORE: u32 = 12;
    const DOWN: u32 = 10;
    const AFTER: u32 = 8;
    let origin = Origin::start(Pace::FAR)?;
    let server = bench.start(&origin, MEMORY, None)?;
    let load = Load {
        address: server.address(),
        name: "down",
        size: 64 * KIB,
        clients: 64,
        every: EVERY,
        objects: None,
    };
    let (samples, arrived) =
        load::run(load.run(SECOND * (BEFORE + DOWN + AFTER), async |begin| {
            let mut arrived = Vec::new();
            let mut last = origin.seen();
            for second in 0..BEFORE + DOWN + AFTER {
                if second == BEFORE || second == BEFORE + DOWN {
                    origin.set_down(second == BEFORE);
                }
                sleep_until(begin + SECOND * (second + 1)).await;
                let seen = origin.seen();
                arrived.push(seen.since(last).arrived);
                last = seen;
            }
            Ok(arrived)
        }))?;
    let (before, rest) = arrived.split_at(BEFORE as usize);
    let (during, _) = rest.split_at(DOWN as usize);
    let normal: u64 = before[2..].iter().sum();
    let normal = f64::from(u32::try_from(normal)?) / f64::from(BEFORE - 2);
    let first = f64::from(u32::try_from(during[0])?);
    let later = f64::from(u32::try_from(during[1..].iter().copied().max().unwrap_or_default())?);
    let by_second = during.iter().fold(String::new(), |mut text, count| {
        let _ = write!(text, "{count} ");
        text
    });
    let at = SECOND * (BEFORE + DOWN);
    let back = samples.iter().filter(|sample| sample.at >= at);
    let last_failure =
        back.filter(|sample| sample.outcome != Outcome::Right).map(|s| s.at + s.took);
    let recovery = last_failure.max().map_or(Duration::ZERO, |last| last.saturating_sub(at));
    let broken = samples.iter().filter(|sample| sample.outcome == Outcome::Broken).count();
    let refused = failed(&samples) - broken;
    let of = |what: &str| (by_second.trim_end().to_owned(), what.to_owned());
    let cells =
        (format!("{broken} broken"), format!("{refused} refused of {} reads", samples.len()));
    Ok(vec![
        Row::ratio(
            "origin_down",
            "requests in the first second",
            of(&format!("normal {normal:.0}")),
            first / normal,
            Bar::AtMost(1.1),
        ),
        Row::amount(
            "origin_down",
            "requests a second after it, at most",
            of("probes"),
            (later, ""),
            Bar::AtMost(5.0),
        ),
        Row::amount(
            "origin_down",
            "recovery",
            (String::new(), "until no read fails".into()),
            (recovery.as_secs_f64(), "s"),
            Bar::AtMost(2.0),
        ),
        Row::amount(
            "origin_down",
            "bodies that break or are wrong",
            cells,
            (f64::from(u32::try_from(broken)?), ""),
            Bar::None,
        ),
    ])
}

/// One of eight addresses accepts connections and no longer answers.
pub fn one_address(bench: &Bench) -> Result<Vec<Row>> {
    const BEFORE: u32 = 10;
    const AFTER: u32 = 12;
    let origin = Origin::start_at(Pace::FAR, 8)?;
    let addresses: Vec<_> = (1..=8).map(|number| format!("127.0.0.{number}")).collect();
    let more = format!("  addresses: [{}]\n", addresses.join(", "));
    let extras = Extras { origin: &more, ..Extras::default() };
    let hotset = hotset::start_with(origin.address(), MEMORY, &extras, None, bench.folder())?;
    let load = Load {
        address: hotset.server.address(),
        name: "address",
        size: 64 * KIB,
        clients: 64,
        every: EVERY,
        objects: None,
    };
    let (samples, ()) = load::run(load.run(SECOND * (BEFORE + AFTER), async |begin: Instant| {
        sleep_until(begin + SECOND * BEFORE).await;
        origin.silence(3);
        Ok(())
    }))?;
    let within = |from: u32, to: u32| -> Vec<Sample> {
        let inside = |sample: &&Sample| sample.at >= SECOND * from && sample.at < SECOND * to;
        samples.iter().filter(inside).copied().collect()
    };
    let normal = milliseconds(quantile(&within(2, BEFORE), 990));
    let at_first = milliseconds(quantile(&within(BEFORE, BEFORE + 2), 990));
    let again = milliseconds(quantile(&within(BEFORE + 2, BEFORE + AFTER), 990));
    let wrong = u32::try_from(failed(&samples))?;
    let cells = (
        format!("p99 {again:.0} ms from 2 s on, {at_first:.0} ms before"),
        format!("p99 {normal:.0} ms with all"),
    );
    let errors = (format!("{wrong} failed"), format!("{} reads", samples.len()));
    Ok(vec![
        Row::ratio(
            "dead_address",
            "p99, two seconds later",
            cells,
            again / normal,
            Bar::AtMost(1.5),
        ),
        Row::amount("dead_address", "client errors", errors, (wrong.into(), ""), Bar::AtMost(0.0)),
    ])
}
