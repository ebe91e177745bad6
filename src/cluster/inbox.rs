//! Applies the invalidations of other replicas in their order, and passes none on.

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

/// For how long the writes of a replica that is silent may yet happen; a write takes no longer.
const SILENT: Duration = Duration::from_mins(10);
/// Processes that messages come from.
const SENDERS_MAX: usize = 256;

/// Applies an event that another replica received: its source's label, and the message as it came.
pub type EventSink = Box<dyn Fn(&str, &[u8]) + Send + Sync>;

/// Messages of all other replicas.
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

/// Messages of one process so far.
#[derive(Default)]
struct Stream {
    id: Option<u64>,
    /// The last message that was applied.
    applied: u64,
    /// Its writes that have not ended. Dropped, their outcome is unknown.
    writes: HashMap<u64, RemoteWrite>,
}

/// Outcome of a push.
pub(super) struct Taken {
    /// The last message up to which all are applied.
    pub applied: u64,
    /// The sender ends.
    pub leaves: bool,
}

impl Inbox {
    pub(super) fn new(cache: Arc<Cache>, rules: Arc<Rules>) -> Self {
        Self { cache, rules, events: OnceLock::new(), streams: Mutex::default() }
    }

    /// To be called once, before anything is received.
    pub(super) fn on_event(&self, sink: EventSink) {
        let _ = self.events.set(sink);
    }

    /// Applies what was not applied before; `None`: there are too many senders.
    pub(super) async fn take(&self, push: Push) -> Option<Taken> {
        let stream = self.stream(push.session)?;
        let mut stream = stream.lock().await;
        let begins = stream.id != Some(push.stream);
        if begins {
            // Of another stream, or of none, nothing was applied.
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

    /// Thousands of keys take longer than a worker may be kept.
    async fn purge(&self, scopes: Vec<Scope>) {
        let cache = self.cache.clone();
        // Durable when it is asked for: see `Cluster::answer`.
        let purged = spawn_blocking(move || drop(cache.purge(&scopes))).await;
        if let Err(error) = purged {
            self.missed(&error);
        }
    }

    /// Something that another replica invalidated may not be known here.
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

    /// The process has ended: the outcome of its writes is not known.
    pub(super) fn ended(&self, session: Session) {
        let ended = self.streams.lock().remove(&session);
        drop(ended);
    }

    /// So has each that `is_known` does not know and that was not heard for long.
    pub(super) fn forget_silent(&self, is_known: impl Fn(Session) -> bool) {
        let mut streams = self.streams.lock();
        streams.retain(|session, sender| is_known(*session) || sender.heard.elapsed() < SILENT);
    }
}
