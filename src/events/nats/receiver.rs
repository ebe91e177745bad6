//! The session with a NATS server: connect, find the stream, pull, apply, acknowledge.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::consumer::pull::{Config as PullConfig, Stream as Messages};
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy};
use async_nats::jetstream::{self, AckKind, Message};
use async_nats::{Client, ConnectOptions, Event};
use futures_util::StreamExt as _;
use tokio::sync::{mpsc, watch};

use super::config::NatsConfig;
use crate::events::reconnect::{Failure, reconnect};
use crate::events::replica::replica;
use crate::events::{Intake, ReceiverStatus, Source};

/// Maximum messages received and not acknowledged.
const PENDING: usize = 1000;
/// Maximum messages applied before waiting for the disk.
const CHUNK: usize = 256;
/// Acknowledgement timeout, after which the server redelivers a message.
const ACK_WAIT: Duration = Duration::from_mins(1);
/// Delay before messages that could not be made durable are redelivered.
const AGAIN: Duration = Duration::from_secs(5);
/// Lifetime of one pull request, and the interval of the server's heartbeats during it.
const EXPIRES: Duration = Duration::from_secs(30);
const HEARTBEAT: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Receiver of one stream.
#[derive(Debug)]
pub(in crate::events) struct Nats {
    config: NatsConfig,
}

impl Nats {
    /// Creates the receiver; [`Nats::run`] looks the stream up.
    pub(in crate::events) fn new(config: NatsConfig) -> Self {
        Self { config }
    }

    /// Receives until `shutdown` turns true. Messages not acknowledged by then are redelivered.
    pub(in crate::events) async fn run(self, intake: Arc<Intake>, shutdown: watch::Receiver<bool>) {
        let status = intake.receiver_status(Source::Nats, &self.config.stream);
        reconnect(&status, shutdown, || session(&self.config, &intake, &status)).await;
    }
}

async fn session(
    config: &NatsConfig,
    intake: &Intake,
    status: &ReceiverStatus,
) -> Result<Infallible, Failure> {
    let origin = config.origin.as_deref();
    let (client, mut lost) = connect(config).await?;
    let mut messages = consume(config, client).await?.ready_chunks(CHUNK);
    status.up();
    loop {
        tokio::select! {
            // The client would reconnect by itself, but silently.
            _ = lost.recv() => return Err("the server closed the connection".into()),
            chunk = messages.next() => match chunk {
                Some(chunk) => apply(chunk, intake, origin, status).await?,
                None => return Err("the server ended the consumer".into()),
            }
        }
    }
}

/// Returns the client, and a channel that reports a lost connection.
async fn connect(config: &NatsConfig) -> Result<(Client, mpsc::Receiver<()>), Failure> {
    let (tell, lost) = mpsc::channel(1);
    let mut options = ConnectOptions::new()
        .name("hotset")
        .connection_timeout(CONNECT_TIMEOUT)
        .event_callback(move |event| {
            if matches!(event, Event::Disconnected | Event::Closed) {
                // Full: the loss was reported already.
                let _ = tell.try_send(());
            }
            std::future::ready(())
        });
    if let (Some(user), Some(password)) = (&config.user, &config.password) {
        options = options.user_and_password(user.clone(), password.expose().to_owned());
    }
    if let Some(token) = &config.token {
        options = options.token(token.expose().to_owned());
    }
    if let Some(file) = &config.credentials {
        options = options.credentials_file(file).await?;
    }
    if let Some(file) = &config.ca_file {
        options = options.add_root_certificates(file.clone());
    }
    Ok((options.connect(config.servers.as_slice()).await?, lost))
}

/// Creates the durable consumer, or resumes it where it left off.
async fn consume(config: &NatsConfig, client: Client) -> Result<Messages, Failure> {
    let stream = jetstream::new(client).get_stream(&config.stream).await?;
    let name = config.consumer.clone().unwrap_or_else(replica);
    let consumer = stream
        .create_consumer(PullConfig {
            durable_name: Some(name),
            // Events from before the consumer existed concern no cached object.
            deliver_policy: DeliverPolicy::New,
            ack_policy: AckPolicy::Explicit,
            ack_wait: ACK_WAIT,
            max_ack_pending: i64::try_from(PENDING)?,
            filter_subject: config.subject.clone().unwrap_or_default(),
            inactive_threshold: config.expires.map(Duration::from).unwrap_or_default(),
            ..PullConfig::default()
        })
        .await?;
    let pull = consumer.stream().max_messages_per_batch(PENDING);
    Ok(pull.expires(EXPIRES).heartbeat(HEARTBEAT).messages().await?)
}

/// Applies the messages that arrived, waits until they are durable, and acknowledges those that are.
async fn apply<E>(
    chunk: Vec<Result<Message, E>>,
    intake: &Intake,
    origin: Option<&str>,
    status: &ReceiverStatus,
) -> Result<(), Failure>
where
    E: std::error::Error + Send + Sync + 'static,
{
    let (mut applied, mut done, mut failure) = (Vec::new(), Vec::new(), None);
    for message in chunk {
        let message = match message {
            Ok(message) => message,
            Err(error) => {
                failure = Some(error);
                break;
            }
        };
        match intake.apply_of(Source::Nats, origin, &message.payload) {
            Ok(one) => {
                applied.push(one);
                done.push(message);
            }
            Err(_) => message.ack_with(AckKind::Term).await?,
        }
    }
    let durable = intake.durable_prefix(applied).await;
    for (n, message) in done.iter().enumerate() {
        match n < durable {
            true => message.ack().await?,
            false => message.ack_with(AckKind::Nak(Some(AGAIN))).await?,
        }
    }
    if let Some(info) = done.last().and_then(|message| message.info().ok()) {
        status.queued(info.pending);
    }
    failure.map_or(Ok(()), |error| Err(error.into()))
}
