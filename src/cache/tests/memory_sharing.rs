//! Blocks and metadata share one budget: with small objects and with large ones nearly all of it is used, and never more.

use std::sync::Arc;

use bytes::Bytes;

use crate::cache::memory::block::Block;
use crate::cache::metadata::clock::Moment;
use crate::cache::metadata::store::{Entry, Known};
use crate::cache::{Cache, CacheConfig, RuleConfig};
use crate::config::units::ByteSize;
use crate::origin::{Origin, OriginConfig};
use crate::s3::{BucketName, ObjectId, ObjectKey, testing};

const MEMORY: u64 = 16 << 20;
const SMALL: u64 = 2 << 10;
const LARGE: u64 = 256 << 10;

fn cache() -> Arc<Cache> {
    let origin = Arc::new(Origin::new(OriginConfig::default(), None).unwrap());
    let config = CacheConfig { memory: Some(ByteSize(MEMORY)), ..CacheConfig::default() };
    Cache::new(&config, &[RuleConfig::default()], origin).unwrap()
}

fn id(cache: &Cache, size: u64, n: u64) -> ObjectId {
    let realm = cache.origin.realm_of(None);
    let key = ObjectKey::new(&format!("{size}/{n}")).unwrap();
    ObjectId::new(&realm, BucketName::new("bucket").unwrap(), key)
}

/// Reads an object of one block; returns whether it was a hit.
fn read(cache: &Cache, size: u64, n: u64) -> bool {
    let id = id(cache, size, n);
    let known = cache.objects.meta.get(&id);
    if let Some(Known::Object { version, .. }) = known.as_deref().map(|entry| &entry.known)
        && cache.blocks.memory.get(&version.block(0)).is_some()
    {
        return true;
    }
    let meta = Arc::new(testing::meta("\"e\"", size));
    let version = cache.objects.version(&id, &meta);
    let key = version.block(0);
    let generation = cache.objects.generations.current(&id);
    cache
        .objects
        .meta
        .insert(&id, Entry::new(Known::Object { meta, version }, Moment::now(), generation));
    let bytes = vec![0; usize::try_from(size).unwrap()];
    cache.blocks.admit(&key, Block::new(0, Bytes::from(bytes)));
    false
}

/// Reads `objects` objects twice; returns the number of hits among the second reads.
fn hits(cache: &Cache, size: u64, objects: u64) -> usize {
    for n in 0..objects {
        read(cache, size, n);
    }
    let hits = (0..objects).filter(|n| read(cache, size, *n)).count();
    cache.objects.meta.settle();
    cache.blocks.memory.settle();
    hits
}

fn used(cache: &Cache) -> u64 {
    let usage = cache.usage();
    usage.block_bytes + usage.metadata_bytes
}

#[tokio::test]
async fn small_objects_fill_nearly_all_of_memory_with_their_blocks_and_their_metadata() {
    let cache = cache();
    // Twice as many as fit with an eighth of memory for metadata.
    let objects = MEMORY / (SMALL + 1800);
    let hits = hits(&cache, SMALL, objects);
    assert!(hits as u64 >= objects * 95 / 100, "{hits} of {objects}: {:?}", cache.usage());
    assert!(used(&cache) <= MEMORY, "{:?}", cache.usage());
    // The rest is reserved for metadata larger than in this test.
    assert!(used(&cache) >= MEMORY * 80 / 100, "{:?}", cache.usage());
}

#[tokio::test]
async fn large_objects_after_small_ones_get_what_metadata_needs_no_more() {
    let cache = cache();
    hits(&cache, SMALL, MEMORY / SMALL);
    assert!(used(&cache) <= MEMORY, "{:?}", cache.usage());
    let metadata = cache.usage().metadata_bytes;
    // Until the policy has forgotten how often those were read.
    let rounds = (0..2000).take_while(|_| hits(&cache, LARGE, 40) < 36).count();
    assert!(rounds < 2000, "{:?}", cache.usage());
    assert!(used(&cache) <= MEMORY, "{:?}", cache.usage());
    assert!(used(&cache) >= MEMORY * 85 / 100, "{:?}", cache.usage());
    assert!(cache.usage().metadata_bytes < metadata / 2, "{:?}", cache.usage());
}
