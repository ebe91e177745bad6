//! Long transfers share their worker: after so many bytes at one go, others who are ready get their turn.
//!
//! tokio ends a task's turn after a number of operations, however long they are: 128 reads of 64 KiB, say, are
//! milliseconds in which nobody else is answered on that thread.

/// A tenth of a millisecond, about, of copying.
const BYTES: u64 = 256 * 1024;

/// The bytes that a task moved since it last let others have their turn.
#[derive(Debug, Default)]
pub struct YieldBudget(u64);

impl YieldBudget {
    /// `bytes` were moved. Lets others go first when that makes a whole turn.
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
