//! State shared by all connections of an origin: the store, the faults, and the record of requests.
//!
//! Invariant: every change to the record wakes the tasks that wait for one.

use super::faults::Faults;
use super::http::Seen;
use super::store::Store;
use super::{Fault, Matcher, Object, Repeat};
use crate::support::lock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::Notify;

#[derive(Debug, Default)]
pub(super) struct State {
    store: Mutex<Store>,
    faults: Mutex<Faults>,
    log: Mutex<Log>,
    pub changed: Notify,
    pub connections: AtomicU64,
    /// Connections that are open.
    pub open: AtomicUsize,
    request_ids: AtomicU64,
}

#[derive(Debug, Default)]
struct Log {
    /// Number of requests that were removed from the record: the index of the first one kept.
    first: usize,
    seen: Vec<Seen>,
    complaints: Vec<String>,
}

impl State {
    pub(super) fn store(&self) -> MutexGuard<'_, Store> {
        lock(&self.store)
    }

    pub(super) fn add_fault(&self, matcher: Matcher, repeat: Repeat, fault: Fault) {
        lock(&self.faults).add(matcher, repeat, fault);
    }

    pub(super) fn clear_faults(&self) {
        lock(&self.faults).clear();
    }

    pub(super) fn take_fault(&self, seen: &Seen) -> Option<Fault> {
        lock(&self.faults).take(seen)
    }

    pub(super) fn next_request_id(&self) -> String {
        format!("ORIGIN{:010}", self.request_ids.fetch_add(1, Ordering::Relaxed))
    }

    pub(super) fn complain(&self, complaint: String) {
        lock(&self.log).complaints.push(complaint);
    }

    pub(super) fn complaints(&self) -> Vec<String> {
        lock(&self.log).complaints.clone()
    }

    /// Calls `look` with the recorded requests, without copying them.
    pub(super) fn with_requests<R>(&self, look: impl FnOnce(&[Seen]) -> R) -> R {
        look(&lock(&self.log).seen)
    }

    pub(super) fn forget_requests(&self) {
        let mut log = lock(&self.log);
        log.first += log.seen.len();
        log.seen.clear();
    }
}

/// An open connection.
pub(super) struct Open(Arc<State>);

impl Open {
    pub(super) fn new(state: &Arc<State>) -> Open {
        state.open.fetch_add(1, Ordering::SeqCst);
        Open(Arc::clone(state))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
        self.0.changed.notify_waiters();
    }
}

/// The record of one request; when it is dropped, for whatever reason, the request is done.
pub(super) struct Record {
    state: Arc<State>,
    index: usize,
    bucket: String,
    key: String,
}

impl Record {
    pub(super) fn new(state: &Arc<State>, seen: Seen) -> Record {
        let (bucket, key) = (seen.bucket.clone(), seen.key.clone());
        let mut log = lock(&state.log);
        let index = log.first + log.seen.len();
        log.seen.push(seen);
        drop(log);
        state.changed.notify_waiters();
        Record { state: Arc::clone(state), index, bucket, key }
    }

    pub(super) fn update(&self, change: impl FnOnce(&mut Seen)) {
        let mut log = lock(&self.state.log);
        let place = self.index.checked_sub(log.first);
        if let Some(seen) = place.and_then(|place| log.seen.get_mut(place)) {
            change(seen);
        }
        drop(log);
        self.state.changed.notify_waiters();
    }

    pub(super) fn complete(&self) {
        self.update(|seen| seen.complete = true);
    }

    /// Replaces the object that this request reads.
    pub(super) fn replace_object(&self, object: Object) {
        self.state.store().put(&self.bucket, &self.key, object);
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.update(|seen| seen.done = true);
    }
}
