//! Metrics of requests to the origin, their failures, the circuit breaker, and the expiry of credentials.

use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram,
    gauge, histogram, with_local_recorder,
};

use super::attribution;
use super::recorder::{Registered, recorder};

const REQUESTS: &str = "hotset_origin_requests_total";
pub(super) const BYTES: &str = "hotset_origin_received_bytes_total";
const FIRST_BYTE: &str = "hotset_origin_first_byte_seconds";
pub(super) const RETRIES: &str = "hotset_origin_retries_total";
const ERRORS: &str = "hotset_origin_errors_total";
const NOT_ASKED: &str = "hotset_origin_requests_withheld_total";
const UP: &str = "hotset_origin_up";
const BREAKER_OPEN: &str = "hotset_origin_breaker_open";
const RETRIES_REFUSED: &str = "hotset_origin_retries_refused_total";
const FAILOVERS: &str = "hotset_failover_reads_total";
const PARALLEL_RANGES: &str = "hotset_origin_parallel_ranges";
const CREDENTIALS_EXPIRY: &str = "hotset_credentials_expiry_timestamp_seconds";

label! {
    /// A request to the origin.
    OriginKind {
        /// A fetch of bytes by the cache.
        Get = "get",
        /// A fetch of metadata by the cache.
        Head = "head",
        /// A list of keys, for warming.
        List = "list",
        /// A client's request, sent for its authorisation only.
        Ask = "ask",
        /// A client's request that passes through.
        PassThrough = "passthrough",
    }
}

label! {
    /// Outcome of a request to the origin.
    Outcome {
        /// The expected response.
        Ok = "ok",
        /// 404.
        NotFound = "not_found",
        /// 401 or 403.
        Denied = "denied",
        /// Another 4xx, or an unusable response.
        Refused = "refused",
        /// Unknown: the client disconnected, or its body was not as announced, before the response was complete.
        Abandoned = "abandoned",
        /// 429, or 503 with `SlowDown`.
        Throttled = "throttled",
        /// Another 5xx.
        ServerError = "server_error",
        /// No response, or no further byte of it, in time.
        Timeout = "timeout",
        /// No connection.
        Connect = "connect",
        /// The connection broke, or the response was not as announced.
        Broken = "broken",
        /// The object is no longer the requested version (R3).
        Changed = "changed",
    }
}

const SERIES: usize = OriginKind::ALL.len() * Outcome::ALL.len();

label! {
    /// Reason for which a request to the origin got no answer of its own.
    OriginFailure {
        /// The host has no address, or was not resolved in time.
        Name = "name",
        /// No connection: refused, no route, no answer.
        Connect = "connect",
        /// TLS failed: an untrusted certificate, or a server with another protocol.
        Tls = "tls",
        /// A timeout.
        Timeout = "timeout",
        /// The connection broke, or the response was not HTTP.
        Broken = "broken",
        /// The origin throttles.
        Throttled = "throttled",
        /// 5xx.
        ServerError = "server_error",
        /// The origin rejects the keys or the clock with which hotset signs.
        Credentials = "credentials",
    }
}

struct Handles {
    /// Counters, registered on first use.
    requests: [OnceLock<Counter>; SERIES],
    bytes: Counter,
    /// Histograms, registered on first use, except for those of reads.
    first_byte: [OnceLock<Histogram>; OriginKind::ALL.len()],
    retries: Counter,
    errors: [Counter; OriginFailure::ALL.len()],
    retries_refused: Counter,
    credentials_expiry: Gauge,
    not_asked: Counter,
    breaker_open: Gauge,
    parallel_ranges: Gauge,
    /// Registered once the state is known.
    up: OnceLock<Gauge>,
}

static HANDLES: Registered<Handles> = Registered::none();

impl Handles {
    fn new() -> Self {
        let first_byte = [const { OnceLock::new() }; OriginKind::ALL.len()];
        for kind in [OriginKind::Get, OriginKind::Head] {
            first_byte[kind as usize].get_or_init(|| first_byte_of(kind));
        }
        let reason = |index: usize| counter!(ERRORS, "reason" => OriginFailure::ALL[index].label());
        Self {
            requests: [const { OnceLock::new() }; SERIES],
            bytes: counter!(BYTES),
            first_byte,
            retries: counter!(RETRIES),
            errors: std::array::from_fn(reason),
            retries_refused: counter!(RETRIES_REFUSED),
            credentials_expiry: gauge!(CREDENTIALS_EXPIRY),
            not_asked: counter!(NOT_ASKED),
            breaker_open: gauge!(BREAKER_OPEN),
            parallel_ranges: gauge!(PARALLEL_RANGES),
            up: OnceLock::new(),
        }
    }
}

fn first_byte_of(kind: OriginKind) -> Histogram {
    histogram!(FIRST_BYTE, "kind" => kind.label())
}

/// Describes and registers these metrics with the recorder in scope.
pub(super) fn register() {
    describe();
    HANDLES.keep(Handles::new());
}

fn describe() {
    describe_gauge!(
        UP,
        "1 while the last request to the origin was answered, else 0; absent before the first request, NaN once the origin is no longer configured. Of others than the default one with `origin`, the name"
    );
    describe_counter!(
        REQUESTS,
        Unit::Count,
        "Requests sent to the origin, each attempt counted, by kind and outcome. To others than the default one with `origin`, the name"
    );
    describe_counter!(BYTES, Unit::Bytes, "Bytes of response bodies received from the origin");
    describe_histogram!(
        FIRST_BYTE,
        Unit::Seconds,
        "Time from sending a request to the origin to receiving the response head, by kind"
    );
    describe_counter!(RETRIES, Unit::Count, "Retries of requests to the origin");
    describe_counter!(ERRORS, Unit::Count, "Failed attempts of requests to the origin, by reason");
    describe_counter!(
        FAILOVERS,
        Unit::Count,
        "Reads that went to another origin because their own was down (rules[].failover), by the origin that they went to"
    );
    describe_counter!(
        NOT_ASKED,
        Unit::Count,
        "Requests that were not sent to the origin because the circuit breaker was open (origin.circuit_breaker)"
    );
    describe_gauge!(
        BREAKER_OPEN,
        "1 while the circuit breaker of the origin is open and only probes are sent, else 0. Of others than the default one with `origin`, the name"
    );
    describe_gauge!(
        PARALLEL_RANGES,
        Unit::Count,
        "Ranges of one cold read that may be requested from the origin at the same time, adapted to its throughput; 0 before the first long read. Of others than the default one with `origin`, the name"
    );
    describe_counter!(
        RETRIES_REFUSED,
        Unit::Count,
        "Retries that were not made because the retry budget was used up (origin.retry_budget)"
    );
    describe_gauge!(
        CREDENTIALS_EXPIRY,
        Unit::Seconds,
        "Expiry of the origin credentials, in Unix time; 0: they do not expire. Of others than the default one with `origin`, the name"
    );
}

/// Counts a request that was not sent because the breaker is open.
pub fn not_asked() {
    if let Some(handles) = HANDLES.get() {
        handles.not_asked.increment(1);
    }
}

/// Counts a read that fails over to this origin because its own is down.
pub fn failed_over(name: &str) {
    if let Some(recorder) = recorder() {
        let labelled = || counter!(FAILOVERS, "origin" => name.to_owned());
        with_local_recorder(recorder, labelled).increment(1);
    }
}

/// Sets whether the last request to the origin was answered.
pub fn set_up(name: Option<&str>, is_up: bool) {
    let (Some(handles), Some(recorder)) = (HANDLES.get(), recorder()) else { return };
    if let Some(name) = name {
        let labelled = || gauge!(UP, "origin" => name.to_owned());
        return with_local_recorder(recorder, labelled).set(u8::from(is_up));
    }
    let register = || with_local_recorder(recorder, || gauge!(UP));
    handles.up.get_or_init(register).set(u8::from(is_up));
}

/// Sets the gauges of an origin that the configuration no longer has, so that no alert waits for it.
pub fn remove_origin(name: &str) {
    let Some(recorder) = recorder() else { return };
    with_local_recorder(recorder, || {
        gauge!(UP, "origin" => name.to_owned()).set(f64::NAN);
        gauge!(BREAKER_OPEN, "origin" => name.to_owned()).set(0.0);
        gauge!(PARALLEL_RANGES, "origin" => name.to_owned()).set(0.0);
    });
}

/// Sets whether the breaker is open.
pub fn set_breaker_open(name: Option<&str>, is_open: bool) {
    let (Some(handles), Some(recorder)) = (HANDLES.get(), recorder()) else { return };
    match name {
        None => handles.breaker_open.set(u8::from(is_open)),
        Some(name) => {
            let labelled = || gauge!(BREAKER_OPEN, "origin" => name.to_owned());
            with_local_recorder(recorder, labelled).set(u8::from(is_open));
        }
    }
}

/// Sets the number of ranges of one read that may be under way.
pub fn set_parallel_ranges(name: Option<&str>, ranges: usize) {
    let (Some(handles), Some(recorder)) = (HANDLES.get(), recorder()) else { return };
    #[allow(clippy::cast_precision_loss, reason = "at most the number of connections")]
    let ranges = ranges as f64;
    match name {
        None => handles.parallel_ranges.set(ranges),
        Some(name) => {
            let labelled = || gauge!(PARALLEL_RANGES, "origin" => name.to_owned());
            with_local_recorder(recorder, labelled).set(ranges);
        }
    }
}

/// Counts a retry that the budget did not allow.
pub fn retry_refused() {
    if let Some(handles) = HANDLES.get() {
        handles.retries_refused.increment(1);
    }
}

/// Sets the expiry of hotset's own credentials; `None`: never.
pub fn set_credentials_expiry(name: Option<&str>, expires: Option<SystemTime>) {
    let (Some(handles), Some(recorder)) = (HANDLES.get(), recorder()) else { return };
    let since = expires.and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
    let seconds = since.map_or(0.0, |since| since.as_secs_f64());
    match name {
        None => handles.credentials_expiry.set(seconds),
        Some(name) => {
            let labelled = || gauge!(CREDENTIALS_EXPIRY, "origin" => name.to_owned());
            with_local_recorder(recorder, labelled).set(seconds);
        }
    }
}

/// Counts a failed attempt.
pub fn failed(reason: OriginFailure) {
    if let Some(handles) = HANDLES.get() {
        handles.errors[reason as usize].increment(1);
    }
}

/// Counts one attempt of a request to the origin.
pub fn origin_request(name: Option<&str>, kind: OriginKind, outcome: Outcome) {
    attribution::request(outcome);
    let (Some(handles), Some(recorder)) = (HANDLES.get(), recorder()) else { return };
    if let Some(name) = name {
        let (kind, outcome, name) = (kind.label(), outcome.label(), name.to_owned());
        let labelled =
            || counter!(REQUESTS, "kind" => kind, "outcome" => outcome, "origin" => name);
        return with_local_recorder(recorder, labelled).increment(1);
    }
    let index = kind as usize * Outcome::ALL.len() + outcome as usize;
    handles.requests[index]
        .get_or_init(|| {
            with_local_recorder(
                recorder,
                || counter!(REQUESTS, "kind" => kind.label(), "outcome" => outcome.label()),
            )
        })
        .increment(1);
}

/// Counts bytes of bodies received from the origin.
pub fn origin_bytes(bytes: u64) {
    attribution::bytes(bytes);
    if let Some(handles) = HANDLES.get() {
        handles.bytes.increment(bytes);
    }
}

/// Records the time from sending a request to the origin to its response head.
pub fn origin_first_byte(kind: OriginKind, elapsed: Duration) {
    attribution::first_byte(elapsed);
    let (Some(handles), Some(recorder)) = (HANDLES.get(), recorder()) else { return };
    handles.first_byte[kind as usize]
        .get_or_init(|| with_local_recorder(recorder, || first_byte_of(kind)))
        .record(elapsed);
}

/// Counts a retry at the origin.
pub fn origin_retry() {
    attribution::retry();
    if let Some(handles) = HANDLES.get() {
        handles.retries.increment(1);
    }
}
