//! Execution of a warm job.

use std::sync::Arc;

use super::bounded_tasks::BoundedTasks;
use super::job::{Busy, Job, Progress, State};
use super::list::{Lister, Work};
use super::object::Ended;
use super::order::Order;
use super::pace::Rate;
use super::warmer::Warmer;
use crate::metrics::warm::{self as metrics, WarmResult};
use crate::origin::OriginError;

/// The reason for which a job was aborted.
#[derive(Debug, thiserror::Error)]
enum GivenUp {
    #[error("the keys cannot be listed: {0}")]
    List(#[from] OriginError),
    #[error("too many objects in a row could not be read")]
    Failures,
}

impl Warmer {
    /// Starts a job, or joins a running one with the same order: then `false`.
    ///
    /// # Errors
    /// [`Busy`].
    pub fn start(self: &Arc<Self>, order: Order) -> Result<(Arc<Job>, bool), Busy> {
        let (job, new) = self.jobs.begin(order)?;
        if new {
            let running = Running { job: job.clone(), _held: metrics::job() };
            tokio::spawn(self.clone().run_job(running));
        }
        Ok((job, new))
    }

    pub fn job(&self, id: &str) -> Option<Arc<Job>> {
        self.jobs.get(id)
    }

    /// Returns running jobs and the last that ended, oldest first.
    pub fn all_jobs(&self) -> Vec<Arc<Job>> {
        self.jobs.all()
    }

    pub fn progress(&self, job: &Job) -> Progress {
        job.progress(self.pace.obstacle())
    }

    async fn run_job(self: Arc<Self>, running: Running) {
        let job = &running.job;
        let state = tokio::select! {
            biased;
            () = job.cancelled() => State::Cancelled,
            walked = self.walk(job) => match walked {
                Ok(()) => State::Done,
                Err(why) => State::Failed(why.to_string()),
            },
        };
        let (objects, bytes) = (job.tally.objects(), job.tally.bytes());
        log::info!("warm {}: {state}; {objects}; {bytes}", job.id());
        job.end(state);
    }

    async fn walk(&self, job: &Job) -> Result<(), GivenUp> {
        let rate = Rate::new(job.order().rate);
        let mut lister = Lister::new(self, job);
        // Twice the number of reads, so that the next objects are ready when one ends.
        let mut running = BoundedTasks::new(2 * self.pace.reads());
        while let Some(page) = running.meanwhile(Box::pin(lister.page())).await?? {
            for work in page.into_iter().filter(|_| !job.order().dry_run) {
                running.add(self.warm(job, &rate, work)).await?;
            }
        }
        running.finish().await
    }

    async fn warm(&self, job: &Job, rate: &Rate, work: Work) -> Result<(), GivenUp> {
        let Work { id, size } = work;
        let allow = |bytes| job.tally.find_bytes(bytes, self.most(job));
        let warmed = |bytes, fetched| job.tally.warm(bytes, fetched);
        let ended = self.warm_object(&id, job.order().span, size, rate, allow, warmed).await;
        let result = match ended {
            Ok(Ended::Warm) => {
                job.tally.warmed();
                WarmResult::Warmed
            }
            Ok(Ended::NotCacheable | Ended::NotAllowed) => {
                job.tally.skipped();
                WarmResult::Skipped
            }
            // The object was deleted after it was listed.
            Err(error) if size.is_some() && error.is_absence() => {
                job.tally.skipped();
                WarmResult::Skipped
            }
            Err(error) => {
                let object = format!("s3://{}/{}", id.bucket(), id.key());
                metrics::object(WarmResult::Failed);
                let goes_on = job.tally.failed(object, error.to_string());
                return if goes_on { Ok(()) } else { Err(GivenUp::Failures) };
            }
        };
        metrics::object(result);
        Ok(())
    }
}

/// A guard of a running job, which ends the job on drop.
struct Running {
    job: Arc<Job>,
    _held: crate::metrics::GaugeGuard,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.job.end(State::Failed("it was cut off".to_owned()));
    }
}
