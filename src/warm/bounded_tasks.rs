//! Concurrent work within one task, cancelled by dropping the task.

use std::pin::pin;

use futures_util::stream::{FuturesUnordered, StreamExt as _};

/// Futures that run concurrently, at most `most`; the first error ends them.
pub(super) struct BoundedTasks<F> {
    running: FuturesUnordered<F>,
    most: usize,
}

impl<F: Future<Output = Result<(), E>>, E> BoundedTasks<F> {
    pub(super) fn new(most: usize) -> Self {
        Self { running: FuturesUnordered::new(), most }
    }

    /// Adds a future as soon as there is room for it.
    pub(super) async fn add(&mut self, future: F) -> Result<(), E> {
        while self.running.len() >= self.most {
            self.running.next().await.transpose()?;
        }
        self.running.push(future);
        Ok(())
    }

    /// Waits for `other` while the futures run.
    pub(super) async fn meanwhile<T>(&mut self, other: impl Future<Output = T>) -> Result<T, E> {
        let mut other = pin!(other);
        loop {
            tokio::select! {
                biased;
                value = &mut other => return Ok(value),
                Some(ended) = self.running.next() => ended?,
            }
        }
    }

    /// Waits for all remaining futures.
    pub(super) async fn finish(mut self) -> Result<(), E> {
        while let Some(ended) = self.running.next().await {
            ended?;
        }
        Ok(())
    }
}
