//! What was refused before it was a request.

use metrics::{Counter, Unit, counter, describe_counter};

use super::handles;

const REFUSED: &str = "hotset_refused_total";

label! {
    /// Why a request or a connection was refused.
    Refused {
        /// A head or a body that two servers may read differently (R29).
        Malformed = "malformed",
        /// More or larger headers than `limits` allow.
        HeaderTooLarge = "header_too_large",
        /// A longer URI than `limits` allow.
        UriTooLong = "uri_too_long",
        /// The head did not come in time.
        SlowHead = "slow_head",
        /// The body did not come in time.
        SlowBody = "slow_body",
        /// More connections from one address than `limits` allow.
        ConnectionsPerAddress = "connections_per_address",
        /// More requests at the same time than `limits` allow.
        RequestsInFlight = "requests_in_flight",
    }
}

pub(super) struct Handles {
    refused: [Counter; Refused::ALL.len()],
}

impl Handles {
    pub(super) fn register() -> Self {
        let reason = |index: usize| counter!(REFUSED, "reason" => Refused::ALL[index].label());
        Self { refused: std::array::from_fn(reason) }
    }
}

pub(super) fn describe() {
    describe_counter!(REFUSED, Unit::Count, "Requests and connections refused, by reason");
}

/// Counts a request or a connection that was refused.
pub fn refused(reason: Refused) {
    if let Some(handles) = handles() {
        handles.wire.refused[reason as usize].increment(1);
    }
}
