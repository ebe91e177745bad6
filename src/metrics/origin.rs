//! Metrics of origin failures, the circuit breaker, and the expiry of credentials.

use std::time::SystemTime;

use metrics::{Counter, Gauge, Unit, counter, describe_counter, describe_gauge, gauge};

use super::handles;

const ERRORS: &str = "hotset_origin_errors_total";
const NOT_ASKED: &str = "hotset_origin_requests_withheld_total";
const BREAKER_OPEN: &str = "hotset_origin_breaker_open";
const RETRIES_REFUSED: &str = "hotset_origin_retries_refused_total";
const CREDENTIALS_EXPIRY: &str = "hotset_credentials_expiry_timestamp_seconds";

label! {
    /// Why a request to the origin brought no answer that is about the request.
    OriginFailure {
        /// Its name has no address, or was not resolved in time.
        Name = "name",
        /// No connection: refused, no route, no answer.
        Connect = "connect",
        /// No TLS: a certificate that is not trusted, or a server that speaks something else.
        Tls = "tls",
        /// Nothing came in time.
        Timeout = "timeout",
        /// The connection broke, or what came is no HTTP.
        Broken = "broken",
        /// It asks for less.
        Throttled = "throttled",
        /// 5xx.
        ServerError = "server_error",
        /// It does not take the keys or the time that hotset signs with.
        Credentials = "credentials",
    }
}

pub(super) struct Handles {
    errors: [Counter; OriginFailure::ALL.len()],
    retries_refused: Counter,
    credentials_expiry: Gauge,
    not_asked: Counter,
    breaker_open: Gauge,
}

impl Handles {
    pub(super) fn register() -> Self {
        let reason = |index: usize| counter!(ERRORS, "reason" => OriginFailure::ALL[index].label());
        Self {
            errors: std::array::from_fn(reason),
            retries_refused: counter!(RETRIES_REFUSED),
            credentials_expiry: gauge!(CREDENTIALS_EXPIRY),
            not_asked: counter!(NOT_ASKED),
            breaker_open: gauge!(BREAKER_OPEN),
        }
    }
}

pub(super) fn describe() {
    describe_counter!(ERRORS, Unit::Count, "Failed attempts of requests to the origin, by reason");
    describe_counter!(
        NOT_ASKED,
        Unit::Count,
        "Requests that were not sent to the origin because the circuit breaker was open (origin.circuit_breaker)"
    );
    describe_gauge!(
        BREAKER_OPEN,
        "1 while the circuit breaker of the origin is open and only probes are sent, else 0"
    );
    describe_counter!(
        RETRIES_REFUSED,
        Unit::Count,
        "Retries that were not made because the retry budget was used up (origin.retry_budget)"
    );
    describe_gauge!(
        CREDENTIALS_EXPIRY,
        Unit::Seconds,
        "Expiry of the origin credentials, in Unix time; 0: they do not expire"
    );
}

/// Counts a request that was not sent because the breaker is open.
pub fn not_asked() {
    if let Some(handles) = handles() {
        handles.origin_errors.not_asked.increment(1);
    }
}

/// Sets whether the breaker is open.
pub fn set_breaker_open(is_open: bool) {
    if let Some(handles) = handles() {
        handles.origin_errors.breaker_open.set(u8::from(is_open));
    }
}

/// Counts a retry that was not made because there were too many.
pub fn retry_refused() {
    if let Some(handles) = handles() {
        handles.origin_errors.retries_refused.increment(1);
    }
}

/// Sets when hotset's own credentials end; `None`: never.
pub fn set_credentials_expiry(expires: Option<SystemTime>) {
    if let Some(handles) = handles() {
        let since = expires.and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
        let seconds = since.map_or(0.0, |since| since.as_secs_f64());
        handles.origin_errors.credentials_expiry.set(seconds);
    }
}

/// Counts an attempt that failed.
pub fn failed(reason: OriginFailure) {
    if let Some(handles) = handles() {
        handles.origin_errors.errors[reason as usize].increment(1);
    }
}
