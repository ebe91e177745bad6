//! Tasks that fetch bytes: one per origin range, detached from the readers that wait for it.
//!
//! A client disconnect cancels nothing that another client waits for. A fetch without waiters is cancelled, unless
//! little of it is left. However a task ends, even by a panic, its waiters are notified.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::select;
use tokio::time::Instant;

use super::fetcher::Fetcher;
use super::fill::{Fill, Interest};
use super::flight::{ColdFetch, ColdFetchAnswer, NewFetch, Opened};
use super::integrity::{Check, Mismatch};
use super::yield_budget::YieldBudget;
use crate::cache::invalidate::generation::Generation;
use crate::cache::key::{BlockKey, ObjectVersion};
use crate::cache::memory::block::Block;
use crate::cache::metadata::clock::Moment;
use crate::cache::metadata::store::LearnedBy;
use crate::cache::rules::policy::{Fetching, Policy};
use crate::metrics::{self, attribution};
use crate::origin::{Answer, Asked, Body, OriginError, Pin};
use crate::s3::{ObjectId, ObjectMeta};

/// The version of which a range is fetched, and how.
#[derive(Clone, Copy)]
pub(in crate::cache) struct FetchTarget<'a> {
    /// The object as requested: by name, or by a version id.
    pub id: &'a ObjectId,
    pub version: &'a ObjectVersion,
    pub meta: &'a Arc<ObjectMeta>,
    pub fetching: Fetching,
}

/// Starts the fetch of a range of a known version.
pub(in crate::cache) fn spawn(
    fetcher: &Arc<Fetcher>,
    wanted: FetchTarget<'_>,
    generation: Generation,
    fetch: NewFetch,
) {
    let (range, id, meta) = (fetch.range.clone(), wanted.id.clone(), wanted.meta.clone());
    let check = wanted.fetching.check(wanted.version, &meta, None);
    let delivery = Delivery::new(fetcher.clone(), id.clone(), generation, fetch, check);
    attribution::spawn(async move {
        let origin = delivery.fetcher.origin.clone();
        let urgency = delivery.interest.urgency();
        let asked = origin.get(&id, Asked::Range(range), Pin::Version(meta), urgency);
        let started = Instant::now();
        let answer = select! {
            biased;
            answer = asked => answer,
            () = delivery.unwanted() => return,
        };
        match answer {
            Ok(Answer { body, .. }) => {
                delivery.fetcher.answered(started);
                delivery.run(body).await;
            }
            Err(error) => delivery.fail(error),
        }
    });
}

/// Starts a cold fetch.
pub(in crate::cache) fn spawn_cold(
    fetcher: &Arc<Fetcher>,
    id: &ObjectId,
    generation: Generation,
    opening: Arc<ColdFetch>,
    policy: &Policy,
) {
    let task = ColdFetchTask {
        fetcher: fetcher.clone(),
        id: id.clone(),
        generation,
        since: Moment::now(),
        opening,
        obey_no_store: policy.obey_no_store,
        fetching: policy.fetching,
        ended: false,
    };
    attribution::spawn(task.run());
}

struct ColdFetchTask {
    fetcher: Arc<Fetcher>,
    id: ObjectId,
    generation: Generation,
    since: Moment,
    opening: Arc<ColdFetch>,
    obey_no_store: bool,
    fetching: Fetching,
    ended: bool,
}

impl ColdFetchTask {
    async fn run(mut self) {
        let origin = self.fetcher.origin.clone();
        let (opening, urgency) = (&self.opening, self.opening.interest().urgency());
        let asked = origin.get(&self.id, opening.asked().clone(), opening.pin(), urgency);
        let started = Instant::now();
        let unwanted = async {
            loop {
                self.opening.interest().lost().await;
                if self.fetcher.flights.abandon(&self.id, self.generation, &self.opening) {
                    break;
                }
            }
        };
        let answer = select! {
            biased;
            answer = asked => answer,
            () = unwanted => {
                self.ended = true;
                return;
            }
        };
        match answer {
            Ok(answer) => {
                self.fetcher.answered(started);
                Box::pin(self.deliver(answer)).await;
            }
            Err(error) => {
                let (id, by) = (&self.id, LearnedBy::Get);
                match self.opening.asked().part() {
                    Some(part) if !matches!(error, OriginError::NotFound(_)) => {
                        self.fetcher.partless.note(id, part, &error);
                    }
                    _ => self.fetcher.admission.admit_failure(
                        id,
                        self.generation,
                        self.since,
                        &error,
                        by,
                    ),
                }
                self.end(Err(Arc::new(error)));
            }
        }
    }

    async fn deliver(mut self, answer: Answer) {
        let Answer { meta, mut range, mut body } = answer;
        let version = self.fetcher.blocks.objects.version(&self.id, &meta);
        if self.opening.asked().part().is_none() {
            self.fetcher.admission.admit_opened(
                &self.id,
                self.generation,
                self.since,
                &meta,
                &version,
            );
        }
        if meta.no_store && self.obey_no_store {
            let reason = "its Cache-Control says so".to_owned();
            return self.end(Err(Arc::new(OriginError::Uncacheable(reason))));
        }
        let is_part = self.opening.asked().part().is_some();
        let check = self.fetching.check(&version, &meta, self.opening.asked().part());
        let (since, fills) = (self.since, Vec::new());
        let mut opened = Opened { meta, version: version.clone(), since, fills };
        if is_part && self.fetcher.blocks.holds_all(&version, range.clone()).await {
            // Only the range of the part was unknown.
            return self.end(Ok(opened));
        }
        if !matches!(self.opening.asked(), Asked::Whole(_)) {
            // A long suffix is read like any other range: the first bytes now, the rest over many connections.
            let block = version.block_at(range.start).start();
            range.end = range.end.min(block + self.fetcher.fetch_size);
        }
        let paid = self.fetcher.budget.try_fill_first(&mut range, &version);
        if paid.is_none() {
            // Only the metadata of the response is used; a reader fetches the bytes once there is memory for them.
            self.end(Ok(opened));
            return;
        }
        body.truncate(range.end);
        let interest = self.opening.interest().clone();
        let fetch = self.fetcher.flights.adopt(&version, self.generation, range, &interest, paid);
        if is_part {
            opened.fills.extend(fetch.fills.iter().map(|(_, fill)| fill.clone()));
        }
        let (fetcher, id) = (self.fetcher.clone(), self.id.clone());
        let delivery = Delivery::new(fetcher, id, self.generation, fetch, check);
        self.end(Ok(opened));
        delivery.run(body).await;
    }

    fn end(&mut self, answer: ColdFetchAnswer) {
        self.ended = true;
        self.fetcher.flights.opened(&self.id, self.generation, &self.opening, answer);
    }
}

impl Drop for ColdFetchTask {
    fn drop(&mut self) {
        if !self.ended {
            self.end(Err(Arc::new(OriginError::GivenUp)));
        }
    }
}

/// The response body of one fetch on its way into the fills, in the order in which their bytes arrive.
struct Delivery {
    fetcher: Arc<Fetcher>,
    /// The object as requested: by name, or by a version id.
    id: ObjectId,
    generation: Generation,
    interest: Arc<Interest>,
    pending: Mutex<VecDeque<(BlockKey, Arc<Fill>)>>,
    /// Check of the bytes against a checksum, if there is one.
    check: Option<Mutex<Check>>,
}

impl Delivery {
    fn new(
        fetcher: Arc<Fetcher>,
        id: ObjectId,
        generation: Generation,
        fetch: NewFetch,
        check: Option<Check>,
    ) -> Self {
        let (pending, check) = (Mutex::new(fetch.fills.into()), check.map(Mutex::new));
        Self { fetcher, id, generation, interest: fetch.interest, pending, check }
    }

    async fn run(self, mut body: Body) {
        let (mut budget, mut left) = (YieldBudget::default(), body.remaining());
        loop {
            budget.spend(left - body.remaining()).await;
            left = body.remaining();
            let little_is_left = left <= self.fetcher.blocks.objects.block_size;
            let mut mismatch = None;
            let outcome = {
                let next = body.next(|bytes| mismatch = self.append(bytes).err());
                tokio::pin!(next);
                // The read is never cancelled while a reader may still wait for its bytes.
                loop {
                    select! {
                        biased;
                        outcome = &mut next => break outcome,
                        () = self.interest.lost(), if !little_is_left => {
                            if self.withdraw() {
                                return;
                            }
                        }
                    }
                }
            };
            if let Some(mismatch) = mismatch {
                return self.fail(self.fetcher.checksum_failures.mismatch(
                    &self.id,
                    self.generation,
                    &mismatch,
                ));
            }
            match outcome {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => return self.fail(error),
            }
        }
    }

    /// Appends arrived bytes to the fills. Complete fills are admitted to memory before their readers get the last
    /// bytes.
    ///
    /// # Errors
    /// [`Mismatch`]: the bytes complete an object or part with a checksum, and do not match it. The fill stays
    /// incomplete.
    fn append(&self, mut bytes: &[u8]) -> Result<(), Box<Mismatch>> {
        let mut pending = self.pending.lock();
        let mut check = self.check.as_ref().map(Mutex::lock);
        while let Some((key, fill)) = pending.front()
            && !bytes.is_empty()
        {
            let before = bytes;
            let is_complete = fill.append(&mut bytes);
            if let Some(check) = &mut check {
                check.update(&before[..before.len() - bytes.len()]);
            }
            if is_complete {
                if let Some(check) = &mut check {
                    check.completed(&self.fetcher.integrity, fill.span.clone())?;
                }
                let flights = &self.fetcher.flights;
                flights.completed(key, fill, self.generation, |block| self.admit(key, block));
                fill.publish();
                pending.pop_front();
            }
        }
        Ok(())
    }

    fn admit(&self, key: &BlockKey, block: Block) {
        if self.fetcher.blocks.objects.generations.is_current(key.id(), self.generation) {
            self.fetcher.blocks.admit(key, block);
        } else {
            metrics::admission_refused();
        }
    }

    async fn unwanted(&self) {
        loop {
            self.interest.lost().await;
            if self.withdraw() {
                return;
            }
        }
    }

    fn withdraw(&self) -> bool {
        let mut pending = self.pending.lock();
        let (flights, generation) = (&self.fetcher.flights, self.generation);
        let fills = pending.make_contiguous();
        let gone = flights.withdraw(fills, generation, &self.interest);
        if gone {
            pending.clear();
        }
        gone
    }

    fn fail(&self, error: OriginError) {
        let mut pending = self.pending.lock();
        if let (OriginError::Changed, Some((key, _))) = (&error, pending.front()) {
            self.fetcher.invalidation.changed(key.id(), self.generation);
        }
        let (fills, error) = (pending.make_contiguous(), Arc::new(error));
        self.fetcher.flights.failed(fills, self.generation, &error);
        pending.clear();
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if !self.pending.lock().is_empty() {
            self.fail(OriginError::GivenUp);
        }
    }
}
