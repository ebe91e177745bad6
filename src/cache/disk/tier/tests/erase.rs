//! Erasing: no file holds anything of what was purged, whatever happens meanwhile, and the rest is there (R28).

use rustix::io::Errno;

use super::*;
use crate::cache::invalidate::scope::{Covered, Scope};

const CAPACITY: u64 = 16 * MIB;
/// Bytes of a segment: a few blocks each.
const SEGMENT: u64 = 512 * 1024;
/// Number of objects of each kind in each bucket.
const COUNT: u64 = 6;
/// Buckets in which some objects are purged and some are not.
const MIXED: [&str; 2] = ["one", "pin"];
/// Text in the keys, the metadata and the bytes of what is purged, and in nothing else.
const SECRET: &str = "secret";

/// A device with blocks and metadata of purged objects among those of others, in sealed segments and in open ones.
struct World {
    device: Device,
    purge_epochs: Arc<PurgeEpochs>,
    tier: DiskTier,
}

fn rules() -> [RuleConfig; 1] {
    [RuleConfig { pattern: "pin/**".to_owned(), pinned: true, ..RuleConfig::default() }]
}

/// Returns an object that is to be purged.
fn purged(bucket: &str, number: u64) -> ObjectId {
    let key = ObjectKey::new(&format!("{SECRET}-{number}")).expect("a key");
    let id = id(bucket, 0);
    ObjectId::new(id.realm(), id.bucket().clone(), key)
}

fn all_purged() -> Vec<ObjectId> {
    let buckets = MIXED.into_iter().chain(["gone"]);
    buckets.flat_map(|bucket| (0..COUNT).map(move |n| purged(bucket, n))).collect()
}

fn all_others() -> Vec<ObjectId> {
    MIXED.into_iter().flat_map(|bucket| (0..COUNT).map(move |n| id(bucket, n))).collect()
}

fn scopes() -> Vec<Scope> {
    let bucket = |name: &str| BucketName::new(name).expect("a name");
    let objects = (0..COUNT).map(|n| Scope::Object(bucket("one"), purged("one", n).key().clone()));
    let prefix = Scope::Prefix(bucket("pin"), SECRET.to_owned());
    objects.chain([prefix, Scope::Bucket(bucket("gone"))]).collect()
}

/// Returns a block of an object that is to be purged.
fn secret(key: &BlockKey) -> Block {
    let length = usize::try_from(key.len()).expect("small");
    let bytes = SECRET.repeat(length.div_ceil(SECRET.len()));
    Block::new(key.start(), Bytes::from(bytes).slice(..length))
}

impl World {
    async fn new() -> Self {
        let (device, purge_epochs) = (Device::new(), Arc::new(PurgeEpochs::new()));
        let tier = open_small_purged(&device, &rules(), (CAPACITY, SEGMENT), &purge_epochs);
        let world = Self { device, purge_epochs, tier };
        for n in 0..COUNT {
            for bucket in MIXED {
                let id = id(bucket, n);
                let key = block_key(&id, 1, 0);
                world.put(&id, block(&key, 0)).await;
            }
            for bucket in MIXED.into_iter().chain(["gone"]) {
                let id = purged(bucket, n);
                let secret = secret(&block_key(&id, 1, 0));
                world.put(&id, secret).await;
                // A purge of an object does not name its variants.
                world.tier.remember(&id.paid(), &meta(&id, 1), SystemTime::now(), || true);
            }
            if n == COUNT - 2 {
                world.tier.finish().await;
            }
        }
        while world.tier.usage().queued_bytes > 0 {
            tokio::task::yield_now().await;
        }
        world
    }

    async fn put(&self, id: &ObjectId, block: Block) {
        self.tier.keep(&block_key(id, 1, 0), &block).await;
        self.tier.remember(id, &meta(id, 1), SystemTime::now(), || true);
    }

    /// Purges the objects, as the cache does before it erases.
    async fn purge(&self) {
        for scope in scopes() {
            self.purge_epochs.raise(&scope);
        }
        for id in all_purged() {
            if let Some(ticket) = self.tier.forget(&id) {
                assert!(self.tier.durable(ticket, FLUSH_TIMEOUT).await);
            }
        }
    }

    async fn erase(&self) -> Result<ErasedFiles, NotErased> {
        self.tier.erase(&Arc::new(Covered::by(&scopes()))).await
    }

    /// Returns the same world on what is left of the device.
    fn on(&self, device: Device) -> Self {
        let purge_epochs = self.purge_epochs.clone();
        let tier = open_small_purged(&device, &rules(), (CAPACITY, SEGMENT), &purge_epochs);
        Self { device, purge_epochs, tier }
    }

    /// Returns how many blocks of the other objects can be read, and how many of these objects are known.
    async fn others(&self) -> (usize, usize) {
        let (mut blocks, mut known) = (0, 0);
        for id in all_others() {
            blocks += usize::from(read(&self.tier, &block_key(&id, 1, 0), 0).await);
            known += usize::from(recall(&self.tier, &id).await.is_some());
        }
        (blocks, known)
    }

    async fn nothing_comes_back(&self) {
        for id in all_purged() {
            assert!(recall(&self.tier, &id).await.is_none(), "{id:?}");
            let version = ObjectVersion::new(&id, &meta(&id, 1), BLOCK, self.purge_epochs.of(&id));
            assert!(self.tier.holds(&version.block(0)).is_none(), "{id:?}");
        }
    }
}

/// Returns the files that hold bytes or keys of purged objects.
fn traces(device: &Device) -> Vec<String> {
    let mut found = Vec::new();
    for folder in [&device.blocks, &device.objects] {
        for name in folder.names() {
            let content = folder.content(&name);
            let is_there = memchr::memmem::find(&content, SECRET.as_bytes()).is_some();
            found.extend(is_there.then_some(name));
        }
    }
    found
}

/// Checks that there are no traces, whatever of the last operations the device lost.
fn assert_no_traces(device: &Device) {
    assert_eq!(traces(device), [""; 0]);
    for seed in 0..3 {
        assert_eq!(traces(&device.power_cut(seed)), [""; 0], "seed {seed}");
    }
}

#[tokio::test]
async fn r28_what_is_erased_is_in_no_file_and_the_rest_is_read_as_before() {
    let world = World::new().await;
    let all = all_others().len();
    assert_eq!(world.others().await, (all, all));
    assert!(traces(&world.device).len() > 10);
    world.purge().await;
    let erased = world.erase().await.unwrap();
    assert!(
        erased.rewritten >= 8 && erased.bytes > all_purged().len() as u64 * BLOCK,
        "{erased:?}"
    );
    assert_no_traces(&world.device);
    assert_eq!(world.others().await, (all, all));
    world.nothing_comes_back().await;
    assert!(world.device.size() <= CAPACITY);

    // A second erasure only rewrites the metadata, as always.
    let blocks = world.device.blocks.names();
    let again = world.erase().await.unwrap();
    assert_eq!((again.removed, world.device.blocks.names()), (0, blocks), "{again:?}");
    assert_eq!(world.others().await, (all, all));

    // The tier still works, with the same keys too.
    let new = purged("gone", 1);
    let version = ObjectVersion::new(&new, &meta(&new, 2), BLOCK, world.purge_epochs.of(&new));
    write(&world.tier, &[version.block(0)]).await;
    world.tier.remember(&new, &meta(&new, 2), SystemTime::now(), || true);
    world.tier.finish().await;
    for device in [world.device.kill(), world.device.power_cut(1)] {
        let world = world.on(device);
        assert_eq!(world.others().await, (all, all));
        assert!(read(&world.tier, &version.block(0), 0).await);
        assert_eq!(recall(&world.tier, &new).await, Some(2));
    }
}

#[tokio::test]
async fn r28_what_was_purged_while_it_waited_to_be_written_is_not_written() {
    let world = World::new().await;
    world.device.blocks.hang(Op::Write);
    let (late, other) = (purged("gone", 100), id("one", 900));
    let (key, other_key) = (block_key(&late, 1, 0), block_key(&other, 1, 0));
    world.tier.offer(&other_key, &block(&other_key, 0), true);
    world.tier.offer(&key, &secret(&key), true);
    world.purge().await;
    world.device.blocks.release();
    world.erase().await.unwrap();
    // A block that an old reader offers later is not written either.
    world.tier.offer(&key, &secret(&key), true);
    world.tier.finish().await;
    assert!(read(&world.tier, &other_key, 0).await);
    assert_no_traces(&world.device);
}

/// Erases damaged files, of which nobody can tell what they hold.
#[tokio::test]
async fn r28_a_segment_that_cannot_be_read_is_erased_too() {
    let world = World::new().await;
    world.tier.finish().await;
    world.purge().await;
    let names = world.device.blocks.names();
    for (n, name) in names.iter().enumerate() {
        // Its footer is damaged, or a record's key.
        let mut content = world.device.blocks.content(name);
        let at = if n % 2 == 0 { content.len() - 20 } else { 32 + 60 };
        content[at] ^= 1;
        world.device.blocks.put(name, &content);
    }
    // The tier's own files are the old ones; a new process finds these.
    let world = world.on(world.device.kill());
    world.erase().await.unwrap();
    assert_no_traces(&world.device);
    world.others().await;
}

/// Operations whose permanent failure keeps files from being removed.
const NEEDED: [Op; 3] = [Op::List, Op::Remove, Op::SyncFolder];

async fn erased_in_spite_of(op: Op, errno: Errno, times: usize) {
    let case = format!("{op:?} {errno} {times}");
    let world = World::new().await;
    world.purge().await;
    world.device.set_cached(Cached::Nothing);
    world.device.fail(op, errno, times);
    let erased = world.erase().await;
    if times == usize::MAX {
        assert_eq!(erased.is_err(), NEEDED.contains(&op), "{case}: {erased:?}");
    }
    if let Err(error) = &erased {
        assert!(error.to_string().starts_with(&world.device.path), "{case}: {error}");
    } else {
        assert_no_traces(&world.device);
    }
    world.nothing_comes_back().await;
    world.others().await;
    world.device.heal();
    assert!(world.device.size() <= CAPACITY, "{case}");
    // A repeated erasure succeeds, by this process and by the next one.
    let next = world.on(world.device.kill());
    for world in [world, next] {
        world.nothing_comes_back().await;
        world.erase().await.unwrap_or_else(|error| panic!("{case}: {error}"));
        assert_no_traces(&world.device);
        world.others().await;
    }
}

#[tokio::test]
async fn r28_a_device_that_fails_is_erased_all_the_same_or_the_next_time() {
    for op in Op::ALL {
        for (errno, times) in [(Errno::IO, 1), (Errno::IO, usize::MAX), (Errno::NOSPC, usize::MAX)]
        {
            erased_in_spite_of(op, errno, times).await;
        }
    }
}

#[tokio::test]
async fn r28_without_space_nothing_is_lost_that_needs_none() {
    let world = World::new().await;
    world.purge().await;
    let before = world.others().await.0;
    world.device.blocks.fail(Op::Create, Errno::NOSPC, usize::MAX);
    world.erase().await.unwrap();
    assert_no_traces(&world.device);
    let after = world.others().await.0;
    assert!(after < before, "they share segments with what was purged");
    world.device.heal();
    assert_eq!(world.on(world.device.kill()).others().await.0, after);
}

/// The power fails during an erasure: nothing purged comes back, and the erasure can be repeated. Other blocks may be
/// lost if their copies were not durable yet, as a start prefers copies to what was copied.
#[tokio::test]
async fn r28_a_power_cut_while_erasing_costs_a_segment_at_most() {
    let all = all_others().len();
    let least = all - usize::try_from(SEGMENT / BLOCK).expect("small");
    for op in [Op::Create, Op::Write, Op::Sync, Op::Remove, Op::SyncFolder] {
        let world = World::new().await;
        world.tier.finish().await;
        world.purge().await;
        let folders = [world.device.blocks.clone(), world.device.objects.clone()];
        let hangs = || folders.iter().any(|folder| folder.hanging() > 0);
        let (mut cuts, mut seed) = (0, 0);
        let erasing = world.erase();
        tokio::pin!(erasing);
        loop {
            for folder in &folders {
                folder.hang(op);
            }
            let hanging = async {
                while !hangs() {
                    tokio::task::yield_now().await;
                }
            };
            let done = tokio::select! {
                biased;
                erased = &mut erasing => Some(erased),
                () = hanging => None,
            };
            if let Some(erased) = done {
                folders.iter().for_each(SimFolder::release);
                erased.unwrap();
                break;
            }
            seed += 1;
            let left = world.on(world.device.power_cut(seed));
            let (blocks, _) = left.others().await;
            assert!(blocks >= least, "{op:?} seed {seed}: {blocks} of {all}");
            left.nothing_comes_back().await;
            left.erase().await.unwrap();
            assert_eq!(traces(&left.device), [""; 0]);
            assert_eq!(left.others().await.0, blocks, "{op:?} seed {seed}");
            cuts += 1;
            folders.iter().for_each(SimFolder::release);
            while hangs() {
                tokio::task::yield_now().await;
            }
        }
        assert!(cuts > 1, "{op:?}: {cuts}");
        assert_no_traces(&world.device);
        assert_eq!(world.others().await.0, all);
    }
}

/// The tombstone is in the log before the copies of the segments behind the one in progress.
#[tokio::test]
async fn r11_an_invalidation_does_not_wait_until_all_is_erased() {
    let folder = SimFolder::new();
    let objects = believed_objects(&folder, "sim", (100_000, 2_000));
    for n in 0..60 {
        let record = ObjectRecord { meta: meta(&id("one", n), 1), learned: UNIX_EPOCH };
        objects.remember(&id("one", n), &record, || true);
    }
    objects.finish().await;
    assert!(folder.names().len() > 3);
    folder.hang(Op::Remove);
    let erasing = objects.erase(Arc::new(Covered::by(&[])));
    tokio::pin!(erasing);
    let forget = async {
        while folder.hanging() == 0 {
            tokio::task::yield_now().await;
        }
        objects.forget(&id("one", 59)).expect("it is known")
    };
    let ticket = tokio::select! {
        _ = &mut erasing => panic!("it hangs"),
        ticket = forget => ticket,
    };
    folder.release();
    assert!(objects.durable(ticket, FLUSH_TIMEOUT).await);
    erasing.await.unwrap();
    let log: Vec<u8> = folder.names().iter().flat_map(|name| folder.content(name)).collect();
    let at = |n| memchr::memmem::rfind(&log, &digest::object_key(&id("one", n)));
    let (tombstone, last) = (at(59).expect("it is there"), at(58).expect("it was written again"));
    assert!(tombstone < last, "{tombstone} {last}");
    for n in 0..60 {
        assert_eq!(objects.recall(&id("one", n)).await.is_some(), n < 59, "{n}");
    }
}
