//! Fuzz targets of the log, which tests run too: any bytes as a segment, and a real segment with any damage.
//!
//! Nothing may panic, read outside the file or take memory beyond its length; and data that is read from a damaged
//! segment is either what was written, or refused.

use std::io::{self, IoSlice, IoSliceMut};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::cache::disk::device::files::{File, Folder};
use crate::cache::disk::format::digest::Digest;
use crate::cache::disk::format::object_record::ObjectRecord;
use crate::cache::disk::format::record::{CHUNK, Contents, Kind, Record, segment_head};
use crate::cache::disk::log::segment::Wait;
use crate::cache::disk::log::segment_log::{Appender, Found, Log, LogKind};

const SEGMENT: u64 = 1 << 20;
const NAME: &str = "0000000001.seg";

/// Opens a log of one segment with these bytes and reads all its records; also decodes the bytes as the metadata of an
/// object.
pub fn any_bytes(bytes: &[u8]) {
    let _ = read(bytes);
    // Behind a valid head, the rest is parsed too.
    let _ = read(&[segment_head(Contents::Blocks, 1, 0).as_slice(), bytes].concat());
    let _ = ObjectRecord::decode(bytes);
}

/// Damages a segment of blocks as `edits` say, eight bytes an edit, and reads what is left.
///
/// # Panics
/// Something is read that was not written.
pub fn damaged(edits: &[u8]) {
    let (mut bytes, written) = segment();
    for edit in edits.as_chunks::<8>().0 {
        apply(&mut bytes, *edit);
    }
    for (record, data) in read(&bytes) {
        let original = written.iter().find(|(digest, _)| *digest == record.digest);
        assert!(original.is_some_and(|(_, original)| *original == data), "not written: {record:?}");
    }
}

/// Applies one edit: offset (four bytes), kind and amount (a byte each), and operand (two).
fn apply(bytes: &mut Vec<u8>, edit: [u8; 8]) {
    if bytes.is_empty() {
        return;
    }
    let [b0, b1, b2, b3, what, amount, with @ ..] = edit;
    let at = u32::from_le_bytes([b0, b1, b2, b3]) as usize % bytes.len();
    let end = (at + 1 + usize::from(amount)).min(bytes.len());
    match what % 5 {
        0 => bytes[at] ^= amount | 1,
        1 => bytes.truncate(at),
        2 => bytes[at..end].fill(with[0]),
        3 => drop(bytes.drain(at..end)),
        _ => {
            let from = usize::from(u16::from_le_bytes(with)) % bytes.len();
            let length = (end - at).min(bytes.len() - from);
            bytes.copy_within(from..from + length, at);
        }
    }
}

/// Makes a sealed segment with blocks of some lengths; returns its bytes, and the digest and data of each block.
fn segment() -> (Vec<u8>, Vec<(Digest, Vec<u8>)>) {
    let folder = MemoryFolder::default();
    let file = folder.file.clone();
    let log =
        Arc::new(Log::open(Box::new(folder), SEGMENT, LogKind::Blocks, |_| ()).expect("memory").0);
    let mut appender = Appender::new(&log, Contents::Blocks, None);
    let mut written = Vec::new();
    for (index, length) in [1, 700, CHUNK, CHUNK + 1, 3 * CHUNK - 5].into_iter().enumerate() {
        let key = [b"a key".as_slice(), &(index as u64).to_le_bytes()].concat();
        let digest = Digest::of_record(Kind::Block, &key).expect("it ends in an index");
        let data: Vec<u8> =
            (0..length).map(|n| n.to_le_bytes()[0] ^ index.to_le_bytes()[0]).collect();
        let [key_len, data_len] =
            [key.len(), length].map(|n| u32::try_from(n).expect("it is short"));
        let record = Record { kind: Kind::Block, digest, key_len, data_len, start: 0, tag: 0 };
        appender.append(&record, &key, &data).expect("memory");
        written.push((digest, data));
    }
    appender.seal().expect("memory");
    let bytes = file.bytes.lock().clone();
    (bytes, written)
}

/// Returns all records that can be read from a segment, with their data.
fn read(bytes: &[u8]) -> Vec<(Record, Vec<u8>)> {
    let folder = MemoryFolder::default();
    *folder.file.bytes.lock() = bytes.to_vec();
    *folder.there.lock() = true;
    let mut found = Vec::new();
    let log = Log::open(Box::new(folder), SEGMENT, LogKind::Blocks, |what| {
        if let Found::Record { offset, record, .. } = what {
            found.push((offset, *record));
        }
    });
    let (log, _) = log.expect("a log opens, whatever is in it");
    let Some(segment) = log.segment(1) else { return Vec::new() };
    let mut whole = Vec::new();
    for (offset, record) in found {
        let length = record.data_len as usize;
        if length == 0 {
            continue;
        }
        // Read alone, each chunk is valid or not, and agrees with the read of all.
        let all = segment.data(offset, &record, &(0..length), Wait::Yes);
        let last = segment.data(offset, &record, &(length - 1..length), Wait::Yes);
        if let (Ok(Some((all, _))), Ok(Some((last, from)))) = (&all, &last) {
            assert_eq!(all[*from..], last[..]);
        }
        if let Ok(Some((data, _))) = all {
            let _ = ObjectRecord::decode(&data);
            whole.push((record, data.to_vec()));
        }
        let _ = segment.record_at(offset.into());
    }
    whole
}

/// A folder of one file, in memory.
#[derive(Debug, Default)]
struct MemoryFolder {
    file: Arc<MemoryFile>,
    there: Mutex<bool>,
}

#[derive(Debug, Default)]
struct MemoryFile {
    bytes: Mutex<Vec<u8>>,
}

impl Folder for MemoryFolder {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.there.lock().then(|| NAME.to_owned()).into_iter().collect())
    }

    fn create(&self, name: &str, _: u64) -> io::Result<Arc<dyn File>> {
        assert_eq!(name, NAME, "one segment is enough");
        *self.there.lock() = true;
        Ok(self.file.clone())
    }

    fn open(&self, _: &str) -> io::Result<Arc<dyn File>> {
        Ok(self.file.clone())
    }

    fn length(&self, _: &str) -> io::Result<u64> {
        self.file.len()
    }

    fn remove(&self, _: &str) -> io::Result<()> {
        *self.there.lock() = false;
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

impl File for MemoryFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes.lock().len() as u64)
    }

    fn read(&self, parts: &mut [IoSliceMut<'_>], offset: u64) -> io::Result<()> {
        let bytes = self.bytes.lock();
        let mut rest = usize::try_from(offset).ok().and_then(|at| bytes.get(at..)).unwrap_or(&[]);
        for part in parts {
            let (ours, others) =
                rest.split_at_checked(part.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
            part.copy_from_slice(ours);
            rest = others;
        }
        Ok(())
    }

    fn fetch_cached(&self, offset: u64, length: usize) -> io::Result<Option<Bytes>> {
        self.fetch(offset, length).map(Some)
    }

    fn write(&self, parts: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        let mut bytes = self.bytes.lock();
        let mut at = usize::try_from(offset).expect("a segment is short");
        for part in parts {
            let end = at + part.len();
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            bytes[at..end].copy_from_slice(part);
            at = end;
        }
        Ok(())
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.bytes.lock().truncate(usize::try_from(length).expect("a segment is short"));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng as _, RngCore as _, SeedableRng as _};

    use super::*;

    #[test]
    fn an_undamaged_segment_is_read_whole() {
        let (bytes, written) = segment();
        let data: Vec<_> = read(&bytes).into_iter().map(|(r, data)| (r.digest, data)).collect();
        assert_eq!(data, written);
    }

    #[test]
    fn damage_of_every_kind_is_refused_or_harmless() {
        for seed in 0..300 {
            let mut random = StdRng::seed_from_u64(seed);
            let mut edits = vec![0; 8 * random.gen_range(1..4)];
            random.fill_bytes(&mut edits);
            damaged(&edits);
        }
    }

    #[test]
    fn any_bytes_can_be_opened() {
        for seed in 0..500 {
            let mut random = StdRng::seed_from_u64(seed);
            let mut bytes = vec![0; random.gen_range(0..4096)];
            random.fill_bytes(&mut bytes);
            any_bytes(&bytes);
        }
    }
}
