//! Flipped bits, truncated, missing, foreign and doubled segments: a miss, never wrong data.

use twox_hash::XxHash3_64;

use super::*;
use crate::cache::disk::format::record::{FRAME, RECORD_HEAD, SEGMENT_HEAD, VERSION};

const PATTERNS: [u8; 3] = [0x01, 0x80, 0xff];

/// Writes two blocks into one segment, the first of them of two chunks.
async fn two_blocks() -> (Device, [BlockKey; 2]) {
    let device = Device::new();
    let tier = device.open();
    let keys = [block_key(&id("one", 1), 1, 0), block_key(&id("one", 2), 1, 2)];
    tier.offer(&keys[0], &block(&keys[0], SKIPPED), true);
    tier.offer(&keys[1], &block(&keys[1], 0), true);
    tier.finish().await;
    (device, keys)
}

/// Bytes skipped of a block, so that a little more than a chunk is left.
const SKIPPED: u64 = BLOCK - 66_000;

/// Returns how many of three reads of the two blocks succeed, and checks their bytes.
async fn readable(device: &Device, keys: &[BlockKey; 2]) -> usize {
    let tier = device.open();
    let mut there = 0;
    for (key, from) in [(&keys[0], SKIPPED), (&keys[0], BLOCK - 9), (&keys[1], 0)] {
        there += usize::from(read(&tier, key, from).await);
    }
    there
}

/// Returns every offset outside of data, and some offsets in data.
fn offsets(length: usize) -> impl Iterator<Item = usize> {
    let data = SEGMENT_HEAD + RECORD_HEAD + 300..SEGMENT_HEAD + 65_000;
    (0..length).filter(move |at| !data.contains(at) || at % 1021 == 0)
}

#[tokio::test]
async fn a_flipped_bit_anywhere_in_a_segment_of_blocks_is_a_miss_or_nothing() {
    let (device, keys) = two_blocks().await;
    let name = device.blocks.names().remove(0);
    let sealed = device.blocks.content(&name);
    assert_eq!(readable(&device, &keys).await, 3);
    let mut missed = 0;
    for at in offsets(sealed.len()) {
        let mut bytes = sealed.clone();
        bytes[at] ^= PATTERNS[at % PATTERNS.len()];
        device.blocks.put(&name, &bytes);
        missed += 3 - readable(&device, &keys).await;
    }
    assert!(missed > 100, "{missed}");
}

#[tokio::test]
async fn a_segment_of_blocks_that_is_truncated_anywhere_has_what_is_whole() {
    let (device, keys) = two_blocks().await;
    let name = device.blocks.names().remove(0);
    let sealed = device.blocks.content(&name);
    for end in offsets(sealed.len()) {
        device.blocks.put(&name, &sealed[..end]);
        readable(&device, &keys).await;
    }
    // Without its footer it is scanned, and sealed.
    let footer = 2 * 36 + 32;
    device.blocks.put(&name, &sealed[..sealed.len() - footer]);
    assert_eq!(readable(&device, &keys).await, 3);
    assert_eq!(device.blocks.content(&name), sealed);
}

#[tokio::test]
async fn segments_of_another_version_number_or_program_are_dropped() {
    let (device, keys) = two_blocks().await;
    let name = device.blocks.names().remove(0);
    let sealed = device.blocks.content(&name);
    let mut newer = sealed.clone();
    newer[8..10].copy_from_slice(&(VERSION + 1).to_le_bytes());
    let check = XxHash3_64::oneshot(&newer[..SEGMENT_HEAD - 8]);
    newer[SEGMENT_HEAD - 8..SEGMENT_HEAD].copy_from_slice(&check.to_le_bytes());
    for foreign in [&newer[..], b"", b"a note", &vec![0; sealed.len()], &[b'x'; 99]] {
        device.blocks.put(&name, foreign);
        assert_eq!(readable(&device, &keys).await, 0);
        assert_eq!(device.blocks.names(), Vec::<String>::new());
    }
    // A segment under another number, alone and beside the original.
    device.blocks.put("0000000007.seg", &sealed);
    assert_eq!(readable(&device, &keys).await, 0);
    device.blocks.put(&name, &sealed);
    device.blocks.put("0000000007.seg", &sealed);
    device.blocks.put("lost+found", b"not ours");
    assert_eq!(readable(&device, &keys).await, 3);
    assert_eq!(device.blocks.names(), [name.as_str(), "lost+found"]);
    // Metadata in the folder of blocks is of no use and takes space.
    let objects = log_of_objects().await;
    device.blocks.put("0000000003.seg", &objects.content("0000000003.seg"));
    assert_eq!(readable(&device, &keys).await, 3);
    assert_eq!(device.blocks.names(), [name.as_str(), "lost+found"]);
}

#[tokio::test]
async fn each_missing_segment_of_blocks_costs_its_own_blocks_only() {
    let device = Device::new();
    let mut keys = Vec::new();
    for n in 0..4 {
        let key = block_key(&id("one", n), 1, 0);
        write(&device.open(), std::slice::from_ref(&key)).await;
        keys.push(key);
    }
    let names = device.blocks.names();
    assert_eq!(names.len(), 4);
    for (gone, name) in names.iter().enumerate() {
        let device = device.kill();
        device.blocks.take(name);
        let tier = device.open();
        for (n, key) in keys.iter().enumerate() {
            assert_eq!(read(&tier, key, 0).await, n != gone, "{n} {gone}");
        }
    }
}

#[tokio::test]
async fn a_block_cut_another_way_is_another_block() {
    let (device, keys) = two_blocks().await;
    let tier = device.open();
    let id = keys[1].id();
    let other = ObjectVersion::new(id, &meta(id, 1), 2 * BLOCK, 0);
    for index in 0..2 {
        assert!(!read(&tier, &other.block(index), 0).await);
    }
}

/// A chunk of a block must not be taken for another one of it: the two records begin at different offsets of the block.
#[tokio::test]
async fn r1_a_stale_chunk_of_the_same_block_from_another_offset_is_refused() {
    let (whole, part) = (Device::new(), Device::new());
    let key = block_key(&id("one", 1), 1, 0);
    for (device, skip) in [(&whole, 0), (&part, SKIPPED)] {
        let tier = device.open();
        tier.offer(&key, &block(&key, skip), true);
        tier.finish().await;
    }
    let name = whole.blocks.names().remove(0);
    let (mut bytes, stale) = (part.blocks.content(&name), whole.blocks.content(&name));
    let data = SEGMENT_HEAD + RECORD_HEAD + digest::block_key(&key).len();
    let chunk = data..data + CHUNK + FRAME;
    bytes[chunk.clone()].copy_from_slice(&stale[chunk]);
    part.blocks.put(&name, &bytes);
    let tier = part.open();
    assert!(tier.holds(&key).is_some());
    assert!(!read(&tier, &key, SKIPPED).await);
}

const CAPACITY: u64 = 1 << 20;
const SEGMENT: u64 = 900;

fn objects(folder: &SimFolder) -> Objects {
    believed_objects(folder, "sim", (CAPACITY, SEGMENT))
}

/// Writes metadata in a few segments; in the last of them object 0 and the bucket `two` are invalidated.
async fn log_of_objects() -> SimFolder {
    let folder = SimFolder::new();
    let log = objects(&folder);
    for n in 0..10 {
        let id = id(if n < 8 { "one" } else { "two" }, n);
        log.remember(&id, &ObjectRecord { meta: meta(&id, n + 1), learned: UNIX_EPOCH }, || true);
    }
    log.finish().await;
    let two = id("two", 8);
    for ticket in [log.forget(&id("one", 0)), log.forget_bucket(two.realm(), two.bucket())] {
        assert!(log.durable(ticket.expect("known"), FLUSH_TIMEOUT).await);
    }
    assert!(folder.names().len() >= 4);
    folder
}

/// Returns the number of objects that are known, and checks that those that were invalidated are not. Also invalidates
/// one object, and checks that it is not known after another start.
async fn known(folder: &SimFolder, what: &dyn std::fmt::Display) -> usize {
    let mut there = 0;
    for again in [false, true] {
        let log = objects(folder);
        for n in 0..10 {
            let id = id(if n < 8 { "one" } else { "two" }, n);
            let Some(found) = log.recall(&id).await else { continue };
            assert!(n != 0 && n < 8, "{what}: {n} came back");
            assert_eq!(version_of(&id, &found.object.meta), n + 1);
            assert!(!(again && n == 5), "{what}: {n} was invalidated");
            there += usize::from(!again);
        }
        if let Some(ticket) = log.forget(&id("one", 5)) {
            assert!(log.durable(ticket, FLUSH_TIMEOUT).await);
        }
    }
    there
}

#[tokio::test]
async fn r11_metadata_that_is_not_damaged_is_all_there() {
    assert_eq!(known(&log_of_objects().await, &"intact").await, 7);
}

#[tokio::test]
async fn r11_a_flipped_bit_anywhere_brings_nothing_back() {
    let log = log_of_objects().await;
    let mut sum = 0;
    for name in log.names() {
        let content = log.content(&name);
        for at in 0..content.len() {
            let folder = log.kill();
            let mut bytes = content.clone();
            bytes[at] ^= PATTERNS[at % PATTERNS.len()];
            folder.put(&name, &bytes);
            sum += known(&folder, &format_args!("{name} at {at}")).await;
        }
    }
    assert!(sum > 1000, "what is behind the damage stays: {sum}");
}

#[tokio::test]
async fn r11_a_lost_end_brings_nothing_back() {
    let log = log_of_objects().await;
    for name in log.names() {
        let content = log.content(&name);
        for end in 0..content.len() {
            let folder = log.kill();
            folder.put(&name, &content[..end]);
            known(&folder, &format_args!("{name} ends at {end}")).await;
        }
    }
}

#[tokio::test]
async fn r11_missing_and_mistaken_segments_bring_nothing_back() {
    let log = log_of_objects().await;
    let names = log.names();
    for set in 0_u32..1 << names.len() {
        let folder = log.kill();
        for (bit, name) in names.iter().enumerate() {
            if set & 1 << bit != 0 {
                folder.take(name);
            }
        }
        known(&folder, &format_args!("without {set:b}")).await;
    }
    for (one, other) in names.iter().flat_map(|one| names.iter().map(move |other| (one, other))) {
        if one != other {
            let folder = log.kill();
            folder.put(other, &log.content(one));
            known(&folder, &format_args!("{one} as {other}")).await;
        }
    }
    let folder = log.kill();
    folder.put("0000000005.seg", &log.content("0000000002.seg"));
    known(&folder, &"one twice").await;
}
