//! Fills: the part of one block that one fetch will bring, and the readers that wait for it.
//!
//! Bytes are handed on as they arrive: a reader never waits for a whole block. A fill counts its waiters, so that its
//! fetch can be cancelled when there are none. Of the memory budget it holds only the permit for its bytes.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::budget::Paid;
use crate::cache::memory::block::Block;
use crate::metrics::GaugeGuard;
use crate::origin::{Class, OriginError, Urgency};

/// Counts the readers that wait for a fetch and its missing bytes, and holds the most urgent class among the readers.
pub(in crate::cache) struct Interest {
    urgency: Arc<Urgency>,
    /// Bytes that have not arrived yet.
    left: AtomicU64,
    claims: AtomicUsize,
    lost: Notify,
}

impl Interest {
    pub(in crate::cache) fn new(class: Class) -> Arc<Self> {
        let urgency = Arc::new(Urgency::new(class));
        let left = AtomicU64::new(0);
        Arc::new(Self { urgency, left, claims: AtomicUsize::new(0), lost: Notify::new() })
    }

    pub(in crate::cache) fn urgency(&self) -> &Arc<Urgency> {
        &self.urgency
    }

    pub(in crate::cache) fn is_lost(&self) -> bool {
        self.claims.load(Ordering::Acquire) == 0
    }

    /// Resolves when the last claim was dropped.
    pub(in crate::cache) async fn lost(&self) {
        loop {
            let notified = self.lost.notified();
            if self.is_lost() {
                return;
            }
            notified.await;
        }
    }
}

/// Keeps a fetch going while it lives.
pub(in crate::cache) struct WaiterGuard(Arc<Interest>);

impl WaiterGuard {
    pub(in crate::cache) fn new(interest: &Arc<Interest>) -> Self {
        interest.claims.fetch_add(1, Ordering::AcqRel);
        Self(interest.clone())
    }
}

impl Drop for WaiterGuard {
    fn drop(&mut self) {
        if self.0.claims.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.lost.notify_one();
        }
    }
}

/// The part of one block that one fetch will bring.
pub(in crate::cache) struct Fill {
    /// Offsets in the object.
    pub(in crate::cache) span: Range<u64>,
    arrived: Mutex<Arrived>,
    progress: Notify,
    interest: Arc<Interest>,
    _paid: Option<Paid>,
}

enum Arrived {
    Some(Vec<u8>),
    /// All bytes have arrived. Readers get the last of them once the block is in memory, so that the next read is a
    /// hit.
    Unpublished {
        all: Bytes,
        readable: usize,
    },
    All(Bytes),
    Failed(Arc<OriginError>),
}

impl Fill {
    pub(in crate::cache) fn new(
        span: Range<u64>,
        interest: Arc<Interest>,
        paid: Option<Paid>,
    ) -> Self {
        interest.left.fetch_add(span.end - span.start, Ordering::Relaxed);
        Self {
            span,
            arrived: Mutex::new(Arrived::Some(Vec::new())),
            progress: Notify::new(),
            interest,
            _paid: paid,
        }
    }

    /// Takes the bytes of this fill from the front of `bytes`. `true`: the fill is complete, and has to be published.
    pub(in crate::cache) fn append(&self, bytes: &mut &[u8]) -> bool {
        let mut arrived = self.arrived.lock();
        let Arrived::Some(buffer) = &mut *arrived else { return true };
        let length = usize::try_from(self.span.end - self.span.start).expect("a block fits memory");
        if buffer.capacity() == 0 {
            buffer.reserve_exact(length);
        }
        let readable = buffer.len();
        let (ours, rest) = bytes.split_at(bytes.len().min(length - readable));
        buffer.extend_from_slice(ours);
        self.interest.left.fetch_sub(ours.len() as u64, Ordering::Relaxed);
        *bytes = rest;
        if buffer.len() == length {
            *arrived = Arrived::Unpublished { all: std::mem::take(buffer).into(), readable };
            return true;
        }
        drop(arrived);
        self.progress.notify_waiters();
        false
    }

    /// Makes the last bytes available to readers.
    pub(in crate::cache) fn publish(&self) {
        let mut arrived = self.arrived.lock();
        if let Arrived::Unpublished { all, .. } = &mut *arrived {
            *arrived = Arrived::All(std::mem::take(all));
        }
        drop(arrived);
        self.progress.notify_waiters();
    }

    pub(in crate::cache) fn fail(&self, error: &Arc<OriginError>) {
        let mut arrived = self.arrived.lock();
        if matches!(*arrived, Arrived::Some(_) | Arrived::Unpublished { .. }) {
            *arrived = Arrived::Failed(error.clone());
        }
        drop(arrived);
        self.progress.notify_waiters();
    }

    pub(in crate::cache) fn complete(&self) -> Option<Block> {
        match &*self.arrived.lock() {
            Arrived::All(bytes) | Arrived::Unpublished { all: bytes, .. } => {
                Some(Block::new(self.span.start, bytes.clone()))
            }
            Arrived::Some(_) | Arrived::Failed(_) => None,
        }
    }

    /// Returns the bytes that have arrived from `offset` on: a slice if the fill is complete, else a copy of at most
    /// `most` bytes. `None`: none yet.
    fn ready(&self, offset: u64, most: usize) -> Option<Result<Slice, Arc<OriginError>>> {
        let skip = usize::try_from(offset - self.span.start).expect("within the fill");
        match &*self.arrived.lock() {
            Arrived::All(bytes) => Some(Ok(Slice::Shared(bytes.slice(skip..)))),
            Arrived::Failed(error) => Some(Err(error.clone())),
            Arrived::Unpublished { all, readable } => copied(&all[..*readable], skip, most),
            Arrived::Some(buffer) => copied(buffer, skip, most),
        }
    }
}

fn copied(buffer: &[u8], skip: usize, most: usize) -> Option<Result<Slice, Arc<OriginError>>> {
    let here = buffer.get(skip..).filter(|b| !b.is_empty())?;
    Some(Ok(Slice::Copied(Bytes::copy_from_slice(&here[..here.len().min(most)]))))
}

/// Bytes of a block on their way to a client.
pub(in crate::cache) enum Slice {
    /// Keeps the whole block alive.
    Shared(Bytes),
    Copied(Bytes),
}

/// A reader's hold on a fill.
pub(in crate::cache) struct Claim {
    fill: Arc<Fill>,
    _wanted: WaiterGuard,
    _coalesced: Option<GaugeGuard>,
}

impl Claim {
    pub(in crate::cache) fn new(fill: &Arc<Fill>, coalesced: Option<GaugeGuard>) -> Self {
        Self {
            fill: fill.clone(),
            _wanted: WaiterGuard::new(&fill.interest),
            _coalesced: coalesced,
        }
    }

    /// Raises the urgency of the fetch to that of a waiter of this class.
    pub(in crate::cache) fn raise(&self, class: Class) {
        self.fill.interest.urgency.raise(class);
    }

    /// Whether both claims belong to the same fetch.
    pub(in crate::cache) fn is_beside(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.fill.interest, &other.fill.interest)
    }

    /// Bytes that its fetch still has to bring.
    pub(in crate::cache) fn left(&self) -> u64 {
        self.fill.interest.left.load(Ordering::Relaxed)
    }

    pub(in crate::cache) fn covers(&self, offset: u64) -> bool {
        self.fill.span.contains(&offset)
    }

    /// Offset in the object of its first byte.
    pub(in crate::cache) fn start(&self) -> u64 {
        self.fill.span.start
    }

    /// Offset in the object past its last byte.
    pub(in crate::cache) fn end(&self) -> u64 {
        self.fill.span.end
    }

    /// Returns the bytes that have arrived from `offset` on without waiting, at most `most` bytes of a copy, or the
    /// failure of the fetch.
    pub(in crate::cache) fn try_read(
        &self,
        offset: u64,
        most: usize,
    ) -> Option<Result<Slice, Arc<OriginError>>> {
        self.fill.ready(offset, most)
    }

    /// Whether bytes have arrived from `offset` on, or the fetch failed.
    pub(in crate::cache) fn is_ready(&self, offset: u64) -> bool {
        let skip = usize::try_from(offset - self.fill.span.start).expect("within the fill");
        match &*self.fill.arrived.lock() {
            Arrived::All(_) | Arrived::Failed(_) => true,
            Arrived::Unpublished { readable, .. } => *readable > skip,
            Arrived::Some(buffer) => buffer.len() > skip,
        }
    }

    /// Waits until bytes have arrived from `offset` on, or the fetch failed.
    pub(in crate::cache) async fn arrived(&self, offset: u64) {
        loop {
            let progress = self.fill.progress.notified();
            tokio::pin!(progress);
            progress.as_mut().enable();
            if self.is_ready(offset) {
                return;
            }
            progress.await;
        }
    }
}
