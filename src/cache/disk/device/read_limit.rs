//! Limit on concurrent reads of one device: as many as it answers in time, measured by the origin.
//!
//! Reads that a device cannot serve in time queue in front of it, and each waits for all before it. So the limit is
//! halved when a read takes too long, and grows by one for each round of reads in time (AIMD, as in TCP). It grows
//! slowly to a value at which reads were late before, as each attempt costs late reads. A read above the limit is
//! refused at once, and the origin is asked. A device that is late with a single read at a time is not overloaded, but
//! slow.
//!
//! One late read may be chance, and is waited for. Reads that follow soon after it are waited for as long as they are
//! in time, and then given up for the origin.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::origin_pace::OriginPace;

/// Maximum number of concurrent reads, including those that wait for a thread.
const MOST: usize = 1024;
/// Number of reads in time before the limit grows to a value at which reads were late.
const CAREFUL: usize = 256;
/// Number of consecutive reads in time after which a late one no longer matters.
const STEADY: usize = 32;
/// Time after which a read is given up in any case.
pub(in crate::cache::disk) const TIMEOUT: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub(in crate::cache::disk) struct ReadLimit {
    limit: AtomicUsize,
    under_way: AtomicUsize,
    /// Number of reads in time since the limit last changed.
    in_time: AtomicUsize,
    /// Lowest limit that is known to be too high; [`MOST`]: there is none.
    ceiling: AtomicUsize,
    /// Number of reads in time since the last late one.
    row: AtomicUsize,
    /// Number of times the limit was lowered: reads that began before say nothing about the current limit.
    cuts: AtomicUsize,
    origin: OriginPace,
}

/// Speed of a read, as the limit judges it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cache::disk) enum Pace {
    InTime,
    /// The read was late: there are too many at a time.
    Overloaded,
    /// The read was late though it was the only one.
    Slow,
}

impl ReadLimit {
    pub(in crate::cache::disk) fn new() -> Arc<Self> {
        Arc::new(Self {
            limit: AtomicUsize::new(MOST),
            under_way: AtomicUsize::new(0),
            in_time: AtomicUsize::new(0),
            ceiling: AtomicUsize::new(MOST),
            row: AtomicUsize::new(STEADY),
            cuts: AtomicUsize::new(0),
            origin: OriginPace::default(),
        })
    }

    /// Takes a slot for a read; `None` if the limit is reached.
    pub(in crate::cache::disk) fn enter(self: &Arc<Self>) -> Option<ReadSlot> {
        let limit = self.limit.load(Ordering::Relaxed);
        if self.under_way.fetch_add(1, Ordering::Relaxed) >= limit {
            self.under_way.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(ReadSlot { limit: self.clone(), cuts: self.cuts.load(Ordering::Relaxed) })
    }

    /// Whether the limit is at its maximum, as the device serves all reads in time.
    pub(in crate::cache::disk) fn is_open(&self) -> bool {
        self.limit.load(Ordering::Relaxed) == MOST
    }

    /// Records the origin's time to first byte.
    pub(in crate::cache::disk) fn origin_answered(&self, took: Duration) {
        self.origin.answered(took);
    }

    /// Whether a read that took this long was in time.
    pub(in crate::cache::disk) fn is_in_time(&self, took: Duration) -> bool {
        took <= self.origin.in_time()
    }

    /// Whether no read was late for a while.
    pub(in crate::cache::disk) fn is_steady(&self) -> bool {
        self.row.load(Ordering::Relaxed) >= STEADY
    }

    /// Returns the maximum wait for a read.
    pub(in crate::cache::disk) fn read_timeout(&self) -> Duration {
        if self.is_steady() { TIMEOUT } else { self.origin.in_time() }
    }

    /// Restarts with one read at a time, as the device is not known to serve more.
    pub(in crate::cache::disk) fn restart(&self) {
        self.lower(1, 2);
        self.row.store(0, Ordering::Relaxed);
    }

    fn lower(&self, limit: usize, ceiling: usize) {
        self.limit.store(limit, Ordering::Relaxed);
        self.ceiling.store(ceiling, Ordering::Relaxed);
        self.in_time.store(0, Ordering::Relaxed);
        self.cuts.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a read in time, and raises the limit after a round of them.
    fn raise(&self) {
        if !self.is_steady() {
            self.row.fetch_add(1, Ordering::Relaxed);
        }
        let limit = self.limit.load(Ordering::Relaxed);
        if limit == MOST {
            return;
        }
        let was_late = limit + 1 >= self.ceiling.load(Ordering::Relaxed);
        let round = if was_late { limit.max(CAREFUL) } else { limit };
        if self.in_time.fetch_add(1, Ordering::Relaxed) + 1 >= round {
            self.in_time.store(0, Ordering::Relaxed);
            self.limit.store(limit + 1, Ordering::Relaxed);
            if was_late {
                self.ceiling.store(MOST, Ordering::Relaxed);
            }
        }
    }
}

/// Slot of one read, held until the device has completed it.
#[derive(Debug)]
pub(in crate::cache::disk) struct ReadSlot {
    limit: Arc<ReadLimit>,
    /// Value of `ReadLimit::cuts` when the read began.
    cuts: usize,
}

impl ReadSlot {
    /// Records the time that the device took.
    pub(in crate::cache::disk) fn took(&self, took: Duration) -> Pace {
        match self.limit.is_in_time(took) {
            true => {
                self.limit.raise();
                Pace::InTime
            }
            false => self.late(),
        }
    }

    /// Records that the device takes too long, and lowers the limit.
    pub(in crate::cache::disk) fn late(&self) -> Pace {
        let ReadSlot { limit: this, cuts } = self;
        this.row.store(0, Ordering::Relaxed);
        if this.cuts.load(Ordering::Relaxed) != *cuts {
            return Pace::Overloaded;
        }
        let limit = this.limit.load(Ordering::Relaxed);
        if limit == 1 {
            return Pace::Slow;
        }
        let too_many = this.under_way.load(Ordering::Relaxed).clamp(2, limit);
        this.lower(too_many / 2, too_many);
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
    fn a_late_read_is_waited_for_and_those_soon_after_it_as_long_as_they_are_in_time() {
        let limit = ReadLimit::new();
        let one = limit.enter().expect("a place");
        assert_eq!(limit.read_timeout(), TIMEOUT);
        one.took(LATE);
        for _ in 0..STEADY {
            assert_eq!(limit.read_timeout(), limit.origin.in_time());
            one.took(Duration::ZERO);
        }
        assert_eq!(limit.read_timeout(), TIMEOUT);
    }

    #[test]
    fn r37_a_read_that_is_much_slower_than_the_origin_is_late() {
        let limit = ReadLimit::new();
        limit.restart();
        let took = Duration::from_millis(35);
        assert_eq!(limit.enter().expect("a place").took(took), Pace::InTime);
        limit.restart();
        limit.origin_answered(Duration::from_millis(5));
        assert_eq!(limit.enter().expect("a place").took(took), Pace::Slow);
    }

    #[test]
    fn a_read_that_is_late_alone_is_slow_and_reads_in_time_raise_the_limit_by_one_a_round() {
        let limit = ReadLimit::new();
        limit.restart();
        let one = limit.enter().expect("a place");
        assert!(limit.enter().is_none() && !limit.is_open());
        assert_eq!(one.took(LATE), Pace::Slow);
        for (upto, round) in [(1, CAREFUL), (2, 2), (3, 3), (4, 4)] {
            (0..round).for_each(|_| assert_eq!(one.took(Duration::ZERO), Pace::InTime));
            assert_eq!(fill(&limit).len(), upto, "beside the first");
        }
    }

    #[test]
    fn the_limit_grows_slowly_to_where_reads_were_late() {
        let limit = ReadLimit::new();
        let slots: Vec<_> = (0..8).filter_map(|_| limit.enter()).collect();
        slots[0].took(LATE);
        drop(slots);
        let one = limit.enter().expect("a place");
        for _ in 0..4 + 5 + 6 + CAREFUL - 1 {
            one.took(Duration::ZERO);
            assert!(fill(&limit).len() < 7, "with the first fewer than were too many");
        }
        one.took(Duration::ZERO);
        assert_eq!(fill(&limit).len(), 7);
    }
}
