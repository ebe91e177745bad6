//! From when on blocks are good, for what was purged (R28).
//!
//! Each purge has a number, larger than all before it. The *floor* of an object is the number of the last purge that
//! covered it, 0 if there was none. It is a part of what names a version's blocks: after a purge they are looked for
//! under another name, so that no purge has to find them, however many they are. Floors outlive the process, as
//! blocks on disk do; they only ever rise, and a table that is full is replaced by one number for all that was in it:
//! then more is fetched again than need be.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::RwLock;
use twox_hash::XxHash3_64;

use super::disk::object_stripe;
use super::purge::Scope;
use crate::s3::{BucketName, ObjectId, ObjectKey};

/// Objects that were purged by name are told apart by 16 bits of a hash.
const STRIPES: usize = 1 << 16;
const BUCKETS: usize = 1024;
const PREFIXES: usize = 256;
/// More purges than run ahead of a clock that counts seconds.
const AHEAD: u32 = 1 << 24;
const MAGIC: &[u8; 8] = b"hsFloor1";

/// Floors of one bucket.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct OfBucket {
    whole: u32,
    prefixes: Vec<(String, u32)>,
}

impl OfBucket {
    fn of(&self, key: &str) -> u32 {
        let of = self.prefixes.iter().filter(|(prefix, _)| key.starts_with(prefix));
        of.map(|(_, floor)| *floor).max().unwrap_or(0).max(self.whole)
    }

    fn raise(&mut self, prefix: &str, number: u32) {
        // What lies under it is covered by it.
        self.prefixes.retain(|(other, _)| !other.starts_with(prefix));
        if self.prefixes.len() < PREFIXES {
            self.prefixes.push((prefix.to_owned(), number));
        } else {
            self.raise_whole(number);
        }
    }

    fn raise_whole(&mut self, number: u32) {
        *self = Self { whole: number, prefixes: Vec::new() };
    }
}

/// All floors.
pub(super) struct Floors {
    /// The number of the last purge of any kind, and of the last one of more than an object.
    last: AtomicU32,
    last_wide: AtomicU32,
    all: AtomicU32,
    buckets: RwLock<HashMap<BucketName, OfBucket>>,
    objects: Box<[AtomicU32]>,
}

impl Floors {
    pub(super) fn new() -> Self {
        Self {
            last: AtomicU32::new(0),
            last_wide: AtomicU32::new(0),
            all: AtomicU32::new(0),
            buckets: RwLock::default(),
            objects: (0..STRIPES).map(|_| AtomicU32::new(0)).collect(),
        }
    }

    /// The floor of an object.
    pub(super) fn of(&self, id: &ObjectId) -> u32 {
        self.of_key(id.bucket(), id.key())
    }

    /// The same in every realm.
    pub(super) fn of_key(&self, bucket: &BucketName, key: &ObjectKey) -> u32 {
        if self.last.load(Ordering::Acquire) == 0 {
            return 0;
        }
        let stripe = usize::from(object_stripe(bucket, key));
        self.objects[stripe].load(Ordering::Acquire).max(self.wide_of_key(bucket, key))
    }

    /// The number of the last purge of more than this object that covered it.
    pub(super) fn wide(&self, id: &ObjectId) -> u32 {
        self.wide_of_key(id.bucket(), id.key())
    }

    fn wide_of_key(&self, bucket: &BucketName, key: &ObjectKey) -> u32 {
        if self.last_wide.load(Ordering::Acquire) == 0 {
            return 0;
        }
        let of_bucket = self.buckets.read().get(bucket).map(|b| b.of(key.as_str()));
        of_bucket.unwrap_or(0).max(self.all.load(Ordering::Acquire))
    }

    /// Raises the floor of all that a purge covers.
    pub(super) fn raise(&self, scope: &Scope) {
        let number = self.next();
        match scope {
            Scope::Object(bucket, key) => {
                let stripe = usize::from(object_stripe(bucket, key));
                self.objects[stripe].fetch_max(number, Ordering::AcqRel);
                return;
            }
            Scope::Prefix(bucket, prefix) => {
                self.in_bucket(bucket, number, |floors| floors.raise(prefix, number));
            }
            Scope::Bucket(bucket) => {
                self.in_bucket(bucket, number, |floors| floors.raise_whole(number));
            }
            Scope::Everything => {
                self.buckets.write().clear();
                self.all.fetch_max(number, Ordering::AcqRel);
            }
        }
        self.last_wide.fetch_max(number, Ordering::AcqRel);
    }

    fn in_bucket(&self, bucket: &BucketName, number: u32, raise: impl FnOnce(&mut OfBucket)) {
        let mut buckets = self.buckets.write();
        if buckets.len() >= BUCKETS && !buckets.contains_key(bucket) {
            buckets.clear();
            self.all.fetch_max(number, Ordering::AcqRel);
            return;
        }
        raise(buckets.entry(bucket.clone()).or_default());
    }

    /// Seconds of the clock, so that numbers rise even when what was kept of them is lost.
    fn next(&self) -> u32 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = u32::try_from(now.as_secs()).unwrap_or(u32::MAX);
        let next = |last: u32| Some(now.max(last.saturating_add(1)));
        let before = self.last.fetch_update(Ordering::AcqRel, Ordering::Acquire, next);
        next(before.unwrap_or_else(|last| last)).unwrap_or(u32::MAX)
    }

    /// As bytes, to be kept.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        let number = |out: &mut Vec<u8>, n: u32| out.extend_from_slice(&n.to_le_bytes());
        let text = |out: &mut Vec<u8>, text: &str| {
            number(out, u32::try_from(text.len()).expect("names are short"));
            out.extend_from_slice(text.as_bytes());
        };
        let buckets = self.buckets.read();
        number(&mut out, self.last.load(Ordering::Acquire));
        number(&mut out, self.last_wide.load(Ordering::Acquire));
        number(&mut out, self.all.load(Ordering::Acquire));
        number(&mut out, u32::try_from(buckets.len()).expect("at most BUCKETS"));
        for (name, OfBucket { whole, prefixes }) in &*buckets {
            text(&mut out, name.as_str());
            number(&mut out, *whole);
            number(&mut out, u32::try_from(prefixes.len()).expect("at most PREFIXES"));
            for (prefix, floor) in prefixes {
                text(&mut out, prefix);
                number(&mut out, *floor);
            }
        }
        for floor in &self.objects {
            number(&mut out, floor.load(Ordering::Acquire));
        }
        let check = XxHash3_64::oneshot(&out);
        out.extend_from_slice(&check.to_le_bytes());
        out
    }

    /// Takes in what [`Floors::encode`] made at an earlier time; the higher floor holds. `false`: it is not that.
    pub(super) fn merge(&self, bytes: &[u8]) -> bool {
        let Some(kept) = Kept::decode(bytes) else { return false };
        self.last.fetch_max(kept.last, Ordering::AcqRel);
        self.last_wide.fetch_max(kept.last_wide, Ordering::AcqRel);
        self.all.fetch_max(kept.all, Ordering::AcqRel);
        for (name, OfBucket { whole, prefixes }) in kept.buckets {
            for (prefix, floor) in prefixes {
                self.in_bucket(&name, floor, |of| of.raise_to(&prefix, floor));
            }
            self.in_bucket(&name, whole, |of| of.whole = of.whole.max(whole));
        }
        for (floor, kept) in self.objects.iter().zip(kept.objects) {
            floor.fetch_max(kept, Ordering::AcqRel);
        }
        true
    }

    /// What was kept is lost, and nobody knows what was purged: no block from before now is good.
    pub(super) fn lost(&self) {
        // Numbers that were given out may have run ahead of the clock.
        self.last.fetch_max(self.next().saturating_add(AHEAD), Ordering::AcqRel);
        self.raise(&Scope::Everything);
    }
}

impl OfBucket {
    fn raise_to(&mut self, prefix: &str, floor: u32) {
        let room = self.prefixes.len() < PREFIXES;
        match self.prefixes.iter_mut().find(|(other, _)| other == prefix) {
            Some((_, there)) => *there = floor.max(*there),
            None if room => self.prefixes.push((prefix.to_owned(), floor)),
            None => self.whole = self.whole.max(floor),
        }
    }
}

struct Kept {
    last: u32,
    last_wide: u32,
    all: u32,
    buckets: Vec<(BucketName, OfBucket)>,
    objects: Vec<u32>,
}

impl Kept {
    fn decode(bytes: &[u8]) -> Option<Self> {
        let (content, check) = bytes.split_last_chunk::<8>()?;
        if XxHash3_64::oneshot(content) != u64::from_le_bytes(*check) {
            return None;
        }
        let mut from = Reader(content.strip_prefix(MAGIC)?);
        let (last, last_wide, all) = (from.number()?, from.number()?, from.number()?);
        let count = from.number()?;
        let mut buckets = Vec::new();
        for _ in 0..count {
            let name = BucketName::new(from.text()?).ok()?;
            let whole = from.number()?;
            let prefixes =
                (0..from.number()?).map(|_| Some((from.text()?.to_owned(), from.number()?)));
            let prefixes = prefixes.collect::<Option<Vec<_>>>()?;
            buckets.push((name, OfBucket { whole, prefixes }));
        }
        let objects = (0..STRIPES).map(|_| from.number()).collect::<Option<Vec<_>>>()?;
        from.0.is_empty().then_some(Self { last, last_wide, all, buckets, objects })
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn number(&mut self) -> Option<u32> {
        let (number, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_le_bytes(*number))
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = self.number()? as usize;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        std::str::from_utf8(text).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::testing::id;

    fn object(id: &ObjectId) -> Scope {
        Scope::Object(id.bucket().clone(), id.key().clone())
    }

    fn prefix(bucket: &str, prefix: &str) -> Scope {
        Scope::Prefix(BucketName::new(bucket).unwrap(), prefix.to_owned())
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
        floors.raise(&Scope::Everything);
        assert!(floors.of(&other) > floors.last_wide.load(Ordering::Acquire) - 1);
    }

    #[test]
    fn r28_floors_never_fall_however_many_there_are() {
        let floors = Floors::new();
        let first = id("data", "0/x");
        floors.raise(&prefix("data", "0/"));
        let before = floors.of(&first);
        for n in 0..2 * PREFIXES {
            floors.raise(&prefix("data", &format!("{n}/")));
            assert!(floors.of(&id("data", &format!("{n}/x"))) >= before);
        }
        for n in 0..2 * BUCKETS {
            floors.raise(&Scope::Bucket(BucketName::new(&format!("bucket-{n}")).unwrap()));
        }
        assert!(floors.of(&first) >= before);
        assert!(floors.buckets.read().len() <= BUCKETS);
    }

    #[test]
    fn r28_what_was_kept_is_taken_in_and_what_is_damaged_is_not() {
        let floors = Floors::new();
        let (a, b, c) = (id("data", "a/1"), id("data", "b/1"), id("whole", "x"));
        floors.raise(&object(&b));
        floors.raise(&prefix("data", "a/"));
        floors.raise(&Scope::Bucket(c.bucket().clone()));
        let mut kept = floors.encode();
        let again = Floors::new();
        assert!(again.merge(&kept));
        for id in [&a, &b, &c, &id("none", "x")] {
            assert_eq!(again.of(id), floors.of(id), "{id}");
        }
        again.raise(&object(&a));
        assert!(again.of(&a) > floors.of(&a), "numbers go on");
        for end in [0, 8, 100, kept.len() - 1] {
            assert!(!Floors::new().merge(&kept[..end]));
        }
        kept[200] ^= 1;
        let damaged = Floors::new();
        assert!(!damaged.merge(&kept));
        damaged.lost();
        assert!(damaged.of(&a) >= floors.of(&a));
    }
}
