//! Encoding and decoding of an object's metadata. Nothing here does I/O.
//!
//! A record must fit into a chunk to be kept: it holds as many of an object's parts as fit into [`PARTS_ROOM`], lowest
//! numbers first. A part that is left out is requested again, which costs one request without a body.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderName, HeaderValue};

use super::record::Damaged;
use crate::s3::{ETag, ObjectMeta, Part, PartNumber, Parts};

/// Flags for the optional fields that are present.
const HAS_VERSION_ID: u8 = 1;
const HAS_CHECKSUMS: u8 = 2;
const HAS_PARTS: u8 = 4;

/// Maximum bytes of the encoded parts.
const PARTS_ROOM: usize = 32 * 1024;

/// Metadata of an object, and the time at which the origin last confirmed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cache) struct ObjectRecord {
    pub meta: ObjectMeta,
    pub learned: SystemTime,
}

impl ObjectRecord {
    pub(in crate::cache::disk) fn encode(&self) -> Vec<u8> {
        let ObjectMeta {
            etag,
            version_id,
            size,
            last_modified,
            headers,
            checksums,
            parts,
            no_store,
        } = &self.meta;
        debug_assert!(!no_store, "it is not kept");
        let mut out = Vec::with_capacity(512);
        out.extend_from_slice(&seconds(self.learned).to_le_bytes());
        out.extend_from_slice(&size.to_le_bytes());
        out.extend_from_slice(&seconds(*last_modified).to_le_bytes());
        let flags = [
            (version_id.is_some(), HAS_VERSION_ID),
            (checksums.is_some(), HAS_CHECKSUMS),
            (!parts.is_empty(), HAS_PARTS),
        ];
        out.push(flags.iter().filter(|(there, _)| *there).map(|(_, bit)| bit).sum());
        field(&mut out, etag.as_bytes());
        field(&mut out, version_id.as_ref().map_or(b"", |id| id.as_bytes()));
        list(&mut out, headers);
        list(&mut out, checksums.as_deref().unwrap_or_default());
        if !parts.is_empty() {
            encode_parts(&mut out, parts);
        }
        out
    }

    /// # Errors
    /// The bytes are not what [`ObjectRecord::encode`] writes.
    pub(in crate::cache::disk) fn decode(bytes: &[u8]) -> Result<Self, Damaged> {
        let mut from = Reader(bytes);
        let learned = time(from.u64()?)?;
        let size = from.u64()?;
        let last_modified = time(from.u64()?)?;
        let [flags] = *from.array::<1>()?;
        let etag = ETag::new(from.value()?);
        let version_id = from.value()?;
        let (headers, checksums) = (from.list()?, from.list()?);
        let parts = if flags & HAS_PARTS != 0 { from.parts(size)? } else { Parts::default() };
        if !from.0.is_empty() || !etag.is_strong_quoted() {
            return Err(Damaged::Length);
        }
        let meta = ObjectMeta {
            etag,
            version_id: (flags & HAS_VERSION_ID != 0).then_some(version_id),
            size,
            last_modified,
            headers,
            checksums: (flags & HAS_CHECKSUMS != 0).then_some(checksums),
            parts,
            no_store: false,
        };
        Ok(Self { meta, learned })
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn time(seconds: u64) -> Result<SystemTime, Damaged> {
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).ok_or(Damaged::Length)
}

fn field(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).expect("a header is short");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(bytes);
}

fn list(out: &mut Vec<u8>, headers: &[(HeaderName, HeaderValue)]) {
    let count = u32::try_from(headers.len()).expect("headers are few");
    out.extend_from_slice(&count.to_le_bytes());
    for (name, value) in headers {
        field(out, name.as_str().as_bytes());
        field(out, value.as_bytes());
    }
}

/// Encodes parts: the object's number of parts, the number that follow, and for each its number, range and checksums.
fn encode_parts(out: &mut Vec<u8>, parts: &Parts) {
    out.extend_from_slice(&parts.count.unwrap_or_default().to_le_bytes());
    let (mut kept, mut count) = (Vec::new(), 0u16);
    for part in parts.iter() {
        let before = kept.len();
        kept.extend_from_slice(&part.number.get().to_le_bytes());
        kept.extend_from_slice(&part.range.start.to_le_bytes());
        kept.extend_from_slice(&part.range.end.to_le_bytes());
        list(&mut kept, &part.checksums);
        if kept.len() > PARTS_ROOM {
            kept.truncate(before);
            break;
        }
        count += 1;
    }
    out.extend_from_slice(&count.to_le_bytes());
    out.extend_from_slice(&kept);
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self) -> Result<&'a [u8; N], Damaged> {
        let (front, rest) = self.0.split_first_chunk().ok_or(Damaged::Length)?;
        self.0 = rest;
        Ok(front)
    }

    fn u64(&mut self) -> Result<u64, Damaged> {
        Ok(u64::from_le_bytes(*self.array()?))
    }

    fn u32(&mut self) -> Result<u32, Damaged> {
        Ok(u32::from_le_bytes(*self.array()?))
    }

    fn u16(&mut self) -> Result<u16, Damaged> {
        Ok(u16::from_le_bytes(*self.array()?))
    }

    fn parts(&mut self, size: u64) -> Result<Parts, Damaged> {
        let (total, known) = (self.u16()?, self.u16()?);
        let mut parts = Parts::default();
        for _ in 0..known {
            let number = PartNumber::new(self.u16()?).ok_or(Damaged::Length)?;
            let range = self.u64()?..self.u64()?;
            if range.is_empty() || range.end > size {
                return Err(Damaged::Length);
            }
            parts.push(Part { number, range, checksums: self.list()? });
        }
        parts.count = (total > 0).then_some(total);
        Ok(parts)
    }

    fn field(&mut self) -> Result<&'a [u8], Damaged> {
        let length = self.u32()? as usize;
        let (field, rest) = self.0.split_at_checked(length).ok_or(Damaged::Length)?;
        self.0 = rest;
        Ok(field)
    }

    fn value(&mut self) -> Result<HeaderValue, Damaged> {
        HeaderValue::from_bytes(self.field()?).map_err(|_| Damaged::Length)
    }

    fn list(&mut self) -> Result<Vec<(HeaderName, HeaderValue)>, Damaged> {
        let count = self.u32()?;
        let header = |_| {
            let name = HeaderName::from_bytes(self.field()?).map_err(|_| Damaged::Length)?;
            Ok((name, self.value()?))
        };
        (0..count).map(header).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes parts with these numbers, of 5 bytes each.
    fn parts(numbers: &[u16]) -> Parts {
        let mut parts = Parts::default();
        parts.count = Some(3);
        for (at, number) in (0..).zip(numbers) {
            let checksum = HeaderValue::from_static("AAAAAA==");
            let checksums = vec![(HeaderName::from_static("x-amz-checksum-crc32"), checksum)];
            let number = PartNumber::new(*number).unwrap();
            parts.push(Part { number, range: at * 5..at * 5 + 5, checksums });
        }
        parts
    }

    fn record() -> ObjectRecord {
        let pair = |name: &'static str, value: &[u8]| {
            (HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap())
        };
        let meta = ObjectMeta {
            etag: ETag::new(HeaderValue::from_static("\"abc\"")),
            version_id: Some(HeaderValue::from_static("v1")),
            size: 1 << 40,
            last_modified: UNIX_EPOCH + Duration::from_secs(1_445_412_481),
            headers: vec![pair("etag", b"\"abc\""), pair("x-amz-meta-a", b"\xfc\xfe")],
            checksums: Some(vec![]),
            parts: parts(&[1, 3, 10_000]),
            no_store: false,
        };
        ObjectRecord { meta, learned: UNIX_EPOCH + Duration::from_secs(1_795_000_000) }
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let full = record();
        assert_eq!(ObjectRecord::decode(&full.encode()), Ok(full.clone()));
        let meta = ObjectMeta {
            version_id: None,
            checksums: None,
            headers: vec![],
            parts: Parts::default(),
            ..full.meta
        };
        let bare = ObjectRecord { meta, ..full };
        assert_eq!(ObjectRecord::decode(&bare.encode()), Ok(bare));
    }

    #[test]
    fn of_too_many_parts_the_first_are_kept_and_the_record_fits_into_a_chunk() {
        let mut full = record();
        full.meta.parts = parts(&(1..=10_000).collect::<Vec<_>>());
        let bytes = full.encode();
        assert!(bytes.len() <= crate::cache::disk::format::record::CHUNK, "{}", bytes.len());
        let read = ObjectRecord::decode(&bytes).unwrap().meta.parts;
        let numbers: Vec<u16> = read.iter().map(|part| part.number.get()).collect();
        assert!(numbers.len() > 400, "{}", numbers.len());
        assert_eq!(read, parts(&numbers));
        assert_eq!(numbers[0], 1);
    }

    #[test]
    fn bytes_that_end_early_or_late_are_refused() {
        let mut bytes = record().encode();
        for end in 0..bytes.len() {
            assert!(ObjectRecord::decode(&bytes[..end]).is_err(), "{end}");
        }
        bytes.push(0);
        assert!(ObjectRecord::decode(&bytes).is_err());
    }
}
