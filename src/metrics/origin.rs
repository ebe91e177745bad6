//! What kept the origin from answering.

use metrics::{Counter, Unit, counter, describe_counter};

use super::handles;

const ERRORS: &str = "hotset_origin_errors_total";

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
}

impl Handles {
    pub(super) fn register() -> Self {
        let reason = |index: usize| counter!(ERRORS, "reason" => OriginFailure::ALL[index].label());
        Self { errors: std::array::from_fn(reason) }
    }
}

pub(super) fn describe() {
    describe_counter!(
        ERRORS,
        Unit::Count,
        "Requests to the origin that brought no answer about what was asked, by reason; each attempt counts"
    );
}

/// Counts an attempt that failed.
pub fn failed(reason: OriginFailure) {
    if let Some(handles) = handles() {
        handles.origin_errors.errors[reason as usize].increment(1);
    }
}
