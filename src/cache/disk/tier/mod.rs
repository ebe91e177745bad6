//! The disk tier: reads, writes and invalidations, spread over its paths.

pub(in crate::cache::disk) mod classes;
pub(in crate::cache::disk) mod erase;
pub(in crate::cache::disk) mod error;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub(in crate::cache::disk) mod open;
pub(in crate::cache::disk) mod planned_read;
pub mod policy;
pub(in crate::cache::disk) mod purges;
#[doc(hidden)]
pub mod synthetic;
#[cfg(test)]
mod tests;
pub(in crate::cache::disk) mod usage;
pub(in crate::cache::disk) mod verify;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use bytes::Bytes;
use parking_lot::Mutex;

use crate::cache::config::RuleConfig;
use crate::cache::disk::format::digest::{self, Digest};
use crate::cache::disk::format::object_record::ObjectRecord;
use crate::cache::disk::log::index;
use crate::cache::disk::objects::store::{Recalled, Ticket};
use crate::cache::invalidate::purge_epochs::PurgeEpochs;
use crate::cache::key::BlockKey;
use crate::cache::memory::block::{Block, Run};
use crate::metrics::disk::{Failure, Skip};
use crate::s3::{BucketName, ObjectId, ObjectMeta, Realm};

use crate::cache::disk::blocks::queue::Job;
use crate::cache::disk::blocks::volume::Volume;
use crate::cache::disk::device::files::FolderLock;
use crate::cache::disk::format::record::{CHUNK, KEY_MAX, Kind, Record};
use crate::cache::disk::log::index::Index;
use crate::cache::disk::log::startup_epoch::StartupEpoch;
use crate::cache::disk::objects::store::Objects;
use classes::{Classes, Placement};
use error::DiskError;
use policy::Admission;
use purges::Purges;

pub(in crate::cache) struct DiskTier {
    index: Arc<Index>,
    volumes: Vec<Volume>,
    objects: Objects,
    purges: Purges,
    starts: StartupEpoch,
    admission: Arc<Mutex<Admission>>,
    classes: ArcSwap<Classes>,
    /// Bytes read; divided by `memory`, the number of turnovers of memory.
    read: AtomicU64,
    memory: u64,
    _locks: Vec<FolderLock>,
}

/// Availability of a block on the disk, for a read that begins now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cache) enum Presence {
    Absent,
    /// The block is on a device that is bypassed, which is as good as absent (R37).
    Bypassed,
    /// The block can be read in this range, as offsets in the object.
    Readable(Range<u64>),
}

impl DiskTier {
    /// Applies the shares and pins of new rules. Blocks on disk still count toward the shares that they were written
    /// under.
    pub(in crate::cache) fn set_rules(&self, rules: &[RuleConfig]) {
        let classes = Arc::new(self.classes.load().replaced_by(rules));
        self.classes.store(classes.clone());
        self.volumes.iter().for_each(|volume| volume.set_shares(&classes));
    }

    /// Returns whether and how far a block can be read now. A bypassed device is probed in the background when that is
    /// due.
    pub(in crate::cache) fn presence(&self, key: &BlockKey) -> Presence {
        let digest = key.digest();
        let readable =
            |span: Range<u64>| Presence::Readable(key.start() + span.start..key.start() + span.end);
        let Some(entry) = self.index.get(&digest) else {
            let queued = self.home(&digest).queue.peek(&digest);
            return queued.map_or(Presence::Absent, |job| readable(job.span()));
        };
        let volume = &self.volumes[usize::from(entry.volume)];
        if !volume.is_readable() {
            volume.probe(&digest, &entry);
            return Presence::Bypassed;
        }
        readable(index::span(&entry))
    }

    /// Counts a read that bypasses the device of a block.
    pub(in crate::cache) fn count_bypassed(&self, key: &BlockKey) {
        if let Some(entry) = self.index.get(&key.digest()) {
            let volume = &self.volumes[usize::from(entry.volume)];
            volume.queue.metrics.failed(Failure::PassedBy);
        }
    }

    /// Returns the part of the block that can be read now, as offsets in the object.
    pub(in crate::cache) fn holds(&self, key: &BlockKey) -> Option<Range<u64>> {
        match self.presence(key) {
            Presence::Readable(span) => Some(span),
            Presence::Absent | Presence::Bypassed => None,
        }
    }

    /// Returns the part of a block that is on disk or queued to be written, as offsets in the block.
    fn kept(&self, digest: &Digest) -> Option<Range<u64>> {
        match self.index.get(digest) {
            Some(entry) => Some(index::span(&entry)),
            None => Some(self.home(digest).queue.peek(digest)?.span()),
        }
    }

    /// Records the origin's time to first byte: devices that are much slower are not worth waiting for.
    pub(in crate::cache) fn origin_answered(&self, took: Duration) {
        self.volumes.iter().for_each(|volume| volume.origin_answered(took));
    }

    /// Prefetches a block that will be read soon.
    pub(in crate::cache) fn prefetch(&self, key: &BlockKey) {
        let digest = key.digest();
        if let Some(entry) = self.index.get(&digest) {
            self.volumes[usize::from(entry.volume)].prefetch(&digest, &entry);
        }
    }

    fn home(&self, digest: &Digest) -> &Volume {
        // These are other bits than the index uses for its shards.
        let volume = (digest.hash64() >> 32) % self.volumes.len() as u64;
        &self.volumes[usize::try_from(volume).expect("below their number")]
    }

    /// Reads all that is on disk of a block, for no particular reader.
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

    /// Takes a block that leaves memory, if it is admitted; returns whether it is on disk or queued to be written.
    pub(in crate::cache) fn offer(&self, key: &BlockKey, block: &Block, touched: bool) -> bool {
        let digest = key.digest();
        let run = block.longest();
        if self.kept(&digest).is_some_and(|kept| index::suffices(&kept, &within(key, run))) {
            return true;
        }
        let belonging = self.classes.load().of(key.id());
        let room = !self.home(&digest).log.has_turned();
        if !belonging.pinned && !self.admission.lock().admit(digest.hash64(), touched, room) {
            self.home(&digest).queue.metrics.skipped(Skip::NotAdmitted);
            return false;
        }
        self.write(key, belonging, run)
    }

    fn write(&self, key: &BlockKey, of: Placement, run: &Run) -> bool {
        let Placement { class, tag, pinned } = of;
        let (digest, full_key) = (key.digest(), digest::block_key(key));
        let (Ok(start), Ok(data_len), Ok(key_len)) = (
            u32::try_from(run.start - key.start()),
            u32::try_from(run.bytes.len()),
            u32::try_from(full_key.len()),
        ) else {
            return false;
        };
        if full_key.len() > KEY_MAX || run.bytes.is_empty() {
            return false;
        }
        let record = Record { kind: Kind::Block, digest, key_len, data_len, start, tag };
        let job = Job { record, key: full_key, bytes: run.bytes.clone(), class, pinned };
        self.home(&digest).write(job)
    }

    /// Resolves when the write queue of the block's path is at most half full. The future does not borrow the tier.
    pub(in crate::cache) fn room(&self, key: &BlockKey) -> impl Future<Output = ()> + use<> {
        let queue = self.home(&key.digest()).queue.clone();
        async move { queue.room().await }
    }

    /// Whether the device of the block's path is not bypassed.
    pub(in crate::cache) fn is_well(&self, key: &BlockKey) -> bool {
        self.home(&key.digest()).is_well()
    }

    /// Queues a block without an admission check, as soon as there is room in the queue; for shutdown.
    pub(in crate::cache) async fn keep(&self, key: &BlockKey, block: &Block) {
        let (digest, run) = (key.digest(), block.longest());
        if self.kept(&digest).is_some_and(|kept| index::suffices(&kept, &within(key, run))) {
            return;
        }
        let home = self.home(&digest);
        home.queue.room().await;
        self.write(key, self.classes.load().of(key.id()), run);
    }

    /// Writes what is queued, seals the segments of blocks, and makes all of it durable.
    pub(in crate::cache) async fn finish(&self) {
        for volume in &self.volumes {
            volume.finish().await;
        }
        self.objects.finish().await;
    }

    pub(in crate::cache) fn knows(&self, id: &ObjectId) -> bool {
        self.objects.knows(id)
    }

    /// Whether metadata of any object of a bucket is kept.
    pub(in crate::cache) fn knows_any_of(&self, realm: &Realm, bucket: &BucketName) -> bool {
        self.objects.knows_any_of(realm, bucket)
    }

    /// Queues the metadata of an object to be written, if it `is_current` still. The caller holds its stripe's lock.
    pub(in crate::cache) fn remember(
        &self,
        id: &ObjectId,
        meta: &ObjectMeta,
        learned: SystemTime,
        is_current: impl Fn() -> bool,
    ) {
        self.objects.remember(id, &ObjectRecord { meta: meta.clone(), learned }, is_current);
    }

    /// Reads the metadata of an object. If it is not confirmed, it may have been invalidated since: the origin is asked
    /// before it is used (R38).
    pub(in crate::cache) async fn recall(&self, id: &ObjectId) -> Option<Recalled> {
        self.objects.recall(id).await
    }

    /// Invalidates the metadata of an object. The caller holds its stripe's lock.
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

    /// Runs `work` while no metadata can be queued or invalidated.
    #[cfg(test)]
    pub(in crate::cache) async fn while_nothing_is_voided(&self, work: impl Future<Output = ()>) {
        self.objects.while_nothing_is_voided(work).await;
    }

    /// Invalidates the metadata of all objects.
    pub(in crate::cache) fn forget_all(&self) -> Option<Ticket> {
        self.objects.forget_all()
    }

    /// Requires all metadata that is kept now to be confirmed before it is used, as tombstones may be missing. `raise`
    /// ends the validity of what was learned so far.
    pub(in crate::cache) fn confirm_all(&self, raise: impl FnOnce()) {
        self.objects.confirm_all(raise);
    }

    /// Returns the purge epochs that an earlier process wrote, by path, the latest first; see
    /// [`DiskTier::persist_purge_epochs`].
    ///
    /// # Errors
    /// [`DiskError`]: they cannot be read, so that it is unknown which blocks are valid.
    pub(in crate::cache) fn purge_epochs(&self) -> Result<Vec<Vec<Vec<u8>>>, DiskError> {
        let kept = self.purges.load().into_iter().zip(&self.volumes);
        let failed = |source, path: &str| DiskError::NotReadable { path: path.into(), source };
        kept.map(|(kept, volume)| kept.map_err(|error| failed(error, volume.name()))).collect()
    }

    /// Writes all purge epochs so far to disk; returns `false` if they may not survive a power cut.
    pub(in crate::cache) async fn persist_purge_epochs(
        &self,
        purge_epochs: &Arc<PurgeEpochs>,
    ) -> bool {
        self.purges.keep(purge_epochs).await
    }

    /// Waits up to `max_wait` until an invalidation is durable (survives a power cut); returns `false` if it may not
    /// be.
    pub(in crate::cache) async fn durable(&self, ticket: Ticket, max_wait: Duration) -> bool {
        self.objects.durable(ticket, max_wait).await
    }

    /// Returns the last invalidation that is not durable yet.
    pub(in crate::cache) fn unsettled(&self) -> Option<Ticket> {
        self.objects.unsettled()
    }
}

/// Returns the bytes of a whole block, to be kept. A single chunk is a slice that keeps all that was read in memory, so
/// it is copied; several chunks were put together in memory of their own.
pub(in crate::cache::disk) fn lasting(bytes: &Bytes) -> Bytes {
    match bytes.len() {
        ..=CHUNK => Bytes::copy_from_slice(bytes),
        _ => bytes.clone(),
    }
}

/// Returns the range of its block that a run covers, as offsets in the block.
fn within(key: &BlockKey, run: &Run) -> Range<u64> {
    run.start - key.start()..run.end() - key.start()
}
