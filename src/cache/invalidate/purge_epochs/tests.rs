use twox_hash::XxHash3_64;

use super::*;
use crate::cache::rules::key_glob::KeyGlob;
use crate::s3::testing::id;

fn object(id: &ObjectId) -> Scope {
    Scope::Object(id.bucket().clone(), id.key().clone())
}

fn bucket(name: &str) -> BucketName {
    BucketName::new(name).unwrap()
}

fn prefix(bucket: &str, prefix: &str) -> Scope {
    Scope::Prefix(self::bucket(bucket), prefix.to_owned())
}

#[test]
fn r28_a_purge_raises_the_epoch_of_what_it_covers() {
    let epochs = PurgeEpochs::new();
    let (a, b, other) = (id("data", "a/1"), id("data", "b/1"), id("other", "a/1"));
    assert_eq!((epochs.of(&a), epochs.wide(&a)), (0, 0));
    epochs.raise(&object(&a));
    let first = epochs.of(&a);
    assert!(first > 0 && epochs.of(&b) == 0 && epochs.wide(&a) == 0);
    epochs.raise(&prefix("data", "a/"));
    let second = epochs.of(&a);
    assert!(second > first && epochs.wide(&a) == second && epochs.of(&b) == 0);
    epochs.raise(&Scope::Bucket(a.bucket().clone()));
    assert!(epochs.of(&a) > second && epochs.of(&b) == epochs.of(&a));
    assert_eq!(epochs.of(&other), 0);
    assert_eq!(epochs.of(&id("data2", "a/1")), 0);
    epochs.raise(&Scope::Everything);
    assert!(epochs.of(&other) == epochs.last_wide.load(Ordering::Acquire));
}

fn glob(text: &str) -> Scope {
    Scope::Glob(KeyGlob::new(bucket("data"), text).unwrap())
}

#[test]
fn r28_the_epoch_of_a_glob_is_that_of_what_matches() {
    let epochs = PurgeEpochs::new();
    let (csv, other) = (id("data", "d/a.csv"), id("data", "d/a.bin"));
    epochs.raise(&glob("d/*.csv"));
    let first = epochs.of(&csv);
    assert!(first > 0 && epochs.wide(&csv) == first && epochs.of(&other) == 0);
    epochs.raise(&glob("d/*.csv"));
    assert!(epochs.of(&csv) > first);
    // Kept, and found again.
    let again = PurgeEpochs::new();
    assert!(again.merge(&epochs.encode()));
    assert_eq!((again.of(&csv), again.of(&other)), (epochs.of(&csv), 0));
    // A wider purge takes its place.
    epochs.raise(&prefix("data", "d/"));
    assert!(epochs.of(&csv) == epochs.of(&other) && epochs.globs.load().len() == 0);
}

#[test]
fn r28_globs_stay_few_and_their_epochs_never_fall() {
    let epochs = PurgeEpochs::new();
    let ids: Vec<_> = (0..100).map(|n| id("data", &format!("d{n}/x.csv"))).collect();
    let mut before = Vec::new();
    for n in 0..100 {
        epochs.raise(&glob(&format!("d{n}/*.csv")));
        before.push(epochs.of(&ids[n]));
        for (id, epoch) in ids.iter().zip(&before) {
            assert!(epochs.of(id) >= *epoch && *epoch > 0, "{n}");
        }
        assert!(epochs.globs.load().len() <= globs::GLOBS, "{n}");
    }
    assert_eq!(epochs.of(&id("data", "e/x.csv")), 0);
    let mut kept = encoding::begin();
    encoding::frame(&mut kept, b"");
    kept.extend(epochs.take_changes().unwrap());
    let again = PurgeEpochs::new();
    assert!(again.merge(&kept));
    for id in &ids {
        assert_eq!(again.of(id), epochs.of(id));
    }
}

#[test]
fn r28_a_hundred_thousand_purged_keys_and_ten_thousand_prefixes_end_nothing_else() {
    let epochs = PurgeEpochs::new();
    for n in 0..100_000 {
        epochs.raise(&object(&id("data", &format!("key-{n}"))));
    }
    for n in 0..10_000 {
        epochs.raise(&prefix("data", &format!("prefix-{n}/")));
        epochs.raise(&Scope::Bucket(bucket(&format!("bucket-{n}"))));
    }
    for n in (0..100_000).step_by(97) {
        assert!(epochs.of(&id("data", &format!("key-{n}"))) > 0);
        assert_eq!(epochs.of(&id("data", &format!("other-{n}"))), 0, "it was not purged");
    }
    for n in (0..10_000).step_by(97) {
        assert!(epochs.of(&id("data", &format!("prefix-{n}/x"))) > 0);
        assert!(epochs.of(&id(&format!("bucket-{n}"), "x")) > 0);
    }
}

#[test]
fn r28_floors_never_fall_however_many_there_are_and_tables_stay_bounded() {
    let epochs = PurgeEpochs::new();
    let (first, second) = (id("data", "first"), id("data", "0/x"));
    epochs.raise(&object(&first));
    epochs.raise(&prefix("data", "0/"));
    let before = (epochs.of(&first), epochs.of(&second));
    for n in 0..PREFIXES {
        epochs.raise(&prefix("other", &format!("{n}/")));
    }
    let last = format!("{}/x", PREFIXES - 1);
    assert!(epochs.of(&first) >= before.0 && epochs.of(&second) >= before.1);
    assert!(epochs.of(&id("other", &last)) > epochs.of(&id("none", "x")), "the younger half stays");
    assert!((PREFIXES / 2..=PREFIXES).contains(&epochs.prefixes.load().len()));
}

#[test]
fn r28_what_was_kept_is_taken_in_and_what_is_damaged_is_not() {
    let epochs = PurgeEpochs::new();
    let (a, b, c) = (id("data", "a/1"), id("data", "b/1"), id("whole", "x"));
    epochs.raise(&object(&b));
    epochs.raise(&prefix("data", "a/"));
    let mut kept = epochs.encode();
    let begun = kept.len();
    assert!(epochs.take_changes().is_some());
    epochs.raise(&Scope::Bucket(c.bucket().clone()));
    kept.extend(epochs.take_changes().expect("little changed"));
    assert_eq!(epochs.take_changes(), Some(Vec::new()), "nothing since");
    let again = PurgeEpochs::new();
    assert!(again.merge(&kept));
    for id in [&a, &b, &c, &id("none", "x")] {
        assert_eq!(again.of(id), epochs.of(id), "{id}");
    }
    again.raise(&object(&a));
    assert!(again.of(&a) > epochs.of(&a), "numbers go on");
    for end in 0..begun {
        assert!(!PurgeEpochs::new().merge(&kept[..end]), "{end}");
    }
    // A frame that was being written was not reported as durable.
    for end in begun..kept.len() {
        let cut = PurgeEpochs::new();
        assert!(cut.merge(&kept[..end]) && cut.of(&a) == epochs.of(&a), "{end}");
    }
    kept[begun - 1] ^= 1;
    let damaged = PurgeEpochs::new();
    assert!(!damaged.merge(&kept));
    damaged.lost();
    assert!(damaged.of(&a) >= epochs.of(&a));
}

#[test]
fn r28_more_changes_than_are_kept_are_encoded_as_a_whole() {
    let epochs = PurgeEpochs::new();
    for n in 0..PENDING / 8 {
        epochs.raise(&object(&id("data", &format!("{n}"))));
    }
    assert_eq!(epochs.take_changes(), None);
    assert_eq!(epochs.take_changes(), Some(Vec::new()));
}

#[test]
fn r28_a_file_of_the_first_format_is_read() {
    let purged = id("data", "purged");
    let stripe = crate::cache::disk::object_stripe(purged.bucket(), purged.key());
    let mut file = b"hsFloor1".to_vec();
    let mut number = |n: u32| file.extend_from_slice(&n.to_le_bytes());
    // The last purge, the last wide one, everything, and one bucket.
    [9, 8, 3, 1].into_iter().for_each(&mut number);
    number(4);
    file.extend_from_slice(b"data");
    let mut number = |n: u32| file.extend_from_slice(&n.to_le_bytes());
    [5, 1, 2].into_iter().for_each(&mut number);
    file.extend_from_slice(b"a/");
    let mut number = |n: u32| file.extend_from_slice(&n.to_le_bytes());
    number(8);
    (0..=u16::MAX).for_each(|n| number(if n == stripe { 9 } else { 0 }));
    let check = XxHash3_64::oneshot(&file);
    file.extend_from_slice(&check.to_le_bytes());
    let epochs = PurgeEpochs::new();
    assert!(epochs.merge(&file));
    let read = |epochs: &PurgeEpochs| {
        [&purged, &id("data", "a/x"), &id("data", "b"), &id("other", "x")].map(|id| epochs.of(id))
    };
    assert_eq!(read(&epochs), [9, 8, 5, 3]);
    let again = PurgeEpochs::new();
    assert!(again.merge(&epochs.encode()));
    assert_eq!(read(&again), [9, 8, 5, 3], "and written in the second");
    file[300] ^= 1;
    assert!(!PurgeEpochs::new().merge(&file));
}
