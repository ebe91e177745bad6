//! Text tables, and parallel computation of their lines.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use parking_lot::Mutex;

use crate::traces::Trace;

/// Formats a table with a header line.
pub fn table(head: &[&str], lines: &[Vec<String>]) -> String {
    let mut all = vec![head.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>()];
    all.extend_from_slice(lines);
    let width = |column: usize| all.iter().map(|line| line[column].chars().count()).max();
    let widths: Vec<_> = (0..head.len()).map(|column| width(column).unwrap_or(0)).collect();
    all.insert(1, widths.iter().map(|width| "-".repeat(*width)).collect());
    let mut text = String::new();
    for line in &all {
        for (cell, width) in line.iter().zip(&widths) {
            write!(text, "| {cell:width$} ").expect("a string takes everything");
        }
        text.push_str("|\n");
    }
    text
}

/// Applies `make` to each item on all processors; results are in the order of the items.
pub fn parallel<T: Sync, R: Send>(items: &[T], make: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    let work = || {
        while let index = next.fetch_add(1, Ordering::Relaxed)
            && let Some(item) = items.get(index)
        {
            let result = make(item);
            done.lock().push((index, result));
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    let mut done = done.into_inner();
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}

/// Formats a ratio in per cent.
pub fn per_cent(ratio: f64) -> String {
    format!("{:.2} %", ratio * 100.0)
}

pub fn of_traces(traces: &[Trace]) -> String {
    let line = |trace: &Trace| {
        let distinct: u64 = trace.sizes.iter().map(|size| u64::from(*size)).sum();
        let asked: u64 = trace.accesses.iter().map(|access| u64::from(access.asked)).sum();
        vec![
            trace.name.to_owned(),
            trace.accesses.len().to_string(),
            trace.sizes.len().to_string(),
            format!("{} MiB", distinct >> 20),
            format!("{} MiB", asked >> 20),
        ]
    };
    let lines: Vec<_> = traces.iter().map(line).collect();
    table(&["trace", "reads of a block", "blocks", "bytes of them", "bytes asked"], &lines)
}
