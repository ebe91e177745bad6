//! An SQS queue: a received message is redelivered after its visibility timeout, until it is deleted.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::{lock, within};

#[derive(Debug)]
struct Message {
    body: String,
    visible_at: Instant,
    received: usize,
    is_deleted: bool,
}

/// A queue and its URL.
#[derive(Debug)]
pub struct FakeSqs {
    pub url: String,
    messages: Arc<Mutex<Vec<Message>>>,
    changed: Arc<Notify>,
    actions: Arc<Mutex<BTreeSet<String>>>,
    requests: Arc<Mutex<Requests>>,
}

/// Keys that its requests were signed with.
#[derive(Debug, Default)]
struct Requests {
    /// Access key of each request.
    signers: Vec<String>,
    /// Access key whose requests are refused.
    expired: Option<String>,
}

impl FakeSqs {
    /// # Panics
    /// When no port is free.
    pub async fn start() -> FakeSqs {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/1/queue", listener.local_addr().expect("it is bound"));
        let (messages, changed) = (Arc::<Mutex<Vec<Message>>>::default(), Arc::<Notify>::default());
        let (shared, told) = (Arc::clone(&messages), Arc::clone(&changed));
        let actions = Arc::<Mutex<BTreeSet<String>>>::default();
        let called = Arc::clone(&actions);
        let requests = Arc::<Mutex<Requests>>::default();
        let signed = Arc::clone(&requests);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (messages, changed) = (Arc::clone(&shared), Arc::clone(&told));
                let (called, signed) = (Arc::clone(&called), Arc::clone(&signed));
                let service = service_fn(move |request: Request<Incoming>| {
                    let target = request.headers().get("x-amz-target").map(|t| t.to_str().unwrap());
                    lock(&called).extend(target.map(str::to_owned));
                    let is_expired = lock(&signed).is_expired(&request);
                    let (messages, changed) = (Arc::clone(&messages), Arc::clone(&changed));
                    async move {
                        if is_expired {
                            return Ok::<_, Infallible>(expired());
                        }
                        Ok(answer(&messages, &changed, request).await)
                    }
                });
                let connection =
                    http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                // A client that closes its connection is no failure.
                tokio::spawn(async move { drop(connection.await) });
            }
        });
        FakeSqs { url, messages, changed, actions, requests }
    }

    /// Returns the permissions that its requests needed.
    pub fn actions(&self) -> BTreeSet<String> {
        let actions = lock(&self.actions);
        let action = |target: &String| {
            target.replace("AmazonSQS.", "sqs:").trim_end_matches("Batch").to_owned()
        };
        actions.iter().map(action).collect()
    }

    /// Returns the access key of each request.
    #[must_use]
    pub fn signers(&self) -> Vec<String> {
        lock(&self.requests).signers.clone()
    }

    /// Refuses requests that are signed with this access key.
    pub fn expire(&self, access_key: &str) {
        lock(&self.requests).expired = Some(access_key.to_owned());
    }

    /// Waits until it has received so many requests.
    pub async fn until_requests(&self, count: usize) {
        within(&format!("{count} requests"), async {
            while self.signers().len() < count {
                self.changed.notified().await;
            }
        })
        .await;
    }

    /// Waits until a request is signed with this access key.
    pub async fn until_signed_by(&self, access_key: &str) {
        within(&format!("a request signed by {access_key}"), async {
            while self.signers().last().is_none_or(|last| last != access_key) {
                self.changed.notified().await;
            }
        })
        .await;
    }

    /// Puts a message into the queue; returns its number.
    pub fn send(&self, body: String) -> usize {
        let mut messages = lock(&self.messages);
        let visible_at = Instant::now();
        messages.push(Message { body, visible_at, received: 0, is_deleted: false });
        messages.len() - 1
    }

    /// Returns the number of times that a message was received, and whether it was deleted.
    pub fn state(&self, number: usize) -> (usize, bool) {
        let messages = lock(&self.messages);
        (messages[number].received, messages[number].is_deleted)
    }

    /// Waits until that state of a message meets the condition.
    pub async fn until(&self, what: &str, number: usize, is_so: impl Fn((usize, bool)) -> bool) {
        within(what, async {
            while !is_so(self.state(number)) {
                self.changed.notified().await;
            }
        })
        .await;
    }
}

impl Requests {
    /// Notes the access key of a request; returns whether it has expired.
    fn is_expired(&mut self, request: &Request<Incoming>) -> bool {
        let header = request.headers().get("authorization").and_then(|value| value.to_str().ok());
        let signer =
            header.and_then(|header| header.split_once("Credential=")?.1.split('/').next());
        let signer = signer.unwrap_or("-").to_owned();
        let is_expired = self.expired.as_ref() == Some(&signer);
        self.signers.push(signer);
        is_expired
    }
}

fn expired() -> Response<String> {
    let error = json!({ "__type": "com.amazonaws.sqs#ExpiredToken", "message": "it has expired" });
    let answer =
        Response::builder().status(403).header("x-amzn-query-error", "ExpiredToken;Sender");
    answer.body(error.to_string()).expect("a legal answer")
}

async fn answer(
    messages: &Mutex<Vec<Message>>,
    changed: &Notify,
    request: Request<Incoming>,
) -> Response<String> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.expect("a body").to_bytes();
    let asked: Value = serde_json::from_slice(&body).expect("JSON");
    let target = head.headers["x-amz-target"].to_str().expect("text");
    let answer = match target {
        "AmazonSQS.ReceiveMessage" => {
            let received = receive(&mut lock(messages), &asked);
            if received.is_empty() {
                // As long polling does.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            json!({ "Messages": received })
        }
        "AmazonSQS.DeleteMessageBatch" => {
            let entries = asked["Entries"].as_array().expect("entries");
            for entry in entries {
                lock(messages)[number(entry)].is_deleted = true;
            }
            let ids: Vec<_> = entries.iter().map(|entry| json!({ "Id": entry["Id"] })).collect();
            json!({ "Successful": ids, "Failed": [] })
        }
        "AmazonSQS.ChangeMessageVisibilityBatch" => {
            let entries = asked["Entries"].as_array().expect("entries");
            let ids: Vec<_> = entries.iter().map(|entry| json!({ "Id": entry["Id"] })).collect();
            json!({ "Successful": ids, "Failed": [] })
        }
        "AmazonSQS.GetQueueAttributes" => {
            let waiting = lock(messages).iter().filter(|message| !message.is_deleted).count();
            json!({ "Attributes": { "ApproximateNumberOfMessages": waiting.to_string() } })
        }
        _ => json!({ "Attributes": {} }),
    };
    changed.notify_waiters();
    changed.notify_one();
    Response::new(answer.to_string())
}

fn receive(messages: &mut [Message], asked: &Value) -> Vec<Value> {
    let (now, hidden) = (Instant::now(), asked["VisibilityTimeout"].as_u64().unwrap_or(30));
    let visible = messages.iter_mut().enumerate();
    let visible = visible.filter(|(_, message)| !message.is_deleted && message.visible_at <= now);
    let receive = |(number, message): (usize, &mut Message)| {
        message.received += 1;
        message.visible_at = now + Duration::from_secs(hidden);
        json!({ "ReceiptHandle": number.to_string(), "MessageId": "m", "Body": message.body })
    };
    visible.take(10).map(receive).collect()
}

fn number(entry: &Value) -> usize {
    entry["ReceiptHandle"].as_str().and_then(|handle| handle.parse().ok()).expect("our handle")
}
