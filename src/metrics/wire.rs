//! Metrics of connections and requests refused before they are handled.

use metrics::{
    Counter, Unit, counter, describe_counter, describe_gauge, gauge, with_local_recorder,
};

use super::recorder::{Registered, recorder};

const REFUSED: &str = "hotset_refused_total";
const CERTIFICATE_EXPIRY: &str = "hotset_certificate_expiry_timestamp_seconds";
const CERTIFICATES: &str = "hotset_certificate_reloads_total";

label! {
    /// Reason of a refused request or connection.
    Refused {
        /// A head or a body that two servers may parse differently (R29).
        Malformed = "malformed",
        /// More or larger headers than `limits` allow.
        HeaderTooLarge = "header_too_large",
        /// A longer URI than `limits` allow.
        UriTooLong = "uri_too_long",
        /// The head did not arrive in time.
        SlowHead = "slow_head",
        /// The body did not arrive in time.
        SlowBody = "slow_body",
        /// More connections from one address than `limits` allow.
        ConnectionsPerAddress = "connections_per_address",
        /// More requests at the same time than `limits` allow.
        RequestsInFlight = "requests_in_flight",
        /// More requests a second from one address than `limits.per_address` allows.
        AddressRequestRate = "address_request_rate",
        /// More requests of one address at the same time than `limits.per_address` allows.
        AddressRequests = "address_requests",
        /// More requests a second of one identity than its limit allows.
        IdentityRequestRate = "identity_request_rate",
        /// More requests of one identity at the same time than its limit allows.
        IdentityRequests = "identity_requests",
        /// No TLS, no common version or cipher, or no certificate where one is required.
        TlsHandshake = "tls_handshake",
        /// A load balancer with a missing or invalid PROXY header.
        ProxyProtocol = "proxy_protocol",
        /// TLS, or the load balancer's PROXY header, did not arrive in time.
        SlowHandshake = "slow_handshake",
    }
}

struct Handles {
    refused: [Counter; Refused::ALL.len()],
    certificates_taken: Counter,
    certificates_refused: Counter,
}

static HANDLES: Registered<Handles> = Registered::none();

impl Handles {
    fn new() -> Self {
        let reason = |index: usize| counter!(REFUSED, "reason" => Refused::ALL[index].label());
        Self {
            refused: std::array::from_fn(reason),
            certificates_taken: counter!(CERTIFICATES, "outcome" => "ok"),
            certificates_refused: counter!(CERTIFICATES, "outcome" => "failed"),
        }
    }
}

/// Describes and registers these metrics with the recorder in scope.
pub(super) fn register() {
    describe();
    HANDLES.keep(Handles::new());
}

fn describe() {
    describe_gauge!(
        CERTIFICATE_EXPIRY,
        Unit::Seconds,
        "Expiry of a server certificate in use, in Unix time, by the file it was read from"
    );
    describe_counter!(
        REFUSED,
        Unit::Count,
        "Requests and connections refused before they were handled, by reason"
    );
    describe_counter!(CERTIFICATES, Unit::Count, "Reloads of certificate files, by outcome");
}

/// Counts a request or a connection that was refused.
pub fn refused(reason: Refused) {
    if let Some(handles) = HANDLES.get() {
        handles.refused[reason as usize].increment(1);
    }
}

/// Sets the expiry of a server certificate, in Unix time; `file`: its path.
#[allow(clippy::cast_precision_loss, reason = "seconds of this age")]
pub fn set_certificate_expiry(file: &str, not_after: i64) {
    let Some(recorder) = recorder() else { return };
    let file = file.to_owned();
    let register = || gauge!(CERTIFICATE_EXPIRY, "certificate" => file);
    with_local_recorder(recorder, register).set(not_after as f64);
}

/// Counts new certificate files, and whether they replaced the old ones.
pub fn certificates_reloaded(taken: bool) {
    if let Some(handles) = HANDLES.get() {
        let wire = handles;
        let counter = if taken { &wire.certificates_taken } else { &wire.certificates_refused };
        counter.increment(1);
    }
}
