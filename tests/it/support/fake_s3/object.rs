//! An object as the origin stores it: its bytes, and the headers that describe them.
//!
//! Invariant: a byte depends on nothing but the object's content and its position, so any slice of a 50 TB object can
//! be made when it is sent, and a test can compute the bytes that it must have received.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use std::ops::Range;

/// Default `Last-Modified` of an object.
pub const DEFAULT_LAST_MODIFIED: &str = "Wed, 01 Jan 2025 00:00:00 GMT";

#[derive(Clone, Debug)]
enum Content {
    Random { seed: u64, len: u64 },
    Given(Bytes),
}

/// An object, built by chaining. Cloning is cheap.
///
/// By default it has a strong `ETag` made from its content, a fixed `Last-Modified`, no version id, no checksums, and
/// `Content-Type: binary/octet-stream`.
#[derive(Clone, Debug)]
pub struct Object {
    content: Content,
    pub(super) etag: Option<String>,
    pub(super) last_modified: Option<String>,
    pub(super) version_id: Option<String>,
    pub(super) headers: Vec<(String, String)>,
    pub(super) checksums: Vec<(String, String)>,
    pub(super) parts: Vec<Part>,
}

/// A part of an object that was uploaded in parts.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub number: u64,
    pub range: Range<u64>,
    pub checksums: Vec<(String, String)>,
}

impl Object {
    /// Makes `len` bytes that look random and depend only on `seed` and position; uses no memory.
    #[must_use]
    pub fn random(len: u64, seed: u64) -> Object {
        Object::of(Content::Random { seed, len })
    }

    /// Makes an object with these bytes.
    pub fn bytes(content: impl Into<Bytes>) -> Object {
        Object::of(Content::Given(content.into()))
    }

    fn of(content: Content) -> Object {
        let etag = Some(format!("\"{:032x}\"", digest(&content)));
        Object {
            content,
            etag,
            last_modified: Some(DEFAULT_LAST_MODIFIED.to_owned()),
            version_id: None,
            headers: vec![("Content-Type".into(), "binary/octet-stream".into())],
            checksums: Vec::new(),
            parts: Vec::new(),
        }
    }

    /// Sets the `ETag`, sent exactly as given: quotes are the caller's.
    #[must_use]
    pub fn etag(mut self, value: &str) -> Object {
        self.etag = Some(value.to_owned());
        self
    }

    /// Removes the `ETag`, as some servers send none.
    #[must_use]
    pub fn no_etag(mut self) -> Object {
        self.etag = None;
        self
    }

    /// Sets the `Last-Modified` value, an IMF date, sent as given.
    #[must_use]
    pub fn last_modified(mut self, date: &str) -> Object {
        self.last_modified = Some(date.to_owned());
        self
    }

    /// Removes the `Last-Modified`.
    #[must_use]
    pub fn no_last_modified(mut self) -> Object {
        self.last_modified = None;
        self
    }

    /// Sets the version id: the key then keeps its older versions, for reads with `?versionId=`.
    #[must_use]
    pub fn version_id(mut self, id: &str) -> Object {
        self.version_id = Some(id.to_owned());
        self
    }

    /// Sets a header of every 200, 206 and HEAD response; replaces an earlier one of that name.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Object {
        self.headers.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds a whole-object checksum such as `("x-amz-checksum-crc32", "AAAAAA==")`: sent on HEAD and on a GET of the
    /// whole, and only when the request has `x-amz-checksum-mode: ENABLED`.
    #[must_use]
    pub fn checksum(mut self, name: &str, value: &str) -> Object {
        self.checksums.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds the true CRC of this header's algorithm, as [`Object::checksum`] of type `FULL_OBJECT`.
    #[must_use]
    pub fn with_crc(self, name: &str) -> Object {
        let value = crc_of(name, &self.all());
        self.checksum(name, &value).checksum("x-amz-checksum-type", "FULL_OBJECT")
    }

    /// Adds the true CRC of part `number`, as [`Object::part_checksum`] of type `COMPOSITE`.
    ///
    /// # Panics
    /// Where there is no such part.
    #[must_use]
    pub fn with_part_crc(self, number: u64, name: &str) -> Object {
        let part = self.parts.iter().find(|part| part.number == number).expect("a part");
        let value = crc_of(name, &self.slice(part.range.clone()));
        let object = self.part_checksum(number, name, &value);
        object.part_checksum(number, "x-amz-checksum-type", "COMPOSITE")
    }

    /// Returns the value of one of its checksums; empty: it has none.
    #[must_use]
    pub fn checksum_value(&self, name: &str) -> &str {
        self.checksums.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value)
    }

    /// Sets the lengths of a multipart object's parts, for `?partNumber=` 1, 2, ..; the `ETag` gets its `-N`.
    ///
    /// # Panics
    /// When the lengths do not add up to the object's.
    #[must_use]
    pub fn parts(mut self, lengths: &[u64]) -> Object {
        assert_eq!(lengths.iter().sum::<u64>(), self.len(), "the parts are not the object");
        let mut start = 0;
        let part = |(number, length)| {
            let range = start..start + length;
            start = range.end;
            Part { number, range, checksums: Vec::new() }
        };
        self.parts = (1..).zip(lengths.iter().copied()).map(part).collect();
        self.etag = Some(format!("\"{:032x}-{}\"", digest(&self.content), lengths.len()));
        self
    }

    /// Numbers the parts, in their order: an upload may leave numbers out.
    #[must_use]
    pub fn part_numbers(mut self, numbers: &[u64]) -> Object {
        assert_eq!(numbers.len(), self.parts.len(), "a number for each part");
        for (part, number) in self.parts.iter_mut().zip(numbers) {
            part.number = *number;
        }
        self
    }

    /// Adds a checksum of part `number` alone: sent with that part, and with exactly its range, in checksum mode.
    #[must_use]
    pub fn part_checksum(mut self, number: u64, name: &str, value: &str) -> Object {
        let part = self.parts.iter_mut().find(|part| part.number == number);
        let part = part.expect("a part of this number");
        part.checksums.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Returns the length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        match &self.content {
            Content::Random { len, .. } => *len,
            Content::Given(bytes) => bytes.len() as u64,
        }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the `ETag` as it is sent.
    #[must_use]
    pub fn etag_value(&self) -> Option<&str> {
        self.etag.as_deref()
    }

    /// Returns the bytes of a range.
    ///
    /// # Panics
    /// When the range goes past the end, or is too long to hold in memory.
    #[must_use]
    pub fn slice(&self, range: Range<u64>) -> Bytes {
        assert!(range.start <= range.end && range.end <= self.len(), "{range:?} of {}", self.len());
        let length = usize::try_from(range.end - range.start).expect("a slice that fits memory");
        let mut bytes = vec![0; length];
        self.fill(range.start, &mut bytes);
        bytes.into()
    }

    /// Returns all bytes.
    #[must_use]
    pub fn all(&self) -> Bytes {
        self.slice(0..self.len())
    }

    /// Writes the bytes from `position` on into `out`; `out` must end within the object.
    pub fn fill(&self, position: u64, out: &mut [u8]) {
        match &self.content {
            Content::Given(bytes) => {
                let start = usize::try_from(position).expect("a position within the bytes");
                out.copy_from_slice(&bytes[start..start + out.len()]);
            }
            Content::Random { seed, .. } => fill_random(*seed, position, out),
        }
    }

    /// Returns part `number`, if there is one. An object that was not uploaded in parts is its own part 1.
    pub(super) fn part(&self, number: u64) -> Option<Part> {
        if self.parts.is_empty() {
            let whole = Part { number, range: 0..self.len(), checksums: self.checksums.clone() };
            return (number == 1).then_some(whole);
        }
        self.parts.iter().find(|part| part.number == number).cloned()
    }

    /// Returns the checksums of a range of the object: those of the part with exactly this range.
    pub(super) fn checksums_of(&self, range: &Range<u64>) -> &[(String, String)] {
        let part = self.parts.iter().find(|part| part.range == *range);
        part.map_or(&[], |part| &part.checksums)
    }
}

fn fill_random(seed: u64, position: u64, out: &mut [u8]) {
    let mut index = position / 8;
    let skip = usize::try_from(position % 8).expect("less than 8");
    let lead = out.len().min((8 - skip) % 8);
    let (head, body) = out.split_at_mut(lead);
    if !head.is_empty() {
        head.copy_from_slice(&word(seed, index)[skip..skip + lead]);
        index += 1;
    }
    let (words, tail) = body.as_chunks_mut::<8>();
    for chunk in words {
        *chunk = word(seed, index);
        index += 1;
    }
    tail.copy_from_slice(&word(seed, index)[..tail.len()]);
}

/// Returns the eight bytes at position `8 * index`. Two odd multipliers and a fold are cheap, and enough for bytes at
/// a wrong position or of a wrong object to differ.
fn word(seed: u64, index: u64) -> [u8; 8] {
    let mixed = seed
        .wrapping_mul(0xD6E8_FEB8_6659_FD93)
        .wrapping_add(index)
        .wrapping_add(1)
        .wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed ^ (mixed >> 32)).to_le_bytes()
}

/// Returns 128 bits that differ for different contents; not a standard hash.
fn digest(content: &Content) -> u128 {
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013B;
    let step = |hash: u128, value: u64| (hash ^ u128::from(value)).wrapping_mul(PRIME);
    let start = 0x6C62_272E_07BB_0142_62B8_2175_6295_C58D;
    match content {
        Content::Random { seed, len } => step(step(step(start, 1), *seed), *len),
        Content::Given(bytes) => {
            let hash = step(step(start, 2), bytes.len() as u64);
            bytes.chunks(8).fold(hash, |hash, chunk| {
                let mut word = [0; 8];
                word[..chunk.len()].copy_from_slice(chunk);
                step(hash, u64::from_le_bytes(word))
            })
        }
    }
}

/// Returns the value of an `x-amz-checksum-crc*` header for these bytes.
fn crc_of(name: &str, bytes: &[u8]) -> String {
    let (algorithm, width) = match name.rsplit('-').next() {
        Some("crc64nvme") => (crc_fast::CrcAlgorithm::Crc64Nvme, 8),
        Some("crc32c") => (crc_fast::CrcAlgorithm::Crc32Iscsi, 4),
        Some("crc32") => (crc_fast::CrcAlgorithm::Crc32IsoHdlc, 4),
        _ => panic!("{name} is not the header of a CRC"),
    };
    let crc = crc_fast::checksum(algorithm, bytes).to_be_bytes();
    STANDARD.encode(&crc[crc.len() - width..])
}
