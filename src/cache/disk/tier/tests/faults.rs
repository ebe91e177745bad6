//! Devices that fail: reads are misses, failures are counted and logged once, and the tier recovers with the device.

use futures_util::future::join_all;
use rustix::io::Errno;
use tokio::task::yield_now;

use super::*;

const ERRNOS: [Errno; 3] = [Errno::NOSPC, Errno::IO, Errno::ROFS];
const WRITING: [Op; 6] =
    [Op::Create, Op::Write, Op::SyncFolder, Op::Sync, Op::Truncate, Op::Remove];

fn keys(upto: u64) -> Vec<BlockKey> {
    (0..upto).map(|n| block_key(&id("one", n), 1, 0)).collect()
}

/// Offers a block until it is on disk; the first attempts may find the tier bypassed.
async fn until_written(tier: &DiskTier, number: u64) {
    let key = block_key(&id("back", number), 1, 0);
    loop {
        write(tier, std::slice::from_ref(&key)).await;
        if read(tier, &key, 0).await {
            return;
        }
    }
}

async fn blocks_survive(op: Op, errno: Errno) {
    let device = Device::new();
    let tier = device.open();
    let keys = keys(12);
    write(&tier, &keys[..2]).await;
    device.blocks.fail(op, errno, usize::MAX);
    for key in &keys[2..] {
        write(&tier, std::slice::from_ref(key)).await;
        for key in &keys {
            read(&tier, key, 0).await;
        }
    }
    let said = said::about(&device.path);
    assert!(said.len() <= 1, "{op:?} {errno}: {said:?}");
    device.heal();
    until_written(&tier, 1).await;
    until_written(&tier, 2).await;
    let said = said::about(&device.path);
    assert!(said.len() <= 2, "{op:?} {errno}: {said:?}");
    drop(tier);
    let tier = device.kill().open();
    for key in &keys {
        read(&tier, key, 0).await;
    }
    assert!(read(&tier, &block_key(&id("back", 2), 1, 0), 0).await);
}

#[tokio::test]
async fn a_device_that_cannot_be_written_is_passed_by_until_it_can() {
    said::listen();
    let cases = WRITING.iter().flat_map(|op| ERRNOS.map(|errno| blocks_survive(*op, errno)));
    join_all(cases).await;
}

async fn metadata_survives(op: Op, errno: Errno) {
    let folder = SimFolder::new();
    let path = format!("/sim/objects/{op:?}/{errno}/");
    let start = |folder: &SimFolder| start_objects(folder, &path, (MIB, 900));
    let confirmed = async |log: &Objects, n| {
        let recalled = log.recall(&id("one", n)).await;
        recalled.is_some_and(|recalled| recalled.is_confirmed)
    };
    let remember = |log: &Objects, n| {
        log.remember(
            &id("one", n),
            &ObjectRecord { meta: meta(&id("one", n), 1), learned: UNIX_EPOCH },
            || true,
        );
    };
    let log = start(&folder);
    for n in 0..10 {
        remember(&log, n);
    }
    log.finish().await;
    folder.fail(op, errno, usize::MAX);
    let mut void = Vec::new();
    for n in 0..5 {
        remember(&log, 20 + n);
        let durable = match log.forget(&id("one", n)) {
            Some(ticket) => log.durable(ticket, FLUSH_TIMEOUT).await,
            None => true,
        };
        void.extend(durable.then_some(n));
        assert!(log.recall(&id("one", n)).await.is_none());
        // Acknowledged invalidations survive a power cut now.
        let log = start(&folder.power_cut(n));
        for n in &void {
            assert!(!confirmed(&log, *n).await, "{op:?} {errno}: {n} came back");
        }
    }
    assert!(said::about(&path).iter().filter(|l| l.contains("writing")).count() <= 1);
    folder.heal();
    // It may be bypassed still.
    loop {
        remember(&log, 30);
        log.finish().await;
        if log.recall(&id("one", 30)).await.is_some() {
            break;
        }
    }
    let ticket = log.forget(&id("one", 30)).expect("it is known");
    assert!(log.durable(ticket, FLUSH_TIMEOUT).await);
    let log = start(&folder.power_cut(7));
    for n in [0, 1, 2, 3, 4, 30] {
        assert!(!confirmed(&log, n).await, "{op:?} {errno}: {n} came back");
    }
}

#[tokio::test]
async fn r11_metadata_that_cannot_be_written_does_not_come_back() {
    said::listen();
    let cases = WRITING.iter().flat_map(|op| ERRNOS.map(|errno| metadata_survives(*op, errno)));
    join_all(cases).await;
}

#[tokio::test]
async fn r11_what_cannot_be_read_once_is_not_forgotten_without_a_tombstone() {
    let (device, id) = (Device::new(), id("one", 1));
    let tier = device.open();
    tier.remember(&id, &meta(&id, 1), SystemTime::now(), || true);
    tier.finish().await;
    device.set_cached(Cached::Nothing);
    device.fail(Op::Read, Errno::IO, 1);
    assert_eq!(recall(&tier, &id).await, None);
    assert_eq!(recall(&tier, &id).await, Some(1));
    device.fail(Op::Read, Errno::IO, 1);
    assert_eq!(recall(&tier, &id).await, None);
    let ticket = tier.forget(&id).expect("it is still there");
    assert!(tier.durable(ticket, FLUSH_TIMEOUT).await);
    assert_eq!(recall(&device.kill().open(), &id).await, None);
}

#[tokio::test]
async fn r11_a_fault_while_opening_costs_what_it_hides_and_brings_nothing_back() {
    let before = Device::new();
    let (kept, void) = (id("one", 1), id("one", 2));
    let key = block_key(&kept, 1, 0);
    let tier = before.open();
    tier.remember(&kept, &meta(&kept, 1), SystemTime::now(), || true);
    tier.remember(&void, &meta(&void, 1), SystemTime::now(), || true);
    write(&tier, std::slice::from_ref(&key)).await;
    assert!(tier.durable(tier.forget(&void).expect("known"), FLUSH_TIMEOUT).await);
    // Without a footer.
    tier.offer(&block_key(&kept, 1, 2), &block(&block_key(&kept, 1, 2), 0), true);
    drop(tier);
    for op in Op::ALL {
        for (errno, times) in ERRNOS.into_iter().flat_map(|e| [(e, 1), (e, 2), (e, usize::MAX)]) {
            let device = before.kill();
            device.fail(op, errno, times);
            for _ in 0..2 {
                let Ok(tier) = device.try_open(&[]) else { continue };
                read(&tier, &key, 0).await;
                read(&tier, &block_key(&kept, 1, 2), 0).await;
                assert!(recall(&tier, &kept).await.is_none_or(|version| version == 1));
                assert_eq!(recall_confirmed(&tier, &void).await, None);
                let acknowledged = match tier.forget(&kept) {
                    Some(ticket) => tier.durable(ticket, FLUSH_TIMEOUT).await,
                    None => true,
                };
                if acknowledged {
                    let again = device.kill().open();
                    let came_back = recall_confirmed(&again, &kept).await;
                    assert_eq!(came_back, None, "{op:?} {errno} {times}");
                }
            }
            let tier = device.kill().open();
            read(&tier, &key, 0).await;
            assert_eq!(recall_confirmed(&tier, &void).await, None);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_device_that_cannot_be_read_is_passed_by_until_it_can() {
    said::listen();
    let device = Device::new();
    let tier = device.open();
    let keys = keys(12);
    write(&tier, &keys).await;
    device.set_cached(Cached::Nothing);
    device.blocks.fail(Op::Read, Errno::IO, usize::MAX);
    for key in &keys[..6] {
        assert!(!read(&tier, key, 0).await);
    }
    assert_eq!(device.blocks.asked(Op::Read), 3, "the others passed it by");
    // Cached data is served.
    device.set_cached(Cached::All);
    assert!(read(&tier, &keys[6], 0).await);
    device.set_cached(Cached::Nothing);
    tokio::time::advance(Duration::from_secs(1)).await;
    for key in &keys[6..9] {
        assert_eq!(tier.presence(key), Presence::Bypassed);
        assert!(!read(&tier, key, 0).await);
    }
    while device.blocks.asked(Op::Read) < 4 {
        yield_now().await;
    }
    assert_eq!(tier.presence(&keys[6]), Presence::Bypassed, "one tried, and nobody waited for it");
    device.heal();
    until_readable(&tier, &keys[6]).await;
    for key in &keys[9..] {
        assert!(read(&tier, key, 0).await);
    }
    let said = said::about(&device.path);
    assert!(said.len() == 2 && said[1].contains("works again"), "{said:?}");
}
