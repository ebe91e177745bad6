//! The disk tier: blocks that left memory, and the metadata of their objects.
//!
//! ```text
//! <path>/lock            held as long as the process lives
//! <path>/blocks/N.seg    a log of block records; the oldest segment goes when space is needed
//! <path>/objects/N.seg   metadata and tombstones, on the first path only
//! <path>/objects/N.start the last start that this path took part in
//! <path>/objects/N-M.clean that start ended well: metadata in segments from M on may be believed
//! <path>/objects/N.floors what was purged, and when
//!
//!   memory evicts ─ admission ─ queue ─ writer ─> open segment ─ sealed ─ reclaimed
//!   a read misses memory ─ index ─ page cache, or a thread that waits ─ checks ─> bytes, or a miss
//! ```
//! It never fails a read: what is damaged, slow or gone is counted, and a miss. It never lies: each chunk that is
//! read is compared with its checksum and its full key's digest. Blocks are keyed by version, so that an
//! invalidation needs no scan of them; metadata is void after it. Only erasing looks at every record there is.

mod async_reads;
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
mod open;
pub mod policy;
mod private;
mod purges;
mod runtime_note;
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
mod unreadable;
mod usage;
mod verify;
mod volume;
mod writer;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use ::log::debug;
use bytes::Bytes;
use parking_lot::Mutex;

use super::floors::Floors;
use super::key::BlockKey;
use super::memory::Block;
use crate::metrics::disk::{self as metrics, Failure, Outcome};
use crate::s3::{BucketName, ObjectId, ObjectMeta, Realm};

pub use config::{DiskConfig, Share};
pub(in crate::cache) use digest::{Digest, object_stripe};
pub use erase::{ErasedFiles, NotErased};
pub(in crate::cache) use object_record::ObjectRecord;
pub(in crate::cache) use objects::Recalled;
pub use objects::Ticket;
pub use open::{DiskError, DiskLimits};
pub use usage::DiskUsage;
pub use verify::{Damage, Verification, Verified};

use classes::{Belonging, Classes};
use files::FolderLock;
use format::{CHUNK, Kind, Record};
use index::{Entry, Index};
use objects::Objects;
use policy::Admission;
use purges::Purges;
use starts::Starts;
use volume::{AT_ONCE, Job, Volume};

pub struct DiskTier {
    index: Arc<Index>,
    volumes: Vec<Volume>,
    objects: Objects,
    purges: Purges,
    starts: Starts,
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

    /// Metadata from an earlier time. What is not confirmed may have been invalidated since: the origin is asked
    /// before it is used (R38).
    pub(in crate::cache) async fn recall(&self, id: &ObjectId) -> Option<Recalled> {
        self.objects.recall(id).await
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
    ///
    /// # Errors
    /// [`DiskError`]: it cannot be read, so that nobody knows which blocks are good.
    pub(in crate::cache) fn floors(&self) -> Result<Vec<Vec<Vec<u8>>>, DiskError> {
        let kept = self.purges.load().into_iter().zip(&self.volumes);
        let failed = |source, path: &str| DiskError::NotReadable { path: path.into(), source };
        kept.map(|(kept, volume)| kept.map_err(|error| failed(error, volume.name()))).collect()
    }

    /// Keeps all that was purged so far. `false`: it may not survive a power cut.
    pub(in crate::cache) async fn keep_floors(&self, floors: &Arc<Floors>) -> bool {
        self.purges.keep(floors).await
    }

    /// Waits up to `patience` until an invalidation would survive a power cut. `false`: it may not.
    pub(in crate::cache) async fn durable(&self, ticket: Ticket, patience: Duration) -> bool {
        self.objects.durable(ticket, patience).await
    }

    /// The last invalidation that is not durable yet.
    pub(in crate::cache) fn unsettled(&self) -> Option<Ticket> {
        self.objects.unsettled()
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
