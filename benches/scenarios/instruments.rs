//! CPU time of a hot 4 KiB hit with each instrument that can be switched: access log, traces, limits, a watcher of
//! requests.
//!
//! Each variant is a server of its own; they take turns on one core, and the median of the rounds' ratios is
//! compared.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use crate::Result;
use crate::bench::Bench;
use crate::content::{KIB, MIB, Object};
use crate::hot::{self, Round};
use crate::hotset::{self, Extras, Memory};
use crate::load::{self, Get};
use crate::origin::{Origin, Pace};
use crate::process::{Apart, Server};
use crate::report::{Bar, Row, median};

const MEMORY: Memory = Memory { cache: 64 * MIB, in_flight: 64 * MIB };
const ROUNDS: usize = 15;
/// Limits that no client of this scenario reaches.
const LIMITS: &str = "{ requests_per_second: 10000000, bytes_per_second: 1TiB, requests: 1000 }";

/// A server with one instrument switched, and the bar for its cost as a ratio to the server that it is compared with.
struct Variant {
    name: &'static str,
    /// Index of the variant that it is compared with.
    base: usize,
    bar: Bar,
    /// Top-level keys of the configuration.
    settings: String,
}

/// Measures the default configuration, and one with each instrument switched.
pub fn costs(bench: &Bench) -> Result<Vec<Row>> {
    let collector = collector()?;
    let trace =
        |sample| format!("tracing: {{ endpoint: \"http://{collector}\", sample: {sample} }}\n");
    let variant = |name, base, bar, settings| Variant { name, base, bar, settings };
    let variants = [
        variant("no access log", 0, Bar::None, "log: { access: 'off' }\n".to_owned()),
        variant("plain log, the default", 0, Bar::AtMost(1.15), String::new()),
        variant("json log", 0, Bar::AtMost(1.15), "log: { access: json }\n".to_owned()),
        variant(
            "limits of addresses",
            1,
            Bar::AtMost(1.03),
            format!("limits: {{ per_address: {LIMITS} }}\n"),
        ),
        variant("traces of 0.01 %", 1, Bar::AtMost(1.03), trace("0.01%")),
        variant("traces of 1 %, the default", 1, Bar::AtMost(1.03), trace("1%")),
    ];
    let apart = Apart::new()?;
    let origin = Origin::start(Pace::NEAR)?;
    let mut servers = Vec::new();
    for variant in &variants {
        let extras = Extras { settings: &variant.settings, ..Extras::default() };
        let core = Some(apart.server);
        let started = hotset::start_with(origin.address(), MEMORY, &extras, core, bench.folder())?;
        servers.push(started.server);
    }
    let rounds = take_turns(&servers, &origin)?;
    Ok(variants
        .iter()
        .zip(&rounds)
        .map(|(variant, of)| row(variant, &rounds, &variants, of))
        .collect())
}

fn take_turns(servers: &[Server], origin: &Origin) -> Result<Vec<Vec<Round>>> {
    let object = Arc::new(Object::new("hot", 4 * KIB));
    let gets = [Get::whole(&object)];
    load::run(async {
        for server in servers {
            hot::fill(server, origin, &gets, None).await?;
        }
        let gets: Arc<[Get]> = gets.iter().cloned().map(Get::unchecked).collect();
        let mut rounds = vec![Vec::new(); servers.len()];
        for turn in 0..ROUNDS {
            for place in 0..servers.len() {
                let index = if turn % 2 == 0 { place } else { servers.len() - 1 - place };
                rounds[index].push(hot::round(&servers[index], &gets, None).await?);
            }
        }
        Ok(rounds)
    })
}

fn row(variant: &Variant, rounds: &[Vec<Round>], variants: &[Variant], own: &[Round]) -> Row {
    let base = &rounds[variant.base];
    let ratio = median(own.iter().zip(base).map(|(a, b)| a.cpu / b.cpu).collect());
    let cpu = |rounds: &[Round]| median(rounds.iter().map(|round| round.cpu).collect());
    let cells = (
        format!("{:.2} us", cpu(own)),
        format!("{} {:.2} us", variants[variant.base].name, cpu(base)),
    );
    Row::ratio("instruments", variant.name.to_owned(), cells, ratio, variant.bar)
}

/// Starts a trace collector that accepts everything, until the process ends.
fn collector() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || accept(stream));
        }
    });
    Ok(address)
}

/// Answers each request of a connection with 200.
fn accept(mut stream: TcpStream) -> std::io::Result<()> {
    let (mut unread, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
    loop {
        while let Some(head) = unread.windows(4).position(|end| end == b"\r\n\r\n") {
            let text = String::from_utf8_lossy(&unread[..head]).to_ascii_lowercase();
            let length = text.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
            let length: usize = length.and_then(|digits| digits.trim().parse().ok()).unwrap_or(0);
            if unread.len() < head + 4 + length {
                break;
            }
            unread.drain(..head + 4 + length);
            stream.write_all(
                b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: application/json\r\n\r\n{}",
            )?;
        }
        let read = stream.read(&mut buffer)?;
        if read == 0 {
            return Ok(());
        }
        unread.extend_from_slice(&buffer[..read]);
    }
}
