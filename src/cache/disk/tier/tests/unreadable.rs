//! Files that cannot be opened or read stay, and are used once they can be; a start that fails removes nothing (R35,
//! R38).

use rustix::io::Errno;

use super::*;
use crate::cache::invalidate::scope::Scope;

/// Errors that say nothing about the content of a file.
const ERRNOS: [Errno; 4] = [Errno::IO, Errno::ACCESS, Errno::NOMEM, Errno::PERM];

/// Writes blocks in segments of their own, and metadata.
async fn filled() -> (Device, Vec<BlockKey>) {
    let device = Device::new();
    let mut keys = Vec::new();
    for n in 0..3 {
        let id = id("one", n);
        let tier = device.open();
        tier.remember(&id, &meta(&id, 1), SystemTime::now(), || true);
        keys.push(block_key(&id, 1, 0));
        write(&tier, &keys[keys.len() - 1..]).await;
    }
    (device, keys)
}

fn segments(device: &Device) -> Vec<(String, Vec<u8>)> {
    let of = |folder: &SimFolder| {
        let names = folder.names().into_iter().filter(|name| name.contains(".seg"));
        names.map(|name| (name.clone(), folder.content(&name))).collect::<Vec<_>>()
    };
    [of(&device.blocks), of(&device.objects)].concat()
}

#[tokio::test]
async fn r38_what_cannot_be_opened_or_read_stays_and_is_used_once_it_can_be() {
    said::listen();
    let (before, keys) = filled().await;
    for (op, errno) in [Op::Open, Op::Read].into_iter().flat_map(|op| ERRNOS.map(|e| (op, e))) {
        let mut device = before.kill();
        device.path = format!("{}{op:?}/{errno:?}", before.path);
        device.fail(op, errno, usize::MAX);
        let tier = device.open();
        assert_eq!(tier.usage().device_bytes, before.size(), "{op:?} {errno}: it counts as used");
        assert!(!read(&tier, &keys[0], 0).await);
        tier.finish().await;
        drop(tier);
        let said = said::about(&device.path).join("\n");
        for folder in ["blocks: 3 segments", "objects: 1 segments"] {
            assert!(said.contains(folder), "{op:?} {errno}: {said}");
        }
        assert!(said.contains("0000000001.seg"), "{op:?} {errno}: {said}");
        assert_eq!(segments(&device), segments(&before), "{op:?} {errno}");
        device.heal();
        let tier = device.kill().open();
        for key in &keys {
            assert!(read(&tier, key, 0).await, "{op:?} {errno}");
            // What was invalidated meanwhile would have left no tombstone.
            assert_eq!(recall(&tier, key.id()).await, Some(1), "{op:?} {errno}");
            assert_eq!(recall_confirmed(&tier, key.id()).await, None, "{op:?} {errno}");
        }
    }
}

#[tokio::test]
async fn r38_a_start_without_file_descriptors_fails_and_removes_nothing() {
    let (before, keys) = filled().await;
    for (errno, times) in [(Errno::MFILE, usize::MAX), (Errno::NFILE, usize::MAX)] {
        let device = before.kill();
        device.fail(Op::Open, errno, times);
        let error = device.try_open(&[]).err().expect("it is refused").to_string();
        assert!(error.contains(&device.path) && error.contains("nothing was removed"), "{error}");
        assert_eq!(segments(&device), segments(&before));
        device.heal();
        let tier = device.open();
        assert!(read(&tier, &keys[0], 0).await);
        assert_eq!(recall_confirmed(&tier, keys[0].id()).await, Some(1));
    }
}

#[tokio::test]
async fn r38_a_start_that_fails_after_the_disk_was_opened_removes_nothing() {
    let (before, keys) = filled().await;
    let damaged = before.blocks.names().remove(0);
    before.blocks.put(&damaged, b"not a segment");
    let device = before.kill();
    // A much smaller capacity, by mistake, and an address that is taken.
    let (paths, rules) = ([device.clone()], []);
    let tier = open_all_unbegun(&paths, &rules, 1, &Arc::new(PurgeEpochs::new())).unwrap();
    drop(tier);
    assert_eq!(segments(&device), segments(&before));
    assert_eq!(device.objects.names(), before.objects.names());
    let tier = device.open();
    assert_eq!(recall_confirmed(&tier, keys[1].id()).await, Some(1));
    assert!(!device.blocks.names().contains(&damaged), "what was read and is damaged goes");
}

#[tokio::test]
async fn r35_what_cannot_be_read_counts_for_the_capacity() {
    let device = Device::new();
    let keys: Vec<_> = (0..24).map(|n| block_key(&id("one", n), 1, 0)).collect();
    let (capacity, segment) = (4 * MIB, 256 * 1024);
    write(&open_small(&device, &[], capacity, segment), &keys).await;
    // Not enough for one more segment.
    let capacity = device.size() + segment / 2;
    device.blocks.fail(Op::Open, Errno::ACCESS, usize::MAX);
    let tier = open_small(&device, &[], capacity, segment);
    let others: Vec<_> = (0..24).map(|n| block_key(&id("two", n), 1, 0)).collect();
    for key in &others {
        write(&tier, std::slice::from_ref(key)).await;
        assert!(device.size() <= capacity, "{} of {capacity}", device.size());
    }
    device.heal();
    assert!(read(&open_small(&device.kill(), &[], capacity, segment), &keys[23], 0).await);
}

#[tokio::test]
async fn r38_purges_that_cannot_be_read_refuse_the_start_and_damaged_ones_do_not() {
    let device = Device::new();
    let tier = device.open();
    let purge_epochs = Arc::new(PurgeEpochs::new());
    purge_epochs.raise(&Scope::Everything);
    assert!(tier.persist_purge_epochs(&purge_epochs).await);
    drop(tier);
    let device = device.kill();
    let tier = device.open();
    device.objects.fail(Op::Read, Errno::IO, usize::MAX);
    let error = tier.purge_epochs().unwrap_err().to_string();
    assert!(error.contains(&device.path), "{error}");
    device.heal();
    assert_eq!(tier.purge_epochs().unwrap(), [[purge_epochs.encode()]]);
}

#[tokio::test]
async fn r38_a_purge_that_was_never_written_does_not_cost_the_blocks() {
    let device = Device::new();
    let tier = Arc::new(device.open());
    device.objects.hang(Op::Write);
    let purging = tokio::spawn({
        let tier = tier.clone();
        async move { tier.persist_purge_epochs(&Arc::new(PurgeEpochs::new())).await }
    });
    while device.objects.hanging() == 0 {
        tokio::task::yield_now().await;
    }
    let empty: [Vec<Vec<u8>>; 1] = [Vec::new()];
    assert_eq!(device.kill().open().purge_epochs().unwrap(), empty, "the process was killed");
    device.objects.fail(Op::Sync, Errno::IO, 1);
    device.objects.release();
    assert!(!purging.await.unwrap());
    assert_eq!(device.kill().open().purge_epochs().unwrap(), empty, "it failed");
}

/// Returns the purge epochs that a start reads from the device.
fn purged_before(device: &Device) -> PurgeEpochs {
    let purge_epochs = PurgeEpochs::new();
    let kept = device.kill().open().purge_epochs().unwrap();
    assert!(kept.concat().iter().any(|kept| purge_epochs.merge(kept)), "{kept:?}");
    purge_epochs
}

#[tokio::test]
async fn r28_a_purge_is_appended_and_begins_another_file_after_a_failure() {
    let device = Device::new();
    let tier = device.open();
    let purge_epochs = Arc::new(PurgeEpochs::new());
    let files = || {
        let names = device.objects.names().into_iter().filter(|name| name.contains(".floors"));
        names.collect::<Vec<_>>()
    };
    let purge = async |n| {
        purge_epochs
            .raise(&Scope::Object(id("one", n).bucket().clone(), id("one", n).key().clone()));
        tier.persist_purge_epochs(&purge_epochs).await
    };
    assert!(purge(0).await);
    let first = files();
    let begun = device.objects.content(&first[0]).len();
    assert!(purge(1).await && purge(2).await);
    assert_eq!(files(), first, "nothing is written anew");
    assert!(device.objects.content(&first[0]).len() < begun + 100);
    device.objects.fail(Op::Sync, Errno::IO, 1);
    assert!(!purge(3).await, "it is not durable");
    assert!(purge(4).await);
    assert!(files().len() == 1 && files() != first);
    let again = purged_before(&device);
    for n in 0..6 {
        assert_eq!(again.of(&id("one", n)), purge_epochs.of(&id("one", n)), "{n}");
    }
}

#[tokio::test]
async fn r28_purges_at_the_same_time_are_all_durable_when_they_say_so() {
    let device = Device::new();
    let tier = Arc::new(device.open());
    let purge_epochs = Arc::new(PurgeEpochs::new());
    let purges = (0..50).map(|n| {
        let (tier, purge_epochs, id) = (tier.clone(), purge_epochs.clone(), id("one", n));
        tokio::spawn(async move {
            purge_epochs.raise(&Scope::Object(id.bucket().clone(), id.key().clone()));
            assert!(tier.persist_purge_epochs(&purge_epochs).await);
            id
        })
    });
    for purge in purges.collect::<Vec<_>>() {
        let id = purge.await.unwrap();
        assert_eq!(purged_before(&device).of(&id), purge_epochs.of(&id));
    }
}
