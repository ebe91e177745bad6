//! The scenarios by name.

use crate::Result;
use crate::bench::Bench;
use crate::report::Row;
use crate::{
    cold, crowd, disk, events, filling, hot, instruments, late, many, near, outage, repeated,
    slice_budget, slow_disk, soak,
};

/// One scenario.
pub struct Case {
    pub name: &'static str,
    /// Description, one line.
    pub about: &'static str,
    /// Runs the scenario, which takes a few seconds to a minute.
    pub run: fn(&Bench) -> Result<Vec<Row>>,
}

/// All scenarios in the order in which they run.
pub const CASES: [Case; 25] = [
    Case {
        name: "cold_1gib",
        about: "one cold 1 GiB GET, against one direct connection",
        run: cold::whole_object,
    },
    Case {
        name: "cold_4kib",
        about: "cold 4 KiB ranges inside one block of 1 GiB objects, against direct",
        run: cold::small_range,
    },
    Case {
        name: "cold_near",
        about: "cold 512 MiB from an origin without delay: rate against direct, CPU against nginx",
        run: near::origin,
    },
    Case {
        name: "cold_crowd",
        about: "64 clients of 64 cold 64 MiB objects: their rate against the origin's, the slowest",
        run: many::clients,
    },
    Case {
        name: "scan_beside",
        about: "p99 of hot objects that are revalidated, beside a scan of 1,000 cold ones",
        run: many::scan_beside,
    },
    Case {
        name: "late_origin",
        about: "cold 1 MiB reads of which one in a hundred is a second late: p99.9, requests",
        run: late::one_in_a_hundred,
    },
    Case {
        name: "failing",
        about: "20 % 503, 5 % cut, 1 % stalled for ever: errors, throughput against a clean origin",
        run: late::failing,
    },
    Case {
        name: "origin_down",
        about: "an origin that is down for 10 s under load: what it is sent, recovery",
        run: outage::down,
    },
    Case {
        name: "dead_address",
        about: "one of eight addresses that answers nothing any more: p99 two seconds later",
        run: outage::one_address,
    },
    Case {
        name: "herd",
        about: "1,000 concurrent cold GETs of one 64 MiB object",
        run: crowd::herd,
    },
    Case {
        name: "hot_4kib",
        about: "a hot 4 KiB object: CPU per request, against nginx and bare hyper",
        run: hot::small_object,
    },
    Case {
        name: "instruments",
        about: "the same object, with access logs, limits and traces switched: CPU per request, against without",
        run: instruments::costs,
    },
    Case {
        name: "verified_4kib",
        about: "the same, signed, and verified by hotset: CPU per request, against nginx that does not look",
        run: hot::signed_object,
    },
    Case {
        name: "hot_8mib",
        about: "hot 8 MiB ranges of 512 MiB: CPU per byte, against nginx and bare hyper",
        run: hot::large_ranges,
    },
    Case {
        name: "tls_8mib",
        about: "hot 8 MiB ranges over TLS 1.3: CPU per byte, against nginx",
        run: hot::over_tls,
    },
    Case {
        name: "events",
        about: "object events: p99 of hot reads beside 20,000 a second, a million at once, and how soon reads are fresh",
        run: events::events,
    },
    Case {
        name: "memory_bound",
        about: "1,000 slow readers of 8 MiB each: resident memory, against the budget",
        run: crowd::slow_readers,
    },
    Case {
        name: "full_memory",
        about: "repeated reads with full memory: new objects, read twice in a row, that are fetched twice",
        run: repeated::with_full_memory,
    },
    Case {
        name: "disk_random",
        about: "64 KiB random ranges from a disk much larger than memory, against fio",
        run: disk::random,
    },
    Case {
        name: "disk_sequential",
        about: "8 MiB ranges in order from a disk, nothing in the page cache, against fio",
        run: disk::sequential,
    },
    Case {
        name: "disk_cached",
        about: "64 KiB ranges that the page cache holds: CPU per request, against nginx",
        run: hot::from_page_cache,
    },
    Case {
        name: "disk_filling",
        about: "p99 of memory hits while the disk is written at full rate, against at rest",
        run: filling::latency,
    },
    Case {
        name: "slow_disk",
        about: "64 KiB that lie on a device throttled to 4 MB/s: latency and CPU, against no disk",
        run: slow_disk::reads,
    },
    Case {
        name: "slice_budget",
        about: "CPU a byte from disk while slow clients hold all the memory for slices, against before",
        run: slice_budget::used_up,
    },
    Case {
        name: "disk_index",
        about: "1,000,000 blocks on disk: memory of the index, and time until ready",
        run: disk::million,
    },
];

/// Scenarios that run only when they are named, since they take long.
pub const LONG: [Case; 1] = [Case {
    name: "soak",
    about: "mixed load with 1,000 slow readers in a memory limit of 512 MiB: killed, and answered",
    run: soak::mixed,
}];
