//! Traces to replay: recorded ones from a folder, and synthetic ones.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use lzma_rust2::XzReader;
use ruzstd::decoding::StreamingDecoder;

use crate::Result;

/// Smallest block size that can be configured, in bytes.
const SMALL_BLOCK: u64 = 64 << 10;
/// Default block size, in bytes.
const BLOCK: u64 = 1 << 20;
const SECTOR: u64 = 512;

/// The block is not requested again.
pub const NEVER: u32 = u32::MAX;

/// One read of a block.
pub struct Access {
    pub block: u32,
    /// Requested bytes of the block.
    pub asked: u32,
    /// Index of the block's next access, counted from 0; [`NEVER`] if there is none.
    pub next: u32,
}

pub struct Trace {
    pub name: &'static str,
    pub accesses: Vec<Access>,
    /// Size of each block, in bytes.
    pub sizes: Vec<u32>,
}

/// Builds a trace: numbers the blocks in the order of their first access.
pub struct Builder {
    name: &'static str,
    accesses: Vec<Access>,
    sizes: Vec<u32>,
    numbers: HashMap<(u64, u64), u32, foldhash::fast::RandomState>,
    /// Index of each block's last access so far.
    last: Vec<usize>,
}

impl Builder {
    pub fn new(name: &'static str) -> Self {
        let (accesses, sizes, numbers, last) = Default::default();
        Self { name, accesses, sizes, numbers, last }
    }

    /// Adds a read of `asked` bytes of the block `key`, which has `size` bytes.
    pub fn read(&mut self, key: (u64, u64), size: u64, asked: u64) {
        let now = self.accesses.len();
        let new = self.sizes.len();
        let number = *self.numbers.entry(key).or_insert(narrow(new as u64));
        let at = number as usize;
        if at == new {
            self.sizes.push(narrow(size));
            self.last.push(now);
        } else {
            self.accesses[self.last[at]].next = narrow(now as u64);
            self.last[at] = now;
        }
        self.accesses.push(Access { block: number, asked: narrow(asked), next: NEVER });
    }

    /// Adds reads of `length` bytes from `start` of an object of `size` bytes, block by block.
    fn read_object(&mut self, object: u64, size: u64, start: u64, length: u64, block: u64) {
        let end = (start + length).min(size);
        for index in start / block..end.div_ceil(block) {
            let (from, upto) = (index * block, ((index + 1) * block).min(size));
            let asked = upto.min(end) - from.max(start);
            self.read((object, index), upto - from, asked);
        }
    }

    pub fn done(self) -> Trace {
        Trace { name: self.name, accesses: self.accesses, sizes: self.sizes }
    }
}

fn narrow(number: u64) -> u32 {
    u32::try_from(number).expect("traces are small")
}

type Parse = fn(&mut Builder, &[u64]);

/// The recorded traces: file, name, field separator, and line parser.
const RECORDED: [(&str, &str, char, Parse); 4] = [
    ("P3.lis.zst", "P3", ' ', parse_lis),
    ("OLTP.lis.zst", "OLTP", ' ', parse_lis),
    ("cloudPhysicsIO.csv.zst", "CloudPhysics", ',', parse_cloud_physics),
    ("adapt_size.trace.xz", "AdaptSize", ' ', parse_adapt_size),
];

/// Parses `start count ignored sequence`: `count` block numbers, taken for blocks of the smallest size.
fn parse_lis(trace: &mut Builder, fields: &[u64]) {
    if let [start, count, ..] = *fields {
        for block in start..start + count {
            trace.read((block, 0), SMALL_BLOCK, SMALL_BLOCK);
        }
    }
}

/// Parses `version,time,operation,bytes,sector`: a disk, taken for one object. Writes count as reads.
fn parse_cloud_physics(trace: &mut Builder, fields: &[u64]) {
    if let [_, _, _, bytes, sector] = *fields {
        trace.read_object(0, u64::MAX, sector * SECTOR, bytes, SMALL_BLOCK);
    }
}

/// Parses `time object bytes`. An object that changes its size is another version, so it has other blocks.
fn parse_adapt_size(trace: &mut Builder, fields: &[u64]) {
    if let [_, object, bytes] = *fields {
        trace.read_object(object << 32 | bytes, bytes, 0, bytes, BLOCK);
    }
}

/// Reads all recorded traces that are present in `folder`.
pub fn recorded(folder: &Path) -> Result<Vec<Trace>> {
    let mut traces = Vec::new();
    for (file, name, between, parse) in RECORDED {
        let path = folder.join(file);
        if !path.exists() {
            println!("{} is not there", path.display());
            continue;
        }
        let file = BufReader::new(File::open(&path)?);
        let text: Box<dyn Read> = match path.extension().is_some_and(|e| e == "xz") {
            true => Box::new(XzReader::new(file, true)),
            false => Box::new(StreamingDecoder::new(file)?),
        };
        let mut trace = Builder::new(name);
        let mut fields = Vec::new();
        for line in BufReader::with_capacity(1 << 16, text).lines() {
            fields.clear();
            let line = line?;
            // The operation is hexadecimal, and is not used; column headers are not numbers.
            fields.extend(
                line.trim().split(between).map_while(|field| {
                    field.parse().or_else(|_| u64::from_str_radix(field, 16)).ok()
                }),
            );
            parse(&mut trace, &fields);
        }
        traces.push(trace.done());
    }
    Ok(traces)
}
