//! Writes hot blocks to disk while they are in memory: what only left memory for want of room, or at a graceful
//! shutdown, would be lost in a crash, and the hottest first of all.
//!
//! ```text
//!   a block is read over ─> a bounded queue of names ─> one task, at a bounded rate ─> admission, the disk's queue
//! ```
//! Readers never wait for it. What it cannot write now (a full queue, a device that is slow or fails) it skips, and
//! the block's next reader has it offered again. Once written, a block is not written when it leaves.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, sleep_until, timeout};

use crate::cache::assembly::Cache;
use crate::cache::key::BlockKey;

/// Bytes a second.
const RATE: u64 = 64 << 20;
/// Bytes that are written at one go, at most.
const BURST: Duration = Duration::from_millis(50);
/// How long a block waits for room in the disk's queue before it is skipped.
const PATIENCE: Duration = Duration::from_secs(1);

impl Cache {
    /// Starts the task that writes; it ends with the cache.
    pub(in crate::cache) fn begin_writing_behind(self: &Arc<Self>) {
        if let Some(hot) = self.write_behind.take() {
            tokio::spawn(write_behind(Arc::downgrade(self), hot));
        }
    }

    /// Joins what the disk holds of a block to what memory has: the disk keeps one run of a block, and a longer one would
    /// take the place of bytes that memory lacks. `false`: they cannot be read now.
    async fn join_disk(&self, key: &BlockKey) -> bool {
        let Some(disk) = self.disk.as_ref().filter(|_| !self.is_ended(key)) else { return true };
        let lacks = |there: &_| self.memory.find(key).is_some_and(|block| !block.covers(there));
        if !disk.holds(key).is_some_and(|there| lacks(&there)) {
            return true;
        }
        let rest = disk.load(key).await;
        rest.map(|rest| self.keep(key, rest)).is_some()
    }

    /// Offers a hot block to the disk. Returns how many bytes it takes in.
    pub(in crate::cache) fn write_hot(&self, key: &BlockKey, has_room: bool) -> u64 {
        let Some(block) = self.memory.find(key) else { return 0 };
        if self.write_behind.has_ended() {
            return 0;
        }
        let is_well = self.disk.as_ref().is_some_and(|disk| disk.is_well(key));
        if has_room && is_well && self.offer(key, &block) {
            return block.longest().bytes.len() as u64;
        }
        block.refused();
        0
    }
}

async fn write_behind(cache: Weak<Cache>, mut hot: Receiver<BlockKey>) {
    let mut paid_until = Instant::now();
    while let Some(key) = hot.recv().await {
        // Nothing that is waited for keeps the cache alive: it may be dropped meanwhile.
        let room = cache.upgrade().and_then(|cache| Some(cache.disk.as_ref()?.room(&key)));
        let Some(room) = room else { return };
        let has_room = timeout(PATIENCE, room).await.is_ok();
        let Some(cache) = cache.upgrade() else { return };
        let may_write = has_room && cache.join_disk(&key).await;
        let written = cache.write_hot(&key, may_write);
        drop(cache);
        let takes = Duration::from_nanos(written.saturating_mul(1_000_000_000) / RATE);
        paid_until = paid_until.max(Instant::now()) + takes;
        if paid_until > Instant::now() + BURST {
            sleep_until(paid_until).await;
        }
    }
}
