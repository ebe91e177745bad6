//! Scan resistance: the hit ratio of the hot set before and after many other blocks are read once.

use hotset::cache::disk::policy::AdmissionMode::{FirstTouch, SecondTouch};

use crate::baselines::{Fifo, Lru};
use crate::device_costs;
use crate::memory_table;
use crate::part_of;
use crate::segment_log::{Choice, SegmentLog};
use crate::synthetic::{Scan, scan};
use crate::table::{per_cent, table};
use crate::tiers::{Alone, Disk, Hits, NoDisk, Plain, Tiers};

const HOT: u32 = 4000;
/// Capacity of the disk, in blocks.
const DISK: u32 = 5000;
/// Numbers of blocks scanned: half of the disk's capacity, and four times that capacity.
const SCANS: [u32; 2] = [DISK / 2, 4 * DISK];
/// Capacity of memory in blocks: without a disk, and above the disk.
const MEMORY: u32 = 2000;
const MEMORY_ABOVE: u32 = 500;

/// Returns the hit ratios of the hot set, each over as many reads as it has blocks: just before the scan, and just
/// after.
fn around(scan: &Scan, mut replay: impl FnMut(std::ops::Range<usize>) -> Hits) -> (f64, f64) {
    let window = HOT as usize;
    replay(0..scan.begins - window);
    let before = replay(scan.begins - window..scan.begins);
    replay(scan.begins..scan.ends);
    let after = replay(scan.ends..scan.ends + window);
    (before.ratio(), after.ratio())
}

pub fn table_of() -> String {
    let lines: Vec<_> = SCANS.into_iter().flat_map(lines).collect();
    table(&["blocks scanned", "tiers", "policy", "before", "after"], &lines)
}

fn lines(scanned: u32) -> Vec<Vec<String>> {
    let scan = scan(HOT, 20, scanned);
    let trace = &scan.trace;
    let blocks = trace.sizes.len() as u64;
    let (costs, device) = (memory_table::costs(trace), device_costs(trace));
    let room = |costs: &[u32], n: u32| part_of(costs, 1000) / blocks * u64::from(n);
    let (alone, above) = (room(&costs, MEMORY), room(&costs, MEMORY_ABOVE));
    let disk = room(&device, DISK);
    let tiers = |disk: Box<dyn Disk>, memory| {
        let mut tiers = Tiers::new(trace, memory, disk);
        around(&scan, |range| tiers.replay(range))
    };
    let log = |mode| Box::new(SegmentLog::new(&trace.sizes, disk, Choice::of_hotset(mode)));
    let mut lru = Alone::new(trace, Lru::new(&costs, alone));
    let mut fifo = Alone::new(trace, Fifo::new(&costs, alone));
    let lru_disk = Plain::new(Lru::new(&device, disk), &trace.sizes);
    let fifo_disk = Plain::new(Fifo::new(&device, disk), &trace.sizes);
    let rows = [
        ("memory", "moka", tiers(Box::new(NoDisk), alone)),
        ("memory", "LRU", around(&scan, |range| lru.replay(range))),
        ("memory", "FIFO", around(&scan, |range| fifo.replay(range))),
        ("memory and disk", "hotset", tiers(log(SecondTouch), above)),
        ("memory and disk", "hotset, first-touch", tiers(log(FirstTouch), above)),
        ("memory and disk", "moka and LRU", tiers(Box::new(lru_disk), above)),
        ("memory and disk", "moka and FIFO", tiers(Box::new(fifo_disk), above)),
    ];
    let line = |(tiers, policy, (before, after)): (&str, &str, (f64, f64))| {
        let names = [scanned.to_string(), tiers.to_owned(), policy.to_owned()];
        names.into_iter().chain([before, after].map(per_cent)).collect()
    };
    rows.into_iter().map(line).collect()
}
