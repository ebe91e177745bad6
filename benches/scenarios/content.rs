//! Objects of the scenarios: the name contains the size, and determines the bytes.
//!
//! Origin, comparison server and loader share this module and nothing else, so no list of objects is passed around:
//! any path of the form `/bench/NAME-SIZE` is an object. The bytes are a window that slides over one pseudo-random
//! pattern whose length has no common divisor with a block. To make and check them costs no more than a `memcmp`, and
//! a block in the wrong place or of another object is detected.

use std::ops::Range;
use std::sync::OnceLock;

/// Length of the pattern in bytes: a prime a little over 1 MiB.
const PERIOD: u64 = 1_048_583;

/// One KiB, MiB and GiB in bytes.
pub const KIB: u64 = 1 << 10;
pub const MIB: u64 = 1 << 20;
pub const GIB: u64 = 1 << 30;

/// `Last-Modified` of every object.
pub const LAST_MODIFIED: &str = "Tue, 04 Mar 2025 10:20:30 GMT";

/// One object that the origin, the comparison server and the loader agree on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    path: String,
    size: u64,
    seed: u64,
}

impl Object {
    /// Makes an object of `size` bytes; another name gives other bytes.
    pub fn new(name: &str, size: u64) -> Self {
        Self::at(format!("/bench/{name}-{size}"), size)
    }

    /// Returns the object that a request target names, if it names one. The query is ignored.
    pub fn parse(target: &str) -> Option<Self> {
        let path = target.split('?').next()?;
        let size = path.strip_prefix("/bench/")?.rsplit_once('-')?.1.parse().ok()?;
        Some(Self::at(path.to_owned(), size))
    }

    fn at(path: String, size: u64) -> Self {
        let seed = path.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Self { path, size, seed }
    }

    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns the size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Returns the strong entity tag, with its quotes.
    pub fn etag(&self) -> String {
        format!("\"{:016x}{:016x}\"", self.seed, self.size)
    }

    /// Returns contiguous bytes of the object from `offset` on: to the end of the pattern, regardless of the object's
    /// end.
    pub fn piece(&self, offset: u64) -> &'static [u8] {
        let at = (self.seed % PERIOD + offset) % PERIOD;
        &pattern()[usize::try_from(at).expect("the pattern fits in memory")..]
    }

    /// Whether the object has `bytes` at `offset`.
    pub fn holds(&self, mut offset: u64, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            let piece = self.piece(offset);
            let length = piece.len().min(bytes.len());
            if bytes[..length] != piece[..length] {
                return false;
            }
            bytes = &bytes[length..];
            offset += length as u64;
        }
        true
    }

    /// Returns a copy of the whole object.
    pub fn to_vec(&self) -> Vec<u8> {
        let size = usize::try_from(self.size).expect("the object fits in memory");
        let mut bytes = Vec::with_capacity(size);
        while bytes.len() < size {
            let piece = self.piece(bytes.len() as u64);
            bytes.extend_from_slice(&piece[..piece.len().min(size - bytes.len())]);
        }
        bytes
    }
}

/// Returns the bytes that a `Range` header requests. `None`: it is not a single byte range, which means the whole
/// object. An empty range: it cannot be satisfied (416).
pub fn parse_range(header: &str, size: u64) -> Option<Range<u64>> {
    let (first, last) = header.strip_prefix("bytes=")?.split_once('-')?;
    if first.is_empty() {
        let length: u64 = last.parse().ok()?;
        return Some(size.saturating_sub(length)..size);
    }
    let first: u64 = first.parse().ok()?;
    let end = if last.is_empty() { size } else { last.parse::<u64>().ok()?.saturating_add(1) };
    Some(first.min(size)..end.min(size).max(first.min(size)))
}

fn pattern() -> &'static [u8] {
    static PATTERN: OnceLock<Vec<u8>> = OnceLock::new();
    PATTERN.get_or_init(|| {
        let mut random = Random::new(0x9e37_79b9_7f4a_7c15);
        (0..PERIOD).map(|_| random.next().to_le_bytes()[3]).collect()
    })
}

/// Pseudo-random generator (xorshift64*) with a fixed seed, so that every run requests the same offsets.
pub struct Random(u64);

impl Random {
    /// Makes a generator whose sequence depends only on `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Returns a number below `bound`, which must be small against 2^64.
    pub fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 11) % bound
    }
}
