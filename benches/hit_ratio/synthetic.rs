//! Synthetic traces: Zipf's law, and scans.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::traces::{Builder, Trace};

const BLOCK: u64 = 64 << 10;
const SKEW: f64 = 0.9;

/// Draws numbers from 0..n by Zipf's law, small ones more often.
struct Zipf {
    /// Cumulative weights, up to and including each number.
    sums: Vec<f64>,
    random: StdRng,
}

impl Zipf {
    fn new(n: u32) -> Self {
        let mut sum = 0.0;
        let weigh = |rank| {
            sum += f64::from(rank).powf(-SKEW);
            sum
        };
        Self { sums: (1..=n).map(weigh).collect(), random: StdRng::seed_from_u64(1) }
    }

    fn draw(&mut self) -> u64 {
        let upto = self.sums.last().expect("n is not 0");
        let at = self.random.gen_range(0.0..*upto);
        self.sums.partition_point(|sum| *sum <= at) as u64
    }
}

pub fn zipf_trace() -> Trace {
    let mut zipf = Zipf::new(50_000);
    let mut trace = Builder::new("Zipf 0.9");
    for _ in 0..500_000 {
        trace.read((zipf.draw(), 0), BLOCK, BLOCK);
    }
    trace.done()
}

/// Trace of a hot set, read `reads` times a block on average, then `scanned` other blocks once each, then the hot set
/// again.
pub struct Scan {
    pub trace: Trace,
    /// First access of the scan, and the one after its last.
    pub begins: usize,
    pub ends: usize,
}

pub fn scan(hot: u32, reads: u32, scanned: u32) -> Scan {
    let mut zipf = Zipf::new(hot);
    let mut trace = Builder::new("scan");
    let reads = hot * reads;
    for _ in 0..reads {
        trace.read((zipf.draw(), 0), BLOCK, BLOCK);
    }
    for block in 0..scanned {
        trace.read((block.into(), 1), BLOCK, BLOCK);
    }
    for _ in 0..reads {
        trace.read((zipf.draw(), 0), BLOCK, BLOCK);
    }
    let begins = reads as usize;
    Scan { trace: trace.done(), begins, ends: begins + scanned as usize }
}
