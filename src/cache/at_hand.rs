//! What a read can have without waiting for anything: the metadata and the bytes that are in memory now.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;

use super::Cache;
use super::meta::LearnedBy;
use super::open::{Found, Lookup};
use super::policy::Policy;
use crate::s3::ObjectId;

impl Cache {
    /// An object that memory knows and that is fresh; `None`: [`Cache::open`] has more to say.
    pub fn found_at_hand(&self, id: &ObjectId, policy: &Policy) -> Option<Found> {
        match self.lookup(id, policy, LearnedBy::Get) {
            Lookup::Fresh(found) => Some(found),
            _ => None,
        }
    }

    /// Adds the bytes of a range of it to `pieces`, one a block; false when memory does not have all of them.
    pub fn take_at_hand(
        &self,
        found: &Found,
        range: &Range<u64>,
        pieces: &mut VecDeque<Bytes>,
    ) -> bool {
        let mut at = range.start;
        while at < range.end {
            let block = self.memory.get(&found.version.block_at(at));
            let Some(mut bytes) = block.and_then(|block| block.from(at)) else { return false };
            bytes.truncate(usize::try_from(range.end - at).unwrap_or(usize::MAX));
            at += bytes.len() as u64;
            pieces.push_back(bytes);
        }
        true
    }
}
