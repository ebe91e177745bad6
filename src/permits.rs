//! A semaphore whose number of permits can change while some of them are in use.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore};

/// A resizable semaphore.
#[derive(Debug)]
pub(crate) struct Permits {
    semaphore: Arc<Semaphore>,
    count: Mutex<Count>,
    /// Notified when the number of permits changes.
    resized: Notify,
}

#[derive(Debug)]
struct Count {
    /// The configured number of permits.
    wanted: usize,
    /// The semaphore's permits, free and in use: more than `wanted` until some are returned.
    actual: usize,
}

impl Permits {
    pub(crate) fn new(wanted: usize) -> Arc<Self> {
        let wanted = bounded(wanted);
        Arc::new(Self {
            semaphore: Arc::new(Semaphore::new(wanted)),
            count: Mutex::new(Count { wanted, actual: wanted }),
            resized: Notify::new(),
        })
    }

    /// Returns the semaphore, from which permits are acquired; it is never closed.
    pub(crate) fn semaphore(&self) -> &Arc<Semaphore> {
        &self.semaphore
    }

    /// Returns the permits in use, and the configured number.
    pub(crate) fn usage(&self) -> (usize, usize) {
        let count = self.count.lock();
        let taken = count.actual.saturating_sub(self.semaphore.available_permits());
        (taken, count.wanted)
    }

    /// Changes the number of permits. Surplus permits in use are removed as they are returned.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub(crate) fn resize(self: &Arc<Self>, wanted: usize) {
        let wanted = bounded(wanted);
        let mut count = self.count.lock();
        count.wanted = wanted;
        let surplus = count.actual.saturating_sub(wanted);
        count.actual -= self.semaphore.forget_permits(surplus);
        if count.actual > wanted {
            tokio::spawn(self.clone().remove_surplus());
        } else {
            self.semaphore.add_permits(wanted - count.actual);
            count.actual = wanted;
        }
        self.resized.notify_waiters();
    }

    /// Removes returned permits until there are no more than wanted.
    async fn remove_surplus(self: Arc<Self>) {
        while let Ok(permit) = self.semaphore.acquire().await {
            let mut count = self.count.lock();
            if count.actual <= count.wanted {
                return;
            }
            permit.forget();
            count.actual -= 1;
            self.resized.notify_waiters();
        }
    }

    /// Waits until no permit is in use.
    pub(crate) async fn all_returned(&self) {
        loop {
            let resized = self.resized.notified();
            let all = self.count.lock().actual;
            tokio::select! {
                _ = self.semaphore.acquire_many(u32::try_from(all).unwrap_or(u32::MAX)) => return,
                () = resized => {}
            }
        }
    }
}

/// Bounds the number to what one call can acquire.
fn bounded(wanted: usize) -> usize {
    wanted.min(u32::MAX as usize >> 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn permits_follow_the_wanted_number_while_some_are_taken() {
        let permits = Permits::new(3);
        let take = || permits.semaphore().clone().try_acquire_owned();
        let mut taken: Vec<_> = (0..3).map(|_| take().unwrap()).collect();
        permits.resize(1);
        assert_eq!(permits.usage(), (3, 1));
        for left in (0..3).rev() {
            drop(taken.pop());
            tokio::task::yield_now().await;
            assert_eq!(permits.usage(), (left, 1));
            let free = permits.semaphore().available_permits();
            assert_eq!(free, usize::from(left == 0), "{left} are taken");
        }
        permits.resize(2);
        taken.extend((0..2).map(|_| take().unwrap()));
        assert!(take().is_err());
        // Fewer, and more again before one was returned.
        permits.resize(1);
        permits.resize(4);
        tokio::task::yield_now().await;
        assert_eq!((permits.usage(), permits.semaphore().available_permits()), ((2, 4), 2));
        permits.resize(1);
        let mut returned = std::pin::pin!(permits.all_returned());
        assert!(futures_util::poll!(returned.as_mut()).is_pending());
        taken.clear();
        returned.await;
    }
}
