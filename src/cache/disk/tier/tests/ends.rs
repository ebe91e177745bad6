//! Ends of a process, and trust at the next start: records of one that may lack tombstones are confirmed (R38).

use rustix::io::Errno;
use tokio::task::yield_now;

use super::*;

/// Returns the device after a clean shutdown, and the three objects on it.
async fn left() -> (Device, [ObjectId; 3]) {
    let (device, ids) = (Device::new(), [id("one", 0), id("one", 1), id("one", 2)]);
    let tier = device.open();
    for id in &ids {
        tier.remember(id, &meta(id, 1), SystemTime::now(), || true);
    }
    tier.finish().await;
    (device.kill(), ids)
}

#[tokio::test]
async fn r38_after_a_good_end_records_are_believed_and_after_another_confirmed_once() {
    let (device, ids) = left().await;
    let tier = device.open();
    assert_eq!(recall_confirmed(&tier, &ids[0]).await, Some(1));
    drop(tier);
    // It was killed.
    let device = device.kill();
    let tier = device.open();
    assert_eq!(recall_confirmed(&tier, &ids[0]).await, None);
    assert_eq!(recall(&tier, &ids[0]).await, Some(1), "it is not lost");
    // One object is confirmed, and written again.
    tier.remember(&ids[1], &meta(&ids[1], 1), SystemTime::now(), || true);
    tier.finish().await;
    assert_eq!(recall_confirmed(&tier, &ids[1]).await, Some(1));
    drop(tier);
    // A clean shutdown does not confirm the other records.
    let tier = device.kill().open();
    assert_eq!(recall_confirmed(&tier, &ids[1]).await, Some(1));
    assert_eq!(recall_confirmed(&tier, &ids[0]).await, None);
}

#[tokio::test]
async fn r38_what_is_written_after_a_good_end_takes_its_mark_back() {
    let (device, ids) = left().await;
    let tier = device.open();
    tier.finish().await;
    assert!(device.objects.names().iter().any(|name| name.contains(".clean")));
    device.objects.hang(Op::Sync);
    let ticket = tier.forget(&ids[0]).expect("known");
    while device.objects.hanging() == 0 {
        yield_now().await;
    }
    let next = device.kill().open();
    assert_eq!(recall_confirmed(&next, &ids[1]).await, None);
    device.objects.release();
    assert!(tier.durable(ticket, FLUSH_TIMEOUT).await);
}

#[tokio::test(start_paused = true)]
async fn r38_an_end_while_the_device_hung_is_no_good_end() {
    let (device, ids) = left().await;
    let tier = Arc::new(device.open());
    device.objects.hang(Op::Sync);
    let ticket = tier.forget(&ids[0]).expect("known");
    assert!(!tier.durable(ticket, Duration::from_secs(1)).await);
    // What comes meanwhile is not written, so that the queue does not grow.
    tier.remember(&ids[1], &meta(&ids[1], 2), SystemTime::now(), || true);
    assert_eq!(recall(&tier, &ids[1]).await, Some(1));
    // A repeated invalidation waits for it, too.
    assert_eq!(tier.unsettled(), Some(ticket));
    assert_eq!(recall_confirmed(&device.power_cut(1).open(), &ids[0]).await, None);
    device.objects.release();
    while !tier.durable(ticket, FLUSH_TIMEOUT).await {
        yield_now().await;
    }
    assert_eq!(tier.unsettled(), None);
    tier.finish().await;
    let next = device.kill().open();
    assert_eq!(recall(&next, &ids[0]).await, None);
    assert_eq!(recall_confirmed(&next, &ids[1]).await, Some(1));
}

#[tokio::test]
async fn r38_metadata_is_not_lost_when_the_device_fails_and_nothing_is_acknowledged_meanwhile() {
    for errno in [Errno::IO, Errno::MFILE, Errno::ROFS] {
        let (device, ids) = left().await;
        let tier = device.open();
        for op in [Op::Create, Op::Write, Op::Sync] {
            device.objects.fail(op, errno, usize::MAX);
        }
        let ticket = tier.forget(&ids[0]).expect("known");
        for _ in 0..3 {
            assert!(!tier.durable(ticket, FLUSH_TIMEOUT).await, "{errno}");
            assert_eq!(tier.unsettled(), Some(ticket), "{errno}");
        }
        tier.finish().await;
        let next = device.kill();
        next.heal();
        let next = next.open();
        assert_eq!(recall_confirmed(&next, &ids[0]).await, None, "{errno}");
        assert_eq!(recall(&next, &ids[1]).await, Some(1), "{errno}: it was not damaged");
        // A repeated request tries the device again.
        device.heal();
        while !tier.durable(ticket, FLUSH_TIMEOUT).await {
            yield_now().await;
        }
        tier.finish().await;
        let next = device.kill().open();
        assert_eq!(recall_confirmed(&next, &ids[0]).await, None, "{errno}");
        assert_eq!(recall_confirmed(&next, &ids[1]).await, None, "{errno}");
        assert_eq!(recall(&next, &ids[1]).await, Some(1), "{errno}");
    }
}
