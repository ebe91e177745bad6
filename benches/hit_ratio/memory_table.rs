//! The memory tier against LRU, FIFO and Belady.

use crate::baselines::{Belady, Fifo, Lru};
use crate::cache::memory::block::ENTRY_COST;
use crate::part_of;
use crate::table::{parallel, per_cent, table};
use crate::tiers::{Alone, Hits, NoDisk, Tiers};
use crate::traces::Trace;

/// Capacities, in per mille of the bytes of all blocks.
const SIZES: [u64; 4] = [10, 50, 100, 250];
const POLICIES: [&str; 4] = ["moka", "LRU", "FIFO", "Belady"];

/// Returns the cost of each block in memory, in bytes: its data and its entry.
pub fn costs(trace: &Trace) -> Vec<u32> {
    let cost = u32::try_from(ENTRY_COST).expect("some bytes");
    trace.sizes.iter().map(|size| size + cost).collect()
}

fn replay(trace: &Trace, per_mille: u64, policy: &str) -> Hits {
    let costs = costs(trace);
    let capacity = part_of(&costs, per_mille);
    let all = 0..trace.accesses.len();
    match policy {
        "LRU" => Alone::new(trace, Lru::new(&costs, capacity)).replay(all),
        "FIFO" => Alone::new(trace, Fifo::new(&costs, capacity)).replay(all),
        "Belady" => Alone::new(trace, Belady::new(&costs, capacity)).replay(all),
        _ => Tiers::new(trace, capacity, NoDisk).replay(all),
    }
}

fn lines(traces: &[Trace]) -> Vec<Vec<String>> {
    let of_trace = |trace| SIZES.iter().map(move |size| (trace, *size));
    let lines: Vec<(&Trace, u64)> = traces.iter().flat_map(of_trace).collect();
    let jobs: Vec<_> =
        lines.iter().flat_map(|line| POLICIES.map(|policy| (*line, policy))).collect();
    let hits = parallel(&jobs, |((trace, size), policy)| replay(trace, *size, policy));
    let line = |((trace, size), hits): (&(&Trace, u64), &[Hits])| {
        let mut cells = vec![trace.name.to_owned(), format!("{} %", size / 10)];
        cells.extend(hits.iter().map(|h| per_cent(h.ratio())));
        cells.extend(hits.iter().map(|h| per_cent(h.byte_ratio())));
        cells
    };
    lines.iter().zip(hits.chunks(POLICIES.len())).map(line).collect()
}

pub fn table_of(traces: &[Trace]) -> String {
    let bytes = POLICIES.map(|policy| format!("{policy}, bytes"));
    let mut head = vec!["trace", "memory"];
    head.extend(POLICIES);
    head.extend(bytes.iter().map(String::as_str));
    table(&head, &lines(traces))
}
