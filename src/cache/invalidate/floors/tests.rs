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
fn r28_a_purge_raises_the_floor_of_what_it_covers() {
    let floors = Floors::new();
    let (a, b, other) = (id("data", "a/1"), id("data", "b/1"), id("other", "a/1"));
    assert_eq!((floors.of(&a), floors.wide(&a)), (0, 0));
    floors.raise(&object(&a));
    let first = floors.of(&a);
    assert!(first > 0 && floors.of(&b) == 0 && floors.wide(&a) == 0);
    floors.raise(&prefix("data", "a/"));
    let second = floors.of(&a);
    assert!(second > first && floors.wide(&a) == second && floors.of(&b) == 0);
    floors.raise(&Scope::Bucket(a.bucket().clone()));
    assert!(floors.of(&a) > second && floors.of(&b) == floors.of(&a));
    assert_eq!(floors.of(&other), 0);
    assert_eq!(floors.of(&id("data2", "a/1")), 0);
    floors.raise(&Scope::Everything);
    assert!(floors.of(&other) == floors.last_wide.load(Ordering::Acquire));
}

fn glob(text: &str) -> Scope {
    Scope::Glob(KeyGlob::new(bucket("data"), text).unwrap())
}

#[test]
fn r28_the_floor_of_a_glob_is_that_of_what_matches() {
    let floors = Floors::new();
    let (csv, other) = (id("data", "d/a.csv"), id("data", "d/a.bin"));
    floors.raise(&glob("d/*.csv"));
    let first = floors.of(&csv);
    assert!(first > 0 && floors.wide(&csv) == first && floors.of(&other) == 0);
    floors.raise(&glob("d/*.csv"));
    assert!(floors.of(&csv) > first);
    // Kept, and found again.
    let again = Floors::new();
    assert!(again.merge(&floors.encode()));
    assert_eq!((again.of(&csv), again.of(&other)), (floors.of(&csv), 0));
    // A wider purge takes its place.
    floors.raise(&prefix("data", "d/"));
    assert!(floors.of(&csv) == floors.of(&other) && floors.globs.load().len() == 0);
}

#[test]
fn r28_globs_stay_few_and_their_floors_never_fall() {
    let floors = Floors::new();
    let ids: Vec<_> = (0..100).map(|n| id("data", &format!("d{n}/x.csv"))).collect();
    let mut before = Vec::new();
    for n in 0..100 {
        floors.raise(&glob(&format!("d{n}/*.csv")));
        before.push(floors.of(&ids[n]));
        for (id, floor) in ids.iter().zip(&before) {
            assert!(floors.of(id) >= *floor && *floor > 0, "{n}");
        }
        assert!(floors.globs.load().len() <= globs::GLOBS, "{n}");
    }
    assert_eq!(floors.of(&id("data", "e/x.csv")), 0);
    let mut kept = encoding::begin();
    encoding::frame(&mut kept, b"");
    kept.extend(floors.take_changes().unwrap());
    let again = Floors::new();
    assert!(again.merge(&kept));
    for id in &ids {
        assert_eq!(again.of(id), floors.of(id));
    }
}

#[test]
fn r28_a_hundred_thousand_purged_keys_and_ten_thousand_prefixes_end_nothing_else() {
    let floors = Floors::new();
    for n in 0..100_000 {
        floors.raise(&object(&id("data", &format!("key-{n}"))));
    }
    for n in 0..10_000 {
        floors.raise(&prefix("data", &format!("prefix-{n}/")));
        floors.raise(&Scope::Bucket(bucket(&format!("bucket-{n}"))));
    }
    for n in (0..100_000).step_by(97) {
        assert!(floors.of(&id("data", &format!("key-{n}"))) > 0);
        assert_eq!(floors.of(&id("data", &format!("other-{n}"))), 0, "it was not purged");
    }
    for n in (0..10_000).step_by(97) {
        assert!(floors.of(&id("data", &format!("prefix-{n}/x"))) > 0);
        assert!(floors.of(&id(&format!("bucket-{n}"), "x")) > 0);
    }
}

#[test]
fn r28_floors_never_fall_however_many_there_are_and_tables_stay_bounded() {
    let floors = Floors::new();
    let (first, second) = (id("data", "first"), id("data", "0/x"));
    floors.raise(&object(&first));
    floors.raise(&prefix("data", "0/"));
    let before = (floors.of(&first), floors.of(&second));
    for n in 0..PREFIXES {
        floors.raise(&prefix("other", &format!("{n}/")));
    }
    let last = format!("{}/x", PREFIXES - 1);
    assert!(floors.of(&first) >= before.0 && floors.of(&second) >= before.1);
    assert!(floors.of(&id("other", &last)) > floors.of(&id("none", "x")), "the younger half stays");
    assert!((PREFIXES / 2..=PREFIXES).contains(&floors.prefixes.load().len()));
}

#[test]
fn r28_what_was_kept_is_taken_in_and_what_is_damaged_is_not() {
    let floors = Floors::new();
    let (a, b, c) = (id("data", "a/1"), id("data", "b/1"), id("whole", "x"));
    floors.raise(&object(&b));
    floors.raise(&prefix("data", "a/"));
    let mut kept = floors.encode();
    let begun = kept.len();
    assert!(floors.take_changes().is_some());
    floors.raise(&Scope::Bucket(c.bucket().clone()));
    kept.extend(floors.take_changes().expect("little changed"));
    assert_eq!(floors.take_changes(), Some(Vec::new()), "nothing since");
    let again = Floors::new();
    assert!(again.merge(&kept));
    for id in [&a, &b, &c, &id("none", "x")] {
        assert_eq!(again.of(id), floors.of(id), "{id}");
    }
    again.raise(&object(&a));
    assert!(again.of(&a) > floors.of(&a), "numbers go on");
    for end in 0..begun {
        assert!(!Floors::new().merge(&kept[..end]), "{end}");
    }
    // Nobody was told that what was being written is durable.
    for end in begun..kept.len() {
        let cut = Floors::new();
        assert!(cut.merge(&kept[..end]) && cut.of(&a) == floors.of(&a), "{end}");
    }
    kept[begun - 1] ^= 1;
    let damaged = Floors::new();
    assert!(!damaged.merge(&kept));
    damaged.lost();
    assert!(damaged.of(&a) >= floors.of(&a));
}

#[test]
fn r28_more_changes_than_are_kept_are_encoded_as_a_whole() {
    let floors = Floors::new();
    for n in 0..PENDING / 8 {
        floors.raise(&object(&id("data", &format!("{n}"))));
    }
    assert_eq!(floors.take_changes(), None);
    assert_eq!(floors.take_changes(), Some(Vec::new()));
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
    let floors = Floors::new();
    assert!(floors.merge(&file));
    let read = |floors: &Floors| {
        [&purged, &id("data", "a/x"), &id("data", "b"), &id("other", "x")].map(|id| floors.of(id))
    };
    assert_eq!(read(&floors), [9, 8, 5, 3]);
    let again = Floors::new();
    assert!(again.merge(&floors.encode()));
    assert_eq!(read(&again), [9, 8, 5, 3], "and written in the second");
    file[300] ^= 1;
    assert!(!Floors::new().merge(&file));
}
