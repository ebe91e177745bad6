//! Shares of one path: the blocks of each rule that has a share, oldest first.

use std::collections::{BTreeMap, VecDeque};

use crate::cache::disk::format::digest::Digest;
use crate::cache::disk::log::index::{Entry, Index, Place, UNCLASSED};

struct Share {
    class: u8,
    limit: u64,
    bytes: u64,
    /// Blocks by segment, oldest first: removing a segment drops its blocks without a scan of the others.
    segments: BTreeMap<u32, Blocks>,
}

/// Blocks of one class in one segment, oldest first.
#[derive(Default)]
struct Blocks {
    bytes: u64,
    blocks: VecDeque<(Digest, Place, u32)>,
}

/// Limits each class to its share: a class above its limit evicts its own oldest blocks and not another's.
pub(in crate::cache::disk) struct Shares(Vec<Share>);

impl Shares {
    /// Creates shares with `limits` in bytes of data, and counts the blocks that are on `volume` already.
    pub(in crate::cache::disk) fn new(volume: u8, limits: &[(u8, u64)], index: &Index) -> Self {
        let share = |(class, limit): &(u8, u64)| Share {
            class: *class,
            limit: *limit,
            bytes: 0,
            segments: BTreeMap::new(),
        };
        let mut shares = Self(limits.iter().map(share).collect());
        if shares.0.is_empty() {
            return shares;
        }
        let mut there = index.find(|e| e.volume == volume && e.class != UNCLASSED);
        there.sort_unstable_by_key(|(_, e)| (e.segment, e.offset));
        for (digest, entry) in there {
            shares.add(digest, &entry, index);
        }
        shares
    }

    /// Returns the maximum bytes of each class.
    pub(in crate::cache::disk) fn limits(&self) -> Vec<(u8, u64)> {
        self.0.iter().map(|share| (share.class, share.limit)).collect()
    }

    /// Counts a written block, and evicts the oldest of its class while the class is above its limit.
    pub(in crate::cache::disk) fn add(&mut self, digest: Digest, entry: &Entry, index: &Index) {
        let Some(share) = self.0.iter_mut().find(|s| s.class == entry.class) else { return };
        share.push((digest, entry.place(), entry.data_len()));
        while share.bytes > share.limit
            && let Some((digest, place)) = share.pop()
        {
            index.remove_at(&digest, place);
        }
    }

    /// Drops the blocks of a removed segment. The cost depends only on their number, however many there are elsewhere.
    pub(in crate::cache::disk) fn forget(&mut self, segment: u32) {
        for share in &mut self.0 {
            share.bytes -= share.segments.remove(&segment).map_or(0, |gone| gone.bytes);
        }
    }
}

impl Share {
    fn push(&mut self, block: (Digest, Place, u32)) {
        let (_, place, length) = block;
        let segment = self.segments.entry(place.segment).or_default();
        segment.blocks.push_back(block);
        segment.bytes += u64::from(length);
        self.bytes += u64::from(length);
    }

    fn pop(&mut self) -> Option<(Digest, Place)> {
        let mut oldest = self.segments.first_entry()?;
        let (digest, place, length) = oldest.get_mut().blocks.pop_front().expect("none is empty");
        oldest.get_mut().bytes -= u64::from(length);
        self.bytes -= u64::from(length);
        if oldest.get().blocks.is_empty() {
            oldest.remove();
        }
        Some((digest, place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::disk::format::record::{Kind, Record};

    #[test]
    fn a_full_share_lets_its_own_oldest_go() {
        let index = Index::new(1 << 20);
        let mut shares = Shares::new(0, &[(1, 100)], &index);
        let mut write = |name: &str, class, segment| {
            let digest = Digest::of(name.as_bytes());
            let record =
                Record { kind: Kind::Block, digest, key_len: 1, data_len: 40, start: 0, tag: 0 };
            let entry = Entry::new(0, segment, 32, &record).in_class(class);
            index.insert(digest, entry);
            shares.add(digest, &entry, &index);
            if segment == 9 {
                shares.forget(8);
            }
            digest
        };
        let other = write("other", 2, 1);
        let old = write("old", 1, 1);
        let (b, c) = (write("b", 1, 2), write("c", 1, 8));
        assert!(index.get(&old).is_none() && index.get(&other).is_some());
        assert!(index.get(&b).is_some() && index.get(&c).is_some());
        let d = write("d", 1, 9);
        assert_eq!(index.get(&b).map(|e| e.segment), None);
        let e = write("e", 1, 10);
        assert!(index.get(&d).is_some() && index.get(&e).is_some());
    }
}
