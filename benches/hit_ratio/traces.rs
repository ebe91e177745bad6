//! What is replayed: recorded traces from a folder, and synthetic ones.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use lzma_rust2::XzReader;
use ruzstd::decoding::StreamingDecoder;

use crate::Result;

/// The smallest block that hotset can be set to.
const SMALL_BLOCK: u64 = 64 << 10;
/// The block that is its default.
const BLOCK: u64 = 1 << 20;
const SECTOR: u64 = 512;

/// No further request of the block.
pub const NEVER: u32 = u32::MAX;

/// One block is read.
pub struct Access {
    pub block: u32,
    /// Bytes of the block that are asked for.
    pub asked: u32,
    /// Which access is the block's next one, counted from 0; [`NEVER`].
    pub next: u32,
}

pub struct Trace {
    pub name: &'static str,
    pub accesses: Vec<Access>,
    /// Bytes of each block.
    pub sizes: Vec<u32>,
}

/// Numbers the blocks in the order in which they are met.
pub struct Builder {
    name: &'static str,
    accesses: Vec<Access>,
    sizes: Vec<u32>,
    numbers: HashMap<(u64, u64), u32, foldhash::fast::RandomState>,
    /// The last access of each block.
    last: Vec<usize>,
}

impl Builder {
    pub fn new(name: &'static str) -> Self {
        let (accesses, sizes, numbers, last) = Default::default();
        Self { name, accesses, sizes, numbers, last }
    }

    /// `asked` bytes of the block of `size` bytes that is `key`.
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

    /// `length` bytes from `start` on of an object of `size` bytes, block by block.
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

/// The recorded traces: file, name, what stands between fields, and what a line means.
const RECORDED: [(&str, &str, char, Parse); 4] = [
    ("P3.lis.zst", "P3", ' ', parse_lis),
    ("OLTP.lis.zst", "OLTP", ' ', parse_lis),
    ("cloudPhysicsIO.csv.zst", "CloudPhysics", ',', parse_cloud_physics),
    ("adapt_size.trace.xz", "AdaptSize", ' ', parse_adapt_size),
];

/// `start count ignored sequence`: `count` numbers of blocks, which we take for blocks of the smallest size.
fn parse_lis(trace: &mut Builder, fields: &[u64]) {
    if let [start, count, ..] = *fields {
        for block in start..start + count {
            trace.read((block, 0), SMALL_BLOCK, SMALL_BLOCK);
        }
    }
}

/// `version,time,operation,bytes,sector`: a disk, which we take for one object. Writes count as reads.
fn parse_cloud_physics(trace: &mut Builder, fields: &[u64]) {
    if let [_, _, _, bytes, sector] = *fields {
        trace.read_object(0, u64::MAX, sector * SECTOR, bytes, SMALL_BLOCK);
    }
}

/// `time object bytes`. An object that changes its size is another version, so other blocks.
fn parse_adapt_size(trace: &mut Builder, fields: &[u64]) {
    if let [_, object, bytes] = *fields {
        trace.read_object(object << 32 | bytes, bytes, 0, bytes, BLOCK);
    }
}

/// All recorded traces that are in `folder`.
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
            // The operation is hexadecimal, and no field that we use; heads of columns are no numbers.
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
