//! Metrics of clients' requests and connections: number, statuses, errors, latency, and savings at the origin.
//!
//! All series of an operation and a cache result have one index, so that a request costs no lookup by name.

use std::collections::HashMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram,
    gauge, histogram, with_local_recorder,
};
use parking_lot::RwLock;

use super::computed::{Family, Kind};
use super::operation::Operation;
use super::recorder::{GaugeGuard, Registered, recorder};

const REQUESTS: &str = "hotset_requests_total";
const RESPONSE_BYTES: &str = "hotset_response_bytes_total";
const RESPONSES: &str = "hotset_responses_total";
const ERRORS: &str = "hotset_errors_total";
const DURATION: &str = "hotset_request_duration_seconds";
const FIRST_BYTE: &str = "hotset_first_byte_seconds";
pub(super) const OPEN_CONNECTIONS: &str = "hotset_open_connections";
pub(super) const REQUESTS_IN_FLIGHT: &str = "hotset_requests_in_flight";

const SAVED_REQUESTS: Family = Family {
    name: "hotset_saved_requests_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    help: "Requests answered from the cache without a request to the origin",
};
const SAVED_BYTES: Family = Family {
    name: "hotset_saved_bytes_total",
    kind: Kind::Counter,
    unit: Unit::Bytes,
    help: "Bytes of response bodies sent from memory and disk instead of the origin",
};
const SAVED_DOLLARS: Family = Family {
    name: "hotset_saved_dollars_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    help: "Price of the saved requests and bytes, by admin.prices",
};

label! {
    /// Role of the cache in a response.
    CacheResult {
        /// From the cache, without asking the origin.
        Hit = "hit",
        /// Partly from the cache, the rest fetched from the origin.
        Partial = "partial",
        /// Entirely from the origin.
        Miss = "miss",
        /// From the cache although stale, since the origin could not be asked (R14).
        Stale = "stale",
        /// Without the cache.
        Bypass = "bypass",
        /// From a negative entry (R12).
        Negative = "negative",
        /// From the cache, after a successful revalidation (R10).
        Revalidated = "revalidated",
    }
}

label! {
    /// Source of the bytes of a response.
    Source {
        /// The cache's memory.
        Memory = "memory",
        /// The cache's disks.
        Disk = "disk",
        /// A fetch by the cache.
        Origin = "origin",
        /// A response of the origin that passes through.
        PassThrough = "passthrough",
    }
}

/// Values of the label `status`; the first one is for requests without a response.
pub(super) const STATUS_CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// Statuses from 100 on with a series each; the series of index 0 is for requests without one.
const STATUSES: usize = 501;
/// Maximum error codes with a series each: an origin may answer with any code.
const CODES: usize = 100;

/// Series that exist from the start, without any traffic.
const FROM_THE_START: [(Operation, CacheResult); 4] = [
    (Operation::GetObject, CacheResult::Hit),
    (Operation::GetObject, CacheResult::Miss),
    (Operation::HeadObject, CacheResult::Hit),
    (Operation::HeadObject, CacheResult::Miss),
];

/// A completed request.
#[derive(Debug, Clone, Copy)]
pub struct Ended {
    pub operation: Operation,
    pub cache: CacheResult,
    /// Status; 0: there was no response; 499: the client disconnected before it was complete.
    pub status: u16,
    /// Time from the request head to the last byte of the response.
    pub duration: Duration,
    /// Time from the request head to the first byte of the response, if there was one.
    pub first_byte: Option<Duration>,
    /// Bytes of the response from memory and disk.
    pub from_cache: u64,
}

/// The series of an operation and a cache result.
#[derive(Default)]
struct Series {
    requests: [OnceLock<Counter>; STATUS_CLASSES.len()],
    duration: OnceLock<Histogram>,
    first_byte: OnceLock<Histogram>,
}

type ByStatus = Box<[OnceLock<Counter>]>;

struct Handles {
    series: Box<[Series]>,
    responses: [OnceLock<ByStatus>; Operation::ALL.len()],
    errors: RwLock<HashMap<String, Counter>>,
    response_bytes: [Counter; Source::ALL.len()],
    open_connections: Gauge,
    requests_in_flight: Gauge,
}

static HANDLES: Registered<Handles> = Registered::none();

impl Handles {
    fn new() -> Self {
        let count = Operation::ALL.len() * CacheResult::ALL.len();
        let series: Box<[Series]> = std::iter::repeat_with(Series::default).take(count).collect();
        for (operation, cache) in FROM_THE_START {
            let of = &series[index(operation, cache)];
            of.requests[2].get_or_init(|| requests(operation, cache, 2));
            of.duration.get_or_init(|| latency(DURATION, operation, cache));
            of.first_byte.get_or_init(|| latency(FIRST_BYTE, operation, cache));
        }
        Self {
            series,
            responses: [const { OnceLock::new() }; Operation::ALL.len()],
            errors: RwLock::default(),
            response_bytes: [Source::Memory, Source::Disk, Source::Origin, Source::PassThrough]
                .map(|source| counter!(RESPONSE_BYTES, "source" => source.label())),
            open_connections: gauge!(OPEN_CONNECTIONS),
            requests_in_flight: gauge!(REQUESTS_IN_FLIGHT),
        }
    }
}

fn index(operation: Operation, cache: CacheResult) -> usize {
    operation as usize * CacheResult::ALL.len() + cache as usize
}

fn requests(operation: Operation, cache: CacheResult, class: usize) -> Counter {
    counter!(
        REQUESTS,
        "operation" => operation.label(),
        "cache" => cache.label(),
        "status" => STATUS_CLASSES[class],
    )
}

fn latency(name: &'static str, operation: Operation, cache: CacheResult) -> Histogram {
    histogram!(name, "operation" => operation.label(), "cache" => cache.label())
}

/// Describes and registers these metrics with the recorder in scope.
pub(super) fn register() {
    describe();
    HANDLES.keep(Handles::new());
}

#[rustfmt::skip] // A table: one line a metric.
fn describe() {
    describe_counter!(REQUESTS, Unit::Count, "Requests, by S3 operation, cache result and status class; 499 (client disconnect) counts as 4xx");
    describe_counter!(RESPONSES, Unit::Count, "Requests, by S3 operation and exact status; none: no response, 499: the client disconnected before the response was complete");
    describe_counter!(ERRORS, Unit::Count, "Error responses of hotset itself, by S3 error code; the first 100 codes have series, others are counted as `other`");
    describe_histogram!(DURATION, Unit::Seconds, "Time from receiving a request head to sending the last byte of the response");
    describe_histogram!(FIRST_BYTE, Unit::Seconds, "Time from receiving a request head to sending the first byte of the response");
    for family in [SAVED_REQUESTS, SAVED_BYTES, SAVED_DOLLARS] {
        family.describe();
    }
    describe_counter!(RESPONSE_BYTES, Unit::Bytes, "Bytes of response bodies sent to clients, by source");
    describe_gauge!(OPEN_CONNECTIONS, Unit::Count, "Open client connections");
    describe_gauge!(REQUESTS_IN_FLIGHT, Unit::Count, "Requests in flight");
}

/// Counts a completed request.
pub fn ended(request: &Ended) {
    let (Some(handles), Some(recorder)) = (HANDLES.get(), recorder()) else { return };
    let Ended { operation, cache, status, duration, first_byte, from_cache } = *request;
    let series = &handles.series[index(operation, cache)];
    let class = match status / 100 {
        class @ 1..=5 => usize::from(class),
        _ => 0,
    };
    series.requests[class]
        .get_or_init(|| with_local_recorder(recorder, || requests(operation, cache, class)))
        .increment(1);
    let latency = |name| with_local_recorder(recorder, || latency(name, operation, cache));
    series.duration.get_or_init(|| latency(DURATION)).record(duration);
    if let Some(first_byte) = first_byte {
        series.first_byte.get_or_init(|| latency(FIRST_BYTE)).record(first_byte);
    }
    let by_status = handles.responses[operation as usize]
        .get_or_init(|| std::iter::repeat_with(OnceLock::new).take(STATUSES).collect());
    let exact = usize::from(status).checked_sub(99).filter(|exact| *exact < STATUSES);
    by_status[exact.unwrap_or(0)]
        .get_or_init(|| {
            let code = exact.map_or_else(|| "none".to_owned(), |_| status.to_string());
            with_local_recorder(
                recorder,
                || counter!(RESPONSES, "operation" => operation.label(), "code" => code),
            )
        })
        .increment(1);
    if matches!(cache, CacheResult::Hit | CacheResult::Stale | CacheResult::Negative) {
        SAVED.requests.fetch_add(1, Ordering::Relaxed);
    }
    SAVED.bytes.fetch_add(from_cache, Ordering::Relaxed);
}

/// Savings by the cache, and the prices of their cost.
struct Saved {
    requests: AtomicU64,
    bytes: AtomicU64,
    /// Prices of a thousand requests, and of a gigabyte, in billionths of a dollar.
    prices: [AtomicU64; 2],
}

static SAVED: Saved = Saved {
    requests: AtomicU64::new(0),
    bytes: AtomicU64::new(0),
    prices: [const { AtomicU64::new(0) }; 2],
};

/// Sets the prices of a thousand requests and of a gigabyte at the origin, in billionths of a dollar.
pub fn set_prices(thousand_requests: u64, gigabyte: u64) {
    SAVED.prices[0].store(thousand_requests, Ordering::Relaxed);
    SAVED.prices[1].store(gigabyte, Ordering::Relaxed);
}

/// Appends the savings.
#[allow(clippy::cast_precision_loss, reason = "exact up to 2^53")]
pub(super) fn write(out: &mut String) {
    let of = |number: &AtomicU64| number.load(Ordering::Relaxed) as f64;
    let (requests, bytes) = (of(&SAVED.requests), of(&SAVED.bytes));
    SAVED_REQUESTS.write(out, [(Vec::new(), requests)]);
    SAVED_BYTES.write(out, [(Vec::new(), bytes)]);
    let [per_thousand, per_gigabyte] =
        [&SAVED.prices[0], &SAVED.prices[1]].map(|price| of(price) / 1e9);
    if per_thousand > 0.0 || per_gigabyte > 0.0 {
        let dollars = requests / 1e3 * per_thousand + bytes / 1e9 * per_gigabyte;
        SAVED_DOLLARS.write(out, [(Vec::new(), dollars)]);
    }
}

/// Counts an error response of hotset itself, by its S3 error code.
pub fn error(code: &str) {
    let (Some(handles), Some(recorder)) = (HANDLES.get(), recorder()) else { return };
    let errors = &handles.errors;
    if let Some(counter) = errors.read().get(code) {
        return counter.increment(1);
    }
    let mut errors = errors.write();
    let name = if errors.len() < CODES { code } else { "other" };
    let counter = errors.entry(name.to_owned()).or_insert_with(|| {
        let name = name.to_owned();
        with_local_recorder(recorder, || counter!(ERRORS, "code" => name))
    });
    counter.increment(1);
}

/// Counts body bytes sent to a client.
pub fn response_bytes(source: Source, bytes: u64) {
    if let Some(handles) = HANDLES.get() {
        handles.response_bytes[source as usize].increment(bytes);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::install;

    #[test]
    fn codes_beyond_the_bound_share_one_series() {
        let _handle = install();
        for index in 0..2 * CODES {
            error(&format!("MadeUp{index}"));
        }
        let page = install().render();
        let series = page.lines().filter(|line| line.starts_with("hotset_errors_total{"));
        assert!(series.count() <= CODES + 1);
        assert!(page.contains("hotset_errors_total{code=\"other\"}"), "{page}");
    }

    #[test]
    fn each_status_has_its_own_series_and_a_strange_one_none() {
        let _handle = install();
        for status in [0, 42, 100, 206, 499, 599, 600, 999] {
            let request = Ended {
                operation: Operation::RestoreObject,
                cache: CacheResult::Bypass,
                status,
                duration: Duration::ZERO,
                first_byte: None,
                from_cache: 0,
            };
            ended(&request);
        }
        let page = install().render();
        let of = |code: &str| {
            let name =
                format!("hotset_responses_total{{operation=\"RestoreObject\",code=\"{code}\"}} ");
            page.lines().find_map(|line| line.strip_prefix(&name)?.parse::<u64>().ok())
        };
        assert_eq!(of("none"), Some(4), "{page}");
        for code in ["100", "206", "499", "599"] {
            assert_eq!(of(code), Some(1), "{code}");
        }
    }
}
