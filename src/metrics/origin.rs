//! What kept the origin from answering.

use metrics::{Counter, Unit, counter, describe_counter};

use super::handles;

const ERRORS: &str = "hotset_origin_errors_total";
const RETRIES_REFUSED: &str = "hotset_origin_retries_refused_total";

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
}

impl Handles {
    pub(super) fn register() -> Self {
        let reason = |index: usize| counter!(ERRORS, "reason" => OriginFailure::ALL[index].label());
        Self { errors: std::array::from_fn(reason), retries_refused: counter!(RETRIES_REFUSED) }
    }
}

pub(super) fn describe() {
    describe_counter!(
        ERRORS,
        Unit::Count,
        "Requests to the origin that brought no answer about what was asked, by reason; each attempt counts"
    );
    describe_counter!(
        RETRIES_REFUSED,
        Unit::Count,
        "Retries that were not made because they were too large a share of what the origin answered (origin.retry_budget)"
    );
}

/// Counts a retry that was not made because there were too many.
pub fn retry_refused() {
    if let Some(handles) = handles() {
        handles.origin_errors.retries_refused.increment(1);
    }
}

/// Counts an attempt that failed.
pub fn failed(reason: OriginFailure) {
    if let Some(handles) = handles() {
        handles.origin_errors.errors[reason as usize].increment(1);
    }
}
