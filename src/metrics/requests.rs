//! Metrics of clients' requests and connections.

use std::sync::OnceLock;
use std::time::Duration;

use metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram,
    gauge, histogram, with_local_recorder,
};

use super::operation::Operation;
use super::recorder::{GaugeGuard, Registered, recorder};

const REQUESTS: &str = "hotset_requests_total";
const RESPONSE_BYTES: &str = "hotset_response_bytes_total";
const REQUEST_DURATION: &str = "hotset_request_duration_seconds";
const FIRST_BYTE: &str = "hotset_first_byte_seconds";
pub(super) const OPEN_CONNECTIONS: &str = "hotset_open_connections";
pub(super) const REQUESTS_IN_FLIGHT: &str = "hotset_requests_in_flight";

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

/// Values of the label `status`; the first one is for answers that had none.
pub(super) const STATUS_CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

const REQUEST_SERIES: usize = Operation::ALL.len() * CacheResult::ALL.len() * STATUS_CLASSES.len();

struct Handles {
    /// Registered at the first use of each, so that combinations which never happen are not shown.
    requests: Box<[OnceLock<Counter>]>,
    response_bytes: [Counter; Source::ALL.len()],
    request_duration: Histogram,
    first_byte: Histogram,
    open_connections: Gauge,
    requests_in_flight: Gauge,
}

static HANDLES: Registered<Handles> = Registered::none();

impl Handles {
    fn new() -> Self {
        Self {
            requests: std::iter::repeat_with(OnceLock::new).take(REQUEST_SERIES).collect(),
            response_bytes: [Source::Memory, Source::Disk, Source::Origin, Source::PassThrough]
                .map(|source| counter!(RESPONSE_BYTES, "source" => source.label())),
            request_duration: histogram!(REQUEST_DURATION),
            first_byte: histogram!(FIRST_BYTE),
            open_connections: gauge!(OPEN_CONNECTIONS),
            requests_in_flight: gauge!(REQUESTS_IN_FLIGHT),
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
    describe_counter!(REQUESTS, Unit::Count, "Requests, by S3 operation, cache result and status class; 499 (client disconnect) counts as 4xx");
    describe_counter!(RESPONSE_BYTES, Unit::Bytes, "Bytes of response bodies sent to clients, by source");
    describe_histogram!(REQUEST_DURATION, Unit::Seconds, "Time from receiving a request head to sending the last byte of the response");
    describe_histogram!(FIRST_BYTE, Unit::Seconds, "Time from receiving a request head to sending the first byte of the response");
    describe_gauge!(OPEN_CONNECTIONS, Unit::Count, "Open client connections");
    describe_gauge!(REQUESTS_IN_FLIGHT, Unit::Count, "Requests in flight");
}

/// Counts a request that has ended; `status` 0 when there was no answer.
pub fn request(operation: Operation, cache: CacheResult, status: u16) {
    let (Some(handles), Some(recorder)) = (HANDLES.get(), recorder()) else { return };
    let class = match status / 100 {
        class @ 1..=5 => usize::from(class),
        _ => 0,
    };
    let index = (operation as usize * CacheResult::ALL.len() + cache as usize)
        * STATUS_CLASSES.len()
        + class;
    handles.requests[index]
        .get_or_init(|| {
            with_local_recorder(recorder, || {
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
    if let Some(handles) = HANDLES.get() {
        handles.response_bytes[source as usize].increment(bytes);
    }
}

/// Records the time from a request's head to the last byte of its answer.
pub fn request_duration(elapsed: Duration) {
    if let Some(handles) = HANDLES.get() {
        handles.request_duration.record(elapsed);
    }
}

/// Records the time from a request's head to the first byte of its answer.
pub fn first_byte(elapsed: Duration) {
    if let Some(handles) = HANDLES.get() {
        handles.first_byte.record(elapsed);
    }
}

/// Counts a client's connection as open until the guard is dropped.
pub fn connection_open() -> GaugeGuard {
    HANDLES.hold(|handles| &handles.open_connections)
}

/// Counts a request as in flight until the guard is dropped.
pub fn request_in_flight() -> GaugeGuard {
    HANDLES.hold(|handles| &handles.requests_in_flight)
}
