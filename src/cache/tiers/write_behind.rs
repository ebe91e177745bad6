//! Writes hot blocks to disk while they are in memory: if blocks were only written on eviction or at a graceful
//! shutdown, a crash would lose them, above all the hottest.
//!
//! ```text
//!   a block is read over ─> a bounded queue of names ─> one task, at a bounded rate ─> admission, the disk's queue
//! ```
//! Readers never wait for it. It skips a block that it cannot write now (a full queue, a slow or failing device), and
//! the block's next reader has it offered again. Once written, a block is not written again on eviction.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, sleep_until, timeout};

use super::blocks::BlockTiers;
use crate::cache::key::BlockKey;

/// Bytes per second.
const RATE: u64 = 64 << 20;
/// Maximum burst of writes, as time at [`RATE`].
const BURST: Duration = Duration::from_millis(50);
/// Maximum wait of a block for room in the disk's queue before it is skipped.
const ROOM_TIMEOUT: Duration = Duration::from_secs(1);

/// Starts the task that writes hot blocks; it ends with the tiers.
pub(in crate::cache) fn begin(blocks: &Arc<BlockTiers>) {
    if let Some(hot) = blocks.hot.take() {
        tokio::spawn(write_behind(Arc::downgrade(blocks), hot));
    }
}

/// Joins the part of a block on disk with the part in memory: the disk keeps one run of a block, and a longer one would
/// replace bytes that memory lacks. `false`: they cannot be read now.
async fn join_disk(blocks: &BlockTiers, key: &BlockKey) -> bool {
    let disk = blocks.objects.disk.as_ref().filter(|_| !blocks.objects.is_purged(key));
    let Some(disk) = disk else { return true };
    let lacks = |there: &_| blocks.memory.find(key).is_some_and(|block| !block.covers(there));
    if !disk.holds(key).is_some_and(|there| lacks(&there)) {
        return true;
    }
    let rest = disk.load(key).await;
    rest.map(|rest| blocks.admit(key, rest)).is_some()
}

/// Offers a hot block to the disk. Returns the number of bytes that the disk takes.
pub(super) fn write_hot(blocks: &BlockTiers, key: &BlockKey, has_room: bool) -> u64 {
    let Some(block) = blocks.memory.find(key) else { return 0 };
    if blocks.hot.has_ended() {
        return 0;
    }
    let is_well = blocks.objects.disk.as_ref().is_some_and(|disk| disk.is_well(key));
    if has_room && is_well && blocks.spill.offer(key, &block) {
        return block.longest().bytes.len() as u64;
    }
    block.refused();
    0
}

async fn write_behind(blocks: Weak<BlockTiers>, mut hot: Receiver<BlockKey>) {
    let mut paid_until = Instant::now();
    while let Some(key) = hot.recv().await {
        // No future that is awaited here keeps the tiers alive: they may be dropped meanwhile.
        let room = |blocks: Arc<BlockTiers>| Some(blocks.objects.disk.as_ref()?.room(&key));
        let Some(room) = blocks.upgrade().and_then(room) else { return };
        let has_room = timeout(ROOM_TIMEOUT, room).await.is_ok();
        let Some(blocks) = blocks.upgrade() else { return };
        let may_write = has_room && join_disk(&blocks, &key).await;
        let written = write_hot(&blocks, &key, may_write);
        drop(blocks);
        let takes = Duration::from_nanos(written.saturating_mul(1_000_000_000) / RATE);
        paid_until = paid_until.max(Instant::now()) + takes;
        if paid_until > Instant::now() + BURST {
            sleep_until(paid_until).await;
        }
    }
}
