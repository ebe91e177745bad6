//! Cooperative yielding of long transfers: after a number of bytes, other ready tasks get their turn.
//!
//! tokio ends a task's turn after a number of operations, however long they are: 128 reads of 64 KiB, say, are
//! milliseconds in which nobody else is answered on that thread.

/// Bytes per turn: about a tenth of a millisecond of copying.
const BYTES: u64 = 256 * 1024;

/// The bytes that a task has moved since it last yielded.
#[derive(Debug, Default)]
pub struct YieldBudget(u64);

impl YieldBudget {
    /// Adds `bytes` that were moved, and yields once they make a whole turn.
    pub async fn spend(&mut self, bytes: u64) {
        self.0 += bytes;
        if self.0 >= BYTES {
            self.0 = 0;
            tokio::task::yield_now().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_turn_ends_after_so_many_bytes() {
        let mut budget = YieldBudget::default();
        let mut ended = Vec::new();
        for bytes in [BYTES / 2, BYTES / 2, BYTES - 1, 1, 3 * BYTES, 1] {
            let mut moved = std::pin::pin!(budget.spend(bytes));
            ended.push(futures_util::poll!(moved.as_mut()).is_pending());
        }
        assert_eq!(ended, [false, true, false, true, true, false]);
    }
}
