//! Readers of a disk that does not return its blocks: they ask the origin, and never spin (R37).

use std::sync::mpsc;
use std::thread;

use super::*;
use crate::cache::lookup::found::{Found, Source};
use crate::cache::metadata::clock::Moment;
use crate::cache::rules::policy::Fetching;
use crate::cache::{Cache, CacheConfig, CacheError};
use crate::origin::{Origin, OriginConfig};

/// Far longer than a refused connection takes.
const WATCHDOG: Duration = Duration::from_secs(30);

/// Returns a cache over `tier`, whose origin refuses connections.
fn cache(tier: DiskTier) -> Arc<Cache> {
    let config = OriginConfig {
        endpoint: "http://127.0.0.1:1".to_owned(),
        attempts: 1,
        ..OriginConfig::default()
    };
    let origin = Arc::new(Origin::new(config, None).expect("a right configuration"));
    let config = CacheConfig { block: ByteSize(BLOCK), ..CacheConfig::default() };
    Cache::over(Some(tier), Arc::new(PurgeEpochs::new()), &config, &[], origin)
}

/// Lets reads hang until the device is bypassed.
async fn bypass(device: &Device, tier: &DiskTier, keys: &[BlockKey]) {
    device.set_cached(Cached::Nothing);
    device.blocks.hang(Op::Read);
    let reads = keys.iter().map(|key| read(tier, key, 0));
    assert!(!futures_util::future::join_all(reads).await.contains(&true));
    assert!(keys.iter().all(|key| tier.holds(key).is_none()), "a bypassed device holds nothing");
}

async fn read_bypassed(device: Device) -> Result<(), CacheError> {
    let tier = device.open();
    let keys: Vec<_> = (0..4).map(|n| block_key(&id("one", n), 1, 0)).collect();
    write(&tier, &keys).await;
    bypass(&device, &tier, &keys).await;
    let cache = cache(tier);
    let id = id("one", 0);
    let meta = Arc::new(meta(&id, 1));
    let found = Found {
        version: cache.objects.version(&id, &meta),
        generation: cache.objects.generations.current(&id),
        source: Source::Hit,
        since: Moment::now(),
        fetching: Fetching::default(),
        opening: None,
        claims: Vec::new(),
        meta,
        id,
    };
    let mut reader = cache.reader(found, 0..BLOCK);
    let outcome = reader.next().await.map(drop);
    device.blocks.release();
    outcome
}

/// Runs on a thread of its own: a reader that spins lets no timer of its runtime fire.
#[test]
fn r37_a_reader_of_a_disk_that_is_bypassed_asks_the_origin_and_does_not_spin() {
    let (ended, outcome) = mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let _ = ended.send(runtime.expect("a runtime").block_on(read_bypassed(Device::new())));
    });
    let outcome = outcome.recv_timeout(WATCHDOG).expect("a reader that ends");
    assert!(matches!(outcome, Err(CacheError::Origin(_))), "{outcome:?}");
}
