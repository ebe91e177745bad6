//! Load scenarios: what hotset promises, measured on the release binary over real sockets.
//!
//! ```text
//! cargo bench --bench scenarios                            all scenarios
//! cargo bench --bench scenarios -- herd hot_4kib           some of them
//! cargo bench --bench scenarios -- --install hot_8mib      gets nginx and fio from Debian's packages if missing
//! cargo bench --bench scenarios -- --subject nginx herd    nginx in hotset's place, for comparison
//! cargo bench --bench scenarios -- --minutes 10 soak       runs only when it is named
//! cargo bench --bench scenarios -- --origin                serves the origin of the scenarios alone
//! ```
//!
//! Every scenario has its own synthetic origin and starts its servers as processes of their own, on free ports of the
//! loopback interface. `HOTSET_BIN` names another binary than the one just built. The table goes to standard output;
//! a bar that is missed, or a scenario that fails, makes the exit code 1. Rates depend on the machine and on what
//! else runs there. The ratios count: both sides of each come from the same run.

#![allow(unreachable_pub, reason = "a program: nothing outside sees it")]

mod bench;
mod cases;
mod cold;
mod content;
mod crowd;
mod disk;
mod events;
mod filling;
mod fio;
mod hot;
mod hotset;
mod hyper_server;
mod instruments;
mod late;
mod load;
mod many;
mod memory_limit;
mod near;
mod nginx;
mod origin;
mod outage;
mod pace;
mod paced;
mod process;
mod repeated;
mod report;
mod slice_budget;
mod slow_disk;
mod soak;
mod throttle;
mod tls;
mod upload;

use std::process::ExitCode;
use std::time::Duration;

use bench::{Bench, Subject};
use cases::{CASES, Case, LONG};
use report::Row;

/// Error that ends a scenario, with a message for people.
type Error = Box<dyn std::error::Error + Send + Sync>;
type Result<T> = std::result::Result<T, Error>;

const USAGE: &str =
    "usage: scenarios [--list] [--install] [--subject hotset|nginx] [--minutes N] [SCENARIO ...]";

/// Options of the command line.
struct Asked {
    subject: Subject,
    install: bool,
    list: bool,
    /// Duration of the load of `soak`.
    soak: Duration,
    cases: Vec<&'static Case>,
}

fn parse(arguments: &[String]) -> Result<Asked> {
    let mut asked = Asked {
        subject: Subject::Hotset,
        install: false,
        list: false,
        soak: Duration::from_mins(10),
        cases: vec![],
    };
    let mut arguments = arguments.iter().map(String::as_str);
    while let Some(argument) = arguments.next() {
        match argument {
            // cargo passes this argument to every bench.
            "--bench" => {}
            "--list" => asked.list = true,
            "--install" => asked.install = true,
            "--subject" => {
                asked.subject = match arguments.next() {
                    Some("hotset") => Subject::Hotset,
                    Some("nginx") => Subject::Nginx,
                    _ => return Err("--subject is hotset or nginx".into()),
                }
            }
            "--minutes" => {
                let minutes = arguments.next().and_then(|number| number.parse().ok());
                asked.soak = Duration::from_mins(minutes.ok_or("--minutes is a number")?);
            }
            name => {
                let case = CASES.iter().chain(&LONG).find(|case| case.name == name);
                asked.cases.push(case.ok_or_else(|| format!("no scenario is named {name}"))?);
            }
        }
    }
    if asked.cases.is_empty() {
        asked.cases = CASES.iter().collect();
    }
    Ok(asked)
}

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == hyper_server::SUBCOMMAND) {
        return end(hyper_server::serve(&arguments[1..]).map(|()| true));
    }
    if arguments.iter().any(|argument| argument == "--origin") {
        return end(serve_origin().map(|()| true));
    }
    match parse(&arguments) {
        Ok(asked) if asked.list => {
            for case in CASES.iter().chain(&LONG) {
                println!("{:14}{}", case.name, case.about);
            }
            ExitCode::SUCCESS
        }
        Ok(asked) => end(run(&asked)),
        Err(error) => {
            eprintln!("{error}\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

/// Serves the origin of the scenarios, a region away, until standard input ends; its address goes to standard output.
fn serve_origin() -> Result<()> {
    let origin = origin::Origin::start(origin::Pace::FAR)?;
    println!("{}", origin.address());
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    Ok(())
}

fn end(result: Result<bool>) -> ExitCode {
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the scenarios and prints the table; returns whether all of them passed.
fn run(asked: &Asked) -> Result<bool> {
    process::raise_file_limit()?;
    if asked.install {
        for program in [nginx::PACKAGE, fio::PACKAGE] {
            process::install(program)?;
        }
    }
    let bench = Bench::new(asked.subject, asked.soak)?;
    let mut rows = Vec::new();
    let mut broken = Vec::new();
    for case in &asked.cases {
        eprintln!("{}: {}", case.name, case.about);
        match (case.run)(&bench) {
            Ok(more) => rows.extend(more),
            Err(error) => broken.push(format!("{} broke off: {error}", case.name)),
        }
    }
    print!("{}", report::table(&rows));
    for line in &broken {
        println!("{line}");
    }
    Ok(broken.is_empty() && rows.iter().all(Row::passed))
}
