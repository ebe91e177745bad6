//! Applies the invalidations of other replicas in order, and forwards none.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Mutex as AsyncMutex;
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use super::outbox::Session;
use super::wire::{self, Message, Push};
use crate::cache::{Cache, RemoteWrite, Rules, Scope};

/// Time for which the writes of a silent replica may yet happen; no write takes longer.
const SILENT: Duration = Duration::from_mins(10);
/// Maximum number of processes that send messages.
const SENDERS_MAX: usize = 256;

/// Applies an event that another replica received, given the label of its source and the message as received.
pub type EventSink = Box<dyn Fn(&str, &[u8]) + Send + Sync>;

/// The message streams of all other replicas.
pub(super) struct Inbox {
    cache: Arc<Cache>,
    rules: Arc<Rules>,
    events: OnceLock<EventSink>,
    streams: Mutex<HashMap<Session, Sender>>,
}

struct Sender {
    heard: Instant,
    stream: Arc<AsyncMutex<Stream>>,
}

/// State of the message stream of one process.
#[derive(Default)]
struct Stream {
    id: Option<u64>,
    /// Number of the last applied message.
    applied: u64,
    /// Its writes that have not ended. If they are dropped, their outcome is unknown.
    writes: HashMap<u64, RemoteWrite>,
}

/// Outcome of a push.
pub(super) struct Taken {
    /// Number of the message up to which all are applied.
    pub applied: u64,
    /// Whether the sender shuts down.
    pub leaves: bool,
}

impl Inbox {
    pub(super) fn new(cache: Arc<Cache>, rules: Arc<Rules>) -> Self {
        Self { cache, rules, events: OnceLock::new(), streams: Mutex::default() }
    }

    /// Sets the sink for events; call it once, before anything is received.
    pub(super) fn on_event(&self, sink: EventSink) {
        let _ = self.events.set(sink);
    }

    /// Applies the messages that were not applied before; `None`: there are too many senders.
    pub(super) async fn take(&self, push: Push) -> Option<Taken> {
        let stream = self.stream(push.session)?;
        let mut stream = stream.lock().await;
        let begins = stream.id != Some(push.stream);
        if begins {
            // No message of a new stream was applied yet.
            stream.id = Some(push.stream);
            stream.applied = push.base.saturating_sub(1);
        }
        if push.first > stream.applied.saturating_add(1) {
            self.missed("a message of another replica is missing");
        }
        if begins || push.first > stream.applied.saturating_add(1) {
            stream.writes.clear();
        }
        let mut leaves = false;
        for (index, message) in (0..).zip(push.messages) {
            let number = push.first.saturating_add(index);
            if number > stream.applied {
                leaves |= matches!(message, Message::Leave);
                self.apply(&mut stream, message).await;
                stream.applied = number;
            }
        }
        Some(Taken { applied: stream.applied, leaves })
    }

    async fn apply(&self, stream: &mut Stream, message: Message) {
        match message {
            Message::Begin { write, objects, buckets } => {
                let names = wire::objects(&objects).and_then(|o| Ok((o, wire::buckets(&buckets)?)));
                match names {
                    Ok((objects, buckets)) => {
                        let begin = || self.cache.remote_write_begins(&objects, &buckets);
                        stream.writes.entry(write).or_insert_with(begin);
                    }
                    Err(why) => self.missed(&why),
                }
            }
            Message::End { write, end } => {
                if let Some(write) = stream.writes.remove(&write) {
                    write.end(end.into());
                }
            }
            Message::Purge { scopes } => {
                let scopes = scopes.into_iter().map(Scope::try_from).collect::<Result<Vec<_>, _>>();
                match scopes {
                    Ok(scopes) => self.purge(scopes).await,
                    Err(why) => self.missed(&why),
                }
            }
            Message::Event { source, body } => match self.events.get() {
                Some(sink) => sink(&source, body.as_bytes()),
                None => self.missed(&"an event came before events are received"),
            },
            Message::Missed => {
                stream.writes.clear();
                self.missed(&"another replica had too much to say");
            }
            Message::Leave => {}
        }
    }

    /// Purges scopes on a blocking thread, since thousands of keys take too long for a worker.
    async fn purge(&self, scopes: Vec<Scope>) {
        let cache = self.cache.clone();
        // Made durable on request: see `Cluster::answer`.
        let purged = spawn_blocking(move || drop(cache.purge(&scopes))).await;
        if let Err(error) = purged {
            self.missed(&error);
        }
    }

    /// Marks all cached metadata stale, and ends the trust in events, since an invalidation of another replica may have
    /// been missed.
    pub(super) fn missed(&self, why: &(impl std::fmt::Display + ?Sized)) {
        log::info!("cluster: {why}: each cached object is confirmed with the origin once");
        self.cache.confirm_all_once();
        self.rules.distrust_all("something that another replica knows may have been missed");
    }

    fn stream(&self, session: Session) -> Option<Arc<AsyncMutex<Stream>>> {
        let mut streams = self.streams.lock();
        if streams.len() >= SENDERS_MAX && !streams.contains_key(&session) {
            return None;
        }
        let new = || Sender { heard: Instant::now(), stream: Arc::default() };
        let sender = streams.entry(session).or_insert_with(new);
        sender.heard = Instant::now();
        Some(sender.stream.clone())
    }

    /// Drops the stream of a process that has ended: the outcome of its writes is unknown.
    pub(super) fn ended(&self, session: Session) {
        let ended = self.streams.lock().remove(&session);
        drop(ended);
    }

    /// Drops the streams of processes that are unknown to `is_known` and have been silent for [`SILENT`].
    pub(super) fn forget_silent(&self, is_known: impl Fn(Session) -> bool) {
        let mut streams = self.streams.lock();
        streams.retain(|session, sender| is_known(*session) || sender.heard.elapsed() < SILENT);
    }
}
