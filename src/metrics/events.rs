//! Metrics of object events.

use std::collections::HashMap;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram,
    gauge, histogram, with_local_recorder,
};
use parking_lot::RwLock;

use super::recorder::{Registered, recorder};

const TRUSTED_BUCKETS: &str = "hotset_rule_trusted_buckets";
const EVENTS: &str = "hotset_events_total";
pub(super) const LAG: &str = "hotset_event_lag_seconds";
const LAST: &str = "hotset_events_last_timestamp_seconds";
const UP: &str = "hotset_event_receiver_up";
const QUEUED: &str = "hotset_event_queue_messages";
const TRUSTED: &str = "hotset_events_trusted";
const CANARIES: &str = "hotset_event_canaries_total";

/// Upper bounds of the lag's buckets: S3 takes seconds, at times a minute; events delayed by an outage take hours.
pub(super) const LAG_SECONDS: [f64; 16] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0,
    7200.0,
];

/// Maximum buckets with a histogram of their own; the rest share one.
const BUCKETS: usize = 100;

label! {
    /// Source of events.
    Source {
        /// Amazon SQS, or a compatible service.
        Sqs = "sqs",
        /// The HTTP listener.
        Webhook = "webhook",
        /// NATS `JetStream`.
        Nats = "nats",
        /// AMQP 0-9-1.
        Amqp = "amqp",
        /// Kafka.
        Kafka = "kafka",
        /// Redis.
        Redis = "redis",
        /// The admin API, by an operator.
        Admin = "admin",
    }
}

impl Source {
    /// Returns the source with this label.
    pub fn labelled(label: &str) -> Option<Self> {
        Self::ALL.iter().find(|source| source.label() == label).copied()
    }
}

label! {
    /// Result of an event.
    EventResult {
        /// Its object was invalidated, or is validated before it is served again.
        Applied = "applied",
        /// An identical event came before.
        Duplicate = "duplicate",
        /// The event does not concern the cache.
        Skipped = "skipped",
        /// The event could not be decoded.
        Undecodable = "undecodable",
    }
}

label! {
    /// Result of a canary.
    Canary {
        /// Its event arrived in time.
        Seen = "seen",
        /// Its event did not arrive in time.
        Missed = "missed",
        /// The object could not be written.
        Failed = "failed",
    }
}

struct Handles {
    events: Vec<Counter>,
    last: [Gauge; Source::ALL.len()],
    canaries: [Counter; Canary::ALL.len()],
    trusted: Gauge,
}

static HANDLES: Registered<Handles> = Registered::none();

impl Handles {
    fn new() -> Self {
        let pairs = Source::ALL.iter().flat_map(|s| EventResult::ALL.iter().map(move |r| (s, r)));
        let events = pairs.map(
            |(source, result)| counter!(EVENTS, "source" => source.label(), "result" => result.label()),
        );
        let last = |index: usize| gauge!(LAST, "source" => Source::ALL[index].label());
        let canary = |index: usize| counter!(CANARIES, "result" => Canary::ALL[index].label());
        Self {
            events: events.collect(),
            last: std::array::from_fn(last),
            canaries: std::array::from_fn(canary),
            trusted: gauge!(TRUSTED),
        }
    }
}

/// Describes and registers these metrics with the recorder in scope.
pub(super) fn register() {
    describe();
    HANDLES.keep(Handles::new());
}

#[rustfmt::skip] // A table: one line a metric.
fn describe() {
    describe_gauge!(
        TRUSTED_BUCKETS,
        Unit::Count,
        "Buckets in which events are trusted, by the pattern of a rule with freshness: events"
    );
    describe_counter!(EVENTS, Unit::Count, "Object events received, by source and result");
    describe_histogram!(LAG, Unit::Seconds, "Delay of events, from the time in the event to its application, by source and bucket");
    describe_gauge!(LAST, Unit::Seconds, "Time of the last event that was applied, in Unix time, by source; 0: none yet");
    describe_gauge!(UP, Unit::Count, "1 if a receiver of events is connected, else 0, by source and name");
    describe_gauge!(QUEUED, Unit::Count, "Messages in an event queue, by source and name, where the queue reports them");
    describe_gauge!(TRUSTED, Unit::Count, "Pairs of a rule and a bucket whose events are trusted");
    describe_counter!(CANARIES, Unit::Count, "Canary objects written (events.canaries), by result");
}

/// Counts events with the same result.
pub fn counted(source: Source, result: EventResult, events: u64) {
    if let Some(handles) = HANDLES.get() {
        let index = source as usize * EventResult::ALL.len() + result as usize;
        handles.events[index].increment(events);
    }
}

/// Counts an applied event; `happened`: its time by the sender's clock.
#[allow(clippy::cast_precision_loss, reason = "seconds of this age")]
pub fn applied(source: Source, bucket: &str, happened: Option<SystemTime>) {
    let Some(handles) = HANDLES.get() else { return };
    let now = SystemTime::now();
    let since_epoch = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    handles.last[source as usize].set(since_epoch.as_secs() as f64);
    if let Some(happened) = happened {
        // Clocks differ: what lies in the future is new.
        lag(source, bucket, now.duration_since(happened).unwrap_or_default());
    }
}

type Lags = HashMap<Source, HashMap<String, Histogram>>;

fn lag(source: Source, bucket: &str, lag: Duration) {
    static LAGS: OnceLock<RwLock<Lags>> = OnceLock::new();
    let lags = LAGS.get_or_init(RwLock::default);
    if let Some(known) = lags.read().get(&source).and_then(|of| of.get(bucket)) {
        return known.record(lag);
    }
    let Some(recorder) = recorder() else { return };
    let mut lags = lags.write();
    let of = lags.entry(source).or_default();
    let name = if of.len() < BUCKETS { bucket } else { "other" };
    let histogram = of.entry(name.to_owned()).or_insert_with(|| {
        let name = name.to_owned();
        with_local_recorder(
            recorder,
            || histogram!(LAG, "source" => source.label(), "bucket" => name),
        )
    });
    histogram.record(lag);
}

/// Counts a canary.
pub fn canary(result: Canary) {
    if let Some(handles) = HANDLES.get() {
        handles.canaries[result as usize].increment(1);
    }
}

/// Sets the number of buckets in which a rule with `freshness: events` trusts events.
#[allow(clippy::cast_precision_loss, reason = "they are few")]
pub fn set_trusted_buckets(rule: &str, buckets: usize) {
    let Some(recorder) = recorder() else { return };
    let rule = rule.to_owned();
    let register = || gauge!(TRUSTED_BUCKETS, "rule" => rule);
    with_local_recorder(recorder, register).set(buckets as f64);
}

/// Sets the number of trusted pairs of rule and bucket.
#[allow(clippy::cast_precision_loss, reason = "exact up to 2^53")]
pub fn set_trusted(pairs: usize) {
    if let Some(handles) = HANDLES.get() {
        handles.trusted.set(pairs as f64);
    }
}

/// The gauges of one receiver.
#[derive(Debug)]
pub struct Receiver {
    up: Option<Gauge>,
    queued: Option<Gauge>,
    source: Source,
    name: String,
}

impl Receiver {
    /// Creates the gauges. `name`: distinguishes receivers of the same source.
    pub fn new(source: Source, name: &str) -> Self {
        let gauge = |metric: &'static str| {
            let recorder = recorder()?;
            let name = name.to_owned();
            Some(with_local_recorder(
                recorder,
                || gauge!(metric, "source" => source.label(), "name" => name),
            ))
        };
        Self { up: gauge(UP), queued: None, source, name: name.to_owned() }
    }

    /// Sets whether the receiver is connected.
    pub fn set_up(&self, up: bool) {
        if let Some(gauge) = &self.up {
            gauge.set(f64::from(u8::from(up)));
        }
    }

    /// Removes the state of a receiver that is no longer configured: its series are neither up nor down.
    pub fn remove(&self) {
        for gauge in [&self.up, &self.queued].into_iter().flatten() {
            gauge.set(f64::NAN);
        }
    }

    /// Sets the number of messages waiting for the receiver. Receivers without this information have no such series.
    #[allow(clippy::cast_precision_loss, reason = "exact up to 2^53")]
    pub fn set_queued(&mut self, messages: u64) {
        let (source, name) = (self.source, &self.name);
        if self.queued.is_none()
            && let Some(recorder) = recorder()
        {
            self.queued = Some(with_local_recorder(
                recorder,
                || gauge!(QUEUED, "source" => source.label(), "name" => name.clone()),
            ));
        }
        if let Some(gauge) = &self.queued {
            gauge.set(messages as f64);
        }
    }
}
