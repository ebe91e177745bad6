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
use crate::origin::Origins;
use crate::s3::ObjectId;
use crate::s3::event::{Change, EventError, Notification, ObjectEvent, decode};
use crate::warm::Warmer;

const CAUSE: InvalidationCause = InvalidationCause::Event;
/// Maximum bytes of an undecodable message that are logged.
const SAMPLE: usize = 300;

/// Applies events from all receivers to the cache; one per process.
pub struct Intake {
    cache: Arc<Cache>,
    origins: Origins,
    rules: Arc<Rules>,
    warmer: Arc<Warmer>,
    /// Other replicas, to which each event is forwarded.
    cluster: Option<Arc<Cluster>>,
    recent: Recent,
    pub(super) canaries: Canaries,
    /// Maximum lag of an event, in milliseconds.
    max_lag: AtomicU64,
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Applied events that may not be durable yet, see [`Intake::durable`].
#[derive(Debug, Default)]
#[must_use = "a message is acknowledged when what it says is durable"]
pub struct Applied {
    /// Objects that were invalidated or marked stale.
    pub objects: usize,
    /// Records that could not be decoded, beside others that could.
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

    /// Sets the age from which on an event counts as late.
    pub fn set_max_lag(&self, max_lag: Duration) {
        self.max_lag.store(millis(max_lag), Ordering::Relaxed);
    }

    /// Returns the origins, whose credentials receivers share.
    #[cfg(feature = "sqs")]
    pub(in crate::events) fn origins(&self) -> &Origins {
        &self.origins
    }

    /// Registers a receiver and returns its connection state. `name` identifies it among receivers of the same source, in
    /// logs and metrics, and must hold no secrets.
    pub fn receiver_status(&self, source: Source, name: impl Into<String>) -> ReceiverStatus {
        ReceiverStatus::new(self.rules.clone(), source, name.into())
    }

    /// Decodes a message and applies each of its events before it returns. Never waits.
    ///
    /// # Errors
    /// Nothing in it can be decoded: it was counted and logged, and must not be acknowledged as understood.
    pub fn apply(&self, source: Source, body: &[u8]) -> Result<Applied, EventError> {
        self.apply_of(source, None, body)
    }

    /// As [`Intake::apply`], for a receiver whose events concern the buckets of one named origin; `None`: of any. Other
    /// replicas do not know the origin, and apply its events to any.
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

    /// Applies a message that another replica received, which proves the flow of events here, too (R26).
    pub fn apply_from_peer(&self, source: &str, body: &[u8]) {
        match (Source::labelled(source), decode(body)) {
            // A replica that restarts validates its disk entries, so durability need not be awaited.
            (Some(source), Ok(notification)) => drop(self.take(source, None, &notification)),
            (None, _) | (_, Err(_)) => {
                log::warn!("events: another replica sent what cannot be read: {}", sample(body));
                self.cache.confirm_all_once();
                self.rules.distrust_all("an event of another replica could not be read");
            }
        }
    }

    /// Waits until the events would survive a power cut (R11), and every other replica has applied them; bounded.
    /// Returns `false` if either is not certain: the message must then not be acknowledged, so that it is redelivered
    /// (R38).
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

    /// As [`Intake::durable`], for messages in their order of application: returns how many from the first on are
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
                // The effect of the first copy may not be durable yet.
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

    /// Returns the event once for each name by which clients know its bucket.
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

    /// Invalidates what the event changes, in every reading of its key and every realm.
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

    /// Records the evidence of an event: a timely one proves that events flow; a late one that they may not (R26).
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

/// Whether equal events of this kind are duplicates: times in whole seconds, as EventBridge's, cannot tell.
fn is_told_apart(event: &ObjectEvent) -> bool {
    let since_epoch = event.time.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    since_epoch.is_some_and(|since| since.subsec_nanos() != 0)
}

/// Returns the beginning of a message for the log, with the values of possible tokens and signatures removed.
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
