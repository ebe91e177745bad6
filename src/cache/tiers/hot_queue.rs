//! Names of hot blocks that wait to be written to disk.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::cache::disk::tier::policy::AdmissionMode;
use crate::cache::key::BlockKey;

/// Names that wait, at most.
const QUEUE: usize = 16 * 1024;

/// The names of hot blocks that wait to be written, and the task that takes them.
pub(in crate::cache) struct HotQueue {
    mode: AdmissionMode,
    sender: Sender<BlockKey>,
    /// Until it is begun.
    receiver: Mutex<Option<Receiver<BlockKey>>>,
    ended: Arc<AtomicBool>,
}

impl HotQueue {
    pub(in crate::cache) fn new(mode: AdmissionMode) -> Self {
        let (sender, receiver) = channel(QUEUE);
        Self { mode, sender, receiver: Mutex::new(Some(receiver)), ended: Arc::default() }
    }

    /// The names, for the one task that writes them; `None` when it was taken.
    pub(super) fn take(&self) -> Option<Receiver<BlockKey>> {
        self.receiver.lock().take()
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    /// Takes names, unless too many wait.
    pub(in crate::cache) fn intake(&self) -> impl Fn(&BlockKey) -> bool + Send + Sync + 'static {
        let (sender, ended) = (self.sender.clone(), self.ended.clone());
        move |key| !ended.load(Ordering::Relaxed) && sender.try_send(key.clone()).is_ok()
    }

    /// Whether a block counts as hot as soon as it comes.
    pub(in crate::cache) fn takes_everything(&self) -> bool {
        self.mode == AdmissionMode::FirstTouch
    }

    /// Names that wait.
    #[cfg(test)]
    pub(in crate::cache) fn waiting(&self) -> usize {
        self.sender.max_capacity() - self.sender.capacity()
    }

    /// Nothing is offered any more: all of memory is about to be written.
    pub(in crate::cache) fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}
