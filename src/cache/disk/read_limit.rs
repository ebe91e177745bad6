//! How many reads of one device may be under way: as many as it answers in time.
//!
//! What a device cannot do in time queues in front of it, and each read waits for all that came before. So the limit is
//! halved when a read takes too long, and grows by one for each round of reads in time (AIMD, as TCP does). Who finds it
//! reached is refused at once, and the origin is asked. A device that has a single read at a time and does not answer it
//! in time is not slow for its load, but slow.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// What is in time. Solid state answers in less than 1 ms, a disk that seeks in 15; S3 in 30 or more.
pub(super) const IN_TIME: Duration = Duration::from_millis(50);
/// The most reads at a time, those included that wait for a thread.
const MOST: usize = 1024;

#[derive(Debug)]
pub(super) struct ReadLimit {
    limit: AtomicUsize,
    under_way: AtomicUsize,
    /// Reads in time since the limit last changed.
    in_time: AtomicUsize,
    /// How often it was lowered: reads that began before say nothing of what it is now.
    cuts: AtomicUsize,
}

/// How a read went, as the limit sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    InTime,
    /// There are too many at a time.
    Overloaded,
    /// It was the only one, and took too long nevertheless.
    Slow,
}

impl ReadLimit {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            limit: AtomicUsize::new(MOST),
            under_way: AtomicUsize::new(0),
            in_time: AtomicUsize::new(0),
            cuts: AtomicUsize::new(0),
        })
    }

    /// A place for a read; `None`: there are as many as the device can do.
    pub(super) fn enter(self: &Arc<Self>) -> Option<ReadSlot> {
        let limit = self.limit.load(Ordering::Relaxed);
        if self.under_way.fetch_add(1, Ordering::Relaxed) >= limit {
            self.under_way.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(ReadSlot { limit: self.clone(), cuts: self.cuts.load(Ordering::Relaxed) })
    }

    /// Whether the device does all that it is asked.
    pub(super) fn is_open(&self) -> bool {
        self.limit.load(Ordering::Relaxed) == MOST
    }

    /// Begins with one read at a time, as the device is not known to do more.
    pub(super) fn restart(&self) {
        self.lower(1);
    }

    fn lower(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
        self.in_time.store(0, Ordering::Relaxed);
        self.cuts.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a read in time.
    fn raise(&self) {
        let limit = self.limit.load(Ordering::Relaxed);
        if limit < MOST && self.in_time.fetch_add(1, Ordering::Relaxed) + 1 >= limit {
            self.in_time.store(0, Ordering::Relaxed);
            self.limit.store(limit + 1, Ordering::Relaxed);
        }
    }
}

/// The place of one read, until the device is done with it.
#[derive(Debug)]
pub(super) struct ReadSlot {
    limit: Arc<ReadLimit>,
    /// Those that came before it.
    cuts: usize,
}

impl ReadSlot {
    /// Says how long the device took.
    pub(super) fn took(&self, took: Duration) -> Pace {
        let ReadSlot { limit: this, cuts } = self;
        if took <= IN_TIME {
            this.raise();
            return Pace::InTime;
        }
        if this.cuts.load(Ordering::Relaxed) != *cuts {
            return Pace::Overloaded;
        }
        let limit = this.limit.load(Ordering::Relaxed);
        if limit == 1 {
            return Pace::Slow;
        }
        this.lower((this.under_way.load(Ordering::Relaxed).min(limit) / 2).max(1));
        Pace::Overloaded
    }
}

impl Drop for ReadSlot {
    fn drop(&mut self) {
        self.limit.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATE: Duration = Duration::from_millis(51);

    fn fill(limit: &Arc<ReadLimit>) -> Vec<ReadSlot> {
        std::iter::from_fn(|| limit.enter()).collect()
    }

    #[test]
    fn late_reads_of_one_time_halve_the_limit_once() {
        let limit = ReadLimit::new();
        let slots = fill(&limit);
        assert_eq!(slots.len(), MOST);
        assert!(slots.iter().all(|slot| slot.took(LATE) == Pace::Overloaded));
        drop(slots);
        assert_eq!(fill(&limit).len(), MOST / 2);
    }

    #[test]
    fn a_read_that_is_late_alone_is_slow_and_reads_in_time_raise_the_limit_by_one_a_round() {
        let limit = ReadLimit::new();
        limit.restart();
        let one = limit.enter().expect("a place");
        assert!(limit.enter().is_none() && !limit.is_open());
        assert_eq!(one.took(LATE), Pace::Slow);
        for upto in 1..5 {
            (0..upto).for_each(|_| assert_eq!(one.took(Duration::ZERO), Pace::InTime));
            assert_eq!(fill(&limit).len(), upto, "beside the first");
        }
    }
}
