//! Permission to send requests, limited in number: those that a client waits for go first.
//!
//! Requests have classes. Among waiting requests, one of the highest class goes next; and the lower classes never take
//! all slots, so that a HEAD or a small read finds one free while bulk fetches hold theirs for long. The class of a
//! running fetch is raised when a reader begins to wait for it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use parking_lot::Mutex;
use tokio::select;
use tokio::sync::{Notify, oneshot};

/// Urgency class of a request to the origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Metadata that a client waits for.
    Metadata,
    /// Few bytes that a client waits for.
    SmallRead,
    /// Bytes that a client waits for.
    Read,
    /// Bytes that a client is likely to wait for soon.
    ReadAhead,
    /// Bytes that no client asked for.
    Background,
}

impl Class {
    const ALL: [Self; 5] =
        [Self::Metadata, Self::SmallRead, Self::Read, Self::ReadAhead, Self::Background];
    /// Maximum bytes of a small read.
    const SMALL: u64 = 256 * 1024;

    /// Returns the class of a read of this many bytes that a client waits for.
    #[must_use]
    pub fn of_read(bytes: u64) -> Self {
        if bytes <= Self::SMALL { Self::SmallRead } else { Self::Read }
    }

    /// Returns how many of `all` slots may be in use once a request of this class begins.
    fn share(self, all: usize) -> usize {
        let reserved = match self {
            Self::Metadata => 0,
            Self::SmallRead => all / 16,
            Self::Read => all / 8,
            Self::ReadAhead => all / 4,
            Self::Background => all / 2,
        };
        // At least one slot is reserved for metadata, even if there are few.
        let least = usize::from(self != Self::Metadata && all > 1);
        all - reserved.max(least)
    }
}

/// The urgency of one fetch, which can only rise.
#[derive(Debug)]
pub struct Urgency {
    class: AtomicU8,
    raised: Notify,
}

impl Urgency {
    #[must_use]
    pub fn new(class: Class) -> Self {
        Self { class: AtomicU8::new(class as u8), raised: Notify::new() }
    }

    #[must_use]
    pub fn class(&self) -> Class {
        Class::ALL[usize::from(self.class.load(Ordering::Relaxed))]
    }

    /// Raises the urgency to at least `class`.
    pub fn raise(&self, class: Class) {
        if self.class.fetch_min(class as u8, Ordering::Relaxed) > class as u8 {
            self.raised.notify_waiters();
        }
    }

    /// Waits until the urgency is higher than `class`.
    async fn above(&self, class: Class) {
        loop {
            let raised = self.raised.notified();
            tokio::pin!(raised);
            raised.as_mut().enable();
            if self.class() < class {
                return;
            }
            raised.await;
        }
    }
}

/// Slots for concurrent requests to the origin.
#[derive(Debug)]
pub(super) struct Slots {
    state: Mutex<State>,
    count: usize,
}

#[derive(Debug, Default)]
struct State {
    in_use: usize,
    /// Waiting requests by class, the oldest first. Some may have been cancelled.
    waiting: [VecDeque<oneshot::Sender<Slot>>; Class::ALL.len()],
}

impl State {
    /// Takes a slot out of `count`, if a request of this class need not wait.
    fn takes(&mut self, class: Class, count: usize) -> bool {
        // Waiting requests of the same or a higher class go first.
        let is_first = self.waiting[..=class as usize].iter().all(VecDeque::is_empty);
        let takes = is_first && self.in_use < class.share(count);
        self.in_use += usize::from(takes);
        takes
    }
}

/// Permission for one request, returned on drop.
#[derive(Debug)]
pub(super) struct Slot {
    /// `None` once returned.
    slots: Option<Arc<Slots>>,
}

impl Slots {
    pub(super) fn new(count: usize) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), count })
    }

    /// Whether a read would not have to wait.
    pub(super) fn has_free(&self) -> bool {
        self.state.lock().in_use < Class::Read.share(self.count)
    }

    /// Returns the number of requests under way.
    pub(super) fn in_use(&self) -> usize {
        self.state.lock().in_use
    }

    /// Returns a slot, if the request need not wait for it.
    pub(super) fn try_take(self: &Arc<Self>, class: Class) -> Option<Slot> {
        let takes = self.state.lock().takes(class, self.count);
        takes.then(|| Slot { slots: Some(self.clone()) })
    }

    /// Waits for a slot.
    pub(super) async fn take(self: &Arc<Self>, urgency: &Urgency) -> Slot {
        loop {
            let class = urgency.class();
            let mut turn = match self.enter(class) {
                Ok(slot) => return slot,
                Err(turn) => turn,
            };
            select! {
                biased;
                Ok(slot) = &mut turn => return slot,
                () = urgency.above(class) => {}
            }
        }
    }

    /// Returns a slot, or a place in the queue of the class.
    fn enter(self: &Arc<Self>, class: Class) -> Result<Slot, oneshot::Receiver<Slot>> {
        let mut state = self.state.lock();
        if state.takes(class, self.count) {
            return Ok(Slot { slots: Some(self.clone()) });
        }
        let (sender, receiver) = oneshot::channel();
        let queue = &mut state.waiting[class as usize];
        if queue.len() == queue.capacity() {
            // Before it grows.
            queue.retain(|turn| !turn.is_closed());
        }
        queue.push_back(sender);
        Err(receiver)
    }

    /// Hands a free slot to the first waiting request, or marks it as unused.
    fn give_back(self: &Arc<Self>) {
        let mut state = self.state.lock();
        state.in_use -= 1;
        for class in Class::ALL {
            while state.in_use < class.share(self.count)
                && let Some(turn) = state.waiting[class as usize].pop_front()
            {
                state.in_use += 1;
                if let Err(mut slot) = turn.send(Slot { slots: Some(self.clone()) }) {
                    slot.slots = None;
                    state.in_use -= 1;
                }
            }
        }
    }
}

impl Slot {
    /// Returns the number of slots in use, including this one.
    pub(super) fn in_use(&self) -> usize {
        self.slots.as_ref().map_or(0, |slots| slots.in_use())
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(slots) = self.slots.take() {
            slots.give_back();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn now(slots: &Arc<Slots>, class: Class) -> Option<Slot> {
        slots.take(&Urgency::new(class)).now_or_never()
    }

    #[tokio::test]
    async fn lower_classes_leave_slots_to_higher_ones() {
        let slots = Slots::new(16);
        let taken = |class| {
            let taken: Vec<_> = std::iter::from_fn(|| now(&slots, class)).collect();
            taken
        };
        let mut held = Vec::new();
        for (class, more) in [(4, 8), (3, 4), (2, 2), (1, 1), (0, 1)] {
            let taken = taken(Class::ALL[class]);
            assert_eq!(taken.len(), more, "{class}");
            held.extend(taken);
        }
        assert!(!slots.has_free());
        drop(held);
        assert_eq!(slots.state.lock().in_use, 0);
        let (two, one) = (Slots::new(2), Slots::new(1));
        let fetch = now(&two, Class::Background).unwrap();
        assert!(now(&two, Class::Read).is_none() && now(&two, Class::Metadata).is_some());
        drop(fetch);
        assert!(now(&one, Class::Background).is_some());
    }

    #[tokio::test]
    async fn of_those_that_wait_the_most_urgent_goes_next_and_the_first_of_its_class() {
        let slots = Slots::new(1);
        let held = now(&slots, Class::Read).unwrap();
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = tokio::task::JoinSet::new();
        let classes = [
            Class::Background,
            Class::ReadAhead,
            Class::Read,
            Class::Metadata,
            Class::Read,
            Class::Metadata,
        ];
        for (number, class) in classes.into_iter().enumerate() {
            let (slots, order) = (slots.clone(), order.clone());
            tasks.spawn(async move {
                let slot = slots.take(&Urgency::new(class)).await;
                order.lock().push(number);
                drop(slot);
            });
            tokio::task::yield_now().await;
        }
        drop(held);
        tasks.join_all().await;
        assert_eq!(*order.lock(), [3, 5, 2, 4, 1, 0]);
    }

    #[tokio::test]
    async fn what_is_left_for_metadata_is_not_free_for_a_late_read_to_be_sent_again() {
        let slots = Slots::new(4);
        let mut held: Vec<_> = (0..3).map(|_| now(&slots, Class::Read).unwrap()).collect();
        assert!(!slots.has_free() && now(&slots, Class::Metadata).is_some());
        held.pop();
        assert!(slots.has_free());
    }

    #[tokio::test]
    async fn what_somebody_begins_to_wait_for_is_raised() {
        let slots = Slots::new(1);
        let held = now(&slots, Class::Read).unwrap();
        let warmed = Arc::new(Urgency::new(Class::Background));
        let raised = tokio::spawn({
            let (slots, warmed) = (slots.clone(), warmed.clone());
            async move { slots.take(&warmed).await }
        });
        tokio::task::yield_now().await;
        let urgency = Urgency::new(Class::ReadAhead);
        let mut ahead = Box::pin(slots.take(&urgency));
        assert!(futures_util::poll!(&mut ahead).is_pending());
        warmed.raise(Class::SmallRead);
        warmed.raise(Class::Background);
        tokio::task::yield_now().await;
        drop(held);
        let slot = raised.await.unwrap();
        assert!(futures_util::poll!(&mut ahead).is_pending());
        drop(slot);
        assert!(futures_util::poll!(&mut ahead).is_ready());
    }

    #[tokio::test]
    async fn who_gives_up_costs_no_slot_and_no_memory() {
        let slots = Slots::new(2);
        let held = [now(&slots, Class::Metadata), now(&slots, Class::Metadata)];
        for _ in 0..10_000 {
            assert!(now(&slots, Class::Metadata).is_none());
        }
        assert!(slots.state.lock().waiting[0].len() < 100);
        drop(held);
        assert_eq!(slots.state.lock().in_use, 0);
        assert!(now(&slots, Class::Metadata).is_some());
        // One that was given a slot, and gives up before it takes it.
        let held = [now(&slots, Class::Metadata), now(&slots, Class::Metadata)];
        let urgency = Urgency::new(Class::Read);
        let mut waits = Box::pin(slots.take(&urgency));
        assert!(futures_util::poll!(&mut waits).is_pending());
        drop(held);
        drop(waits);
        assert_eq!(slots.state.lock().in_use, 0);
    }
}
