//! Watchers of requests: each receives those that pass its filter, as lines of JSON, from its start on.
//!
//! No watcher delays a request: lines wait in a bounded queue; if it is full, they are dropped and counted. Without
//! watchers, a request costs one relaxed load.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::SystemTime;

use bytes::Bytes;
use parking_lot::RwLock;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::filter::Filter;
use super::request::Seen;

/// Maximum number of watchers per server.
pub const WATCHERS_MAX: usize = 8;
/// Maximum number of lines that wait for a watcher.
const QUEUE: usize = 1024;

/// All watchers of a server.
#[derive(Default)]
pub struct Watchers {
    count: AtomicUsize,
    all: RwLock<Vec<Arc<Watcher>>>,
}

struct Watcher {
    filter: Filter,
    lines: Sender<Bytes>,
    dropped: AtomicU64,
}

/// Handle of a watcher, which ends on drop.
pub struct Watch {
    of: Arc<Watchers>,
    watcher: Arc<Watcher>,
    lines: Receiver<Bytes>,
}

impl Watchers {
    /// Whether there is a watcher.
    pub fn is_watched(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0
    }

    /// Begins to watch; `None`: there are [`WATCHERS_MAX`] already.
    pub fn watch(self: &Arc<Self>, filter: Filter) -> Option<Watch> {
        let mut all = self.all.write();
        if all.len() >= WATCHERS_MAX {
            return None;
        }
        let (sender, lines) = channel(QUEUE);
        let watcher = Arc::new(Watcher { filter, lines: sender, dropped: AtomicU64::new(0) });
        all.push(watcher.clone());
        self.count.store(all.len(), Ordering::Relaxed);
        Some(Watch { of: self.clone(), watcher, lines })
    }

    /// Offers a request to all watchers.
    #[cold]
    pub fn offer(&self, seen: &Seen<'_>) {
        let mut line = None;
        for watcher in self.all.read().iter().filter(|watcher| watcher.filter.passes(seen)) {
            // The slot is reserved first, so that a dropped line is not formatted.
            match watcher.lines.try_reserve() {
                Ok(place) => {
                    let line =
                        line.get_or_insert_with(|| Bytes::from(seen.json(SystemTime::now())));
                    place.send(line.clone());
                }
                Err(_) => drop(watcher.dropped.fetch_add(1, Ordering::Relaxed)),
            }
        }
    }
}

impl Watch {
    /// Polls for the next line.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Bytes> {
        // The watcher holds a sender itself, so that the queue never closes.
        self.lines.poll_recv(cx).map(Option::unwrap_or_default)
    }

    /// Returns the number of lines dropped since the last call.
    pub fn take_dropped(&self) -> u64 {
        self.watcher.dropped.swap(0, Ordering::Relaxed)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut all = self.of.all.write();
        all.retain(|watcher| !Arc::ptr_eq(watcher, &self.watcher));
        self.of.count.store(all.len(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::request::tests::seen;
    use crate::metrics::attribution::OriginUse;

    impl Watch {
        async fn next(&mut self) -> Bytes {
            std::future::poll_fn(|cx| self.poll_next(cx)).await
        }
    }

    fn filter(text: &str) -> Filter {
        Filter::parse(text).unwrap()
    }

    #[tokio::test]
    async fn each_gets_what_passes_its_filter_and_slow_ones_lose_lines() {
        let (watchers, origin) = (Arc::<Watchers>::default(), OriginUse::default());
        let mut all = watchers.watch(filter("")).unwrap();
        let mut some = watchers.watch(filter("key=rare")).unwrap();
        watchers.offer(&seen("rare", &origin));
        for _ in 0..QUEUE + 4 {
            watchers.offer(&seen("usual", &origin));
        }
        assert!(some.next().await.starts_with(b"{\"time\":"));
        assert_eq!((some.lines.len(), some.take_dropped()), (0, 0));
        assert_eq!((all.lines.len(), all.take_dropped(), all.take_dropped()), (QUEUE, 5, 0));
        let first = all.next().await;
        assert!(first.windows(4).any(|text| text == b"rare"));
        watchers.offer(&seen("usual", &origin));
        assert_eq!((all.lines.len(), all.take_dropped()), (QUEUE, 0), "there is room again");
    }

    #[test]
    fn watchers_are_bounded_and_gone_when_dropped() {
        let watchers = Arc::<Watchers>::default();
        assert!(!watchers.is_watched());
        let mut held: Vec<_> =
            (0..WATCHERS_MAX).map(|_| watchers.watch(filter("")).unwrap()).collect();
        assert!(watchers.is_watched() && watchers.watch(filter("")).is_none());
        held.pop();
        assert!(watchers.watch(filter("")).is_some());
        held.clear();
        assert!(!watchers.is_watched() && watchers.all.read().is_empty());
    }
}
