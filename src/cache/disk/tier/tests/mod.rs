//! Tests of the disk tier on simulated devices: it may miss, and never returns wrong data, whatever happens to them.

mod damage;
mod ends;
mod erase;
mod faults;
mod hang;
mod limits;
mod power_cut;
mod readers;
mod said;
mod unreadable;

use std::sync::atomic::Ordering;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::HeaderValue;
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};

use super::open::{OBJECTS_SHARE, open_volume};
use super::policy::AdmissionMode;
use super::purges::Purges;
use super::*;
use crate::cache::config::RuleConfig;
use crate::cache::disk::blocks::tables::Tables;
use crate::cache::disk::config::MIB;
use crate::cache::disk::device::files::BLOCKS;
use crate::cache::disk::device::files::Folder;
use crate::cache::disk::device::sim::{Cached, Op, SimFolder};
use crate::cache::disk::format::object_record::ObjectRecord;
use crate::cache::disk::log::startup_epoch::{StartupEpoch, Trust};
use crate::cache::disk::objects::store::Objects;
use crate::cache::disk::{DiskConfig, DiskLimits, ErasedFiles, NotErased, Share};
use crate::cache::invalidate::purge_epochs::PurgeEpochs;
use crate::cache::key::ObjectVersion;
use crate::config::units::ByteSize;
use crate::s3::{ETag, ObjectKey};

const BLOCK: u64 = 150_000;
/// Bytes of an object: two blocks and a short one.
const SIZE: u64 = 2 * BLOCK + 777;

/// Simulated device below one path.
#[derive(Debug, Clone)]
struct Device {
    /// Unique path, by which the log tells devices apart.
    path: String,
    blocks: SimFolder,
    objects: SimFolder,
}

impl Device {
    fn new() -> Self {
        static DEVICES: AtomicU64 = AtomicU64::new(0);
        let path = format!("/sim/{}/", DEVICES.fetch_add(1, Ordering::Relaxed));
        Self { path, blocks: SimFolder::new(), objects: SimFolder::new() }
    }

    fn power_cut(&self, seed: u64) -> Self {
        let (blocks, objects) = (self.blocks.power_cut(seed), self.objects.power_cut(!seed));
        Self { path: self.path.clone(), blocks, objects }
    }

    fn kill(&self) -> Self {
        let (blocks, objects) = (self.blocks.kill(), self.objects.kill());
        Self { path: self.path.clone(), blocks, objects }
    }

    fn fail(&self, op: Op, errno: rustix::io::Errno, times: usize) {
        self.blocks.fail(op, errno, times);
        self.objects.fail(op, errno, times);
    }

    fn heal(&self) {
        self.blocks.heal();
        self.objects.heal();
    }

    fn set_cached(&self, cached: Cached) {
        self.blocks.set_cached(cached);
        self.objects.set_cached(cached);
    }

    fn size(&self) -> u64 {
        self.blocks.size() + self.objects.size()
    }

    fn try_open(&self, rules: &[RuleConfig]) -> Result<DiskTier, DiskError> {
        open_all(std::slice::from_ref(self), rules, 128)
    }

    fn open(&self) -> DiskTier {
        self.try_open(&[]).expect("it opens")
    }
}

/// Opens a tier over several paths of `mib` MiB each.
fn open_all(devices: &[Device], rules: &[RuleConfig], mib: u64) -> Result<DiskTier, DiskError> {
    open_all_purged(devices, rules, mib, &Arc::new(PurgeEpochs::new()))
}

/// As [`open_all`], after these purges.
fn open_all_purged(
    devices: &[Device],
    rules: &[RuleConfig],
    mib: u64,
    purge_epochs: &Arc<PurgeEpochs>,
) -> Result<DiskTier, DiskError> {
    let tier = open_all_unbegun(devices, rules, mib, purge_epochs)?;
    tier.begin()?;
    Ok(tier)
}

/// As [`open_all_purged`], without [`DiskTier::begin`].
fn open_all_unbegun(
    devices: &[Device],
    rules: &[RuleConfig],
    mib: u64,
    purge_epochs: &Arc<PurgeEpochs>,
) -> Result<DiskTier, DiskError> {
    let paths: Vec<_> = devices
        .iter()
        .map(|device| DiskConfig {
            path: device.path.clone().into(),
            capacity: ByteSize::mib(mib),
            ..DiskConfig::default()
        })
        .collect();
    let limits = DiskLimits {
        index: 8 * MIB,
        queue: 8 * MIB,
        memory: 1 << 40,
        admission: AdmissionMode::FirstTouch,
    };
    let folder = |config: &DiskConfig, name: &str| {
        let device = devices.iter().find(|device| config.path.to_str() == Some(&device.path));
        let Device { blocks, objects, .. } = device.expect("one of them").clone();
        Ok(Box::new(if name == BLOCKS { blocks } else { objects }) as Box<dyn Folder>)
    };
    DiskTier::open_with(&paths, rules, limits, purge_epochs, Vec::new(), &folder)
}

/// Opens a tier over one device, with segments so small that they are reclaimed all the time.
fn open_small(device: &Device, rules: &[RuleConfig], capacity: u64, segment: u64) -> DiskTier {
    open_small_purged(device, rules, (capacity, segment), &Arc::new(PurgeEpochs::new()))
}

/// As [`open_small`], after these purges.
fn open_small_purged(
    device: &Device,
    rules: &[RuleConfig],
    (capacity, segment): (u64, u64),
    purge_epochs: &Arc<PurgeEpochs>,
) -> DiskTier {
    let admission = Admission::new(AdmissionMode::FirstTouch, 0);
    let tables = Tables {
        index: Arc::new(Index::new(MIB)),
        admission: Arc::new(Mutex::new(admission)),
        classes: Classes::new(rules),
        purge_epochs: purge_epochs.clone(),
    };
    let config = DiskConfig {
        path: device.path.clone().into(),
        capacity: ByteSize(capacity),
        ..DiskConfig::default()
    };
    let blocks = Box::new(device.blocks.clone());
    let volume = open_volume(0, &config, segment, blocks, 8 * MIB, &tables);
    let (metadata, folder) = (capacity / OBJECTS_SHARE, Box::new(device.objects.clone()));
    let starts =
        StartupEpoch::read(vec![Box::new(device.objects.clone())], None).expect("it is read");
    let size = (metadata, metadata / 8);
    let objects = Objects::open(folder, &device.path, size, MIB, starts.trust());
    let Tables { index, admission, classes, .. } = tables;
    let tier = DiskTier {
        index,
        volumes: vec![volume.expect("it opens")],
        objects: objects.expect("it opens"),
        purges: Purges::new(vec![Box::new(device.objects.clone())]),
        starts,
        admission,
        classes: ArcSwap::from_pointee(classes),
        read: AtomicU64::new(0),
        memory: 1 << 40,
        _locks: Vec::new(),
    };
    tier.begin().expect("it begins");
    tier
}

/// Opens a log of metadata alone, after a clean shutdown.
fn believed_objects(folder: &SimFolder, path: &str, size: (u64, u64)) -> Objects {
    let opened = Objects::open(Box::new(folder.clone()), path, size, MIB, Trust::From(0));
    let objects = opened.expect("it opens");
    objects.begin(0);
    objects
}

/// Opens a log of metadata alone, trusted as its marks say.
fn start_objects(folder: &SimFolder, path: &str, size: (u64, u64)) -> Objects {
    let starts = StartupEpoch::read(vec![Box::new(folder.clone())], None).expect("it is read");
    let opened = Objects::open(Box::new(folder.clone()), path, size, MIB, starts.trust());
    let objects = opened.expect("it opens");
    objects.begin(starts.begin().expect("it begins"));
    objects
}

/// Longer than a device that works needs.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

fn id(bucket: &str, number: u64) -> ObjectId {
    let realm = Realm::new("http://origin", "default");
    let key = ObjectKey::new(&format!("key-{number}")).expect("a key");
    ObjectId::new(&realm, BucketName::new(bucket).expect("a name"), key)
}

/// Returns the metadata of a version: no two are alike.
fn meta(id: &ObjectId, version: u64) -> ObjectMeta {
    let etag = format!("\"{}-{version}\"", id.key().as_str());
    let etag = HeaderValue::from_str(&etag).expect("a header");
    ObjectMeta {
        etag: ETag::new(etag.clone()),
        version_id: None,
        size: SIZE,
        last_modified: UNIX_EPOCH + Duration::from_secs(version),
        headers: vec![(http::header::ETAG, etag)],
        checksums: None,
        parts: crate::s3::Parts::default(),
        no_store: false,
    }
}

/// Returns the version that this is the metadata of, and checks all of it.
fn version_of(id: &ObjectId, found: &ObjectMeta) -> u64 {
    let since = found.last_modified.duration_since(UNIX_EPOCH).expect("after the epoch");
    assert_eq!(*found, meta(id, since.as_secs()));
    since.as_secs()
}

fn block_key(id: &ObjectId, version: u64, index: u64) -> BlockKey {
    ObjectVersion::new(id, &meta(id, version), BLOCK, 0).block(index)
}

/// Returns the bytes of a block: no two blocks are alike.
fn content(key: &BlockKey) -> Bytes {
    static NOISE: LazyLock<Bytes> = LazyLock::new(|| {
        let mut noise = vec![0; 4 << 20];
        StdRng::seed_from_u64(1).fill_bytes(&mut noise);
        noise.into()
    });
    let length = usize::try_from(key.len()).expect("small");
    let at = key.digest().hash64() % (NOISE.len() - length) as u64;
    let at = usize::try_from(at).expect("small");
    NOISE.slice(at..at + length)
}

/// Returns a block from `skip` on.
fn block(key: &BlockKey, skip: u64) -> Block {
    let skipped = usize::try_from(skip).expect("small");
    Block::new(key.start() + skip, content(key).slice(skipped..))
}

/// Reads `skip..` of a block; returns `false` for a miss. Wrong bytes fail the test.
async fn read(tier: &DiskTier, key: &BlockKey, skip: u64) -> bool {
    let from = key.start() + skip;
    let Some(found) = tier.read(key, from, key.end()).await else { return false };
    let right = content(key).slice(usize::try_from(skip).expect("small")..);
    assert!(!found.bytes.is_empty() && right.starts_with(&found.bytes), "other bytes of {key:?}");
    if let Some(block) = found.promoted {
        let run = block.longest();
        let skip = usize::try_from(run.start - key.start()).expect("small");
        assert_eq!(run.bytes, content(key).slice(skip..), "other bytes of {key:?}");
    }
    true
}

/// Writes blocks and waits until they are on disk, or are given up.
async fn write(tier: &DiskTier, keys: &[BlockKey]) {
    for key in keys {
        tier.keep(key, &block(key, 0)).await;
    }
    tier.finish().await;
}

async fn recall(tier: &DiskTier, id: &ObjectId) -> Option<u64> {
    tier.recall(id).await.map(|recalled| version_of(id, &recalled.object.meta))
}

/// As [`recall`], for metadata that may be used without asking the origin.
async fn recall_confirmed(tier: &DiskTier, id: &ObjectId) -> Option<u64> {
    let recalled = tier.recall(id).await.filter(|recalled| recalled.is_confirmed)?;
    Some(version_of(id, &recalled.object.meta))
}

/// Waits until a device that was bypassed is used again.
async fn until_readable(tier: &DiskTier, key: &BlockKey) {
    while tier.presence(key) == Presence::Bypassed {
        tokio::time::advance(Duration::from_millis(100)).await;
        tokio::task::yield_now().await;
    }
}
