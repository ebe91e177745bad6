//! Coalesced HEAD requests: at most one in flight per object, part and generation.
//!
//! A reader that accepts what is fresh enough joins the request in flight. A reader that demands the current state
//! does not: that request was sent before the reader arrived. It gets the next request, together with all readers
//! that arrive until that one is sent (R7).
//!
//! Invariant: each queue in the table belongs to exactly one [`Lease`], and only that lease removes it, once and
//! under the lock that all readers enter by. So no reader waits in a queue without a worker, and no answer reaches a
//! reader of another queue. `cache::fence` tests this in many orders.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::clock::Moment;
use crate::cache::invalidate::generation::Generation;
use crate::cache::invalidate::sync::Mutex;
use crate::origin::OriginError;
use crate::s3::{ObjectId, ObjectMeta, PartNumber};

/// The requests that may answer a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cache) enum Join {
    /// Also the one in flight.
    UnderWay,
    /// Only one that is sent from now on.
    Next,
}

/// The metadata that a HEAD brought.
#[derive(Debug, Clone)]
pub(in crate::cache) struct Confirmed {
    pub meta: Arc<ObjectMeta>,
    /// A moment before the request was sent.
    pub since: Moment,
}

pub(in crate::cache) type HeadAnswer = Result<Confirmed, Arc<OriginError>>;
type AnswerSender = watch::Sender<Option<HeadAnswer>>;
pub(in crate::cache) type AnswerReceiver = watch::Receiver<Option<HeadAnswer>>;
/// An object or a part of it, and the generation in which it is requested.
pub(in crate::cache) type Question = (ObjectId, Option<PartNumber>, Generation);

struct Queue {
    in_flight: AnswerSender,
    /// Time at which the request in flight was sent.
    since: Instant,
    next: Option<AnswerSender>,
}

/// All HEAD requests in flight. Clones share the table.
#[derive(Default, Clone)]
pub(in crate::cache) struct Heads {
    queues: Arc<Mutex<HashMap<Question, Queue>>>,
}

impl Heads {
    /// Returns the number of requests in flight.
    pub(in crate::cache) fn len(&self) -> usize {
        self.queues.lock().len()
    }

    /// Returns the time since the request in flight for an object was sent, if there is one.
    pub(in crate::cache) fn waited_for(
        &self,
        id: &ObjectId,
        generation: Generation,
    ) -> Option<Duration> {
        let queues = self.queues.lock();
        queues.get(&(id.clone(), None, generation)).map(|queue| queue.since.elapsed())
    }

    #[cfg(all(test, feature = "shuttle"))]
    pub(in crate::cache) fn is_idle(&self) -> bool {
        self.queues.lock().is_empty()
    }

    /// Joins a queue, or opens one. In that case it returns a lease, whose holder must serve the queue.
    pub(in crate::cache) fn enter(
        &self,
        question: Question,
        join: Join,
    ) -> (AnswerReceiver, Option<Lease>) {
        let mut queues = self.queues.lock();
        if let Some(queue) = queues.get_mut(&question) {
            let answer = match join {
                Join::UnderWay => &queue.in_flight,
                Join::Next => queue.next.get_or_insert_with(|| watch::Sender::new(None)),
            };
            return (answer.subscribe(), None);
        }
        let in_flight = watch::Sender::new(None);
        let answer = in_flight.subscribe();
        queues.insert(question.clone(), Queue { in_flight, since: Instant::now(), next: None });
        (answer, Some(Lease { heads: self.clone(), question, ended: false }))
    }
}

/// Waits for the answer of a queue; [`OriginError::GivenUp`] when its worker ended without one.
pub(in crate::cache) async fn wait(mut answer: AnswerReceiver) -> HeadAnswer {
    match answer.wait_for(Option::is_some).await {
        Ok(answer) => answer.clone().expect("waited until it was there"),
        Err(_) => Err(Arc::new(OriginError::GivenUp)),
    }
}

/// The right and the duty to answer the readers of one queue.
pub(in crate::cache) struct Lease {
    heads: Heads,
    question: Question,
    /// Whether its queue was removed from the table; one that may be there now belongs to another lease.
    ended: bool,
}

impl Lease {
    /// Sends one request after another until no reader waits for a next one.
    pub(in crate::cache) async fn serve<F>(mut self, send: impl Fn(Question) -> F)
    where
        F: Future<Output = HeadAnswer>,
    {
        while !self.ended {
            let answer = send(self.question.clone()).await;
            self.answer(answer);
        }
    }

    /// Answers the readers of the request in flight. Those that wait for the next one are its readers from now on;
    /// without any the queue is removed.
    fn answer(&mut self, answer: HeadAnswer) {
        let mut queues = self.heads.queues.lock();
        let queue = queues.get_mut(&self.question).expect("only its lease removes a queue");
        queue.in_flight.send_replace(Some(answer));
        match queue.next.take() {
            Some(next) => {
                queue.in_flight = next;
                queue.since = Instant::now();
            }
            None => {
                queues.remove(&self.question);
                self.ended = true;
            }
        }
    }
}

impl Drop for Lease {
    /// Removes the queue of a worker that panics or is shut down.
    fn drop(&mut self) {
        if !self.ended {
            self.heads.queues.lock().remove(&self.question);
        }
    }
}
