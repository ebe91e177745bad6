//! Opening the disk tier: locks its paths, and reads their logs.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::DiskTier;
use super::classes::Classes;
use super::error::DiskError;
use super::policy::{self, Admission};
use super::purges::Purges;
use crate::cache::config::RuleConfig;
use crate::cache::disk::blocks::queue::VolumeLimits;
use crate::cache::disk::blocks::tables::Tables;
use crate::cache::disk::blocks::volume::Volume;
use crate::cache::disk::config::DiskConfig;
use crate::cache::disk::config::{MIB, segment_size};
use crate::cache::disk::device::files::{
    BLOCKS, Folder, FolderLock, OBJECTS, PageCache, RealFolder,
};
use crate::cache::disk::device::foreign::foreign;
use crate::cache::disk::device::private;
use crate::cache::disk::device::throttle::throttled;
use crate::cache::disk::format::record::{Kind, VERSION};
use crate::cache::disk::log::index::{Entry, Index};
use crate::cache::disk::log::runtime_note::RuntimeNote;
use crate::cache::disk::log::segment_log::{Found, Log, LogKind};
use crate::cache::disk::log::startup_epoch::StartupEpoch;
use crate::cache::disk::log::unreadable::Unreadable;
use crate::cache::disk::objects::store::Objects;
use crate::cache::invalidate::purge_epochs::PurgeEpochs;
use crate::metrics::disk::{DiskPath, Failure};
use crate::sys::buffers::Buffers;

/// Divisor of the first path's capacity that gives the part for metadata.
pub(in crate::cache::disk) const OBJECTS_SHARE: u64 = 32;
/// Divisor of the index's memory that gives the part for the ghost queue.
const GHOST_SHARE: u64 = 16;

/// Memory of the tier, and its admission mode.
#[derive(Debug, Clone, Copy)]
pub struct DiskLimits {
    /// Maximum bytes of the index.
    pub index: u64,
    /// Maximum bytes of blocks that wait to be written, over all paths.
    pub queue: u64,
    /// Bytes of the memory tier: a block that is read repeatedly within a turnover of it is promoted to memory.
    pub memory: u64,
    pub admission: policy::AdmissionMode,
}

/// Function that opens a folder of a path: a real one, or a simulated one in tests.
pub(in crate::cache::disk) type MakeFolder<'a> =
    &'a dyn Fn(&DiskConfig, &str) -> io::Result<Box<dyn Folder>>;

impl DiskTier {
    /// Locks the paths and reads their logs. Nothing is removed before [`DiskTier::begin`], so that a start which fails
    /// for another reason costs nothing. `purge_epochs`: epochs of earlier purges, which must be known before anything
    /// is written.
    ///
    /// # Errors
    /// [`DiskError`]: a path that is not ours to write, is in use, or cannot be read.
    pub(in crate::cache) fn open(
        paths: &[DiskConfig],
        rules: &[RuleConfig],
        limits: DiskLimits,
        purge_epochs: &Arc<PurgeEpochs>,
    ) -> Result<Self, DiskError> {
        let mut locks = Vec::new();
        for (index, DiskConfig { path, .. }) in paths.iter().enumerate() {
            if let Some(name) = foreign(path) {
                return Err(DiskError::Foreign { path: path.clone(), name });
            }
            let lock = FolderLock::take(path).map_err(|error| match error.kind() {
                // The lock may be held by this process.
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
            Ok(throttled(&config.path, Box::new(folder)))
        };
        let tier = Self::open_with(paths, rules, limits, purge_epochs, locks, &real)?;
        for config in paths {
            private::narrow(&config.path, &[BLOCKS, OBJECTS]);
        }
        Ok(tier)
    }

    pub(in crate::cache::disk) fn open_with(
        paths: &[DiskConfig],
        rules: &[RuleConfig],
        limits: DiskLimits,
        purge_epochs: &Arc<PurgeEpochs>,
        locks: Vec<FolderLock>,
        folder: MakeFolder<'_>,
    ) -> Result<Self, DiskError> {
        let (ghost, objects) = (limits.index / GHOST_SHARE, limits.index / 4);
        let tables = Tables {
            index: Arc::new(Index::new(limits.index - ghost - objects)),
            admission: Arc::new(Mutex::new(Admission::new(limits.admission, ghost))),
            classes: Classes::new(rules),
            purge_epochs: purge_epochs.clone(),
        };
        let queue = limits.queue / paths.len().max(1) as u64;
        let mut volumes = Vec::new();
        for (number, config) in (0..).zip(paths) {
            let failed = |source| DiskError::NotWritable { path: config.path.clone(), source };
            let blocks = folder(config, BLOCKS).map_err(failed)?;
            let segment = segment_size(config.capacity.0);
            let volume = open_volume(number, config, segment, blocks, queue, &tables);
            let failed = |source| DiskError::NotReadable { path: config.path.clone(), source };
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
        let failed = |source| DiskError::NotReadable { path: first.path.clone(), source };
        let capacity = first.capacity.0 / OBJECTS_SHARE;
        let segment = (capacity / 8).clamp(MIB / 4, 16 * MIB);
        let name = first.path.display().to_string();
        let folder = folder(first, OBJECTS).map_err(failed)?;
        let note = RuntimeNote::of(&first.path.join(OBJECTS));
        let starts = StartupEpoch::read(metadata, note.read()).map_err(failed)?;
        let size = (capacity, segment);
        let objects = Objects::open(folder, &name, size, objects, starts.trust());
        let objects = objects.map_err(failed)?.noting(note);
        Ok(Self {
            index,
            volumes,
            objects,
            purges: Purges::new(purges),
            starts,
            admission,
            classes: ArcSwap::from_pointee(classes),
            read: AtomicU64::new(0),
            memory: limits.memory.max(1),
            _locks: locks,
        })
    }

    /// Begins operation once the process has started: from now on damaged and void data is removed, and a smaller
    /// capacity is enforced. Must be called before anything is served.
    ///
    /// # Errors
    /// [`DiskError`]: a path cannot be written.
    pub(in crate::cache) fn begin(&self) -> Result<(), DiskError> {
        let path = || PathBuf::from(self.objects.name());
        let start = self.starts.begin();
        let start = start.map_err(|source| DiskError::NotWritable { path: path(), source })?;
        self.objects.begin(start);
        self.volumes.iter().for_each(Volume::begin);
        Ok(())
    }
}

fn same(one: &Path, other: &Path) -> bool {
    matches!((one.canonicalize(), other.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

pub(in crate::cache::disk) fn open_volume(
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
    let (mut unreadable, mut of_other_format) = (Unreadable::default(), 0_usize);
    let (log, _) = Log::open(folder, segment, LogKind::Blocks, |found| match found {
        Found::Total(records) => index.reserve(records),
        Found::Record { segment, offset, record } if record.kind == Kind::Block => {
            let entry = Entry::new(number, segment.number, offset, record);
            index.insert(record.digest, entry.in_class(classes.by_tag(record.tag)));
        }
        Found::Record { .. } => {}
        Found::Damage { file, why, .. } => {
            DiskPath::new(&name).failed(Failure::Damaged);
            ::log::debug!("{name}/blocks/{file}: {why}");
        }
        Found::OtherFormat { .. } => of_other_format += 1,
        Found::Unreadable { file, why } => unreadable.add(file, why),
    })?;
    if of_other_format > 0 {
        ::log::warn!(
            "{name}: {of_other_format} segments were written by another release of hotset, in a format that is not \
             this one's ({VERSION}): they are removed, and what was in them is fetched again"
        );
    }
    unreadable.warn(&format!("{name}/blocks"));
    let write_rate = config.write_rate.map(|rate| rate.0);
    let shares = classes.limits(capacity);
    let limits = VolumeLimits { capacity, direct: config.direct, write_rate, queue, shares };
    Volume::start(number, &name, log, tables, &limits)
}
