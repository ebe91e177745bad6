//! Erasure of purged data (R28): a purge makes data unreachable, erasure removes the bytes.
//!
//! The result covers the data that was there when the erasure began. Reads meanwhile fetch what the origin has, and
//! bytes on their way to a client stay until they have arrived.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout_at};

use super::scope::{Covered, Scope};
use crate::cache::disk::{ErasedFiles, NotErased};
use crate::cache::tiers::blocks::BlockTiers;

/// Amount of erased data.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Erased {
    /// Bytes of blocks erased from memory.
    pub memory_bytes: u64,
    /// Data erased from files; all zeros without a disk tier.
    pub files: ErasedFiles,
}

/// Reasons for which data may still be there. It is purged all the same, and the erasure may be requested again.
#[derive(Debug, thiserror::Error)]
pub enum EraseError {
    #[error(transparent)]
    Disk(#[from] NotErased),
    #[error("it takes longer, and goes on")]
    Time,
    #[error("it was given up")]
    GivenUp,
}

/// Erases purged data from memory and from the files of the disk tier.
pub(in crate::cache) struct Eraser {
    blocks: Arc<BlockTiers>,
    /// Held during an erasure.
    lock: Arc<Mutex<()>>,
}

impl Eraser {
    pub(in crate::cache) fn new(blocks: Arc<BlockTiers>) -> Self {
        Self { blocks, lock: Arc::default() }
    }

    /// Erases purged data, whenever it was purged. `scopes`: those purged now. Only one erasure runs at a time. If it
    /// exceeds `limit`, it goes on in the background, and the next waits for it.
    ///
    /// # Errors
    /// [`EraseError`]: data may still be there.
    pub(in crate::cache) async fn erase(
        &self,
        scopes: &[Scope],
        limit: Duration,
    ) -> Result<Erased, EraseError> {
        let covered = Arc::new(Covered::by(scopes));
        let end = Instant::now() + limit;
        let alone = timeout_at(end, self.lock.clone().lock_owned());
        let alone = alone.await.map_err(|_| EraseError::Time)?;
        let blocks = self.blocks.clone();
        let erasing = tokio::spawn(async move {
            let erased = erase(blocks, covered).await;
            drop(alone);
            erased
        });
        match timeout_at(end, erasing).await {
            Ok(erased) => erased.unwrap_or(Err(EraseError::GivenUp)),
            Err(_) => Err(EraseError::Time),
        }
    }
}

async fn erase(blocks: Arc<BlockTiers>, covered: Arc<Covered>) -> Result<Erased, EraseError> {
    let (tiers, in_memory) = (blocks.clone(), covered.clone());
    let erased = spawn_blocking(move || erase_memory(&tiers, &in_memory)).await;
    let memory_bytes = erased.map_err(|_| EraseError::GivenUp)?;
    let files = match &blocks.objects.disk {
        Some(disk) => disk.erase(&covered).await?,
        None => ErasedFiles::default(),
    };
    Ok(Erased { memory_bytes, files })
}

/// Removes purged entries from memory. Returns the bytes of their blocks.
fn erase_memory(blocks: &BlockTiers, covered: &Covered) -> u64 {
    let BlockTiers { objects, memory, .. } = blocks;
    // Waits for admissions under way, which may still admit purged entries.
    objects.generations.settle();
    for (id, entry) in objects.meta.iter() {
        // For all variants of its requests.
        if covered.covers(id.bucket(), id.key())
            && !objects.generations.is_current(&id, entry.generation)
        {
            objects.meta.remove(&id);
        }
    }
    let mut bytes = 0;
    for (key, block) in memory.iter() {
        if objects.is_purged(&key) {
            bytes += block.len() as u64;
            memory.remove(&key);
        }
    }
    objects.meta.settle();
    memory.settle();
    bytes
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::cache::key::BlockKey;
    use crate::cache::memory::block::Block;
    use crate::cache::metadata::clock::Moment;
    use crate::cache::metadata::store::{Entry, Known};
    use crate::cache::{Cache, CacheConfig, RuleConfig};
    use crate::origin::{Origin, OriginConfig};
    use crate::s3::{BucketName, ObjectId, ObjectKey, testing};

    fn cache() -> Arc<Cache> {
        let origin = Arc::new(Origin::new(OriginConfig::default(), None).unwrap());
        Cache::new(&CacheConfig::default(), &[RuleConfig::default()], origin).unwrap()
    }

    fn id(cache: &Cache, key: &str) -> ObjectId {
        let realm = cache.origin.realm_of(None);
        let bucket = BucketName::new("bucket").unwrap();
        ObjectId::new(&realm, bucket, ObjectKey::new(key).unwrap())
    }

    /// Inserts the metadata and the only block of an object; returns the block's key.
    fn put(cache: &Cache, id: &ObjectId) -> BlockKey {
        let meta = testing::meta("\"e\"", 5);
        let version = cache.objects.version(id, &meta);
        let known = Known::Object { meta: Arc::new(meta), version: version.clone() };
        let generation = cache.objects.generations.current(id);
        cache.objects.meta.insert(id, Entry::new(known, Moment::now(), generation));
        let key = version.block(0);
        cache.blocks.admit(&key, Block::new(0, Bytes::from_static(b"bytes")));
        key
    }

    #[tokio::test]
    async fn r28_what_was_purged_is_not_in_memory_any_more_and_the_rest_is() {
        let bucket = BucketName::new("bucket").unwrap();
        let object = Scope::Object(bucket.clone(), ObjectKey::new("a/1").unwrap());
        let prefix = Scope::Prefix(bucket.clone(), "a/".to_owned());
        for scope in [object, prefix, Scope::Bucket(bucket), Scope::Everything] {
            let cache = cache();
            let (ours, other) = (id(&cache, "a/1"), id(&cache, "b/1"));
            let ways = [ours.clone(), ours.paid()];
            for id in &ways {
                put(&cache, id);
            }
            let other_block = put(&cache, &other);
            let _ = cache.purge(std::slice::from_ref(&scope));
            let wide = matches!(scope, Scope::Bucket(_) | Scope::Everything);
            let erased = cache.erase(&[scope], Duration::MAX / 4).await.unwrap();
            assert_eq!(erased.memory_bytes, if wide { 10 } else { 5 });
            assert!(ways.iter().all(|id| cache.objects.meta.get(id).is_none()));
            assert_eq!(!cache.blocks.memory.has(&other_block), wide);
            assert_eq!(cache.objects.meta.get(&other).is_none(), wide);
            assert_eq!(cache.blocks.memory.usage().1, u64::from(!wide), "moka holds it");
            // A block that was in flight during the purge is not admitted.
            let late = other_block.version().clone();
            let _ = cache.purge(&[Scope::Everything]);
            cache.blocks.admit(&late.block(0), Block::new(0, Bytes::from_static(b"bytes")));
            assert!(!cache.blocks.memory.has(&late.block(0)));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn r28_one_erases_at_a_time_and_the_others_do_not_wait_for_ever() {
        let cache = cache();
        let first = cache.eraser.lock.clone().lock_owned().await;
        let second = cache.erase(&[Scope::Everything], Duration::from_secs(9)).await;
        assert!(matches!(second, Err(EraseError::Time)), "{second:?}");
        drop(first);
        assert!(cache.erase(&[Scope::Everything], Duration::from_secs(9)).await.is_ok());
    }
}
