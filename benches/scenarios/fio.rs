//! Device throughput for a program that only reads: fio, with plain `pread` in threads.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::Result;
use crate::process;

/// Name of the program, and of its package.
pub const PACKAGE: &str = "fio";

/// Order in which the files are read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Random offsets in any of the files, for this time.
    Random(Duration),
    /// Each file from its beginning to its end, once; the files are divided among the threads.
    Sequential,
}

/// Parameters of a measurement.
#[derive(Clone, Copy)]
pub struct Reads {
    /// Bytes of one read.
    pub block: u64,
    pub threads: usize,
    pub order: Order,
    /// Direct I/O, past the page cache.
    pub direct: bool,
}

/// Returns the rate of reading `files`, in bytes a second.
///
/// # Errors
/// When fio is not installed, or fails.
pub fn rate(files: &[PathBuf], reads: Reads) -> Result<f64> {
    let program = process::installed(PACKAGE).ok_or("fio is not installed (--install gets it)")?;
    let mut command = Command::new(program);
    command.args(["--output-format=json", "--readonly", "--ioengine=psync", "--thread"]);
    command.args(["--group_reporting", &format!("--bs={}", reads.block)]);
    command.arg(format!("--direct={}", u8::from(reads.direct)));
    match reads.order {
        Order::Random(time) => {
            command.args(["--rw=randread", "--file_service_type=random", "--time_based"]);
            command.arg(format!("--runtime={}ms", time.as_millis()));
            command.arg(format!("--numjobs={}", reads.threads));
            command.args(["--name=random", &names(files.iter())]);
        }
        Order::Sequential => {
            command.args(["--rw=read", "--file_service_type=sequential"]);
            for thread in 0..reads.threads {
                let mine = files.iter().skip(thread).step_by(reads.threads);
                command.args([&format!("--name=thread-{thread}"), &names(mine)]);
            }
        }
    }
    let output = command.output()?;
    if !output.status.success() {
        return Err(format!("fio: {}", String::from_utf8_lossy(&output.stderr).trim()).into());
    }
    let told: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let rate = told["jobs"][0]["read"]["bw_bytes"].as_f64();
    rate.filter(|rate| *rate > 0.0).ok_or_else(|| format!("fio told no rate: {told}").into())
}

fn names<'a>(files: impl Iterator<Item = &'a PathBuf>) -> String {
    let names: Vec<_> = files.map(|file| file.display().to_string()).collect();
    format!("--filename={}", names.join(":"))
}
