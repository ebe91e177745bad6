use super::*;
use crate::cache::disk::format::digest::Digest;

fn record(key: &[u8], data_len: usize) -> Record {
    Record {
        kind: Kind::Object,
        digest: Digest::of(key),
        key_len: u32::try_from(key.len()).unwrap(),
        data_len: u32::try_from(data_len).unwrap(),
        start: 0,
        tag: 7,
    }
}

#[test]
fn every_flipped_bit_of_a_head_or_its_key_is_seen() {
    let key = b"realm bucket key".to_vec();
    let record = record(&key, 5);
    let head = record.head(&key);
    let believed = |head: &[u8; RECORD_HEAD], key: &[u8]| {
        Record::parse(head).and_then(|r| r.verify(head, key)).is_ok()
    };
    assert!(believed(&head, &key));
    for bit in 0..(RECORD_HEAD + key.len()) * 8 {
        let (mut head, mut key) = (head, key.clone());
        match (bit / 8).checked_sub(RECORD_HEAD) {
            None => head[bit / 8] ^= 1 << (bit % 8),
            Some(at) => key[at] ^= 1 << (bit % 8),
        }
        assert!(!believed(&head, &key), "bit {bit}");
    }
}

#[test]
fn every_flipped_bit_of_a_chunk_or_its_frame_is_seen() {
    let data: Vec<u8> = (0..700_u32).map(|n| u8::try_from(n % 251).unwrap()).collect();
    let digest = Digest::of(b"key");
    let good = frame(&digest, 3, &data);
    assert_eq!(verify_chunk(&good, &digest, 3, &data), Ok(()));
    for bit in 0..(data.len() + FRAME) * 8 {
        let (mut data, mut frame) = (data.clone(), good);
        match (bit / 8).checked_sub(data.len()) {
            None => data[bit / 8] ^= 1 << (bit % 8),
            Some(at) => frame[at] ^= 1 << (bit % 8),
        }
        assert!(verify_chunk(&frame, &digest, 3, &data).is_err(), "bit {bit}");
    }
}

#[test]
fn a_chunk_of_another_key_or_another_place_is_refused() {
    let (ours, other) = (Digest::of(b"ours"), Digest::of(b"other"));
    let theirs = frame(&other, 0, b"data");
    assert!(verify_chunk(&theirs, &ours, 0, b"data").is_err());
    let elsewhere = frame(&ours, 1, b"data");
    assert!(verify_chunk(&elsewhere, &ours, 0, b"data").is_err());
    let longer = frame(&ours, 0, b"data and more");
    assert!(verify_chunk(&longer, &ours, 0, b"data").is_err());
}

#[test]
fn every_flipped_bit_of_a_footer_is_seen() {
    let records = [(32, record(b"a", 10)), (200, record(b"bb", 70_000))];
    let end = 200 + u32::try_from(records[1].1.len()).unwrap();
    let good = footer(&records, end);
    let size = u64::from(end) + good.len() as u64;
    let read = |bytes: &[u8]| {
        let (entries, tail) = bytes.split_last_chunk::<TAIL>().unwrap();
        let tail = Tail::parse(tail, size)?;
        let mut reader = FooterReader::new(&tail);
        let (front, back) = entries.split_at(ENTRY);
        let read: Vec<_> = reader.read(front).collect::<Result<_, _>>()?;
        let more: Vec<_> = reader.read(back).collect::<Result<_, _>>()?;
        reader.finish().map(|()| [read, more].concat())
    };
    assert_eq!(read(&good).unwrap(), records);
    for bit in 0..good.len() * 8 {
        let mut bytes = good.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(read(&bytes).is_err(), "bit {bit}");
    }
}

#[test]
fn a_segment_is_of_its_number_and_of_this_version() {
    let head = segment_head(Contents::Blocks, 7, 0);
    assert_eq!(parse_segment_head(&head, 7), Ok((Contents::Blocks, 0)));
    assert_eq!(parse_segment_head(&head, 8), Err(Damaged::Check));
    let mut newer = head;
    newer[8] += 1;
    assert_eq!(parse_segment_head(&newer, 7), Err(Damaged::Check));
    let check = XxHash3_64::oneshot(&newer[..SEGMENT_HEAD - 8]).to_le_bytes();
    newer[SEGMENT_HEAD - 8..].copy_from_slice(&check);
    assert_eq!(parse_segment_head(&newer, 7), Err(Damaged::Version));
    for bit in 0..SEGMENT_HEAD * 8 {
        let mut bytes = head;
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(parse_segment_head(&bytes, 7).is_err(), "bit {bit}");
    }
}

#[test]
fn the_chunks_of_a_small_range_are_those_that_hold_it() {
    let record = record(b"key", 3 * CHUNK + 5);
    let chunks = record.chunks(&(CHUNK - 1..CHUNK + 1));
    assert_eq!((chunks.first, chunks.count, chunks.data), (0, 2, 0..2 * CHUNK));
    let last = record.chunks(&(3 * CHUNK + 1..3 * CHUNK + 2));
    assert_eq!((last.first, last.count, last.data.clone()), (3, 1, 3 * CHUNK..3 * CHUNK + 5));
    assert_eq!(last.offset, (RECORD_HEAD + 3 + 3 * (CHUNK + FRAME)) as u64);
}
