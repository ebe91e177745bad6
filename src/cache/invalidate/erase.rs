//! Erasing what is purged (R28): a purge makes sure that nobody finds it any more, this that it is not there any more.
//!
//! What is told here holds for what was there when it began. Who reads meanwhile brings what the origin has, and what
//! is on its way to a client stays until it has arrived.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout_at};

use super::scope::{Covered, Scope};
use crate::cache::disk::{ErasedFiles, NotErased};
use crate::cache::tiers::blocks::BlockTiers;

/// What was erased.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Erased {
    /// Bytes of blocks that memory held.
    pub memory_bytes: u64,
    /// All zeros without a disk tier.
    pub files: ErasedFiles,
}

/// Why something may still be there. It is purged all the same, and the same may be asked again.
#[derive(Debug, thiserror::Error)]
pub enum EraseError {
    #[error(transparent)]
    Disk(#[from] NotErased),
    #[error("it takes longer, and goes on")]
    Time,
    #[error("it was given up")]
    GivenUp,
}

/// Removes what was purged from memory and from the files of the disk tier.
pub(in crate::cache) struct Eraser {
    blocks: Arc<BlockTiers>,
    /// Held by who erases.
    lock: Arc<Mutex<()>>,
}

impl Eraser {
    pub(in crate::cache) fn new(blocks: Arc<BlockTiers>) -> Self {
        Self { blocks, lock: Arc::default() }
    }

    /// Removes what was purged, now or before. `scopes`: what was purged now. One at a time; when `limit` is over it goes
    /// on, and the next waits for it.
    ///
    /// # Errors
    /// [`EraseError`]: something may still be there.
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

/// Lets go of what purges ended. Returns the bytes of blocks.
fn erase_memory(blocks: &BlockTiers, covered: &Covered) -> u64 {
    let BlockTiers { objects, memory, .. } = blocks;
    // Whoever is about to keep what a purge of many ended has done so by then.
    objects.generations.settle();
    for (id, entry) in objects.meta.iter() {
        // In whatever way it was asked for.
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

    /// Metadata, and the only block.
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
            // What was on its way to memory then stays out.
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
