//! The session with a Kafka cluster: join the group, receive, apply, commit.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use futures_util::StreamExt as _;
use rdkafka::consumer::{CommitMode, Consumer as _, StreamConsumer};
use rdkafka::error::KafkaResult;
use rdkafka::message::BorrowedMessage;
use rdkafka::{ClientConfig, Message as _, Offset, TopicPartitionList};
use tokio::sync::watch;
use tokio::task::spawn_blocking;

use super::callbacks::{EventForwarder, KafkaEvent};
use super::config::KafkaConfig;
use crate::events::reconnect::{Failure, NOT_DURABLE, reconnect};
use crate::events::replica::replica;
use crate::events::{Intake, ReceiverStatus, Source};

/// Maximum messages applied before waiting for the disk.
const CHUNK: usize = 256;
/// Timeout of each request for offsets and partitions.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Receiver of topics.
#[derive(Debug)]
pub(in crate::events) struct Kafka {
    config: KafkaConfig,
    group: String,
}

impl Kafka {
    /// Creates the receiver; [`Kafka::run`] connects to the brokers.
    pub(in crate::events) fn new(config: KafkaConfig) -> Self {
        let group = config.group.clone().unwrap_or_else(replica);
        Self { config, group }
    }

    /// Receives until `shutdown` turns true. Messages not committed by then are redelivered.
    pub(in crate::events) async fn run(self, intake: Arc<Intake>, shutdown: watch::Receiver<bool>) {
        let status = intake.receiver_status(Source::Kafka, self.config.topics.join(","));
        reconnect(&status, shutdown, || self.session(&intake, &status)).await;
    }

    async fn session(
        &self,
        intake: &Intake,
        status: &ReceiverStatus,
    ) -> Result<Infallible, Failure> {
        let (told, mut said) = EventForwarder::new();
        let closing = Closing::new(&self.client_config(), told)?;
        let consumer = closing.consumer();
        self.ask(consumer, begin).await?;
        let topics: Vec<&str> = self.config.topics.iter().map(String::as_str).collect();
        consumer.subscribe(&topics)?;
        let origin = self.config.origin.as_deref();
        let mut messages = consumer.stream().ready_chunks(CHUNK);
        loop {
            tokio::select! {
                Some(said) = said.recv() => match said {
                    KafkaEvent::Assigned => {
                        self.ask(consumer, hold).await?;
                        status.up();
                    }
                    KafkaEvent::Waiting(count) => status.queued(count),
                    KafkaEvent::Lost(why) => return Err(why.into()),
                },
                Some(chunk) = messages.next() => apply(chunk, consumer, intake, origin).await?,
            }
        }
    }

    /// Runs a blocking request to the brokers.
    async fn ask(
        &self,
        consumer: &Arc<Consumer>,
        question: fn(&Consumer, &[String]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let (consumer, topics) = (consumer.clone(), self.config.topics.clone());
        spawn_blocking(move || question(&consumer, &topics)).await?
    }

    fn client_config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        for (name, value) in [
            ("bootstrap.servers", self.config.brokers.join(",").as_str()),
            ("group.id", &self.group),
            ("client.id", "hotset"),
            // The minimum that brokers accept: after a crash a replica waits this long for its former session to
            // expire.
            ("session.timeout.ms", "6000"),
            ("heartbeat.interval.ms", "2000"),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            // New partitions, and those that no longer have messages which were not consumed yet.
            ("auto.offset.reset", "earliest"),
            // Maximum KiB received and not yet applied.
            ("queued.max.messages.kbytes", "16384"),
            ("statistics.interval.ms", "15000"),
        ] {
            config.set(name, value);
        }
        if let (Some(user), Some(password)) = (&self.config.user, &self.config.password) {
            config.set("security.protocol", "sasl_plaintext").set("sasl.mechanism", "PLAIN");
            config.set("sasl.username", user).set("sasl.password", password.expose());
        }
        config
    }
}

type Consumer = StreamConsumer<EventForwarder>;

/// Closes the consumer on a thread of its own: it leaves the group and waits for that, possibly for ever if the brokers
/// are unreachable. It is not one of tokio's threads, since a runtime waits for those when it ends.
struct Closing(Option<Arc<Consumer>>);

/// Number of consumers being closed.
static CLOSING: AtomicUsize = AtomicUsize::new(0);
/// Maximum consumers being closed: each has threads and buffers.
const MAX_CLOSING: usize = 8;

impl Closing {
    /// # Errors
    /// Too many earlier consumers are still being closed.
    fn new(config: &ClientConfig, told: EventForwarder) -> Result<Self, Failure> {
        if CLOSING.load(Ordering::Relaxed) >= MAX_CLOSING {
            return Err(format!(
                "{MAX_CLOSING} earlier sessions could not leave their group yet: are the brokers reachable?"
            )
            .into());
        }
        Ok(Self(Some(Arc::new(config.create_with_context(told)?))))
    }

    fn consumer(&self) -> &Arc<Consumer> {
        self.0.as_ref().expect("taken only by drop")
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        let consumer = self.0.take();
        CLOSING.fetch_add(1, Ordering::Relaxed);
        let close = move || {
            drop(consumer);
            CLOSING.fetch_sub(1, Ordering::Relaxed);
        };
        if let Err(error) = thread::Builder::new().name("kafka-close".to_owned()).spawn(close) {
            CLOSING.fetch_sub(1, Ordering::Relaxed);
            log::error!("events.kafka: no thread to leave the group: {error}");
        }
    }
}

/// Starts a new group at the end of each partition: no cache existed for the events before.
fn begin(consumer: &Consumer, topics: &[String]) -> Result<(), Failure> {
    let mut all = TopicPartitionList::new();
    for topic in topics {
        for partition in 0..partitions(consumer, topic)? {
            all.add_partition(topic, partition);
        }
    }
    let mut begin = TopicPartitionList::new();
    for part in consumer.committed_offsets(all, ANSWER_TIMEOUT)?.elements() {
        if part.offset() == Offset::Invalid {
            let (topic, number) = (part.topic(), part.partition());
            let (_, end) = consumer.fetch_watermarks(topic, number, ANSWER_TIMEOUT)?;
            begin.add_partition_offset(topic, number, Offset::Offset(end))?;
        }
    }
    if begin.count() > 0 {
        consumer.commit(&begin, CommitMode::Sync)?;
    }
    Ok(())
}

/// Checks that every partition is assigned to this consumer.
fn hold(consumer: &Consumer, topics: &[String]) -> Result<(), Failure> {
    let ours = consumer.assignment()?;
    for topic in topics {
        let all = usize::try_from(partitions(consumer, topic)?)?;
        let held = ours.elements_for_topic(topic).len();
        if held < all {
            let why = "ours: each replica needs a group of its own";
            return Err(format!("{held} of {all} partitions of {topic} are {why}").into());
        }
    }
    Ok(())
}

/// Returns the number of partitions of a topic; zero is an error.
fn partitions(consumer: &Consumer, topic: &str) -> Result<i32, Failure> {
    let found = consumer.fetch_metadata(Some(topic), ANSWER_TIMEOUT)?;
    let count = found.topics().first().map_or(0, |topic| topic.partitions().len());
    if count == 0 {
        return Err(format!("there is no topic {topic}").into());
    }
    Ok(i32::try_from(count)?)
}

/// Applies the messages that arrived, waits until they are durable, and commits them. Others are redelivered in the
/// next session.
async fn apply(
    chunk: Vec<KafkaResult<BorrowedMessage<'_>>>,
    consumer: &Consumer,
    intake: &Intake,
    origin: Option<&str>,
) -> Result<(), Failure> {
    let (mut applied, mut places, mut failure) = (Vec::new(), Vec::new(), None);
    for message in chunk {
        let message = match message {
            Ok(message) => message,
            Err(error) => {
                failure = Some(error);
                break;
            }
        };
        // Counted, if it cannot be read, and passed over.
        let one = intake.apply_of(Source::Kafka, origin, message.payload().unwrap_or_default());
        applied.push(one.unwrap_or_default());
        places.push(((message.topic().to_owned(), message.partition()), message.offset() + 1));
    }
    let all = applied.len();
    let durable = intake.durable_prefix(applied).await;
    let offsets: BTreeMap<_, _> = places.into_iter().take(durable).collect();
    let mut done = TopicPartitionList::new();
    for ((topic, partition), next) in &offsets {
        done.add_partition_offset(topic, *partition, Offset::Offset(*next))?;
    }
    if !offsets.is_empty() {
        consumer.commit(&done, CommitMode::Async)?;
    }
    if let Some(error) = failure {
        return Err(error.into());
    }
    if durable < all { Err(NOT_DURABLE.into()) } else { Ok(()) }
}
