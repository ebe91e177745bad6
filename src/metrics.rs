//! Every metric: its name, unit, help and the one function that records it.
//!
//! The handles are looked up once and kept, so that recording is an atomic addition without a look
//! into the registry. Until [`install`] is called nothing is recorded and nothing is kept: a
//! histogram whose samples nobody drains would grow for ever. This module imports nothing of ours
//! and is importable by all; names that were published stay.

use std::sync::OnceLock;
use std::time::Duration;

use metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram,
    gauge, histogram, with_local_recorder,
};
use metrics_exporter_prometheus::{
    Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};

const REQUESTS: &str = "hotset_requests_total";
const RESPONSE_BYTES: &str = "hotset_response_bytes_total";
const REQUEST_DURATION: &str = "hotset_request_duration_seconds";
const FIRST_BYTE: &str = "hotset_first_byte_seconds";
const ORIGIN_REQUESTS: &str = "hotset_origin_requests_total";
const ORIGIN_BYTES: &str = "hotset_origin_received_bytes_total";
const ORIGIN_FIRST_BYTE: &str = "hotset_origin_first_byte_seconds";
const ORIGIN_RETRIES: &str = "hotset_origin_retries_total";
const CACHE_BYTES: &str = "hotset_cache_bytes";
const CACHE_BLOCKS: &str = "hotset_cache_blocks";
const METADATA_ENTRIES: &str = "hotset_metadata_entries";
const ADMISSIONS_REFUSED: &str = "hotset_admissions_refused_total";
const IN_FLIGHT_BYTES: &str = "hotset_in_flight_bytes";
const IN_FLIGHT_LIMIT: &str = "hotset_in_flight_limit_bytes";
const OPEN_CONNECTIONS: &str = "hotset_open_connections";
const REQUESTS_IN_FLIGHT: &str = "hotset_requests_in_flight";
const COALESCED: &str = "hotset_coalesced_total";
const COALESCED_WAITERS: &str = "hotset_coalesced_waiters";

/// Upper bounds of the histograms' buckets, in seconds: a hit from memory takes a tenth of a
/// millisecond, an origin in trouble tens of seconds.
const SECONDS: [f64; 18] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0, 30.0, 60.0,
];

/// An enumeration whose members are the values of a label.
macro_rules! label {
    ($(#[$doc:meta])* $name:ident { $($(#[$member_doc:meta])* $member:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$member_doc])* $member,)+ }

        impl $name {
            pub(crate) const ALL: &[Self] = &[$(Self::$member,)+];

            /// The label's value.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(Self::$member => $text,)+ }
            }
        }
    };
}

pub mod cache;
pub mod cluster;
pub mod disk;
pub mod events;
pub mod hedging;
pub mod identities;
pub mod memory;
mod operation;
pub mod origin;
pub mod warm;
pub mod webhook;
pub mod wire;

pub use operation::Operation;

label! {
    /// Role of the cache in a response.
    CacheResult {
        /// From the cache, without asking the origin.
        Hit = "hit",
        /// Some of its bytes from the cache, the others fetched from the origin.
        Partial = "partial",
        /// Nothing of it from the cache.
        Miss = "miss",
        /// From the cache although too old, since the origin could not be asked (R14).
        Stale = "stale",
        /// The cache had no part in it.
        Bypass = "bypass",
        /// The remembered absence of the object (R12).
        Negative = "negative",
        /// From the cache, after the origin was asked whether it changed (R10).
        Revalidated = "revalidated",
    }
}

label! {
    /// Where the bytes of an answer came from.
    Source {
        /// The cache's memory.
        Memory = "memory",
        /// The cache's disks.
        Disk = "disk",
        /// A fetch by the cache.
        Origin = "origin",
        /// An answer of the origin that was streamed through.
        PassThrough = "passthrough",
    }
}

label! {
    /// A request to the origin.
    OriginKind {
        /// A fetch of bytes by the cache.
        Get = "get",
        /// A fetch of metadata by the cache.
        Head = "head",
        /// A list of keys, to warm them.
        List = "list",
        /// A client's request, sent to hear whether it may read.
        Ask = "ask",
        /// A client's request that was forwarded.
        PassThrough = "passthrough",
    }
}

label! {
    /// Outcome of a request to the origin.
    Outcome {
        /// With the answer that was asked for.
        Ok = "ok",
        /// 404.
        NotFound = "not_found",
        /// 401 or 403.
        Denied = "denied",
        /// Another 4xx, or an answer that cannot be used.
        Refused = "refused",
        /// Unknown: the client disconnected, or its body was not as announced, before the answer was complete.
        Abandoned = "abandoned",
        /// 429, or 503 with `SlowDown`.
        Throttled = "throttled",
        /// Another 5xx.
        ServerError = "server_error",
        /// No answer, or no further byte of it, in time.
        Timeout = "timeout",
        /// No connection.
        Connect = "connect",
        /// The connection ended in the middle, or what came was not what was announced.
        Broken = "broken",
        /// The object is no longer the version that was asked for (R3).
        Changed = "changed",
    }
}

/// Values of the label `status`; the first one is for answers that had none.
const STATUS_CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

const REQUEST_SERIES: usize = Operation::ALL.len() * CacheResult::ALL.len() * STATUS_CLASSES.len();
const ORIGIN_SERIES: usize = OriginKind::ALL.len() * Outcome::ALL.len();

struct Metrics {
    recorder: PrometheusRecorder,
    handles: Handles,
}

struct Handles {
    /// Registered at the first use of each, so that combinations which never happen are not shown.
    requests: Box<[OnceLock<Counter>]>,
    origin_requests: [OnceLock<Counter>; ORIGIN_SERIES],
    response_bytes: [Counter; Source::ALL.len()],
    request_duration: Histogram,
    first_byte: Histogram,
    origin_bytes: Counter,
    origin_first_byte: Histogram,
    origin_retries: Counter,
    cache_bytes: Gauge,
    cache_blocks: Gauge,
    metadata_entries: Gauge,
    admissions_refused: Counter,
    in_flight_bytes: Gauge,
    in_flight_limit: Gauge,
    open_connections: Gauge,
    requests_in_flight: Gauge,
    coalesced: Counter,
    coalesced_waiters: Gauge,
    cache: cache::Handles,
    cluster: cluster::Handles,
    origin_errors: origin::Handles,
    disk: disk::Handles,
    events: events::Handles,
    hedging: hedging::Handles,
    identities: identities::Handles,
    memory: memory::Handles,
    webhook: webhook::Handles,
    warm: warm::Handles,
    wire: wire::Handles,
}

static METRICS: OnceLock<Metrics> = OnceLock::new();

/// Starts recording, once; later calls return the same handle. Whoever holds it must call
/// [`PrometheusHandle::run_upkeep`] every few seconds (`admin::serve` does), or samples of
/// histograms pile up.
#[must_use]
pub fn install() -> PrometheusHandle {
    METRICS.get_or_init(Metrics::new).recorder.handle()
}

impl Metrics {
    fn new() -> Self {
        let recorder = PrometheusBuilder::new()
            .set_buckets(&SECONDS)
            .and_then(|builder| {
                let lag = Matcher::Full(events::LAG.to_owned());
                builder.set_buckets_for_metric(lag, &events::LAG_SECONDS)
            })
            .expect("the lists of buckets are not empty")
            .build_recorder();
        with_local_recorder(&recorder, describe);
        let handles = with_local_recorder(&recorder, Handles::register);
        Self { recorder, handles }
    }
}

impl Handles {
    fn register() -> Self {
        Self {
            requests: std::iter::repeat_with(OnceLock::new).take(REQUEST_SERIES).collect(),
            origin_requests: [const { OnceLock::new() }; ORIGIN_SERIES],
            response_bytes: [Source::Memory, Source::Disk, Source::Origin, Source::PassThrough]
                .map(|source| counter!(RESPONSE_BYTES, "source" => source.label())),
            request_duration: histogram!(REQUEST_DURATION),
            first_byte: histogram!(FIRST_BYTE),
            origin_bytes: counter!(ORIGIN_BYTES),
            origin_first_byte: histogram!(ORIGIN_FIRST_BYTE),
            origin_retries: counter!(ORIGIN_RETRIES),
            cache_bytes: gauge!(CACHE_BYTES),
            cache_blocks: gauge!(CACHE_BLOCKS),
            metadata_entries: gauge!(METADATA_ENTRIES),
            admissions_refused: counter!(ADMISSIONS_REFUSED),
            in_flight_bytes: gauge!(IN_FLIGHT_BYTES),
            in_flight_limit: gauge!(IN_FLIGHT_LIMIT),
            open_connections: gauge!(OPEN_CONNECTIONS),
            requests_in_flight: gauge!(REQUESTS_IN_FLIGHT),
            coalesced: counter!(COALESCED),
            coalesced_waiters: gauge!(COALESCED_WAITERS),
            cache: cache::Handles::register(),
            cluster: cluster::Handles::register(),
            origin_errors: origin::Handles::register(),
            disk: disk::Handles::register(),
            events: events::Handles::register(),
            hedging: hedging::Handles::register(),
            identities: identities::Handles::register(),
            memory: memory::Handles::register(),
            webhook: webhook::Handles::register(),
            warm: warm::Handles::register(),
            wire: wire::Handles::register(),
        }
    }
}

#[rustfmt::skip] // A table: one line a metric.
fn describe() {
    describe_counter!(REQUESTS, Unit::Count, "Requests, by S3 operation, cache result and status class; 499 (client disconnect) counts as 4xx");
    describe_counter!(RESPONSE_BYTES, Unit::Bytes, "Bytes of response bodies sent to clients, by source");
    describe_histogram!(REQUEST_DURATION, Unit::Seconds, "Time from receiving a request head to sending the last byte of the response");
    describe_histogram!(FIRST_BYTE, Unit::Seconds, "Time from receiving a request head to sending the first byte of the response");
    describe_counter!(ORIGIN_REQUESTS, Unit::Count, "Requests sent to the origin, each attempt counted, by kind and outcome");
    describe_counter!(ORIGIN_BYTES, Unit::Bytes, "Bytes of response bodies received from the origin");
    describe_histogram!(ORIGIN_FIRST_BYTE, Unit::Seconds, "Time from sending a request to the origin to receiving the response head");
    describe_counter!(ORIGIN_RETRIES, Unit::Count, "Retries of requests to the origin");
    describe_gauge!(CACHE_BYTES, Unit::Bytes, "Bytes of blocks in memory");
    describe_gauge!(CACHE_BLOCKS, Unit::Count, "Blocks in memory");
    describe_gauge!(METADATA_ENTRIES, Unit::Count, "Objects with cached metadata, negative entries included");
    describe_counter!(ADMISSIONS_REFUSED, Unit::Count, "Fetched blocks that were not admitted because their object was invalidated during the fetch");
    describe_gauge!(IN_FLIGHT_BYTES, Unit::Bytes, "Bytes in transit between the origin and clients");
    describe_gauge!(IN_FLIGHT_LIMIT, Unit::Bytes, "Limit on bytes in transit between the origin and clients (cache.in_flight)");
    describe_gauge!(OPEN_CONNECTIONS, Unit::Count, "Open client connections");
    describe_gauge!(REQUESTS_IN_FLIGHT, Unit::Count, "Requests in flight");
    describe_counter!(COALESCED, Unit::Count, "Reads that waited for a fetch that another read had started");
    describe_gauge!(COALESCED_WAITERS, Unit::Count, "Reads waiting for a fetch that another read started");
    cache::describe();
    cluster::describe();
    origin::describe();
    disk::describe();
    events::describe();
    hedging::describe();
    identities::describe();
    memory::describe();
    webhook::describe();
    warm::describe();
    wire::describe();
}

fn handles() -> Option<&'static Handles> {
    METRICS.get().map(|metrics| &metrics.handles)
}

/// Counts a request that has ended; `status` 0 when there was no answer.
pub fn request(operation: Operation, cache: CacheResult, status: u16) {
    let Some(metrics) = METRICS.get() else { return };
    let class = match status / 100 {
        class @ 1..=5 => usize::from(class),
        _ => 0,
    };
    let index = (operation as usize * CacheResult::ALL.len() + cache as usize)
        * STATUS_CLASSES.len()
        + class;
    metrics.handles.requests[index]
        .get_or_init(|| {
            with_local_recorder(&metrics.recorder, || {
                counter!(
                    REQUESTS,
                    "operation" => operation.label(),
                    "cache" => cache.label(),
                    "status" => STATUS_CLASSES[class],
                )
            })
        })
        .increment(1);
}

/// Counts bytes of a body that were sent to a client.
pub fn response_bytes(source: Source, bytes: u64) {
    if let Some(handles) = handles() {
        handles.response_bytes[source as usize].increment(bytes);
    }
}

/// Records the time from a request's head to the last byte of its answer.
pub fn request_duration(elapsed: Duration) {
    if let Some(handles) = handles() {
        handles.request_duration.record(elapsed);
    }
}

/// Records the time from a request's head to the first byte of its answer.
pub fn first_byte(elapsed: Duration) {
    if let Some(handles) = handles() {
        handles.first_byte.record(elapsed);
    }
}

/// Counts one attempt of a request to the origin.
pub fn origin_request(kind: OriginKind, outcome: Outcome) {
    let Some(metrics) = METRICS.get() else { return };
    let index = kind as usize * Outcome::ALL.len() + outcome as usize;
    metrics.handles.origin_requests[index]
        .get_or_init(|| {
            with_local_recorder(
                &metrics.recorder,
                || counter!(ORIGIN_REQUESTS, "kind" => kind.label(), "outcome" => outcome.label()),
            )
        })
        .increment(1);
}

/// Counts bytes of bodies that the origin sent.
pub fn origin_bytes(bytes: u64) {
    if let Some(handles) = handles() {
        handles.origin_bytes.increment(bytes);
    }
}

/// Records the time from sending a request to the origin to its answer's head.
pub fn origin_first_byte(elapsed: Duration) {
    if let Some(handles) = handles() {
        handles.origin_first_byte.record(elapsed);
    }
}

/// Counts a further attempt at the origin.
pub fn origin_retry() {
    if let Some(handles) = handles() {
        handles.origin_retries.increment(1);
    }
}

/// Sets the bytes of blocks in memory.
pub fn set_cache_bytes(bytes: u64) {
    set(|handles| &handles.cache_bytes, bytes);
}

/// Sets the number of blocks in memory.
pub fn set_cache_blocks(blocks: u64) {
    set(|handles| &handles.cache_blocks, blocks);
}

/// Sets the number of objects whose metadata or absence is known.
pub fn set_metadata_entries(entries: u64) {
    set(|handles| &handles.metadata_entries, entries);
}

/// Sets the bytes held between the origin and clients.
pub fn set_in_flight_bytes(bytes: u64) {
    set(|handles| &handles.in_flight_bytes, bytes);
}

/// Sets the bound of the bytes held between the origin and clients.
pub fn set_in_flight_limit(bytes: u64) {
    set(|handles| &handles.in_flight_limit, bytes);
}

/// Counts a fetched block that was not kept, since its object was invalidated meanwhile (R6).
pub fn admission_refused() {
    if let Some(handles) = handles() {
        handles.admissions_refused.increment(1);
    }
}

/// Counts a client's connection as open until the guard is dropped.
pub fn connection_open() -> Held {
    Held::new(|handles| &handles.open_connections)
}

/// Counts a request as in flight until the guard is dropped.
pub fn request_in_flight() -> Held {
    Held::new(|handles| &handles.requests_in_flight)
}

/// Counts a read that waits for another's fetch, in total and until the guard is dropped.
pub fn coalesced() -> Held {
    if let Some(handles) = handles() {
        handles.coalesced.increment(1);
    }
    Held::new(|handles| &handles.coalesced_waiters)
}

/// One more in a gauge, taken back when dropped.
#[derive(Debug)]
#[must_use = "it is taken back as soon as this is dropped"]
pub struct Held(Option<&'static Gauge>);

impl Held {
    fn new(of: impl FnOnce(&'static Handles) -> &'static Gauge) -> Self {
        let gauge = handles().map(of);
        if let Some(gauge) = gauge {
            gauge.increment(1.0);
        }
        Self(gauge)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(gauge) = self.0 {
            gauge.decrement(1.0);
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "exact up to 2^53, eight pebibytes")]
fn set(of: impl FnOnce(&'static Handles) -> &'static Gauge, value: u64) {
    if let Some(handles) = handles() {
        of(handles).set(value as f64);
    }
}

#[cfg(test)]
mod tests;
