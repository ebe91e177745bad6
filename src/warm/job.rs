//! Warm jobs started by operators: running ones, and the last that ended.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::watch;

use super::counters::{Bytes, Failure, JobCounters, Objects};
use super::order::Order;

/// Maximum number of concurrent jobs.
const RUNNING: usize = 8;
/// Maximum number of remembered jobs, running ones included.
const REMEMBERED: usize = 64;

/// The maximum number of jobs is running.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{RUNNING} warm jobs run already: wait for one, or cancel it")]
pub struct Busy;

/// State of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    Running,
    /// All objects were processed, up to the limits; some may have failed.
    Done,
    Cancelled,
    /// The job was aborted, for this reason.
    Failed(String),
}

impl State {
    fn name(&self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Cancelled => "cancelled",
            Self::Failed(_) => "failed",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(why) => write!(f, "failed: {why}"),
            state => f.write_str(state.name()),
        }
    }
}

/// A job and its progress.
#[derive(Debug)]
pub struct Job {
    id: String,
    order: Order,
    pub(super) tally: JobCounters,
    state: watch::Sender<State>,
    cancel: watch::Sender<bool>,
}

/// Progress of a job, as the API reports it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Progress {
    pub id: String,
    pub state: &'static str,
    pub dry_run: bool,
    /// Whether everything to warm was found.
    pub complete: bool,
    pub objects: Objects,
    pub bytes: Bytes,
    /// `max_bytes` or `max_objects`, if that ended the job before everything was found.
    pub limited_by: Option<&'static str>,
    /// `readers` or `memory`, while the job is paused for it.
    pub waits_for: Option<&'static str>,
    /// The reason for which the job was aborted.
    pub error: Option<String>,
    /// The first objects that could not be warmed.
    pub failures: Vec<Failure>,
}

impl Job {
    fn new(order: Order) -> Arc<Self> {
        Arc::new(Self {
            id: format!("{:016x}", rand::random::<u64>()),
            order,
            tally: JobCounters::default(),
            state: watch::Sender::new(State::Running),
            cancel: watch::Sender::new(false),
        })
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn order(&self) -> &Order {
        &self.order
    }

    pub fn is_running(&self) -> bool {
        *self.state.borrow() == State::Running
    }

    /// Cancels the job. Objects that it read stay cached.
    pub fn cancel(&self) {
        self.cancel.send_replace(true);
    }

    /// Resolves when the job was cancelled.
    pub(super) async fn cancelled(&self) {
        let _ = self.cancel.subscribe().wait_for(|cancel| *cancel).await;
    }

    pub(super) fn end(&self, state: State) {
        self.state.send_if_modified(|now| {
            let runs = *now == State::Running;
            if runs {
                *now = state;
            }
            runs
        });
    }

    /// Waits until the job has ended.
    pub async fn ended(&self) {
        let _ = self.state.subscribe().wait_for(|state| *state != State::Running).await;
    }

    /// Returns its progress. `obstacle`: the reason why warming is paused, if it is.
    pub(super) fn progress(&self, obstacle: Option<&'static str>) -> Progress {
        let state = self.state.borrow().clone();
        Progress {
            id: self.id.clone(),
            state: state.name(),
            dry_run: self.order.dry_run,
            complete: self.tally.is_complete(),
            objects: self.tally.objects(),
            bytes: self.tally.bytes(),
            limited_by: self.tally.limited_by(),
            waits_for: obstacle.filter(|_| state == State::Running),
            error: match state {
                State::Failed(why) => Some(why),
                State::Running | State::Done | State::Cancelled => None,
            },
            failures: self.tally.failures(),
        }
    }
}

/// All remembered jobs, oldest first.
#[derive(Debug, Default)]
pub(super) struct Jobs(Mutex<VecDeque<Arc<Job>>>);

impl Jobs {
    /// Returns a new job, or a running one with the same order: then `false`.
    pub(super) fn begin(&self, order: Order) -> Result<(Arc<Job>, bool), Busy> {
        let mut jobs = self.0.lock();
        if let Some(job) = jobs.iter().find(|job| job.is_running() && job.order == order) {
            return Ok((job.clone(), false));
        }
        if jobs.iter().filter(|job| job.is_running()).count() >= RUNNING {
            return Err(Busy);
        }
        if jobs.len() >= REMEMBERED
            && let Some(oldest) = jobs.iter().position(|job| !job.is_running())
        {
            jobs.remove(oldest);
        }
        let job = Job::new(order);
        jobs.push_back(job.clone());
        Ok((job, true))
    }

    pub(super) fn get(&self, id: &str) -> Option<Arc<Job>> {
        self.0.lock().iter().find(|job| job.id == id).cloned()
    }

    pub(super) fn all(&self) -> Vec<Arc<Job>> {
        self.0.lock().iter().cloned().collect()
    }

    pub(super) fn cancel_all(&self) {
        for job in &*self.0.lock() {
            job.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::order::{Patterns, Target};
    use super::super::span::Span;
    use super::*;
    use crate::s3::BucketName;

    fn order(prefix: usize) -> Order {
        let bucket = BucketName::new("data").unwrap();
        Order {
            target: Target::Prefix(bucket, prefix.to_string()),
            patterns: Patterns::default(),
            span: Span::WHOLE,
            max_bytes: None,
            max_objects: None,
            rate: None,
            dry_run: false,
        }
    }

    #[test]
    fn the_same_order_joins_the_job_that_runs_and_no_other() {
        let jobs = Jobs::default();
        let (first, new) = jobs.begin(order(1)).unwrap();
        assert!(new);
        let (same, new) = jobs.begin(order(1)).unwrap();
        assert!(!new && same.id() == first.id());
        assert!(jobs.begin(Order { dry_run: true, ..order(1) }).unwrap().1);
        first.end(State::Done);
        let (again, new) = jobs.begin(order(1)).unwrap();
        assert!(new && again.id() != first.id());
    }

    #[test]
    fn jobs_that_run_and_those_remembered_are_bounded() {
        let jobs = Jobs::default();
        let running: Vec<_> = (0..RUNNING).map(|n| jobs.begin(order(n)).unwrap().0).collect();
        assert_eq!(jobs.begin(order(RUNNING)).unwrap_err(), Busy);
        for job in &running[1..] {
            job.end(State::Done);
            job.end(State::Cancelled);
            assert_eq!(job.progress(None).state, "done", "the first end holds");
        }
        for n in 0..2 * REMEMBERED {
            jobs.begin(order(1000 + n)).unwrap().0.end(State::Done);
        }
        assert_eq!(jobs.all().len(), REMEMBERED);
        assert!(jobs.get(running[0].id()).is_some(), "one that runs is not forgotten");
    }
}
