//! The session with an AMQP broker: connect, declare the queue, consume, apply, acknowledge.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicQosOptions, BasicRejectOptions,
    ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::uri::AMQPUri;
use lapin::{Channel, Connection, ConnectionProperties, ExchangeKind};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::config::AmqpConfig;
use crate::events::reconnect::{Failure, NOT_DURABLE, reconnect};
use crate::events::replica::replica;
use crate::events::{Intake, ReceiverStatus, Source};

/// Maximum messages applied before waiting for the disk.
const CHUNK: usize = 256;
/// Timeout of connecting, logging in and declaring.
const SETUP_TIMEOUT: Duration = Duration::from_secs(15);
/// Heartbeat interval in seconds, unless the URL sets one; a silent peer counts as dead.
const HEARTBEAT: u16 = 10;
/// Interval between requests for the number of waiting messages.
const DEPTH: Duration = Duration::from_secs(15);

/// Receiver of one queue.
#[derive(Debug)]
pub(in crate::events) struct Amqp {
    config: AmqpConfig,
    /// The queue's name.
    queue: String,
}

impl Amqp {
    /// Creates the receiver; [`Amqp::run`] connects to the broker.
    pub(in crate::events) fn new(config: AmqpConfig) -> Self {
        let queue = config.queue.clone().unwrap_or_else(replica);
        Self { config, queue }
    }

    /// Receives until `shutdown` turns true. Messages not acknowledged by then are redelivered.
    pub(in crate::events) async fn run(self, intake: Arc<Intake>, shutdown: watch::Receiver<bool>) {
        let status = intake.receiver_status(Source::Amqp, &self.queue);
        reconnect(&status, shutdown, || self.session(&intake, &status)).await;
    }

    async fn session(
        &self,
        intake: &Intake,
        status: &ReceiverStatus,
    ) -> Result<Infallible, Failure> {
        let setup = timeout(SETUP_TIMEOUT, async {
            let connection = self.connect().await?;
            let channel = connection.create_channel().await?;
            self.have_queue(&channel).await?;
            channel.basic_qos(self.config.prefetch, BasicQosOptions::default()).await?;
            let (options, none) = (BasicConsumeOptions::default(), FieldTable::default());
            let name = self.queue.as_str().into();
            let consumer = channel.basic_consume(name, "hotset".into(), options, none).await?;
            Ok::<_, Failure>((connection, channel, consumer))
        });
        let (_connection, channel, consumer) =
            setup.await.map_err(|_| "the broker is silent")??;
        status.up();
        let mut deliveries = consumer.ready_chunks(CHUNK);
        let mut depth = interval(DEPTH);
        depth.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                chunk = deliveries.next() => match chunk {
                    Some(chunk) => apply(chunk, intake, self.config.origin.as_deref()).await?,
                    None => return Err("the broker ended the consumer".into()),
                },
                _ = depth.tick() => status.queued(self.depth(&channel).await?),
            }
        }
    }

    async fn connect(&self) -> Result<Connection, Failure> {
        // Its own error quotes the URL, which has a password in it.
        let parsed = self.config.url.expose().parse::<AMQPUri>();
        let mut uri = parsed.map_err(|_| "events.amqp.url is no AMQP URL")?;
        uri.query.heartbeat.get_or_insert(HEARTBEAT);
        let properties = ConnectionProperties::default().with_connection_name("hotset".into());
        Ok(Connection::connect_uri(uri, properties).await?)
    }

    /// Declares the queue and binds it, or, if no exchange is configured, checks that it exists.
    async fn have_queue(&self, channel: &Channel) -> Result<(), Failure> {
        let (none, name) = (FieldTable::default(), || self.queue.as_str().into());
        let Some(exchange) = &self.config.exchange else {
            let found = QueueDeclareOptions::durable().passive();
            channel.queue_declare(name(), found, none).await?;
            return Ok(());
        };
        if let Some(kind) = &self.config.exchange_type {
            let kind = match kind.as_str() {
                "direct" => ExchangeKind::Direct,
                "fanout" => ExchangeKind::Fanout,
                "headers" => ExchangeKind::Headers,
                "topic" => ExchangeKind::Topic,
                other => ExchangeKind::Custom(other.to_owned()),
            };
            let durable = ExchangeDeclareOptions { durable: true, ..Default::default() };
            channel.exchange_declare(exchange.as_str().into(), kind, durable, none.clone()).await?;
        }
        let mut arguments = FieldTable::default();
        if let Some(expires) = self.config.expires {
            let millis = u32::try_from(expires.0.as_millis()).unwrap_or(u32::MAX);
            arguments.insert("x-expires".into(), AMQPValue::LongLongInt(millis.into()));
        }
        channel.queue_declare(name(), QueueDeclareOptions::durable(), arguments).await?;
        let key = self.config.routing_key.as_str().into();
        let bind = QueueBindOptions::default();
        channel.queue_bind(name(), exchange.as_str().into(), key, bind, none).await?;
        Ok(())
    }

    async fn depth(&self, channel: &Channel) -> Result<u64, Failure> {
        let (name, found) = (self.queue.as_str().into(), QueueDeclareOptions::durable().passive());
        let asked = channel.queue_declare(name, found, FieldTable::default());
        let queue = timeout(SETUP_TIMEOUT, asked).await.map_err(|_| "the broker is silent")??;
        Ok(queue.message_count().into())
    }
}

/// Applies the messages that arrived, waits until they are durable, and acknowledges them. Others are redelivered in
/// the next session.
async fn apply(
    chunk: Vec<lapin::Result<Delivery>>,
    intake: &Intake,
    origin: Option<&str>,
) -> Result<(), Failure> {
    let (mut applied, mut done, mut failure) = (Vec::new(), Vec::new(), None);
    for delivery in chunk {
        let delivery = match delivery {
            Ok(delivery) => delivery,
            Err(error) => {
                failure = Some(error);
                break;
            }
        };
        match intake.apply_of(Source::Amqp, origin, &delivery.data) {
            Ok(one) => {
                applied.push(one);
                done.push(delivery.acker);
            }
            Err(_) => {
                delivery.acker.reject(BasicRejectOptions { requeue: false }).await?;
            }
        }
    }
    let durable = intake.durable_prefix(applied).await;
    let all = done.len();
    for acker in done.into_iter().take(durable) {
        acker.ack(BasicAckOptions::default()).await?;
    }
    if let Some(error) = failure {
        return Err(error.into());
    }
    if durable < all { Err(NOT_DURABLE.into()) } else { Ok(()) }
}
