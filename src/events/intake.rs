//! Application of events to the cache.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::canary::Canaries;
use super::recent::Recent;
use super::{ReceiverStatus, Source};
use crate::cache::{Cache, Rules, Ticket};
use crate::cluster::{Cluster, Delivery};
use crate::metrics::cache::InvalidationCause;
use crate::metrics::events::{self as metrics, EventResult};
use crate::origin::{Origin, Origins};
use crate::s3::ObjectId;
use crate::s3::event::{Change, EventError, Notification, ObjectEvent, decode};
use crate::warm::Warmer;

const CAUSE: InvalidationCause = InvalidationCause::Event;
/// Bytes of a message that cannot be read that are shown in the log.
const SAMPLE: usize = 300;

/// Applies what receivers are told: one a process.
pub struct Intake {
    cache: Arc<Cache>,
    origins: Origins,
    rules: Arc<Rules>,
    warmer: Arc<Warmer>,
    /// Other replicas, which hear of each event.
    cluster: Option<Arc<Cluster>>,
    recent: Recent,
    pub(super) canaries: Canaries,
    /// Milliseconds.
    max_lag: AtomicU64,
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Applied events that may not be durable yet, see [`Intake::durable`].
#[derive(Debug, Default)]
#[must_use = "a message is acknowledged when what it says is durable"]
pub struct Applied {
    /// Objects that were forgotten or marked.
    pub objects: usize,
    /// Records that could not be read, beside others that could.
    pub unreadable: usize,
    ticket: Option<Ticket>,
    delivery: Option<Delivery>,
}

impl Intake {
    pub fn new(
        cache: Arc<Cache>,
        origins: Origins,
        rules: Arc<Rules>,
        warmer: Arc<Warmer>,
        cluster: Option<Arc<Cluster>>,
        max_lag: Duration,
    ) -> Arc<Self> {
        let (recent, canaries) = (Recent::new(), Canaries::default());
        let max_lag = AtomicU64::new(millis(max_lag));
        Arc::new(Self { cache, origins, rules, warmer, cluster, recent, canaries, max_lag })
    }

    /// Takes events for late that are older than `max_lag`, from now on.
    pub fn set_max_lag(&self, max_lag: Duration) {
        self.max_lag.store(millis(max_lag), Ordering::Relaxed);
    }

    /// The origin whose credentials receivers use, too.
    pub(in crate::events) fn origin(&self) -> Arc<Origin> {
        self.origins.default_origin()
    }

    /// Registers a receiver and returns its connection state. `name` identifies it among receivers of the same source, in
    /// logs and metrics, and must hold no secrets.
    pub fn receiver_status(&self, source: Source, name: impl Into<String>) -> ReceiverStatus {
        ReceiverStatus::new(self.rules.clone(), source, name.into())
    }

    /// Decodes a message and applies each of its events before it returns. It never waits.
    ///
    /// # Errors
    /// Nothing in it can be read: it was counted and logged, and is not to be acknowledged as understood.
    pub fn apply(&self, source: Source, body: &[u8]) -> Result<Applied, EventError> {
        self.apply_of(source, None, body)
    }

    /// As [`Intake::apply`], of a receiver whose events are all of buckets of one origin, by its name; `None`: of any. Other
    /// replicas, which do not know that, take its events for those of any.
    ///
    /// # Errors
    /// As [`Intake::apply`].
    pub fn apply_of(
        &self,
        source: Source,
        origin: Option<&str>,
        body: &[u8],
    ) -> Result<Applied, EventError> {
        match decode(body) {
            Ok(notification) => {
                let says_something =
                    !notification.events.is_empty() || !notification.bad.is_empty();
                let cluster = self.cluster.as_ref().filter(|_| says_something);
                let delivery = cluster.map(|cluster| cluster.event(source.label(), body));
                Ok(Applied { delivery, ..self.take(source, origin, &notification) })
            }
            Err(error) => {
                metrics::counted(source, EventResult::Undecodable, 1);
                log::warn!(
                    "events: {} sent what cannot be read ({error}): {}",
                    source.label(),
                    sample(body)
                );
                Err(error)
            }
        }
    }

    /// Applies a message that another replica received, which is its proof here, too (R26).
    pub fn apply_from_peer(&self, source: &str, body: &[u8]) {
        match (Source::labelled(source), decode(body)) {
            // A replica that starts anew confirms what lies on its disk: nothing is waited for.
            (Some(source), Ok(notification)) => drop(self.take(source, None, &notification)),
            (None, _) | (_, Err(_)) => {
                log::warn!("events: another replica sent what cannot be read: {}", sample(body));
                self.cache.confirm_all_once();
                self.rules.distrust_all("an event of another replica could not be read");
            }
        }
    }

    /// Waits until what was applied would survive a power cut (R11), and every other replica has applied it; bounded.
    /// `false`: it may not, or one has not, and its message is not acknowledged, so that it comes again (R38).
    pub async fn durable(&self, applied: Applied) -> bool {
        let elsewhere = async {
            match applied.delivery {
                Some(delivery) => delivery.event_settled().await,
                None => true,
            }
        };
        let (here, elsewhere) = tokio::join!(self.cache.durable(applied.ticket), elsewhere);
        here && elsewhere
    }

    /// As [`Intake::durable`], for messages in the order in which they were applied: how many from the first one on are
    /// durable.
    pub async fn durable_prefix(&self, applied: impl IntoIterator<Item = Applied>) -> usize {
        let mut count = 0;
        for one in applied {
            if !self.durable(one).await {
                break;
            }
            count += 1;
        }
        count
    }

    fn take(&self, source: Source, origin: Option<&str>, notification: &Notification) -> Applied {
        let mut applied = Applied { unreadable: notification.bad.len(), ..Applied::default() };
        for bad in &notification.bad {
            log::warn!("events: a record from {} cannot be read: {bad}", source.label());
        }
        metrics::counted(source, EventResult::Undecodable, notification.bad.len() as u64);
        metrics::counted(source, EventResult::Skipped, notification.others as u64);
        for event in notification.events.iter().flat_map(|event| self.by_clients_names(event)) {
            let event = &*event;
            if origin.is_some_and(|origin| !self.origins.is_of(&event.bucket, origin)) {
                continue;
            }
            let hash = is_told_apart(event).then(|| self.recent.hash(event));
            let result = if event.change == Change::Nothing {
                EventResult::Skipped
            } else if hash.is_some_and(|hash| self.recent.contains(hash)) {
                // What its first copy did may not be durable yet.
                applied.ticket = applied.ticket.max(self.cache.unsettled());
                EventResult::Duplicate
            } else {
                applied.objects += 1;
                applied.ticket = applied.ticket.max(self.change(event));
                if let Some(hash) = hash {
                    self.recent.insert(hash);
                }
                self.warmer.told(event);
                EventResult::Applied
            };
            metrics::counted(source, result, 1);
            // Another origin may have a bucket of the same name, of which this proves nothing.
            let real = self.origins.name_at_origin(&event.bucket);
            let proves = origin.is_some() || self.origins.is_of_one_origin(&real);
            self.witness(source, event, result, proves);
        }
        if !notification.bad.is_empty() {
            self.rules.distrust_all("an event could not be read");
        }
        applied
    }

    /// An event once for each name that clients have for its bucket.
    fn by_clients_names<'a>(
        &self,
        event: &'a ObjectEvent,
    ) -> impl Iterator<Item = Cow<'a, ObjectEvent>> + use<'a> {
        self.origins.clients_of(&event.bucket).into_iter().map(move |name| {
            match name == event.bucket {
                true => Cow::Borrowed(event),
                false => Cow::Owned(ObjectEvent { bucket: name, ..event.clone() }),
            }
        })
    }

    /// Forgets what the event says is no longer so, in every reading of its key and every realm.
    fn change(&self, event: &ObjectEvent) -> Option<Ticket> {
        log::debug!(
            "events: {} of {}/{}, version {:?}, sequencer {:?}",
            event.name,
            event.bucket,
            event.keys[0],
            event.version,
            event.sequencer
        );
        let mut last = None;
        for realm in &*self.origins.realms_of(&event.bucket) {
            for key in &event.keys {
                let id = ObjectId::new(realm, event.bucket.clone(), key.clone());
                last = last.max(match event.change {
                    Change::Created => self.cache.written(&id, event.etag.as_ref(), CAUSE),
                    Change::Described => self.cache.mark_stale(&id, CAUSE),
                    Change::Removed { .. } => self.cache.invalidate(&id, CAUSE),
                    Change::Nothing => None,
                });
            }
        }
        last
    }

    /// An event that came in time proves that events come; one that came late proves that they may not (R26).
    fn witness(&self, source: Source, event: &ObjectEvent, result: EventResult, proves: bool) {
        metrics::applied(source, event.bucket.as_str(), event.time);
        self.canaries.notice(event);
        if result == EventResult::Duplicate {
            return;
        }
        let lag = event.time.map(|time| SystemTime::now().duration_since(time).unwrap_or_default());
        match lag {
            Some(lag) if millis(lag) > self.max_lag.load(Ordering::Relaxed) => {
                let why = format!("an event came {} s after it happened", lag.as_secs());
                self.rules.distrust(&event.bucket, &why);
            }
            _ if proves => self.rules.prove(&event.bucket, &event.keys[0]),
            _ => {}
        }
    }
}

/// Whether two events of it that look the same are one: times in whole seconds, as EventBridge's, tell too little.
fn is_told_apart(event: &ObjectEvent) -> bool {
    let since_epoch = event.time.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    since_epoch.is_some_and(|since| since.subsec_nanos() != 0)
}

/// The beginning of a message, without what may be a secret: values of what looks like a token or a signature.
fn sample(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(SAMPLE)]);
    let mut shown = String::with_capacity(text.len());
    let mut hides = false;
    for (index, piece) in text.split('"').enumerate() {
        let quoted = index % 2 == 1;
        if index > 0 {
            shown.push('"');
        }
        let hidden = quoted && hides;
        shown.extend(
            piece.chars().map(|c| if c.is_control() { ' ' } else { c }).filter(|_| !hidden),
        );
        if hidden {
            shown.push_str("...");
        }
        hides = match quoted {
            true => !hidden && is_secret(piece),
            // Still the value of the name before.
            false => hides && piece.trim() == ":",
        };
    }
    shown
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["token", "signature", "secret", "authorization", "password", "unsubscribeurl", "subscribeurl"]
        .iter()
        .any(|secret| name.contains(secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_shows_no_secrets() {
        let body = br#"{"Token":"abc", "Signature" : "xyz","Key":"a/b","secretKey":"s"} "#;
        let shown = sample(body);
        for secret in ["abc", "xyz", "\"s\""] {
            assert!(!shown.contains(secret), "{shown}");
        }
        assert!(shown.contains(r#""Key":"a/b""#), "{shown}");
        assert!(sample(&[b'x'; 10_000]).len() <= SAMPLE);
    }
}
