//! The loop that polls one queue.
//!
//! Concurrent receive requests and batches waiting for deletion are bounded; while there are too many of the latter,
//! nothing is received.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_sdk_sqs::types::Message;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::config::SqsConfig;
use super::queue::{BATCH, Queue};
use crate::events::backoff::backoff;
use crate::events::{Intake, ReceiverStatus, Source};

/// Maximum batches that were applied and not deleted yet.
const BATCHES: usize = 64;
/// Time before which an empty response counts as one without long polling.
const WAITED: Duration = Duration::from_millis(500);
/// Pause after such a response (R37).
const EMPTY_PAUSE: Duration = Duration::from_millis(500);
/// Interval between requests for the number of waiting messages.
const DEPTH: Duration = Duration::from_secs(15);

/// Receiver of one queue.
#[derive(Debug)]
pub(in crate::events) struct Sqs {
    config: SqsConfig,
}

impl Sqs {
    /// Creates the receiver; [`Sqs::run`] connects to the queue.
    pub(in crate::events) fn new(config: SqsConfig) -> Self {
        Self { config }
    }

    /// Receives until `shutdown` turns true. Messages received and not deleted by then are redelivered.
    pub(in crate::events) async fn run(
        self,
        intake: Arc<Intake>,
        mut shutdown: watch::Receiver<bool>,
    ) {
        let status = intake.receiver_status(Source::Sqs, self.config.name());
        tokio::select! {
            _ = shutdown.wait_for(|stop| *stop) => {}
            () = poll(&self.config, &intake, status) => {}
        }
    }
}

/// State shared by the tasks of one queue.
struct Shared {
    queue: Queue,
    intake: Arc<Intake>,
    /// Name of the origin of its events; `None`: any.
    origin: Option<String>,
    status: ReceiverStatus,
    /// Whether the last deletion failed, so that a failure is logged once.
    undeleted: AtomicBool,
    /// Whether the last request for the queue's depth failed, so that a failure is logged once.
    unmeasured: AtomicBool,
}

/// Polls for ever. On drop, its tasks end, too.
async fn poll(config: &SqsConfig, intake: &Arc<Intake>, status: ReceiverStatus) {
    let shared = Arc::new(Shared {
        queue: Queue::connect(config, intake.origins()).await,
        intake: intake.clone(),
        origin: config.origin.clone(),
        status,
        undeleted: AtomicBool::new(false),
        unmeasured: AtomicBool::new(false),
    });
    let (mut receives, mut batches) = (JoinSet::new(), JoinSet::new());
    let (mut wanted, mut backoff, mut pause, mut up) = (1, backoff(), None, false);
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
                    shared.status.up();
                    up = true;
                    // Full batches mean that more are waiting.
                    wanted = if messages.len() < BATCH { 1 } else { config.receivers.min(wanted + 1) };
                    if !messages.is_empty() {
                        batches.spawn(take(shared.clone(), messages));
                    }
                }
                Err(why) => {
                    shared.status.down(&why);
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
    let asked = Instant::now();
    let messages = shared.queue.receive(patient).await?;
    if patient && is_hasty(&messages, asked.elapsed()) {
        sleep(EMPTY_PAUSE).await;
    }
    Ok(messages)
}

/// Whether the server returned nothing without long polling: asked again at once, it would do so for ever (R37).
fn is_hasty(messages: &[Message], took: Duration) -> bool {
    messages.is_empty() && took < WAITED
}

/// Applies a batch, waits until it is durable, and deletes what is.
async fn take(shared: Arc<Shared>, messages: Vec<Message>) {
    let (mut applied, mut handles) = (Vec::new(), Vec::new());
    for message in messages {
        let (body, handle) = (message.body.unwrap_or_default(), message.receipt_handle);
        let origin = shared.origin.as_deref();
        let done = shared.intake.apply_of(Source::Sqs, origin, body.as_bytes());
        if let (Ok(done), Some(handle)) = (done, handle) {
            applied.push(done);
            handles.push(handle);
        }
    }
    let durable = hold(&shared.queue, &handles, shared.intake.durable_prefix(applied)).await;
    // The others come again once they are visible.
    handles.truncate(durable);
    if handles.is_empty() {
        return;
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

/// Waits for `durable`; meanwhile extends the invisibility of the messages, however long that takes.
async fn hold<T>(queue: &Queue, handles: &[String], durable: impl Future<Output = T>) -> T {
    let mut durable = pin!(durable);
    loop {
        tokio::select! {
            durable = &mut durable => return durable,
            () = sleep(queue.visibility() / 2) => {
                if let Err(why) = queue.extend(handles).await {
                    log::debug!("events.sqs: {why}");
                }
            }
        }
    }
}

async fn measure(shared: Arc<Shared>) {
    match shared.queue.depth().await {
        Ok(count) => {
            shared.unmeasured.store(false, Ordering::Relaxed);
            shared.status.queued(count);
        }
        Err(why) if !shared.unmeasured.swap(true, Ordering::Relaxed) => {
            log::info!("events.sqs: how many messages wait is not known: {why}");
        }
        Err(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http_body_util::BodyExt as _;
    use hyper::body::Incoming;
    use hyper::server::conn::http1;
    use hyper::service::service_fn;
    use hyper::{Request, Response};
    use hyper_util::rt::TokioIo;
    use serde_json::{Value, json};
    use tokio::net::TcpListener;
    use tokio::time::timeout;

    use super::*;

    const VISIBILITY: Duration = Duration::from_secs(1);

    /// A queue with one message, until it is deleted.
    struct OneMessage {
        visible_at: watch::Sender<Instant>,
        extended: watch::Sender<usize>,
    }

    impl OneMessage {
        /// Starts the server. Returns it and its address.
        async fn serve() -> (Arc<Self>, String) {
            let (visible_at, extended) =
                (watch::Sender::new(Instant::now()), watch::Sender::new(0));
            let queue = Arc::new(Self { visible_at, extended });
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}/1/queue", listener.local_addr().unwrap());
            let server = queue.clone();
            tokio::spawn(async move {
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    let queue = server.clone();
                    tokio::spawn(async move {
                        let service = service_fn(|request| queue.answer(request));
                        // A client that closes its connection is no failure.
                        let _ = http1::Builder::new()
                            .serve_connection(TokioIo::new(stream), service)
                            .await;
                    });
                }
            });
            (queue, url)
        }

        async fn answer(&self, request: Request<Incoming>) -> Result<Response<String>, Infallible> {
            let (head, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let asked: Value = serde_json::from_slice(&body).unwrap();
            let now = Instant::now();
            let hide = |asked: &Value| {
                let seconds = asked["VisibilityTimeout"].as_u64().unwrap();
                self.visible_at.send_replace(now + Duration::from_secs(seconds));
            };
            let answer = match head.headers["x-amz-target"].to_str().unwrap() {
                "AmazonSQS.ReceiveMessage" if *self.visible_at.borrow() <= now => {
                    hide(&asked);
                    json!({ "Messages": [{ "ReceiptHandle": "a handle", "Body": "a body" }] })
                }
                "AmazonSQS.ReceiveMessage" => json!({}),
                "AmazonSQS.ChangeMessageVisibilityBatch" => {
                    let entry = &asked["Entries"][0];
                    assert_eq!(entry["ReceiptHandle"], "a handle");
                    hide(entry);
                    self.extended.send_modify(|count| *count += 1);
                    json!({ "Successful": [{ "Id": entry["Id"] }], "Failed": [] })
                }
                other => panic!("{other}"),
            };
            Ok(Response::new(answer.to_string()))
        }
    }

    #[test]
    fn r37_a_queue_that_brings_nothing_at_once_is_not_asked_again_at_once() {
        let message = Message::builder().body("a body").build();
        assert!(is_hasty(&[], Duration::from_millis(3)));
        assert!(!is_hasty(&[], Duration::from_secs(20)), "it waited");
        assert!(!is_hasty(&[message], Duration::from_millis(3)), "there may be more");
    }

    #[tokio::test]
    async fn a_message_that_is_not_applied_in_time_stays_invisible() {
        let (fake, url) = OneMessage::serve().await;
        let queue = Queue::at(&url, VISIBILITY);
        let received = Instant::now();
        let handles: Vec<_> = queue
            .receive(false)
            .await
            .unwrap()
            .into_iter()
            .filter_map(|m| m.receipt_handle)
            .collect();
        assert_eq!(handles, ["a handle"]);
        let mut extended = fake.extended.subscribe();
        // Durable only when it would have come again twice.
        let durable = async {
            extended.wait_for(|count| *count >= 4).await.unwrap();
        };
        timeout(Duration::from_secs(30), hold(&queue, &handles, durable)).await.unwrap();
        assert!(received.elapsed() > VISIBILITY);
        let again = queue.receive(false).await.unwrap();
        assert!(again.is_empty(), "it is delivered twice");
    }
}
