//! What is worth a place on disk.

use std::collections::{HashSet, VecDeque};

use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::index::Entry;

/// A record of a segment that is about to go.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    pub digest: Digest,
    /// How often it was read since it was written.
    pub touches: u8,
    pub entry: Entry,
}

/// Keeps those that are worth being written once more.
pub(super) fn survivors(candidates: &mut Vec<Candidate>, segment: u64) {
    candidates.retain(|c| c.touches > 0);
    candidates.sort_unstable_by_key(|c| std::cmp::Reverse(c.touches));
    let mut left = segment / 8;
    candidates.retain(|c| {
        let fits = left.checked_sub(c.entry.data_len.into());
        left = fits.unwrap_or(left);
        fits.is_some()
    });
}

/// Which blocks that leave memory are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AdmissionMode {
    FirstTouch,
    #[default]
    SecondTouch,
}

pub struct Admission {
    mode: AdmissionMode,
    limit: usize,
    order: VecDeque<u64>,
    seen: HashSet<u64>,
}

impl Admission {
    pub fn new(mode: AdmissionMode, expected_entries: usize) -> Self {
        Self { mode, limit: expected_entries, order: VecDeque::new(), seen: HashSet::new() }
    }

    pub fn admit(&mut self, fingerprint: u64, touched: bool) -> bool {
        if self.mode == AdmissionMode::FirstTouch || touched || self.seen.contains(&fingerprint) {
            return true;
        }
        if self.seen.insert(fingerprint) {
            self.order.push_back(fingerprint);
        }
        if self.order.len() > self.limit
            && let Some(old) = self.order.pop_front()
        {
            self.seen.remove(&old);
        }
        false
    }
}
