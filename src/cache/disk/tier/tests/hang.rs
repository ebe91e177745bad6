//! Devices that hang: only the first requests wait for them, and only for a moment.

use tokio::task::yield_now;
use tokio::time::{Instant, advance};

use super::*;

/// Waits until `count` operations hang.
async fn hanging(folder: &SimFolder, count: usize) {
    while folder.hanging() < count {
        yield_now().await;
    }
}

/// Longer than a read is waited for.
const HANG: Duration = Duration::from_millis(501);

#[tokio::test(start_paused = true)]
async fn reads_that_hang_are_given_up_and_the_next_ones_do_not_wait() {
    said::listen();
    let device = Device::new();
    let tier = Arc::new(device.open());
    let keys: Vec<_> = (0..4).map(|n| block_key(&id("one", n), 1, 0)).collect();
    write(&tier, &keys).await;
    device.set_cached(Cached::Nothing);
    device.blocks.hang(Op::Read);
    let spawn = |key: &BlockKey| {
        let (tier, key) = (tier.clone(), key.clone());
        tokio::spawn(async move { read(&tier, &key, 0).await })
    };
    let waiting: Vec<_> = keys.iter().map(spawn).collect();
    hanging(&device.blocks, 4).await;
    advance(HANG).await;
    for read in waiting {
        assert!(!read.await.unwrap());
    }
    let now = Instant::now();
    assert!(!read(&tier, &keys[0], 0).await);
    assert_eq!((now.elapsed(), device.blocks.asked(Op::Read)), (Duration::ZERO, 4));
    // One probe tries again, and nobody waits for it.
    assert_eq!(tier.presence(&keys[0]), Presence::Bypassed);
    advance(Duration::from_secs(1)).await;
    for key in &keys {
        assert_eq!(tier.presence(key), Presence::Bypassed);
    }
    hanging(&device.blocks, 5).await;
    advance(HANG).await;
    assert_eq!((tier.presence(&keys[0]), device.blocks.hanging()), (Presence::Bypassed, 5));
    device.blocks.release();
    until_readable(&tier, &keys[0]).await;
    for key in &keys {
        // Those that hung give back their places one by one.
        while !read(&tier, key, 0).await {
            yield_now().await;
        }
    }
    let said = said::about(&device.path);
    assert!(said.len() == 2 && said[1].contains("works again"), "{said:?}");
}

#[tokio::test(start_paused = true)]
async fn what_hangs_is_not_asked_for_metadata_either() {
    let device = Device::new();
    let tier = Arc::new(device.open());
    let ids: Vec<_> = (0..6).map(|n| id("one", n)).collect();
    for id in &ids {
        tier.remember(id, &meta(id, 1), SystemTime::now(), || true);
    }
    tier.finish().await;
    device.set_cached(Cached::Nothing);
    device.objects.hang(Op::Read);
    let spawn = |id: &ObjectId| {
        let (tier, id) = (tier.clone(), id.clone());
        tokio::spawn(async move { recall(&tier, &id).await })
    };
    let waiting: Vec<_> = ids[..3].iter().map(spawn).collect();
    hanging(&device.objects, 3).await;
    advance(HANG).await;
    for recalled in waiting {
        assert_eq!(recalled.await.unwrap(), None);
    }
    let now = Instant::now();
    assert_eq!(recall(&tier, &ids[3]).await, None);
    assert_eq!((now.elapsed(), device.objects.asked(Op::Read)), (Duration::ZERO, 3));
    device.objects.release();
    advance(Duration::from_secs(1)).await;
    for id in &ids {
        assert_eq!(recall(&tier, id).await, Some(1));
    }
}

#[tokio::test]
async fn a_writer_that_hangs_fills_its_queue_and_nothing_else() {
    let device = Device::new();
    let tier = device.open();
    device.blocks.hang(Op::Write);
    let keys: Vec<_> = (0..100).map(|n| block_key(&id("one", n), 1, 0)).collect();
    let offered: Vec<_> = keys.iter().map(|key| tier.offer(key, &block(key, 0), true)).collect();
    let taken = offered.iter().filter(|taken| **taken).count();
    assert_eq!(taken as u64, 8 * MIB / BLOCK, "as many as the queue holds");
    hanging(&device.blocks, 1).await;
    for (key, taken) in keys.iter().zip(&offered) {
        assert_eq!(read(&tier, key, 7).await, *taken);
    }
    assert!(tier.usage().queued_bytes <= 8 * MIB);
    device.blocks.release();
    tier.finish().await;
    assert_eq!(tier.usage().queued_bytes, 0);
    for (key, taken) in keys.iter().zip(&offered) {
        assert_eq!(read(&tier, key, 7).await, *taken);
    }
    assert!(tier.offer(&keys[99], &block(&keys[99], 0), true));
}

#[tokio::test(start_paused = true)]
async fn r11_an_invalidation_waits_for_a_hanging_device_once() {
    let device = Device::new();
    let tier = device.open();
    let ids: Vec<_> = (0..3).map(|n| id("one", n)).collect();
    for id in &ids {
        tier.remember(id, &meta(id, 1), SystemTime::now(), || true);
    }
    tier.finish().await;
    device.objects.hang(Op::Sync);
    let ticket = tier.forget(&ids[0]).expect("known");
    assert!(!tier.durable(ticket, HANG).await);
    let now = Instant::now();
    let second = tier.forget(&ids[1]).expect("known");
    assert!(!tier.durable(second, HANG).await);
    assert_eq!(now.elapsed(), Duration::ZERO);
    // A repeated invalidation is not durable yet either.
    assert!(tier.forget(&ids[0]).is_some());
    device.objects.release();
    while !tier.durable(second, HANG).await {
        yield_now().await;
    }
    assert!(tier.durable(ticket, HANG).await && tier.forget(&ids[0]).is_none());
    let tier = device.power_cut(1).open();
    assert_eq!(recall(&tier, &ids[0]).await, None);
    assert_eq!(recall(&tier, &ids[2]).await, Some(1));
}
