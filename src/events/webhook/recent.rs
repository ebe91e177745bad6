//! Recently used signatures, for protection against replays.
//!
//! They are stored by the second in the signature, which a replay cannot change. When there are too many, the oldest
//! seconds are dropped, and signatures for these are refused from then on: memory is bounded, and still no signature is
//! accepted twice.

use std::collections::{BTreeMap, HashSet};

/// Maximum signatures remembered; some 10 MiB.
const MOST: usize = 1 << 18;

/// The first half of an HMAC-SHA-256 signature, long enough against collisions.
pub(super) type Seen = [u8; 16];

/// Signatures by their signed time, in seconds since 1970.
#[derive(Debug, Default)]
pub(super) struct Recent {
    by_second: BTreeMap<u64, HashSet<Seen>>,
    count: usize,
    /// The latest second that was dropped: signatures for it or earlier ones are refused.
    forgotten: Option<u64>,
}

/// State of a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    New,
    Seen,
    /// Older than the remembered ones, so that it may have been seen.
    Forgotten,
}

impl Recent {
    /// Records a signature; seconds before `oldest` are dropped.
    pub(super) fn add(&mut self, second: u64, seen: Seen, oldest: u64) -> Known {
        if self.forgotten.is_some_and(|forgotten| second <= forgotten) {
            return Known::Forgotten;
        }
        while self.by_second.first_key_value().is_some_and(|(first, _)| *first < oldest) {
            self.forget_first();
        }
        if !self.by_second.entry(second).or_default().insert(seen) {
            return Known::Seen;
        }
        self.count += 1;
        while self.count > MOST {
            self.forget_first();
        }
        Known::New
    }

    /// Removes a signature whose message was not applied.
    pub(super) fn remove(&mut self, second: u64, seen: &Seen) {
        if let Some(signatures) = self.by_second.get_mut(&second)
            && signatures.remove(seen)
        {
            self.count -= 1;
        }
    }

    fn forget_first(&mut self) {
        if let Some((second, signatures)) = self.by_second.pop_first() {
            self.count -= signatures.len();
            self.forgotten = self.forgotten.max(Some(second));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(n: usize) -> Seen {
        (n as u128).to_le_bytes()
    }

    #[test]
    fn a_signature_is_new_once_and_again_after_it_was_taken_back() {
        let mut recent = Recent::default();
        assert_eq!(recent.add(100, seen(1), 0), Known::New);
        assert_eq!(recent.add(100, seen(1), 0), Known::Seen);
        assert_eq!(recent.add(100, seen(2), 0), Known::New);
        recent.remove(100, &seen(1));
        recent.remove(100, &seen(7));
        assert_eq!(recent.add(100, seen(1), 0), Known::New);
        assert_eq!(recent.count, 2);
    }

    #[test]
    fn what_is_too_old_to_be_taken_takes_no_memory() {
        let mut recent = Recent::default();
        for second in 0..1000 {
            assert_eq!(recent.add(second, seen(0), second.saturating_sub(300)), Known::New);
        }
        assert_eq!((recent.count, recent.by_second.len()), (301, 301));
    }

    #[test]
    fn however_many_there_are_memory_is_bounded_and_none_is_taken_twice() {
        let mut recent = Recent::default();
        for n in 0..MOST + 5 {
            assert_eq!(recent.add(n as u64 / 4, seen(n), 0), Known::New);
        }
        assert!(recent.count <= MOST);
        assert_eq!(recent.add(0, seen(0), 0), Known::Forgotten);
        assert_eq!(recent.add(1, seen(4), 0), Known::Forgotten);
        assert_eq!(recent.add(2, seen(9), 0), Known::Seen);
        // All in one second: the next ones of it are refused, those of the next second are not.
        let mut recent = Recent::default();
        for n in 0..=MOST {
            recent.add(7, seen(n), 0);
        }
        assert_eq!((recent.count, recent.add(7, seen(1), 0)), (0, Known::Forgotten));
        assert_eq!(recent.add(8, seen(1), 0), Known::New);
    }
}
