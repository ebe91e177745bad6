//! Binary format of segments and records. Pure: nothing here reads or writes a file.
//!
//! ```text
//! segment  := head record* footer?          a footer seals it; without one the records are scanned
//! record   := head key chunk*               48 bytes, the full key, the data in chunks
//! chunk    := data[1..=64 KiB] frame        the frame (32 bytes) binds its data to the key and to its place
//! footer   := entry* tail                   36 bytes for each record, then 32 bytes at the very end
//! ```
//! Integers are little-endian. Every part has a checksum (XXH3, 64 bits) over all its bytes; a chunk's also covers the
//! key's digest, so that one chunk can be read and verified without its record's head. Parsers take any bytes and never
//! panic: what is not exactly right is [`Damaged`].

use std::hash::Hasher as _;
use std::ops::Range;

use twox_hash::XxHash3_64;

use super::digest::Digest;

/// Version of the on-disk format; segments of another version are dropped.
pub(in crate::cache::disk) const VERSION: u16 = 3;
/// Bytes of data that one checksum covers, and the least that is read.
pub(in crate::cache::disk) const CHUNK: usize = 64 * 1024;
pub(in crate::cache::disk) const SEGMENT_HEAD: usize = 32;
pub(in crate::cache::disk) const RECORD_HEAD: usize = 48;
pub(in crate::cache::disk) const FRAME: usize = 32;
pub(in crate::cache::disk) const ENTRY: usize = 36;
pub(in crate::cache::disk) const TAIL: usize = 32;
/// Maximum bytes of a full key; records with longer ones are not written. An S3 key has at most 1,024 bytes, an `ETag`
/// and names a few hundred.
pub(in crate::cache::disk) const KEY_MAX: usize = 8 * 1024;
/// Maximum bytes of a record's data, which is the largest block.
pub(in crate::cache::disk) const DATA_MAX: usize = 16 * 1024 * 1024;
/// Bits of a record's start, enough for any offset in a block.
pub(in crate::cache::disk) const START_BITS: u32 = 25;

const SEGMENT_MAGIC: u64 = u64::from_le_bytes(*b"hotset\0s");
const RECORD_MAGIC: u32 = u32::from_le_bytes(*b"hsRc");
const FRAME_MAGIC: u32 = u32::from_le_bytes(*b"hsFr");
const TAIL_MAGIC: u32 = u32::from_le_bytes(*b"hsTl");

/// Reason why bytes on disk are rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(in crate::cache::disk) enum Damaged {
    #[error("not written by hotset, or overwritten")]
    Magic,
    #[error("written in another format version")]
    Version,
    #[error("a length that cannot be")]
    Length,
    #[error("a checksum does not match")]
    Check,
    #[error("it belongs to another key")]
    Key,
    #[error("the one behind it is missing")]
    Next,
}

/// Kind of records that a segment holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(in crate::cache::disk) enum Contents {
    Blocks = 1,
    /// Blocks of rules that are pinned.
    Pinned = 2,
    /// Object records and tombstones.
    Objects = 3,
}

/// Kind of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(in crate::cache::disk) enum Kind {
    Block = 1,
    Object = 2,
    /// Invalidates all earlier records of the object.
    Tombstone = 3,
    /// Invalidates all earlier records of the bucket's objects.
    BucketEpoch = 4,
}

impl Kind {
    fn parse(byte: u8) -> Result<Self, Damaged> {
        match byte {
            1 => Ok(Self::Block),
            2 => Ok(Self::Object),
            3 => Ok(Self::Tombstone),
            4 => Ok(Self::BucketEpoch),
            _ => Err(Damaged::Magic),
        }
    }
}

/// Description of a record without its key and data, as in its head and in its footer entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cache::disk) struct Record {
    pub kind: Kind,
    pub digest: Digest,
    pub key_len: u32,
    /// Bytes of data, without frames.
    pub data_len: u32,
    /// Blocks: offset of the data in the block. Others: hash that stands for their bucket.
    pub start: u32,
    /// Blocks: hash of the rule whose share they count toward.
    pub tag: u32,
}

impl Record {
    /// Returns the bytes of the whole record in its segment.
    pub(in crate::cache::disk) fn len(&self) -> u64 {
        let chunks = u64::from(self.data_len).div_ceil(CHUNK as u64);
        RECORD_HEAD as u64
            + u64::from(self.key_len)
            + u64::from(self.data_len)
            + chunks * FRAME as u64
    }

    /// Encodes the head that is written before `key`.
    pub(in crate::cache::disk) fn head(&self, key: &[u8]) -> [u8; RECORD_HEAD] {
        let mut out = Writer::<RECORD_HEAD>::new();
        out.u32(RECORD_MAGIC).u16(VERSION).u16(self.kind as u16);
        out.u32(self.key_len).u32(self.start).u32(self.data_len).u32(self.tag);
        out.bytes(&self.digest.0);
        let check = check_with_key(out.so_far(), key);
        out.u64(check).done()
    }

    /// Parses a head without its key: enough to know the record's length, not yet to trust it.
    pub(in crate::cache::disk) fn parse(head: &[u8; RECORD_HEAD]) -> Result<Self, Damaged> {
        let mut from = Reader(head);
        if from.u32() != RECORD_MAGIC {
            return Err(Damaged::Magic);
        }
        if from.u16() != VERSION {
            return Err(Damaged::Version);
        }
        let kind = Kind::parse(u8::try_from(from.u16()).map_err(|_| Damaged::Magic)?)?;
        let (key_len, start, data_len, tag) = (from.u32(), from.u32(), from.u32(), from.u32());
        let record = Self { kind, digest: Digest(from.array()), key_len, data_len, start, tag };
        record.possible()
    }

    /// Verifies all of the head, and the key behind it, by the checksum and the digest.
    pub(in crate::cache::disk) fn verify(
        &self,
        head: &[u8; RECORD_HEAD],
        key: &[u8],
    ) -> Result<(), Damaged> {
        let (fields, check) = head.split_at(RECORD_HEAD - 8);
        if Reader(check).u64() != check_with_key(fields, key) {
            return Err(Damaged::Check);
        }
        match Some(self.digest) == Digest::of_record(self.kind, key) {
            true => Ok(()),
            false => Err(Damaged::Key),
        }
    }

    fn possible(self) -> Result<Self, Damaged> {
        let possible = self.key_len as usize <= KEY_MAX
            && self.data_len as usize <= DATA_MAX
            && self.start < 1 << START_BITS;
        if possible { Ok(self) } else { Err(Damaged::Length) }
    }

    /// Returns the value that binds a chunk to its place: two records of one block may begin at different offsets.
    pub(in crate::cache::disk) fn place(&self, index: usize) -> u32 {
        self.start.wrapping_add(u32::try_from(index * CHUNK).unwrap_or(u32::MAX))
    }

    /// Returns the chunks that hold `wanted` (offsets in the data), relative to the record.
    pub(in crate::cache::disk) fn chunks(&self, wanted: &Range<usize>) -> Chunks {
        let first = wanted.start / CHUNK;
        let last = (wanted.end - 1) / CHUNK;
        let data_len = self.data_len as usize;
        Chunks {
            first,
            count: last - first + 1,
            data: first * CHUNK..((last + 1) * CHUNK).min(data_len),
            offset: (RECORD_HEAD + self.key_len as usize + first * (CHUNK + FRAME)) as u64,
        }
    }
}

/// Adjacent chunks of one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cache::disk) struct Chunks {
    /// Index of the first one.
    pub first: usize,
    pub count: usize,
    /// Range of their data, as offsets in the record's data.
    pub data: Range<usize>,
    /// Offset of the first one, in bytes from the record's beginning.
    pub offset: u64,
}

/// Encodes the frame behind the data of a chunk, which is at `place` (see [`Record::place`]).
pub(in crate::cache::disk) fn frame(digest: &Digest, place: u32, data: &[u8]) -> [u8; FRAME] {
    let mut out = Writer::<FRAME>::new();
    out.u32(FRAME_MAGIC).u16(VERSION).u16(0);
    out.u32(place);
    out.u32(u32::try_from(data.len()).unwrap_or(u32::MAX));
    out.bytes(&digest.0[..8]);
    let check = check_chunk(out.so_far(), digest, data);
    out.u64(check).done()
}

/// Verifies that a chunk belongs to this key, place and length.
pub(in crate::cache::disk) fn verify_chunk(
    frame: &[u8],
    digest: &Digest,
    place: u32,
    data: &[u8],
) -> Result<(), Damaged> {
    let expected = self::frame(digest, place, data);
    match frame == expected {
        true => Ok(()),
        false => Err(Damaged::Check),
    }
}

/// Encodes the head of a segment. `length`: of the file until it is sealed; 0 if that is not fixed.
pub(in crate::cache::disk) fn segment_head(
    contents: Contents,
    number: u32,
    length: u64,
) -> [u8; SEGMENT_HEAD] {
    let mut out = Writer::<SEGMENT_HEAD>::new();
    out.u64(SEGMENT_MAGIC).u16(VERSION).u16(contents as u16).u32(number).u64(length);
    let check = XxHash3_64::oneshot(out.so_far());
    out.u64(check).done()
}

/// Parses the head of the segment `number`. Returns its contents, and its length until it is sealed.
pub(in crate::cache::disk) fn parse_segment_head(
    head: &[u8; SEGMENT_HEAD],
    number: u32,
) -> Result<(Contents, u64), Damaged> {
    let mut from = Reader(head);
    if from.u64() != SEGMENT_MAGIC {
        return Err(Damaged::Magic);
    }
    if from.u16() != VERSION {
        // These bytes, and where their check is, are the same in all formats: another version is no damage.
        let (bytes, check) = head.split_at(SEGMENT_HEAD - size_of::<u64>());
        let is_whole = XxHash3_64::oneshot(bytes).to_le_bytes() == *check;
        return Err(if is_whole { Damaged::Version } else { Damaged::Check });
    }
    let contents = match from.u16() {
        1 => Contents::Blocks,
        2 => Contents::Pinned,
        3 => Contents::Objects,
        _ => return Err(Damaged::Magic),
    };
    let _ = from.u32();
    let length = from.u64();
    match *head == segment_head(contents, number, length) {
        true => Ok((contents, length)),
        false => Err(Damaged::Check),
    }
}

/// The last bytes of a sealed segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cache::disk) struct Tail {
    pub entries: u32,
    /// Offset of the first entry, which is where the records end.
    pub offset: u32,
    check: u64,
}

impl Tail {
    pub(in crate::cache::disk) fn parse(tail: &[u8; TAIL], segment: u64) -> Result<Self, Damaged> {
        let mut from = Reader(tail);
        if from.u32() != TAIL_MAGIC {
            return Err(Damaged::Magic);
        }
        if from.u32() != u32::from(VERSION) {
            return Err(Damaged::Version);
        }
        let (entries, offset, check) = (from.u32(), from.u32(), from.u64());
        let end = u64::from(offset) + u64::from(entries) * ENTRY as u64 + TAIL as u64;
        match end == segment && from.u64() == 0 {
            true => Ok(Self { entries, offset, check }),
            false => Err(Damaged::Length),
        }
    }
}

/// Encodes the footer that seals a segment whose records, with their offsets, end at `offset`.
pub(in crate::cache::disk) fn footer(records: &[(u32, Record)], offset: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(records.len() * ENTRY + TAIL);
    for (at, record) in records {
        let mut entry = Writer::<ENTRY>::new();
        // A record is shorter than 2^28 bytes and its key than 2^28; the kind takes the upper bits.
        entry.u32(*at).u32(record.key_len | (record.kind as u32) << 28);
        entry.u32(record.start).u32(record.data_len).u32(record.tag).bytes(&record.digest.0);
        out.extend_from_slice(&entry.done());
    }
    let mut tail = Writer::<TAIL>::new();
    tail.u32(TAIL_MAGIC).u32(u32::from(VERSION));
    tail.u32(u32::try_from(records.len()).unwrap_or(u32::MAX)).u32(offset);
    tail.u64(XxHash3_64::oneshot_with_seed(u64::from(offset), &out)).u64(0);
    out.extend_from_slice(&tail.done());
    out
}

/// Parser of a footer's entries, piece by piece: a large segment has many.
pub(in crate::cache::disk) struct FooterReader {
    end: u32,
    expected: u64,
    check: XxHash3_64,
}

impl FooterReader {
    pub(in crate::cache::disk) fn new(tail: &Tail) -> Self {
        let check = XxHash3_64::with_seed(tail.offset.into());
        Self { end: tail.offset, expected: tail.check, check }
    }

    /// Parses the next entries, a whole number of which fill `piece`: offsets in the segment, and records. They can be
    /// trusted once [`FooterReader::finish`] succeeds.
    pub(in crate::cache::disk) fn read(
        &mut self,
        piece: &[u8],
    ) -> impl Iterator<Item = Result<(u32, Record), Damaged>> {
        self.check.write(piece);
        let end = self.end;
        piece.chunks_exact(ENTRY).map(move |entry| parse_entry(entry, end))
    }

    /// Verifies all that was read by the checksum in the tail.
    pub(in crate::cache::disk) fn finish(&self) -> Result<(), Damaged> {
        if self.check.finish() == self.expected { Ok(()) } else { Err(Damaged::Check) }
    }
}

fn parse_entry(entry: &[u8], end: u32) -> Result<(u32, Record), Damaged> {
    let mut from = Reader(entry);
    let (at, packed) = (from.u32(), from.u32());
    let kind = Kind::parse(u8::try_from(packed >> 28).map_err(|_| Damaged::Magic)?)?;
    let (start, data_len, tag) = (from.u32(), from.u32(), from.u32());
    let digest = Digest(from.array());
    let record = Record { kind, digest, key_len: packed & 0x0fff_ffff, data_len, start, tag };
    let record = record.possible()?;
    match u64::from(at) + record.len() <= u64::from(end) {
        true => Ok((at, record)),
        false => Err(Damaged::Length),
    }
}

fn check_with_key(fields: &[u8], key: &[u8]) -> u64 {
    XxHash3_64::oneshot_with_seed(XxHash3_64::oneshot(fields), key)
}

fn check_chunk(fields: &[u8], digest: &Digest, data: &[u8]) -> u64 {
    let seed = XxHash3_64::oneshot_with_seed(XxHash3_64::oneshot(fields), &digest.0);
    XxHash3_64::oneshot_with_seed(seed, data)
}

/// Encoder that appends fields to a fixed number of bytes.
struct Writer<const N: usize> {
    out: [u8; N],
    at: usize,
}

impl<const N: usize> Writer<N> {
    fn new() -> Self {
        Self { out: [0; N], at: 0 }
    }

    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.out[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
        self
    }

    fn u16(&mut self, value: u16) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    fn u32(&mut self, value: u32) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    fn u64(&mut self, value: u64) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    fn so_far(&self) -> &[u8] {
        &self.out[..self.at]
    }

    fn done(&self) -> [u8; N] {
        debug_assert_eq!(self.at, N);
        self.out
    }
}

/// Decoder that takes fields from the front; callers give it enough bytes.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> [u8; N] {
        let (front, rest) = self.0.split_first_chunk().expect("callers give enough bytes");
        self.0 = rest;
        *front
    }

    fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }
}

#[cfg(test)]
mod tests;
