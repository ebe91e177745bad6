//! The disk tier: blocks that left memory, and the metadata of their objects.
//!
//! ```text
//! <path>/lock            held as long as the process lives
//! <path>/blocks/N.seg    a log of block records; the oldest segment goes when space is needed
//! <path>/objects/N.seg   metadata and tombstones, on the first path only
//! <path>/objects/N.start the last start that this path took part in
//! <path>/objects/N.floors what was purged, and when
//!
//!   memory evicts ─ admission ─ queue ─ writer ─> open segment ─ sealed ─ reclaimed
//!   a read misses memory ─ index ─ page cache, or a thread that waits ─ checks ─> bytes, or a miss
//! ```
//! It never fails a read: what is damaged, slow or gone is counted, and a miss. It never lies: each chunk that is
//! read is compared with its checksum and its full key's digest. Blocks are keyed by version, so that an
//! invalidation needs no scan of them; metadata is void after it. Only erasing looks at every record there is.

mod buffers;
mod classes;
mod config;
mod digest;
mod erase;
mod files;
mod format;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod health;
mod index;
mod log;
mod object_record;
mod object_writer;
mod objects;
pub mod policy;
mod purges;
mod ring;
mod segment;
mod shares;
#[cfg(test)]
mod sim;
mod source;
mod starts;
#[doc(hidden)]
pub mod synthetic;
#[cfg(test)]
mod tests;
mod usage;
mod verify;
mod volume;
mod writer;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use ::log::debug;
use bytes::Bytes;
use parking_lot::Mutex;

use super::config::RuleConfig;
use super::floors::Floors;
use super::key::BlockKey;
use super::memory::Block;
use crate::metrics::disk::{self as metrics, Failure, Outcome};
use crate::s3::{BucketName, ObjectId, ObjectMeta, Realm};

pub use config::{DiskConfig, Share};
pub(in crate::cache) use digest::{Digest, object_stripe};
pub use erase::{ErasedFiles, NotErased};
pub use objects::Ticket;
pub use usage::DiskUsage;
pub use verify::{Damage, Verification, Verified};

use buffers::Buffers;
use classes::{Belonging, Classes};
use files::{Folder, FolderLock, PageCache, RealFolder};
use format::{CHUNK, Kind, Record};
use index::{Entry, Index};
use log::{Found, Log};
use object_record::ObjectRecord;
use objects::Objects;
use policy::Admission;
use purges::Purges;
use volume::{AT_ONCE, Job, Volume, VolumeLimits};

const MIB: u64 = 1 << 20;
/// The folders below a path.
const BLOCKS: &str = "blocks";
const OBJECTS: &str = "objects";
/// Segments are so many to a path, so that reclaiming one takes little away.
const SEGMENTS: u64 = 32;
const SEGMENT_MIN: u64 = 20 * MIB;
const SEGMENT_MAX: u64 = 256 * MIB;
/// The part of the first path that is for metadata.
const OBJECTS_SHARE: u64 = 32;
/// The part of the index's memory that is for the ghost queue.
const GHOST_SHARE: u64 = 16;

/// Why the tier cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    #[error("{0} is in use by another process")]
    InUse(PathBuf),
    #[error("{path} cannot be written: {source}")]
    NotWritable { path: PathBuf, source: io::Error },
    #[error("{path} cannot be read: {source}")]
    NotReadable { path: PathBuf, source: io::Error },
    #[error("{path} is given twice")]
    Twice { path: PathBuf },
}

/// What the tier gets of memory, and how blocks come into it.
#[derive(Debug, Clone, Copy)]
pub struct DiskLimits {
    /// Bytes of the index.
    pub index: u64,
    /// Bytes of blocks that wait to be written, all paths together.
    pub queue: u64,
    /// Bytes of the memory tier: a block that is read over in one turnover of it deserves to be there.
    pub memory: u64,
    pub admission: policy::AdmissionMode,
}

/// A folder of the file system, or of a test's.
type MakeFolder<'a> = &'a dyn Fn(&DiskConfig, &str) -> io::Result<Box<dyn Folder>>;

pub struct DiskTier {
    index: Arc<Index>,
    volumes: Vec<Volume>,
    objects: Objects,
    purges: Purges,
    admission: Arc<Mutex<Admission>>,
    classes: Classes,
    /// Bytes read, by which turnovers of memory are counted.
    read: AtomicU64,
    memory: u64,
    _locks: Vec<FolderLock>,
}

/// Bytes from the disk.
pub(in crate::cache) struct FromDisk {
    pub bytes: Bytes,
    /// All that is there of the block, when it deserves memory.
    pub promoted: Option<Block>,
}

impl DiskTier {
    /// Takes the paths and reads what is there. `floors`: what was purged, which is to be known before anything is
    /// written.
    ///
    /// # Errors
    /// [`DiskError`]: a path that is not ours to write.
    pub(in crate::cache) fn open(
        paths: &[DiskConfig],
        rules: &[RuleConfig],
        limits: DiskLimits,
        floors: &Arc<Floors>,
    ) -> Result<Self, DiskError> {
        let mut locks = Vec::new();
        for (index, DiskConfig { path, .. }) in paths.iter().enumerate() {
            let lock = FolderLock::take(path).map_err(|error| match error.kind() {
                // The lock that is held may be our own.
                io::ErrorKind::WouldBlock if paths[..index].iter().any(|p| same(&p.path, path)) => {
                    DiskError::Twice { path: path.clone() }
                }
                io::ErrorKind::WouldBlock => DiskError::InUse(path.clone()),
                _ => DiskError::NotWritable { path: path.clone(), source: error },
            })?;
            locks.push(lock);
        }
        let buffers = paths.iter().any(|path| path.direct).then(Buffers::new);
        let real = |config: &DiskConfig, name: &str| {
            let pages = match &buffers {
                Some(buffers) if config.direct => PageCache::Nothing(buffers.clone()),
                _ if name == BLOCKS => PageCache::Reads,
                _ => PageCache::Everything,
            };
            let folder = RealFolder::new(config.path.join(name), pages)?;
            Ok(Box::new(folder) as Box<dyn Folder>)
        };
        Self::open_with(paths, rules, limits, floors, locks, &real)
    }

    fn open_with(
        paths: &[DiskConfig],
        rules: &[RuleConfig],
        limits: DiskLimits,
        floors: &Arc<Floors>,
        locks: Vec<FolderLock>,
        folder: MakeFolder<'_>,
    ) -> Result<Self, DiskError> {
        let (ghost, objects) = (limits.index / GHOST_SHARE, limits.index / 4);
        let tables = Tables {
            index: Arc::new(Index::new(limits.index - ghost - objects)),
            admission: Arc::new(Mutex::new(Admission::new(limits.admission, ghost))),
            classes: Classes::new(rules),
            floors: floors.clone(),
        };
        let queue = limits.queue / paths.len().max(1) as u64;
        let mut volumes = Vec::new();
        for (number, config) in (0..).zip(paths) {
            let failed = |source| DiskError::NotWritable { path: config.path.clone(), source };
            let blocks = folder(config, BLOCKS).map_err(failed)?;
            let segment = segment_size(config.capacity.0);
            let volume = open_volume(number, config, segment, blocks, queue, &tables);
            volumes.push(volume.map_err(failed)?);
        }
        let (mut metadata, mut purges) = (Vec::new(), Vec::new());
        for config in paths {
            let failed = |source| DiskError::NotWritable { path: config.path.clone(), source };
            metadata.push(folder(config, OBJECTS).map_err(failed)?);
            purges.push(folder(config, OBJECTS).map_err(failed)?);
        }
        let Tables { index, admission, classes, .. } = tables;
        admission.lock().fit(index.usage().1);
        let first = &paths[0];
        let failed = |source| DiskError::NotWritable { path: first.path.clone(), source };
        let capacity = first.capacity.0 / OBJECTS_SHARE;
        let segment = (capacity / 8).clamp(MIB / 4, 16 * MIB);
        let name = first.path.display().to_string();
        let objects = starts::begin(metadata)
            .and_then(|folder| Objects::start(folder, &name, capacity, segment, objects))
            .map_err(failed)?;
        Ok(Self {
            index,
            volumes,
            objects,
            purges: Purges::new(purges),
            admission,
            classes,
            read: AtomicU64::new(0),
            memory: limits.memory.max(1),
            _locks: locks,
        })
    }

    /// The part of the block that is there, as offsets in the object.
    pub(in crate::cache) fn holds(&self, key: &BlockKey) -> Option<std::ops::Range<u64>> {
        let digest = key.digest();
        let span = match self.index.get(&digest) {
            Some(entry) => index::span(&entry),
            None => {
                let record = self.home(&digest).queue.peek(&digest)?.record;
                record.start.into()..u64::from(record.start) + u64::from(record.data_len)
            }
        };
        Some(key.start() + span.start..key.start() + span.end)
    }

    /// Bytes of a block from `offset` (in the object) on, up to `end` or less; `None` is a miss.
    pub(in crate::cache) async fn read(
        &self,
        key: &BlockKey,
        offset: u64,
        end: u64,
    ) -> Option<FromDisk> {
        let digest = key.digest();
        let from = offset - key.start();
        let upto = end.min(key.end()) - key.start();
        let Some((entry, deserves)) = self.touch(&digest, upto - from) else {
            let queued = self.home(&digest).queue.peek(&digest)?.block(key.start());
            let bytes = queued.from(offset)?;
            return Some(FromDisk { bytes, promoted: Some(queued) });
        };
        let skip = usize::try_from(from.checked_sub(entry.start().into())?).ok()?;
        let upto =
            usize::try_from(upto - u64::from(entry.start())).ok()?.min(entry.data_len() as usize);
        if skip >= upto {
            return None;
        }
        let all = 0..entry.data_len() as usize;
        let wanted = if deserves { all.clone() } else { skip..upto.min(piece_end(skip)) };
        let ahead = wanted.end < upto;
        let volume = &self.volumes[usize::from(entry.volume)];
        match volume.read(&digest, &entry, wanted.clone(), ahead).await {
            Ok(bytes) => {
                metrics::read(Outcome::Hit, bytes.len() as u64);
                self.read.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                let promoted = (wanted == all)
                    .then(|| Block::new(key.start() + u64::from(entry.start()), lasting(&bytes)));
                Some(FromDisk { bytes: bytes.slice(skip - wanted.start..), promoted })
            }
            Err(failure) => {
                metrics::read(Outcome::Miss, 0);
                self.missed(&digest, &entry, failure);
                None
            }
        }
    }

    /// Asks the device for a block that will be read soon.
    pub(in crate::cache) fn prefetch(&self, key: &BlockKey) {
        let digest = key.digest();
        if let Some(entry) = self.index.get(&digest) {
            self.volumes[usize::from(entry.volume)].prefetch(&digest, &entry);
        }
    }

    fn touch(&self, digest: &Digest, bytes: u64) -> Option<(Entry, bool)> {
        let window = self.read.load(Ordering::Relaxed) / self.memory;
        let window = u8::try_from(window % 256).expect("below 256");
        self.index.touch(digest, usize::try_from(bytes).unwrap_or(usize::MAX), window)
    }

    fn missed(&self, digest: &Digest, entry: &Entry, failure: Failure) {
        metrics::failed(failure);
        match failure {
            Failure::Damaged | Failure::Read | Failure::Gone
                if self.index.remove_at(digest, entry.place()) =>
            {
                debug!("a record is not readable any more: {digest:?}");
            }
            _ => {}
        }
    }

    fn home(&self, digest: &Digest) -> &Volume {
        // Other bits than the index uses for its shards.
        let volume = (digest.hash64() >> 32) % self.volumes.len() as u64;
        &self.volumes[usize::try_from(volume).expect("below their number")]
    }

    /// All that is there of a block, without a reader.
    pub(in crate::cache) async fn load(&self, key: &BlockKey) -> Option<Block> {
        let start = self.holds(key)?.start;
        let digest = key.digest();
        let Some(entry) = self.index.get(&digest) else {
            return Some(self.home(&digest).queue.peek(&digest)?.block(key.start()));
        };
        let all = 0..entry.data_len() as usize;
        let volume = &self.volumes[usize::from(entry.volume)];
        match volume.read(&digest, &entry, all, false).await {
            Ok(bytes) => Some(Block::new(start, lasting(&bytes))),
            Err(failure) => {
                self.missed(&digest, &entry, failure);
                None
            }
        }
    }

    /// Takes a block that leaves memory, if it is worth it; says whether it lies on disk now, or will.
    pub(in crate::cache) fn offer(&self, key: &BlockKey, block: &Block, touched: bool) -> bool {
        let digest = key.digest();
        let start = block.start - key.start();
        if self.holds(key).is_some_and(|there| there.start <= block.start) {
            return true;
        }
        let belonging = self.classes.of(key.id());
        let room = !self.home(&digest).log.has_turned();
        if !belonging.pinned && !self.admission.lock().admit(digest.hash64(), touched, room) {
            metrics::failed(Failure::NotAdmitted);
            return false;
        }
        self.write(key, belonging, start, block)
    }

    fn write(&self, key: &BlockKey, of: Belonging, start: u64, block: &Block) -> bool {
        let Belonging { class, tag, pinned } = of;
        let (digest, full_key) = (key.digest(), digest::block_key(key));
        let (Ok(start), Ok(data_len), Ok(key_len)) =
            (u32::try_from(start), u32::try_from(block.bytes.len()), u32::try_from(full_key.len()))
        else {
            return false;
        };
        if full_key.len() > format::KEY_MAX || block.bytes.is_empty() {
            return false;
        }
        let record = Record { kind: Kind::Block, digest, key_len, data_len, start, tag };
        let job = Job { record, key: full_key, bytes: block.bytes.clone(), class, pinned };
        self.home(&digest).write(job)
    }

    /// Writes a block whatever its worth, as soon as there is room in the queue; for the end of the process.
    pub(in crate::cache) async fn keep(&self, key: &BlockKey, block: &Block) {
        let digest = key.digest();
        if self.holds(key).is_some_and(|there| there.start <= block.start) {
            return;
        }
        let home = self.home(&digest);
        home.queue.room().await;
        self.write(key, self.classes.of(key.id()), block.start - key.start(), block);
    }

    /// Writes what is queued, seals the segments and makes all of it last.
    pub(in crate::cache) async fn finish(&self) {
        for volume in &self.volumes {
            volume.finish().await;
        }
        self.objects.finish().await;
    }

    pub(in crate::cache) fn knows(&self, id: &ObjectId) -> bool {
        self.objects.knows(id)
    }

    /// Keeps the metadata of an object, if that `is_current` still. The caller holds its stripe's lock.
    pub(in crate::cache) fn remember(
        &self,
        id: &ObjectId,
        meta: &ObjectMeta,
        learned: SystemTime,
        is_current: impl Fn() -> bool,
    ) {
        self.objects.remember(id, &ObjectRecord { meta: meta.clone(), learned }, is_current);
    }

    /// Metadata from an earlier time, and when the origin vouched for it.
    pub(in crate::cache) async fn recall(&self, id: &ObjectId) -> Option<(ObjectMeta, SystemTime)> {
        self.objects.recall(id).await.map(|object| (object.meta, object.learned))
    }

    /// Voids the metadata of an object. The caller holds its stripe's lock.
    pub(in crate::cache) fn forget(&self, id: &ObjectId) -> Option<Ticket> {
        self.objects.forget(id)
    }

    pub(in crate::cache) fn forget_bucket(
        &self,
        realm: &Realm,
        bucket: &BucketName,
    ) -> Option<Ticket> {
        self.objects.forget_bucket(realm, bucket)
    }

    /// Voids the metadata of all objects.
    pub(in crate::cache) fn forget_all(&self) -> Option<Ticket> {
        self.objects.forget_all()
    }

    /// What an earlier time kept of its purges, by path, the latest first; see [`DiskTier::keep_floors`].
    pub(in crate::cache) fn floors(&self) -> Vec<Vec<Vec<u8>>> {
        self.purges.load()
    }

    /// Keeps what `encode` says of purges.
    pub(in crate::cache) async fn keep_floors(
        &self,
        encode: impl FnOnce() -> Vec<u8> + Send + 'static,
    ) -> bool {
        self.purges.keep(encode).await
    }

    pub(in crate::cache) async fn durable(&self, ticket: Ticket) -> bool {
        self.objects.durable(ticket).await
    }
}

/// Reads end at a chunk's end, so that the next one begins with a chunk of its own.
fn piece_end(from: usize) -> usize {
    (from + AT_ONCE) / CHUNK * CHUNK
}

/// The bytes of a whole block, to stay: one chunk is cut from what was read and holds all of that; more were put
/// together in memory of their own.
fn lasting(bytes: &Bytes) -> Bytes {
    match bytes.len() {
        ..=CHUNK => Bytes::copy_from_slice(bytes),
        _ => bytes.clone(),
    }
}

fn same(one: &std::path::Path, other: &std::path::Path) -> bool {
    matches!((one.canonicalize(), other.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

/// What all paths have in common.
struct Tables {
    index: Arc<Index>,
    admission: Arc<Mutex<Admission>>,
    classes: Classes,
    /// What was purged.
    floors: Arc<Floors>,
}

fn open_volume(
    number: u8,
    config: &DiskConfig,
    segment: u64,
    folder: Box<dyn Folder>,
    queue: u64,
    tables: &Tables,
) -> io::Result<Volume> {
    let Tables { index, classes, .. } = tables;
    let share = if number == 0 { config.capacity.0 / OBJECTS_SHARE } else { 0 };
    let capacity = config.capacity.0 - share;
    let name = config.path.display().to_string();
    let (log, _) = Log::open(folder, segment, false, |found| match found {
        Found::Total(records) => index.reserve(records),
        Found::Record { segment, offset, record } if record.kind == Kind::Block => {
            let entry = Entry::new(number, segment.number, offset, record);
            index.insert(record.digest, entry.in_class(classes.by_tag(record.tag)));
        }
        Found::Record { .. } => {}
        Found::Damage { file, why, .. } => {
            metrics::failed(Failure::Damaged);
            debug!("{name}/blocks/{file}: {why}");
        }
    })?;
    let write_rate = config.write_rate.map(|rate| rate.0);
    let shares = classes.limits(capacity);
    let limits = VolumeLimits { capacity, write_rate, queue, shares };
    Volume::start(number, &name, log, tables, &limits)
}

/// Bytes of a segment on a path of `capacity` bytes: room for a few of the largest blocks.
pub(super) const fn segment_size(capacity: u64) -> u64 {
    let size = capacity / SEGMENTS;
    match size {
        ..SEGMENT_MIN => SEGMENT_MIN,
        SEGMENT_MAX.. => SEGMENT_MAX,
        _ => size,
    }
}
