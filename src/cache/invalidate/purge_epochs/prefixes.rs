//! Purge epochs of prefixes: an immutable ordered map that changes replace.
//!
//! Readers use one version of it without a lock. A writer makes the next version, which shares all but a chunk or two
//! with the previous one.

use std::sync::Arc;

/// Maximum number of entries of a chunk, which is what one change copies.
const CHUNK: usize = 128;

type Entry = (Arc<[u8]>, u32);

/// Entries sorted by prefix, in chunks; no chunk is empty.
#[derive(Debug, Clone, Default)]
pub(super) struct PrefixEpochs {
    chunks: Vec<Arc<Vec<Entry>>>,
    entries: usize,
    /// Total bytes of all prefixes.
    bytes: usize,
}

impl PrefixEpochs {
    /// Returns the highest epoch of a prefix of `name`, or 0.
    ///
    /// It takes one search for each prefix of `name` in the map, and one for each position at which other prefixes
    /// branch off from `name`.
    pub(super) fn of(&self, name: &[u8]) -> u32 {
        let (mut epoch, mut upto) = (0, Some(name));
        while let Some(at_most) = upto
            && let Some((prefix, number)) = self.last_up_to(at_most)
        {
            let common = common_length(prefix, name);
            upto = match common == prefix.len() {
                true => {
                    epoch = epoch.max(*number);
                    common.checked_sub(1).map(|shorter| &name[..shorter])
                }
                // A longer prefix of `name` would lie between the two.
                false => Some(&name[..common]),
            };
        }
        epoch
    }

    fn last_up_to(&self, at_most: &[u8]) -> Option<&Entry> {
        let chunk = self.chunks.partition_point(|chunk| *chunk[0].0 <= *at_most).checked_sub(1)?;
        let chunk = &self.chunks[chunk];
        chunk[..chunk.partition_point(|(prefix, _)| **prefix <= *at_most)].last()
    }

    /// Returns a copy in which the epoch of `prefix` is at least `number`. Longer prefixes with lower epochs are
    /// dropped.
    pub(super) fn raised(&self, prefix: &[u8], number: u32) -> Self {
        let is_before = |chunk: &Arc<Vec<Entry>>| chunk.last().is_some_and(|(p, _)| **p < *prefix);
        let mut start = self.chunks.partition_point(is_before);
        let mut end = self.chunks.partition_point(|chunk| {
            let (first, _) = &chunk[0];
            **first <= *prefix || first.starts_with(prefix)
        });
        if start == end {
            // The prefix lies between two chunks, or outside of all: a neighbour takes it in.
            start = start.saturating_sub(1);
            end = (start + 1).min(self.chunks.len());
        }
        let stays = |(other, epoch): &&Entry| !(other.starts_with(prefix) && *epoch <= number);
        let mut changed: Vec<Entry> = self.chunks[start..end]
            .iter()
            .flat_map(|chunk| chunk.iter())
            .filter(stays)
            .cloned()
            .collect();
        if let Err(at) = changed.binary_search_by(|(other, _)| (**other).cmp(prefix)) {
            changed.insert(at, (prefix.into(), number));
        }
        let pieces = changed.len().div_ceil(CHUNK);
        let changed: Vec<_> = changed
            .chunks(changed.len().div_ceil(pieces))
            .map(|piece| Arc::new(piece.to_vec()))
            .collect();
        let (before, after) = (count(&self.chunks[start..end]), count(&changed));
        let chunks = [&self.chunks[..start], &changed, &self.chunks[end..]].concat();
        Self {
            chunks,
            entries: self.entries + after.0 - before.0,
            bytes: self.bytes + after.1 - before.1,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries
    }

    /// Returns the total bytes of all prefixes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], u32)> {
        let entries = self.chunks.iter().flat_map(|chunk| chunk.iter());
        entries.map(|(prefix, number)| (&**prefix, *number))
    }
}

fn count(chunks: &[Arc<Vec<Entry>>]) -> (usize, usize) {
    let entries = chunks.iter().flat_map(|chunk| chunk.iter());
    entries.fold((0, 0), |(entries, bytes), (prefix, _)| (entries + 1, bytes + prefix.len()))
}

fn common_length(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    /// A reference model: a map without chunks, scanned by every lookup.
    #[derive(Default)]
    struct Model(BTreeMap<Vec<u8>, u32>);

    impl Model {
        fn of(&self, name: &[u8]) -> u32 {
            let covering = self.0.iter().filter(|(prefix, _)| name.starts_with(prefix));
            covering.map(|(_, epoch)| *epoch).max().unwrap_or(0)
        }

        fn raise(&mut self, prefix: &[u8], number: u32) {
            self.0.retain(|other, epoch| !(other.starts_with(prefix) && *epoch <= number));
            self.0.entry(prefix.to_vec()).or_insert(number);
        }
    }

    fn name(random: &mut StdRng, most: usize) -> Vec<u8> {
        (0..random.gen_range(0..=most)).map(|_| random.gen_range(b'a'..=b'c')).collect()
    }

    #[test]
    fn r28_the_epoch_of_a_name_is_that_of_its_latest_purged_prefix() {
        for seed in 0..20 {
            let mut random = StdRng::seed_from_u64(seed);
            let (mut epochs, mut model) = (PrefixEpochs::default(), Model::default());
            for step in 1..1500 {
                // Long prefixes, so that not all are under a few short ones.
                let prefix = match random.gen_range(0..200) {
                    0 => name(&mut random, 3),
                    _ => [name(&mut random, 6), b"abcabc".to_vec(), name(&mut random, 3)].concat(),
                };
                // Prefixes read from files are not in order.
                let number = if step % 10 == 0 { random.gen_range(1..=step) } else { step };
                epochs = epochs.raised(&prefix, number);
                model.raise(&prefix, number);
                for name in [prefix.clone(), name(&mut random, 12)] {
                    assert_eq!(epochs.of(&name), model.of(&name), "{seed} {step} {name:?}");
                }
            }
            let kept: Vec<_> = epochs.iter().map(|(prefix, n)| (prefix.to_vec(), n)).collect();
            assert_eq!(kept, model.0.into_iter().collect::<Vec<_>>());
            assert_eq!(epochs.len(), kept.len());
            assert_eq!(epochs.bytes(), kept.iter().map(|(prefix, _)| prefix.len()).sum::<usize>());
        }
    }

    #[test]
    fn chunks_are_neither_too_large_nor_many_in_whatever_order_prefixes_come() {
        for step in [1, -1] {
            let mut epochs = PrefixEpochs::default();
            for n in 0..10_000_i64 {
                let prefix = format!("{:08}/", 50_000 + step * n);
                epochs = epochs.raised(prefix.as_bytes(), 1);
            }
            assert!(epochs.chunks.iter().all(|chunk| (1..=CHUNK).contains(&chunk.len())));
            assert!(epochs.chunks.len() <= 2 * 10_000 / CHUNK + 2, "{}", epochs.chunks.len());
        }
    }
}
