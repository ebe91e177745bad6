//! Tests of the memory tier: its window, and its behaviour while shrunk. They are in a file of their own, since a bench
//! compiles the tier's file by itself.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use http::HeaderValue;
use parking_lot::Mutex;

use crate::cache::key::{BlockKey, ObjectVersion};
use crate::cache::memory::block::{Block, ENTRY_COST};
use crate::cache::memory::tier::MemoryTier;
use crate::cache::memory::window::Window;
use crate::s3::{BucketName, ETag, ObjectId, ObjectKey, ObjectMeta, Parts, Realm};

const BLOCK: u64 = 64 << 10;
const FULL: u64 = 32 * (BLOCK + ENTRY_COST as u64);

fn version() -> ObjectVersion {
    let bucket = BucketName::new("bucket").unwrap();
    let realm = Realm::new("http://origin", "default");
    let id = ObjectId::new(&realm, bucket, ObjectKey::new("key").unwrap());
    let meta = ObjectMeta {
        etag: ETag::new(HeaderValue::from_static("\"1\"")),
        version_id: None,
        size: 1000 * BLOCK,
        last_modified: SystemTime::UNIX_EPOCH,
        headers: Vec::new(),
        checksums: None,
        parts: Parts::default(),
        no_store: false,
    };
    ObjectVersion::new(&id, &meta, BLOCK, 0)
}

/// Returns a tier with blocks 0..20, the first ten of which were read, and the list of evicted blocks.
fn tier() -> (MemoryTier, ObjectVersion, Arc<Mutex<Vec<u64>>>) {
    let left = Arc::new(Mutex::new(Vec::new()));
    let to = left.clone();
    let evicted = move |key: &BlockKey, _: &Block| to.lock().push(key.start() / BLOCK);
    let (tier, version) = (MemoryTier::new(FULL, evicted), version());
    for index in 0..20 {
        admit(&tier, &version, index);
    }
    for index in 0..10 {
        assert!(tier.get(&version.block(index)).is_some());
    }
    tier.settle();
    (tier, version, left)
}

fn admit(tier: &MemoryTier, version: &ObjectVersion, index: u64) {
    let key = version.block(index);
    let bytes = Bytes::from(vec![0; 64 << 10]);
    tier.admit(key.clone(), Block::new(key.start(), bytes));
}

#[test]
fn a_tier_that_shrinks_evicts_what_was_not_read_first_and_offers_it_to_the_disk() {
    let (tier, version, left) = tier();
    tier.set_capacity(FULL / 2);
    assert!(tier.usage().0 <= FULL / 2, "{:?}", tier.usage());
    assert!((0..10).all(|index| tier.has(&version.block(index))));
    // A copy, since evictions below write to the original.
    let left = left.lock().clone();
    assert!(!left.is_empty() && left.iter().all(|index| *index >= 10), "{left:?}");
    assert_eq!(left.len() as u64 + tier.usage().1, 20);
    tier.set_capacity(0);
    assert_eq!(tier.usage(), (0, 0));
}

#[test]
fn a_shrunk_tier_stays_within_its_capacity_and_grows_again() {
    let (tier, version, left) = tier();
    tier.set_capacity(FULL / 4);
    for index in 100..120 {
        admit(&tier, &version, index);
    }
    tier.settle();
    assert!(tier.usage().0 <= FULL / 4, "{:?}", tier.usage());
    assert!(tier.has(&version.block(119)), "it is in the window");
    assert!(left.lock().contains(&118), "it goes to the disk");
    tier.set_capacity(2 * FULL);
    assert_eq!(tier.capacity(), (FULL, FULL));
    admit(&tier, &version, 200);
    assert!(tier.has(&version.block(200)));
}

#[test]
fn a_newcomer_is_there_until_as_many_younger_ones_came_as_the_window_has_room_for() {
    let (tier, version, left) = tier();
    for _ in 0..8 {
        for index in 0..32 {
            if tier.get(&version.block(index)).is_none() {
                admit(&tier, &version, index);
            }
        }
        tier.settle();
    }
    for index in 100..200 {
        admit(&tier, &version, index);
        tier.settle();
        let window = FULL / 6 / (BLOCK + ENTRY_COST as u64);
        for young in (index + 1 - window).max(100)..=index {
            assert!(tier.has(&version.block(young)), "{young} of {index}");
        }
        assert!(tier.usage().0 <= FULL, "{:?}", tier.usage());
    }
    // Frequently read blocks stay, and all evicted ones were offered to the disk.
    assert!((0..32).filter(|index| tier.has(&version.block(*index))).count() > 20);
    assert!(left.lock().contains(&150));
}

#[test]
fn what_is_removed_on_its_way_from_the_window_to_the_policy_does_not_come_back() {
    let (window, version) = (Window::new(2 * BLOCK), version());
    let block = |index| Block::new(index * BLOCK, Bytes::from(vec![0; 64 << 10]));
    assert!(window.push(version.block(0), block(0)).is_empty());
    let leaving = window.push(version.block(1), block(1));
    assert_eq!(leaving.len(), 1);
    assert!(window.get(&version.block(0)).is_some(), "it can be read meanwhile");
    window.remove(&version.block(0));
    assert!(!window.left(&leaving[0]));
    // Nor does an older block replace one that was added under its key meanwhile.
    let leaving = window.push(version.block(2), block(2));
    window.push(version.block(1), block(1));
    assert!(!window.left(&leaving[0]));
    assert!(window.get(&version.block(1)).is_some());
}

/// Adds bytes to a block, or removes it, while it moves from the window to the policy.
#[test]
fn what_happens_to_a_block_on_its_way_from_the_window_to_the_policy_holds() {
    let (tier, version, _) = tier();
    let half =
        |key: &BlockKey, from: u64| Block::new(key.start() + from, Bytes::from(vec![0; 32 << 10]));
    let (joined, removed) = (version.block(100), version.block(101));
    for key in [&joined, &removed] {
        tier.admit(key.clone(), half(key, 0));
    }
    for leaving in tier.window().set_limit(0) {
        if leaving.key == removed {
            tier.remove(&removed);
        }
        tier.move_around(&leaving, || match &leaving.key {
            key if *key == joined => drop(tier.admit(key.clone(), half(key, BLOCK / 2))),
            _ => {}
        });
    }
    let block = tier.find(&joined).expect("nothing was evicted");
    assert!(block.covers(&(joined.start()..joined.end())), "{:?}", block.spans().next());
    assert!(!tier.has(&removed));
}
