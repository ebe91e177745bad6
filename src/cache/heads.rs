//! HEAD requests under way, shared by all who wait for them.
//!
//! Who only wants what is known to be fresh enough joins the request under way. Who demands the state of *now*
//! must not: that request was sent before he arrived. He gets the next one, with all who arrive meanwhile (R7).

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::Cache;
use super::generation::Generation;
use super::meta::Moment;
use crate::metrics::{self, Held};
use crate::origin::OriginError;
use crate::s3::{ObjectId, ObjectMeta, PartNumber};

/// Which request a reader may be answered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Join {
    /// The one under way, too.
    UnderWay,
    /// Only one that is sent from now on.
    Next,
}

pub(super) type HeadAnswer = Result<Arc<ObjectMeta>, Arc<OriginError>>;
type Announced = watch::Sender<Option<HeadAnswer>>;
/// What is asked for: an object, or a part of it. Under which generation, too.
type Question = (ObjectId, Option<PartNumber>, Generation);

struct Queue {
    under_way: Announced,
    next: Option<Announced>,
}

/// All HEAD requests under way.
#[derive(Default)]
pub(super) struct Heads {
    queues: Mutex<HashMap<Question, Queue>>,
}

impl Heads {
    /// Asks the origin for an object's metadata, and where a part of it lies; or waits for who is asking already.
    pub(super) async fn ask(
        &self,
        cache: &Arc<Cache>,
        id: &ObjectId,
        part: Option<PartNumber>,
        join: Join,
    ) -> HeadAnswer {
        let question = (id.clone(), part, cache.generations.current(id));
        let (mut answer, _coalesced) = self.enter(cache, question, join);
        match answer.wait_for(Option::is_some).await {
            Ok(answer) => answer.clone().expect("waited until it was there"),
            Err(_) => Err(Arc::new(OriginError::GivenUp)),
        }
    }

    fn enter(
        &self,
        cache: &Arc<Cache>,
        key: Question,
        join: Join,
    ) -> (watch::Receiver<Option<HeadAnswer>>, Option<Held>) {
        let mut queues = self.queues.lock();
        if let Some(queue) = queues.get_mut(&key) {
            let answer = match join {
                Join::UnderWay => &queue.under_way,
                Join::Next => queue.next.get_or_insert_with(|| watch::Sender::new(None)),
            };
            return (answer.subscribe(), Some(metrics::coalesced()));
        }
        let under_way = watch::Sender::new(None);
        let answer = under_way.subscribe();
        queues.insert(key.clone(), Queue { under_way, next: None });
        let worker = Worker { cache: cache.clone(), key };
        tokio::spawn(worker.run());
        (answer, None)
    }
}

/// Sends the requests of one queue, one after another, and removes it however it ends.
struct Worker {
    cache: Arc<Cache>,
    key: Question,
}

impl Worker {
    async fn run(self) {
        loop {
            let (id, part, generation) = &self.key;
            let since = Moment::now();
            let answer = self.cache.origin.head(id, *part).await;
            if let (Some(part), Err(error)) = (part, &answer) {
                self.cache.no_parts.note(id, *part, error);
            }
            let answer = self.cache.learn_head(id, *generation, since, answer);
            let mut queues = self.cache.heads.queues.lock();
            let Some(queue) = queues.get_mut(&self.key) else { return };
            queue.under_way.send_replace(Some(answer));
            match queue.next.take() {
                Some(next) => queue.under_way = next,
                None => return drop(queues.remove(&self.key)),
            }
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.cache.heads.queues.lock().remove(&self.key);
    }
}
