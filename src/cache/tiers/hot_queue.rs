//! Queue of hot blocks that wait to be written to disk.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::cache::disk::tier::policy::AdmissionMode;
use crate::cache::key::BlockKey;

/// Maximum number of waiting keys.
const QUEUE: usize = 16 * 1024;

/// The keys of hot blocks that wait to be written by a task.
pub(in crate::cache) struct HotQueue {
    mode: AdmissionMode,
    sender: Sender<BlockKey>,
    /// The receiving end, until the task takes it.
    receiver: Mutex<Option<Receiver<BlockKey>>>,
    ended: Arc<AtomicBool>,
}

impl HotQueue {
    pub(in crate::cache) fn new(mode: AdmissionMode) -> Self {
        let (sender, receiver) = channel(QUEUE);
        Self { mode, sender, receiver: Mutex::new(Some(receiver)), ended: Arc::default() }
    }

    /// Returns the receiving end, for the one task that writes the blocks; `None`: it was taken before.
    pub(super) fn take(&self) -> Option<Receiver<BlockKey>> {
        self.receiver.lock().take()
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    /// Returns a function that enqueues a key; it returns `false` if the queue is full or ended.
    pub(in crate::cache) fn intake(&self) -> impl Fn(&BlockKey) -> bool + Send + Sync + 'static {
        let (sender, ended) = (self.sender.clone(), self.ended.clone());
        move |key| !ended.load(Ordering::Relaxed) && sender.try_send(key.clone()).is_ok()
    }

    /// Whether a block counts as hot as soon as it is admitted.
    pub(in crate::cache) fn takes_everything(&self) -> bool {
        self.mode == AdmissionMode::FirstTouch
    }

    /// Returns the number of waiting keys.
    #[cfg(test)]
    pub(in crate::cache) fn waiting(&self) -> usize {
        self.sender.max_capacity() - self.sender.capacity()
    }

    /// Ends the queue, since all of memory is about to be written.
    pub(in crate::cache) fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}
