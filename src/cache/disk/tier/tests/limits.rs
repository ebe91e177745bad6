//! Limits of the tier: its capacity, a rule's share, and pinned blocks, which stay.

use rand::Rng;
use rustix::io::Errno;

use super::*;

const CAPACITY: u64 = 4 * MIB;
const SEGMENT: u64 = 256 * 1024;

fn rules() -> [RuleConfig; 2] {
    let rule = |pattern: &str| RuleConfig { pattern: pattern.to_owned(), ..RuleConfig::default() };
    let pinned = RuleConfig { pinned: true, ..rule("pin/**") };
    [pinned, RuleConfig { disk_share: Some(Share::percent(20)), ..rule("few/**") }]
}

fn keys(bucket: &str, from: u64, upto: u64) -> Vec<BlockKey> {
    (from..upto).map(|n| block_key(&id(bucket, n), 1, 0)).collect()
}

async fn there(tier: &DiskTier, keys: &[BlockKey]) -> usize {
    let mut there = 0;
    for key in keys {
        there += usize::from(read(tier, key, 0).await);
    }
    there
}

#[tokio::test]
async fn the_files_never_take_more_than_the_capacity() {
    let mut random = StdRng::seed_from_u64(5);
    let mut device = Device::new();
    let mut written = 0;
    for _ in 0..4 {
        let tier = open_small(&device, &rules(), CAPACITY, SEGMENT);
        for n in 0..100 {
            let bucket = ["one", "few", "pin"][random.gen_range(0..3)];
            let id = id(bucket, random.gen_range(0..200));
            let key = block_key(&id, random.gen_range(0..3), 0);
            let skip = random.gen_range(0..key.len());
            tier.keep(&key, &block(&key, skip)).await;
            tier.remember(&id, &meta(&id, 1), SystemTime::now(), || true);
            written += key.len() - skip;
            assert!(device.size() <= CAPACITY, "{}", device.size());
            assert!(tier.usage().device_bytes <= CAPACITY, "{:?}", tier.usage());
            read(&tier, &key, skip).await;
            if n % 20 == 0 {
                tier.finish().await;
                // A block that the power cut damaged looks as if it were on disk, until it is read.
                if !read(&tier, &key, skip).await {
                    tier.keep(&key, &block(&key, skip)).await;
                    tier.finish().await;
                    assert!(read(&tier, &key, skip).await, "it was just written");
                }
            }
        }
        device = if random.r#gen() { device.kill() } else { device.power_cut(random.r#gen()) };
    }
    assert!(written > 4 * CAPACITY, "{written}");
}

#[tokio::test]
async fn a_smaller_capacity_is_kept_without_a_write_and_other_segment_sizes_are_read() {
    let device = Device::new();
    let keys = keys("one", 0, 40);
    let tier = open_small(&device, &[], 2 * CAPACITY, SEGMENT);
    write(&tier, &keys).await;
    assert_eq!(there(&tier, &keys).await, 40);
    drop(tier);
    let tier = open_small(&device, &[], 2 * CAPACITY, 3 * SEGMENT);
    tier.finish().await;
    assert!(there(&tier, &keys).await >= 35);
    drop(tier);
    let tier = open_small(&device, &[], CAPACITY / 2, SEGMENT);
    tier.finish().await;
    assert!(device.size() <= CAPACITY / 2, "{}", device.size());
    assert!(read(&tier, &keys[39], 0).await, "the newest ones stay");
}

#[tokio::test]
async fn what_is_pinned_stays_when_others_come() {
    let device = Device::new();
    let pinned = keys("pin", 0, 10);
    write(&open_small(&device, &rules(), CAPACITY, SEGMENT), &pinned).await;
    let tier = open_small(&device, &rules(), CAPACITY, SEGMENT);
    let others = keys("one", 0, 80);
    write(&tier, &others).await;
    assert_eq!(there(&tier, &pinned).await, 10);
    let others = there(&tier, &others).await;
    assert!((1..20).contains(&others), "{others}");
}

#[tokio::test]
async fn a_rule_takes_no_more_than_its_share() {
    let device = Device::new();
    let few = keys("few", 0, 40);
    let share = (CAPACITY - CAPACITY / OBJECTS_SHARE) / 100 * 20 / BLOCK;
    let share = usize::try_from(share).unwrap();
    for again in [false, true] {
        let tier = open_small(&device, &rules(), CAPACITY, SEGMENT);
        if !again {
            write(&tier, &few).await;
        }
        tier.finish().await;
        // A share that was full when the process ended is full when it starts.
        assert_eq!(there(&tier, &few).await, share, "{again}");
        assert_eq!(there(&tier, &few[40 - share..]).await, share, "the newest ones");
    }
}

#[tokio::test]
async fn r11_metadata_of_a_path_that_was_the_first_one_does_not_come_back() {
    let (one, other, id) = (Device::new(), Device::new(), id("one", 1));
    let paths = [one.clone(), other.clone()];
    let swapped = [other, one];
    let tier = open_all(&paths, &[], 128).unwrap();
    tier.remember(&id, &meta(&id, 1), SystemTime::now(), || true);
    tier.finish().await;
    assert_eq!(recall(&tier, &id).await, Some(1));
    let tier = open_all(&swapped, &[], 128).unwrap();
    assert_eq!(recall(&tier, &id).await, None);
    // No metadata of it is kept, so that this leaves no tombstone.
    assert!(tier.forget(&id).is_none());
    assert_eq!(recall(&open_all(&paths, &[], 128).unwrap(), &id).await, None);
}

#[tokio::test]
async fn r11_metadata_of_a_first_path_that_was_away_does_not_come_back() {
    let (one, other, id) = (Device::new(), Device::new(), id("one", 1));
    let tier = open_all(&[one.clone(), other.clone()], &[], 128).unwrap();
    tier.remember(&id, &meta(&id, 1), SystemTime::now(), || true);
    tier.finish().await;
    drop(tier);
    let older = one.kill();
    // The log is trusted as long as it takes part in each start, alone too.
    for paths in [vec![one.clone(), other.clone()], vec![one.clone()], vec![one, other.clone()]] {
        assert_eq!(recall(&open_all(&paths, &[], 128).unwrap(), &id).await, Some(1));
    }
    let tier = open_all(&[older.clone(), other.clone()], &[], 128).unwrap();
    assert_eq!(recall(&tier, &id).await, None, "an older copy");
    tier.remember(&id, &meta(&id, 2), SystemTime::now(), || true);
    tier.finish().await;
    let alone = open_all(std::slice::from_ref(&other), &[], 128).unwrap();
    assert!(alone.forget(&id).is_none());
    let tier = open_all(&[older, other], &[], 128).unwrap();
    assert_eq!(recall(&tier, &id).await, None, "it was away");
}

#[tokio::test]
async fn the_entries_of_a_segment_are_those_that_its_footer_lists_or_all_that_say_so() {
    let device = Device::new();
    let tier = open_small(&device, &[], CAPACITY, SEGMENT);
    let keys = keys("one", 0, 8);
    write(&tier, &keys).await;
    tier.finish().await;
    // Replaced by a record in a later segment.
    for key in &keys[..4] {
        assert!(tier.index.remove(&key.digest()).is_some());
    }
    write(&tier, &keys[..4]).await;
    tier.finish().await;
    let entries_are_right = |segments: &[Arc<crate::cache::disk::log::segment::Segment>]| {
        let mut total = 0;
        for segment in segments {
            let found = tier.index.entries_in(segment, 0);
            let mut expected = tier.index.find(|entry| entry.segment == segment.number);
            expected.sort_unstable_by_key(|(_, entry)| entry.offset);
            assert_eq!(found, expected, "{}", segment.number);
            assert!(tier.index.entries_in(segment, 1).is_empty(), "of another volume");
            total += found.len();
        }
        total
    };
    let segments = tier.volumes[0].log.segments();
    assert!(segments.len() > 1 && segments.iter().all(|segment| segment.footer().is_ok()));
    assert_eq!(entries_are_right(&segments), keys.len());
    device.blocks.fail(Op::Read, Errno::IO, usize::MAX);
    assert_eq!(entries_are_right(&segments), keys.len());
}
