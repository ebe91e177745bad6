//! Queue of created objects to prefetch: bounded, without duplicates, dropping the oldest.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::bounded_tasks::BoundedTasks;
use super::object::Ended;
use super::pace::Rate;
use super::walk::is_absence;
use super::{Span, Warmer};
use crate::cache::PrefetchConfig;
use crate::metrics::warm::{self as metrics, WarmResult};
use crate::s3::{Change, ObjectEvent, ObjectId};

/// The most objects that wait.
const MOST: usize = 10_000;

/// An object that was created.
struct Created {
    id: ObjectId,
    span: Span,
    size: Option<u64>,
}

#[derive(Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    added: Notify,
}

#[derive(Default)]
struct Waiting {
    /// By the order in which they came.
    objects: BTreeMap<u64, Created>,
    places: HashMap<ObjectId, u64>,
    last: u64,
}

impl Queue {
    fn push(&self, created: Created) {
        let mut waiting = self.waiting.lock();
        waiting.last += 1;
        let place = waiting.last;
        if let Some(before) = waiting.places.insert(created.id.clone(), place) {
            waiting.objects.remove(&before);
        }
        waiting.objects.insert(place, created);
        if waiting.objects.len() > MOST
            && let Some((_, oldest)) = waiting.objects.pop_first()
        {
            waiting.places.remove(&oldest.id);
            metrics::prefetch_dropped();
        }
        metrics::set_prefetch_queue(waiting.objects.len() as u64);
        drop(waiting);
        self.added.notify_one();
    }

    /// The one that has waited longest.
    async fn pop(&self) -> Created {
        loop {
            if let Some(created) = self.try_pop() {
                return created;
            }
            self.added.notified().await;
        }
    }

    fn try_pop(&self) -> Option<Created> {
        let mut waiting = self.waiting.lock();
        let (_, created) = waiting.objects.pop_first()?;
        waiting.places.remove(&created.id);
        metrics::set_prefetch_queue(waiting.objects.len() as u64);
        Some(created)
    }
}

impl Warmer {
    /// An event was applied: what it says was created is warmed soon, where a rule says so. It never waits.
    pub fn told(&self, event: &ObjectEvent) {
        if event.change != Change::Created || !self.rules.prefetches() {
            return;
        }
        // The likeliest reading: what is not there by that name is not warmed.
        let key = &event.keys[0];
        let Some(prefetch) = self.rules.prefetch(&event.bucket, key) else { return };
        let span = Span::from(prefetch);
        if event.size.is_some_and(|size| span.is_nothing(size)) {
            return;
        }
        let realm = self.origin.realm_of(Some(&event.bucket));
        let id = ObjectId::new(realm, event.bucket.clone(), key.clone());
        self.created.push(Created { id, span, size: event.size });
    }

    /// Warms what was created, for ever.
    pub(super) async fn warm_created(&self) {
        let rate = Rate::new(None);
        let mut running = BoundedTasks::new(self.pace.reads());
        loop {
            let Ok(created) = running.meanwhile(self.created.pop()).await;
            let Ok(()) = running.add(self.warm_one(&rate, created)).await;
        }
    }

    async fn warm_one(&self, rate: &Rate, created: Created) -> Result<(), Infallible> {
        let Created { id, span, size } = created;
        let ended = self.warm_object(&id, span, size, rate, |_| true, |_, _| {}).await;
        let result = match ended {
            Ok(Ended::Warm) => WarmResult::Warmed,
            Ok(Ended::NotCacheable | Ended::NotAllowed) => WarmResult::Skipped,
            Err(error) if is_absence(&error) => WarmResult::Skipped,
            Err(error) => {
                log::debug!("warm: {}/{} was created: {error}", id.bucket(), id.key());
                WarmResult::Failed
            }
        };
        metrics::object(result);
        Ok(())
    }
}

impl From<PrefetchConfig> for Span {
    fn from(config: PrefetchConfig) -> Self {
        let PrefetchConfig { whole, head, tail } = config;
        Self { whole: whole.bytes(), head: head.bytes(), tail: tail.bytes() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::{BucketName, ObjectKey, Realm};

    fn created(key: usize, size: u64) -> Created {
        let realm = Realm::new("http://origin", "default");
        let (bucket, key) = (BucketName::new("data").unwrap(), ObjectKey::new(&key.to_string()));
        Created {
            id: ObjectId::new(&realm, bucket, key.unwrap()),
            span: Span::WHOLE,
            size: Some(size),
        }
    }

    fn next(queue: &Queue) -> Option<(String, Option<u64>)> {
        queue.try_pop().map(|created| (created.id.key().to_string(), created.size))
    }

    #[test]
    fn duplicates_are_one_and_the_last_counts() {
        let queue = Queue::default();
        queue.push(created(1, 10));
        queue.push(created(2, 20));
        queue.push(created(1, 11));
        assert_eq!(next(&queue), Some(("2".to_owned(), Some(20))));
        assert_eq!(next(&queue), Some(("1".to_owned(), Some(11))));
        assert_eq!(next(&queue), None);
        assert!(queue.waiting.lock().places.is_empty());
    }

    #[test]
    fn when_there_are_too_many_the_newest_stay() {
        let queue = Queue::default();
        for key in 0..MOST + 5 {
            queue.push(created(key, 1));
        }
        assert_eq!(queue.waiting.lock().places.len(), MOST);
        assert_eq!(next(&queue), Some(("5".to_owned(), Some(1))));
    }
}
