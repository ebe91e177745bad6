//! Queue of created objects to prefetch: bounded, without duplicates, dropping the oldest.

use std::collections::{BTreeMap, HashMap};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::span::Span;
use crate::metrics::warm as metrics;
use crate::s3::ObjectId;

/// Maximum number of waiting objects.
const MOST: usize = 10_000;

/// An object that was created.
pub(super) struct Created {
    pub(super) id: ObjectId,
    pub(super) span: Span,
    pub(super) size: Option<u64>,
}

#[derive(Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    added: Notify,
}

#[derive(Default)]
struct Waiting {
    /// Objects in order of arrival.
    objects: BTreeMap<u64, Created>,
    places: HashMap<ObjectId, u64>,
    last: u64,
}

impl Queue {
    pub(super) fn push(&self, created: Created) {
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

    /// Waits for an object, and returns the one that has waited longest.
    pub(super) async fn pop(&self) -> Created {
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
