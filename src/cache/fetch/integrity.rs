//! Comparison of fetched bytes with the checksums that S3 announces of objects and parts.
//!
//! Bytes come in ranges, over several connections and in any order. The CRC of each fill is combined with those of its
//! neighbours; the fill that completes the object, or the part, is admitted only if the CRC of all is the announced one.
//! Bytes without a known checksum, or with a composite one (of the parts' checksums), are not compared.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::ops::Range;

use parking_lot::Mutex;

use crate::cache::key::ObjectVersion;
use crate::cache::rules::policy::Fetching;
use crate::metrics::integrity::{self as metrics, ChecksumOutcome};
use crate::s3::{AnnouncedCrc, Crc, CrcAlgorithm, ObjectMeta, PartNumber};

/// Sets of objects and parts whose CRC is being assembled, by a hash, and the maximum number in each.
const SETS: usize = 128;
const WAYS: usize = 8;
/// Maximum number of disjoint ranges of one assembly. With more of them it starts over.
const SPANS: usize = 128;
/// Number of versions with mismatching bytes that are remembered.
const FAILED: usize = 64;

/// A range of a version whose CRC the origin announced.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::cache) struct Target {
    pub version: ObjectVersion,
    /// Offsets in the object.
    pub range: Range<u64>,
    pub announced: AnnouncedCrc,
}

impl Target {
    /// Returns the CRC that applies to a response of the origin, for the object or a part of it, if one is announced.
    pub(in crate::cache) fn new(
        version: &ObjectVersion,
        meta: &ObjectMeta,
        part: Option<PartNumber>,
    ) -> Option<Self> {
        let whole = 0..meta.size;
        let (range, announced) = match part {
            None => {
                let checksums = meta.checksums.as_deref()?;
                (whole, AnnouncedCrc::of_object(checksums, &meta.etag)?)
            }
            Some(number) => {
                let part = meta.parts.get(number)?;
                let announced = AnnouncedCrc::of_part(&part.checksums, part.range == whole)?;
                (part.range.clone(), announced)
            }
        };
        let version = version.clone();
        (!range.is_empty()).then_some(Self { version, range, announced })
    }

    fn hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (hash(&self.version), self.range.start, self.range.end).hash(&mut hasher);
        hasher.finish()
    }

    /// Compares a computed CRC with the announced one; `None`: they match.
    fn compare(&self, computed: u64) -> Option<Mismatch> {
        let AnnouncedCrc { algorithm, value } = self.announced;
        let matches = computed == value;
        let outcome = if matches { ChecksumOutcome::Match } else { ChecksumOutcome::Mismatch };
        metrics::checksum(algorithm_label(algorithm), outcome);
        (!matches).then(|| Mismatch { target: self.clone(), computed })
    }
}

fn algorithm_label(algorithm: CrcAlgorithm) -> metrics::Algorithm {
    match algorithm {
        CrcAlgorithm::Crc64Nvme => metrics::Algorithm::Crc64Nvme,
        CrcAlgorithm::Crc32c => metrics::Algorithm::Crc32c,
        CrcAlgorithm::Crc32 => metrics::Algorithm::Crc32,
    }
}

/// Hashes a version without its purge epoch.
fn hash(version: &ObjectVersion) -> u64 {
    let mut hasher = DefaultHasher::new();
    (version.id().hash64(), version.etag().as_bytes(), version.size()).hash(&mut hasher);
    version.version_id().map(http::HeaderValue::as_bytes).hash(&mut hasher);
    hasher.finish()
}

/// Fetched bytes whose CRC differs from the one the origin announced.
#[derive(Debug)]
pub(in crate::cache) struct Mismatch {
    pub target: Target,
    pub computed: u64,
}

/// Computes the CRCs of the fills of one fetch, in the order in which their bytes arrive.
pub(in crate::cache) struct Check {
    target: Target,
    crc: Crc,
}

impl Check {
    pub(in crate::cache) fn new(target: Target) -> Self {
        Self { crc: Crc::new(target.announced.algorithm), target }
    }

    /// Adds bytes of the current fill.
    pub(in crate::cache) fn update(&mut self, bytes: &[u8]) {
        self.crc.update(bytes);
    }

    /// Completes the current fill, and compares the CRC of the target if that is complete, too.
    ///
    /// # Errors
    /// [`Mismatch`]: all bytes of the target have arrived, and their CRC differs.
    pub(in crate::cache) fn completed(
        &mut self,
        integrity: &Integrity,
        span: Range<u64>,
    ) -> Result<(), Box<Mismatch>> {
        let crc = self.crc.take();
        match integrity.add(&self.target, span, crc).and_then(|crc| self.target.compare(crc)) {
            None => Ok(()),
            Some(mismatch) => Err(Box::new(mismatch)),
        }
    }
}

impl Fetching {
    /// Returns the check for the bytes of a response with this metadata, if they are to be compared.
    pub(in crate::cache) fn check(
        self,
        version: &ObjectVersion,
        meta: &ObjectMeta,
        part: Option<PartNumber>,
    ) -> Option<Check> {
        self.verify_checksums.then(|| Target::new(version, meta, part).map(Check::new))?
    }
}

/// CRCs of the bytes fetched so far of objects and parts with a checksum. Bounded: a new one takes the place of that in
/// its set to which nothing was added for the longest time.
pub(in crate::cache) struct Integrity {
    /// In each set, that to which something was added last comes last.
    assemblies: Box<[Mutex<Vec<Assembly>>]>,
    /// Hashes of versions whose bytes differed.
    failed: Mutex<VecDeque<u64>>,
}

impl Integrity {
    pub(in crate::cache) fn new() -> Self {
        let assemblies = (0..SETS).map(|_| Mutex::default()).collect();
        Self { assemblies, failed: Mutex::default() }
    }

    /// Adds the CRC of a range. Returns that of the whole target once all of it has arrived.
    fn add(&self, target: &Target, range: Range<u64>, crc: u64) -> Option<u64> {
        if range == target.range {
            return Some(crc);
        }
        let place = usize::try_from(target.hash() % SETS as u64).expect("below SETS");
        let mut set = self.assemblies[place].lock();
        let mut assembly = match set.iter().position(|assembly| assembly.target == *target) {
            Some(at) => set.remove(at),
            None => Assembly { target: target.clone(), spans: Vec::new() },
        };
        assembly.add(Span { range, crc });
        if let Some(crc) = assembly.complete() {
            return Some(crc);
        }
        if set.len() == WAYS {
            set.remove(0).skipped();
        }
        set.push(assembly);
        None
    }

    /// Remembers that the bytes of a version differed; `true`: they did before.
    pub(in crate::cache) fn failed(&self, version: &ObjectVersion) -> bool {
        let (hash, mut failed) = (hash(version), self.failed.lock());
        let is_known = failed.contains(&hash);
        if !is_known {
            failed.truncate(FAILED - 1);
            failed.push_front(hash);
        }
        is_known
    }
}

/// The ranges of a target that have arrived.
struct Assembly {
    target: Target,
    /// Spans in order, without overlaps or adjacent ones.
    spans: Vec<Span>,
}

#[derive(Debug, Clone, PartialEq)]
struct Span {
    range: Range<u64>,
    crc: u64,
}

impl Assembly {
    /// Adds a span, which replaces all that it overlaps, and joins it with its neighbours.
    fn add(&mut self, mut new: Span) {
        let overlaps =
            |old: &Span| old.range.start < new.range.end && new.range.start < old.range.end;
        self.spans.retain(|old| !overlaps(old));
        let algorithm = self.target.announced.algorithm;
        let join = |first: &Span, second: &Span| {
            let length = second.range.end - second.range.start;
            let crc = algorithm.combine(first.crc, second.crc, length);
            Span { range: first.range.start..second.range.end, crc }
        };
        let mut at = self.spans.partition_point(|old| old.range.end <= new.range.start);
        if at > 0 && self.spans[at - 1].range.end == new.range.start {
            at -= 1;
            new = join(&self.spans.remove(at), &new);
        }
        if self.spans.get(at).is_some_and(|next| next.range.start == new.range.end) {
            new = join(&new, &self.spans.remove(at));
        }
        if self.spans.len() >= SPANS {
            self.skipped();
            self.spans.clear();
            at = 0;
        }
        self.spans.insert(at, new);
    }

    /// Counts that bytes will not be compared.
    fn skipped(&self) {
        let algorithm = algorithm_label(self.target.announced.algorithm);
        metrics::checksum(algorithm, ChecksumOutcome::Skipped);
    }

    fn complete(&self) -> Option<u64> {
        let first = self.spans.first()?;
        (first.range == self.target.range).then_some(first.crc)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::s3::testing;

    const SIZE: u64 = 1000;

    fn bytes(range: Range<u64>) -> Vec<u8> {
        range.map(|at| u8::try_from(at * 13 % 251).unwrap()).collect()
    }

    fn crc(bytes: &[u8]) -> u64 {
        let mut crc = Crc::new(CrcAlgorithm::Crc64Nvme);
        crc.update(bytes);
        crc.take()
    }

    fn target(key: &str, range: Range<u64>) -> Target {
        let id = testing::id("bucket", key);
        let meta = testing::meta("\"e\"", SIZE);
        let value = crc(&bytes(range.clone()));
        let announced = AnnouncedCrc { algorithm: CrcAlgorithm::Crc64Nvme, value };
        Target { version: ObjectVersion::new(&id, &meta, 64, 0), range, announced }
    }

    fn add(integrity: &Integrity, target: &Target, range: Range<u64>) -> Option<u64> {
        let crc = crc(&bytes(range.clone()));
        integrity.add(target, range, crc)
    }

    #[test]
    fn ranges_in_any_order_make_the_checksum_of_the_whole() {
        let mut state = 3_u64;
        for round in 0..300 {
            let mut next = |n: u64| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 33) % n
            };
            let start = next(500);
            let target = target("key", start..start + 1 + next(499));
            let mut cuts: Vec<u64> =
                (0..next(20)).map(|_| start + next(target.range.end - start)).collect();
            cuts.extend([target.range.start, target.range.end]);
            cuts.sort_unstable();
            cuts.dedup();
            let mut ranges: Vec<_> = cuts.windows(2).map(|cut| cut[0]..cut[1]).collect();
            for at in (1..ranges.len()).rev() {
                ranges.swap(at, usize::try_from(next(at as u64 + 1)).unwrap());
            }
            let integrity = Integrity::new();
            let last = ranges.pop().unwrap();
            for range in ranges {
                assert_eq!(add(&integrity, &target, range), None, "{round}");
            }
            let all = add(&integrity, &target, last).expect("all has come");
            assert!(target.compare(all).is_none(), "{round}");
        }
    }

    #[test]
    fn one_wrong_byte_makes_a_mismatch() {
        let (integrity, target) = (Integrity::new(), target("key", 0..SIZE));
        let mut check = Check::new(target.clone());
        for start in (0..SIZE).step_by(100) {
            let mut piece = bytes(start..start + 100);
            if start == 300 {
                piece[7] ^= 1;
            }
            check.update(&piece[..40]);
            check.update(&piece[40..]);
            let outcome = check.completed(&integrity, start..start + 100);
            assert_eq!(outcome.is_err(), start == 900, "with the last range, and not before");
        }
        // The bytes are fetched again, without the error.
        for start in (0..SIZE).step_by(100) {
            check.update(&bytes(start..start + 100));
            assert!(check.completed(&integrity, start..start + 100).is_ok());
        }
        assert!(!integrity.failed(&target.version) && integrity.failed(&target.version));
    }

    #[test]
    fn what_comes_again_replaces_what_came_before() {
        let (integrity, target) = (Integrity::new(), target("key", 0..SIZE));
        assert_eq!(integrity.add(&target, 0..400, 7), None, "wrong");
        assert_eq!(add(&integrity, &target, 400..700), None);
        assert_eq!(
            add(&integrity, &target, 100..200),
            None,
            "the wrong one is gone, with what joined it"
        );
        assert_eq!(add(&integrity, &target, 700..SIZE), None);
        assert_eq!(add(&integrity, &target, 200..700), None);
        assert_eq!(add(&integrity, &target, 0..100), Some(target.announced.value));
    }

    #[test]
    fn what_was_complete_begins_anew_and_targets_of_one_place_do_not_mix() {
        let (integrity, one) = (Integrity::new(), target("key", 0..SIZE));
        for _ in 0..2 {
            assert_eq!(add(&integrity, &one, 0..400), None, "all of it is needed again");
            assert_eq!(add(&integrity, &one, 400..SIZE), Some(one.announced.value));
        }
        let place = |target: &Target| target.hash() % SETS as u64;
        let others = (0..).map(|n| target(&n.to_string(), 0..SIZE));
        let others: Vec<_> =
            others.filter(|other| place(other) == place(&one)).take(WAYS).collect();
        assert_eq!(add(&integrity, &one, 0..400), None);
        for other in &others {
            assert_eq!(add(&integrity, other, 400..SIZE), None, "the first half is of another");
        }
        for other in &others {
            assert_eq!(add(&integrity, other, 0..400), Some(other.announced.value));
        }
        assert_eq!(add(&integrity, &one, 400..SIZE), None, "it had to make room");
    }

    #[test]
    fn the_latest_versions_that_failed_are_remembered_each_by_its_id() {
        let integrity = Integrity::new();
        let version = |number: usize| {
            let mut meta = testing::meta("\"e\"", SIZE);
            meta.version_id = Some(HeaderValue::from_str(&format!("v{number}")).unwrap());
            ObjectVersion::new(&testing::id("bucket", "key"), &meta, 64, 0)
        };
        for number in 0..2 * FAILED {
            assert!(!integrity.failed(&version(number)), "{number}: another version");
        }
        assert!(integrity.failed(&version(2 * FAILED - 1)) && integrity.failed(&version(FAILED)));
        assert!(!integrity.failed(&version(FAILED - 1)), "the oldest made room");
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let integrity = Integrity::new();
        for key in 0..3 * SETS * WAYS {
            add(&integrity, &target(&key.to_string(), 0..SIZE), 0..1);
        }
        let one = target("key", 0..SIZE);
        for at in (0..SIZE).step_by(2) {
            add(&integrity, &one, at..at + 1);
        }
        for set in &integrity.assemblies {
            let set = set.lock();
            assert!(set.len() <= WAYS && set.iter().all(|kept| kept.spans.len() <= SPANS));
        }
        for n in 0..2 * FAILED {
            integrity.failed(&target(&n.to_string(), 0..SIZE).version);
        }
        assert_eq!(integrity.failed.lock().len(), FAILED);
    }

    #[test]
    fn only_what_a_checksum_is_over_is_compared() {
        let version = target("key", 0..SIZE).version;
        let mut meta = testing::meta("\"e\"", SIZE);
        assert_eq!(Target::new(&version, &meta, None), None);
        let sum =
            |value| ("x-amz-checksum-crc32".parse().unwrap(), HeaderValue::from_static(value));
        meta.checksums = Some(vec![sum("AAAAAA==")]);
        let found = Target::new(&version, &meta, None).unwrap();
        assert_eq!((found.range, found.announced.value), (0..SIZE, 0));
        assert_eq!(Target::new(&version, &meta, PartNumber::new(1)), None);
        meta.checksums = Some(vec![sum("AAAAAA==-2")]);
        assert_eq!(Target::new(&version, &meta, None), None);
    }
}
