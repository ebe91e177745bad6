//! Metrics of the process and its build, with the names of Prometheus's client libraries.

use std::fs;
use std::sync::OnceLock;

use metrics::Unit;
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use super::computed::{Family, Kind};

const BUILD: Family = Family {
    name: "hotset_build_info",
    kind: Kind::Gauge,
    unit: Unit::Count,
    help: "1, with the version and the compiled features as labels",
};
const CPU: Family = Family {
    name: "process_cpu_seconds_total",
    kind: Kind::Counter,
    unit: Unit::Seconds,
    help: "CPU time of the process in user and system mode",
};
const RESIDENT: Family = Family {
    name: "process_resident_memory_bytes",
    kind: Kind::Gauge,
    unit: Unit::Bytes,
    help: "Resident memory of the process",
};
const VIRTUAL: Family = Family {
    name: "process_virtual_memory_bytes",
    kind: Kind::Gauge,
    unit: Unit::Bytes,
    help: "Virtual memory of the process",
};
const OPEN: Family = Family {
    name: "process_open_fds",
    kind: Kind::Gauge,
    unit: Unit::Count,
    help: "Open file descriptors of the process",
};
const MOST_OPEN: Family = Family {
    name: "process_max_fds",
    kind: Kind::Gauge,
    unit: Unit::Count,
    help: "Limit on open file descriptors of the process",
};
const STARTED: Family = Family {
    name: "process_start_time_seconds",
    kind: Kind::Gauge,
    unit: Unit::Seconds,
    help: "Start of the process, in Unix time",
};
const THREADS: Family = Family {
    name: "process_threads",
    kind: Kind::Gauge,
    unit: Unit::Count,
    help: "Threads of the process",
};

/// Clock ticks per second in `/proc`; the same on all supported architectures.
const USER_HZ: f64 = 100.0;

const FEATURES: &str = match (cfg!(feature = "receivers"), cfg!(feature = "embedded")) {
    (true, true) => "embedded,receivers",
    (true, false) => "receivers",
    (false, true) => "embedded",
    (false, false) => "",
};

pub(super) fn describe() {
    for family in [BUILD, CPU, RESIDENT, VIRTUAL, OPEN, MOST_OPEN, STARTED, THREADS] {
        family.describe();
    }
}

/// Appends the process's metrics; unreadable ones are left out.
#[allow(clippy::cast_precision_loss, reason = "exact up to 2^53")]
pub(super) fn write(out: &mut String) {
    let labels = vec![("version", env!("CARGO_PKG_VERSION")), ("features", FEATURES)];
    BUILD.write(out, [(labels, 1.0)]);
    let mut put = |family: Family, value: Option<f64>| {
        if let Some(value) = value {
            family.write(out, [(Vec::new(), value)]);
        }
    };
    let cpu = clock_gettime(ClockId::ProcessCPUTime);
    put(CPU, Some(cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9));
    put(OPEN, open_descriptors().map(|count| count as f64));
    put(MOST_OPEN, getrlimit(Resource::Nofile).current.map(|most| most as f64));
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = |name| status_field(&status, name).map(|kib| (kib * 1024) as f64);
    put(RESIDENT, kib("VmRSS"));
    put(VIRTUAL, kib("VmSize"));
    put(THREADS, status_field(&status, "Threads").map(|threads| threads as f64));
    put(STARTED, started());
}

/// Returns a number in `/proc/self/status` (proc(5)).
fn status_field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line?.split_ascii_whitespace().next()?.parse().ok()
}

fn open_descriptors() -> Option<u64> {
    match fs::metadata("/proc/self/fd").ok()?.len() {
        // Before Linux 6.2 they are to be counted; one of them reads the directory.
        0 => Some((fs::read_dir("/proc/self/fd").ok()?.count() as u64).saturating_sub(1)),
        count => Some(count),
    }
}

/// Returns the start of the process, in Unix time.
#[allow(clippy::cast_precision_loss, reason = "seconds of this age")]
fn started() -> Option<f64> {
    static STARTED: OnceLock<Option<f64>> = OnceLock::new();
    *STARTED.get_or_init(|| {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        let machine = fs::read_to_string("/proc/stat").ok()?;
        let boot =
            machine.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok());
        Some(boot.map(|boot: u64| boot as f64)? + start_ticks(&stat)? as f64 / USER_HZ)
    })
}

/// Returns the start of a process since boot in clock ticks, from the text of `/proc/self/stat` (proc(5)).
fn start_ticks(stat: &str) -> Option<u64> {
    // The second field, the name in parentheses, may hold spaces and parentheses; this is the 22nd.
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(22 - 3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_line_is_read_whatever_the_name_is() {
        let line = "42 (a ) b) S 1 42 42 0 -1 4194560 10 0 0 0 7 5 0 0 20 0 9 0 1234 5000 321 18446744073709551615";
        assert_eq!(start_ticks(line), Some(1234));
        assert_eq!(start_ticks("42 (x"), None);
        let status = "Name:\tVmRSS: 1\nVmRSS:\t   1024 kB\nThreads:\t9\n";
        assert_eq!(status_field(status, "VmRSS"), Some(1024));
        assert_eq!(status_field(status, "Threads"), Some(9));
        assert_eq!(status_field(status, "Vm"), None);
    }

    #[test]
    fn the_process_itself_is_seen() {
        let mut page = String::new();
        write(&mut page);
        let value = |name: &str| {
            let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.unwrap_or_else(|| panic!("{name} is not in {page}")).parse::<f64>().unwrap()
        };
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let age = now.as_secs_f64() - value("process_start_time_seconds");
        assert!((-5.0..86_400.0).contains(&age), "{age}");
        assert!(value("process_cpu_seconds_total") > 0.0);
        assert!(value("process_resident_memory_bytes") >= 1_000_000.0);
        assert!(value("process_virtual_memory_bytes") >= value("process_resident_memory_bytes"));
        assert!(value("process_threads") >= 1.0 && value("process_open_fds") >= 3.0);
        assert!(value("process_max_fds") >= value("process_open_fds"));
        assert!(page.contains("hotset_build_info{version=\""), "{page}");
    }
}
