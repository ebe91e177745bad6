//! Prefetching of objects whose creation an event reports.

use std::convert::Infallible;
use std::sync::Arc;

use tokio::sync::watch;

use super::bounded_tasks::BoundedTasks;
use super::object::Ended;
use super::pace::Rate;
use super::queue::Created;
use super::span::Span;
use super::warmer::Warmer;
use crate::cache::PrefetchConfig;
use crate::metrics::warm::{self as metrics, WarmResult};
use crate::s3::{Change, ObjectEvent, ObjectId};

impl Warmer {
    /// Warms objects whose creation events report, until `shutdown` turns true; then it cancels every job, too.
    pub async fn run(self: Arc<Self>, mut shutdown: watch::Receiver<bool>) {
        tokio::select! {
            biased;
            _ = shutdown.wait_for(|stop| *stop) => {}
            () = self.warm_created() => {}
        }
        self.jobs.cancel_all();
    }

    /// Queues the object that an applied event reports as created, if its rule has it prefetched. It never waits.
    pub fn told(&self, event: &ObjectEvent) {
        if event.change != Change::Created || !self.rules.prefetches() {
            return;
        }
        // The likeliest decoding of the key; if no object has that name, none is warmed.
        let key = &event.keys[0];
        let Some(prefetch) = self.rules.prefetch(&event.bucket, key) else { return };
        let span = Span::from(prefetch);
        if event.size.is_some_and(|size| span.is_nothing(size)) {
            return;
        }
        let realm = self.origin.realm_of(Some(&event.bucket));
        let id = ObjectId::new(&realm, event.bucket.clone(), key.clone());
        self.created.push(Created { id, span, size: event.size });
    }

    /// Warms queued objects, for ever.
    async fn warm_created(&self) {
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
            Err(error) if error.is_absence() => WarmResult::Skipped,
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
