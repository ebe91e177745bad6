//! Tests of the fence in many thread schedules: concurrent fills, revalidations, events, purges and reads.
//!
//! ```text
//! cargo test --features shuttle --lib cache::tests::fence
//! ```
//! The property (R5, R6): no read that began after hotset learned of version N is served an older one from the cache,
//! nor bytes of another version than its metadata says.

mod heads;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::HeaderValue;
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::sync::atomic::{AtomicU64, Ordering};
use shuttle::{Config, Runner, thread};

use crate::cache::lookup::metadata::Lookup;
use crate::cache::memory::block::Block;
use crate::cache::metadata::clock::Moment;
use crate::cache::metadata::store::LearnedBy;
use crate::cache::*;
use crate::metrics::cache::InvalidationCause;
use crate::origin::{Origin, OriginConfig};
use crate::s3::{BucketName, ETag, ObjectId, ObjectKey, ObjectMeta, Parts, Realm};

/// Default number of schedules of each kind, overridden by `HOTSET_FENCE_ORDERS`.
const ORDERS: usize = 300;

struct World {
    cache: Arc<Cache>,
    id: ObjectId,
    /// Current version at the origin.
    origin: AtomicU64,
    /// The last version that hotset learned of.
    told: AtomicU64,
}

/// Kinds of invalidations.
#[derive(Debug, Clone, Copy)]
enum Told {
    Written,
    WrittenWithoutETag,
    Described,
    Removed,
    Purged,
    PurgedPrefix,
    PurgedEverything,
}

const WAYS: [Told; 7] = [
    Told::Written,
    Told::WrittenWithoutETag,
    Told::Described,
    Told::Removed,
    Told::Purged,
    Told::PurgedPrefix,
    Told::PurgedEverything,
];

fn etag(version: u64) -> ETag {
    ETag::new(HeaderValue::from_str(&format!("\"{version}\"")).expect("digits"))
}

fn meta(version: u64) -> ObjectMeta {
    ObjectMeta {
        etag: etag(version),
        version_id: None,
        size: 8,
        last_modified: SystemTime::UNIX_EPOCH,
        headers: Vec::new(),
        checksums: None,
        parts: Parts::default(),
        no_store: false,
    }
}

impl World {
    fn new() -> Arc<Self> {
        let origin = Origin::new(OriginConfig::default(), None).expect("the default is right");
        let config = CacheConfig {
            memory: Some(crate::config::units::ByteSize::mib(8)),
            ..CacheConfig::default()
        };
        let rules = [RuleConfig::default()];
        let cache = Cache::new(&config, &rules, Arc::new(origin)).expect("there is no disk");
        let realm = cache.origin.realm_of(None);
        let id = Self::id(&realm);
        Arc::new(Self { cache, id, origin: AtomicU64::new(1), told: AtomicU64::new(0) })
    }

    fn id(realm: &Realm) -> ObjectId {
        let key = ObjectKey::new("key").expect("a key");
        ObjectId::new(realm, BucketName::new("bucket").expect("a name"), key)
    }

    /// Fills as a cold fetch does, with metadata and bytes in one response.
    fn fill(&self) {
        let generation = self.cache.objects.generations.current(&self.id);
        let since = Moment::now();
        let now = self.origin.load(Ordering::SeqCst);
        let meta = Arc::new(meta(now));
        let version = self.cache.objects.version(&self.id, &meta);
        self.cache.fetcher.admission.admit_opened(&self.id, generation, since, &meta, &version);
        // The bytes arrive after the head, and are admitted as a delivery does.
        thread::yield_now();
        if self.cache.objects.generations.is_current(&self.id, generation) {
            let block = Block::new(0, Bytes::copy_from_slice(&now.to_le_bytes()));
            self.cache.blocks.admit(&version.block(0), block);
        }
    }

    fn revalidate(&self) {
        let generation = self.cache.objects.generations.current(&self.id);
        let since = Moment::now();
        let now = self.origin.load(Ordering::SeqCst);
        let _ = self.cache.fetcher.admission.admit_head(&self.id, generation, since, Ok(meta(now)));
    }

    /// Changes the object at the origin, and invalidates it.
    fn change(&self, version: u64, told: Told) {
        self.origin.store(version, Ordering::SeqCst);
        let (cache, id) = (&self.cache, &self.id);
        let purge = |scope| drop(cache.purge(&[scope]));
        match told {
            Told::Written => {
                drop(cache.written(id, Some(&etag(version)), InvalidationCause::Event))
            }
            Told::WrittenWithoutETag => drop(cache.written(id, None, InvalidationCause::Event)),
            Told::Described => drop(cache.mark_stale(id, InvalidationCause::Event)),
            Told::Removed => drop(cache.invalidate(id, InvalidationCause::Event)),
            Told::Purged => purge(Scope::Object(id.bucket().clone(), id.key().clone())),
            Told::PurgedPrefix => purge(Scope::Prefix(id.bucket().clone(), "k".to_owned())),
            Told::PurgedEverything => purge(Scope::Everything),
        }
        self.told.fetch_max(version, Ordering::SeqCst);
    }

    /// Reads from the cache, and asserts that the version is not older than the last invalidation, and that its bytes
    /// match.
    fn read(&self) {
        let told = self.told.load(Ordering::SeqCst);
        let policy = Policy::new(&Freshness::Immutable, None, Duration::ZERO, true, false);
        let Lookup::Fresh(found) = self.cache.lookup.in_memory(&self.id, &policy, LearnedBy::Get)
        else {
            return;
        };
        let served = (told..=9).find(|version| found.meta.etag == etag(*version));
        let served =
            served.unwrap_or_else(|| panic!("{:?} was served after {told}", found.meta.etag));
        if let Some(block) = self.cache.blocks.memory.get(&found.version.block(0)) {
            assert_eq!(block.from(0).expect("all of it"), served.to_le_bytes()[..]);
        }
    }
}

fn race() {
    let world = World::new();
    world.fill();
    let mut random = shuttle::rand::thread_rng();
    let mut way = || {
        use shuttle::rand::Rng as _;
        WAYS[random.gen_range(0..WAYS.len())]
    };
    let (first, second) = (way(), way());
    let steps: [Box<dyn FnOnce(&World) + Send>; 5] = [
        Box::new(|world| {
            world.fill();
            world.read();
        }),
        Box::new(|world| {
            world.revalidate();
            world.read();
        }),
        Box::new(move |world| {
            world.change(2, first);
            world.read();
            world.change(3, second);
            world.read();
        }),
        Box::new(|world| {
            world.read();
            world.fill();
            world.read();
        }),
        Box::new(|world| {
            world.read();
            world.revalidate();
            world.read();
        }),
    ];
    let threads = steps.map(|step| {
        let world = Arc::clone(&world);
        thread::spawn(move || step(&world))
    });
    for thread in threads {
        thread.join().expect("no step panics");
    }
    world.read();
}

fn orders() -> usize {
    let orders = std::env::var("HOTSET_FENCE_ORDERS").ok().and_then(|n| n.parse().ok());
    orders.unwrap_or(ORDERS)
}

/// Runs `race` in many schedules, on stacks large enough to construct a cache.
fn check(race: fn()) {
    let mut config = Config::new();
    config.stack_size = 1 << 20;
    Runner::new(RandomScheduler::new(orders()), config.clone()).run(race);
    Runner::new(PctScheduler::new(3, orders()), config).run(race);
}

#[test]
fn r5_r6_whoever_reads_after_an_event_gets_nothing_from_before_it_in_any_order() {
    check(race);
}
