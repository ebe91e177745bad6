//! In-memory index of records: a digest of each key, and the place of its record. At most 100 bytes a block.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard};

use super::segment::Segment;
use crate::cache::disk::format::digest::Digest;
use crate::cache::disk::format::record::{DATA_MAX, KEY_MAX, Kind, Record, START_BITS};
use crate::cache::disk::tier::policy::Hotness;

/// Class of a block to which no rule gives a share of the disk or a pin.
pub(in crate::cache::disk) const UNCLASSED: u8 = 0;

const SHARDS: usize = 64;
/// Number of values of the low bits of a digest, which choose its shard.
const CHOICES: usize = 4096;

/// Index entry of a record: its place and its lengths. There are millions of them: every byte counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cache::disk) struct Entry {
    pub segment: u32,
    /// Offset of the record in its segment, in bytes.
    pub offset: u32,
    shape: Shape,
    pub volume: u8,
    /// Class whose share the block counts toward.
    pub class: u8,
    pub hotness: Hotness,
}

/// Start, data length and key length of a record in 64 bits, the first in the highest ones. Stored as two halves, so
/// that an alignment of four bytes suffices.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Shape([u32; 2]);

impl Shape {
    const KEY_BITS: u32 = usize::BITS - KEY_MAX.leading_zeros();
    const DATA_BITS: u32 = usize::BITS - DATA_MAX.leading_zeros();
    const _FITS: () = assert!(Self::KEY_BITS + Self::DATA_BITS + START_BITS <= 64);

    /// Packs the lengths of a record, which are within bounds, as its parser and its writer ensure.
    fn of(record: &Record) -> Self {
        let start = u64::from(record.start) << Self::DATA_BITS;
        let shape = (start | u64::from(record.data_len)) << Self::KEY_BITS;
        let shape = shape | u64::from(record.key_len);
        let [high, low] = [shape >> 32, shape & u64::from(u32::MAX)];
        Self([high, low].map(|half| u32::try_from(half).expect("32 bits")))
    }

    fn bits(self, from: u32, count: u32) -> u32 {
        let [high, low] = self.0.map(u64::from);
        let field = ((high << 32 | low) >> from) & ((1 << count) - 1);
        u32::try_from(field).expect("no field has more")
    }

    fn key_len(self) -> u32 {
        self.bits(0, Self::KEY_BITS)
    }

    fn data_len(self) -> u32 {
        self.bits(Self::KEY_BITS, Self::DATA_BITS)
    }

    fn start(self) -> u32 {
        self.bits(Self::KEY_BITS + Self::DATA_BITS, START_BITS)
    }
}

impl std::fmt::Debug for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}+{} ({})", self.start(), self.data_len(), self.key_len())
    }
}

impl Entry {
    pub(in crate::cache::disk) fn new(
        volume: u8,
        segment: u32,
        offset: u32,
        record: &Record,
    ) -> Self {
        Self {
            segment,
            offset,
            shape: Shape::of(record),
            volume,
            class: UNCLASSED,
            hotness: Hotness::default(),
        }
    }

    /// Returns what is needed of the record to find its chunks.
    pub(in crate::cache::disk) fn record(&self, kind: Kind, digest: Digest) -> Record {
        Record {
            kind,
            digest,
            key_len: self.shape.key_len(),
            data_len: self.data_len(),
            start: self.start(),
            tag: 0,
        }
    }

    /// Returns [`Record::start`].
    pub(in crate::cache::disk) fn start(&self) -> u32 {
        self.shape.start()
    }

    /// Returns [`Record::data_len`].
    pub(in crate::cache::disk) fn data_len(&self) -> u32 {
        self.shape.data_len()
    }

    pub(in crate::cache::disk) fn in_class(self, class: u8) -> Self {
        Self { class, ..self }
    }

    pub(in crate::cache::disk) fn is_at(&self, place: Place) -> bool {
        (self.volume, self.segment, self.offset) == (place.volume, place.segment, place.offset)
    }

    pub(in crate::cache::disk) fn place(&self) -> Place {
        Place { volume: self.volume, segment: self.segment, offset: self.offset }
    }
}

/// Place of a record: volume, segment and offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cache::disk) struct Place {
    pub volume: u8,
    pub segment: u32,
    pub offset: u32,
}

/// Hasher that takes a part of the digest, as digests are uniformly distributed already.
#[derive(Default)]
pub(in crate::cache::disk) struct TakeDigest(u64);

impl Hasher for TakeDigest {
    fn write(&mut self, bytes: &[u8]) {
        // Called last with the digest itself; its first half has chosen the shard.
        self.0 = bytes.last_chunk().map_or(0, |half| u64::from_le_bytes(*half));
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

type Entries = HashMap<Digest, Entry, BuildHasherDefault<TakeDigest>>;
type Group = HashSet<Digest, BuildHasherDefault<TakeDigest>>;

/// A shard of the index: the entries whose digests choose it, under one lock.
#[derive(Default)]
struct Shard {
    entries: Entries,
    /// The same entries by start, which for an object's record stands for its bucket; only in a grouped index. They are
    /// kept by shard, so that growing or removing a group holds a lock only for its part of the shard.
    groups: Option<HashMap<u32, Group>>,
}

impl Shard {
    fn insert(&mut self, digest: Digest, entry: Entry) -> Option<Entry> {
        let old = self.entries.insert(digest, entry);
        if old.is_none_or(|old| old.start() != entry.start()) {
            if let Some(old) = old {
                self.ungroup(&digest, &old);
            }
            if let Some(groups) = &mut self.groups {
                groups.entry(entry.start()).or_default().insert(digest);
            }
        }
        old
    }

    fn remove(&mut self, digest: &Digest) -> Option<Entry> {
        let old = self.entries.remove(digest)?;
        self.ungroup(digest, &old);
        Some(old)
    }

    fn ungroup(&mut self, digest: &Digest, gone: &Entry) {
        let Some(groups) = &mut self.groups else { return };
        if let Some(group) = groups.get_mut(&gone.start()) {
            group.remove(digest);
            if group.is_empty() {
                groups.remove(&gone.start());
            }
        }
    }
}

/// Sharded hash table of entries. A table doubles when it is full, and is half empty then. Shards of one size would all
/// double at the same time; these are of different sizes, each 2^(1/64) of the one before, so that with any number of
/// entries some are full, some are half empty, and the average cost of an entry is always the same.
pub(in crate::cache::disk) struct Index {
    shards: Box<[Mutex<Shard>]>,
    /// Shard for each value of a digest's low bits: a shard twice as large is chosen twice as often.
    choices: Box<[u8; CHOICES]>,
    /// Total bytes of data of all entries.
    bytes: AtomicU64,
    entries: AtomicU64,
    /// Number of entries on each volume.
    by_volume: Box<[AtomicU64]>,
    limit: u64,
}

impl Index {
    /// Bytes of a slot in a table: digest, entry, and one byte of the table's own.
    const SLOT: u64 = (size_of::<Digest>() + size_of::<Entry>() + 1) as u64;
    /// Approximate memory of one entry, in bytes. Tables are full at 7/8; over all shards the slots for an entry are
    /// between that and twice that, evenly in their logarithm: 8/7 / ln 2 = 1.65. The rest is for what allocators round
    /// up.
    pub(in crate::cache::disk) const ENTRY_COST: u64 = (Self::SLOT * 9).div_ceil(5);

    /// Approximate bytes that an entry takes in the table of its group.
    const GROUP_COST: u64 = 32;

    /// Creates an index of at most `memory` bytes of entries.
    pub(in crate::cache::disk) fn new(memory: u64) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            choices: choices(),
            bytes: AtomicU64::new(0),
            entries: AtomicU64::new(0),
            by_volume: (0..=u8::MAX).map(|_| AtomicU64::new(0)).collect(),
            limit: memory / Self::ENTRY_COST,
        }
    }

    /// As [`Index::new`], for entries that are removed together by their start: see [`Index::remove_group`].
    pub(in crate::cache::disk) fn grouped(memory: u64) -> Self {
        let limit = memory / (Self::ENTRY_COST + Self::GROUP_COST);
        let index = Self { limit, ..Self::new(memory) };
        index.shards.iter().for_each(|shard| shard.lock().groups = Some(HashMap::new()));
        index
    }

    /// Reserves room for `entries` more at once, as tables that grow step by step leave their smaller selves behind.
    pub(in crate::cache::disk) fn reserve(&self, entries: usize) {
        let entries = entries.min(usize::try_from(self.limit).unwrap_or(usize::MAX));
        let mut chosen = [0; SHARDS];
        self.choices.iter().for_each(|shard| chosen[usize::from(*shard)] += 1);
        for (shard, chosen) in self.shards.iter().zip(chosen) {
            shard.lock().entries.reserve(entries * chosen / CHOICES);
        }
    }

    fn shard(&self, digest: &Digest) -> MutexGuard<'_, Shard> {
        let choice = digest.hash64() % CHOICES as u64;
        let shard = self.choices[usize::try_from(choice).expect("below CHOICES")];
        self.shards[usize::from(shard)].lock()
    }

    pub(in crate::cache::disk) fn get(&self, digest: &Digest) -> Option<Entry> {
        self.shard(digest).entries.get(digest).copied()
    }

    /// Counts a read of a block; returns its entry, and whether to promote the block to memory.
    pub(in crate::cache::disk) fn touch(
        &self,
        digest: &Digest,
        bytes: usize,
        window: u8,
    ) -> Option<(Entry, bool)> {
        let mut shard = self.shard(digest);
        let entry = shard.entries.get_mut(digest)?;
        let should_promote = entry.hotness.touch(bytes, entry.data_len() as usize, window);
        Some((*entry, should_promote))
    }

    pub(in crate::cache::disk) fn is_full(&self) -> bool {
        self.entries.load(Ordering::Relaxed) >= self.limit
    }

    pub(in crate::cache::disk) fn insert(&self, digest: Digest, entry: Entry) {
        let mut shard = self.shard(&digest);
        self.count(None, Some(&entry));
        let old = shard.insert(digest, entry);
        self.count(old.as_ref(), None);
    }

    /// Removes all entries of this start, shard by shard, at a cost proportional to their number; the caller sees to it
    /// that none is inserted meanwhile. Returns their number.
    pub(in crate::cache::disk) fn remove_group(&self, start: u32) -> u64 {
        let mut removed = 0;
        for shard in &self.shards {
            let mut shard = shard.lock();
            let groups = shard.groups.as_mut().expect("of a grouped index");
            for digest in groups.remove(&start).unwrap_or_default() {
                let old = shard.entries.remove(&digest);
                self.count(old.as_ref(), None);
                removed += 1;
            }
        }
        removed
    }

    /// Whether a grouped index has an entry of this start.
    pub(in crate::cache::disk) fn has_group(&self, start: u32) -> bool {
        let mut shards = self.shards.iter();
        shards.any(|shard| shard.lock().groups.as_ref().is_some_and(|g| g.contains_key(&start)))
    }

    /// Replaces an entry that is still at `place` by `entry`; returns whether it did.
    pub(in crate::cache::disk) fn replace(
        &self,
        digest: &Digest,
        place: Place,
        entry: Entry,
    ) -> bool {
        let mut shard = self.shard(digest);
        match shard.entries.get_mut(digest) {
            Some(old) if old.is_at(place) => {
                *old = entry;
                true
            }
            _ => false,
        }
    }

    /// Removes the entry if it is still at `place`; returns whether it was.
    pub(in crate::cache::disk) fn remove_at(&self, digest: &Digest, place: Place) -> bool {
        let mut shard = self.shard(digest);
        let there = shard.entries.get(digest).is_some_and(|e| e.is_at(place));
        if there {
            let old = shard.remove(digest);
            self.count(old.as_ref(), None);
        }
        there
    }

    pub(in crate::cache::disk) fn remove(&self, digest: &Digest) -> Option<Entry> {
        let mut shard = self.shard(digest);
        let old = shard.remove(digest);
        self.count(old.as_ref(), None);
        old
    }

    /// Removes all entries for which `gone` returns true, shard by shard; returns their number.
    pub(in crate::cache::disk) fn remove_where(
        &self,
        mut gone: impl FnMut(&Digest, &Entry) -> bool,
    ) -> u64 {
        let mut removed = 0;
        for shard in &self.shards {
            let mut shard = shard.lock();
            let going = shard.entries.extract_if(|digest, entry| gone(digest, entry));
            for (digest, entry) in going.collect::<Vec<_>>() {
                shard.ungroup(&digest, &entry);
                self.count(Some(&entry), None);
                removed += 1;
            }
        }
        removed
    }

    /// Returns the entries of a segment's records, in their order. Those of a sealed segment are looked up one by one,
    /// so that the cost depends on the segment and not on the index; otherwise the whole index is scanned.
    pub(in crate::cache::disk) fn entries_in(
        &self,
        segment: &Segment,
        volume: u8,
    ) -> Vec<(Digest, Entry)> {
        let mut found = Vec::new();
        let listed = segment.footer().and_then(|footer| {
            footer.each(|offset, Record { digest, .. }| {
                let place = Place { volume, segment: segment.number, offset };
                let entry = self.get(&digest).filter(|entry| entry.is_at(place));
                found.extend(entry.map(|entry| (digest, entry)));
            })
        });
        if listed.is_err() {
            found = self.find(|e| (e.volume, e.segment) == (volume, segment.number));
            found.sort_unstable_by_key(|(_, entry)| entry.offset);
        }
        found
    }

    /// Returns all entries for which `wanted` returns true.
    pub(in crate::cache::disk) fn find(
        &self,
        wanted: impl Fn(&Entry) -> bool,
    ) -> Vec<(Digest, Entry)> {
        let mut found = Vec::new();
        for shard in &self.shards {
            let shard = shard.lock();
            found.extend(shard.entries.iter().filter(|(_, e)| wanted(e)).map(|(d, e)| (*d, *e)));
        }
        found
    }

    fn count(&self, out: Option<&Entry>, into: Option<&Entry>) {
        if let Some(entry) = out {
            self.bytes.fetch_sub(entry.data_len().into(), Ordering::Relaxed);
            self.entries.fetch_sub(1, Ordering::Relaxed);
            self.by_volume[usize::from(entry.volume)].fetch_sub(1, Ordering::Relaxed);
        }
        if let Some(entry) = into {
            self.bytes.fetch_add(entry.data_len().into(), Ordering::Relaxed);
            self.entries.fetch_add(1, Ordering::Relaxed);
            self.by_volume[usize::from(entry.volume)].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Returns the number of entries on a volume.
    pub(in crate::cache::disk) fn entries_of(&self, volume: usize) -> u64 {
        self.by_volume[volume].load(Ordering::Relaxed)
    }

    /// Returns the bytes of data, and the number of entries.
    pub(in crate::cache::disk) fn usage(&self) -> (u64, u64) {
        (self.bytes.load(Ordering::Relaxed), self.entries.load(Ordering::Relaxed))
    }
}

/// Assigns the values of a digest's low bits to shards. With `u` uniform between 0 and 1, `log2(1 + u)` is below `x`
/// with probability `2^x - 1`.
fn choices() -> Box<[u8; CHOICES]> {
    let mut choices = Box::new([0; CHOICES]);
    let mut upto = (1..=SHARDS).map(|shard| (2_f64.powf(per(shard, SHARDS)) - 1.0, shard));
    let mut now = upto.next().expect("there are shards");
    for (number, shard) in choices.iter_mut().enumerate() {
        while per(number, CHOICES) >= now.0 {
            now = upto.next().expect("the last one ends at 1");
        }
        *shard = u8::try_from(now.1 - 1).expect("below SHARDS");
    }
    choices
}

fn per(number: usize, of: usize) -> f64 {
    let [number, of] = [number, of].map(|n| f64::from(u32::try_from(n).expect("it is small")));
    number / of
}

/// Whether a run of a block need not be written, as `there` is on disk: the run is a part of that, or no longer than
/// it. Only one run of each block is kept on disk.
pub(in crate::cache::disk) fn suffices(there: &Range<u64>, run: &Range<u64>) -> bool {
    let is_part = there.start <= run.start && run.end <= there.end;
    is_part || run.end - run.start <= there.end - there.start
}

/// Returns the range of its block that an entry covers, as offsets in the block.
pub(in crate::cache::disk) fn span(entry: &Entry) -> Range<u64> {
    u64::from(entry.start())..u64::from(entry.start()) + u64::from(entry.data_len())
}

#[cfg(test)]
mod tests;
