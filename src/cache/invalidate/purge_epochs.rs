//! Purge epochs: blocks older than the last purge that covers them are never served (R28).
//!
//! Each purge has a number, larger than all before it. The *epoch* of an object is the number of the last purge that
//! covered it, 0 if there was none. It is part of the key of a version's blocks: after a purge they are looked up under
//! another key, so that no purge has to find them, however many they are. Purge epochs outlive the process, as blocks
//! on disk do, and only ever rise.
//!
//! Tables are bounded. When one is full, the older half of it is replaced by one epoch for everything, that of the
//! youngest among them: then everything cached before is fetched once more, and there is room for as many purges again.

mod encoding;
mod globs;
mod keys;
mod prefixes;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::scope::Scope;
use crate::s3::{BucketName, MAX_KEY, ObjectId, ObjectKey};

use encoding::Change;
use globs::GlobEpochs;
use keys::{KeyEpochs, NameHash};
use prefixes::PrefixEpochs;

/// Maximum number of objects purged by name that are tracked separately: 16 bytes each and a table's slack.
const KEYS: usize = 1 << 19;
/// Maximum number of purged prefixes, buckets included, that are tracked separately.
const PREFIXES: usize = 1 << 16;
/// Maximum bytes of all these prefixes.
const PREFIX_BYTES: usize = 16 << 20;
/// Maximum bytes of changes that wait to be written; with more, all purge epochs are rewritten.
const PENDING: usize = 256 << 10;
/// A number larger than any lead of purge numbers over a clock that counts seconds.
const AHEAD: u32 = 1 << 24;
/// Bytes of the longest bucket name, a slash and the longest key.
const NAME_MAX: usize = 255 + 1 + MAX_KEY;

/// All purge epochs.
pub(in crate::cache) struct PurgeEpochs {
    /// The number of the last purge of any kind, and of the last one of more than an object.
    last: AtomicU32,
    last_wide: AtomicU32,
    /// Epochs of prefixes, keyed by [`in_bucket`]. The empty prefix covers everything.
    prefixes: ArcSwap<PrefixEpochs>,
    keys: KeyEpochs,
    globs: ArcSwap<GlobEpochs>,
    /// Changes to be written; locked while purge epochs are raised.
    pending: Mutex<Pending>,
}

/// Changes since purge epochs were last written.
#[derive(Default)]
struct Pending {
    changes: Vec<u8>,
    /// Whether changes were dropped, since there were too many.
    is_cut: bool,
}

/// Returns the name `bucket/prefix`; it is unambiguous, since no bucket's name has a slash.
fn in_bucket(bucket: &BucketName, prefix: &str) -> Vec<u8> {
    [bucket.as_str().as_bytes(), b"/", prefix.as_bytes()].concat()
}

impl PurgeEpochs {
    pub(in crate::cache) fn new() -> Self {
        Self {
            last: AtomicU32::new(0),
            last_wide: AtomicU32::new(0),
            prefixes: ArcSwap::default(),
            keys: KeyEpochs::new(),
            globs: ArcSwap::default(),
            pending: Mutex::default(),
        }
    }

    /// Returns the epoch of an object.
    pub(in crate::cache) fn of(&self, id: &ObjectId) -> u32 {
        self.of_key(id.bucket(), id.key())
    }

    /// Returns the epoch of a key, which is the same in every realm.
    pub(in crate::cache) fn of_key(&self, bucket: &BucketName, key: &ObjectKey) -> u32 {
        if self.last.load(Ordering::Acquire) == 0 {
            return 0;
        }
        // In this order: an epoch that leaves the one table is covered by the other before.
        self.keys.of(bucket, key).max(self.wide_of_key(bucket, key))
    }

    /// Returns the number of the last purge of more than one object that covered this one. Called by every read, it
    /// takes no lock.
    pub(in crate::cache) fn wide(&self, id: &ObjectId) -> u32 {
        self.wide_of_key(id.bucket(), id.key())
    }

    fn wide_of_key(&self, bucket: &BucketName, key: &ObjectKey) -> u32 {
        if self.last_wide.load(Ordering::Acquire) == 0 {
            return 0;
        }
        // Before prefixes: an epoch that leaves this table is covered by the other before.
        let globs = self.globs.load().of(bucket, key);
        let (bucket, key) = (bucket.as_str().as_bytes(), key.as_str().as_bytes());
        let (slash, end) = (bucket.len(), bucket.len() + 1 + key.len());
        let mut name = [0; NAME_MAX];
        name[..slash].copy_from_slice(bucket);
        name[slash] = b'/';
        name[slash + 1..end].copy_from_slice(key);
        self.prefixes.load().of(&name[..end]).max(globs)
    }

    /// Raises the epoch of everything that a purge covers.
    pub(in crate::cache) fn raise(&self, scope: &Scope) {
        let mut pending = self.pending.lock();
        let number = self.next();
        let change = match scope {
            Scope::Object(bucket, key) => Change::Key(NameHash::of(bucket, key), number),
            // The prefix is longer than any key.
            Scope::Prefix(_, prefix) if prefix.len() > MAX_KEY => Change::Last(number),
            Scope::Prefix(bucket, prefix) => Change::Prefix(in_bucket(bucket, prefix), number),
            Scope::Bucket(bucket) => Change::Prefix(in_bucket(bucket, ""), number),
            Scope::Glob(glob) => Change::Glob(glob.clone(), number),
            Scope::Everything => Change::Prefix(Vec::new(), number),
        };
        self.apply(&change);
        pending.push(&change);
        for change in self.make_room() {
            pending.push(&change);
        }
    }

    /// Replaces the older half of a table that is full by purge epochs that cover it, which are returned.
    fn make_room(&self) -> Vec<Change> {
        let globs = self.globs.load().overflow();
        let mut changes: Vec<Change> =
            globs.into_iter().map(|(prefix, number)| Change::Prefix(prefix, number)).collect();
        for change in &changes {
            self.apply(change);
        }
        changes.extend(self.make_room_for_names());
        changes
    }

    /// Merges the older half of the tables of prefixes and keys, if one is full, into one epoch for everything.
    fn make_room_for_names(&self) -> Option<Change> {
        let prefixes = self.prefixes.load_full();
        let mut numbers = Vec::new();
        if prefixes.len() > PREFIXES || prefixes.bytes() > PREFIX_BYTES {
            numbers.extend(prefixes.iter().map(|(_, number)| number));
        } else if self.keys.len() > KEYS {
            self.keys.each(|_, number| numbers.push(number));
        } else {
            return None;
        }
        let middle = numbers.len() / 2;
        let (_, number, _) = numbers.select_nth_unstable(middle);
        log::warn!(
            "{middle} purges are merged into one of everything before the last of them: all that is cached is fetched \
             once more"
        );
        let everything = Change::Prefix(Vec::new(), *number);
        self.apply(&everything);
        Some(everything)
    }

    fn apply(&self, change: &Change) {
        match change {
            Change::Last(number) => drop(self.last.fetch_max(*number, Ordering::AcqRel)),
            Change::Key(name, number) => {
                self.last.fetch_max(*number, Ordering::AcqRel);
                self.keys.raise(*name, *number);
            }
            Change::Stripe(stripe, number) => {
                self.last.fetch_max(*number, Ordering::AcqRel);
                self.keys.raise_stripe(*stripe, *number);
            }
            Change::Prefix(prefix, number) => {
                self.last.fetch_max(*number, Ordering::AcqRel);
                let raised = self.prefixes.load().raised(prefix, *number);
                self.prefixes.store(Arc::new(raised));
                self.last_wide.fetch_max(*number, Ordering::AcqRel);
                if self.globs.load().len() > 0 {
                    let left = self.globs.load().without(prefix, *number);
                    self.globs.store(Arc::new(left));
                }
                if prefix.is_empty() {
                    self.keys.drop_up_to(*number);
                }
            }
            Change::Glob(glob, number) => {
                self.last.fetch_max(*number, Ordering::AcqRel);
                let raised = self.globs.load().raised(glob, *number);
                self.globs.store(Arc::new(raised));
                self.last_wide.fetch_max(*number, Ordering::AcqRel);
            }
        }
    }

    /// Returns the next purge number: seconds of the clock, so that numbers rise even if the stored ones are lost.
    fn next(&self) -> u32 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = u32::try_from(now.as_secs()).unwrap_or(u32::MAX);
        let next = |last: u32| Some(now.max(last.saturating_add(1)));
        let before = self.last.fetch_update(Ordering::AcqRel, Ordering::Acquire, next);
        next(before.unwrap_or_else(|last| last)).unwrap_or(u32::MAX)
    }

    /// Returns the changes since the last call, to be appended to the bytes of [`PurgeEpochs::encode`]; `None`: too
    /// many, everything has to be encoded anew.
    pub(in crate::cache) fn take_changes(&self) -> Option<Vec<u8>> {
        let Pending { changes, is_cut } = std::mem::take(&mut *self.pending.lock());
        let mut frame = Vec::new();
        if !changes.is_empty() {
            encoding::frame(&mut frame, &changes);
        }
        (!is_cut).then_some(frame)
    }

    /// Encodes all purge epochs, to be stored.
    pub(in crate::cache) fn encode(&self) -> Vec<u8> {
        // Prevents epochs from moving between tables meanwhile.
        let _pending = self.pending.lock();
        let mut changes = Vec::new();
        Change::Last(self.last.load(Ordering::Acquire)).encode(&mut changes);
        for (prefix, number) in self.prefixes.load().iter() {
            Change::Prefix(prefix.to_vec(), number).encode(&mut changes);
        }
        for (glob, number) in self.globs.load().iter() {
            Change::Glob(glob.clone(), *number).encode(&mut changes);
        }
        self.keys.each(|name, number| Change::Key(name, number).encode(&mut changes));
        for (stripe, number) in self.keys.stripes() {
            Change::Stripe(stripe, number).encode(&mut changes);
        }
        let mut out = encoding::begin();
        encoding::frame(&mut out, &changes);
        out
    }

    /// Merges bytes of an earlier [`PurgeEpochs::encode`] and the changes appended to them; the higher epoch wins.
    /// `false`: the bytes are damaged.
    pub(in crate::cache) fn merge(&self, bytes: &[u8]) -> bool {
        let _pending = self.pending.lock();
        let changes = encoding::decode(bytes);
        changes.iter().flatten().for_each(|change| self.apply(change));
        changes.is_some()
    }

    /// Purges everything, after stored purge epochs were lost.
    pub(in crate::cache) fn lost(&self) {
        // Numbers that were given out may have run ahead of the clock.
        self.last.fetch_max(self.next().saturating_add(AHEAD), Ordering::AcqRel);
        self.raise(&Scope::Everything);
    }
}

impl Pending {
    fn push(&mut self, change: &Change) {
        change.encode(&mut self.changes);
        if self.changes.len() > PENDING {
            *self = Self { changes: Vec::new(), is_cut: true };
        }
    }
}

#[cfg(test)]
mod tests;
