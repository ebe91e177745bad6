//! What somebody asks who reads ahead of all readers: what is missing, and whether readers leave room for it.

use std::ops::Range;

use super::plan;
use crate::cache::assembly::Cache;
use crate::cache::lookup::found::Found;
use crate::cache::memory::block::Block;

impl Cache {
    /// The parts of `range` that neither memory nor disk holds, in order.
    pub fn missing(&self, found: &Found, range: Range<u64>) -> Vec<Range<u64>> {
        let mut gaps: Vec<Range<u64>> = Vec::new();
        let mut at = range.start;
        while at < range.end {
            let key = found.version.block_at(at);
            let end = key.end().min(range.end);
            let on_disk = self.disk.as_ref().and_then(|disk| disk.holds(&key));
            let in_memory = self.memory.find(&key);
            let in_memory = in_memory.iter().flat_map(Block::spans);
            let mut have: Vec<_> = in_memory.chain(on_disk).collect();
            for gap in plan::missing(at..end, &mut have) {
                match gaps.last_mut() {
                    Some(last) if last.end == gap.start => last.end = gap.end,
                    _ => gaps.push(gap),
                }
            }
            at = end;
        }
        gaps
    }

    /// Whether nobody waits for memory in flight, and as much is free as one reader would leave to others when it
    /// reads ahead.
    pub fn has_room(&self) -> bool {
        self.budget.has_room(self.fetch_size)
    }
}
