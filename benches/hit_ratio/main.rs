//! Hit ratios of the two tiers on recorded traces and on a synthetic one.
//!
//! ```text
//! cargo bench --bench hit_ratio                   traces from $HOTSET_TRACES, else ../shared/traces
//! cargo bench --bench hit_ratio -- FOLDER         traces from there
//! cargo bench --bench hit_ratio -- --policies     what the disk's policy was chosen from, too
//! ```
//!
//! Nothing is timed and nothing is stored: the policies of hotset are fed with block numbers. Memory is
//! `src/cache/memory/tier.rs` itself, window and moka included; it evicts as in the server: by itself, and whenever a
//! 64th of its capacity was inserted. The disk is the policy of `src/cache/disk/tier/policy.rs` on a log of 32
//! segments. Both are compared with LRU, FIFO and Belady's optimum at the same capacity, each block's own cost
//! included.
//!
//! The traces, as far as their files are present:
//! - P3 (a workstation's disk) and OLTP (a database), published with "ARC: A Self-Tuning, Low Overhead Replacement
//!   Cache" by N. Megiddo and D. S. Modha, FAST 2003. Block numbers, taken for blocks of 64 KiB.
//! - `CloudPhysics` (a virtual machine's disk), from libCacheSim. Sectors, taken for one object in blocks of 64 KiB.
//! - `AdaptSize` (objects with sizes), from Caffeine's simulator. In blocks of 1 MiB; another size is another version.
//!
//! A bar that is missed makes the exit code 1.

#![allow(unreachable_pub, reason = "a program: nothing outside sees it")]
#![allow(clippy::cast_precision_loss, reason = "ratios for people")]

mod baselines;
mod cache;
mod disk_table;
mod memory_table;
#[expect(dead_code, reason = "the scenarios use more of it")]
#[path = "../scenarios/report.rs"]
mod report;
mod scan;
mod segment_log;
mod synthetic;
mod table;
mod tiers;
mod traces;

use std::path::PathBuf;
use std::process::ExitCode;

use hotset::metrics;
use report::Row;
use traces::Trace;

type Error = Box<dyn std::error::Error + Send + Sync>;
type Result<T> = std::result::Result<T, Error>;

/// Options of the command line.
struct Asked {
    folder: PathBuf,
    policies: bool,
}

fn parse(arguments: impl Iterator<Item = String>) -> Asked {
    let default = || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/traces"));
    let mut folder = std::env::var_os("HOTSET_TRACES").map_or_else(default, PathBuf::from);
    let mut policies = false;
    for argument in arguments {
        match argument.as_str() {
            // cargo passes this argument to every bench.
            "--bench" => {}
            "--policies" => policies = true,
            path => folder = path.into(),
        }
    }
    Asked { folder, policies }
}

fn main() -> ExitCode {
    match run(&parse(std::env::args().skip(1))) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Prints all tables; returns whether all bars were met.
fn run(asked: &Asked) -> Result<bool> {
    let mut traces = match asked.folder.is_dir() {
        true => traces::recorded(&asked.folder)?,
        false => {
            println!("There is no folder {}: synthetic traces only.", asked.folder.display());
            Vec::new()
        }
    };
    traces.push(synthetic::zipf_trace());
    print!("\nTraces\n{}", table::of_traces(&traces));
    print!("\nMemory alone: hit ratio of requests, of bytes\n{}", memory_table::table_of(&traces));
    if asked.policies {
        print!("\nDisk: what the policy was chosen from\n{}", disk_table::policies(&traces));
    }
    let (disks, rows) = disk_table::table_of(&traces);
    print!("\nMemory of a tenth of the disk, and the disk\n{disks}");
    print!("\nA hot set before and after a scan: hit ratio\n{}", scan::table_of());
    print!("\n{}", report::table(&rows));
    Ok(rows.iter().all(Row::passed))
}

/// Returns a part of the cost of all blocks, in per mille.
fn part_of(costs: &[u32], per_mille: u64) -> u64 {
    costs.iter().map(|cost| u64::from(*cost)).sum::<u64>() * per_mille / 1000
}

/// Returns the bytes that each block of a trace takes on the device.
fn device_costs(trace: &Trace) -> Vec<u32> {
    let cost = |size: &u32| u32::try_from(segment_log::device_bytes(*size)).expect("small blocks");
    trace.sizes.iter().map(cost).collect()
}
