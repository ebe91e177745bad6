//! Purge epochs of objects that were purged by name, by a hash of the name. A hash collision only costs a fetch.

use std::collections::HashMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use foldhash::fast::RandomState;
use parking_lot::RwLock;
use twox_hash::XxHash3_64;

use crate::cache::disk::object_stripe;
use crate::s3::{BucketName, ObjectKey};

const SHARDS: usize = 64;
/// Stripes of the first format, which identified objects by a 16-bit hash.
pub(super) const STRIPES: usize = 1 << 16;

/// A hash of an object's bucket and key, stable across processes, whatever its realm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct NameHash(pub(super) u64);

impl NameHash {
    pub(super) fn of(bucket: &BucketName, key: &ObjectKey) -> Self {
        let (bucket, key) = (bucket.as_str().as_bytes(), key.as_str().as_bytes());
        Self(XxHash3_64::oneshot_with_seed(XxHash3_64::oneshot(bucket), key))
    }
}

pub(super) struct KeyEpochs {
    shards: Box<[RwLock<HashMap<NameHash, u32, RandomState>>]>,
    entries: AtomicUsize,
    /// Epochs of stripes, read from a file of the first format.
    stripes: OnceLock<Box<[AtomicU32]>>,
}

impl KeyEpochs {
    pub(super) fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            entries: AtomicUsize::new(0),
            stripes: OnceLock::new(),
        }
    }

    /// Returns the epoch of a key; 0: it was not purged by name.
    pub(super) fn of(&self, bucket: &BucketName, key: &ObjectKey) -> u32 {
        let of_stripe = self.stripes.get().map_or(0, |stripes| {
            stripes[usize::from(object_stripe(bucket, key))].load(Ordering::Acquire)
        });
        if self.entries.load(Ordering::Acquire) == 0 {
            return of_stripe;
        }
        let name = NameHash::of(bucket, key);
        self.shard(name).read().get(&name).copied().unwrap_or(0).max(of_stripe)
    }

    fn shard(&self, NameHash(hash): NameHash) -> &RwLock<HashMap<NameHash, u32, RandomState>> {
        &self.shards[usize::try_from(hash % SHARDS as u64).expect("below SHARDS")]
    }

    pub(super) fn raise(&self, name: NameHash, number: u32) {
        let mut shard = self.shard(name).write();
        let epoch = shard.entry(name).or_insert_with(|| {
            self.entries.fetch_add(1, Ordering::AcqRel);
            0
        });
        *epoch = number.max(*epoch);
    }

    pub(super) fn raise_stripe(&self, stripe: u16, number: u32) {
        let stripes =
            self.stripes.get_or_init(|| (0..STRIPES).map(|_| AtomicU32::new(0)).collect());
        stripes[usize::from(stripe)].fetch_max(number, Ordering::AcqRel);
    }

    /// Drops the epochs up to `number`, which another epoch covers now.
    pub(super) fn drop_up_to(&self, number: u32) {
        for shard in &self.shards {
            let mut shard = shard.write();
            let before = shard.len();
            shard.retain(|_, epoch| *epoch > number);
            self.entries.fetch_sub(before - shard.len(), Ordering::AcqRel);
        }
        for epoch in self.stripes.get().into_iter().flatten() {
            let lower = |epoch| (epoch <= number).then_some(0);
            let _ = epoch.fetch_update(Ordering::AcqRel, Ordering::Acquire, lower);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.load(Ordering::Acquire)
    }

    /// Calls `take` with all names and epochs, shard by shard.
    pub(super) fn each(&self, mut take: impl FnMut(NameHash, u32)) {
        for shard in &self.shards {
            shard.read().iter().for_each(|(name, epoch)| take(*name, *epoch));
        }
    }

    /// Returns all stripes with an epoch.
    pub(super) fn stripes(&self) -> impl Iterator<Item = (u16, u32)> {
        let epochs = self.stripes.get().into_iter().flatten();
        let epochs = (0..=u16::MAX).zip(epochs.map(|epoch| epoch.load(Ordering::Acquire)));
        epochs.filter(|(_, epoch)| *epoch > 0)
    }
}
