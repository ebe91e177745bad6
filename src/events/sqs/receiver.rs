//! The loop that polls one queue.
//!
//! Bounded: so many requests for messages at the same time, so many batches that wait to be deleted; while there
//! are more of those, nothing is received.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_sdk_sqs::types::Message;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::config::SqsConfig;
use super::queue::{BATCH, Queue};
use crate::events::backoff::Backoff;
use crate::events::{Intake, Link, Source};

/// The most batches that were applied and are not deleted yet.
const BATCHES: usize = 64;
/// How often the number of waiting messages is asked for.
const DEPTH: Duration = Duration::from_secs(15);

/// Receives from one queue.
#[derive(Debug)]
pub(in crate::events) struct Sqs {
    config: SqsConfig,
}

impl Sqs {
    /// Whether there is such a queue, and it may be read, is found out by [`Sqs::run`].
    pub(in crate::events) fn new(config: SqsConfig) -> Self {
        Self { config }
    }

    /// Receives until `shutdown` turns true. What is received and not deleted by then comes again.
    pub(in crate::events) async fn run(
        self,
        intake: Arc<Intake>,
        mut shutdown: watch::Receiver<bool>,
    ) {
        let link = intake.link(Source::Sqs, self.config.name());
        tokio::select! {
            _ = shutdown.wait_for(|stop| *stop) => {}
            () = poll(&self.config, &intake, link) => {}
        }
    }
}

/// What the tasks of one queue share.
struct Shared {
    queue: Queue,
    intake: Arc<Intake>,
    link: Link,
    /// Whether the last deletion failed: said once.
    undeleted: AtomicBool,
    /// Whether the last look at the queue's depth failed: said once.
    unmeasured: AtomicBool,
}

/// Never returns. May be dropped at any time: then its tasks end, too.
async fn poll(config: &SqsConfig, intake: &Arc<Intake>, link: Link) {
    let shared = Arc::new(Shared {
        queue: Queue::connect(config).await,
        intake: intake.clone(),
        link,
        undeleted: AtomicBool::new(false),
        unmeasured: AtomicBool::new(false),
    });
    let (mut receives, mut batches) = (JoinSet::new(), JoinSet::new());
    let (mut wanted, mut backoff, mut pause, mut up) = (1, Backoff::default(), None, false);
    let mut depth = interval(DEPTH);
    depth.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        while receives.len() < wanted && batches.len() < BATCHES {
            // The first one does not wait for messages: that the queue can be read should be known at once.
            receives.spawn(receive(shared.clone(), pause.take(), up));
        }
        tokio::select! {
            Some(done) = receives.join_next() => match done.unwrap_or_else(|e| Err(e.to_string())) {
                Ok(messages) => {
                    backoff.reset();
                    shared.link.up();
                    up = true;
                    // Full batches mean that more are waiting.
                    wanted = if messages.len() < BATCH { 1 } else { config.receivers.min(wanted + 1) };
                    if !messages.is_empty() {
                        batches.spawn(take(shared.clone(), messages));
                    }
                }
                Err(why) => {
                    shared.link.down(&why);
                    (wanted, up, pause) = (1, false, Some(backoff.pause()));
                }
            },
            Some(_) = batches.join_next() => {}
            _ = depth.tick(), if up => { batches.spawn(measure(shared.clone())); }
        }
    }
}

async fn receive(
    shared: Arc<Shared>,
    pause: Option<Duration>,
    patient: bool,
) -> Result<Vec<Message>, String> {
    if let Some(pause) = pause {
        sleep(pause).await;
    }
    shared.queue.receive(patient).await
}

/// Applies a batch, waits until that is durable, and deletes what was applied.
async fn take(shared: Arc<Shared>, messages: Vec<Message>) {
    let (mut applied, mut handles) = (Vec::new(), Vec::new());
    for message in messages {
        let body = message.body.unwrap_or_default();
        if let Ok(done) = shared.intake.apply(Source::Sqs, body.as_bytes()) {
            applied.push(done);
            handles.extend(message.receipt_handle);
        }
    }
    if handles.is_empty() {
        return;
    }
    let mut durable = std::pin::pin!(async {
        for done in applied {
            shared.intake.durable(done).await;
        }
    });
    loop {
        tokio::select! {
            () = &mut durable => break,
            () = sleep(shared.queue.visibility() / 2) => {
                if let Err(why) = shared.queue.extend(&handles).await {
                    log::debug!("events.sqs: {why}");
                }
            }
        }
    }
    let deleted = shared.queue.delete(&handles).await;
    let failed = deleted.is_err();
    if shared.undeleted.swap(failed, Ordering::Relaxed) == failed {
        return;
    }
    match deleted {
        Ok(()) => log::info!("events.sqs: messages are deleted again"),
        Err(why) => {
            log::warn!("events.sqs: applied messages stay in the queue and come again: {why}");
        }
    }
}

async fn measure(shared: Arc<Shared>) {
    match shared.queue.depth().await {
        Ok(count) => {
            shared.unmeasured.store(false, Ordering::Relaxed);
            shared.link.queued(count);
        }
        Err(why) if !shared.unmeasured.swap(true, Ordering::Relaxed) => {
            log::info!("events.sqs: how many messages wait is not known: {why}");
        }
        Err(_) => {}
    }
}
