//! Both tiers: the disk's policy against LRU, FIFO and Belady below the same memory.

use hotset::cache::disk::policy::AdmissionMode::{FirstTouch, SecondTouch};

use crate::baselines::{Belady, Fifo, Lru};
use crate::report::{Bar, Row};
use crate::segment_log::{Choice, SegmentLog};
use crate::table::{parallel, per_cent, table};
use crate::tiers::{Disk, Hits, Plain, Tiers, Traffic};
use crate::traces::Trace;
use crate::{device_costs, memory_table, part_of};

/// Disk capacities, in per mille of the cost of all blocks; memory has a tenth of that.
const SIZES: [u64; 2] = [100, 250];
/// Maximum write amplification: device bytes for each byte of an admitted block.
const AMPLIFICATION: f64 = 1.2;

#[derive(Clone, Copy)]
pub enum Below {
    Lru,
    Fifo,
    Belady,
    Log(Choice),
}

struct Job<'a> {
    trace: &'a Trace,
    per_mille: u64,
    name: String,
    below: Below,
}

struct Replayed {
    hits: Hits,
    traffic: Traffic,
}

impl Replayed {
    fn amplification(&self) -> f64 {
        self.traffic.written as f64 / self.traffic.admitted.max(1) as f64
    }
}

impl Job<'_> {
    fn run(&self) -> Replayed {
        let costs = device_costs(self.trace);
        let capacity = part_of(&costs, self.per_mille);
        let sizes = &self.trace.sizes;
        match self.below {
            Below::Lru => self.replay(Plain::new(Lru::new(&costs, capacity), sizes)),
            Below::Fifo => self.replay(Plain::new(Fifo::new(&costs, capacity), sizes)),
            Below::Belady => self.replay(Plain::new(Belady::new(&costs, capacity), sizes)),
            Below::Log(choice) => self.replay(SegmentLog::new(sizes, capacity, choice)),
        }
    }

    fn replay(&self, disk: impl Disk) -> Replayed {
        let memory = part_of(&memory_table::costs(self.trace), self.per_mille / 10);
        let mut tiers = Tiers::new(self.trace, memory, disk);
        let hits = tiers.replay(0..self.trace.accesses.len());
        Replayed { hits, traffic: tiers.disk.traffic() }
    }

    fn line(&self, replayed: &Replayed) -> Vec<String> {
        let Replayed { hits, traffic } = replayed;
        vec![
            self.trace.name.to_owned(),
            format!("{} %", self.per_mille / 10),
            self.name.clone(),
            per_cent(hits.ratio()),
            per_cent(hits.byte_ratio()),
            format!("{:.3}", traffic.written as f64 / hits.bytes.max(1) as f64),
            format!("{:.3}", replayed.amplification()),
        ]
    }
}

const HEAD: [&str; 7] =
    ["trace", "disk", "policy", "requests hit", "bytes hit", "written/asked", "written/admitted"];

fn jobs<'a>(traces: &'a [Trace], disks: &[(String, Below)]) -> Vec<Job<'a>> {
    let mut jobs = Vec::new();
    for trace in traces {
        for per_mille in SIZES {
            let job = |(name, below): &(String, Below)| Job {
                trace,
                per_mille,
                name: name.clone(),
                below: *below,
            };
            jobs.extend(disks.iter().map(job));
        }
    }
    jobs
}

/// Returns the table, and the rows that have a bar.
pub fn table_of(traces: &[Trace]) -> (String, Vec<Row>) {
    let disks = [
        ("hotset".to_owned(), Below::Log(Choice::of_hotset(SecondTouch))),
        ("hotset, first-touch".to_owned(), Below::Log(Choice::of_hotset(FirstTouch))),
        ("LRU".to_owned(), Below::Lru),
        ("FIFO".to_owned(), Below::Fifo),
        ("Belady".to_owned(), Below::Belady),
    ];
    let jobs = jobs(traces, &disks);
    let replayed = parallel(&jobs, Job::run);
    let lines: Vec<_> = jobs.iter().zip(&replayed).map(|(job, r)| job.line(r)).collect();
    let logs = jobs.iter().zip(&replayed).filter(|(job, _)| matches!(job.below, Below::Log(_)));
    let row = |(job, replayed): (&Job<'_>, &Replayed)| {
        let mib = |bytes: u64| format!("{} MiB", bytes >> 20);
        let Traffic { written, admitted } = replayed.traffic;
        Row::ratio(
            "write amplification",
            format!("{}, {}, disk of {} %", job.trace.name, job.name, job.per_mille / 10),
            (mib(written), mib(admitted)),
            replayed.amplification(),
            Bar::AtMost(AMPLIFICATION),
        )
    };
    (table(&HEAD, &lines), logs.map(row).collect())
}

/// Returns the table of all variants that were compared before the policy was chosen.
pub fn policies(traces: &[Trace]) -> String {
    let hotset = Choice::of_hotset(SecondTouch);
    let first = Choice::of_hotset(FirstTouch);
    let plain = Choice { room: false, evicted: false, ..hotset };
    let choices = [
        ("first-touch, no reinsertion", Choice { per_cent: 0, ..first }),
        ("first-touch, 12 %, 1 touch", Choice { per_cent: 12, least: 1, ..first }),
        ("first-touch, 20 %, 1 touch", Choice { least: 1, ..first }),
        ("first-touch, 20 %, 2 touches", first),
        ("second hit, no reinsertion", Choice { per_cent: 0, ..plain }),
        ("second hit, 12 %, 1 touch", Choice { per_cent: 12, least: 1, ..plain }),
        ("second hit, 20 %, 1 touch", Choice { least: 1, ..plain }),
        ("second hit, 20 %, 2 touches", plain),
        ("  ghosts 1x", Choice { ghosts: 1, ..plain }),
        ("  ghosts 4x", Choice { ghosts: 4, ..plain }),
        ("  ghosts only", Choice { touched: false, ..plain }),
        ("  read again in memory only", Choice { ghosts: 0, ..plain }),
        ("  while there is room, too", Choice { room: true, ..plain }),
        ("    ghosts 1x", Choice { room: true, ghosts: 1, ..plain }),
        ("    ghosts only", Choice { room: true, touched: false, ..plain }),
        ("    ghosts of evicted, 1x", Choice { room: true, ghosts: 1, evicted: true, ..plain }),
        ("    ghosts of evicted, 2x", Choice { room: true, ghosts: 2, evicted: true, ..plain }),
        (
            "    ghosts of evicted only, 2x",
            Choice { room: true, touched: false, evicted: true, ..plain },
        ),
    ];
    let disks = choices.map(|(name, choice)| (name.to_owned(), Below::Log(choice)));
    let jobs = jobs(traces, &disks);
    let replayed = parallel(&jobs, Job::run);
    let lines: Vec<_> = jobs.iter().zip(&replayed).map(|(job, r)| job.line(r)).collect();
    table(&HEAD, &lines)
}
